//! What one entry of 300 bytes costs the store that receives it: `cargo bench --bench merge`.
//!
//! *Fresh*: into a store that holds 1k, 10k or 100k entries come a quarter as many that are new.
//! *Known*: all that it holds comes again, in another order. Entries come in runs of 256, as deltas
//! and push/pulls bring them. Bars: a fresh silence 950 ns with every index kept, a fresh log entry
//! 800 ns, a known entry 250 ns and no allocation.
//!
//! Under `fresh/<n>/<part>` is what the parts of it take when they are run by themselves; `index` is
//! the silences' label index. They need not add up: each has the caches to itself.
#![allow(missing_docs)]

#[path = "support/alloc.rs"]
mod alloc;
mod support;
mod tables;

use rumormill::id::WriterTag;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use alloc::counted;
use rumormill::store::nflog::{HeldEntry, NflogSchema};
use rumormill::store::silences::{HeldSilence, SilenceIndex, SilenceSchema};
use rumormill::store::{Body, Index, Limits, Map, Schema};
use rumormill::unstable::crdt::digest::{BodyHash, entry_hash};
use rumormill::unstable::crdt::map::{EntryMap, MapBounds};
use rumormill::unstable::store::{Replica, replica};
use rumormill::unstable::wire::Entry;
use support::{BEGIN, ENTRY_BYTES, Random, VirtualClock, context, received, timed};
use tables::{Table, is_test, mean_in_rounds};

/// Entries that come at once.
const RUN: usize = 256;
/// Entries behind one of the runs of a mean, at least.
const RUN_ENTRIES: usize = 10_000;
const WARM_UP: Duration = Duration::from_secs(1);

fn main() {
    let mut table = Table::new("merge");
    let sizes: &[usize] = if is_test() {
        &[1_000]
    } else {
        &[1_000, 10_000, 100_000]
    };
    let silences = || SilenceSchema::default();
    warm_up(&silences);
    for &held in sizes {
        let entries = support::silences(held + held / 4, &mut Random(7));
        let read = |silence: &HeldSilence| {
            black_box(silence.whole());
        };
        merges(&mut table, "silences", &entries, held, &silences, &read);
        parts(&mut table, "silences", &entries[held..], held, &silences());
        label_index(&mut table, &entries, held, &silences());
    }
    for &held in sizes {
        let entries = support::notifications(held + held / 4, &mut Random(7));
        let read = |entry: &HeldEntry| {
            black_box(entry.whole());
        };
        merges(&mut table, "nflog", &entries, held, &|| NflogSchema, &read);
        parts(&mut table, "nflog", &entries[held..], held, &NflogSchema);
    }
    table.finish();
}

/// Fresh and known entries, and the memory that they take.
fn merges<S: Schema>(
    table: &mut Table,
    store: &str,
    entries: &[Entry],
    held: usize,
    schema: &dyn Fn() -> S,
    read: &dyn Fn(&S::Record),
) {
    let (old, new) = entries.split_at(held);
    let time = mean_per(new, || {
        let map = filled(schema(), old);
        merge_all(replica(&*map.store()), new)
    });
    table.row(format!("{store}/fresh/{held}/ns_per_entry"), time);
    let map = filled(schema(), old);
    let allocations = counted_merge(replica(&*map.store()), new);
    table.row(
        format!("{store}/fresh/{held}/allocations_per_entry"),
        allocations,
    );

    let mut again = entries.to_vec();
    Random(8).shuffle(&mut again);
    let time = mean_per(&again, || merge_all(replica(&*map.store()), &again));
    table.row(format!("{store}/known/{held}/ns_per_entry"), time);
    let allocations = counted_merge(replica(&*map.store()), &again);
    table.row(
        format!("{store}/known/{held}/allocations_per_entry"),
        allocations,
    );
    drop(map);

    let mut row = |what: &str, bytes: f64| {
        let name = format!("{store}/memory/{held}{what}/bytes_per_entry");
        table.row(name, bytes / held as f64);
    };
    let (map, unread) = counted(|| filled(schema(), old));
    row("", unread.bytes_held as f64);
    // Once every record was asked for.
    let records = map.records();
    let ((), more) = counted(|| records.iter().for_each(|(_, record)| read(record)));
    row("/read", (unread.bytes_held + more.bytes_held) as f64);
}

