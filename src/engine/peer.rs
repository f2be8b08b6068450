//! A session with a peer process: what it has acknowledged, what is under way to it, and what is
//! owed to it.
//!
//! Keyed by process, so a restart is a new session. A session starts at the head of the change
//! index and runs anti-entropy for what came before; it never replays from zero.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::id::ProcessId;
use crate::wire::{Key, Refusal, RefusedEntry, StoreId};

use super::io::StreamId;
use super::refusals::Refusals;

/// A key within a store.
pub(super) type Place = (StoreId, Key);

/// One entry in a packet: where it is from, and the change that was sent.
pub(super) type SentItem = (Place, u64);

/// A packet that is not acknowledged yet.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) sent_at: Duration,
    pub(super) bytes: usize,
    pub(super) items: Vec<SentItem>,
    pub(super) on_stream: bool,
}

/// A key that the peer is not known to hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outstanding {
    /// The change last sent.
    pub(super) seq: u64,
    /// The packet it went in; `None` while it waits to be sent again.
    pub(super) packet: Option<u64>,
    /// Others have been asked to forward this change.
    pub(super) relayed: bool,
}

/// Acknowledgements owed to the peer.
#[derive(Debug, Default)]
pub(super) struct AckState {
    /// Packets to acknowledge, as disjoint ascending ranges.
    pub(super) ranges: Vec<(u64, u64)>,
    /// The entries of these packets that were not taken.
    pub(super) refused: BTreeMap<u64, Vec<RefusedEntry>>,
    /// Packets since the last acknowledgement.
    pub(super) packets: usize,
    pub(super) last_sent: Option<Duration>,
    /// The last of them came on the link.
    pub(super) on_stream: bool,
    /// Merged but not committed yet.
    pub(super) uncommitted: Vec<Uncommitted>,
}

/// A packet that is acknowledged once what it brought is on disk.
#[derive(Debug, Default)]
pub(super) struct Uncommitted {
    pub(super) packet: u64,
    pub(super) needs: Vec<SentItem>,
    pub(super) refused: Vec<(u16, Refusal)>,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) addr: SocketAddr,
    pub(super) link: Option<StreamId>,
    /// What datagrams from the peer carry, as the last handshake named it.
    pub(super) our_token: u64,
    /// The tokens named by the last few handshakes.
    pub(super) tokens: VecDeque<u64>,
    /// What datagrams to the peer carry.
    pub(super) their_token: u64,
    /// Stores that both sides have.
    pub(super) stores: BTreeSet<StoreId>,
    /// No exchange is owed: the peer lacks nothing that the cursor does not bring.
    pub(super) synced: bool,
    /// The change up to which a completed exchange covers the peer, by store.
    pub(super) base: BTreeMap<StoreId, u64>,
    /// The head when the session, or its last catching up, began.
    pub(super) start: BTreeMap<StoreId, u64>,
    /// Changes up to here have been sent, or are outstanding.
    pub(super) cursor: BTreeMap<StoreId, u64>,
    pub(super) outstanding: BTreeMap<Place, Outstanding>,
    /// Outstanding keys that wait to be sent again.
    pub(super) retry: BTreeSet<Place>,
    /// Outstanding keys too large for a datagram.
    pub(super) bulky: BTreeSet<Place>,
    pub(super) inflight: BTreeMap<u64, Packet>,
    pub(super) datagram_bytes: usize,
    pub(super) stream_bytes: usize,
    pub(super) next_packet: u64,
    /// Smoothed round trip, acknowledgement delay included (RFC 6298's 1/8 gain).
    pub(super) rtt: Option<Duration>,
    /// Probe timeouts in a row.
    pub(super) probes: u32,
    /// Served over the link until caught up.
    pub(super) streaming: bool,
    /// Since when data has been out without any acknowledgement.
    pub(super) silent_since: Option<Duration>,
    /// Others forward to it what we write.
    pub(super) uncovered: bool,
    /// Writers who asked us to forward a key to this peer.
    pub(super) relayed_for: BTreeMap<Place, BTreeSet<ProcessId>>,
    pub(super) refused: Refusals,
    pub(super) ack: AckState,
    /// The next exchange, if it is not synced.
    pub(super) next_exchange: Duration,
    pub(super) exchange_backoff: Duration,
}

