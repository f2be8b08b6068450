//! Stores to feed: with a clock that is set by hand, and nobody to replicate to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumormill::id::WriterTag;
use rumormill::store::alerts::{AlertLimits, Alerts};
use rumormill::store::matcher::{Matcher, Op};
use rumormill::store::nflog::{Nflog, NflogLimits, Notified, ReceiverKey};
use rumormill::store::silences::{NewSilence, SilenceLimits, Silences};
use rumormill::store::{Context, Copies, Limits, ReplicationError, Store, Tracker, Watch, WriteId};
use rumormill::time::{Timestamp, WallClock};
use rumormill::unstable::store::replica;
use rumormill::unstable::wire::Entry;

/// When checks begin, in seconds since the epoch: about when the golden vectors were written.
pub const BEGIN: u64 = 1_700_000_000;

#[derive(Clone)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(BEGIN * 1_000_000_000)))
    }

    pub fn set(&self, to: Timestamp) {
        self.0.store(to.as_nanos(), Ordering::Relaxed);
    }

    pub fn context(&self, writer: WriterTag) -> Context {
        Context::new(writer, Arc::new(self.clone()), Arc::new(Nobody))
    }

    pub fn silences(&self, limits: Limits) -> Silences {
        let context = self.context(WriterTag(1));
        Silences::new(SilenceLimits::default(), limits, context, [1; 32])
    }

    pub fn alerts(&self, limits: Limits) -> Alerts {
        Alerts::new(AlertLimits::default(), limits, self.context(WriterTag(1)))
    }

    pub fn nflog(&self, limits: Limits) -> Nflog {
        Nflog::new(NflogLimits::default(), limits, self.context(WriterTag(1)))
    }
}

impl WallClock for Clock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

struct Nobody;

impl Tracker for Nobody {
    fn watch(&self, _: WriteId, _: Copies) -> Watch {
        Box::pin(async { Err(ReplicationError::NotRunning) })
    }
}

/// Writes three silences, and a notification of each of these groups: what a store has so from one call, it
/// has from every other.
pub fn fill(silences: &Silences, nflog: &Nflog, groups: impl Iterator<Item = u8>) {
    for host in ["one", "two", "three"] {
        let matcher = Matcher::new("host", Op::Regex, format!("{host}|a.*")).expect("sound");
        let new = NewSilence::lasting(vec![matcher], Duration::from_secs(86_400 * 30));
        let _ = silences.set(new).expect("there is room");
    }
    for group in groups {
        let _ = nflog.log(made(group)).expect("there is room");
    }
}

/// A notification of a group of alerts.
pub fn made(group: u8) -> Notified {
    let receiver = ReceiverKey {
        group_name: "team".to_owned(),
        integration: "webhook".to_owned(),
        idx: 0,
    };
    Notified::new(receiver, format!("group {group}")).firing([1, 2, 3])
}

/// Everything that a store holds, by key.
pub fn held(store: &dyn Store) -> Vec<Entry> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let changes = replica(store).changes(after, 256, usize::MAX);
        let Some(last) = changes.last() else {
            break;
        };
        after = last.seq;
        all.extend(changes.into_iter().map(|change| change.entry));
    }
    assert_eq!(all.len(), store.len(), "each key once");
    all.sort_by_key(|entry| entry.key);
    all
}
