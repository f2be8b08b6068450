//! Mutual TLS for everything: packets and streams over verified connections to one TCP port.
//!
//! Nothing of the protocol is sent or read in the clear, and nothing is read from a peer whose
//! certificate is not signed by a trusted authority. How it stays out of the protocol's way:
//!
//! - **Packets** go over one connection per peer and direction (`lane.rs`), dialled by a task of its
//!   own, one dial at a time, with backoff, as soon as the peer shows itself. They wait in a bounded
//!   queue. Those older than `probe_timeout` are dropped, by the sender while it has them, and by the
//!   receiver if they grew old on their way (`record.rs`). A peer that answers nothing costs nobody
//!   else anything.
//! - **Streams** follow one another over connections that are kept (`channel.rs`, `pool.rs`), so an
//!   exchange of state costs no handshake. One dial at a time goes to a peer, for streams and packets
//!   together (`turns.rs`). Dials that are refused are reported as refused, which the
//!   engine takes for proof that a process has gone.
//! - **Where a packet comes from** is the address that its sender is reached at, which it says in the
//!   first bytes of the connection (`hello.rs`). It is believed if it names the host that the connection
//!   comes from, or one that the certificate is for. So a member cannot send packets in the name of
//!   another *host*; members that share a host, or that have certificates for each other's addresses,
//!   could. On streams, [`TlsConfig::node_name_in_certificate`] ties the node's name to its certificate.
//! - **Handshakes** are limited in number, rate and time before anything is computed, and connections
//!   in number, each host to its share (`admission.rs`). Redials resume sessions. Lengths that a peer
//!   names are of two bytes.
//! - **Certificates** are replaced while the node runs: [`TlsHandle`].
//!
//! TLS 1.3 alone (RFC 8446), unless ready configurations say otherwise. Without a fixed
//! [`server_name`](TlsConfig::server_name), a dialled peer's certificate must be for its IP address, or
//! for the host name of a seed that resolved to it.

mod admission;
mod channel;
mod config;
mod dial;
mod error;
mod handle;
mod hello;
mod identity;
mod lane;
mod listen;
mod material;
mod pool;
mod pulse;
mod queue;
mod record;
mod refusals;
mod turns;
mod verify;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

pub use config::{ClientAuth, PemFiles, TlsConfig, TlsLimits};
pub use error::TlsError;
pub use handle::TlsHandle;
pub use identity::PeerIdentity;
pub use rustls;

use super::{BindError, BoxStream, Dial, Finish, NameCheck, OwnCertificate, Tally, Transport, tcp};
use crate::config::Config;
use crate::engine::{Event, HandshakeRefusal};
use config::Bounds;
use handle::{Materials, info_of_files};
use lane::Lanes;
use material::{Believed, Side};
use pool::Pool;
use pulse::Pulse;
use refusals::Refusals;
use turns::Turns;

/// Packets and streams over mutual TLS on one TCP port.
pub struct Tls {
    core: Arc<Core>,
    addr: SocketAddr,
    /// The one strong handle, so that the port is free as soon as this is dropped.
    _listener: Arc<tcp::Listener>,
    packets: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
    streams: Mutex<mpsc::Receiver<(BoxStream, SocketAddr)>>,
    events: Mutex<mpsc::Receiver<Event>>,
    /// Its end ends all tasks.
    _alive: watch::Sender<()>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
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

impl Tls {
    /// Loads the certificates, then binds `addr`; port 0 picks a free one. Limits that are left open
    /// follow the timers of `node`.
    ///
    /// Must be called within a tokio runtime with I/O and time enabled, on which its tasks run.
    ///
    /// # Errors
    /// [`TlsBindError`].
    pub async fn bind(
        addr: SocketAddr,
        config: TlsConfig,
        node: &Config,
    ) -> Result<Self, TlsBindError> {
        let tally = Arc::<Tally>::default();
        let (refusals, events) = Refusals::new();
        let refusals = Arc::new(refusals);
        let bounds = config.limits.bounds(node);
        let server_name = config.fixed_name()?;
        let watch = config.watch;
        let materials = Materials::load(config, Arc::clone(&refusals), Arc::clone(&tally)).await?;
        let failed = |source| BindError { addr, source };
        let listener = Arc::new(tcp::Listener::bind(addr).map_err(failed)?);
        let addr = listener.local_addr().map_err(failed)?;
        let (packets, packets_out) = mpsc::channel(PACKETS_MAX);
        let (streams, streams_out) = mpsc::channel(STREAMS_MAX);
        let (alive, life) = watch::channel(());
        let core = Arc::new(Core {
            runtime: Handle::current(),
            bound: addr,
            advertised: Mutex::new(addr),
            bounds,
            server_name,
            materials: Arc::new(materials),
            tally,
            refusals,
            packets,
            streams,
            lanes: Lanes::default(),
            pool: Pool::default(),
            turns: Turns::default(),
            pulse: Pulse::new(bounds.packet_age_max),
            life,
        });
        core.spawn(listen::listen(Arc::clone(&core), Arc::downgrade(&listener)));
        let beating = Arc::clone(&core);
        core.spawn(async move { beating.pulse.run().await });
        if let Some(every) = watch {
            let materials = Arc::clone(&core.materials);
            core.spawn(async move { materials.watch(every).await });
        }
        Ok(Self {
            core,
            addr,
            _listener: listener,
            packets: Mutex::new(packets_out),
            streams: Mutex::new(streams_out),
            events: Mutex::new(events),
            _alive: alive,
        })
    }

