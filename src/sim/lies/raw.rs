//! Bytes: of messages, and of what is none.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::choice::Choice;
use crate::wire::Message;
use crate::wire::codec;

/// Noise, often with a tag that is known and a length that is right.
pub(super) fn noise(choice: &mut dyn Choice) -> Bytes {
    let mut out = BytesMut::new();
    let body = choice.within(0, 200);
    if choice.one_in(4) {
        out.put_u8(u8::try_from(choice.below(26)).unwrap_or(0));
        out.put_u32(u32::try_from(choice.edge() >> 32).unwrap_or(u32::MAX));
    } else {
        out.put_u8(u8::try_from(choice.below(26)).unwrap_or(0));
        out.put_u32(u32::try_from(body).unwrap_or(0));
    }
    for _ in 0..body {
        out.put_u8(u8::try_from(choice.below(256)).unwrap_or(0));
    }
    out.freeze()
}

/// A message with a tag that no version has.
pub(super) fn unknown(choice: &mut dyn Choice) -> Bytes {
    let body = choice.within(0, 100);
    let mut out = BytesMut::new();
    out.put_u8(u8::try_from(201 + choice.below(55)).unwrap_or(u8::MAX));
    out.put_u32(u32::try_from(body).unwrap_or(0));
    out.put_bytes(7, body);
    out.freeze()
}

/// A message as bytes.
pub(super) fn bytes_of(message: &Message) -> Bytes {
    let mut out = BytesMut::with_capacity(codec::encoded_len(message));
    codec::encode(message, &mut out);
    out.freeze()
}
