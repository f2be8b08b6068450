//! The promises of typed maps, each as a claim. Two maps exchange what they hold by `bring`: everything that one
//! holds is merged into the other.

mod memory;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::id::{Key, NodeName, SchemaId, WriterTag};
use crate::store::map::feed::{Cause, ChangeOrigin};
use crate::store::{
    Body, Context, Copies, Expiry, Index, Limits, Merged, ReplicationError, Schema, Store, Tracker,
    Unreadable, Watch, WriteError, WriteId,
};
use crate::time::{Timestamp, WallClock};
use crate::wire::Entry;

#[derive(Clone)]
struct HandClock(Arc<AtomicU64>);

impl HandClock {
    fn at(secs: u64) -> Self {
        Self(Arc::new(AtomicU64::new(secs * 1_000_000_000)))
    }

    fn set(&self, secs: u64) {
        self.0.store(secs * 1_000_000_000, Ordering::Relaxed);
    }
}

impl WallClock for HandClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

struct Untold;

impl Tracker for Untold {
    fn watch(&self, _: WriteId, _: Copies) -> Watch {
        Box::pin(async { Err(ReplicationError::NotRunning) })
    }
}

fn context(node: &str, clock: &HandClock) -> Context {
    let writer = WriterTag::of(&NodeName::new(node).unwrap());
    Context::new(writer, Arc::new(clock.clone()), Arc::new(Untold))
}

type Texts = TypedMap<String, u32>;

fn texts(node: &str, clock: &HandClock) -> Texts {
    Texts::new(
        "texts",
        MapShape::default(),
        Limits::default(),
        context(node, clock),
    )
}

/// Everything that a store holds.
fn entries(store: &dyn Store) -> Vec<Entry> {
    let changes = store.replica().changes(0, 256, usize::MAX);
    changes.into_iter().map(|change| change.entry).collect()
}

fn bring<K: MapKey, V: MapValue, I: Index<TypedRecord<K, V>>>(
    from: &TypedMap<K, V, I>,
    to: &TypedMap<K, V, I>,
) {
    let entries = entries(&*from.map().store());
    let now = to.map().context().clock.wall();
    to.map().store().replica().merge(&entries, now);
}

fn after(secs: u64) -> Expiry {
    Expiry::after(Duration::from_secs(secs))
}

/// What a follower reads without waiting.
fn told<K: MapKey, V: MapValue, I: Index<TypedRecord<K, V>>>(
    changes: &mut MapChanges<K, V, I>,
) -> Vec<Result<MapChange<K, V>, Lagged>> {
    let mut context = task::Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    while let Poll::Ready(next) = pin!(changes.next()).poll(&mut context) {
        out.push(next);
    }
    out
}

type Told = (String, Option<u32>, Option<u32>, Cause);

fn in_short(change: &MapChange<String, u32>) -> Told {
    let key = change.key().cloned().unwrap_or_default();
    let value = |value: Option<&u32>| value.copied();
    (
        key,
        value(change.before()),
        value(change.now()),
        change.cause(),
    )
}

fn shorts(changes: &mut MapChanges<String, u32>) -> Vec<Told> {
    let told = told(changes).into_iter();
    told.map(|change| in_short(&change.expect("it keeps up")))
        .collect()
}

fn item(
    key: &str,
    before: impl Into<Option<u32>>,
    now: impl Into<Option<u32>>,
    cause: Cause,
) -> Told {
    (key.to_owned(), before.into(), now.into(), cause)
}

#[test]
fn what_is_written_is_read_under_its_key_until_it_is_removed() {
    let map = texts("a", &HandClock::at(100));
    assert!(map.get("x").is_none());
    map.insert("x", 1).unwrap();
    map.insert("y", 2).unwrap();
    let found = map.get("x").unwrap();
    assert_eq!((found.key().as_str(), *found), ("x", 1));
    assert_eq!(map.len(), 2);
    let mut all: Vec<_> = map.iter().map(|it| (it.key().clone(), *it)).collect();
    all.sort();
    assert_eq!(all, [("x".to_owned(), 1), ("y".to_owned(), 2)]);
    assert!(map.remove("x").unwrap().is_some());
    assert!(map.remove("x").unwrap().is_none());
    assert!(map.get("x").is_none());
    assert_eq!(map.len(), 1);
}

