//! What a store costs per entry of 300 bytes: `cargo bench --bench merge`.
//!
//! Times are per entry, over runs of 256 as deltas and push/pulls bring them, in a store that
//! holds 1k, 10k or 100k entries already. Targets: fresh 0.95 us with all indexes, known 0.25 us
//! and without an allocation of its own.
#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rumormill::crdt::digest::Fingerprint;
use rumormill::store::{
    Body, Context, Expiry, Limits, Map, ReplicationError, Schema, Store, Tracker, Unreadable,
    Watch, WriteId,
};
use rumormill::time::{Timestamp, WallClock};
use rumormill::wire::{Entry, HEADER_BYTES, Key, SchemaId};

criterion_group!(benches, merges, hashes);
criterion_main!(benches);

fn merges(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    for size in [1_000, 10_000, 100_000] {
        let held = entries(0, size, 0);
        let batch = size / 4;
        group.bench_function(BenchmarkId::new("fresh", size), |b| {
            let news = entries(size, batch, 0);
            b.iter_custom(|iters| changing(iters, &held, &news, merge_all));
        });
        group.bench_function(BenchmarkId::new("newer", size), |b| {
            let news = entries(0, batch, 1);
            b.iter_custom(|iters| changing(iters, &held, &news, merge_all));
        });
        group.bench_function(BenchmarkId::new("put", size), |b| {
            let news = entries(size, batch, 0);
            b.iter_custom(|iters| changing(iters, &held, &news, put_all));
        });
        group.bench_function(BenchmarkId::new("known", size), |b| {
            let map = filled(&held);
            let store = map.store();
            let again = entries(0, size, 0);
            b.iter_custom(|iters| {
                let mut left = count(iters);
                let mut spent = Duration::ZERO;
                while left > 0 {
                    let some = &again[..left.min(again.len())];
                    spent += merge_all(&map, &*store, some);
                    left -= some.len();
                }
                spent
            });
        });
    }
}

fn hashes(c: &mut Criterion) {
    let entry = &entries(0, 1, 0)[0];
    c.bench_function("fingerprint of 300 bytes", |b| {
        b.iter(|| Fingerprint::of(black_box(entry)));
    });
}

/// The time of `iters` entries of `news`, each time into a new store that holds `held`.
fn changing(
    iters: u64,
    held: &[Entry],
    news: &[Entry],
    change: fn(&Map<Blobs>, &dyn Store, &[Entry]) -> Duration,
) -> Duration {
    let mut left = count(iters);
    let mut spent = Duration::ZERO;
    while left > 0 {
        let map = filled(held);
        let store = map.store();
        let some = &news[..left.min(news.len())];
        spent += change(&map, &*store, some);
        left -= some.len();
    }
    spent
}

/// The time of merging `entries`, each run of which has just come off the wire: in memory of its
/// own and in the caches.
fn merge_all(_: &Map<Blobs>, store: &dyn Store, entries: &[Entry]) -> Duration {
    let mut spent = Duration::ZERO;
    for run in entries.chunks(256) {
        let run: Vec<_> = run.iter().map(received).collect();
        spent += timed(|| drop(black_box(store.merge(&run, NOW))));
    }
    spent
}

fn received(entry: &Entry) -> Entry {
    Entry {
        body: Bytes::copy_from_slice(&entry.body),
        ..entry.clone()
    }
}

fn put_all(map: &Map<Blobs>, _: &dyn Store, entries: &[Entry]) -> Duration {
    let mut spent = Duration::ZERO;
    for run in entries.chunks(256) {
        let blobs: Vec<_> = run.iter().map(blob).collect();
        spent += timed(|| {
            for (blob, expiry) in blobs {
                black_box(map.put(blob, expiry).is_ok());
            }
        });
    }
    spent
}

fn blob(entry: &Entry) -> (Blob, Expiry) {
    let blob = Blob {
        key: entry.key,
        bytes: entry.body[16..].into(),
    };
    (blob, Expiry::At(entry.expires_at))
}

#[allow(clippy::disallowed_methods)] // A bench is where time is measured.
fn timed(what: impl FnOnce()) -> Duration {
    let start = Instant::now();
    what();
    start.elapsed()
}

fn count(iters: u64) -> usize {
    usize::try_from(iters).unwrap_or(usize::MAX)
}

fn filled(held: &[Entry]) -> Map<Blobs> {
    let context = Context {
        clock: Arc::new(Fixed),
        tracker: Arc::new(NoTracker),
    };
    let map = Map::new(Blobs, Limits::default(), context);
    merge_all(&map, &*map.store(), held);
    map
}

/// `count` entries from the `from`-th on, 300 bytes each, written `later` nanoseconds later.
fn entries(from: usize, count: usize, later: u64) -> Vec<Entry> {
    let mut random = Random(7);
    let all = (0..from + count).map(|_| entry(&mut random, later));
    all.skip(from).collect()
}

fn entry(random: &mut Random, later: u64) -> Entry {
    let mut body = vec![0; 300 - HEADER_BYTES];
    for chunk in body.chunks_mut(8) {
        let bytes = random.next().to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    let mut key = [0; 16];
    key.copy_from_slice(&body[..16]);
    Entry {
        key: Key(key),
        ts: Timestamp::from_nanos(NOW.as_nanos() - random.next() % HOUR + later),
        tie: 0,
        expires_at: Timestamp::from_nanos(NOW.as_nanos() + HOUR + random.next() % (100 * HOUR)),
        schema: SHAPES[0],
        body: Bytes::from(body),
    }
}

/// SplitMix64: the same entries in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A key and bytes: decoding is one copy.
struct Blob {
    key: Key,
    bytes: Box<[u8]>,
}

struct Blobs;

impl Schema for Blobs {
    type Record = Blob;
    type Index = ();

    fn name(&self) -> &str {
        "blobs"
    }

    fn schemas(&self) -> &[SchemaId] {
        &SHAPES
    }

    fn key(&self, record: &Blob) -> Key {
        record.key
    }

    fn encode(&self, record: &Blob) -> Body {
        let mut bytes = Vec::with_capacity(16 + record.bytes.len());
        bytes.extend(record.key.0);
        bytes.extend(&record.bytes);
        Body {
            schema: SHAPES[0],
            bytes: bytes.into(),
        }
    }

    fn decode(&self, _: Key, body: &Body) -> Result<Blob, Unreadable> {
        match body.bytes.split_first_chunk() {
            Some((key, bytes)) => Ok(Blob {
                key: Key(*key),
                bytes: bytes.into(),
            }),
            None => Err(Unreadable::Malformed {
                schema: body.schema,
            }),
        }
    }
}

struct Fixed;

impl WallClock for Fixed {
    fn wall(&self) -> Timestamp {
        NOW
    }
}

struct NoTracker;

impl Tracker for NoTracker {
    fn watch(&self, _: WriteId, _: usize) -> Watch {
        Box::pin(async { Err(ReplicationError::NotRunning) })
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOUR: u64 = 3_600_000_000_000;
static SHAPES: [SchemaId; 1] = [SchemaId::new(1)];
