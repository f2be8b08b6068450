//! One exchange: its state, and who reads which message. What is said, and when, is in the
//! documentation of [`exchange`](super).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tracing::{Span, debug_span};

use crate::crdt::sketch::{Difference, Shape};
use crate::engine::core::Core;
use crate::engine::core::delta::Received;
use crate::engine::core::flight::Flight;
use crate::engine::core::refusals::Refusals;
use crate::engine::core::timers::TimerKind;
use crate::engine::event::Comparison;
use crate::engine::io::StreamId;
use crate::id::{ProcessId, StoreId};
use crate::store::{Sketched, Sweep};
use crate::time::{Allowance, Timestamp};
use crate::wire::Message;

use super::cut::cut_grace;
use super::list::List;

/// One push/pull under way.
#[derive(Debug)]
pub(in crate::engine) struct Exchange {
    pub(super) stream: StreamId,
    pub(in crate::engine) peer: ProcessId,
    pub(super) initiator: bool,
    /// Roots differed in passing: that led to it.
    pub(super) found: bool,
    /// The other side has cells and hashes of keys as this one has.
    pub(super) narrow: bool,
    /// How often cells may lead to lists with this peer.
    pub(super) fallbacks: Allowance,
    /// Entries that may still be told on.
    pub(super) news_left: usize,
    /// The responder has said what to do about the totals.
    pub(super) totalled: bool,
    /// Stores whose summary is due, or was sent and is not answered.
    pub(super) measuring: Vec<StoreId>,
    /// When its handshake was done.
    pub(super) since: Duration,
    /// The heads when it began: what it covers.
    pub(in crate::engine) heads: BTreeMap<StoreId, u64>,
    pub(super) cut: Timestamp,
    /// The responder has said what to do about the summary.
    pub(super) answered: bool,
    /// Stores that are still being compared.
    pub(super) comparing: BTreeMap<StoreId, Comparing>,
    /// Those of them still to be listed, by the initiator.
    pub(super) to_list: VecDeque<StoreId>,
    pub(super) list: Option<List>,
    /// Hashes of keys whose entries are owed to the other side.
    pub(super) sending: BTreeSet<(StoreId, u64)>,
    pub(super) sweeps: VecDeque<SweepRun>,
    pub(super) flight: Flight,
    /// When this side's digests, tables and lists were made. All that was held then must be on
    /// disk, where this node is durable, before this side is done: the other side then counts it
    /// as held.
    pub(super) pledged: u64,
    /// What the other side refused of it, or would have.
    pub(super) refused: Refusals,
    /// What the other side refused a moment ago, and is not sent.
    pub(super) withheld: Refusals,
    /// How many entries the other side withholds because this one refused them a moment ago.
    pub(super) denied_before: u64,
    /// The other side may withhold what was never refused.
    pub(super) may_lack: bool,
    /// Deltas that are being merged.
    pub(super) merging: usize,
    /// Deltas merged and not committed yet.
    pub(super) uncommitted: Vec<(u64, Received)>,
    pub(super) done: bool,
    pub(super) other_done: bool,
    pub(super) tally: Tally,
    /// The work that it has taken and nobody was charged for yet.
    pub(super) work: Duration,
    /// From its handshake to its end.
    pub(super) span: Span,
}

/// What an exchange has moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) comparison: Comparison,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Of what was received, what was new here: entries, and their bytes.
    pub(super) stored: u64,
    pub(super) stored_bytes: u64,
    /// Of what was received and sent, and of what was withheld, what was refused.
    pub(super) refused: u64,
    pub(super) withheld: u64,
    /// Of what was received, what is too far ahead of this node's clock.
    pub(super) ahead: u64,
    /// Of what was received, what this node refused.
    pub(super) denied: u64,
}

impl Tally {
    /// Whether nothing has moved but what was refused.
    pub(super) fn is_fruitless(&self) -> bool {
        self.refused + self.withheld > 0 && self.received + self.sent == self.refused
    }
}

