//! Turns: what is due goes into an engine, and everything that comes out is carried out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;

use super::alerting::Alerting;
use super::checker::Origin;
use super::network::Effects;
use super::next_version;
use super::process::{Inbox, Process};
use super::registers::{NoTracker, Registers};
use super::simulator::{Happening, Occurrence, Simulator, seed_name};
use super::tap::Seen;
use super::trace::{Packet, With, tag_name};
use super::violation::Breach;
use crate::engine::{Engine, Event, Input, Output, Setup, View};
use crate::id::{NodeId, NodeName};
use crate::store::{Context, Limits, Map, Store};
use crate::time::{Timestamp, WallClock as _};
use crate::wire::{Entry, StoreId};

/// Wake-ups of one node at one instant before the engine is held to be stuck.
const SPINS_MAX: u32 = 10_000;
/// Outputs of one turn before the engine is held to be stuck.
const OUTPUTS_MAX: u32 = 1_000_000;
/// Entries given to a store at once.
const CHUNK: usize = 256;
/// Where the first message's tag is in a datagram, after version and cluster tag.
const DATAGRAM_TAG_AT: usize = crate::wire::frame::ENVELOPE_BYTES;
/// The tag of a packet of the failure detector.
const SWIM: u8 = 1;

impl Simulator {
    /// Does the next thing.
    pub(super) fn step(&mut self) {
        let Some((at, happening)) = self.agenda.pop() else {
            return;
        };
        self.set_time(at.max(self.time));
        match happening {
            Happening::Committed { node, life, batch } => self.committed(node, life, batch),
            Happening::Net(event) => {
                let mut fx = Effects::default();
                self.network.handle(self.time, event, &mut fx);
                self.apply(fx);
            }
            Happening::Operation {
                node,
                life,
                operation,
            } => {
                if self.nodes[node].life == life {
                    self.deliver(node, Input::Operation(operation));
                }
            }
            Happening::Resolved { node, life, seed } => self.resolved(node, life, seed),
            Happening::Resume { node } => self.resume(node),
            Happening::Serve { node, life } => self.serve(node, life),
            Happening::StoresChanged { node, life } => {
                if self.nodes[node].life == life
                    && let Some(process) = self.nodes[node].process.as_mut()
                {
                    process.notified = false;
                    self.deliver(node, Input::StoresChanged);
                }
            }
            Happening::Wake { node, life } => self.wake(node, life, at),
        }
        self.inspect_now_and_then();
        if !self.invariants.is_empty() {
            let mut checks = std::mem::take(&mut self.invariants);
            self.run_invariants(&mut checks);
            self.invariants = checks;
        }
    }

    /// Starts a node's process: new stores, filled from the disk, and a new engine.
    pub(super) fn start_process(&mut self, index: usize) {
        if self.nodes[index].spec.seeds.is_none() {
            self.nodes[index].seeds = self.peers_of(index).map(seed_name).collect();
        }
        let node = &mut self.nodes[index];
        node.life += 1;
        node.left = false;
        node.leaving = false;
        node.paused_until = None;
        self.network.start(index, node.addr);
        let wall = node.clock.wall();
        node.latest_wall = wall;
        let (registers, alerting, stores) = self.make_stores(index);
        let changed = Arc::new(AtomicBool::new(false));
        for store in &stores {
            let raise = Arc::clone(&changed);
            store.on_change(Arc::new(move || raise.store(true, Ordering::Relaxed)));
        }
        let node = &self.nodes[index];
        let life = (index, node.life);
        let (origin, clock) = (Origin::Disk, node.checker_clock());
        self.checker
            .observe(self.time, life, node.cluster, &stores, origin, clock);
        let setup = Setup {
            name: node.name.clone(),
            boot: wall.as_nanos(),
            addr: node.addr,
            cluster: node.spec.cluster.clone(),
            seeds: node.seeds.clone(),
            nonce: self.rng.random(),
            random_seed: self.rng.random(),
            durable: node.spec.durable,
        };
        let version = if node.next_version { " next" } else { "" };
        let line = format!(
            "start{version} {} at {} boot {}",
            node.name, node.addr, setup.boot
        );
        let config = node.spec.config.clone();
        let engine = Engine::new(setup, config, stores.clone(), node.now(self.time));
        let process = Process {
            view: engine.view(),
            revision: engine.revision(),
            engine,
            stores,
            registers,
            alerting,
            started: self.time,
            wake: None,
            spins: (Duration::ZERO, 0),
            changed,
            notified: false,
            inbox: Inbox::default(),
            serving: false,
            next_version: node.next_version,
            strange_messages: 0,
            turns: 0,
        };
        self.disturbed = self.time;
        self.see_view(life, &process.view);
        self.note(index, format_args!("{line}"), &[]);
        self.settle(index, process);
    }

