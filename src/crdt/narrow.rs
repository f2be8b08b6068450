//! An item as the cells of a table have it: with a checksum, 16 bytes.
//!
//! | bits | what |
//! |---|---|
//! | 127 to 80 | the 48-bit hash of the key |
//! | 79 to 36 | the timestamp in milliseconds since the Unix epoch, which fit until the year 2527 |
//! | 35 to 20 | the low 16 bits of the entry's tag |
//! | 19 to 0 | a checksum of the above |
//!
//! So much less than in a list of items is enough because nothing depends on it: whether what was read
//! accounts for the roots is checked with whole hashes, and where it does not, whole hashes are listed.
//!
//! - Two entries of one key, stamped within one millisecond, have the same item with a chance of 2^-16 if
//!   they differ: the table does not show them, and the check does. Of versions within one millisecond it
//!   is not known which is later, and both sides send theirs.
//! - Keys of one hash are taken for one key: all of them move. Among a million keys two have one hash with
//!   a chance of 2 in 1,000; who wants to can find such keys with 2^24 tries.
//! - A cell that holds several items passes for one of a single item with a chance of 2^-20, and 2^-e of
//!   those belong where they are, in partitions of 2^e cells. Taking a difference of D items apart looks
//!   at about 6 D cells, and D is about 2.7 x 2^e: so it fails for that reason with a chance of less than 2^-15,
//!   and more cells are asked for.

use siphasher::sip::SipHasher13;

use crate::wire::{Cell, Item};

/// An item, shortened. Ordered by the hash of the key, then by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Narrow {
    /// The 48-bit hash of the key.
    pub kh: u64,
    /// The timestamp in whole milliseconds.
    pub ms: u64,
    /// The low 16 bits of the tag.
    pub tag: u16,
}

impl Narrow {
    /// Of an item.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
    pub const fn of(item: &Item) -> Self {
        let ms = item.ts.as_nanos() / NANOS_PER_MS;
        Self {
            kh: item.kh & low(KH_BITS) as u64,
            ms: if ms < MS_MAX { ms } else { MS_MAX },
            tag: item.tag as u16,
        }
    }

    /// Its hash: it chooses the item's cells in a table and its signs in an estimator. SipHash-1-3 of the
    /// item's 14 bytes under a fixed protocol key.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&self.kh.to_le_bytes()[..6]);
        bytes[6..14].copy_from_slice(&self.ms.to_le_bytes());
        bytes[14..].copy_from_slice(&self.tag.to_le_bytes());
        SipHasher13::new_with_keys(ITEM_KEY.0, ITEM_KEY.1).hash(&bytes)
    }

    /// The cell that holds this item and no other, given its hash.
    #[must_use]
    pub(super) fn cell(&self, hash: u64) -> Cell {
        let bits = u128::from(self.kh) << (CHECK_BITS + TAG_BITS + MS_BITS)
            | u128::from(self.ms) << (CHECK_BITS + TAG_BITS)
            | u128::from(self.tag) << CHECK_BITS
            | check_of(hash);
        Cell(bits)
    }

    /// The item of a cell that holds exactly one, and the item's hash.
    #[allow(clippy::cast_possible_truncation, reason = "the bits of one field")]
    pub(super) fn alone(cell: Cell) -> Option<(Self, u64)> {
        let bits = cell.0;
        if bits == 0 {
            return None;
        }
        let item = Self {
            kh: (bits >> (CHECK_BITS + TAG_BITS + MS_BITS)) as u64,
            ms: (bits >> (CHECK_BITS + TAG_BITS) & low(MS_BITS)) as u64,
            tag: (bits >> CHECK_BITS) as u16,
        };
        let hash = item.hash();
        (check_of(hash) == bits & low(CHECK_BITS)).then_some((item, hash))
    }
}

/// As many ones.
const fn low(bits: u32) -> u128 {
    (1 << bits) - 1
}

/// The high bits of a product. It is not linear in the hash, so the XOR of several checksums is not the
/// checksum of an item.
fn check_of(hash: u64) -> u128 {
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u128::from(mixed >> (u64::BITS - CHECK_BITS))
}

/// Of the hash of a key.
pub(super) const KH_BITS: u32 = 48;
const MS_BITS: u32 = 44;
const TAG_BITS: u32 = 16;
const CHECK_BITS: u32 = 20;
const _: () = assert!(KH_BITS + MS_BITS + TAG_BITS + CHECK_BITS == u128::BITS);
#[allow(clippy::cast_possible_truncation, reason = "44 bits")]
const MS_MAX: u64 = low(MS_BITS) as u64;
const NANOS_PER_MS: u64 = 1_000_000;
const ITEM_KEY: (u64, u64) = (0x7275_6d6f_726d_696c, 0x6974_656d_2d68_6173);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn item(kh: u64, nanos: u64, tag: u32) -> Item {
        let ts = Timestamp::from_nanos(nanos);
        Item { kh, ts, tag }
    }

    #[test]
    fn a_cell_of_one_item_gives_it_back_whatever_is_in_it() {
        for (kh, nanos, tag) in [
            (0, 0, 1),
            (u64::MAX, u64::MAX, u32::MAX),
            (0x1234_5678_9abc, 1_700_000_000_123_456_789, 0xdead_beef),
        ] {
            let narrow = Narrow::of(&item(kh, nanos, tag));
            let cell = narrow.cell(narrow.hash());
            assert_eq!(Narrow::alone(cell), Some((narrow, narrow.hash())));
            for bit in 0..u128::BITS {
                assert_eq!(Narrow::alone(Cell(cell.0 ^ 1 << bit)), None, "bit {bit}");
            }
        }
        assert_eq!(Narrow::alone(Cell::default()), None);
    }

    #[test]
    fn what_is_left_out_makes_no_difference_and_the_rest_does() {
        let one = Narrow::of(&item(7, 5_000_000, 3));
        assert_eq!(one, Narrow::of(&item(7 | 1 << 48, 5_999_999, 3 | 1 << 16)));
        assert_eq!((one.kh, one.ms, one.tag), (7, 5, 3));
        for other in [(8, 5_000_000, 3), (7, 6_000_000, 3), (7, 5_000_000, 4)] {
            let other = Narrow::of(&item(other.0, other.1, other.2));
            assert!(other > one && other.hash() != one.hash());
        }
        // Five centuries fit.
        assert_eq!(
            Narrow::of(&item(0, 17_592_186_044_414_000_000, 0)).ms,
            MS_MAX - 1
        );
    }
}
