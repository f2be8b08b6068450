//! The driver's streams: a table of those that are open, and one task for each (`stream_task.rs`).
//!
//! A stream's task dials and shakes hands where that is asked of it, then reads and writes at the
//! same time. What is read goes to the driver through one bounded channel, so a busy driver slows
//! its peers down and loses nothing. Bounds: the streams of a node, the bytes of frames between
//! the sockets and the engine, the bytes queued on a stream.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

use super::accept::Accepted;
use super::stream_task::{StreamContext, StreamEvent, StreamTask};
use super::tasks::propagate_panic;
use crate::engine::{CloseReason, Input, StreamId};
use crate::net::{NetTally, Transport};
use crate::wire::envelope::Envelope;

/// Bounds of a node's streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamLimits {
    /// Streams of both kinds, dialling and closing ones included. A quarter is kept for dials.
    pub(super) streams_max: usize,
    /// How long each of these may take: a dial with its handshake, writing out what is queued on a
    /// stream that this side closed, and, beyond its bytes at the least speed, a frame.
    pub(super) tcp_timeout: Duration,
}

/// What became of a frame to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// The stream has ended already.
    Gone,
    /// More was queued than is sane, because the peer does not read: the stream has been closed.
    Overflowed,
    /// It will be written.
    Taken,
}

/// All streams of a node.
pub(super) struct StreamTable {
    transport: Arc<dyn Transport>,
    context: StreamContext,
    limits: StreamLimits,
    open: BTreeMap<StreamId, OpenStream>,
    tasks: JoinSet<()>,
    permits: Arc<Semaphore>,
    next_accepted: u64,
}

/// The driver's side of one stream. Dropping it closes the stream once its queue is written.
struct OpenStream {
    outgoing: mpsc::UnboundedSender<Bytes>,
    queued: Arc<AtomicUsize>,
    task: AbortHandle,
    dialling: bool,
    /// Its end tells the task that the stream is being closed.
    _closing: oneshot::Sender<()>,
}

impl StreamTable {
    /// No streams yet. Their tasks report through the receiver.
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        limits: StreamLimits,
        envelope: Envelope,
        tally: Arc<NetTally>,
    ) -> (Self, mpsc::Receiver<StreamEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let streams = Self {
            transport,
            context: StreamContext::new(limits.tcp_timeout, envelope, tally, events),
            limits,
            open: BTreeMap::new(),
            tasks: JoinSet::new(),
            permits: Arc::new(Semaphore::new(limits.streams_max)),
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
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.context.tally.streams_refused.one();
            return Err(CloseReason::Local);
        };
        let transport = Arc::clone(&self.transport);
        self.start(stream, true, |owned| async move {
            let _permit = permit;
            owned.dial_and_run(transport, to).await;
        });
        Ok(())
    }

    /// Takes a stream from outside and returns its number, or closes it if there are too many. A
    /// quarter of the streams is kept for this node's own dials.
    pub(super) fn accept(&mut self, (io, peer): Accepted) -> Option<StreamId> {
        let reserved = self.limits.streams_max / 4;
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) if self.permits.available_permits() >= reserved => permit,
            _ => {
                self.context.tally.streams_refused.one();
                debug!(%peer, "stream refused: too many are open");
                return None;
            }
        };
        let stream = StreamId(self.next_accepted);
        self.next_accepted += 2;
        self.start(stream, false, |owned| async move {
            let _permit = permit;
            owned.run(io).await;
        });
        Some(stream)
    }

    fn start<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        stream: StreamId,
        dialling: bool,
        run: impl FnOnce(StreamTask) -> F,
    ) {
        let (outgoing, frames) = mpsc::unbounded_channel();
        let (closing, close) = oneshot::channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let owned = StreamTask {
            stream,
            context: self.context.clone(),
            frames,
            queued: Arc::clone(&queued),
            close,
        };
        let task = self.tasks.spawn(run(owned));
        let open = OpenStream {
            outgoing,
            queued,
            task,
            dialling,
            _closing: closing,
        };
        self.open.insert(stream, open);
    }

    /// Queues a frame.
    pub(super) fn send(&mut self, stream: StreamId, frame: Bytes) -> Queued {
        let Some(open) = self.open.get(&stream) else {
            return Queued::Gone;
        };
        let queued = open.queued.fetch_add(frame.len(), Ordering::Relaxed);
        if queued + frame.len() > QUEUED_BYTES_MAX {
            self.context.tally.streams_overflowed.one();
            open.task.abort();
            self.open.remove(&stream);
            return Queued::Overflowed;
        }
        // An error means that the task has ended; its event is on the way.
        let _ = open.outgoing.send(frame);
        Queued::Taken
    }

    /// Closes a stream once its queue is written; the time for that is bounded. A dial under way
    /// is given up.
    pub(super) fn close(&mut self, stream: StreamId) {
        if let Some(open) = self.open.remove(&stream)
            && open.dialling
        {
            open.task.abort();
        }
    }

    /// What an event means to the engine: nothing, if the engine has closed the stream meanwhile.
    /// The permit of a frame is to be held until the engine has taken it.
    pub(super) fn admit(
        &mut self,
        event: StreamEvent,
    ) -> Option<(Input, Option<OwnedSemaphorePermit>)> {
        match event {
            StreamEvent::Opened { stream, peer } => {
                self.open.get_mut(&stream)?.dialling = false;
                Some((Input::StreamOpened { stream, peer }, None))
            }
            StreamEvent::Frame {
                stream,
                bytes,
                permit,
            } => {
                self.open.get(&stream)?;
                let frame = bytes;
                Some((Input::StreamFrame { stream, frame }, Some(permit)))
            }
            StreamEvent::Closed { stream, reason } => {
                self.open.remove(&stream)?;
                Some((Input::StreamClosed { stream, reason }, None))
            }
        }
    }

    /// Forgets tasks that have ended. A task that panicked has broken an invariant of ours: the
    /// panic goes on here, in the driver.
    pub(super) fn reap(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
            propagate_panic(ended);
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
/// What may be queued on one stream. The engine's windows keep far below it; a peer that stopped
/// reading does not.
const QUEUED_BYTES_MAX: usize = 32 << 20;
