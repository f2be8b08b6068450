//! What a node's disk does by itself, and what is on it after it failed, was damaged, or the node was
//! killed at a bad moment: no end is noted.

use std::collections::BTreeSet;
use std::fs;

use tokio::sync::mpsc;

use super::disk::Worker;
use super::meta::{Remembered, put_alive, put_identity};
use super::record::{Parsed, RecordKind, entry_key, parse, put_entry};
use super::testbed::TestDisk;
use super::tests::{DAYS, TestDir, commit, entries, filled, found, keep, note, opening, silences};
use super::*;
use crate::id::{NodeName, StoreId, WriterTag};
use crate::store::Limits;
use crate::store::silences::support::{ManualClock, at};
use crate::store::silences::{SilenceLimits, Silences};
use crate::wire::Entry;

/// The work of a disk, done in the test's own thread: so nothing waits, and the clock is the test's.
fn worker(disk: &TestDisk, clock: &ManualClock, store: &Silences) -> Worker {
    let opened = open(opening(disk.clone(), clock, store)).unwrap();
    // Nobody listens: what is told is lost.
    let (news, _) = mpsc::channel(1);
    Worker::new(opened.disk, news)
}

fn job(entries: Vec<(StoreId, Entry)>) -> DiskJob {
    DiskJob::Commit { batch: 1, entries }
}

fn has(disk: &TestDisk, kind: RecordKind, id: StoreId, entry: &Entry) -> bool {
    let key = entry_key(kind, id, &entry.key);
    disk.lock().records.contains_key(&key)
}

/// A note without expiry that is on disk, of a node that ran then.
fn with_note(disk: &TestDisk, clock: &ManualClock) -> (StoreId, Entry) {
    let id = silences(clock, 1).store().id();
    let mut lasting = note(1);
    lasting.ts = at(1);
    let put = put_entry(RecordKind::Entry, id, WriterTag(7), &lasting);
    let mut storage = disk.clone();
    storage.write(&[put, put_alive(id, at(10))]).unwrap();
    storage.write(&put_identity("prod")).unwrap();
    (id, lasting)
}

/// A node that has run for half an hour and was never idle for long.
#[test]
fn what_was_collected_leaves_the_disk_while_the_node_runs() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let (store, _) = filled(&clock, 300);
    let mut worker = worker(&disk, &clock, &store);
    for batch in entries(&store).chunks(100) {
        worker.job(job(batch.to_vec()));
    }
    let count = |disk: &TestDisk| {
        let records = disk.lock().records.clone().into_keys();
        records.filter(|key| key.starts_with(b"e")).count()
    };
    assert_eq!(count(&disk), 256);
    let wall = at(90 * DAYS);
    clock.set(wall);
    while store.store().collect(wall).is_some_and(|due| due <= wall) {}
    assert!(store.store().is_empty());
    for second in 0..1800 {
        clock.set(at(90 * DAYS + second));
        worker.look_after(second % 2 == 0);
    }
    assert_eq!(count(&disk), 0);
}

/// A node that has something to write all the time, and is killed after six days of it.
#[test]
fn a_busy_node_notes_that_it_runs() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    with_note(&disk, &clock);
    clock.set(at(60));
    let store = silences(&clock, 2);
    let mut worker = worker(&disk, &clock, &store);
    for hour in 0..6 * 24 {
        clock.set(at(60 + hour * 3600));
        worker.job(job(entries(&store)));
    }
    drop(worker);
    let (store, report) = found(disk, &clock);
    assert_eq!((report.held_back_count, store.store().len()), (0, 1));
}

/// What comes back joins with what is held: the later of two versions stays.
#[test]
fn what_comes_back_is_on_disk_as_it_is_held() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let (id, early) = with_note(&disk, &clock);
    let mut late = early.clone();
    late.ts = at(2);
    let back = put_entry(RecordKind::HeldBack, id, WriterTag(7), &early);
    let now = put_entry(RecordKind::Entry, id, WriterTag(7), &late);
    disk.clone().write(&[back, now]).unwrap();
    let store = silences(&clock, 2);
    let mut opening_all = opening(disk.clone(), &clock, &store);
    opening_all.bring_back = true;
    drop(open(opening_all).unwrap());
    assert!(!has(&disk, RecordKind::HeldBack, id, &early));
    let (store, _) = found(disk, &clock);
    let held = store.store().replica().held(&early.key).unwrap();
    assert_eq!(held.entry.ts, late.ts);
}

