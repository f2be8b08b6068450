//! Reads that ask others first: exchanges with as many members as the application wants, each begun after it asked.
//! Whatever such a member held by then has been merged here when its exchange is complete.
//!
//! Exchanges serve all reads that were asked before they began, so many reads at a time cost what one costs. A
//! member is asked again, later each time, if nothing comes of it; one more than are needed are asked at first, and
//! another for each that fails, that cannot be dialled in [`READ_AGAIN`], or that is busy with an exchange of before. What remains is
//! bounded by [`READS_MAX`] and by the members, and a turn looks at few reads: the others have the next.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::core::ask::Ask;
use crate::engine::core::roster::Roster;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Dialling, Facts};
use crate::engine::io::{Output, ReadAsked};
use crate::id::{NodeName, ProcessId};
use crate::store::{Answered, ReadFromError};

use super::Exchanges;
use super::pending::{Asked, Census, PendingRead, READ_AGAIN, READS_MAX};
use super::talk::Exchange;

impl Exchanges {
    /// The application reads.
    pub(in crate::engine) fn read(&mut self, core: &mut Core, facts: Facts<'_>, asked: ReadAsked) {
        let ReadAsked {
            ticket,
            from,
            within,
        } = asked;
        if self.reads.len() >= READS_MAX {
            let max = READS_MAX;
            let outcome = Err(ReadFromError::TooManyReads { max });
            return core.outputs.push_back(Output::Read { ticket, outcome });
        }
        let read = PendingRead {
            from,
            since: core.now.mono,
            spare: 1,
            peers: BTreeMap::new(),
        };
        self.reads.insert(ticket, read);
        core.set_timer_after(TimerKind::Read(ticket), within);
        self.rechecks.insert(ticket);
        self.look_at_reads(core, facts);
    }

    /// How many wait.
    #[cfg(feature = "sim")]
    pub(in crate::engine) fn reads_waiting(&self) -> usize {
        self.reads.len()
    }

    /// Its caller has gone.
    pub(in crate::engine) fn unread(&mut self, core: &mut Core, ticket: u64) {
        core.timers.cancel(&TimerKind::Read(ticket));
        self.reads.remove(&ticket);
        self.rechecks.remove(&ticket);
    }

    /// Time has run out.
    pub(in crate::engine) fn read_timed_out(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        ticket: u64,
    ) {
        if let Some(read) = self.reads.get(&ticket) {
            let outcome = Err(read.unanswered(facts.roster));
            self.answer_read(core, ticket, outcome);
        }
    }

    /// Members have come or gone, or this node is ready: some reads may have come to their end, and others
    /// ask others.
    pub(in crate::engine) fn recheck_reads(&mut self, core: &mut Core, facts: Facts<'_>) {
        self.rechecks.extend(self.reads.keys());
        self.look_at_reads(core, facts);
    }

    /// Looks at some of the reads for which something has changed.
    fn look_at_reads(&mut self, core: &mut Core, facts: Facts<'_>) {
        // As with a write that is followed: before that it is not known who the members are.
        if self.rechecks.is_empty() || !core.readiness.is_ready() {
            return;
        }
        let census = Census::of(facts.roster);
        for _ in 0..RECHECKED_PER_TURN {
            let Some(ticket) = self.rechecks.pop_first() else {
                return;
            };
            let Some(read) = self.reads.get_mut(&ticket) else {
                continue;
            };
            let (asked, answered) = (read.asked(census), read.answered(facts.roster).count());
            if answered >= asked {
                let members = read.answered(facts.roster).cloned().collect();
                self.answer_read(core, ticket, Ok(Answered { members }));
            } else if answered + read.could_answer(census, facts.roster) < asked {
                let outcome = Err(read.unanswered(facts.roster));
                self.answer_read(core, ticket, outcome);
            } else if read.ask(core, facts.roster, asked - answered) {
                core.timers.set_by(TimerKind::Unsynced, core.now.mono);
            }
        }
        if !self.rechecks.is_empty() {
            core.timers.set_by(TimerKind::Unsynced, core.now.mono);
        }
    }

    fn answer_read(
        &mut self,
        core: &mut Core,
        ticket: u64,
        outcome: Result<Answered, ReadFromError>,
    ) {
        self.unread(core, ticket);
        core.outputs.push_back(Output::Read { ticket, outcome });
    }

    /// An exchange is complete: all has arrived that the other side held when it began.
    pub(in crate::engine) fn read_answered(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        exchange: &Exchange,
    ) {
        if exchange.may_lack {
            self.read_failed(core, &exchange.peer.name);
        } else {
            let since = exchange.since;
            for (&ticket, read) in self
                .reads
                .iter_mut()
                .filter(|(_, read)| since >= read.since)
            {
                read.peers.insert(exchange.peer.clone(), Asked::Answered);
                self.rechecks.insert(ticket);
            }
        }
        self.look_at_reads(core, facts);
    }

