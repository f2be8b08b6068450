//! The bytes of a connection: how slowly they may be read, and how a connection ends.
//!
//! A connection that ends while its client still sends is shut down for writing first, and what
//! still comes is read and thrown away for a while: were it closed with unread bytes, the system
//! would reset it, and the client would lose an answer that it has not read yet (RFC 9112, 9.6).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::places::Place;
use super::stream::Stream;
use crate::limits::Limit;

/// A connection that may neither be read too slowly nor be closed with bytes unread.
pub(super) struct Io {
    stream: Stream,
    place: Arc<Place>,
    /// When it is given up, while the system takes no more bytes.
    stalled: Option<Pin<Box<Sleep>>>,
    ending: Option<Ending>,
}

/// What is still read of a connection that is shut down for writing.
struct Ending {
    until: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl Io {
    pub(super) fn new(stream: Stream, place: Arc<Place>) -> Self {
        Self {
            stream,
            place,
            stalled: None,
            ending: None,
        }
    }

    /// Lets a write wait, but not for ever: what is taken at last buys a little more time.
    fn watched(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written
            && let Some(stalled) = &mut self.stalled
        {
            let bought = Duration::from_secs_f64(*bytes as f64 / READ_BYTES_PER_SECOND_MIN);
            let until = (stalled.deadline() + bought).min(Instant::now() + STALL_MAX);
            stalled.as_mut().reset(until);
        }
        if written.is_ready() {
            return written;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(STALL_MAX)));
        ready!(stalled.as_mut().poll(cx));
        self.place.hit(Limit::AnswerTime);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watched(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.watched(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Comes when the system has taken all that there was.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stalled = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ending.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let ending = this.ending.get_or_insert_with(|| Ending {
            until: Box::pin(sleep_until(Instant::now() + LINGER_MAX)),
            bytes_left: LINGER_BYTES_MAX,
        });
        // A client that sends as fast as it is read ends as well.
        if ending.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut thrown_away = [0; 16 << 10];
        while ending.bytes_left > 0 {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let read = buffer.filled().len();
                    ending.bytes_left = ending.bytes_left.saturating_sub(read);
                }
                Poll::Ready(_) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// How long a client may read nothing of its answer. The system wakes a writer when a third of its
/// buffer is free, so that a client that reads at the least speed is not seen for ten seconds.
const STALL_MAX: Duration = Duration::from_secs(20);
/// The least speed at which an answer is read: a tenth of what a bad line of a telephone does.
const READ_BYTES_PER_SECOND_MIN: f64 = 8192.0;
/// How long, and how much, a client may go on sending what nobody wants.
const LINGER_MAX: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 16 << 20;
