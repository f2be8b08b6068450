//! An entry as a map holds it, and where it stands in the expiry order and in the digests.

use crate::crdt::digest;
use crate::crdt::digests::Standing;
use crate::crdt::expiring::Expiring;
use crate::crdt::hashes::{EntryHashes, whole};
use crate::crdt::sketch::item_hash;
use crate::time::Timestamp;
use crate::wire::{Entry, Item};

/// An entry as held.
#[derive(Clone, Debug)]
pub struct Slot<V> {
    /// Not to be changed in place: change index, expiry order and digests depend on it.
    pub(super) entry: Entry,
    pub(super) seq: u64,
    pub(super) kh: u64,
    /// Low and high half of its hash.
    pub(super) hash: [u64; 2],
    /// A peer has refused it, because it is stamped ahead of the peer's clock.
    pub(super) refused: bool,
    /// When the last version under this key was stamped that others may hold, if this one took its place.
    pub(super) floor: Timestamp,
    /// What the map's user keeps with the entry.
    pub value: V,
}

impl<V> Slot<V> {
    /// The entry.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The sequence of its last change.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Its 128-bit hash, as summed in the root.
    #[must_use]
    pub fn hash(&self) -> u128 {
        whole(self.hash)
    }

    /// The item that stands for it.
    #[must_use]
    pub fn item(&self) -> Item {
        digest::item_of(self.kh, self.entry.ts, self.hash())
    }
}

/// Where the entry in a slot stands.
pub(super) fn standing_of<V>(slot: &Slot<V>, at: u32) -> Standing {
    let item = slot.item();
    Standing {
        item,
        item_hash: item_hash(&item),
        hash: slot.hash(),
        at,
        expiry: expiry_of(&slot.entry, at),
    }
}

/// The same for an entry that is not in the slot yet.
pub(super) fn standing_hashed(entry: &Entry, hashes: &EntryHashes, at: u32) -> Standing {
    let hash = whole(hashes.entry);
    Standing {
        item: digest::item_of(hashes.kh, entry.ts, hash),
        item_hash: hashes.item,
        hash,
        at,
        expiry: expiry_of(entry, at),
    }
}

fn expiry_of(entry: &Entry, at: u32) -> Option<Expiring> {
    (!entry.schema.is_lasting()).then_some(Expiring::new(entry.expires_at, at))
}
