//! The inbox: deltas that were merged are forwarded and acknowledged.
//!
//! Packets that come twice are merged twice, which changes nothing, and acknowledged twice.

use crate::engine::core::delta::{DeltaWay, MergedDelta};
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
            self.forward(core, facts, &process, &uncovered, &received.held);
        }
        if let Some(hand) = hand {
            self.take_duty(core, facts, &process, packet, hand, &received.held);
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
