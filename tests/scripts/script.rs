//! One script: its simulation, and the commands that are given to it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use rumormill::Config;
use rumormill::id::ClusterId;
use rumormill::sim::{self, NodeSpec, SimConfig, Simulator, Skew};
use rumormill::store::{Expiry, Limits, Map, WriteId};
use rumormill::unstable::engine::Operation;

use super::labels::Labels;
use super::transcript::{Seen, Topic, Transcript, name};

type Maps = Rc<RefCell<BTreeMap<usize, Map<Labels>>>>;

/// A script under way.
pub(crate) struct Script {
    seed: u64,
    config: Config,
    /// Made by the first command that needs it.
    sim: Option<Simulator>,
    transcript: Transcript,
    heard: Rc<RefCell<Vec<(Duration, usize, Seen)>>>,
    shown: BTreeSet<Topic>,
    /// The nodes that have the store of labels, and their maps.
    labelled: Rc<RefCell<BTreeSet<usize>>>,
    labels: Maps,
    writes: BTreeMap<(usize, u64), WriteId>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self {
            seed: 1,
            config: Config::lan(),
            sim: None,
            transcript: Transcript::default(),
            heard: Rc::default(),
            shown: Topic::ALL.into_iter().map(|(_, topic)| topic).collect(),
            labelled: Rc::default(),
            labels: Rc::default(),
            writes: BTreeMap::new(),
        }
    }

    /// Does what a command says; returns what is said meanwhile, or why it cannot be done.
    pub(crate) fn obey(&mut self, command: &str) -> Result<String, String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let (verb, rest) = words.split_first().ok_or("an empty command")?;
        match (*verb, rest) {
            ("config", pairs) => self.config(pairs)?,
            ("converge", [limit]) => return self.converge(span(limit)?),
            ("crash", [node]) => self.node(node, |sim, node| sim.crash(node))?,
            ("cut", [a, ">", b]) => self.cut(a, b, true, Simulator::cut_one_way)?,
            ("cut", [a, b]) => self.cut(a, b, false, Simulator::partition)?,
            ("cut-datagrams", [a, b]) => self.cut(a, b, false, Simulator::cut_datagrams)?,
            ("heal", []) => {
                self.transcript.cuts.clear();
                self.sim().heal_all();
            }
            ("label", [node, text]) => self.label(node, text)?,
            ("leave", [node]) => self.node(node, Simulator::leave)?,
            ("members", []) => return Ok(self.members()),
            ("nodes", [count, options @ ..]) => self.nodes(count, options)?,
            ("pause", [node, time]) => {
                let time = span(time)?;
                self.node(node, |sim, node| sim.pause(node, time))?;
            }
            ("power-off", [node]) => self.node(node, |sim, node| sim.power_off(node))?,
            ("push-pull", [node]) => {
                self.node(node, |sim, node| sim.operate(node, Operation::PushPull))?;
            }
            ("read", [key]) => return self.read(key),
            ("remove", [node, key]) => self.remove(node, key)?,
            ("restart", [node]) => self.node(node, |sim, node| sim.restart(node))?,
            ("run", [time]) => {
                self.sim().run_for(span(time)?);
                return Ok(self.said(true));
            }
            ("seed", [seed]) if self.sim.is_none() => self.seed = number(seed)?,
            ("show", topics) => self.show(topics)?,
            ("skew", [node, time]) => {
                let skew = match time.strip_prefix('-') {
                    Some(time) => Skew::Behind(span(time)?),
                    None => Skew::Ahead(span(time)?),
                };
                self.node(node, |sim, node| sim.set_skew(node, skew))?;
            }
            ("skip", [time]) => {
                self.sim().run_for(span(time)?);
                return Ok(self.said(false));
            }
            ("watch", [node, key, copies]) => self.watch(node, key, copies)?,
            ("write", [node, key, value]) => self.write(node, key, value)?,
            _ => return Err("no such command".to_owned()),
        }
        Ok(String::new())
    }

    /// The end: no promise was broken on the way.
    pub(crate) fn end(&self) {
        if let Some(sim) = &self.sim {
            sim.assert_sound();
        }
    }

    fn sim(&mut self) -> &mut Simulator {
        self.sim.get_or_insert_with(|| {
            let mut sim = Simulator::new(SimConfig::new(self.seed));
            let heard = Rc::clone(&self.heard);
            sim.set_tap(Box::new(move |at, node, seen| {
                let seen = match seen {
                    sim::Seen::Input(input) => Seen::Input(input.clone()),
                    sim::Seen::Output(output) => Seen::Output(output.clone()),
                    _ => return,
                };
                heard.borrow_mut().push((at, node, seen));
            }));
            let (labelled, maps) = (Rc::clone(&self.labelled), Rc::clone(&self.labels));
            sim.set_store_factory(Box::new(move |node, context| {
                if !labelled.borrow().contains(&node) {
                    return Vec::new();
                }
                let map = Map::new(Labels, Limits::default(), context.clone());
                maps.borrow_mut().insert(node, map.clone());
                vec![map.store()]
            }));
            sim
        })
    }

    /// What has been heard since this was last asked.
    fn said(&mut self, aloud: bool) -> String {
        let mut out = String::new();
        for (at, node, seen) in self.heard.take() {
            for (topic, line) in self.transcript.lines(at, node, &seen) {
                if aloud && self.shown.contains(&topic) {
                    out += &line;
                }
            }
        }
        out
    }

    fn config(&mut self, pairs: &[&str]) -> Result<(), String> {
        for pair in pairs {
            let config = self.config.clone();
            self.config = match pair.split_once('=').unwrap_or((pair, "")) {
                ("push-pull", "off") => config.push_pull_interval(None),
                ("push-pull", time) => config.push_pull_interval(span(time)?),
                ("probe", time) => config.probe_interval(span(time)?),
                ("probe-timeout", time) => config.probe_timeout(span(time)?),
                ("tombstone-ttl", time) => config.tombstone_ttl(span(time)?),
                _ => return Err(format!("no such key: {pair}")),
            };
        }
        Ok(())
    }

    fn nodes(&mut self, count: &str, options: &[&str]) -> Result<(), String> {
        let mut spec = NodeSpec {
            config: self.config.clone(),
            ..NodeSpec::default()
        };
        let first = self.sim().node_count();
        let end = first + usize::try_from(number(count)?).map_err(|e| e.to_string())?;
        for option in options {
            match option.split_once('=').unwrap_or((option, "")) {
                ("cluster", id) => spec.cluster = ClusterId::new(id).map_err(|e| e.to_string())?,
                ("seeds", names) => {
                    let names = names.split(',').filter(|name| !name.is_empty());
                    spec.seeds = Some(names.map(|name| format!("{name}.sim:9094")).collect());
                }
                ("store", "labels") => self.labelled.borrow_mut().extend(first..end),
                _ => return Err(format!("no such option: {option}")),
            }
        }
        self.sim().add_nodes_with(end - first, &spec);
        for node in first..end {
            let addr = self.sim().addr(node);
            self.transcript.place(node, addr, &spec.cluster);
        }
        Ok(())
    }

    fn show(&mut self, topics: &[&str]) -> Result<(), String> {
        self.shown.clear();
        for topic in topics {
            if *topic == "all" {
                self.shown.extend(Topic::ALL.map(|(_, topic)| topic));
                continue;
            }
            let known = Topic::ALL.iter().find(|(name, _)| name == topic);
            let (_, topic) = known.ok_or_else(|| format!("nothing is called {topic}"))?;
            self.shown.insert(*topic);
        }
        Ok(())
    }

    /// The number of a node that there is.
    fn index(&mut self, node: &str) -> Result<usize, String> {
        let index = node.strip_prefix('n').and_then(|index| index.parse().ok());
        let count = self.sim().node_count();
        index
            .filter(|index| *index < count)
            .ok_or_else(|| format!("there is no {node}"))
    }

    fn node(&mut self, node: &str, act: impl FnOnce(&mut Simulator, usize)) -> Result<(), String> {
        let node = self.index(node)?;
        act(self.sim(), node);
        Ok(())
    }

    fn cut(
        &mut self,
        a: &str,
        b: &str,
        one_way: bool,
        act: impl FnOnce(&mut Simulator, usize, usize),
    ) -> Result<(), String> {
        let (a, b) = (self.index(a)?, self.index(b)?);
        self.transcript.cuts.insert((a, b));
        if !one_way {
            self.transcript.cuts.insert((b, a));
        }
        act(self.sim(), a, b);
        Ok(())
    }

    fn write(&mut self, node: &str, key: &str, value: &str) -> Result<(), String> {
        let (node, key) = (self.index(node)?, number(key)?);
        let written = self.sim().write(node, key, value.to_owned());
        let write = written.map_err(|error| error.to_string())?;
        self.writes.insert((node, key), write);
        Ok(())
    }

    fn remove(&mut self, node: &str, key: &str) -> Result<(), String> {
        let (node, key) = (self.index(node)?, number(key)?);
        let removed = self.sim().remove(node, key).map_err(|e| e.to_string())?;
        let write = removed.ok_or("there is nothing to remove")?;
        self.writes.insert((node, key), write);
        Ok(())
    }

    fn label(&mut self, node: &str, text: &str) -> Result<(), String> {
        let node = self.index(node)?;
        let maps = self.labels.borrow();
        let map = maps.get(&node).ok_or("it has no labels")?;
        let written = map.put(text.to_owned(), Expiry::Never);
        written.map(drop).map_err(|error| error.to_string())
    }

    fn watch(&mut self, node: &str, key: &str, copies: &str) -> Result<(), String> {
        let (node, key) = (self.index(node)?, number(key)?);
        let copies = usize::try_from(number(copies)?).map_err(|e| e.to_string())?;
        let write = *self
            .writes
            .get(&(node, key))
            .ok_or("it has not written that")?;
        self.sim()
            .watch(node, write, copies, Duration::from_secs(10));
        Ok(())
    }

    fn read(&mut self, key: &str) -> Result<String, String> {
        let key = number(key)?;
        let sim = self.sim();
        let mut out = String::new();
        for node in 0..sim.node_count() {
            let value = match sim.read(node, key) {
                _ if !sim.is_up(node) => "is down".to_owned(),
                Some(value) => String::from_utf8_lossy(&value).into_owned(),
                None => "nothing".to_owned(),
            };
            let _ = writeln!(out, "    n{node}: {value}");
        }
        Ok(out)
    }

    fn members(&mut self) -> String {
        let mut out = String::new();
        for node in 0..self.sim().node_count() {
            if !self.sim().is_up(node) {
                let _ = writeln!(out, "    {} is down", name(node));
                continue;
            }
            let view = self.sim().view(node).clone();
            let this = self.transcript.process(&view.this);
            let mut seen = Vec::new();
            for member in &view.members {
                let who = self.transcript.process(&member.process);
                seen.push(format!(
                    "{who} {}",
                    format!("{:?}", member.state).to_lowercase()
                ));
            }
            let seen = if seen.is_empty() {
                "nobody".to_owned()
            } else {
                seen.join(", ")
            };
            let _ = writeln!(out, "    {this} sees {seen}");
        }
        out
    }

    fn converge(&mut self, limit: Duration) -> Result<String, String> {
        let took = self
            .sim()
            .converge(limit)
            .map_err(|broken| broken.to_string())?;
        self.said(false);
        Ok(format!(
            "    everybody agrees after {:.2} s\n",
            took.as_secs_f64()
        ))
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

/// `250us`, `10ms`, `5s`, `10m`.
fn span(text: &str) -> Result<Duration, String> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (count, unit) = text.split_at(at);
    let micros = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        _ => return Err(format!("{text} is not a time")),
    };
    let count = number(count).map_err(|_| format!("{text} is not a time"))?;
    Ok(Duration::from_micros(count * micros))
}
