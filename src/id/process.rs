//! Processes and SWIM identities.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::name::NodeName;

/// One run of a node: the unit that sessions, cursors, acknowledgements and copies are counted by.
///
/// `boot` grows with every start: nanoseconds since the Unix epoch at start, or one more than the
/// highest boot the cluster remembers for the name, whichever is greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// The node.
    pub name: NodeName,
    /// Which of its runs.
    pub boot: u64,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.boot)
    }
}

/// A SWIM identity: what the failure detector knows a member by.
///
/// Two identities with one name conflict, and the greater `(boot, renewal)` wins; the address is
/// data and takes no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeId {
    /// The process.
    pub process: ProcessId,
    /// How often the process has renewed itself after being declared down.
    pub renewal: u32,
    /// Where its packets and streams go.
    pub addr: SocketAddr,
}

impl NodeId {
    /// The order in which identities of one name supersede each other.
    #[must_use]
    pub fn epoch(&self) -> (u64, u32) {
        (self.process.boot, self.renewal)
    }
}

/// How far ahead of the clock a boot may be.
pub(crate) const BOOT_AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
