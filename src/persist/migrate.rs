//! From an earlier format to the present one.
//!
//! | format | |
//! |---|---|
//! | 0 | entries without who delivered them, and one `alive` for the node instead of one for each store: before the first release |
//! | 1 | the present one |
//!
//! Records of entries are rewritten where they are, in the order of their keys, a piece at a time. Each piece is
//! written together with how far that has come, so a process that is killed meanwhile, or whose disk fails, goes on
//! from there. From the first piece on the database says that it is of the present format: a program that knows the
//! earlier one alone does not take what is half way for damaged. What the node has to remember comes last, with the
//! end of the migration.
//!
//! A record that is not as it was written stays as it is: it is set aside when everything is read.

use tracing::info;

use super::error::StorageError;
use super::event::DiskWork;
use super::load::{SCAN_BYTES, StoreDisk, TOLD_EVERY};
use super::meta::{FORMAT_NOW, Meta, Migration, end_migration, put_alive, put_migration};
use super::record::{DELIVERER_BYTES, Parsed, checked, parse, put, remove_meta};
use super::storage::{Storage as _, StorageRecord, StorageWrite};
use crate::time::Timestamp;

impl StoreDisk {
    /// Rewrites what is of an earlier format. Returns whether there was anything of the kind.
    ///
    /// # Errors
    /// [`StorageError`]; what was rewritten by then is, and the next call goes on.
    pub(super) fn migrate(&mut self, meta: &Meta) -> Result<bool, StorageError> {
        let begun = meta.migration.clone();
        let begins = meta.format.filter(|format| *format < FORMAT_NOW);
        let first = |from| Migration {
            from,
            after: Vec::new(),
        };
        let Some(mut migration) = begun.or_else(|| begins.map(first)) else {
            return Ok(false);
        };
        let (from, to) = (migration.from, FORMAT_NOW);
        info!(
            from,
            to, "the storage is of an earlier format, and is rewritten"
        );
        let total = self.storage.records();
        let mut done = 0_u64;
        self.tell(DiskWork::Migrate, done, total);
        loop {
            let mut records = Vec::new();
            let scanned = self
                .storage
                .scan(&migration.after, SCAN_BYTES, &mut records);
            let Some((last, _)) = records.last() else {
                scanned?;
                break;
            };
            if *last <= migration.after {
                return Err(StorageError::Damaged);
            }
            migration.after.clone_from(last);
            let rewritten = records.iter().filter_map(|record| rewrite(from, record));
            let mut batch: Vec<StorageWrite> = rewritten.collect();
            batch.extend(put_migration(&migration));
            self.storage.write(&batch)?;
            let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
            let before = done / TOLD_EVERY;
            done = done.saturating_add(count);
            if done / TOLD_EVERY > before {
                self.tell(DiskWork::Migrate, done, total);
            }
        }
        let mut batch = self.rewrite_meta(from)?;
        batch.push(end_migration());
        self.storage.write(&batch)?;
        self.tell(DiskWork::Migrate, done, Some(done));
        info!(records = done, "the storage is of the present format now");
        Ok(true)
    }

    /// What changes of what the node has to remember.
    fn rewrite_meta(&mut self, from: u16) -> Result<Vec<StorageWrite>, StorageError> {
        let mut changes = Vec::new();
        if from > 0 {
            return Ok(changes);
        }
        let mut records = Vec::new();
        let before = [b"m", ALIVE_0].concat();
        let first = before.split_last().map_or(&[][..], |(_, rest)| rest);
        self.storage.scan(first, 1, &mut records)?;
        let found = records.first().filter(|(key, _)| *key == before).map(parse);
        if let Some(Parsed::Meta { value, .. }) = found
            && let Ok(nanos) = value.as_slice().try_into()
        {
            let alive = Timestamp::from_nanos(u64::from_be_bytes(nanos));
            changes.extend(self.stores.keys().map(|&store| put_alive(store, alive)));
            changes.push(remove_meta(ALIVE_0));
        }
        Ok(changes)
    }
}

/// The record of an entry as it is now; `None` where it stays as it is.
fn rewrite(from: u16, record: &StorageRecord) -> Option<StorageWrite> {
    let (key, _) = record;
    let is_entry = matches!(key.first(), Some(b'e' | b'h'));
    if !is_entry || from > 0 {
        return None;
    }
    // Nobody knows who delivered it.
    let rest = [&[0; DELIVERER_BYTES][..], checked(record)?].concat();
    Some(put(key.clone(), &rest))
}