impl Peer {
    pub(super) fn new(
        addr: SocketAddr,
        our_token: u64,
        stores: BTreeSet<StoreId>,
        heads: BTreeMap<StoreId, u64>,
    ) -> Self {
        Self {
            addr,
            link: None,
            our_token,
            tokens: VecDeque::new(),
            their_token: 0,
            stores,
            synced: false,
            base: BTreeMap::new(),
            start: heads.clone(),
            cursor: heads,
            outstanding: BTreeMap::new(),
            retry: BTreeSet::new(),
            bulky: BTreeSet::new(),
            inflight: BTreeMap::new(),
            datagram_bytes: 0,
            stream_bytes: 0,
            next_packet: 1,
            rtt: None,
            probes: 0,
            streaming: false,
            silent_since: None,
            uncovered: false,
            relayed_for: BTreeMap::new(),
            refused: Refusals::default(),
            ack: AckState::default(),
            next_exchange: Duration::ZERO,
            exchange_backoff: Duration::ZERO,
        }
    }

    /// Owes the peer the current value of a key.
    pub(super) fn owe(&mut self, place: Place) {
        self.outstanding.entry(place).or_default().packet = None;
        if !self.bulky.contains(&place) {
            self.retry.insert(place);
        }
    }

    /// The peer need not be sent this key any more.
    pub(super) fn settle(&mut self, place: &Place) {
        self.outstanding.remove(place);
        self.retry.remove(place);
        self.bulky.remove(place);
    }

    /// Takes a packet out of the flight.
    pub(super) fn land(&mut self, number: u64) -> Option<Packet> {
        let packet = self.inflight.remove(&number)?;
        let bytes = if packet.on_stream {
            &mut self.stream_bytes
        } else {
            &mut self.datagram_bytes
        };
        *bytes = bytes.saturating_sub(packet.bytes);
        Some(packet)
    }

    /// A packet is lost: whatever it carried and no later packet carries is owed again.
    pub(super) fn lose(&mut self, number: u64) {
        let Some(packet) = self.land(number) else {
            return;
        };
        for (place, _) in packet.items {
            if self
                .outstanding
                .get(&place)
                .is_some_and(|out| out.packet == Some(number))
            {
                self.owe(place);
            }
        }
    }

    /// Everything under way on the link is lost with it.
    pub(super) fn lose_stream(&mut self) {
        let lost: Vec<_> = self
            .inflight
            .iter()
            .filter(|(_, p)| p.on_stream)
            .map(|(&number, _)| number)
            .collect();
        lost.into_iter().for_each(|number| self.lose(number));
        self.streaming = false;
    }

    /// Gives up on sending one by one: an exchange will cover everything up to `heads`.
    pub(super) fn catch_up_by_exchange(&mut self, heads: BTreeMap<StoreId, u64>) {
        self.start = heads.clone();
        self.cursor = heads;
        self.outstanding.clear();
        self.retry.clear();
        self.bulky.clear();
        self.inflight.clear();
        (self.datagram_bytes, self.stream_bytes) = (0, 0);
        self.streaming = false;
        self.silent_since = None;
        self.synced = false;
        self.relayed_for.clear();
    }

    /// Whether an exchange that began at these heads covers all that was left to exchanges.
    pub(super) fn is_covered_by(&self, heads: &BTreeMap<StoreId, u64>) -> bool {
        let reached = |id| heads.get(id).copied().unwrap_or(0);
        self.stores
            .iter()
            .all(|id| reached(id) >= self.start.get(id).copied().unwrap_or(0))
    }

    /// Whether the peer is known to hold change `seq` of a key, or a later one. `overtaken` says
    /// that the key's current version came from elsewhere: then the cursor may have passed the
    /// change without sending it.
    pub(super) fn holds(&self, place: &Place, seq: u64, overtaken: bool) -> bool {
        let at = |map: &BTreeMap<StoreId, u64>| map.get(&place.0).copied().unwrap_or(0);
        if self.refused.may_have(place, seq) {
            return false;
        }
        let exchanged = seq <= at(&self.base);
        let delivered = !overtaken
            && seq > at(&self.start)
            && seq <= at(&self.cursor)
            && !self.outstanding.contains_key(place);
        exchanged || delivered
    }

