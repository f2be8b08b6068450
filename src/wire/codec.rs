//! [`Message`] to bytes and back, within limits; and the same for the bodies of entries.
//!
//! A message is `tag u8, length u32 big-endian, body`. It never changes shape: a new shape is a
//! new tag, and [`decode`] steps over a tag it does not know by its length.
//!
//! | tag | message | body |
//! |---|---|---|
//! | 1 | `Swim` | opaque |
//! | 5 | `Delta` | fixed layout, see [`delta_overhead`] |
//! | 40 | `Handed` | `bits u8, list u64`, then as a `Delta` |
//! | 22, 23, 24, 54, 55 | `Items`, `Hashes`, `Wants`, `Cells`, `Peeled` | fixed layouts: the fields in order, see [`ITEMS_OVERHEAD`] for one |
//! | 11 to 14, 18, 20 | retired | never to be used again |
//! | others | as numbered at [`Message`] | the fields in order, as bincode 2 `standard()` writes them |
//!
//! What bincode does not define, or not as we need it: a name or text is its length and its bytes;
//! a list is its length and its elements; an enum is one byte; a socket address is a byte 4 or 6,
//! the octets, the port, and for 6 the flow information and scope id.
//!
//! Every count that a peer sends is checked against [`CodecLimits`] before it is used, and no count
//! allocates anything by itself. bincode is used in this module and nowhere else.

mod compare;
mod counted;
mod delta;
pub(super) mod error;
mod fields;
pub(super) mod limits;
mod records;
mod serial;
mod settings;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::message::Message;

pub use compare::{CELL_BYTES, ITEM_BYTES, ITEMS_OVERHEAD};
pub use counted::decode_counted;
pub use delta::{HANDED_OVERHEAD, SECTION_OVERHEAD, delta_overhead};
pub use error::DecodeError;
pub use limits::{
    ACK_OVERHEAD, ACK_RANGE_BYTES, ACK_REFUSED_BYTES, BODY_BYTES_MAX, CELLS_MAX, COVERED_OVERHEAD,
    CodecLimits, DELTA_ENTRIES_MAX, EXPELLED_MAX, HOLDER_BYTES, HOLDERS_MAX, MESSAGE_HEADER_BYTES,
    RECALLS_MAX, RELAYED_HELD_BYTES, RELAYED_OVERHEAD, REPORT_OVERHEAD, STORE_NAME_BYTES_MAX,
};
pub use records::{Values, decode_body, encode_body, is_text};
pub use serial::{NoEncoding, decode_value, encode_u64, encode_value, with_encoded};

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

/// Appends one message to `out`.
///
/// # Panics
/// If a list is longer than its count field can say: more than 65,535 uncovered names or sections
/// in a delta or entries in a section, more than `u32::MAX` items or bytes. The limits of
/// [`CodecLimits`], which a sender keeps to, are far below.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "lengths of what is in memory, far below the largest number"
)]
#[expect(
    clippy::expect_used,
    reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
)]
pub fn encode(message: &Message, out: &mut BytesMut) {
    let start = out.len();
    out.put_u8(tag(message));
    out.put_u32(0);
    match message {
        Message::Swim(packet) => out.put_slice(packet),
        Message::Delta(delta) => delta::encode_delta(delta, out),
        Message::Handed(handed) => delta::encode_handed(handed, out),
        other if compare::encode(other, out) => {}
        other => fields::encode(other, out),
    }
    let len = u32::try_from(out.len() - start - MESSAGE_HEADER_BYTES)
        .expect("a message is bounded by the frame that carries it");
    if let Some(place) = out.get_mut(start + 1..start + MESSAGE_HEADER_BYTES) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

/// What [`encode`] would append, in bytes. It costs as much as walking the message, and no memory.
#[must_use]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "lengths of what is in memory, far below the largest number"
)]
pub fn encoded_len(message: &Message) -> usize {
    match message {
        Message::Swim(packet) => MESSAGE_HEADER_BYTES + packet.len(),
        Message::Delta(delta) => delta::delta_len(delta),
        Message::Handed(handed) => HANDED_OVERHEAD + delta::delta_len(&handed.delta),
        other => compare::encoded_len(other)
            .unwrap_or_else(|| MESSAGE_HEADER_BYTES + fields::encoded_len(other)),
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
        5 => Message::Delta(delta::decode_delta(body, limits)?),
        40 => Message::Handed(delta::decode_handed(body, limits)?),
        _ => match compare::decode(tag, &body, limits)? {
            Some(message) => message,
            None => match fields::decode(tag, &body, limits)? {
                Some(message) => message,
                None => return Ok(Decoded::Unknown { tag }),
            },
        },
    };
    Ok(Decoded::Message(message))
}

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
        Message::More(_) => 19,
        Message::Settled(_) => 21,
        Message::Items(_) => 22,
        Message::Hashes(_) => 23,
        Message::Wants(_) => 24,
        Message::Expelled(_) => 25,
        Message::Arrived(_) => 70,
        Message::Handed(_) => 40,
        Message::Covered(_) => 41,
        Message::Recall(_) => 42,
        Message::Objection(_) => 60,
        Message::Roots(_) => 50,
        Message::Totals(_) => 51,
        Message::Probe(_) => 52,
        Message::Recheck(_) => 53,
        Message::Cells(_) => 54,
        Message::Peeled(_) => 55,
    }
}
