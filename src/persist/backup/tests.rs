//! Backups, written and restored: what is in them, what is not taken, and what every kind of damage does.

use std::fs;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::blocks::{BLOCK_ENTRIES_MAX, BlockWriter};
use super::error::Misfit;
use super::restore::{RestoreTarget, check, restore};
use super::write::{each, head_of, write};
use super::*;
use crate::id::WriterTag;
use crate::persist::tests::{DAYS, TestDir, filled, silences};
use crate::store::silences::support::{ManualClock, at};
use crate::store::typed::{MapShape, TypedMap};
use crate::store::{Change, Digest, Expiry, Limits, Store};
use crate::time::{Timestamp, WallClock as _};

type KeptNotes = TypedMap<String, String>;

fn notes(clock: &ManualClock) -> KeptNotes {
    TypedMap::new(
        "notes",
        MapShape::default(),
        Limits::default(),
        clock.context(),
    )
}

fn stored(notes: &KeptNotes) -> Arc<dyn Store> {
    notes.map().store()
}

fn taken(clock: &ManualClock, stores: &[Arc<dyn Store>]) -> Vec<u8> {
    let head = head_of(stores, ("am-0", "prod"), clock.wall());
    let mut bytes = Vec::new();
    let taken = write(stores, &head, &mut bytes, &mut |_| {}).unwrap();
    assert_eq!(taken.bytes, bytes.len() as u64);
    bytes
}

fn restored_with(
    clock: &ManualClock,
    stores: &[Arc<dyn Store>],
    bytes: &[u8],
    options: RestoreOptions,
) -> Result<RestoreReport, (Misfit, u64)> {
    let target = RestoreTarget {
        stores,
        clock,
        cluster: "prod",
    };
    restore(&mut Cursor::new(bytes), &target, options, &mut |_| {})
}

fn restored(clock: &ManualClock, stores: &[Arc<dyn Store>], bytes: &[u8]) -> RestoreReport {
    restored_with(clock, stores, bytes, RestoreOptions::new()).unwrap()
}

fn digest(store: &dyn Store) -> Digest {
    store.replica().digest(Timestamp::ZERO)
}

/// What became of the entries, without the name.
fn counts(store: &StoreRestore) -> [u64; 8] {
    let StoreRestore {
        name: _,
        unknown,
        new,
        newer,
        older,
        equal,
        expired,
        refused,
        held_back,
    } = *store;
    [
        unknown, new, newer, older, equal, expired, refused, held_back,
    ]
}

const UNKNOWN: usize = 0;
const NEW: usize = 1;
const NEWER: usize = 2;
const OLDER: usize = 3;
const EQUAL: usize = 4;
const EXPIRED: usize = 5;
const REFUSED: usize = 6;
const HELD_BACK: usize = 7;

fn only(expected: &[(usize, u64)]) -> [u64; 8] {
    let mut counts = [0; 8];
    expected.iter().for_each(|&(at, count)| counts[at] = count);
    counts
}

#[test]
fn what_is_restored_is_byte_for_byte_what_was_held() {
    let clock = ManualClock::new();
    let (from, ids) = filled(&clock, 700);
    let kept = notes(&clock);
    kept.insert("a", "one".to_owned()).unwrap();
    kept.insert("b", "two".to_owned()).unwrap();
    kept.remove("b").unwrap();
    let _ = from.expire(ids[3]).unwrap();
    let bytes = taken(&clock, &[from.store(), stored(&kept)]);

    clock.set(at(60));
    let (to, into) = (silences(&clock, 2), notes(&clock));
    let stores = [to.store(), stored(&into)];
    let report = restored(&clock, &stores, &bytes);
    assert_eq!(digest(&*to.store()), digest(&*from.store()));
    assert_eq!(digest(&*stored(&into)), digest(&*stored(&kept)));
    assert_eq!(into.get("a").as_deref().map(String::as_str), Some("one"));
    assert!(!into.contains_key("b"), "its removal came along");
    assert_eq!((report.head.node.as_str(), report.changed()), ("am-0", 702));
    // Again, it brings nothing new.
    let again = restored(&clock, &stores, &bytes);
    assert_eq!(counts(&again.stores[0]), only(&[(EQUAL, 700)]));
    assert_eq!(counts(&again.stores[1]), only(&[(EQUAL, 2)]));
}