/// How far the comparison of a store is.
#[derive(Debug)]
pub(super) enum Comparing {
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
pub(super) struct Reading {
    pub(super) ours: Sketched,
    pub(super) difference: Difference,
    pub(super) steps: u32,
}

#[derive(Debug)]
pub(super) struct Telling {
    pub(super) ours: Sketched,
    pub(super) shape: Shape,
    pub(super) steps: u32,
}

/// A sweep over a store: everything is sent.
#[derive(Debug)]
pub(super) struct SweepRun {
    pub(super) store: StoreId,
    pub(super) sweep: Sweep,
    pub(super) position: usize,
}

impl Exchange {
    pub(super) fn new(
        stream: StreamId,
        peer: ProcessId,
        initiator: bool,
        heads: BTreeMap<StoreId, u64>,
    ) -> Self {
        Self {
            stream,
            peer,
            initiator,
            found: false,
            narrow: true,
            fallbacks: fallbacks(),
            news_left: NEWS_MAX,
            totalled: false,
            measuring: Vec::new(),
            since: Duration::ZERO,
            heads,
            cut: Timestamp::ZERO,
            answered: false,
            comparing: BTreeMap::new(),
            to_list: VecDeque::new(),
            list: None,
            sending: BTreeSet::new(),
            sweeps: VecDeque::new(),
            flight: Flight::default(),
            pledged: 0,
            refused: Refusals::default(),
            withheld: Refusals::default(),
            denied_before: 0,
            may_lack: false,
            merging: 0,
            uncommitted: Vec::new(),
            done: false,
            other_done: false,
            tally: Tally {
                comparison: Comparison::Equal,
                bytes_received: 0,
                bytes_sent: 0,
                received: 0,
                sent: 0,
                stored: 0,
                stored_bytes: 0,
                refused: 0,
                withheld: 0,
                ahead: 0,
                denied: 0,
            },
            work: Duration::ZERO,
            span: Span::none(),
        }
    }

    pub(super) fn used(&mut self, comparison: Comparison) {
        self.tally.comparison = self.tally.comparison.max(comparison);
    }

    pub(super) fn owe(&mut self, store: StoreId, hashes: impl IntoIterator<Item = u64>) {
        let places = hashes.into_iter().map(|kh| (store, kh));
        self.sending.extend(places);
    }

    /// Whether a message brings the exchange closer to its end. Each step of a comparison comes once,
    /// or a few times; the others could be repeated for ever.
    fn is_moved_by(&self, message: &Message) -> bool {
        match message {
            Message::Ack(ack) => self.flight.is_named_by(ack),
            Message::Delta(delta) => delta.sections.iter().any(|held| !held.entries.is_empty()),
            Message::Done(_) => !self.other_done,
            Message::Hashes(chunk) => !chunk.hashes.is_empty() || chunk.to == u64::MAX,
            Message::Items(chunk) => !chunk.items.is_empty() || chunk.to == u64::MAX,
            _ => true,
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.sending.is_empty() && self.sweeps.is_empty() && self.flight.is_empty()
    }
}

/// Why an exchange breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakOff {
    /// It cannot go on, and no side is to blame.
    GivenUp,
    /// The other side does not keep to the protocol.
    Unexpected,
}

impl Exchange {
    /// Takes a message of so many bytes.
    ///
    /// # Errors
    /// The exchange breaks off: its stream is to be abandoned.
    pub(super) fn message(
        &mut self,
        core: &mut Core,
        message: Message,
        bytes: usize,
    ) -> Result<(), BreakOff> {
        self.tally.bytes_received += bytes as u64;
        core.counters.push_pull_bytes_received += bytes as u64;
        if self.is_moved_by(&message) {
            self.expect_progress(core);
        }
        let _store = store_span(core, &message).entered();
        match (message, self.initiator) {
            (Message::Ack(ack), _) => self.ack_received(core, &ack),
            (Message::Delta(delta), _) => self.delta_received(core, delta)?,
            (Message::Done(done), _) => self.done_received(done)?,
            (Message::Cells(cells), true) => self.cells_received(core, &cells)?,
            (Message::Settled(settled), true) => self.settled_received(core, settled)?,
            (Message::Verdicts(verdicts), true) => self.verdicts_received(core, &verdicts)?,
            (Message::Wants(wants), true) => self.wants_received(&wants)?,
            (Message::Hashes(hashes), false) => self.hashes_received(core, hashes)?,
            (Message::Items(items), false) => self.items_received(core, items)?,
            (Message::More(more), false) => self.more_asked(core, more.store)?,
            (Message::Peeled(peeled), false) => self.peeled_received(core, peeled)?,
            (Message::Summary(summary), false) => self.summary_received(core, &summary)?,
            (Message::Totals(totals), false) => self.totals_received(core, &totals)?,
            _ => return Err(BreakOff::Unexpected),
        }
        Ok(())
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, core: &mut Core, message: &Message) {
        let bytes = core.send_frame(self.stream, message) as u64;
        core.counters.push_pull_bytes_sent += bytes;
        self.tally.bytes_sent += bytes;
    }

