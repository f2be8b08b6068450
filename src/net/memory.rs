//! A network in memory: endpoints with packets and streams, and no socket.
//!
//! For tests, also with tokio's paused time, and for several nodes in one process. Endpoints can
//! be killed, which looks like the death of their process, and directions between two endpoints
//! can be cut, which looks like a cable pulled: packets are lost, streams stall, dials hang.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};

use super::transport::{BindError, BoxStream, Dial, DialError, Transport, poll_packet};

/// A network. Cheap to clone; all clones are one network.
#[derive(Clone, Debug)]
pub struct Network {
    fabric: Arc<Fabric>,
}

/// What all clones of a network share.
#[derive(Debug)]
struct Fabric {
    state: Mutex<FabricState>,
    /// Raised when a cut is made or mended.
    cuts_changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct FabricState {
    ports: BTreeMap<SocketAddr, Port>,
    /// Directions in which nothing passes.
    cuts: BTreeSet<(SocketAddr, SocketAddr)>,
    generation: u64,
    /// Ports picked so far, going round.
    picked: u16,
    /// Ports of dialling sides so far, going round.
    ephemeral: u16,
}

/// A live endpoint as the others see it. Dropping it is its death.
#[derive(Debug)]
struct Port {
    generation: u64,
    packets: mpsc::Sender<(SocketAddr, Bytes)>,
    streams: mpsc::Sender<(DuplexStream, SocketAddr)>,
    alive: watch::Sender<()>,
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Network {
    /// A network without endpoints.
    #[must_use]
    pub fn new() -> Self {
        Self {
            fabric: Arc::new(Fabric {
                state: Mutex::default(),
                cuts_changed: watch::Sender::new(0),
            }),
        }
    }

    /// Makes an endpoint; port 0 picks a free one, at `127.0.0.1` if the address is unspecified.
    ///
    /// # Errors
    /// [`BindError`] if a live endpoint has the address.
    pub fn bind(&self, addr: SocketAddr) -> Result<Arc<Endpoint>, BindError> {
        let mut state = self.fabric.lock();
        let mut addr = addr;
        if addr.ip().is_unspecified() {
            addr.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        if addr.port() == 0 {
            // Going round, as systems do: a port that has just been given back is the last choice.
            let free = (0..PORTS)
                .map(|step| FIRST_PORT + state.picked.wrapping_add(step) % PORTS)
                .find(|port| !state.ports.contains_key(&SocketAddr::new(addr.ip(), *port)));
            addr.set_port(free.unwrap_or(0));
            state.picked = addr.port().saturating_sub(FIRST_PORT) + 1;
        }
        if addr.port() == 0 || state.ports.contains_key(&addr) {
            let source = io::ErrorKind::AddrInUse.into();
            return Err(BindError { addr, source });
        }
        state.generation += 1;
        let generation = state.generation;
        let (packets, packets_in) = mpsc::channel(PACKETS_MAX);
        let (streams, streams_in) = mpsc::channel(BACKLOG);
        let port = Port {
            generation,
            packets,
            streams,
            alive: watch::Sender::new(()),
        };
        state.ports.insert(addr, port);
        Ok(Arc::new(Endpoint {
            network: self.clone(),
            addr,
            generation,
            packets: Mutex::new(packets_in),
            streams: Mutex::new(streams_in),
        }))
    }

    /// Kills the endpoint at `addr` as if its process had died: its streams end on both sides, and
    /// dials to it are refused. Its address is free again. Returns whether there was one.
    pub fn kill(&self, addr: SocketAddr) -> bool {
        self.fabric.lock().ports.remove(&addr).is_some()
    }

    /// Cuts the direction `from` to `to`: packets are lost, bytes on streams wait, and dials
    /// between the two hang.
    pub fn cut(&self, from: SocketAddr, to: SocketAddr) {
        self.fabric.lock().cuts.insert((from, to));
        self.fabric
            .cuts_changed
            .send_modify(|changes| *changes += 1);
    }

    /// Cuts every direction between a member of `left` and a member of `right`.
    pub fn partition(&self, left: &[SocketAddr], right: &[SocketAddr]) {
        for &a in left {
            for &b in right {
                self.cut(a, b);
                self.cut(b, a);
            }
        }
    }

    /// Mends every cut.
    pub fn heal(&self) {
        self.fabric.lock().cuts.clear();
        self.fabric
            .cuts_changed
            .send_modify(|changes| *changes += 1);
    }

    /// Waits until bytes pass from `from` to `to`.
    async fn passes(&self, from: SocketAddr, to: SocketAddr) {
        let mut changes = self.fabric.cuts_changed.subscribe();
        while self.fabric.lock().cuts.contains(&(from, to)) {
            // The sender lives as long as this network.
            let _ = changes.changed().await;
        }
    }

    /// Dials from `from`, which must be alive, to `to`.
    async fn dial(self, from: SocketAddr, to: SocketAddr) -> Result<BoxStream, DialError> {
        self.passes(from, to).await;
        self.passes(to, from).await;
        let (from_life, to_life, streams, ephemeral) = {
            let mut state = self.fabric.lock();
            state.ephemeral = state.ephemeral.wrapping_add(1);
            let ephemeral = SocketAddr::new(from.ip(), 49152 | state.ephemeral);
            let Some(dialler) = state.ports.get(&from) else {
                let source = io::ErrorKind::NotConnected.into();
                return Err(DialError::Local { to, source });
            };
            let Some(listener) = state.ports.get(&to) else {
                return Err(DialError::Refused { to });
            };
            (
                dialler.alive.subscribe(),
                listener.alive.subscribe(),
                listener.streams.clone(),
                ephemeral,
            )
        };
        let (near, near_wire) = tokio::io::duplex(STREAM_BYTES);
        let (far, far_wire) = tokio::io::duplex(STREAM_BYTES);
        if streams.send((far, ephemeral)).await.is_err() {
            return Err(DialError::Refused { to });
        }
        tokio::spawn(async move {
            let (near_read, near_write) = tokio::io::split(near_wire);
            let (far_read, far_write) = tokio::io::split(far_wire);
            tokio::select! {
                () = gone(from_life) => {}
                () = gone(to_life) => {}
                _ = async { tokio::try_join!(
                    self.pump(from, near_read, to, far_write),
                    self.pump(to, far_read, from, near_write),
                ) } => {}
            }
        });
        Ok(Box::new(near))
    }

    /// Carries one direction of a stream until it ends.
    #[expect(clippy::indexing_slicing, reason = "it is cut to the buffer's length")]
    async fn pump(
        &self,
        from: SocketAddr,
        mut read: ReadHalf<DuplexStream>,
        to: SocketAddr,
        mut write: WriteHalf<DuplexStream>,
    ) -> io::Result<()> {
        let mut buf = vec![0; STREAM_BYTES];
        loop {
            let count = read.read(&mut buf).await?;
            self.passes(from, to).await;
            if count == 0 {
                return write.shutdown().await;
            }
            write.write_all(&buf[..count]).await?;
        }
    }
}

/// Waits until the endpoint is dead.
async fn gone(mut life: watch::Receiver<()>) {
    while life.changed().await.is_ok() {}
}

impl Fabric {
    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn lock(&self) -> MutexGuard<'_, FabricState> {
        self.state
            .lock()
            .expect("no code that can panic runs under this lock")
    }
}

/// One endpoint. Dropping it is the death of its process, as [`Network::kill`].
#[derive(Debug)]
pub struct Endpoint {
    network: Network,
    addr: SocketAddr,
    generation: u64,
    packets: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
    streams: Mutex<mpsc::Receiver<(DuplexStream, SocketAddr)>>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let mut state = self.network.fabric.lock();
        let ours = |port: &Port| port.generation == self.generation;
        if state.ports.get(&self.addr).is_some_and(ours) {
            state.ports.remove(&self.addr);
        }
    }
}

impl Transport for Endpoint {
    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn try_send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let state = self.network.fabric.lock();
        let ours = |port: &Port| port.generation == self.generation;
        if !state.ports.get(&self.addr).is_some_and(ours) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if state.cuts.contains(&(self.addr, to)) {
            return Ok(());
        }
        if let Some(port) = state.ports.get(&to) {
            // A full queue loses the packet and its sender does not know, as with UDP.
            let _ = port
                .packets
                .try_send((self.addr, Bytes::copy_from_slice(bytes)));
        }
        Ok(())
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
        Box::pin(self.network.clone().dial(self.addr, to))
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(BoxStream, SocketAddr)>> {
        let mut streams = self.streams.lock().expect("nothing panics under this lock");
        match streams.poll_recv(cx) {
            Poll::Ready(Some((stream, peer))) => Poll::Ready(Ok((Box::new(stream), peer))),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// The first of the ports that are picked for port 0.
const FIRST_PORT: u16 = 1024;
/// How many of them there are.
const PORTS: u16 = 32_768;
/// Packets that wait at an endpoint; more are lost.
const PACKETS_MAX: usize = 4096;
/// Streams that wait to be accepted; more dials wait.
const BACKLOG: usize = 128;
/// Bytes that wait in each direction of a stream, on each side of the wire.
const STREAM_BYTES: usize = 64 << 10;