/// Of each kind one, and the dry run says beforehand what the restore says afterwards.
#[test]
fn a_restore_rolls_nothing_back_and_a_dry_run_says_what_would_change() {
    let clock = ManualClock::new();
    let (old, live) = (notes(&clock), notes(&clock));
    for key in ["equal", "older", "removed"] {
        old.insert(key, "then".to_owned()).unwrap();
    }
    restored(&clock, &[stored(&live)], &taken(&clock, &[stored(&old)]));
    old.insert("new", "then".to_owned()).unwrap();
    let ends = Expiry::At(at(100));
    old.insert_with("ended", "then".to_owned(), ends).unwrap();
    clock.set(at(10));
    live.insert("older", "now".to_owned()).unwrap();
    live.remove("removed").unwrap();
    old.insert("newer", "later".to_owned()).unwrap();
    clock.set(at(5));
    live.insert("newer", "earlier".to_owned()).unwrap();
    clock.set(at(20));
    old.insert("fresh", "then".to_owned()).unwrap();
    clock.set(at(1000));
    old.insert("ahead", "then".to_owned()).unwrap();

    clock.set(at(690));
    let bytes = taken(&clock, &[stored(&old)]);
    let stores = [stored(&live)];
    while stores[0]
        .collect(at(690))
        .is_some_and(|next| next <= at(690))
    {}
    let before = digest(&*stores[0]);
    let dry = RestoreOptions::new().dry_run();
    let mut would = restored_with(&clock, &stores, &bytes, dry).unwrap();
    let expected = [
        (NEW, 2),
        (NEWER, 1),
        (OLDER, 2),
        (EQUAL, 1),
        (EXPIRED, 1),
        (REFUSED, 1),
    ];
    assert_eq!(counts(&would.stores[0]), only(&expected));
    assert_eq!(digest(&*stores[0]), before, "nothing has changed");
    let did = restored(&clock, &stores, &bytes);
    assert!(std::mem::take(&mut would.is_dry));
    assert_eq!(would, did);
    let now = |key| live.get(key).map(|value| (*value).clone());
    assert_eq!(now("older").as_deref(), Some("now"));
    assert_eq!(now("newer").as_deref(), Some("later"));
    assert_eq!(now("fresh").as_deref(), Some("then"));
    assert_eq!(now("removed"), None);
    assert_eq!(now("ahead"), None);
}

/// Of what has no expiry nobody knows after so long whether it was removed.
#[test]
fn what_may_have_been_removed_is_held_back_until_it_is_asked_for() {
    let clock = ManualClock::new();
    let old = notes(&clock);
    old.insert("held", "then".to_owned()).unwrap();
    old.insert("gone", "then".to_owned()).unwrap();
    let ends = Expiry::At(at(60 * DAYS));
    old.insert_with("ends", "then".to_owned(), ends).unwrap();
    let bytes = taken(&clock, &[stored(&old)]);
    let live = || {
        let live = notes(&clock);
        live.insert("held", "now".to_owned()).unwrap();
        live
    };
    clock.set(at(4 * DAYS));
    let report = restored(&clock, &[stored(&live())], &bytes);
    assert_eq!(counts(&report.stores[0]), only(&[(NEW, 2), (OLDER, 1)]));
    clock.set(at(6 * DAYS));
    let (careful, all) = (live(), live());
    let report = restored(&clock, &[stored(&careful)], &bytes);
    let expected = only(&[(NEW, 1), (OLDER, 1), (HELD_BACK, 1)]);
    assert_eq!(counts(&report.stores[0]), expected);
    assert_eq!(report.held_back.len(), 1);
    assert!(!careful.contains_key("gone") && careful.contains_key("ends"));
    let options = RestoreOptions::new().bring_back();
    let report = restored_with(&clock, &[stored(&all)], &bytes, options).unwrap();
    assert_eq!(counts(&report.stores[0]), only(&[(NEW, 2), (OLDER, 1)]));
    assert!(all.contains_key("gone"));
}

/// By a clock that was a month ahead, of entries that are not.
#[test]
fn a_backup_of_unknown_age_counts_as_old() {
    let clock = ManualClock::new();
    let old = notes(&clock);
    old.insert("a", "then".to_owned()).unwrap();
    clock.set(at(30 * DAYS));
    let bytes = taken(&clock, &[stored(&old)]);
    for (wall, expected) in [(60, HELD_BACK), (30 * DAYS - 299, NEW)] {
        clock.set(at(wall));
        let report = restored(&clock, &[stored(&notes(&clock))], &bytes);
        assert_eq!(counts(&report.stores[0]), only(&[(expected, 1)]), "{wall}");
    }
}

