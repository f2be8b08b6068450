//! Deltas are merged into the stores, whichever way they came.

use crate::crdt::compare_versions;
use crate::engine::event::Event;
use crate::id::{ProcessId, Refusal, StoreId};
use crate::store::Merged;
use crate::wire::{Entry, Section};

use super::Core;
use super::place::{SentItem, StoreKey};

/// What became of the entries of a delta.
#[derive(Debug, Default)]
pub(in crate::engine) struct Received {
    /// Entries not taken: position in the packet, and why.
    pub(in crate::engine) refused: Vec<(u16, Refusal)>,
    /// Entries held now, whether they were new or not.
    pub(in crate::engine) held: Vec<StoreKey>,
    /// What must be on disk before the delta may be acknowledged; empty where memory suffices.
    pub(in crate::engine) needs: Vec<SentItem>,
    /// Keys of which the sender still has what an entry replaced that has expired here since.
    /// Exchanges compare what lives, so no exchange would tell it: the receiver sends what it has.
    pub(in crate::engine) replaced: Vec<StoreKey>,
}

impl Core {
    /// Joins the entries of a delta into the stores.
    pub(in crate::engine) fn merge_sections(
        &mut self,
        from: &ProcessId,
        sections: &[Section],
    ) -> Received {
        let mut received = Received::default();
        let mut results = Vec::new();
        let mut index: usize = 0;
        for section in sections {
            let Some(store) = self.stores.get(section.store).cloned() else {
                for _ in &section.entries {
                    received.refuse(index, Refusal::NoStore);
                    index += 1;
                }
                continue;
            };
            self.counters.entries_received += section.entries.len() as u64;
            for entries in section.entries.chunks(MERGE_CHUNK) {
                store.merge_into(entries, self.now.wall, &mut results);
                for (entry, result) in entries.iter().zip(results.drain(..)) {
                    let place = (section.store, entry.key);
                    if result == Merged::Known && self.has_replaced(section.store, entry) {
                        received.replaced.push(place);
                    }
                    self.entry_merged(from, place, index, result, &mut received);
                    index += 1;
                }
            }
        }
        received
    }

    /// Whether something replaced this entry that has expired since.
    fn has_replaced(&self, store: StoreId, entry: &Entry) -> bool {
        let wall = self.now.wall;
        let held = || self.stores.held(&(store, entry.key));
        entry.outlives(wall)
            && held().is_some_and(|held| {
                !held.entry.outlives(wall) && compare_versions(&held.entry, entry).is_gt()
            })
    }

    fn entry_merged(
        &mut self,
        from: &ProcessId,
        place: StoreKey,
        index: usize,
        result: Merged,
        received: &mut Received,
    ) {
        let (store, key) = place;
        match result {
            Merged::Refused(reason) => {
                self.counters.entries_refused += 1;
                if reason == Refusal::Full && self.stores.mark_full(store) {
                    self.revision += 1;
                }
                received.refuse(index, reason);
                let peer = from.name.clone();
                self.emit(Event::EntryRefused {
                    peer,
                    store,
                    key,
                    reason,
                    by_us: true,
                });
            }
            Merged::Known => {
                received.held.push(place);
                if self.ledger.is_durable() {
                    let held = self.stores.held(&place).map(|change| (place, change.seq));
                    let unkept = held.filter(|held| !self.ledger.covers(&self.stores, held));
                    received.needs.extend(unkept);
                }
            }
            Merged::Stored {
                seq,
                as_sent,
                quarantined,
            } => {
                self.counters.entries_merged += 1;
                received.held.push(place);
                // A join that nobody else has is this node's to send, like a write of its own.
                if as_sent {
                    self.stores.add_foreign(store, seq);
                }
                if self.ledger.is_durable() {
                    received.needs.push((place, seq));
                }
                if quarantined {
                    self.emit(Event::EntryQuarantined { store, key });
                }
            }
        }
    }
}

impl Received {
    fn refuse(&mut self, index: usize, reason: Refusal) {
        // The decoder bounds the entries of a delta below this.
        if let Ok(index) = u16::try_from(index) {
            self.refused.push((index, reason));
        }
    }
}

const MERGE_CHUNK: usize = 256;