    /// The stores of a process that starts, filled from its disk.
    fn make_stores(
        &mut self,
        index: usize,
    ) -> (Map<Registers>, Option<Alerting>, Vec<Arc<dyn Store>>) {
        let node = &self.nodes[index];
        let context = Context {
            clock: Arc::new(node.clock.clone()),
            tracker: Arc::new(NoTracker),
        };
        let schema = if node.next_version {
            Registers::next_version()
        } else {
            Registers::default()
        };
        let registers = Map::new(schema, node.limits(), context.clone());
        let mut stores = vec![registers.store()];
        let alerting = node.spec.alerting.then(|| {
            let seed = self.rng.random();
            Alerting::new(&node.spec, node.limits(), &context, seed)
        });
        stores.extend(alerting.iter().flat_map(Alerting::stores));
        if let Some(factory) = self.factory.as_mut() {
            stores.extend(factory(index, &context));
        }
        let (wall, limits) = (node.clock.wall(), node.limits());
        for store in &stores {
            fill(&**store, node.disk.entries(store.id()), wall, limits);
        }
        (registers, alerting, stores)
    }

    /// The other nodes of a node's cluster.
    pub(super) fn peers_of(&self, index: usize) -> impl Iterator<Item = usize> {
        let cluster = self.nodes[index].cluster;
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(move |(other, node)| {
            (other != index && node.cluster == cluster).then_some(other)
        })
    }

    /// Schedules and delivers what the network did.
    pub(super) fn apply(&mut self, fx: Effects) {
        for (at, event) in fx.later {
            self.agenda.push(at, Happening::Net(event));
        }
        for (node, input) in fx.inputs {
            self.deliver(node, input);
        }
    }

    /// Gives an input to a node's engine, now or when it resumes; to nobody if it is down.
    pub(super) fn deliver(&mut self, index: usize, input: Input) {
        if let Input::Datagram { bytes, .. } = &input
            && bytes.get(DATAGRAM_TAG_AT) == Some(&SWIM)
        {
            self.nodes[index].swim_received += 1;
        }
        let node = &mut self.nodes[index];
        let (paused, slow) = (node.paused_until.is_some(), !node.service.is_zero());
        let Some(process) = node.process.as_mut() else {
            return;
        };
        let Some(input) = next_version::received(input, node.cluster, process) else {
            return;
        };
        if !paused && !slow && !process.serving {
            return self.turn(index, Some(input));
        }
        process.inbox.push(input);
        if !paused {
            self.serve_later(index);
        }
    }

    fn serve_later(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let at = node.busy_until.max(self.time);
        let life = node.life;
        if let Some(process) = node.process.as_mut()
            && !std::mem::replace(&mut process.serving, true)
        {
            self.agenda.push(at, Happening::Serve { node: index, life });
        }
    }

    /// A slow process has time for one input, and for its timers.
    fn serve(&mut self, index: usize, life: u64) {
        let time = self.time;
        let node = &mut self.nodes[index];
        let paused = node.paused_until.is_some();
        let Some(process) = node.process.as_mut().filter(|_| node.life == life) else {
            return;
        };
        process.serving = false;
        if paused {
            return;
        }
        let input = process.inbox.pop();
        let more = !process.inbox.is_empty();
        node.busy_until = time + node.service;
        if let Some(input) = input {
            self.turn(index, Some(input));
        }
        let Some(process) = self.nodes[index].process.as_mut() else {
            return;
        };
        if process.wake.is_some_and(|wake| wake <= time) {
            process.wake = None;
            self.turn(index, None);
        }
        if more {
            self.serve_later(index);
        }
    }