#[test]
fn a_store_that_is_not_here_and_another_cluster_are_left_out() {
    let clock = ManualClock::new();
    let (from, kept) = (filled(&clock, 2).0, notes(&clock));
    kept.insert("a", "one".to_owned()).unwrap();
    let bytes = taken(&clock, &[from.store(), stored(&kept)]);
    let to = silences(&clock, 2);
    let stores = [to.store()];
    let target = RestoreTarget {
        stores: &stores,
        clock: &clock,
        cluster: "staging",
    };
    let mut file = Cursor::new(&bytes);
    let refused = restore(&mut file, &target, RestoreOptions::new(), &mut |_| {});
    assert!(matches!(
        refused,
        Err(((0, BackupFault::OtherCluster { found, expected }), 0))
            if found == "prod" && expected == "staging"
    ));
    assert!(to.store().is_empty());
    let any = RestoreOptions::new().any_cluster();
    let report = restore(&mut file, &target, any, &mut |_| {}).unwrap();
    assert_eq!(counts(&report.stores[0]), only(&[(NEW, 2)]));
    assert_eq!(counts(&report.stores[1]), only(&[(UNKNOWN, 1)]));
    assert_eq!(report.stores[1].name, "notes");
}

/// Every byte changed, and every end.
#[test]
fn damage_is_noticed_wherever_it_is_and_changes_nothing() {
    let clock = ManualClock::new();
    let (from, kept) = (filled(&clock, 3).0, notes(&clock));
    kept.insert("a", "one".to_owned()).unwrap();
    let bytes = taken(&clock, &[from.store(), stored(&kept)]);
    let (to, into) = (silences(&clock, 2), notes(&clock));
    let stores = [to.store(), stored(&into)];
    let fails = |bytes: &[u8], what: &str| -> Misfit {
        let failed = restored_with(&clock, &stores, bytes, RestoreOptions::new());
        let (misfit, joined) = failed.expect_err(what);
        assert_eq!(joined, 0, "{what}");
        assert!(stores.iter().all(|store| store.is_empty()), "{what}");
        assert!(misfit.0 <= bytes.len() as u64, "{what}: {misfit:?}");
        misfit
    };
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << bit;
            let (at, fault) = fails(&damaged, &format!("bit {bit} of byte {place}"));
            if place < 8 {
                assert!(matches!(fault, BackupFault::NotABackup));
            } else if place < 10 {
                assert!(matches!(fault, BackupFault::Version { .. }));
            } else if matches!(fault, BackupFault::Checksum) {
                assert!(
                    at <= place as u64,
                    "it begins before the damage: {at}, {place}"
                );
            }
        }
    }
    for end in 0..bytes.len() {
        let (at, fault) = fails(&bytes[..end], &format!("cut at {end}"));
        match end {
            0 => assert!(matches!(fault, BackupFault::Empty)),
            _ => assert!(matches!(fault, BackupFault::CutShort), "{end}: {fault}"),
        }
        assert_eq!(at, end as u64);
    }
    let longer = [&bytes[..], &[0]].concat();
    let (at, fault) = fails(&longer, "longer");
    assert!(matches!(fault, BackupFault::Trailing));
    assert_eq!(at, bytes.len() as u64);
    restored(&clock, &stores, &bytes);
    assert_eq!(to.store().len(), 3);
}

/// Blocks that are whole, and not in their place.
#[test]
fn a_block_that_is_missing_or_there_twice_is_noticed() {
    let clock = ManualClock::new();
    let stores = [filled(&clock, 1).0.store(), stored(&notes(&clock))];
    let head = head_of(&stores, ("am-0", "prod"), clock.wall());
    let changes = stores[0].replica().changes(0, 256, usize::MAX);
    let mut bytes = Vec::new();
    let mut writer = BlockWriter::begin(&mut bytes, &head).unwrap();
    writer.entries(stores[0].id(), &changes).unwrap();
    let one = writer.bytes;
    writer.entries(stores[0].id(), &changes).unwrap();
    let two = writer.bytes;
    writer.end().unwrap();
    let [one, two] = [one, two].map(|at| usize::try_from(at).unwrap());
    let block = two - one;
    check(&bytes[..], &mut |_| {}).unwrap();
    for wrong in [
        [&bytes[..one - block], &bytes[one..]].concat(),
        [&bytes[..one], &bytes[two..]].concat(),
        [&bytes[..two], &bytes[one..]].concat(),
    ] {
        let failed = check(&wrong[..], &mut |_| {});
        assert!(matches!(failed, Err((_, BackupFault::Checksum))));
    }
}

