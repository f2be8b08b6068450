//! Messages as frames and datagrams, and a stream that is read frame by frame.

use bytes::{Bytes, BytesMut};
use rumormill::id::ClusterId;
use rumormill::unstable::wire::Message;
use rumormill::unstable::wire::codec::{self, CodecLimits, Decoded};
use rumormill::unstable::wire::envelope::{Envelope, PREFACE_BYTES};
use rumormill::unstable::wire::frame::{FRAME_BYTES_MAX, FrameReader, encode_frame_header};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::Failure;

/// The envelope of the nodes' cluster.
pub(crate) fn envelope() -> Envelope {
    Envelope::of(&ClusterId::default())
}

/// A message as a frame of a stream.
pub(crate) fn frame(message: &Message) -> Bytes {
    let mut body = BytesMut::new();
    codec::encode(message, &mut body);
    let mut out = BytesMut::with_capacity(body.len() + 4);
    out.extend_from_slice(&encode_frame_header(body.len()));
    out.extend_from_slice(&body);
    out.freeze()
}

/// A message as a datagram.
pub(crate) fn datagram(message: &Message) -> Bytes {
    envelope().seal(|out| codec::encode(message, out))
}

/// The messages of a datagram.
pub(crate) fn opened(datagram: &[u8]) -> Vec<Message> {
    let mut rest = Bytes::copy_from_slice(datagram);
    let mut messages = Vec::new();
    if envelope().open(&mut rest).is_err() {
        return messages;
    }
    while let Ok(decoded) = codec::decode(&mut rest, &CodecLimits::default()) {
        if let Decoded::Message(message) = decoded {
            messages.push(message);
        }
    }
    messages
}

/// The reading half of a stream.
pub(crate) struct Reader<R> {
    from: R,
    frames: FrameReader,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads the preface first.
    pub(crate) async fn new(mut from: R) -> Result<Self, Failure> {
        let mut preface = [0; PREFACE_BYTES];
        from.read_exact(&mut preface).await?;
        Ok(Self {
            from,
            frames: FrameReader::new(FRAME_BYTES_MAX),
        })
    }

    /// The next message that this version knows.
    pub(crate) async fn next(&mut self) -> Result<Message, Failure> {
        loop {
            while let Some(mut frame) = self.frames.next_frame()? {
                let decoded = codec::decode(&mut frame, &CodecLimits::default())?;
                if let Decoded::Message(message) = decoded {
                    return Ok(message);
                }
            }
            if self.from.read_buf(self.frames.buffer_mut()).await? == 0 {
                return Err("the stream ended".into());
            }
        }
    }
}
