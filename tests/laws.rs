//! What the reader of a replicated silence or record can rely on, one law a test: things that go wrong in
//! Alertmanager, and must not go wrong here. Two nodes `exchange` what they hold: each merges all that
//! the other has, as a push/pull would do. That the join is commutative, associative and idempotent is
//! tested beside it, in `crdt/join.rs`.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rumormill::id::{Key, Refusal, SchemaId, WriterTag};
use rumormill::store::matcher::{Labels, Matcher, Op};
use rumormill::store::silences::{NewSilence, Query, SilenceId, SilenceLimits, Silences};
use rumormill::store::{
    Body, Context, Copies, Expiry, Limits, Map, ReplicationError, Schema, Store, Tracker,
    Unreadable, Watch, WriteId,
};
use rumormill::time::{Timestamp, WallClock};
use rumormill::unstable::store::{Merged, replica};
use rumormill::unstable::wire::Entry;

// --- equal timestamps ---

/// Two versions of one instant: whichever comes first, all nodes end with the same one.
#[test]
fn equal_timestamps_end_alike_in_any_order() {
    let clock = Clock::at(100);
    let (a, b) = (notes(&clock), notes(&clock));
    let _ = a.put(note("left"), until(200)).unwrap();
    let _ = b.put(note("right"), until(300)).unwrap();
    exchange(&*a.store(), &*b.store(), &clock);
    assert_eq!(text(&a).as_deref(), Some("right"));
    assert_eq!(text(&b).as_deref(), Some("right"));
    assert_eq!(
        held(&*a.store())[0].expires_at,
        at(300),
        "the later of both"
    );
}

/// A silence that is expired on one node and extended on another in the same instant is expired: the safe
/// side for alerting.
#[test]
fn of_an_expiry_and_an_extension_at_once_the_expiry_wins() {
    for order in [[0, 1], [1, 0]] {
        let clock = Clock::at(100);
        let (a, b) = (silences(&clock, 1), silences(&clock, 2));
        let id = mute(&a, 500);
        exchange(&*a.store(), &*b.store(), &clock);
        clock.set(110);
        let _ = a.expire(id).unwrap();
        extend(&b, id, 900);
        let nodes = [&a, &b];
        let [from, to] = order.map(|n| nodes[n].store());
        merge(&*from, &*to, &clock);
        exchange(&*a.store(), &*b.store(), &clock);
        clock.set(120);
        for node in nodes {
            assert_eq!(node.get(id).unwrap().ends_at, at(110));
            assert_eq!(node.mutes(&alert()), []);
        }
    }
}

// --- clocks ---

/// A silence made under a fast clock is expired by a node of the right time, everywhere and for good.
#[test]
fn a_silence_of_a_future_timestamp_can_be_expired() {
    let (right, fast) = (Clock::at(100), Clock::at(300));
    let (here, there) = (silences(&right, 1), silences(&fast, 2));
    let id = mute(&there, 1_000);
    exchange(&*here.store(), &*there.store(), &right);
    right.set(101);
    assert!(here.expire(id).unwrap().is_some());
    exchange(&*here.store(), &*there.store(), &right);
    assert_eq!(there.get(id).unwrap().ends_at, at(101));
    assert_eq!(there.mutes(&alert()), []);
    // Later than what it replaced, though the clock is not.
    let version = &held(&*here.store())[0];
    assert!(version.ts > at(300));
}

/// An entry stamped far ahead of the clock is refused, and accepted once the clock has caught up.
#[test]
fn a_timestamp_beyond_the_drift_is_refused_until_its_time() {
    let (right, wrong) = (Clock::at(100), Clock::at(1_000));
    let (here, there) = (silences(&right, 1), silences(&wrong, 2));
    mute(&there, 5_000);
    let merged = merge(&*there.store(), &*here.store(), &right);
    assert_eq!(merged, [Merged::Refused(Refusal::ClockAhead)]);
    right.set(700);
    exchange(&*here.store(), &*there.store(), &right);
    right.set(1_000);
    assert_eq!(here.mutes(&alert()).len(), 1);
}

