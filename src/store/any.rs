//! What an application may ask of any store, whatever its records.

use std::sync::Arc;

use super::replica::{Replica, Seal};
use super::setup::merged_max;
use crate::id::{SchemaId, StoreId};
use crate::time::Timestamp;

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
    /// Entries held beyond which local writes get `StoreFull`.
    fn entries_max(&self) -> usize;
    /// Whether new keys of peers are refused: it holds twice as many entries as local writes may make.
    fn is_full(&self) -> bool {
        self.len() >= merged_max(self.entries_max())
    }
    /// Frees what is past `expires_at` plus grace, at most 256 entries. Returns when to call it again
    /// (a time not after `wall` if there is more to do now), or `None` if nothing will ever expire. A
    /// running node calls it by itself.
    fn collect(&self, wall: Timestamp) -> Option<Timestamp>;
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