/// The second of two blocks: the first pass sees it, so that nothing of the first block is joined in.
#[test]
fn a_block_of_a_store_that_the_head_does_not_have_changes_nothing() {
    let clock = ManualClock::new();
    let (from, kept) = (filled(&clock, 1).0, notes(&clock));
    kept.insert("a", "one".to_owned()).unwrap();
    let known = [from.store()];
    let head = head_of(&known, ("am-0", "prod"), clock.wall());
    let mut bytes = Vec::new();
    let mut writer = BlockWriter::begin(&mut bytes, &head).unwrap();
    let mut second = 0;
    for store in [from.store(), stored(&kept)] {
        second = writer.bytes;
        let changes = store.replica().changes(0, 256, usize::MAX);
        writer.entries(store.id(), &changes).unwrap();
    }
    writer.end().unwrap();
    let what = "the store of a block";
    let is_it = |(at, fault): &Misfit| {
        *at == second && matches!(fault, BackupFault::Malformed { what: found } if *found == what)
    };
    assert!(is_it(&check(&bytes[..], &mut |_| {}).unwrap_err()));
    let into = [silences(&clock, 2).store(), stored(&notes(&clock))];
    let failed = restored_with(&clock, &into, &bytes, RestoreOptions::new());
    let (misfit, joined) = failed.unwrap_err();
    assert!(is_it(&misfit) && joined == 0, "{misfit:?}");
    assert!(into.iter().all(|store| store.is_empty()));
}

#[test]
fn what_is_no_backup_is_named_for_what_it_is() {
    let clock = ManualClock::new();
    let store = filled(&clock, 2).0;
    let mut of_a_store = Vec::new();
    store.map().snapshot(&mut of_a_store).unwrap();
    let bytes = taken(&clock, &[store.store()]);
    let mut future = bytes.clone();
    future[9] = 2;
    let dir = TestDir::new("no-backup");
    fs::create_dir_all(&dir.0).unwrap();
    let path = dir.0.join("file");
    for (bytes, text) in [
        (&b""[..], "at byte 0: it is empty"),
        (b"\n", "at byte 0: this is not a backup"),
        (b"rumor", "at byte 5: it is cut short"),
        (&of_a_store, "at byte 0: this is not a backup"),
        (&future, "at byte 8: it has version 2, this program reads 1"),
        (&bytes[..40], "at byte 40: it is cut short"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = check_backup(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("{}, {text}", path.display()));
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(check_backup(&path).unwrap().entries(), 2);
    let none = dir.0.join("none");
    let error = check_backup(&none).unwrap_err();
    assert!(error.to_string().starts_with(&none.display().to_string()));
}

#[test]
fn a_block_of_too_many_entries_is_not_read() {
    let clock = ManualClock::new();
    let store = filled(&clock, 257).0.store();
    let changes = [(0, 256), (256, 1)];
    let changes = changes.map(|(after, max)| store.replica().changes(after, max, usize::MAX));
    let written = |changes: &[Change]| {
        let known = [Arc::clone(&store)];
        let head = head_of(&known, ("am-0", "prod"), clock.wall());
        let mut bytes = Vec::new();
        let mut writer = BlockWriter::begin(&mut bytes, &head).unwrap();
        writer.entries(store.id(), changes).unwrap();
        writer.end().unwrap();
        check(&bytes[..], &mut |_| {}).map(drop)
    };
    assert_eq!(changes[0].len(), BLOCK_ENTRIES_MAX);
    written(&changes[0]).unwrap();
    let (_, fault) = written(&changes.concat()).unwrap_err();
    let expected = "a block of more than 256 entries cannot be read";
    assert_eq!(fault.to_string(), expected);
}

/// An entry of more than a step of reading comes back whole.
#[test]
fn a_large_entry_is_read_as_it_was_written() {
    let clock = ManualClock::new();
    let limits = || Limits::default().entry_bytes_max(4 << 20);
    let large =
        || -> KeptNotes { TypedMap::new("notes", MapShape::default(), limits(), clock.context()) };
    let (from, into) = (large(), large());
    let text = "0123456789abcdef".repeat(3 << 16);
    from.insert("large", text.clone()).unwrap();
    restored(&clock, &[stored(&into)], &taken(&clock, &[stored(&from)]));
    assert_eq!(into.get("large").as_deref(), Some(&text));
}

/// A length of 18 MiB and nothing behind it takes no room, and one of 4 GiB is none.
#[test]
fn lengths_are_not_believed() {
    let clock = ManualClock::new();
    let bytes = taken(&clock, &[]);
    let head = bytes.len() - (1 + 4 + 8 + 8);
    let claim = |len: u32| [&bytes[..head], &[1], &len.to_be_bytes(), &[0; 9]].concat();
    let cut = check(&claim(18 << 20)[..], &mut |_| {}).unwrap_err();
    assert!(matches!(cut, (_, BackupFault::CutShort)));
    let large = check(&claim(u32::MAX)[..], &mut |_| {}).unwrap_err();
    assert!(matches!(large, (at, BackupFault::Malformed { .. }) if at == head as u64));
}

/// A file that is another one when it is read a second time.
struct Changing {
    first: Cursor<Vec<u8>>,
    second: Cursor<Vec<u8>>,
    is_second: bool,
}

impl Read for Changing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.is_second {
            false => self.first.read(out),
            true => self.second.read(out),
        }
    }
}

