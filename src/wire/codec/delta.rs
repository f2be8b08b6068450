//! Deltas: a fixed layout, so that a sender can fill a datagram exactly.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::error::{DecodeError, check_count, check_end};
use super::limits::{CodecLimits, DELTA_ENTRIES_MAX, MESSAGE_HEADER_BYTES};
use crate::id::{NAME_BYTES_MAX, NodeName, StoreId};
use crate::wire::entry::{Entry, HEADER_BYTES};
use crate::wire::message::{Delta, Handed, Section};

/// What a section of a delta takes beside its entries: `store u32, count u16`. Exact.
pub const SECTION_OVERHEAD: usize = 6;
/// `token u64, packet u64, names u16, sections u16`.
const DELTA_FIXED: usize = 20;

/// What a `Handed` takes beside its delta: `bits u8, list u64`. Exact.
pub const HANDED_OVERHEAD: usize = 9;

/// What a delta takes beside its sections, message header included: `token u64, packet u64`, a
/// `u16` count of names, each a length byte and its bytes, and a `u16` count of sections. Exact: a
/// delta takes this, and [`SECTION_OVERHEAD`] and the entries' `encoded_len` per section.
#[must_use]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "lengths of what is in memory, far below the largest number"
)]
pub fn delta_overhead(uncovered: &[NodeName]) -> usize {
    let names: usize = uncovered.iter().map(|name| 1 + name.as_str().len()).sum();
    MESSAGE_HEADER_BYTES + DELTA_FIXED + names
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "lengths of what is in memory, far below the largest number"
)]
pub(super) fn delta_len(delta: &Delta) -> usize {
    let sections: usize = delta
        .sections
        .iter()
        .map(|section| {
            let entries: usize = section.entries.iter().map(Entry::encoded_len).sum();
            SECTION_OVERHEAD + entries
        })
        .sum();
    delta_overhead(&delta.uncovered) + sections
}

#[expect(
    clippy::expect_used,
    reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
)]
pub(super) fn encode_delta(delta: &Delta, out: &mut BytesMut) {
    out.put_u64(delta.token);
    out.put_u64(delta.packet);
    put_count(delta.uncovered.len(), out);
    for name in &delta.uncovered {
        let name = name.as_str();
        out.put_u8(u8::try_from(name.len()).expect("a name is at most 64 bytes"));
        out.put_slice(name.as_bytes());
    }
    put_count(delta.sections.len(), out);
    for section in &delta.sections {
        out.put_u32(section.store.0);
        put_count(section.entries.len(), out);
        for entry in &section.entries {
            entry.encode(out);
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
)]
fn put_count(count: usize, out: &mut BytesMut) {
    out.put_u16(u16::try_from(count).expect("a delta's lists are cut to 65,535 elements"));
}

pub(super) fn encode_handed(handed: &Handed, out: &mut BytesMut) {
    out.put_u8(handed.bits);
    out.put_u64(handed.list);
    encode_delta(&handed.delta, out);
}

pub(super) fn decode_handed(mut body: Bytes, limits: &CodecLimits) -> Result<Handed, DecodeError> {
    let truncated = |_| DecodeError::Truncated { what: "handed" };
    let bits = body.try_get_u8().map_err(truncated)?;
    let list = body.try_get_u64().map_err(truncated)?;
    let delta = decode_delta(body, limits)?;
    Ok(Handed { bits, list, delta })
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "lengths of what is in memory, far below the largest number"
)]
pub(super) fn decode_delta(mut body: Bytes, limits: &CodecLimits) -> Result<Delta, DecodeError> {
    let truncated = |_| DecodeError::Truncated { what: "delta" };
    let token = body.try_get_u64().map_err(truncated)?;
    let packet = body.try_get_u64().map_err(truncated)?;
    let names = body.try_get_u16().map_err(truncated)?;
    check_count("uncovered names", u64::from(names), limits.names_max)?;
    let mut uncovered = Vec::new();
    for _ in 0..names {
        uncovered.push(decode_name(&mut body)?);
    }
    let count = body.try_get_u16().map_err(truncated)?;
    check_count("sections", u64::from(count), limits.sections_max)?;
    let mut sections = Vec::new();
    let mut total = 0;
    for _ in 0..count {
        let section = decode_section(&mut body, limits, total)?;
        total += section.entries.len();
        sections.push(section);
    }
    check_end(&body)?;
    Ok(Delta {
        token,
        packet,
        uncovered,
        sections,
    })
}

fn decode_name(body: &mut Bytes) -> Result<NodeName, DecodeError> {
    let truncated = DecodeError::Truncated { what: "name" };
    let Ok(len) = body.try_get_u8() else {
        return Err(truncated);
    };
    let len = usize::from(len);
    if len > NAME_BYTES_MAX {
        return Err(DecodeError::TooLarge {
            what: "name",
            bytes: len as u64,
            max: NAME_BYTES_MAX,
        });
    }
    if len > body.len() {
        return Err(truncated);
    }
    let bytes = body.split_to(len);
    let text = std::str::from_utf8(&bytes).map_err(|_| DecodeError::Text)?;
    NodeName::new(text).map_err(DecodeError::Name)
}

/// After `before` entries of the same delta.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "both are counts of what is in memory, or of 16 bits"
)]
fn decode_section(
    body: &mut Bytes,
    limits: &CodecLimits,
    before: usize,
) -> Result<Section, DecodeError> {
    let truncated = |_| DecodeError::Truncated { what: "section" };
    let store = StoreId(body.try_get_u32().map_err(truncated)?);
    let count = usize::from(body.try_get_u16().map_err(truncated)?);
    if count > body.len() / HEADER_BYTES {
        return Err(DecodeError::Truncated { what: "section" });
    }
    check_count("entries", (before + count) as u64, DELTA_ENTRIES_MAX)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(Entry::decode(body, limits.entry_bytes_max)?);
    }
    Ok(Section { store, entries })
}
