//! Schemas and limits that are not what they should be.

use std::cell::{Cell, RefCell};

use super::*;
use crate::id::NodeName;

/// Numbers under key 0. Some cannot be read back: 13 panics, 66 is refused, 99 claims another key.
struct Brittle;

impl Schema for Brittle {
    type Record = u8;
    type Index = ();

    fn name(&self) -> &str {
        "brittle"
    }
    fn schemas(&self) -> &[SchemaId] {
        SCHEMAS
    }
    fn key(&self, record: &u8) -> Key {
        key(u8::from(*record == 99))
    }
    fn encode(&self, record: &u8) -> Body {
        Body {
            schema: NOTE,
            bytes: vec![if *record == 98 { 99 } else { *record }].into(),
        }
    }
    fn decode(&self, _: Key, body: &Body) -> Result<u8, Unreadable> {
        match body.bytes[0] {
            13 => panic!("on purpose"),
            66 => Err(Unreadable::Invalid { rule: "not 66" }),
            fine => Ok(fine),
        }
    }
}

const PANICKED: Unreadable = Unreadable::Invalid {
    rule: "the schema panicked",
};

fn brittle() -> Map<Brittle> {
    let context = notes(&TestClock::at(100)).context().clone();
    Map::new(Brittle, Limits::default(), context)
}

fn refused(map: &Map<Brittle>, record: u8) -> Unreadable {
    let before = map.store().head();
    let why = [
        map.put(record, until(200)).unwrap_err(),
        map.put_if_local(record, Expiry::Never, 0, before)
            .unwrap_err(),
    ];
    assert_eq!(map.store().head(), before);
    let [
        WriteError::Invalid { why },
        WriteError::Invalid { why: again },
    ] = why
    else {
        panic!("expected both to be invalid, got {why:?}");
    };
    assert_eq!(why, again);
    why
}

#[test]
fn a_schema_that_panics_quarantines_what_it_panicked_at() {
    let map = brittle();
    let entry = |id, number| Entry {
        body: vec![number].into(),
        ..raw(id, 100, 200, "")
    };
    let merged = map
        .store()
        .replica()
        .merge(&[entry(3, 13), entry(0, 7)], at(100));
    assert!(matches!(
        merged[..],
        [
            Merged::Stored {
                quarantined: true,
                ..
            },
            Merged::Stored {
                quarantined: false,
                ..
            },
        ]
    ));
    assert_eq!(map.quarantined(9)[0].why, PANICKED);
    assert_eq!(map.get(&key(0)).as_deref(), Some(&7));
    // It is known now, and not tried again.
    assert_eq!(
        map.store().replica().merge(&[entry(3, 13)], at(100)),
        [Merged::Known]
    );
}

#[test]
fn what_cannot_be_read_back_is_not_written() {
    let map = brittle();
    assert_eq!(refused(&map, 66), Unreadable::Invalid { rule: "not 66" });
    assert_eq!(refused(&map, 13), PANICKED);
    assert_eq!(refused(&map, 98), Unreadable::WrongKey);
    map.put(1, Expiry::Never).unwrap();
    assert_eq!(refused(&map, 66), Unreadable::Invalid { rule: "not 66" });
    assert_eq!(map.get(&key(0)).as_deref(), Some(&1));
}

#[test]
fn a_shape_that_the_schema_does_not_list_is_not_written() {
    struct Other;
    impl Schema for Other {
        type Record = ();
        type Index = ();
        fn name(&self) -> &str {
            "other"
        }
        fn schemas(&self) -> &[SchemaId] {
            SCHEMAS
        }
        fn key(&self, (): &()) -> Key {
            key(1)
        }
        fn encode(&self, (): &()) -> Body {
            Body {
                schema: SchemaId::new(2),
                bytes: Bytes::new(),
            }
        }
        fn decode(&self, _: Key, _: &Body) -> Result<(), Unreadable> {
            Ok(())
        }
    }
    let context = notes(&TestClock::at(100)).context().clone();
    let map = Map::new(Other, Limits::default(), context);
    let schema = SchemaId::new(2);
    assert_eq!(
        map.put((), Expiry::Never).unwrap_err(),
        WriteError::Invalid {
            why: Unreadable::UnknownSchema { schema }
        }
    );
}

/// Limits are checked where a node is built; a store alone takes any.
#[test]
fn what_the_wire_cannot_carry_is_too_large_whatever_the_limits_say() {
    let limits = Limits {
        entry_bytes_max: usize::MAX,
        max_clock_drift: Duration::MAX,
        ..Limits::default()
    };
    let map = notes_with(&TestClock::at(100), limits);
    let error = map.put(note(1, &"x".repeat(BODY_BYTES_MAX)), until(200));
    assert_eq!(
        error.unwrap_err(),
        WriteError::TooLarge {
            bytes: BODY_BYTES_MAX + 1,
            max: BODY_BYTES_MAX
        }
    );
    put(&map, note(1, &"x".repeat(BODY_BYTES_MAX - 1)), until(200));
    assert_eq!(held(&map)[&key(1)].body.len(), BODY_BYTES_MAX);
}