    /// A stall ends: what had arrived comes first, then the timers.
    fn resume(&mut self, index: usize) {
        if self.nodes[index]
            .paused_until
            .is_none_or(|until| until > self.time)
        {
            return;
        }
        self.nodes[index].paused_until = None;
        self.disturbed = self.time;
        self.note(index, format_args!("resume"), &[]);
        let inbox = self.nodes[index].process.as_mut().map(|p| p.inbox.take());
        for input in inbox.unwrap_or_default() {
            self.turn(index, Some(input));
        }
        self.turn(index, None);
    }

    fn wake(&mut self, index: usize, life: u64, at: Duration) {
        let seed = self.config.seed;
        let node = &mut self.nodes[index];
        let paused = node.paused_until.is_some();
        let Some(process) = node.process.as_mut().filter(|_| node.life == life) else {
            return;
        };
        // Who is busy looks at its timers when it is done.
        if process.wake != Some(at) || process.serving {
            return;
        }
        process.wake = None;
        if paused {
            return;
        }
        if process.spins.0 == at {
            process.spins.1 += 1;
            let spins = process.spins.1;
            assert!(
                spins < SPINS_MAX,
                "seed {seed}: node {index} makes no progress at {at:?}: its deadline stays due"
            );
        } else {
            process.spins = (at, 0);
        }
        self.turn(index, None);
    }

    fn committed(&mut self, index: usize, life: u64, batch: u64) {
        let node = &mut self.nodes[index];
        if node.life != life {
            return;
        }
        let done = node.disk.finish(batch, &self.config.disk, &mut self.rng);
        if let Some(ok) = done {
            self.deliver(index, Input::Committed { batch, ok });
        }
    }

    fn resolved(&mut self, index: usize, life: u64, seed: String) {
        if self.nodes[index].life != life {
            return;
        }
        let addrs = match (self.resolver.get(&seed), seed.parse::<SocketAddr>()) {
            (Some(addrs), _) => addrs.clone(),
            (None, Ok(addr)) => vec![addr],
            (None, Err(_)) => Vec::new(),
        };
        self.deliver(index, Input::Resolved { seed, addrs });
    }

    /// One call of an engine, and all that follows from it. Without an input, its timeout.
    fn turn(&mut self, index: usize, input: Option<Input>) {
        self.notice_writes_of(index);
        let node = &mut self.nodes[index];
        let now = node.now(self.time);
        let Some(mut process) = node.process.take() else {
            return;
        };
        node.latest_wall = node.latest_wall.max(now.wall);
        match input {
            Some(input) => {
                self.note_input(index, &input);
                let told_down = told_down(&process.engine, &input);
                process.engine.handle(now, input);
                let is = process.engine.identity();
                if let Some(was) = told_down
                    && (is.process != was.process || is.renewal <= was.renewal)
                {
                    self.checker
                        .report(self.time, Breach::NotRenewed { node: index });
                }
            }
            None => {
                self.note(index, format_args!("timeout"), &[]);
                process.engine.handle_timeout(now);
            }
        }
        self.settle(index, process);
    }

    /// Drains an engine, looks at what it did, puts it back and schedules its next wake-up.
    fn settle(&mut self, index: usize, mut process: Process) {
        let life = (index, self.nodes[index].life);
        let mut left = false;
        let mut outputs = 0;
        while let Some(output) = process.engine.poll_output() {
            left |= matches!(output, Output::Event(Event::Left));
            outputs += 1;
            let seed = self.config.seed;
            assert!(
                outputs < OUTPUTS_MAX,
                "seed {seed}: node {index} has no end"
            );
            // The checker looks at the stores before anything leaves that may speak of them.
            if outputs == 1 {
                self.observe_merges(life, &process);
            }
            self.act(index, output);
        }
        self.observe_merges(life, &process);
        process.take_changed();
        let revision = process.engine.revision();
        if revision != process.revision {
            process.revision = revision;
            process.view = process.engine.view();
            self.see_view(life, &process.view);
        }
        self.measure(index, &mut process);
        let started = process.started;
        let next = process.engine.poll_timeout();
        let next = next.map(|mono| (started + mono).max(self.time));
        if next != process.wake {
            process.wake = next;
            if let Some(at) = next {
                let (node, life) = life;
                self.agenda.push(at, Happening::Wake { node, life });
            }
        }
        self.nodes[index].process = Some(process);
        if left {
            self.stop_process(index, false);
            self.nodes[index].left = true;
        }
    }

