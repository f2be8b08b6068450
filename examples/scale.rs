//! A large cluster on virtual time: what it costs to simulate, what the protocol costs each node,
//! and how long joining, one write and one crash take at that size.
//!
//! ```sh
//! cargo run --release --features sim --example scale -- --nodes 1000 --seconds 60
//! ```
//!
//! All nodes start at once and are given the first three as seeds. Once everybody knows everybody, and
//! five seconds more have passed, nodes write one entry each, a second apart; ten seconds after the last, one dies
//! without a word. All times are virtual but those called wall time, and `--seed` decides everything but
//! those. Memory is the peak of this process, as Linux reports it.
//!
//! How fast one write is everywhere over long links, and how often it was sent:
//!
//! ```sh
//! cargo run --release --features sim --example scale -- --nodes 1000 --latency 10-50 --seconds 30
//! cargo run --release --features sim --example scale -- --nodes 500 --latency 10-50 --dying 20 --seconds 60
//! ```

mod args;

use std::time::{Duration, Instant};

use args::Args;
use rumormill::Config;
use rumormill::sim::{NetworkCounters, NodeSpec, Occurrence, SimConfig, Simulator};
use rumormill::{Event, Member};

const HELP: &str = "
A large cluster on virtual time, and what it costs.

--nodes N        nodes, 4 to 10000 (1000)
--seconds N      virtual seconds in all (60)
--seed N         what everything random is drawn from (1)
--loss P         probability that a datagram is lost (0)
--latency A-B    ms that a packet takes, evenly drawn (0.2-1)
--writes N       writes, each of another node (1)
--dying N        nodes that die with the first write, the writer not among them (0)
--push-pull N    seconds between a node's push/pulls, instead of the default
";

/// What was asked for.
struct Options {
    nodes: usize,
    seconds: u64,
    seed: u64,
    loss: f64,
    latency: Option<String>,
    writes: usize,
    dying: usize,
    push_pull: Option<u64>,
}

impl Options {
    fn from_env() -> Self {
        let mut args = Args::from_env(HELP);
        let options = Self {
            nodes: args.value("--nodes").unwrap_or(1000),
            seconds: args.value("--seconds").unwrap_or(60),
            seed: args.value("--seed").unwrap_or(1),
            loss: args.value("--loss").unwrap_or(0.0),
            latency: args.value("--latency"),
            writes: args.value("--writes").unwrap_or(1),
            dying: args.value("--dying").unwrap_or(0),
            push_pull: args.value("--push-pull"),
        };
        args.finish();
        if !(4..=10_000).contains(&options.nodes) {
            args::fail(format!("--nodes {}: not 4 to 10000", options.nodes));
        }
        if options.dying + 2 > options.nodes {
            args::fail(format!("--dying {}: too many", options.dying));
        }
        options
    }

    /// The shortest and the longest latency, in ms.
    fn latency(&self) -> (f64, f64) {
        let Some(text) = &self.latency else {
            return (0.2, 1.0);
        };
        let parts = text.split_once('-');
        let range = parts.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match range {
            Some((min, max)) if 0.0 < min && min <= max => (min, max),
            _ => args::fail(format!("--latency {text}: not two numbers, as 10-50")),
        }
    }
}

/// The run, and what is measured on the way.
struct Run {
    sim: Simulator,
    nodes: usize,
    end: Duration,
    phases: Vec<Phase>,
    writes: Vec<Spread>,
    /// When somebody last came to know somebody, until all knew all.
    formed: Duration,
    /// What members are said to have become, but up.
    events: Vec<Occurrence>,
}

/// One stretch of the run.
struct Phase {
    name: &'static str,
    span: Duration,
    wall: Duration,
    net: NetworkCounters,
}

/// How a write travels.
struct Spread {
    key: u64,
    at: Duration,
    /// Who lives and does not have it yet.
    missing: Vec<usize>,
    /// How long each of the others took, ascending.
    took: Vec<Duration>,
    /// Entries that all nodes have received in the second after it.
    copies: u64,
}

