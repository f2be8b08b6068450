//! What a node tells its application: what its engine and its transport report, in one stream.

use crate::engine::Event;
use crate::net::TlsEvent;
#[cfg(feature = "persist")]
use crate::persist::DiskEvent;

/// Something that the application may want to know. Each part of the node has events of its own.
///
/// ```
/// use rumormill::net::TlsEvent;
/// use rumormill::{Event, NodeEvent};
///
/// fn line(event: &NodeEvent) -> Option<String> {
///     match event {
///         NodeEvent::Cluster(Event::MemberUp(member)) => {
///             Some(format!("{} is up", member.process.name))
///         }
///         NodeEvent::Tls(TlsEvent::HandshakeRefused { addr, reason, .. }) => {
///             Some(format!("{addr} is refused: {reason:?}"))
///         }
///         _ => None,
///     }
/// }
/// # assert_eq!(line(&Event::Left.into()), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// Of the cluster: members, stores, readiness, exchanges.
    Cluster(Event),
    /// Of the disk: what was found on it, and whether it works; where the node has one. And how far backups are.
    #[cfg(feature = "persist")]
    Disk(DiskEvent),
    /// Of TLS: certificates, and handshakes that were refused. Only where the transport speaks TLS.
    Tls(TlsEvent),
}

impl NodeEvent {
    /// The event of the cluster, if it is one.
    #[must_use]
    pub fn cluster(&self) -> Option<&Event> {
        match self {
            Self::Cluster(event) => Some(event),
            _ => None,
        }
    }

    /// The event of the disk, if it is one.
    #[cfg(feature = "persist")]
    #[must_use]
    pub fn disk(&self) -> Option<&DiskEvent> {
        match self {
            Self::Disk(event) => Some(event),
            _ => None,
        }
    }

    /// The event of TLS, if it is one.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsEvent> {
        match self {
            Self::Tls(event) => Some(event),
            _ => None,
        }
    }
}

impl From<Event> for NodeEvent {
    fn from(event: Event) -> Self {
        Self::Cluster(event)
    }
}

impl From<TlsEvent> for NodeEvent {
    fn from(event: TlsEvent) -> Self {
        Self::Tls(event)
    }
}

#[cfg(feature = "persist")]
impl From<DiskEvent> for NodeEvent {
    fn from(event: DiskEvent) -> Self {
        Self::Disk(event)
    }
}
