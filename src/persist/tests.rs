//! What is on a disk, and what becomes of it: of a storage of the tests, and of redb in a directory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::load::Opening;
use super::meta::{FORMAT_NOW, put_alive, put_identity};
use super::record::{RecordKind, put_entry, put_meta};
use super::testbed::{TestDisk, TestFile};
use super::*;
use crate::id::{StoreId, WriterTag};
use crate::store::Limits;
use crate::store::matcher::{Matcher, Op};
use crate::store::silences::support::{ManualClock, at};
use crate::store::silences::{NewSilence, SilenceId, SilenceLimits, Silences};
use crate::wire::Entry;

pub(super) const DAYS: u64 = 86_400;

pub(super) fn silences(clock: &ManualClock, seed: u8) -> Silences {
    Silences::new(
        SilenceLimits::default(),
        Limits::default(),
        clock.context(),
        [seed; 32],
    )
}

/// So many silences that end in a month.
pub(super) fn filled(clock: &ManualClock, count: u64) -> (Silences, Vec<SilenceId>) {
    let store = silences(clock, 1);
    let ids = (0..count).map(|number| {
        let matcher = Matcher::new("host", Op::Equal, format!("h{number}")).unwrap();
        let silence = NewSilence::new(vec![matcher], at(30 * DAYS + number));
        store.set(silence).unwrap().0
    });
    let ids = ids.collect();
    (store, ids)
}

pub(super) fn entries(store: &Silences) -> Vec<(StoreId, Entry)> {
    let store = store.store();
    let changes = store.replica().changes(0, 256, usize::MAX);
    changes
        .into_iter()
        .map(|change| (store.id(), change.entry))
        .collect()
}

pub(super) fn opening(storage: impl Storage, clock: &ManualClock, store: &Silences) -> Opening {
    Opening {
        storage: Box::new(storage),
        stores: vec![store.store()],
        in_memory: BTreeSet::new(),
        clock: Arc::new(clock.clone()),
        cluster: "prod".to_owned(),
        max_clock_drift: Duration::from_secs(300),
        away_max: Duration::from_secs(5 * DAYS),
        bring_back: false,
        unread: Arc::default(),
        told: Arc::new(|_| {}),
    }
}

/// Opens a storage, writes what a store holds, and lets it go.
pub(super) fn keep(storage: impl Storage, clock: &ManualClock, store: &Silences) {
    let link = start(open(opening(storage, clock, store)).unwrap()).unwrap();
    assert!(commit(link, entries(store)));
}

/// Commits one batch, and waits until the disk is free again. Returns whether it was written.
pub(super) fn commit(mut link: DiskLink, entries: Vec<(StoreId, Entry)>) -> bool {
    link.jobs
        .send(DiskJob::Commit { batch: 1, entries })
        .unwrap();
    drop(link.jobs);
    let mut written = false;
    while let Some(news) = link.news.blocking_recv() {
        if let DiskNews::Committed { batch: 1, ok } = news {
            written = ok;
        }
    }
    written
}

pub(super) fn found(storage: impl Storage, clock: &ManualClock) -> (Silences, LoadReport) {
    let store = silences(clock, 2);
    let opened = open(opening(storage, clock, &store)).unwrap();
    (store, opened.report)
}

pub(super) struct TestDir(pub(super) PathBuf);

impl TestDir {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rumormill-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("rumormill.redb")
    }

    fn storage(&self) -> RedbStorage {
        RedbStorage::open(&self.0).unwrap()
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn files(dir: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn what_was_committed_is_there_and_need_not_be_written_again() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let (store, ids) = filled(&clock, 20);
    keep(disk.clone(), &clock, &store);
    let again = silences(&clock, 2);
    let opened = open(opening(disk, &clock, &again)).unwrap();
    assert_eq!(opened.report.entries, 20);
    assert_eq!(opened.through[&again.store().id()], 20);
    assert!(ids.iter().all(|id| again.get(*id).is_some()));
    let cut = crate::time::Timestamp::ZERO;
    let digest = |store: &Silences| store.store().replica().digest(cut);
    assert_eq!(digest(&again), digest(&store));
}

/// What was written before it was loaded is not taken for what is on disk.
#[test]
fn a_store_that_was_written_before_is_written_to_disk_as_a_whole() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    keep(disk.clone(), &clock, &filled(&clock, 3).0);
    let (store, _) = filled(&clock, 1);
    let opened = open(opening(disk, &clock, &store)).unwrap();
    assert_eq!(opened.through[&store.store().id()], 0);
}

