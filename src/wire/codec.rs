//! [`Message`] to bytes and back, behind limits; and the same for the bodies of entries.
//!
//! A message is `tag u8, length u32 big-endian, body`. It never changes shape: a new shape is a
//! new tag, and [`decode`] steps over a tag it does not know by its length.
//!
//! | tag | message | body |
//! |---|---|---|
//! | 1 | `Swim` | opaque |
//! | 5 | `Delta` | fixed layout, see [`delta_overhead`] |
//! | 18, 20, 22, 23, 24 | `Cells`, `Peeled`, `Items`, `Hashes`, `Wants` | fixed layouts: the fields in order, see [`ITEMS_OVERHEAD`] for one |
//! | 11 to 14 | retired | never to be used again |
//! | others | as numbered at [`Message`] | the fields in order, as bincode 2 `standard()` writes them |
//!
//! Beyond what bincode has a shape for: a name or text is its length and its bytes; a list its
//! length and its elements; an enum one byte; a socket address a byte 4 or 6, the octets, the port,
//! and for 6 the flow information and scope id.
//!
//! Every count that a peer names is checked against [`CodecLimits`] before it is believed, and
//! nothing is allocated by a count alone. bincode is used in this module and nowhere else.

mod body;
mod compare;
mod fixed;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Message;
use crate::id::NameError;

pub use compare::{CELL_BYTES, CELLS_MAX, ITEM_BYTES, ITEMS_OVERHEAD};
pub use fixed::{DELTA_ENTRIES_MAX, SECTION_OVERHEAD, delta_overhead};

/// Bytes before a message's body: its tag and its length.
pub const MESSAGE_HEADER_BYTES: usize = 5;
/// Largest body of an entry anywhere: 16 MiB. `Config::entry_bytes_max` may be less, never more.
pub const BODY_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(BODY_BYTES_MAX == crate::config::ENTRY_BYTES_MAX);
/// Longest store name, in bytes. A handshake with a longer or an empty one is refused.
pub const STORE_NAME_BYTES_MAX: usize = 64;

/// An upper bound on an `Ack` without ranges and refusals, header included.
pub const ACK_OVERHEAD: usize = MESSAGE_HEADER_BYTES + body::U64_MAX + 2 * body::U32_MAX;
/// An upper bound on what one range adds to an `Ack`.
pub const ACK_RANGE_BYTES: usize = 2 * body::U64_MAX;
/// An upper bound on what one refusal adds to an `Ack`.
pub const ACK_REFUSED_BYTES: usize = body::U64_MAX + body::U16_MAX + 1;
/// An upper bound on a `Relayed` that holds nothing, header included.
pub const RELAYED_OVERHEAD: usize =
    MESSAGE_HEADER_BYTES + body::U64_MAX + body::PROCESS_MAX + body::U32_MAX;
/// An upper bound on what one held version adds to a `Relayed`.
pub const RELAYED_HELD_BYTES: usize = body::U32_MAX + 16 + body::U64_MAX + body::U32_MAX;

/// What one message may hold at most. A sender cuts its lists to fit: a longer one is refused whole.
///
/// The defaults are ceilings of the protocol, the same on every node whatever its `Config` says, so
/// that nodes that are configured differently still understand each other. What a node *takes* is
/// the store's and the engine's decision and is answered by a `Refusal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecLimits {
    /// Cells in a `Cells`. Default [`CELLS_MAX`].
    pub cells_max: usize,
    /// Body of one entry, in bytes. Default [`BODY_BYTES_MAX`].
    pub entry_bytes_max: usize,
    /// Versions in a `Relayed`. Default 4096.
    pub held_max: usize,
    /// Items in an `Items`, and hashes in a `Hashes`, a `Wants` and each list of a `Peeled`.
    /// Default 65,536.
    pub items_max: usize,
    /// Uncovered members in a `Delta`. Default 1024.
    pub names_max: usize,
    /// Ranges in an `Ack`. Default 4096.
    pub ranges_max: usize,
    /// Members in a `Members`. Default 4096.
    pub records_max: usize,
    /// Refusals in an `Ack`. Default 65,536, one per entry of the largest packet.
    pub refused_max: usize,
    /// Schemas of one store in a handshake. Default 256.
    pub schemas_max: usize,
    /// Sections in a `Delta`. Default 1024.
    pub sections_max: usize,
    /// Stores in a `Hello`, `Welcome`, `Summary` or `Verdicts`. Default 256.
    pub stores_max: usize,
}

