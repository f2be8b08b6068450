//! Anti-entropy: push/pull exchanges, when they begin, and what is said in them.
//!
//! Each has a stream of its own. Both sides compare the entries that outlive one instant, the *cut*,
//! so nodes that collect at different moments do not differ. What changes during an exchange is
//! simply part of it, or of the next one. See Demers et al. 1987 for the name and the idea.
//!
//! | file | what it holds |
//! |---|---|
//! | `schedule`, `due` | when exchanges begin, and with which peers one is due |
//! | `cut` | the cut, and how far it may be off |
//! | `talk` | one exchange: its state, and who reads which message |
//! | `initiator`, `responder` | the two sides of a comparison by digests and cells |
//! | `listing`, `list`, `window`, `line` | the comparison by sorted lists |
//! | `transfer` | entries on their way; the end |
//! | `roots`, `doubts` | what is said in passing, and the exchanges that it leads to |
//! | `reads`, `pending` | reads that ask others first |
//! | `source` | a newcomer takes the state from one peer |
//! | `work` | what the exchanges that a peer begins may cost |
//!
//! # The flow
//! What either side lacks is found out, store by store, and sent.
//!
//! ```text
//! initiator                                  responder
//!   Totals {cut; count, root of           ->
//!           every store}
//!                                         <- Verdicts {one per store}
//!
//!   and of those that are to be measured, or at once where something is known to differ:
//!   Summary {cut; count, root, estimator  ->
//!            of each}
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
//! different entries (a chance of 2^-16 for each pair of one key and millisecond) or a digest lies:
//! `digest_mismatches` is counted and whole hashes are listed, which leaves no doubt. Where one of
//! these entries has changed since, nothing can be said, and the next exchange will tell.
//!
//! **Bounds.** A side keeps for each store under comparison a table of at most 6.4 times the first shape
//! (its exponent raised by two, or by three from five partitions on) and at most 524 kB; or, for one
//! store at a time, a window of a sorted list: at most 65,536 lines, 3 MB, read over turns, whatever
//! the size of the store. What is to be sent is two words an entry, once each, or a position where
//! everything is. Each step of a comparison is taken once; what exchange after exchange may cost the
//! responder is in `work`. An exchange that breaks off is made up for by another, which compares again
//! and so sends nothing twice that was merged.

mod cut;
mod doubts;
mod due;
mod initiator;
mod line;
mod list;
mod listing;
mod pending;
mod reads;
mod responder;
mod roots;
mod schedule;
mod source;
mod talk;
#[cfg(test)]
mod tests;
mod transfer;
mod window;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::debug_span;

use crate::crdt::horizon::cut_of;
use crate::id::{Misbehaviour, NodeName, ProcessId};
use crate::time::Allowance;
use crate::wire::{Capabilities, Message};

use super::core::ask::{Ask, ExchangeOpening};
use super::core::debts::Debts;
use super::core::delta::MergedDelta;
use super::core::flight::Receipt;
use super::core::timers::TimerKind;
use super::core::{Core, Facts};
use super::event::{Comparison, Event, Readiness};
use super::io::StreamId;

#[cfg(feature = "sim")]
pub(super) use doubts::DOUBTS_MAX;
use doubts::RootWatch;
use due::{Due, Ended};
use pending::PendingRead;
#[cfg(feature = "sim")]
pub(super) use pending::READS_MAX;
use talk::BreakOff;
pub(super) use talk::Exchange;

/// The owner of exchanges.
pub(super) struct Exchanges {
    under_way: BTreeMap<StreamId, Exchange>,
    /// When the next one with each peer is due: one for each session.
    due: BTreeMap<ProcessId, Due>,
    /// For the exchanges that members began.
    debts: Debts,
    /// When one was dialled last, and with whom, unless that has come to its end.
    dialled_at: Option<(Duration, NodeName)>,
    roots: RootWatch,
    /// How often cells may lead to lists with each member. Bounded by the members.
    fallbacks: BTreeMap<NodeName, Allowance>,
    /// Reads that ask others first, by ticket.
    reads: BTreeMap<u64, PendingRead>,
    /// Those that are to be looked at.
    rechecks: BTreeSet<u64>,
    /// The read with which dialling for reads goes on.
    reads_from: u64,
}

impl Default for Exchanges {
    fn default() -> Self {
        Self {
            under_way: BTreeMap::new(),
            due: BTreeMap::new(),
            debts: work::debts(),
            dialled_at: None,
            roots: RootWatch::default(),
            fallbacks: BTreeMap::new(),
            reads: BTreeMap::new(),
            rechecks: BTreeSet::new(),
            reads_from: 0,
        }
    }
}

impl Exchanges {
    /// With how many sessions one is due, now or later.
    #[cfg(feature = "sim")]
    pub(super) fn due(&self) -> usize {
        self.due.len()
    }

