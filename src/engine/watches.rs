//! Following writes: which other processes hold a change, or a later one of its key.
//!
//! A watch counts distinct processes. It is history, not a lease: a process that acknowledged and
//! then died still counts for a watch that saw it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::ProcessId;
use crate::store::{Held, ReplicationError, WriteId};
use crate::wire::Refusal;

use super::peer::Place;
use super::timers::Kind;
use super::{Engine, Output};

#[derive(Debug, Default)]
pub(super) struct Watches {
    open: BTreeMap<u64, Watch>,
    by_place: BTreeMap<Place, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Watch {
    write: WriteId,
    copies: usize,
    holders: BTreeSet<ProcessId>,
    refused: BTreeMap<ProcessId, Refusal>,
}

impl Watches {
    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Watch {
    fn place(&self) -> Place {
        (self.write.store, self.write.key)
    }
}

impl Engine {
    pub(super) fn watch(&mut self, ticket: u64, write: WriteId, copies: usize, within: Duration) {
        let max = self.config.watches_max;
        if self.watches.open.len() >= max {
            return self.answer_watch(ticket, Err(ReplicationError::TooManyWatches { max }));
        }
        let place = (write.store, write.key);
        let overtaken = self.is_overtaken(&place);
        let mut holders = BTreeSet::new();
        for (process, peer) in &mut self.peers {
            if peer.holds(&place, write.seq, overtaken) {
                holders.insert(process.clone());
            } else if overtaken && peer.stores.contains(&place.0) {
                // Nobody told us that it holds the version that came from elsewhere: ask.
                peer.owe(place);
            }
        }
        let refused = self
            .peers
            .iter()
            .filter_map(|(process, peer)| {
                let (seq, reason) = peer.refused.get(&place)?;
                (seq >= write.seq).then(|| (process.clone(), reason))
            })
            .collect();
        self.watches.open.insert(
            ticket,
            Watch {
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
        self.timers.set(Kind::Watch(ticket), self.now.mono + within);
        self.check_watch(ticket);
    }

    /// Whether a key's current version came from another process.
    fn is_overtaken(&self, place: &Place) -> bool {
        let current = self.stores.get(&place.0).and_then(|s| s.held(&place.1));
        let remote = self.remote.get(&place.0);
        current.is_some_and(|current| remote.is_some_and(|remote| remote.contains(current.seq)))
    }

    pub(super) fn unwatch(&mut self, ticket: u64) {
        self.timers.cancel(&Kind::Watch(ticket));
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

    fn answer_watch(&mut self, ticket: u64, outcome: Result<Held, ReplicationError>) {
        self.unwatch(ticket);
        self.outputs.push_back(Output::Watched { ticket, outcome });
    }

    /// Answers a watch that has come to its end, one way or the other.
    fn check_watch(&mut self, ticket: u64) {
        let Some(watch) = self.watches.open.get(&ticket) else {
            return;
        };
        let copies = watch.holders.len();
        if watch.copies == 0 {
            if self.is_durable(watch.place(), watch.write.seq) {
                self.answer_watch(ticket, Ok(Held { copies }));
            }
            return;
        }
        if copies >= watch.copies {
            return self.answer_watch(ticket, Ok(Held { copies }));
        }
        let could: BTreeSet<&ProcessId> = self
            .swim
            .live()
            .map(|known| &known.id.process)
            .chain(&watch.holders)
            .collect();
        let (asked, members) = (watch.copies, could.len());
        if members < asked {
            return self.answer_watch(
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
            self.answer_watch(ticket, Err(ReplicationError::Refused { peer, reason }));
        }
    }

    pub(super) fn watch_timed_out(&mut self, ticket: u64) {
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
        self.answer_watch(ticket, Err(error));
    }

    fn watches_of(&self, place: &Place) -> Vec<u64> {
        self.watches
            .by_place
            .get(place)
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    /// A process holds a change.
    pub(super) fn watch_held(&mut self, process: &ProcessId, place: Place, seq: u64) {
        for ticket in self.watches_of(&place) {
            let Some(watch) = self.watches.open.get_mut(&ticket) else {
                continue;
            };
            if watch.write.seq <= seq {
                watch.refused.remove(process);
                watch.holders.insert(process.clone());
                self.check_watch(ticket);
            }
        }
    }

    /// A process refused a change.
    pub(super) fn watch_refused(
        &mut self,
        process: &ProcessId,
        place: Place,
        seq: u64,
        reason: Refusal,
    ) {
        for ticket in self.watches_of(&place) {
            let Some(watch) = self.watches.open.get_mut(&ticket) else {
                continue;
            };
            if watch.write.seq <= seq && !watch.holders.contains(process) {
                watch.refused.insert(process.clone(), reason);
                self.check_watch(ticket);
            }
        }
    }

    /// An exchange has covered a process: whatever it holds now counts.
    pub(super) fn watch_synced(&mut self, process: &ProcessId) {
        let Some(peer) = self.peers.get(process) else {
            return;
        };
        let held: Vec<_> = self
            .watches
            .open
            .iter()
            .filter(|(_, watch)| {
                let overtaken = self.is_overtaken(&watch.place());
                peer.holds(&watch.place(), watch.write.seq, overtaken)
            })
            .map(|(_, watch)| (watch.place(), watch.write.seq))
            .collect();
        for (place, seq) in held {
            self.watch_held(process, place, seq);
        }
    }

    pub(super) fn watches_committed(&mut self) {
        let local = self
            .watches
            .open
            .iter()
            .filter(|(_, watch)| watch.copies == 0);
        let tickets: Vec<_> = local.map(|(&ticket, _)| ticket).collect();
        tickets
            .into_iter()
            .for_each(|ticket| self.check_watch(ticket));
    }

    /// The membership changed: some writes may have lost their chance.
    pub(super) fn recheck_watches(&mut self) {
        let tickets: Vec<_> = self.watches.open.keys().copied().collect();
        tickets
            .into_iter()
            .for_each(|ticket| self.check_watch(ticket));
    }

    /// The node is gone.
    pub(super) fn end_watches(&mut self) {
        let tickets: Vec<_> = self.watches.open.keys().copied().collect();
        for ticket in tickets {
            self.answer_watch(ticket, Err(ReplicationError::NotRunning));
        }
    }
}
