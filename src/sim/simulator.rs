//! The simulator: its nodes, its clock, and what a test or a tuner does with them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::agenda::Agenda;
use super::checker::{Checker, Origin};
use super::disk::{Disk, DiskConfig};
use super::network::{NetEvent, Network, NetworkConfig, NetworkCounters};
use super::process::{Node, NodeSpec, Process};
use super::registers::SimClock;
use super::tap::Tap;
use super::trace::Trace;
use super::violation::{Breach, Violation};
use crate::engine::{Counters, Event, Operation, View};
use crate::id::NodeName;
use crate::store::{Context, Held, ReplicationError, Store};
use crate::time::{Timestamp, WallClock as _};

/// Builds further stores of a node, each time its process starts. It is given the node's index and
/// the clock and tracker to make them with. Keep typed handles by capturing a place for them.
pub type StoreFactory = Box<dyn FnMut(usize, &Context) -> Vec<Arc<dyn Store>>>;

/// An invariant of the caller's own: looks at the simulation, and says what is wrong if something is.
pub type InvariantCheck = Box<dyn FnMut(&Simulator) -> Result<(), String>>;

/// What a simulation is made with.
#[derive(Clone, Debug, PartialEq)]
pub struct SimConfig {
    /// All randomness is drawn from it.
    pub seed: u64,
    /// The network.
    pub network: NetworkConfig,
    /// The disks of durable nodes.
    pub disk: DiskConfig,
    /// The longest a name takes to resolve. Default 20 ms.
    pub resolve_delay_max: Duration,
    /// Lines of the log that are kept for a failure's report. Default 200; 0 keeps none.
    pub log_lines_max: usize,
}

impl SimConfig {
    /// A quiet network, from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            network: NetworkConfig::default(),
            disk: DiskConfig::default(),
            resolve_delay_max: Duration::from_millis(20),
            log_lines_max: 200,
        }
    }
}

/// An event that a node reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// When.
    pub at: Duration,
    /// Which node.
    pub node: usize,
    /// What.
    pub event: Event,
}

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Happening {
    Committed {
        node: usize,
        life: u64,
        batch: u64,
    },
    Net(NetEvent),
    Operation {
        node: usize,
        life: u64,
        operation: Operation,
    },
    Resolved {
        node: usize,
        life: u64,
        seed: String,
    },
    Resume {
        node: usize,
    },
    Serve {
        node: usize,
        life: u64,
    },
    StoresChanged {
        node: usize,
        life: u64,
    },
    Wake {
        node: usize,
        life: u64,
    },
}

/// A seeded cluster of engines on virtual time. See the [module](super) for an example.
///
/// Nodes are named by index, in the order in which they were added; every method that takes one
/// panics if there is no such node.
pub struct Simulator {
    pub(super) config: SimConfig,
    pub(super) time: Duration,
    pub(super) time_cell: Arc<AtomicU64>,
    pub(super) agenda: Agenda<Happening>,
    pub(super) network: Network,
    pub(super) nodes: Vec<Node>,
    pub(super) resolver: BTreeMap<String, Vec<SocketAddr>>,
    pub(super) rng: Pcg64,
    pub(super) trace: Trace,
    pub(super) checker: Checker,
    pub(super) factory: Option<StoreFactory>,
    pub(super) events: Vec<Occurrence>,
    pub(super) outcomes: BTreeMap<u64, Result<Held, ReplicationError>>,
    pub(super) tickets: u64,
    /// When somebody or something was last disturbed.
    pub(super) disturbed: Duration,
    pub(super) next_inspection: Duration,
    pub(super) invariants: Vec<(String, InvariantCheck)>,
    pub(super) final_invariants: Vec<(String, InvariantCheck)>,
    pub(super) tap: Option<Tap>,
}

impl Simulator {
    /// An empty simulation at virtual time 0.
    #[must_use]
    pub fn new(config: SimConfig) -> Self {
        let mut rng = Pcg64::seed_from_u64(config.seed);
        let network = Network::new(config.network.clone(), rng.random());
        let checker = Checker::new(config.seed);
        Self {
            time: Duration::ZERO,
            time_cell: Arc::new(AtomicU64::new(0)),
            agenda: Agenda::new(),
            network,
            nodes: Vec::new(),
            resolver: BTreeMap::new(),
            rng,
            trace: Trace::new(config.log_lines_max),
            checker,
            factory: None,
            events: Vec::new(),
            outcomes: BTreeMap::new(),
            tickets: 0,
            disturbed: Duration::ZERO,
            next_inspection: Duration::ZERO,
            invariants: Vec::new(),
            final_invariants: Vec::new(),
            tap: None,
            config,
        }
    }

