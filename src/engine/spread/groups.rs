//! The groups that this node hands what it writes on to, and who does it for each.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::core::grid::{GridShape, GroupId};
use crate::engine::core::place::StoreKey;
use crate::id::{ProcessId, StoreId};

use super::handed::Undone;

/// How far a peer or a group was served, by store.
pub(super) type Cursor = BTreeMap<StoreId, u64>;

/// All groups that anybody is in.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) by_id: BTreeMap<GroupId, ServedGroup>,
    /// The shape that they are of; `None` in direct mode.
    pub(super) shape: Option<GridShape>,
    /// Who is asked to hand on has to be chosen anew.
    pub(super) stale: bool,
    /// What those that were asked did not do.
    pub(super) undone: Undone,
}

/// One group.
#[derive(Debug, Default)]
pub(super) struct ServedGroup {
    /// Who hands on. While there is somebody, its lane says how far the group was served.
    pub(super) relay: Option<ProcessId>,
    pub(super) cursor: Cursor,
    /// Keys that wait for somebody to hand them on.
    pub(super) waiting: BTreeSet<StoreKey>,
}

impl Groups {
    /// What a peer was handed and did not do is somebody else's to do.
    pub(super) fn add_undone(&mut self, undone: Undone) {
        self.undone.places.extend(undone.places);
        self.undone.refused.extend(undone.refused);
        self.undone.behind.extend(undone.behind);
        self.stale = true;
    }

    /// The peer that handed on for its group does so no longer: it was served up to here.
    pub(super) fn release(&mut self, id: GroupId, cursor: Cursor) {
        if let Some(group) = self.by_id.get_mut(&id) {
            (group.relay, group.cursor) = (None, cursor);
        }
        self.stale = true;
    }

    /// Keys wait for somebody who hands them on to a group. False if too many do.
    pub(super) fn wait(&mut self, id: GroupId, place: StoreKey) -> bool {
        let Some(group) = self.by_id.get_mut(&id) else {
            return false;
        };
        group.waiting.len() < WAITING_MAX && {
            group.waiting.insert(place);
            true
        }
    }

    /// The most keys that wait for any group.
    #[cfg(feature = "sim")]
    pub(super) fn waiting(&self) -> usize {
        let waiting = self.by_id.values().map(|group| group.waiting.len());
        waiting.max().unwrap_or(0)
    }
}

/// Of two cursors, the one that is behind, store by store.
pub(super) fn behind(a: Option<Cursor>, b: &Cursor) -> Cursor {
    let mut least = a.unwrap_or_default();
    for (&id, &seq) in b {
        let known = least.entry(id).or_insert(seq);
        *known = seq.min(*known);
    }
    least
}

/// Keys that wait for one group; beyond, its members are left to exchanges.
pub(super) const WAITING_MAX: usize = 16_384;