/// When the node was last known to run, in format 0.
const ALIVE_0: &[u8] = b"alive";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StoreId;
    use crate::persist::event::DiskEvent;
    use crate::persist::meta::put_identity;
    use crate::persist::record::{RecordKind, entry_key, put_meta};
    use crate::persist::storage::Storage;
    use crate::persist::testbed::{TestDisk, entry};
    use crate::persist::tests::{DAYS, entries, filled, found, note, opening, silences};
    use crate::persist::{DiskWork, open};
    use crate::store::silences::support::{ManualClock, at};
    use crate::wire::Entry;
    use std::sync::{Arc, Mutex};

    /// What puts an entry on a disk of format 0.
    fn put_entry_0(kind: RecordKind, store: StoreId, entry: &Entry) -> StorageWrite {
        let mut rest = Vec::new();
        entry.encode(&mut rest);
        put(entry_key(kind, store, &entry.key), &rest)
    }

    /// A disk of format 0, of a node that ran then: silences and a note without expiry.
    fn disk_0(clock: &ManualClock, count: u64, ran: Timestamp) -> (TestDisk, StoreId) {
        let disk = TestDisk::default();
        let (store, _) = filled(clock, count);
        let id = store.store().id();
        let mut lasting = note(1);
        lasting.ts = at(1);
        let entries = entries(&store).into_iter();
        let all = entries.map(|(_, entry)| entry).chain([lasting]);
        let mut writes: Vec<StorageWrite> = all
            .map(|entry| put_entry_0(RecordKind::Entry, id, &entry))
            .collect();
        writes.extend(put_identity("prod"));
        writes.push(put_meta(b"format", &0_u16.to_be_bytes()));
        writes.push(put_meta(ALIVE_0, &ran.as_nanos().to_be_bytes()));
        disk.clone().write(&writes).unwrap();
        (disk, id)
    }

    #[test]
    fn what_an_earlier_format_holds_is_there() {
        let clock = ManualClock::new();
        clock.set(at(20));
        let (disk, id) = disk_0(&clock, 50, at(10));
        let (store, report) = found(disk.clone(), &clock);
        assert_eq!((report.entries, report.set_aside), (51, 0));
        assert_eq!(store.store().len(), 51);
        let records = disk.lock().records.clone();
        assert!(!records.contains_key(&b"malive"[..]));
        assert!(!records.contains_key(&b"mmigration"[..]));
        let formats = [FORMAT_NOW.to_be_bytes()];
        assert!(records[&b"mformat"[..]].ends_with(&formats[0]));
        assert!(
            records
                .into_iter()
                .all(|record| parse(&record) != Parsed::Damaged)
        );
        // The one `alive` was of every store: the node was away for long, and knows it.
        let (disk, again) = disk_0(&clock, 50, at(10));
        assert_eq!(id, again);
        clock.set(at(10 * DAYS));
        let (_, report) = found(disk, &clock);
        assert_eq!((report.entries, report.held_back_count), (50, 1));
    }

    /// However many writes work before the process is killed, or the disk fails.
    #[test]
    fn a_migration_that_is_cut_short_goes_on() {
        let clock = ManualClock::new();
        clock.set(at(20));
        let large = |number: u8| {
            let mut large = entry(number, 5, b"");
            large.body = vec![number; 300_000].into();
            large.expires_at = at(40 * DAYS);
            large
        };
        let mut cut = 0;
        for writes in 0..12 {
            let (disk, id) = disk_0(&clock, 20, at(10));
            let puts = (2..12).map(|number| put_entry_0(RecordKind::Entry, id, &large(number)));
            let puts: Vec<StorageWrite> = puts.collect();
            disk.clone().write(&puts).unwrap();
            disk.lock().writes_left = Some(writes);
            let store = silences(&clock, 2);
            let report = open(opening(disk.clone(), &clock, &store)).unwrap().report;
            cut += usize::from(report.unread);
            assert!(report.aside.is_empty(), "{report:?}");
            disk.lock().writes_left = None;
            let (store, report) = found(disk, &clock);
            assert_eq!(
                (report.entries, report.set_aside),
                (31, 0),
                "{writes} writes"
            );
            assert_eq!(store.store().len(), 31);
        }
        assert!(cut > 3, "it was cut short {cut} times");
    }

    #[test]
    fn it_says_how_far_it_is_and_leaves_what_is_damaged_to_be_set_aside() {
        let clock = ManualClock::new();
        clock.set(at(20));
        let (disk, _) = disk_0(&clock, 20, at(10));
        let damaged = |value: &mut Vec<u8>| value[30] ^= 1;
        let entries = |key: &Vec<u8>| key.starts_with(b"e");
        let first = disk.lock().records.keys().find(|key| entries(key)).cloned();
        damaged(disk.lock().records.get_mut(&first.unwrap()).unwrap());
        let told = Arc::new(Mutex::new(Vec::new()));
        let store = silences(&clock, 2);
        let mut opening = opening(disk, &clock, &store);
        let heard = Arc::clone(&told);
        opening.told = Arc::new(move |event| heard.lock().unwrap().push(event));
        let report = open(opening).unwrap().report;
        assert_eq!((report.entries, report.set_aside), (20, 1));
        let told = told.lock().unwrap().clone();
        let of_it = told.iter().filter_map(|event| match event {
            DiskEvent::Working {
                work: DiskWork::Migrate,
                done,
                total,
            } => Some((*done, *total)),
            _ => None,
        });
        let of_it: Vec<_> = of_it.collect();
        assert_eq!(of_it.first(), Some(&(0, None)));
        let (done, total) = of_it.last().copied().unwrap();
        assert!(done >= 21 && total == Some(done), "{of_it:?}");
    }
}
