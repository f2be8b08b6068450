//! One exchange: what either side lacks is found out, store by store, and sent.
//!
//! ```text
//! initiator                                  responder
//!   Summary {cut; count, root, estimator  ->
//!            of every store}
//!                                         <- Verdicts {one per store}
//!
//!   Equal: nothing more
//!
//!   Cells:                                <- Cells {about 1.5 per differing item}
//!   own table subtracted, peeled;
//!   up to 6 times, if it does not
//!   come apart: More                      ->
//!                                         <- Cells {those that the next shape adds}
//!   Peeled {common root, wants, stale}    ->
//!                                         <- Settled {agrees}
//!
//!   List, and where cells lead nowhere, per chunk of the sorted list:
//!   Items {from..=to}                     ->
//!                                         <- Wants {kh..}
//!                                         <- Settled {agrees}, after the last
//!
//!   where it does not agree, once, per chunk:
//!   Hashes {from..=to}                    ->
//!                                         <- Wants {kh..}
//!                                         <- Settled, after the last
//!
//!   All (one side has next to nothing): neither side compares
//!
//!   meanwhile, both ways, at most eight unacknowledged at a time:
//!   Delta, Ack                           <->  Delta, Ack
//!
//!   Done                                  ->  once everything sent is acknowledged
//!                                         <- Done
//! ```
//!
//! **What is sent.** Items are paired by the hash of their key: the later timestamp moves, at equal
//! timestamps both do and the join decides. With `All`, what is urgent goes first, over all stores
//! ([`Schema::is_urgent`](crate::store::Schema::is_urgent)), then the rest in the order of store
//! numbers. Entries are merged, and can be read, as they arrive.
//!
//! **The self-check.** Each side knows the 128-bit hashes of its own entries alone. With A's and B's
//! roots as of the tables that were compared, root A less A's differing entries must be root B less
//! B's: both are the sum of what is common. The initiator sends its sum, and the hashes of all keys
//! at which B differs; B takes off its own and compares. If that fails, an item stands for two
//! different entries (a chance of 2^-32 for each pair of one key and timestamp) or a digest lies:
//! `digest_mismatches` is counted and whole hashes are listed, which leaves no doubt. Where one of
//! these entries has changed since, nothing can be said, and the next exchange will tell.
//!
//! **Bounds.** A side keeps for each store under comparison a table of at most 6.4 times the first shape
//! (its exponent raised by two, or by three from five partitions on) and at most 786 kB; or, for one
//! store at a time, a window of a sorted list: at most 65,536 lines, 3 MB, read over turns, whatever
//! the size of the store. What is to be sent is two words an entry, once each, or a position where
//! everything is. Each step of a comparison is taken once; what exchange after exchange may cost the
//! responder is in `work`. An exchange that breaks off is made up for by another, which compares again
//! and so sends nothing twice that was merged.

mod initiator;
mod list;
mod responder;
mod transfer;
mod window;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::crdt::sketch::{Difference, Shape};
use crate::id::ProcessId;
use crate::store::{Sketched, Sweep};
use crate::time::Timestamp;
use crate::wire::{Message, StoreId};

use super::event::Comparison;
use super::inbox::Received;
use super::peer::SentItem;
use super::refusals::Refusals;
use super::{Engine, StreamId};
use list::List;

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
    /// Stores that are still being compared.
    comparing: BTreeMap<StoreId, Comparing>,
    /// Those of them still to be listed, by the initiator.
    to_list: VecDeque<StoreId>,
    list: Option<List>,
    /// Hashes of keys whose entries are owed to the other side.
    sending: BTreeSet<(StoreId, u64)>,
    sweeps: VecDeque<SweepRun>,
    inflight: BTreeMap<u64, Vec<SentItem>>,
    next_packet: u64,
    /// When this side's digests, tables and lists were made. All that was held then must be on
    /// disk, where this node is durable, before this side is done: the other side then counts it
    /// as held.
    pub(super) pledged: u64,
    /// What the other side refused of it.
    pub(super) refused: Refusals,
    /// Deltas merged and not committed yet.
    uncommitted: Vec<(u64, Received)>,
    done: bool,
    other_done: bool,
    pub(super) tally: Tally,
}

