//! Certificates in use: read from files, checked, made into configurations.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use siphasher::sip::SipHasher13;
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::spki::ObjectIdentifier;

use super::config::{ClientAuth, PemFiles, Source, TlsConfig};
use super::error::TlsError;
use super::identity::PeerIdentity;
use super::verify::{ByAddressOrName, DangerBelieveAnyone, Names};
use crate::id::HandshakeRefusal;
use crate::time::Timestamp;

/// Configurations in use, until the next reload.
pub(super) struct Loaded {
    client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// When the first of the certificates that this node shows ends.
    pub(super) expires_at: Option<Timestamp>,
    /// What the files held, to see whether they have changed.
    pub(super) fingerprint: u64,
    verifiers: Option<Verifiers>,
    /// One configuration for each peer, with the sessions that can be resumed with that peer. rustls
    /// keeps sessions by name; peers may share one, and a session of one peer is worthless to another.
    by_peer: Mutex<BTreeMap<SocketAddr, Arc<ClientConfig>>>,
}

/// Kept to ask again about peers that were believed before.
struct Verifiers {
    of_servers: Arc<dyn ServerCertVerifier>,
    of_clients: Arc<dyn ClientCertVerifier>,
}

/// The configurations by which a peer was believed, and the time.
pub(super) struct Believed {
    pub(super) with: Arc<Loaded>,
    pub(super) at: UnixTime,
}

/// Which side a peer was on in its handshake.
#[derive(Clone, Debug)]
pub(super) enum PeerRole {
    /// It dialled.
    Client,
    /// It was dialled, and verified by this name.
    Server(ServerName<'static>),
}

impl Loaded {
    /// Loads what `config` says. Reads files, so it must not be called in an async task.
    pub(super) fn load(config: &TlsConfig, names: &Arc<Names>) -> Result<Self, TlsError> {
        let (server_files, client_files) = match &config.source {
            Source::Files { server, client } => (server, client),
            Source::Ready { client, server } => {
                return Ok(Self::of(client.clone(), server.clone(), None, 0, None));
            }
        };
        // Before the files are read: a change made meanwhile is then seen as a change later.
        let fingerprint = fingerprint(config);
        let provider = config.cryptography()?;
        let of_clients = client_verifier(config, &provider, server_files)?;
        let of_servers = server_verifier(config, &provider, client_files, names)?;
        let as_server = (!config.skip_verify).then_some(SERVER_AUTH);
        let shown = key_of(&provider, server_files, "server", as_server)?;
        let as_client = (config.client_auth != ClientAuth::DangerNone).then_some(CLIENT_AUTH);
        let shown_as_client = key_of(&provider, client_files, "client", as_client)?;
        let ends = [expiry(&shown), expiry(&shown_as_client)];
        let expires_at = ends.into_iter().flatten().min();
        let tls13 = |source| TlsError::Provider {
            source: Box::new(source),
        };
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(tls13)?
            .with_client_cert_verifier(Arc::clone(&of_clients))
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
        server.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(tls13)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&of_servers))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                shown_as_client,
            )));
        let verifiers = Verifiers {
            of_servers,
            of_clients,
        };
        Ok(Self::of(
            Arc::new(client),
            Arc::new(server),
            expires_at,
            fingerprint,
            Some(verifiers),
        ))
    }

    fn of(
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
        expires_at: Option<Timestamp>,
        fingerprint: u64,
        verifiers: Option<Verifiers>,
    ) -> Self {
        Self {
            client,
            server,
            expires_at,
            fingerprint,
            verifiers,
            by_peer: Mutex::default(),
        }
    }

    /// The configuration for dialling `to`.
    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    pub(super) fn client_for(&self, to: SocketAddr) -> Arc<ClientConfig> {
        let mut by_peer = self.by_peer.lock().expect("nothing panics under this lock");
        if by_peer.len() >= PEERS_MAX && !by_peer.contains_key(&to) {
            // Costs each of them one handshake that is not resumed.
            by_peer.clear();
        }
        let config = by_peer.entry(to).or_insert_with(|| {
            let mut config = ClientConfig::clone(&self.client);
            if self.verifiers.is_some() {
                config.resumption = Resumption::in_memory_sessions(SESSIONS_PER_PEER);
            }
            Arc::new(config)
        });
        Arc::clone(config)
    }

    /// Whether a peer that was believed at the time `at` would have been believed then with the
    /// certificates that are loaded now. Its certificate may have ended since, and that alone must not
    /// close its connection, nor hide that its authority is no longer trusted. Ready configurations
    /// cannot be asked, so with them no peer is accepted any longer.
    pub(super) fn still_accepts(
        &self,
        role: &PeerRole,
        peer: Option<&PeerIdentity>,
        at: UnixTime,
    ) -> bool {
        self.verifiers.is_some() && self.verify(role, peer, at).is_ok()
    }

    /// Verifies a peer's certificate as a whole handshake at `now` does. A resumed handshake does not
    /// verify it, and it may have ended since. Ready configurations decide alone, so nothing is verified
    /// for them.
    pub(super) fn verify(
        &self,
        role: &PeerRole,
        peer: Option<&PeerIdentity>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let Some(verifiers) = &self.verifiers else {
            return Ok(());
        };
        let chain = peer.map_or(&[][..], PeerIdentity::chain);
        match (chain, role) {
            ([], PeerRole::Client) if !verifiers.of_clients.client_auth_mandatory() => Ok(()),
            ([], _) => Err(rustls::Error::NoCertificatesPresented),
            ([cert, rest @ ..], PeerRole::Client) => {
                let verified = verifiers.of_clients.verify_client_cert(cert, rest, now);
                verified.map(drop)
            }
            ([cert, rest @ ..], PeerRole::Server(name)) => {
                let verifier = &verifiers.of_servers;
                let verified = verifier.verify_server_cert(cert, rest, name, &[], now);
                verified.map(drop)
            }
        }
    }
}

