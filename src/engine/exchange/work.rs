//! What the exchanges that a peer begins may cost this node.
//!
//! A few hundred bytes ask for a table, a list, or all there is. Honest peers ask now and then; one that
//! asks again and again must not keep this node busy. So the work of an exchange is charged to the
//! member that began it, whatever its boot, in nominal time, for the engine reads no clock: it may
//! cost a [`SHARE`]th of the time that passes, and [`ALLOWANCE`] ahead of it, which is several lists
//! of a million entries. While it has had more, further exchanges are refused as busy, and
//! counted; honest retries back off for longer than that takes. What this node began is not
//! charged: it chose the time.

use std::time::Duration;

use crate::engine::{Engine, StreamId};
use crate::id::NodeName;

impl Engine {
    /// A table is copied and folded, or a list begun.
    pub(super) fn charge_answer(&mut self, stream: StreamId) {
        self.charge(stream, ANSWER);
    }

    /// So many runs of a store's slots are looked at, or crossed by its digests.
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
        let now = self.now.mono;
        if let Some(known) = self.swim.get_mut(&exchange.peer.name) {
            charge(&mut known.paid_off, now, work);
        }
    }

    /// Whether a member has had more work done than it may, for now.
    pub(in crate::engine) fn is_overworked_by(&self, name: &NodeName) -> bool {
        let now = self.now.mono;
        let known = self.swim.get(name);
        known.is_some_and(|known| known.paid_off > now + ALLOWANCE)
    }
}

/// More work was done at this time.
fn charge(paid_off: &mut Duration, now: Duration, work: Duration) {
    *paid_off = now.max(*paid_off) + work * SHARE;
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
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::engine::exchange::Exchange;
    use crate::id::{NodeId, ProcessId};
    use crate::store::nflog::NflogSchema;
    use crate::store::silences::support::ManualClock;
    use crate::store::{Limits, Map};
    use crate::wire::{Entry, Hello, Key, Purpose, RejectReason, SchemaId, StoreSummary, Summary};

    #[test]
    fn work_is_paid_off_by_the_time_that_passes() {
        let mut paid_off = Duration::ZERO;
        let start = Duration::from_secs(100);
        // Ten times a second for a minute: a tenth of the time is within an eighth.
        for tenths in 0..600 {
            let now = start + Duration::from_millis(100) * tenths;
            charge(&mut paid_off, now, Duration::from_millis(10));
            assert!(paid_off <= now + Duration::from_millis(100));
        }
        // All at once it is not, beyond what it may have ahead.
        let now = start * 2;
        let mut bought = 0;
        while paid_off <= now + ALLOWANCE {
            charge(&mut paid_off, now, Duration::from_millis(10));
            bought += 1;
        }
        assert_eq!(bought, 126);
    }

    fn node(name: &str, boot: u64) -> NodeId {
        NodeId {
            process: ProcessId {
                name: NodeName::new(name).unwrap(),
                boot,
            },
            renewal: 0,
            addr: ([10, 0, 0, 2], 1).into(),
        }
    }

    #[test]
    fn a_restart_pays_nothing_off() {
        let mut engine = Engine::alone(Vec::new());
        let objects = |engine: &mut Engine, name, boot| {
            let hello = Hello {
                purpose: Purpose::PushPull,
                node: node(name, boot),
                incarnation: 0,
                nonce: 100 + boot,
                token: 1,
                stores: Vec::new(),
            };
            engine.objection(&hello).map(|reject| reject.reason)
        };
        let busy = Some(RejectReason::Busy);
        let first = node("a", 1);
        engine.vouch(&first, 0, 101);
        assert_eq!(objects(&mut engine, "a", 2), None);
        let stream = StreamId(3);
        let exchange = Exchange::new(first.process, false, BTreeMap::new());
        engine.exchanges.insert(stream, exchange);
        engine.charge(stream, ALLOWANCE);
        assert_eq!(objects(&mut engine, "a", 1), busy);
        assert_eq!(objects(&mut engine, "a", 2), busy);
        engine.vouch(&node("a", 3), 0, 103);
        assert_eq!(objects(&mut engine, "a", 3), busy);
        assert_eq!(objects(&mut engine, "aa", 3), None);
    }

    /// A summary whose cut is not where the digests are, though nothing differs.
    #[test]
    fn to_move_the_digests_is_work() {
        let map = Map::new(NflogSchema, Limits::default(), ManualClock::new().context());
        let mut engine = Engine::alone(vec![map.store()]);
        let wall = engine.now.wall;
        let entry = |n: u16| {
            let mut key = [0; 16];
            key[..2].copy_from_slice(&n.to_le_bytes());
            Entry {
                key: Key(key),
                ts: wall,
                tie: 0,
                expires_at: wall.plus(Duration::from_secs(10)),
                schema: SchemaId::new(1),
                body: Bytes::new(),
            }
        };
        let entries: Vec<_> = (0..600).map(entry).collect();
        map.store().merge(&entries, wall);
        let first = node("a", 1);
        engine.vouch(&first, 0, 101);
        let stream = StreamId(3);
        let exchange = Exchange::new(first.process.clone(), false, engine.heads());
        engine.exchanges.insert(stream, exchange);
        let nothing = StoreSummary {
            store: map.store().id(),
            count: 0,
            root: 0,
            exponent: 0,
            counters: [0; 64],
        };
        let summary = Summary {
            cut: wall.plus(Duration::from_secs(20)),
            stores: vec![nothing],
        };
        engine.summary_received(stream, &summary);
        let known = engine.swim.get(&first.process.name).unwrap();
        assert_eq!(known.paid_off, engine.now.mono + LOOK * 3 * SHARE);
    }
}
