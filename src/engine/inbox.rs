//! The inbox: deltas are merged, then acknowledged.
//!
//! An acknowledgement leaves after the merge, and after the commit where this node is durable. The
//! first packet after a pause is acknowledged at once, later ones within `ack_delay_max` or every
//! [`ACK_PACKETS`] packets. Packets that come twice are merged twice, which changes nothing, and
//! acknowledged twice.

use crate::id::ProcessId;
use crate::store::Merged;
use crate::wire::codec;
use crate::wire::{Ack, Delta, Message, Refusal, RefusedEntry, Section, StoreId};

use super::peer::Place;
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
    pub(super) needs: Vec<(StoreId, u64)>,
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
        let ack = &mut peer.ack;
        ack.on_stream = link.is_some();
        ack.refused.extend(
            received
                .refused
                .into_iter()
                .map(|(index, reason)| RefusedEntry {
                    packet: number,
                    index,
                    reason,
                }),
        );
        if received.needs.is_empty() {
            ack.add(number);
            self.schedule_ack(process);
        } else if ack.uncommitted.len() < UNCOMMITTED_MAX {
            ack.uncommitted.push_back((number, received.needs));
        }
    }

    /// Joins the entries of a delta into the stores.
    pub(super) fn merge_sections(&mut self, from: &ProcessId, sections: &[Section]) -> Received {
        let mut received = Received::default();
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
                let results = store.merge(entries, self.now.wall);
                for (entry, result) in entries.iter().zip(results) {
                    let place = (section.store, entry.key);
                    self.entry_merged(from, place, index, result, &mut received);
                    index += 1;
                }
            }
        }
        received
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
                    received
                        .needs
                        .extend(held.map(|change| (store, change.seq)));
                }
            }
            Merged::Stored { seq, quarantined } => {
                self.counters.entries_merged += 1;
                received.held.push(place);
                self.remote.entry(store).or_default().insert(seq);
                if self.setup.durable {
                    received.needs.push((store, seq));
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
        let link = peer.link.filter(|_| peer.ack.on_stream);
        let (addr, token) = (peer.addr, peer.their_token);
        let ranges = std::mem::take(&mut peer.ack.ranges);
        let refused = std::mem::take(&mut peer.ack.refused);
        for ack in split_ack(token, ranges, refused, bytes_max) {
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
            let mut ready = false;
            while let Some((_, needs)) = peer.ack.uncommitted.front() {
                if !self.commits.covers(needs) {
                    break;
                }
                if let Some((number, _)) = peer.ack.uncommitted.pop_front() {
                    peer.ack.add(number);
                    ready = true;
                }
            }
            if ready {
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

/// Cuts an acknowledgement to datagrams. Refusals travel with, or before, the range of their packet.
fn split_ack(
    token: u64,
    ranges: Vec<(u64, u64)>,
    refused: Vec<RefusedEntry>,
    bytes_max: usize,
) -> Vec<Ack> {
    let room = bytes_max.saturating_sub(codec::ACK_OVERHEAD + crate::wire::frame::ENVELOPE_BYTES);
    let mut acks = vec![Ack {
        token,
        ranges: Vec::new(),
        refused: Vec::new(),
    }];
    let mut left = room;
    for (start, end) in ranges {
        let theirs: Vec<_> = refused
            .iter()
            .filter(|r| start <= r.packet && r.packet <= end)
            .copied()
            .collect();
        let needed = codec::ACK_RANGE_BYTES + theirs.len() * codec::ACK_REFUSED_BYTES;
        if needed > left && left < room {
            acks.push(Ack {
                token,
                ranges: Vec::new(),
                refused: Vec::new(),
            });
            left = room;
        }
        if let Some(ack) = acks.last_mut() {
            ack.ranges.push((start, end));
            // More refusals than a datagram holds: the rest reads as held, until the next
            // exchange tells the truth. Only a packet of over a hundred refused entries gets here.
            let fit = left.saturating_sub(codec::ACK_RANGE_BYTES) / codec::ACK_REFUSED_BYTES;
            ack.refused.extend(theirs.into_iter().take(fit));
        }
        left = left.saturating_sub(needed);
    }
    acks.retain(|ack| !ack.ranges.is_empty());
    acks
}

const MERGE_CHUNK: usize = 256;
/// Packets after which an acknowledgement is not delayed any longer.
const ACK_PACKETS: usize = 8;
/// Packets merged and not committed yet, per peer; more than fits the windows is not sent.
const UNCOMMITTED_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_travel_with_the_range_of_their_packet() {
        let refused = |packet| RefusedEntry {
            packet,
            index: 0,
            reason: Refusal::Full,
        };
        let ranges: Vec<_> = (0..200).map(|n| (n * 3, n * 3 + 1)).collect();
        let all: Vec<_> = (0..200).map(|n| refused(n * 3)).collect();
        let acks = split_ack(7, ranges.clone(), all.clone(), 1400);
        assert!(acks.len() > 1);
        let mut seen = Vec::new();
        for ack in &acks {
            assert!(codec::encoded_len(&Message::Ack(ack.clone())) + 9 <= 1400);
            for r in &ack.refused {
                assert!(
                    ack.ranges
                        .iter()
                        .any(|&(s, e)| s <= r.packet && r.packet <= e)
                );
            }
            seen.extend(ack.ranges.iter().copied());
        }
        assert_eq!(seen, ranges);
        assert_eq!(
            acks.iter().map(|ack| ack.refused.len()).sum::<usize>(),
            all.len()
        );
    }
}
