//! What members have said that was not so, and when that is held against them.
//!
//! Members are wrong in good faith: they tell of one that dies at that moment, declare one that they
//! cannot reach, or pass on what was so a while ago. So what counts is what nobody else has found true
//! a while later, and only many such things within a few minutes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::engine::core::Core;
use crate::id::{Misbehaviour, NodeId, NodeName};

/// What is held against each member, and what may be yet.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    by: BTreeMap<NodeName, Account>,
    accusations: VecDeque<Accusation>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    since: Duration,
    invented: usize,
    accused: usize,
}

/// What a member said against another one that was there.
#[derive(Clone, Debug)]
pub(super) struct Accusation {
    pub(super) teller: NodeName,
    pub(super) accused: NodeId,
    pub(super) at: Duration,
    judged: bool,
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

    /// A member has said that another one, or this one, is down, and it is not. Whether that is held
    /// against it shows later. The same is counted once, however often it is said: news of members are
    /// sent many times. Returns whether it is new.
    pub(super) fn accused(&mut self, now: Duration, teller: &NodeName, accused: &NodeId) -> bool {
        while let Some(oldest) = self.accusations.front()
            && oldest.at + REMEMBERED <= now
        {
            self.accusations.pop_front();
        }
        let mut known = self.accusations.iter();
        let new = !known.any(|known| known.teller == *teller && known.accused == *accused)
            && self.accusations.len() < ACCUSATIONS_MAX;
        if new {
            self.accusations.push_back(Accusation {
                teller: teller.clone(),
                accused: accused.clone(),
                at: now,
                judged: false,
            });
        }
        new
    }

    /// The next accusation that is ripe.
    pub(super) fn ripe(&mut self, now: Duration) -> Option<Accusation> {
        let mut pending = self.accusations.iter_mut();
        let ripe = pending.find(|accusation| !accusation.judged)?;
        ripe.judged = ripe.at + RIPE_AFTER <= now;
        ripe.judged.then(|| ripe.clone())
    }

    /// When the next accusation is ripe.
    pub(super) fn next(&self) -> Option<Duration> {
        let mut pending = self.accusations.iter();
        let next = pending.find(|accusation| !accusation.judged)?;
        Some(next.at + RIPE_AFTER)
    }

    /// What a member said against another one was wrong, and it could have known.
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
/// How long one who was said to be down, and answered, must be there still for the accusation to have
/// been wrong: it may have been dying, or leaving.
const RIPE_AFTER: Duration = Duration::from_secs(15);
pub(super) const ACCUSATIONS_MAX: usize = 256;
