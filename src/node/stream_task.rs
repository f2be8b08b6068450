//! One stream's task: dial, shake hands, then read and write at the same time until the end.
//!
//! Reading: room for a frame's bytes is reserved before they are read, whole, so frames under way
//! never wait for each other; small frames have room of their own, so large ones do not hold them
//! up. A frame that has begun must arrive at a least speed.
//!
//! Closing: after the last frame is written the other side is given a moment to close, and what it
//! still sends is thrown away. Closing with unread bytes would reset the connection, and a reset
//! destroys what is still on its way.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tracing::debug;

use super::handshake::handshake;
use crate::engine::{CloseReason, StreamId};
use crate::id::NodeName;
use crate::net::{BoxStream, DialError, NameCheck, NetTally, Transport, dial_within};
use crate::wire::Message;
use crate::wire::codec::{self, CodecLimits, Decoded};
use crate::wire::envelope::Envelope;
use crate::wire::frame::{FRAME_BYTES_MAX, encode_frame_header};

/// What all streams of a node share.
#[derive(Clone)]
pub(super) struct StreamContext {
    pub(super) tcp_timeout: Duration,
    pub(super) envelope: Envelope,
    pub(super) tally: Arc<NetTally>,
    pub(super) events: mpsc::Sender<StreamEvent>,
    /// Room for small frames between the sockets and the engine.
    small: Arc<Semaphore>,
    /// Room for large ones.
    large: Arc<Semaphore>,
}

impl StreamContext {
    pub(super) fn new(
        tcp_timeout: Duration,
        envelope: Envelope,
        tally: Arc<NetTally>,
        events: mpsc::Sender<StreamEvent>,
    ) -> Self {
        Self {
            tcp_timeout,
            envelope,
            tally,
            events,
            small: Arc::new(Semaphore::new(SMALL_BYTES_TOTAL)),
            large: Arc::new(Semaphore::new(LARGE_BYTES_TOTAL)),
        }
    }

    /// Waits for room for a frame.
    async fn room(&self, len: u32) -> OwnedSemaphorePermit {
        let room = if len <= SMALL_FRAME_BYTES {
            &self.small
        } else {
            &self.large
        };
        let room = Arc::clone(room).acquire_many_owned(len).await;
        room.expect("the rooms are never closed")
    }
}

/// One stream, as its task owns it.
pub(super) struct StreamTask {
    pub(super) stream: StreamId,
    pub(super) context: StreamContext,
    /// To be written; its end closes the stream.
    pub(super) frames: mpsc::UnboundedReceiver<Bytes>,
    /// Bytes in `frames` and not written yet.
    pub(super) queued: Arc<AtomicUsize>,
    /// Resolves when the driver has closed the stream.
    pub(super) close: oneshot::Receiver<()>,
}

/// What a stream's task tells the driver, in order for each stream.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// The dial and the handshake succeeded.
    Opened { stream: StreamId, peer: SocketAddr },
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

/// How a stream came to its end.
enum StreamEnd {
    /// This side closed it, and everything is written.
    Closed,
    /// This side closed it, and the other one did not take everything in time.
    Stuck,
    /// It ended by itself.
    Itself(CloseReason),
}

impl StreamTask {
    /// Dials `to` and runs the stream.
    pub(super) async fn dial_and_run(self, transport: Arc<dyn Transport>, to: SocketAddr) {
        match self.dial(&*transport, to).await {
            Ok(io) => {
                drop(transport);
                let (stream, peer) = (self.stream, to);
                self.report(StreamEvent::Opened { stream, peer }).await;
                self.run(io).await;
            }
            Err(reason) => self.report_closed(reason).await,
        }
    }

    /// Connects and shakes hands, both within `tcp_timeout`.
    async fn dial(
        &self,
        transport: &dyn Transport,
        to: SocketAddr,
    ) -> Result<BoxStream, CloseReason> {
        let tally = &self.context.tally;
        let within = self.context.tcp_timeout;
        let Ok(dialled) = timeout(within, self.connect(transport, to)).await else {
            debug!(%to, ?within, "dial failed: its handshake was not over in time");
            tally.dials_unreachable.one();
            return Err(CloseReason::Unreachable);
        };
        dialled
    }

