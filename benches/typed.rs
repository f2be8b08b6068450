//! What a typed map costs beside the map beneath it: `cargo bench --bench typed`.
//!
//! 100,000 keys, values of 64 bytes, no ordered index. Both maps hold the same keys and values; the
//! other one's schema writes and reads its two fields by hand. Puts replace what is held, gets are of keys in any
//! order, merges are of entries that are new, in runs of 256. *Followed*: 64 puts, then each of so many followers reads
//! what has changed. Rows under `ratio` are typed by plain, from runs that took turns. Bar: 1.5.
#![allow(missing_docs)]

mod support;
mod tables;

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use rumormill::store::typed::{MapChanges, MapShape};
use rumormill::store::{Body, Limits, Map, Schema, Unreadable};
use rumormill::unstable::store::replica;
use rumormill::unstable::wire::Entry;
use rumormill::{Expiry, Key, SchemaId, TypedMap};
use support::{BEGIN, Random, VirtualClock, context};
use tables::{Table, is_test, mean_of};

/// Runs behind a figure.
const RUNS: usize = 10;
/// Puts between two reads of the followers.
const BATCH: u64 = 64;

type Typed = TypedMap<u64, String>;

struct Pair {
    key: u64,
    value: String,
}

/// The schema that somebody would write by hand.
struct Plain;

const SHAPES: &[SchemaId] = &[SchemaId::new(1)];

impl Schema for Plain {
    type Record = Pair;
    type Index = ();

    fn name(&self) -> &str {
        "plain"
    }

    fn schemas(&self) -> &[SchemaId] {
        SHAPES
    }

    fn key(&self, record: &Pair) -> Key {
        Key::of(&record.key.to_be_bytes())
    }

    fn encode(&self, record: &Pair) -> Body {
        let mut bytes = Vec::with_capacity(8 + record.value.len());
        bytes.extend_from_slice(&record.key.to_be_bytes());
        bytes.extend_from_slice(record.value.as_bytes());
        Body {
            schema: SHAPES[0],
            bytes: bytes.into(),
        }
    }

    fn decode(&self, _: Key, body: &Body) -> Result<Pair, Unreadable> {
        let schema = body.schema;
        let malformed = || Unreadable::Malformed { schema };
        let (key, value) = body.bytes.split_first_chunk().ok_or_else(malformed)?;
        let value = std::str::from_utf8(value).map_err(|_| malformed())?;
        Ok(Pair {
            key: u64::from_be_bytes(*key),
            value: value.to_owned(),
        })
    }
}

fn main() {
    let mut table = Table::new("typed");
    let keys: u64 = if is_test() { 1_000 } else { 100_000 };
    let (typed, plain) = (typed(), plain());
    for key in 0..keys {
        put_typed(&typed, key);
        put_plain(&plain, key);
    }
    let mut order: Vec<u64> = (0..keys).collect();
    Random(7).shuffle(&mut order);

    let puts = |put: &dyn Fn(u64)| per(keys, || order.iter().for_each(|key| put(*key)));
    compare(
        &mut table,
        "put",
        || puts(&|key| put_typed(&typed, key)),
        || puts(&|key| put_plain(&plain, key)),
    );
    compare(
        &mut table,
        "get",
        || puts(&|key| drop(black_box(typed.get(&key)))),
        || puts(&|key| drop(black_box(plain.get(&Key::of(&key.to_be_bytes()))))),
    );
    let of_typed = entries(&*typed.map().store());
    let of_plain = entries(&*plain.store());
    compare(
        &mut table,
        "merge",
        || merge(&*self::typed().map().store(), &of_typed),
        || merge(&*self::plain().store(), &of_plain),
    );
    for followers in [1, 10, 100] {
        followed(&mut table, followers, keys.min(10_000), (&typed, &plain));
    }
    table.finish();
}

/// Puts with so many followers that read them.
fn followed(table: &mut Table, followers: usize, puts: u64, (typed, plain): (&Typed, &Map<Plain>)) {
    let mut of_typed: Vec<_> = (0..followers).map(|_| typed.changes()).collect();
    let mut of_plain: Vec<u64> = vec![plain.store().head(); followers];
    compare(
        table,
        &format!("followed_by_{followers}/put"),
        || {
            per(puts, || {
                for batch in 0..puts / BATCH {
                    (batch * BATCH..(batch + 1) * BATCH).for_each(|key| put_typed(typed, key));
                    of_typed.iter_mut().for_each(read_all);
                }
            })
        },
        || {
            per(puts, || {
                for batch in 0..puts / BATCH {
                    (batch * BATCH..(batch + 1) * BATCH).for_each(|key| put_plain(plain, key));
                    for seen in &mut of_plain {
                        let changed = plain.changed(*seen, 256).expect("few have changed");
                        *seen = changed.seq;
                        black_box(changed);
                    }
                }
            })
        },
    );
}

/// A row for each of the two, and one for how they compare. Their runs take turns.
fn compare(
    table: &mut Table,
    what: &str,
    mut typed: impl FnMut() -> f64,
    mut plain: impl FnMut() -> f64,
) {
    let mut of_plain = Vec::new();
    let of_typed = mean_of(RUNS, || {
        of_plain.push(plain());
        typed()
    });
    // The first run counts for neither; with `--test` there is no other.
    let counted = of_plain.get(1..).filter(|it| !it.is_empty());
    let counted = counted.unwrap_or(&of_plain);
    let of_plain = counted.iter().sum::<f64>() / counted.len() as f64;
    table.row(format!("typed/{what}/ns"), of_typed);
    table.row(format!("plain/{what}/ns"), of_plain);
    table.row(format!("ratio/{what}/times"), of_typed / of_plain);
}

fn read_all(changes: &mut MapChanges<u64, String>) {
    let mut context = Context::from_waker(Waker::noop());
    while pin!(changes.next()).as_mut().poll(&mut context).is_ready() {}
}

fn merge(store: &dyn rumormill::store::Store, entries: &[Entry]) -> f64 {
    per(entries.len() as u64, || {
        for run in entries.chunks(256) {
            black_box(replica(store).merge(run, BEGIN));
        }
    })
}

fn entries(store: &dyn rumormill::store::Store) -> Vec<Entry> {
    let (mut out, mut seen) = (Vec::new(), 0);
    loop {
        let changes = replica(store).changes(seen, 256, usize::MAX);
        let Some(last) = changes.last() else {
            return out;
        };
        seen = last.seq;
        out.extend(changes.into_iter().map(|change| change.entry));
    }
}

/// Nanoseconds for each of so many.
fn per(count: u64, what: impl FnOnce()) -> f64 {
    let start = thread_time();
    what();
    (thread_time() - start).as_nanos() as f64 / count as f64
}

/// Processor time of this thread: what else the machine does is not counted.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it is not negative")
}

fn put_typed(map: &Typed, key: u64) {
    map.insert(key, value(key)).expect("there is room");
}

fn put_plain(map: &Map<Plain>, key: u64) {
    let value = value(key);
    let put = map.put(Pair { key, value }, Expiry::Never);
    put.expect("there is room");
}

fn value(key: u64) -> String {
    format!("{key:064}")
}

fn typed() -> Typed {
    let clock = Arc::new(VirtualClock::default());
    TypedMap::new("typed", MapShape::default(), limits(), context(clock))
}

fn plain() -> Map<Plain> {
    let clock = Arc::new(VirtualClock::default());
    Map::new(Plain, limits(), context(clock))
}

fn limits() -> Limits {
    Limits::default().share_percent(100)
}
