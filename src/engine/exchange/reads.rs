//! Reads that ask others first: exchanges with as many members as the application wants, each begun after it asked.
//! Whatever such a member held by then has been merged here when its exchange is complete.
//!
//! Exchanges serve all reads that were asked before they began, so many reads at a time cost what one costs. A
//! member is asked again, later each time, if nothing comes of it; one more than are needed are asked at first, and
//! another for each that fails or cannot be dialled in [`READ_AGAIN`]. What remains is bounded by [`READS_MAX`] and by the members.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::core::ask::Ask;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Dialling, Facts};
use crate::engine::io::{Output, ReadAsked};
use crate::id::NodeName;
use crate::store::{Answered, ReadFromError};

use super::Exchanges;
use super::pending::{Asked, PendingRead, READ_AGAIN, READS_MAX};
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

/// A member that was dialled in vain is dialled again within this.
const READ_AGAIN_MAX: Duration = Duration::from_secs(2);