#[test]
fn the_boot_grows_though_the_clock_goes_back() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    clock.set(at(1000));
    let store = silences(&clock, 1);
    let boot = |clock: &ManualClock| {
        let opened = open(opening(disk.clone(), clock, &store)).unwrap();
        opened.remembered.boot
    };
    let first = boot(&clock);
    assert_eq!(first, at(1000).as_nanos());
    clock.set(at(10));
    assert_eq!(boot(&clock), first + 1);
    assert_eq!(boot(&clock), first + 2);
}

#[test]
fn a_record_that_is_damaged_is_set_aside_and_the_others_are_read() {
    let (clock, dir) = (ManualClock::new(), TestDir::new("damaged-record"));
    let (store, _) = filled(&clock, 3);
    keep(dir.storage(), &clock, &store);
    let mut storage = dir.storage();
    let mut records = Vec::new();
    storage.scan(b"e", usize::MAX, &mut records).unwrap();
    let (key, mut value) = records[1].clone();
    value[40] ^= 1;
    storage.write(&[StorageWrite::Put { key, value }]).unwrap();
    drop(storage);

    let (_, report) = found(dir.storage(), &clock);
    assert_eq!((report.entries, report.set_aside), (2, 1));
    let [aside] = &report.aside[..] else {
        panic!("one file: {:?}", report.aside);
    };
    assert!(fs::read(aside).unwrap().len() > 100);
    let (_, report) = found(dir.storage(), &clock);
    assert_eq!((report.entries, report.set_aside), (2, 0), "it is gone");
}

#[test]
fn a_storage_of_another_cluster_is_not_read() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    keep(disk.clone(), &clock, &filled(&clock, 3).0);
    let store = silences(&clock, 2);
    let mut other = opening(disk, &clock, &store);
    other.cluster = "staging".to_owned();
    assert!(matches!(
        open(other),
        Err(PersistError::OtherCluster { found, expected })
            if found == "prod" && expected == "staging"
    ));
    assert!(store.store().is_empty());
}

#[test]
fn a_storage_of_a_later_format_is_set_aside() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    keep(disk.clone(), &clock, &filled(&clock, 3).0);
    let mut storage = disk.clone();
    storage
        .write(&[put_meta(b"format", &7_u16.to_be_bytes())])
        .unwrap();
    let (store, report) = found(disk.clone(), &clock);
    assert_eq!((report.entries, store.store().len()), (0, 0));
    let told = report.later_format.map(|it| (it.found, it.known));
    assert_eq!(told, Some((7, FORMAT_NOW)), "both are named");
    assert_eq!(disk.lock().begun_anew, 1);
}

/// A full disk, then room again: what waits is refused, and nothing of it is half there.
#[test]
fn a_disk_that_fails_says_so_and_recovers() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let (store, _) = filled(&clock, 3);
    let mut link = start(open(opening(disk.clone(), &clock, &store)).unwrap()).unwrap();
    let mut commit = |batch| {
        let entries = entries(&store);
        link.jobs.send(DiskJob::Commit { batch, entries }).unwrap();
        let mut events = Vec::new();
        loop {
            match link.news.blocking_recv().unwrap() {
                DiskNews::Committed { ok, .. } => return (ok, events),
                DiskNews::Event(event) => events.push(event),
                DiskNews::Remembered { .. } => panic!("nothing is to be remembered"),
            }
        }
    };
    assert!(commit(1).0);
    let before = disk.lock().records.clone();
    disk.lock().fails = true;
    assert_eq!(commit(2), (false, vec![DiskEvent::Failing]));
    assert_eq!(commit(3), (false, Vec::new()), "it is said once");
    assert_eq!(disk.lock().records, before);
    disk.lock().fails = false;
    assert_eq!(commit(4), (true, vec![DiskEvent::Recovered]));
}

/// Nothing is written over what could not be read.
#[test]
fn what_could_not_be_read_at_the_start_comes_in_when_the_disk_works() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    keep(disk.clone(), &clock, &filled(&clock, 3).0);
    disk.lock().fails = true;
    let store = silences(&clock, 2);
    let opening = opening(disk.clone(), &clock, &store);
    let unread = Arc::clone(&opening.unread);
    let opened = open(opening).unwrap();
    assert!(opened.report.unread && store.store().is_empty());
    assert!(unread.load(Ordering::Acquire));
    let mut link = start(opened).unwrap();
    let fresh = entries(&filled(&clock, 1).0);
    disk.lock().fails = false;
    let (batch, entries) = (1, fresh);
    link.jobs.send(DiskJob::Commit { batch, entries }).unwrap();
    let mut loaded = Vec::new();
    loop {
        match link.news.blocking_recv().unwrap() {
            DiskNews::Committed { ok, .. } => break assert!(ok),
            DiskNews::Event(DiskEvent::Loaded(report)) => loaded.push(report.entries),
            DiskNews::Event(_) | DiskNews::Remembered { .. } => {}
        }
    }
    assert_eq!((loaded, store.store().len()), (vec![0, 3], 3));
    assert!(!unread.load(Ordering::Acquire));
}

