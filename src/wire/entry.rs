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
//! | 32 | 8 | expires_at, nanoseconds since the Unix epoch, 0 for none |
//! | 40 | 2 | schema |
//! | 42 | 4 | len |

use std::fmt;

use bytes::{Buf as _, BufMut, Bytes};
use siphasher::sip128::SipHasher13;

use super::codec::{BODY_BYTES_MAX, DecodeError};
use crate::time::Timestamp;

/// Size of the encoded header.
pub const HEADER_BYTES: usize = 46;

/// What names an entry within its store: 16 opaque bytes.
///
/// A store whose natural key is 16 bytes (a UUID) uses it as it is; any other natural key is
/// hashed with [`Key::of`] and kept, whole, in the body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// The key of a longer natural key: SipHash-1-3-128 under a fixed key, so every node agrees.
    #[must_use]
    pub fn of(natural: &[u8]) -> Self {
        let hasher = SipHasher13::new_with_keys(0x7275_6d6f_726d_696c, 0x6e61_7475_7261_6c6b);
        Self(hasher.hash(natural).as_bytes())
    }

    /// The key of the natural key that these parts are together.
    pub(crate) fn of_parts(parts: &[&[u8]]) -> Self {
        let mut whole = [0; 512];
        let mut rest = &mut whole[..];
        for part in parts {
            let Some((to, after)) = rest.split_at_mut_checked(part.len()) else {
                return Self::of(&parts.concat());
            };
            to.copy_from_slice(part);
            rest = after;
        }
        let left = rest.len();
        Self::of(&whole[..whole.len() - left])
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Which record shape a body has. A new shape is a new number; a number never changes shape.
///
/// The top bit marks a *lasting* entry: one whose current version has no expiry, whatever expiry
/// the key had before. Number 0 is the tombstone that `remove` leaves, with an empty body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(u16);

impl SchemaId {
    /// A removed entry.
    pub const TOMBSTONE: Self = Self(0);
    const LASTING: u16 = 0x8000;

    /// A record shape, 1 to 32767.
    ///
    /// # Panics
    /// If `number` is 0 or over 32767: shapes are constants of the program.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        assert!(
            number > 0 && number < Self::LASTING,
            "schema numbers are 1 to 32767"
        );
        Self(number)
    }

    /// From the two wire bytes; every value is meaningful to somebody.
    #[must_use]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The two wire bytes.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// The same shape, marked as never expiring.
    #[must_use]
    pub const fn lasting(self) -> Self {
        Self(self.0 | Self::LASTING)
    }

    /// Whether the entry's current version has no expiry.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        self.0 & Self::LASTING != 0
    }

    /// The shape alone, without the lasting mark.
    #[must_use]
    pub const fn shape(self) -> Self {
        Self(self.0 & !Self::LASTING)
    }

    /// Whether this is a tombstone.
    #[must_use]
    pub const fn is_tombstone(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            self.shape().0,
            if self.is_lasting() { "+lasting" } else { "" }
        )
    }
}

/// One replicated value of one key. See the module's table for its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is the value of.
    pub key: Key,
    /// When it was written, by the writer's clock and after whatever the writer had seen.
    pub ts: Timestamp,
    /// Decides between writes of one instant; the greater wins. Set by the writer.
    pub tie: u64,
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
    pub fn encoded_len(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// Appends the header and the body to `out`.
    ///
    /// # Panics
    /// If the body is over [`BODY_BYTES_MAX`]: stores refuse such a record at the call that writes
    /// it, and a peer's cannot get past [`Entry::decode`]. Also if `out` is bounded and has less
    /// than [`Entry::encoded_len`] of room.
    pub fn encode(&self, out: &mut impl BufMut) {
        let len = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        assert!(
            len <= BODY_BYTES_MAX as u32,
            "a stored body is at most {BODY_BYTES_MAX} bytes"
        );
        out.put_slice(&self.key.0);
        out.put_u64(self.ts.as_nanos());
        out.put_u64(self.tie);
        out.put_u64(self.expires_at.as_nanos());
        out.put_u16(self.schema.raw());
        out.put_u32(len);
        out.put_slice(&self.body);
    }

    /// Takes one entry off the front of `bytes`.
    ///
    /// The body is a slice of the same allocation, nothing is copied. Whoever keeps an entry
    /// longer than the packet copies the body first, or a body of 100 bytes keeps a whole receive
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
            expires_at,
            schema,
            body: bytes.split_to(body_bytes),
        })
    }

    /// Whether this entry is a member of the set reconciled at `cut`, and whether it is still
    /// owed at that instant: lasting, or expiring after it.
    #[must_use]
    pub fn outlives(&self, cut: Timestamp) -> bool {
        self.schema.is_lasting() || self.expires_at > cut
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} ts {:?} tie {} expires {:?} schema {:?} body {} B",
            self.key,
            self.ts,
            self.tie,
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
            expires_at: Timestamp::from_nanos(3),
            schema: SchemaId::new(4).lasting(),
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn a_key_of_parts_is_that_of_the_whole() {
        for len in [0, 1, 37, 511, 512, 513, 2_000] {
            let natural = vec![7; len];
            for cut in 0..len {
                let (left, right) = natural.split_at(cut);
                assert_eq!(Key::of_parts(&[left, b"", right]), Key::of(&natural));
            }
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