    /// How many members have been charged for work.
    #[cfg(feature = "sim")]
    pub(super) fn charged(&self) -> usize {
        self.debts.len()
    }

    /// How many differences are looked into, and how many members have shown roots.
    #[cfg(feature = "sim")]
    pub(super) fn roots_sizes(&self) -> (usize, usize) {
        self.roots.sizes()
    }

    /// How many are under way.
    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// The streams of those under way.
    pub(super) fn streams(&self) -> Vec<StreamId> {
        self.under_way.keys().copied().collect()
    }

    /// The handshake of its stream is done.
    pub(super) fn opened(&mut self, core: &mut Core, facts: Facts<'_>, opening: &ExchangeOpening) {
        let ExchangeOpening {
            stream,
            ref process,
            dialled,
        } = *opening;
        if dialled {
            self.dial_ended(&process.name);
            if self.is_fetching(core) {
                // Another one has begun meanwhile: this one is dialled again once that is over.
                Self::look_again_later(core);
                return core.ask(Ask::AbandonStream(stream));
            }
        }
        // What only one side has is not exchanged, and not covered.
        let mut heads = core.stores.heads();
        heads.retain(|id, _| facts.sessions.share(process, *id));
        let mut exchange = Exchange::new(stream, process.clone(), dialled, heads);
        exchange.since = core.now.mono;
        let session = facts.sessions.get(process);
        exchange.narrow = session.is_some_and(|it| it.capabilities.has(Capabilities::NARROW));
        if let Some(&left) = self.fallbacks.get(&process.name) {
            exchange.fallbacks = left;
        }
        if let Some(due) = self.due.get_mut(process) {
            exchange.withheld = due.withheld(core.now.mono);
            exchange.denied_before = due.denied.at(core.now.mono);
            exchange.may_lack = due.denied.is_too_many(core.now.mono);
            exchange.found = dialled && std::mem::take(&mut due.found);
        }
        exchange.span =
            debug_span!("exchange", node = %core.setup.name, peer = %process.name, dialled);
        let _exchange = exchange.span.clone().entered();
        exchange.expect_progress(core);
        if dialled {
            begin(core, facts, &mut exchange);
        }
        self.under_way.insert(stream, exchange);
    }

    /// A message of so many bytes came on its stream.
    pub(super) fn message(
        &mut self,
        core: &mut Core,
        stream: StreamId,
        message: Message,
        bytes: usize,
    ) {
        let Some(exchange) = self.under_way.get_mut(&stream) else {
            return;
        };
        let _exchange = exchange.span.clone().entered();
        match exchange.message(core, message, bytes) {
            Ok(()) => {
                core.ask(Ask::PumpExchange(stream));
                self.give_way(core, stream);
            }
            Err(why) => {
                if why == BreakOff::Unexpected {
                    core.counters.unexpected += 1;
                    core.misbehaved(&exchange.peer.name, Misbehaviour::BreaksExchanges);
                }
                core.ask(Ask::AbandonStream(stream));
            }
        }
        self.settle_work(core, stream);
    }

    /// A delta that came in one has been merged.
    pub(super) fn delta_merged(&mut self, core: &mut Core, stream: StreamId, merged: MergedDelta) {
        if let Some(exchange) = self.under_way.get_mut(&stream) {
            let _exchange = exchange.span.clone().entered();
            exchange.delta_merged(core, merged);
            self.settle_work(core, stream);
        }
    }

    /// Goes on with one.
    pub(super) fn pump(&mut self, core: &mut Core, stream: StreamId) {
        if let Some(exchange) = self.under_way.get_mut(&stream) {
            let _exchange = exchange.span.clone().entered();
            exchange.pump(core);
            self.settle_work(core, stream);
        }
    }

    /// A commit is on disk.
    pub(super) fn committed(&mut self, core: &mut Core, stream: StreamId) {
        if let Some(exchange) = self.under_way.get_mut(&stream) {
            exchange.committed(core);
        }
    }

    /// A peer acknowledges entries on whatever way they came: what it refused of them earlier, in an
    /// exchange that is still under way, counts no longer.
    pub(super) fn acknowledged(&mut self, process: &ProcessId, receipt: &Receipt) {
        let under_way = self.under_way.values_mut();
        for exchange in under_way.filter(|exchange| exchange.peer == *process) {
            for &item in &receipt.held {
                exchange.refused.take_back(item);
            }
        }
    }

    /// Takes one off the books.
    pub(super) fn take(&mut self, stream: StreamId) -> Option<Exchange> {
        let exchange = self.under_way.remove(&stream)?;
        // Of two at a time with one peer, the one that ends last counts.
        let left = exchange.fallbacks;
        self.fallbacks.insert(exchange.peer.name.clone(), left);
        Some(exchange)
    }

