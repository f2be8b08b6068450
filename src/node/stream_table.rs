//! The driver's streams: a table of those that are open, and one task for each (`stream_task.rs`).
//!
//! A stream's task dials and shakes hands where that is asked of it, then reads and writes at the
//! same time. What is read goes to the driver through one bounded channel, so a busy driver slows
//! its peers down and loses nothing. Bounds: the streams of a node, and of one host (`stream_places`); the bytes of
//! frames between the sockets and the engine (`inflow`); the bytes that wait to be written, on a stream
//! and on all together (`outflow`).
//!
//! Where more waits to be written than may, in all, the stream is closed on which most waits: who
//! reads what it is sent has little waiting, and is not asked to pay for who does not.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

use super::accept::Accepted;
use super::clock::Clocks;
use super::inflow::{HeldShare, Inflow};
use super::outflow::{Outflow, Outgoing};
use super::stream_context::{StreamContext, StreamEvent};
use super::stream_places::{Placed, StreamPlaces};
use super::stream_task::StreamTask;
use super::tasks::propagate_panic;
use crate::config::Config;
use crate::engine::{CloseReason, Input, StreamId};
use crate::net::admission::network;
use crate::net::{NetTally, Transport};
use crate::wire::envelope::Envelope;

/// Bounds of a node's streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamLimits {
    /// Streams of both kinds, dialling and closing ones included. A quarter is kept for dials.
    pub(super) streams_max: usize,
    /// What the members on one host may need: so many of the others may always be of one host.
    pub(super) host_streams_min: usize,
    /// How long each of these may take: a dial with its handshake, writing out what is queued on a
    /// stream that this side closed, and, beyond its bytes at the least speed, a frame.
    pub(super) tcp_timeout: Duration,
}

impl StreamLimits {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            streams_max: config.streams_max,
            host_streams_min: config.direct_peers_max + config.exchanges_max,
            tcp_timeout: config.tcp_timeout,
        }
    }
}

/// What became of a frame to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// The stream has ended already.
    Gone,
    /// More waits on it than should, from now on.
    Full,
    /// Too much waits, on it or in all: these streams have been closed, for these reasons.
    Overflowed(Vec<(StreamId, CloseReason)>),
    /// It will be written.
    Taken,
}

/// All streams of a node.
pub(super) struct StreamTable {
    transport: Arc<dyn Transport>,
    context: StreamContext,
    outflow: Outflow,
    open: BTreeMap<StreamId, OpenStream>,
    tasks: JoinSet<()>,
    places: StreamPlaces,
    next_accepted: u64,
}

/// The driver's side of one stream. Dropping it closes the stream once its queue is written.
struct OpenStream {
    outgoing: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<Outgoing>,
    task: AbortHandle,
    dialling: bool,
    /// Of the frames that the engine is not done with.
    held: VecDeque<HeldShare>,
    /// Its end tells the task that the stream is being closed.
    _closing: oneshot::Sender<()>,
}

