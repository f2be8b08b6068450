//! What the failure detector's codec reads, written again: for checks of it from outside.

use foca::Codec as _;

use super::codec::{HEADER_BYTES_MAX, MEMBER_BYTES_MAX, SwimCodec};

/// Reads a header off the front of `bytes`, moves on past it, and writes it again. `None` if there is none.
#[must_use]
pub fn header(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let header = SwimCodec.decode_header(bytes).ok()?;
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX);
    SwimCodec.encode_header(&header, &mut out).ok()?;
    Some(out)
}

/// As [`header`], a member.
#[must_use]
pub fn member(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let member = SwimCodec.decode_member(bytes).ok()?;
    let mut out = Vec::with_capacity(MEMBER_BYTES_MAX);
    SwimCodec.encode_member(&member, &mut out).ok()?;
    Some(out)
}

/// Most bytes that a header and a member take.
pub const BYTES_MAX: (usize, usize) = (HEADER_BYTES_MAX, MEMBER_BYTES_MAX);
