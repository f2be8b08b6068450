//! A map of notes, and a model of it: an ordered map of entries, joined one by one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rumormill::id::WriterTag;
use rumormill::store::{Limits, WriteError};
use rumormill::time::Timestamp;
use rumormill::unstable::crdt::digest::entry_hash;
use rumormill::unstable::crdt::join;
use rumormill::unstable::store::{Digest, Merged, replica};
use rumormill::unstable::wire::Entry;
use rumormill::{Body, Expiry, Key, Map, Schema, SchemaId, Unreadable};

use super::feed::Feed;
use super::stores::{BEGIN, Clock, held};

const NOTE: SchemaId = SchemaId::new(1);
/// Who writes here.
const OWN: WriterTag = WriterTag(1);
/// A tombstone is kept so long, and an entry may live so long: so short that both are met.
const TTL: Duration = Duration::from_secs(40);
const LIFETIME_MAX: Duration = Duration::from_secs(2000);

/// Texts, each under its first byte.
struct Notes;

impl Schema for Notes {
    type Record = String;
    type Index = ();

    fn name(&self) -> &str {
        "notes"
    }

    fn schemas(&self) -> &[SchemaId] {
        &[NOTE]
    }

    fn key(&self, text: &String) -> Key {
        key(text.bytes().next().unwrap_or(0))
    }