impl Default for CodecLimits {
    fn default() -> Self {
        Self {
            cells_max: CELLS_MAX,
            entry_bytes_max: BODY_BYTES_MAX,
            held_max: 4096,
            items_max: 65_536,
            names_max: 1024,
            ranges_max: 4096,
            records_max: 4096,
            refused_max: DELTA_ENTRIES_MAX,
            schemas_max: 256,
            sections_max: 1024,
            stores_max: 256,
        }
    }
}

/// One message off the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A message this version knows.
    Message(Message),
    /// A message of a later version: its body was skipped. Count it.
    Unknown {
        /// Its tag.
        tag: u8,
    },
}

/// Why bytes are not what they should be. Count it, log it at debug, drop the packet: it is never
/// an error to the application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// What must be sorted is not, or lies outside the range it came with.
    #[error("{what} are out of order")]
    Disorder {
        /// The list.
        what: &'static str,
    },
    /// The value claims more memory than any may take.
    #[error("the body claims more than {max} bytes of memory")]
    Limit {
        /// The limit.
        max: usize,
    },
    /// No value has that encoding.
    #[error("the body is malformed")]
    Malformed,
    /// A name breaks the rules of names.
    #[error("bad name: {0}")]
    Name(NameError),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A length is over its limit.
    #[error("{what} of {bytes} bytes, over the limit of {max}")]
    TooLarge {
        /// What has the length.
        what: &'static str,
        /// The length.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// A count is over its limit.
    #[error("{count} {what}, over the limit of {max}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The count.
        count: u64,
        /// The limit.
        max: usize,
    },
    /// Bytes are left over behind the value.
    #[error("{bytes} bytes left over")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The bytes end inside the value.
    #[error("the bytes end inside the {what}")]
    Truncated {
        /// Inside what.
        what: &'static str,
    },
    /// An enum has no such variant.
    #[error("{what} has no variant {found}")]
    Variant {
        /// The enum.
        what: &'static str,
        /// The number found.
        found: u8,
    },
}

/// Appends one message to `out`.
///
/// # Panics
/// If a list is longer than its count field can say: more than 65,535 uncovered names or sections
/// in a delta or entries in a section, more than `u32::MAX` items or bytes. The limits of
/// [`CodecLimits`], which a sender keeps to, are far below.
pub fn encode(message: &Message, out: &mut BytesMut) {
    let start = out.len();
    out.put_u8(tag(message));
    out.put_u32(0);
    match message {
        Message::Swim(packet) => out.put_slice(packet),
        Message::Delta(delta) => fixed::encode_delta(delta, out),
        other if compare::encode(other, out) => {}
        other => body::encode(other, out),
    }
    let len = u32::try_from(out.len() - start - MESSAGE_HEADER_BYTES)
        .expect("a message is bounded by the frame that carries it");
    if let Some(place) = out.get_mut(start + 1..start + MESSAGE_HEADER_BYTES) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

/// What [`encode`] would append, in bytes. It costs as much as walking the message, and no memory.
#[must_use]
pub fn encoded_len(message: &Message) -> usize {
    match message {
        Message::Swim(packet) => MESSAGE_HEADER_BYTES + packet.len(),
        Message::Delta(delta) => fixed::delta_len(delta),
        other => compare::encoded_len(other)
            .unwrap_or_else(|| MESSAGE_HEADER_BYTES + body::encoded_len(other)),
    }
}

/// Takes exactly one message off the front of `bytes`. Opaque bytes and the bodies of entries are
/// slices of it, not copies.
///
/// # Errors
/// [`DecodeError`] says what is wrong. The rest of `bytes` is then to be thrown away.
pub fn decode(bytes: &mut Bytes, limits: &CodecLimits) -> Result<Decoded, DecodeError> {
    if bytes.len() < MESSAGE_HEADER_BYTES {
        return Err(DecodeError::Truncated { what: "header" });
    }
    let tag = bytes.get_u8();
    let len = usize::try_from(bytes.get_u32()).unwrap_or(usize::MAX);
    if len > bytes.len() {
        return Err(DecodeError::Truncated { what: "message" });
    }
    let body = bytes.split_to(len);
    let message = match tag {
        1 => Message::Swim(body),
        5 => Message::Delta(fixed::decode_delta(body, limits)?),
        _ => match compare::decode(tag, &body, limits)? {
            Some(message) => message,
            None => match body::decode(tag, &body, limits)? {
                Some(message) => message,
                None => return Ok(Decoded::Unknown { tag }),
            },
        },
    };
    Ok(Decoded::Message(message))
}

/// The bytes of a record: the body of an entry, as bincode 2 `standard()` writes it.
///
/// # Panics
/// If the record holds what has no encoding (a time before 1970, a poisoned lock): records are
/// plain data.
#[must_use]
pub fn encode_body<T: bincode::Encode>(record: &T) -> Bytes {
    body::encode_record(record)
}

/// The record in the body of an entry, all of it.
///
/// # Errors
/// [`DecodeError::Trailing`] if bytes are left over, [`DecodeError::Limit`] if the record would take
/// over [`BODY_BYTES_MAX`] of memory, [`DecodeError::Truncated`], [`DecodeError::Text`] or
/// [`DecodeError::Malformed`] if the bytes are not a `T`.
pub fn decode_body<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    body::decode_record(bytes)
}