fn main() {
    let options = Options::from_env();
    let nodes = options.nodes;
    let mut config = Config::lan();
    if let Some(secs) = options.push_pull {
        config = config.push_pull_interval(Some(Duration::from_secs(secs)));
    }
    let seeds = (1..=3).map(|host| format!("10.0.0.{host}:9094"));
    let spec = NodeSpec {
        config,
        seeds: Some(seeds.collect()),
        ..NodeSpec::default()
    };
    let mut sim_config = SimConfig::new(options.seed);
    sim_config.network.loss = options.loss;
    let (min, max) = options.latency();
    sim_config.network.latency_min = Duration::from_secs_f64(min / 1e3);
    sim_config.network.latency_max = Duration::from_secs_f64(max / 1e3);
    let mut run = Run {
        sim: Simulator::new(sim_config),
        nodes,
        end: Duration::from_secs(options.seconds),
        phases: Vec::new(),
        writes: Vec::new(),
        formed: Duration::ZERO,
        events: Vec::new(),
    };
    run.phase("joining", |run| {
        run.sim.add_nodes_with(nodes, &spec);
        run.until(Duration::MAX, Run::is_formed);
    });
    let formed = run.is_formed();
    let dead = nodes / 2;
    if formed {
        run.phase("linking", |run| run.until(LINKED, |_| false));
        run.phase("writes", |run| {
            for number in 0..options.writes {
                run.write(number, if number == 0 { options.dying } else { 0 });
            }
        });
        run.phase("idle", |run| run.until(CALM, |_| false));
        run.sim.crash(dead);
        let died = run.sim.time();
        let known = |run: &Run| run.detections(dead, died).len() == run.nodes - 1;
        run.phase("a crash", |run| run.until(Duration::MAX, known));
        run.phase("after it", |run| run.until(Duration::MAX, |_| false));
    }
    run.report(&options, formed.then_some(dead));
    run.sim.assert_sound();
}

impl Run {
    fn phase(&mut self, name: &'static str, work: impl FnOnce(&mut Self)) {
        let (from, before) = (self.sim.time(), self.sim.network_counters());
        #[allow(clippy::disallowed_methods, reason = "this measures wall time")]
        let clock = Instant::now();
        work(self);
        let wall = clock.elapsed();
        let mut net = self.sim.network_counters();
        net.datagrams -= before.datagrams;
        net.frames -= before.frames;
        net.dials -= before.dials;
        net.bytes -= before.bytes;
        self.phases.push(Phase {
            name,
            span: self.sim.time() - from,
            wall,
            net,
        });
    }

    /// Runs until `done` holds, `span` has passed, or the end.
    fn until(&mut self, span: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.sim.time().saturating_add(span).min(self.end);
        while self.sim.time() < end && !done(self) {
            self.sim.run_for(LOOK.min(end - self.sim.time()));
            self.look_at_writes();
            self.look_at_events();
        }
    }

    /// Keeps what is told of in the end: each node has an event of each other one.
    fn look_at_events(&mut self) {
        for occurrence in self.sim.take_events() {
            match occurrence.event {
                Event::MemberUp(_) => self.formed = occurrence.at,
                Event::MemberSuspected(_) | Event::MemberFailed(_) => self.events.push(occurrence),
                _ => {}
            }
        }
    }

    /// A node writes, and some die with that; a second passes, in which it is looked where the write is.
    fn write(&mut self, number: usize, dying: usize) {
        let (writer, key) = (self.nodes - 1 - number, 1 + number as u64);
        let received = self.received();
        self.sim.write(writer, key, "news").expect("there is room");
        // Every so many nodes, so that they are spread over the names.
        let every = (self.nodes / (dying + 1)).max(1);
        (1..=dying).for_each(|nth| self.sim.crash(nth * every - 1));
        let others = (0..self.nodes).filter(|node| *node != writer && self.sim.is_up(*node));
        self.writes.push(Spread {
            key,
            at: self.sim.time(),
            missing: others.collect(),
            took: Vec::new(),
            copies: 0,
        });
        let end = self.sim.time() + Duration::from_secs(1);
        while self.sim.time() < end {
            self.sim.run_for(Duration::from_millis(1));
            self.look_at_writes();
        }
        let copies = self.received().saturating_sub(received);
        if let Some(write) = self.writes.last_mut() {
            write.copies = copies;
        }
    }

    /// Entries that all nodes have received, those of exchanges left out.
    fn received(&self) -> u64 {
        let up = (0..self.nodes).filter(|node| self.sim.is_up(*node));
        let counters = up.map(|node| self.sim.counters(node));
        counters
            .map(|it| it.entries_received - it.push_pull_entries_received)
            .sum()
    }

    /// Whether everybody sees everybody alive.
    fn is_formed(&self) -> bool {
        let mut up = (0..self.nodes).filter(|node| self.sim.is_up(*node));
        self.sim.node_count() == self.nodes
            && up.all(|node| self.sim.view(node).live().count() == self.nodes - 1)
    }

    fn look_at_writes(&mut self) {
        let sim = &self.sim;
        for write in &mut self.writes {
            let took = sim.time() - write.at;
            let before = write.missing.len();
            write
                .missing
                .retain(|node| sim.is_up(*node) && sim.read(*node, write.key).is_none());
            let new = before - write.missing.len();
            write.took.extend(std::iter::repeat_n(took, new));
        }
    }

    /// How long each of the others took to call a node failed, ascending.
    fn detections(&self, dead: usize, died: Duration) -> Vec<Duration> {
        let name = self.sim.name(dead);
        let late = self.events.iter().rev();
        let late = late.take_while(|occurrence| occurrence.at >= died);
        let mut took: Vec<_> = late
            .filter(|occurrence| {
                matches!(&occurrence.event, Event::MemberFailed(m) if m.process.name == *name)
            })
            .map(|occurrence| occurrence.at - died)
            .collect();
        took.sort_unstable();
        took
    }