/// The disk takes nothing while a node that was away for long starts, and works a day later.
#[test]
fn what_was_found_at_the_start_is_written_before_the_node_counts_as_running() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let (id, lasting) = with_note(&disk, &clock);
    clock.set(at(10 * DAYS));
    disk.lock().writes_left = Some(0);
    let store = silences(&clock, 2);
    let mut worker = worker(&disk, &clock, &store);
    assert!(worker.disk.is_loaded && store.store().is_empty());
    worker.look_after(true);
    assert!(has(&disk, RecordKind::Entry, id, &lasting));
    // One piece of what is pending, and then no more.
    disk.lock().writes_left = Some(1);
    worker.look_after(true);
    assert!(has(&disk, RecordKind::HeldBack, id, &lasting));
    drop(worker);
    disk.lock().writes_left = None;
    let (store, report) = found(disk.clone(), &clock);
    assert_eq!((report.held_back_count, store.store().len()), (1, 0));
    // So is what the node has to remember.
    let mut boots = disk.lock().records.clone().into_iter();
    let boot = boots.find_map(|record| match parse(&record) {
        Parsed::Meta { name, value } if name == b"boot" => Some(value),
        _ => None,
    });
    assert!(boot.is_some());
}

/// The disk is full when a database that was damaged is written anew, and works later: what was written
/// long before is there, and what the node remembered.
#[test]
fn a_new_database_gets_all_that_is_held_though_the_disk_fails_meanwhile() {
    for writes in 0..4 {
        let (clock, disk) = (ManualClock::new(), TestDisk::default());
        let (id, lasting) = with_note(&disk, &clock);
        clock.set(at(10 * DAYS));
        let (store, _) = filled(&clock, 200);
        let mut worker = worker(&disk, &clock, &store);
        let all = entries(&store);
        worker.job(job(all.clone()));
        let told = Remembered {
            boot: at(11 * DAYS).as_nanos(),
            members: Vec::new(),
            expelled: vec![NodeName::new("mallory").unwrap()],
        };
        worker.job(DiskJob::Remember(told.clone()));
        assert!(has(&disk, RecordKind::HeldBack, id, &lasting));
        let held_back = disk.lock().records.clone();
        disk.lock().damaged = true;
        disk.lock().writes_left = Some(writes);
        worker.job(job(all[..1].to_vec()));
        disk.lock().writes_left = None;
        worker.job(job(all[..1].to_vec()));
        drop(worker);
        assert_eq!(disk.lock().begun_anew, 1);
        // What was held back could not be read any more.
        assert!(held_back.len() > disk.lock().records.len());
        let again = silences(&clock, 2);
        let opened = open(opening(disk, &clock, &again)).unwrap();
        assert_eq!(again.store().len(), 200, "after {writes} writes");
        assert_eq!(opened.remembered.expelled, told.expelled);
        assert_eq!(opened.remembered.boot, told.boot + 1);
    }
}

/// Twice, and the thread is still there.
#[test]
fn a_storage_that_panics_has_failed() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let (store, _) = filled(&clock, 3);
    keep(disk.clone(), &clock, &store);
    let link = start(open(opening(disk.clone(), &clock, &store)).unwrap()).unwrap();
    disk.lock().panics = true;
    assert!(!commit(link, entries(&store)));
    let unread = silences(&clock, 2);
    let opened = open(opening(disk.clone(), &clock, &unread)).unwrap();
    assert!(opened.report.unread);
    let link = start(opened).unwrap();
    disk.lock().panics = false;
    assert!(commit(link, entries(&store)));
    assert_eq!(unread.store().len(), 3);
}

/// A day without a disk that can be read, in which the node had members and expelled one.
#[test]
fn what_a_disk_that_was_read_late_remembers_is_kept() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let names = ["mallory", "oscar"].map(|name| NodeName::new(name).unwrap());
    let first = Remembered {
        boot: at(5 * DAYS).as_nanos(),
        members: vec!["10.0.0.1:9094".parse().unwrap()],
        expelled: vec![names[0].clone()],
    };
    let mut before = disk.clone();
    before.write(&put_identity("prod")).unwrap();
    before.write(&first.writes()).unwrap();
    disk.lock().fails = true;
    let store = silences(&clock, 1);
    let mut worker = worker(&disk, &clock, &store);
    let told = |expelled: &NodeName| Remembered {
        boot: at(1).as_nanos(),
        members: Vec::new(),
        expelled: vec![expelled.clone()],
    };
    worker.job(DiskJob::Remember(told(&names[1])));
    disk.lock().fails = false;
    let read = || {
        let again = silences(&clock, 2);
        open(opening(disk.clone(), &clock, &again))
            .unwrap()
            .remembered
    };
    worker.look_after(true);
    worker.job(DiskJob::Remember(told(&names[1])));
    drop(worker);
    let found = read();
    let expelled: BTreeSet<NodeName> = found.expelled.into_iter().collect();
    assert_eq!(expelled, BTreeSet::from(names));
    assert_eq!(found.members, first.members);
    assert!(found.boot > first.boot);
}

