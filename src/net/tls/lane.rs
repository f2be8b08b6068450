//! Packets on their way out: for each peer a bounded queue and one connection.
//!
//! A lane is one task for one peer's address. It dials when there is something to send, one dial at
//! a time and with backoff, and delays no other lane. Packets wait meanwhile, as long as they are
//! young: to a failure detector, a late packet is worse than a lost one. A lane may wait for a dial, for
//! the end of a pause, or for a peer that does not read. While it waits it still drops packets that have
//! grown old, ends when it is told to, and uses new certificates as soon as there are some.
//!
//! A connection carries packets one way, from its dialler, because only the dialled address has been
//! verified. The lane reads from it only to learn of its end: so a restarted peer is noticed before the
//! next packet is sent.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;

use super::clock;
use super::core::TlsCore;
use super::dial::{Dialled, connect};
use super::hello::ConnectionKind;
use super::queue::{BATCH_BYTES, Queue};
use super::record::PACKET_BYTES_MAX;
use crate::net::DialError;

/// All lanes of a node.
pub(super) struct Lanes {
    core: Arc<TlsCore>,
    table: Mutex<LaneTable>,
    /// The last lane has ended.
    emptied: Notify,
}

#[derive(Default)]
struct LaneTable {
    lanes: BTreeMap<SocketAddr, Arc<Queue>>,
    /// No new ones any more.
    finishing: bool,
}

impl Lanes {
    /// No lanes yet.
    pub(super) fn new(core: Arc<TlsCore>) -> Self {
        Self {
            core,
            table: Mutex::default(),
            emptied: Notify::new(),
        }
    }

    /// Queues a packet.
    pub(super) fn send(self: &Arc<Self>, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
        if packet.len() > PACKET_BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut table = self.lock();
        let lane = self.lane(&mut table, to).ok_or(io::ErrorKind::BrokenPipe)?;
        lane.push(&self.core, Bytes::copy_from_slice(packet));
        Ok(())
    }

    /// The peer at this address has just shown that it is there: it is dialled at once, so that the
    /// first packet need not wait for a handshake. Only if there is room: the address is what the peer
    /// says it is, and that must not close the connection to another peer.
    pub(super) fn warm(self: &Arc<Self>, to: SocketAddr) {
        let mut table = self.lock();
        let has_room = table.lanes.contains_key(&to) || !table.is_full(&self.core);
        if has_room && let Some(lane) = self.lane(&mut table, to) {
            lane.knock();
        }
    }

    /// The lane to this peer, a new one if there is none; `None` once all of them are to end.
    fn lane<'a>(
        self: &Arc<Self>,
        table: &'a mut LaneTable,
        to: SocketAddr,
    ) -> Option<&'a Arc<Queue>> {
        if table.finishing {
            return None;
        }
        if !table.lanes.contains_key(&to) {
            table.make_room(&self.core);
        }
        Some(table.lanes.entry(to).or_insert_with(|| {
            let lane = Arc::new(Queue::default());
            self.core
                .spawn(run(Arc::clone(self), to, Arc::clone(&lane)));
            lane
        }))
    }

    /// Writes what waits, and waits until all lanes have ended. Packets that grow old meanwhile are
    /// dropped, so peers that cannot be reached do not take long. Cancel safe.
    pub(super) async fn finish(&self) {
        {
            let mut table = self.lock();
            table.finishing = true;
            table.lanes.values().for_each(|lane| lane.drain());
        }
        loop {
            let mut emptied = pin!(self.emptied.notified());
            emptied.as_mut().enable();
            if self.lock().lanes.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn lock(&self) -> MutexGuard<'_, LaneTable> {
        self.table.lock().expect("nothing panics under this lock")
    }

    /// Forgets a lane, unless there is something to send again.
    fn retire(&self, to: SocketAddr, lane: &Arc<Queue>) -> bool {
        let mut table = self.lock();
        if !lane.retire() {
            return false;
        }
        let known = table.lanes.get(&to);
        if known.is_some_and(|known| Arc::ptr_eq(known, lane)) {
            table.lanes.remove(&to);
        }
        if table.lanes.is_empty() {
            self.emptied.notify_waiters();
        }
        true
    }
}

impl LaneTable {
    fn is_full(&self, core: &TlsCore) -> bool {
        self.lanes.len() >= core.bounds.connections_max
    }

    /// Closes the lane that was used longest ago if there are as many as allowed.
    fn make_room(&mut self, core: &TlsCore) {
        if !self.is_full(core) {
            return;
        }
        let oldest = self.lanes.iter().min_by_key(|(_, lane)| lane.last_used());
        let oldest = oldest.map(|(&to, _)| to);
        if let Some(lane) = oldest.and_then(|to| self.lanes.remove(&to)) {
            core.tally.tls_lanes_evicted.one();
            lane.close(core);
        }
    }
}

/// Why a connection is not used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneEnd {
    /// Nothing was sent for long, or the lane is to end.
    Idle,
    /// It broke, or the peer ended it, or is not believed any more.
    Lost,
}

