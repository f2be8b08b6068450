//! Anti-entropy: push/pull exchanges, one stream each.
//!
//! ```text
//! initiator                         responder
//!   Summary {cut, root per store} ->
//!                                <- Verdicts {equal | differs}
//!   per differing store, per chunk of the sorted item list:
//!   Items {from..=to}            ->
//!                                <- Wants {kh..}, and Delta with what is newer here
//!   Delta with what is wanted    ->
//!   Done                         ->  once everything sent is acknowledged
//!                                <- Done
//! ```
//!
//! Both compare the entries that outlive one instant, the *cut*, so nodes that collect at different
//! moments do not differ. Where timestamps are equal and content differs, both sides send and the
//! join decides. Deltas are acknowledged as everywhere, and at most [`FRAMES_IN_FLIGHT`] are not:
//! no exchange needs memory for more than its item lists. What changes during an exchange is simply
//! part of it, or of the next one. See Demers et al. 1987 for the name and the idea.
//!
//! Self-check: lists that turn out equal under roots that differed mean that a digest lies; that is
//! counted as `digest_mismatches`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::RngExt as _;

use crate::id::{NodeName, ProcessId};
use crate::store::HashedItem;
use crate::time::Timestamp;
use crate::wire::{
    Ack, Delta, Done, Entry, Item, Items, Message, RefusedEntry, Section, StoreId, StoreSummary,
    Summary, Verdict, Verdicts, Wants,
};

use super::inbox::Received;
use super::peer::{Place, SentItem};
use super::streams::Target;
use super::timers::Kind;
use super::{Engine, Event, Readiness, StreamId};

/// One push/pull under way.
#[derive(Debug)]
pub(super) struct Exchange {
    peer: ProcessId,
    initiator: bool,
    /// The heads when it began: what it covers.
    heads: BTreeMap<StoreId, u64>,
    cut: Timestamp,
    /// The responder has answered the summary.
    answered: bool,
    /// Stores still to be listed, by the initiator.
    todo: VecDeque<StoreId>,
    list: Option<List>,
    /// Entries owed to the other side.
    sending: VecDeque<Place>,
    inflight: BTreeMap<u64, Vec<SentItem>>,
    next_packet: u64,
    /// What this side's digests and lists spoke of: it must be on disk, where this node is durable,
    /// before this side is done, because the other side then counts it as held.
    pledged: BTreeMap<StoreId, u64>,
    /// Deltas merged and not committed yet.
    uncommitted: VecDeque<(u64, Received)>,
    done: bool,
    other_done: bool,
    received: u64,
    sent: u64,
}

/// A snapshot of one store's items, sorted.
#[derive(Debug)]
struct List {
    store: StoreId,
    items: Vec<HashedItem>,
    /// How far the initiator has sent it.
    next: usize,
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
            pledged: BTreeMap::new(),
            uncommitted: VecDeque::new(),
            done: false,
            other_done: false,
            received: 0,
            sent: 0,
        }
    }

    fn take_list(&mut self, list: Option<List>) {
        if let Some(list) = &list {
            let pledged = self.pledged.entry(list.store).or_default();
            *pledged = list.head.max(*pledged);
        }
        self.list = list;
    }

    fn is_drained(&self) -> bool {
        self.sending.is_empty() && self.inflight.is_empty()
    }
}

/// When exchanges begin.
impl Engine {
    pub(super) fn start_push_pull_timer(&mut self) {
        if let Some(interval) = self.config.push_pull_interval {
            // The first is spread over the interval, so that nodes started together do not meet.
            let wait = interval.mul_f64(self.rng.random_range(0.5..1.5));
            self.timers.set(Kind::PushPull, self.now.mono + wait);
        }
    }

    pub(super) fn periodic_push_pull(&mut self) {
        self.start_push_pull_timer();
        self.push_pull_with_random_peer();
    }

    pub(super) fn push_pull_with_random_peer(&mut self) {
        let names: Vec<NodeName> = self
            .swim
            .live()
            .map(|known| known.id.process.name.clone())
            .collect();
        if !names.is_empty() {
            let chosen = self.rng.random_range(0..names.len());
            self.dial_exchange(&names[chosen]);
        }
    }

    fn dial_exchange(&mut self, name: &NodeName) -> bool {
        let under_way = self.exchanges.len() + self.exchange_dials();
        let Some(known) = self.swim.get(name) else {
            return false;
        };
        if under_way >= self.config.exchanges_max || self.is_leaving() {
            return false;
        }
        let addr = known.id.addr;
        self.dial(Target::Exchange(name.clone()), addr).is_some()
    }

    /// Starts exchanges with the peers that owe or are owed one, as many as the limit allows.
    pub(super) fn start_exchanges(&mut self) {
        let now = self.now.mono;
        let busy: Vec<ProcessId> = self.exchanges.values().map(|e| e.peer.clone()).collect();
        let mut due: Vec<(Duration, ProcessId)> = self
            .peers
            .iter()
            .filter(|(process, peer)| {
                !peer.synced && self.swim.is_live(process) && !busy.contains(process)
            })
            .map(|(process, peer)| (peer.next_exchange, process.clone()))
            .collect();
        due.sort();
        for (at, process) in due {
            if at > now {
                self.timers.set_by(Kind::Unsynced, at);
                break;
            }
            self.postpone_exchange(&process);
            if !self.dial_exchange(&process.name) {
                // The limit: the end of an exchange starts the next.
                self.timers.set_by(Kind::Unsynced, now + BUSY_WAIT);
                break;
            }
        }
    }