    async fn connect(
        &self,
        transport: &dyn Transport,
        to: SocketAddr,
    ) -> Result<BoxStream, CloseReason> {
        let StreamContext {
            tcp_timeout,
            envelope,
            tally,
            ..
        } = &self.context;
        let dialled = dial_within(transport, to, *tcp_timeout).await;
        let mut io = dialled.map_err(|error| {
            debug!(%error, "dial failed");
            let (count, reason) = match error {
                DialError::Refused { .. } => (&tally.dials_refused, CloseReason::Refused),
                DialError::Handshake { .. }
                | DialError::Unreachable { .. }
                | DialError::TimedOut { .. } => {
                    (&tally.dials_unreachable, CloseReason::Unreachable)
                }
                DialError::Local { .. } => (&tally.dials_failed, CloseReason::Local),
            };
            count.one();
            reason
        })?;
        match handshake(&mut io, *envelope, *tcp_timeout, tally).await {
            Ok(()) => Ok(io),
            Err(reason) => {
                debug!(%to, ?reason, "stream closed in its handshake");
                // Something listens there, so this is no proof that a process has gone.
                Err(CloseReason::Unreachable)
            }
        }
    }

    /// Runs a stream that has passed its handshake.
    pub(super) async fn run(self, io: BoxStream) {
        let name_check = io.name_check();
        let (read, mut write) = tokio::io::split(io);
        let mut read = BufReader::with_capacity(READ_BUFFER_BYTES, read);
        let Self {
            stream,
            context,
            mut frames,
            queued,
            close,
        } = self;
        let end = {
            let mut reading = pin!(read_frames(&mut read, stream, &context, name_check));
            let writing = write_frames(&mut write, &mut frames, &queued);
            let stuck = async {
                let _ = close.await;
                tokio::time::sleep(context.tcp_timeout).await;
            };
            tokio::select! {
                reason = &mut reading => StreamEnd::Itself(reason),
                written = writing => match written {
                    Ok(()) => StreamEnd::Closed,
                    // What the other side said before it went is still to be read.
                    Err(_) => StreamEnd::Itself(
                        timeout(LINGER, reading).await.unwrap_or(CloseReason::Ended),
                    ),
                },
                () = stuck => StreamEnd::Stuck,
            }
        };
        match end {
            StreamEnd::Closed => {
                let _ = timeout(LINGER, tokio::io::copy(&mut read, &mut tokio::io::sink())).await;
            }
            StreamEnd::Stuck => {}
            StreamEnd::Itself(reason) => {
                let event = StreamEvent::Closed { stream, reason };
                // An error means that the driver has gone, and this task with it.
                let _ = context.events.send(event).await;
            }
        }
    }

    async fn report(&self, event: StreamEvent) {
        // An error means that the driver has gone, and this task with it.
        let _ = self.context.events.send(event).await;
    }

    async fn report_closed(&self, reason: CloseReason) {
        let stream = self.stream;
        self.report(StreamEvent::Closed { stream, reason }).await;
    }
}

/// Reads frames until the stream ends, and returns why it did.
async fn read_frames(
    read: &mut (impl AsyncRead + Unpin),
    stream: StreamId,
    context: &StreamContext,
    mut name_check: Option<NameCheck>,
) -> CloseReason {
    let mut frame_bytes_max = INTRODUCTION_BYTES_MAX;
    loop {
        let Ok(len) = read.read_u32().await else {
            return CloseReason::Ended;
        };
        if len > frame_bytes_max {
            debug!(
                ?stream,
                len, frame_bytes_max, "stream closed: a frame is too long"
            );
            context.tally.frames_oversized.one();
            return CloseReason::Local;
        }
        let permit = context.room(len).await;
        let mut frame = BytesMut::zeroed(len as usize);
        let within = context.tcp_timeout + Duration::from_secs(u64::from(len / FRAME_SPEED_MIN));
        match timeout(within, read.read_exact(&mut frame)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return CloseReason::Ended,
            Err(_) => {
                debug!(?stream, len, "stream closed: a frame is too slow");
                context.tally.frames_stalled.one();
                return CloseReason::Local;
            }
        }
        let bytes = frame.freeze();
        // Kept until the peer has said its name: another frame before that must not switch the check off.
        if let Some(may_be) = &name_check
            && let Some(name) = introduced(&bytes)
        {
            if !may_be(&name) {
                debug!(?stream, %name, "stream closed: the peer may not have this name");
                return CloseReason::Local;
            }
            name_check = None;
        }
        let event = StreamEvent::Frame {
            stream,
            bytes,
            permit,
        };
        if context.events.send(event).await.is_err() {
            return CloseReason::Local;
        }
        frame_bytes_max = FRAME_BYTES_MAX as u32;
    }
}