#[test]
fn a_database_that_is_damaged_while_it_is_used_is_written_anew() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let (store, _) = filled(&clock, 5);
    let link = start(open(opening(disk.clone(), &clock, &store)).unwrap()).unwrap();
    disk.lock().damaged = true;
    // The batch fails, and comes again; what is held is on disk by then.
    assert!(!commit(link, entries(&store)));
    assert_eq!(disk.lock().begun_anew, 1);
    let (_, report) = found(disk, &clock);
    assert_eq!(report.entries, 5);
}

pub(super) fn note(number: u8) -> Entry {
    let mut note = testbed::entry(number, 5, b"no silence");
    note.expires_at = at(40 * DAYS);
    note
}

/// A node that was away for longer than tombstones are kept holds back what has no expiry.
#[test]
fn what_may_have_been_removed_meanwhile_is_held_back_until_it_is_asked_for() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let store = silences(&clock, 1);
    let id = store.store().id();
    let mut lasting = note(1);
    lasting.ts = at(1);
    let mut ends = note(2);
    (ends.ts, ends.schema) = (at(1), ends.schema.shape());
    let mut storage = disk.clone();
    let put = |entry: &Entry| put_entry(RecordKind::Entry, id, WriterTag(7), entry);
    storage
        .write(&[put(&lasting), put(&ends), put_alive(id, at(10))])
        .unwrap();
    storage.write(&put_identity("prod")).unwrap();

    clock.set(at(4 * DAYS));
    let (store, report) = found(disk.clone(), &clock);
    assert_eq!((report.held_back_count, store.store().len()), (0, 2));
    clock.set(at(10 * DAYS));
    for _ in 0..2 {
        let (store, report) = found(disk.clone(), &clock);
        assert_eq!((report.held_back_count, store.store().len()), (1, 1));
        assert_eq!(report.held_back, [(id, lasting.key)]);
    }
    let asked_for = silences(&clock, 2);
    let mut opening_all = opening(disk.clone(), &clock, &asked_for);
    opening_all.bring_back = true;
    let opened = open(opening_all).unwrap();
    let report = &opened.report;
    assert_eq!((report.held_back_count, asked_for.store().len()), (0, 2));
    assert!(commit(start(opened).unwrap(), Vec::new()), "it runs");
    let (store, _) = found(disk, &clock);
    assert_eq!(store.store().len(), 2, "it is part of the store again");
}

/// To read it, for a backup say, is not to run: what is on disk is as old as before.
#[test]
fn a_disk_that_is_only_read_was_not_in_use() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let id = silences(&clock, 1).store().id();
    let mut lasting = note(1);
    lasting.ts = at(1);
    let put = put_entry(RecordKind::Entry, id, WriterTag(7), &lasting);
    let mut storage = disk.clone();
    storage.write(&[put, put_alive(id, at(10))]).unwrap();
    storage.write(&put_identity("prod")).unwrap();
    for day in [3, 4] {
        clock.set(at(day * DAYS));
        let store = silences(&clock, 2);
        let opened = open(opening(disk.clone(), &clock, &store)).unwrap();
        assert_eq!(opened.last_ran, Some(at(10)));
        assert_eq!(opened.report.held_back_count, 0);
    }
    clock.set(at(6 * DAYS));
    let (_, report) = found(disk.clone(), &clock);
    assert_eq!(report.held_back_count, 1);
    let store = silences(&clock, 2);
    let opened = open(opening(disk.clone(), &clock, &store)).unwrap();
    assert!(commit(start(opened).unwrap(), Vec::new()));
    let opened = open(opening(disk, &clock, &store)).unwrap();
    assert_eq!(opened.last_ran, Some(at(6 * DAYS)), "it ran");
}

#[test]
fn one_process_uses_a_directory() {
    let dir = TestDir::new("in-use");
    let first = dir.storage();
    assert!(matches!(
        RedbStorage::open(&dir.0),
        Err(StorageError::InUse { path }) if path == dir.0
    ));
    drop(first);
    drop(dir.storage());
}

