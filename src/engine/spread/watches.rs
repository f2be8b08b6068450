//! Following writes: which other processes hold a change, or a later one of its key.
//!
//! A watch counts distinct processes. It is history, not a lease: a process that acknowledged and
//! then died still counts for a watch that saw it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::{MemberState, NodeName, ProcessId, Refusal};
use crate::store::{Copies, Held, Progress, ReplicationError, WriteId};

use crate::engine::core::place::StoreKey;
use crate::engine::core::roster::Roster;
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
        copies: Copies,
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
            } else if (lane.unkept.is_untold(&place, write.seq)
                || overtaken && lane.role == Role::Leaf)
                && facts.sessions.share(process, place.0)
            {
                // Nobody told us that it holds the version that came from elsewhere, or that the write
                // is on its disk: ask.
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
        if watch.copies == Copies::DURABLE {
            let need = (watch.place(), watch.write.seq);
            if core.ledger.covers(&core.stores, &need) {
                self.answer_watch(core, ticket, Ok(Held { copies }));
            } else if core.ledger.is_failing() {
                self.answer_watch(core, ticket, Err(ReplicationError::NotDurable));
            }
            return;
        }
        let Some((asked, held)) = needed(watch, core, facts.roster) else {
            return;
        };
        if held >= asked {
            return self.answer_watch(core, ticket, Ok(Held { copies }));
        }
        let error = hopeless(watch, facts, asked);
        if let Some(error) = error {
            self.answer_watch(core, ticket, Err(error));
        }
    }

    pub(in crate::engine) fn watch_timed_out(&mut self, core: &mut Core, ticket: u64) {
        let Some(watch) = self.watches.open.get(&ticket) else {
            return;
        };
        let error = if watch.copies == Copies::DURABLE {
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

    /// Processes hold a change. What that means to those who wait is looked at once for all of them: it costs a
    /// look at every member.
    pub(in crate::engine) fn watch_held(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        holders: &[ProcessId],
        place: StoreKey,
        seq: u64,
    ) {
        for ticket in self.watches_of(&place) {
            let Some(watch) = self.watches.open.get_mut(&ticket) else {
                continue;
            };
            if watch.write.seq <= seq && !holders.is_empty() {
                for process in holders {
                    watch.refused.remove(process);
                    watch.holders.insert(process.clone());
                }
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
            self.watch_held(core, facts, std::slice::from_ref(process), place, seq);
        }
    }

    /// A commit is on disk: some writes may be durable by now.
    pub(in crate::engine) fn watches_committed(&mut self, core: &mut Core, facts: Facts<'_>) {
        let local = self
            .watches
            .open
            .iter()
            .filter(|(_, watch)| watch.copies == Copies::DURABLE);
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

    /// How far a write has come, whether it is followed or not.
    pub(in crate::engine) fn progress(
        &self,
        core: &Core,
        facts: Facts<'_>,
        write: &WriteId,
    ) -> Progress {
        let place = (write.store, write.key);
        let tickets = self.watches.by_place.get(&place).into_iter().flatten();
        let followed = tickets.filter_map(|ticket| self.watches.open.get(ticket));
        let followed = followed.filter(|watch| watch.write.seq >= write.seq);
        let followed = followed.flat_map(|watch| &watch.holders);
        let overtaken = core.stores.is_overtaken(&place);
        let lanes = self.lanes.iter();
        let holding = lanes.filter(|(_, lane)| lane.holds(&place, write.seq, overtaken));
        let holding = holding.map(|(process, _)| process);
        let holders: BTreeSet<&NodeName> = followed.chain(holding).map(|it| &it.name).collect();
        let mut progress = Progress::default();
        for known in facts.roster.live() {
            let process = &known.id.process;
            if holders.contains(&process.name) {
                continue;
            }
            let lane = self.lanes.get(process);
            let refused = lane.and_then(|lane| lane.refused.get(&place));
            let refused = refused.filter(|(seq, _)| *seq >= write.seq);
            let reason = match refused {
                Some((_, reason)) => Some(reason),
                None => lacks_store(facts, process, place).then_some(Refusal::NoStore),
            };
            match reason {
                Some(reason) => progress.refused.push((process.name.clone(), reason)),
                None => progress.waiting.push(process.name.clone()),
            }
        }
        let others = facts.roster.members();
        let failed = others.filter(|known| known.state == MemberState::Failed);
        let failed = failed.map(|known| &known.id.process.name);
        let failed = failed.filter(|name| !holders.contains(name));
        progress.failed = failed.cloned().collect();
        progress.holders = holders.into_iter().cloned().collect();
        progress
    }

    /// The node is gone.
    pub(in crate::engine) fn end_watches(&mut self, core: &mut Core) {
        let tickets: Vec<_> = self.watches.open.keys().copied().collect();
        for ticket in tickets {
            self.answer_watch(core, ticket, Err(ReplicationError::NotRunning));
        }
    }
}

/// How many other processes are to hold what is followed, and how many of those that hold it count. `None` as
/// long as the members are not known yet that are to be counted.
fn needed(watch: &Followed, core: &Core, roster: &Roster) -> Option<(usize, usize)> {
    let holders = watch.holders.iter();
    match watch.copies {
        Copies::N(copies) => Some((copies, watch.holders.len())),
        _ if !core.readiness.is_ready() => None,
        Copies::All => {
            let held = holders.filter(|process| roster.is_live(process));
            Some((roster.live().count(), held.count()))
        }
        Copies::Majority => {
            let here = |process: &&ProcessId| {
                let known = roster.get(&process.name);
                known.is_some_and(|known| {
                    known.id.process == **process && known.state != MemberState::Left
                })
            };
            let others = roster.members();
            let others = others
                .filter(|known| known.state != MemberState::Left)
                .count();
            // With this process, which holds it, that is more than half.
            Some((others.div_ceil(2), holders.filter(here).count()))
        }
    }
}

/// Why so many copies cannot be reached, if they cannot.
fn hopeless(watch: &Followed, facts: Facts<'_>, asked: usize) -> Option<ReplicationError> {
    let live = facts.roster.live().map(|known| &known.id.process);
    let could: BTreeSet<&ProcessId> = live.chain(&watch.holders).collect();
    let members = could.len();
    if members < asked {
        return Some(ReplicationError::TooFewMembers { asked, members });
    }
    let place = watch.place();
    let refusing = could.iter().filter_map(|&process| {
        let refused = watch.refused.get(process).copied();
        let lacks = !watch.holders.contains(process) && lacks_store(facts, process, place);
        let reason = refused.or_else(|| lacks.then_some(Refusal::NoStore))?;
        Some((process.name.clone(), reason))
    });
    let refusing: Vec<_> = refusing.collect();
    let left = members - refusing.len();
    let (peer, reason) = refusing.into_iter().next()?;
    (left < asked).then_some(ReplicationError::Refused { peer, reason })
}

/// Whether a process has said that it does not have the store.
fn lacks_store(facts: Facts<'_>, process: &ProcessId, (store, _): StoreKey) -> bool {
    let session = facts.sessions.get(process);
    session.is_some_and(|session| !session.stores.contains(&store))
}