/// The name by which a frame introduces the peer. The engine refuses anything else that comes first:
/// without an introduction nothing is opened.
fn introduced(frame: &Bytes) -> Option<NodeName> {
    match codec::decode(&mut frame.clone(), &CodecLimits::default()) {
        Ok(Decoded::Message(Message::Hello(hello))) => Some(hello.node.process.name),
        Ok(Decoded::Message(Message::Welcome(welcome))) => Some(welcome.node.process.name),
        _ => None,
    }
}

/// Writes frames until there will be no more, then shuts this direction down.
async fn write_frames(
    write: &mut (impl AsyncWrite + Unpin),
    frames: &mut mpsc::UnboundedReceiver<Bytes>,
    queued: &AtomicUsize,
) -> std::io::Result<()> {
    let mut batch = Vec::new();
    while let Some(frame) = frames.recv().await {
        let mut payload = append(&mut batch, &frame);
        while batch.len() < WRITE_BATCH_BYTES {
            let Ok(frame) = frames.try_recv() else { break };
            payload += append(&mut batch, &frame);
        }
        write.write_all(&batch).await?;
        write.flush().await?;
        queued.fetch_sub(payload, Ordering::Relaxed);
        batch.clear();
        batch.shrink_to(2 * WRITE_BATCH_BYTES);
    }
    write.shutdown().await
}

/// Appends a frame with its length; returns the length.
fn append(batch: &mut Vec<u8>, frame: &Bytes) -> usize {
    batch.extend_from_slice(&encode_frame_header(frame.len()));
    batch.extend_from_slice(frame);
    frame.len()
}

/// A stream's first frame introduces the peer and may not be longer.
const INTRODUCTION_BYTES_MAX: u32 = 64 << 10;
/// Frames up to this size never wait for larger ones.
const SMALL_FRAME_BYTES: u32 = 64 << 10;
/// All small frames that are being read or wait for the engine.
const SMALL_BYTES_TOTAL: usize = 16 << 20;
/// All large ones: some of the largest at once.
const LARGE_BYTES_TOTAL: usize = 4 * FRAME_BYTES_MAX;
/// Bytes a second that a frame must keep up, beyond `tcp_timeout`.
const FRAME_SPEED_MIN: u32 = 64 << 10;
/// Read from the socket at once.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// Small frames are written together up to this.
const WRITE_BATCH_BYTES: usize = 64 << 10;
/// For the other side to close, after this one has.
const LINGER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ClusterId, NodeId, ProcessId};
    use crate::wire::{Capabilities, Hello, Purpose, Welcome};

    fn liar() -> NodeId {
        NodeId {
            process: ProcessId {
                name: NodeName::new("liar").unwrap(),
                boot: 1,
            },
            renewal: 0,
            addr: SocketAddr::from(([10, 0, 0, 1], 1)),
        }
    }

    fn hello() -> Message {
        Message::Hello(Hello {
            purpose: Purpose::Link,
            node: liar(),
            incarnation: 0,
            nonce: 1,
            token: 1,
            capabilities: Capabilities::OURS,
            stores: Vec::new(),
        })
    }

    fn welcome() -> Message {
        Message::Welcome(Welcome {
            node: liar(),
            incarnation: 0,
            nonce: 1,
            token: 1,
            capabilities: Capabilities::OURS,
            boot_known: 0,
            stores: Vec::new(),
        })
    }

    /// On accepted streams and on dialled ones, the name in an introduction is checked even if other
    /// frames come before it, and a false introduction does not reach the engine.
    #[tokio::test]
    async fn what_comes_before_a_lie_does_not_hide_it() {
        for lie in [hello(), welcome()] {
            let mut encoded = BytesMut::new();
            codec::encode(&lie, &mut encoded);
            // A message of a later version, twice, then the lie.
            let mut sent = Vec::new();
            for frame in [&[200, 0, 0, 0, 0][..], &[201, 0, 0, 0, 1, 7], &encoded] {
                append(&mut sent, &Bytes::copy_from_slice(frame));
            }
            let (events, mut received) = mpsc::channel(8);
            let within = Duration::from_secs(60);
            let envelope = Envelope::of(&ClusterId::default());
            let context = StreamContext::new(within, envelope, Arc::default(), events);
            let may_be: NameCheck = Arc::new(|name| name.as_str() != "liar");
            let mut read = &sent[..];
            let reason = read_frames(&mut read, StreamId(1), &context, Some(may_be)).await;
            // Without the check, the end of the bytes would have been the end.
            assert_eq!(reason, CloseReason::Local);
            drop(context);
            let mut frames = 0;
            while received.recv().await.is_some() {
                frames += 1;
            }
            assert_eq!(frames, 2, "the introduction reached the engine");
        }
    }
}
