//! What a node needs to speak TLS: certificates or ready configurations, rules, limits.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::error::TlsError;
use super::identity::PeerIdentity;
use crate::config::Config;
use crate::id::NodeName;

/// The PEM files of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PemFiles {
    /// The certificate, followed by those between it and its authority.
    pub cert: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
    /// The authorities whose certificates peers may show. The system's own are not used.
    pub ca: PathBuf,
}

impl PemFiles {
    /// The files of a certificate, of its private key, and of the authorities.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>, ca: impl Into<PathBuf>) -> Self {
        Self {
            cert: cert.into(),
            key: key.into(),
            ca: ca.into(),
        }
    }
}

/// What this node asks of peers that connect to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// A certificate that one of the authorities has signed.
    #[default]
    Require,
    /// The same, if they show one at all. A peer without one is let in: **anyone who can reach the
    /// port can join the cluster**.
    DangerIfGiven,
    /// Nothing: **anyone who can reach the port can join the cluster**.
    DangerNone,
}

/// How this node speaks TLS: packets and streams alike, TLS 1.3 alone. For [`Builder::tls`].
///
/// Every setting that lets strangers in has `danger` in its name, and is warned of at the start and
/// at each reload.
///
/// [`Builder::tls`]: crate::node::Builder::tls
#[derive(Clone)]
pub struct TlsConfig {
    pub(super) source: Source,
    provider: Option<Arc<CryptoProvider>>,
    pub(super) server_name: Option<String>,
    pub(super) node_name_in_certificate: bool,
    pub(super) authorize: Option<Authorize>,
    pub(super) client_auth: ClientAuth,
    pub(super) skip_verify: bool,
    pub(super) watch: Option<Duration>,
    pub(super) warn_before: Duration,
    pub(super) limits: TlsLimits,
}

type Authorize = Arc<dyn Fn(&PeerIdentity, &NodeName) -> bool + Send + Sync>;