/// An index that panics at what it does not like, on the way in or on the way out.
#[derive(Default)]
struct Picky(usize);

impl Index<Note> for Picky {
    fn insert(&mut self, _: Key, _: Option<&Arc<Note>>, record: &Arc<Note>) {
        assert_ne!(record.text, "in", "on purpose");
        self.0 += 1;
    }

    fn remove(&mut self, _: Key, old: &Arc<Note>) {
        assert_ne!(old.text, "out", "on purpose");
        self.0 -= 1;
    }
}

struct PickyNotes;

impl Schema for PickyNotes {
    type Record = Note;
    type Index = Picky;

    fn name(&self) -> &'static str {
        "picky"
    }

    fn schemas(&self) -> &[SchemaId] {
        SCHEMAS
    }

    fn key(&self, record: &Note) -> Key {
        key(record.id)
    }

    fn encode(&self, record: &Note) -> Body {
        Notes.encode(record)
    }

    fn decode(&self, key: Key, body: &Body) -> Result<Note, Unreadable> {
        Notes.decode(key, body)
    }

    fn hidden_from(&self, note: &Note) -> Timestamp {
        let is_early = note.text == "in";
        if is_early { at(150) } else { Timestamp::MAX }
    }
}

#[test]
fn what_an_index_panicked_at_is_not_hidden_early_any_more() {
    let clock = TestClock::at(100);
    let context = notes(&clock).context().clone();
    let map = Map::new(PickyNotes, Limits::default(), context);
    let collect = |secs| {
        clock.set(secs);
        let more = || map.store().collect(at(secs));
        while more().is_some_and(|next| next <= at(secs)) {}
    };
    map.store()
        .replica()
        .merge(&[raw(1, 100, 200, "in")], at(100));
    collect(200 + grace());
    assert!(map.store().is_empty());
    // Its place in the order is not met again, nor taken for that of the next key in its slot.
    collect(120);
    let _ = map.put(note(2, "fine"), until(300)).unwrap();
    collect(160);
    assert_eq!(map.with_index(|index| index.0), 1);
}

