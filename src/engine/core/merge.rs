//! How the entries of a delta get into a store, whichever way they came.

use std::time::Duration;

use crate::crdt::compare_versions;
use crate::engine::event::Event;
use crate::id::{ProcessId, Refusal, StoreId, WriterTag};
use crate::store::Merged;
use crate::time::Timestamp;
use crate::wire::Entry;

use super::delta::Received;
use super::place::StoreKey;
use super::{Core, TURN_WORK};

impl Core {
    /// Joins the first of these entries of a delta into their store: as many as this turn's work allows,
    /// and at most [`MERGE_CHUNK`]. One that costs more than a turn may has a turn to itself. Returns how
    /// many they were, and the nominal work; if they were none, nothing more is done in this turn.
    #[expect(clippy::indexing_slicing, reason = "no more are taken than there are")]
    pub(in crate::engine) fn merge_some(
        &mut self,
        from: &ProcessId,
        id: StoreId,
        entries: &[Entry],
        received: &mut Received,
    ) -> (usize, Duration) {
        let Some(store) = self.stores.get(id).cloned() else {
            for _ in entries {
                received.refuse(Refusal::NoStore);
                received.count += 1;
            }
            let work = REFUSED_WORK * u32::try_from(entries.len()).unwrap_or(u32::MAX);
            self.work(work);
            return (entries.len(), work);
        };
        let (mut count, mut work) = (0, Duration::ZERO);
        for entry in entries.iter().take(MERGE_CHUNK) {
            let with_it = work + store.work(entry);
            let alone = count == 0 && self.work_left == TURN_WORK;
            if with_it > self.work_left && !alone {
                break;
            }
            (count, work) = (count + 1, with_it);
        }
        if count == 0 {
            self.work_left = Duration::ZERO;
            return (0, work);
        }
        let entries = &entries[..count];
        self.counters.entries_received += count as u64;
        let deliverer = WriterTag::of(&from.name);
        let mut results = Vec::with_capacity(count);
        store.merge_into(entries, deliverer, self.now.wall, &mut results);
        for (entry, result) in entries.iter().zip(results) {
            let place = (id, entry.key);
            if result == Merged::Known && self.has_replaced(id, entry) {
                received.replaced.push(place);
            }
            if matches!(result, Merged::Stored { .. }) {
                received.stored += 1;
                received.stored_bytes += entry.encoded_len() as u64;
            }
            let merged = MergedEntry {
                place,
                written: entry.ts,
                writer: entry.writer,
                result,
            };
            self.entry_merged(from, &merged, received);
            received.count += 1;
        }
        self.work(work);
        (count, work)
    }

    /// So much work was done in this turn.
    fn work(&mut self, work: Duration) {
        self.work_left = self.work_left.saturating_sub(work);
        #[cfg(feature = "sim")]
        {
            self.work_ever += work;
        }
    }

    /// Whether something replaced this entry that has expired since.
    fn has_replaced(&self, store: StoreId, entry: &Entry) -> bool {
        let wall = self.now.wall;
        let held = || self.stores.peek(&(store, entry.key));
        entry.outlives(wall)
            && held().is_some_and(|held| {
                !held.entry.outlives(wall) && compare_versions(&held.entry, entry).is_gt()
            })
    }

    fn entry_merged(&mut self, from: &ProcessId, merged: &MergedEntry, received: &mut Received) {
        let MergedEntry {
            place,
            written,
            writer,
            result,
        } = *merged;
        let (store, key) = place;
        match result {
            Merged::Refused(reason) => {
                received.refuse(reason);
                self.entry_refused(from, merged, reason);
            }
            Merged::Known => {
                received.held.push(place);
                received.known.push(place);
                if self.ledger.is_durable() {
                    let held = self.stores.peek(&place).map(|change| (place, change.seq));
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
                if self.readiness.is_ready() {
                    self.arrivals.arrived(written, self.now.wall);
                }
                received.held.push(place);
                // A join that nobody else has is this node's to send, like a write of its own.
                if as_sent {
                    self.stores.add_foreign(store, seq);
                }
                if self.ledger.is_durable() {
                    received.needs.push((place, seq));
                }
                if quarantined {
                    let peer = from.name.clone();
                    self.emit_bounded(Event::EntryQuarantined {
                        store,
                        key,
                        writer,
                        peer,
                    });
                }
            }
        }
    }

    /// An entry was not taken: who delivered it is told, and so is the application.
    ///
    /// Nobody is named for it, nor for what cannot be used: who wrote it is a claim, and who delivered it may
    /// have it from another one. The events say both.
    fn entry_refused(&mut self, from: &ProcessId, merged: &MergedEntry, reason: Refusal) {
        let (store, key) = merged.place;
        self.counters.entries_refused += 1;
        let for_room = matches!(reason, Refusal::Full | Refusal::Share);
        if for_room && self.stores.mark_full(store) {
            self.revision += 1;
        }
        self.emit_bounded(Event::EntryRefused {
            peer: from.name.clone(),
            store,
            key,
            writer: merged.writer,
            reason,
            by_us: true,
        });
    }
}

/// An entry of a delta, and what became of it.
struct MergedEntry {
    place: StoreKey,
    /// When it was written, as it says.
    written: Timestamp,
    writer: WriterTag,
    result: Merged,
}

/// Entries merged at a time.
const MERGE_CHUNK: usize = 256;
/// The nominal work for an entry of a store that is not there.
const REFUSED_WORK: Duration = Duration::from_nanos(50);