// --- poison ---

/// One silence whose pattern does not compile, which in Alertmanager ends all silencing.
#[test]
fn a_poison_matcher_mutes_nothing_and_is_in_nobodys_way() {
    let clock = Clock::at(100);
    let here = silences(&clock, 1);
    let before = mute(&here, 500);
    let poison = poison(&clock);
    let merged = replica(&*here.store()).merge(std::slice::from_ref(&poison), at(100));
    let [Merged::Stored { quarantined, .. }] = merged[..] else {
        panic!("{merged:?}");
    };
    assert!(quarantined);
    let after = mute(&here, 500);
    let mut muting = vec![before, after];
    muting.sort_unstable();
    assert_eq!(here.mutes(&alert()), muting);
    assert_eq!(here.query(&Query::default()).len(), 2);
    assert_eq!(here.quarantined(9).len(), 1);
    assert_eq!(
        replica(&*here.store()).held(&poison.key).unwrap().entry,
        poison
    );
}

/// An entry of a shape that a node does not know is kept for those who do.
#[test]
fn a_schema_from_the_future_is_kept_as_it_is() {
    let clock = Clock::at(100);
    let here = notes(&clock);
    let future = [
        SchemaId::new(2),
        SchemaId::new(2).lasting(),
        // A lasting tombstone is nothing that this version writes.
        SchemaId::from_raw(0x8000),
    ];
    for (n, schema) in (1..).zip(future) {
        let entry = Entry {
            key: Key([n; 16]),
            ts: at(100),
            tie: 0,
            writer: WriterTag::NONE,
            expires_at: at(900),
            schema,
            body: Bytes::from_static(b"?"),
        };
        replica(&*here.store()).merge(std::slice::from_ref(&entry), at(100));
        assert_eq!(
            replica(&*here.store()).held(&entry.key).unwrap().entry,
            entry
        );
        assert!(here.get(&entry.key).is_none());
    }
    let listed = here.quarantined(9);
    assert_eq!(listed.len(), 3);
    let schema = SchemaId::new(2);
    assert_eq!(listed[1].why, Unreadable::UnknownSchema { schema });
    assert_eq!(listed[1].schema, schema.lasting());
}

/// It passes through a node that cannot read it, between two that can and never meet.
#[cfg(feature = "sim")]
#[test]
fn a_quarantined_entry_is_relayed_intact_by_a_node_that_cannot_read_it() {
    use std::cell::RefCell;
    use std::rc::Rc;

    use rumormill::sim::{SimConfig, Simulator};

    let mut sim = Simulator::new(SimConfig::new(1));
    let maps = Rc::new(RefCell::new(Vec::new()));
    let made = Rc::clone(&maps);
    sim.set_store_factory(Box::new(move |node, context: &Context| {
        let reads = if node == 1 { OLD } else { NEW };
        let map = Map::new(Notes(reads), Limits::default(), context.clone());
        made.borrow_mut().push(map.clone());
        vec![map.store()]
    }));
    sim.add_nodes(3);
    sim.converge(Duration::from_secs(30)).unwrap();
    sim.partition(0, 2);
    sim.run_for(Duration::from_secs(10));
    let _ = maps.borrow()[0].put(note("new"), Expiry::Never).unwrap();
    let came = sim.run_until(Duration::from_secs(120), |_| {
        text(&maps.borrow()[2]).is_some()
    });
    assert!(came.is_some(), "it passes through the one between");
    let maps = maps.borrow();
    let entries = [0, 1, 2].map(|node| held(&*maps[node].store()));
    assert_eq!(entries[0], entries[1], "as it was written");
    assert_eq!(entries[1], entries[2]);
    assert_eq!(text(&maps[1]), None);
    assert_eq!(maps[1].quarantined_len(), 1);
    assert_eq!(text(&maps[2]).as_deref(), Some("new"));
}

