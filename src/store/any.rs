//! A store, whatever its records: [`Store`] is what an application may ask of it, and [`Replica`] what the
//! engine calls.
//!
//! The two are in one file because each names the other: a store gives out its replica side, which is a
//! store. It does so for a [`Seal`] alone, which only this crate makes.

use std::sync::Arc;
use std::time::Duration;

use super::replica::{Change, Digest, Digests, Found, HashedItem, Merged, Sketched, Sweep};
use super::write::WriteError;
use crate::crdt::map::Judgement;
use crate::id::{Key, SchemaId, StoreId, WriterTag};
use crate::time::Timestamp;
use crate::wire::Entry;

/// A store, whatever its records: what a node or a simulation runs, as [`Map::store`](super::Map::store)
/// returns it.
///
/// It is sealed: only stores of this crate implement it. To replicate records of your own, implement
/// [`Schema`](super::Schema).
///
/// All calls are short: they hold the store's lock for at most 256 entries at a time.
pub trait Store: Send + Sync {
    /// Its number on the wire.
    fn id(&self) -> StoreId;
    /// Its name.
    fn name(&self) -> &str;
    /// The record shapes it reads.
    fn schemas(&self) -> Vec<SchemaId>;
    /// The latest change sequence; 0 when nothing was ever written.
    fn head(&self) -> u64;
    /// How many entries are held, quarantined ones and tombstones included.
    fn len(&self) -> usize;
    /// Whether nothing is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// How many of the entries are tombstones of removed keys.
    fn tombstones(&self) -> usize;
    /// How many of the entries are kept and passed on but cannot be used here.
    fn quarantined(&self) -> usize;
    /// What is held counts as so many bytes, as [`Limits::store_bytes_max`](super::Limits::store_bytes_max) has it.
    fn bytes(&self) -> u64;
    /// Its [`Limits::entries_max`](super::Limits::entries_max).
    fn entries_max(&self) -> usize;
    /// Whether this node can write a new key.
    fn has_room(&self) -> bool;
    /// Whether new keys of some peer may be refused: the store is full, or somebody's share of it.
    fn is_full(&self) -> bool;
    /// Frees what is past `expires_at` plus grace, at most 256 entries. Returns when to call it again
    /// (a time not after `wall` if there is more to do now), or `None` if nothing will ever expire. A
    /// running node calls it by itself.
    fn collect(&self, wall: Timestamp) -> Option<Timestamp>;
    /// The key of an entry that is held, as people read it; `None` if the store's keys tell nothing or the key is
    /// not held. See [`Schema::key_text`](super::Schema::key_text).
    fn key_text(&self, key: &Key) -> Option<String> {
        let _ = key;
        None
    }
    /// Removes everything that `writer` says it wrote, also what cannot be used here: leaves tombstones, as
    /// removing key by key does, which all nodes take over. Looks at 256 entries from `position` on, and
    /// returns how many were removed and the position to go on from, `None` at the end.
    ///
    /// What a value of the writer's replaced does not come back. What the writer writes afterwards is not
    /// removed.
    ///
    /// # Errors
    /// Those of a write; what was removed before stays removed.
    fn purge(
        &self,
        writer: WriterTag,
        position: usize,
    ) -> Result<(usize, Option<usize>), WriteError>;
    /// Calls `hook` after every accepted change, local or merged, outside the lock. It must be
    /// cheap and must not call back. Hooks add up.
    fn on_change(&self, hook: Arc<dyn Fn() + Send + Sync>);
    /// What it is to the engine. Only this crate has a seal to call it with.
    #[doc(hidden)]
    fn as_replica(&self, seal: Seal) -> &dyn Replica;
    /// As [`as_replica`](Self::as_replica), to be kept.
    #[doc(hidden)]
    fn into_replica(self: Arc<Self>, seal: Seal) -> Arc<dyn Replica>;
}

