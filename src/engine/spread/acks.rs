//! Acknowledgements owed to a peer: which packets, with what was refused of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::core::ledger::Ledger;
use crate::engine::core::place::SentItem;
use crate::engine::core::stores::Stores;
use crate::id::Refusal;
use crate::wire::RefusedEntry;

/// Acknowledgements owed to the peer.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Packets to acknowledge, as disjoint ascending ranges.
    pub(super) ranges: Vec<(u64, u64)>,
    /// Packets that were merged and are not on disk yet, to be told of, likewise.
    pub(super) arrived: Vec<(u64, u64)>,
    /// The entries of these packets that were not taken.
    pub(super) refused: BTreeMap<u64, Vec<RefusedEntry>>,
    /// Packets since the last acknowledgement.
    pub(super) packets: usize,
    pub(super) last_sent: Option<Duration>,
    /// The last of them came on the link.
    pub(super) on_stream: bool,
    /// Merged but not committed yet.
    uncommitted: Vec<Uncommitted>,
}

/// A packet that is acknowledged once what it brought is on disk.
#[derive(Debug, Default)]
pub(super) struct Uncommitted {
    pub(super) packet: u64,
    pub(super) needs: Vec<SentItem>,
    pub(super) refused: Vec<(u16, Refusal)>,
}

impl Acks {
    /// A packet was merged. Returns whether it may be acknowledged at once.
    pub(super) fn merged(&mut self, packet: Uncommitted) -> bool {
        let committed = packet.needs.is_empty();
        if committed {
            self.add(packet);
        } else {
            // Its sender is told that it has arrived.
            add_number(&mut self.arrived, packet.packet);
            // What there is no room for is sent again if anybody waits for it.
            if self.uncommitted.len() < UNCOMMITTED_MAX {
                self.uncommitted.push(packet);
            }
        }
        committed
    }

    /// Moves what is on disk by now to what may be acknowledged. Returns whether there was anything.
    pub(super) fn take_committed(&mut self, ledger: &Ledger, stores: &Stores) -> bool {
        let mut ready = Vec::new();
        self.uncommitted.retain_mut(|waiting| {
            waiting.needs.retain(|need| !ledger.covers(stores, need));
            if waiting.needs.is_empty() {
                ready.push(std::mem::take(waiting));
                return false;
            }
            true
        });
        let any = !ready.is_empty();
        ready.into_iter().for_each(|waiting| self.add(waiting));
        any
    }

    /// How many packets wait for the disk.
    #[cfg(feature = "sim")]
    pub(super) fn uncommitted(&self) -> usize {
        self.uncommitted.len()
    }

    /// Adds a packet that may be acknowledged.
    fn add(&mut self, waiting: Uncommitted) {
        let packet = waiting.packet;
        if !waiting.refused.is_empty() {
            let entries = waiting
                .refused
                .into_iter()
                .map(|(index, reason)| RefusedEntry {
                    packet,
                    index,
                    reason,
                });
            self.refused.insert(packet, entries.collect());
        }
        add_number(&mut self.ranges, packet);
    }
}

/// Adds a packet to disjoint ascending ranges.
#[expect(
    clippy::indexing_slicing,
    reason = "the places come from a search in it"
)]
fn add_number(ranges: &mut Vec<(u64, u64)>, packet: u64) {
    let at = ranges.partition_point(|&(_, end)| end < packet);
    match ranges.get_mut(at) {
        Some((start, _)) if *start <= packet => return,
        Some((start, _)) if packet.checked_add(1) == Some(*start) => *start = packet,
        _ => ranges.insert(at, (packet, packet)),
    }
    if at > 0 && ranges[at - 1].1.checked_add(1) == Some(packet) {
        ranges[at - 1].1 = ranges[at].1;
        ranges.remove(at);
    }
}

/// Packets merged and not committed yet, per peer; more than fits the windows is not sent.
pub(in crate::engine) const UNCOMMITTED_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledged_packets_merge_into_ranges_in_any_order() {
        let mut ack = Acks::default();
        for packet in [5, 3, 4, 9, 1, 10, 4, 2] {
            add_number(&mut ack.ranges, packet);
        }
        assert_eq!(ack.ranges, [(1, 5), (9, 10)]);
    }
}