/// What an exchange has moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) comparison: Comparison,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// How far the comparison of a store is.
#[derive(Debug)]
enum Comparing {
    /// Initiator: the first cells are due.
    AwaitingCells,
    /// Initiator: all is said, the responder's opinion is due.
    AwaitingSettled { by_hashes: bool },
    /// Initiator: to be listed, or being listed.
    Listing { by_hashes: bool },
    /// Responder: a list of this kind is due, or under way.
    Listed { by_hashes: bool },
    /// Initiator: the cells did not come apart, more are due.
    Reading(Box<Reading>),
    /// Responder: cells were sent.
    Telling(Box<Telling>),
}

#[derive(Debug)]
struct Reading {
    ours: Sketched,
    difference: Difference,
    steps: u32,
}

#[derive(Debug)]
struct Telling {
    ours: Sketched,
    shape: Shape,
    steps: u32,
}

/// A sweep over a store: everything is sent.
#[derive(Debug)]
struct SweepRun {
    store: StoreId,
    sweep: Sweep,
    position: usize,
}

impl Exchange {
    pub(super) fn new(peer: ProcessId, initiator: bool, heads: BTreeMap<StoreId, u64>) -> Self {
        Self {
            peer,
            initiator,
            heads,
            cut: Timestamp::ZERO,
            answered: false,
            comparing: BTreeMap::new(),
            to_list: VecDeque::new(),
            list: None,
            sending: BTreeSet::new(),
            sweeps: VecDeque::new(),
            inflight: BTreeMap::new(),
            next_packet: 1,
            pledged: 0,
            refused: Refusals::default(),
            uncommitted: Vec::new(),
            done: false,
            other_done: false,
            tally: Tally {
                comparison: Comparison::Equal,
                bytes_received: 0,
                bytes_sent: 0,
                received: 0,
                sent: 0,
            },
        }
    }

    fn used(&mut self, comparison: Comparison) {
        self.tally.comparison = self.tally.comparison.max(comparison);
    }

    fn owe(&mut self, store: StoreId, hashes: impl IntoIterator<Item = u64>) {
        let places = hashes.into_iter().map(|kh| (store, kh));
        self.sending.extend(places);
    }

    /// Whether a message brings the exchange closer to its end. Each step of a comparison comes once,
    /// or a few times; the others could be repeated for ever.
    fn is_moved_by(&self, message: &Message) -> bool {
        match message {
            Message::Ack(ack) => ack.ranges.iter().any(|&(start, end)| {
                start <= end && self.inflight.range(start..=end).next().is_some()
            }),
            Message::Delta(delta) => delta.sections.iter().any(|held| !held.entries.is_empty()),
            Message::Done(_) => !self.other_done,
            Message::Hashes(chunk) => !chunk.hashes.is_empty() || chunk.to == u64::MAX,
            Message::Items(chunk) => !chunk.items.is_empty() || chunk.to == u64::MAX,
            _ => true,
        }
    }

    fn is_drained(&self) -> bool {
        self.sending.is_empty() && self.sweeps.is_empty() && self.inflight.is_empty()
    }
}

