//! The inbox: deltas are merged, then acknowledged.
//!
//! An acknowledgement leaves after the merge, and after the commit where this node is durable. The
//! first packet after a pause is acknowledged at once, later ones within `ack_delay_max` or every
//! [`ACK_PACKETS`] packets. Packets that come twice are merged twice, which changes nothing, and
//! acknowledged twice.

use std::collections::BTreeMap;

use crate::crdt::compare_versions;
use crate::id::ProcessId;
use crate::store::Merged;
use crate::wire::codec;
use crate::wire::{Ack, Delta, Entry, Message, Refusal, RefusedEntry, Section, StoreId, frame};

use super::peer::{Place, SentItem, Uncommitted};
use super::timers::Kind;
use super::{Engine, Event, StreamId};

/// What became of the entries of a delta.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Entries not taken: position in the packet, and why.
    pub(super) refused: Vec<(u16, Refusal)>,
    /// Entries held now, whether they were news or not.
    pub(super) held: Vec<Place>,
    /// What must be on disk before the delta may be acknowledged; empty where memory suffices.
    pub(super) needs: Vec<SentItem>,
    /// Keys of which the sender still has what an entry replaced that has expired here since.
    /// Exchanges compare what lives, so no exchange would tell it: whoever sees it answers.
    pub(super) replaced: Vec<Place>,
}

impl Engine {
    /// A delta from a session's peer, on its link or by datagram.
    pub(super) fn delta_received(
        &mut self,
        process: &ProcessId,
        delta: Delta,
        link: Option<StreamId>,
    ) {
        let (number, uncovered) = (delta.packet, delta.uncovered);
        let received = self.merge_sections(process, &delta.sections);
        if !uncovered.is_empty() {
            self.forward(process, &uncovered, &received.held);
        }
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        received.replaced.iter().for_each(|&place| peer.owe(place));
        peer.ack.on_stream = link.is_some();
        let waiting = Uncommitted {
            packet: number,
            needs: received.needs,
            refused: received.refused,
        };
        if waiting.needs.is_empty() {
            peer.ack.add(waiting);
            self.schedule_ack(process);
        } else if peer.ack.uncommitted.len() < UNCOMMITTED_MAX {
            peer.ack.uncommitted.push(waiting);
        }
    }

    /// Joins the entries of a delta into the stores.
    pub(super) fn merge_sections(&mut self, from: &ProcessId, sections: &[Section]) -> Received {
        let mut received = Received::default();
        let mut results = Vec::new();
        let mut index: usize = 0;
        for section in sections {
            let Some(store) = self.stores.get(&section.store).cloned() else {
                for _ in &section.entries {
                    received.refuse(index, Refusal::NoStore);
                    index += 1;
                }
                continue;
            };
            self.counters.entries_received += section.entries.len() as u64;
            for entries in section.entries.chunks(MERGE_CHUNK) {
                store.merge_into(entries, self.now.wall, &mut results);
                for (entry, result) in entries.iter().zip(results.drain(..)) {
                    let place = (section.store, entry.key);
                    if result == Merged::Known && self.has_replaced(section.store, entry) {
                        received.replaced.push(place);
                    }
                    self.entry_merged(from, place, index, result, &mut received);
                    index += 1;
                }
            }
        }
        received
    }

    /// Whether something replaced this entry that has expired since.
    fn has_replaced(&self, store: StoreId, entry: &Entry) -> bool {
        let wall = self.now.wall;
        let held = || self.stores.get(&store).and_then(|s| s.held(&entry.key));
        entry.outlives(wall)
            && held().is_some_and(|held| {
                !held.entry.outlives(wall) && compare_versions(&held.entry, entry).is_gt()
            })
    }

