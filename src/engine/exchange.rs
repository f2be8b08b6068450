//! One exchange: its lists, what either side lacks, and the entries on their way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::ProcessId;
use crate::store::HashedItem;
use crate::time::Timestamp;
use crate::wire::{
    Ack, Delta, Done, Entry, Item, Items, Message, RefusedEntry, Section, StoreId, Wants,
};

use super::inbox::Received;
use super::peer::{Place, SentItem};
use super::{Engine, StreamId};

/// One push/pull under way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) peer: ProcessId,
    pub(super) initiator: bool,
    /// The heads when it began: what it covers.
    pub(super) heads: BTreeMap<StoreId, u64>,
    pub(super) cut: Timestamp,
    /// The responder has answered the summary.
    pub(super) answered: bool,
    /// Stores still to be listed, by the initiator.
    pub(super) todo: VecDeque<StoreId>,
    pub(super) list: Option<List>,
    /// Entries owed to the other side.
    pub(super) sending: VecDeque<Place>,
    pub(super) inflight: BTreeMap<u64, Vec<SentItem>>,
    pub(super) next_packet: u64,
    /// When this side's digests and lists were made. All that was held then must be on disk, where
    /// this node is durable, before this side is done: the other side then counts it as held.
    pub(super) pledged: u64,
    /// Stores that differ and have not been listed to the end, at the responder.
    pub(super) differing: BTreeSet<StoreId>,
    /// Where the next chunk must begin, at the responder.
    pub(super) expected: u64,
    /// Deltas merged and not committed yet.
    pub(super) uncommitted: Vec<(u64, Received)>,
    pub(super) done: bool,
    pub(super) other_done: bool,
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// A snapshot of one store's items, sorted.
#[derive(Debug)]
pub(super) struct List {
    store: StoreId,
    items: Vec<HashedItem>,
    /// How far the initiator has sent it.
    next: usize,
    /// The end of the chunk that is not answered yet, at the initiator.
    sent_to: Option<u64>,
    /// The store's head before the snapshot.
    head: u64,
    /// Whether any chunk differed, to the responder.
    differs: bool,
}

impl Exchange {
    pub(super) fn new(peer: ProcessId, initiator: bool, heads: BTreeMap<StoreId, u64>) -> Self {
        Self {
            peer,
            initiator,
            heads,
            cut: Timestamp::ZERO,
            answered: false,
            todo: VecDeque::new(),
            list: None,
            sending: VecDeque::new(),
            inflight: BTreeMap::new(),
            next_packet: 1,
            pledged: 0,
            differing: BTreeSet::new(),
            expected: 0,
            uncommitted: Vec::new(),
            done: false,
            other_done: false,
            received: 0,
            sent: 0,
        }
    }

    fn is_drained(&self) -> bool {
        self.sending.is_empty() && self.inflight.is_empty()
    }
}

impl Engine {
    /// The sorted items of a store above the cut. The lock is held for 256 of them at a time.
    pub(super) fn snapshot(&self, id: StoreId, cut: Timestamp) -> Option<List> {
        let store = self.stores.get(&id)?;
        let head = store.head();
        let mut items = Vec::with_capacity(store.len());
        let mut position = 0;
        while let Some(next) = store.items(position, cut, &mut items) {
            position = next;
        }
        items.sort_unstable();
        Some(List {
            store: id,
            items,
            next: 0,
            sent_to: None,
            head,
            differs: false,
        })
    }

    /// The initiator sends its next chunk, or goes on to the next store.
    pub(super) fn next_chunk(&mut self, stream: StreamId) {
        let max = self.config.items_chunk_max;
        let Some(exchange) = self.exchanges.get(&stream) else {
            return;
        };
        if exchange.list.is_none() {
            let Some(&store) = exchange.todo.front() else {
                return;
            };
            let list = self.snapshot(store, exchange.cut);
            let pledged = self.pledge();
            if let Some(exchange) = self.exchanges.get_mut(&stream) {
                exchange.todo.pop_front();
                exchange.list = list;
                exchange.pledged = pledged;
            }
        }
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let Some(list) = &mut exchange.list else {
            return;
        };
        let start = list.next;
        let from = match start.checked_sub(1).and_then(|last| list.items.get(last)) {
            Some(last) => last.item.kh.saturating_add(1),
            None => 0,
        };
        let mut end = (start + max).min(list.items.len());
        // A chunk ends between hashes, never within equal ones.
        while end < list.items.len() && list.items[end].item.kh == list.items[end - 1].item.kh {
            end += 1;
        }
        let to = if end == list.items.len() {
            u64::MAX
        } else {
            list.items[end - 1].item.kh
        };
        let items = list.items[start..end]
            .iter()
            .map(|hashed| hashed.item)
            .collect();
        list.next = end;
        list.sent_to = Some(to);
        let store = list.store;
        self.send_frame(
            stream,
            &Message::Items(Items {
                store,
                from,
                to,
                items,
            }),
        );
    }