/// What the engine needs of a store beyond [`Store`]. All calls are short: they hold the
/// store's lock for at most 256 entries at a time. Of a schema, only the index is called under the
/// lock, by [`merge_into`](Self::merge_into); decoding and [`is_urgent`](super::Schema::is_urgent) run
/// outside of it.
pub trait Replica: Store {
    /// When [`collect`](Store::collect) should be called because of what was written since the last call; the
    /// last instant is never. Costs one look at memory.
    fn due(&self) -> Timestamp {
        Timestamp::MAX
    }
    /// How many keys have changed after `after`.
    fn backlog(&self, after: u64) -> usize;
    /// The changes after `after`, oldest first, one per key: at most `entries_max` (itself at
    /// most 256), and no more once their encoded length reaches `bytes_max`; always at least one
    /// if there is any.
    fn changes(&self, after: u64, entries_max: usize, bytes_max: usize) -> Vec<Change>;
    /// A peer has refused the entry that the change `seq` brought, because it is stamped ahead of the peer's
    /// clock.
    fn refused_as_ahead(&self, key: &Key, seq: u64) {
        let _ = (key, seq);
    }
    /// Another peer has taken it.
    fn taken_all_the_same(&self, key: &Key, seq: u64) {
        let _ = (key, seq);
    }
    /// The current entry of a key, if one is held, also if reads do not show it.
    fn held(&self, key: &Key) -> Option<Change>;
    /// As [`changes`](Self::changes), for one who passes them to nobody: no peer has them because of that.
    fn peek_changes(&self, after: u64, entries_max: usize, bytes_max: usize) -> Vec<Change> {
        self.changes(after, entries_max, bytes_max)
    }
    /// As [`held`](Self::held), for one who passes it to nobody.
    fn peek(&self, key: &Key) -> Option<Change> {
        self.held(key)
    }
    /// Peers may have what changed up to `seq`: it was read from the disk of an earlier process, which may have sent
    /// it.
    fn given(&self, seq: u64) {
        let _ = seq;
    }
    /// Joins entries in that `from` delivers, at `wall`, which is now. Appends what became of each to `out`, in order. An
    /// entry that is known allocates nothing but its place in `out`.
    fn merge_into(
        &self,
        entries: &[Entry],
        from: WriterTag,
        wall: Timestamp,
        out: &mut Vec<Merged>,
    );
    /// What merging an entry that `from` delivers would do at `wall`, for itself: what does not fit in together with
    /// others is not seen.
    fn judge(&self, entry: &Entry, from: WriterTag, wall: Timestamp) -> Judgement;
    /// How long tombstones of entries without expiry are kept.
    fn tombstone_ttl(&self) -> Duration;
    /// How far ahead of the clock an entry may be stamped.
    fn max_clock_drift(&self) -> Duration;
    /// Whether what was removed after `taken` may be forgotten at `wall`: that is longer ago than tombstones are kept,
    /// or so far ahead of the clock that nobody knows how long ago it is.
    fn may_have_forgotten(&self, taken: Timestamp, wall: Timestamp) -> bool {
        wall.since(taken) > self.tombstone_ttl() || taken > wall.plus(self.max_clock_drift())
    }
    /// The work of merging an entry, in nominal time, as its bytes show it: about what it takes on a slow
    /// machine. Looks at the bytes once at most.
    fn work(&self, entry: &Entry) -> Duration;
    /// As [`merge_into`](Self::merge_into), with a list of its own, delivered by nobody in particular.
    fn merge(&self, entries: &[Entry], wall: Timestamp) -> Vec<Merged> {
        let mut out = Vec::new();
        self.merge_into(entries, WriterTag::NONE, wall, &mut out);
        out
    }
    /// The digest above `cut`.
    fn digest(&self, cut: Timestamp) -> Digest;
    /// The digests above `cut`.
    fn digests(&self, cut: Timestamp) -> Digests;
    /// The low half of the sum of hashes above `cut` and up to the timestamp `at`, at `wall`, which is now:
    /// a cut in passing, which moves nothing. `None` if it cannot be told: `cut` is a multiple of 30 s, and
    /// no further from the clock than the next one; `at` lies within the last few seconds, and fewer than
    /// 4,096 changes back. The first call for a store, and one after many entries have expired, may return
    /// `None` and be further the next time.
    fn root_at(&self, cut: Timestamp, at: Timestamp, wall: Timestamp) -> Option<u64>;
    /// The table above `cut`, folded to at most `4 x 2^exponent` cells. Folding the largest table
    /// reads 524 kB under the lock, about as long as merging 256 entries takes.
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
    const fn new() -> Self {
        Self(())
    }
}

impl dyn Store + '_ {
    /// What the store is to the engine.
    pub(crate) fn replica(&self) -> &dyn Replica {
        self.as_replica(Seal::new())
    }
}

impl dyn Store {
    /// What the store is to the engine, to be kept: calls to it cost no conversion.
    pub(crate) fn shared_replica(self: Arc<Self>) -> Arc<dyn Replica> {
        self.into_replica(Seal::new())
    }
}
