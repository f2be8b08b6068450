//! The inbox: deltas that were merged are forwarded and acknowledged.
//!
//! Packets that come twice are merged twice, which changes nothing, and acknowledged twice.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::core::ask::Ask;
use crate::engine::core::delta::{DeltaWay, MergedDelta, Received};
use crate::engine::core::place::StoreKey;
use crate::engine::core::{Core, Facts};

use super::Spread;
use super::acks::Uncommitted;

impl Spread {
    /// A delta from a session's peer, on its link or by datagram, has been merged.
    pub(in crate::engine) fn delta_merged(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        merged: MergedDelta,
    ) {
        let MergedDelta {
            process,
            way,
            packet,
            uncovered,
            hand,
            received,
        } = merged;
        if !uncovered.is_empty() {
            let work = self.forward(core, facts, &process, &uncovered, &received);
            core.ask(Ask::PassedOn(process.name.clone(), work));
        }
        if let Some(hand) = hand {
            let work = self.take_duty(core, facts, &process, packet, hand, &received);
            core.ask(Ask::PassedOn(process.name.clone(), work));
        }
        let Some(lane) = self.lanes.get_mut(&process) else {
            return;
        };
        for &place in &received.replaced {
            lane.owed.owe(place);
        }
        lane.acks.on_stream = way != DeltaWay::Datagram;
        let packet = Uncommitted {
            packet,
            needs: received.needs,
            refused: received.refused,
        };
        lane.acks.merged(packet);
        self.schedule_ack(core, facts, &process);
    }
}

/// What it costs to pass on what a member sent. What was new here is passed on once, and its sender pays for the
/// looking alone. What was known costs its sender a few bytes, however large the value that is held, as often as it
/// likes: it pays for the sending.
#[derive(Debug)]
pub(super) struct PassingOn {
    known: BTreeMap<StoreKey, usize>,
    looks: usize,
    bytes: usize,
}

impl PassingOn {
    pub(super) fn of(core: &Core, received: &Received) -> Self {
        let known = received.known.iter().filter_map(|place| {
            let held = core.stores.held(place)?;
            Some((*place, held.entry.encoded_len()))
        });
        let known = known.collect();
        Self {
            known,
            looks: 0,
            bytes: 0,
        }
    }

    /// So many entries were looked at for one receiver.
    pub(super) fn look(&mut self, entries: usize) {
        self.looks += entries;
    }

    /// An entry is owed to one more.
    pub(super) fn owe(&mut self, place: &StoreKey) {
        self.bytes += self.known.get(place).copied().unwrap_or_default();
    }

    pub(super) fn work(&self) -> Duration {
        let times = |work: Duration, count: usize| {
            work.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
        };
        times(LOOK, self.looks) + times(BYTE_SENT, self.bytes)
    }
}

/// Entries times receivers that one packet may have this node look at. Who hands something on keeps to half of it, as
/// far as it knows the receivers.
pub(super) const LOOKS_MAX: usize = 16_384;
const LOOK: Duration = Duration::from_nanos(200);
/// A member may have a quarter of the time: it can have 25 MB sent in a second that say nothing new. Who has its entries
/// brought past a broken link sends relays what they know.
const BYTE_SENT: Duration = Duration::from_nanos(10);
