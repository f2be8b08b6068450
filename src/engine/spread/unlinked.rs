//! Tree mode: large values that wait for a link which does not come.
//!
//! Links are kept with some alone, and one of those may be impossible to make. A value that no datagram has room for is
//! then handed on by somebody else, or left to exchanges, which have streams of their own. So what a peer
//! is owed ends, whatever becomes of its link.

use std::collections::BTreeSet;

use crate::engine::core::ask::Ask;
use crate::engine::core::grid::GroupId;
use crate::engine::core::{Core, Facts};
use crate::id::ProcessId;

use super::Spread;
use super::lane::Role;
use super::mode::Mode;

impl Spread {
    /// Looks who has waited for a link since the last look, in which it had a large value to get already.
    pub(super) fn look_at_unlinked(&mut self, core: &mut Core, facts: Facts<'_>) {
        if self.mode != Mode::Tree {
            return;
        }
        let mut waited = Vec::new();
        for (process, lane) in &mut self.lanes {
            let has_link = facts.sessions.link(process).is_some();
            let waits = !lane.owed.bulky.is_empty() && !has_link;
            let before = std::mem::replace(&mut lane.waits_for_link, waits);
            if before && waits {
                waited.push(process.clone());
            }
        }
        for process in waited {
            self.give_up_link(core, facts, &process);
        }
    }

    fn give_up_link(&mut self, core: &mut Core, facts: Facts<'_>, process: &ProcessId) {
        let Some(lane) = self.lanes.get(process) else {
            return;
        };
        let bulky = lane.owed.bulky.iter();
        let groups = bulky.filter_map(|place| lane.owed.hand_of(place));
        let groups: BTreeSet<GroupId> = groups.collect();
        let is_linked = |group: &GroupId| self.has_linked_relay(core, facts, *group);
        if !groups.is_empty() && groups.iter().all(is_linked) {
            // Somebody who has a link hands it on. The value is still owed to this one.
            return self.relay_missed(core, process);
        }
        self.leave_lane(core, facts, process, groups);
    }

    /// Whether somebody in a group can be handed large values.
    fn has_linked_relay(&self, core: &Core, facts: Facts<'_>, group: GroupId) -> bool {
        let now = core.now.mono;
        self.lanes.iter().any(|(process, lane)| {
            let (passed_over, _) = lane.class(now);
            let in_reach = lane.is_relay && !lane.uncovered && !passed_over;
            in_reach
                && group.has(&process.name)
                && core.grid.has(process)
                && facts.sessions.link(process).is_some()
        })
    }

    /// Leaves a peer to exchanges in all that it was owed, and with it the groups that it was to hand on to: an
    /// exchange with it would not get there.
    pub(super) fn leave_lane(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
        mut groups: BTreeSet<GroupId>,
    ) {
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        lane.leave_to_exchange(core.stores.heads());
        match lane.role {
            Role::Leaf => {}
            Role::Relay(group) => {
                groups.insert(group);
            }
            Role::Resting => drop(lane.owed.rest()),
        }
        let members = groups.iter().flat_map(|group| core.grid.members(*group));
        let mut behind: BTreeSet<ProcessId> = members.collect();
        behind.insert(process.clone());
        for process in behind {
            if facts.roster.is_live(&process) {
                core.ask(Ask::CatchUp(process));
            }
        }
    }
}