    /// Nothing has come of an exchange: one more member is asked by those that wait for it.
    pub(super) fn read_failed(&mut self, core: &mut Core, name: &NodeName) {
        for (&ticket, read) in &mut self.reads {
            if read.waits_for(name) {
                read.spare += 1;
                self.rechecks.insert(ticket);
            }
        }
        if !self.reads.is_empty() {
            core.timers.set_by(TimerKind::Unsynced, core.now.mono);
        }
    }

    /// Whether any read waits for an answer.
    pub(super) fn is_read(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Dials those that reads wait for, as many as the limits allow. Returns whom.
    pub(super) fn dial_for_reads(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        dialling: &Dialling,
    ) -> Vec<NodeName> {
        if self.reads.is_empty() || core.is_leaving() {
            return Vec::new();
        }
        self.look_at_reads(core, facts);
        let now = core.now.mono;
        let busy = self.under_way.values();
        let mut dials = ReadDials {
            busy: busy.map(|it| (it.peer.clone(), it.since)).collect(),
            dialling,
            max: core.config.exchanges_max,
            dialled: Vec::new(),
        };
        let mut looks = ASKED_PER_TURN;
        let from = std::mem::take(&mut self.reads_from);
        let (before, after): (Vec<_>, Vec<_>) = self.reads.keys().partition(|it| **it < from);
        for ticket in after.into_iter().chain(before) {
            if looks == 0 {
                // On in the next turn.
                self.reads_from = ticket;
                core.timers.set_by(TimerKind::Unsynced, now);
                break;
            }
            let Some(read) = self.reads.get_mut(&ticket) else {
                continue;
            };
            looks = looks.saturating_sub(read.peers.len());
            let held_up = dials.dial_for(core, facts.roster, read);
            if held_up > 0 {
                read.spare += held_up;
                self.rechecks.insert(ticket);
                core.timers.set_by(TimerKind::Unsynced, now);
            }
        }
        for name in &dials.dialled {
            self.dialled_at = Some((now, name.clone()));
            core.ask(Ask::DialExchange(name.clone()));
        }
        dials.dialled
    }

    /// The node is gone.
    pub(super) fn end_reads(&mut self, core: &mut Core) {
        let tickets: Vec<_> = self.reads.keys().copied().collect();
        for ticket in tickets {
            self.answer_read(core, ticket, Err(ReadFromError::NotRunning));
        }
    }
}

/// Who is dialled for reads in one turn, and who cannot be.
struct ReadDials<'d> {
    /// With whom exchanges are under way, and since when.
    busy: Vec<(ProcessId, Duration)>,
    dialling: &'d Dialling,
    /// Exchanges at a time.
    max: usize,
    dialled: Vec<NodeName>,
}

impl ReadDials<'_> {
    /// Dials those that one read waits for. Returns how many of them it will have to wait for longer, as has become known
    /// just now.
    fn dial_for(&mut self, core: &mut Core, roster: &Roster, read: &mut PendingRead) -> usize {
        let now = core.now.mono;
        let mut held_up_now = 0;
        for (process, asked) in &mut read.peers {
            let Asked::Due {
                next,
                backoff,
                held_up,
            } = asked
            else {
                continue;
            };
            if !roster.is_live(process) {
                continue;
            }
            let mut hold_up = || held_up_now += usize::from(!std::mem::replace(held_up, true));
            if let Some((_, since)) = self.busy.iter().find(|(peer, _)| peer == process) {
                if *since < read.since {
                    // It sends what it held before that was asked: it is dialled once that is over.
                    hold_up();
                }
                continue;
            }
            if *next > now {
                core.timers.set_by(TimerKind::Unsynced, *next);
                continue;
            }
            let name = &process.name;
            let is_dialled = self.dialled.contains(name);
            if self.dialling.exchanges.contains(name) {
                // It takes its time: it may be out of reach.
                hold_up();
            } else if !is_dialled && !self.has_room() {
                // The end of an exchange makes room.
                core.timers.set_by(TimerKind::Unsynced, now + READ_AGAIN);
                continue;
            } else if !is_dialled {
                self.dialled.push(name.clone());
            }
            *next = now + *backoff;
            *backoff = (*backoff * 2).min(READ_AGAIN_MAX);
            core.timers.set_by(TimerKind::Unsynced, *next);
        }
        held_up_now
    }

    fn has_room(&self) -> bool {
        let all = self.busy.len() + self.dialling.exchanges.len() + self.dialled.len();
        all < self.max && self.dialled.len() < self.dialling.room
    }
}

