//! Records: the bodies of entries, through bincode.

use bincode::de::{Decoder as _, DecoderImpl};
use bytes::Bytes;

use super::error::{DecodeError, check_end};
use super::settings::{BytesLeft, SETTINGS, unreadable};

/// The bytes of a record: the body of an entry, as bincode 2 `standard()` writes it.
///
/// # Panics
/// If the record holds what has no encoding (a time before 1970, a poisoned lock): records are
/// plain data.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
)]
pub fn encode_body<T: bincode::Encode>(record: &T) -> Bytes {
    bincode::encode_to_vec(record, SETTINGS)
        .expect("a record is plain data")
        .into()
}

/// The record in the body of an entry, all of it.
///
/// # Errors
/// [`DecodeError::Trailing`] if bytes are left over, [`DecodeError::Limit`] if the record would take
/// over [`BODY_BYTES_MAX`](super::BODY_BYTES_MAX) of memory, [`DecodeError::Truncated`], [`DecodeError::Text`] or
/// [`DecodeError::Malformed`] if the bytes are not a `T`.
pub fn decode_body<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut from = DecoderImpl::new(BytesLeft(bytes), SETTINGS, ());
    let record = T::decode(&mut from).map_err(unreadable)?;
    check_end(from.reader().0)?;
    Ok(record)
}

/// Reads a record value by value, in the order in which [`encode_body`] writes them: for readers
/// that need only some of the values, or want no list in memory.
///
/// The methods that read a few bytes are always inlined: to return their result through memory costs
/// more than to read it.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    /// The values in these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next value; its texts are those of the bytes.
    ///
    /// # Errors
    /// Those of [`decode_body`] except `Trailing`. Throw away what is left of the bytes then.
    #[inline]
    pub fn take<T: bincode::BorrowDecode<'a, ()>>(&mut self) -> Result<T, DecodeError> {
        take_value(&mut self.0)
    }

    /// The next number, or the length of the list or map of which the elements come next: what
    /// `take::<u64>` returns, but faster.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[inline(always)]
    pub fn take_u64(&mut self) -> Result<u64, DecodeError> {
        match self.0 {
            // Most lengths are their own encoding, most instants and hashes have all their bytes.
            [byte, rest @ ..] if *byte <= VARINT_BYTE_MAX => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            [VARINT_U64, rest @ ..] if rest.len() >= size_of::<u64>() => {
                self.0 = rest;
                self.take_array().map(u64::from_le_bytes)
            }
            _ => self.take(),
        }
    }

    /// The bytes of the text, or list of bytes, that comes next: what `take::<&[u8]>` returns,
    /// but faster.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[inline(always)]
    pub fn take_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.take_u64()?).unwrap_or(usize::MAX);
        let split = self.0.split_at_checked(len);
        let (bytes, rest) = split.ok_or(DecodeError::Truncated { what: "body" })?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The bytes of the text that comes next, checked to be UTF-8.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[inline]
    pub fn take_text(&mut self) -> Result<&'a [u8], DecodeError> {
        let bytes = self.take_bytes()?;
        is_text(bytes).then_some(bytes).ok_or(DecodeError::Text)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    #[inline(always)]
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let split = self.0.split_first_chunk();
        let (array, rest) = split.ok_or(DecodeError::Truncated { what: "body" })?;
        self.0 = rest;
        Ok(*array)
    }

    /// All bytes that are left.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if anything is left.
    pub fn end(self) -> Result<(), DecodeError> {
        check_end(self.0)
    }
}

/// Whether bytes are UTF-8. Most are ASCII, which takes much less time to tell.
#[inline]
#[must_use]
pub fn is_text(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return std::str::from_utf8(bytes).is_ok();
    };
    // The last eight bytes overlap with those before, so that no byte is looked at by itself.
    let (words, _) = bytes.as_chunks::<8>();
    let all = words.iter().fold(u64::from_ne_bytes(*last), |all, word| {
        all | u64::from_ne_bytes(*word)
    });
    all & NOT_ASCII == 0 || std::str::from_utf8(bytes).is_ok()
}

/// The top bit of each byte, which no ASCII character has.
const NOT_ASCII: u64 = 0x8080_8080_8080_8080;

/// Takes one value off the front.
#[expect(clippy::indexing_slicing, reason = "the length was just checked")]
fn take_value<'a, T: bincode::BorrowDecode<'a, ()>>(
    bytes: &mut &'a [u8],
) -> Result<T, DecodeError> {
    let (value, read) = bincode::borrow_decode_from_slice(bytes, SETTINGS).map_err(unreadable)?;
    *bytes = &bytes[read..];
    Ok(value)
}

/// A number up to this is one byte, itself; a greater byte says how many bytes follow.
const VARINT_BYTE_MAX: u8 = 250;
/// The byte before a number of eight.
const VARINT_U64: u8 = 253;