#[test]
fn more_keys_than_a_run_are_all_read() {
    let map = texts("a", &HandClock::at(100));
    for number in 0..1_000 {
        map.insert(format!("key {number}"), number).unwrap();
    }
    let mut seen: Vec<_> = map.iter().map(|it| *it).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
    assert_eq!(map.len(), 1_000);
}

#[test]
fn an_update_is_given_what_this_node_holds() {
    let map = texts("a", &HandClock::at(100));
    for _ in 0..3 {
        map.update("n", |held| held.map_or(10, |held| held + 1))
            .unwrap();
    }
    assert_eq!(*map.get("n").unwrap(), 12);
}

#[test]
fn an_update_keeps_the_end_of_a_value() {
    let clock = HandClock::at(100);
    let map = texts("a", &clock);
    map.insert_with("n", 1, after(10)).unwrap();
    map.update("n", |held| held.map_or(0, |held| held + 1))
        .unwrap();
    clock.set(109);
    assert_eq!(*map.get("n").unwrap(), 2);
    clock.set(110);
    assert!(map.get("n").is_none());
}

#[test]
fn a_shorter_end_over_a_longer_one_hides_at_the_shorter() {
    let clock = HandClock::at(100);
    let (map, other) = (texts("a", &clock), texts("b", &clock));
    map.insert_with("x", 1, after(1_000)).unwrap();
    map.insert_with("x", 2, after(10)).unwrap();
    bring(&map, &other);
    for map in [&map, &other] {
        let mut changes = map.changes();
        clock.set(109);
        assert_eq!((*map.get("x").unwrap(), map.len()), (2, 1));
        map.map().store().collect(clock.wall());
        assert_eq!(told(&mut changes).len(), 0);
        clock.set(110);
        assert!(map.get("x").is_none());
        map.map().store().collect(clock.wall());
        map.map().store().collect(clock.wall());
        let once = [item("x", 2, None, Cause::Expired)];
        assert_eq!(shorts(&mut changes), once);
        assert_eq!((map.len(), map.map().store().len()), (0, 1));
        // It may be set back: the value is read again, and its end is not told again.
        clock.set(105);
        assert_eq!((*map.get("x").unwrap(), map.len()), (2, 1));
        clock.set(111);
        assert_eq!(map.len(), 0);
        assert_eq!(told(&mut changes).len(), 0);
    }
    // Never beats an end, too.
    map.insert("x", 3).unwrap();
    clock.set(100_000);
    assert_eq!(*map.get("x").unwrap(), 3);
}

#[test]
fn a_shorter_end_is_when_the_store_wants_to_be_collected() {
    let clock = HandClock::at(100);
    let map = texts("a", &clock);
    let store = map.map().store();
    map.insert_with("x", 1, after(1_000)).unwrap();
    map.insert_with("x", 2, after(10)).unwrap();
    assert_eq!(store.replica().due(), Timestamp::from_secs(110));
    let next = store.collect(clock.wall());
    assert_eq!(next, Some(Timestamp::from_secs(110)));
    assert_eq!(store.replica().due(), Timestamp::MAX);
}

#[test]
fn ends_that_have_passed_and_ends_that_are_none() {
    let clock = HandClock::at(100);
    let map = texts("a", &clock);
    map.insert_with("x", 1, Expiry::At(Timestamp::ZERO))
        .unwrap();
    assert!(map.get("x").is_none());
    let never = map.insert_with("x", 1, Expiry::At(Timestamp::MAX));
    assert!(matches!(never, Err(WriteError::TooLasting { .. })));
    map.insert_with("x", 2, Expiry::Never).unwrap();
    assert_eq!(map.get("x").unwrap().expires_at(), None);
}