    /// The other side has so long for its next step.
    pub(super) fn expect_progress(&self, core: &mut Core) {
        core.set_timer_after(TimerKind::Stream(self.stream), core.config.tcp_timeout);
    }

    /// Goes on in the next turn.
    pub(super) fn pump_soon(&self, core: &mut Core) {
        core.set_timer_after(TimerKind::Pump(self.stream), Duration::ZERO);
    }

    /// Everything held by now is part of what this side's end of the exchange promises.
    pub(super) fn pledge(&mut self, core: &mut Core) {
        self.pledged = core.ledger.pledge(&core.stores, core.now.mono);
    }

    /// This node's root and table, with room for all steps after `shape`.
    pub(super) fn sketch_for(
        &mut self,
        core: &mut Core,
        store: StoreId,
        shape: Shape,
    ) -> Option<Sketched> {
        let exponent = shape.needs() + STEPS_EXPONENTS;
        let ours = core.stores.get(store)?.sketch(self.cut, exponent);
        self.pledge(core);
        Some(ours)
    }

    /// What a completed exchange covers, and what the other side refused of it. Nothing if its cut is
    /// far ahead of this clock: then it leaves out what lives here, and the peer is not known to hold
    /// what was not sent.
    pub(in crate::engine) fn take_covered(
        &mut self,
        core: &Core,
    ) -> Option<(BTreeMap<StoreId, u64>, Refusals)> {
        let covers = self.cut.since(core.now.wall) <= cut_grace(core);
        let covered = (
            std::mem::take(&mut self.heads),
            std::mem::take(&mut self.refused),
        );
        covers.then_some(covered)
    }

    /// Cells have led nowhere, and a list has to.
    pub(super) fn use_fallback(&mut self, core: &Core) -> Result<(), BreakOff> {
        if self.fallbacks.take(core.now.mono) {
            return Ok(());
        }
        tracing::debug!(node = %core.setup.name, peer = %self.peer.name, "cells lead nowhere too often");
        Err(BreakOff::GivenUp)
    }

    /// Work was done for it.
    pub(super) fn charge(&mut self, work: Duration) {
        self.work += work;
    }
}

/// Entries of one exchange that are told on.
const NEWS_MAX: usize = 64;
/// Lists where cells have led nowhere: by chance that is rare, and who looks for keys of one hash can have it
/// so each time.
pub(super) const fn fallbacks() -> Allowance {
    Allowance::new(4, Duration::from_secs(60))
}

/// Extensions after the first cells.
pub(super) const STEPS_MAX: u32 = 6;
/// By how much they can raise the exponent that a shape needs.
const STEPS_EXPONENTS: u8 = 2;

/// What is said of one store.
fn store_span(core: &Core, message: &Message) -> Span {
    let store = match message {
        Message::Cells(cells) => cells.store,
        Message::Hashes(hashes) => hashes.store,
        Message::Items(items) => items.store,
        Message::More(more) => more.store,
        Message::Peeled(peeled) => peeled.store,
        Message::Settled(settled) => settled.store,
        Message::Wants(wants) => wants.store,
        _ => return Span::none(),
    };
    let name = core.stores.get(store).map_or("", |store| store.name());
    debug_span!("store", name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::flight::SentPacket;
    use crate::id::NodeName;
    use crate::wire::{Ack, Delta, Done, Items, Section};

    #[test]
    fn what_could_be_repeated_for_ever_keeps_no_exchange_alive() {
        let name = NodeName::new("a").unwrap();
        let peer = ProcessId { name, boot: 1 };
        let mut exchange = Exchange::new(StreamId(1), peer, false, BTreeMap::new());
        let store = StoreId::of("notes");
        for _ in 0..3 {
            exchange.flight.send(SentPacket {
                sent_at: Duration::ZERO,
                bytes: 0,
                items: Vec::new(),
                on_stream: true,
            });
        }
        (1..3).for_each(|number| drop(exchange.flight.land(number)));
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