fn client_verifier(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
    files: &PemFiles,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if config.client_auth == ClientAuth::DangerNone {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let field = "server ca";
    let roots = authorities(&files.ca, field)?;
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = match config.client_auth {
        ClientAuth::DangerIfGiven => builder.allow_unauthenticated(),
        ClientAuth::Require | ClientAuth::DangerNone => builder,
    };
    builder.build().map_err(|source| TlsError::Verifier {
        field,
        file: files.ca.clone(),
        source: Box::new(source),
    })
}

fn server_verifier(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
    files: &PemFiles,
    names: &Arc<Names>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if config.skip_verify {
        return Ok(Arc::new(DangerBelieveAnyone(Arc::clone(provider))));
    }
    let field = "client ca";
    let roots = authorities(&files.ca, field)?;
    let webpki = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|source| TlsError::Verifier {
            field,
            file: files.ca.clone(),
            source: Box::new(source),
        })?;
    Ok(Arc::new(ByAddressOrName {
        webpki,
        names: Arc::clone(names),
    }))
}

fn authorities(file: &Path, field: &'static str) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in certificates(file, field)? {
        roots.add(cert).map_err(|source| TlsError::Certificate {
            field,
            file: file.to_owned(),
            source: Box::new(source),
        })?;
    }
    Ok(Arc::new(roots))
}

/// The certificate and its key, which belong together.
fn key_of(
    provider: &CryptoProvider,
    files: &PemFiles,
    side: &'static str,
    usage: Option<ObjectIdentifier>,
) -> Result<CertifiedKey, TlsError> {
    let (cert_field, key_field) = match side {
        "server" => ("server cert", "server key"),
        _ => ("client cert", "client key"),
    };
    let chain = certificates(&files.cert, cert_field)?;
    if let Some(fault) = chain.first().and_then(|cert| fault_of(cert, usage)) {
        return Err(TlsError::Unfit {
            field: cert_field,
            file: files.cert.clone(),
            fault,
        });
    }
    let pem = read(&files.key, key_field)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::Empty {
            field: key_field,
            file: files.key.clone(),
            what: "private key",
        },
        error => wrong_pem(&files.key, key_field, error),
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::Key {
        field: key_field,
        file: files.key.clone(),
        certificate: files.cert.clone(),
        source: Box::new(source),
    })
}

/// Why every peer would refuse this certificate for that use, as far as it can be told from it alone.
fn fault_of(
    cert: &CertificateDer<'_>,
    usage: Option<ObjectIdentifier>,
) -> Option<HandshakeRefusal> {
    // What cannot be read at all is reported where it is used.
    let cert = Certificate::from_der(cert.as_ref()).ok()?;
    let cert = cert.tbs_certificate();
    if cert.version() != Version::V3 {
        return Some(HandshakeRefusal::CertificateVersion);
    }
    let (usage, found) = (usage?, cert.get_extension::<ExtendedKeyUsage>());
    let (_, allowed) = found.ok()??;
    (!allowed.0.contains(&usage)).then_some(HandshakeRefusal::CertificateUsage)
}

fn certificates(
    file: &Path,
    field: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file, field)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| wrong_pem(file, field, error))?;
    if chain.is_empty() {
        return Err(TlsError::Empty {
            field,
            file: file.to_owned(),
            what: "certificate",
        });
    }
    Ok(chain)
}

fn wrong_pem(file: &Path, field: &'static str, error: pem::Error) -> TlsError {
    TlsError::Pem {
        field,
        file: file.to_owned(),
        source: Arc::new(error),
    }
}

fn read(file: &Path, field: &'static str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|source| TlsError::Read {
        field,
        file: file.to_owned(),
        source: Arc::new(source),
    })
}

/// When a certificate ends; `None` if that cannot be read from it.
fn expiry(shown: &CertifiedKey) -> Option<Timestamp> {
    let der = shown.cert.first()?;
    let cert = Certificate::from_der(der.as_ref()).ok()?;
    let ends = cert.tbs_certificate().validity().not_after;
    Some(Timestamp::from_secs(ends.to_unix_duration().as_secs()))
}

/// A hash of what the files hold now. One that cannot be read counts as one that is empty.
pub(super) fn fingerprint(config: &TlsConfig) -> u64 {
    let mut hasher = SipHasher13::new();
    for file in config.files() {
        let bytes = std::fs::read(file).unwrap_or_default();
        hasher.write_usize(bytes.len());
        hasher.write(&bytes);
    }
    hasher.finish()
}

/// What a certificate may be used for (RFC 5280, section 4.2.1.12).
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
/// Sessions that this node lets its peers resume.
const SESSIONS_MAX: usize = 1024;
/// Sessions that this node can resume with one peer.
const SESSIONS_PER_PEER: usize = 4;
/// Peers with which sessions can be resumed.
const PEERS_MAX: usize = 1024;
