//! The promises of a typed store, each as a claim. Two stores exchange what they hold by `exchange`:
//! everything that one holds is merged into the other, as a push/pull would do.

mod compared;
mod contained;
mod converge;
mod model;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::id::SchemaId;
use crate::id::{Refusal, StoreId, WriterTag};
use crate::store::schema::Body;
use crate::store::{
    Copies, Digest, HashedItem, Index, Merged, ReplicationError, Tracker, Unreadable, Watch,
};
use crate::time::WallClock;
use crate::wire::Entry;

/// A note: its number in the first byte, text in the others.
#[derive(Debug, PartialEq, Eq)]
struct Note {
    id: u8,
    text: String,
}

struct Notes;

const NOTE: SchemaId = SchemaId::new(1);
const SCHEMAS: &[SchemaId] = &[NOTE];

impl Schema for Notes {
    type Record = Note;
    type Index = Shown;

    fn name(&self) -> &str {
        "notes"
    }

    fn schemas(&self) -> &[SchemaId] {
        SCHEMAS
    }

    fn key(&self, record: &Note) -> Key {
        key(record.id)
    }

    fn encode(&self, record: &Note) -> Body {
        let mut bytes = vec![record.id];
        bytes.extend(record.text.as_bytes());
        Body {
            schema: NOTE,
            bytes: bytes.into(),
        }
    }

    fn decode(&self, _: Key, body: &Body) -> Result<Note, Unreadable> {
        let malformed = Unreadable::Malformed {
            schema: body.schema,
        };
        let (&id, text) = body.bytes.split_first().ok_or_else(|| malformed.clone())?;
        let text = std::str::from_utf8(text).map_err(|_| malformed)?;
        Ok(Note {
            id,
            text: text.to_owned(),
        })
    }

    /// Notes that shout.
    fn is_urgent(&self, note: &Note, _: Timestamp) -> bool {
        assert_ne!(note.text, "panic!");
        note.text.ends_with('!')
    }
}

/// An index that checks what it is told against what it was told before.
#[derive(Default)]
struct Shown(BTreeMap<Key, Arc<Note>>);

impl Index<Note> for Shown {
    fn insert(&mut self, key: Key, old: Option<&Arc<Note>>, record: &Arc<Note>) {
        let before = self.0.insert(key, Arc::clone(record));
        assert_eq!(before.as_ref(), old);
    }

    fn remove(&mut self, key: Key, old: &Arc<Note>) {
        assert_eq!(self.0.remove(&key).as_ref(), Some(old));
    }
}

#[derive(Clone)]
struct TestClock(Arc<AtomicU64>);

impl TestClock {
    fn at(secs: u64) -> Self {
        Self(Arc::new(AtomicU64::new(at(secs).as_nanos())))
    }

    fn set(&self, secs: u64) {
        self.0.store(at(secs).as_nanos(), Ordering::Relaxed);
    }
}

impl WallClock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

struct Untracked;

impl Tracker for Untracked {
    fn watch(&self, _: WriteId, _: Copies) -> Watch {
        Box::pin(async { Err(ReplicationError::NotRunning) })
    }
}

fn notes_with(clock: &TestClock, limits: Limits) -> Map<Notes> {
    let context = Context::new(
        WriterTag::NONE,
        Arc::new(clock.clone()),
        Arc::new(Untracked),
    );
    Map::new(Notes, limits, context)
}

