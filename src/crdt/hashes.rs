//! The hashes of an entry that a map keeps in its structures, to be computed before its lock is
//! taken.

use super::digest::{self, BodyHash};
use super::fold::FoldHash;
use super::sketch::item_hash;
use crate::wire::Entry;

/// EntryHashes entries for a map: partly under words of its own.
#[derive(Clone, Copy, Debug)]
pub struct Hashing(FoldHash);

/// The hashes of one entry, for the map of the [`Hashing`] that made them.
#[derive(Clone, Copy, Debug)]
pub struct EntryHashes {
    /// Of its key, [`digest::kh`].
    pub(super) kh: u64,
    /// Of its body alone. If the join changes the header, the other hashes are computed from it anew.
    pub(super) body: BodyHash,
    /// Of header and body, under the map's own words: by it the map recognizes the entry.
    pub(super) quick: u64,
    /// [`digest::entry_hash`], low half first: two `u64` need no more alignment than the other fields.
    pub(super) entry: [u64; 2],
    /// [`item_hash`] of its item.
    pub(super) item: u64,
}

impl Hashing {
    pub(super) fn random() -> Self {
        Self(FoldHash::random())
    }

    /// The hashes of an entry, given those of its key and its body.
    #[must_use]
    pub fn of(self, kh: u64, entry: &Entry, body: BodyHash) -> EntryHashes {
        let hash = digest::entry_hash_of(entry, body);
        EntryHashes {
            kh,
            body,
            quick: self.quick(entry),
            entry: halves(hash),
            item: item_hash(&digest::item_of(kh, entry.ts, hash)),
        }
    }

    /// Of header and body.
    #[inline]
    pub(super) fn quick(self, entry: &Entry) -> u64 {
        self.0
            .after(self.0.of(&digest::header_bytes(entry)), &entry.body)
    }
}

/// The two halves of a hash, the low one first.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
const fn halves(hash: u128) -> [u64; 2] {
    [hash as u64, (hash >> 64) as u64]
}

/// A hash from its halves.
#[inline]
pub(super) fn whole([low, high]: [u64; 2]) -> u128 {
    u128::from(low) | u128::from(high) << 64
}