#[test]
fn every_change_says_what_was_there_and_what_is() {
    let clock = HandClock::at(100);
    let (a, b) = (texts("a", &clock), texts("b", &clock));
    a.insert("before", 1).unwrap();
    let mut changes = a.changes();
    a.insert("x", 1).unwrap();
    a.insert("x", 2).unwrap();
    a.insert("before", 2).unwrap();
    a.remove("x").unwrap();
    a.insert_with("x", 3, after(5)).unwrap();
    clock.set(110);
    // The end has not been told yet: it is told when the store notices it, before anything else.
    assert_eq!(a.len(), 1);
    b.insert("x", 4).unwrap();
    bring(&b, &a);
    let expected = [
        item("x", None, 1, Cause::Put),
        item("x", 1, 2, Cause::Put),
        item("before", 1, 2, Cause::Put),
        item("x", 2, None, Cause::Removed),
        item("x", None, 3, Cause::Put),
        item("x", 3, None, Cause::Expired),
        item("x", None, 4, Cause::Put),
    ];
    let told: Vec<_> = told(&mut changes).into_iter().map(Result::unwrap).collect();
    assert_eq!(told.iter().map(in_short).collect::<Vec<_>>(), expected);
    let tag = |name| WriterTag::of(&NodeName::new(name).unwrap());
    assert!(
        told[..6]
            .iter()
            .all(|it| it.origin() == ChangeOrigin::Local)
    );
    let from = |origin| match origin {
        ChangeOrigin::Peer { writer, .. } => Some(writer),
        ChangeOrigin::Local => None,
    };
    assert_eq!(from(told[6].origin()), Some(tag("b")));
}

#[test]
fn a_removal_is_told_by_its_key_also_where_nothing_was_held() {
    let clock = HandClock::at(100);
    let (a, b) = (texts("a", &clock), texts("b", &clock));
    a.insert("gone", 1).unwrap();
    bring(&a, &b);
    a.remove("gone").unwrap();
    let mut changes = b.changes();
    bring(&a, &b);
    assert_eq!(
        shorts(&mut changes),
        [item("gone", 1, None, Cause::Removed)]
    );
    let key = hash_of("gone").unwrap();
    let store = b.map().store();
    assert_eq!(store.key_text(&key).as_deref(), Some("\"gone\""));
}

#[test]
fn only_the_keys_that_are_wanted_are_told() {
    let map = texts("a", &HandClock::at(100));
    let mut changes = map.changes_with_prefix("web/");
    for key in ["web/1", "db/1", "web/2"] {
        map.insert(key, 7).unwrap();
    }
    let keys: Vec<_> = shorts(&mut changes).into_iter().map(|it| it.0).collect();
    assert_eq!(keys, ["web/1", "web/2"]);
}

#[test]
fn a_follower_that_is_too_slow_is_told_so_and_goes_on() {
    let clock = HandClock::at(100);
    let map: TypedMap<u32, Vec<u8>> = TypedMap::new(
        "large",
        MapShape::default(),
        Limits::default(),
        context("a", &clock),
    );
    let (mut slow, mut quick) = (map.changes(), map.changes());
    let large = vec![7; 1_000_000];
    let mut read = 0;
    for number in 0..20_u32 {
        map.insert(number, large.clone()).unwrap();
        read += told(&mut quick).into_iter().filter(Result::is_ok).count();
    }
    assert_eq!(read, 20, "who reads at once misses nothing");
    let told_now = told(&mut slow);
    assert!(matches!(told_now[..], [Err(Lagged { missed: 20 })]));
    map.insert(3_u32, Vec::new()).unwrap();
    let next = told(&mut slow).pop().unwrap().unwrap();
    assert_eq!((next.key(), next.now()), (Some(&3), Some(&Vec::new())));
    assert_eq!(next.before().map(Vec::len), Some(1_000_000));
    assert_eq!(told(&mut quick).len(), 1);
    // What nobody is to read any more is not kept.
    drop(slow);
    map.insert(4_u32, Vec::new()).unwrap();
    assert_eq!(told(&mut quick).len(), 1);
    assert_eq!(told(&mut quick).len(), 0);
}

