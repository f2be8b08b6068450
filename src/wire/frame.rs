//! The frames of a stream: `length u32, message`, big-endian, behind the
//! [preface](super::envelope). No I/O here.

use bytes::{Buf as _, Bytes, BytesMut};

/// What a frame takes before its message.
pub const FRAME_HEADER_BYTES: usize = 4;
/// The largest frame any node sends: room for the largest entry, or the longest list, and all that
/// goes around it. The `frame_bytes_max` of a [`FrameReader`] whose peer has introduced itself.
pub const FRAME_BYTES_MAX: usize = super::codec::BODY_BYTES_MAX + (1 << 20);

/// Why a stream cannot be read any further. Close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame is over the limit.
    #[error("a frame of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Its length.
        bytes: u32,
        /// The limit.
        max: usize,
    },
}

/// What goes before a message of `len` bytes on a stream.
///
/// # Panics
/// If `len` is over `u32::MAX`; frames are at most [`FRAME_BYTES_MAX`].
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
)]
pub fn encode_frame_header(len: usize) -> [u8; FRAME_HEADER_BYTES] {
    u32::try_from(len)
        .expect("a frame is at most FRAME_BYTES_MAX")
        .to_be_bytes()
}

/// Cuts a stream into frames, however it arrives.
///
/// Its memory is what has arrived of the current frame, at most `frame_bytes_max` beyond what one
/// call feeds it: a length that a peer names allocates nothing.
///
/// ```
/// use rumormill::unstable::wire::frame::{FrameReader, encode_frame_header};
///
/// let mut reader = FrameReader::new(1024);
/// reader.feed(&encode_frame_header(5));
/// reader.feed(b"hel");
/// assert_eq!(reader.next_frame()?, None);
/// reader.feed(b"lo");
/// assert_eq!(reader.next_frame()?.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), rumormill::unstable::wire::frame::FrameError>(())
/// ```
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    frame_bytes_max: usize,
}

impl FrameReader {
    /// A reader at the start of a stream, behind the preface.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            frame_bytes_max,
        }
    }

    /// Changes the limit for the frames not taken yet: a stranger gets room for an introduction,
    /// a peer gets [`FRAME_BYTES_MAX`].
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Adds bytes as they came. Take all frames before the next call, so that the buffer holds
    /// less than one.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer itself, for a transport that reads into it and so saves the copy. Append only.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole frame, without its length; `None` until more has been fed.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] as soon as the length of such a frame is there, and from then on at
    /// each call.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "lengths of what is in memory, far below the largest number"
    )]
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let bytes = u32::from_be_bytes(*header);
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        if len > self.frame_bytes_max {
            return Err(FrameError::TooLarge {
                bytes,
                max: self.frame_bytes_max,
            });
        }
        if self.buffer.len() - FRAME_HEADER_BYTES < len {
            return Ok(None);
        }
        self.buffer.advance(FRAME_HEADER_BYTES);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    /// Whether the stream may end here: no frame has begun. An end elsewhere cut a frame short.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let frames: [&[u8]; 4] = [b"one", b"", b"three", b"4"];
        let mut stream = Vec::new();
        for frame in frames {
            stream.extend_from_slice(&encode_frame_header(frame.len()));
            stream.extend_from_slice(frame);
        }
        for step in 1..=stream.len() {
            let mut reader = FrameReader::new(5);
            let mut out = Vec::new();
            for piece in stream.chunks(step) {
                reader.feed(piece);
                while let Some(frame) = reader.next_frame().unwrap() {
                    out.push(frame);
                }
            }
            assert_eq!(out, frames);
            assert!(reader.is_between_frames());
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_length_alone() {
        let mut reader = FrameReader::new(5);
        reader.feed(&encode_frame_header(6));
        let refused = Err(FrameError::TooLarge { bytes: 6, max: 5 });
        assert_eq!(reader.next_frame(), refused);
        assert_eq!(reader.next_frame(), refused);
        reader.set_frame_bytes_max(6);
        assert_eq!(reader.next_frame(), Ok(None));
        assert!(!reader.is_between_frames());
    }

    #[test]
    fn a_length_named_by_a_peer_allocates_nothing() {
        let mut reader = FrameReader::new(FRAME_BYTES_MAX);
        reader.feed(&encode_frame_header(FRAME_BYTES_MAX));
        assert_eq!(reader.next_frame(), Ok(None));
        assert!(reader.buffer_mut().capacity() < 1024);
    }
}
