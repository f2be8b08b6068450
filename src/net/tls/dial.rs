//! Dials one connection: TCP, TLS, then the hello inside it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
#[cfg(any(target_os = "android", target_os = "linux"))]
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsConnector, TlsStream};
use tracing::debug;

use super::clock;
use super::core::TlsCore;
use super::error::refusal;
use super::hello::{ADDRESS_NOT_VERIFIED, ConnectionKind, TlsHello, UNKNOWN_VERSION, WELCOME};
use super::identity::PeerIdentity;
use super::material::{Believed, Loaded, PeerRole};
use crate::net::{DialError, HandshakeRefusal, tcp};

/// A connection whose peer has been verified, and has taken it.
pub(super) struct Dialled {
    pub(super) io: TlsStream<TcpStream>,
    pub(super) identity: Option<Arc<PeerIdentity>>,
    pub(super) believed: Believed,
    pub(super) role: PeerRole,
    /// When the hello was written.
    pub(super) began: Instant,
}

/// Dials `to`, after a dial to it that is under way. Takes at most `handshake_timeout` in all. Cancel
/// safe: dropping it gives up.
pub(super) async fn connect(
    core: &TlsCore,
    to: SocketAddr,
    kind: ConnectionKind,
) -> Result<Dialled, DialError> {
    let within = core.bounds.handshake_timeout;
    let asked = clock::now();
    let Ok(turn) = timeout(within, core.turns.turn(to)).await else {
        return Err(DialError::TimedOut { to, within });
    };
    let turn = turn?;
    let mut connected = false;
    let dialling = async {
        let tcp = reach(core, to).await?;
        connected = true;
        prepare(core, &tcp, kind);
        let shaken = shake_hands(core, to, kind, tcp).await;
        shaken.map_err(|error| refused(core, to, error))
    };
    let dialled = timeout(within.saturating_sub(clock::now() - asked), dialling).await;
    turn.end(dialled.unwrap_or_else(|_| {
        if connected {
            failed(core, to, Some(HandshakeRefusal::TimedOut));
        }
        Err(DialError::TimedOut { to, within })
    }))
}

/// Connects to `to`, however long that takes. While a host does not respond, the system asks it less and
/// less often; so the attempt is given up and begun anew, which finds a host that has come back sooner.
async fn reach(core: &TlsCore, to: SocketAddr) -> Result<TcpStream, DialError> {
    loop {
        let connecting = timeout(ATTEMPT_TIMEOUT, tcp::connect(to, core.bound_ip()));
        if let Ok(connected) = connecting.await {
            return connected;
        }
    }
}

/// What a handshake that failed means to its caller.
fn refused(core: &TlsCore, to: SocketAddr, source: io::Error) -> DialError {
    // That the peer hung up does not say why: the peer itself reports it.
    let reason = refusal(&source).filter(|reason| *reason != HandshakeRefusal::Truncated);
    failed(core, to, reason.clone());
    match reason {
        Some(reason) => {
            debug!(%to, %source, %reason, "a TLS handshake failed");
            let source = io::Error::new(source.kind(), reason);
            DialError::Handshake { to, source }
        }
        // Something did listen there, so this is no proof that nobody does.
        None => DialError::Unreachable { to, source },
    }
}

fn failed(core: &TlsCore, to: SocketAddr, reason: Option<HandshakeRefusal>) {
    core.tally.tls_handshakes_failed.one();
    if let Some(reason) = reason {
        core.reports.refused(to, reason);
    }
}

async fn shake_hands(
    core: &TlsCore,
    to: SocketAddr,
    kind: ConnectionKind,
    tcp: TcpStream,
) -> io::Result<Dialled> {
    let loaded = core.materials.loaded();
    let name = core.server_name.clone();
    let name = name.unwrap_or_else(|| ServerName::from(to.ip()));
    let connector = TlsConnector::from(loaded.client_for(to));
    let mut io = connector.connect(name.clone(), tcp).await?;
    let hello = TlsHello {
        kind,
        addr: core.advertised(),
    };
    let began = clock::now();
    io.write_all(&hello.encode()).await?;
    io.flush().await?;
    // A peer that refuses our certificate says so here.
    match io.read_u8().await? {
        WELCOME => {}
        ADDRESS_NOT_VERIFIED => {
            let advertised = core.advertised();
            let reason = HandshakeRefusal::OwnAddressNotVerified { advertised };
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
        }
        UNKNOWN_VERSION => {
            let reason = HandshakeRefusal::Protocol;
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
        }
        _ => return Err(io::ErrorKind::ConnectionAborted.into()),
    }
    let identity = PeerIdentity::new(io.get_ref().1.peer_certificates());
    let role = PeerRole::Server(name);
    let kind = io.get_ref().1.handshake_kind();
    let believed = conclude(core, kind, loaded, &role, identity.as_ref())?;
    Ok(Dialled {
        io: io.into(),
        identity: identity.map(Arc::new),
        believed,
        role,
        began,
    })
}

/// Counts a handshake that succeeded. One that was resumed succeeds only if the peer's certificate
/// is still good.
pub(super) fn conclude(
    core: &TlsCore,
    kind: Option<HandshakeKind>,
    loaded: Arc<Loaded>,
    role: &PeerRole,
    peer: Option<&PeerIdentity>,
) -> io::Result<Believed> {
    let at = clock::unix_time();
    let resumed = kind == Some(HandshakeKind::Resumed);
    if resumed {
        let verified = loaded.verify(role, peer, at);
        verified.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        core.tally.tls_handshakes_resumed.one();
    }
    core.tally.tls_handshakes.one();
    Ok(Believed { with: loaded, at })
}

/// Sets the options of a connection, best effort: it works without them.
pub(super) fn prepare(core: &TlsCore, tcp: &TcpStream, kind: ConnectionKind) {
    let user_timeout = match kind {
        ConnectionKind::Packets => core.bounds.packets_user_timeout,
        ConnectionKind::Streams => core.bounds.streams_user_timeout,
    };
    set_user_timeout(tcp, user_timeout);
    // Packets are to wait where they can grow old, not in the system.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    if kind == ConnectionKind::Packets {
        let _ = SockRef::from(tcp).set_tcp_notsent_lowat(NOT_SENT_BYTES_MAX);
    }
}

fn set_user_timeout(tcp: &TcpStream, user_timeout: Duration) {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    let _ = SockRef::from(tcp).set_tcp_user_timeout(Some(user_timeout));
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    let _ = (tcp, user_timeout);
}

/// For one attempt to connect: the system has asked at once, after one second and after three.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(3500);
/// Of a packet connection, in the system and not on the wire yet.
#[cfg(any(target_os = "android", target_os = "linux"))]
const NOT_SENT_BYTES_MAX: u32 = 32 << 10;
