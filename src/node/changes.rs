//! A store as a stream of changes, with no queue that could overflow.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::id::Key;
use crate::store::{Map, Replica, Schema};

/// What has changed under one key.
#[non_exhaustive]
pub struct KeyChange<R> {
    /// The key.
    pub key: Key,
    /// Its record now; `None` if it was removed, has expired, or cannot be evaluated here.
    pub record: Option<Arc<R>>,
}

impl<R> Clone for KeyChange<R> {
    fn clone(&self) -> Self {
        Self {
            key: self.key,
            record: self.record.clone(),
        }
    }
}

impl<R: fmt::Debug> fmt::Debug for KeyChange<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyChange")
            .field("key", &self.key)
            .field("record", &self.record)
            .finish()
    }
}

/// The changes of one store, local and merged ones.
///
/// It reads the store's change index from a cursor of its own, so it never overflows and costs
/// nothing while it is not read: a reader that falls behind skips intermediate values of a key,
/// never the latest. A key may come twice with the same record. Records that expire are not
/// changes.
pub struct Changes<S: Schema> {
    map: Map<S>,
    store: Arc<dyn Replica>,
    cursor: u64,
    woken: Arc<Notify>,
}

impl<S: Schema> Changes<S> {
    /// The changes from now on.
    ///
    /// This leaves a small hook on the store for as long as the store lives; where changes are
    /// followed again and again, use [`Node::changes`](super::Node::changes) or
    /// [`Clone`](Clone::clone), which do not.
    #[must_use]
    pub fn new(map: &Map<S>) -> Self {
        let woken = Arc::new(Notify::new());
        let weak = Arc::downgrade(&woken);
        map.store().on_change(Arc::new(move || {
            if let Some(woken) = weak.upgrade() {
                woken.notify_waiters();
            }
        }));
        Self::woken_by(map, woken)
    }

    /// As [`new`](Self::new), where something notifies all waiters of `woken` after every change.
    pub(super) fn woken_by(map: &Map<S>, woken: Arc<Notify>) -> Self {
        let store = map.store().shared_replica();
        Self {
            map: map.clone(),
            cursor: store.head(),
            store,
            woken,
        }
    }

    /// Starts over: everything that the store holds comes first, removed keys included.
    #[must_use]
    pub fn from_start(mut self) -> Self {
        self.cursor = 0;
        self
    }

    /// Waits for changes and returns at least one and at most 256, oldest first. Cancel safe: a
    /// change is only passed once it has been returned.
    ///
    /// It never ends, because a store outlives its node: without a running node it sees local
    /// writes alone. A loop that should end with the node selects between this and
    /// [`Node::stopped`](super::Node::stopped).
    pub async fn next(&mut self) -> Vec<KeyChange<S::Record>> {
        loop {
            // Registered before the look, so that a change after it is not missed.
            let mut woken = std::pin::pin!(self.woken.notified());
            woken.as_mut().enable();
            let changes = self.store.changes(self.cursor, CHANGES_MAX, usize::MAX);
            if let Some(last) = changes.last() {
                self.cursor = last.seq;
                let change_of = |key| KeyChange {
                    key,
                    record: self.map.get(&key),
                };
                return changes
                    .iter()
                    .map(|change| change_of(change.entry.key))
                    .collect();
            }
            woken.await;
        }
    }
}

impl<S: Schema> Clone for Changes<S> {
    fn clone(&self) -> Self {
        Self {
            map: self.map.clone(),
            store: Arc::clone(&self.store),
            cursor: self.cursor,
            woken: Arc::clone(&self.woken),
        }
    }
}

impl<S: Schema> fmt::Debug for Changes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("map", &self.map)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

/// The most that one call of `next` returns.
const CHANGES_MAX: usize = 256;
