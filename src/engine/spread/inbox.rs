//! The inbox: deltas are merged, then acknowledged.
//!
//! Packets that come twice are merged twice, which changes nothing, and acknowledged twice.

use crate::engine::core::{Core, Facts};
use crate::id::ProcessId;
use crate::wire::Delta;

use super::Spread;
use super::acks::Uncommitted;

impl Spread {
    /// A delta from a session's peer, on its link or by datagram.
    pub(in crate::engine) fn delta_received(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
        delta: &Delta,
        on_link: bool,
    ) {
        let received = core.merge_sections(process, &delta.sections);
        if !delta.uncovered.is_empty() {
            self.forward(core, facts, process, &delta.uncovered, &received.held);
        }
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        for &place in &received.replaced {
            lane.owed.owe(place);
        }
        lane.acks.on_stream = on_link;
        let packet = Uncommitted {
            packet: delta.packet,
            needs: received.needs,
            refused: received.refused,
        };
        if lane.acks.merged(packet) {
            self.schedule_ack(core, facts, process);
        }
    }
}
