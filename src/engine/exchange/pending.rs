//! One read that asks others: who has answered, who is asked, and how many more are wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::seq::SliceRandom as _;

use crate::engine::core::Core;
use crate::engine::core::roster::Roster;
use crate::id::{MemberState, NodeName, ProcessId};
use crate::store::{Copies, ReadFromError};

/// One read that waits.
#[derive(Debug)]
pub(super) struct PendingRead {
    pub(super) from: Copies,
    /// An exchange counts that began then or later.
    pub(super) since: Duration,
    /// How many may fail before others are asked.
    pub(super) spare: usize,
    pub(super) peers: BTreeMap<ProcessId, Asked>,
}

/// How far it is with one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All that it held has arrived.
    Answered,
    /// It is dialled at `next`, if it has not answered. Once it is `held_up`, another one is asked beside it.
    Due {
        next: Duration,
        backoff: Duration,
        held_up: bool,
    },
}

/// How many members there are, as reads count them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Census {
    live: usize,
    /// Those that have failed and are not forgotten included.
    here: usize,
}

impl Census {
    pub(super) fn of(roster: &Roster) -> Self {
        Self {
            live: roster.live().count(),
            here: here(roster).count(),
        }
    }
}

impl PendingRead {
    /// How many others are to answer.
    pub(super) fn asked(&self, census: Census) -> usize {
        match self.from {
            Copies::N(others) => others,
            Copies::All => census.live,
            // With this process that is more than half.
            Copies::Majority => census.here.div_ceil(2),
        }
    }

    /// Who has answered, and counts. It costs a look at each of those.
    pub(super) fn answered<'r>(&'r self, roster: &'r Roster) -> impl Iterator<Item = &'r NodeName> {
        let answered = self.peers.iter();
        let answered = answered.filter(|(_, asked)| **asked == Asked::Answered);
        let answered = answered.map(|(process, _)| process);
        let answered = answered.filter(|process| match self.from {
            // Who has answered and failed since stands for nobody who is alive.
            Copies::All => roster.is_live(process),
            Copies::Majority | Copies::N(_) => is_here(roster, process),
        });
        answered.map(|process| &process.name)
    }

    fn has_answered(&self, process: &ProcessId) -> bool {
        self.peers.get(process) == Some(&Asked::Answered)
    }

    /// How many live members have not answered.
    pub(super) fn could_answer(&self, census: Census, roster: &Roster) -> usize {
        let answered = self.peers.iter();
        let answered = answered.filter(|(_, asked)| **asked == Asked::Answered);
        let live = answered.filter(|(process, _)| roster.is_live(process));
        census.live.saturating_sub(live.count())
    }

    /// Sees to it that so many further members are asked, and some to spare. Returns whether any is new.
    pub(super) fn ask(&mut self, core: &mut Core, roster: &Roster, needed: usize) -> bool {
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
            held_up: false,
        };
        let any = !chosen.is_empty();
        self.peers.extend(chosen.into_iter().map(|it| (it, due)));
        any
    }

    /// Whether it waits for a process of that name.
    pub(super) fn waits_for(&self, name: &NodeName) -> bool {
        let first = ProcessId {
            name: name.clone(),
            boot: 0,
        };
        let of_name = self.peers.range(first..);
        let mut of_name = of_name.take_while(|(process, _)| process.name == *name);
        of_name.any(|(_, asked)| *asked != Asked::Answered)
    }

    pub(super) fn unanswered(&self, roster: &Roster) -> ReadFromError {
        let silent = here(roster).filter(|process| !self.has_answered(process));
        ReadFromError::NotAnswered {
            asked: self.asked(Census::of(roster)),
            answered: self.answered(roster).count(),
            silent: silent.map(|process| process.name.clone()).collect(),
        }
    }
}

/// All members that have not left: those that have failed are not forgotten yet.
fn here(roster: &Roster) -> impl Iterator<Item = &ProcessId> {
    let here = roster.members().filter(|it| it.state != MemberState::Left);
    here.map(|it| &it.id.process)
}

/// Whether exactly this process is one of them.
fn is_here(roster: &Roster, process: &ProcessId) -> bool {
    let known = roster.get(&process.name);
    known.is_some_and(|known| known.id.process == *process && known.state != MemberState::Left)
}

/// Reads that wait at a time.
pub(in crate::engine) const READS_MAX: usize = 256;
/// How long after a member was dialled in vain it is dialled again; each time twice as long.
pub(super) const READ_AGAIN: Duration = Duration::from_millis(100);
