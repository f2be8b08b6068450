//! Hashes of entries and the root sum of a map.
//!
//! Every hash is SipHash-2-4 under a fixed protocol key, so all nodes of all clusters agree:
//!
//! ```text
//! body    = H128(body bytes)
//! content = H128(tie, expires_at, schema, body)        tag = its low 32 bits
//! entry   = H128(key, ts, content)                     summed in the root
//! kh      = H64(key)
//! ```
//!
//! The bytes of a body are read once, and before any lock is taken: whatever else an entry's hash
//! depends on (a local write learns its timestamp under the lock, a join may raise `expires_at`)
//! is hashed from 40 bytes. The sum is linear: an entry is added and taken out in constant time,
//! and the order of doing so does not matter.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;
use siphasher::sip128::SipHasher24 as SipHasher24x128;

use crate::time::Timestamp;
use crate::wire::{Entry, Item, Key, SchemaId};

/// The hash of a body's bytes, from which the rest of an entry's hashes are cheap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHash(u128);

impl BodyHash {
    /// Hashes a body: the only pass over its bytes.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(hash128(BODY_KEY, body))
    }
}

/// What a digest needs of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The 128-bit hash of the whole entry, as summed in a [`Root`].
    pub hash: u128,
    /// The content tag: of tie, expiry, schema and body.
    pub tag: u32,
}

impl Fingerprint {
    /// Fingerprints an entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        Self::with_body(entry, BodyHash::of(&entry.body))
    }

    /// Fingerprints an entry whose body was hashed before.
    #[must_use]
    pub fn with_body(entry: &Entry, body: BodyHash) -> Self {
        let content = content_hash(entry.tie, entry.expires_at, entry.schema, body);
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(&entry.key.0);
        bytes[16..24].copy_from_slice(&entry.ts.as_nanos().to_le_bytes());
        bytes[24..].copy_from_slice(&content.to_le_bytes());
        Self {
            hash: hash128(ENTRY_KEY, &bytes),
            tag: low_bits(content),
        }
    }
}

/// The 128-bit hash of an entry, header and body.
#[must_use]
pub fn entry_hash(entry: &Entry) -> u128 {
    Fingerprint::of(entry).hash
}

/// The content tag of an entry: tells two values of one key and timestamp apart.
#[must_use]
pub fn content_tag(entry: &Entry) -> u32 {
    let body = BodyHash::of(&entry.body);
    low_bits(content_hash(
        entry.tie,
        entry.expires_at,
        entry.schema,
        body,
    ))
}

/// The hash of a key, by which item lists are sorted.
#[must_use]
pub fn kh(key: &Key) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(KEY_KEY.0, KEY_KEY.1);
    hasher.write(&key.0);
    hasher.finish()
}

/// The item that stands for an entry in a sorted list.
#[must_use]
pub fn item(entry: &Entry) -> Item {
    Item {
        kh: kh(&entry.key),
        ts: entry.ts,
        tag: content_tag(entry),
    }
}

/// How many entries, and the wrapping sum of their hashes. Two maps with equal roots hold the same
/// entries, but for a chance of 2^-128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// Entries summed.
    pub count: u64,
    /// The sum of their hashes, wrapping.
    pub sum: u128,
}

impl Root {
    /// Adds an entry's hash.
    pub fn add(&mut self, hash: u128) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash);
    }

    /// Takes out an entry's hash that was added before.
    pub fn sub(&mut self, hash: u128) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash);
    }

    /// This root without the entries of `part`.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        Self {
            count: self.count.wrapping_sub(part.count),
            sum: self.sum.wrapping_sub(part.sum),
        }
    }
}

fn content_hash(tie: u64, expires_at: Timestamp, schema: SchemaId, body: BodyHash) -> u128 {
    let mut bytes = [0; 40];
    bytes[..8].copy_from_slice(&tie.to_le_bytes());
    bytes[8..16].copy_from_slice(&expires_at.as_nanos().to_le_bytes());
    bytes[16..18].copy_from_slice(&schema.raw().to_le_bytes());
    bytes[24..].copy_from_slice(&body.0.to_le_bytes());
    hash128(CONTENT_KEY, &bytes)
}

fn hash128(key: (u64, u64), bytes: &[u8]) -> u128 {
    SipHasher24x128::new_with_keys(key.0, key.1)
        .hash(bytes)
        .as_u128()
}

/// Truncation is the purpose: a tag is the low bits of a hash.
#[allow(clippy::cast_possible_truncation)]
const fn low_bits(hash: u128) -> u32 {
    hash as u32
}

const BODY_KEY: (u64, u64) = (0x7275_6d6f_726d_696c, 0x626f_6479_2d68_6173);
const CONTENT_KEY: (u64, u64) = (0x7275_6d6f_726d_696c, 0x636f_6e74_656e_742d);
const ENTRY_KEY: (u64, u64) = (0x7275_6d6f_726d_696c, 0x656e_7472_792d_6861);
const KEY_KEY: (u64, u64) = (0x7275_6d6f_726d_696c, 0x6b65_792d_6861_7368);

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry() -> Entry {
        Entry {
            key: Key([7; 16]),
            ts: Timestamp::from_secs(1_000),
            tie: 3,
            expires_at: Timestamp::from_secs(2_000),
            schema: SchemaId::new(1),
            body: Bytes::from_static(b"body"),
        }
    }

    #[test]
    fn every_field_is_in_the_hash_and_content_alone_in_the_tag() {
        let base = entry();
        let vary: [fn(&mut Entry); 6] = [
            |e| e.key.0[15] ^= 1,
            |e| e.ts = Timestamp::from_nanos(e.ts.as_nanos() + 1),
            |e| e.tie += 1,
            |e| e.expires_at = Timestamp::ZERO,
            |e| e.schema = e.schema.lasting(),
            |e| e.body = Bytes::from_static(b"bodz"),
        ];
        for (index, change) in vary.iter().enumerate() {
            let mut other = base.clone();
            change(&mut other);
            assert_ne!(entry_hash(&base), entry_hash(&other), "field {index}");
            assert_eq!(
                content_tag(&base) == content_tag(&other),
                index < 2,
                "field {index}"
            );
        }
    }

    /// The values are part of the protocol: a change of them needs a new wire version.
    #[test]
    fn the_hashes_are_those_of_the_protocol() {
        let entry = entry();
        assert_eq!(
            (kh(&entry.key), content_tag(&entry), entry_hash(&entry)),
            GOLDEN
        );
        assert_eq!(
            item(&entry),
            Item {
                kh: GOLDEN.0,
                ts: entry.ts,
                tag: GOLDEN.1
            }
        );
    }

    #[test]
    fn a_root_forgets_what_is_taken_out_in_any_order() {
        let mut root = Root::default();
        root.add(u128::MAX);
        root.add(5);
        let mut part = Root::default();
        part.add(5);
        assert_eq!(root.without(part).sum, u128::MAX);
        root.sub(u128::MAX);
        root.sub(5);
        assert_eq!(root, Root::default());
    }

    const GOLDEN: (u64, u32, u128) = (
        17_240_353_635_654_176_875,
        3_331_140_777,
        34_633_092_351_278_261_105_833_431_097_347_931_762,
    );
}
