//! TLS towards receivers, as `tls_config` has it.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};

use crate::receivers::{Source, TlsConfig};
use crate::tls_parts;

/// What a client's TLS is made of, files read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TlsMaterial {
    config: TlsConfig,
    authorities: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl std::fmt::Debug for TlsMaterial {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsMaterial")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why it makes no client.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsClientError {
    #[error("{what} of tls_config cannot be read: {error}")]
    Read {
        what: &'static str,
        error: io::Error,
    },
    #[error("{0} of tls_config is not in PEM")]
    Pem(&'static str),
    #[error("the certificate and the key of tls_config are no pair: {0}")]
    Pair(rustls::Error),
    #[error("the authorities of tls_config cannot be used: {0}")]
    Authorities(String),
    #[error(
        "no certificate authorities were found on this system; name some in tls_config, or in SSL_CERT_FILE"
    )]
    NoAuthorities,
    #[error("tls_config.max_version allows nothing that is safe: TLS 1.2 and 1.3 are")]
    Versions,
    #[error("tls_config.server_name {0:?} is no name of a server")]
    ServerName(String),
}

impl TlsMaterial {
    /// Blocks: it reads files.
    pub(super) fn read(config: &TlsConfig) -> Result<Self, TlsClientError> {
        let read = |source: &Option<Source>, what| {
            let read = source.as_ref().map(Source::read).transpose();
            let read = read.map_err(|error| TlsClientError::Read { what, error })?;
            Ok::<_, TlsClientError>(read.map(|secret| secret.0))
        };
        Ok(Self {
            authorities: read(&config.authorities, "ca_file")?,
            certificate: read(&config.certificate, "cert_file")?,
            key: read(&config.key, "key_file")?,
            config: config.clone(),
        })
    }

    pub(super) fn certificate(&self) -> Option<(&str, &str)> {
        self.certificate.as_deref().zip(self.key.as_deref())
    }

    pub(super) fn authorities(&self) -> Option<&str> {
        self.authorities.as_deref()
    }

    /// What rustls makes connections with.
    pub(super) fn client_config(&self) -> Result<ClientConfig, TlsClientError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions()?)
            .map_err(|_| TlsClientError::Versions)?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(provider)?);
        let Some((certificate, key)) = self.certificate() else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(certificate, "cert_file")?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
        let key = key.map_err(|_| TlsClientError::Pem("key_file"))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(TlsClientError::Pair)
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsClientError> {
        let wanted = tls_parts::versions(self.config.min_version, self.config.max_version);
        if wanted.is_empty() {
            return Err(TlsClientError::Versions);
        }
        Ok(wanted)
    }

    fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TlsClientError> {
        if self.config.insecure_skip_verify {
            let whose = Whose::Anybody;
            return Ok(Arc::new(Checked { provider, whose }));
        }
        let mut roots = RootCertStore::empty();
        match self.authorities() {
            Some(pem) => {
                for certificate in certificates(pem, "ca_file")? {
                    let added = roots.add(certificate);
                    added.map_err(|error| TlsClientError::Authorities(error.to_string()))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
        }
        if roots.is_empty() {
            return Err(TlsClientError::NoAuthorities);
        }
        let roots = Arc::new(roots);
        let built = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let verifier = built
            .build()
            .map_err(|error| TlsClientError::Authorities(error.to_string()))?;
        let Some(name) = &self.config.server_name else {
            return Ok(verifier);
        };
        let parsed = ServerName::try_from(name.clone());
        let name = parsed.map_err(|_| TlsClientError::ServerName(name.clone()))?;
        let whose = Whose::Named(name, verifier);
        Ok(Arc::new(Checked { provider, whose }))
    }
}

fn certificates(
    pem: &str,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsClientError> {
    tls_parts::certificates(pem.as_bytes()).map_err(|_| TlsClientError::Pem(what))
}

/// Checks the certificate of a server in another way than rustls does: whom it is to be of. What a server signs is
/// checked against its certificate all the same.
#[derive(Debug)]
struct Checked {
    provider: Arc<CryptoProvider>,
    whose: Whose,
}

/// Whose certificate will do.
#[derive(Debug)]
enum Whose {
    /// `insecure_skip_verify`: that of anybody.
    Anybody,
    /// `server_name`: that of this name, whatever the host is called.
    Named(ServerName<'static>, Arc<WebPkiServerVerifier>),
}

impl ServerCertVerifier for Checked {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.whose {
            Whose::Anybody => Ok(ServerCertVerified::assertion()),
            Whose::Named(name, verifier) => {
                verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
