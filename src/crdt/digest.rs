//! Hashes of entries and the root sum of a map.
//!
//! Every hash is SipHash-1-3 under a fixed protocol key, so all nodes of all clusters agree:
//!
//! ```text
//! body  = H128(body bytes)
//! entry = H128(key, ts, tie, writer, expires_at, schema, body)  summed in the root, tag = its low 32 bits
//! kh    = the low 48 bits of H64(key)
//! ```
//!
//! The body is hashed by itself, so that this can be done before any lock is taken: a local write gets
//! its timestamp under the lock, and then only 72 bytes are left to hash. The sum is linear: an entry
//! is added and removed in constant time, in any order.

use siphasher::sip::SipHasher13;
use siphasher::sip128::SipHasher13 as SipHasher13x128;

use super::narrow::KH_BITS;
use crate::id::Key;
use crate::time::Timestamp;
use crate::wire::{Entry, Item};

/// The hash of a body's bytes, from which the rest of an entry's hashes are cheap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHash(u128);

impl BodyHash {
    /// Hashes a body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(hash128(BODY_KEY, body))
    }
}

/// The 128-bit hash of an entry, header and body, as summed in a [`Root`].
#[must_use]
pub fn entry_hash(entry: &Entry) -> u128 {
    entry_hash_of(entry, BodyHash::of(&entry.body))
}

/// The hash of an entry whose body was hashed before.
#[must_use]
pub fn entry_hash_of(entry: &Entry, body: BodyHash) -> u128 {
    let mut bytes = [0; 72];
    bytes[..56].copy_from_slice(&header_bytes(entry));
    bytes[56..].copy_from_slice(&body.0.to_le_bytes());
    hash128(ENTRY_KEY, &bytes)
}

/// The header of an entry as it is hashed.
#[inline]
pub(super) fn header_bytes(entry: &Entry) -> [u8; 56] {
    let mut bytes = [0; 56];
    bytes[..16].copy_from_slice(&entry.key.0);
    bytes[16..24].copy_from_slice(&entry.ts.as_nanos().to_le_bytes());
    bytes[24..32].copy_from_slice(&entry.tie.to_le_bytes());
    bytes[32..40].copy_from_slice(&entry.writer.0.to_le_bytes());
    bytes[40..48].copy_from_slice(&entry.expires_at.as_nanos().to_le_bytes());
    bytes[48..50].copy_from_slice(&entry.schema.raw().to_le_bytes());
    bytes
}

/// The tag of an entry with this hash, its low bits: tells two values of one key and timestamp apart.
#[allow(clippy::cast_possible_truncation)]
#[must_use]
pub const fn tag(hash: u128) -> u32 {
    hash as u32
}

/// The 48-bit hash of a key, by which item lists are sorted.
#[must_use]
pub fn kh(key: &Key) -> u64 {
    let hash = SipHasher13::new_with_keys(KEY_KEY.0, KEY_KEY.1).hash(&key.0);
    hash & KH_MAX
}

/// The item that stands for an entry in a sorted list.
#[must_use]
pub fn item(entry: &Entry) -> Item {
    item_of(kh(&entry.key), entry.ts, entry_hash(entry))
}

/// The item that stands for an entry, given the hashes of its key and of all of it.
#[inline]
pub(super) const fn item_of(kh: u64, ts: Timestamp, hash: u128) -> Item {
    let tag = tag(hash);
    Item { kh, ts, tag }
}

/// How many entries, and the wrapping sum of their hashes. Two maps with equal roots hold the same
/// entries, except with a chance of 2^-128.
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

    /// Removes an entry's hash that was added before.
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

fn hash128(key: (u64, u64), bytes: &[u8]) -> u128 {
    SipHasher13x128::new_with_keys(key.0, key.1)
        .hash(bytes)
        .as_u128()
}

/// The greatest hash of a key.
pub const KH_MAX: u64 = (1 << KH_BITS) - 1;
const BODY_KEY: (u64, u64) = (0x7275_6d6f_726d_696c, 0x626f_6479_2d68_6173);
const ENTRY_KEY: (u64, u64) = (0x7275_6d6f_726d_696c, 0x656e_7472_792d_6861);
const KEY_KEY: (u64, u64) = (0x7275_6d6f_726d_696c, 0x6b65_792d_6861_7368);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{SchemaId, WriterTag};
    use bytes::Bytes;

    fn entry() -> Entry {
        Entry {
            key: Key([7; 16]),
            ts: Timestamp::from_secs(1_000),
            tie: 3,
            writer: WriterTag(4),
            expires_at: Timestamp::from_secs(2_000),
            schema: SchemaId::new(1),
            body: Bytes::from_static(b"body"),
        }
    }

    #[test]
    fn every_field_is_in_the_hash_and_in_the_tag() {
        let base = entry();
        let vary: [fn(&mut Entry); 7] = [
            |e| e.key.0[15] ^= 1,
            |e| e.ts = Timestamp::from_nanos(e.ts.as_nanos() + 1),
            |e| e.tie += 1,
            |e| e.writer.0 += 1,
            |e| e.expires_at = Timestamp::ZERO,
            |e| e.schema = e.schema.lasting(),
            |e| e.body = Bytes::from_static(b"bodz"),
        ];
        for (index, change) in vary.iter().enumerate() {
            let mut other = base.clone();
            change(&mut other);
            let (ours, theirs) = (entry_hash(&base), entry_hash(&other));
            assert_ne!(ours, theirs, "field {index}");
            assert_ne!(tag(ours), tag(theirs), "field {index}");
        }
    }

    /// The values are part of the protocol: a change of them needs a new wire version.
    #[test]
    fn the_hashes_are_those_of_the_protocol() {
        let entry = entry();
        assert_eq!(
            (kh(&entry.key), item(&entry).tag, entry_hash(&entry)),
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

    /// Computed with another implementation of SipHash-1-3.
    const GOLDEN: (u64, u32, u128) = (
        4_492_141_623_170_268_183 & KH_MAX,
        3_802_553_877,
        43_710_838_506_789_873_157_927_863_988_957_634_069,
    );
}
