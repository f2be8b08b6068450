//! Who waits for which entry of the notification log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumormill::node::Node;
use rumormill::store::nflog::{Nflog, ReceiverKey};
use tokio::sync::Notify;

/// A receiver, and a group's key.
type LogKey = (ReceiverKey, String);

/// All who wait.
#[derive(Debug, Default)]
pub(super) struct Ears {
    waiting: Mutex<BTreeMap<LogKey, Arc<Notify>>>,
}

/// Hears of changes of one entry, until it is dropped.
#[derive(Debug)]
pub(super) struct Ear {
    ears: Arc<Ears>,
    key: LogKey,
    heard: Arc<Notify>,
}

impl Ears {
    /// For changes from now on.
    pub(super) fn listen(self: &Arc<Self>, receiver: &ReceiverKey, group_key: &str) -> Ear {
        let key = (receiver.clone(), group_key.to_owned());
        let heard = Arc::new(Notify::new());
        self.lock().insert(key.clone(), Arc::clone(&heard));
        Ear {
            ears: Arc::clone(self),
            key,
            heard,
        }
    }

    /// Tells those who wait, for as long as the node runs.
    pub(super) async fn follow(self: Arc<Self>, node: Node, nflog: Nflog) {
        let mut changes = node.changes(nflog.map());
        loop {
            let changed = tokio::select! {
                changed = changes.next() => changed,
                () = node.stopped() => return,
            };
            for change in changed {
                if let Some(entry) = change.record {
                    self.ring(entry.receiver.clone(), entry.group_key.clone());
                }
            }
        }
    }

    fn ring(&self, receiver: ReceiverKey, group_key: String) {
        if let Some(heard) = self.lock().get(&(receiver, group_key)) {
            heard.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LogKey, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ear {
    /// Waits for a change since the last one that was heard of. Cancel safe.
    pub(super) async fn heard(&self) {
        self.heard.notified().await;
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut waiting = self.ears.lock();
        let is_own = |heard: &Arc<Notify>| Arc::ptr_eq(heard, &self.heard);
        if waiting.get(&self.key).is_some_and(is_own) {
            waiting.remove(&self.key);
        }
    }
}
