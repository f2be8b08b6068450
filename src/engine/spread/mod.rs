//! Spreading: what each peer lacks, derived from what it has acknowledged, and brought to it.
//!
//! | file | what it holds |
//! |---|---|
//! | `mode` | which way writes take, by how many members there are |
//! | `direct` | sending each peer what it lacks; direct mode: everybody its own writes, to everybody |
//! | `tree`, `groups` | tree mode: who hands on to which group, and what becomes of what was not done |
//! | `hand_on`, `duties` | what this node was handed to hand on, and what it tells of that |
//! | `lane`, `owed`, `handed`, `handed_keys` | one peer: its parts; what it lacks and holds; what it was handed |
//! | `loss`, `pace` | acknowledgements received; data that is not acknowledged |
//! | `inbox`, `acknowledge`, `acks` | deltas received; acknowledgements owed and sent |
//! | `unkept` | what a peer has merged and not on its disk yet |
//! | `unlinked` | large values that wait for a link which does not come |
//! | `relays` | the way past a broken link |
//! | `lag`, `laggards`, `ages` | how far peers are behind |
//! | `watches`, `watch_list` | following writes to other processes |

mod acknowledge;
mod acks;
mod ages;
mod direct;
mod duties;
mod groups;
mod hand_on;
mod handed;
mod handed_keys;
mod inbox;
mod lag;
mod laggards;
mod lane;
mod loss;
mod mode;
mod owed;
mod pace;
#[cfg(test)]
mod reach_tests;
mod relays;
#[cfg(feature = "sim")]
mod sizes;
#[cfg(test)]
mod tests;
mod tree;
#[cfg(test)]
mod tree_tests;
mod unkept;
mod unlinked;
mod watch_list;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{MemberState, NodeName, ProcessId, Refusal, StoreId, WriterTag};

use super::core::ask::{Ask, SessionStart};
use super::core::flight::Receipt;
use super::core::place::StoreKey;
use super::core::refusals::Refusals;
use super::core::timers::TimerKind;
use super::core::{Core, Facts};
use super::event::{Event, Member};

use duties::Duties;
use groups::Groups;
use laggards::Laggards;
use lane::{Lane, Role};
use mode::Mode;
use watch_list::Watches;

/// The owner of what is under way to peers.
pub(super) struct Spread {
    /// One for each session.
    lanes: BTreeMap<ProcessId, Box<Lane>>,
    /// Whose was served last, if others wait for the next turn.
    served: Option<ProcessId>,
    watches: Watches,
    mode: Mode,
    groups: Groups,
    duties: Duties,
    /// Who is behind.
    laggards: Laggards,
    /// Changes that peers have refused as ahead of their clocks, and that no peer is known to hold.
    ahead: BTreeSet<(StoreKey, u64)>,
}

impl Spread {
    /// Nobody to send to.
    pub(super) fn new() -> Self {
        Self {
            lanes: BTreeMap::new(),
            served: None,
            watches: Watches::default(),
            mode: Mode::Direct,
            groups: Groups::default(),
            duties: Duties::default(),
            laggards: Laggards::default(),
            ahead: BTreeSet::new(),
        }
    }

    /// A session began.
    pub(super) fn session_begun(&mut self, core: &mut Core, start: &SessionStart) {
        let in_trees = self.mode == Mode::Tree;
        let new_lane = || {
            let mut lane = Lane::new(start.process.clone(), core.stores.heads());
            if in_trees {
                lane.owed.rest();
                lane.role = Role::Resting;
            }
            Box::new(lane)
        };
        let lane = self
            .lanes
            .entry(start.process.clone())
            .or_insert_with(new_lane);
        if start.renewed {
            lane.acks = acks::Acks::default();
        }
        lane.pace.hint = start.round_trip.or(lane.pace.hint);
        self.groups.stale = true;
        self.look_at_lag_soon(core);
    }

    /// A process has answered a probe after so long.
    pub(super) fn round_trip(&mut self, process: &ProcessId, took: Duration) {
        if let Some(lane) = self.lanes.get_mut(process) {
            lane.pace.hinted(took);
        }
    }

