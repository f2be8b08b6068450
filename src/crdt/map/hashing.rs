//! The hash of the table from key to slot.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Hashes keys by one folded multiplication under two random words: keys come from peers, who
/// must not be able to choose them for collisions.
#[derive(Clone)]
pub(super) struct KeyHashing(pub(super) u64, pub(super) u64);

impl KeyHashing {
    pub(super) fn random() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(0_u8), random.hash_one(1_u8))
    }
}

impl BuildHasher for KeyHashing {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0, self.1)
    }
}

pub(super) struct KeyHasher(u64, u64);

impl Hasher for KeyHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<16>();
        debug_assert!(rest.is_empty(), "only keys are hashed");
        for &block in blocks {
            let block = u128::from_le_bytes(block);
            self.0 = fold(self.0 ^ low(block), self.1 ^ low(block >> 64));
        }
    }

    /// The length of a key: always 16.
    #[inline]
    fn write_usize(&mut self, _: usize) {}

    #[inline]
    fn finish(&self) -> u64 {
        fold(self.0, self.1 | 1)
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    low(product) ^ low(product >> 64)
}

/// Truncation is the purpose.
#[allow(clippy::cast_possible_truncation)]
const fn low(wide: u128) -> u64 {
    wide as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Key;

    #[test]
    fn key_hashes_differ_in_every_bit_of_the_key() {
        let hashing = KeyHashing(0x1234_5678_9abc_def1, 0x0fed_cba9_8765_4321);
        let base = hashing.hash_one(Key([0; 16]));
        for bit in 0..128 {
            let key = Key((1_u128 << bit).to_le_bytes());
            assert_ne!(hashing.hash_one(key), base, "bit {bit}");
        }
    }
}