// --- resurrection ---

/// A peer that was away when a silence was expired brings its old copy: before the record of the
/// end is collected, and after.
#[test]
fn no_resurrection_by_a_peer_that_was_away() {
    let clock = Clock::at(100);
    let (here, away) = (silences(&clock, 1), silences(&clock, 2));
    let id = mute(&here, 90_000);
    merge(&*here.store(), &*away.store(), &clock);
    clock.set(110);
    let _ = here.expire(id).unwrap();
    for now in [5_000, 89_999, 91_001, 95_000] {
        clock.set(now);
        collect(&*here.store(), &clock);
        merge(&*away.store(), &*here.store(), &clock);
        assert_eq!(here.mutes(&alert()), [], "at {now}");
    }
    assert!(here.store().is_empty(), "it is forgotten in the end");

    // The same of a record that is removed.
    let clock = Clock::at(100);
    let (here, away) = (notes(&clock), notes(&clock));
    let _ = here.put(note("live"), until(5_000)).unwrap();
    merge(&*here.store(), &*away.store(), &clock);
    let _ = here.remove(&KEY).unwrap();
    clock.set(4_000);
    collect(&*here.store(), &clock);
    exchange(&*here.store(), &*away.store(), &clock);
    assert_eq!((text(&here), text(&away)), (None, None));
}

/// A node comes back with a snapshot from before the end.
#[test]
fn no_resurrection_by_an_old_snapshot() {
    let clock = Clock::at(100);
    let (here, away) = (silences(&clock, 1), silences(&clock, 2));
    let id = mute(&here, 90_000);
    merge(&*here.store(), &*away.store(), &clock);
    let mut snapshot = Vec::new();
    away.map().snapshot(&mut snapshot).unwrap();
    clock.set(110);
    let _ = here.expire(id).unwrap();
    for now in [5_000, 89_999, 95_000] {
        clock.set(now);
        collect(&*here.store(), &clock);
        let back = silences(&clock, 3);
        back.map().restore(&mut &snapshot[..]).unwrap();
        exchange(&*back.store(), &*here.store(), &clock);
        assert_eq!(here.mutes(&alert()), [], "at {now}");
        assert_eq!(back.mutes(&alert()), [], "at {now}");
    }
}

/// A node with a longer retention still shows what a node with a shorter one has long hidden.
#[test]
fn no_resurrection_by_longer_retention_elsewhere() {
    let clock = Clock::at(100);
    let (short, long) = (retaining(&clock, 1, 10), retaining(&clock, 2, 100_000));
    let id = mute(&long, 5_000);
    exchange(&*short.store(), &*long.store(), &clock);
    clock.set(110);
    let _ = short.expire(id).unwrap();
    for now in [200, 6_000, 50_000] {
        clock.set(now);
        collect(&*short.store(), &clock);
        assert!(short.get(id).is_none(), "hidden at {now}");
        // The stale copy, again and again.
        merge(&*long.store(), &*short.store(), &clock);
        assert_eq!(short.mutes(&alert()), [], "at {now}");
    }
    exchange(&*short.store(), &*long.store(), &clock);
    assert_eq!(long.get(id).unwrap().ends_at, at(110));
}

/// A node whose clock is behind still holds as living what the others have collected.
#[test]
fn no_resurrection_by_a_clock_that_is_behind() {
    let (right, behind) = (Clock::at(100), Clock::at(100));
    let (here, there) = (silences(&right, 1), silences(&behind, 2));
    let id = mute(&here, 500);
    merge(&*here.store(), &*there.store(), &right);
    right.set(110);
    let _ = here.expire(id).unwrap();
    let end = 500 + RETENTION + grace();
    for now in [120, end - 1, end] {
        right.set(now);
        behind.set(105);
        collect(&*here.store(), &right);
        assert_eq!(there.mutes(&alert()), [id], "it has not heard");
        merge(&*there.store(), &*here.store(), &right);
        assert_eq!(here.mutes(&alert()), [], "at {now}");
    }
    assert!(here.store().is_empty());
}

