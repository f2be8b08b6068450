//! What the tests of silences and of the notification log share: clocks set by hand, and stores
//! that talk as a push/pull would have it.

use crate::id::WriterTag;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::any::Store;
use crate::store::replica::Merged;
use crate::store::setup::Context;
use crate::store::tracking::{Copies, ReplicationError, Tracker, Watch, WriteId};
use crate::time::{Timestamp, WallClock};
use crate::wire::Entry;

/// Seconds since the epoch at which tests begin.
pub(in crate::store) const BEGIN: u64 = 1_700_000_000;

/// A clock that a test sets.
#[derive(Clone)]
pub(crate) struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(at(0).as_nanos())))
    }

    pub(crate) fn set(&self, now: Timestamp) {
        self.0.store(now.as_nanos(), Ordering::SeqCst);
    }

    pub(crate) fn context(&self) -> Context {
        Context::new(WriterTag::NONE, Arc::new(self.clone()), Arc::new(Nobody))
    }
}

impl WallClock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

struct Nobody;

impl Tracker for Nobody {
    fn watch(&self, _: WriteId, _: Copies) -> Watch {
        Box::pin(async { Err(ReplicationError::NotRunning) })
    }
}

/// `seconds` after tests begin.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(BEGIN + seconds)
}

/// Everything a store holds.
pub(in crate::store) fn entries(store: &dyn Store) -> Vec<Entry> {
    let changes = store.replica().changes(0, 256, usize::MAX);
    assert_eq!(changes.len(), store.len(), "tests stay below one batch");
    changes.into_iter().map(|change| change.entry).collect()
}

/// Merges everything that `from` holds into `to`.
pub(in crate::store) fn pass(from: &dyn Store, to: &dyn Store, wall: Timestamp) -> Vec<Merged> {
    to.replica().merge(&entries(from), wall)
}

/// Merges each into the other.
pub(in crate::store) fn exchange(a: &dyn Store, b: &dyn Store, wall: Timestamp) {
    pass(a, b, wall);
    pass(b, a, wall);
    let cut = Timestamp::ZERO;
    assert_eq!(
        a.replica().digest(cut),
        b.replica().digest(cut),
        "an exchange makes equal"
    );
}
