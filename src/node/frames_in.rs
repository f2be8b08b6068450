//! Reading the frames of a stream. Bytes take room as they arrive (`inflow`), and must keep a pace from
//! the first one on (`frame_pace`).

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout_at;
use tracing::debug;

use super::frame_pace::FramePace;
use super::inflow::{FrameRoom, Inflow, LargeRoom, SHARE_BYTES, StreamShare};
use super::outflow::Outgoing;
use super::stream_context::{StreamContext, StreamEvent};
use crate::engine::{CloseReason, StreamId};
use crate::id::{HandshakeRefusal, NodeName};
use crate::net::NameCheck;
use crate::wire::Message;
use crate::wire::codec::{self, CodecLimits, Decoded};
use crate::wire::frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};

/// The reading side of one stream.
pub(super) struct FramesIn<'a> {
    pub(super) stream: StreamId,
    pub(super) context: &'a StreamContext,
    pub(super) outgoing: &'a Outgoing,
    pub(super) share: StreamShare,
    pub(super) name_check: Option<NameCheck>,
    /// Of the next frame.
    pub(super) bytes_max: usize,
}

/// What to read next.
enum Piece<'a> {
    /// To the end of this.
    Header(&'a mut [u8; FRAME_HEADER_BYTES]),
    /// As much as its capacity has room for.
    Message(&'a mut Vec<u8>),
}

impl FramesIn<'_> {
    /// Reads frames until the stream ends, and returns why it did. `first` is one that has been read already.
    pub(super) async fn read(
        &mut self,
        read: &mut (impl AsyncRead + Unpin),
        first: Option<Bytes>,
    ) -> CloseReason {
        if let Some(bytes) = first {
            let room = FrameRoom::new(self.share.take(bytes.len()).await, None);
            if let Err(reason) = self.hand_over(bytes, room).await {
                return reason;
            }
        }
        loop {
            let (bytes, room) = match self.next(read).await {
                Ok(frame) => frame,
                Err(reason) => return reason,
            };
            self.outgoing.heard(self.inflow().now());
            if let Err(reason) = self.hand_over(bytes, room).await {
                return reason;
            }
        }
    }

    fn inflow(&self) -> &Arc<Inflow> {
        &self.context.inflow
    }

    /// Reads one frame. Between frames a stream may be silent for ever.
    async fn next(
        &self,
        read: &mut (impl AsyncRead + Unpin),
    ) -> Result<(Bytes, FrameRoom), CloseReason> {
        let mut header = [0; FRAME_HEADER_BYTES];
        header[0] = read.read_u8().await.map_err(|_| CloseReason::Ended)?;
        let mut pace = FramePace::new(self.inflow().now(), self.context.tcp_timeout);
        self.piece(read, Piece::Header(&mut header), &mut pace, None)
            .await?;
        let len = u32::from_be_bytes(header) as usize;
        if len > self.bytes_max {
            let (stream, max) = (self.stream, self.bytes_max);
            debug!(?stream, len, max, "stream closed: a frame is too long");
            self.context.tally.frames_oversized.one();
            return Err(CloseReason::Local);
        }
        let since = self.inflow().now();
        let share = self.share.take(len).await;
        pace.held_up(since, self.inflow().now());
        let mut large = None;
        let mut message = Vec::with_capacity(len.min(SHARE_BYTES));
        while message.len() < len {
            if message.len() == message.capacity() {
                let more = message.len().min(len - message.len());
                let room = large.get_or_insert_with(|| self.inflow().begin());
                let since = self.inflow().now();
                if room.grow(more).await {
                    pace.held_up(since, self.inflow().now());
                }
                message.reserve_exact(more);
            }
            let piece = Piece::Message(&mut message);
            self.piece(read, piece, &mut pace, large.as_mut()).await?;
        }
        Ok((message.into(), FrameRoom::new(share, large)))
    }

    /// Reads a piece of a frame, in time and unless the frame is turned out.
    async fn piece(
        &self,
        read: &mut (impl AsyncRead + Unpin),
        mut piece: Piece<'_>,
        pace: &mut FramePace,
        mut large: Option<&mut LargeRoom>,
    ) -> Result<(), CloseReason> {
        let mut header_read = 1;
        loop {
            let some = async {
                match &mut piece {
                    Piece::Header(header) => read.read(&mut header[header_read..]).await,
                    Piece::Message(message) => {
                        use bytes::BufMut as _;
                        let room = message.capacity() - message.len();
                        read.read_buf(&mut (&mut **message).limit(room)).await
                    }
                }
            };
            let in_time = timeout_at(self.context.clock.instant(pace.deadline()), some);
            let turned_out = async {
                match large.as_deref_mut() {
                    Some(room) => room.turned_out().await,
                    None => std::future::pending().await,
                }
            };
            let read = tokio::select! {
                read = in_time => read,
                () = turned_out => {
                    self.context.tally.frames_evicted.one();
                    return Err(self.too_slow(pace));
                }
            };
            let count = match read {
                Ok(Ok(0) | Err(_)) => return Err(CloseReason::Ended),
                Ok(Ok(count)) => count,
                Err(_) => return Err(self.too_slow(pace)),
            };
            let now = self.inflow().now();
            match &piece {
                Piece::Header(_) => {
                    header_read += count;
                    pace.arrived(now, count, header_read == FRAME_HEADER_BYTES);
                    if header_read == FRAME_HEADER_BYTES {
                        return Ok(());
                    }
                }
                Piece::Message(message) => {
                    pace.arrived(now, count, message.len() == message.capacity());
                    if let Some(room) = large {
                        room.grown_to(message.len());
                    }
                    return Ok(());
                }
            }
        }
    }

    fn too_slow(&self, pace: &FramePace) -> CloseReason {
        let (stream, spun_out) = (self.stream, pace.is_spun_out());
        debug!(?stream, spun_out, "stream closed: a frame is too slow");
        self.context.tally.frames_stalled.one();
        if spun_out {
            CloseReason::SpunOut
        } else {
            CloseReason::Local
        }
    }

    /// Gives a frame to the driver.
    async fn hand_over(&mut self, bytes: Bytes, room: FrameRoom) -> Result<(), CloseReason> {
        let stream = self.stream;
        // Kept until the peer has said its name: another frame before that must not switch the check off.
        if let Some(may_be) = &self.name_check
            && let Some(name) = introduced(&bytes)
        {
            if !may_be(&name) {
                debug!(?stream, %name, "stream closed: the peer may not have this name");
                return Err(CloseReason::Untrusted(
                    HandshakeRefusal::NodeNameNotAllowed { name },
                ));
            }
            self.name_check = None;
        }
        self.bytes_max = FRAME_BYTES_MAX;
        let event = StreamEvent::Frame {
            stream,
            bytes,
            room,
        };
        let sent = self.context.events.send(event).await;
        // An error means that the driver has gone, and this task with it.
        sent.map_err(|_| CloseReason::Local)
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

/// A stream's first frame introduces the peer and may not be longer.
pub(super) const INTRODUCTION_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use bytes::BytesMut;
    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::mpsc;

    use super::super::clock::{Clocks, SystemClock};
    use super::super::outflow::Outflow;
    use super::*;
    use crate::id::{ClusterId, NodeId, ProcessId};
    use crate::wire::envelope::Envelope;
    use crate::wire::frame::encode_frame_header;
    use crate::wire::{Capabilities, Hello, Purpose, Welcome};

    fn context() -> (StreamContext, mpsc::Receiver<StreamEvent>) {
        let (events, received) = mpsc::channel(64);
        let clock = Clocks::start(Arc::new(SystemClock));
        let context = StreamContext {
            tcp_timeout: Duration::from_secs(10),
            envelope: Envelope::of(&ClusterId::default()),
            tally: Arc::default(),
            inflow: Arc::new(Inflow::new(clock.clone())),
            clock,
            events,
        };
        (context, received)
    }

    /// Reads a stream to its end.
    async fn read(
        context: &StreamContext,
        read: &mut (impl AsyncRead + Unpin),
        name_check: Option<NameCheck>,
    ) -> CloseReason {
        let mut frames_in = FramesIn {
            stream: StreamId(1),
            context,
            outgoing: &Outflow::default().stream(),
            share: StreamShare::new(),
            bytes_max: if name_check.is_some() {
                INTRODUCTION_BYTES_MAX
            } else {
                FRAME_BYTES_MAX
            },
            name_check,
        };
        frames_in.read(read, None).await
    }

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
                sent.extend_from_slice(&encode_frame_header(frame.len()));
                sent.extend_from_slice(frame);
            }
            let (context, mut received) = context();
            let may_be: NameCheck = Arc::new(|name| name.as_str() != "liar");
            let reason = read(&context, &mut &sent[..], Some(may_be)).await;
            // Without the check, the end of the bytes would have been the end.
            let name = NodeName::new("liar").unwrap();
            let refusal = HandshakeRefusal::NodeNameNotAllowed { name };
            assert_eq!(reason, CloseReason::Untrusted(refusal));
            drop(context);
            let mut frames = 0;
            while received.recv().await.is_some() {
                frames += 1;
            }
            assert_eq!(frames, 2, "the introduction reached the engine");
        }
    }

    /// How a frame ends that is announced as the largest and comes in pieces of this size, one each time.
    async fn slowly(piece: usize, every: Duration) -> (CloseReason, Duration) {
        let (context, _received) = context();
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let began = context.clock.now().mono;
        let sending = async {
            near.write_all(&encode_frame_header(FRAME_BYTES_MAX))
                .await
                .unwrap();
            loop {
                near.write_all(&vec![0; piece]).await.unwrap();
                tokio::time::sleep(every).await;
            }
        };
        let reason = tokio::select! {
            reason = read(&context, &mut far, None) => reason,
            () = sending => unreachable!("it never ends"),
        };
        assert_eq!(context.tally.snapshot().frames_stalled, 1);
        (reason, context.clock.now().mono - began)
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_falls_behind_the_least_speed_ends_its_stream_whatever_its_length() {
        let second = Duration::from_secs(1);
        // One that hangs, as a cable that was pulled leaves it; one that is spun out; a slow network.
        let (reason, after) = slowly(100_000, second * 100).await;
        assert_eq!(reason, CloseReason::Local);
        assert!(after > second * 11 && after < second * 12, "{after:?}");
        let (reason, after) = slowly(1, second).await;
        assert_eq!(reason, CloseReason::SpunOut);
        assert!(after < second * 10, "{after:?}");
        let (reason, after) = slowly(20_000, second).await;
        assert_eq!(reason, CloseReason::Local);
        assert!(after > second * 11 && after < second * 20, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_length_takes_no_room_before_its_bytes_are_there() {
        let (context, mut received) = context();
        let mut near = Vec::new();
        for _ in 0..20 {
            let (mut begun, mut far) = tokio::io::duplex(1 << 10);
            begun
                .write_all(&encode_frame_header(FRAME_BYTES_MAX))
                .await
                .unwrap();
            begun.write_all(b"begun").await.unwrap();
            let context = context.clone();
            tokio::spawn(async move { read(&context, &mut far, None).await });
            near.push(begun);
        }
        let began = context.clock.now().mono;
        let (mut other, mut far) = tokio::io::duplex(1 << 20);
        let frame = vec![7; 5_000_000];
        let sending = async {
            other
                .write_all(&encode_frame_header(frame.len()))
                .await
                .unwrap();
            other.write_all(&frame).await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            reason = read(&context, &mut far, None) => panic!("{reason:?}"),
            () = sending => {}
            event = received.recv() => {
                assert!(matches!(event, Some(StreamEvent::Frame { bytes, .. }) if bytes == frame));
            }
        }
        assert_eq!(context.clock.now().mono, began, "it waited for nobody");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_not_read_on_while_its_frames_are_not_done_with() {
        let (context, mut received) = context();
        let (mut near, mut far) = tokio::io::duplex(1 << 10);
        let tally = Arc::clone(&context.tally);
        tokio::spawn(async move { read(&context, &mut far, None).await });
        tokio::spawn(async move {
            for _ in 0..40 {
                let frame = [7; 100];
                near.write_all(&encode_frame_header(frame.len()))
                    .await
                    .unwrap();
                near.write_all(&frame).await.unwrap();
            }
        });
        let mut held = Vec::new();
        let patience = Duration::from_secs(60);
        while let Ok(event) = tokio::time::timeout(patience, received.recv()).await {
            held.push(event.unwrap());
        }
        assert_eq!(held.len(), 16);
        held.remove(0);
        assert!(matches!(
            received.recv().await,
            Some(StreamEvent::Frame { .. })
        ));
        // Its peer is not to blame for how long that took.
        assert_eq!(tally.snapshot().frames_stalled, 0);
    }
}
