//! Why a connection was closed in its TLS handshake, in words that name the certificate's fault.

use std::fmt;
use std::net::SocketAddr;

use super::name::NodeName;

/// Why a connection was closed in its TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeRefusal {
    /// The peer says that it is reached at another host, and its certificate does not say so.
    AddressNotVerified {
        /// The address it gave.
        claimed: SocketAddr,
    },
    /// The peer's certificate is damaged, signed wrongly, revoked or otherwise of no use.
    CertificateBad,
    /// The peer's certificate has ended.
    CertificateExpired,
    /// The peer's certificate is not valid yet.
    CertificateNotYetValid,
    /// The peer's certificate was not made for what it is used for: its extended key usage lacks
    /// `serverAuth` or `clientAuth`, or it is an authority's.
    CertificateUsage,
    /// The peer's certificate is not of version 3: it has no names and no usages. `openssl x509 -req` makes
    /// one of version 1 where it is given no extensions.
    CertificateVersion,
    /// The peer's certificate is for other names and addresses than the one dialled.
    CertificateWrongName,
    /// The peer's certificate does not allow the node name that the peer gave.
    NodeNameNotAllowed {
        /// The name it gave.
        name: NodeName,
    },
    /// The peer showed no certificate.
    NoCertificate,
    /// The peer does not speak TLS.
    NotTls,
    /// The peer says that this node advertises a host that its own certificate does not name.
    OwnAddressNotVerified {
        /// What this node advertises.
        advertised: SocketAddr,
    },
    /// The peer speaks TLS, but not what is spoken here inside or around it.
    Protocol,
    /// The peer refused this node: its side knows why.
    RefusedByPeer,
    /// The peer said nothing more in time.
    TimedOut,
    /// The peer ended the connection in the middle of its handshake.
    Truncated,
    /// The peer's certificate is from an authority that is not trusted here.
    UnknownIssuer,
}

impl fmt::Display for HandshakeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddressNotVerified { claimed } => {
                return write!(
                    f,
                    "it says that it is reached at {claimed}, and its certificate does not name that host"
                );
            }
            Self::NodeNameNotAllowed { name } => {
                return write!(f, "its certificate does not name the node {name}");
            }
            Self::OwnAddressNotVerified { advertised } => {
                return write!(
                    f,
                    "this node advertises {advertised}, and its own certificate does not name that host"
                );
            }
            Self::CertificateBad => "its certificate is damaged, signed wrongly or revoked",
            Self::CertificateExpired => "its certificate has ended, or a clock is wrong",
            Self::CertificateNotYetValid => {
                "its certificate is not valid yet, or a clock is wrong"
            }
            Self::CertificateUsage => {
                "its certificate is not made for this use: the extended key usage needs serverAuth and clientAuth"
            }
            Self::CertificateVersion => {
                "its certificate is of version 1, without names: it has to be of version 3, with a subject \
                 alternative name"
            }
            Self::CertificateWrongName => {
                "its certificate does not name the host that was dialled among its subject alternative names"
            }
            Self::NoCertificate => "it showed no certificate",
            Self::NotTls => "it does not speak TLS",
            Self::Protocol => "it speaks TLS, but not what is spoken here inside of it",
            Self::RefusedByPeer => "it refused this node's certificate; its own log says why",
            Self::TimedOut => "it did not go on with its handshake in time",
            Self::Truncated => "it ended the connection in the middle of its handshake",
            Self::UnknownIssuer => "its certificate is from an authority that is not trusted here",
        })
    }
}

impl std::error::Error for HandshakeRefusal {}
