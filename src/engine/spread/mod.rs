//! Spreading: what each peer lacks, derived from what it has acknowledged, and brought to it.
//!
//! | file | what it holds |
//! |---|---|
//! | `mode` | which way writes take, by how many members there are |
//! | `direct` | direct mode: everybody sends its own writes to everybody |
//! | `lane`, `owed` | one peer: its parts; what it lacks and what it holds |
//! | `loss`, `pace` | acknowledgements received; data that is not acknowledged |
//! | `inbox`, `acknowledge`, `acks` | deltas received; acknowledgements owed and sent |
//! | `relays` | the way past a broken link |
//! | `watches`, `watch_list` | following writes to other processes |

mod acknowledge;
mod acks;
mod direct;
mod inbox;
mod lane;
mod loss;
mod mode;
mod owed;
mod pace;
mod relays;
#[cfg(feature = "sim")]
mod sizes;
#[cfg(test)]
mod tests;
mod watch_list;
mod watches;

use std::collections::BTreeMap;

use crate::id::{ProcessId, Refusal, StoreId, WriterTag};

use super::core::ask::{Ask, SessionStart};
use super::core::flight::Receipt;
use super::core::place::StoreKey;
use super::core::refusals::Refusals;
use super::core::timers::TimerKind;
use super::core::{Core, Facts};
use super::event::Event;

use lane::Lane;
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
}

impl Spread {
    /// Nobody to send to.
    pub(super) fn new() -> Self {
        Self {
            lanes: BTreeMap::new(),
            served: None,
            watches: Watches::default(),
            mode: Mode::Direct,
        }
    }

    /// A session began.
    pub(super) fn session_begun(&mut self, core: &Core, start: &SessionStart) {
        let new_lane = || Box::new(Lane::new(core.stores.heads()));
        let lane = self
            .lanes
            .entry(start.process.clone())
            .or_insert_with(new_lane);
        if start.renewed {
            lane.acks = acks::Acks::default();
        }
    }

    /// The session with a process is over.
    pub(super) fn forget(&mut self, core: &mut Core, process: &ProcessId) {
        core.timers.cancel(&TimerKind::Ack(process.clone()));
        core.timers.cancel(&TimerKind::Loss(process.clone()));
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
    }

    fn choose_mode(&mut self, core: &mut Core, members: usize) {
        let next = self.mode.next(members, core.config.direct_peers_max);
        if next == self.mode {
            return;
        }
        self.mode = next;
        core.link_policy = next.link_policy();
        if next.sends_at_once() {
            self.catch_up_all(core);
        }
        core.ask(Ask::LinksChanged);
        core.ask(Ask::Emit(next.event(members)));
    }

    /// Whether members send what they write at once, in the present mode.
    pub(super) fn sends_at_once(&self) -> bool {
        self.mode.sends_at_once()
    }

    /// Sends every peer what it lacks and the windows allow.
    pub(super) fn flush(&mut self, core: &mut Core, facts: Facts<'_>) {
        self.prune_foreign(core);
        match self.mode {
            Mode::ByExchange => {}
            Mode::Direct => self.flush_direct(core, facts),
        }
    }

    /// Whether some live member has not acknowledged all that this node has written.
    pub(super) fn is_owing(&self, core: &Core, facts: Facts<'_>) -> bool {
        match self.mode {
            Mode::ByExchange => false,
            Mode::Direct => self.is_owing_direct(core, facts),
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
                core.stores.refused_as_ahead(&place, seq);
            }
            let held = core.stores.held(&place);
            core.emit_bounded(Event::EntryRefused {
                writer: held.map_or(WriterTag::NONE, |held| held.entry.writer),
                peer: process.name.clone(),
                store: place.0,
                key: place.1,
                reason,
                by_us: false,
            });
            self.watch_refused(core, facts, process, place, seq, reason);
        }
        let mut relays: BTreeMap<ProcessId, Vec<StoreKey>> = BTreeMap::new();
        for (place, seq) in receipt.held {
            self.watch_held(core, facts, process, place, seq);
            let Some(lane) = self.lanes.get_mut(process) else {
                continue;
            };
            lane.refused.take_back((place, seq));
            if !lane.relayed_for.contains_key(&place) {
                continue;
            }
            // What it acknowledged may be older than what is held here by now; the newer one is
            // forwarded, and acknowledged, in its turn.
            let current = core.stores.held(&place);
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
        if let Some(lane) = self.lanes.get_mut(process) {
            lane.refused.exchanged(&heads, refused);
            lane.owed.exchanged(heads);
        }
    }
}