    fn entry_merged(
        &mut self,
        from: &ProcessId,
        place: Place,
        index: usize,
        result: Merged,
        received: &mut Received,
    ) {
        let (store, key) = place;
        match result {
            Merged::Refused(reason) => {
                self.counters.entries_refused += 1;
                if reason == Refusal::Full && self.full_stores.insert(store) {
                    self.revision += 1;
                }
                received.refuse(index, reason);
                let peer = from.name.clone();
                self.emit(Event::EntryRefused {
                    peer,
                    store,
                    key,
                    reason,
                    by_us: true,
                });
            }
            Merged::Known => {
                received.held.push(place);
                if self.setup.durable {
                    let held = self.stores.get(&store).and_then(|store| store.held(&key));
                    let unkept = held.filter(|held| !self.is_durable(place, held.seq));
                    let needs = unkept.map(|change| (place, change.seq));
                    received.needs.extend(needs);
                }
            }
            Merged::Stored {
                seq,
                as_sent,
                quarantined,
            } => {
                self.counters.entries_merged += 1;
                received.held.push(place);
                // A join that nobody else has is this node's to send, like a write of its own.
                if as_sent {
                    self.remote.entry(store).or_default().insert(seq);
                }
                if self.setup.durable {
                    received.needs.push((place, seq));
                }
                if quarantined {
                    self.emit(Event::EntryQuarantined { store, key });
                }
            }
        }
    }

    fn schedule_ack(&mut self, process: &ProcessId) {
        let now = self.now.mono;
        let delay = self.config.ack_delay_max;
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        peer.ack.packets += 1;
        let idle = peer.ack.last_sent.is_none_or(|sent| sent + delay <= now);
        if idle || peer.ack.packets >= ACK_PACKETS {
            self.send_ack(process);
        } else {
            self.timers.set_by(Kind::Ack(process.clone()), now + delay);
        }
    }

    /// Sends the acknowledgements that are owed to a peer, on the path the data came by.
    pub(super) fn send_ack(&mut self, process: &ProcessId) {
        self.timers.cancel(&Kind::Ack(process.clone()));
        let now = self.now.mono;
        let bytes_max = self.config.packet_bytes_max;
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        peer.ack.packets = 0;
        peer.ack.last_sent = Some(now);
        let datagram = bytes_max.saturating_sub(codec::ACK_OVERHEAD + frame::ENVELOPE_BYTES);
        let bulky = |refused: &Vec<RefusedEntry>| ack_bytes(refused.len()) > datagram;
        let wide = peer.ack.refused.values().any(bulky);
        let link = peer.link.filter(|_| peer.ack.on_stream || wide);
        let (addr, token) = (peer.addr, peer.their_token);
        let ranges = std::mem::take(&mut peer.ack.ranges);
        let refused = std::mem::take(&mut peer.ack.refused);
        // Far more than the windows let a peer send.
        let room = if link.is_some() { usize::MAX } else { datagram };
        for ack in split_ack(token, ranges, refused, room) {
            let message = Message::Ack(ack);
            match link {
                Some(link) => drop(self.send_frame(link, &message)),
                None => self.send_datagram(addr, &message),
            }
        }
    }

    /// Acknowledges what a commit has made durable.
    pub(super) fn acknowledge_committed(&mut self) {
        let processes: Vec<_> = self.peers.keys().cloned().collect();
        for process in processes {
            let Some(peer) = self.peers.get_mut(&process) else {
                continue;
            };
            let mut ready = Vec::new();
            let commits = &self.commits;
            let stores = &self.stores;
            peer.ack.uncommitted.retain_mut(|waiting| {
                waiting.needs.retain(|need| !commits.covers(stores, need));
                if waiting.needs.is_empty() {
                    ready.push(std::mem::take(waiting));
                }
                !waiting.needs.is_empty()
            });
            let any = !ready.is_empty();
            ready.into_iter().for_each(|waiting| peer.ack.add(waiting));
            if any {
                self.schedule_ack(&process);
            }
        }
    }
}

