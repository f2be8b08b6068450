//! Roots in passing: what a node says of its stores beside each probe, and what follows where that is not
//! what the other side has.
//!
//! ```text
//! prober                                   probed
//!   Probe, Roots {at: now, sum}         ->   as of `at`, above the cut `at` is in: differs
//!                                            a moment later, when writes of then have arrived
//!                                       <-   Recheck {ask, at, after, sum, later}
//!   Recheck {at, after, sum, later}        ->   the same difference, both times and at both instants:
//!                                            an exchange with the prober is due
//! ```
//!
//! - **A write in flight is no difference.** It was stamped before `at` and arrives before the second
//!   look: either side's sum changes in between, and it is looked at again. What is stamped after `at`
//!   does not count. Of a key written twice within a moment, one side may have had the first version and
//!   the other not; that shows at one of the two instants alone.
//! - **No cut moves**: sums are kept for the steps of 30 s around the clock
//!   ([`Replica::root_at`](crate::store::Replica::root_at)). An instant beside them is not looked at.
//! - **Bounded**: [`DOUBTS_MAX`] differences are looked into at a time, one for each peer, in
//!   [`LOOKS_MAX`] looks each; each member is answered 32 times at once, then ten times a second.
//! - **A liar costs a few exchanges.** One that its roots led to and that brought nothing new has the next wait,
//!   2 s at first and twice as long each time, up to an hour, until one brings something or ten minutes pass
//!   without. Their work is charged to it like that of those it begins. After eight in a row, without equal roots in between, the member is named, and its
//!   roots are not heeded for an hour. It may be that somebody else was quicker: where this side's sum as of
//!   then has changed since, nothing follows. Where all that moved was refused, the wait is that of
//!   the refusals, and nobody is named for ten minutes: what was refused is left out meanwhile.
//! - **What is found is told on.** What only one of two has is most likely missing elsewhere as well. So
//!   both sides of such an exchange send the first 64 entries that are new to them to all peers,
//!   as writes of their own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::crdt::horizon::cut_of;
use crate::engine::core::ask::Ask;
use crate::engine::core::place::StoreKey;
use crate::engine::core::session::Session;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Facts};
use crate::id::{Misbehaviour, ProcessId, StoreId};
use crate::time::Timestamp;
use crate::wire::{Capabilities, Message, Recheck, Roots};

use super::Exchanges;
use super::doubts::{DOUBTS_MAX, Doubt, EXCUSED_FOR};
use super::talk::Exchange;

impl Exchanges {
    /// An exchange has come to its end; refusals have the next one wait until then.
    pub(super) fn judge_roots(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        exchange: &Exchange,
        refused_until: Duration,
    ) {
        let (now, name) = (core.now.mono, &exchange.peer.name);
        let Some(record) = self.roots.records.get_mut(name) else {
            return;
        };
        let tally = &exchange.tally;
        if tally.refused > 0 {
            record.excused = now + EXCUSED_FOR;
        }
        let pending = record.pending.take();
        // What was only sent may be sent to a liar once more, and again.
        if tally.stored > 0 {
            (record.idle, record.strikes, record.until) = (0, 0, Duration::ZERO);
        } else if let Some((at, ours)) = pending {
            let session = comparing(facts, &exchange.peer);
            let sum = session.and_then(|session| sum_at(core, &session.stores, at, at));
            if tally.is_fruitless() {
                record.until = refused_until;
            } else if sum.is_none_or(|sum| sum == ours) && record.has_struck(now) {
                core.misbehaved(name, Misbehaviour::ShowsFalseRoots);
            }
        }
    }

    /// What to say of this node's stores beside a probe of a process.
    pub(in crate::engine) fn roots_for(
        &self,
        core: &Core,
        facts: Facts<'_>,
        process: &ProcessId,
    ) -> Option<Roots> {
        let session = comparing(facts, process)?;
        let at = core.now.wall;
        let sum = sum_at(core, &session.stores, at, at)?;
        let token = session.their_token;
        (!Self::awaits_state(core)).then_some(Roots { token, at, sum })
    }

