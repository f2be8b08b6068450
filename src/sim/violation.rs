//! What may never happen, by name.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::id::NodeName;
use crate::wire::{Key, MemberState, StoreId};

/// A broken promise: which, when, and the seed that breaks it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The simulation's seed.
    pub seed: u64,
    /// Virtual time.
    pub at: Duration,
    /// What was broken.
    pub breach: Breach,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} at {:?}: {}", self.seed, self.at, self.breach)
    }
}

impl std::error::Error for Violation {}

/// Every promise that the simulator checks. Nodes are given by index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// A member's boot went back in somebody's view, or a process lowered its own.
    #[error("node {observer} saw the boot of {member} go from {from} to {to}")]
    BootShrank {
        /// Who saw it.
        observer: usize,
        /// Whose.
        member: NodeName,
        /// Before.
        from: u64,
        /// After.
        to: u64,
    },
    /// A member that is not one is in a view: of another cluster, of none, or the observer itself.
    #[error("node {observer} has the member {member}, which is foreign or itself")]
    ClusterCrossed {
        /// Who has it.
        observer: usize,
        /// What it has.
        member: NodeName,
    },
    /// Two connected nodes hold different entries after the faults have stopped.
    #[error("nodes {a} and {b} differ in {store:?} at key {key:?}")]
    Differs {
        /// One.
        a: usize,
        /// The other.
        b: usize,
        /// The store.
        store: StoreId,
        /// The first key that differs.
        key: Key,
    },
    /// A store's digest is not that of its items.
    #[error("the digest of {store:?} on node {node} counts {digest} of {items} items")]
    DigestWrong {
        /// The node.
        node: usize,
        /// The store.
        store: StoreId,
        /// Count in the digest.
        digest: u64,
        /// Items listed.
        items: u64,
    },
    /// A member that is known to have left was dialled.
    #[error("node {node} dialled {addr}, which it knows to have left")]
    DialledLeft {
        /// Who.
        node: usize,
        /// Where.
        addr: SocketAddr,
    },
    /// A held entry's expiry went back.
    #[error("an expiry shrank on node {node}: {store:?} key {key:?}")]
    ExpiryShrank {
        /// Where.
        node: usize,
        /// The store.
        store: StoreId,
        /// The key.
        key: Key,
    },
    /// An entry appeared that nobody of the cluster wrote.
    #[error("node {node} holds an entry that nobody of its cluster wrote: {store:?} key {key:?}")]
    Fabricated {
        /// Where.
        node: usize,
        /// The store.
        store: StoreId,
        /// The key.
        key: Key,
    },
    /// After the faults have stopped, the limit passed without convergence; what was still wrong.
    #[error("no convergence within {limit:?}: {because}")]
    NotConverged {
        /// The limit.
        limit: Duration,
        /// The first thing that is still wrong.
        because: Box<Self>,
    },
    /// A write was reported durable and is not on the disk.
    #[error("node {node} reported ticket {ticket} as durable, but the disk does not hold it")]
    NotDurable {
        /// The writer.
        node: usize,
        /// The watch.
        ticket: u64,
    },
    /// A node does not know that state has arrived.
    #[error("node {node} is not ready")]
    NotReady {
        /// Which.
        node: usize,
    },
    /// An older version replaced a newer one.
    #[error("an older version replaced a newer one on node {node}: {store:?} key {key:?}")]
    OlderReplacedNewer {
        /// Where.
        node: usize,
        /// The store.
        store: StoreId,
        /// The key.
        key: Key,
    },
    /// A view is wrong after the faults have stopped.
    #[error("node {observer} sees {member} as {seen:?}, not as {expected:?}")]
    ViewWrong {
        /// Who.
        observer: usize,
        /// Whom.
        member: NodeName,
        /// As what; `None` is not at all.
        seen: Option<MemberState>,
        /// What it should be.
        expected: MemberState,
    },
    /// A member is seen under another process or address than the one it has.
    #[error("node {observer} sees {member} as an earlier process or at an earlier address")]
    ViewStale {
        /// Who.
        observer: usize,
        /// Whom.
        member: NodeName,
    },
    /// More copies were reported than there are.
    #[error("ticket {ticket}: {claimed} copies reported, {found} found")]
    WatchLied {
        /// The watch.
        ticket: u64,
        /// Copies reported.
        claimed: usize,
        /// Other processes that ever held the version or a later one.
        found: usize,
    },
    /// An acknowledged write that should have survived is gone.
    #[error("a write of node {writer} is missing on node {node}: {store:?} key {key:?}")]
    WriteLost {
        /// Where it is missing.
        node: usize,
        /// Who wrote it.
        writer: usize,
        /// The store.
        store: StoreId,
        /// The key.
        key: Key,
    },
}
