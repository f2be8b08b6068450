//! What the exchanges that a peer begins may cost this node.
//!
//! A few hundred bytes ask for a table, a list, or all there is. Honest peers ask now and then; one that
//! asks again and again must not keep this node busy. So the work of an exchange is charged to the
//! session of the peer that began it, in nominal time, for the engine reads no clock: a peer may
//! cost a [`SHARE`]th of the time that passes, and [`ALLOWANCE`] ahead of it, which is several lists
//! of a million entries. While it has had more, further exchanges are refused as busy, and
//! counted; honest retries back off for longer than that takes. What this node began is not
//! charged: it chose the time.

use std::time::Duration;

use crate::engine::peer::Peer;
use crate::engine::{Engine, StreamId};
use crate::id::{NodeName, ProcessId};

impl Engine {
    /// A table is copied and folded, or a list begun.
    pub(super) fn charge_answer(&mut self, stream: StreamId) {
        self.charge(stream, ANSWER);
    }

    /// So many runs of a store's slots are looked at.
    pub(super) fn charge_looks(&mut self, stream: StreamId, runs: usize) {
        self.charge(stream, times(LOOK, runs));
    }

    /// So many entries are sent.
    pub(super) fn charge_entries(&mut self, stream: StreamId, entries: usize) {
        self.charge(stream, times(ENTRY, entries));
    }

    fn charge(&mut self, stream: StreamId, work: Duration) {
        let Some(exchange) = self.exchanges.get(&stream) else {
            return;
        };
        if exchange.initiator {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&exchange.peer) {
            peer.charge(self.now.mono, work);
        }
    }

    /// When the work of a member is made up for. A restart pays nothing off.
    pub(in crate::engine) fn paid_off(&self, name: &NodeName) -> Duration {
        let process = |boot| ProcessId {
            name: name.clone(),
            boot,
        };
        let sessions = self.peers.range(process(0)..=process(u64::MAX));
        sessions
            .map(|(_, peer)| peer.paid_off)
            .max()
            .unwrap_or_default()
    }

    /// Whether a member has had more work done than it may, for now.
    pub(in crate::engine) fn is_overworked_by(&self, name: &NodeName) -> bool {
        self.paid_off(name) > self.now.mono + ALLOWANCE
    }
}

impl Peer {
    /// It made this node work.
    fn charge(&mut self, now: Duration, work: Duration) {
        self.paid_off = self.paid_off.max(now) + work * SHARE;
    }
}

fn times(work: Duration, count: usize) -> Duration {
    work * u32::try_from(count).unwrap_or(u32::MAX)
}

/// A peer may cost one part in so many of this node's time.
const SHARE: u32 = 8;
const ALLOWANCE: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_millis(1);
/// Of 256 slots.
const LOOK: Duration = Duration::from_micros(5);
const ENTRY: Duration = Duration::from_nanos(500);

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::SocketAddr;

    use super::*;
    use crate::id::NodeId;
    use crate::wire::{Hello, Purpose, RejectReason};

    #[test]
    fn work_is_paid_off_by_the_time_that_passes() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut peer = Peer::new(addr, 1, BTreeSet::new(), BTreeMap::new());
        let start = Duration::from_secs(100);
        // Ten times a second for a minute: a tenth of the time is within an eighth.
        for tenths in 0..600 {
            let now = start + Duration::from_millis(100) * tenths;
            peer.charge(now, Duration::from_millis(10));
            assert!(peer.paid_off <= now + Duration::from_millis(100));
        }
        // All at once it is not, beyond what it may have ahead.
        let now = start * 2;
        let mut bought = 0;
        while peer.paid_off <= now + ALLOWANCE {
            peer.charge(now, Duration::from_millis(10));
            bought += 1;
        }
        assert_eq!(bought, 126);
    }

    #[test]
    fn a_restart_pays_nothing_off() {
        let name = |name| NodeName::new(name).unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut engine = Engine::alone();
        let now = engine.now.mono;
        let process = |name, boot| ProcessId { name, boot };
        let objects = |engine: &mut Engine, name, boot| {
            let hello = Hello {
                purpose: Purpose::PushPull,
                node: NodeId {
                    process: process(name, boot),
                    renewal: 0,
                    addr,
                },
                incarnation: 0,
                nonce: 100 + boot,
                token: 1,
                stores: Vec::new(),
            };
            engine.objection(&hello).map(|reject| reject.reason)
        };
        let first = process(name("a"), 1);
        engine.session(&first, addr, 1, 1, &[], false);
        assert_eq!(objects(&mut engine, name("a"), 2), None);
        let peer = engine.peers.get_mut(&first).unwrap();
        peer.charge(now, ALLOWANCE);
        assert_eq!(objects(&mut engine, name("a"), 1), Some(RejectReason::Busy));
        assert_eq!(objects(&mut engine, name("a"), 2), Some(RejectReason::Busy));
        assert_eq!(objects(&mut engine, name("aa"), 2), None);
    }
}
