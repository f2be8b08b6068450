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
    /// It is dialled then, if it has not answered.
    Due { next: Duration, backoff: Duration },
}

impl PendingRead {
    /// How many others are to answer, and which of those that have count.
    pub(super) fn needed(&self, roster: &Roster) -> (usize, Vec<NodeName>) {
        let asked = match self.from {
            Copies::N(others) => others,
            Copies::All => roster.live().count(),
            // With this process that is more than half.
            Copies::Majority => here(roster).count().div_ceil(2),
        };
        let counts = |process: &&ProcessId| match self.from {
            // Who has answered and failed since stands for nobody who is alive.
            Copies::All => roster.is_live(process),
            Copies::Majority | Copies::N(_) => true,
        };
        let answered = here(roster).filter(|process| self.has_answered(process));
        let answered = answered.filter(counts);
        (
            asked,
            answered.map(|process| process.name.clone()).collect(),
        )
    }

    fn has_answered(&self, process: &ProcessId) -> bool {
        self.peers.get(process) == Some(&Asked::Answered)
    }

    /// How many live members have not answered.
    pub(super) fn could_answer(&self, roster: &Roster) -> usize {
        let live = roster.live();
        live.filter(|it| !self.has_answered(&it.id.process)).count()
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
        };
        let any = !chosen.is_empty();
        self.peers.extend(chosen.into_iter().map(|it| (it, due)));
        any
    }

    pub(super) fn unanswered(&self, roster: &Roster) -> ReadFromError {
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
pub(super) const READ_AGAIN: Duration = Duration::from_millis(100);
