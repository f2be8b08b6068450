//! What anti-entropy asks of a store.

use super::*;
use crate::store::{Change, Sweep};

/// One sweep over everything, with `between` called between the calls.
fn sweep(map: &Map<Notes>, sweep: &Sweep, mut between: impl FnMut()) -> Vec<Change> {
    let mut out = Vec::new();
    let mut position = Some(0);
    while let Some(from) = position {
        let before = out.len();
        position = map.store().replica().sweep(from, sweep, 1, &mut out);
        assert!(out.len() - before <= 1, "a sweep stops at the first entry");
        between();
    }
    out
}

fn ids(changes: &[Change]) -> Vec<u8> {
    changes.iter().map(|change| change.entry.key.0[0]).collect()
}

fn urgent(map: &Map<Notes>) -> Sweep {
    Sweep {
        cut: at(150),
        wall: at(100),
        urgent: true,
        head: map.store().head(),
    }
}

#[test]
fn a_sweep_of_the_urgent_and_one_of_the_rest_are_everything_above_the_cut() {
    let map = notes(&TestClock::at(100));
    put(&map, note(1, "quiet"), until(200));
    put(&map, note(2, "loud!"), until(200));
    put(&map, note(3, "early!"), until(150));
    put(&map, note(4, "loud!"), Expiry::Never);
    put(&map, note(5, "panic!"), until(200));
    put(&map, note(6, "loud!"), until(200));
    remove(&map, 6);
    let first = urgent(&map);
    let rest = Sweep {
        urgent: false,
        ..first
    };
    assert_eq!(ids(&sweep(&map, &first, || ())), [2, 4]);
    assert_eq!(ids(&sweep(&map, &rest, || ())), [1, 5, 6]);
}

/// Whatever is written meanwhile: every key that was held is in one of them, or changed before
/// it was met and is in the second.
#[test]
fn what_becomes_urgent_between_the_sweeps_is_not_missed() {
    let map = notes(&TestClock::at(100));
    (0..20).for_each(|id| put(&map, note(id, "quiet"), until(200)));
    put(&map, note(20, "loud!"), until(200));
    let first = urgent(&map);
    let mut next = 0;
    let found = sweep(&map, &first, || {
        put(&map, note(next, "loud!"), until(200));
        next += 1;
    });
    let rest = Sweep {
        urgent: false,
        ..first
    };
    let mut all = ids(&found);
    all.extend(ids(&sweep(&map, &rest, || ())));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (0..=20).collect::<Vec<_>>());
}

#[test]
fn entries_are_found_by_the_hash_of_their_key() {
    let map = notes(&TestClock::at(100));
    (0..5).for_each(|id| put(&map, note(id, "x"), until(200)));
    let kh = |id: u8| crate::crdt::digest::kh(&key(id));
    let mut found = Vec::new();
    let asked = [kh(3), 7, kh(1), kh(9)];
    map.store().replica().find(&asked, &mut found);
    let keys: Vec<_> = found.iter().map(|found| found.hashed.key).collect();
    assert_eq!(keys, [key(3), key(1)]);
    assert_eq!(found[0].seq, 4);
}

#[test]
fn digests_and_table_are_of_one_moment_and_of_the_cut() {
    let map = notes(&TestClock::at(100));
    for id in 0..200 {
        put(&map, note(id, "x"), until(150 + u64::from(id)));
    }
    let store = map.store();
    let whole = store.replica().digests(Timestamp::ZERO);
    assert_eq!((whole.digest.count, whole.exponent), (200, 6));
    for cut in [149, 200, 160, 400, 0, 151] {
        let digests = store.replica().digests(at(cut));
        let sketched = store.replica().sketch(at(cut), 2);
        assert_eq!(digests.digest, sketched.digest);
        assert_eq!(sketched.table.exponent(), 2);
        assert_eq!(sketched.head, 200);
        let above = (0..200).filter(|id| 150 + id > cut).count();
        assert_eq!(digests.digest.count, above as u64);
    }
    assert_eq!(store.replica().digests(Timestamp::ZERO), whole);
}

#[test]
fn digests_say_how_far_they_were_moved() {
    let map = notes(&TestClock::at(100));
    for id in 0..=255 {
        put(&map, note(id, "x"), until(150));
    }
    let runs = |cut| map.store().replica().digests(at(cut)).runs;
    // One full run, after which there may be more.
    assert_eq!([140, 160, 160, 140].map(runs), [1, 2, 1, 2]);
}