impl Seek for Changing {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // Each reading begins with one.
        self.is_second = self.first.position() > 0;
        self.first.seek(to)?;
        self.second.seek(to)
    }
}

#[test]
fn a_file_that_changes_while_it_is_restored_is_told_with_what_was_joined_in() {
    let clock = ManualClock::new();
    let stores = [filled(&clock, 600).0.store()];
    let bytes = taken(&clock, &stores);
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let mut file = Changing {
        first: Cursor::new(bytes),
        second: Cursor::new(damaged),
        is_second: false,
    };
    let into = [silences(&clock, 2).store()];
    let target = RestoreTarget {
        stores: &into,
        clock: &clock,
        cluster: "prod",
    };
    let failed = restore(&mut file, &target, RestoreOptions::new(), &mut |_| {});
    assert!(matches!(failed, Err(((_, BackupFault::Checksum), 600))));
    assert_eq!(into[0].len(), 600, "what is joined in stays");
}

/// Every key that was held is there once, though all of them change while they are written.
#[test]
fn what_changes_while_it_is_written_is_there_all_the_same() {
    let clock = ManualClock::new();
    let busy = notes(&clock);
    let keys: Vec<String> = (0..1000).map(|number| format!("{number:04}")).collect();
    let put_all = || {
        for key in &keys {
            busy.insert(key.clone(), "x".to_owned()).unwrap();
        }
    };
    put_all();
    let mut met = Vec::new();
    each(&[stored(&busy)], &mut |_, changes| {
        met.extend(changes.iter().map(|change| change.entry.key));
        put_all();
        Ok(())
    })
    .unwrap();
    assert_eq!(met.len(), 1000);
    met.sort_unstable();
    met.dedup();
    assert_eq!(met.len(), 1000);
}

#[test]
fn a_backup_takes_its_place_as_a_whole_or_not_at_all() {
    let clock = ManualClock::new();
    let dir = TestDir::new("backup-place");
    fs::create_dir_all(&dir.0).unwrap();
    let path = dir.0.join("all.backup");
    let site = |count| BackupSite {
        node: "am-0".to_owned(),
        cluster: "prod".to_owned(),
        stores: vec![filled(&clock, count).0.store()],
        clock: Arc::new(clock.clone()),
        as_of: None,
        unread: Arc::default(),
    };
    let mut told = Vec::new();
    let mut hear = |done, total| told.push((done, total));
    site(3).save(&path, &mut hear).unwrap();
    assert_eq!(told, [(3, 3)]);
    let fails = |out: &mut dyn io::Write| -> io::Result<()> {
        out.write_all(b"half")?;
        Err(io::ErrorKind::StorageFull.into())
    };
    let error = file::write_whole(&path, fails).unwrap_err();
    assert_eq!(error.path, path);
    assert!(matches!(error.fault, BackupFault::Io(_)));
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1, "nothing is left");
    assert_eq!(check_backup(&path).unwrap().entries(), 3);
    site(5).save(&path, &mut |_, _| {}).unwrap();
    assert_eq!(check_backup(&path).unwrap().entries(), 5);

    let to = site(0);
    let mut told = Vec::new();
    let mut hear = |done, total| told.push((done, total));
    to.restore(&path, RestoreOptions::new(), &mut hear).unwrap();
    assert_eq!(to.stores[0].len(), 5);
    assert!(told.is_sorted() && told.iter().all(|(done, total)| done <= total));

    let mut of_before = site(1);
    of_before.as_of = Some(at(1));
    let before = dir.0.join("before.backup");
    of_before.save(&before, &mut |_, _| {}).unwrap();
    assert_eq!(check_backup(&before).unwrap().taken, at(1));

    let unread = site(1);
    unread.unread.store(true, Ordering::Release);
    let error = unread.save(&path, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error.fault, BackupFault::Unread));
    let error = unread.save_json(&path, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error.fault, BackupFault::Unread));
    assert_eq!(check_backup(&path).unwrap().entries(), 5, "it is as it was");

    let nowhere = dir.0.join("none/all.backup");
    let error = site(1).save(&nowhere, &mut |_, _| {}).unwrap_err();
    assert_eq!(error.path, nowhere);
}