/// What a fresh entry's parts take by themselves.
fn parts<S: Schema>(table: &mut Table, store: &str, new: &[Entry], held: usize, schema: &S) {
    let mut row = |part: &str, ns: f64| {
        table.row(format!("{store}/fresh/{held}/{part}/ns_per_entry"), ns);
    };
    let read = |entry: &Entry| {
        let body = Body {
            schema: entry.schema,
            bytes: entry.body.clone(),
        };
        schema.decode(entry.key, &body).map(Arc::new)
    };
    row("decode", mean_per(new, || timed_each(new, read)));
    row("hash", mean_per(new, || timed_each(new, entry_hash)));
    let bounds = MapBounds {
        lifetime_max: Duration::MAX,
        entry_bytes_max: ENTRY_BYTES,
        max_clock_drift: Duration::ZERO,
        grace: Duration::ZERO,
    };
    let old = support::notifications(held, &mut Random(9));
    let map = mean_per(new, || {
        let mut map = EntryMap::new(bounds);
        let hash = BodyHash::of(&[]);
        for entry in &old {
            map.apply(entry.clone(), hash, ());
        }
        timed_each(new, |entry| map.apply(entry.clone(), hash, ()))
    });
    row("map", map);
}

fn label_index(table: &mut Table, entries: &[Entry], held: usize, schema: &SilenceSchema) {
    let read = |entry: &Entry| {
        let body = Body {
            schema: entry.schema,
            bytes: entry.body.clone(),
        };
        Arc::new(schema.decode(entry.key, &body).expect("it is a silence"))
    };
    let silences: Vec<Arc<HeldSilence>> = entries.iter().map(read).collect();
    let (old, new) = silences.split_at(held);
    let index = mean_per(new, || {
        let mut index = SilenceIndex::default();
        for silence in old {
            index.insert(silence.id().key(), None, silence);
        }
        let insert = |silence: &Arc<HeldSilence>| index.insert(silence.id().key(), None, silence);
        timed_each(new, insert)
    });
    table.row(format!("silences/fresh/{held}/index/ns_per_entry"), index);
}

/// The time of `what` for each of a list; what it makes is dropped outside of it.
fn timed_each<T, U>(list: &[T], mut what: impl FnMut(&T) -> U) -> Duration {
    let mut spent = Duration::ZERO;
    let mut made = Vec::with_capacity(RUN);
    for run in list.chunks(RUN) {
        let ((), time) = timed(|| made.extend(run.iter().map(|one| black_box(what(one)))));
        spent += time;
        made.clear();
    }
    spent
}

/// The time of merging `entries`, each run of which has just come off the wire.
fn merge_all(store: &dyn Replica, entries: &[Entry]) -> Duration {
    let mut spent = Duration::ZERO;
    let mut answers = Vec::with_capacity(RUN);
    for run in entries.chunks(RUN) {
        let run: Vec<_> = run.iter().map(received).collect();
        spent +=
            timed(|| store.merge_into(&run, WriterTag::NONE, BEGIN, black_box(&mut answers))).1;
        assert_eq!(answers.len(), run.len());
        answers.clear();
    }
    spent
}

/// The allocations of merging `entries`, per entry.
fn counted_merge(store: &dyn Replica, entries: &[Entry]) -> f64 {
    let mut count = 0;
    let mut answers = Vec::with_capacity(RUN);
    for run in entries.chunks(RUN) {
        let run: Vec<_> = run.iter().map(received).collect();
        count += counted(|| store.merge_into(&run, WriterTag::NONE, BEGIN, &mut answers))
            .1
            .count;
        answers.clear();
    }
    count as f64 / entries.len() as f64
}

fn filled<S: Schema>(schema: S, held: &[Entry]) -> Map<S> {
    let map = Map::new(
        schema,
        Limits::default(),
        context(Arc::new(VirtualClock::default())),
    );
    merge_all(replica(&*map.store()), held);
    assert_eq!(map.store().len(), held.len());
    map
}

/// The mean of what `once` takes for each of a list. A run is many rounds of a short list.
fn mean_per<T>(list: &[T], mut once: impl FnMut() -> Duration) -> f64 {
    let rounds = RUN_ENTRIES.div_ceil(list.len());
    mean_in_rounds(rounds, || once().as_nanos() as f64 / list.len() as f64)
}

/// A machine that has just compiled is not at rest, and a process that has just begun has no memory yet.
fn warm_up(schema: &dyn Fn() -> SilenceSchema) {
    let entries = support::silences(1_000, &mut Random(7));
    let begin = support::instant();
    while !is_test() && begin.elapsed() < WARM_UP {
        filled(schema(), &entries);
    }
}
