//! A simulated node: what outlives its processes, and the process that runs now.
//!
//! A process takes no time over its inputs unless it is told to be slow: then what arrives waits in
//! its inbox, as it does while it is stalled.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::alerting::Alerting;
use super::checker::Clock;
use super::disk::Disk;
use super::registers::{Registers, SimClock, Skew};
use crate::config::Config;
use crate::engine::{Engine, Input, View};
use crate::id::{ClusterId, NodeName, ProcessId};
use crate::store::{Limits, Map, Store};
use crate::time::{Now, Timestamp, WallClock as _};

/// Receive buffer for datagrams of a stalled process, in bytes: what the driver asks for.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// What a node is made with.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Whether it has the crate's own two stores as well: [`Silences`](crate::store::silences) and
    /// [`Nflog`](crate::store::nflog). All nodes of a cluster should agree on it. Default false.
    pub alerting: bool,
    /// Its cluster. Default: the empty id.
    pub cluster: ClusterId,
    /// Its configuration. Default: [`Config::lan`].
    pub config: Config,
    /// Whether it has a disk, and keeps what it committed over a crash. Default false.
    pub durable: bool,
    /// Seeds to resolve; `None` (the default) is every other node of its cluster added so far or
    /// with it.
    pub seeds: Option<Vec<String>>,
    /// How far its clock is off. Default: it is right.
    pub skew: Skew,
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            alerting: false,
            cluster: ClusterId::default(),
            config: Config::lan(),
            durable: false,
            seeds: None,
            skew: Skew::None,
        }
    }
}

/// What a node has whether or not its process runs.
pub(super) struct Node {
    pub(super) spec: NodeSpec,
    pub(super) name: NodeName,
    pub(super) addr: SocketAddr,
    pub(super) cluster: u64,
    pub(super) seeds: Vec<String>,
    pub(super) clock: SimClock,
    /// The latest time that its process has read off its clock.
    pub(super) latest_wall: Timestamp,
    pub(super) disk: Disk,
    /// Which process this is, from 1.
    pub(super) life: u64,
    pub(super) process: Option<Process>,
    pub(super) paused_until: Option<Duration>,
    /// It was asked to leave.
    pub(super) leaving: bool,
    /// It has left, and has not been restarted since.
    pub(super) left: bool,
    pub(super) swim_received: u64,
    /// Its last process, as it knew itself.
    pub(super) last_process: Option<ProcessId>,
    /// Its next process is of the next version.
    pub(super) next_version: bool,
    /// How long it takes over one input; zero is no time at all.
    pub(super) service: Duration,
    /// When it is done with the last one.
    pub(super) busy_until: Duration,
}

/// A running process.
pub(super) struct Process {
    pub(super) engine: Engine,
    pub(super) stores: Vec<Arc<dyn Store>>,
    pub(super) registers: Map<Registers>,
    pub(super) alerting: Option<Alerting>,
    pub(super) started: Duration,
    /// The wake-up that counts; others are stale.
    pub(super) wake: Option<Duration>,
    /// Wake-ups at one instant.
    pub(super) spins: (Duration, u32),
    /// Raised by the stores.
    pub(super) changed: Arc<AtomicBool>,
    /// `StoresChanged` is on its way.
    pub(super) notified: bool,
    pub(super) inbox: Inbox,
    /// It will look at its inbox when it has time.
    pub(super) serving: bool,
    /// It is of the next version.
    pub(super) next_version: bool,
    /// Messages of the next version that its engine was given.
    pub(super) strange_messages: u64,
    /// How often its engine was called.
    pub(super) turns: u64,
    pub(super) view: View,
    pub(super) revision: u64,
}

impl Node {
    /// The clocks, as the running process reads them.
    pub(super) fn now(&self, time: Duration) -> Now {
        let started = self.process.as_ref().map_or(time, |p| p.started);
        Now {
            mono: time.saturating_sub(started),
            wall: self.clock.wall(),
        }
    }

    /// What time it is for its process.
    pub(super) fn checker_clock(&self) -> Clock {
        Clock {
            wall: self.clock.wall(),
            grace: self.limits().grace(),
        }
    }

    /// The latest time that it has been for its process: what was collected before its clock was
    /// set back is gone.
    pub(super) fn latest_clock(&self) -> Clock {
        let clock = self.checker_clock();
        Clock {
            wall: clock.wall.max(self.latest_wall),
            ..clock
        }
    }

    /// The limits of its stores.
    pub(super) fn limits(&self) -> Limits {
        let config = &self.spec.config;
        Limits {
            entries_max: config.entries_max,
            entry_bytes_max: config.entry_bytes_max,
            max_clock_drift: config.max_clock_drift,
            tombstone_ttl: config.tombstone_ttl,
        }
    }
}

impl Process {
    /// Whether a store has changed since this was asked.
    pub(super) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }
}

/// What waits for a stalled process. Datagrams beyond the receive buffer are dropped, as a kernel
/// drops them.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    inputs: VecDeque<Input>,
    datagram_bytes: usize,
}

impl Inbox {
    pub(super) fn push(&mut self, input: Input) {
        if let Input::Datagram { bytes, .. } = &input {
            if self.datagram_bytes + bytes.len() > RECEIVE_BUFFER_BYTES {
                return;
            }
            self.datagram_bytes += bytes.len();
        }
        self.inputs.push_back(input);
    }

    pub(super) fn pop(&mut self) -> Option<Input> {
        let input = self.inputs.pop_front()?;
        if let Input::Datagram { bytes, .. } = &input {
            self.datagram_bytes -= bytes.len();
        }
        Some(input)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    pub(super) fn take(&mut self) -> VecDeque<Input> {
        self.datagram_bytes = 0;
        std::mem::take(&mut self.inputs)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn an_inbox_drops_datagrams_beyond_the_receive_buffer_and_nothing_else() {
        let mut inbox = Inbox::default();
        let from = SocketAddr::from(([10, 0, 0, 1], 1));
        let bytes = Bytes::from(vec![0; RECEIVE_BUFFER_BYTES / 2]);
        for _ in 0..3 {
            let bytes = bytes.clone();
            inbox.push(Input::Datagram { from, bytes });
        }
        inbox.push(Input::StoresChanged);
        assert_eq!(inbox.take().len(), 3);
        let half = RECEIVE_BUFFER_BYTES / 2;
        inbox.push(Input::Datagram { from, bytes });
        assert!(matches!(inbox.pop(), Some(Input::Datagram { bytes, .. }) if bytes.len() == half));
        assert!(inbox.is_empty() && inbox.datagram_bytes == 0);
    }
}
