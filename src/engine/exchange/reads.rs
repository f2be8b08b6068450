//! Reads that ask others first: exchanges with as many members as the application wants, each begun after it asked.
//! Whatever such a member held by then has been merged here when its exchange is complete.
//!
//! Exchanges serve all reads that were asked before they began, so many reads at a time cost what one costs. A
//! member is asked again, later each time, if nothing comes of it; one more than are needed are asked at first, and
//! another for each that fails or cannot be dialled in [`READ_AGAIN`]. What remains is bounded by [`READS_MAX`] and by the members.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::seq::SliceRandom as _;

use crate::engine::core::ask::Ask;
use crate::engine::core::roster::Roster;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Dialling, Facts};
use crate::engine::io::{Output, ReadAsked};
use crate::id::{MemberState, NodeName, ProcessId};
use crate::store::{Answered, Copies, ReadFromError};

use super::Exchanges;
use super::talk::Exchange;

/// One read that waits.
#[derive(Debug)]
pub(super) struct PendingRead {
    from: Copies,
    /// An exchange counts that began then or later.
    since: Duration,
    /// How many may fail before others are asked.
    spare: usize,
    peers: BTreeMap<ProcessId, Asked>,
}

/// How far it is with one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// All that it held has arrived.
    Answered,
    /// It is dialled then, if it has not answered.
    Due { next: Duration, backoff: Duration },
}

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
        self.recheck_reads(core, facts);
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
        // As with a write that is followed: before that it is not known who the members are.
        if !core.readiness.is_ready() {
            return;
        }
        let mut ended = Vec::new();
        for (&ticket, read) in &mut self.reads {
            let (asked, members) = read.needed(facts.roster);
            let answered = members.len();
            if answered >= asked {
                ended.push((ticket, Ok(Answered { members })));
            } else if answered + read.could_answer(facts.roster) < asked {
                ended.push((ticket, Err(read.unanswered(facts.roster))));
            } else if read.ask(core, facts.roster, asked - answered) {
                core.timers.set_by(TimerKind::Unsynced, core.now.mono);
            }
        }
        for (ticket, outcome) in ended {
            self.answer_read(core, ticket, outcome);
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
        for read in self.reads.values_mut() {
            if exchange.since >= read.since {
                read.peers.insert(exchange.peer.clone(), Asked::Answered);
            }
        }
        self.recheck_reads(core, facts);
    }

    /// Nothing has come of an exchange: one more member is asked by those that wait for it.
    pub(super) fn read_failed(&mut self, core: &mut Core, name: &NodeName) {
        for read in self.reads.values_mut() {
            let mut peers = read.peers.iter();
            if peers.any(|(process, asked)| process.name == *name && *asked != Asked::Answered) {
                read.spare += 1;
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
        let mut dialled: Vec<NodeName> = Vec::new();
        if self.reads.is_empty() || core.is_leaving() {
            return dialled;
        }
        self.recheck_reads(core, facts);
        let now = core.now.mono;
        let busy: Vec<_> = self.under_way.values().map(|it| it.peer.clone()).collect();
        let max = core.config.exchanges_max;
        for read in self.reads.values_mut() {
            for (process, asked) in &mut read.peers {
                let Asked::Due { next, backoff } = *asked else {
                    continue;
                };
                if !facts.roster.is_live(process) || busy.contains(process) {
                    continue;
                }
                if next > now {
                    core.timers.set_by(TimerKind::Unsynced, next);
                    continue;
                }
                let name = &process.name;
                let is_dialled = dialled.contains(name) || dialling.exchanges.contains(name);
                let all = busy.len() + dialling.exchanges.len() + dialled.len();
                let has_room = all < max && dialled.len() < dialling.room;
                if !is_dialled && !has_room {
                    // The end of an exchange makes room.
                    core.timers.set_by(TimerKind::Unsynced, now + READ_AGAIN);
                    continue;
                }
                if dialling.exchanges.contains(name) {
                    // It takes its time: it may be out of reach.
                    read.spare += 1;
                    core.timers.set_by(TimerKind::Unsynced, now);
                } else if !is_dialled {
                    dialled.push(name.clone());
                }
                let next = now + backoff;
                let backoff = (backoff * 2).min(READ_AGAIN_MAX);
                *asked = Asked::Due { next, backoff };
                core.timers.set_by(TimerKind::Unsynced, next);
            }
        }
        for name in &dialled {
            self.dialled_at = Some((now, name.clone()));
            core.ask(Ask::DialExchange(name.clone()));
        }
        dialled
    }

    /// The node is gone.
    pub(super) fn end_reads(&mut self, core: &mut Core) {
        let tickets: Vec<_> = self.reads.keys().copied().collect();
        for ticket in tickets {
            self.answer_read(core, ticket, Err(ReadFromError::NotRunning));
        }
    }
}

impl PendingRead {
    /// How many others are to answer, and which of those that have count.
    fn needed(&self, roster: &Roster) -> (usize, Vec<NodeName>) {
        let asked = match self.from {
            Copies::N(others) => others,
            Copies::All => roster.live().count(),
            // With this process that is more than half.
            Copies::Majority => here(roster).count().div_ceil(2),
        };
        let answered = here(roster).filter(|process| self.has_answered(process));
        (
            asked,
            answered.map(|process| process.name.clone()).collect(),
        )
    }

    fn has_answered(&self, process: &ProcessId) -> bool {
        self.peers.get(process) == Some(&Asked::Answered)
    }

    /// How many live members have not answered.
    fn could_answer(&self, roster: &Roster) -> usize {
        let live = roster.live();
        live.filter(|it| !self.has_answered(&it.id.process)).count()
    }

    /// Sees to it that so many further members are asked, and some to spare. Returns whether any is new.
    fn ask(&mut self, core: &mut Core, roster: &Roster, needed: usize) -> bool {
        self.peers
            .retain(|process, asked| *asked == Asked::Answered || roster.is_live(process));
        let waiting = self.peers.values().filter(|it| **it != Asked::Answered);
        let missing = (needed + self.spare).saturating_sub(waiting.count());
        if missing == 0 {
            return false;
        }
        let others = roster.live().map(|it| &it.id.process);
        let others = others.filter(|process| !self.peers.contains_key(process));
        let mut chosen: Vec<ProcessId> = others.cloned().collect();
        chosen.shuffle(&mut core.rng);
        chosen.truncate(missing);
        let due = Asked::Due {
            next: core.now.mono,
            backoff: READ_AGAIN,
        };
        let any = !chosen.is_empty();
        self.peers.extend(chosen.into_iter().map(|it| (it, due)));
        any
    }

    fn unanswered(&self, roster: &Roster) -> ReadFromError {
        let (asked, answered) = self.needed(roster);
        let silent = here(roster).filter(|process| !self.has_answered(process));
        ReadFromError::NotAnswered {
            asked,
            answered: answered.len(),
            silent: silent.map(|process| process.name.clone()).collect(),
        }
    }
}

/// All members that have not left: those that have failed are not forgotten yet.
fn here(roster: &Roster) -> impl Iterator<Item = &ProcessId> {
    let here = roster.members().filter(|it| it.state != MemberState::Left);
    here.map(|it| &it.id.process)
}

/// Reads that wait at a time.
pub(in crate::engine) const READS_MAX: usize = 256;
/// How long after a member was dialled in vain it is dialled again; each time twice as long.
const READ_AGAIN: Duration = Duration::from_millis(100);
/// But never longer than this.
const READ_AGAIN_MAX: Duration = Duration::from_secs(2);
