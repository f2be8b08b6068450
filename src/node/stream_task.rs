//! One stream's task: dial, shake hands, then read (`frames_in`) and write (`frames_out`) at the same time
//! until the end.
//!
//! Closing: after the last frame is written the other side is given a moment to close, and what it
//! still sends is thrown away. Closing with unread bytes would reset the connection, and a reset
//! destroys what is still on its way.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::debug;

use super::frames_in::{FramesIn, INTRODUCTION_BYTES_MAX};
use super::frames_out::{FramesOut, WriteEnd};
use super::handshake::{HandshakeError, handshake};
use super::inflow::StreamShare;
use super::outflow::Outgoing;
use super::stream_context::{StreamContext, StreamEvent};
use crate::engine::{CloseReason, StreamId};
use crate::net::{BoxStream, DialError, Transport, dial_within};
use crate::wire::frame::encode_frame_header;
use crate::wire::{Message, Objection, ObjectionReason, codec};

/// One stream, as its task owns it.
pub(super) struct StreamTask {
    pub(super) stream: StreamId,
    pub(super) context: StreamContext,
    /// To be written; its end closes the stream.
    pub(super) frames: mpsc::UnboundedReceiver<Bytes>,
    /// What of them is not written yet.
    pub(super) outgoing: Arc<Outgoing>,
    /// Resolves when the driver has closed the stream.
    pub(super) close: oneshot::Receiver<()>,
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
                self.run(io, None).await;
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
            let (count, reason) = match &error {
                DialError::Refused { .. } => (&tally.dials_refused, CloseReason::Refused),
                DialError::Handshake { .. }
                | DialError::Unreachable { .. }
                | DialError::TimedOut { .. } => (
                    &tally.dials_unreachable,
                    match error.refusal() {
                        Some(refusal) => CloseReason::Untrusted(refusal.clone()),
                        None => CloseReason::Unreachable,
                    },
                ),
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
                Err(match reason {
                    HandshakeError::Failed => CloseReason::Unreachable,
                    HandshakeError::ForeignCluster => CloseReason::ForeignCluster,
                    HandshakeError::ForeignVersion => CloseReason::ForeignVersion,
                })
            }
        }
    }

    /// Runs a stream that has passed its handshake. `first` is a frame that has been read already.
    pub(super) async fn run(self, io: BoxStream, first: Option<Bytes>) {
        let name_check = io.name_check();
        let (read, mut write) = tokio::io::split(io);
        let mut read = BufReader::with_capacity(READ_BUFFER_BYTES, read);
        let Self {
            stream,
            context,
            mut frames,
            outgoing,
            close,
        } = self;
        let mut frames_in = FramesIn {
            stream,
            context: &context,
            outgoing: &outgoing,
            share: StreamShare::new(),
            name_check,
            bytes_max: INTRODUCTION_BYTES_MAX,
        };
        let frames_out = FramesOut {
            stream,
            context: &context,
            outgoing: &outgoing,
        };
        let end = {
            let mut reading = pin!(frames_in.read(&mut read, first));
            let writing = frames_out.write(&mut write, &mut frames);
            let stuck = async {
                let _ = close.await;
                tokio::time::sleep(context.tcp_timeout).await;
            };
            tokio::select! {
                reason = &mut reading => StreamEnd::Itself(reason),
                written = writing => match written {
                    Ok(()) => StreamEnd::Closed,
                    Err(WriteEnd::Unread { ignored: true }) => {
                        StreamEnd::Itself(CloseReason::Unread)
                    }
                    Err(WriteEnd::Unread { ignored: false }) => {
                        StreamEnd::Itself(CloseReason::Local)
                    }
                    // What the other side said before it went is still to be read.
                    Err(WriteEnd::Broken) => StreamEnd::Itself(
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
                if matches!(reason, CloseReason::Untrusted(_)) {
                    // The other side learns why, if it reads.
                    let _ = timeout(LINGER, object(&mut write)).await;
                }
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

/// Tells the other side that it may not have the name that it gave.
async fn object(write: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut message = BytesMut::new();
    let objection = Objection::new(ObjectionReason::NameNotAllowed);
    codec::encode(&Message::Objection(objection), &mut message);
    write.write_all(&encode_frame_header(message.len())).await?;
    write.write_all(&message).await?;
    write.shutdown().await
}

/// Read from the socket at once.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// For the other side to close, after this one has.
const LINGER: Duration = Duration::from_secs(2);
