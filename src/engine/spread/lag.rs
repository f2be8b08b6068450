//! How far peers are behind: told at any time, looked at once a second, and an event where somebody does not catch
//! up.
//!
//! What one peer lacks is what is outstanding to it and what has changed after its cursor, so nothing is kept
//! for this but [`LackAges`](super::ages::LackAges). A look costs a few steps a peer and store, however much is lacking.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::core::session::Session;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Facts};
use crate::engine::event::{Event, Lag, Lags};
use crate::id::{ProcessId, StoreId};

use super::Spread;
use super::lane::{Lane, Role};
use super::mode::Mode;

impl Spread {
    /// Which live members are behind, and how far. `synced` is whether an exchange with a process has covered what
    /// was left to exchanges.
    pub(in crate::engine) fn lag(
        &self,
        core: &Core,
        facts: Facts<'_>,
        synced: impl Fn(&ProcessId) -> bool,
    ) -> Lags {
        let now = core.now.mono;
        let live = facts.roster.live().map(|known| {
            let process = &known.id.process;
            let laggard = self.laggards.by_name.get(&process.name);
            let unsynced = laggard.and_then(|it| it.unsynced).unwrap_or(now);
            let lags = match self.lanes.get(process).zip(facts.sessions.get(process)) {
                Some((_, session)) if !synced(process) => {
                    let shared = session.stores.iter().copied();
                    all_of(core, shared, unsynced)
                }
                Some((lane, session)) => lane.lag(core, session),
                None if self.mode == Mode::Direct => {
                    all_of(core, core.stores.iter().map(|(id, _)| id), known.since)
                }
                None => Vec::new(),
            };
            (process.name.clone(), lags)
        });
        live.filter(|(_, lags)| !lags.is_empty()).collect()
    }

    /// As it was when it was last looked at.
    pub(in crate::engine) fn lag_seen(&self) -> Arc<Lags> {
        Arc::clone(&self.laggards.seen)
    }

    /// Looks who is behind, and tells of those who do not catch up, and of those who have.
    pub(in crate::engine) fn look_at_lag(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        synced: impl Fn(&ProcessId) -> bool,
    ) {
        self.look_at_unlinked(core, facts);
        let now = core.now.mono;
        let lags = self.lag(core, facts, &synced);
        let by_name = &mut self.laggards.by_name;
        let mut caught_up = Vec::new();
        by_name.retain(|name, laggard| {
            let is_behind = lags.contains_key(name);
            if let (false, Some(since)) = (is_behind, laggard.told) {
                caught_up.push((name.clone(), now.saturating_sub(since)));
            }
            is_behind
        });
        for (peer, after) in caught_up {
            // Who is not there any more has not caught up.
            if facts.roster.get(&peer).is_some_and(|known| known.is_live()) {
                core.emit(Event::MemberCaughtUp { peer, after });
            }
        }
        for (peer, of_stores) in &lags {
            let laggard = by_name.entry(peer.clone()).or_default();
            let known = facts.roster.get(peer);
            let is_synced = known.is_some_and(|known| synced(&known.id.process));
            laggard.unsynced = (!is_synced).then(|| laggard.unsynced.unwrap_or(now));
            let Some(worst) = of_stores.iter().max_by_key(|lag| lag.age) else {
                continue;
            };
            let counts = self.mode == Mode::Direct;
            if counts && worst.age >= BEHIND_AFTER && laggard.told.is_none() {
                laggard.told = Some(now.saturating_sub(worst.age));
                core.emit(Event::MemberBehind {
                    peer: peer.clone(),
                    store: worst.store,
                    changes: worst.changes,
                    age: worst.age,
                });
            }
        }
        if *self.laggards.seen != lags {
            self.laggards.seen = Arc::new(lags);
        }
        self.look_at_lag_soon(core);
    }

    /// As long as there is somebody to send to.
    pub(super) fn look_at_lag_soon(&self, core: &mut Core) {
        if !self.lanes.is_empty() || !self.laggards.by_name.is_empty() {
            let due = core.now.mono + LOOK_EVERY;
            core.timers.set_by(TimerKind::Lag, due);
        }
    }
}

impl Lane {
    /// How far the peer is behind in what it is sent, and has to hand on.
    fn lag(&self, core: &Core, session: &Session) -> Vec<Lag> {
        if self.owed.is_resting() && self.owed.outstanding.is_empty() {
            return Vec::new();
        }
        let now = core.now.mono;
        let of_store = |&store: &StoreId| {
            let (keys, since) = self.owed.lag(&core.stores, store);
            let (handed, sent) = match self.role {
                Role::Relay(_) => self.handed.lag(store),
                Role::Leaf | Role::Resting => (0, None),
            };
            let changes = keys + handed;
            let since = since.into_iter().chain(sent).min().unwrap_or(now);
            let age = now.saturating_sub(since);
            (changes > 0).then_some(Lag {
                store,
                changes,
                age,
            })
        };
        session.stores.iter().filter_map(of_store).collect()
    }
}

/// All that is held in these stores, lacking since then.
fn all_of(core: &Core, stores: impl Iterator<Item = StoreId>, since: Duration) -> Vec<Lag> {
    let age = core.now.mono.saturating_sub(since);
    let of_store = |store| {
        let changes = core.stores.get(store)?.len();
        (changes > 0).then_some(Lag {
            store,
            changes,
            age,
        })
    };
    stores.filter_map(of_store).collect()
}

/// A member that has lacked something for so long is told of: longer than it takes to find out that it failed, or that
/// a write has to be forwarded to it, or left to an exchange.
const BEHIND_AFTER: Duration = Duration::from_secs(10);
/// How often it is looked who is behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);
