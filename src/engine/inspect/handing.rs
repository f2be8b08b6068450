//! Who hands on what this node writes, and how long somebody else may take to do it.

use std::time::Duration;

use crate::engine::Engine;
use crate::id::NodeName;

/// One of those that hand on what a node writes.
#[derive(Clone, Debug)]
pub(crate) struct Handing {
    pub(crate) relay: NodeName,
    /// Another one of its group, with whom the writer has a session.
    pub(crate) member: NodeName,
    /// When the writer turns to others, if the relay says nothing after it was handed something.
    pub(crate) within: Duration,
}

impl Engine {
    /// Those that hand on to others at present.
    pub(crate) fn handings(&self) -> Vec<Handing> {
        let table = self.sessions.table();
        let mut handings = Vec::new();
        for (group, relay, within) in self.spread.relays() {
            let members = self.core.grid.members(group);
            let mut others = members.filter(|it| it != relay && table.get(it).is_some());
            if let Some(member) = others.next() {
                handings.push(Handing {
                    relay: relay.name.clone(),
                    member: member.name,
                    within,
                });
            }
        }
        handings
    }
}