    /// The responder compares a chunk with its own items of the same range.
    pub(super) fn items_received(&mut self, stream: StreamId, theirs: &Items) {
        let Some(exchange) = self.exchanges.get(&stream) else {
            return;
        };
        let current = exchange.list.as_ref().map(|list| list.store);
        let begins = current.is_none() && exchange.differing.contains(&theirs.store);
        let follows = theirs.from == exchange.expected && theirs.from <= theirs.to;
        let inside = |item: &Item| theirs.from <= item.kh && item.kh <= theirs.to;
        let sound = follows
            && (begins || current == Some(theirs.store))
            && theirs.items.is_sorted()
            && theirs.items.iter().all(inside);
        if !sound {
            self.counters.unexpected += 1;
            return self.abandon_stream(stream);
        }
        if begins {
            let list = self.snapshot(theirs.store, exchange.cut);
            let pledged = self.pledge();
            if let Some(exchange) = self.exchanges.get_mut(&stream) {
                exchange.list = list;
                exchange.pledged = pledged;
            }
        }
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let Some(list) = exchange.list.as_mut() else {
            return;
        };
        let ours = list.range(theirs.from, theirs.to);
        let (push, wants) = compare(ours, &theirs.items);
        list.differs |= !push.is_empty() || !wants.is_empty();
        let ends = theirs.to == u64::MAX;
        let store = list.store;
        let unmoved = self
            .stores
            .get(&store)
            .is_some_and(|s| s.head() == list.head);
        if ends && !list.differs && unmoved {
            tracing::warn!(node = %self.setup.name, ?store, "equal lists under different roots");
            self.counters.digest_mismatches += 1;
        }
        exchange
            .sending
            .extend(push.into_iter().map(|key| (store, key)));
        exchange.expected = theirs.to.wrapping_add(1);
        if ends {
            exchange.list = None;
            exchange.differing.remove(&store);
        }
        self.send_frame(
            stream,
            &Message::Wants(Wants {
                store,
                to: theirs.to,
                wants,
            }),
        );
    }

