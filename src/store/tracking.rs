//! Following a write to disks and to other processes.

use std::pin::Pin;

use crate::id::{Key, NodeName, Refusal, StoreId};

/// One accepted local write, as far as following it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteId {
    /// The store.
    pub store: StoreId,
    /// The key.
    pub key: Key,
    /// The change it became.
    pub seq: u64,
}

/// Follows writes to disks and to other processes; implemented by the node.
pub trait Tracker: Send + Sync {
    /// Returns a future that resolves once `copies` other processes hold the write or a later one of
    /// its key; with `copies` 0, once this process holds it durably.
    fn watch(&self, write: WriteId, copies: usize) -> Watch;
}

/// The future of a write that is followed. If it is dropped, the write goes on all the same.
pub type Watch = Pin<Box<dyn Future<Output = Result<Held, ReplicationError>> + Send>>;

/// How many other processes held a write when the wait ended well. A process holds it when it keeps it
/// and passes it on, also if it cannot use it ([`Unreadable`](super::Unreadable)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// Other processes, by distinct name and boot.
    pub copies: usize,
}

/// Why a write is not known to be held by as many processes as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicationError {
    /// The store does not belong to a running node.
    #[error("the node of this store is not running")]
    NotRunning,
    /// A member refused it, and without that member the number cannot be reached.
    #[error("{peer} refused the entry: {reason:?}")]
    Refused {
        /// Who.
        peer: NodeName,
        /// Why.
        reason: Refusal,
    },
    /// The local commit failed.
    #[error("the local disk did not take the write")]
    NotDurable,
    /// The cluster has too few members that are not down.
    #[error("{asked} copies asked for, with {members} other members")]
    TooFewMembers {
        /// Copies asked for.
        asked: usize,
        /// Members other than this one.
        members: usize,
    },
    /// Too many writes are being followed already.
    #[error("already following {max} writes")]
    TooManyWatches {
        /// The limit.
        max: usize,
    },
    /// Time ran out.
    #[error("{held} copies when time ran out")]
    Timeout {
        /// Copies by then.
        held: usize,
    },
}
