//! Deltas are merged into the stores, whichever way they came.

use crate::crdt::compare_versions;
use crate::engine::event::Event;
use crate::id::{Misbehaviour, ProcessId, Refusal, StoreId, WriterTag};
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
        let deliverer = WriterTag::of(&from.name);
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
                store.merge_into(entries, deliverer, self.now.wall, &mut results);
                for (entry, result) in entries.iter().zip(results.drain(..)) {
                    let place = (section.store, entry.key);
                    if result == Merged::Known && self.has_replaced(section.store, entry) {
                        received.replaced.push(place);
                    }
                    let merged = MergedEntry {
                        place,
                        writer: entry.writer,
                        result,
                    };
                    self.entry_merged(from, deliverer, &merged, index, &mut received);
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
        deliverer: WriterTag,
        merged: &MergedEntry,
        index: usize,
        received: &mut Received,
    ) {
        let MergedEntry {
            place,
            writer,
            result,
        } = *merged;
        let (store, key) = place;
        match result {
            Merged::Refused(reason) => {
                self.counters.entries_refused += 1;
                let for_room = matches!(reason, Refusal::Full | Refusal::Share);
                if for_room && self.stores.mark_full(store) {
                    self.revision += 1;
                }
                received.refuse(index, reason);
                // What it passes on for others is not its doing.
                if reason == Refusal::Share && writer == deliverer {
                    self.misbehaved(&from.name, Misbehaviour::ExceedsShare);
                }
                let peer = from.name.clone();
                self.emit_of_entry(Event::EntryRefused {
                    peer,
                    store,
                    key,
                    writer,
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
                malformed,
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
                if malformed && writer == deliverer {
                    self.misbehaved(&from.name, Misbehaviour::SendsUnreadable);
                }
                if quarantined {
                    let peer = from.name.clone();
                    self.emit_of_entry(Event::EntryQuarantined {
                        store,
                        key,
                        writer,
                        peer,
                    });
                }
            }
        }
    }
}

/// An entry of a delta, and what became of it.
struct MergedEntry {
    place: StoreKey,
    writer: WriterTag,
    result: Merged,
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
