//! The store against a model that has nothing but the entries: an ordered map of them, joined one
//! by one, from which every result of the store is computed anew.

use super::*;
use crate::crdt::digest::entry_hash;
use crate::crdt::join;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum ModelStep {
    SetClock(u64),
    Merge(Vec<Entry>),
    Put(u8, &'static str, Expiry),
    Remove(u8),
}

const TTL: u64 = 40;

fn any_entry() -> impl Strategy<Value = Entry> {
    let kinds = prop::sample::select(vec![
        (NOTE, Bytes::from_static(b"\0a")),
        (NOTE, Bytes::from_static(b"\0b")),
        (NOTE, Bytes::from_static(b"\0\xff")),
        (NOTE.lasting(), Bytes::from_static(b"\0c")),
        (SchemaId::new(2), Bytes::from_static(b"?")),
        (SchemaId::TOMBSTONE, Bytes::new()),
    ]);
    (0..6_u8, 0..300_u64, 0..2_u64, 0..600_u64, kinds).prop_map(|(id, ts, tie, expires, kind)| {
        let (schema, body) = kind;
        let mut body = body.to_vec();
        if schema.shape() == NOTE {
            body[0] = id;
        }
        Entry {
            tie,
            schema,
            body: body.into(),
            ..raw(id, ts, expires, "")
        }
    })
}

fn any_step() -> impl Strategy<Value = ModelStep> {
    let text = || prop::sample::select(&["x", "y"][..]);
    let expiry = prop_oneof![
        3 => (0..600_u64).prop_map(until),
        1 => (0..300_u64).prop_map(|secs| Expiry::After(Duration::from_secs(secs))),
        1 => Just(Expiry::Never),
    ];
    prop_oneof![
        2 => (200..900_u64).prop_map(ModelStep::SetClock),
        4 => prop::collection::vec(any_entry(), 1..6).prop_map(|mut entries| {
            // As peers send them: one of a key at a time.
            entries.sort_by_key(|entry| entry.key);
            entries.dedup_by_key(|entry| entry.key);
            ModelStep::Merge(entries)
        }),
        3 => (0..6_u8, text(), expiry).prop_map(|(id, text, expiry)| ModelStep::Put(id, text, expiry)),
        1 => (0..6_u8).prop_map(ModelStep::Remove),
    ]
}

/// The entries, and the key of each change that is a key's newest.
#[derive(Default)]
struct Model {
    entries: BTreeMap<Key, Entry>,
    newest: BTreeMap<u64, Key>,
    seq: u64,
}

impl Model {
    /// Joins an entry in; whether that changes anything.
    fn join(&mut self, entry: &Entry) -> bool {
        let held = self.entries.get(&entry.key);
        let joined = held.map_or_else(|| entry.clone(), |held| join(held, entry));
        if held == Some(&joined) {
            return false;
        }
        self.seq += 1;
        self.newest.retain(|_, key| *key != entry.key);
        self.newest.insert(self.seq, entry.key);
        self.entries.insert(entry.key, joined);
        true
    }

    fn write(&mut self, id: u8, now: u64, entry: Entry) {
        let after = |held: &Entry| Timestamp::from_nanos(held.ts.as_nanos() + 1);
        let seen = self.entries.get(&key(id)).map_or(Timestamp::ZERO, after);
        let ts = at(now).max(seen);
        self.join(&Entry { ts, ..entry });
    }

    fn is_owed(entry: &Entry, now: u64, grace: Duration) -> bool {
        entry.schema.is_lasting() || entry.expires_at.plus(grace) > at(now)
    }

    fn is_readable(entry: &Entry) -> bool {
        entry.schema.shape() == NOTE && std::str::from_utf8(&entry.body[1..]).is_ok()
    }

    fn text(&self, id: u8, now: u64) -> Option<String> {
        let entry = self.entries.get(&key(id))?;
        (Self::is_readable(entry) && entry.outlives(at(now)))
            .then(|| String::from_utf8_lossy(&entry.body[1..]).into_owned())
    }
}

fn check(map: &Map<Notes>, model: &Model, now: u64) {
    assert_eq!(held(map), model.entries);
    for id in 0..6 {
        assert_eq!(text(map, id), model.text(id, now), "{id} at {now}");
    }
    let live = (0..6).filter(|id| model.text(*id, now).is_some()).count();
    assert_eq!(map.records().len(), live);
    let poison = |entry: &&Entry| !Model::is_readable(entry) && !entry.schema.is_tombstone();
    let poisoned = model.entries.values().filter(poison).count();
    assert_eq!(map.quarantined_len(), poisoned);
    let store = map.store();
    for cursor in [0, 1, model.seq / 2, model.seq.saturating_sub(1), model.seq] {
        let changes = store.replica().changes(cursor, 256, usize::MAX).into_iter();
        let expected = model.newest.range(cursor + 1..);
        assert!(
            changes
                .map(|change| (change.seq, change.entry.key))
                .eq(expected.map(|(a, b)| (*a, *b)))
        );
        assert_eq!(
            store.replica().backlog(cursor),
            model.newest.range(cursor + 1..).count()
        );
        let changed = map.changed(cursor, 256).unwrap();
        assert_eq!(
            (changed.seq, changed.records.len()),
            (model.seq, store.replica().backlog(cursor))
        );
    }
    for cut in [0, now, now + 100, 250] {
        let above = || {
            model
                .entries
                .values()
                .filter(|entry| entry.outlives(at(cut)))
        };
        let root = above().fold(0_u128, |sum, entry| sum.wrapping_add(entry_hash(entry)));
        let count = above().count() as u64;
        assert_eq!(
            store.replica().digest(at(cut)),
            Digest { count, root },
            "cut {cut}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_store_returns_what_its_entries_say(steps in prop::collection::vec(any_step(), 1..60)) {
        let limits = Limits {
            tombstone_ttl: Duration::from_secs(TTL),
            ..Limits::default()
        };
        let clock = TestClock::at(300);
        let map = notes_with(&clock, limits);
        let mut model = Model::default();
        let mut now = 300;
        for step in steps {
            match step {
                ModelStep::SetClock(to) => {
                    // A node looks at once when something expires: nothing is left to look at when
                    // the clock jumps.
                    for at in [now, to] {
                        clock.set(at);
                        collect(&map, at);
                        let owed = |entry: &Entry| Model::is_owed(entry, at, limits.grace());
                        model.entries.retain(|_, entry| owed(entry));
                    }
                    now = to;
                    let shown = map.with_index(|index| index.0.len());
                    prop_assert_eq!(shown, map.records().len(), "as of the last collect");
                    let entries = &model.entries;
                    model.newest.retain(|_, key| entries.contains_key(key));
                }
                ModelStep::Merge(entries) => {
                    for (entry, merged) in entries.iter().zip(map.store().replica().merge(&entries, at(now))) {
                        let is_due = model.entries.contains_key(&entry.key)
                            || Model::is_owed(entry, now, limits.grace());
                        prop_assert_eq!(stored(merged), is_due && model.join(entry));
                    }
                }
                ModelStep::Put(id, text, expiry) => {
                    put(&map, note(id, text), expiry);
                    let entry = raw(id, 0, 0, text);
                    let entry = match expiry {
                        Expiry::After(span) => Entry { expires_at: at(now).plus(span), ..entry },
                        Expiry::At(expires_at) => Entry { expires_at, ..entry },
                        Expiry::Never => Entry { schema: NOTE.lasting(), ..entry },
                    };
                    model.write(id, now, entry);
                }
                ModelStep::Remove(id) => {
                    let removed = map.remove(&key(id)).unwrap().is_some();
                    let there = model.entries.get(&key(id));
                    let there = there.is_some_and(|it| !it.schema.is_tombstone() && it.outlives(at(now)));
                    prop_assert_eq!(removed, there);
                    if there {
                        let held = &model.entries[&key(id)];
                        let expires_at = match held.schema.is_lasting() {
                            true => at(now + TTL),
                            false => held.expires_at,
                        };
                        model.write(id, now, Entry { expires_at, ..tombstone(id, 0, 0) });
                    }
                }
            }
            check(&map, &model, now);
        }
    }
}