impl StreamTable {
    /// No streams yet. Their tasks report through the receiver.
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        limits: StreamLimits,
        envelope: Envelope,
        clock: Clocks,
        tally: Arc<NetTally>,
    ) -> (Self, mpsc::Receiver<StreamEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let context = StreamContext {
            tcp_timeout: limits.tcp_timeout,
            envelope,
            tally,
            inflow: Arc::new(Inflow::new(clock.clone())),
            clock,
            events,
        };
        let streams = Self {
            transport,
            context,
            outflow: Outflow::default(),
            open: BTreeMap::new(),
            tasks: JoinSet::new(),
            places: StreamPlaces::new(limits.streams_max, limits.host_streams_min),
            next_accepted: 1,
        };
        (streams, receiver)
    }

    /// Starts a dial; its end is reported as an event.
    ///
    /// # Errors
    /// The reason to report if there are too many streams.
    pub(super) fn dial(&mut self, stream: StreamId, to: SocketAddr) -> Result<(), CloseReason> {
        assert!(
            stream.0.is_multiple_of(2) && !self.open.contains_key(&stream),
            "the engine's streams have new, even numbers"
        );
        if !self.places.make_for_dial(&self.context.tally) {
            self.context.tally.streams_refused.one();
            return Err(CloseReason::Local);
        }
        let transport = Arc::clone(&self.transport);
        self.start(stream, None, |owned| owned.dial_and_run(transport, to));
        Ok(())
    }

    /// Takes a stream from outside and returns its number, or closes it if there are too many. A
    /// quarter of the streams is kept for this node's own dials.
    pub(super) fn accept(&mut self, accepted: Accepted) -> Option<StreamId> {
        let Accepted {
            io,
            peer,
            introduction,
        } = accepted;
        let host = network(peer.ip());
        if !self.places.make_for_accept(host, &self.context.tally) {
            self.context.tally.streams_refused.one();
            debug!(%peer, "stream refused: too many are open");
            return None;
        }
        let stream = StreamId(self.next_accepted);
        self.next_accepted += 2;
        let first = Some(introduction);
        self.start(stream, Some(host), |owned| owned.run(io, first));
        Some(stream)
    }

    /// Starts the task of a stream that was accepted from a host, or is to be dialled.
    fn start<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        stream: StreamId,
        host: Option<IpAddr>,
        run: impl FnOnce(StreamTask) -> F,
    ) {
        let (outgoing, frames) = mpsc::unbounded_channel();
        let (closing, close) = oneshot::channel();
        let waiting = self.outflow.stream();
        let owned = StreamTask {
            stream,
            context: self.context.clone(),
            frames,
            outgoing: Arc::clone(&waiting),
            close,
        };
        let task = self.tasks.spawn(run(owned));
        self.places.take(Placed {
            stream,
            task: task.clone(),
            waiting: Arc::clone(&waiting),
            host,
        });
        let open = OpenStream {
            outgoing,
            waiting,
            task,
            dialling: host.is_none(),
            held: VecDeque::new(),
            _closing: closing,
        };
        self.open.insert(stream, open);
    }

    /// Queues a frame.
    pub(super) fn send(&mut self, stream: StreamId, frame: Bytes) -> Queued {
        let Some(open) = self.open.get(&stream) else {
            return Queued::Gone;
        };
        let waiting = open.waiting.add(frame.len());
        // An error means that the task has ended; its event is on the way.
        let _ = open.outgoing.send(frame);
        let full = open.waiting.becomes_full();
        let mut overflowed = Vec::new();
        if waiting > WAITING_BYTES_MAX {
            let task = open.task.id();
            self.places.end(task);
            overflowed.push((stream, CloseReason::Unread));
        }
        while self.outflow.bytes() > WAITING_BYTES_TOTAL {
            let Some(stream) = self.places.end_fullest() else {
                break;
            };
            overflowed.push((stream, CloseReason::Local));
        }
        for _ in &overflowed {
            self.context.tally.streams_overflowed.one();
        }
        // Those that the engine has closed are none of its business any more.
        overflowed.retain(|(stream, _)| self.open.remove(stream).is_some());
        match (overflowed.is_empty(), full) {
            (false, _) => Queued::Overflowed(overflowed),
            (true, true) => Queued::Full,
            (true, false) => Queued::Taken,
        }
    }

    /// Closes a stream once its queue is written; the time for that is bounded. A dial under way
    /// is given up.
    pub(super) fn close(&mut self, stream: StreamId) {
        if let Some(open) = self.open.remove(&stream) {
            self.places.is_closing(open.task.id());
            if open.dialling {
                open.task.abort();
            }
        }
    }

    /// What an event means to the engine: nothing, if the engine has closed the stream meanwhile.
    /// A frame's share of its stream is held until the engine is [done with it](Self::frame_done).
    pub(super) fn admit(&mut self, event: StreamEvent) -> Option<Input> {
        match event {
            StreamEvent::Opened { stream, peer } => {
                self.open.get_mut(&stream)?.dialling = false;
                Some(Input::StreamOpened { stream, peer })
            }
            StreamEvent::Frame {
                stream,
                bytes,
                room,
            } => {
                let share = room.handed_over();
                self.open.get_mut(&stream)?.held.push_back(share);
                let frame = bytes;
                Some(Input::StreamFrame { stream, frame })
            }
            StreamEvent::Writable { stream } => {
                self.open.get(&stream)?;
                Some(Input::StreamWritable { stream })
            }
            StreamEvent::Closed { stream, reason } => {
                let open = self.open.remove(&stream)?;
                self.places.is_closing(open.task.id());
                Some(Input::StreamClosed { stream, reason })
            }
        }
    }

    /// The engine is done with the oldest frame of a stream: another one may be read in its place.
    pub(super) fn frame_done(&mut self, stream: StreamId) {
        if let Some(open) = self.open.get_mut(&stream) {
            open.held.pop_front();
        }
    }

    /// Forgets tasks that have ended. A task that panicked has broken an invariant of ours: the
    /// panic goes on here, in the driver.
    pub(super) fn reap(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next_with_id(cx) {
            let task = match &ended {
                Ok((task, ())) => *task,
                Err(error) => error.id(),
            };
            self.places.give_back(task);
            propagate_panic(ended.map(|_| ()));
        }
    }

    /// Closes all streams once their queues are written, and waits for that until `within` has
    /// passed; then ends them as they are.
    pub(super) async fn finish(&mut self, within: Duration) {
        for stream in self.open.keys().copied().collect::<Vec<_>>() {
            self.close(stream);
        }
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(within, ended).await;
        self.tasks.shutdown().await;
    }
}

/// Events that wait for the driver; more wait in the streams' tasks and sockets.
const EVENTS_MAX: usize = 256;
/// What may wait on one stream. The engine holds back what can wait beyond a small part of this, so it is
/// reached by a peer alone that asks, and asks, and does not read. There is room for the largest
/// value beside the window of a link.
const WAITING_BYTES_MAX: usize = 24 << 20;
/// What may wait on all streams: that of two such peers, or the part that the engine does not hold back for
/// each of the default number of streams.
const WAITING_BYTES_TOTAL: usize = 64 << 20;
