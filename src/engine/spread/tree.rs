//! Tree mode: every node sends its own writes to its row, and to one member of every other group, which hands
//! them on to the others of that group. See [`grid`](crate::engine::core::grid).
//!
//! A group has a cursor into the change index, like a peer in direct mode. It is that of the lane of the
//! *relay*, the peer that hands on, and goes to the next relay when that changes. A relay that is silent, or does
//! not tell that its group holds what it was handed, is *passed over*: the next one is handed all that is
//! not known to be done, and everybody of the group with a session is sent it too. So a relay that does
//! nothing costs one cover timer once, and nothing after that.
//!
//! Who cannot be reached in this way, because members differ in whom they know, is left to an exchange.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::core::ask::Ask;
use crate::engine::core::grid::GroupId;
use crate::engine::core::place::StoreKey;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Facts, LinkPolicy};
use crate::id::{NodeName, ProcessId};
use crate::wire::Capabilities;

use super::Spread;
use super::groups::{Cursor, ServedGroup, WAITING_MAX, behind};
use super::handed::Undone;
use super::lane::{Lane, Role, STRANGER};

impl Spread {
    /// Sends what this node writes, and what it was handed, towards everybody.
    pub(super) fn flush_tree(&mut self, core: &mut Core, facts: Facts<'_>) {
        if self.groups.stale {
            self.choose_relays(core, facts);
        }
        self.cover_undone(core, facts);
        self.flush_lanes(core, facts);
    }

    /// Whether somebody has not got all that this node has written, or was handed, as far as it knows.
    pub(super) fn is_owing_tree(&self, core: &Core, facts: Facts<'_>) -> bool {
        let lanes = self.lanes.iter();
        let mut live = lanes.filter(|(process, _)| facts.roster.is_live(process));
        let handed = live.any(|(_, lane)| !lane.handed.is_empty());
        let groups = self.groups.by_id.values();
        let mut alone = groups.filter(|group| group.relay.is_none());
        let unserved = alone.any(|group| {
            let mut stores = core.stores.iter();
            let is_behind = stores.any(|(id, store)| {
                let cursor = group.cursor.get(&id).copied().unwrap_or(0);
                core.stores.skip_foreign(id, cursor) < store.head()
            });
            is_behind || !group.waiting.is_empty()
        });
        handed || unserved || !self.groups.undone.places.is_empty()
    }

    /// Direct mode ends: from now on groups are served.
    pub(super) fn begin_trees(&mut self, core: &mut Core) {
        self.groups.stale = true;
        core.link_policy = LinkPolicy::Near;
        self.choose_near(core);
    }

    /// Direct mode begins: everybody is served by itself.
    pub(super) fn end_trees(&mut self, core: &mut Core) {
        self.groups = super::groups::Groups::default();
        self.lanes
            .values_mut()
            .for_each(|lane| lane.role = Role::Leaf);
        core.timers.cancel(&TimerKind::Near);
        core.near.clear();
        core.link_policy = LinkPolicy::Kept;
        self.catch_up_all(core);
    }

    /// Chooses anew with whom links are kept: the row, the two best of every group, and the next ones by
    /// name, who see the end of this process. Where streams are few, the second ones are left out first.
    pub(in crate::engine) fn choose_near(&mut self, core: &mut Core) {
        if core.link_policy != LinkPolicy::Near {
            return;
        }
        let grid = &core.grid;
        let now = core.now.mono;
        let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
        for group in grid.groups_below(0) {
            let class = |process: &ProcessId| {
                let lane = self.lanes.get(process);
                lane.map_or(STRANGER, |lane| lane.class(now))
            };
            let mut ranked: Vec<_> = grid.members(group).collect();
            ranked.sort_by_cached_key(|it| (class(it), Reverse(grid.rank(&it.name))));
            let mut ranked = ranked.into_iter().map(|it| it.name);
            firsts.extend(ranked.next());
            seconds.extend(ranked.next());
        }
        // Half of the streams are for those that want links with this node, and for exchanges.
        let most = core
            .config
            .streams_max
            .saturating_sub(core.config.exchanges_max)
            / 2;
        let row = grid.members(grid.row()).map(|it| it.name);
        let mut near = BTreeSet::new();
        for name in firsts
            .into_iter()
            .chain(row)
            .chain(ring(core))
            .chain(seconds)
        {
            if near.len() < most {
                near.insert(name);
            }
        }
        if core.near != near {
            core.near = near;
            core.ask(Ask::LinksChanged);
        }
    }

