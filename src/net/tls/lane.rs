//! Packets on their way out: for each peer a bounded queue and one connection.
//!
//! A lane is one task for one peer's address. It dials when there is something to send, one dial at
//! a time and with backoff, and so is in nobody else's way. Packets wait meanwhile, as long as they
//! are young: late is worse than lost to a failure detector. Connections carry packets one way, from
//! their dialler, because only the dialled address has been verified; the lane reads to learn of the
//! end, which is how a restarted peer is noticed before the next packet.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsStream;

use super::Core;
use super::dial::{Dialled, connect};
use super::hello::Kind;
use super::record::{self, PACKET_BYTES_MAX};
use crate::net::DialError;

/// All lanes of a node.
#[derive(Default)]
pub(super) struct Lanes(Mutex<BTreeMap<SocketAddr, Arc<Lane>>>);

#[derive(Default)]
struct Lane {
    queue: Mutex<Queue>,
    /// There is something to send.
    filled: Notify,
    /// The peer is known to be there: dial at once.
    knocked: Notify,
}

#[derive(Default)]
struct Queue {
    packets: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    last_used: Option<Instant>,
    /// To be dialled, though there is nothing to send yet.
    wanted: bool,
    /// Its task is to end.
    closed: bool,
}

impl Lanes {
    /// Queues a packet.
    pub(super) fn send(&self, core: &Arc<Core>, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
        if packet.len() > PACKET_BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut lanes = self.lock();
        let lane = lane_to(&mut lanes, core, to);
        lane.push(core, Bytes::copy_from_slice(packet));
        Ok(())
    }

    /// The peer at this address has just shown that it is there: it is dialled at once, so that the
    /// first packet need not wait for a handshake.
    pub(super) fn warm(&self, core: &Arc<Core>, to: SocketAddr) {
        let mut lanes = self.lock();
        let lane = lane_to(&mut lanes, core, to);
        let mut queue = lane.lock();
        queue.wanted = true;
        queue.last_used.get_or_insert_with(Instant::now);
        drop(queue);
        lane.filled.notify_one();
        lane.knocked.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<Lane>>> {
        self.0.lock().expect("nothing panics under this lock")
    }

    /// Forgets a lane, unless there is something to send again.
    fn retire(&self, to: SocketAddr, lane: &Arc<Lane>) -> bool {
        let mut lanes = self.lock();
        let mut queue = lane.lock();
        if (queue.wanted || !queue.packets.is_empty()) && !queue.closed {
            return false;
        }
        queue.closed = true;
        if lanes.get(&to).is_some_and(|known| Arc::ptr_eq(known, lane)) {
            lanes.remove(&to);
        }
        true
    }
}

fn lane_to<'a>(
    lanes: &'a mut BTreeMap<SocketAddr, Arc<Lane>>,
    core: &Arc<Core>,
    to: SocketAddr,
) -> &'a Arc<Lane> {
    if !lanes.contains_key(&to) {
        make_room(lanes, core.bounds.connections_max);
    }
    lanes.entry(to).or_insert_with(|| {
        let lane = Arc::new(Lane::default());
        core.spawn(run(Arc::clone(core), to, Arc::clone(&lane)));
        lane
    })
}