#[test]
fn a_key_that_is_not_its_hash_is_quarantined() {
    let clock = HandClock::at(100);
    let map = texts("a", &clock);
    let record = |key: &str| {
        let record = map.map().schema().record(key.to_owned(), 7, Timestamp::MAX);
        record.unwrap().1
    };
    let entry = |key: Key, body: Body| Entry {
        key,
        ts: Timestamp::from_secs(100),
        tie: 0,
        writer: WriterTag(9),
        expires_at: Timestamp::ZERO,
        schema: body.schema.lasting(),
        body: body.bytes,
    };
    let hash = |key: &str| hash_of(key).unwrap();
    let merge = |entry| map.map().store().replica().merge(&[entry], clock.wall());
    let mut changes = map.changes();
    merge(entry(hash("x"), record("y")));
    merge(entry(hash("z"), record("z")));
    // A longer encoding of the same key: its length in three bytes.
    let long = [&[251, 1, 0][..], b"w"].concat();
    let mut body = vec![0, 4];
    body.extend_from_slice(&long);
    body.push(7);
    let long_body = Body {
        schema: SchemaId::new(1),
        bytes: body.into(),
    };
    merge(entry(Key::of(&long), long_body));
    let mut removed = entry(hash("v"), record("v"));
    removed.schema = SchemaId::TOMBSTONE;
    removed.expires_at = Timestamp::from_secs(500);
    removed.body = Bytes::from_static(b"\x01u");
    merge(removed);

    assert_eq!(*map.get("z").unwrap(), 7);
    assert_eq!(map.len(), 1);
    let mut why: Vec<_> = map.quarantined(9).into_iter().map(|it| it.why).collect();
    why.sort_by_key(|why| format!("{why:?}"));
    let malformed = Unreadable::Malformed {
        schema: SchemaId::new(1),
    };
    assert_eq!(why, [malformed, Unreadable::WrongKey, Unreadable::WrongKey]);
    let told = told(&mut changes);
    let causes: Vec<_> = told.iter().map(|it| it.as_ref().unwrap().cause()).collect();
    let unreadable = Cause::Unreadable;
    assert_eq!(causes, [unreadable, Cause::Put, unreadable, unreadable]);
    let key = told[0].as_ref().unwrap().key().cloned();
    assert_eq!(key, None, "what is not its key is not told as the key");
}

#[test]
fn a_value_that_cannot_be_read_is_told_with_its_key() {
    let clock = HandClock::at(100);
    let old = texts("a", &clock);
    let new: Texts = TypedMap::new(
        "texts",
        MapShape::number(2).reads(1, |value: u32| value * 10),
        Limits::default(),
        context("b", &clock),
    );
    old.insert("x", 1).unwrap();
    bring(&old, &new);
    assert_eq!(*new.get("x").unwrap(), 10, "the older shape is read");
    new.insert("x", 2).unwrap();
    let mut changes = old.changes();
    bring(&new, &old);
    assert!(old.get("x").is_none());
    assert_eq!(
        shorts(&mut changes),
        [item("x", 1, None, Cause::Unreadable)]
    );
    let found = old.quarantined(1).pop().unwrap();
    assert_eq!(found.key_text.as_deref(), Some("\"x\""));
    assert_eq!(found.writer, WriterTag::of(&NodeName::new("b").unwrap()));
    // It is kept and passed on as it is.
    let third: Texts = texts("c", &clock);
    bring(&old, &third);
    assert_eq!(entries(&*third.map().store()), entries(&*new.map().store()));
}

#[test]
fn what_serde_cannot_read_back_is_an_error_that_names_the_type() {
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u32),
    }
    let clock = HandClock::at(100);
    let map: TypedMap<String, Either> = TypedMap::new(
        "either",
        MapShape::default(),
        Limits::default(),
        context("a", &clock),
    );
    let error = map.insert("x", Either::Number(1)).unwrap_err();
    assert!(matches!(error, WriteError::Invalid { .. }), "{error}");
    let map: TypedMap<String, NoEncodingAtAll> = TypedMap::new(
        "none",
        MapShape::default(),
        Limits::default(),
        context("a", &clock),
    );
    let error = map.insert("x", NoEncodingAtAll).unwrap_err();
    assert!(error.to_string().contains("NoEncodingAtAll"), "{error}");
}

#[derive(serde::Deserialize)]
struct NoEncodingAtAll;