    /// A probe says what a process has.
    pub(in crate::engine) fn roots_shown(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
        roots: &Roots,
    ) {
        let now = core.now.mono;
        let Some(session) = comparing(facts, process) else {
            return;
        };
        if Self::awaits_state(core) || !self.roots.may_ask(now, &process.name) {
            return;
        }
        let Some(ours) = sum_at(core, &session.stores, roots.at, roots.at) else {
            return;
        };
        if ours == roots.sum {
            return self.roots.agreed(process);
        }
        let known = self.roots.doubts.contains_key(process);
        let room = self.roots.doubts.len() < DOUBTS_MAX;
        let owed = self.due.get(process).is_none_or(|due| !due.synced);
        let mut under_way = self.under_way.values();
        let busy = owed || under_way.any(|exchange| exchange.peer == *process);
        if known || !room || busy || !self.roots.is_heeded(now, &process.name) {
            return;
        }
        let doubt = Doubt {
            at: roots.at,
            last: (ours, roots.sum),
            looks: 0,
            next: now + look_after(core),
        };
        self.roots.doubts.insert(process.clone(), doubt);
        core.timers.set_by(TimerKind::Roots, doubt.next);
    }

    /// Looks once more at what differed.
    pub(in crate::engine) fn look_again(&mut self, core: &mut Core, facts: Facts<'_>) {
        let now = core.now.mono;
        let wait = look_after(core);
        let mut next = None;
        self.roots.doubts.retain(|process, doubt| {
            if doubt.next <= now {
                let look = (doubt.looks < LOOKS_MAX)
                    .then(|| look(core, facts, process, doubt.at, wait / 2, true))
                    .flatten();
                let Some((to, look)) = look else {
                    return false;
                };
                let look = Box::new(Message::Recheck(look));
                core.ask(Ask::Datagram(to, look));
                doubt.looks += 1;
                doubt.next = now + wait * 2;
            }
            next = Some(next.map_or(doubt.next, |next: Duration| next.min(doubt.next)));
            true
        });
        if let Some(next) = next {
            core.timers.set_by(TimerKind::Roots, next);
        }
    }

    /// A process looks once more, or says what it sees.
    pub(in crate::engine) fn look_received(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
        theirs: &Recheck,
    ) {
        let now = core.now.mono;
        let after = Duration::from_micros(theirs.after.into()).min(AFTER_MAX);
        if !self.roots.may_ask(now, &process.name) {
            return;
        }
        let Some((to, ours)) = look(core, facts, process, theirs.at, after, false) else {
            return;
        };
        if theirs.ask {
            if process.name < core.setup.name {
                // It is being looked into already, by the one of the two whose name comes first.
                self.roots.doubts.remove(process);
            }
            core.ask(Ask::Datagram(to, Box::new(Message::Recheck(ours))));
            return;
        }
        let asked = |doubt: &&mut Doubt| doubt.at == theirs.at && doubt.looks > 0;
        let Some(doubt) = self.roots.doubts.get_mut(process).filter(asked) else {
            return;
        };
        let differs = ours.sum != theirs.sum;
        let same = std::mem::replace(&mut doubt.last, (ours.sum, theirs.sum))
            == (ours.sum, theirs.sum)
            && ours.sum.wrapping_sub(theirs.sum) == ours.later.wrapping_sub(theirs.later);
        if !differs {
            self.roots.doubts.remove(process);
        } else if same {
            let of = (doubt.at, ours.sum);
            self.roots.doubts.remove(process);
            self.found(core, process, of);
        }
    }

    /// A peer has something else: an exchange with it is due.
    fn found(&mut self, core: &mut Core, process: &ProcessId, of: (Timestamp, u64)) {
        let now = core.now.mono;
        if self.is_overworked_by(core, &process.name) {
            return;
        }
        let Some(due) = self.due.get_mut(process) else {
            return;
        };
        if !due.synced || !self.roots.is_heeded(now, &process.name) {
            return;
        }
        core.counters.differences_found += 1;
        let record = self.roots.records.entry(process.name.clone());
        record.or_default().pending = Some(of);
        due.found = true;
        due.at(now);
        core.timers.set_by(TimerKind::Unsynced, now);
    }
}