/// A store that is in memory for ten days, or is not there, was away: its node ran.
#[test]
fn a_store_that_was_not_kept_for_long_was_away() {
    for is_there in [true, false] {
        let (clock, disk) = (ManualClock::new(), TestDisk::default());
        let (id, lasting) = with_note(&disk, &clock);
        for day in 1..10 {
            clock.set(at(day * DAYS));
            let store = silences(&clock, 2);
            let mut without = opening(disk.clone(), &clock, &store);
            without.in_memory = BTreeSet::from([id]);
            if !is_there {
                without.stores.clear();
            }
            let (news, _) = mpsc::channel(1);
            // It runs: a batch notes that.
            Worker::new(open(without).unwrap().disk, news).job(job(Vec::new()));
            assert!(store.store().is_empty());
        }
        assert!(has(&disk, RecordKind::Entry, id, &lasting));
        let (store, report) = found(disk, &clock);
        assert_eq!((report.held_back_count, store.store().len()), (1, 0));
    }
}

#[test]
fn what_is_on_disk_of_a_store_in_memory_is_removed() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let (id, lasting) = with_note(&disk, &clock);
    let store = silences(&clock, 2);
    let mut in_memory = opening(disk.clone(), &clock, &store);
    in_memory.in_memory = BTreeSet::from([id]);
    let (news, _) = mpsc::channel(1);
    Worker::new(open(in_memory).unwrap().disk, news).look_after(true);
    assert!(!has(&disk, RecordKind::Entry, id, &lasting));
}

/// A directory of which the lock cannot be taken, and later can. One that cannot be made stays an error.
#[test]
fn a_directory_that_cannot_be_used_now_is_used_later() {
    let (clock, dir) = (ManualClock::new(), TestDir::new("not-now"));
    let in_the_way = dir.0.join("rumormill.lock");
    fs::create_dir_all(&in_the_way).unwrap();
    let storage = RedbStorage::open_when_it_works(&dir.0).unwrap();
    let (store, _) = filled(&clock, 3);
    let opened = open(opening(storage, &clock, &store)).unwrap();
    assert!(opened.report.unread);
    fs::remove_dir(&in_the_way).unwrap();
    assert!(commit(start(opened).unwrap(), entries(&store)));
    let (again, _) = found(RedbStorage::open(&dir.0).unwrap(), &clock);
    assert_eq!(again.store().len(), 3);
    fs::write(dir.0.join("file"), b"").unwrap();
    let below = dir.0.join("file").join("below");
    assert!(matches!(
        RedbStorage::open_when_it_works(&below),
        Err(StorageError::Io(_))
    ));
}

/// No file can be written for what a store refuses, so it stays where it is: for a node with more room.
#[test]
fn what_is_refused_and_in_no_file_stays_on_disk() {
    let (clock, disk) = (ManualClock::new(), TestDisk::default());
    let (store, _) = filled(&clock, 3);
    keep(disk.clone(), &clock, &store);
    disk.lock().directory = Some(std::env::temp_dir().join("rumormill-is-not-there"));
    let limits = Limits::default().entries_max(1).share_percent(100);
    let small = Silences::new(SilenceLimits::default(), limits, clock.context(), [2; 32]);
    let opened = open(opening(disk.clone(), &clock, &small)).unwrap();
    assert_eq!((opened.report.set_aside, small.store().len()), (1, 2));
    let (news, _) = mpsc::channel(1);
    let mut worker = Worker::new(opened.disk, news);
    for _ in 0..3 {
        worker.look_after(true);
    }
    drop(worker);
    let (large, _) = found(disk, &clock);
    assert_eq!(large.store().len(), 3);
}

/// Whether it could not be read, or not be written to.
#[test]
fn a_disk_that_does_not_work_at_the_start_says_when_it_does() {
    for is_read in [true, false] {
        let (clock, disk) = (ManualClock::new(), TestDisk::default());
        let (store, _) = filled(&clock, 3);
        keep(disk.clone(), &clock, &store);
        disk.lock().fails = !is_read;
        disk.lock().writes_left = Some(0);
        let again = silences(&clock, 2);
        let mut link = start(open(opening(disk.clone(), &clock, &again)).unwrap()).unwrap();
        let entries = entries(&store);
        let mut says = || link.news.blocking_recv().unwrap();
        let loaded = says();
        assert!(
            matches!(&loaded, DiskNews::Event(DiskEvent::Loaded(report)) if report.unread != is_read),
            "{loaded:?}"
        );
        if is_read {
            assert!(matches!(says(), DiskNews::Event(DiskEvent::Failing)));
        }
        disk.lock().fails = false;
        disk.lock().writes_left = None;
        link.jobs
            .send(DiskJob::Commit { batch: 1, entries })
            .unwrap();
        if !is_read {
            assert!(matches!(
                says(),
                DiskNews::Event(DiskEvent::Loaded(report)) if report.entries == 3
            ));
        }
        assert!(matches!(says(), DiskNews::Event(DiskEvent::Recovered)));
        assert!(matches!(says(), DiskNews::Committed { ok: true, .. }));
    }
}