/// A record read value by value, as [`encode_body`] writes one after the other: for who needs less
/// than all of it, or wants no list in memory.
///
/// What takes a few bytes is always inlined: a result that is handed over in memory costs more than
/// the reading.
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
    /// As [`decode_body`], but for `Trailing`. What is left is then to be thrown away.
    #[inline]
    pub fn take<T: bincode::BorrowDecode<'a, ()>>(&mut self) -> Result<T, DecodeError> {
        body::take_value(&mut self.0)
    }

    /// The next number, or the length of the list or map of which the elements come next: what
    /// `take::<u64>` answers, sooner.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    #[inline(always)]
    pub fn take_u64(&mut self) -> Result<u64, DecodeError> {
        match self.0 {
            // Most lengths are their own encoding, most instants and hashes have all their bytes.
            [byte, rest @ ..] if *byte <= body::VARINT_BYTE_MAX => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            [body::VARINT_U64, rest @ ..] if rest.len() >= size_of::<u64>() => {
                self.0 = rest;
                self.take_array().map(u64::from_le_bytes)
            }
            _ => self.take(),
        }
    }

    /// The bytes of the text, or list of bytes, that comes next: what `take::<&[u8]>` answers, sooner.
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

    /// The bytes of the text that comes next, which are checked to be one.
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

    /// Ends the reading.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if anything is left.
    pub fn end(self) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }
}

/// Whether bytes are UTF-8. Most are ASCII, which is told much sooner.
#[inline]
#[must_use]
pub fn is_text(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return std::str::from_utf8(bytes).is_ok();
    };
    // Some bytes are looked at twice, none by itself.
    let (words, _) = bytes.as_chunks::<8>();
    let all = words.iter().fold(u64::from_ne_bytes(*last), |all, word| {
        all | u64::from_ne_bytes(*word)
    });
    all & NOT_ASCII == 0 || std::str::from_utf8(bytes).is_ok()
}

/// The bit of each byte that no ASCII character has.
const NOT_ASCII: u64 = 0x8080_8080_8080_8080;

fn tag(message: &Message) -> u8 {
    match message {
        Message::Swim(_) => 1,
        Message::Hello(_) => 2,
        Message::Welcome(_) => 3,
        Message::Reject(_) => 4,
        Message::Delta(_) => 5,
        Message::Ack(_) => 6,
        Message::Relayed(_) => 7,
        Message::Members(_) => 8,
        Message::Leave(_) => 9,
        Message::LeaveAck(_) => 10,
        Message::Done(_) => 15,
        Message::Summary(_) => 16,
        Message::Verdicts(_) => 17,
        Message::Cells(_) => 18,
        Message::More(_) => 19,
        Message::Peeled(_) => 20,
        Message::Settled(_) => 21,
        Message::Items(_) => 22,
        Message::Hashes(_) => 23,
        Message::Wants(_) => 24,
    }
}