    /// One broke off.
    pub(super) fn failed(&mut self, core: &mut Core, exchange: &Exchange) {
        core.counters.push_pulls_failed += 1;
        let peer = exchange.peer.name.clone();
        self.read_failed(core, &peer);
        core.emit(Event::PushPullFailed { peer });
        self.place_is_free(core);
    }

    /// One has come to its end, before anything else follows from that. `covered` is whether it
    /// covers all that was left to exchanges: what was left after it began is left to the next.
    pub(super) fn completed(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        exchange: &Exchange,
        covered: bool,
    ) {
        core.counters.push_pulls += 1;
        *match exchange.tally.comparison {
            Comparison::All => &mut core.counters.push_pulls_all,
            Comparison::Cells => &mut core.counters.push_pulls_cells,
            Comparison::Equal => &mut core.counters.push_pulls_equal,
            Comparison::List => &mut core.counters.push_pulls_list,
        } += 1;
        if let Some(due) = self.due.get_mut(&exchange.peer) {
            let ended = Ended {
                covered,
                fruitless: exchange.tally.is_fruitless(),
                refused: exchange.refused.clone(),
            };
            let interval = core.config.push_pull_interval.unwrap_or(REFUSED_MAX);
            due.completed(core.now.mono, ended, interval);
            let denied = exchange.denied_before + exchange.tally.denied;
            due.denied.completed(core.now.mono, denied, interval);
            let until = due.withheld.until();
            self.judge_roots(core, facts, exchange, until);
        }
    }

    /// Tells that one has come to its end, after everything that follows from that.
    pub(super) fn report(&mut self, core: &mut Core, facts: Facts<'_>, exchange: &Exchange) {
        let name = &exchange.peer.name;
        let tally = exchange.tally;
        // The cut that a peer names is of its clock, or of ours.
        let by = exchange.cut.since(core.now.wall);
        if tally.ahead > 0 && by > core.config.max_clock_drift {
            core.clock_differs(name, by);
        } else if facts.roster.is_live(&exchange.peer) {
            core.set_readiness(Readiness::Synced { with: name.clone() });
        }
        core.emit(Event::PushPullCompleted {
            peer: name.clone(),
            comparison: tally.comparison,
            received: tally.received,
            sent: tally.sent,
            bytes_received: tally.bytes_received,
            bytes_sent: tally.bytes_sent,
        });
        self.place_is_free(core);
    }

    fn place_is_free(&self, core: &mut Core) {
        if self.due.values().any(|due| !due.synced) || self.is_read() {
            core.timers.set_by(TimerKind::Unsynced, core.now.mono);
        }
    }

    /// Charges the work that an exchange has taken to the member that began it, or whose roots led to it.
    fn settle_work(&mut self, core: &Core, stream: StreamId) {
        let Some(exchange) = self.under_way.get_mut(&stream) else {
            return;
        };
        let cost = std::mem::take(&mut exchange.work);
        let is_theirs = !exchange.initiator || exchange.found;
        if is_theirs && !cost.is_zero() {
            self.debts.charge(core.now.mono, &exchange.peer.name, cost);
        }
    }

    /// Whether a member has had more work done than it may, for now.
    pub(super) fn is_overworked_by(&self, core: &Core, name: &NodeName) -> bool {
        self.debts.free_at(name) > core.now.mono
    }

    /// A member is not in the table any more.
    pub(super) fn member_forgotten(&mut self, name: &NodeName) {
        self.debts.forget(name);
        self.due.retain(|process, _| process.name != *name);
        self.roots.member_forgotten(name);
        self.fallbacks.remove(name);
    }

    /// Ends all: this process becomes another one.
    pub(super) fn end_all(&self, core: &mut Core) {
        for &stream in self.under_way.keys() {
            let complete = false;
            core.ask(Ask::ExchangeEnded { stream, complete });
        }
    }

    /// Forgets all, without conclusions: the node is gone.
    pub(super) fn clear(&mut self, core: &mut Core) {
        self.end_reads(core);
        self.under_way.clear();
    }
}

/// How long what a peer refused is withheld at most, where there is no periodic push/pull.
const REFUSED_MAX: Duration = Duration::from_secs(60);

/// Opens the conversation: with the totals, or at once with the digests where something is known to
/// differ, or where the other side knows nothing else.
fn begin(core: &mut Core, facts: Facts<'_>, exchange: &mut Exchange) {
    exchange.cut = cut_of(core.now.wall);
    exchange.pledge(core);
    let session = facts.sessions.get(&exchange.peer);
    let able = session.is_some_and(|session| session.capabilities.has(Capabilities::ROOTS));
    if able {
        exchange.send_totals(core);
    }
    if !able || exchange.found {
        let stores: Vec<_> = exchange.heads.keys().copied().collect();
        exchange.send_summary(core, stores);
    }
}
