//! What the engine and the replica side of a store pass each other. None of it is for applications.

use crate::crdt::estimator::Estimator;
use crate::crdt::sketch::Sketch;
use crate::id::{Key, Refusal, WriterTag};
use crate::time::Timestamp;
use crate::wire::{Entry, Item};

/// A change and its place in the store's local change sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Local to `(process, store)`; starts at 1 and grows by one with every accepted change.
    pub seq: u64,
    /// The key's current entry.
    pub entry: Entry,
    /// Who delivered it first: the process that wrote it here, or the peer that it came from.
    pub deliverer: WriterTag,
}

/// What became of one merged entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// There is nothing new in it: the store holds this version or a later one, or the key is not held
    /// and the entry is so old that it would be collected at once. It is acknowledged all the same.
    Known,
    /// It was not stored.
    Refused(Refusal),
    /// It was stored, as change `seq`.
    Stored {
        /// The change.
        seq: u64,
        /// Whether the key now holds exactly the entry that came. False if the join took something from
        /// what was held before: the result is an entry that no other node holds yet.
        as_sent: bool,
        /// Whether it cannot be used here: it is kept, relayed and listed, but never used.
        quarantined: bool,
    },
}

/// The digest of a store at a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Digest {
    /// Entries that outlive the cut.
    pub count: u64,
    /// Wrapping sum of their 128-bit hashes.
    pub root: u128,
}

/// All digests of a store at a cut, taken at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Count and root.
    pub digest: Digest,
    /// Estimates the size of a difference.
    pub estimator: Estimator,
    /// The size of the table: `4 x 2^exponent` cells.
    pub exponent: u8,
    /// What it cost to move them there: how many runs of up to 256 entries were crossed.
    pub runs: usize,
}

/// A store's root and table at a cut, taken at one moment.
#[derive(Clone, Debug)]
pub struct Sketched {
    /// Count and root.
    pub digest: Digest,
    /// The latest change at that moment.
    pub head: u64,
    /// The table.
    pub table: Sketch,
}

/// Which entries a sweep over a store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Only entries that outlive this instant.
    pub cut: Timestamp,
    /// The instant as of which entries are urgent or not.
    pub wall: Timestamp,
    /// There are two sweeps. The first one (`true`) takes the urgent entries. The second one takes all
    /// others, and what has changed since the first one began.
    pub urgent: bool,
    /// The latest change when the first sweep began.
    pub head: u64,
}

/// An item of a sorted list, with its key and its whole hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashedItem {
    /// What goes on the wire.
    pub item: Item,
    /// The key it stands for.
    pub key: Key,
    /// The entry's 128-bit hash, as summed in the root.
    pub hash: u128,
}

/// An entry found by the hash of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its item, key and hash.
    pub hashed: HashedItem,
    /// Its change.
    pub seq: u64,
}