    /// Sets when to try again if the exchange that begins now does not complete.
    fn postpone_exchange(&mut self, process: &ProcessId) {
        let jitter = self.rng.random_range(0.75..1.25);
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        peer.exchange_backoff = (peer.exchange_backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        peer.next_exchange = self.now.mono + peer.exchange_backoff.mul_f64(jitter);
        self.timers.set_by(Kind::Unsynced, peer.next_exchange);
    }

    pub(super) fn exchange_dial_failed(&mut self, name: &NodeName) {
        self.counters.push_pulls_failed += 1;
        tracing::debug!(peer = %name, "push/pull: dial failed");
    }

    pub(super) fn begin_exchange(&mut self, stream: StreamId) {
        self.expect_progress(stream);
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        if !exchange.initiator {
            return;
        }
        let cut = round_down(self.now.wall, CUT_STEP);
        exchange.cut = cut;
        exchange.pledged = exchange.heads.clone();
        let shared = self
            .peers
            .get(&exchange.peer)
            .map(|peer| peer.stores.clone());
        let stores = self
            .stores
            .iter()
            .filter(|(id, _)| shared.as_ref().is_some_and(|shared| shared.contains(id)))
            .map(|(&store, held)| {
                let digest = held.digest(cut);
                StoreSummary {
                    store,
                    count: digest.count,
                    root: digest.root,
                }
            })
            .collect();
        self.send_frame(stream, &Message::Summary(Summary { cut, stores }));
    }

    fn expect_progress(&mut self, stream: StreamId) {
        self.timers.set(
            Kind::Stream(stream),
            self.now.mono + self.config.tcp_timeout,
        );
    }
}

/// What the two sides say.
impl Engine {
    pub(super) fn exchange_message(&mut self, stream: StreamId, message: Message) {
        self.expect_progress(stream);
        let initiator = self
            .exchanges
            .get(&stream)
            .is_some_and(|exchange| exchange.initiator);
        match (message, initiator) {
            (Message::Ack(ack), _) => self.exchange_acked(stream, &ack),
            (Message::Delta(delta), _) => self.exchange_delta(stream, delta),
            (Message::Done(done), _) => self.exchange_done(stream, done),
            (Message::Items(items), false) => self.items_received(stream, &items),
            (Message::Summary(summary), false) => self.summary_received(stream, &summary),
            (Message::Verdicts(verdicts), true) => self.verdicts_received(stream, &verdicts),
            (Message::Wants(wants), true) => self.wants_received(stream, &wants),
            _ => {
                self.counters.unexpected += 1;
                return self.abandon_stream(stream);
            }
        }
        self.pump_exchange(stream);
    }

    fn summary_received(&mut self, stream: StreamId, summary: &Summary) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let cut = summary.cut;
        // This side must still hold everything that outlives the cut: nothing is collected before
        // its expiry plus grace. A cut ahead of this clock is harmless, within reason.
        let grace = self.config.max_clock_drift + CUT_STEP * 2;
        let behind = self.now.wall.since(cut);
        let ahead = cut.since(self.now.wall);
        let cut_accepted = behind <= grace && ahead <= CUT_AHEAD_MAX;
        exchange.cut = cut;
        exchange.pledged = self
            .stores
            .iter()
            .map(|(&id, store)| (id, store.head()))
            .collect();
        let verdict = |theirs: &StoreSummary| match self.stores.get(&theirs.store) {
            None => Verdict::NoStore,
            Some(store) => {
                let ours = store.digest(cut);
                let equal = ours.count == theirs.count && ours.root == theirs.root;
                if equal {
                    Verdict::Equal
                } else {
                    Verdict::Differs
                }
            }
        };
        let stores = summary
            .stores
            .iter()
            .map(|s| (s.store, verdict(s)))
            .collect();
        self.send_frame(
            stream,
            &Message::Verdicts(Verdicts {
                cut_accepted,
                stores,
            }),
        );
    }

    fn verdicts_received(&mut self, stream: StreamId, verdicts: &Verdicts) {
        if !verdicts.cut_accepted {
            tracing::warn!(node = %self.setup.name, "push/pull: the clocks are too far apart");
            return self.abandon_stream(stream);
        }
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        exchange.answered = true;
        exchange.todo = verdicts
            .stores
            .iter()
            .filter(|(id, verdict)| *verdict == Verdict::Differs && self.stores.contains_key(id))
            .map(|&(id, _)| id)
            .collect();
        self.next_chunk(stream);
    }