    /// Somebody came or went, or showed how well it hands on: whom to choose is looked at in a while, once for
    /// all of them.
    pub(super) fn choose_soon(&mut self, core: &mut Core) {
        self.groups.stale = true;
        if core.link_policy == LinkPolicy::Near {
            let due = core.now.mono + NEAR_WAIT;
            core.timers.set_by(TimerKind::Near, due);
        }
    }

    /// A peer does not do what it was handed.
    pub(super) fn relay_missed(&mut self, core: &mut Core, process: &ProcessId) {
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        tracing::debug!(node = %core.setup.name, peer = %process, "passed over");
        core.counters.relays_passed_over += 1;
        lane.standing.missed(core.now.mono);
        let undone = lane.take_undone();
        self.groups.add_undone(undone);
        self.choose_soon(core);
    }

    /// A process is not live any more: what it was handed is somebody else's to do.
    pub(super) fn relay_gone(&mut self, process: &ProcessId) {
        self.duties.gone(process);
        for (other, lane) in &mut self.lanes {
            if other == process {
                let undone = lane.take_undone();
                self.groups.add_undone(undone);
            } else {
                lane.handed.settle(process, |_| true);
            }
        }
    }

    /// A lane goes: its group is served from where it was.
    pub(super) fn lane_goes(&mut self, process: &ProcessId) {
        if self.groups.shape.is_none() {
            return;
        }
        if let Some(lane) = self.lanes.get_mut(process) {
            let undone = lane.take_undone();
            if let Role::Relay(group) = lane.role {
                let cursor = lane.owed.rest();
                self.groups.release(group, cursor);
            }
            self.groups.add_undone(undone);
        }
    }

    /// Entries for a group: its relay hands them on, or they wait for one.
    pub(super) fn hand_to(&mut self, core: &mut Core, group: GroupId, places: &[StoreKey]) {
        let relay = self.groups.by_id.get(&group);
        let relay = relay.and_then(|group| group.relay.as_ref());
        // A group of another shape than this node's has no relay of its own.
        let relay = relay.or_else(|| self.relay_within(core, group)).cloned();
        if let Some(lane) = relay.and_then(|relay| self.lanes.get_mut(&relay)) {
            for &place in places {
                lane.owed.owe_handing(place, group);
            }
            return;
        }
        let all_wait = places.iter().all(|&place| self.groups.wait(group, place));
        if !all_wait {
            let members = core.grid.members(group);
            self.groups.undone.behind.extend(members);
        }
    }

    /// Some relay that is in a group.
    fn relay_within(&self, core: &Core, group: GroupId) -> Option<&ProcessId> {
        let now = core.now.mono;
        let lanes = self.lanes.iter();
        let within = lanes.filter(|(process, lane)| {
            lane.is_relay && group.has(&process.name) && core.grid.has(process)
        });
        let best = within.min_by_key(|(_, lane)| (lane.uncovered, lane.class(now)));
        best.map(|(process, _)| process)
    }