    fn encode(&self, text: &String) -> Body {
        Body {
            schema: NOTE,
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    fn decode(&self, _: Key, body: &Body) -> Result<String, Unreadable> {
        let malformed = Unreadable::Malformed { schema: NOTE };
        String::from_utf8(body.bytes.to_vec()).map_err(|_| malformed)
    }
}

fn key(id: u8) -> Key {
    Key([id % 6; 16])
}

struct Model {
    map: Map<Notes>,
    clock: Clock,
    now: Timestamp,
    entries: BTreeMap<Key, Entry>,
    kept: Vec<(Vec<u8>, BTreeMap<Key, Entry>)>,
}

/// Whatever is done to a map, it holds and shows what its entries say.
pub fn map(data: &[u8]) {
    let clock = Clock::new();
    let limits = Limits::default()
        .tombstone_ttl(TTL)
        .lifetime_max(LIFETIME_MAX);
    let mut model = Model {
        map: Map::new(Notes, limits, clock.context(OWN)),
        clock,
        now: Timestamp::from_secs(BEGIN),
        entries: BTreeMap::new(),
        kept: Vec::new(),
    };
    let mut feed = Feed::new(data);
    for _ in 0..64 {
        if feed.is_empty() {
            break;
        }
        model.step(&mut feed);
        model.check();
    }
}

impl Model {
    fn step(&mut self, feed: &mut Feed<'_>) {
        match feed.byte() % 8 {
            0 => self.set_clock(feed),
            1 => self.merge(feed),
            2 => self.put(feed, false),
            3 => self.put(feed, true),
            4 => self.remove(feed),
            5 => self.purge(feed),
            6 => self.snapshot(),
            _ => self.restore(feed),
        }
    }

    /// Some time near the present, before or after it.
    fn time(feed: &mut Feed<'_>) -> Timestamp {
        Timestamp::from_secs(BEGIN - 1000 + u64::from(feed.u16() % 4000))
    }

    /// A node looks at once when something expires: nothing is left to look at when the clock jumps.
    fn set_clock(&mut self, feed: &mut Feed<'_>) {
        let to = Self::time(feed);
        for at in [self.now, to] {
            self.clock.set(at);
            let _ = self.map.store().collect(at);
            let grace = self.map.limits().grace();
            let owed =
                |entry: &Entry| entry.schema.is_lasting() || entry.expires_at.plus(grace) > at;
            self.entries.retain(|_, entry| owed(entry));
        }
        self.now = to;
    }

    fn merge(&mut self, feed: &mut Feed<'_>) {
        let count = 1 + feed.below(4);
        let mut entries: Vec<Entry> = (0..count).map(|_| Self::entry(feed)).collect();
        // As peers send them: one of a key at a time. Others are those of `bodies`.
        entries.sort_by_key(|entry| entry.key);
        entries.dedup_by_key(|entry| entry.key);
        let from = WriterTag(u64::from(feed.byte() % 3));
        let mut results = Vec::new();
        let store = self.map.store();
        replica(&*store).merge_into(&entries, from, self.now, &mut results);
        assert_eq!(results.len(), entries.len());
        for (entry, merged) in entries.iter().zip(results) {
            let stored = matches!(merged, Merged::Stored { .. });
            assert_eq!(self.joins(entry, self.now), stored, "{entry:?}: {merged:?}");
        }
    }

    fn entry(feed: &mut Feed<'_>) -> Entry {
        let bodies: [&[u8]; 4] = [b"", b"a", b"b", b"\xff"];
        let id = feed.byte() % 6;
        let schemas = [NOTE, NOTE.lasting(), SchemaId::new(2), SchemaId::TOMBSTONE];
        let schema = schemas[feed.below(4)];
        let body = match schema.shape() {
            NOTE => [&[id], bodies[feed.below(4)]].concat(),
            SchemaId::TOMBSTONE => Vec::new(),
            _ => vec![feed.byte()],
        };
        Entry {
            key: key(id),
            ts: Self::time(feed),
            tie: u64::from(feed.byte() % 2),
            writer: WriterTag(u64::from(feed.byte() % 3)),
            expires_at: Self::time(feed),
            schema,
            body: body.into(),
        }
    }

    /// Joins an entry in that came at `wall`; whether that changes anything.
    fn joins(&mut self, entry: &Entry, wall: Timestamp) -> bool {
        let limits = self.map.limits();
        let owed = entry.schema.is_lasting() || entry.expires_at.plus(limits.grace()) > wall;
        let refused = entry.ts > wall.plus(limits.max_clock_drift)
            || entry.expires_at > entry.ts.plus(LIFETIME_MAX);
        let held = self.entries.get(&entry.key);
        if refused || (held.is_none() && !owed) {
            return false;
        }
        let joined = held.map_or_else(|| entry.clone(), |held| join(held, entry));
        let changes = held != Some(&joined);
        self.entries.insert(entry.key, joined);
        changes
    }

    fn put(&mut self, feed: &mut Feed<'_>, guarded: bool) {
        let id = feed.byte() % 6;
        let text = format!("{}{}", char::from(id), ["x", "y", "z"][feed.below(3)]);
        let span = Duration::from_secs(u64::from(feed.u16() % 2400));
        let expiry = match feed.byte() % 3 {
            0 => Expiry::After(span),
            1 => Expiry::At(Timestamp::from_secs(BEGIN - 400).plus(span)),
            _ => Expiry::Never,
        };
        let mut entry = Entry {
            key: key(id),
            ts: self.now,
            tie: 0,
            writer: OWN,
            expires_at: Timestamp::ZERO,
            schema: NOTE,
            body: text.clone().into(),
        };
        match expiry {
            Expiry::After(span) => entry.expires_at = self.now.plus(span),
            Expiry::At(at) => entry.expires_at = at,
            _ => entry.schema = NOTE.lasting(),
        }
        let (_, seq) = self.map.read(&entry.key);
        assert_eq!(seq == 0, !self.entries.contains_key(&entry.key));
        let mut conflicts = false;
        let written = if guarded {
            let seen = if feed.byte().is_multiple_of(4) {
                seq + 1
            } else {
                seq
            };
            conflicts = seen != seq;
            entry.tie = feed.edge();
            self.map.put_if_local(text, expiry, entry.tie, seen)
        } else {
            self.map.put(text, expiry)
        };
        if let Some(held) = self.entries.get(&entry.key) {
            entry.ts = entry.ts.max(held.ts.plus(Duration::from_nanos(1)));
        }
        let lasts = entry.expires_at > entry.ts.plus(LIFETIME_MAX);
        match written {
            Ok(_) => assert!(!conflicts && !lasts),
            Err(WriteError::Conflict) => return assert!(conflicts),
            Err(WriteError::TooLasting { .. }) => return assert!(lasts && !conflicts),
            Err(other) => panic!("{other}"),
        }
        self.write(entry);
    }

    fn write(&mut self, entry: Entry) {
        let held = self.entries.get(&entry.key);
        let joined = held.map_or_else(|| entry.clone(), |held| join(held, &entry));
        self.entries.insert(entry.key, joined);
    }

    /// What removes a key that is live; `None` if it is not.
    fn tombstone(&self, key: Key) -> Option<Entry> {
        let held = self.entries.get(&key)?;
        let live = !held.schema.is_tombstone() && held.outlives(self.now);
        live.then(|| Entry {
            key,
            ts: self.now.max(held.ts.plus(Duration::from_nanos(1))),
            tie: 0,
            writer: OWN,
            expires_at: if held.schema.is_lasting() {
                self.now.plus(TTL)
            } else {
                held.expires_at
            },
            schema: SchemaId::TOMBSTONE,
            body: Bytes::new(),
        })
    }

    fn remove(&mut self, feed: &mut Feed<'_>) {
        let key = key(feed.byte());
        let removed = self.map.remove(&key).expect("there is room");
        let tombstone = self.tombstone(key);
        assert_eq!(removed.is_some(), tombstone.is_some());
        if let Some(tombstone) = tombstone {
            self.write(tombstone);
        }
    }

    fn purge(&mut self, feed: &mut Feed<'_>) {
        let writer = WriterTag(u64::from(feed.byte() % 3));
        let (mut removed, mut position) = (0, Some(0));
        while let Some(from) = position {
            let (count, next) = self.map.store().purge(writer, from).expect("there is room");
            removed += count;
            position = next;
        }
        let theirs = self.entries.values().filter(|it| it.writer == writer);
        let keys: Vec<Key> = theirs.map(|entry| entry.key).collect();
        let tombstones: Vec<_> = keys.iter().filter_map(|key| self.tombstone(*key)).collect();
        assert_eq!(removed, tombstones.len());
        tombstones.into_iter().for_each(|it| self.write(it));
    }

    fn snapshot(&mut self) {
        let mut bytes = Vec::new();
        self.map.snapshot(&mut bytes).expect("memory takes it");
        self.kept.truncate(3);
        self.kept.push((bytes, self.entries.clone()));
    }

    /// A snapshot of its own comes back however far it is ahead of the clock: entries that are, at their
    /// own time.
    fn restore(&mut self, feed: &mut Feed<'_>) {
        if self.kept.is_empty() {
            return;
        }
        let (bytes, entries) = self.kept[feed.below(self.kept.len())].clone();
        // Also what may have been removed longer ago than is remembered.
        let restored = self.map.restore_all(&mut &bytes[..]).expect("its own");
        let drift = self.map.limits().max_clock_drift;
        let mut stored = 0;
        for entry in entries.values() {
            let ahead = entry.ts > self.now.plus(drift);
            let wall = if ahead { entry.ts } else { self.now };
            stored += usize::from(self.joins(entry, wall));
        }
        assert_eq!((restored.stored, restored.refused), (stored, 0));
    }

    fn check(&self) {
        let store = self.map.store();
        let expected: Vec<_> = self.entries.values().cloned().collect();
        assert_eq!(held(&*store), expected);
        let (mut live, mut poisoned) = (0, 0);
        for entry in self.entries.values() {
            let text = (entry.schema.shape() == NOTE).then(|| std::str::from_utf8(&entry.body));
            let text = text.and_then(Result::ok);
            poisoned += usize::from(text.is_none() && !entry.schema.is_tombstone());
            let text = text.filter(|_| entry.outlives(self.now));
            live += usize::from(text.is_some());
            let (shown, seq) = self.map.read(&entry.key);
            assert_eq!(shown.as_deref().map(String::as_str), text);
            assert!(seq > 0 && seq <= store.head());
        }
        assert_eq!(self.map.records().len(), live);
        assert_eq!(self.map.quarantined_len(), poisoned);
        for cut in [Timestamp::ZERO, self.now, self.now.plus(TTL)] {
            let above = || self.entries.values().filter(|it| it.outlives(cut));
            let root = above().fold(0_u128, |sum, it| sum.wrapping_add(entry_hash(it)));
            let count = above().count() as u64;
            assert_eq!(replica(&*store).digest(cut), Digest { count, root });
        }
    }
}
