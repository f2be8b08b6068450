//! Accepts connections: limits before the handshake, the handshake, then packets or streams.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::coop::{consume_budget, unconstrained};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::debug;

use super::channel::{Channel, FrameKind, lend};
use super::clock;
use super::core::TlsCore;
use super::dial::{conclude, prepare};
use super::error::refusal;
use super::hello::{
    ADDRESS_NOT_VERIFIED, BUSY, ConnectionKind, TlsHello, UNKNOWN_VERSION, WELCOME,
};
use super::identity::PeerIdentity;
use super::lane::Lanes;
use super::material::{Believed, PeerRole};
use super::pulse::Pulse;
use super::record::{self, Age, Ages};
use crate::net::admission::{Admission, AdmissionBounds, Admitted};
use crate::net::tcp::Listener;
use crate::net::{BoxStream, HandshakeRefusal, NameCheck};

/// Where accepted connections are looked after, and what they bring goes to.
pub(super) struct Reception {
    pub(super) core: Arc<TlsCore>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) packets: mpsc::Sender<(SocketAddr, Bytes)>,
    pub(super) streams: mpsc::Sender<(BoxStream, SocketAddr)>,
}

/// Accepts until the listener is dropped.
pub(super) async fn listen(reception: Arc<Reception>, listener: Weak<Listener>) {
    let core = &reception.core;
    let bounds = AdmissionBounds {
        handshakes_max: core.bounds.handshakes_max,
        per_second: Some(core.bounds.handshakes_per_second as f64),
        connections_max: core.bounds.connections_max,
    };
    let began = clock::now();
    let admission = Arc::new(Admission::new(bounds, Duration::ZERO));
    loop {
        let accepted = poll_fn(|cx| match listener.upgrade() {
            Some(listener) => listener.poll_accept(cx).map(Some),
            None => Poll::Ready(None),
        });
        match accepted.await {
            None => return,
            Some(Ok((tcp, peer))) => match admission.admit(peer.ip(), clock::now() - began) {
                Some(admitted) => {
                    core.spawn(greet(Arc::clone(&reception), tcp, peer, admitted));
                }
                None => core.tally.tls_handshakes_limited.one(),
            },
            Some(Err(error)) => {
                core.tally.accept_errors.one();
                debug!(%error, "a connection could not be accepted");
                // Descriptors have run out, most likely; the listener stays ready meanwhile.
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection whose dialler has been verified.
struct Greeted {
    io: TlsStream<TcpStream>,
    identity: Option<Arc<PeerIdentity>>,
    believed: Believed,
    kind: ConnectionKind,
    /// Where the dialler is reached.
    from: SocketAddr,
    /// When its hello was read.
    began: Instant,
}

async fn greet(
    reception: Arc<Reception>,
    tcp: TcpStream,
    peer: SocketAddr,
    mut admitted: Admitted,
) {
    let core = &*reception.core;
    let handshake = timeout(core.bounds.handshake_timeout, welcome(core, tcp, peer));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = admitted.gives_way() => {
            debug!(%peer, "a connection gave way in its TLS handshake");
            return core.tally.handshakes_evicted.one();
        }
    };
    let greeted = match shaken {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(reason)) => {
            core.tally.tls_handshakes_failed.one();
            return core.reports.refused(peer, reason);
        }
        Err(_) => {
            core.tally.tls_handshakes_failed.one();
            return core.reports.refused(peer, HandshakeRefusal::TimedOut);
        }
    };
    let open = admitted.verified();
    let Greeted {
        mut io,
        identity,
        believed,
        kind,
        from,
        began,
    } = greeted;
    let Some(_open) = open else {
        core.tally.tls_connections_refused.one();
        let _ = timeout(SAY_TIMEOUT, say(&mut io, BUSY)).await;
        return;
    };
    if !matches!(
        timeout(SAY_TIMEOUT, say(&mut io, WELCOME)).await,
        Ok(Ok(()))
    ) {
        return;
    }
    reception.lanes.warm(from);
    let revoked = core.revoked(believed, &PeerRole::Client, identity.as_deref());
    match kind {
        ConnectionKind::Packets => tokio::select! {
            () = packets(&reception, io, from, began) => {}
            () = revoked => {}
        },
        ConnectionKind::Streams => {
            let name_check = core.name_check(identity.as_ref(), peer);
            streams(&reception, io, peer, name_check, revoked).await;
        }
    }
}

/// Shakes hands and reads the hello.
async fn welcome(
    core: &TlsCore,
    tcp: TcpStream,
    peer: SocketAddr,
) -> Result<Greeted, HandshakeRefusal> {
    // What breaks here was cut short by the other side.
    let why = |error: io::Error| refusal(&error).unwrap_or(HandshakeRefusal::Truncated);
    let loaded = core.materials.loaded();
    let acceptor = TlsAcceptor::from(Arc::clone(&loaded.server));
    let mut io = acceptor.accept(tcp).await.map_err(why)?;
    let Some(TlsHello { kind, addr }) = TlsHello::read(&mut io).await.map_err(why)? else {
        let _ = io.write_u8(UNKNOWN_VERSION).await;
        let _ = io.shutdown().await;
        return Err(HandshakeRefusal::Protocol);
    };
    let began = clock::now();
    let identity = PeerIdentity::new(io.get_ref().1.peer_certificates()).map(Arc::new);
    let shaken = io.get_ref().1.handshake_kind();
    let peer_identity = identity.as_deref();
    let believed = conclude(core, shaken, loaded, &PeerRole::Client, peer_identity).map_err(why)?;
    let Some(from) = verified(addr, peer.ip(), identity.as_deref()) else {
        let _ = io.write_u8(ADDRESS_NOT_VERIFIED).await;
        let _ = io.shutdown().await;
        return Err(HandshakeRefusal::AddressNotVerified { claimed: addr });
    };
    prepare(core, io.get_ref().0, kind);
    Ok(Greeted {
        io: io.into(),
        identity,
        believed,
        kind,
        from,
        began,
    })
}

/// Where a dialler is reached. Any port is believed; the host must be the one that it dials from, or one
/// that its certificate is for, as it is where addresses are translated on the way.
fn verified(
    claimed: SocketAddr,
    host: IpAddr,
    identity: Option<&PeerIdentity>,
) -> Option<SocketAddr> {
    if claimed.ip() == host || claimed.ip().is_unspecified() {
        return Some(SocketAddr::new(host, claimed.port()));
    }
    identity
        .is_some_and(|identity| identity.is_for_ip(claimed.ip()))
        .then_some(claimed)
}

async fn say(io: &mut TlsStream<TcpStream>, answer: u8) -> io::Result<()> {
    io.write_u8(answer).await?;
    io.flush().await
}

/// Takes packets until the connection ends, or brings nothing but old ones. A busy node reads slowly;
/// packets then grow old at their senders, and are dropped there.
async fn packets(
    reception: &Reception,
    io: TlsStream<TcpStream>,
    from: SocketAddr,
    began: Instant,
) {
    let core = &*reception.core;
    let mut io = BufReader::with_capacity(READ_BUFFER_BYTES, io);
    // The dialler ends a connection that it does not use; one whose dialler has gone silent ends here.
    let patience = core.bounds.idle_timeout.saturating_mul(2);
    let mut ages = Ages::new(began, core.bounds.packet_age_max);
    let mut empty_at = began;
    loop {
        // A peer that sends faster than is read must not keep this thread for itself.
        consume_budget().await;
        // Unconstrained: an exhausted budget would look like an empty connection.
        let mut reading = pin!(unconstrained(record::read(&mut io)));
        let read = poll_fn(|cx| {
            let read = reading.as_mut().poll(cx);
            if read.is_pending() {
                empty_at = clock::now();
            }
            read
        });
        let Ok(Ok((stamp, packet))) = timeout(patience, read).await else {
            return;
        };
        let now = clock::now();
        let age = ages.judge(stamp, reception.pulse.earliest(empty_at, now), now);
        if age != Age::Young {
            core.tally.tls_packets_late.one();
        }
        match age {
            Age::Young => {}
            Age::Late => continue,
            Age::Hopeless => return debug!(%from, "a connection brings nothing but old packets"),
        }
        if reception.packets.send((from, packet)).await.is_err() {
            return;
        }
    }
}

/// Serves one stream after another until the connection ends.
async fn streams(
    reception: &Reception,
    io: TlsStream<TcpStream>,
    peer: SocketAddr,
    name_check: Option<NameCheck>,
    revoked: impl Future<Output = ()>,
) {
    let mut channel = Channel::new(io);
    let mut revoked = pin!(revoked);
    let patience = reception.core.bounds.idle_timeout.saturating_mul(2);
    loop {
        tokio::select! {
            opened = timeout(patience, channel.expect(FrameKind::Open)) => {
                if !matches!(opened, Ok(Ok(()))) {
                    return;
                }
            }
            () = &mut revoked => return,
        }
        // To confirm the stream is to promise that this process lives and will take it.
        let place = tokio::select! {
            place = reception.streams.reserve() => place,
            () = &mut revoked => return,
        };
        let Ok(place) = place else { return };
        let said = timeout(SAY_TIMEOUT, channel.send(FrameKind::Opened));
        if !matches!(said.await, Ok(Ok(()))) {
            return;
        }
        let (stream, loan) = lend(channel, name_check.clone());
        place.send((Box::new(stream), peer));
        let back = tokio::select! {
            back = loan.back => back,
            () = &mut revoked => {
                let _ = loan.revoke.send(());
                return;
            }
        };
        let Ok(returned) = back else { return };
        channel = returned;
        if !channel.settle().await {
            return;
        }
    }
}

/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// To write a byte or two.
const SAY_TIMEOUT: Duration = Duration::from_secs(2);
/// Read from a packet connection at once.
const READ_BUFFER_BYTES: usize = 16 << 10;
