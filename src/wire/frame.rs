//! How messages travel: the envelope of a datagram, the preface and the frames of a stream.
//!
//! A datagram is `version u8, cluster tag u64, check u32`, then messages. A stream carries the
//! first nine of these bytes once in each direction, its *preface*, then frames: `length u32,
//! message`. All big-endian. The envelope is compared before anything behind it is read, so what
//! belongs to another cluster or another version never reaches a decoder. The check is a hash of
//! the messages: UDP's own checksum lets one in 65,536 damaged datagrams through, and a damaged
//! entry would be replicated. It protects against accidents, not against forgers. No I/O here.

use std::hash::Hasher as _;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use siphasher::sip::SipHasher13;

use super::WIRE_VERSION;

/// What a datagram takes before its first message.
pub const ENVELOPE_BYTES: usize = PREFACE_BYTES + 4;
/// What a stream carries once before its first frame.
pub const PREFACE_BYTES: usize = 9;
/// What a frame takes before its message.
pub const FRAME_HEADER_BYTES: usize = 4;
/// The largest frame any node sends: room for the largest entry, or the longest list, and all that
/// goes around it. The `frame_bytes_max` of a [`FrameReader`] whose peer has introduced itself.
pub const FRAME_BYTES_MAX: usize = super::codec::BODY_BYTES_MAX + (1 << 20);

/// Why a datagram or a stream is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It belongs to another cluster.
    #[error("the cluster tag is another one")]
    Cluster,
    /// It was damaged on its way.
    #[error("the check does not match")]
    Corrupt,
    /// It is shorter than an envelope.
    #[error("shorter than an envelope")]
    Short,
    /// It is of another wire version.
    #[error("wire version {found}, expected {WIRE_VERSION}")]
    Version {
        /// Its version.
        found: u8,
    },
}

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

/// A whole datagram: the envelope around the messages that `fill` appends.
pub fn datagram(cluster_tag: u64, fill: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    out.put_slice(&preface(cluster_tag));
    out.put_u32(0);
    fill(&mut out);
    let (envelope, messages) = out.split_at_mut(ENVELOPE_BYTES);
    let check = check_of(cluster_tag, messages).to_be_bytes();
    envelope[PREFACE_BYTES..].copy_from_slice(&check);
    out.freeze()
}

/// Takes the envelope off the front of a datagram. Messages remain.
///
/// # Errors
/// [`EnvelopeError`] for what is not for this cluster in this version, or not whole; `bytes` is
/// then to be thrown away, and the cases are counted apart. The version is looked at first.
pub fn open_datagram(bytes: &mut Bytes, cluster_tag: u64) -> Result<(), EnvelopeError> {
    open_preface(bytes, cluster_tag)?;
    match bytes.try_get_u32() {
        Ok(check) if check == check_of(cluster_tag, bytes) => Ok(()),
        Ok(_) => Err(EnvelopeError::Corrupt),
        Err(_) => Err(EnvelopeError::Short),
    }
}

fn open_preface(bytes: &mut Bytes, cluster_tag: u64) -> Result<(), EnvelopeError> {
    let found = bytes.try_get_u8().map_err(|_| EnvelopeError::Short)?;
    if found != WIRE_VERSION {
        return Err(EnvelopeError::Version { found });
    }
    match bytes.try_get_u64() {
        Ok(tag) if tag == cluster_tag => Ok(()),
        Ok(_) => Err(EnvelopeError::Cluster),
        Err(_) => Err(EnvelopeError::Short),
    }
}

/// The low half of SipHash-1-3 of the messages, keyed with the cluster's tag.
fn check_of(cluster_tag: u64, messages: &[u8]) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(cluster_tag, 0x6461_7461_6772_616d);
    hasher.write(messages);
    // The low half is as good as any.
    hasher.finish() as u32
}

/// What each side of a stream sends first.
#[must_use]
pub fn preface(cluster_tag: u64) -> [u8; PREFACE_BYTES] {
    let mut bytes = [WIRE_VERSION; PREFACE_BYTES];
    for (place, byte) in bytes.iter_mut().skip(1).zip(cluster_tag.to_be_bytes()) {
        *place = byte;
    }
    bytes
}

/// Checks what the other side of a stream sent first.
///
/// # Errors
/// [`EnvelopeError`] as for a datagram. Close the stream.
pub fn check_preface(preface: [u8; PREFACE_BYTES], cluster_tag: u64) -> Result<(), EnvelopeError> {
    open_preface(&mut Bytes::copy_from_slice(&preface), cluster_tag)
}

/// What goes before a message of `len` bytes on a stream.
///
/// # Panics
/// If `len` is over `u32::MAX`; frames are at most [`FRAME_BYTES_MAX`].
#[must_use]
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
/// use rumormill::wire::frame::{FrameReader, encode_frame_header};
///
/// let mut reader = FrameReader::new(1024);
/// reader.feed(&encode_frame_header(5));
/// reader.feed(b"hel");
/// assert_eq!(reader.next_frame()?, None);
/// reader.feed(b"lo");
/// assert_eq!(reader.next_frame()?.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), rumormill::wire::frame::FrameError>(())
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
    fn an_envelope_lets_only_its_own_cluster_and_version_in() {
        assert_eq!(datagram(7, |_| ()).len(), ENVELOPE_BYTES);
        let datagram = datagram(7, |out| out.put_slice(b"rest"));

        let mut bytes = datagram.clone();
        assert_eq!(open_datagram(&mut bytes, 7), Ok(()));
        assert_eq!(bytes, "rest");
        assert_eq!(
            open_datagram(&mut datagram.clone(), 8),
            Err(EnvelopeError::Cluster)
        );
        assert_eq!(
            open_datagram(&mut Bytes::from_static(b"\x02rest of it"), 7),
            Err(EnvelopeError::Version { found: 2 })
        );
        for len in 0..ENVELOPE_BYTES {
            assert_eq!(
                open_datagram(&mut datagram.slice(..len), 7),
                Err(EnvelopeError::Short)
            );
        }
    }

    #[test]
    fn a_datagram_with_any_byte_changed_is_refused() {
        let datagram = datagram(7, |out| out.put_slice(b"what was meant"));
        for place in 0..datagram.len() {
            let mut damaged = datagram.to_vec();
            damaged[place] ^= 0x10;
            assert!(
                open_datagram(&mut Bytes::from(damaged), 7).is_err(),
                "byte {place}"
            );
        }
    }

    #[test]
    fn a_preface_is_an_envelope() {
        assert_eq!(check_preface(preface(7), 7), Ok(()));
        assert_eq!(check_preface(preface(7), 8), Err(EnvelopeError::Cluster));
        assert_eq!(
            check_preface(*b"GET / HTT", 7),
            Err(EnvelopeError::Version { found: b'G' })
        );
    }

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
