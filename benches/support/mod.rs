//! What benches need of a world: a clock, somebody who follows no write, entries, time that was
//! taken.
#![allow(dead_code, unreachable_pub, reason = "every bench uses its part")]

use rumormill::id::WriterTag;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumormill::store::matcher::{Matcher, Op};
use rumormill::store::nflog::{NflogEntry, NflogSchema, ReceiverKey};
use rumormill::store::silences::{Silence, SilenceId, SilenceSchema};
use rumormill::store::{Context, Copies, ReplicationError, Schema, Tracker, Watch, WriteId};
use rumormill::time::{Now, Timestamp, WallClock};
use rumormill::unstable::wire::{Entry, HEADER_BYTES};

/// Bytes of an entry of a bench, header and body.
pub const ENTRY_BYTES: usize = 300;
/// When benches begin.
pub const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOUR: u64 = 3_600_000_000_000;

/// Time that passes when it is told to.
#[derive(Default)]
pub struct VirtualClock(AtomicU64);

impl VirtualClock {
    /// The instant it is.
    pub fn now(&self) -> Now {
        Now {
            mono: Duration::from_nanos(self.0.load(Ordering::Relaxed)),
            wall: self.wall(),
        }
    }

    /// Lets time pass until `mono` after the beginning.
    pub fn advance_to(&self, mono: Duration) {
        let nanos = u64::try_from(mono.as_nanos()).expect("a bench is short");
        self.0.fetch_max(nanos, Ordering::Relaxed);
    }
}

impl WallClock for VirtualClock {
    fn wall(&self) -> Timestamp {
        BEGIN.plus(Duration::from_nanos(self.0.load(Ordering::Relaxed)))
    }
}

/// What a store is given: this clock, and nobody who follows its writes.
pub fn context(clock: Arc<VirtualClock>) -> Context {
    Context::new(WriterTag::NONE, clock, Arc::new(Untracked))
}

struct Untracked;

impl Tracker for Untracked {
    fn watch(&self, _: WriteId, _: Copies) -> Watch {
        Box::pin(std::future::ready(Err(ReplicationError::NotRunning)))
    }
}

/// How long something takes.
pub fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let start = instant();
    let made = what();
    (made, start.elapsed())
}

/// Now.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
pub fn instant() -> Instant {
    Instant::now()
}

/// SplitMix64: the same in every run.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Sixteen bytes.
    pub fn bytes(&mut self) -> [u8; 16] {
        let (low, high) = (self.next(), self.next());
        (u128::from(low) | u128::from(high) << 64).to_le_bytes()
    }

    /// Puts a list in any order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            let other = self.below(at as u64 + 1);
            list.swap(at, usize::try_from(other).expect("it is an index"));
        }
    }
}

/// An active silence of three equality matchers: an alert's name, an instance and a severity, as
/// they are over 1,000 alerts and 5,000 instances.
pub fn silence(random: &mut Random) -> Silence {
    let matcher = |name, value: String| Matcher::new(name, Op::Equal, value).expect("valid");
    let severity = ["critical", "warning", "info"][random.below(3) as usize];
    let matchers = vec![
        matcher("alertname", format!("Alert{:03}", random.below(1_000))),
        matcher("instance", format!("node-{:04}:9100", random.below(5_000))),
        matcher("severity", severity.to_owned()),
    ];
    let starts_at = back(random);
    let id = SilenceId::from_random(random.bytes());
    let ends_at = Timestamp::from_nanos(BEGIN.as_nanos() + HOUR + random.below(100 * HOUR));
    let mut silence = Silence::new(id, vec![matchers], starts_at, ends_at);
    silence.created_by = "somebody@example.com".to_owned();
    silence.comment = "x".repeat(100);
    silence
}

/// Entries of silences, of [`ENTRY_BYTES`] each.
pub fn silences(count: usize, random: &mut Random) -> Vec<Entry> {
    let schema = SilenceSchema::default();
    let fitting = |random: &mut Random| {
        let mut silence = silence(random);
        let bytes = HEADER_BYTES + schema.encode(&silence.clone().into()).bytes.len();
        let comment = (100 + ENTRY_BYTES).checked_sub(bytes).expect("it fits");
        silence.comment = "x".repeat(comment);
        let tie = u64::MAX - silence.ends_at.as_nanos();
        let kept = Duration::from_secs(120 * 3600);
        let (ts, expires_at) = (silence.updated_at, silence.ends_at.plus(kept));
        entry(&schema, &silence.into(), ts, tie, expires_at)
    };
    (0..count).map(|_| fitting(random)).collect()
}

/// Entries of the notification log, of [`ENTRY_BYTES`] each, with three alerts firing.
pub fn notifications(count: usize, random: &mut Random) -> Vec<Entry> {
    let fitting = |random: &mut Random| {
        let receiver = ReceiverKey {
            group_name: "team-database".to_owned(),
            integration: "webhook".to_owned(),
            idx: 0,
        };
        let name = u128::from_le_bytes(random.bytes());
        let group_key = format!("{{}}:{{alertname=\"{name:032x}\"");
        let mut made = NflogEntry::new(receiver, group_key, back(random));
        made.firing = vec![random.next(), random.next(), random.next()];
        made.firing.sort_unstable();
        let bytes = HEADER_BYTES + NflogSchema.encode(&made.clone().into()).bytes.len();
        let missing = ENTRY_BYTES.checked_sub(bytes).expect("it fits");
        made.group_key.push_str(&"x".repeat(missing));
        let kept = Duration::from_secs(8 * 3600);
        let ts = made.timestamp;
        entry(&NflogSchema, &made.into(), ts, 0, ts.plus(kept))
    };
    (0..count).map(|_| fitting(random)).collect()
}

/// An instant within the hour before the beginning.
fn back(random: &mut Random) -> Timestamp {
    Timestamp::from_nanos(BEGIN.as_nanos() - random.below(HOUR))
}

fn entry<S: Schema>(
    schema: &S,
    record: &S::Record,
    ts: Timestamp,
    tie: u64,
    expires_at: Timestamp,
) -> Entry {
    let body = schema.encode(record);
    let entry = Entry {
        key: schema.key(record),
        ts,
        tie,
        writer: WriterTag::NONE,
        expires_at,
        schema: body.schema,
        body: body.bytes,
    };
    assert_eq!(entry.encoded_len(), ENTRY_BYTES);
    entry
}

/// An entry as it comes off the wire: in memory of its own.
pub fn received(entry: &Entry) -> Entry {
    Entry {
        body: Bytes::copy_from_slice(&entry.body),
        ..entry.clone()
    }
}
