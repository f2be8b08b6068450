//! What TLS reports to the application, and what is known of the node's own certificate.
//!
//! These are here without the feature `tls` as well: a transport of the caller's may speak TLS by
//! other means, and report the same.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::id::HandshakeRefusal;
use crate::time::Timestamp;

/// Something about certificates or handshakes that the application may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsEvent {
    /// The certificate that this node shows ends soon. Said once a day until it is replaced.
    #[non_exhaustive]
    CertificateExpires {
        /// When.
        at: Timestamp,
    },
    /// New certificates could not be loaded; the old ones stay in use. The log says why.
    #[non_exhaustive]
    CertificatesNotReloaded {
        /// The file that is missing or wrong, if it is one.
        file: Option<PathBuf>,
    },
    /// New certificates were loaded; handshakes use them from now on.
    #[non_exhaustive]
    CertificatesReloaded {
        /// When the new one ends, if that is known.
        expires_at: Option<Timestamp>,
    },
    /// A connection was closed in its TLS handshake, accepted or dialled. At most one event per
    /// address and kind of reason in ten seconds; the counters have all.
    #[non_exhaustive]
    HandshakeRefused {
        /// The other side's socket address.
        addr: SocketAddr,
        /// Why.
        reason: HandshakeRefusal,
    },
}

/// The certificate that a node shows to its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnCertificate {
    /// When it ends: of several, the one that ends first.
    pub expires_at: Timestamp,
    /// How long before that the application is told, once a day.
    pub warn_before: Duration,
}

impl OwnCertificate {
    /// One that ends at `expires_at`, and of which the application is told `warn_before` that.
    #[must_use]
    pub fn new(expires_at: Timestamp, warn_before: Duration) -> Self {
        Self {
            expires_at,
            warn_before,
        }
    }
}