    pub(super) fn sample_rtt(&mut self, sample: Duration) {
        self.rtt = Some(match self.rtt {
            Some(rtt) => (rtt * 7 + sample) / 8,
            None => sample,
        });
    }

    /// Earliest send time among datagrams in flight.
    pub(super) fn oldest(&self, on_stream: bool) -> Option<Duration> {
        self.inflight
            .values()
            .filter(|p| p.on_stream == on_stream)
            .map(|p| p.sent_at)
            .min()
    }
}

impl AckState {
    /// Adds a packet that may be acknowledged.
    pub(super) fn add(&mut self, waiting: Uncommitted) {
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
        self.add_number(packet);
    }

    fn add_number(&mut self, packet: u64) {
        let at = self.ranges.partition_point(|&(_, end)| end < packet);
        match self.ranges.get_mut(at) {
            Some((start, _)) if *start <= packet => return,
            Some((start, _)) if *start == packet + 1 => *start = packet,
            _ => self.ranges.insert(at, (packet, packet)),
        }
        if at > 0 && self.ranges[at - 1].1 + 1 == packet {
            self.ranges[at - 1].1 = self.ranges[at].1;
            self.ranges.remove(at);
        }
    }
}

/// A set of change sequences, kept as ranges.
#[derive(Clone, Debug, Default)]
pub(super) struct SeqSet {
    ranges: BTreeMap<u64, u64>,
}

impl SeqSet {
    pub(super) fn insert(&mut self, seq: u64) {
        let before = self
            .ranges
            .range(..=seq)
            .next_back()
            .map(|(&start, &end)| (start, end));
        let (start, mut end) = match before {
            Some((_, end)) if seq <= end => return,
            Some((start, end)) if end + 1 == seq => (start, seq),
            _ => (seq, seq),
        };
        if let Some(after) = self.ranges.remove(&(seq + 1)) {
            end = after;
        }
        self.ranges.insert(start, end);
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        self.ranges
            .range(..=seq)
            .next_back()
            .is_some_and(|(_, &end)| seq <= end)
    }

    /// The last sequence of the run of members right after `seq`, or `seq` itself.
    pub(super) fn skip(&self, seq: u64) -> u64 {
        match self.ranges.range(..=seq + 1).next_back() {
            Some((_, &end)) if end > seq => end,
            _ => seq,
        }
    }

    /// Forgets members up to `seq`, and the oldest beyond `max` ranges.
    pub(super) fn prune(&mut self, seq: u64, max: usize) {
        while let Some((&start, &end)) = self.ranges.first_key_value() {
            if end > seq && self.ranges.len() <= max {
                break;
            }
            self.ranges.remove(&start);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_not_known_to_be_held() {
        let place = (StoreId::of("notes"), Key([1; 16]));
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut peer = Peer::new(addr, 1, BTreeSet::from([place.0]), BTreeMap::new());
        peer.base.insert(place.0, 5);
        peer.cursor.insert(place.0, 9);
        assert!(peer.holds(&place, 5, true), "an exchange covers it");
        assert!(peer.holds(&place, 9, false), "it was delivered");
        peer.refused.add((place, 9), Refusal::Full);
        assert!(!peer.holds(&place, 5, true));
        assert!(!peer.holds(&place, 9, false));
    }

    #[test]
    fn acknowledged_packets_merge_into_ranges_in_any_order() {
        let mut ack = AckState::default();
        for packet in [5, 3, 4, 9, 1, 10, 4, 2] {
            ack.add_number(packet);
        }
        assert_eq!(ack.ranges, [(1, 5), (9, 10)]);
    }

    #[test]
    fn sequences_merge_into_ranges_and_are_skipped_over() {
        let mut set = SeqSet::default();
        for seq in [5, 3, 4, 9, 1, 10] {
            set.insert(seq);
        }
        assert_eq!(set.ranges, BTreeMap::from([(1, 1), (3, 5), (9, 10)]));
        assert!(set.contains(4) && !set.contains(2) && !set.contains(11));
        assert_eq!(
            (set.skip(0), set.skip(1), set.skip(2), set.skip(3)),
            (1, 1, 5, 5)
        );
        set.prune(4, 10);
        assert_eq!(set.len(), 2);
        set.prune(0, 1);
        assert_eq!(set.ranges, BTreeMap::from([(9, 10)]));
    }
}