    /// The checker looks at a new view of a process.
    fn see_view(&mut self, life: (usize, u64), view: &View) {
        self.nodes[life.0].last_process = Some(view.this.clone());
        let (cluster, nodes) = (self.nodes[life.0].cluster, &self.nodes);
        let of_cluster = |name: &NodeName| {
            let index = name.as_str().strip_prefix('n');
            let node = index.and_then(|index| nodes.get(index.parse::<usize>().ok()?));
            node.is_some_and(|node| node.cluster == cluster)
        };
        self.checker.view_changed(self.time, life, view, of_cluster);
    }

    fn observe_merges(&mut self, life: (usize, u64), process: &Process) {
        let node = &self.nodes[life.0];
        let (cluster, clock) = (node.cluster, node.latest_clock());
        let stores = &process.stores;
        self.checker
            .observe(self.time, life, cluster, stores, Origin::Peers, clock);
    }

    /// Carries out one output.
    fn act(&mut self, index: usize, output: Output) {
        self.note_output(index, &output);
        match &output {
            Output::Datagram { bytes, .. } => {
                self.measure_output(index, bytes.len(), true);
                self.note_leave_ack(index, bytes.slice(DATAGRAM_TAG_AT..));
            }
            Output::StreamSend { frame, .. } => {
                self.measure_output(index, frame.len(), false);
                self.note_leave_ack(index, frame.clone());
            }
            _ => {}
        }
        let (time, life) = (self.time, self.nodes[index].life);
        let mut fx = Effects::default();
        let network = &mut self.network;
        let (links, streams) = (&mut network.links, &mut network.streams);
        match output {
            Output::CloseStream { stream } => streams.close(links, time, index, stream, &mut fx),
            Output::Commit { batch, entries } => self.commit(index, batch, entries),
            Output::Datagram { to, bytes } => {
                let node = &self.nodes[index];
                let bytes =
                    if node.next_version && network.links.counters.datagrams.is_multiple_of(4) {
                        next_version::extended(&bytes, node.cluster)
                    } else {
                        bytes
                    };
                network.datagram(time, index, to, &bytes, &mut fx);
            }
            Output::Event(event) => {
                self.note_alarm(index, &event);
                self.note_declared((index, life), &event);
                self.checker.note_refusal((index, life), &event);
                let node = index;
                self.events.push(Occurrence {
                    at: time,
                    node,
                    event,
                });
            }
            Output::OpenStream { stream, to } => {
                self.checker.dialled(time, (index, life), to);
                streams.open(links, time, index, stream, to, &mut fx);
            }
            Output::Resolve { seed } => {
                let delay = self.config.resolve_delay_max;
                let delay = delay.mul_f64(self.rng.random::<f64>());
                let resolved = Happening::Resolved {
                    node: index,
                    life,
                    seed,
                };
                self.agenda.push(time + delay, resolved);
            }
            Output::StreamSend { stream, frame } => {
                streams.send(links, time, index, stream, frame, &mut fx);
                if self.nodes[index].next_version && links.counters.frames % 4 == 0 {
                    let frame = Bytes::from_static(next_version::MESSAGE);
                    streams.send(links, time, index, stream, frame, &mut fx);
                }
            }
            Output::Watched { ticket, outcome } => {
                if let Ok(held) = outcome {
                    let nodes = &self.nodes;
                    self.checker
                        .watched(time, ticket, held, |node, store, entry| {
                            let node = &nodes[node];
                            node.spec.durable.then(|| node.disk.held(store, entry))
                        });
                }
                self.outcomes.insert(ticket, outcome);
            }
        }
        self.apply(fx);
    }

