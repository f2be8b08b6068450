//! The driver's streams: a table of what is open, and one task for each.
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
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tracing::debug;

use super::accept::Accepted;
use super::handshake::handshake;
use super::pipe::{self, Pipe};
use crate::engine::{CloseReason, StreamId};
use crate::net::{BoxStream, DialError, Tally, Transport, dial_within};

/// Bounds of a node's streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamLimits {
    /// Streams of both kinds, closing ones included.
    pub(super) streams_max: usize,
    /// The longest frame taken from a peer.
    pub(super) frame_bytes_max: usize,
    /// A dial, a handshake, and a close may take this long each.
    pub(super) tcp_timeout: Duration,
}

/// What a stream's task tells the driver, in order for each stream.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// The dial and the handshake succeeded.
    Opened {
        stream: StreamId,
        peer: SocketAddr,
    },
    /// A frame; its bytes count until the permit is dropped.
    Frame {
        stream: StreamId,
        bytes: Bytes,
        permit: OwnedSemaphorePermit,
    },
    /// The end.
    Closed {
        stream: StreamId,
        reason: CloseReason,
    },
}

/// What all streams of a node share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) limits: StreamLimits,
    pub(super) tag: u64,
    pub(super) tally: Arc<Tally>,
    /// Bytes of frames that are being read or wait for the driver.
    pub(super) frame_bytes: Arc<Semaphore>,
    pub(super) events: mpsc::Sender<StreamEvent>,
}

/// What became of a frame to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// It will be written.
    Taken,
    /// The stream has ended already.
    Gone,
    /// More was queued than is sane, because the peer does not read: the stream has been closed.
    Overflowed,
}

/// All streams of a node.
pub(super) struct Streams {
    transport: Arc<dyn Transport>,
    shared: Shared,
    open: BTreeMap<StreamId, Open>,
    tasks: JoinSet<()>,
    permits: Arc<Semaphore>,
    next_accepted: u64,
}

/// The driver's side of one stream. Dropping it closes the stream once its queue is written.
struct Open {
    outgoing: mpsc::UnboundedSender<Bytes>,
    queued: Arc<AtomicUsize>,
    task: AbortHandle,
    dialling: bool,
    /// Its end tells the task that the stream is being closed.
    _closing: oneshot::Sender<()>,
}

impl Streams {
    /// No streams yet. Tasks report through the channel whose receiver is answered.
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        limits: StreamLimits,
        tag: u64,
        tally: Arc<Tally>,
    ) -> (Self, mpsc::Receiver<StreamEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let frame_bytes = FRAME_BYTES_TOTAL.max(4 * limits.frame_bytes_max);
        let streams = Self {
            transport,
            shared: Shared {
                limits,
                tag,
                tally,
                frame_bytes: Arc::new(Semaphore::new(frame_bytes)),
                events,
            },
            open: BTreeMap::new(),
            tasks: JoinSet::new(),
            permits: Arc::new(Semaphore::new(limits.streams_max)),
            next_accepted: 1,
        };
        (streams, receiver)
    }

    /// Starts a dial.
    ///
    /// # Errors
    /// The reason to report if there are too many streams.
    pub(super) fn dial(&mut self, stream: StreamId, to: SocketAddr) -> Result<(), CloseReason> {
        assert!(
            stream.0.is_multiple_of(2) && !self.open.contains_key(&stream),
            "the engine's streams have new, even numbers"
        );
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.shared.tally.streams_refused.one();
            return Err(CloseReason::Local);
        };
        let dial = dial_and_shake_hands(Arc::clone(&self.transport), to, self.shared.clone());
        let events = self.shared.events.clone();
        self.spawn(stream, true, async move |pipe| {
            let _permit = permit;
            let report = match dial.await {
                Ok(_) => StreamEvent::Opened { stream, peer: to },
                Err(reason) => StreamEvent::Closed { stream, reason },
            };
            todo!("{report:?} {events:?} {pipe:?}")
        });
        Ok(())
    }
}
