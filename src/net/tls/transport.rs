//! The TLS transport as the node sees it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::config::TlsConfig;
use super::core::TlsCore;
use super::error::TlsBindError;
use super::handle::{Materials, TlsHandle};
use super::lane::Lanes;
use super::listen::{Reception, listen};
use super::pool::Pool;
use super::pulse::Pulse;
use super::reports::Reports;
use super::turns::Turns;
use crate::config::Config;
use crate::net::tcp::Listener;
use crate::net::transport::poll_packet;
use crate::net::{
    BindError, BoxStream, Dial, Finish, NetTally, OwnCertificate, TlsEvent, Transport,
};

/// Packets and streams over mutual TLS on one TCP port.
pub struct Tls {
    core: Arc<TlsCore>,
    lanes: Arc<Lanes>,
    pool: Arc<Pool>,
    addr: SocketAddr,
    /// The one strong handle, so that the port is free as soon as this is dropped.
    _listener: Arc<Listener>,
    packets: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
    streams: Mutex<mpsc::Receiver<(BoxStream, SocketAddr)>>,
    events: Mutex<mpsc::Receiver<TlsEvent>>,
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
        let tally = Arc::<NetTally>::default();
        let (reports, events) = Reports::new();
        let reports = Arc::new(reports);
        let bounds = config.limits.bounds(node);
        let server_name = config.fixed_name()?;
        let watch = config.watch;
        let materials = Materials::load(config, Arc::clone(&reports), Arc::clone(&tally)).await?;
        let failed = |source| BindError { addr, source };
        let listener = Arc::new(Listener::bind(addr).map_err(failed)?);
        let addr = listener.local_addr().map_err(failed)?;
        let (alive, life) = watch::channel(());
        let core = Arc::new(TlsCore {
            runtime: Handle::current(),
            bound: addr,
            advertised: Mutex::new(addr),
            bounds,
            server_name,
            materials: Arc::new(materials),
            tally,
            reports,
            turns: Turns::default(),
            life,
        });
        let lanes = Arc::new(Lanes::new(Arc::clone(&core)));
        let pool = Arc::new(Pool::new(Arc::clone(&core), Arc::clone(&lanes)));
        let (packets, packets_out) = mpsc::channel(PACKETS_MAX);
        let (streams, streams_out) = mpsc::channel(STREAMS_MAX);
        let pulse = Arc::new(Pulse::new(bounds.packet_age_max));
        let reception = Arc::new(Reception {
            core: Arc::clone(&core),
            lanes: Arc::clone(&lanes),
            pulse: Arc::clone(&pulse),
            packets,
            streams,
        });
        core.spawn(listen(reception, Arc::downgrade(&listener)));
        core.spawn(async move { pulse.run().await });
        if let Some(every) = watch {
            let materials = Arc::clone(&core.materials);
            core.spawn(async move { materials.watch(every).await });
        }
        Ok(Self {
            core,
            lanes,
            pool,
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

impl Transport for Tls {
    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Queues the packet for its peer's connection, which is dialled if there is none. Never blocks:
    /// a full queue loses its oldest packets, which are counted.
    fn try_send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.lanes.send(to, bytes)
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut packets = self.packets.lock().expect("nothing panics under this lock");
        poll_packet(&mut packets, cx, buf)
    }

    fn dial(&self, to: SocketAddr) -> Dial {
        let pool = Arc::clone(&self.pool);
        Box::pin(async move { pool.dial(to).await })
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(BoxStream, SocketAddr)>> {
        let mut streams = self.streams.lock().expect("nothing panics under this lock");
        match streams.poll_recv(cx) {
            Poll::Ready(Some(accepted)) => Poll::Ready(Ok(accepted)),
            // The listening task holds a sender as long as this lives.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn finish(&self) -> Finish {
        let lanes = Arc::clone(&self.lanes);
        Box::pin(async move { lanes.finish().await })
    }

    fn proves_names(&self) -> bool {
        self.core.proves_names()
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn advertised(&self, addr: SocketAddr) {
        let advertised = self.core.advertised.lock();
        *advertised.expect("nothing panics under this lock") = addr;
    }

    fn resolved(&self, host: &str, addrs: &[SocketAddr]) {
        self.core.materials.names.learn(host, addrs);
    }

    fn tally(&self) -> Option<Arc<NetTally>> {
        Some(Arc::clone(&self.core.tally))
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<TlsEvent> {
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