impl Exchange {
    /// These entries are held here now: in an exchange that roots led to, what is new is told on.
    pub(super) fn tell_on(&mut self, core: &mut Core, held: &[StoreKey]) {
        if !self.found {
            return;
        }
        for place in held.iter().take(self.news_left) {
            core.stores.adopt(place);
        }
        self.news_left = self.news_left.saturating_sub(held.len());
    }
}

/// The session with a process that compares roots too.
fn comparing<'a>(facts: Facts<'a>, process: &ProcessId) -> Option<&'a Session> {
    let session = facts.sessions.get(process)?;
    let able = session.capabilities.has(Capabilities::ROOTS);
    (able && !session.stores.is_empty()).then_some(session)
}

/// A look at these instants, and where it goes to.
fn look(
    core: &Core,
    facts: Facts<'_>,
    process: &ProcessId,
    at: Timestamp,
    after: Duration,
    ask: bool,
) -> Option<(SocketAddr, Recheck)> {
    let session = comparing(facts, process)?;
    let look = Recheck {
        token: session.their_token,
        ask,
        at,
        after: u32::try_from(after.as_micros()).ok()?,
        sum: sum_at(core, &session.stores, at, at)?,
        later: sum_at(core, &session.stores, at, at.plus(after))?,
    };
    Some((session.addr, look))
}

/// What these stores come to above the cut of `at`, as of `until`.
fn sum_at(core: &Core, stores: &BTreeSet<StoreId>, at: Timestamp, until: Timestamp) -> Option<u64> {
    let cut = cut_of(at);
    stores.iter().try_fold(0_u64, |sum, &id| {
        let root = core.stores.get(id)?.root_at(cut, until, core.now.wall)?;
        Some(sum.wrapping_add(root.wrapping_mul(factor(id))))
    })
}