    /// Gives every process started from now on further stores, beside its [`Registers`](super::Registers).
    pub fn set_store_factory(&mut self, factory: StoreFactory) {
        self.factory = Some(factory);
    }

    /// Adds an invariant that is checked after every turn, from now on. What it finds is kept as a
    /// [`Breach::Custom`] under its name, if it is the first.
    pub fn add_invariant(&mut self, name: &str, check: InvariantCheck) {
        self.invariants.push((name.to_owned(), check));
    }

    /// Adds an invariant that is checked whenever [`converge`](Self::converge) finds that everybody
    /// agrees, from now on.
    pub fn add_final_invariant(&mut self, name: &str, check: InvariantCheck) {
        self.final_invariants.push((name.to_owned(), check));
    }

    pub(super) fn run_invariants(&mut self, checks: &mut [(String, InvariantCheck)]) {
        for (name, check) in checks {
            if let Err(what) = check(self) {
                let name = name.clone();
                self.checker
                    .report(self.time, Breach::Custom { name, what });
            }
        }
    }

    /// Adds `count` nodes of the default cluster with the default configuration, and starts them.
    pub fn add_nodes(&mut self, count: usize) {
        self.add_nodes_with(count, &NodeSpec::default());
    }

    /// Adds `count` nodes and starts them.
    pub fn add_nodes_with(&mut self, count: usize, spec: &NodeSpec) {
        let first = self.nodes.len();
        for _ in 0..count {
            self.enroll(spec.clone());
        }
        for index in first..self.nodes.len() {
            self.start_process(index);
        }
    }

    /// Adds one node and starts it; answers its index.
    pub fn add_node(&mut self, spec: NodeSpec) -> usize {
        let index = self.enroll(spec);
        self.start_process(index);
        index
    }

    /// Adds one node whose process does not run yet: [`restart`](Self::restart) starts it. Others
    /// may have it among their seeds. Answers its index.
    pub fn add_stopped_node(&mut self, spec: NodeSpec) -> usize {
        self.enroll(spec)
    }

    fn enroll(&mut self, spec: NodeSpec) -> usize {
        let index = self.nodes.len();
        let addr = address(index, 0);
        let cluster = spec.cluster.tag();
        self.network
            .add_host(addr, cluster, spec.config.tcp_timeout);
        self.resolver.insert(seed_name(index), vec![addr]);
        let name = NodeName::new(&format!("n{index}")).expect("a short name is valid");
        let clock = SimClock::new(Arc::clone(&self.time_cell), spec.skew);
        self.nodes.push(Node {
            seeds: spec.seeds.clone().unwrap_or_default(),
            spec,
            name,
            addr,
            cluster,
            clock,
            latest_wall: Timestamp::default(),
            disk: Disk::default(),
            life: 0,
            process: None,
            paused_until: None,
            leaving: false,
            left: false,
            swim_received: 0,
            last_process: None,
            next_version: false,
            service: Duration::ZERO,
            busy_until: Duration::ZERO,
        });
        index
    }

