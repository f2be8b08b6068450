//! Discovery: a loop, never one shot. Seeds are resolved again and again and dialled while nobody
//! we know lives at their address; failed members are dialled until `reconnect_timeout`; so islands
//! find each other. A member that left is not dialled.
//!
//! Readiness means that state has arrived: an exchange with a live peer completed, or this node is
//! established to be alone (no seeds, or every one refusing for [`ALONE_AFTER`]). Silent seeds are
//! waited for until `settle_timeout`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt as _;

use crate::engine::core::roster::{Roster, RosterEntry};
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, LinkPolicy};
use crate::engine::event::Readiness;
use crate::engine::io::{CloseReason, Output, StreamId};
use crate::id::{MemberState, NodeName};

use super::Sessions;
use super::seeds::SeedAddr;
use super::stream::{Phase, StreamState, Target};
use super::troubles::fault_of;

impl Sessions {
    pub(in crate::engine) fn start_discovery(&mut self, core: &mut Core) {
        if self.discovery.seeds.is_empty() {
            core.set_readiness(Readiness::Alone { seeds: Vec::new() });
        } else {
            self.resolve_seeds(core);
            core.set_timer_after(TimerKind::Settle, core.config.settle_timeout);
        }
        if let Some(interval) = core.config.reconnect_interval {
            core.set_timer_after(TimerKind::Reconnect, interval);
        }
    }

    /// This process has become another one: it joins again.
    pub(in crate::engine) fn rejoin(&mut self, core: &mut Core, roster: &Roster) {
        let now = core.now.mono;
        for seed in self.discovery.addrs.values_mut() {
            (seed.dial, seed.next, seed.backoff) = (None, now, Duration::ZERO);
        }
        core.timers.set_by(TimerKind::Seeds, now);
        if core.link_policy == LinkPolicy::Near {
            self.exchange_members_again(core);
        }
        let live = roster.live();
        let live = live.filter(|known| core.keeps_link(&known.id.process.name));
        let names: Vec<NodeName> = live.map(|k| k.id.process.name.clone()).collect();
        for name in names {
            core.timers.set(TimerKind::Redial(name), now);
        }
    }

    pub(in crate::engine) fn resolve_seeds(&mut self, core: &mut Core) {
        for seed in self.discovery.seeds.keys() {
            core.outputs
                .push_back(Output::Resolve { seed: seed.clone() });
        }
        core.timers.set(
            TimerKind::Resolve,
            core.now.mono + core.config.peers_resolve_interval,
        );
    }

    pub(in crate::engine) fn seed_resolved(
        &mut self,
        core: &mut Core,
        seed: &str,
        mut addrs: Vec<SocketAddr>,
    ) {
        let _join = core.joining.clone().entered();
        self.seed_looked_up(core, seed, !addrs.is_empty());
        let Some(known) = self.discovery.seeds.get_mut(seed) else {
            return;
        };
        if addrs.is_empty() {
            // A failed look-up proves nothing about the addresses found before.
            return;
        }
        let mut met = BTreeSet::new();
        addrs.retain(|addr| met.insert(*addr));
        addrs.truncate(ADDRS_PER_SEED_MAX);
        let before = std::mem::replace(&mut known.addrs, addrs);
        let moved = before != known.addrs;
        let seeds = self.discovery.seeds.values();
        let wanted: BTreeSet<SocketAddr> = seeds.flat_map(|seed| &seed.addrs).copied().collect();
        self.discovery.addrs.retain(|addr, _| wanted.contains(addr));
        let own = core.setup.addr;
        for addr in wanted {
            let seed = self.discovery.addrs.entry(addr).or_default();
            seed.itself |= addr == own;
        }
        // What is wrong with a seed is told by its addresses.
        core.revision += u64::from(moved);
        core.timers.set_by(TimerKind::Seeds, core.now.mono);
    }

