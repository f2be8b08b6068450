//! One connection that carries one stream after another, so that a stream needs no handshake.
//!
//! Frames are `kind u8, length u16`, then the data of a `Data` frame; others have no length. The
//! dialler opens a stream with `Open`, the other side confirms with `Opened`; then both send `Data`,
//! and each sends `End` once. When both have, the dialler may open the next one. A length is at most
//! 65,535 and allocates nothing: data goes from the connection to the reader's own buffer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::net::{NameCheck, Stream};

/// The framing of one connection.
pub(super) struct Channel<T> {
    io: T,
    /// Whole frames on their way out.
    out: BytesMut,
    header: [u8; HEADER_BYTES],
    header_len: usize,
    /// What is left of the `Data` frame that is being read.
    data_left: usize,
    ended_in: bool,
    ended_out: bool,
    /// Something went wrong: the connection cannot be used again.
    broken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Data = 0,
    End = 1,
    Open = 2,
    Opened = 3,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    pub(super) fn new(io: T) -> Self {
        Self {
            io,
            out: BytesMut::new(),
            header: [0; HEADER_BYTES],
            header_len: 0,
            data_left: 0,
            ended_in: false,
            ended_out: false,
            broken: false,
        }
    }

    /// Sends a frame without data.
    pub(super) async fn send(&mut self, kind: FrameKind) -> io::Result<()> {
        self.put(kind, &[]);
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Waits for a frame without data, which must be this one. Cancel safe.
    ///
    /// # Errors
    /// Another frame came, or the connection ended.
    pub(super) async fn expect(&mut self, expected: FrameKind) -> io::Result<()> {
        match std::future::poll_fn(|cx| self.poll_header(cx)).await? {
            Some((kind, _)) if kind == expected => Ok(()),
            Some(_) => Err(self.fail("a frame out of place")),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Brings a stream whose owner has dropped it to its end on both sides, within a bound. Returns
    /// whether another stream can follow.
    pub(super) async fn settle(&mut self) -> bool {
        if self.broken {
            return false;
        }
        let settled = timeout(SETTLE_TIMEOUT, async {
            std::future::poll_fn(|cx| self.poll_end(cx)).await?;
            let (mut thrown_away, mut buf) = (0, [0; 4096]);
            while !self.ended_in && thrown_away <= THROWN_AWAY_MAX {
                let mut buf = ReadBuf::new(&mut buf);
                std::future::poll_fn(|cx| self.poll_read(cx, &mut buf)).await?;
                thrown_away += buf.filled().len();
            }
            io::Result::Ok(())
        });
        let settled = matches!(settled.await, Ok(Ok(()))) && self.ended_in && !self.broken;
        self.ended_in = false;
        self.ended_out = false;
        settled
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn put(&mut self, kind: FrameKind, data: &[u8]) {
        self.out.reserve(HEADER_BYTES + data.len());
        self.out.put_u8(kind as u8);
        self.out
            .put_u16(u16::try_from(data.len()).expect("writes are cut to DATA_BYTES_MAX"));
        self.out.put_slice(data);
    }

    fn fail(&mut self, what: &'static str) -> io::Error {
        self.broken = true;
        io::Error::new(io::ErrorKind::InvalidData, what)
    }

    /// Notes that an error ended the connection.
    fn note<R>(&mut self, result: io::Result<R>) -> io::Result<R> {
        self.broken |= result.is_err();
        result
    }

    /// Reads the next header; `None` at the end of the connection.
    #[expect(
        clippy::indexing_slicing,
        reason = "no more is read than there is room for"
    )]
    fn poll_header(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<(FrameKind, usize)>>> {
        while self.header_len < HEADER_BYTES {
            let mut buf = ReadBuf::new(&mut self.header[self.header_len..]);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf));
            let count = buf.filled().len();
            self.note(read)?;
            if count == 0 {
                self.broken = true;
                return Poll::Ready(Ok(None));
            }
            self.header_len += count;
        }
        self.header_len = 0;
        let [kind, len @ ..] = self.header;
        let len = usize::from(u16::from_be_bytes(len));
        let kind = match kind {
            0 => FrameKind::Data,
            1 => FrameKind::End,
            2 => FrameKind::Open,
            3 => FrameKind::Opened,
            _ => return Poll::Ready(Err(self.fail("an unknown frame"))),
        };
        if kind != FrameKind::Data && len != 0 {
            return Poll::Ready(Err(self.fail("data where none belongs")));
        }
        Poll::Ready(Ok(Some((kind, len))))
    }

    /// Reads data of the current stream; nothing once the other side has ended it.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.data_left == 0 {
            if self.ended_in || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.poll_header(cx))? {
                Some((FrameKind::Data, len)) => self.data_left = len,
                Some((FrameKind::End, _)) => self.ended_in = true,
                Some(_) => return Poll::Ready(Err(self.fail("a frame out of place"))),
                // The process has died, most likely: this is not the end of a whole stream.
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        let room = self.data_left.min(buf.remaining());
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut part));
        let count = part.filled().len();
        self.note(read)?;
        if count == 0 {
            self.broken = true;
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        buf.advance(count);
        self.data_left -= count;
        Poll::Ready(Ok(()))
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "no more is read than there is room for"
    )]
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.ended_out || self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        while self.out.len() >= OUT_BYTES_MAX {
            ready!(self.poll_some_out(cx))?;
        }
        let count = data.len().min(DATA_BYTES_MAX);
        self.put(FrameKind::Data, &data[..count]);
        // Most of the time it goes out at once, flushed or not.
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_some_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out));
        let count = self.note(written)?;
        if count == 0 {
            self.broken = true;
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.out.advance(count);
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            ready!(self.poll_some_out(cx))?;
        }
        let flushed = ready!(Pin::new(&mut self.io).poll_flush(cx));
        Poll::Ready(self.note(flushed))
    }

    /// Says that no more data follows.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended_out {
            self.ended_out = true;
            self.put(FrameKind::End, &[]);
        }
        self.poll_flush(cx)
    }
}

