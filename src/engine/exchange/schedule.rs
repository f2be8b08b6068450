//! When exchanges begin: the periodic one with a random peer, and those that are due with peers that
//! are not known to hold all that was left to exchanges.

use std::time::Duration;

use rand::RngExt as _;

use crate::engine::core::ask::{Ask, ExchangeRoom, SessionStart};
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Dialling, Facts, LinkPolicy};
use crate::engine::io::StreamId;
use crate::id::{Misbehaviour, NodeName, ProcessId};

use super::Exchanges;
use super::source::LOOK_AGAIN;

impl Exchanges {
    /// Sets when the next periodic push/pull begins.
    pub(in crate::engine) fn start_timer(&mut self, core: &mut Core) {
        if let Some(interval) = core.config.push_pull_interval {
            // The first is spread over the interval, so that nodes started together do not meet.
            let wait = interval.mul_f64(core.rng.random_range(0.5..1.5));
            core.set_timer_after(TimerKind::PushPull, wait);
        }
    }

    /// The time of a periodic push/pull has come.
    pub(in crate::engine) fn periodic(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        dialling: &Dialling,
    ) {
        self.start_timer(core);
        self.with_random_peer(core, facts, dialling);
    }

    /// Begins an exchange with some live member.
    pub(in crate::engine) fn with_random_peer(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        dialling: &Dialling,
    ) {
        if let Some(name) = facts.roster.random_live(&mut core.rng)
            && !self.has_begun_with(&name)
            && self.may_begin(core, dialling.exchanges.len())
            && !self.is_seeking(core, dialling)
        {
            self.dialled_at = Some((core.now.mono, name.clone()));
            core.ask(Ask::DialExchange(name));
        }
    }

    /// Whether one that this node began with a member is under way.
    fn has_begun_with(&self, name: &NodeName) -> bool {
        let mut under_way = self.under_way.values();
        under_way.any(|known| known.initiator && known.peer.name == *name)
    }

    fn may_begin(&self, core: &Core, dialled: usize) -> bool {
        self.under_way.len() + dialled < core.config.exchanges_max && !core.is_leaving()
    }

    /// Starts exchanges with the peers that owe or are owed one, as many as the limit allows.
    pub(in crate::engine) fn start(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        dialling: &Dialling,
    ) {
        let now = core.now.mono;
        if self.is_seeking(core, dialling) {
            return core.timers.set_by(TimerKind::Unsynced, now + LOOK_AGAIN);
        }
        let for_reads = self.dial_for_reads(core, facts, dialling);
        let is_busy = |process: &ProcessId| {
            let mut under_way = self.under_way.values();
            for_reads.contains(&process.name)
                || dialling.exchanges.contains(&process.name)
                || under_way.any(|exchange| exchange.peer == *process)
        };
        let due = self.due.iter().filter(|&(process, due)| {
            !due.synced && facts.roster.is_live(process) && !is_busy(process)
        });
        let due = due.map(|(process, due)| (due.next, process.clone()));
        let mut due: Vec<(Duration, ProcessId)> = due.collect();
        due.sort();
        let mut room = dialling.room.saturating_sub(for_reads.len());
        let mut dialled = dialling.exchanges.len() + for_reads.len();
        for (at, process) in due {
            if at > now {
                core.timers.set_by(TimerKind::Unsynced, at);
                break;
            }
            self.postpone(core, &process);
            let begins = self.may_begin(core, dialled);
            if begins {
                core.ask(Ask::DialExchange(process.name.clone()));
            }
            if !begins || room == 0 {
                // The limit: the end of an exchange starts the next.
                core.timers.set_by(TimerKind::Unsynced, now + BUSY_WAIT);
                break;
            }
            (room, dialled) = (room - 1, dialled + 1);
            self.dialled_at = Some((now, process.name));
            if Self::lacks_state(core) {
                // The others once it is complete, or if nothing comes of it.
                core.timers.set_by(TimerKind::Unsynced, now + LOOK_AGAIN);
                break;
            }
        }
    }