    fn commit(&mut self, index: usize, batch: u64, entries: Vec<(StoreId, Entry)>) {
        let node = &mut self.nodes[index];
        let disk = &self.config.disk;
        let delay = node.disk.begin(batch, entries, disk, &mut self.rng);
        let committed = Happening::Committed {
            node: index,
            life: node.life,
            batch,
        };
        self.agenda.push(self.time + delay, committed);
    }

    /// Ends a node's process, with or without its machine.
    pub(super) fn stop_process(&mut self, index: usize, power_off: bool) {
        self.disturbed = self.time;
        let mut fx = Effects::default();
        self.network.stop(self.time, index, power_off, &mut fx);
        let node = &mut self.nodes[index];
        node.process = None;
        node.paused_until = None;
        node.disk.interrupt(&self.config.disk, &mut self.rng);
        self.apply(fx);
    }

    /// Adds a line to the trace.
    pub(super) fn note(&mut self, index: usize, what: std::fmt::Arguments<'_>, bytes: &[u8]) {
        let name = &self.nodes[index].name;
        self.trace.record(self.time, Some(name), what, bytes);
        if self.checker.violation.is_some() {
            self.trace.freeze();
        }
    }

    fn note_packet(&mut self, index: usize, packet: Packet<'_>) {
        let name = &self.nodes[index].name;
        self.trace.packet(self.time, name, packet);
        if self.checker.violation.is_some() {
            self.trace.freeze();
        }
    }

    fn note_input(&mut self, index: usize, input: &Input) {
        self.tapped(index, Seen::Input(input));
        match input {
            Input::Datagram { from, bytes } => {
                self.note_packet(index, datagram("<-", *from, bytes));
            }
            Input::StreamFrame { stream, frame } => {
                self.note_packet(index, frame_of("<=", stream.0, frame));
            }
            other => self.note(index, format_args!("< {other:?}"), &[]),
        }
    }

    fn note_output(&mut self, index: usize, output: &Output) {
        self.tapped(index, Seen::Output(output));
        match output {
            Output::Commit { batch, entries } => {
                let count = entries.len();
                self.note(
                    index,
                    format_args!("> commit {batch}: {count} entries"),
                    &[],
                );
            }
            Output::Datagram { to, bytes } => self.note_packet(index, datagram("->", *to, bytes)),
            Output::StreamSend { stream, frame } => {
                self.note_packet(index, frame_of("=>", stream.0, frame));
            }
            other => self.note(index, format_args!("> {other:?}"), &[]),
        }
    }
}

fn datagram<'a>(arrow: &'static str, addr: SocketAddr, bytes: &'a Bytes) -> Packet<'a> {
    Packet {
        arrow,
        with: With::Addr(addr),
        tag: tag_name(bytes.get(DATAGRAM_TAG_AT)),
        bytes,
    }
}

fn frame_of<'a>(arrow: &'static str, stream: u64, frame: &'a Bytes) -> Packet<'a> {
    Packet {
        arrow,
        with: With::Stream(stream),
        tag: tag_name(frame.first()),
        bytes: frame,
    }
}

/// Gives a store what is on its node's disk, as restoring a snapshot does: what it held is taken
/// back, however far the clock has been set back since.
fn fill(store: &dyn Store, entries: Vec<Entry>, wall: Timestamp, limits: Limits) {
    let horizon = wall.plus(limits.max_clock_drift);
    let (ahead, sane): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| e.ts > horizon);
    for chunk in sane.chunks(CHUNK) {
        store.merge(chunk, wall);
    }
    for entry in ahead {
        let then = entry.ts;
        store.merge(&[entry], then);
    }
}

/// As whom a process is told by an input that it is down: it has to come back, one renewal on.
fn told_down(engine: &Engine, input: &Input) -> Option<NodeId> {
    let Input::Datagram { from, bytes } = input else {
        return None;
    };
    let told = bytes.get(DATAGRAM_TAG_AT) == Some(&SWIM) && engine.is_told_down(*from, bytes);
    told.then(|| engine.identity().clone())
}
