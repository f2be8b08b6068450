//! Nodes are added, and their processes started.

use crate::id::WriterTag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt as _;

use super::simulator::Simulator;
use crate::engine::{Engine, Setup, Work};
use crate::sim::check::history::{Glance, Origin};
use crate::sim::nodes::address::{address, seed_name};
use crate::sim::nodes::alerting::Alerting;
use crate::sim::nodes::clock::SimClock;
use crate::sim::nodes::firing;
use crate::sim::nodes::inbox::Inbox;
use crate::sim::nodes::liar::Liar;
use crate::sim::nodes::node::{SimNode, peers_of};
use crate::sim::nodes::process::Process;
use crate::sim::nodes::ready::ReadyTypes;
use crate::sim::nodes::registers::{Registers, SimTracker};
use crate::sim::nodes::spec::NodeSpec;
use crate::store::alerts::Alerts;
use crate::store::{Context, Limits, Map, Store};
use crate::time::{Timestamp, WallClock as _};
use crate::wire::Entry;
use crate::wire::envelope::Envelope;

/// Entries given to a store at once.
const CHUNK: usize = 256;

impl Simulator {
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

    /// Adds one node and starts it; returns its index.
    pub fn add_node(&mut self, spec: NodeSpec) -> usize {
        let index = self.enroll(spec);
        self.start_process(index);
        index
    }

    /// Adds one node whose process does not run yet: [`restart`](Self::restart) starts it. Others
    /// may have it among their seeds. Returns its index.
    pub fn add_stopped_node(&mut self, spec: NodeSpec) -> usize {
        self.enroll(spec)
    }

    fn enroll(&mut self, spec: NodeSpec) -> usize {
        let index = self.nodes.len();
        let addr = address(index, 0);
        let envelope = Envelope::of(&spec.cluster);
        let dial_timeout = spec.config.tcp_timeout;
        self.network.links.add_host(addr, envelope, dial_timeout);
        self.resolver.insert(seed_name(index), vec![addr]);
        let clock = SimClock::new(Arc::clone(&self.time_cell), spec.skew);
        let mut node = SimNode::new(index, spec, clock);
        if node.spec.liar {
            // Of the seed and the index alone: nobody else's randomness changes.
            let seed = self.config.seed ^ (index as u64) << 48 ^ 0x6c69_6172;
            self.lie_log.expected = true;
            node.liar = Some(Box::new(Liar::new(seed, envelope)));
        }
        self.nodes.push(node);
        index
    }

    /// Starts a node's process: new stores, filled from the disk, and a new engine.
    pub(super) fn start_process(&mut self, index: usize) {
        if self.nodes[index].spec.seeds.is_none() {
            self.nodes[index].seeds = peers_of(&self.nodes, index).map(seed_name).collect();
        }
        let node = &mut self.nodes[index];
        node.life += 1;
        node.left = false;
        node.leaving = false;
        node.paused_until = None;
        if let Some(liar) = node.liar.as_mut() {
            liar.forget();
        }
        self.network.links.start(index, node.addr);
        let wall = node.clock.wall();
        node.latest_wall = wall;
        let made = self.make_stores(index);
        let changed = Arc::new(AtomicBool::new(false));
        for store in &made.stores {
            let raise = Arc::clone(&changed);
            store.on_change(Arc::new(move || raise.store(true, Ordering::Relaxed)));
        }
        let node = &self.nodes[index];
        let life = (index, node.life);
        let glance = Glance {
            at: self.time,
            life,
            cluster: node.cluster,
            origin: Origin::Disk,
            clock: node.process_time(),
            horizon: node.horizon(),
        };
        self.checker.observe(&glance, &made.stores);
        let setup = self.setup(index, wall);
        let node = &self.nodes[index];
        let version = if node.next_version { " next" } else { "" };
        let line = format!(
            "start{version} {} at {} boot {}",
            node.name, node.addr, setup.boot
        );
        let config = node.spec.config.clone();
        let engine = Engine::new(setup, config, made.stores.clone(), node.now(self.time));
        let process = Process {
            view: engine.view(),
            revision: engine.revision(),
            engine,
            stores: made.stores,
            registers: made.registers,
            alerting: made.alerting,
            alerts: made.alerts,
            ready: made.ready,
            started: self.time,
            wake: None,
            spins: (Duration::ZERO, 0),
            changed,
            notified: false,
            inbox: Inbox::default(),
            serving: false,
            next_version: node.next_version,
            strange_messages: 0,
            liars_messages: 0,
            worked: Work::default(),
            liars_mismatches: 0,
            turns: 0,
        };
        self.disturb(index);
        self.see_view(life, &process.view);
        self.note(index, format_args!("{line}"), &[]);
        self.lie_later(index);
        self.settle(index, process);
    }