fn notes(clock: &TestClock) -> Map<Notes> {
    notes_with(clock, Limits::default())
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn until(secs: u64) -> Expiry {
    Expiry::At(at(secs))
}

fn key(id: u8) -> Key {
    Key([id; 16])
}

fn note(id: u8, text: &str) -> Note {
    Note {
        id,
        text: text.to_owned(),
    }
}

fn raw(id: u8, ts: u64, expires: u64, text: &str) -> Entry {
    Entry {
        key: key(id),
        ts: at(ts),
        tie: 0,
        writer: WriterTag::NONE,
        expires_at: at(expires),
        schema: NOTE,
        body: Notes.encode(&note(id, text)).bytes,
    }
}

fn tombstone(id: u8, ts: u64, expires: u64) -> Entry {
    Entry {
        schema: SchemaId::TOMBSTONE,
        body: Bytes::new(),
        ..raw(id, ts, expires, "")
    }
}

fn text(map: &Map<Notes>, id: u8) -> Option<String> {
    let shown = map.with_index(|index| index.0.contains_key(&key(id)));
    let got = map.get(&key(id)).map(|note| note.text.clone());
    assert!(shown || got.is_none(), "the index lacks a live record");
    got
}

fn held(map: &Map<Notes>) -> BTreeMap<Key, Entry> {
    let changes = map.store().replica().changes(0, 256, usize::MAX);
    let held = changes.into_iter().map(|c| (c.entry.key, c.entry));
    held.collect()
}

fn put(map: &Map<Notes>, note: Note, expiry: Expiry) {
    map.put(note, expiry).unwrap();
}

fn remove(map: &Map<Notes>, id: u8) {
    map.remove(&key(id)).unwrap().unwrap();
}

fn merge(map: &Map<Notes>, entry: &Entry) -> Merged {
    let now = map.context().clock.wall();
    map.store()
        .replica()
        .merge(std::slice::from_ref(entry), now)[0]
}

fn stored(merged: Merged) -> bool {
    matches!(merged, Merged::Stored { .. })
}

/// Both merge all that the other holds.
fn exchange(a: &Map<Notes>, b: &Map<Notes>) {
    for entry in held(a).values() {
        merge(b, entry);
    }
    for entry in held(b).values() {
        merge(a, entry);
    }
}

/// Collects until there is nothing left to do now.
fn collect(map: &Map<Notes>, secs: u64) -> Option<Timestamp> {
    loop {
        let next = map.store().collect(at(secs));
        if next.is_none_or(|next| next > at(secs)) {
            return next;
        }
    }
}

/// Seconds from an expiry to its collection.
fn grace() -> u64 {
    Limits::default().grace().as_secs()
}

#[test]
fn what_was_put_is_read_and_listed() {
    let map = notes(&TestClock::at(100));
    assert_eq!(map.read(&key(1)), (None, 0));
    let written = map.put(note(1, "one"), until(200)).unwrap();
    put(&map, note(2, "two"), Expiry::Never);
    assert_eq!(written.id().seq, 1);
    assert_eq!(written.id().store, StoreId::of("notes"));
    let (record, seq) = map.read(&key(1));
    assert_eq!((record.unwrap().text.as_str(), seq), ("one", 1));
    assert_eq!(map.records().len(), 2);
    assert!(held(&map)[&key(2)].schema.is_lasting());
    assert!(format!("{map:?} {written:?}").contains("notes"));
}

#[test]
fn an_expired_record_is_hidden_by_the_clock_and_leaves_the_index_on_collect() {
    let clock = TestClock::at(100);
    let map = notes(&clock);
    put(&map, note(1, "one"), until(200));
    put(&map, note(2, "two"), Expiry::Never);
    assert_eq!(collect(&map, 100), Some(at(200)));
    clock.set(200);
    assert_eq!(map.get(&key(1)), None);
    assert_eq!(map.records().len(), 1);
    assert_eq!(map.remove(&key(1)).map(|w| w.is_none()), Ok(true));
    assert_eq!(collect(&map, 200), Some(at(200 + grace())));
    assert_eq!(map.with_index(|index| index.0.len()), 1);
    assert_eq!(map.store().len(), 2);
    assert_eq!(collect(&map, 200 + grace()), None);
    assert_eq!(map.store().len(), 1);
}

#[test]
fn a_clock_set_back_shows_the_hidden_again() {
    let clock = TestClock::at(100);
    let map = notes(&clock);
    for id in 0..=255 {
        put(&map, note(id, "n"), until(200));
    }
    put(&map, note(0, "later"), until(201));
    collect(&map, 210);
    clock.set(210);
    assert!(map.with_index(|index| index.0.is_empty()));
    clock.set(150);
    assert_eq!(map.with_index(|index| index.0.len()), 256);
    assert_eq!(collect(&map, 150), Some(at(200)));
    assert_eq!(map.with_index(|index| index.0.len()), 256);
    assert_eq!(map.records().len(), 256);
    clock.set(200);
    collect(&map, 200);
    assert_eq!(map.with_index(|index| index.0.len()), 1);
}

/// It had never been shown here.
#[test]
fn a_clock_set_back_shows_what_came_already_expired() {
    let clock = TestClock::at(250);
    let map = notes(&clock);
    collect(&map, 100);
    assert!(stored(merge(&map, &raw(1, 90, 200, "late"))));
    assert_eq!(map.get(&key(1)), None);
    clock.set(150);
    collect(&map, 150);
    assert!(map.get(&key(1)).is_some());
    assert_eq!(map.with_index(|index| index.0.len()), 1);
    clock.set(250);
    collect(&map, 250);
    assert!(map.with_index(|index| index.0.is_empty()));
}

#[test]
fn growing_expiry_shows_a_hidden_record_again() {
    let clock = TestClock::at(100);
    let map = notes(&clock);
    put(&map, note(1, "one"), until(200));
    clock.set(205);
    collect(&map, 205);
    let mut longer = held(&map)[&key(1)].clone();
    longer.expires_at = at(300);
    assert_eq!(
        merge(&map, &longer),
        Merged::Stored {
            seq: 2,
            as_sent: true,
            quarantined: false,
        }
    );
    assert_eq!(text(&map, 1).as_deref(), Some("one"));
}

#[test]
fn the_greater_tie_wins_at_equal_timestamps() {
    let clock = TestClock::at(100);
    let (a, b) = (notes(&clock), notes(&clock));
    a.put_if_local(note(1, "a"), until(200), 9, 0).unwrap();
    b.put_if_local(note(1, "b"), until(200), 8, 0).unwrap();
    exchange(&a, &b);
    assert_eq!(text(&a, 1).as_deref(), Some("a"));
    assert_eq!(held(&a), held(&b));
}

#[test]
fn older_never_replaces_newer() {
    let map = notes(&TestClock::at(100));
    assert!(stored(merge(&map, &raw(1, 90, 200, "new"))));
    assert_eq!(merge(&map, &raw(1, 80, 200, "old")), Merged::Known);
    // A later expiry of an older version counts; its body does not.
    assert!(stored(merge(&map, &raw(1, 80, 400, "old"))));
    assert_eq!(held(&map)[&key(1)], raw(1, 90, 400, "new"));
    assert_eq!(text(&map, 1).as_deref(), Some("new"));
}

#[test]
fn a_stale_expired_entry_does_not_return_where_its_tombstone_was_collected() {
    let clock = TestClock::at(100);
    let limits = Limits {
        tombstone_ttl: Duration::from_secs(10),
        ..Limits::default()
    };
    let (online, offline) = (notes_with(&clock, limits), notes_with(&clock, limits));
    put(&online, note(1, "live"), until(5_000));
    exchange(&online, &offline);
    remove(&online, 1);
    clock.set(5_000 + grace());
    collect(&online, 5_000 + grace());
    assert_eq!(online.store().len(), 0);
    let stale = held(&offline)[&key(1)].clone();
    assert_eq!(merge(&online, &stale), Merged::Known);
    assert_eq!(online.store().len(), 0);
}

#[test]
fn poison_is_quarantined_and_relayed_byte_for_byte() {
    let clock = TestClock::at(100);
    let map = notes(&clock);
    put(&map, note(1, "fine"), until(200));
    let poison = Entry {
        body: Bytes::from_static(&[1, 0xff, 0xfe]),
        ..raw(1, 101, 300, "")
    };
    let wrong_key = Entry {
        key: key(7),
        ..raw(2, 101, 300, "of another key")
    };
    let quarantined = |seq| Merged::Stored {
        seq,
        as_sent: true,
        quarantined: true,
    };
    assert_eq!(merge(&map, &poison), quarantined(2));
    assert_eq!(merge(&map, &wrong_key), quarantined(3));
    assert_eq!(merge(&map, &poison), Merged::Known);
    assert_eq!(text(&map, 1), None);
    assert!(map.with_index(|index| index.0.is_empty()));
    assert_eq!(held(&map)[&key(1)], poison);
    assert_eq!(held(&map)[&key(7)], wrong_key);
    let why: Vec<_> = map.quarantined(9).into_iter().map(|q| q.why).collect();
    assert_eq!(
        why,
        [Unreadable::Malformed { schema: NOTE }, Unreadable::WrongKey]
    );
    assert_eq!(map.quarantined(1).len(), 1);

    // It is never in the way: it can be replaced, and removed.
    put(&map, note(1, "fine again"), until(200));
    remove(&map, 7);
    assert_eq!(text(&map, 1).as_deref(), Some("fine again"));
    assert_eq!(map.quarantined_len(), 0);
}

#[test]
fn a_quarantined_entry_is_collected_like_any_other() {
    let clock = TestClock::at(100);
    let map = notes(&clock);
    let poison = Entry {
        body: Bytes::from_static(&[1, 0xff]),
        ..raw(1, 100, 200, "")
    };
    merge(&map, &poison);
    collect(&map, 200 + grace());
    assert_eq!((map.store().len(), map.quarantined_len()), (0, 0));
}

#[test]
fn an_entry_from_too_far_ahead_is_refused_until_the_clock_catches_up() {
    let clock = TestClock::at(100);
    let map = notes(&clock);
    let ahead = raw(1, 401, 9_000, "soon");
    assert_eq!(merge(&map, &ahead), Merged::Refused(Refusal::ClockAhead));
    assert_eq!((map.store().len(), map.store().head()), (0, 0));
    clock.set(101);
    assert!(stored(merge(&map, &ahead)));
    clock.set(50);
    assert_eq!(merge(&map, &ahead), Merged::Known);
}

#[test]
fn a_full_store_stops_writers_at_once_and_peers_at_twice_as_much() {
    let limits = Limits {
        entries_max: 2,
        entry_bytes_max: 16,
        share_percent: 100,
        ..Limits::default()
    };
    let map = notes_with(&TestClock::at(100), limits);
    put(&map, note(1, "a"), until(200));
    put(&map, note(2, "b"), until(200));
    let full = WriteError::StoreFull {
        limit: crate::store::StoreLimit::WriterEntries,
        max: 2,
        removed: 0,
    };
    assert_eq!(map.put(note(3, "c"), until(200)).unwrap_err(), full);
    assert!(stored(merge(&map, &raw(3, 100, 200, "c"))));
    assert!(stored(merge(&map, &raw(4, 100, 200, "d"))));
    let refused = merge(&map, &raw(5, 100, 200, "e"));
    assert_eq!(refused, Merged::Refused(Refusal::Share));
    // What is held can always change.
    put(&map, note(4, "dd"), until(200));
    assert!(stored(merge(&map, &tombstone(1, 101, 200))));
    remove(&map, 2);

    let large = "more than sixteen bytes";
    let refused = merge(&map, &raw(1, 100, 200, large));
    assert_eq!(refused, Merged::Known, "older than what is held");
    let refused = merge(&map, &raw(1, 102, 200, large));
    assert_eq!(refused, Merged::Refused(Refusal::TooLarge));
    assert_eq!(
        map.put(note(1, large), until(200)).unwrap_err(),
        WriteError::TooLarge { bytes: 24, max: 16 }
    );
}

#[test]
fn put_if_conflicts_with_any_change_it_has_not_seen() {
    let map = notes(&TestClock::at(100));
    map.put_if_local(note(1, "a"), until(200), 0, 0).unwrap();
    let conflict = map
        .put_if_local(note(1, "b"), until(200), 0, 0)
        .unwrap_err();
    assert_eq!(conflict, WriteError::Conflict);
    let (_, seen) = map.read(&key(1));
    merge(&map, &raw(1, 150, 200, "from a peer"));
    let conflict = map
        .put_if_local(note(1, "b"), until(200), 0, seen)
        .unwrap_err();
    assert_eq!(conflict, WriteError::Conflict);
    assert_eq!(text(&map, 1).as_deref(), Some("from a peer"));
}

#[test]
fn the_change_index_has_one_slot_per_key_and_resumes_at_any_cursor() {
    let map = notes(&TestClock::at(100));
    let store = map.store();
    for round in 0..10 {
        for id in 0..30 {
            put(&map, note(id, &round.to_string()), until(200));
        }
    }
    assert_eq!(store.head(), 300);
    assert_eq!(store.replica().backlog(0), 30);
    assert_eq!(store.replica().backlog(290), 10);
    assert_eq!(store.replica().backlog(300), 0);
    let mut cursor = 0;
    let mut seen = Vec::new();
    loop {
        let some = store.replica().changes(cursor, 7, usize::MAX);
        let Some(last) = some.last() else { break };
        cursor = last.seq;
        seen.extend(some.into_iter().map(|change| change.seq));
    }
    assert_eq!(seen, (271..=300).collect::<Vec<_>>());
    // At least one, and no more once the bytes are reached.
    assert_eq!(store.replica().changes(0, 0, 0).len(), 1);
    let len = store.replica().changes(0, 1, 0)[0].entry.encoded_len();
    assert_eq!(store.replica().changes(0, 99, len * 3).len(), 3);
    let change = store.replica().held(&key(29)).unwrap();
    assert_eq!((change.seq, change.entry.key), (300, key(29)));
    assert_eq!(store.replica().held(&key(99)), None);
}

#[test]
fn hooks_are_called_once_per_change_and_never_for_the_known() {
    let map = notes(&TestClock::at(100));
    let calls = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    for count in &calls {
        let count = Arc::clone(count);
        map.store().on_change(Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
    }
    let called = || calls.each_ref().map(|count| count.load(Ordering::Relaxed));
    put(&map, note(1, "a"), until(200));
    assert_eq!(called(), [1, 1]);
    let entries: Vec<_> = (2..6).map(|id| raw(id, 100, 200, "x")).collect();
    assert!(
        map.store()
            .replica()
            .merge(&entries, at(100))
            .into_iter()
            .all(stored)
    );
    assert_eq!(called(), [2, 2]);
    let head = map.store().head();
    let again = map.store().replica().merge(&entries, at(100));
    assert_eq!(again, [Merged::Known; 4]);
    assert_eq!(
        merge(&map, &raw(1, 900, 999, "x")),
        Merged::Refused(Refusal::ClockAhead)
    );
    assert!(map.remove(&key(99)).unwrap().is_none());
    assert!(map.put_if_local(note(1, "b"), until(200), 0, 77).is_err());
    assert_eq!((called(), map.store().head()), ([2, 2], head));
    remove(&map, 1);
    assert_eq!(called(), [3, 3]);
}

#[test]
fn twice_the_same_key_in_one_merge_joins() {
    let map = notes(&TestClock::at(100));
    let entries = [
        raw(1, 90, 300, "older"),
        raw(1, 91, 200, "newer"),
        raw(1, 91, 200, "newer"),
    ];
    let merged = map.store().replica().merge(&entries, at(100));
    assert!(stored(merged[0]) && stored(merged[1]));
    assert_eq!(merged[2], Merged::Known);
    assert_eq!(held(&map)[&key(1)], raw(1, 91, 300, "newer"));

    // As in two calls, though the newer one alone would be past its grace.
    let late = at(100_000);
    let (older, newer) = (raw(1, 90, 200_000, "older"), raw(1, 91, 1, "newer"));
    for entries in [[older.clone(), newer.clone()], [newer.clone(), older]] {
        let map = notes(&TestClock::at(100_000));
        assert_eq!(
            map.store()
                .replica()
                .merge(std::slice::from_ref(&newer), late),
            [Merged::Known]
        );
        let merged = map.store().replica().merge(&entries, late);
        assert!(stored(merged[0]) && stored(merged[1]));
        assert_eq!(held(&map)[&key(1)], raw(1, 91, 200_000, "newer"));
    }
}

#[test]
fn a_stored_body_does_not_keep_the_packet_it_came_in() {
    let map = notes(&TestClock::at(100));
    let packet = Bytes::from(vec![1; 4096]);
    let entry = Entry {
        body: packet.slice(0..8),
        ..raw(1, 100, 200, "")
    };
    assert!(stored(merge(&map, &entry)));
    drop(entry);
    assert!(packet.is_unique());
}

#[test]
fn a_panic_under_the_lock_leaves_the_store_usable() {
    let map = notes(&TestClock::at(100));
    let looking = map.clone();
    let panicked = std::thread::spawn(move || looking.with_index(|_| panic!("on purpose")));
    assert!(panicked.join().is_err());
    put(&map, note(1, "still"), until(200));
    assert_eq!(text(&map, 1).as_deref(), Some("still"));
}

#[test]
fn what_a_writer_wrote_is_purged_for_everybody_and_in_slices() {
    let clock = TestClock::at(100);
    let (ours, theirs) = (notes(&clock), notes(&clock));
    let bad = WriterTag(9);
    let written = |n: u64, writer| Entry {
        key: Key(u128::from(n).to_be_bytes()),
        writer,
        ..raw(1, 100, 0, "lasting")
    };
    let all: Vec<_> = (0..600)
        .map(|n| written(n, if n % 3 == 0 { WriterTag(8) } else { bad }))
        .map(|entry| Entry {
            schema: entry.schema.lasting(),
            ..entry
        })
        .collect();
    for map in [&ours, &theirs] {
        map.store().replica().merge(&all, at(100));
    }
    clock.set(101);
    let (mut position, mut removed, mut slices) = (Some(0), 0, 0);
    while let Some(from) = position {
        let (count, next) = ours.store().purge(bad, from).unwrap();
        (position, removed, slices) = (next, removed + count, slices + 1);
    }
    assert_eq!((removed, slices), (400, 3));
    let left = |map: &Map<_>| {
        let entries = held(map);
        let live = entries
            .values()
            .filter(|entry| !entry.schema.is_tombstone());
        live.map(|entry| entry.writer).collect::<Vec<_>>()
    };
    assert!(left(&ours) == [WriterTag(8); 200]);
    // The ordinary join brings it to the others; what comes from them brings nothing back.
    let changes = everything(&ours);
    theirs.store().replica().merge(&changes, at(101));
    ours.store().replica().merge(&all, at(101));
    assert!(left(&theirs) == [WriterTag(8); 200]);
    let sorted = |map: &Map<_>| {
        let mut entries = everything(map);
        entries.sort_by_key(|entry| entry.key);
        entries
    };
    assert!(sorted(&ours) == sorted(&theirs));
}

/// All entries, the oldest change first.
fn everything<S: Schema>(map: &Map<S>) -> Vec<Entry> {
    let (store, mut all, mut after) = (map.store(), Vec::new(), 0);
    loop {
        let changes = store.replica().changes(after, RUN, usize::MAX);
        let Some(last) = changes.last() else {
            return all;
        };
        after = last.seq;
        all.extend(changes.into_iter().map(|change| change.entry));
    }
}
