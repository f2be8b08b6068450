//! The simulator: its nodes, its clock, and what a test or a tuner does with them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::happening::Happening;
use super::lie_log::LieLog;
use super::tap::Tap;
use crate::engine::{Counters, Event, View, Work};
use crate::id::NodeName;
use crate::sim::check::checker::Checker;
use crate::sim::check::look::Look;
use crate::sim::check::trace::{Trace, TracedPacket};
use crate::sim::check::violation::Violation;
use crate::sim::network::agenda::Agenda;
use crate::sim::network::config::NetworkConfig;
use crate::sim::network::links::NetworkCounters;
use crate::sim::network::sim_network::SimNetwork;
use crate::sim::nodes::disk::DiskConfig;
use crate::sim::nodes::node::{Life, SimNode};
use crate::sim::nodes::process::Process;
use crate::store::{Answered, Context, Held, ReadFromError, ReplicationError, Store};
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
#[non_exhaustive]
pub struct Occurrence {
    /// When.
    pub at: Duration,
    /// Which node.
    pub node: usize,
    /// What.
    pub event: Event,
}

/// A seeded cluster of engines on virtual time. See the [module](crate::sim) for an example.
///
/// Nodes are named by index, in the order in which they were added; every method that takes one
/// panics if there is no such node.
pub struct Simulator {
    pub(super) config: SimConfig,
    pub(super) time: Duration,
    pub(super) time_cell: Arc<AtomicU64>,
    pub(super) agenda: Agenda<Happening>,
    pub(super) network: SimNetwork,
    pub(super) nodes: Vec<SimNode>,
    pub(super) resolver: BTreeMap<String, Vec<SocketAddr>>,
    pub(super) rng: Pcg64,
    pub(super) trace: Trace,
    pub(super) checker: Checker,
    pub(super) factory: Option<StoreFactory>,
    pub(super) events: Vec<Occurrence>,
    pub(super) outcomes: BTreeMap<u64, Result<Held, ReplicationError>>,
    /// Reads that wait: whose, and since when.
    pub(super) reads: BTreeMap<u64, (Life, Duration)>,
    pub(super) read_outcomes: BTreeMap<u64, Result<Answered, ReadFromError>>,
    pub(super) tickets: u64,
    /// When somebody or something was last disturbed.
    pub(super) disturbed: Duration,
    /// When something was last done to all.
    pub(super) all_disturbed: Duration,
    pub(super) next_inspection: Duration,
    pub(super) invariants: Vec<(String, InvariantCheck)>,
    pub(super) final_invariants: Vec<(String, InvariantCheck)>,
    pub(super) tap: Option<Tap>,
    pub(super) lie_log: LieLog,
    pub(super) worst_turn: Work,
    pub(super) most_held: usize,
}

impl Simulator {
    /// An empty simulation at virtual time 0.
    #[must_use]
    pub fn new(config: SimConfig) -> Self {
        let mut rng = Pcg64::seed_from_u64(config.seed);
        let network = SimNetwork::new(config.network.clone(), rng.random());
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
            reads: BTreeMap::new(),
            read_outcomes: BTreeMap::new(),
            tickets: 0,
            disturbed: Duration::ZERO,
            all_disturbed: Duration::ZERO,
            next_inspection: Duration::ZERO,
            invariants: Vec::new(),
            final_invariants: Vec::new(),
            tap: None,
            lie_log: LieLog::default(),
            worst_turn: Work::default(),
            most_held: 0,
            config,
        }
    }

    /// Gives every process started from now on further stores, beside its [`Registers`](crate::sim::Registers).
    pub fn set_store_factory(&mut self, factory: StoreFactory) {
        self.factory = Some(factory);
    }

    /// Adds an invariant that is checked after every turn, from now on. What it finds is kept as a
    /// [`Breach::Custom`](crate::sim::Breach::Custom) under its name, if it is the first.
    pub fn add_invariant(&mut self, name: &str, check: InvariantCheck) {
        self.invariants.push((name.to_owned(), check));
    }

    /// Adds an invariant that is checked whenever [`converge`](Self::converge) finds that everybody
    /// agrees, from now on.
    pub fn add_final_invariant(&mut self, name: &str, check: InvariantCheck) {
        self.final_invariants.push((name.to_owned(), check));
    }

    /// Shows every input and output from now on to `tap`, in order. It changes nothing.
    /// Unstable, as all of `rumormill::unstable`.
    #[doc(hidden)]
    pub fn set_tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// Everybody at this instant, for those that check.
    pub(super) fn look(&self) -> Look<'_> {
        Look {
            nodes: &self.nodes,
            network: &self.network,
            checker: &self.checker,
            time: self.time,
            disturbed: self.disturbed,
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

    /// How many SWIM datagrams a node has received, over all its processes. Unstable, as all of
    /// `rumormill::unstable`.
    #[doc(hidden)]
    #[must_use]
    pub fn swim_received(&self, node: usize) -> u64 {
        self.nodes[node].swim_received
    }

    /// The most that a turn of an honest engine has taken so far, of each kind of work.
    #[must_use]
    pub fn worst_turn(&self) -> Work {
        self.worst_turn
    }

    /// The most bytes that an honest process has held so far beside its entries, what waited on its
    /// streams included, as far as it was looked at.
    #[must_use]
    pub fn most_held(&self) -> usize {
        self.most_held
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

    /// Takes the events so far, in order: a large cluster has more of them than of anything else.
    /// [`events`](Self::events) returns those after them alone.
    pub fn take_events(&mut self) -> Vec<Occurrence> {
        std::mem::take(&mut self.events)
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

    /// How many writes were acknowledged to their writers.
    pub(in crate::sim) fn acknowledged_writes(&self) -> usize {
        self.checker.acknowledged.len()
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

    /// Adds a line to the trace.
    pub(super) fn note(&mut self, index: usize, what: std::fmt::Arguments<'_>, bytes: &[u8]) {
        let name = &self.nodes[index].name;
        self.trace.record(self.time, Some(name), what, bytes);
        if self.checker.violation.is_some() {
            self.trace.freeze();
        }
    }

    /// Adds a packet to the trace.
    pub(super) fn note_packet(&mut self, index: usize, packet: TracedPacket<'_>) {
        let name = &self.nodes[index].name;
        self.trace.packet(self.time, name, packet);
        if self.checker.violation.is_some() {
            self.trace.freeze();
        }
    }
}
