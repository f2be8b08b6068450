//! The messages by which stores are compared: cells, items, hashes of keys. Fixed layouts, all
//! integers big-endian: hashes do not get shorter as varints.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::error::{DecodeError, check_count, check_end};
use super::limits::{CodecLimits, MESSAGE_HEADER_BYTES};
use crate::id::StoreId;
use crate::time::Timestamp;
use crate::wire::message::{Cell, Cells, Hashed, Hashes, Item, Items, Message, Peeled, Wants};

/// What an `Items` takes beside its items, message header included: `store u32, from u64, to u64,
/// sum u128, count u32`. Exact.
pub const ITEMS_OVERHEAD: usize = MESSAGE_HEADER_BYTES + 40;
/// What one item takes: `kh u64, ts u64, tag u32`.
pub const ITEM_BYTES: usize = 20;
/// What one cell takes.
pub const CELL_BYTES: usize = 16;
/// What one hash of a key takes in a `Peeled`.
const KH_BYTES: usize = 6;

/// What one hashed entry takes: `kh u64, hash u128`.
const HASHED_BYTES: usize = 24;
/// `store u32, exponent u8, width u8, count u32`.
const CELLS_FIXED: usize = 10;
/// `store u32, from u64, to u64, count u32`.
const HASHES_FIXED: usize = 24;
/// `store u32, 1 u8 and common u128, or 0 u8, wants u32, stale u32`.
const PEELED_FIXED: usize = 13;
const COMMON_BYTES: usize = 16;
/// `store u32, to u64, count u32`.
const WANTS_FIXED: usize = 16;

/// Appends the body of one of the messages of this module; whether it is one.
pub(super) fn encode(message: &Message, out: &mut BytesMut) -> bool {
    match message {
        Message::Cells(cells) => encode_cells(cells, out),
        Message::Hashes(hashes) => encode_hashes(hashes, out),
        Message::Items(items) => encode_items(items, out),
        Message::Peeled(peeled) => encode_peeled(peeled, out),
        Message::Wants(wants) => encode_wants(wants, out),
        _ => return false,
    }
    true
}

/// The length of the whole message, if it is one of this module.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "lengths of what is in memory, far below the largest number"
)]
pub(super) fn encoded_len(message: &Message) -> Option<usize> {
    let body = match message {
        Message::Cells(cells) => CELLS_FIXED + cells.cells.len() * CELL_BYTES,
        Message::Hashes(hashes) => HASHES_FIXED + hashes.hashes.len() * HASHED_BYTES,
        Message::Items(items) => {
            return Some(ITEMS_OVERHEAD + items.items.len() * ITEM_BYTES);
        }
        Message::Peeled(peeled) => {
            let common = if peeled.common.is_some() {
                COMMON_BYTES
            } else {
                0
            };
            PEELED_FIXED + common + KH_BYTES * (peeled.wants.len() + peeled.stale.len())
        }
        Message::Wants(wants) => WANTS_FIXED + 8 * wants.wants.len(),
        _ => return None,
    };
    Some(MESSAGE_HEADER_BYTES + body)
}

/// The message of `tag` in all of `body`, `None` for a tag that is not of this module.
pub(super) fn decode(
    tag: u8,
    body: &Bytes,
    limits: &CodecLimits,
) -> Result<Option<Message>, DecodeError> {
    let mut from = Rest(body.clone());
    let message = match tag {
        54 => Message::Cells(decode_cells(&mut from, limits)?),
        55 => Message::Peeled(decode_peeled(&mut from, limits)?),
        22 => Message::Items(decode_items(&mut from, limits)?),
        23 => Message::Hashes(decode_hashes(&mut from, limits)?),
        24 => Message::Wants(decode_wants(&mut from, limits)?),
        _ => return Ok(None),
    };
    check_end(&from.0)?;
    Ok(Some(message))
}

fn encode_cells(cells: &Cells, out: &mut BytesMut) {
    out.put_u32(cells.store.0);
    out.put_u8(cells.exponent);
    out.put_u8(cells.width);
    put_count(cells.cells.len(), out);
    for cell in &cells.cells {
        out.put_u128(cell.0);
    }
}

fn decode_cells(from: &mut Rest, limits: &CodecLimits) -> Result<Cells, DecodeError> {
    let store = from.store()?;
    let (exponent, width) = (from.u8()?, from.u8()?);
    let count = from.count("cells", limits.cells_max, CELL_BYTES)?;
    let cell = |from: &mut Rest| from.u128().map(Cell);
    Ok(Cells {
        store,
        exponent,
        width,
        cells: from.list(count, cell)?,
    })
}

fn encode_peeled(peeled: &Peeled, out: &mut BytesMut) {
    out.put_u32(peeled.store.0);
    out.put_u8(u8::from(peeled.common.is_some()));
    if let Some(common) = peeled.common {
        out.put_u128(common);
    }
    put_count(peeled.wants.len(), out);
    put_count(peeled.stale.len(), out);
    let all = peeled.wants.iter().chain(&peeled.stale);
    all.for_each(|&kh| out.put_uint(kh, KH_BYTES));
}

