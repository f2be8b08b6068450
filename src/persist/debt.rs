//! What has to be on disk before anything else is written to it.
//!
//! - *Pending*: what reading the disk has found to be changed there, and what the node has to remember.
//!   That the node runs is noted behind it, once it does: noted before, what is to be held back would be taken
//!   for recent at the next start.
//! - *Owed*: all that is held, after a database was set aside. It is written from the stores, a piece at
//!   a time; what changes meanwhile comes behind the place that was reached.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::StorageError;
use super::load::{SCAN_BYTES, StoreDisk};
use super::meta::{Remembered, put_alive, put_identity};
use super::record::{Parsed, RecordKind, parse, put_entry};
use super::storage::{Storage as _, StorageWrite};
use crate::id::StoreId;
use crate::time::Timestamp;

impl StoreDisk {
    /// Writes what is pending, and then what is owed.
    ///
    /// # Errors
    /// [`StorageError`]; what is not written yet is still to be written.
    pub(super) fn settle(&mut self) -> Result<(), StorageError> {
        while !self.pending.is_empty() {
            let pending = self.pending.make_contiguous();
            let count = piece(pending);
            self.storage
                .write(pending.get(..count).unwrap_or(pending))?;
            self.pending.drain(..count);
        }
        while let Some((from, after)) = self.owed {
            let Some((&id, store)) = self.stores.range(from..).next() else {
                self.owed = None;
                break;
            };
            if self.in_memory.contains(&id) {
                self.owed = id.0.checked_add(1).map(|next| (StoreId(next), 0));
                continue;
            }
            let after = if id == from { after } else { 0 };
            let changes = store
                .replica()
                .peek_changes(after, CHANGES_AT_A_TIME, SCAN_BYTES);
            let Some(last) = changes.last().map(|change| change.seq) else {
                self.owed = id.0.checked_add(1).map(|next| (StoreId(next), 0));
                continue;
            };
            let writes = changes
                .iter()
                .map(|change| put_entry(RecordKind::Entry, id, change.deliverer, &change.entry));
            let writes: Vec<StorageWrite> = writes.collect();
            self.storage.write(&writes)?;
            self.owed = Some((id, last));
        }
        Ok(())
    }

    /// Whether something has to be written before anything else.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.owed.is_none()
    }

    /// Says that the node runs, of each store that is kept.
    pub(super) fn alive(&self, wall: Timestamp) -> Vec<StorageWrite> {
        let kept = self.stores.keys().filter(|id| !self.in_memory.contains(id));
        kept.map(|&id| put_alive(id, wall)).collect()
    }

    /// Remembers this from now on, and returns what puts it on disk. The boot never goes back. Whom a disk
    /// that was read late says to be expelled, the node does not know: they stay.
    pub(super) fn remember(&mut self, mut told: Remembered) -> Vec<StorageWrite> {
        told.boot = told.boot.max(self.remembered.boot);
        for name in &self.found_late.expelled {
            if !told.expelled.contains(name) {
                told.expelled.push(name.clone());
            }
        }
        if told.members.is_empty() {
            told.members.clone_from(&self.found_late.members);
        }
        self.remembered = told;
        self.remembered.writes()
    }

    /// What is remembered once the disk has been read: what it has, and what the node said before.
    pub(super) fn join_remembered(&mut self, mut found: Remembered, wall: Timestamp) -> Remembered {
        // Boots only grow, also where the clock was set back.
        found.boot = found.boot.saturating_add(1).max(wall.as_nanos());
        if !self.is_late {
            return found;
        }
        self.found_late = found.clone();
        Remembered {
            boot: found.boot,
            ..self.remembered.clone()
        }
    }

    /// Sets a database aside that was damaged while the node ran. From then on all that is held is
    /// owed to a new one, as is what was held back and can still be read.
    ///
    /// # Errors
    /// [`StorageError`]: it is still in its place. All is owed nevertheless.
    pub(super) fn begin_anew(&mut self) -> Result<Option<PathBuf>, StorageError> {
        let held_back = self.held_back();
        self.owed = Some((StoreId(0), 0));
        let wall = self.clock.wall();
        let pending = std::mem::take(&mut self.pending).into_iter();
        let all = held_back
            .into_iter()
            .chain(pending)
            .chain(put_identity(&self.cluster))
            .chain(self.remembered.writes())
            .chain(self.alive(wall));
        let by_key: BTreeMap<Vec<u8>, StorageWrite> =
            all.map(|write| (write.key().to_vec(), write)).collect();
        let (puts, removals): (Vec<_>, Vec<_>) = by_key
            .into_values()
            .partition(|write| matches!(write, StorageWrite::Put { .. }));
        self.pending = puts.into_iter().chain(removals).collect();
        self.storage.start_over()
    }

    /// Of a database that is damaged, what was held back, as far as it can be read.
    fn held_back(&mut self) -> Vec<StorageWrite> {
        let (mut after, mut bytes, mut out) = (b"h".to_vec(), 0_usize, Vec::new());
        while bytes <= HELD_BACK_BYTES_MAX {
            let mut records = Vec::new();
            let scanned = self.storage.scan(&after, SCAN_BYTES, &mut records);
            let Some((last, _)) = records.last() else {
                break;
            };
            if *last <= after {
                break;
            }
            after.clone_from(last);
            let is_past = !last.starts_with(b"h");
            for (key, value) in records {
                bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
                let record = (key, value);
                if let Parsed::Entry {
                    kind: RecordKind::HeldBack,
                    ..
                } = parse(&record)
                {
                    let (key, value) = record;
                    out.push(StorageWrite::Put { key, value });
                }
            }
            if is_past || scanned.is_err() {
                break;
            }
        }
        out
    }
}

/// How many of these go to disk at once: one at least.
fn piece(writes: &[StorageWrite]) -> usize {
    let mut bytes = 0_usize;
    let fits = writes.iter().take_while(|write| {
        let goes_on = bytes < SCAN_BYTES;
        bytes = bytes.saturating_add(write.bytes());
        goes_on
    });
    fits.count()
}

const CHANGES_AT_A_TIME: usize = 256;
/// So much of what was held back is taken over from a database that is damaged.
const HELD_BACK_BYTES_MAX: usize = 64 << 20;
