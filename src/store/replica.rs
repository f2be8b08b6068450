//! What the engine calls of a store: its changes, its merge, its digests and its items.
//!
//! Nothing here is for applications. A [`Store`] gives out its replica side for a [`Seal`] alone, which
//! only this crate makes.

use super::any::Store;
use crate::crdt::estimator::Estimator;
use crate::crdt::sketch::Sketch;
use crate::id::{Key, Refusal};
use crate::time::Timestamp;
use crate::wire::{Entry, Item};

/// What the engine needs of a store beyond [`Store`]. All calls are short: they hold the
/// store's lock for at most 256 entries at a time. Of a schema, only the index is called under the
/// lock, by [`merge_into`](Self::merge_into); decoding and [`is_urgent`](super::Schema::is_urgent) run
/// outside of it.
pub trait Replica: Store {
    /// How many keys have changed after `after`.
    fn backlog(&self, after: u64) -> usize;
    /// The changes after `after`, oldest first, one per key: at most `entries_max` (itself at
    /// most 256), and no more once their encoded length reaches `bytes_max`; always at least one
    /// if there is any.
    fn changes(&self, after: u64, entries_max: usize, bytes_max: usize) -> Vec<Change>;
    /// The current entry of a key, if one is held, also if reads do not show it.
    fn held(&self, key: &Key) -> Option<Change>;
    /// Joins entries in at `wall`, which is now. Appends what became of each to `out`, in order. An
    /// entry that is known allocates nothing but its place in `out`.
    fn merge_into(&self, entries: &[Entry], wall: Timestamp, out: &mut Vec<Merged>);
    /// As [`merge_into`](Self::merge_into), with a list of its own.
    fn merge(&self, entries: &[Entry], wall: Timestamp) -> Vec<Merged> {
        let mut out = Vec::new();
        self.merge_into(entries, wall, &mut out);
        out
    }
    /// The digest above `cut`.
    fn digest(&self, cut: Timestamp) -> Digest;
    /// The digests above `cut`.
    fn digests(&self, cut: Timestamp) -> Digests;
    /// The table above `cut`, folded to at most `4 x 2^exponent` cells. Folding the largest table
    /// reads 786 kB under the lock, about as long as merging 256 entries takes.
    fn sketch(&self, cut: Timestamp, exponent: u8) -> Sketched;
    /// Appends what is held under these hashes of keys to `out`, in their order: at most one entry for
    /// each, unless hashes collide. Holds the lock for 256 hashes at a time.
    fn find(&self, hashes: &[u64], out: &mut Vec<Found>);
    /// Looks at up to 256 slots from `position` on, and appends those entries to `out` that the sweep
    /// takes, until their encoded length reaches `bytes_max`. Returns the position to go on from, or
    /// `None` at the end. Every entry that is held from the first call to the last is met once.
    fn sweep(
        &self,
        position: usize,
        sweep: &Sweep,
        bytes_max: usize,
        out: &mut Vec<Change>,
    ) -> Option<usize>;
    /// Appends the items above `cut` of up to 256 slots from `position` on to `out`, each with its
    /// key and entry hash, not sorted. Returns the position to go on from, or `None` at the end.
    fn items(&self, position: usize, cut: Timestamp, out: &mut Vec<HashedItem>) -> Option<usize>;
}

/// What a [`Store`] asks for before it gives out its replica side.
///
/// It can be neither named nor made outside of this crate, so nobody else can implement [`Store`], whose
/// methods take it, or reach what the engine calls.
///
/// ```compile_fail,E0599
/// fn forge(store: &dyn rumormill::store::Store) {
///     store.merge(&[], rumormill::time::Timestamp::ZERO);
/// }
/// ```
///
/// ```compile_fail,E0624
/// fn reach(store: &dyn rumormill::store::Store) {
///     store.replica();
/// }
/// ```
#[allow(
    unnameable_types,
    reason = "that it cannot be named is what seals `Store`"
)]
#[derive(Clone, Copy, Debug)]
pub struct Seal(());

impl Seal {
    pub(super) const fn new() -> Self {
        Self(())
    }
}

/// A change and its place in the store's local change sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Local to `(process, store)`; starts at 1 and grows by one with every accepted change.
    pub seq: u64,
    /// The key's current entry.
    pub entry: Entry,
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