    /// What relays did not do is handed to others. Everybody of such a group with a session is sent it too:
    /// the next relay may be no better.
    fn cover_undone(&mut self, core: &mut Core, facts: Facts<'_>) {
        let undone = std::mem::take(&mut self.groups.undone);
        let Undone {
            places,
            refused,
            behind,
        } = undone;
        let mut by_group: BTreeMap<GroupId, Vec<StoreKey>> = BTreeMap::new();
        for &(group, place) in places.union(&refused) {
            by_group.entry(group).or_default().push(place);
        }
        for (group, mut all) in by_group {
            self.owe_within(core, facts, group, &all);
            all.retain(|place| places.contains(&(group, *place)));
            self.hand_to(core, group, &all);
        }
        for process in behind
            .into_iter()
            .chain(std::mem::take(&mut self.groups.undone.behind))
        {
            if facts.roster.is_live(&process) {
                core.ask(Ask::CatchUp(process));
            }
        }
    }

    /// Owes everybody of a group with whom there is a session these keys.
    fn owe_within(&mut self, core: &Core, facts: Facts<'_>, group: GroupId, places: &[StoreKey]) {
        for (process, lane) in &mut self.lanes {
            let Some(session) = facts.sessions.get(process) else {
                continue;
            };
            if !group.has(&process.name) || !facts.roster.is_live(process) {
                continue;
            }
            let shared = places.iter().filter(|(id, _)| session.stores.contains(id));
            for place in shared {
                let seq = core.stores.held(place).map_or(0, |held| held.seq);
                lane.owed.owe_change(*place, seq);
            }
        }
    }

    /// Has all groups tell who holds a change that was brought to them already, or came from elsewhere.
    pub(super) fn ask_groups(&mut self, place: StoreKey, seq: u64, overtaken: bool) {
        for (&id, group) in &mut self.groups.by_id {
            let reached = |cursor: Option<u64>| overtaken || cursor.is_some_and(|at| at >= seq);
            let relay = group.relay.as_ref();
            let Some(lane) = relay.and_then(|relay| self.lanes.get_mut(relay)) else {
                if reached(group.cursor.get(&place.0).copied()) && group.waiting.len() < WAITING_MAX
                {
                    group.waiting.insert(place);
                }
                continue;
            };
            let under_way =
                lane.owed.outstanding.contains_key(&place) || lane.handed.has(&place, seq);
            if reached(lane.owed.cursor_kept(place.0)) && !under_way {
                lane.owed.owe_handing(place, id);
            }
        }
    }

    /// Chooses who hands on to each group, and moves the cursors along.
    fn choose_relays(&mut self, core: &mut Core, facts: Facts<'_>) {
        self.groups.stale = false;
        let shape = core.grid.shape();
        let reshaped = self.groups.shape.replace(shape) != Some(shape);
        let relays = self.best_relays(core, facts);
        let role_of = |process: &ProcessId| {
            if !core.grid.has(process) {
                return Role::Resting;
            }
            match core.grid.group_of(&process.name) {
                None => Role::Leaf,
                Some(group) if relays.get(&group) == Some(process) => Role::Relay(group),
                Some(_) => Role::Resting,
            }
        };
        let heads = core.stores.heads();
        let mut lowest: Option<Cursor> = None;
        for (process, lane) in &mut self.lanes {
            if lane.role == role_of(process) {
                continue;
            }
            if lane.role != Role::Resting {
                let cursor = lane.owed.rest();
                // Who is gone is compared with when it comes back.
                if core.grid.has(process) {
                    lowest = Some(behind(lowest, &cursor));
                }
                if let Role::Relay(group) = lane.role {
                    self.groups.release(group, cursor);
                }
            }
            lane.owed.rest();
            lane.role = Role::Resting;
        }
        self.groups.stale = false;
        let waiting = self.renew_groups(core, reshaped, lowest, &heads);
        for (process, lane) in &mut self.lanes {
            let role = role_of(process);
            if lane.role == role {
                continue;
            }
            lane.role = role;
            match role {
                Role::Resting => {}
                Role::Leaf if reshaped => lane.owed.serve_from(waiting.clone()),
                Role::Leaf => lane.owed.serve_from(heads.clone()),
                Role::Relay(id) => {
                    let group = self.groups.by_id.entry(id).or_default();
                    group.relay = Some(process.clone());
                    lane.owed.serve_from(std::mem::take(&mut group.cursor));
                    for place in std::mem::take(&mut group.waiting) {
                        lane.owed.owe_handing(place, id);
                    }
                }
            }
        }
    }