    /// Runs for `span` of virtual time.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.time + span;
        self.notice_writes();
        while self.agenda.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.set_time(end);
    }

    /// Runs until `done` holds, looking after every step; answers how long that took, `None` if
    /// `limit` passed first.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.time;
        self.notice_writes();
        loop {
            if done(self) {
                return Some(self.time - start);
            }
            match self.agenda.next_at() {
                Some(at) if at <= start + limit => self.step(),
                _ => {
                    self.set_time(start + limit);
                    return done(self).then_some(limit);
                }
            }
        }
    }

    pub(super) fn set_time(&mut self, time: Duration) {
        self.time = time;
        let nanos = u64::try_from(time.as_nanos()).expect("a simulation is shorter than 500 years");
        self.time_cell.store(nanos, Ordering::Relaxed);
    }

    /// Virtual time since the simulation began.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.time
    }

    /// A node's wall clock.
    #[must_use]
    pub fn wall(&self, node: usize) -> Timestamp {
        self.nodes[node].clock.wall()
    }

    /// How many nodes were added.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// A node's name: `n` and its index.
    #[must_use]
    pub fn name(&self, node: usize) -> &NodeName {
        &self.nodes[node].name
    }

    /// A node's address: `10.0.x.y:9094`.
    #[must_use]
    pub fn addr(&self, node: usize) -> SocketAddr {
        self.nodes[node].addr
    }

    /// Whether a node's process runs.
    #[must_use]
    pub fn is_up(&self, node: usize) -> bool {
        self.nodes[node].process.is_some()
    }

    /// What a node sees of the others; as last published if it is paused.
    ///
    /// # Panics
    /// If the node is down.
    #[must_use]
    pub fn view(&self, node: usize) -> &View {
        &self.process(node).view
    }

    /// What a node's engine has counted.
    ///
    /// # Panics
    /// If the node is down.
    #[must_use]
    pub fn counters(&self, node: usize) -> Counters {
        *self.process(node).engine.counters()
    }

    /// How many SWIM datagrams a node has received, over all its processes.
    #[must_use]
    pub fn swim_received(&self, node: usize) -> u64 {
        self.nodes[node].swim_received
    }

    /// What the network has carried.
    #[must_use]
    pub fn network_counters(&self) -> NetworkCounters {
        self.network.links.counters
    }

    /// Everything the nodes have reported, oldest first.
    #[must_use]
    pub fn events(&self) -> &[Occurrence] {
        &self.events
    }

    /// A hash over everything that happened so far: equal runs have equal hashes.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// How many inputs, outputs and faults there were.
    #[must_use]
    pub fn trace_records(&self) -> u64 {
        self.trace.records()
    }

    /// The last lines of the log, oldest first.
    pub fn log(&self) -> impl Iterator<Item = String> {
        self.trace.lines()
    }

    /// The first broken promise.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.checker.violation.as_ref()
    }

    /// Panics with the last lines of the log if a promise was broken.
    ///
    /// # Panics
    /// If [`violation`](Self::violation) has one.
    #[track_caller]
    pub fn assert_sound(&self) {
        if let Some(violation) = self.violation() {
            let lines: Vec<String> = self.log().collect();
            panic!("{}\n{violation}", lines.join("\n"));
        }
    }

    #[track_caller]
    pub(super) fn process(&self, node: usize) -> &Process {
        let process = self.nodes[node].process.as_ref();
        process.unwrap_or_else(|| panic!("node {node} is down"))
    }

    /// Writes that nobody announced (those of a caller's own stores) are noticed here.
    fn notice_writes(&mut self) {
        for node in 0..self.nodes.len() {
            self.notice_writes_of(node);
        }
    }

    pub(super) fn notice_writes_of(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let clock = node.latest_clock();
        let Some(process) = node.process.as_mut() else {
            return;
        };
        if !process.take_changed() {
            return;
        }
        let life = (index, node.life);
        let stores = &process.stores;
        let origin = Origin::Writer;
        self.checker
            .observe(self.time, life, node.cluster, stores, origin, clock);
        if !std::mem::replace(&mut process.notified, true) {
            let changed = Happening::StoresChanged {
                node: index,
                life: node.life,
            };
            self.agenda.push(self.time, changed);
        }
    }
}

/// The address of a node; each further one that it moves to has its own number.
pub(super) fn address(index: usize, moves: usize) -> SocketAddr {
    let host = u16::try_from(index + 1 + 4096 * moves).expect("a few thousand nodes at most");
    let [high, low] = host.to_be_bytes();
    SocketAddr::from(([10, 0, high, low], 9094))
}

/// The name under which a node is found.
pub(super) fn seed_name(index: usize) -> String {
    format!("n{index}.sim:9094")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_and_every_move_has_its_own_address() {
        assert_eq!(address(0, 0).to_string(), "10.0.0.1:9094");
        assert_eq!(address(299, 0).to_string(), "10.0.1.44:9094");
        assert_ne!(address(0, 1), address(0, 0));
    }

    #[test]
    fn an_empty_simulation_passes_time() {
        let mut sim = Simulator::new(SimConfig::new(1));
        sim.run_for(Duration::from_secs(3));
        assert_eq!(sim.time(), Duration::from_secs(3));
        let never = sim.run_until(Duration::from_secs(1), |_| false);
        assert_eq!((never, sim.time()), (None, Duration::from_secs(4)));
        sim.assert_sound();
    }
}