/// An odd number of a store, so that what one has more and another less does not cancel out.
fn factor(id: StoreId) -> u64 {
    (u64::from(id.0) << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// How long writes of a moment ago are given to arrive.
fn look_after(core: &Core) -> Duration {
    (core.config.probe_timeout / 5).clamp(LOOK_AFTER_MIN, AFTER_MAX)
}

const LOOKS_MAX: u32 = 4;
const LOOK_AFTER_MIN: Duration = Duration::from_millis(100);
const AFTER_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::super::doubts::{LOOKS_AT_ONCE, STRIKES_MAX};
    use super::*;
    use crate::engine::core::tests::{
        Known, core_with, datagrams, linked, name, note, notes, process,
    };
    use crate::engine::event::{Event, Readiness};
    use crate::engine::io::{Output, StreamId};
    use crate::store::Store;

    /// A node with a store of three notes that has joined, and a session with `a`, with which it is synced.
    fn bed() -> (Exchanges, Core, Known, Arc<dyn Store>) {
        let (store, _) = notes(3);
        let mut core = core_with(vec![store.clone()], false);
        core.readiness = Readiness::Synced { with: name("a") };
        let mut known = linked(&core, &["a"]);
        for session in known.sessions.by_process.values_mut() {
            session.capabilities = Capabilities::OURS;
        }
        let mut exchanges = Exchanges::default();
        let due = exchanges.due.entry(process("a")).or_default();
        due.synced = true;
        // From now on the last changes are kept.
        let at = core.now.wall;
        assert!(
            exchanges
                .roots_for(&core, known.facts(), &process("a"))
                .is_some()
        );
        core.now.wall = at.plus(Duration::from_secs(1));
        core.now.mono += Duration::from_secs(1);
        (exchanges, core, known, store)
    }

    fn pass(core: &mut Core, time: Duration) {
        core.now.mono += time;
        core.now.wall = core.now.wall.plus(time);
    }

    /// What a peer shows whose sum is `more` than ours.
    fn shown(exchanges: &Exchanges, core: &Core, known: &Known, more: u64) -> Roots {
        let roots = exchanges.roots_for(core, known.facts(), &process("a"));
        let roots = roots.expect("a sum");
        Roots {
            sum: roots.sum.wrapping_add(more),
            ..roots
        }
    }

    /// Has the second look fall due, and returns what it asks.
    fn asked(exchanges: &mut Exchanges, core: &mut Core, known: &Known) -> Option<Recheck> {
        pass(core, look_after(core));
        exchanges.look_again(core, known.facts());
        let asks = core.take_asks().into_iter();
        let looks = asks.filter_map(|ask| match ask {
            Ask::Datagram(_, message) => match *message {
                Message::Recheck(look) => Some(look),
                _ => None,
            },
            _ => None,
        });
        looks.last()
    }

    /// The peer's reply to a look: so much more at the one instant and at the other.
    fn replied(look: &Recheck, more: u64, later: u64) -> Recheck {
        Recheck {
            ask: false,
            sum: look.sum.wrapping_add(more),
            later: look.later.wrapping_add(later),
            ..*look
        }
    }

    fn is_due(exchanges: &Exchanges) -> bool {
        !exchanges.due[&process("a")].synced
    }

    #[test]
    fn the_same_difference_seen_twice_makes_an_exchange_due() {
        let (mut exchanges, mut core, known, _) = bed();
        let a = process("a");
        let roots = shown(&exchanges, &core, &known, 5);
        exchanges.roots_shown(&mut core, known.facts(), &a, &roots);
        assert!(!is_due(&exchanges), "seen once");
        let look = asked(&mut exchanges, &mut core, &known).expect("a second look");
        assert!(look.ask && look.at == roots.at && look.after > 0);
        exchanges.look_received(&mut core, known.facts(), &a, &replied(&look, 5, 5));
        assert!(is_due(&exchanges));
        assert_eq!(core.counters.differences_found, 1);
        assert_eq!(exchanges.roots.sizes().0, 0);
    }

    #[test]
    fn what_arrives_meanwhile_or_shows_at_one_instant_alone_is_no_difference() {
        let (mut exchanges, mut core, known, store) = bed();
        let a = process("a");
        for (more, later) in [(0, 0), (5, 6), (7, 7)] {
            let roots = shown(&exchanges, &core, &known, 5);
            exchanges.roots_shown(&mut core, known.facts(), &a, &roots);
            let look = asked(&mut exchanges, &mut core, &known).expect("a second look");
            let reply = replied(&look, more, later);
            exchanges.look_received(&mut core, known.facts(), &a, &reply);
            assert!(!is_due(&exchanges), "{more}, {later}");
            exchanges.roots.doubts.clear();
        }
        // A write that was stamped before, and came in between.
        let roots = shown(&exchanges, &core, &known, 5);
        let mut late = note(9);
        late.ts = core.now.wall.minus(Duration::from_millis(1));
        exchanges.roots_shown(&mut core, known.facts(), &a, &roots);
        store.replica().merge(&[late], core.now.wall);
        let look = asked(&mut exchanges, &mut core, &known).expect("a second look");
        exchanges.look_received(&mut core, known.facts(), &a, &replied(&look, 5, 5));
        assert!(!is_due(&exchanges), "our sum has changed");
        let again = asked(&mut exchanges, &mut core, &known);
        assert!(again.is_none(), "not yet");
        let again = asked(&mut exchanges, &mut core, &known).expect("a third look");
        exchanges.look_received(&mut core, known.facts(), &a, &replied(&again, 5, 5));
        assert!(is_due(&exchanges), "it stays");
    }

    #[test]
    fn a_write_after_the_instant_does_not_count() {
        let (exchanges, mut core, known, store) = bed();
        let roots = shown(&exchanges, &core, &known, 0);
        pass(&mut core, Duration::from_millis(10));
        let mut fresh = note(9);
        fresh.ts = core.now.wall;
        store.replica().merge(&[fresh], core.now.wall);
        let session = known.sessions.get(&process("a")).unwrap();
        let sum = |at| sum_at(&core, &session.stores, at, at);
        assert_eq!(sum(roots.at), Some(roots.sum));
        assert_ne!(sum(core.now.wall), Some(roots.sum));
        let far = core.now.wall.minus(Duration::from_secs(60));
        assert_eq!(sum(far), None, "other cuts are not looked at");
    }

    #[test]
    fn a_liar_costs_a_few_exchanges_and_is_named() {
        let (mut exchanges, mut core, known, _) = bed();
        let a = process("a");
        let (mut found, mut rounds) = (0, 0);
        while rounds < 3_000 {
            rounds += 1;
            let roots = shown(&exchanges, &core, &known, 5 + rounds);
            exchanges.roots_shown(&mut core, known.facts(), &a, &roots);
            if let Some(look) = asked(&mut exchanges, &mut core, &known) {
                let reply = replied(&look, 5 + rounds, 5 + rounds);
                exchanges.look_received(&mut core, known.facts(), &a, &reply);
            }
            if is_due(&exchanges) {
                found += 1;
                let mut exchange = Exchange::new(StreamId(2), a.clone(), true, BTreeMap::new());
                // It takes the same as before, and brings nothing.
                exchange.tally.sent = 3;
                exchanges.completed(&mut core, known.facts(), &exchange, true);
                core.outputs
                    .retain(|output| matches!(output, Output::Event(_)));
            }
            pass(&mut core, Duration::from_secs(1));
        }
        assert_eq!(found, STRIKES_MAX, "in an hour");
        let named = core.outputs.iter().filter(|output| {
            matches!(output, Output::Event(Event::MemberMisbehaved { kind, .. })
                if *kind == Misbehaviour::ShowsFalseRoots)
        });
        assert_eq!((named.count(), datagrams(&core).len()), (1, 0));
        // Who forgets the member forgets all of it.
        exchanges.member_forgotten(&name("a"));
        assert_eq!(exchanges.roots.sizes(), (0, 0));
    }

    #[test]
    fn one_that_had_too_much_work_done_is_not_heeded_and_one_that_brings_something_is() {
        let (mut exchanges, mut core, known, _) = bed();
        let (a, now) = (process("a"), core.now.mono);
        let of = (core.now.wall, 1);
        exchanges
            .debts
            .charge(now, &a.name, Duration::from_secs(10));
        exchanges.found(&mut core, &a, of);
        assert!(!is_due(&exchanges));
        core.now.mono = exchanges.debts.free_at(&a.name);
        for n in 1..=2 * u64::from(STRIKES_MAX) {
            exchanges.found(&mut core, &a, of);
            assert!(is_due(&exchanges), "what it brought is new");
            assert_eq!(core.counters.differences_found, n);
            let mut exchange = Exchange::new(StreamId(2), a.clone(), true, BTreeMap::new());
            (exchange.tally.received, exchange.tally.stored) = (3, 1);
            exchanges.completed(&mut core, known.facts(), &exchange, true);
        }
    }

    #[test]
    fn looks_are_few() {
        let (mut exchanges, mut core, known, _) = bed();
        let a = process("a");
        let roots = shown(&exchanges, &core, &known, 5);
        exchanges.roots_shown(&mut core, known.facts(), &a, &roots);
        let looks = (0..20).filter(|_| asked(&mut exchanges, &mut core, &known).is_some());
        assert_eq!(looks.count(), LOOKS_MAX as usize, "nobody replies");
        assert_eq!(exchanges.roots.sizes().0, 0);
        let look = Recheck {
            token: 101,
            ask: true,
            at: core.now.wall,
            after: u32::MAX,
            sum: 1,
            later: 2,
        };
        for _ in 0..1_000 {
            exchanges.look_received(&mut core, known.facts(), &a, &look);
        }
        let replies = core.take_asks().len();
        assert!(replies <= LOOKS_AT_ONCE as usize, "{replies} of a thousand");
    }
}