    fn report(&self, options: &Options, dead: Option<usize>) {
        let nodes = self.nodes as f64;
        println!(
            "{} nodes, 3 seeds each, default timers, {} % loss, seed {}\n",
            self.nodes,
            options.loss * 100.0,
            options.seed
        );
        println!("            virtual     wall    wall per   per node and second");
        println!("                                  second   datagrams  frames  dials   bytes");
        for phase in &self.phases {
            let secs = phase.span.as_secs_f64().max(1e-9);
            let rate = |count: u64| count as f64 / secs / nodes;
            println!(
                "{:<9} {:>7.2} s {:>6.1} s {:>8.3} s {:>11.2} {:>7.2} {:>6.2} {:>7.0}",
                phase.name,
                secs,
                phase.wall.as_secs_f64(),
                phase.wall.as_secs_f64() / secs,
                rate(phase.net.datagrams),
                rate(phase.net.frames),
                rate(phase.net.dials),
                rate(phase.net.bytes),
            );
        }
        let wall: Duration = self.phases.iter().map(|phase| phase.wall).sum();
        let virt = self.sim.time().as_secs_f64();
        println!(
            "in all    {virt:>7.2} s {:>6.1} s {:>8.3} s\n",
            wall.as_secs_f64(),
            wall.as_secs_f64() / virt
        );
        match peak_kib() {
            Some(kib) => println!(
                "memory: {:.0} MiB at the peak, {:.2} MiB per node, {:.0} bytes per pair of nodes",
                kib as f64 / 1024.0,
                kib as f64 / 1024.0 / nodes,
                kib as f64 * 1024.0 / nodes / (nodes - 1.0)
            ),
            None => println!("memory: not told by this system"),
        }
        self.report_members(dead);
        self.report_write();
    }

    fn report_members(&self, dead: Option<usize>) {
        let events = &self.events;
        let Some(dead) = dead else {
            let known = (0..self.nodes).map(|node| self.sim.view(node).live().count());
            let least = known.min().unwrap_or(0);
            return println!("members: not everybody knows everybody; one knows {least} others");
        };
        println!(
            "members: everybody knows everybody after {:.2?}",
            self.formed
        );
        let name = self.sim.name(dead);
        let died = self.phases.iter().take(4).map(|phase| phase.span).sum();
        let took = self.detections(dead, died);
        let others = self.nodes - 1;
        match (took.first(), took.last()) {
            (Some(first), Some(last)) => println!(
                "a crash: called failed by {} of {others}; first {first:.2?}, p50 {:.2?}, \
                 p99 {:.2?}, last {last:.2?}",
                took.len(),
                took[took.len() / 2],
                took[took.len() * 99 / 100],
            ),
            _ => println!("a crash: noticed by nobody yet"),
        }
        let about = |member: &Member| member.process.name != *name;
        let count = |is: fn(&Event) -> Option<&Member>| {
            let of_healthy = |o: &&_| is(event_of(o)).is_some_and(about);
            events.iter().filter(of_healthy).count()
        };
        let failed = count(|event| match event {
            Event::MemberFailed(member) => Some(member),
            _ => None,
        });
        let suspected = count(|event| match event {
            Event::MemberSuspected(member) => Some(member),
            _ => None,
        });
        println!("false alarms: {suspected} suspicions and {failed} failures of healthy members");
    }

    fn report_write(&self) {
        for write in &self.writes {
            let of = write.took.len();
            let at = |part: f64| write.took.get(((of as f64 * part) as usize).min(of - 1));
            let told = |part| at(part).copied().unwrap_or_default();
            if of == 0 {
                println!("a write: nowhere else within this run");
                continue;
            }
            println!(
                "a write: on {of} others, {} lack it; p50 {:.1?}, p99 {:.1?}, last {:.1?}; \
                 {:.3} copies per delivery",
                write.missing.len(),
                told(0.5),
                told(0.99),
                told(1.0),
                write.copies as f64 / (of + write.missing.len()) as f64,
            );
        }
        let mut passed_over = 0;
        for node in (0..self.nodes).filter(|node| self.sim.is_up(*node)) {
            passed_over += self.sim.counters(node).relays_passed_over;
        }
        println!("relays passed over: {passed_over}");
    }
}

fn event_of(occurrence: &Occurrence) -> &Event {
    &occurrence.event
}

/// The most memory this process has had, in KiB.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// How often the cluster is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long links are made before the first write.
const LINKED: Duration = Duration::from_secs(5);
/// How long nothing happens between the writes and the crash.
const CALM: Duration = Duration::from_secs(10);