fn decode_peeled(from: &mut Rest, limits: &CodecLimits) -> Result<Peeled, DecodeError> {
    let store = from.store()?;
    let common = match from.u8()? {
        0 => None,
        1 => Some(from.u128()?),
        found => {
            let what = "common root";
            return Err(DecodeError::Variant { what, found });
        }
    };
    let wants = from.count("wants", limits.items_max, KH_BYTES)?;
    let stale = from.count("stale keys", limits.items_max, KH_BYTES)?;
    let kh = |from: &mut Rest| from.0.try_get_uint(KH_BYTES).map_err(|_| TRUNCATED);
    Ok(Peeled {
        store,
        common,
        wants: ascending("wants", from.list(wants, kh)?)?,
        stale: ascending("stale keys", from.list(stale, kh)?)?,
    })
}

fn encode_wants(wants: &Wants, out: &mut BytesMut) {
    out.put_u32(wants.store.0);
    out.put_u64(wants.to);
    put_count(wants.wants.len(), out);
    wants.wants.iter().for_each(|&kh| out.put_u64(kh));
}

fn decode_wants(from: &mut Rest, limits: &CodecLimits) -> Result<Wants, DecodeError> {
    let (store, to) = (from.store()?, from.u64()?);
    let count = from.count("wants", limits.items_max, 8)?;
    Ok(Wants {
        store,
        to,
        wants: ascending("wants", from.list(count, Rest::u64)?)?,
    })
}

fn encode_items(items: &Items, out: &mut BytesMut) {
    out.put_u32(items.store.0);
    out.put_u64(items.from);
    out.put_u64(items.to);
    out.put_u128(items.sum);
    put_count(items.items.len(), out);
    for item in &items.items {
        out.put_u64(item.kh);
        out.put_u64(item.ts.as_nanos());
        out.put_u32(item.tag);
    }
}

/// Only a list that is ascending and inside `from..=to` passes: the engine may rely on it.
fn decode_items(input: &mut Rest, limits: &CodecLimits) -> Result<Items, DecodeError> {
    let (store, from, to, sum) = (input.store()?, input.u64()?, input.u64()?, input.u128()?);
    let count = input.count("items", limits.items_max, ITEM_BYTES)?;
    let items = input.list(count, |input| {
        Ok(Item {
            kh: input.u64()?,
            ts: Timestamp::from_nanos(input.u64()?),
            tag: input.u32()?,
        })
    })?;
    check_order("items", from, to, &items, |item| item.kh)?;
    Ok(Items {
        store,
        from,
        to,
        sum,
        items,
    })
}

fn encode_hashes(hashes: &Hashes, out: &mut BytesMut) {
    out.put_u32(hashes.store.0);
    out.put_u64(hashes.from);
    out.put_u64(hashes.to);
    put_count(hashes.hashes.len(), out);
    for hashed in &hashes.hashes {
        out.put_u64(hashed.kh);
        out.put_u128(hashed.hash);
    }
}

/// As [`decode_items`].
fn decode_hashes(input: &mut Rest, limits: &CodecLimits) -> Result<Hashes, DecodeError> {
    let (store, from, to) = (input.store()?, input.u64()?, input.u64()?);
    let count = input.count("hashes", limits.items_max, HASHED_BYTES)?;
    let hashes = input.list(count, |input| {
        let (kh, hash) = (input.u64()?, input.u128()?);
        Ok(Hashed { kh, hash })
    })?;
    check_order("hashes", from, to, &hashes, |hashed| hashed.kh)?;
    Ok(Hashes {
        store,
        from,
        to,
        hashes,
    })
}

fn check_order<T: Ord>(
    what: &'static str,
    from: u64,
    to: u64,
    list: &[T],
    kh: impl Fn(&T) -> u64,
) -> Result<(), DecodeError> {
    let inside = list
        .iter()
        .all(|element| (from..=to).contains(&kh(element)));
    if from > to || !inside || !list.is_sorted() {
        return Err(DecodeError::Disorder { what });
    }
    Ok(())
}

#[expect(
    clippy::expect_used,
    reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
)]
fn put_count(count: usize, out: &mut BytesMut) {
    out.put_u32(u32::try_from(count).expect("a list is cut to fit a frame"));
}

/// What is left of a body.
struct Rest(Bytes);

/// Numbers off the front.
macro_rules! numbers {
    ($($name:ident $take:ident $type:ty;)*) => {$(
        fn $name(&mut self) -> Result<$type, DecodeError> {
            self.0.$take().map_err(|_| TRUNCATED)
        }
    )*};
}

impl Rest {
    numbers! {
        u8 try_get_u8 u8;
        u32 try_get_u32 u32;
        u64 try_get_u64 u64;
        u128 try_get_u128 u128;
    }

    fn store(&mut self) -> Result<StoreId, DecodeError> {
        self.u32().map(StoreId)
    }

    /// A count that is within its limit and for which there are bytes.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "lengths of what is in memory, far below the largest number"
    )]
    fn count(
        &mut self,
        what: &'static str,
        max: usize,
        bytes_each: usize,
    ) -> Result<usize, DecodeError> {
        let count = self.u32()?;
        check_count(what, u64::from(count), max)?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > self.0.len() / bytes_each {
            return Err(TRUNCATED);
        }
        Ok(count)
    }

    fn list<T>(
        &mut self,
        count: usize,
        take: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        (0..count).map(|_| take(self)).collect()
    }
}

/// Hashes that ascend, each once.
fn ascending(what: &'static str, list: Vec<u64>) -> Result<Vec<u64>, DecodeError> {
    if list.is_sorted_by(|a, b| a < b) {
        Ok(list)
    } else {
        Err(DecodeError::Disorder { what })
    }
}

const TRUNCATED: DecodeError = DecodeError::Truncated { what: "lists" };
