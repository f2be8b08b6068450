//! What members have said that was not so, and when that is held against them.
//!
//! Members are wrong in good faith: they tell of one that dies at that moment, declare those that they
//! cannot reach, or pass on what was so a while ago. So what counts is whom nobody else has found a
//! while later, and what a member goes on saying against one that is there; and only many such things
//! within a few minutes. One that comes out of a partition says that everybody is down, and takes it
//! back as soon as it hears of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::core::Core;
use crate::id::{Misbehaviour, NodeName, ProcessId};

/// What is held against each member, and what may be yet.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    by: BTreeMap<NodeName, Account>,
    /// By who says so, and of whom.
    accusations: BTreeMap<(NodeName, ProcessId), Accusation>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    since: Duration,
    invented: usize,
    accused: usize,
}

/// What a member says against another one that is there.
#[derive(Clone, Copy, Debug)]
struct Accusation {
    /// Since when, or since it was last held against it.
    since: Duration,
    last: Duration,
}

/// How long a member has been saying something against another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accusing {
    /// A while, but not for long enough to count.
    Again,
    /// It says so for the first time, or has not said so for a while.
    First,
    /// It goes on saying so, since this time: it could know better by now.
    Insists { since: Duration },
}

impl Accounts {
    /// How many members that nobody has found a member has told of lately.
    pub(super) fn invented(&self, teller: &NodeName) -> usize {
        self.by.get(teller).map_or(0, |account| account.invented)
    }

    /// A member has told of one that nobody has found.
    pub(super) fn has_invented(&mut self, core: &mut Core, teller: &NodeName) {
        let account = self.account(core.now.mono, teller);
        account.invented += 1;
        if account.invented >= NAMED_FROM {
            core.misbehaved(teller, Misbehaviour::InventsMembers);
        }
    }

    /// A member says that another one is down, or gone, and it is not.
    pub(super) fn accuses(
        &mut self,
        now: Duration,
        teller: &NodeName,
        accused: &ProcessId,
    ) -> Accusing {
        self.accusations
            .retain(|_, known| known.last + INSISTS_AFTER > now);
        let key = (teller.clone(), accused.clone());
        let new = Accusation {
            since: now,
            last: now,
        };
        let Some(known) = self.accusations.get_mut(&key) else {
            if self.accusations.len() >= ACCUSATIONS_MAX {
                return Accusing::Again;
            }
            self.accusations.insert(key, new);
            return Accusing::First;
        };
        known.last = now;
        if known.since + INSISTS_AFTER > now {
            return Accusing::Again;
        }
        let Accusation { since, .. } = std::mem::replace(known, new);
        Accusing::Insists { since }
    }

    /// A member says of another one that it is there.
    pub(super) fn takes_back(&mut self, teller: &NodeName, accused: &ProcessId) {
        if !self.accusations.is_empty() {
            self.accusations.remove(&(teller.clone(), accused.clone()));
        }
    }

    /// What a member goes on saying against another one is wrong, and it could know.
    pub(super) fn has_accused_wrongly(&mut self, core: &mut Core, teller: &NodeName) {
        let account = self.account(core.now.mono, teller);
        account.accused += 1;
        if account.accused >= NAMED_FROM {
            core.misbehaved(teller, Misbehaviour::AccusesWrongly);
        }
    }

    /// There is one for each member at most: it goes with the member.
    fn account(&mut self, now: Duration, teller: &NodeName) -> &mut Account {
        let new = Account {
            since: now,
            invented: 0,
            accused: 0,
        };
        let account = self.by.entry(teller.clone()).or_insert(new);
        if account.since + REMEMBERED <= now {
            *account = new;
        }
        account
    }

    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.by.len()
    }

    /// A member is not in the table any more.
    pub(super) fn forget(&mut self, name: &NodeName) {
        self.by.remove(name);
    }
}

/// From how many on within [`REMEMBERED`] a member is named. A handful of members that start and die
/// at once are no invention of the one that they introduced themselves to.
const NAMED_FROM: usize = 8;
const REMEMBERED: Duration = Duration::from_secs(300);
/// How long a member must go on saying that one is down that is there, for that to count; and how long
/// it may pause.
const INSISTS_AFTER: Duration = Duration::from_secs(15);
const ACCUSATIONS_MAX: usize = 256;