/// Where configurations come from.
#[derive(Clone)]
pub(super) enum Source {
    Files {
        server: PemFiles,
        client: PemFiles,
    },
    Ready {
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
    },
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TlsConfig");
        if let Source::Files { server, client } = &self.source {
            out.field("server", server).field("client", client);
        }
        out.field("server_name", &self.server_name)
            .field("node_name_in_certificate", &self.node_name_in_certificate)
            .field("client_auth", &self.client_auth)
            .field("skip_verify", &self.skip_verify)
            .field("watch", &self.watch)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl TlsConfig {
    /// One certificate for both directions, and one set of authorities.
    #[must_use]
    pub fn from_files(files: PemFiles) -> Self {
        let client = files.clone();
        Self::with_source(Source::Files {
            server: files,
            client,
        })
    }

    /// One certificate shown to peers that connect, another one shown to peers that are dialled.
    #[must_use]
    pub fn from_files_by_side(server: PemFiles, client: PemFiles) -> Self {
        Self::with_source(Source::Files { server, client })
    }

    /// Ready configurations, with their own verifiers, resolvers and provider. They alone decide which
    /// peers to believe, so [`client_auth`](Self::client_auth), `danger_skip_verify`,
    /// [`provider`](Self::provider) and [`watch`](Self::watch) mean nothing to them. They are asked to
    /// verify the dialled address, or [`server_name`](Self::server_name). TLS 1.2 works if they allow it.
    #[must_use]
    pub fn from_configs(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Self {
        Self::with_source(Source::Ready { client, server })
    }

    fn with_source(source: Source) -> Self {
        Self {
            source,
            provider: None,
            server_name: None,
            node_name_in_certificate: false,
            authorize: None,
            client_auth: ClientAuth::default(),
            skip_verify: false,
            watch: Some(WATCH_DEFAULT),
            warn_before: WARN_BEFORE_DEFAULT,
            limits: TlsLimits::default(),
        }
    }

    /// The cryptography to use. Default: the one that the process has installed; else aws-lc-rs, with
    /// the feature `tls-aws-lc-rs`; else ring, with the feature `tls-ring`; else the start fails with
    /// [`TlsError::NoProvider`].
    #[must_use]
    pub fn provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// The one name, DNS or address, that every dialled peer's certificate must be for. Default: the
    /// address that is dialled, or the name of a seed that resolved to it.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Whether a peer's certificate must carry the peer's node name as a DNS name among its subject
    /// alternative names: the same name, but for the case of ASCII letters. A wildcard stands for no
    /// node. Then a member cannot pass for another one on a stream. Default: no.
    #[must_use]
    pub fn node_name_in_certificate(mut self, required: bool) -> Self {
        self.node_name_in_certificate = required;
        self
    }

    /// Another rule for which peer may have which node name, beside the one above. It is asked once per stream,
    /// in the stream's task, and must not block. Peers without a certificate are refused. With
    /// [`danger_skip_verify`](Self::danger_skip_verify) the identity of a dialled peer is whatever it claims.
    #[must_use]
    pub fn authorize(
        mut self,
        may_be: impl Fn(&PeerIdentity, &NodeName) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.authorize = Some(Arc::new(may_be));
        self
    }

    /// What is asked of peers that connect. Default: [`ClientAuth::Require`].
    #[must_use]
    pub fn client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.client_auth = client_auth;
        self
    }

    /// Believes every certificate of peers that are dialled, by any signer. **Anyone between two nodes
    /// can then pretend to be either of them.** Peers that connect are still verified. What
    /// [`authorize`](Self::authorize) and [`node_name_in_certificate`](Self::node_name_in_certificate)
    /// decide about a dialled peer is worth nothing then: anyone can make a certificate with any name.
    #[must_use]
    pub fn danger_skip_verify(mut self, skip: bool) -> Self {
        self.skip_verify = skip;
        self
    }

    /// How often the files are read to see whether they have changed; `None`: only when
    /// [`TlsHandle::reload`](super::TlsHandle::reload) is called. Default 10 s, at least 100 ms.
    #[must_use]
    pub fn watch(mut self, every: Option<Duration>) -> Self {
        self.watch = every.map(|every| every.max(WATCH_MIN));
        self
    }

    /// How long before the end of this node's certificate the application is told. Default 14 days.
    #[must_use]
    pub fn warn_before(mut self, span: Duration) -> Self {
        self.warn_before = span;
        self
    }

    /// All limits. Default [`TlsLimits::default`].
    #[must_use]
    pub fn limits(mut self, limits: TlsLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The cryptography to use, in the order that [`provider`](Self::provider) promises.
    pub(super) fn cryptography(&self) -> Result<Arc<CryptoProvider>, TlsError> {
        let given = self.provider.clone();
        let installed = || CryptoProvider::get_default().cloned();
        let found = given.or_else(installed).or_else(built_in);
        found.ok_or(TlsError::NoProvider)
    }

    /// The files that it is loaded from: none for ready configurations.
    pub(super) fn files(&self) -> Vec<&PathBuf> {
        match &self.source {
            Source::Files { server, client } => [server, client]
                .into_iter()
                .flat_map(|files| [&files.cert, &files.key, &files.ca])
                .collect(),
            Source::Ready { .. } => Vec::new(),
        }
    }

    /// Whether it lets a peer in, or believes a peer, without verifying it.
    pub(super) fn is_dangerous(&self) -> bool {
        let from_files = matches!(self.source, Source::Files { .. });
        from_files && (self.skip_verify || self.client_auth != ClientAuth::Require)
    }

    /// The fixed name to verify.
    pub(super) fn fixed_name(&self) -> Result<Option<ServerName<'static>>, TlsError> {
        let Some(name) = &self.server_name else {
            return Ok(None);
        };
        match ServerName::try_from(name.clone()) {
            Ok(name) => Ok(Some(name)),
            Err(_) => Err(TlsError::ServerName { name: name.clone() }),
        }
    }
}

/// The provider that the features of this crate have built in, the one with post-quantum key exchange
/// first.
pub(super) fn built_in() -> Option<Arc<CryptoProvider>> {
    #[cfg(feature = "tls-aws-lc-rs")]
    return Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc-rs")))]
    return Some(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "tls-aws-lc-rs", feature = "tls-ring")))]
    None
}

/// Bounds of the TLS transport. What is over a limit is closed or dropped, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsLimits {
    /// Accepted connections in their handshakes at once. Half of them may come from one host, which is
    /// an IPv4 address or an IPv6 network of 64 bits; a quarter is kept for hosts that a peer was
    /// verified from before. Default 64. Too low: a cluster that starts at once dials again and again.
    /// Too high: strangers can hold that many sockets for `handshake_timeout`.
    pub handshakes_max: NonZeroUsize,
    /// Accepted handshakes a second, four seconds' worth at once, with the same shares. Default 64. A
    /// handshake costs some milliseconds of one core on each side.
    pub handshakes_per_second: NonZeroUsize,
    /// For a handshake, accepted or dialled. Default: the node's `tcp_timeout`.
    pub handshake_timeout: Option<Duration>,
    /// Accepted connections at once, half of them from one host, and dialled ones for packets. Default
    /// 1024 of each.
    pub connections_max: NonZeroUsize,
    /// Streams' connections that are kept for later streams, in all; four of them to one peer. The
    /// one kept longest goes first. Default 256.
    pub idle_max: NonZeroUsize,
    /// How long a connection that nobody uses is kept. Default 1 h, or 20 times the node's
    /// `push_pull_interval` if that is more: in that time a cluster of that many members exchanges
    /// state over every connection once, so a steady cluster makes no handshakes.
    pub idle_timeout: Option<Duration>,
    /// Packets that wait for one peer's connection, with some 50 bytes for keeping each; the oldest go
    /// first. Default 1 MiB.
    pub packet_queue_bytes: NonZeroUsize,
    /// Packets that have waited longer, here or on their way, are dropped: late is worse than lost to
    /// a failure detector. Their receiver judges them by its own limit, beyond what the first bytes of
    /// their connection took. Default: the node's `probe_timeout`.
    pub packet_age_max: Option<Duration>,
    /// Unacknowledged data after which the system gives a connection up, where it can. Default:
    /// four times `packet_age_max` but at least 2 s for packets, `tcp_timeout` for streams.
    pub user_timeout: Option<Duration>,
}

