//! Members that are expelled: refused and forgotten, until that is lifted.
//!
//! An operator expels a name at one node. That node refuses it from then on, and tells its peers on their
//! links. A peer shows what it is told, and does the same itself only once `expel_votes` members have told
//! it so, each on its own link: what others say of them counts for nothing, so that one bad member cannot
//! expel everybody. The votes of those that are expelled here do not count.
//!
//! It binds where names are proven, by certificates; elsewhere the member can come back under
//! another name.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::NodeName;
use crate::wire::{Expelled, Message};

use super::core::ask::Ask;
use super::core::{Core, Facts};
use super::event::{Event, Expulsion};
use super::io::StreamId;

/// The owner of what is known of expelled members.
#[derive(Debug)]
pub(super) struct Expulsions {
    /// Expelled at this node.
    here: BTreeSet<NodeName>,
    /// Whom each peer has expelled, by the peer.
    told: BTreeMap<NodeName, BTreeSet<NodeName>>,
}

impl Expulsions {
    /// With the names that this node expelled before it was started.
    pub(super) fn new(core: &mut Core) -> Self {
        let names = core.setup.expelled.iter().take(EXPELLED_MAX).cloned();
        let here: BTreeSet<_> = names.filter(|name| *name != core.setup.name).collect();
        core.expelled.clone_from(&here);
        for name in &here {
            core.ask(Ask::Expel(name.clone()));
        }
        Self {
            here,
            told: BTreeMap::new(),
        }
    }

    /// The operator expels a name.
    pub(super) fn expel(&mut self, core: &mut Core, facts: Facts<'_>, name: NodeName) {
        if name == core.setup.name
            || self.here.len() >= EXPELLED_MAX
            || !self.here.insert(name.clone())
        {
            return;
        }
        // The member is told last: its link ends with this.
        self.tell_all(core, facts);
        self.settle(core, &BTreeSet::from([name]));
    }

    /// The operator lets a name in again.
    pub(super) fn readmit(&mut self, core: &mut Core, facts: Facts<'_>, name: NodeName) {
        if self.here.remove(&name) {
            self.tell_all(core, facts);
            self.settle(core, &BTreeSet::from([name]));
        }
    }

    /// A peer tells whom it has expelled, all of them.
    pub(super) fn told(&mut self, core: &mut Core, peer: &NodeName, expelled: Expelled) {
        let now: BTreeSet<_> = expelled.names.into_iter().collect();
        let before = if now.is_empty() {
            self.told.remove(peer).unwrap_or_default()
        } else {
            self.told
                .insert(peer.clone(), now.clone())
                .unwrap_or_default()
        };
        let changed = before.symmetric_difference(&now).cloned().collect();
        self.settle(core, &changed);
    }

    /// A link has opened: its peer is told whom this node has expelled.
    pub(super) fn link_opened(&self, core: &mut Core, stream: StreamId) {
        if !self.here.is_empty() {
            self.tell(core, stream);
        }
    }

    /// A peer is not in the membership table any more: what it told counts no longer.
    pub(super) fn member_forgotten(&mut self, core: &mut Core, peer: &NodeName) {
        if let Some(names) = self.told.remove(peer) {
            self.settle(core, &names);
        }
    }

    /// All that is known, by name.
    pub(super) fn all(&self, core: &Core) -> Vec<Expulsion> {
        let told = self.told.values().flatten();
        let names: BTreeSet<_> = self.here.iter().chain(told).collect();
        let expulsion = |name: &NodeName| self.expulsion(core, name);
        names.into_iter().map(expulsion).collect()
    }

    /// How many names peers have told.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn len(&self) -> usize {
        self.here.len() + self.told.values().map(BTreeSet::len).sum::<usize>()
    }

    fn expulsion(&self, core: &Core, name: &NodeName) -> Expulsion {
        let voters = self.told.iter().filter(|(_, names)| names.contains(name));
        Expulsion {
            name: name.clone(),
            here: self.here.contains(name),
            told_by: voters.map(|(voter, _)| voter.clone()).collect(),
            followed: core.expelled.contains(name),
        }
    }

    /// Whether this node has to refuse a name.
    fn is_followed(&self, core: &Core, name: &NodeName) -> bool {
        if *name == core.setup.name {
            return false;
        }
        let counts = |voter: &NodeName| voter != name && !self.here.contains(voter);
        let voters = self.told.iter();
        let votes = voters.filter(|(voter, names)| counts(voter) && names.contains(name));
        self.here.contains(name) || votes.count() >= core.config.expel_votes
    }

    /// Does what follows from a change at these names.
    fn settle(&self, core: &mut Core, names: &BTreeSet<NodeName>) {
        for name in names {
            let (was, is) = (core.expelled.contains(name), self.is_followed(core, name));
            core.revision += 1;
            if is && !was {
                core.expelled.insert(name.clone());
                core.ask(Ask::Expel(name.clone()));
            } else if was && !is {
                core.expelled.remove(name);
                core.ask(Ask::Readmit(name.clone()));
            }
            // What changes nothing here, a peer can say as often as it likes.
            if was != is || self.here.contains(name) || core.may_tell() {
                let expulsion = self.expulsion(core, name);
                core.ask(Ask::Emit(Event::ExpulsionChanged(expulsion)));
            }
        }
    }

    fn tell_all(&self, core: &mut Core, facts: Facts<'_>) {
        let sessions = facts.sessions.by_process.values();
        let links: Vec<_> = sessions.filter_map(|session| session.link).collect();
        for link in links {
            self.tell(core, link);
        }
    }

    fn tell(&self, core: &mut Core, stream: StreamId) {
        let names = self.here.iter().cloned().collect();
        core.send_frame(stream, &Message::Expelled(Expelled { names }));
    }
}

/// Most names that one node expels, and that one message holds.
pub(super) const EXPELLED_MAX: usize = crate::wire::codec::EXPELLED_MAX;

#[cfg(test)]
mod tests;