    /// What the engine of a process is made with, that starts at this time of its clock.
    fn setup(&mut self, index: usize, wall: Timestamp) -> Setup {
        let node = &self.nodes[index];
        Setup {
            name: node.name.clone(),
            boot: wall.as_nanos(),
            addr: node.addr,
            cluster: node.spec.cluster.clone(),
            seeds: node.seeds.clone(),
            nonce: self.rng.random(),
            random_seed: self.rng.random(),
            durable: node.spec.durable,
            expelled: Vec::new(),
        }
    }

    /// The stores of a process that starts, filled from its disk.
    fn make_stores(&mut self, index: usize) -> ProcessStores {
        let node = &self.nodes[index];
        let context = Context::new(
            WriterTag::of(&node.name),
            Arc::new(node.clock.clone()),
            Arc::new(SimTracker),
        );
        let schema = if node.next_version {
            Registers::next_version()
        } else {
            Registers::default()
        };
        let registers = Map::new(schema, node.spec.limits(), context.clone());
        let mut stores = vec![registers.store()];
        let alerting = node.spec.alerting.then(|| {
            let seed = self.rng.random();
            Alerting::new(&node.spec, &context, seed)
        });
        stores.extend(alerting.iter().flat_map(Alerting::stores));
        let spec = &self.nodes[index].spec;
        let alerts = spec.alerts.then(|| firing::store_of(spec, &context));
        stores.extend(alerts.iter().map(Alerts::store));
        let node = &self.nodes[index];
        let ready = node.spec.ready_types.then(|| {
            let limits = node.spec.limits();
            ReadyTypes::new(node.name.as_str(), limits, &context)
        });
        stores.extend(ready.iter().flat_map(ReadyTypes::stores));
        if let Some(factory) = self.factory.as_mut() {
            stores.extend(factory(index, &context));
        }
        let node = &self.nodes[index];
        let (wall, limits) = (node.clock.wall(), node.spec.limits());
        for store in &stores {
            fill(&**store, node.disk.entries(store.id()), wall, limits);
        }
        ProcessStores {
            registers,
            alerting,
            alerts,
            ready,
            stores,
        }
    }
}

/// The stores of a process.
struct ProcessStores {
    registers: Map<Registers>,
    alerting: Option<Alerting>,
    alerts: Option<Alerts>,
    ready: Option<ReadyTypes>,
    /// All of them, and those of the factory.
    stores: Vec<Arc<dyn Store>>,
}

/// Gives a store what is on its node's disk, as restoring a snapshot does: what it held is taken
/// back, however far the clock has been set back since.
fn fill(store: &dyn Store, entries: Vec<Entry>, wall: Timestamp, limits: Limits) {
    let horizon = wall.plus(limits.max_clock_drift);
    let (ahead, sane): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| e.ts > horizon);
    for chunk in sane.chunks(CHUNK) {
        store.replica().merge(chunk, wall);
    }
    for entry in ahead {
        let then = entry.ts;
        store.replica().merge(&[entry], then);
    }
}