// --- ageing ---

/// A tombstone is kept as long as what it removed would have been, and its own time if that had no end.
#[test]
fn a_tombstone_ages_no_sooner_than_what_it_removed() {
    let clock = Clock::at(100);
    let ttl = Limits::default().tombstone_ttl;
    for (expiry, kept_until) in [
        (until(90_000_000), at(90_000_000)),
        (until(200), at(200)),
        (Expiry::Never, at(100).plus(ttl)),
    ] {
        clock.set(100);
        let map = notes(&clock);
        let _ = map.put(note("live"), expiry).unwrap();
        let _ = map.remove(&KEY).unwrap().unwrap();
        assert!(map.remove(&KEY).unwrap().is_none(), "once");
        assert_eq!(held(&*map.store())[0].expires_at, kept_until);
        clock.set(kept_until.as_nanos() / SECOND + grace() - 1);
        collect(&*map.store(), &clock);
        assert_eq!(map.store().len(), 1);
        clock.set(kept_until.as_nanos() / SECOND + grace());
        collect(&*map.store(), &clock);
        assert_eq!(map.store().len(), 0);
    }
}

/// A record that lasts, written over a tombstone, is not collected with it.
#[test]
fn a_lasting_record_outlives_the_tombstone_it_replaced() {
    let clock = Clock::at(100);
    let map = notes(&clock);
    let _ = map.put(note("first"), until(200)).unwrap();
    let _ = map.remove(&KEY).unwrap();
    let _ = map.put(note("second"), Expiry::Never).unwrap();
    clock.set(u32::MAX.into());
    collect(&*map.store(), &clock);
    assert_eq!(text(&map).as_deref(), Some("second"));
}

/// Retention that was lowered hides at once and frees nothing sooner than was promised: two nodes
/// that freed at different times would differ.
#[test]
fn a_lowered_retention_hides_and_frees_nothing_early() {
    let clock = Clock::at(100);
    let (long, lowered) = (retaining(&clock, 1, 9_000), retaining(&clock, 2, 10));
    let id = mute(&long, 1_000);
    exchange(&*long.store(), &*lowered.store(), &clock);
    clock.set(200);
    let _ = lowered.expire(id).unwrap();
    clock.set(9_000);
    collect(&*lowered.store(), &clock);
    assert!(lowered.get(id).is_none(), "hidden");
    assert_eq!(held(&*lowered.store())[0].expires_at, at(10_000));
    exchange(&*long.store(), &*lowered.store(), &clock);
    assert_eq!(long.get(id).unwrap().ends_at, at(200));
    clock.set(10_000 + grace());
    collect(&*lowered.store(), &clock);
    assert!(lowered.store().is_empty());
}

// --- what the laws are shown on ---

const SECOND: u64 = 1_000_000_000;
/// Retention of silences where it does not matter, in seconds.
const RETENTION: u64 = 1_000;
const KEY: Key = Key([1; 16]);
const OLD: &[SchemaId] = &[SchemaId::new(1)];
#[cfg(feature = "sim")]
const NEW: &[SchemaId] = &[SchemaId::new(1), SchemaId::new(2)];

#[derive(Clone)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn at(secs: u64) -> Self {
        Self(Arc::new(AtomicU64::new(secs)))
    }

    fn set(&self, secs: u64) {
        self.0.store(secs, Ordering::Relaxed);
    }

    fn context(&self) -> Context {
        Context::new(WriterTag::NONE, Arc::new(self.clone()), Arc::new(Nobody))
    }
}

impl WallClock for Clock {
    fn wall(&self) -> Timestamp {
        at(self.0.load(Ordering::Relaxed))
    }
}

struct Nobody;

impl Tracker for Nobody {
    fn watch(&self, _: WriteId, _: Copies) -> Watch {
        Box::pin(async { Err(ReplicationError::NotRunning) })
    }
}