    /// Dials the seeds that are due and at whose address nobody we know lives.
    pub(in crate::engine) fn dial_seeds(&mut self, core: &mut Core, roster: &Roster) {
        let _join = core.joining.clone().entered();
        let now = core.now.mono;
        let mut next: Option<Duration> = None;
        let addrs: Vec<SocketAddr> = self.discovery.addrs.keys().copied().collect();
        for addr in addrs {
            let name = self
                .discovery
                .addrs
                .get(&addr)
                .and_then(|seed| seed.name.as_ref());
            let settled = roster.members().any(|known| {
                let there = known.id.addr == addr || name == Some(&known.id.process.name);
                there && (known.is_live() || known.state == MemberState::Left)
            });
            let Some(seed) = self.discovery.addrs.get_mut(&addr) else {
                continue;
            };
            if seed.itself || seed.dial.is_some() {
                continue;
            }
            if settled {
                seed.backoff = Duration::ZERO;
                seed.next = now + core.config.peers_resolve_interval;
                self.seed_helps(core, addr);
            } else if seed.next <= now {
                let dial = self.dial(core, roster, Target::Seed(addr), addr);
                if let Some(seed) = self.discovery.addrs.get_mut(&addr) {
                    seed.dial = dial;
                    // Until the dial ends; if there was none, soon again.
                    seed.next = now + SEED_BACKOFF_MIN * 5;
                }
            }
            let due = self
                .discovery
                .addrs
                .get(&addr)
                .map_or(now, |seed| seed.next);
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        if let Some(next) = next {
            core.timers
                .set_by(TimerKind::Seeds, next.max(now + SEED_BACKOFF_MIN));
        }
        self.look_whether_alone(core, roster);
    }

    pub(in crate::engine) fn seed_answered(
        &mut self,
        core: &mut Core,
        addr: SocketAddr,
        name: &NodeName,
    ) {
        let _join = core.joining.clone().entered();
        core.counters.seeds_joined += 1;
        if let Some(seed) = self.discovery.addrs.get_mut(&addr) {
            (seed.dial, seed.backoff) = (None, Duration::ZERO);
            seed.name = Some(name.clone());
            seed.next = core.now.mono + core.config.peers_resolve_interval;
        }
        self.seed_helps(core, addr);
        self.name_is_own(core);
    }

    pub(in crate::engine) fn seed_is_itself(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        addr: SocketAddr,
    ) {
        if let Some(seed) = self.discovery.addrs.get_mut(&addr) {
            seed.itself = true;
        }
        self.seed_helps(core, addr);
        self.look_whether_alone(core, roster);
    }

    pub(super) fn seed_failed(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        addr: SocketAddr,
        known: &StreamState,
        reason: &CloseReason,
    ) {
        let _join = core.joining.clone().entered();
        core.counters.seeds_failed += 1;
        let now = core.now.mono;
        let max = core.config.reconnect_interval.unwrap_or(SEED_BACKOFF_MAX);
        let jitter = core.rng.random_range(0.8..1.2);
        if let Some(seed) = self.discovery.addrs.get_mut(&addr) {
            seed.dial = None;
            seed.backoff = (seed.backoff * 2).clamp(SEED_BACKOFF_MIN, max);
            seed.next = now + seed.backoff.mul_f64(jitter);
            if *reason == CloseReason::Refused {
                seed.refused_since.get_or_insert(now);
            } else {
                seed.refused_since = None;
            }
            core.timers.set_by(TimerKind::Seeds, seed.next);
        }
        if let Some(fault) = fault_of(known, reason) {
            self.seed_fails(core, addr, fault);
        }
        self.look_whether_alone(core, roster);
    }

    /// Alone: every address of every seed is this node or has refused for a while.
    fn look_whether_alone(&mut self, core: &mut Core, roster: &Roster) {
        if !matches!(core.readiness, Readiness::Joining { .. }) || roster.live().next().is_some() {
            return;
        }
        let now = core.now.mono;
        let mut seeds = self.discovery.seeds.values();
        let resolved = seeds.all(|seed| !seed.addrs.is_empty());
        let refusing = |seed: &SeedAddr| {
            seed.itself
                || seed
                    .refused_since
                    .is_some_and(|since| since + ALONE_AFTER <= now)
        };
        if resolved && self.discovery.addrs.values().all(refusing) {
            let seeds = self.troubles();
            core.set_readiness(Readiness::Alone { seeds });
        }
    }

    /// Whether a first member may be about to answer: a node that left now would seem to have failed there.
    pub(in crate::engine) fn is_joining(&self, core: &Core) -> bool {
        let mut streams = self.streams.values();
        !core.readiness.is_ready()
            && streams.any(|known| known.phase == Phase::Greeting && known.target.is_some())
    }

    pub(in crate::engine) fn settle_timed_out(&mut self, core: &mut Core) {
        if matches!(core.readiness, Readiness::Joining { .. }) {
            let seeds = self.troubles();
            core.set_readiness(Readiness::SettleTimedOut { seeds });
        }
    }

    /// This node joined, or in direct mode a link opened: the membership is exchanged again a few
    /// times, for who joined meanwhile.
    pub(in crate::engine) fn exchange_members_again(&mut self, core: &mut Core) {
        self.discovery.repeats = 0;
        core.timers
            .set_by(TimerKind::Members, core.now.mono + MEMBERS_REPEATS[0]);
    }

    /// A member failed: whether somebody knows better. Above direct mode everybody asks once, at a
    /// moment of its own.
    pub(in crate::engine) fn ask_about_failure(&mut self, core: &mut Core) {
        if core.link_policy == LinkPolicy::Kept {
            return self.exchange_members_again(core);
        }
        self.discovery.repeats = self.discovery.repeats.min(MEMBERS_REPEATS.len() - 1);
        let wait = MEMBERS_REPEATS[0].mul_f64(core.rng.random_range(1.0..5.0));
        core.timers.set_by(TimerKind::Members, core.now.mono + wait);
    }

    /// A failed member is back. Where it was, others may have left, and word of that has not come here: above direct
    /// mode no link need open that tells it, so a few of those that are back are asked.
    pub(in crate::engine) fn ask_returned(
        &mut self,
        core: &mut Core,
        roster: &Roster,
        name: &NodeName,
    ) {
        let returned = &mut self.discovery.returned;
        let is_live = |name: &NodeName| roster.get(name).is_some_and(RosterEntry::is_live);
        returned.retain(is_live);
        if core.link_policy == LinkPolicy::Kept || returned.len() >= RETURNED_MAX {
            return;
        }
        returned.insert(name.clone());
        self.discovery.repeats = 0;
        let wait = MEMBERS_REPEATS[0].mul_f64(core.rng.random_range(1.0..2.0));
        core.timers.set_by(TimerKind::Members, core.now.mono + wait);
    }

    /// Sends the membership to those that are back, and asks for theirs.
    fn repeat_to_returned(&mut self, core: &mut Core, roster: &Roster) {
        for name in std::mem::take(&mut self.discovery.returned) {
            let Some(known) = roster.get(&name).filter(|known| known.is_live()) else {
                continue;
            };
            if let Some(link) = self.table.link(&known.id.process) {
                self.send_members(core, roster, link, true);
            } else if core.keeps_link(&name) {
                // Its link is for data, and begins without: once it is open.
                self.discovery.returned.insert(name);
            } else {
                self.dial_member(core, roster, &name);
            }
        }
    }

    /// Somebody unknown probes this node: it has joined elsewhere, most likely, and word of it is
    /// late. Until it is known it gets no answer and suspects this node, so a member is asked for
    /// the membership: once a second, however many strangers there are, and ever more rarely, up
    /// to once a minute, while that brings no new name.
    pub(in crate::engine) fn ask_about_stranger(&mut self, core: &mut Core) {
        let now = core.now.mono;
        if self.discovery.asks(now) {
            self.discovery.repeats = self.discovery.repeats.min(MEMBERS_REPEATS.len() - 1);
            core.timers.set_by(TimerKind::Members, now);
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the place was drawn below the length"
    )]
    pub(in crate::engine) fn repeat_members(&mut self, core: &mut Core, roster: &Roster) {
        self.repeat_to_returned(core, roster);
        let sessions = self.table.by_process.values();
        let links: Vec<StreamId> = sessions.filter_map(|session| session.link).collect();
        if !links.is_empty() {
            let chosen = core.rng.random_range(0..links.len());
            self.send_members(core, roster, links[chosen], true);
        } else if core.link_policy == LinkPolicy::Near
            && let Some(name) = roster.random_live(&mut core.rng)
        {
            // The link that this opens begins with what is wanted, unless it is with who is near.
            self.dial_member(core, roster, &name);
        }
        self.discovery.repeats += 1;
        let last = MEMBERS_REPEATS
            .last()
            .filter(|_| !self.discovery.returned.is_empty());
        if let Some(&wait) = MEMBERS_REPEATS.get(self.discovery.repeats).or(last) {
            core.set_timer_after(TimerKind::Members, wait);
        }
    }

    /// Dials the failed members, and forgets those that have been gone for long.
    pub(in crate::engine) fn reconnect_failed(&mut self, core: &mut Core, roster: &Roster) {
        if let Some(interval) = core.config.reconnect_interval {
            core.set_timer_after(TimerKind::Reconnect, interval);
        }
        let failed: Vec<NodeName> = roster
            .members()
            .filter(|known| known.state == MemberState::Failed)
            .map(|known| known.id.process.name.clone())
            .collect();
        // In a large cluster not everybody knocks every time, but about as many as in the largest
        // that is in direct mode.
        let knocking = core.config.direct_peers_max.max(1) as f64;
        let share = (knocking / roster.size as f64).min(1.0);
        for name in failed {
            if core.link_policy == LinkPolicy::Kept || core.rng.random_bool(share) {
                self.dial_member(core, roster, &name);
            }
        }
    }
}

pub(in crate::engine) const ADDRS_PER_SEED_MAX: usize = 64;
const SEED_BACKOFF_MIN: Duration = Duration::from_millis(20);
const SEED_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How long every seed must have refused before a node counts as alone.
const ALONE_AFTER: Duration = Duration::from_secs(2);
/// How many that are back are asked at a time: where several come back together, most know the same.
pub(super) const RETURNED_MAX: usize = 4;
const MEMBERS_REPEATS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