/// Commits batches on a file, and loses the power after each: with all, some or nothing of what was not
/// flushed. Returns how many batches were missing that had been reported as written.
fn lost_with_the_power(durability: redb::Durability) -> usize {
    let (file, mut rng) = (TestFile::default(), Pcg64::seed_from_u64(3));
    let mut storage = RedbStorage::in_file(Arc::new(file.clone()), durability);
    let mut lost = 0;
    for batch in 0..40_u8 {
        let records = (0..20_u8).map(|number| StorageWrite::Put {
            key: vec![b'e', batch, number],
            value: vec![batch; 50 + 10 * usize::from(number)],
        });
        let records: Vec<StorageWrite> = records.collect();
        storage.write(&records).unwrap();
        for share in [0.0, 0.5, 1.0] {
            let after = file.after_power_loss(|| rng.random_bool(share));
            let mut again = RedbStorage::in_file(Arc::new(after), durability);
            let mut found = Vec::new();
            let scanned = again.scan(b"e", usize::MAX, &mut found);
            let is_there = |record: &StorageWrite| match record {
                StorageWrite::Put { key, value } => {
                    found.iter().any(|(k, v)| (k, v) == (key, value))
                }
                StorageWrite::Remove { .. } => false,
            };
            lost += usize::from(scanned.is_err() || !records.iter().all(is_there));
            assert!(scanned.is_err() || found.len() % 20 == 0, "whole batches");
        }
    }
    lost
}

#[test]
fn what_was_reported_as_written_survives_a_loss_of_power() {
    assert_eq!(lost_with_the_power(redb::Durability::Immediate), 0);
}

/// That the loss of power is one: without a flush, what was reported as written is gone.
#[test]
fn without_a_flush_it_does_not() {
    assert!(lost_with_the_power(redb::Durability::None) > 40);
}

/// A batch and no clean end, as a process leaves it that is killed.
#[test]
fn redb_keeps_what_was_committed() {
    let (clock, dir) = (ManualClock::new(), TestDir::new("redb"));
    let (store, _) = filled(&clock, 200);
    keep(dir.storage(), &clock, &store);
    let (again, report) = found(dir.storage(), &clock);
    assert_eq!((report.entries, report.known), (200, 0));
    assert_eq!(again.store().len(), 200);
    assert_eq!(
        files(&dir.0),
        ["rumormill.lock", "rumormill.redb"]
            .map(str::to_owned)
            .into()
    );
}

/// Cut short, with bits flipped, empty, of another program: at places all over the file the node starts,
/// and what it does not have it says.
#[test]
fn a_damaged_file_never_stops_a_node() {
    let (clock, dir) = (ManualClock::new(), TestDir::new("damaged-file"));
    let (store, _) = filled(&clock, 60);
    keep(dir.storage(), &clock, &store);
    let whole = fs::read(dir.file()).unwrap();
    let page = 4096;
    let mut damages: Vec<(String, Vec<u8>)> = Vec::new();
    for byte in [
        0, 1, 8, 9, 10, 12, 16, 24, 32, 40, 48, 56, 64, 65, 72, 100, 128, 192, 200, 256, 319,
    ] {
        damages.push((
            format!("bit flipped in the header at {byte}"),
            flipped(&whole, byte),
        ));
    }
    for place in (page..whole.len()).step_by(page / 2 + 111).take(600) {
        damages.push((format!("bit flipped at {place}"), flipped(&whole, place)));
    }
    for end in [
        0,
        1,
        100,
        319,
        320,
        page,
        page + 1,
        whole.len() / 2,
        whole.len() - 1,
    ] {
        damages.push((format!("cut at {end}"), whole[..end].to_vec()));
    }
    damages.push((
        "a text".to_owned(),
        b"{\"not\": \"a database\"}".repeat(500),
    ));
    damages.push(("zeros".to_owned(), vec![0; whole.len()]));
    let mut longer = whole.clone();
    longer.extend([0xa5; 5000]);
    damages.push(("longer".to_owned(), longer));
    let mut lost = 0;
    for (what, bytes) in damages {
        for file in files(&dir.0) {
            if file != "rumormill.lock" {
                fs::remove_file(dir.0.join(file)).unwrap();
            }
        }
        let is_empty = bytes.is_empty();
        fs::write(dir.file(), bytes).unwrap();
        let (again, report) = found(dir.storage(), &clock);
        assert!(!report.unread, "{what}");
        assert_eq!(again.store().len() as u64, report.entries, "{what}");
        if report.entries < 60 && !is_empty {
            lost += 1;
            assert!(!report.aside.is_empty(), "{what}: {report:?}");
            assert!(report.aside.iter().all(|path| path.exists()), "{what}");
        }
        // It goes on from there.
        keep(dir.storage(), &clock, &store);
        let (_, report) = found(dir.storage(), &clock);
        assert_eq!(report.entries, 60, "{what}");
    }
    assert!(lost > 10, "the damage is seen: {lost}");
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x20;
    bytes
}