impl Engine {
    pub(super) fn exchange_message(&mut self, stream: StreamId, message: Message, bytes: usize) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        exchange.tally.bytes_received += bytes as u64;
        self.counters.push_pull_bytes_received += bytes as u64;
        let initiator = exchange.initiator;
        if exchange.is_moved_by(&message) {
            self.expect_progress(stream);
        }
        match (message, initiator) {
            (Message::Ack(ack), _) => self.exchange_acked(stream, &ack),
            (Message::Delta(delta), _) => self.exchange_delta(stream, delta),
            (Message::Done(done), _) => self.exchange_done(stream, done),
            (Message::Cells(cells), true) => self.cells_received(stream, &cells),
            (Message::Settled(settled), true) => self.settled_received(stream, settled),
            (Message::Verdicts(verdicts), true) => self.verdicts_received(stream, &verdicts),
            (Message::Wants(wants), true) => self.wants_received(stream, &wants),
            (Message::Hashes(hashes), false) => self.hashes_received(stream, hashes),
            (Message::Items(items), false) => self.items_received(stream, items),
            (Message::More(more), false) => self.more_asked(stream, more.store),
            (Message::Peeled(peeled), false) => self.peeled_received(stream, peeled),
            (Message::Summary(summary), false) => self.summary_received(stream, &summary),
            _ => return self.exchange_unexpected(stream),
        }
        self.pump_exchange(stream);
    }

    /// The other side does not keep to the protocol: the exchange ends.
    fn exchange_unexpected(&mut self, stream: StreamId) {
        self.counters.unexpected += 1;
        self.abandon_stream(stream);
    }

    /// Sends a frame of an exchange.
    pub(super) fn send_exchanged(&mut self, stream: StreamId, message: &Message) {
        let bytes = self.send_frame(stream, message) as u64;
        self.counters.push_pull_bytes_sent += bytes;
        if let Some(exchange) = self.exchanges.get_mut(&stream) {
            exchange.tally.bytes_sent += bytes;
        }
    }

    /// Everything held by now is part of what this side's end of the exchange promises.
    pub(super) fn pledge_exchange(&mut self, stream: StreamId) {
        let pledged = self.pledge();
        if let Some(exchange) = self.exchanges.get_mut(&stream) {
            exchange.pledged = pledged;
        }
    }

    /// This node's root and table, with room for all steps after `shape`.
    fn sketch_for(&mut self, stream: StreamId, store: StoreId, shape: Shape) -> Option<Sketched> {
        let cut = self.exchanges.get(&stream)?.cut;
        let exponent = shape.needs() + STEPS_EXPONENTS;
        let ours = self.stores.get(&store)?.sketch(cut, exponent);
        self.pledge_exchange(stream);
        Some(ours)
    }
}

/// Extensions after the first cells.
const STEPS_MAX: u32 = 6;
/// By how much they can raise the exponent that a shape needs.
const STEPS_EXPONENTS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeName;
    use crate::wire::{Ack, Delta, Done, Items, Section};

    #[test]
    fn what_could_be_repeated_for_ever_keeps_no_exchange_alive() {
        let name = NodeName::new("a").unwrap();
        let peer = ProcessId { name, boot: 1 };
        let mut exchange = Exchange::new(peer, false, BTreeMap::new());
        let store = StoreId::of("notes");
        exchange.inflight.insert(3, Vec::new());
        let ack = |start, end| {
            Message::Ack(Ack {
                token: 0,
                ranges: vec![(start, end)],
                refused: Vec::new(),
            })
        };
        assert!(exchange.is_moved_by(&ack(1, 3)));
        assert!(!exchange.is_moved_by(&ack(4, 9)) && !exchange.is_moved_by(&ack(3, 1)));
        let empty = Section {
            store,
            entries: Vec::new(),
        };
        let delta = Message::Delta(Delta {
            token: 0,
            packet: 1,
            uncovered: Vec::new(),
            sections: vec![empty],
        });
        assert!(!exchange.is_moved_by(&delta));
        let items = |to| {
            Message::Items(Items {
                store,
                from: 0,
                to,
                sum: 0,
                items: Vec::new(),
            })
        };
        assert!(exchange.is_moved_by(&items(u64::MAX)) && !exchange.is_moved_by(&items(7)));
        let done = Message::Done(Done { complete: true });
        assert!(exchange.is_moved_by(&done));
        exchange.other_done = true;
        assert!(!exchange.is_moved_by(&done));
    }
}
