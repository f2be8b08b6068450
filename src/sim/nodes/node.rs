//! A simulated node: what outlives its processes, and the process that runs now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::address::address;
use super::clock::{ProcessTime, SimClock};
use super::disk::Disk;
use super::liar::Liar;
use super::process::Process;
use super::spec::NodeSpec;
use crate::engine::StreamId;
use crate::id::{NodeName, ProcessId};
use crate::time::{Now, Timestamp, WallClock as _};
use crate::wire::envelope::Envelope;

/// One process, as it is counted from outside: a node and which of its lives.
pub(in crate::sim) type Life = (usize, u64);

/// What a node has whether or not its process runs.
pub(in crate::sim) struct SimNode {
    pub(in crate::sim) spec: NodeSpec,
    pub(in crate::sim) name: NodeName,
    pub(in crate::sim) addr: SocketAddr,
    pub(in crate::sim) cluster: u64,
    pub(in crate::sim) envelope: Envelope,
    pub(in crate::sim) seeds: Vec<String>,
    pub(in crate::sim) clock: SimClock,
    /// The latest time that its process has read off its clock.
    pub(in crate::sim) latest_wall: Timestamp,
    pub(in crate::sim) disk: Disk,
    /// What it remembers for its lies, if it is a liar.
    pub(in crate::sim) liar: Option<Box<Liar>>,
    /// Which process this is, from 1.
    pub(in crate::sim) life: u64,
    pub(in crate::sim) process: Option<Process>,
    pub(in crate::sim) paused_until: Option<Duration>,
    /// When something was last done to it, or to one of its links.
    pub(in crate::sim) disturbed: Duration,
    /// It was asked to leave.
    pub(in crate::sim) leaving: bool,
    /// It has left, and has not been restarted since.
    pub(in crate::sim) left: bool,
    pub(in crate::sim) swim_received: u64,
    /// Its last process, as it knew itself.
    pub(in crate::sim) last_process: Option<ProcessId>,
    /// Its next process is of the next version.
    pub(in crate::sim) next_version: bool,
    /// How long it takes over one input; zero is no time at all.
    pub(in crate::sim) service: Duration,
    /// When it is done with the last one.
    pub(in crate::sim) busy_until: Duration,
    /// How many frames its process was given on each stream that it has not said to be done with.
    pub(in crate::sim) not_done: BTreeMap<StreamId, usize>,
    /// Its streams with liars: also those whose other end has gone, while something is on its way.
    pub(in crate::sim) liars_streams: BTreeSet<StreamId>,
}

impl SimNode {
    /// A node whose process does not run yet.
    pub(in crate::sim) fn new(index: usize, spec: NodeSpec, clock: SimClock) -> Self {
        Self {
            name: NodeName::new(&format!("n{index}")).expect("a short name is valid"),
            addr: address(index, 0),
            cluster: spec.cluster.tag(),
            envelope: Envelope::of(&spec.cluster),
            seeds: spec.seeds.clone().unwrap_or_default(),
            spec,
            clock,
            latest_wall: Timestamp::default(),
            disk: Disk::default(),
            liar: None,
            life: 0,
            process: None,
            paused_until: None,
            disturbed: Duration::ZERO,
            leaving: false,
            left: false,
            swim_received: 0,
            last_process: None,
            next_version: false,
            service: Duration::ZERO,
            busy_until: Duration::ZERO,
            not_done: BTreeMap::new(),
            liars_streams: BTreeSet::new(),
        }
    }

    /// Whether it stands still, or takes its time over each input.
    pub(in crate::sim) fn is_held_up(&self) -> bool {
        self.paused_until.is_some() || !self.service.is_zero()
    }

    /// Whether it is a liar.
    pub(in crate::sim) fn is_liar(&self) -> bool {
        self.liar.is_some()
    }

    /// A stream has ended for it.
    pub(in crate::sim) fn forget_stream(&mut self, stream: StreamId) {
        self.not_done.remove(&stream);
        self.liars_streams.remove(&stream);
    }

    /// The clocks, as the running process reads them.
    pub(in crate::sim) fn now(&self, time: Duration) -> Now {
        let started = self.process.as_ref().map_or(time, |p| p.started);
        Now {
            mono: time.saturating_sub(started),
            wall: self.clock.wall(),
        }
    }

    /// What time it is for its process.
    pub(in crate::sim) fn process_time(&self) -> ProcessTime {
        ProcessTime {
            wall: self.clock.wall(),
            grace: self.spec.limits().grace(),
        }
    }

    /// The latest that an entry may be stamped that its process takes from others.
    pub(in crate::sim) fn horizon(&self) -> Timestamp {
        self.clock.wall().plus(self.spec.config.max_clock_drift)
    }

    /// The latest time that it has been for its process: what was collected before its clock was
    /// set back is gone.
    pub(in crate::sim) fn latest_process_time(&self) -> ProcessTime {
        let clock = self.process_time();
        ProcessTime {
            wall: clock.wall.max(self.latest_wall),
            ..clock
        }
    }
}

/// The other nodes of a node's cluster.
pub(in crate::sim) fn peers_of(nodes: &[SimNode], index: usize) -> impl Iterator<Item = usize> {
    let cluster = nodes[index].cluster;
    let nodes = nodes.iter().enumerate();
    nodes.filter_map(move |(other, node)| {
        (other != index && node.cluster == cluster).then_some(other)
    })
}
