//! The entry: a fixed header and opaque body bytes, the same on the wire, on disk and in memory.
//!
//! Join, hashing, replication and collection read the header and compare bytes; nothing here or
//! below decodes a body. A node can therefore hold and relay what it cannot read.
//!
//! # Encoding
//! All integers big-endian, [`HEADER_BYTES`] in all, then `len` body bytes:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 16 | key |
//! | 16 | 8 | ts, nanoseconds since the Unix epoch |
//! | 24 | 8 | tie |
//! | 32 | 8 | writer |
//! | 40 | 8 | expires_at, nanoseconds since the Unix epoch, 0 for none |
//! | 48 | 2 | schema |
//! | 50 | 4 | len |

use std::fmt;

use bytes::{Buf as _, BufMut, Bytes};

use super::codec::error::DecodeError;
use super::codec::limits::BODY_BYTES_MAX;
use crate::id::{Key, SchemaId, WriterTag};
use crate::time::Timestamp;

/// Size of the encoded header.
pub const HEADER_BYTES: usize = 54;

/// One replicated value of one key. See the module's table for its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is the value of.
    pub key: Key,
    /// When it was written, by the writer's clock, and later than every version that the writer had
    /// seen.
    pub ts: Timestamp,
    /// Decides between writes of one instant; the greater wins. Set by the writer.
    pub tie: u64,
    /// Who wrote it, as it says. Orders writes that are equal so far; the greater wins.
    pub writer: WriterTag,
    /// When it may be forgotten. 0 contributes nothing to the join.
    pub expires_at: Timestamp,
    /// The shape of the body.
    pub schema: SchemaId,
    /// The record, opaque here.
    pub body: Bytes,
}

impl Entry {
    /// Bytes it takes on the wire.
    #[must_use]
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "lengths of what is in memory, far below the largest number"
    )]
    pub fn encoded_len(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// Appends the header and the body to `out`.
    ///
    /// # Panics
    /// If the body is over [`BODY_BYTES_MAX`]: stores refuse such a record at the call that writes
    /// it, and a peer's cannot get past [`Entry::decode`]. Also if `out` is bounded and has less
    /// than [`Entry::encoded_len`] of room.
    #[expect(clippy::cast_possible_truncation, reason = "a constant that fits")]
    pub fn encode(&self, out: &mut impl BufMut) {
        let len = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        assert!(
            len <= BODY_BYTES_MAX as u32,
            "a stored body is at most {BODY_BYTES_MAX} bytes"
        );
        out.put_slice(&self.key.0);
        out.put_u64(self.ts.as_nanos());
        out.put_u64(self.tie);
        out.put_u64(self.writer.0);
        out.put_u64(self.expires_at.as_nanos());
        out.put_u16(self.schema.raw());
        out.put_u32(len);
        out.put_slice(&self.body);
    }

    /// Takes one entry off the front of `bytes`.
    ///
    /// The body is a slice of the same allocation, nothing is copied. Before you keep an entry for
    /// longer than the packet, copy its body: otherwise a body of 100 bytes keeps a whole receive
    /// buffer alive.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if `bytes` ends inside the entry, [`DecodeError::TooLarge`] if the
    /// body is over `body_bytes_max`. `bytes` is then to be thrown away.
    pub fn decode(bytes: &mut Bytes, body_bytes_max: usize) -> Result<Self, DecodeError> {
        if bytes.len() < HEADER_BYTES {
            return Err(DecodeError::Truncated { what: "entry" });
        }
        let mut key = [0; 16];
        bytes.copy_to_slice(&mut key);
        let ts = Timestamp::from_nanos(bytes.get_u64());
        let tie = bytes.get_u64();
        let writer = WriterTag(bytes.get_u64());
        let expires_at = Timestamp::from_nanos(bytes.get_u64());
        let schema = SchemaId::from_raw(bytes.get_u16());
        let len = bytes.get_u32();
        let body_bytes = usize::try_from(len).unwrap_or(usize::MAX);
        if body_bytes > body_bytes_max {
            return Err(DecodeError::TooLarge {
                what: "entry",
                bytes: u64::from(len),
                max: body_bytes_max,
            });
        }
        if body_bytes > bytes.len() {
            return Err(DecodeError::Truncated { what: "entry" });
        }
        Ok(Self {
            key: Key(key),
            ts,
            tie,
            writer,
            expires_at,
            schema,
            body: bytes.split_to(body_bytes),
        })
    }

    /// Whether it is lasting or expires after `cut`: then it belongs to what is compared at that
    /// cut, and other nodes should still be sent it.
    #[must_use]
    pub fn outlives(&self, cut: Timestamp) -> bool {
        self.schema.is_lasting() || self.expires_at > cut
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} ts {:?} tie {} writer {:?} expires {:?} schema {:?} body {} B",
            self.key,
            self.ts,
            self.tie,
            self.writer,
            self.expires_at,
            self.schema,
            self.body.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn entry(body: &'static [u8]) -> Entry {
        Entry {
            key: Key(*b"0123456789abcdef"),
            ts: Timestamp::from_nanos(1),
            tie: 2,
            writer: WriterTag(7),
            expires_at: Timestamp::from_nanos(3),
            schema: SchemaId::new(4).lasting(),
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn an_entry_is_its_header_and_its_body() {
        let entry = entry(b"body");
        let mut out = BytesMut::new();
        entry.encode(&mut out);
        assert_eq!(out.len(), entry.encoded_len());
        assert_eq!(out.len(), HEADER_BYTES + 4);
        assert_eq!(&out[HEADER_BYTES..], b"body");

        out.extend_from_slice(b"next");
        let mut bytes = out.freeze();
        assert_eq!(Entry::decode(&mut bytes, 4), Ok(entry));
        assert_eq!(bytes, "next");
    }

    #[test]
    fn a_body_over_the_limit_or_cut_short_is_refused() {
        let mut out = BytesMut::new();
        entry(b"body").encode(&mut out);
        let whole = out.freeze();
        assert_eq!(
            Entry::decode(&mut whole.clone(), 3),
            Err(DecodeError::TooLarge {
                what: "entry",
                bytes: 4,
                max: 3
            })
        );
        for len in 0..whole.len() {
            assert_eq!(
                Entry::decode(&mut whole.slice(..len), 4),
                Err(DecodeError::Truncated { what: "entry" })
            );
        }
    }
}