/// A member that was dialled in vain is dialled again within this.
const READ_AGAIN_MAX: Duration = Duration::from_secs(2);
/// Reads that are looked at in one turn, each at the cost of a look at the members.
const RECHECKED_PER_TURN: usize = 16;
/// Members that are asked by all reads, of which one turn looks at so many and those of one read.
const ASKED_PER_TURN: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::{Known, core, linked, name, process};
    use crate::engine::event::Readiness;
    use crate::engine::io::StreamId;
    use crate::store::Copies;

    fn ready(names: &[&str]) -> (Core, Exchanges, Known) {
        let mut core = core();
        core.readiness = Readiness::Synced { with: name("z") };
        let known = linked(&core, names);
        (core, Exchanges::default(), known)
    }

    fn read(exchanges: &mut Exchanges, core: &mut Core, known: &Known, ticket: u64, from: Copies) {
        let within = Duration::from_secs(5);
        let asked = ReadAsked {
            ticket,
            from,
            within,
        };
        exchanges.read(core, known.facts(), asked);
    }

    fn dial(exchanges: &mut Exchanges, core: &mut Core, known: &Known) -> Vec<NodeName> {
        let dialling = Dialling {
            exchanges: Vec::new(),
            room: 9,
        };
        exchanges.dial_for_reads(core, known.facts(), &dialling)
    }

    /// An exchange with a member that is under way since then.
    fn under_way(exchanges: &mut Exchanges, text: &str, stream: u64, since: Duration) {
        let heads = BTreeMap::new();
        let mut exchange = Exchange::new(StreamId(stream), process(text), false, heads);
        exchange.since = since;
        exchanges.under_way.insert(StreamId(stream), exchange);
    }

    /// How many reads have ended since this was last asked.
    fn ended(core: &mut Core) -> usize {
        let outputs = std::mem::take(&mut core.outputs);
        let ended = outputs.iter();
        ended.filter(|it| matches!(it, Output::Read { .. })).count()
    }

    #[test]
    fn another_member_is_asked_for_one_that_is_busy_with_what_began_before() {
        let (mut core, mut exchanges, known) = ready(&["a", "b", "c", "d"]);
        core.config.exchanges_max = 9;
        core.now.mono = Duration::from_secs(1);
        for (stream, text) in (1..).zip(["a", "b", "c"]) {
            under_way(&mut exchanges, text, stream, Duration::ZERO);
        }
        read(&mut exchanges, &mut core, &known, 1, Copies::N(1));
        let mut dialled = Vec::new();
        for _ in 0..4 {
            dialled.extend(dial(&mut exchanges, &mut core, &known));
        }
        assert_eq!(dialled, [name("d")], "the one that is free, and once");
    }

    #[test]
    fn an_exchange_that_began_after_the_read_is_waited_for() {
        let (mut core, mut exchanges, known) = ready(&["a", "b", "c"]);
        read(&mut exchanges, &mut core, &known, 1, Copies::All);
        under_way(&mut exchanges, "a", 1, core.now.mono);
        dial(&mut exchanges, &mut core, &known);
        assert_eq!(exchanges.reads[&1].spare, 1, "it is not held up");
        let exchange = exchanges.take(StreamId(1)).unwrap();
        exchanges.read_answered(&mut core, known.facts(), &exchange);
        assert_eq!(exchanges.reads[&1].answered(&known.roster).count(), 1);
    }

    #[test]
    fn who_may_have_withheld_what_was_not_refused_has_not_answered() {
        let (mut core, mut exchanges, known) = ready(&["a"]);
        read(&mut exchanges, &mut core, &known, 1, Copies::All);
        for may_lack in [true, false] {
            under_way(&mut exchanges, "a", 1, core.now.mono);
            let mut exchange = exchanges.take(StreamId(1)).unwrap();
            exchange.may_lack = may_lack;
            exchanges.read_answered(&mut core, known.facts(), &exchange);
            assert_eq!(ended(&mut core), usize::from(!may_lack));
        }
    }

    #[test]
    fn a_turn_looks_at_few_reads_and_all_of_them_have_one() {
        let (mut core, mut exchanges, known) = ready(&["a", "b"]);
        for ticket in 0..READS_MAX as u64 {
            read(&mut exchanges, &mut core, &known, ticket, Copies::All);
        }
        for text in ["a", "b"] {
            under_way(&mut exchanges, text, 1, core.now.mono);
            let exchange = exchanges.take(StreamId(1)).unwrap();
            exchanges.read_answered(&mut core, known.facts(), &exchange);
        }
        assert_eq!(ended(&mut core), RECHECKED_PER_TURN);
        let mut turns = 1;
        while exchanges.is_read() {
            core.timers.cancel(&TimerKind::Unsynced);
            dial(&mut exchanges, &mut core, &known);
            assert!(ended(&mut core) <= RECHECKED_PER_TURN);
            assert!(!exchanges.is_read() || core.timers.is_set(&TimerKind::Unsynced));
            turns += 1;
        }
        assert_eq!(turns, READS_MAX / RECHECKED_PER_TURN);
    }
}