impl Received {
    fn refuse(&mut self, index: usize, reason: Refusal) {
        // The decoder bounds the entries of a delta below this.
        if let Ok(index) = u16::try_from(index) {
            self.refused.push((index, reason));
        }
    }
}

/// What one packet with so many refusals takes in an acknowledgement.
fn ack_bytes(refusals: usize) -> usize {
    codec::ACK_RANGE_BYTES + refusals * codec::ACK_REFUSED_BYTES
}

/// Cuts an acknowledgement to messages of at most `room` bytes of ranges and refusals. A packet
/// travels with all of its refusals or not at all: one that does not fit is sent again, and
/// acknowledged where there is room.
fn split_ack(
    token: u64,
    ranges: Vec<(u64, u64)>,
    refused: BTreeMap<u64, Vec<RefusedEntry>>,
    room: usize,
) -> Vec<Ack> {
    let empty = || Ack {
        token,
        ranges: Vec::new(),
        refused: Vec::new(),
    };
    let mut acks = vec![empty()];
    let mut left = room;
    let mut push = |range: (u64, u64), refused: &[RefusedEntry]| {
        let needed = ack_bytes(refused.len());
        if needed > room {
            return;
        }
        let full = acks
            .last()
            .is_some_and(|ack| ack.ranges.len() >= ACK_RANGES_MAX);
        if needed > left || full {
            acks.push(empty());
            left = room;
        }
        left -= needed;
        if let Some(ack) = acks.last_mut() {
            ack.ranges.push(range);
            ack.refused.extend_from_slice(refused);
        }
    };
    for (mut start, end) in ranges {
        for (&packet, entries) in refused.range(start..=end) {
            if start < packet {
                push((start, packet - 1), &[]);
            }
            push((packet, packet), entries);
            start = packet.saturating_add(1);
        }
        if start <= end {
            push((start, end), &[]);
        }
    }
    acks.retain(|ack| !ack.ranges.is_empty());
    acks
}

/// What the decoder takes in one acknowledgement.
const ACK_RANGES_MAX: usize = 4096;
const MERGE_CHUNK: usize = 256;
/// Packets after which an acknowledgement is not delayed any longer.
const ACK_PACKETS: usize = 8;
/// Packets merged and not committed yet, per peer; more than fits the windows is not sent.
pub(super) const UNCOMMITTED_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_acknowledged_with_all_of_its_refusals_or_not_at_all() {
        let refused = |packet, count| -> Vec<_> {
            let entry = |index| RefusedEntry {
                packet,
                index,
                reason: Refusal::Full,
            };
            (0..count).map(entry).collect()
        };
        let mut all = BTreeMap::from([(5, refused(5, 20)), (7, refused(7, 1000))]);
        all.extend((100..200).map(|packet| (packet, refused(packet, 3))));
        let acks = split_ack(7, vec![(1, 9), (50, 300)], all.clone(), 1300);
        let mut told = BTreeMap::new();
        let mut packets = Vec::new();
        for ack in acks {
            let bytes = codec::encoded_len(&Message::Ack(ack.clone()));
            assert!(bytes <= 1300 + codec::ACK_OVERHEAD);
            packets.extend(ack.ranges.iter().flat_map(|&(start, end)| start..=end));
            for entry in ack.refused {
                *told.entry(entry.packet).or_insert(0) += 1;
            }
        }
        let expected: Vec<u64> = (1..=9)
            .chain(50..=300)
            .filter(|&packet| packet != 7)
            .collect();
        assert_eq!(packets, expected);
        all.remove(&7);
        let counts: BTreeMap<_, _> = all.iter().map(|(&p, entries)| (p, entries.len())).collect();
        assert_eq!(told, counts);
        // On a link there is room for all of them.
        let whole = BTreeMap::from([(7, refused(7, 1000))]);
        let acks = split_ack(7, vec![(7, 7)], whole, usize::MAX);
        assert_eq!(
            acks.iter().map(|ack| ack.refused.len()).sum::<usize>(),
            1000
        );
    }
}