    /// A member came, went, or is another process now.
    pub(super) fn member_changed(&mut self, core: &mut Core, member: &Member) {
        let process = &member.process;
        if matches!(member.state, MemberState::Alive | MemberState::Suspect) {
            if core.grid.has(process) {
                return;
            }
            if let Some(before) = core.grid.process_of(&process.name) {
                // It is another process now: what the one before was handed it does not know of.
                self.relay_gone(&before);
            }
            core.grid.insert(process);
            // What was written while it was away was not brought to its group.
            if self.mode == Mode::Tree && self.lanes.contains_key(process) {
                core.ask(Ask::CatchUp(process.clone()));
            }
        } else {
            core.grid.remove(&process.name);
            self.relay_gone(process);
        }
        self.choose_soon(core);
    }

    /// A name is not in the table of members any more.
    pub(super) fn member_forgotten(&mut self, core: &mut Core, name: &NodeName) {
        core.grid.remove(name);
    }

    /// The session with a process is over.
    pub(super) fn forget(&mut self, core: &mut Core, process: &ProcessId) {
        core.timers.cancel(&TimerKind::Ack(process.clone()));
        core.timers.cancel(&TimerKind::Loss(process.clone()));
        self.lane_goes(process);
        self.lanes.remove(process);
    }

    /// The link with a process has ended.
    pub(super) fn link_lost(&mut self, process: &ProcessId) {
        if let Some(lane) = self.lanes.get_mut(process) {
            lane.lose_stream();
        }
    }

    /// There are so many other members now. Where the mode changes, links change with it; and some
    /// followed writes may have lost their chance.
    pub(super) fn membership_changed(&mut self, core: &mut Core, members: usize) {
        self.choose_mode(core, members);
        core.ask(Ask::RecheckWatches);
        core.ask(Ask::RecheckReads);
    }

    fn choose_mode(&mut self, core: &mut Core, members: usize) {
        let next = self.mode.next(members, core.config.direct_peers_max);
        if next == self.mode {
            return;
        }
        self.mode = next;
        match next {
            Mode::Direct => self.end_trees(core),
            Mode::Tree => self.begin_trees(core),
        }
        core.ask(Ask::LinksChanged);
        core.ask(Ask::Emit(next.event(members)));
    }

    /// Sends every peer what it lacks and the windows allow.
    pub(super) fn flush(&mut self, core: &mut Core, facts: Facts<'_>) {
        self.prune_foreign(core);
        match self.mode {
            Mode::Direct => self.flush_lanes(core, facts),
            Mode::Tree => self.flush_tree(core, facts),
        }
        self.send_reports(core, facts);
    }

    /// Whether some live member has not acknowledged all that this node has written.
    pub(super) fn is_owing(&self, core: &Core, facts: Facts<'_>) -> bool {
        let in_trees = self.mode == Mode::Tree && self.is_owing_tree(core, facts);
        in_trees || self.is_owing_lanes(core, facts)
    }

    /// Whether some live member is known to hold everything that this node does, or nobody can. `synced` is
    /// whether an exchange with a process has covered what was left to exchanges.
    pub(super) fn is_handed_over(
        &self,
        core: &Core,
        facts: Facts<'_>,
        synced: impl Fn(&ProcessId) -> bool,
    ) -> bool {
        match self.mode {
            // What is owed to groups says it.
            Mode::Tree => true,
            Mode::Direct => self.is_handed_over_direct(core, facts, synced),
        }
    }

    /// Entries that live peers are to be sent and are not known to hold.
    pub(super) fn entries_owed(&self, facts: Facts<'_>) -> usize {
        let lanes = self.lanes.iter();
        let live = lanes.filter(|(process, _)| facts.roster.is_live(process));
        live.map(|(_, lane)| lane.owed.outstanding.len()).sum()
    }