    /// Brings the groups up to who is there. Returns from where on those are served that nobody served before.
    fn renew_groups(
        &mut self,
        core: &Core,
        reshaped: bool,
        mut lowest: Option<Cursor>,
        heads: &Cursor,
    ) -> Cursor {
        let groups = core.grid.groups_below(0).into_iter();
        let wanted: BTreeSet<GroupId> = groups.filter(|id| !core.grid.is_empty(*id)).collect();
        let before = std::mem::take(&mut self.groups.by_id);
        let mut waiting = BTreeSet::new();
        for (id, group) in before {
            if wanted.contains(&id) {
                self.groups.by_id.insert(id, group);
            } else if reshaped {
                lowest = Some(behind(lowest, &group.cursor));
                waiting.extend(group.waiting);
            }
        }
        // What is new with the members that are in it begins here; what is new with the shape, where the
        // last of the old ones was.
        let mut start = heads.clone();
        if reshaped {
            start.extend(lowest.unwrap_or_default());
        }
        for id in wanted {
            self.groups.by_id.entry(id).or_insert_with(|| ServedGroup {
                relay: None,
                cursor: start.clone(),
                waiting: waiting.clone(),
            });
        }
        start
    }

    /// The peer of each group that hands on best, as far as is known.
    fn best_relays(&mut self, core: &Core, facts: Facts<'_>) -> BTreeMap<GroupId, ProcessId> {
        let now = core.now.mono;
        let mut best: BTreeMap<GroupId, (_, &ProcessId)> = BTreeMap::new();
        for (process, lane) in &mut self.lanes {
            let session = facts.sessions.get(process);
            lane.is_relay = session.is_some_and(|it| it.capabilities.has(Capabilities::TREES));
            let (Some(session), Some(group)) = (session, core.grid.group_of(&process.name)) else {
                continue;
            };
            if !lane.is_relay || !core.grid.has(process) {
                continue;
            }
            let lacks = core
                .stores
                .iter()
                .any(|(id, _)| !session.stores.contains(&id));
            let (passed_over, unproven) = lane.class(now);
            let is_other = lane.role != Role::Relay(group);
            let rank = Reverse(core.grid.rank(&process.name));
            let key = (lane.uncovered, passed_over, lacks, unproven, is_other, rank);
            if best.get(&group).is_none_or(|(before, _)| key < *before) {
                best.insert(group, (key, process));
            }
        }
        let best = best.into_iter();
        best.map(|(group, (_, process))| (group, process.clone()))
            .collect()
    }
}

impl Lane {
    /// What the peer was handed and is not known to have done.
    fn take_undone(&mut self) -> Undone {
        let mut undone = self.handed.take();
        undone.places.extend(self.owed.take_handing());
        undone
    }
}

/// The two live members before this node by name, and the two after it, round and round.
fn ring(core: &Core) -> Vec<NodeName> {
    let all = core.grid.members(GroupId::ALL).map(|member| member.name);
    let mut names: Vec<NodeName> = all.collect();
    names.sort_unstable();
    let after = names.partition_point(|name| *name < core.setup.name);
    let count = names.len();
    let before = after + count.saturating_sub(RING);
    let round = names.iter().cycle();
    let near = round.clone().skip(after).take(RING.min(count));
    near.chain(round.skip(before).take(RING.min(count)))
        .cloned()
        .collect()
}

/// How many of the next members by name are near, before and after.
const RING: usize = 2;
/// How long changes of the membership are waited for before links change.
const NEAR_WAIT: Duration = Duration::from_millis(100);
