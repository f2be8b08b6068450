//! What can be wrong with certificates and settings, and why a handshake failed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::pki_types::pem;

use crate::net::{BindError, HandshakeRefusal};

/// Why certificates could not be loaded. Nothing has changed: what was in use stays in use.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate is not one that can be used.
    #[error("{field}: {} holds a certificate that cannot be used", file.display())]
    Certificate {
        /// The setting.
        field: &'static str,
        /// Its file.
        file: PathBuf,
        /// What is wrong with it.
        source: Box<rustls::Error>,
    },
    /// A file holds nothing of what it is for.
    #[error("{field}: {} holds no {what} in PEM", file.display())]
    Empty {
        /// The setting.
        field: &'static str,
        /// Its file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The key cannot be used, or is not the certificate's.
    #[error("{field}: {} is not the key of {}", file.display(), certificate.display())]
    Key {
        /// The setting.
        field: &'static str,
        /// Its file.
        file: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
        /// What is wrong with it.
        source: Box<rustls::Error>,
    },
    /// The configurations were handed in ready: there are no files to load anew.
    #[error("the configurations were handed in ready: there are no files to load anew")]
    NoFiles,
    /// Nothing here can do cryptography: see [the order](super#cryptography) in which it is looked for.
    #[error(
        "TLS has no provider of cryptography: enable the feature tls-aws-lc-rs or tls-ring, give one to \
         TlsConfig::provider, or install one for the process"
    )]
    NoProvider,
    /// A file is not PEM.
    #[error("{field}: {} is not PEM", file.display())]
    Pem {
        /// The setting.
        field: &'static str,
        /// Its file.
        file: PathBuf,
        /// What is wrong with it.
        source: Arc<pem::Error>,
    },
    /// The provider of cryptography cannot do TLS 1.3.
    #[error("the provider of cryptography cannot do TLS 1.3")]
    Provider {
        /// What it lacks.
        source: Box<rustls::Error>,
    },
    /// A file could not be read.
    #[error("{field}: cannot read {}", file.display())]
    Read {
        /// The setting.
        field: &'static str,
        /// Its file.
        file: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The name that servers are verified by is neither a DNS name nor an address.
    #[error("server_name: {name:?} is neither a DNS name nor an address")]
    ServerName {
        /// The name.
        name: String,
    },
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// A certificate can be read, and peers would refuse it.
    #[error("{field}: peers refuse the certificate in {}: {fault}", file.display())]
    Unfit {
        /// The setting.
        field: &'static str,
        /// Its file.
        file: PathBuf,
        /// What is wrong with it.
        fault: HandshakeRefusal,
    },
    /// The authorities make no verifier.
    #[error("{field}: {} makes no verifier", file.display())]
    Verifier {
        /// The setting.
        field: &'static str,
        /// Its file.
        file: PathBuf,
        /// What is wrong with it.
        source: Box<rustls::server::VerifierBuilderError>,
    },
}

/// Why a TLS transport was not made. Nothing stays bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsBindError {
    /// The address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates or settings are not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl TlsError {
    /// The file that is wrong, if it is a file.
    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Certificate { file, .. }
            | Self::Empty { file, .. }
            | Self::Key { file, .. }
            | Self::Pem { file, .. }
            | Self::Read { file, .. }
            | Self::Unfit { file, .. }
            | Self::Verifier { file, .. } => Some(file),
            Self::NoFiles
            | Self::NoProvider
            | Self::Provider { .. }
            | Self::ServerName { .. }
            | Self::Stopped => None,
        }
    }
}

/// Why a handshake ended with this error. `None` if the connection broke, which says nothing about the
/// peer.
pub(super) fn refusal(error: &io::Error) -> Option<HandshakeRefusal> {
    let inner = error.get_ref();
    if let Some(refusal) = inner.and_then(|inner| inner.downcast_ref::<HandshakeRefusal>()) {
        return Some(refusal.clone());
    }
    match inner.and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(error)) => Some(certificate_refusal(error)),
        Some(rustls::Error::NoCertificatesPresented) => Some(HandshakeRefusal::NoCertificate),
        Some(rustls::Error::InvalidMessage(_)) => Some(HandshakeRefusal::NotTls),
        Some(rustls::Error::AlertReceived(_)) => Some(HandshakeRefusal::RefusedByPeer),
        Some(_) => Some(HandshakeRefusal::Protocol),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Some(HandshakeRefusal::Truncated),
        None => None,
    }
}

fn certificate_refusal(error: &CertificateError) -> HandshakeRefusal {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            HandshakeRefusal::CertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            HandshakeRefusal::CertificateNotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            HandshakeRefusal::CertificateWrongName
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            HandshakeRefusal::CertificateUsage
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::UnsupportedCertVersion) => HandshakeRefusal::CertificateVersion,
            Some(webpki::Error::CaUsedAsEndEntity | webpki::Error::EndEntityUsedAsCa) => {
                HandshakeRefusal::CertificateUsage
            }
            _ => HandshakeRefusal::CertificateBad,
        },
        CertificateError::UnknownIssuer => HandshakeRefusal::UnknownIssuer,
        _ => HandshakeRefusal::CertificateBad,
    }
}
