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
    /// Merged but not committed yet, and how many entries these wait for.
    uncommitted: Vec<Uncommitted>,
    entries: usize,
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
            let entries = self.entries + packet.needs.len();
            if self.uncommitted.len() < UNCOMMITTED_MAX && entries <= UNCOMMITTED_ENTRIES_MAX {
                self.entries = entries;
                self.uncommitted.push(packet);
            }
        }
        committed
    }

    /// Moves what is on disk by now to what may be acknowledged. Returns whether there was anything.
    pub(super) fn take_committed(&mut self, ledger: &Ledger, stores: &Stores) -> bool {
        let mut ready = Vec::new();
        let entries = &mut self.entries;
        self.uncommitted.retain_mut(|waiting| {
            // One that is not on disk is enough to know: most are looked at once.
            while let Some(need) = waiting.needs.last()
                && ledger.covers(stores, need)
            {
                waiting.needs.pop();
                *entries -= 1;
            }
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

    /// How many packets wait for the disk, or how many entries for each that a packet may have.
    #[cfg(feature = "sim")]
    pub(super) fn uncommitted(&self) -> usize {
        let for_each = UNCOMMITTED_ENTRIES_MAX / UNCOMMITTED_MAX;
        self.uncommitted.len().max(self.entries.div_ceil(for_each))
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
/// And the entries that they wait for: 2 MiB.
const UNCOMMITTED_ENTRIES_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::core;
    use crate::id::{Key, StoreId};

    #[test]
    fn what_waits_for_the_disk_is_bounded_in_packets_and_entries() {
        let mut acks = Acks::default();
        let packet = |packet, entries: usize| Uncommitted {
            packet,
            needs: vec![((StoreId(1), Key([0; 16])), 1); entries],
            refused: Vec::new(),
        };
        for n in 0..17 {
            assert!(!acks.merged(packet(n, 4096)));
        }
        assert_eq!(
            (acks.uncommitted.len(), acks.entries),
            (16, UNCOMMITTED_ENTRIES_MAX)
        );
        // A store that is not kept on disk has nothing to wait for.
        let (ledger, core) = (Ledger::default(), core());
        assert!(acks.take_committed(&ledger, &core.stores));
        assert_eq!((acks.uncommitted.len(), acks.entries), (0, 0));
        assert_eq!(acks.ranges, [(0, 15)]);
        assert_eq!(acks.arrived, [(0, 16)]);
    }

    #[test]
    fn acknowledged_packets_merge_into_ranges_in_any_order() {
        let mut ack = Acks::default();
        for packet in [5, 3, 4, 9, 1, 10, 4, 2] {
            add_number(&mut ack.ranges, packet);
        }
        assert_eq!(ack.ranges, [(1, 5), (9, 10)]);
    }
}