/// A text under [`KEY`], written in the last of the shapes that the node reads.
struct Notes(&'static [SchemaId]);

impl Schema for Notes {
    type Record = String;
    type Index = ();

    fn name(&self) -> &'static str {
        "notes"
    }

    fn schemas(&self) -> &[SchemaId] {
        self.0
    }

    fn key(&self, _: &String) -> Key {
        KEY
    }

    fn encode(&self, text: &String) -> Body {
        Body {
            schema: *self.0.last().unwrap(),
            bytes: text.clone().into(),
        }
    }

    fn decode(&self, _: Key, body: &Body) -> Result<String, Unreadable> {
        let schema = body.schema;
        String::from_utf8(body.bytes.to_vec()).map_err(|_| Unreadable::Malformed { schema })
    }
}

fn notes(clock: &Clock) -> Map<Notes> {
    Map::new(Notes(OLD), Limits::default(), clock.context())
}

fn note(text: &str) -> String {
    text.to_owned()
}

fn text(map: &Map<Notes>) -> Option<String> {
    map.get(&KEY).map(|text| text.to_string())
}

fn silences(clock: &Clock, seed: u8) -> Silences {
    retaining(clock, seed, RETENTION)
}

fn retaining(clock: &Clock, seed: u8, secs: u64) -> Silences {
    let limits = SilenceLimits::default().retention(Duration::from_secs(secs));
    Silences::new(limits, Limits::default(), clock.context(), [seed; 32])
}

/// Mutes [`alert`] until then.
fn mute(silences: &Silences, ends_at: u64) -> SilenceId {
    let matchers = vec![Matcher::new("a", Op::Equal, "b").unwrap()];
    silences
        .set(NewSilence::new(matchers, at(ends_at)))
        .unwrap()
        .0
}

fn extend(silences: &Silences, id: SilenceId, ends_at: u64) {
    let silence = silences.get(id).unwrap();
    let longer = NewSilence::new(silence.matcher_sets[0].clone(), at(ends_at))
        .id(id)
        .starts_at(silence.starts_at);
    assert_eq!(silences.set(longer).unwrap().0, id, "in place");
}

fn alert() -> Labels {
    [("a".to_owned(), "b".to_owned())].into()
}

/// A silence with a pattern that does not compile, as a node without checks would write it.
fn poison(clock: &Clock) -> Entry {
    let writer = silences(clock, 9);
    let matchers = vec![Matcher::new("a", Op::Regex, "bx").unwrap()];
    let _ = writer.set(NewSilence::new(matchers, at(500))).unwrap();
    let mut entry = held(&*writer.store()).remove(0);
    let body = entry.body.to_vec();
    let pattern = body.windows(2).position(|two| two == b"bx").unwrap();
    entry.body = [&body[..pattern], b"b(", &body[pattern + 2..]]
        .concat()
        .into();
    entry
}

fn held(store: &dyn Store) -> Vec<Entry> {
    let changes = replica(store).changes(0, 256, usize::MAX);
    assert_eq!(changes.len(), store.len());
    changes.into_iter().map(|change| change.entry).collect()
}

/// Merges all that one holds into the other, whose clock it is.
fn merge(from: &dyn Store, to: &dyn Store, clock: &Clock) -> Vec<Merged> {
    replica(to).merge(&held(from), clock.wall())
}

fn exchange(a: &dyn Store, b: &dyn Store, clock: &Clock) {
    merge(a, b, clock);
    merge(b, a, clock);
    let cut = clock.wall();
    assert_eq!(
        replica(a).digest(cut),
        replica(b).digest(cut),
        "an exchange makes equal"
    );
}

fn collect(store: &dyn Store, clock: &Clock) {
    while store
        .collect(clock.wall())
        .is_some_and(|next| next <= clock.wall())
    {}
}

/// Seconds from an expiry to its collection.
fn grace() -> u64 {
    Limits::default().grace().as_secs()
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn until(secs: u64) -> Expiry {
    Expiry::At(at(secs))
}
