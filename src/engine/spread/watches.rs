//! Following writes: which other processes hold a change, or a later one of its key.
//!
//! A watch counts distinct processes. It is history, not a lease: a process that acknowledged and
//! then died still counts for a watch that saw it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::{ProcessId, Refusal};
use crate::store::{Held, ReplicationError, WriteId};

use crate::engine::core::place::StoreKey;
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Facts};
use crate::engine::io::Output;

use super::Spread;
use super::lane::Role;
use super::watch_list::Followed;

impl Spread {
    pub(in crate::engine) fn watch(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        ticket: u64,
        write: WriteId,
        copies: usize,
        within: Duration,
    ) {
        let max = core.config.watches_max;
        if self.watches.open.len() >= max {
            return self.answer_watch(core, ticket, Err(ReplicationError::TooManyWatches { max }));
        }
        let place = (write.store, write.key);
        let overtaken = core.stores.is_overtaken(&place);
        let mut holders = BTreeSet::new();
        for (process, lane) in &mut self.lanes {
            if lane.holds(&place, write.seq, overtaken) {
                holders.insert(process.clone());
            } else if overtaken && lane.role == Role::Leaf && facts.sessions.share(process, place.0)
            {
                // Nobody told us that it holds the version that came from elsewhere: ask.
                lane.owed.owe(place);
            }
        }
        self.ask_groups(place, write.seq, overtaken);
        let lanes = self.lanes.iter();
        let refused = lanes.filter_map(|(process, lane)| {
            let (seq, reason) = lane.refused.get(&place)?;
            (seq >= write.seq).then(|| (process.clone(), reason))
        });
        let refused = refused.collect();
        self.watches.open.insert(
            ticket,
            Followed {
                write,
                copies,
                holders,
                refused,
            },
        );
        self.watches
            .by_place
            .entry(place)
            .or_default()
            .insert(ticket);
        core.set_timer_after(TimerKind::Watch(ticket), within);
        self.check_watch(core, facts, ticket);
    }

    /// Stops following.
    pub(in crate::engine) fn unwatch(&mut self, core: &mut Core, ticket: u64) {
        core.timers.cancel(&TimerKind::Watch(ticket));
        let Some(watch) = self.watches.open.remove(&ticket) else {
            return;
        };
        let place = watch.place();
        if let Some(tickets) = self.watches.by_place.get_mut(&place) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.watches.by_place.remove(&place);
            }
        }
    }

    fn answer_watch(
        &mut self,
        core: &mut Core,
        ticket: u64,
        outcome: Result<Held, ReplicationError>,
    ) {
        self.unwatch(core, ticket);
        core.outputs.push_back(Output::Watched { ticket, outcome });
    }

    /// Answers a watch that has come to its end, one way or the other.
    fn check_watch(&mut self, core: &mut Core, facts: Facts<'_>, ticket: u64) {
        let Some(watch) = self.watches.open.get(&ticket) else {
            return;
        };
        let copies = watch.holders.len();
        if watch.copies == 0 {
            let need = (watch.place(), watch.write.seq);
            if core.ledger.covers(&core.stores, &need) {
                self.answer_watch(core, ticket, Ok(Held { copies }));
            }
            return;
        }
        if copies >= watch.copies {
            return self.answer_watch(core, ticket, Ok(Held { copies }));
        }
        let could: BTreeSet<&ProcessId> = facts
            .roster
            .live()
            .map(|known| &known.id.process)
            .chain(&watch.holders)
            .collect();
        let (asked, members) = (watch.copies, could.len());
        if members < asked {
            return self.answer_watch(
                core,
                ticket,
                Err(ReplicationError::TooFewMembers { asked, members }),
            );
        }
        let refusing = watch
            .refused
            .iter()
            .filter(|(process, _)| could.contains(process));
        let refusing: Vec<_> = refusing
            .map(|(p, &reason)| (p.name.clone(), reason))
            .collect();
        if members - refusing.len() < asked
            && let Some((peer, reason)) = refusing.into_iter().next()
        {
            self.answer_watch(
                core,
                ticket,
                Err(ReplicationError::Refused { peer, reason }),
            );
        }
    }

    pub(in crate::engine) fn watch_timed_out(&mut self, core: &mut Core, ticket: u64) {
        let Some(watch) = self.watches.open.get(&ticket) else {
            return;
        };
        let error = if watch.copies == 0 {
            ReplicationError::NotDurable
        } else {
            ReplicationError::Timeout {
                held: watch.holders.len(),
            }
        };
        self.answer_watch(core, ticket, Err(error));
    }

    fn watches_of(&self, place: &StoreKey) -> Vec<u64> {
        self.watches
            .by_place
            .get(place)
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    /// A process holds a change.
    pub(in crate::engine) fn watch_held(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
        place: StoreKey,
        seq: u64,
    ) {
        for ticket in self.watches_of(&place) {
            let Some(watch) = self.watches.open.get_mut(&ticket) else {
                continue;
            };
            if watch.write.seq <= seq {
                watch.refused.remove(process);
                watch.holders.insert(process.clone());
                self.check_watch(core, facts, ticket);
            }
        }
    }

    /// A process refused a change.
    pub(in crate::engine) fn watch_refused(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
        place: StoreKey,
        seq: u64,
        reason: Refusal,
    ) {
        for ticket in self.watches_of(&place) {
            let Some(watch) = self.watches.open.get_mut(&ticket) else {
                continue;
            };
            if watch.write.seq <= seq && !watch.holders.contains(process) {
                watch.refused.insert(process.clone(), reason);
                self.check_watch(core, facts, ticket);
            }
        }
    }

    /// An exchange has covered a process: whatever it holds now counts.
    pub(in crate::engine) fn watch_synced(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
    ) {
        let Some(lane) = self.lanes.get(process) else {
            return;
        };
        let followed = self.watches.open.values();
        let followed = followed.map(|watch| (watch.place(), watch.write.seq));
        let held = followed.filter(|&(place, seq)| {
            let overtaken = core.stores.is_overtaken(&place);
            lane.holds(&place, seq, overtaken)
        });
        let held: Vec<_> = held.collect();
        for (place, seq) in held {
            self.watch_held(core, facts, process, place, seq);
        }
    }

    /// A commit is on disk: some writes may be durable by now.
    pub(in crate::engine) fn watches_committed(&mut self, core: &mut Core, facts: Facts<'_>) {
        let local = self
            .watches
            .open
            .iter()
            .filter(|(_, watch)| watch.copies == 0);
        let tickets: Vec<_> = local.map(|(&ticket, _)| ticket).collect();
        tickets
            .into_iter()
            .for_each(|ticket| self.check_watch(core, facts, ticket));
    }

    /// The membership changed: some writes may have lost their chance.
    pub(in crate::engine) fn recheck_watches(&mut self, core: &mut Core, facts: Facts<'_>) {
        let tickets: Vec<_> = self.watches.open.keys().copied().collect();
        tickets
            .into_iter()
            .for_each(|ticket| self.check_watch(core, facts, ticket));
    }

    /// The node is gone.
    pub(in crate::engine) fn end_watches(&mut self, core: &mut Core) {
        let tickets: Vec<_> = self.watches.open.keys().copied().collect();
        for ticket in tickets {
            self.answer_watch(core, ticket, Err(ReplicationError::NotRunning));
        }
    }
}