    /// The sorted items of a store above the cut. The lock is held for 256 of them at a time.
    fn snapshot(&self, id: StoreId, cut: Timestamp) -> Option<List> {
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
            head,
            differs: false,
        })
    }

    /// The initiator sends its next chunk, or goes on to the next store.
    fn next_chunk(&mut self, stream: StreamId) {
        let max = self.config.items_chunk_max;
        let Some(exchange) = self.exchanges.get(&stream) else {
            return;
        };
        if exchange.list.is_none() {
            let Some(&store) = exchange.todo.front() else {
                return;
            };
            let list = self.snapshot(store, exchange.cut);
            if let Some(exchange) = self.exchanges.get_mut(&stream) {
                exchange.todo.pop_front();
                exchange.take_list(list);
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
    fn items_received(&mut self, stream: StreamId, theirs: &Items) {
        let Some(exchange) = self.exchanges.get(&stream) else {
            return;
        };
        let fresh = exchange
            .list
            .as_ref()
            .is_none_or(|list| list.store != theirs.store);
        if fresh {
            let list = self.snapshot(theirs.store, exchange.cut);
            if let Some(exchange) = self.exchanges.get_mut(&stream) {
                exchange.take_list(list);
            }
        }
        let sorted = theirs.items.is_sorted();
        let inside = theirs
            .items
            .iter()
            .all(|i| theirs.from <= i.kh && i.kh <= theirs.to);
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let known = exchange.list.as_mut().filter(|_| sorted && inside);
        let Some(list) = known else {
            self.counters.unexpected += 1;
            return self.abandon_stream(stream);
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
        if ends {
            exchange.list = None;
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
    fn wants_received(&mut self, stream: StreamId, wants: &Wants) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let Some(list) = exchange
            .list
            .as_mut()
            .filter(|list| list.store == wants.store)
        else {
            self.counters.unexpected += 1;
            return self.abandon_stream(stream);
        };
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

    fn exchange_delta(&mut self, stream: StreamId, delta: Delta) {
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
            exchange.uncommitted.push_back((delta.packet, received));
        }
    }

    fn exchange_ack(&mut self, stream: StreamId, packet: u64, received: &Received) {
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
            while let Some(exchange) = self.exchanges.get_mut(&stream) {
                let next = exchange.uncommitted.front();
                if !next.is_some_and(|(_, received)| self.commits.covers(&received.needs)) {
                    break;
                }
                let Some((packet, received)) = exchange.uncommitted.pop_front() else {
                    break;
                };
                self.exchange_ack(stream, packet, &received);
            }
            self.conclude_exchange(stream);
        }
    }

    fn exchange_acked(&mut self, stream: StreamId, ack: &Ack) {
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
    fn pump_exchange(&mut self, stream: StreamId) {
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

    fn conclude_exchange(&mut self, stream: StreamId) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let listed = exchange.list.is_none() && exchange.todo.is_empty();
        let told = if exchange.initiator {
            exchange.answered
        } else {
            exchange.other_done
        };
        let pledged = || {
            exchange
                .pledged
                .iter()
                .map(|(&id, &seq)| (id, seq))
                .collect::<Vec<_>>()
        };
        let kept = !self.setup.durable || self.commits.covers(&pledged());
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

    fn exchange_done(&mut self, stream: StreamId, done: Done) {
        if !done.complete {
            return self.abandon_stream(stream);
        }
        if let Some(exchange) = self.exchanges.get_mut(&stream) {
            exchange.other_done = true;
        }
    }

    /// Takes an exchange off the books.
    pub(super) fn exchange_ended(&mut self, stream: StreamId, complete: bool) {
        let Some(exchange) = self.exchanges.remove(&stream) else {
            return;
        };
        let name = exchange.peer.name.clone();
        if complete {
            self.counters.push_pulls += 1;
            if let Some(peer) = self.peers.get_mut(&exchange.peer) {
                peer.synced = true;
                peer.exchange_backoff = Duration::ZERO;
                for (id, head) in exchange.heads {
                    let base = peer.base.entry(id).or_default();
                    *base = head.max(*base);
                }
            }
            self.watch_synced(&exchange.peer);
            if self.swim.is_live(&exchange.peer) {
                self.set_readiness(Readiness::Synced { with: name.clone() });
            }
            let (received, sent) = (exchange.received, exchange.sent);
            self.emit(Event::PushPullCompleted {
                peer: name,
                received,
                sent,
            });
        } else {
            self.counters.push_pulls_failed += 1;
            self.emit(Event::PushPullFailed { peer: name });
        }
        // A place is free.
        if self.peers.values().any(|peer| !peer.synced) {
            self.timers.set_by(Kind::Unsynced, self.now.mono);
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

fn round_down(at: Timestamp, step: Duration) -> Timestamp {
    let step = step.as_nanos() as u64;
    Timestamp::from_nanos(at.as_nanos() / step * step)
}

const FRAMES_IN_FLIGHT: usize = 8;
const FRAME_BYTES_TARGET: usize = 64 << 10;
const FRAME_ENTRIES_MAX: usize = 4096;
const CUT_STEP: Duration = Duration::from_secs(30);
/// How far a cut may lie ahead of the responder's clock.
const CUT_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const BUSY_WAIT: Duration = Duration::from_millis(50);