    /// The initiator learns what the responder lacks of its last chunk.
    pub(super) fn wants_received(&mut self, stream: StreamId, wants: &Wants) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let ascending = wants.wants.is_sorted_by(|a, b| a < b);
        let asked = |list: &&mut List| list.store == wants.store && list.sent_to == Some(wants.to);
        let Some(list) = exchange.list.as_mut().filter(asked).filter(|_| ascending) else {
            self.counters.unexpected += 1;
            return self.abandon_stream(stream);
        };
        list.sent_to = None;
        let store = list.store;
        for &kh in &wants.wants {
            let keys = list.range(kh, kh).iter().map(|hashed| (store, hashed.key));
            exchange.sending.extend(keys);
        }
        if list.next == list.items.len() {
            exchange.list = None;
        }
        self.next_chunk(stream);
    }

    pub(super) fn exchange_delta(&mut self, stream: StreamId, delta: Delta) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let peer = exchange.peer.clone();
        let count: usize = delta
            .sections
            .iter()
            .map(|section| section.entries.len())
            .sum();
        exchange.received += count as u64;
        let received = self.merge_sections(&peer, &delta.sections);
        if received.needs.is_empty() {
            self.exchange_ack(stream, delta.packet, &received);
        } else if let Some(exchange) = self.exchanges.get_mut(&stream) {
            // At most what the other side's window lets it have under way.
            exchange.uncommitted.push((delta.packet, received));
        }
    }

    pub(super) fn exchange_ack(&mut self, stream: StreamId, packet: u64, received: &Received) {
        let refused = received.refused.iter();
        let refused = refused
            .map(|&(index, reason)| RefusedEntry {
                packet,
                index,
                reason,
            })
            .collect();
        let ack = Ack {
            token: 0,
            ranges: vec![(packet, packet)],
            refused,
        };
        self.send_frame(stream, &Message::Ack(ack));
    }

    /// Acknowledges what a commit has made durable.
    pub(super) fn acknowledge_committed_exchanges(&mut self) {
        let streams: Vec<_> = self.exchanges.keys().copied().collect();
        for stream in streams {
            let Some(exchange) = self.exchanges.get_mut(&stream) else {
                continue;
            };
            let mut ready = Vec::new();
            let (commits, stores) = (&self.commits, &self.stores);
            exchange.uncommitted.retain_mut(|(packet, received)| {
                received.needs.retain(|need| !commits.covers(stores, need));
                if received.needs.is_empty() {
                    ready.push((*packet, std::mem::take(received)));
                    return false;
                }
                true
            });
            for (packet, received) in ready {
                self.exchange_ack(stream, packet, &received);
            }
            self.conclude_exchange(stream);
        }
    }

    pub(super) fn exchange_acked(&mut self, stream: StreamId, ack: &Ack) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let peer = exchange.peer.clone();
        let (mut held, mut denied) = (Vec::new(), Vec::new());
        for &(start, end) in &ack.ranges {
            if start > end {
                continue;
            }
            let numbers: Vec<u64> = exchange
                .inflight
                .range(start..=end)
                .map(|(&n, _)| n)
                .collect();
            for number in numbers {
                let items = exchange.inflight.remove(&number).unwrap_or_default();
                for (index, (place, seq)) in items.into_iter().enumerate() {
                    let refusal = ack
                        .refused
                        .iter()
                        .find(|r| r.packet == number && usize::from(r.index) == index);
                    match refusal {
                        Some(refusal) => denied.push((place, seq, refusal.reason)),
                        None => held.push((place, seq)),
                    }
                }
            }
        }
        self.acknowledged(&peer, held, denied);
    }

    /// Sends what is owed as far as the window allows, and ends this side when nothing is.
    pub(super) fn pump_exchange(&mut self, stream: StreamId) {
        while let Some(exchange) = self.exchanges.get_mut(&stream) {
            if exchange.inflight.len() >= FRAMES_IN_FLIGHT || exchange.sending.is_empty() {
                break;
            }
            let mut sections: BTreeMap<StoreId, Vec<Entry>> = BTreeMap::new();
            let mut items: BTreeMap<StoreId, Vec<SentItem>> = BTreeMap::new();
            let (mut bytes, mut count) = (0, 0);
            while bytes < FRAME_BYTES_TARGET && count < FRAME_ENTRIES_MAX {
                let Some(place) = exchange.sending.pop_front() else {
                    break;
                };
                let held = self
                    .stores
                    .get(&place.0)
                    .and_then(|store| store.held(&place.1));
                let Some(change) = held else { continue };
                bytes += change.entry.encoded_len();
                count += 1;
                items.entry(place.0).or_default().push((place, change.seq));
                sections.entry(place.0).or_default().push(change.entry);
            }
            if count == 0 {
                break;
            }
            let packet = exchange.next_packet;
            exchange.next_packet += 1;
            exchange.sent += count as u64;
            exchange
                .inflight
                .insert(packet, items.into_values().flatten().collect());
            self.counters.entries_sent += count as u64;
            let sections = sections
                .into_iter()
                .map(|(store, entries)| Section { store, entries });
            let delta = Delta {
                token: 0,
                packet,
                uncovered: Vec::new(),
                sections: sections.collect(),
            };
            self.send_frame(stream, &Message::Delta(delta));
        }
        self.conclude_exchange(stream);
    }

    pub(super) fn conclude_exchange(&mut self, stream: StreamId) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let listed = exchange.list.is_none() && exchange.todo.is_empty();
        let told = if exchange.initiator {
            exchange.answered
        } else {
            exchange.other_done
        };
        let kept = !self.setup.durable || self.commits.keeps(exchange.pledged);
        if !exchange.done && listed && told && kept && exchange.is_drained() {
            exchange.done = true;
            self.send_frame(stream, &Message::Done(Done { complete: true }));
        }
        let Some(exchange) = self.exchanges.get(&stream) else {
            return;
        };
        if exchange.done && exchange.other_done {
            self.exchange_ended(stream, true);
            // Both close; what was sent before is written first.
            self.close_stream(stream);
        }
    }

    pub(super) fn exchange_done(&mut self, stream: StreamId, done: Done) {
        if !done.complete {
            return self.abandon_stream(stream);
        }
        if let Some(exchange) = self.exchanges.get_mut(&stream) {
            exchange.other_done = true;
        }
    }
}

impl List {
    fn range(&self, from: u64, to: u64) -> &[HashedItem] {
        let start = self.items.partition_point(|hashed| hashed.item.kh < from);
        let end = self.items.partition_point(|hashed| hashed.item.kh <= to);
        self.items.get(start..end).unwrap_or_default()
    }
}

/// What the other side lacks of `ours`, and the hashes of what we lack of `theirs`. Both are sorted.
fn compare(ours: &[HashedItem], theirs: &[Item]) -> (Vec<crate::wire::Key>, Vec<u64>) {
    let (mut push, mut wants) = (Vec::new(), Vec::new());
    let (mut ours, mut theirs) = (ours.iter().peekable(), theirs.iter().peekable());
    loop {
        match (ours.peek(), theirs.peek()) {
            (None, None) => return (push, wants),
            (Some(our), None) => {
                push.push(our.key);
                ours.next();
            }
            (None, Some(their)) => {
                wants.push(their.kh);
                theirs.next();
            }
            (Some(our), Some(their)) if our.item.kh < their.kh => {
                push.push(our.key);
                ours.next();
            }
            (Some(our), Some(their)) if our.item.kh > their.kh => {
                wants.push(their.kh);
                theirs.next();
            }
            (Some(our), Some(their)) => {
                // One key. The later version moves; of one instant, both do, and so does an expiry
                // that alone has grown.
                if our.item.ts >= their.ts && our.item != **their {
                    push.push(our.key);
                }
                if our.item.ts <= their.ts && our.item != **their {
                    wants.push(their.kh);
                }
                ours.next();
                theirs.next();
            }
        }
    }
}

const FRAMES_IN_FLIGHT: usize = 8;
const FRAME_BYTES_TARGET: usize = 64 << 10;
const FRAME_ENTRIES_MAX: usize = 4096;