async fn run(lanes: Arc<Lanes>, to: SocketAddr, lane: Arc<Queue>) {
    let core = &lanes.core;
    let mut reloads = core.materials.reloads.subscribe();
    let mut backoff = Duration::ZERO;
    loop {
        // Packets that grew old meanwhile are dropped here: they are no reason to dial.
        let idle = timeout(core.bounds.idle_timeout, lane.due(core)).await;
        if (idle.is_err() || lane.is_over()) && lanes.retire(to, &lane) {
            return;
        }
        // From before the dial, so that a knock during it counts.
        let knocked = lane.knocked.notified();
        let mut knocked = pin!(knocked);
        knocked.as_mut().enable();
        let Some(dialled) = dial(core, to, &lane, &mut reloads).await else {
            backoff = Duration::ZERO;
            continue;
        };
        lane.dialled();
        let waits = match dialled {
            Ok(dialled) => {
                let began = clock::now();
                if serve(core, &lane, dialled).await == LaneEnd::Idle && lanes.retire(to, &lane) {
                    return;
                }
                // A peer that ends each connection at once must not be dialled without a pause.
                clock::now() - began < BACKOFF_MIN
            }
            Err(error) => {
                backoff = next_backoff(core, backoff, &error);
                true
            }
        };
        if waits {
            tokio::select! {
                () = sleep(backoff.max(BACKOFF_MIN)) => {}
                () = knocked => backoff = Duration::ZERO,
                _ = reloads.changed() => backoff = Duration::ZERO,
                () = lane.over(core) => {}
            }
        } else {
            backoff = Duration::ZERO;
        }
    }
}

/// Dials, and gives the dial up if the lane is to end, or if there are new certificates to dial with:
/// then it returns `None`.
async fn dial(
    core: &TlsCore,
    to: SocketAddr,
    lane: &Queue,
    reloads: &mut watch::Receiver<u64>,
) -> Option<Result<Dialled, DialError>> {
    reloads.mark_unchanged();
    tokio::select! {
        dialled = connect(core, to, ConnectionKind::Packets) => Some(dialled),
        () = lane.over(core) => None,
        // Its sender lives as long as this.
        _ = reloads.changed() => None,
    }
}

/// After a refused dial the pause is shorter than packets take to grow old: the dial cost little, and the
/// peer may be starting. A handshake that fails costs both sides much, so its pause may grow longer.
fn next_backoff(core: &TlsCore, backoff: Duration, error: &DialError) -> Duration {
    let max = match error {
        DialError::Refused { .. } => core.bounds.packet_age_max / 2,
        _ => BACKOFF_MAX,
    };
    (backoff * 2).clamp(BACKOFF_MIN, max.max(BACKOFF_MIN))
}

async fn serve(core: &TlsCore, lane: &Queue, dialled: Dialled) -> LaneEnd {
    let Dialled {
        mut io,
        identity,
        believed,
        role,
        began,
    } = dialled;
    let mut revoked = pin!(core.revoked(believed, &role, identity.as_deref()));
    let mut batch = Vec::new();
    loop {
        let mut due = pin!(lane.due(core));
        let more = poll_fn(|cx| {
            if poll_over(&mut io, cx).is_ready() || revoked.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            due.as_mut().poll(cx).map(|()| true)
        });
        match timeout(core.bounds.idle_timeout, more).await {
            Err(_) => return LaneEnd::Idle,
            Ok(_) if lane.is_closed() => return LaneEnd::Idle,
            Ok(_) if lane.is_over() => {
                end(core, &mut io).await;
                return LaneEnd::Idle;
            }
            Ok(true) if !has_ended(&io) => {}
            Ok(_) => return LaneEnd::Lost,
        }
        batch.clear();
        batch.shrink_to(2 * BATCH_BYTES);
        lane.take(core, began, &mut batch);
        if batch.is_empty() {
            continue;
        }
        let write = async {
            io.write_all(&batch).await?;
            io.flush().await
        };
        let wrote = tokio::select! {
            written = timeout(core.bounds.packets_user_timeout, write) => {
                matches!(written, Ok(Ok(())))
            }
            () = &mut revoked => false,
            () = lane.over(core) => false,
        };
        lane.written(core, wrote);
        if !wrote {
            return LaneEnd::Lost;
        }
    }
}

type Io = TlsStream<TcpStream>;

/// Ends a connection, and waits until the peer has read what was written into it. If it were closed
/// with something unread, the system could throw that away.
async fn end(core: &TlsCore, io: &mut Io) {
    let ending = async {
        if io.shutdown().await.is_ok() {
            poll_fn(|cx| poll_over(io, cx)).await;
        }
    };
    let _ = timeout(core.bounds.packets_user_timeout, ending).await;
}

/// Ready when the connection is over. A peer sends nothing here, so anything that is read is the end.
fn poll_over(io: &mut Io, cx: &mut Context<'_>) -> Poll<()> {
    let mut byte = [0; 1];
    let mut byte = ReadBuf::new(&mut byte);
    Pin::new(io).poll_read(cx, &mut byte).map(drop)
}

/// Whether the system knows already that the connection has ended. This task might otherwise learn of it
/// only after it has written, and what is written then is lost.
fn has_ended(io: &Io) -> bool {
    let mut byte = [MaybeUninit::uninit(); 1];
    match SockRef::from(io.get_ref().0).peek(&mut byte) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