/// Whatever ends it, and whatever is in its way.
#[test]
fn a_file_that_does_not_get_to_its_place_is_gone() {
    let dir = TestDir::new("backup-part");
    fs::create_dir_all(&dir.0).unwrap();
    let path = dir.0.join("all.backup");
    let panics = |_: &mut dyn io::Write| -> io::Result<()> { panic!("a bug") };
    let ended = catch_unwind(AssertUnwindSafe(|| file::write_whole(&path, panics)));
    assert!(ended.is_err());
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0);

    let name = |number| format!("all.backup.{}-{number}.part", std::process::id());
    let left = dir.0.join(name(0));
    fs::write(&left, "of a process that died").unwrap();
    let (part, _) = file::PartFile::create(&path, &AtomicU64::new(0)).unwrap();
    assert_eq!(part.path, dir.0.join(name(1)));
    drop(part);
    assert_eq!(fs::read(&left).unwrap(), b"of a process that died");
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1);
}

/// What nodes hold may be secret.
#[cfg(unix)]
#[test]
fn a_backup_is_its_owners_to_read() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = TestDir::new("backup-mode");
    fs::create_dir_all(&dir.0).unwrap();
    let path = dir.0.join("all.backup");
    fs::write(&path, "one that all may read").unwrap();
    file::write_whole(&path, |out| out.write_all(b"all")).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    assert_eq!(fs::read(&path).unwrap(), b"all");
}

#[test]
fn lines_of_json_say_what_is_held() {
    let clock = ManualClock::new();
    let kept = notes(&clock);
    kept.insert("a \"quoted\" key", "one".to_owned()).unwrap();
    kept.insert("b", "two".to_owned()).unwrap();
    kept.remove("b").unwrap();
    let stores = [stored(&kept)];
    let head = head_of(&stores, ("am-0", "prod"), clock.wall());
    let mut bytes = Vec::new();
    let taken = json::write_lines(&stores, &head, &mut bytes, &mut |_| {}).unwrap();
    assert_eq!((taken.entries, taken.bytes), (2, bytes.len() as u64));
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["cluster"], "prod");
    assert_eq!(lines[0]["taken"], "2023-11-14T22:13:20.000000000Z");
    // A typed key is shown as Rust shows it.
    let of = |text: &str| {
        let text = format!("{text:?}");
        lines.iter().find(|line| line["text"] == text).unwrap()
    };
    let quoted = of("a \"quoted\" key");
    assert_eq!(quoted["state"], "value");
    assert_eq!(quoted["expires_at"], serde_json::Value::Null);
    assert_eq!(quoted["writer"], WriterTag::NONE.to_string());
    assert_eq!(of("b")["state"], "removed");
    assert_eq!(lines[3]["entries"], 2);
}

#[test]
fn what_is_too_far_ahead_of_the_clock_is_refused_as_a_peers_is() {
    let clock = ManualClock::new();
    clock.set(at(30 * DAYS));
    let old = notes(&clock);
    let lives = Expiry::After(Duration::from_secs(3600));
    old.insert_with("ends", "then".to_owned(), lives).unwrap();
    let bytes = taken(&clock, &[stored(&old)]);
    clock.set(at(0));
    let into = notes(&clock);
    let report = restored(&clock, &[stored(&into)], &bytes);
    assert_eq!(counts(&report.stores[0]), only(&[(REFUSED, 1)]));
}
