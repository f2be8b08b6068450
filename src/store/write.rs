//! Writes: how long they last, what comes of them, and how to follow them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::schema::Unreadable;
use super::tracking::{Copies, ProgressWatch, Tracker, Watch, WriteId};
use crate::time::Timestamp;

/// When an entry may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// So long after the write, by the store's clock; otherwise as [`At`](Self::At). What is removed is
    /// remembered as long as it would have lived, so a record that may be removed soon should not be given
    /// an end that is years away: give it [`Never`](Self::Never).
    After(Duration),
    /// At this instant, or later if an earlier version of the key had a later expiry. An instant that
    /// has passed is accepted: the record is hidden from the start.
    ///
    /// If the key had a record that was written with `Never`, the old record can come back: with a peer
    /// that missed this write and stays away until after the instant.
    At(Timestamp),
    /// Not before it is removed.
    Never,
}

impl Expiry {
    /// So long after the write, by the store's clock.
    #[must_use]
    pub const fn after(span: Duration) -> Self {
        Self::After(span)
    }
}

/// Why a local write did not happen. The store is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The key has changed since it was read.
    #[error("the key has changed since it was read")]
    Conflict,
    /// The record cannot be read back from its own bytes: every node would quarantine it.
    #[error("the record cannot be read back")]
    Invalid {
        /// Why a node that reads it would quarantine it.
        #[source]
        why: Unreadable,
    },
    /// The node of this store is leaving or has stopped: the record would reach nobody.
    #[error("the node of this store is leaving or has stopped")]
    Stopped,
    /// The store holds as much as it may, or as much of this node. Removed records count until they may be
    /// forgotten: see [`Map::remove`](super::Map::remove).
    #[error("the store is full: {limit} of {max} {}, with {removed} removed records", limit.unit())]
    StoreFull {
        /// Which limit is reached.
        limit: StoreLimit,
        /// The limit.
        max: u64,
        /// Entries that are held only because their keys were removed.
        removed: usize,
    },
    /// The key or the value of a typed map has no encoding.
    #[error("a {type_name} has no encoding")]
    Unencodable {
        /// Its type.
        type_name: &'static str,
    },
    /// The record is too large.
    #[error("a record of {bytes} bytes is over the limit of {max}: entry_bytes_max")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The record would live longer than `lifetime_max`.
    #[error("the record would expire more than {max:?} after it was written: lifetime_max")]
    TooLasting {
        /// The limit.
        max: Duration,
    },
}

/// Which limit of a store is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreLimit {
    /// [`Limits::store_bytes_max`](super::Limits::store_bytes_max), for all writers together.
    Bytes,
    /// [`Limits::entries_max`](super::Limits::entries_max), for all writers together.
    Entries,
    /// This node's share of the bytes.
    WriterBytes,
    /// This node's share of the entries.
    WriterEntries,
}

impl StoreLimit {
    const fn unit(self) -> &'static str {
        match self {
            Self::Bytes | Self::WriterBytes => "bytes",
            Self::Entries | Self::WriterEntries => "entries",
        }
    }
}

impl fmt::Display for StoreLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes | Self::Entries => "its limit",
            Self::WriterBytes | Self::WriterEntries => "this node's share",
        })
    }
}

/// A write that is visible here already, and on its way to the other nodes. It goes on if this is
/// dropped; it only cannot be followed any more.
#[derive(Clone)]
pub struct Written {
    id: WriteId,
    tracker: Arc<dyn Tracker>,
}

impl Written {
    pub(super) fn new(id: WriteId, tracker: Arc<dyn Tracker>) -> Self {
        Self { id, tracker }
    }

    /// What was written.
    #[must_use]
    pub fn id(&self) -> WriteId {
        self.id
    }

    /// Resolves once `copies` other processes hold this version or a later one of the key, and returns
    /// how many do: a number of them, or [`Copies::All`], or [`Copies::Majority`]. 0 is
    /// [`durable`](Self::durable).
    ///
    /// ```
    /// # #[cfg(feature = "net")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use rumormill::store::Copies;
    /// use rumormill::{Matcher, NewSilence, Node, Op, SilenceLimits};
    ///
    /// let mut builder = Node::builder("a").listen("127.0.0.1:0");
    /// let on_a = builder.silences(SilenceLimits::default());
    /// let a = builder.start().await?;
    /// let mut builder = Node::builder("b").listen("127.0.0.1:0").seeds([a.local_addr().to_string()]);
    /// let _on_b = builder.silences(SilenceLimits::default());
    /// let b = builder.start().await?;
    /// b.ready().await?;
    ///
    /// let matchers = vec![Matcher::new("alertname", Op::Equal, "DiskFull")?];
    /// let (_, written) = on_a.set(NewSilence::lasting(matchers, std::time::Duration::from_secs(60)))?;
    /// written.replicated(Copies::Majority).await?;
    /// assert_eq!(written.progress().await?.holders, [b.name().clone()]);
    /// # b.leave().await?;
    /// # a.leave().await?;
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "net"))]
    /// # fn main() {}
    /// ```
    ///
    /// A process holds an entry when it keeps it and passes it on. That counts also where the process
    /// runs another version of the program, cannot use the entry and has quarantined it.
    ///
    /// It waits up to `Config::replicated_timeout`, counted from when the node takes the request.
    /// Cancel safe: if the future is dropped, the write goes on and is followed no more. The future
    /// does nothing until it is polled.
    ///
    /// # Errors
    /// [`ReplicationError`](super::ReplicationError); the write itself stands, is visible here, and still spreads.
    /// - `NotRunning`: the node has not started yet, or has stopped.
    /// - `Refused`: a member refused it, or does not have the store, and the number cannot be reached without that
    ///   member.
    /// - `TooFewMembers`: there are not so many other members that are not down.
    /// - `Timeout`: time ran out, with the copies by then.
    /// - `TooManyWatches`: `watches_max` writes are being followed already.
    pub fn replicated(&self, copies: impl Into<Copies>) -> Watch {
        self.tracker.watch(self.id, copies.into())
    }

    /// How far it has come: who holds it, who refused it and why, and who is not known to hold it yet. It can be
    /// asked while [`replicated`](Self::replicated) waits, and after that. The future does nothing until it is
    /// polled.
    ///
    /// # Errors
    /// [`ReplicationError::NotRunning`](super::ReplicationError::NotRunning): the node has not started yet, or has stopped.
    pub fn progress(&self) -> ProgressWatch {
        self.tracker.progress(self.id)
    }

    /// Resolves once this process holds it durably. For a store in memory that is at once, as soon as
    /// the node takes the request. Waits, and can be cancelled, as [`replicated`](Self::replicated).
    ///
    /// # Errors
    /// [`ReplicationError`](super::ReplicationError): `NotRunning` before the node has started and after it has stopped,
    /// `NotDurable` if the commit failed, `Timeout`, and `TooManyWatches`.
    pub fn durable(&self) -> Watch {
        self.tracker.watch(self.id, Copies::DURABLE)
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
