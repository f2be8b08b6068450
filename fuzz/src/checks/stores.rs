//! Stores to feed: with a clock that is set by hand, and nobody to replicate to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rumormill::id::WriterTag;
use rumormill::store::nflog::{Nflog, NflogLimits};
use rumormill::store::silences::{SilenceLimits, Silences};
use rumormill::store::{Context, Limits, ReplicationError, Store, Tracker, Watch, WriteId};
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
    fn watch(&self, _: WriteId, _: usize) -> Watch {
        Box::pin(async { Err(ReplicationError::NotRunning) })
    }
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
