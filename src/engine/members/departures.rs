//! Who says of a member that it has left.
//!
//! The process is not dialled any more then, and is to come back as another one. The leaver says so
//! itself, to everybody: that is final. Where it could not, two others have to say so, or the only other
//! one there is, and it is asked now and then whether that is so (`said_left`); with less, it has failed.

use std::collections::BTreeMap;

use crate::engine::core::roster::Roster;
use crate::id::{NodeId, NodeName, ProcessId};

/// By the name of a member, the process and who says that it has left.
#[derive(Debug, Default)]
pub(super) struct Departures(BTreeMap<NodeName, (ProcessId, Vec<NodeName>)>);

impl Departures {
    /// A member says of another one, which is in the table, that it has left. Returns whether that is
    /// new.
    pub(super) fn hear(&mut self, teller: &NodeName, id: &NodeId) -> bool {
        let new = || (id.process.clone(), Vec::new());
        let known = self.0.entry(id.process.name.clone()).or_insert_with(new);
        if known.0 != id.process {
            *known = new();
        }
        let new = known.1.len() < TELLERS_MAX && !known.1.contains(teller);
        if new {
            known.1.push(teller.clone());
        }
        new
    }

    /// Whether enough members say of a process that it has left.
    pub(super) fn are_told(&self, roster: &Roster, id: &NodeId) -> bool {
        let of = self.0.get(&id.process.name);
        let Some((_, tellers)) = of.filter(|(process, _)| *process == id.process) else {
            return false;
        };
        let others = roster.live().map(|known| &known.id.process.name);
        let others = others.filter(|name| **name != id.process.name);
        let (mut count, mut saying) = (0, 0);
        for name in others {
            count += 1;
            saying += usize::from(tellers.contains(name));
        }
        saying >= 2.min(count) && saying > 0
    }

    /// A member is not in the table any more.
    pub(super) fn forget(&mut self, name: &NodeName) {
        self.0.remove(name);
    }

    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// More than are enough: some of them may be gone by the time that it matters.
const TELLERS_MAX: usize = 4;
