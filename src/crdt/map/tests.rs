//! The map against a model that recomputes everything from a plain ordered map of entries.

use super::*;
use crate::crdt::digests::MapDigests;
use crate::crdt::estimator::BitCounts;
use crate::crdt::join;
use crate::crdt::sketch::{Sketch, item_hash};
use crate::id::{SchemaId, WriterTag};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000_000;

fn bounds() -> MapBounds {
    MapBounds {
        lifetime_max: Duration::MAX,
        entry_bytes_max: 64,
        max_clock_drift: Duration::from_secs(300),
        grace: Duration::from_secs(2),
    }
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn entry(key: u8, ts: u64, expires_at: u64, schema: SchemaId, body: &'static [u8]) -> Entry {
    Entry {
        key: Key([key; 16]),
        ts: at(ts),
        tie: 0,
        writer: WriterTag::NONE,
        expires_at: at(expires_at),
        schema,
        body: Bytes::from_static(body),
    }
}

fn plain(key: u8, ts: u64, expires_at: u64) -> Entry {
    entry(key, ts, expires_at, SchemaId::new(1), b"x")
}

fn apply(map: &mut EntryMap<()>, entry: &Entry) -> Option<Applied<()>> {
    map.apply(entry.clone(), BodyHash::of(&entry.body), ())
}

fn root_of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Root {
    let mut root = Root::default();
    entries.for_each(|entry| root.add(digest::entry_hash(entry)));
    root
}

#[test]
fn only_growing_expiry_is_a_change_and_keeps_the_value() {
    let mut map = EntryMap::new(bounds());
    let old = plain(1, 10, 100);
    let hash = BodyHash::of(&old.body);
    map.apply(old.clone(), hash, "first").unwrap();
    assert!(map.apply(old.clone(), hash, "again").is_none());

    let longer = plain(1, 10, 200);
    assert_eq!(map.judge(&longer, at(10)), Judgement::Fresh);
    let applied = map.apply(longer, hash, "second").unwrap();
    assert!(matches!(applied.effect, Effect::Extended("second")));
    assert_eq!(applied.seq, 2);
    let (_, slot) = map.get(&old.key).unwrap();
    assert_eq!((slot.value, slot.seq()), ("first", 2));
    assert_eq!(slot.entry().expires_at, at(200));
    assert_eq!(map.backlog(1), 1);
}

#[test]
fn an_older_version_with_a_later_expiry_only_extends() {
    let mut map = EntryMap::new(bounds());
    apply(&mut map, &plain(1, 10, 100)).unwrap();
    let older = entry(1, 9, 300, SchemaId::new(1), b"older");
    apply(&mut map, &older).unwrap();
    let (_, slot) = map.get(&older.key).unwrap();
    assert_eq!(slot.entry(), &plain(1, 10, 300));
    assert_eq!(slot.hash(), digest::entry_hash(slot.entry()));
    assert_eq!(slot.item(), digest::item(slot.entry()));
}

#[test]
fn what_would_be_collected_at_once_is_known_and_not_stored() {
    let map = EntryMap::<()>::new(bounds());
    assert_eq!(map.judge(&plain(1, 10, 98), at(100)), Judgement::Gone);
    assert_eq!(map.judge(&plain(1, 10, 99), at(100)), Judgement::Fresh);
    assert_eq!(map.judge(&plain(1, 10, 0), at(100)), Judgement::Gone);
    let lasting = entry(1, 10, 0, SchemaId::new(1).lasting(), b"");
    assert_eq!(map.judge(&lasting, at(100)), Judgement::Fresh);
}

#[test]
fn an_expired_entry_is_joined_before_its_expiry_is_looked_at() {
    let mut map = EntryMap::new(bounds());
    apply(&mut map, &plain(1, 10, 200)).unwrap();
    let tombstone = entry(1, 20, 30, SchemaId::TOMBSTONE, b"");
    assert_eq!(map.judge(&tombstone, at(100)), Judgement::Fresh);
    apply(&mut map, &tombstone).unwrap();
    let (_, slot) = map.get(&tombstone.key).unwrap();
    assert!(slot.entry().schema.is_tombstone());
    assert_eq!(slot.entry().expires_at, at(200));
}

#[test]
fn refusals_name_their_reason_and_what_is_held_is_known_all_the_same() {
    let mut map = EntryMap::new(bounds());
    let ahead = plain(1, 401, 9_000);
    let refused = Judgement::Refused(Refusal::ClockAhead);
    assert_eq!(map.judge(&ahead, at(100)), refused);
    assert_eq!(map.judge(&ahead, at(101)), Judgement::Fresh);
    apply(&mut map, &ahead).unwrap();
    assert_eq!(map.judge(&ahead, at(100)), Judgement::Known);
    assert_eq!(map.judge(&plain(1, 402, 9_000), at(100)), refused);

    let large = entry(2, 100, 9_000, SchemaId::new(1), &[0; 65]);
    assert_eq!(
        map.judge(&large, at(100)),
        Judgement::Refused(Refusal::TooLarge)
    );
}

#[test]
fn an_entry_that_would_live_for_too_long_is_refused() {
    let mut map = EntryMap::new(MapBounds {
        lifetime_max: Duration::from_secs(90),
        ..bounds()
    });
    let refused = Judgement::Refused(Refusal::TooLasting);
    assert_eq!(map.judge(&plain(1, 10, 101), at(10)), refused);
    assert_eq!(map.judge(&plain(1, 10, 100), at(10)), Judgement::Fresh);
    // What two admit, their join admits: a later version has the later of two expiries.
    apply(&mut map, &plain(1, 10, 100)).unwrap();
    apply(&mut map, &plain(1, 50, 60)).unwrap();
    let (_, slot) = map.get(&plain(1, 0, 0).key).unwrap();
    let joined = slot.entry().clone();
    assert_eq!((joined.ts, joined.expires_at), (at(50), at(100)));
    assert_eq!(
        EntryMap::<u8>::new(*map.bounds()).judge(&joined, at(50)),
        Judgement::Fresh
    );
    // No expiry is not a long one.
    assert_eq!(map.judge(&plain(2, 10, 0), at(10)), Judgement::Gone);
}

#[test]
fn collection_waits_for_the_grace_and_frees_the_slot_for_another_key() {
    let mut map = EntryMap::new(bounds());
    apply(&mut map, &plain(1, 10, 100)).unwrap();
    apply(&mut map, &entry(2, 10, 0, SchemaId::new(1).lasting(), b"")).unwrap();
    assert_eq!(map.next_collection(), Some(at(102)));
    assert!(map.collect(at(101)).is_none());
    let (slot, freed) = map.collect(at(102)).unwrap();
    assert_eq!(freed.entry().key, Key([1; 16]));
    assert!(map.collect(Timestamp::MAX).is_none());
    assert_eq!(map.next_collection(), None);
    assert_eq!(map.changes(0).count(), 1);
    assert_eq!(apply(&mut map, &plain(3, 110, 200)).unwrap().at, slot);
}

#[test]
fn runs_cover_every_slot_once() {
    let mut map = EntryMap::new(bounds());
    for key in 0..=255 {
        apply(&mut map, &plain(key, 10, 100)).unwrap();
    }
    let mut seen = Vec::new();
    let mut position = Some(0);
    while let Some(from) = position {
        let (run, next) = map.run(from, 100);
        seen.extend(run.map(|(_, slot)| slot.entry().key.0[0]));
        position = next;
    }
    assert_eq!(seen, (0..=255).collect::<Vec<_>>());
    let (mut past, next) = map.run(usize::MAX, 100);
    assert!(past.next().is_none() && next.is_none());
}

#[derive(Clone, Debug)]
enum MapStep {
    Apply(Entry),
    Collect(u64),
    Digest(u64),
    MoveCut(u64, usize),
}

fn steps() -> impl Strategy<Value = Vec<MapStep>> {
    let schemas = [
        SchemaId::TOMBSTONE,
        SchemaId::new(1),
        SchemaId::new(1).lasting(),
    ];
    let bodies: [&[u8]; 3] = [b"", b"a", b"b"];
    let any = (
        0..12_u8,
        0..6_u64,
        0..2_u64,
        0..30_u64,
        prop::sample::select(schemas.to_vec()),
        prop::sample::select(bodies.to_vec()),
    )
        .prop_map(|(key, ts, tie, expires, schema, body)| Entry {
            tie,
            ..entry(key, ts, expires, schema, body)
        });
    let step = prop_oneof![
        8 => any.prop_map(MapStep::Apply),
        1 => (0..35_u64).prop_map(MapStep::Collect),
        1 => (0..35_u64).prop_map(MapStep::Digest),
        1 => (0..35_u64, 0..4_usize).prop_map(|(cut, max)| MapStep::MoveCut(cut, max)),
    ];
    prop::collection::vec(step, 0..200)
}

fn check(map: &mut EntryMap<()>, model: &BTreeMap<Key, Entry>, newest: &BTreeMap<u64, Key>) {
    assert_eq!(map.len(), model.len());
    for key in (0..12).map(|key| Key([key; 16])) {
        let held = model.get(&key);
        assert_eq!(map.get(&key).map(|(_, slot)| slot.entry()), held);
        let with_hash = map.with_hash(digest::kh(&key)).map(Slot::entry);
        assert!(with_hash.eq(held), "no two of these keys have one hash");
    }
    // What is held is known, at once or by a look at its slot.
    let held: Vec<_> = model.values().cloned().collect();
    let mut judged = 0;
    map.judge_run(&held, at(0), |_, _, _, judgement| {
        judged += usize::from(judgement == Judgement::Known);
    });
    assert_eq!(judged, held.len());
    for slot in held.iter().filter_map(|entry| Some(map.get(&entry.key)?.1)) {
        let first = map.by_key.first(slot.kh).expect("the key is held");
        let quick = map.hashing.quick(slot.entry());
        assert!(
            first.quick == quick || map.slot(first.at).unwrap().entry().key != slot.entry().key
        );
    }
    let changes: Vec<_> = map
        .changes(0)
        .map(|slot| (slot.seq(), slot.entry().clone()))
        .collect();
    let expected: Vec<_> = newest
        .iter()
        .map(|(&seq, key)| (seq, model[key].clone()))
        .collect();
    assert_eq!(changes, expected);
    for cut in [0, 7, 15, 35, 3] {
        let above = model.values().filter(|entry| entry.outlives(at(cut)));
        assert_eq!(map.digest(at(cut)), root_of(above.clone()), "cut {cut}");
        check_digests(map.digests(), above.clone());
        let (run, _) = map.run(0, usize::MAX);
        let mut items: Vec<_> = run
            .filter(|(_, slot)| slot.entry().outlives(at(cut)))
            .map(|(_, slot)| slot.item())
            .collect();
        let mut expected: Vec<_> = above.map(digest::item).collect();
        items.sort_unstable();
        expected.sort_unstable();
        assert_eq!(items, expected);
    }
}

/// The digests kept in step are those of a map that never had anything else.
fn check_digests<'a>(digests: &MapDigests, entries: impl Iterator<Item = &'a Entry>) {
    let mut table = Sketch::new(digests.exponent());
    let (mut bits, mut count) = (BitCounts::default(), 0);
    for entry in entries {
        let item = digest::item(entry);
        let hash = item_hash(&item);
        table.toggle(&item, hash);
        bits.add(hash);
        count += 1;
    }
    assert_eq!(digests.estimator(), bits.estimator(count));
    if digests.exponent() > 0 {
        assert_eq!(digests.table(u8::MAX), table);
    }
}