    /// Sets when to try again if the exchange that begins now does not complete.
    fn postpone(&mut self, core: &mut Core, process: &ProcessId) {
        let jitter = core.rng.random_range(0.75..1.25);
        let Some(due) = self.due.get_mut(process) else {
            return;
        };
        due.backoff = (due.backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        due.next = core.now.mono + due.backoff.mul_f64(jitter);
        core.timers.set_by(TimerKind::Unsynced, due.next);
    }

    /// The dial of an exchange failed.
    pub(in crate::engine) fn dial_failed(&mut self, core: &mut Core, name: &NodeName) {
        core.counters.push_pulls_failed += 1;
        self.dial_ended(name);
        self.read_failed(core, name);
        tracing::debug!(peer = %name, "push/pull: dial failed");
        // Its time to try again may have passed unused while it was dialled.
        core.timers.set_by(TimerKind::Unsynced, core.now.mono);
    }

    /// The dial of an exchange has come to its end, whatever it was.
    pub(super) fn dial_ended(&mut self, name: &NodeName) {
        let is_last = |(_, dialled): &(Duration, NodeName)| dialled == name;
        if self.dialled_at.as_ref().is_some_and(is_last) {
            self.dialled_at = None;
        }
    }

    /// A session began: its first exchange is due.
    pub(in crate::engine) fn session_begun(&mut self, core: &mut Core, start: &SessionStart) {
        let due = self.due.entry(start.process.clone()).or_default();
        if start.new {
            // The side that dialled exchanges first; the other one only if that does not happen.
            let patience = if start.dialled {
                Duration::ZERO
            } else {
                EXCHANGE_PATIENCE
            };
            due.next = core.now.mono + patience;
            due.synced |= !core.compares_with(&start.process.name);
        }
        core.timers.set_by(TimerKind::Unsynced, due.next);
    }

    /// Whether an exchange with a process has covered all that was left to exchanges.
    pub(in crate::engine) fn is_synced(&self, process: &ProcessId) -> bool {
        self.due.get(process).is_some_and(|due| due.synced)
    }

    /// The session with a process is over.
    pub(in crate::engine) fn forget(&mut self, process: &ProcessId) {
        self.due.remove(process);
        self.roots.session_over(process);
    }

    /// A member came up, restarted or moved.
    pub(in crate::engine) fn member_live(&self, core: &mut Core, process: &ProcessId) {
        if self.due.get(process).is_some_and(|due| !due.synced) {
            core.timers.set_by(TimerKind::Unsynced, core.now.mono);
        }
    }

    /// What a peer lacks by now is left to an exchange.
    pub(in crate::engine) fn catch_up(&mut self, core: &mut Core, process: &ProcessId) {
        let due = self.due.entry(process.clone()).or_default();
        due.at(core.now.mono.max(due.next));
        core.timers.set_by(TimerKind::Unsynced, due.next);
    }

    /// What everybody lacks by now is left to exchanges.
    pub(in crate::engine) fn catch_up_all(&mut self, core: &mut Core) {
        let now = core.now.mono;
        self.due.values_mut().for_each(|due| due.at(now));
        core.timers.set_by(TimerKind::Unsynced, now);
    }

    /// A member went away: what it was still sending may have reached some and not others. They
    /// compare; it costs nothing but digests if they are equal. In direct mode everybody does so with
    /// everybody; above it, each with about [`COMPARED_IN_TREES`] others.
    pub(in crate::engine) fn compare_after_loss(&mut self, core: &mut Core, gone: &ProcessId) {
        let chance = match core.link_policy {
            LinkPolicy::Kept => 1.0,
            LinkPolicy::Near => (COMPARED_IN_TREES / self.due.len().max(1) as f64).min(1.0),
        };
        for (process, due) in &mut self.due {
            if process != gone && due.synced && core.rng.random_bool(chance) {
                due.backoff = Duration::ZERO;
                let wait = core.rng.random_range(0.0..1.0);
                due.at(core.now.mono + COMPARE_WITHIN.mul_f64(wait));
                core.timers.set_by(TimerKind::Unsynced, due.next);
            }
        }
    }

    /// Whether an exchange that a process begins can be taken part in: one of each at a time, and
    /// one place is kept for this node's own. A newcomer that takes its state from one takes part in no
    /// other; of two that dial each other, the one whose name is greater takes part in the other's.
    pub(in crate::engine) fn room_for(&self, core: &Core, process: &ProcessId) -> ExchangeRoom {
        if self.is_overworked_by(core, &process.name) {
            return ExchangeRoom::Overworked;
        }
        let meets = self
            .dialled_at
            .as_ref()
            .is_some_and(|(_, dialled)| *dialled == process.name && process.name < core.setup.name);
        if self.is_fetching(core) || (self.is_dialling(core) && !meets) {
            return ExchangeRoom::Full;
        }
        let mut accepted = self.under_way.values().filter(|known| !known.initiator);
        if accepted.any(|known| known.peer == *process) || self.is_crowded(core) {
            ExchangeRoom::Full
        } else {
            ExchangeRoom::Free
        }
    }

    /// Whether there is no place for one that a member begins.
    fn is_crowded(&self, core: &Core) -> bool {
        let max = core.config.exchanges_max;
        let accepted = self.under_way.values().filter(|known| !known.initiator);
        self.under_way.len() >= max || accepted.count() >= accepted_max(max)
    }

    /// Where there is no place for others, one that does not get on gives way, and its member is named: a step now
    /// and then, or entries that are known, would hold a place for ever.
    pub(super) fn give_way(&self, core: &mut Core, stream: StreamId) {
        if let Some(exchange) = self.under_way.get(&stream)
            && exchange.is_late(core.now.mono)
            && self.is_crowded(core)
        {
            core.misbehaved(&exchange.peer.name, Misbehaviour::SendsSlowly);
            core.ask(Ask::AbandonStream(stream));
        }
    }
}

/// Of so many exchanges at a time, how many others may begin.
fn accepted_max(exchanges_max: usize) -> usize {
    exchanges_max.saturating_sub(1).max(1)
}

const COMPARED_IN_TREES: f64 = 4.0;
const COMPARE_WITHIN: Duration = Duration::from_millis(500);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const BUSY_WAIT: Duration = Duration::from_millis(50);
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_exchange_of_several_is_kept_for_this_node() {
        assert_eq!([1, 2, 3, 4].map(accepted_max), [1, 1, 2, 3]);
    }
}
