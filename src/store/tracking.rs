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
    /// Returns a future that resolves once as many other processes hold the write or a later one of
    /// its key; with [`Copies::DURABLE`], once this process holds it durably.
    fn watch(&self, write: WriteId, copies: Copies) -> Watch;

    /// Looks up how far a write has come. Default: the node does not run.
    fn progress(&self, write: WriteId) -> ProgressWatch {
        let _ = write;
        Box::pin(std::future::ready(Err(ReplicationError::NotRunning)))
    }

    /// Whether the node is leaving or has stopped, so that no write would reach anybody any more: local writes
    /// then fail with [`WriteError::Stopped`](super::WriteError::Stopped). Default: never.
    fn has_stopped(&self) -> bool {
        false
    }
}

/// How many other processes are to hold a write.
///
/// A number is one of them: `written.replicated(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Copies {
    /// Every other member that is alive or suspect, as the membership is while it is waited. A member that fails
    /// or leaves meanwhile is not waited for, one that joins is. Without other members it is fulfilled at once.
    All,
    /// More than half of the cluster, this process included. The cluster is this process and all members that have
    /// not left; failed ones count until they are forgotten after `reconnect_timeout`. So of two sides of a
    /// partition at most one can have it, as long as neither forgets the other one. It is not a lock, and not
    /// linearizable across a change of membership: who joins or is forgotten changes what half is, and so does who starts
    /// anew: it does not know yet whom it has to count, and without a disk has lost what it held.
    Majority,
    /// So many other processes.
    N(usize),
}

impl Copies {
    /// None but this process, where it is durable.
    pub const DURABLE: Self = Self::N(0);
}

impl From<usize> for Copies {
    fn from(copies: usize) -> Self {
        Self::N(copies)
    }
}

/// How far a write has come, by name of member. Members that left are in none of the lists, but for those that are
/// known to have held it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Who has failed and is not known to hold it: until it is forgotten, or is back.
    pub failed: Vec<NodeName>,
    /// Who holds this version or a later one of the key.
    pub holders: Vec<NodeName>,
    /// Who refused it, and why: [`Refusal::NoStore`] where a member does not have the store.
    pub refused: Vec<(NodeName, Refusal)>,
    /// Who is not known to hold it yet.
    pub waiting: Vec<NodeName>,
}

/// The future of a look at how far a write has come.
pub type ProgressWatch = Pin<Box<dyn Future<Output = Result<Progress, ReplicationError>> + Send>>;

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
    #[error("{held} copies when time ran out: replicated_timeout")]
    Timeout {
        /// Copies by then.
        held: usize,
    },
}

/// What a read that asked others first has of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answered {
    /// Who has answered: all that they held when the read was asked for has arrived here.
    pub members: Vec<NodeName>,
}

/// Why a read has not heard from as many others as asked. What those that answered held has arrived here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadFromError {
    /// Not enough members have answered: time ran out, or there are not so many that are not down.
    #[error("{answered} of {asked} other members answered, and {silent:?} did not")]
    NotAnswered {
        /// How many others were to answer.
        asked: usize,
        /// How many have.
        answered: usize,
        /// Which members did not, those included that have failed and are not forgotten yet.
        silent: Vec<NodeName>,
    },
    /// The node has stopped.
    #[error("the node is not running")]
    NotRunning,
    /// Too many reads wait already.
    #[error("{max} reads wait already")]
    TooManyReads {
        /// The limit.
        max: usize,
    },
}