    /// Everybody is left to exchanges, for what has changed so far.
    fn catch_up_all(&mut self, core: &mut Core) {
        let heads = core.stores.heads();
        for lane in self.lanes.values_mut() {
            lane.leave_to_exchange(heads.clone());
        }
        core.ask(Ask::CatchUpAll);
    }

    /// What an acknowledgement means to those who wait for it.
    pub(super) fn acknowledged(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
        receipt: Receipt,
    ) {
        for (place, seq, reason) in receipt.denied {
            if let Some(lane) = self.lanes.get_mut(process) {
                lane.relayed_for.remove(&place);
                lane.refused.add((place, seq), reason);
            }
            if reason == Refusal::ClockAhead {
                self.refused_as_ahead(core, place, seq);
            }
            let held = core.stores.peek(&place);
            core.emit_bounded(Event::EntryRefused {
                writer: held.map_or(WriterTag::NONE, |held| held.entry.writer),
                peer: process.name.clone(),
                store: place.0,
                key: place.1,
                reason,
                by_us: false,
            });
            self.duties.denied(process, &place, seq);
            self.watch_refused(core, facts, process, place, seq, reason);
        }
        let mut relays: BTreeMap<ProcessId, Vec<StoreKey>> = BTreeMap::new();
        for (place, seq) in receipt.held {
            self.note_held(core, facts, std::slice::from_ref(process), place, seq);
            let Some(lane) = self.lanes.get_mut(process) else {
                continue;
            };
            lane.refused.take_back((place, seq));
            if self.ahead.remove(&(place, seq)) {
                core.stores.taken_all_the_same(&place, seq);
            }
            if !lane.relayed_for.contains_key(&place) {
                continue;
            }
            // What it acknowledged may be older than what is held here by now; the newer one is
            // forwarded, and acknowledged, in its turn.
            let current = core.stores.peek(&place);
            if current.is_some_and(|current| current.seq == seq)
                && let Some(writers) = lane.relayed_for.remove(&place)
            {
                for writer in writers {
                    relays.entry(writer).or_default().push(place);
                }
            }
        }
        for (writer, places) in relays {
            self.send_relayed(core, facts, &writer, process, &places);
        }
    }

    /// A peer finds a change ahead of its clock. It is taken for the mistake of this node's clock only as long as no
    /// other peer holds it.
    fn refused_as_ahead(&mut self, core: &Core, place: StoreKey, seq: u64) {
        let overtaken = core.stores.is_overtaken(&place);
        let mut lanes = self.lanes.values();
        if lanes.any(|lane| lane.holds(&place, seq, overtaken)) {
            return;
        }
        if self.ahead.len() >= AHEAD_MAX {
            self.ahead.pop_first();
        }
        self.ahead.insert((place, seq));
        core.stores.refused_as_ahead(&place, seq);
    }

    /// Whether an exchange with a process that began at these heads covers all that was left to
    /// exchanges.
    pub(super) fn is_covered(
        &self,
        facts: Facts<'_>,
        process: &ProcessId,
        heads: &BTreeMap<StoreId, u64>,
    ) -> bool {
        let lane = self.lanes.get(process);
        let session = facts.sessions.get(process);
        let parts = lane.zip(session);
        parts.is_some_and(|(lane, session)| lane.owed.is_covered_by(heads, &session.stores))
    }

    /// An exchange with a process that began at these heads is complete, with these refusals: what
    /// it covers is held.
    pub(super) fn exchanged(
        &mut self,
        process: &ProcessId,
        heads: BTreeMap<StoreId, u64>,
        refused: Refusals,
    ) {
        self.duties.exchanged(process, &heads);
        for lane in self.lanes.values_mut() {
            let reached = |id: &StoreId| heads.get(id).copied().unwrap_or(0);
            lane.handed
                .settle(process, |(place, seq)| *seq <= reached(&place.0));
        }
        if let Some(lane) = self.lanes.get_mut(process) {
            lane.refused.exchanged(&heads, refused);
            lane.unkept.exchanged(&heads);
            lane.owed.exchanged(heads);
        }
    }
}

/// Refused changes of which it is remembered that nobody holds them.
const AHEAD_MAX: usize = 1024;