/// Closes the lane that was used longest ago if there are as many as allowed.
fn make_room(lanes: &mut BTreeMap<SocketAddr, Arc<Lane>>, max: usize) {
    if lanes.len() < max {
        return;
    }
    let oldest = lanes
        .iter()
        .min_by_key(|(_, lane)| lane.lock().last_used)
        .map(|(&to, _)| to);
    if let Some(lane) = oldest.and_then(|to| lanes.remove(&to)) {
        lane.lock().closed = true;
        lane.filled.notify_one();
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics under this lock")
    }

    fn push(&self, core: &Core, packet: Bytes) {
        let mut queue = self.lock();
        let now = Instant::now();
        queue.last_used = Some(now);
        queue.bytes += packet.len();
        queue.packets.push_back((now, packet));
        while queue.bytes > core.bounds.packet_queue_bytes
            && let Some((_, oldest)) = queue.packets.pop_front()
        {
            queue.bytes -= oldest.len();
            core.tally.tls_packets_overflowed.one();
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Waits until there is something to do: to send, to dial, or to close.
    async fn filled(&self) {
        loop {
            {
                let queue = self.lock();
                if queue.wanted || !queue.packets.is_empty() || queue.closed {
                    return;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Drops packets that have grown old, so that nothing is dialled for them.
    fn expire(&self, core: &Core) {
        let mut queue = self.lock();
        let now = Instant::now();
        while let Some((at, packet)) = queue.packets.front()
            && now.saturating_duration_since(*at) > core.bounds.packet_age_max
        {
            queue.bytes -= packet.len();
            queue.packets.pop_front();
            core.tally.tls_packets_expired.one();
        }
    }

    /// Takes packets that are young enough into `batch`, up to a bound.
    fn take(&self, core: &Core, began: Instant, batch: &mut Vec<u8>) {
        let mut queue = self.lock();
        queue.wanted = false;
        let now = Instant::now();
        while batch.len() < BATCH_BYTES
            && let Some((at, packet)) = queue.packets.pop_front()
        {
            queue.bytes -= packet.len();
            if now.saturating_duration_since(at) > core.bounds.packet_age_max {
                core.tally.tls_packets_expired.one();
                continue;
            }
            record::put(batch, &packet, at, began);
        }
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

/// Why a connection is not used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing was sent for long, or the lane is closed.
    Idle,
    /// It broke, or the peer ended it, or is not believed any more.
    Lost,
}

async fn run(core: Arc<Core>, to: SocketAddr, lane: Arc<Lane>) {
    let mut backoff = Duration::ZERO;
    loop {
        // What the last connection left, or the last dial was too late for, is not dialled for.
        lane.expire(&core);
        let idle = timeout(core.bounds.idle_timeout, lane.filled()).await;
        if (idle.is_err() || lane.is_closed()) && core.lanes.retire(to, &lane) {
            return;
        }
        // From before the dial, so that a knock during it counts.
        let knocked = lane.knocked.notified();
        let mut knocked = pin!(knocked);
        knocked.as_mut().enable();
        let dialled = connect(&core, to, Kind::Packets).await;
        lane.lock().wanted = false;
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
            }
        } else {
            backoff = Duration::ZERO;
        }
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

async fn serve(core: &Core, lane: &Lane, dialled: Dialled) -> End {
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
        let mut filled = pin!(lane.filled());
        let more = poll_fn(|cx| {
            if poll_over(&mut io, cx).is_ready() || revoked.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            filled.as_mut().poll(cx).map(|()| true)
        });
        match timeout(core.bounds.idle_timeout, more).await {
            Err(_) => return End::Idle,
            Ok(_) if lane.is_closed() => return End::Idle,
            Ok(true) if !has_ended(&io) => {}
            Ok(_) => return End::Lost,
        }
        batch.clear();
        batch.shrink_to(2 * BATCH_BYTES);
        lane.take(core, began, &mut batch);
        if batch.is_empty() {
            continue;
        }
        let mut left = &batch[..];
        let write = poll_fn(|cx| {
            ready!(poll_write(&mut io, &mut left, cx)?);
            Pin::new(&mut io).poll_flush(cx)
        });
        let written = timeout(core.bounds.packets_user_timeout, write).await;
        if !matches!(written, Ok(Ok(()))) {
            return End::Lost;
        }
    }
}

type Io = TlsStream<TcpStream>;

/// Ready when the connection is over. A peer says nothing here, so whatever comes is the end.
fn poll_over(io: &mut Io, cx: &mut Context<'_>) -> Poll<()> {
    let mut byte = [0; 1];
    let mut byte = ReadBuf::new(&mut byte);
    Pin::new(io).poll_read(cx, &mut byte).map(drop)
}

fn poll_write(io: &mut Io, left: &mut &[u8], cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while !left.is_empty() {
        match ready!(Pin::new(&mut *io).poll_write(cx, left))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => *left = &left[count..],
        }
    }
    Poll::Ready(Ok(()))
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

/// Written at once.
const BATCH_BYTES: usize = 32 << 10;
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