/// One stream over a channel, which goes back to its keeper when this is dropped.
pub(super) struct Lent<T> {
    /// There until the drop.
    channel: Option<Channel<T>>,
    back: Option<oneshot::Sender<Channel<T>>>,
    /// Resolves with a value if the peer is not believed any more.
    revoked: Option<oneshot::Receiver<()>>,
    name_check: Option<NameCheck>,
}

/// The keeper's side of a channel that is lent out.
pub(super) struct Loan<T> {
    /// Resolves when the stream has been dropped.
    pub(super) back: oneshot::Receiver<Channel<T>>,
    /// Ends the stream.
    pub(super) revoke: oneshot::Sender<()>,
}

/// Lends a channel out as a stream.
pub(super) fn lend<T>(channel: Channel<T>, name_check: Option<NameCheck>) -> (Lent<T>, Loan<T>) {
    let (back, returned) = oneshot::channel();
    let (revoke, revoked) = oneshot::channel();
    let lent = Lent {
        channel: Some(channel),
        back: Some(back),
        revoked: Some(revoked),
        name_check,
    };
    let loan = Loan {
        back: returned,
        revoke,
    };
    (lent, loan)
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        if let (Some(channel), Some(back)) = (self.channel.take(), self.back.take()) {
            // A keeper that has gone: the connection is closed as it is.
            let _ = back.send(channel);
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Lent<T> {
    /// The channel, unless the peer is not believed any more.
    fn channel(&mut self, cx: &mut Context<'_>) -> io::Result<&mut Channel<T>> {
        if let Some(revoked) = &mut self.revoked {
            match Pin::new(revoked).poll(cx) {
                Poll::Ready(Ok(())) => {
                    self.revoked = None;
                    self.channel = None;
                }
                // The keeper has gone: streams outlive their transport.
                Poll::Ready(Err(_)) => self.revoked = None,
                Poll::Pending => {}
            }
        }
        let channel = self.channel.as_mut();
        channel.ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Lent<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.channel(cx)?.poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lent<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.channel(cx)?.poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.channel(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.channel(cx)?.poll_end(cx)
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for Lent<T> {
    fn name_check(&self) -> Option<NameCheck> {
        self.name_check.clone()
    }
}

const HEADER_BYTES: usize = 3;
/// Data in one frame: it fits into one TLS record with its header.
const DATA_BYTES_MAX: usize = (16 << 10) - HEADER_BYTES;
/// On their way out; a writer waits beyond this.
const OUT_BYTES_MAX: usize = 32 << 10;
/// For the other side to end a stream that this side has dropped.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
/// What the other side may still send meanwhile.
const THROWN_AWAY_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    fn pair() -> (Channel<DuplexStream>, Channel<DuplexStream>) {
        let (near, far) = tokio::io::duplex(1 << 16);
        (Channel::new(near), Channel::new(far))
    }

    #[tokio::test]
    async fn one_stream_follows_another_over_one_connection() {
        let (mut near, mut far) = pair();
        for round in 0..3_u8 {
            near.send(FrameKind::Open).await.unwrap();
            far.expect(FrameKind::Open).await.unwrap();
            far.send(FrameKind::Opened).await.unwrap();
            near.expect(FrameKind::Opened).await.unwrap();
            let (mut left, left_loan) = lend(near, None);
            let (mut right, right_loan) = lend(far, None);
            let large = vec![round; 50_000];
            let write = async {
                left.write_all(&large).await.unwrap();
                left.shutdown().await.unwrap();
            };
            let mut read = Vec::new();
            tokio::join!(write, async {
                right.read_to_end(&mut read).await.unwrap();
            });
            assert!(read == large);
            // One side has ended it, the other one drops it with something unread.
            right.write_all(b"unread").await.unwrap();
            drop((left, right));
            let left = async {
                let mut channel = left_loan.back.await.unwrap();
                assert!(channel.settle().await);
                channel
            };
            let right = async {
                let mut channel = right_loan.back.await.unwrap();
                assert!(channel.settle().await);
                channel
            };
            (near, far) = tokio::join!(left, right);
        }
    }

    #[tokio::test]
    async fn frames_out_of_place_break_a_channel() {
        for bytes in [
            &[0, 0, 1][..],
            &[1, 0, 0],
            &[2, 0, 1],
            &[9, 0, 0],
            &[3, 0, 0],
        ] {
            let (mut near, far) = tokio::io::duplex(64);
            let mut channel = Channel::new(far);
            near.write_all(bytes).await.unwrap();
            assert!(channel.expect(FrameKind::Open).await.is_err(), "{bytes:?}");
            assert!(!channel.settle().await);
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_within_a_stream_is_not_the_streams_end() {
        let (mut near, far) = tokio::io::duplex(64);
        let (mut stream, _loan) = lend(Channel::new(far), None);
        near.write_all(&[0, 0, 9, b'h', b'a', b'l', b'f'])
            .await
            .unwrap();
        drop(near);
        let mut read = Vec::new();
        let error = stream.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(read, b"half");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_the_other_side_does_not_end_is_given_up() {
        let (mut near, _far) = pair();
        assert!(!near.settle().await);
    }

    #[tokio::test]
    async fn a_revoked_stream_ends_for_its_reader() {
        let (near, _far) = pair();
        let (mut stream, loan) = lend(near, None);
        let reading = tokio::spawn(async move { stream.read_u8().await });
        loan.revoke.send(()).unwrap();
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert!(loan.back.await.is_err());
    }
}
