//! Packets on their way out: for each peer a bounded queue and one connection.
//!
//! A lane is one task for one peer's address. It dials when there is something to send, one dial at
//! a time and with backoff, and so is in nobody else's way. Packets wait meanwhile, as long as they
//! are young: late is worse than lost to a failure detector. Whatever a lane waits for, a dial, a
//! pause, a peer that does not read, it still lets its packets grow old, ends when it is told to,
//! and uses new certificates as soon as there are some. Connections carry packets one way, from
//! their dialler, because only the dialled address has been verified; the lane reads to learn of the
//! end, which is how a restarted peer is noticed before the next packet.

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
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsStream;

use super::Core;
use super::dial::{Dialled, connect};
use super::hello::Kind;
use super::queue::{BATCH_BYTES, Queue};
use super::record::PACKET_BYTES_MAX;
use crate::net::DialError;

/// All lanes of a node.
#[derive(Default)]
pub(super) struct Lanes {
    table: Mutex<Table>,
    /// The last lane has ended.
    emptied: Notify,
}

#[derive(Default)]
struct Table {
    lanes: BTreeMap<SocketAddr, Arc<Queue>>,
    /// No new ones any more.
    finishing: bool,
}

impl Lanes {
    /// Queues a packet.
    pub(super) fn send(&self, core: &Arc<Core>, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
        if packet.len() > PACKET_BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut table = self.lock();
        let lane = table.lane(core, to).ok_or(io::ErrorKind::BrokenPipe)?;
        lane.push(core, Bytes::copy_from_slice(packet));
        Ok(())
    }

    /// The peer at this address has just shown that it is there: it is dialled at once, so that the
    /// first packet need not wait for a handshake. What a peer says of its address closes nobody's
    /// connection, so only if there is room.
    pub(super) fn warm(&self, core: &Arc<Core>, to: SocketAddr) {
        let mut table = self.lock();
        let has_place = table.lanes.contains_key(&to) || !table.is_full(core);
        if has_place && let Some(lane) = table.lane(core, to) {
            lane.knock();
        }
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

    fn lock(&self) -> MutexGuard<'_, Table> {
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

impl Table {
    /// The lane to this peer, a new one if there is none; `None` once all of them are to end.
    fn lane(&mut self, core: &Arc<Core>, to: SocketAddr) -> Option<&Arc<Queue>> {
        if self.finishing {
            return None;
        }
        if !self.lanes.contains_key(&to) {
            self.make_room(core);
        }
        Some(self.lanes.entry(to).or_insert_with(|| {
            let lane = Arc::new(Queue::default());
            core.spawn(run(Arc::clone(core), to, Arc::clone(&lane)));
            lane
        }))
    }

    fn is_full(&self, core: &Core) -> bool {
        self.lanes.len() >= core.bounds.connections_max
    }

    /// Closes the lane that was used longest ago if there are as many as allowed.
    fn make_room(&mut self, core: &Core) {
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
enum End {
    /// Nothing was sent for long, or the lane is to end.
    Idle,
    /// It broke, or the peer ended it, or is not believed any more.
    Lost,
}

async fn run(core: Arc<Core>, to: SocketAddr, lane: Arc<Queue>) {
    let mut reloads = core.materials.reloads.subscribe();
    let mut backoff = Duration::ZERO;
    loop {
        // What the last connection left, or the last dial was too late for, is not dialled for.
        let idle = timeout(core.bounds.idle_timeout, lane.due(&core)).await;
        if (idle.is_err() || lane.is_over()) && core.lanes.retire(to, &lane) {
            return;
        }
        // From before the dial, so that a knock during it counts.
        let knocked = lane.knocked.notified();
        let mut knocked = pin!(knocked);
        knocked.as_mut().enable();
        let Some(dialled) = dial(&core, to, &lane, &mut reloads).await else {
            backoff = Duration::ZERO;
            continue;
        };
        lane.dialled();
        let waits = match dialled {
            Ok(dialled) => {
                let began = Instant::now();
                if serve(&core, &lane, dialled).await == End::Idle && core.lanes.retire(to, &lane) {
                    return;
                }
                // A peer that ends connections as soon as they are made is not dialled in a loop.
                began.elapsed() < BACKOFF_MIN
            }
            Err(error) => {
                backoff = next_backoff(&core, backoff, &error);
                true
            }
        };
        if waits {
            tokio::select! {
                () = sleep(backoff.max(BACKOFF_MIN)) => {}
                () = knocked => backoff = Duration::ZERO,
                _ = reloads.changed() => backoff = Duration::ZERO,
                () = lane.over(&core) => {}
            }
        } else {
            backoff = Duration::ZERO;
        }
    }
}

/// Dials, and is not deaf meanwhile: `None` if the lane is to end, or there are new certificates to
/// dial with.
async fn dial(
    core: &Core,
    to: SocketAddr,
    lane: &Queue,
    reloads: &mut watch::Receiver<u64>,
) -> Option<Result<Dialled, DialError>> {
    reloads.mark_unchanged();
    tokio::select! {
        dialled = connect(core, to, Kind::Packets) => Some(dialled),
        () = lane.over(core) => None,
        // Its sender lives as long as this.
        _ = reloads.changed() => None,
    }
}

/// A refused dial costs little, and the peer may be starting: packets are not to grow old meanwhile. A
/// handshake that fails costs both sides much.
fn next_backoff(core: &Core, backoff: Duration, error: &DialError) -> Duration {
    let max = match error {
        DialError::Refused { .. } => core.bounds.packet_age_max / 2,
        _ => BACKOFF_MAX,
    };
    (backoff * 2).clamp(BACKOFF_MIN, max.max(BACKOFF_MIN))
}

async fn serve(core: &Core, lane: &Queue, dialled: Dialled) -> End {
    let Dialled {
        mut io,
        identity,
        believed,
        side,
        began,
    } = dialled;
    let mut revoked = pin!(core.revoked(believed, &side, identity.as_deref()));
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
            Err(_) => return End::Idle,
            Ok(_) if lane.is_closed() => return End::Idle,
            Ok(_) if lane.is_over() => {
                end(core, &mut io).await;
                return End::Idle;
            }
            Ok(true) if !has_ended(&io) => {}
            Ok(_) => return End::Lost,
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
            return End::Lost;
        }
    }
}

type Io = TlsStream<TcpStream>;

/// Ends a connection, and waits until the peer has read what was written into it. If it were closed
/// with something unread, the system could throw that away.
async fn end(core: &Core, io: &mut Io) {
    let ending = async {
        if io.shutdown().await.is_ok() {
            poll_fn(|cx| poll_over(io, cx)).await;
        }
    };
    let _ = timeout(core.bounds.packets_user_timeout, ending).await;
}

/// Ready when the connection is over. A peer says nothing here, so whatever comes is the end.
fn poll_over(io: &mut Io, cx: &mut Context<'_>) -> Poll<()> {
    let mut byte = [0; 1];
    let mut byte = ReadBuf::new(&mut byte);
    Pin::new(io).poll_read(cx, &mut byte).map(drop)
}

/// Whether the system has heard of the end of the connection, which this task may only learn after
/// it has written: what is written then is lost.
fn has_ended(io: &Io) -> bool {
    let mut byte = [MaybeUninit::uninit(); 1];
    match SockRef::from(io.get_ref().0).peek(&mut byte) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