/// Through several growths, with writes, updates, collections and moves of the cut in between.
#[test]
fn a_table_that_grows_is_never_wrong() {
    let mut map = EntryMap::new(bounds());
    let mut exponents = Vec::new();
    for number in 0..3_000_u64 {
        let mut new = plain(1, 10, 100 + number % 50);
        new.key.0[..8].copy_from_slice(&number.to_be_bytes());
        apply(&mut map, &new).unwrap();
        let mut newer = plain(1, 20, 120);
        newer.key.0[..8].copy_from_slice(&(number / 2).to_be_bytes());
        apply(&mut map, &newer);
        match number % 7 {
            0 => drop(map.move_cut(at(90 + number % 30), 5)),
            1 => drop(map.collect(at(110))),
            _ => {}
        }
        if number % 37 == 0 {
            let cut = at(95 + number % 20);
            map.digest(cut);
            let (run, _) = map.run(0, usize::MAX);
            let entries: Vec<_> = run.map(|(_, slot)| slot.entry().clone()).collect();
            check_digests(map.digests(), entries.iter().filter(|e| e.outlives(cut)));
        }
        exponents.push(map.digests().exponent());
    }
    assert!(exponents.is_sorted());
    exponents.dedup();
    assert_eq!(exponents, [4, 6, 8, 10]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Root, digest at any cut, items, change index and cursors equal what brute force finds,
    /// after any writes, expiry growth, collections and questions; even if all keys have one tag.
    #[test]
    fn everything_kept_in_step_equals_everything_rebuilt(steps in steps(), collides: bool) {
        let mut map = EntryMap::new(bounds());
        if collides {
            map.by_key = KeyIndex::colliding();
        }
        let mut model = BTreeMap::<Key, Entry>::new();
        let mut newest = BTreeMap::<u64, Key>::new();
        let mut seq = 0;
        for step in steps {
            match step {
                MapStep::Apply(entry) => {
                    let joined = model
                        .get(&entry.key)
                        .map_or_else(|| entry.clone(), |held| join(held, &entry));
                    let changed = model.get(&entry.key) != Some(&joined);
                    prop_assert_eq!(apply(&mut map, &entry).is_some(), changed);
                    if changed {
                        seq += 1;
                        newest.retain(|_, key| *key != entry.key);
                        newest.insert(seq, entry.key);
                        model.insert(entry.key, joined);
                    }
                }
                MapStep::Collect(now) => {
                    while map.collect(at(now)).is_some() {}
                    model.retain(|_, entry| {
                        entry.schema.is_lasting() || entry.expires_at.as_nanos() + 2 * SECOND > now * SECOND
                    });
                    newest.retain(|_, key| model.contains_key(key));
                }
                MapStep::Digest(cut) => {
                    let above = model.values().filter(|entry| entry.outlives(at(cut)));
                    prop_assert_eq!(map.digest(at(cut)), root_of(above));
                }
                MapStep::MoveCut(cut, max) => drop(map.move_cut(at(cut), max)),
            }
            prop_assert_eq!(map.head(), seq);
        }
        check(&mut map, &model, &newest);
        for cursor in [0, 1, seq / 2, seq.saturating_sub(1), seq, seq + 9] {
            let expected: Vec<_> = newest.range(cursor + 1..).map(|(&seq, _)| seq).collect();
            prop_assert_eq!(map.backlog(cursor), expected.len());
            prop_assert_eq!(map.changes(cursor).map(Slot::seq).collect::<Vec<_>>(), expected);
        }
    }
}