#[test]
fn an_index_that_panics_quarantines_what_it_panicked_at() {
    let clock = TestClock::at(100);
    let context = Context::new(
        WriterTag::NONE,
        Arc::new(clock.clone()),
        Arc::new(Untracked),
    );
    let map = Map::new(PickyNotes, Limits::default(), context);
    let all = [raw(1, 100, 200, "in"), raw(2, 100, 200, "fine")];
    let merged = map.store().replica().merge(&all, at(100));
    let quarantined = |merged: &Merged| match merged {
        Merged::Stored { quarantined, .. } => *quarantined,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        merged.iter().map(quarantined).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(map.store().replica().held(&key(1)).unwrap().entry, all[0]);
    assert!(map.get(&key(1)).is_none() && map.get(&key(2)).is_some());

    let _ = map.put(note(3, "in"), until(300)).unwrap();
    assert_eq!(map.quarantined_len(), 2);
    let _ = map.put(note(4, "out"), until(200)).unwrap();
    clock.set(250);
    while map
        .store()
        .collect(at(250))
        .is_some_and(|next| next <= at(250))
    {}
    assert!(map.get(&key(4)).is_none());
    let _ = map.put(note(3, "fine"), until(300)).unwrap();
    assert_eq!(
        (map.quarantined_len(), map.get(&key(3)).is_some()),
        (1, true)
    );
}

/// A number that panics when it is dropped, if it is 13.
struct Bomb(u8);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 == 13 {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
}

/// Bombs under key 0.
struct Bombs;

impl Schema for Bombs {
    type Record = Bomb;
    type Index = ();

    fn name(&self) -> &str {
        "bombs"
    }
    fn schemas(&self) -> &[SchemaId] {
        SCHEMAS
    }
    fn key(&self, _: &Bomb) -> Key {
        key(0)
    }
    fn encode(&self, bomb: &Bomb) -> Body {
        Body {
            schema: NOTE,
            bytes: vec![bomb.0].into(),
        }
    }
    fn decode(&self, _: Key, body: &Body) -> Result<Bomb, Unreadable> {
        Ok(Bomb(body.bytes[0]))
    }
    fn check_ts(&self, _: &Bomb, ts: Timestamp) -> Result<(), Unreadable> {
        if ts == at(103) {
            return Err(Unreadable::Invalid { rule: "not then" });
        }
        Ok(())
    }
}

#[test]
fn a_record_that_panics_when_it_is_dropped_stops_nobody() {
    let clock = TestClock::at(100);
    let context = notes(&clock).context().clone();
    let map = Map::new(Bombs, Limits::default(), context);
    let store = map.store();
    let entry = |id, ts, number| Entry {
        body: vec![number].into(),
        ..raw(id, ts, 200, "")
    };
    let merge = |entries: &[Entry]| store.replica().merge(entries, clock.wall());
    // Replaced, known, of another key, refused by its time, replaced by a removal, collected.
    merge(&[entry(0, 100, 13)]);
    merge(&[entry(0, 101, 13)]);
    merge(&[entry(0, 101, 13), entry(0, 99, 13)]);
    merge(&[entry(7, 101, 13), entry(0, 103, 13)]);
    merge(&[entry(0, 104, 13)]);
    assert!(map.remove(&key(0)).unwrap().is_some());
    merge(&[entry(0, 106, 13)]);
    clock.set(10_000);
    while !store.is_empty() {
        store.collect(clock.wall());
    }
    assert_eq!(map.put(Bomb(1), until(20_000)).map(drop), Ok(()));
    assert_eq!(map.get(&key(0)).map(|bomb| bomb.0), Some(1));
}

/// A number that calls the store when it is dropped.
#[derive(Debug)]
struct Calling(u8);

thread_local! {
    static CALLED: RefCell<Option<Map<Callings>>> = const { RefCell::new(None) };
    /// Calls that were begun, and that returned.
    static CALLS: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

impl Drop for Calling {
    fn drop(&mut self) {
        let Some(store) = CALLED.with_borrow(Clone::clone) else {
            return;
        };
        CALLS.set((CALLS.get().0 + 1, CALLS.get().1));
        let _ = store.len();
        CALLS.set((CALLS.get().0, CALLS.get().1 + 1));
    }
}

/// An index that panics at 13.
#[derive(Default)]
struct Unlucky;

impl Index<Calling> for Unlucky {
    fn insert(&mut self, _: Key, _: Option<&Arc<Calling>>, record: &Arc<Calling>) {
        assert_ne!(record.0, 13, "on purpose");
    }

    fn remove(&mut self, _: Key, _: &Arc<Calling>) {}
}

/// Numbers under keys of their own.
struct Callings;

impl Schema for Callings {
    type Record = Calling;
    type Index = Unlucky;

    fn name(&self) -> &str {
        "callings"
    }
    fn schemas(&self) -> &[SchemaId] {
        SCHEMAS
    }
    fn key(&self, record: &Calling) -> Key {
        key(record.0)
    }
    fn encode(&self, record: &Calling) -> Body {
        Body {
            schema: NOTE,
            bytes: vec![record.0].into(),
        }
    }
    fn decode(&self, _: Key, body: &Body) -> Result<Calling, Unreadable> {
        Ok(Calling(body.bytes[0]))
    }
}

#[test]
fn a_record_may_call_the_store_when_it_is_dropped() {
    let clock = TestClock::at(9_000);
    let limits = Limits {
        store_bytes_max: 4_096,
        ..Limits::default()
    };
    let map = Map::new(Callings, limits, notes(&clock).context().clone());
    CALLED.set(Some(map.clone()));
    let ends = || {
        let (begun, ended) = CALLS.take();
        assert_eq!(begun, ended, "one was called under the lock");
        begun
    };
    let entry = |id: u8, ts, expires, bytes: usize| Entry {
        writer: WriterTag::of(&NodeName::new("b").unwrap()),
        body: vec![id; bytes].into(),
        ..raw(id, ts, expires, "")
    };
    let merge = |entry: Entry| map.store().replica().merge(&[entry], clock.wall())[0];
    let put = |id, seen| map.put_if_local(Calling(id), until(20_000), 0, seen);
    // What a write displaces, and what is not written; each is read back once before it is written.
    assert!(put(1, 0).is_ok() && ends() == 1);
    assert!(put(1, 1).is_ok() && ends() == 2);
    assert!(put(1, 1).is_err() && ends() == 2);
    // What only extends, and what there is no room for.
    assert!(stored(merge(entry(1, 8_000, 30_000, 1))) && ends() == 1);
    let refused = merge(entry(2, 9_000, 30_000, 20_000));
    assert!(matches!(refused, Merged::Refused(_)) && ends() == 0);
    // What the index panics at.
    assert!(stored(merge(entry(13, 9_000, 30_000, 1))) && ends() == 1);
    // What gives way to a write, and to what comes.
    assert!(put(3, 0).is_ok() && put(4, 0).is_ok());
    ends();
    clock.set(100);
    assert!(put(3, map.read(&key(3)).1).is_ok() && ends() == 2);
    assert!(stored(merge(entry(4, 100, 30_000, 1))) && ends() == 1);
    drop(CALLED.take());
}

#[test]
fn a_thread_that_has_the_lock_is_not_left_waiting_for_it() {
    let map = notes(&TestClock::at(100));
    put(&map, note(1, "one"), until(200));
    let call = || map.with_index(|_| map.get(&key(1)).is_some());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
    let said = panicked.downcast_ref::<String>().unwrap();
    assert_eq!(
        said,
        "the store \"notes\" is called from under its own lock"
    );
    assert_eq!(text(&map, 1).as_deref(), Some("one"));
}