impl Default for TlsLimits {
    fn default() -> Self {
        Self {
            handshakes_max: const { NonZeroUsize::new(64).expect("it is not zero") },
            handshakes_per_second: const { NonZeroUsize::new(64).expect("it is not zero") },
            handshake_timeout: None,
            connections_max: const { NonZeroUsize::new(1024).expect("it is not zero") },
            idle_max: const { NonZeroUsize::new(256).expect("it is not zero") },
            idle_timeout: None,
            packet_queue_bytes: const { NonZeroUsize::new(1 << 20).expect("it is not zero") },
            packet_age_max: None,
            user_timeout: None,
        }
    }
}

/// One setter per field.
macro_rules! setters {
    ($($field:ident: $type:ty;)*) => {
        impl TlsLimits {$(
            #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
            #[must_use]
            pub fn $field(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )*}
    };
}

setters! {
    handshakes_max: NonZeroUsize;
    handshakes_per_second: NonZeroUsize;
    handshake_timeout: Option<Duration>;
    connections_max: NonZeroUsize;
    idle_max: NonZeroUsize;
    idle_timeout: Option<Duration>;
    packet_queue_bytes: NonZeroUsize;
    packet_age_max: Option<Duration>;
    user_timeout: Option<Duration>;
}

/// Limits in which nothing is left open.
#[derive(Clone, Copy, Debug)]
pub(super) struct TlsBounds {
    pub(super) handshakes_max: usize,
    pub(super) handshakes_per_second: usize,
    pub(super) handshake_timeout: Duration,
    pub(super) connections_max: usize,
    pub(super) idle_max: usize,
    pub(super) idle_timeout: Duration,
    pub(super) packet_queue_bytes: usize,
    pub(super) packet_age_max: Duration,
    pub(super) packets_user_timeout: Duration,
    pub(super) streams_user_timeout: Duration,
}

impl TlsLimits {
    pub(super) fn bounds(&self, timers: &Config) -> TlsBounds {
        let packet_age_max = self.packet_age_max.unwrap_or(timers.probe_timeout);
        let interval = timers.push_pull_interval.unwrap_or_default();
        let idle = IDLE_TIMEOUT_DEFAULT.max(interval.saturating_mul(20));
        let for_packets = packet_age_max.saturating_mul(4).max(USER_TIMEOUT_MIN);
        TlsBounds {
            handshakes_max: self.handshakes_max.get(),
            handshakes_per_second: self.handshakes_per_second.get(),
            handshake_timeout: self.handshake_timeout.unwrap_or(timers.tcp_timeout),
            connections_max: self.connections_max.get(),
            idle_max: self.idle_max.get(),
            idle_timeout: self.idle_timeout.unwrap_or(idle),
            packet_queue_bytes: self.packet_queue_bytes.get(),
            packet_age_max,
            packets_user_timeout: self.user_timeout.unwrap_or(for_packets),
            streams_user_timeout: self.user_timeout.unwrap_or(timers.tcp_timeout),
        }
    }
}

const WATCH_DEFAULT: Duration = Duration::from_secs(10);
const WATCH_MIN: Duration = Duration::from_millis(100);
const WARN_BEFORE_DEFAULT: Duration = Duration::from_secs(14 * 24 * 3600);
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);
const USER_TIMEOUT_MIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_is_too_long() {
        let limits = TlsLimits {
            packet_age_max: Some(Duration::MAX),
            idle_timeout: Some(Duration::MAX),
            ..TlsLimits::default()
        };
        let timers = Config::default().push_pull_interval(Some(Duration::MAX));
        let bounds = limits.bounds(&timers);
        assert_eq!(bounds.packets_user_timeout, Duration::MAX);
        let open = TlsLimits::default().bounds(&timers);
        assert_eq!(open.idle_timeout, Duration::MAX);
    }

    /// Whatever is built in, a provider that is given is the one that is used.
    #[test]
    fn a_provider_that_is_given_comes_before_one_that_is_built_in() {
        let files = PemFiles::new("node.pem", "node.key", "ca.pem");
        let config = TlsConfig::from_files(files);
        match (config.cryptography(), built_in()) {
            (Ok(found), Some(built_in)) => {
                assert_eq!(format!("{found:?}"), format!("{built_in:?}"));
                let given = config.provider(Arc::clone(&built_in));
                assert!(Arc::ptr_eq(&given.cryptography().unwrap(), &built_in));
            }
            (Err(TlsError::NoProvider), None) => {}
            (found, built_in) => panic!("{found:?} and {built_in:?}"),
        }
    }
}