    /// What replaces its certificates.
    #[must_use]
    pub fn handle(&self) -> TlsHandle {
        TlsHandle(Arc::clone(&self.core.materials))
    }
}

/// What all tasks of a transport share.
struct Core {
    runtime: Handle,
    bound: SocketAddr,
    advertised: Mutex<SocketAddr>,
    bounds: Bounds,
    server_name: Option<ServerName<'static>>,
    materials: Arc<Materials>,
    tally: Arc<Tally>,
    refusals: Arc<Refusals>,
    packets: mpsc::Sender<(SocketAddr, Bytes)>,
    streams: mpsc::Sender<(BoxStream, SocketAddr)>,
    lanes: Lanes,
    pool: Pool,
    turns: Turns,
    pulse: Pulse,
    life: watch::Receiver<()>,
}

impl Core {
    /// Runs a task until the transport is dropped.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut life = self.life.clone();
        self.runtime.spawn(async move {
            tokio::select! {
                () = task => {}
                // Nothing is ever sent: only its end is waited for.
                _ = life.changed() => {}
            }
        });
    }

    /// The address that dials leave from, where one was asked for: packets are believed to come from
    /// the host that they come from.
    fn bound_ip(&self) -> Option<IpAddr> {
        let ip = self.bound.ip();
        (!ip.is_unspecified()).then_some(ip)
    }

    fn advertised(&self) -> SocketAddr {
        *self
            .advertised
            .lock()
            .expect("nothing panics under this lock")
    }

    /// Waits until a peer that was believed is not believed any more. Time alone never does that.
    async fn revoked(&self, believed: Believed, side: &Side, peer: Option<&PeerIdentity>) {
        let mut reloads = self.materials.reloads.subscribe();
        let Believed { with, at } = believed;
        let mut asked = with;
        loop {
            let now = self.materials.loaded();
            if !Arc::ptr_eq(&asked, &now) && !now.still_accepts(side, peer, at) {
                self.tally.tls_connections_revoked.one();
                return;
            }
            asked = now;
            // The sender lives as long as this.
            let _ = reloads.changed().await;
        }
    }

    /// Who on this connection may have which name; `None` if everybody may have any.
    fn name_check(&self, peer: Option<&Arc<PeerIdentity>>, addr: SocketAddr) -> Option<NameCheck> {
        let config = self.materials.config();
        let by_certificate = config.node_name_in_certificate;
        if !by_certificate && config.authorize.is_none() {
            return None;
        }
        let peer = peer.cloned();
        let (refusals, tally) = (Arc::clone(&self.refusals), Arc::clone(&self.tally));
        Some(Arc::new(move |name| {
            let authorize = config.authorize.as_ref();
            let may_be = peer.as_ref().is_some_and(|peer| {
                (!by_certificate || peer.is_for_node(name))
                    && authorize.is_none_or(|may_be| may_be(peer, name))
            });
            if !may_be {
                tally.tls_names_refused.one();
                let name = name.clone();
                refusals.refused(addr, HandshakeRefusal::NodeNameNotAllowed { name });
            }
            may_be
        }))
    }
}

impl Transport for Tls {
    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Queues the packet for its peer's connection, which is dialled if there is none. Never blocks:
    /// a full queue loses its oldest packets, which are counted.
    fn try_send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.core.lanes.send(&self.core, to, bytes)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut packets = self.packets.lock().expect("nothing panics under this lock");
        super::poll_packet(&mut packets, cx, buf)
    }

    fn dial(&self, to: SocketAddr) -> Dial {
        Box::pin(pool::dial(Arc::clone(&self.core), to))
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(BoxStream, SocketAddr)>> {
        let mut streams = self.streams.lock().expect("nothing panics under this lock");
        match streams.poll_recv(cx) {
            Poll::Ready(Some(accepted)) => Poll::Ready(Ok(accepted)),
            // The core holds a sender.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn finish(&self) -> Finish {
        let core = Arc::clone(&self.core);
        Box::pin(async move { core.lanes.finish().await })
    }

    fn advertised(&self, addr: SocketAddr) {
        let advertised = self.core.advertised.lock();
        *advertised.expect("nothing panics under this lock") = addr;
    }

    fn resolved(&self, host: &str, addrs: &[SocketAddr]) {
        self.core.materials.names.learn(host, addrs);
    }

    fn tally(&self) -> Option<Arc<Tally>> {
        Some(Arc::clone(&self.core.tally))
    }

    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut events = self.events.lock().expect("nothing panics under this lock");
        match events.poll_recv(cx) {
            Poll::Ready(Some(event)) => Poll::Ready(event),
            // The core holds a sender.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn own_certificate(&self) -> Option<OwnCertificate> {
        Some(OwnCertificate {
            expires_at: self.core.materials.loaded().expires_at?,
            warn_before: self.core.materials.config().warn_before,
        })
    }
}

/// Packets that wait for the node; more wait in their connections.
const PACKETS_MAX: usize = 1024;
/// Streams that wait for the node; more wait in their connections.
const STREAMS_MAX: usize = 64;