impl Serialize for NoEncodingAtAll {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

#[test]
fn ordered_keys_are_read_by_ranges_and_prefixes() {
    let clock = HandClock::at(100);
    let map: OrderedMap<String, u32> = TypedMap::new(
        "ordered",
        MapShape::default(),
        Limits::default(),
        context("a", &clock),
    );
    for number in 0..600 {
        map.insert(format!("n/{number:03}"), number).unwrap();
    }
    map.insert("a", 1_000).unwrap();
    map.insert_with("n/x", 0, after(1)).unwrap();
    map.remove("n/007").unwrap();
    clock.set(102);
    let numbers =
        |found: Vec<ValueRef<String, u32>>| found.iter().map(|it| **it).collect::<Vec<_>>();
    let all: Vec<u32> = (0..600).filter(|number| *number != 7).collect();
    assert_eq!(numbers(map.prefix("n/")), all);
    assert_eq!(numbers(map.prefix("n/00")), [0, 1, 2, 3, 4, 5, 6, 8, 9]);
    let some = map.range("n/006".."n/009");
    assert_eq!(numbers(some), [6, 8]);
    let backwards = (
        std::ops::Bound::Excluded("n/009"),
        std::ops::Bound::Excluded("n/006"),
    );
    assert_eq!(map.range(backwards).len(), 0);
    assert_eq!(map.range(..="a").len(), 1);
}

#[test]
fn a_tombstone_lives_no_longer_than_its_record_would_have() {
    let clock = HandClock::at(100);
    let map = texts("a", &clock);
    map.insert_with("short", 1, after(5)).unwrap();
    map.insert("lasting", 1).unwrap();
    map.remove("short").unwrap();
    map.remove("lasting").unwrap();
    let store = map.map().store();
    let expires = |key: &str| {
        let held = store.replica().held(&hash_of(key).unwrap()).unwrap();
        held.entry.expires_at
    };
    assert_eq!(expires("short"), Timestamp::from_secs(105));
    let ttl = Limits::default().tombstone_ttl;
    assert_eq!(expires("lasting"), Timestamp::from_secs(100).plus(ttl));
    let grace = Limits::default().grace().as_secs();
    clock.set(106 + grace);
    store.collect(clock.wall());
    assert_eq!(store.len(), 1);
}

#[test]
fn a_store_that_is_full_of_removed_keys_says_so() {
    let clock = HandClock::at(100);
    let limits = Limits::default().entries_max(10).share_percent(100);
    let map: Texts = TypedMap::new("texts", MapShape::default(), limits, context("a", &clock));
    for number in 0..10 {
        map.insert(format!("{number}"), 1).unwrap();
        map.remove(&format!("{number}")).unwrap();
    }
    let error = map.insert("one more", 1).unwrap_err();
    assert!(matches!(error, WriteError::StoreFull { removed: 10, .. }));
    assert!(error.to_string().contains("10 removed records"), "{error}");
}

proptest! {
    /// Whatever bytes come, they are read as they were written or not at all, and never panic.
    #[test]
    fn bodies_are_read_or_quarantined(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let schema = TypedSchema::<(u16, String), Vec<u8>>::new("x".to_owned(), MapShape::default());
        let body = Body { schema: SchemaId::new(1), bytes: bytes.into() };
        if let Ok(parts) = body::split(&body.bytes) {
            let key = Key::of(parts.key);
            if let Ok(record) = schema.decode(key, &body) {
                let again = schema.encode(&record);
                let parts = body::split(&again.bytes).unwrap();
                prop_assert_eq!(Key::of(parts.key), key);
            }
        }
    }

    /// What a follower is told, put together, is what the map holds, whatever is written, merged or over.
    #[test]
    fn changes_add_up_to_what_is_held(
        steps in prop::collection::vec((0_u8..6, 0_u8..4, 1_u64..8), 0..60),
    ) {
        let clock = HandClock::at(100);
        let (a, b) = (texts("a", &clock), texts("b", &clock));
        let mut changes = a.changes();
        let mut seen = std::collections::BTreeMap::new();
        let mut now = 100;
        for (number, (what, key, span)) in (0_u32..).zip(steps) {
            let key = key.to_string();
            match what {
                0 => drop(a.insert(key, number)),
                1 => drop(a.insert_with(key, number, after(span))),
                2 => drop(b.insert_with(key, number, after(span))),
                3 => drop(a.remove(&key)),
                4 => bring(&b, &a),
                _ => {
                    now += span;
                    clock.set(now);
                }
            }
            let held = a.len();
            for change in shorts(&mut changes) {
                let (key, before, now, _) = change;
                let known = match now {
                    Some(value) => seen.insert(key, value),
                    None => seen.remove(&key),
                };
                prop_assert_eq!(known, before);
            }
            let all: std::collections::BTreeMap<_, _> =
                a.iter().map(|it| (it.key().clone(), *it)).collect();
            prop_assert_eq!(&all, &seen);
            prop_assert_eq!(held, all.len());
        }
        assert!(entries(&*a.map().store()).len() <= 4);
        let merged = a.map().store().replica().merge(&entries(&*a.map().store()), clock.wall());
        prop_assert!(merged.iter().all(|it| *it == Merged::Known));
    }
}

#[test]
fn what_was_written_by_a_wrong_clock_gives_way() {
    let (wrong, right) = (HandClock::at(100), HandClock::at(100));
    let (a, b) = (texts("a", &wrong), texts("b", &right));
    a.insert("ours", 1).unwrap();
    a.insert("theirs", 1).unwrap();
    bring(&a, &b);
    wrong.set(700);
    let store = a.map().store();
    for key in ["ours", "theirs", "lonely"] {
        a.insert(key, 2).unwrap();
    }
    // Two of them were sent, and refused.
    for key in ["ours", "theirs"] {
        let change = store.replica().held(&hash_of(key).unwrap()).unwrap();
        let merged = b
            .map()
            .store()
            .replica()
            .merge(std::slice::from_ref(&change.entry), right.wall());
        assert_eq!(merged, [Merged::Refused(crate::id::Refusal::ClockAhead)]);
        store
            .replica()
            .refused_as_ahead(&change.entry.key, change.seq);
    }
    wrong.set(101);
    right.set(101);
    let mut changes = a.changes();
    a.insert("ours", 3).unwrap();
    a.insert("lonely", 3).unwrap();
    b.insert("theirs", 3).unwrap();
    bring(&b, &a);
    for key in ["ours", "theirs", "lonely"] {
        assert_eq!(*a.get(key).unwrap(), 3, "{key}");
    }
    bring(&a, &b);
    assert_eq!(b.len(), 3);
    assert!(b.iter().all(|it| *it == 3));
    assert_eq!(entries(&*store).len(), 3);
    let causes: Vec<_> = shorts(&mut changes).into_iter().map(|it| it.3).collect();
    let each = [Cause::Removed, Cause::Put];
    assert_eq!(causes, each.repeat(3));
    assert_eq!(a.len(), 3);
}

#[test]
fn what_another_node_wrote_never_gives_way() {
    let (ahead, right) = (HandClock::at(1_000), HandClock::at(1_000));
    let (a, b) = (texts("a", &ahead), texts("b", &ahead));
    a.insert("x", 1).unwrap();
    bring(&a, &b);
    let store = b.map().store();
    let seq = store.head();
    ahead.set(100);
    store
        .replica()
        .refused_as_ahead(&hash_of("x").unwrap(), seq);
    b.insert("x", 2).unwrap();
    bring(&b, &a);
    assert_eq!((*a.get("x").unwrap(), *b.get("x").unwrap()), (1, 2));
    // It is later than what it took the place of: who has the right time takes it.
    let c = texts("c", &right);
    bring(&a, &c);
    bring(&b, &c);
    assert_eq!(*c.get("x").unwrap(), 2);
}

#[test]
fn what_another_peer_has_taken_does_not_give_way_though_one_refused_it() {
    let clock = HandClock::at(1_000);
    let (a, b) = (texts("a", &clock), texts("b", &clock));
    a.insert("x", 1).unwrap();
    bring(&a, &b);
    let (store, hash) = (a.map().store(), hash_of("x").unwrap());
    let replica = store.replica();
    replica.refused_as_ahead(&hash, store.head());
    replica.taken_all_the_same(&hash, store.head());
    clock.set(100);
    a.insert("x", 2).unwrap();
    clock.set(1_000);
    bring(&a, &b);
    assert_eq!(*b.get("x").unwrap(), 2);
}

#[test]
fn what_came_from_the_disk_does_not_give_way_and_a_look_for_the_disk_gives_nothing() {
    for loaded in [true, false] {
        let clock = HandClock::at(1_000);
        let a = texts("a", &clock);
        a.insert("x", 1).unwrap();
        let (store, hash) = (a.map().store(), hash_of("x").unwrap());
        let replica = store.replica();
        assert_eq!(replica.peek_changes(0, 256, usize::MAX).len(), 1);
        let before = replica.peek(&hash).unwrap().entry.ts;
        if loaded {
            replica.given(store.head());
        }
        clock.set(100);
        a.insert("x", 2).unwrap();
        let after = replica.peek(&hash).unwrap().entry.ts;
        assert_eq!(after > before, loaded);
    }
}

#[test]
fn what_gives_way_is_followed_by_what_is_later_than_what_others_hold() {
    let (mine, theirs) = (HandClock::at(100), HandClock::at(300));
    let (a, b) = (texts("a", &mine), texts("b", &theirs));
    b.insert("x", 1).unwrap();
    bring(&b, &a);
    mine.set(9_000);
    a.insert("x", 2).unwrap();
    a.insert("x", 3).unwrap();
    mine.set(100);
    a.insert("x", 4).unwrap();
    bring(&a, &b);
    assert_eq!((*a.get("x").unwrap(), *b.get("x").unwrap()), (4, 4));
}

#[test]
fn what_would_give_way_stays_if_there_is_no_room_for_what_came() {
    let mut met = 0;
    for bytes in (250..8_000).step_by(250) {
        let clock = HandClock::at(9_000);
        let limits = Limits {
            store_bytes_max: 4_096,
            ..Limits::default()
        };
        let a = Texts::new("texts", MapShape::default(), limits, context("a", &clock));
        a.insert("x", 1).unwrap();
        let store = a.map().store();
        let ours = store.replica().peek(&hash_of("x").unwrap()).unwrap().entry;
        clock.set(100);
        let came = |key| Entry {
            key,
            ts: clock.wall(),
            writer: WriterTag::of(&NodeName::new("b").unwrap()),
            body: vec![0; bytes].into(),
            ..ours.clone()
        };
        // There is room for the second one until the first one takes it.
        let run = [came(hash_of("y").unwrap()), came(ours.key)];
        let merged = store.replica().merge(&run, clock.wall());
        if let [Merged::Stored { .. }, Merged::Refused(_)] = merged[..] {
            met += 1;
            assert_eq!(store.replica().peek(&ours.key).unwrap().entry, ours);
        }
    }
    assert!(met > 0, "no size was the one");
}

#[test]
fn what_others_hold_is_written_over_by_a_clock_that_was_set_back() {
    let clock = HandClock::at(1_000);
    let (a, b) = (texts("a", &clock), texts("b", &clock));
    a.insert("x", 1).unwrap();
    bring(&a, &b);
    clock.set(100);
    a.insert("x", 2).unwrap();
    clock.set(1_000);
    bring(&a, &b);
    assert_eq!(*b.get("x").unwrap(), 2);
}

#[test]
fn a_wait_ends_with_the_value_that_is_wanted() {
    let clock = HandClock::at(100);
    let (a, b) = (texts("a", &clock), texts("b", &clock));
    a.insert("limit", 1).unwrap();
    let mut waiting = pin!(a.wait_for("limit", |value| *value > 2));
    let mut context = task::Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    a.insert("other", 9).unwrap();
    a.insert("limit", 2).unwrap();
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    // Another node's write ends it as well.
    bring(&a, &b);
    b.insert("limit", 3).unwrap();
    bring(&b, &a);
    let Poll::Ready(value) = waiting.as_mut().poll(&mut context) else {
        panic!("the value is there");
    };
    assert_eq!((value.key().as_str(), *value), ("limit", 3));
    let mut at_once = pin!(a.wait_for("limit", |_| true));
    assert!(at_once.as_mut().poll(&mut context).is_ready());
}
