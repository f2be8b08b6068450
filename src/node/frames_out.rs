//! Writing the frames of a stream. Each piece must be taken in time: a peer that does not read does not
//! keep for ever what is to be written to it.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::frame_pace::FRAME_SPEED_MIN;
use super::outflow::Outgoing;
use super::stream_context::{StreamContext, StreamEvent};
use crate::engine::StreamId;
use crate::wire::frame::encode_frame_header;

/// The writing side of one stream.
pub(super) struct FramesOut<'a> {
    pub(super) stream: StreamId,
    pub(super) context: &'a StreamContext,
    pub(super) outgoing: &'a Outgoing,
}

/// Why no more can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteEnd {
    /// The connection broke.
    Broken,
    /// The other side took nothing in time. `ignored` is whether it went on sending meanwhile.
    Unread { ignored: bool },
}

impl FramesOut<'_> {
    /// Writes frames until there will be no more, then shuts this direction down.
    pub(super) async fn write(
        &self,
        write: &mut (impl AsyncWrite + Unpin),
        frames: &mut mpsc::UnboundedReceiver<Bytes>,
    ) -> Result<(), WriteEnd> {
        let mut batch = Vec::new();
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(frame) => Some(frame),
                None => frames.recv().await,
            };
            let Some(frame) = first else { break };
            batch.extend_from_slice(&encode_frame_header(frame.len()));
            if frame.len() > BATCHED_BYTES_MAX {
                // As it is: it may be the largest value there is.
                self.put(write, &batch, 0).await?;
                batch.clear();
                for piece in frame.chunks(PIECE_BYTES) {
                    self.put(write, piece, piece.len()).await?;
                }
                continue;
            }
            batch.extend_from_slice(&frame);
            let mut payload = frame.len();
            while batch.len() < PIECE_BYTES
                && let Ok(frame) = frames.try_recv()
            {
                if frame.len() > BATCHED_BYTES_MAX {
                    next = Some(frame);
                    break;
                }
                batch.extend_from_slice(&encode_frame_header(frame.len()));
                batch.extend_from_slice(&frame);
                payload += frame.len();
            }
            self.put(write, &batch, payload).await?;
            batch.clear();
        }
        write.shutdown().await.map_err(|_| WriteEnd::Broken)
    }

    /// Writes one piece, with so many bytes that were queued.
    async fn put(
        &self,
        write: &mut (impl AsyncWrite + Unpin),
        piece: &[u8],
        payload: usize,
    ) -> Result<(), WriteEnd> {
        let StreamContext {
            tcp_timeout,
            clock,
            tally,
            events,
            ..
        } = self.context;
        self.outgoing.begin_piece(clock.now().mono);
        let written = timeout(*tcp_timeout + PIECE_TIME, async {
            write.write_all(piece).await?;
            write.flush().await
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(WriteEnd::Broken),
            Err(_) => {
                let stream = self.stream;
                let ignored = self.outgoing.is_ignored(HEARD_MIN.max(*tcp_timeout / 4));
                debug!(?stream, ignored, "stream closed: its peer does not read");
                tally.streams_unread.one();
                return Err(WriteEnd::Unread { ignored });
            }
        }
        self.outgoing.end_piece();
        if self.outgoing.wrote(payload) {
            let stream = self.stream;
            // An error means that the driver has gone, and this task with it.
            let _ = events.send(StreamEvent::Writable { stream }).await;
        }
        Ok(())
    }
}

/// Written at once; small frames together up to this.
const PIECE_BYTES: usize = 64 << 10;
/// Larger frames are not copied to be written.
const BATCHED_BYTES_MAX: usize = 16 << 10;
/// What a piece takes at the least speed.
const PIECE_TIME: Duration = Duration::from_secs(PIECE_BYTES as u64 / FRAME_SPEED_MIN as u64);
/// For how long frames of the other side must have come in while it took nothing: longer than what was
/// under way when the network began to lose everything in the other direction.
const HEARD_MIN: Duration = Duration::from_millis(500);
