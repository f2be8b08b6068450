//! Entries: their headers, and the bodies of silences, of notifications and of alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumormill::id::WriterTag;
use rumormill::store::{Limits, Store};
use rumormill::time::Timestamp;
use rumormill::unstable::crdt::join;
use rumormill::unstable::store::{Merged, replica};
use rumormill::unstable::wire::Entry;
use rumormill::{Body, Key, Map, Schema, SchemaId};

use super::cost;
use super::feed::Feed;
use super::stores::{BEGIN, Clock, held};

/// Entries that are merged together at most.
const ENTRIES_MAX: usize = 4;

/// Any bytes are refused or are an entry; and whatever entries are merged into a store, in whatever order
/// and however often, it holds their join, byte for byte, and reads what can be read of it. The first byte
/// says whose bodies they are.
pub fn bodies(data: &[u8]) {
    headers(data);
    let clock = Clock::new();
    let limits = Limits::default();
    let mut feed = Feed::new(data);
    cost::is_bounded(data.len(), || match feed.byte() % 3 {
        0 => laws(&mut feed, || clock.silences(limits).map().clone()),
        1 => laws(&mut feed, || clock.nflog(limits).map().clone()),
        _ => laws(&mut feed, || clock.alerts(limits).map().clone()),
    });
}

fn headers(data: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(data);
    while let Ok(entry) = Entry::decode(&mut bytes, 4096) {
        let mut out = BytesMut::new();
        entry.encode(&mut out);
        assert_eq!(out.len(), entry.encoded_len());
        assert_eq!(Entry::decode(&mut out.freeze(), 4096), Ok(entry));
    }
}

fn laws<S: Schema>(feed: &mut Feed<'_>, store: impl Fn() -> Map<S>) {
    let [one, other, third] = [store(), store(), store()];
    let wall = Timestamp::from_secs(BEGIN);
    let mut entries = Vec::new();
    while entries.len() < ENTRIES_MAX && !feed.is_empty() {
        entries.push(entry(feed, one.schema()));
    }
    // What would be collected at once is not taken by a store that does not hold its key.
    let cut = wall.minus(one.limits().grace());
    entries.retain(|entry| entry.outlives(cut));
    let mut expected = BTreeMap::<Key, Entry>::new();
    for entry in &entries {
        let merged = replica(&*store().store()).merge(std::slice::from_ref(entry), wall);
        if matches!(merged[..], [Merged::Refused(_)]) {
            continue;
        }
        let joined = expected.get(&entry.key).map(|held| join(held, entry));
        expected.insert(entry.key, joined.unwrap_or_else(|| entry.clone()));
    }
    let expected: Vec<Entry> = expected.into_values().collect();

    merge(&*one.store(), &entries, wall);
    let backwards: Vec<Entry> = entries.iter().rev().cloned().collect();
    merge(&*other.store(), &backwards, wall);
    for entry in entries.iter().flat_map(|entry| [entry, entry]) {
        merge(&*third.store(), std::slice::from_ref(entry), wall);
    }
    for map in [&one, &other, &third] {
        assert_eq!(held(&*map.store()), expected);
        let head = map.store().head();
        merge(&*map.store(), &expected, wall);
        assert_eq!(map.store().head(), head, "there is nothing new in it");
        for cut in [Timestamp::ZERO, wall] {
            let digest = replica(&*map.store()).digest(cut);
            assert_eq!(digest, replica(&*one.store()).digest(cut));
        }
        readable(map, &expected);
    }
    // What one holds is all that another needs: also what it cannot read.
    let fresh = store();
    merge(&*fresh.store(), &held(&*one.store()), wall);
    assert_eq!(held(&*fresh.store()), expected);
    collected(&one, &expected);
}

fn merge(store: &dyn Store, entries: &[Entry], wall: Timestamp) {
    let mut results = Vec::new();
    replica(store).merge_into(entries, WriterTag(7), wall, &mut results);
    assert_eq!(results.len(), entries.len());
}

/// What cannot be decoded is in quarantine, and nothing else is; what can be is written as a body that
/// reads as the same.
fn readable<S: Schema>(map: &Map<S>, entries: &[Entry]) {
    let schema = map.schema();
    let mut unreadable = BTreeSet::new();
    for entry in entries.iter().filter(|it| !it.schema.is_tombstone()) {
        let body = Body {
            schema: entry.schema.shape(),
            bytes: entry.body.clone(),
        };
        let Ok(record) = schema.decode(entry.key, &body) else {
            unreadable.insert(entry.key);
            continue;
        };
        if schema.key(&record) != entry.key || schema.check_ts(&record, entry.ts).is_err() {
            unreadable.insert(entry.key);
            continue;
        }
        let written = schema.encode(&record);
        let again = schema.decode(entry.key, &written);
        let again = again.unwrap_or_else(|why| panic!("{why} in its own body"));
        assert_eq!(schema.encode(&again), written);
    }
    let quarantined = map.quarantined(usize::MAX).into_iter();
    let quarantined: BTreeSet<Key> = quarantined.map(|it| it.key).collect();
    assert_eq!(quarantined, unreadable);
    assert_eq!(map.quarantined_len(), unreadable.len());
    for (key, record) in map.records() {
        assert_eq!(schema.key(&record), key);
        assert!(map.get(&key).is_some());
    }
}

/// In the end nothing is left but what never expires.
fn collected<S: Schema>(map: &Map<S>, entries: &[Entry]) {
    let store = map.store();
    for _ in 0..=ENTRIES_MAX {
        let _ = store.collect(Timestamp::MAX);
    }
    let for_ever = |entry: &&Entry| entry.outlives(Timestamp::MAX);
    let left: Vec<Entry> = entries.iter().filter(for_ever).cloned().collect();
    assert_eq!(held(&*store), left);
}

/// An entry near the present, with a body and, most often, a key that fits it.
fn entry<S: Schema>(feed: &mut Feed<'_>, schema: &S) -> Entry {
    let wall = Timestamp::from_secs(BEGIN);
    let shapes = [SchemaId::new(1), SchemaId::new(1).lasting()];
    let shape = match feed.byte() {
        0 => SchemaId::TOMBSTONE,
        1 => SchemaId::from_raw(feed.u16()),
        any => shapes[usize::from(any) % shapes.len()],
    };
    let ts = match feed.byte() {
        0 => Timestamp::from_nanos(feed.edge()),
        after => wall.plus(Duration::from_secs(after.into())),
    };
    let expires_at = match feed.byte() {
        0 => Timestamp::from_nanos(feed.edge()),
        after => wall.plus(Duration::from_secs(after.into()) * 60),
    };
    let (tie, writer, how) = (feed.edge(), WriterTag(feed.edge()), feed.byte());
    let body = Bytes::copy_from_slice(feed.piece());
    let front = body.first_chunk().copied().unwrap_or([how; 16]);
    let known = Body {
        schema: shape.shape(),
        bytes: body.clone(),
    };
    let key = match how % 8 {
        0 => Key([how / 128; 16]),
        _ => match schema.decode(Key(front), &known) {
            Ok(record) => schema.key(&record),
            Err(_) => Key(front),
        },
    };
    Entry {
        key,
        ts,
        tie,
        writer,
        expires_at,
        schema: shape,
        body,
    }
}
