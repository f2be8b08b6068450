//! A fast hash under random words, for tables of this process alone. Peers choose what is hashed, and
//! must not be able to choose collisions. The hash differs from process to process, so nothing may be
//! listed in its order.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

/// A hash of bytes by folded multiplications (as in wyhash), under two words of its own.
#[derive(Clone, Copy)]
pub(crate) struct FoldHash(u64, u64);

impl std::fmt::Debug for FoldHash {
    /// The words are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FoldHash").finish_non_exhaustive()
    }
}

impl FoldHash {
    pub(crate) fn random() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(0_u8), random.hash_one(1_u8))
    }

    /// Words under which all texts of `len` bytes, at most 16, have the same hash.
    #[cfg(test)]
    pub(super) fn colliding(len: usize) -> Self {
        Self(len as u64, 0x0fed_cba9_8765_4321)
    }

    /// The hash of some bytes.
    #[inline]
    pub(crate) fn of(self, bytes: &[u8]) -> u64 {
        self.after(self.0, bytes)
    }

    /// The hash of bytes that follow others, given the hash of those others.
    #[inline]
    pub(crate) fn after(self, hash: u64, bytes: &[u8]) -> u64 {
        let (blocks, _) = bytes.as_chunks::<16>();
        // Two lanes, so that neither multiplication waits for the other.
        let (pairs, odd) = blocks.as_chunks::<2>();
        let (mut one, mut other) = (hash, hash.rotate_left(32));
        for [a, b] in pairs {
            one = self.block(one, words(a));
            other = self.block(other, words(b));
        }
        for block in odd {
            one = self.block(one, words(block));
        }
        other = self.block(other, last_words(bytes));
        fold(one ^ bytes.len() as u64, other ^ self.1)
    }

    #[inline]
    fn block(self, hash: u64, (a, b): (u64, u64)) -> u64 {
        fold(a ^ self.1, b ^ hash)
    }
}

#[inline]
fn words(block: &[u8; 16]) -> (u64, u64) {
    let block = u128::from_le_bytes(*block);
    (low(block), low(block >> 64))
}

/// The last 16 bytes, or all if there are fewer, as two words. Some bytes may be in both words; the
/// length, which is hashed too, tells which. Nothing is copied.
#[inline]
fn last_words(bytes: &[u8]) -> (u64, u64) {
    if let Some(last) = bytes.last_chunk::<16>() {
        words(last)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        (u64::from(first), u64::from(last))
    } else if let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) {
        let middle = bytes[bytes.len() / 2];
        (
            u64::from_le_bytes([first, middle, 0, 0, 0, 0, 0, 0]),
            u64::from(last),
        )
    } else {
        (0, 0)
    }
}

/// A product, its high half folded onto its low one.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    low(product) ^ low(product >> 64)
}

#[allow(clippy::cast_possible_truncation, reason = "it is the purpose")]
#[inline]
const fn low(wide: u128) -> u64 {
    wide as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const HASHING: FoldHash = FoldHash(0x1234_5678_9abc_def1, 0x0fed_cba9_8765_4321);

    #[test]
    fn hashes_differ_in_every_bit_and_length() {
        for len in 0..100 {
            let bytes = vec![0; len];
            let mut seen = BTreeSet::from([HASHING.of(&bytes)]);
            for bit in 0..8 * len {
                let mut other = bytes.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(seen.insert(HASHING.of(&other)), "length {len}, bit {bit}");
            }
            assert!(seen.insert(HASHING.of(&[&bytes[..], &[0]].concat())));
        }
    }

    #[test]
    fn words_can_be_found_under_which_texts_collide() {
        let colliding = FoldHash::colliding(8);
        assert_eq!(colliding.of(b"01234567"), colliding.of(b"76543210"));
        assert_ne!(colliding.of(b"0123456"), colliding.of(b"6543210"));
    }

    #[test]
    fn what_follows_is_hashed_with_what_was_before() {
        let pair = |a: &str, b: &str| HASHING.after(HASHING.of(a.as_bytes()), b.as_bytes());
        assert_ne!(pair("ab", "c"), pair("a", "bc"));
        assert_ne!(pair("ab", ""), pair("", "ab"));
        assert_ne!(pair("a", "b"), pair("b", "a"));
    }
}
