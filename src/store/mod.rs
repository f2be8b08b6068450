//! Stores: typed records over the replicated map.
//!
//! Who needs what:
//!
//! - The author of a store implements a [`Schema`].
//! - An application reads and writes through a [`TypedMap`](typed::TypedMap) of keys and values of its own,
//!   through the ready [`types`] (counter, set, register, flag), or through the ready stores [`silences`],
//!   [`nflog`] and [`alerts`]. [`Map`] is what lies beneath all of them, and [`Store`] is any of them, whatever
//!   its records.
//! - The node, or the simulator, makes stores with [`Limits`] and a [`Context`], and follows writes as
//!   their [`Tracker`].
//! - The engine calls the store's replica side, which is not for anybody else.
//!
//! Locking: a store has one lock, held for at most 256 entries at a time. No decoding, encoding,
//! validation, regular expression or other code of a schema runs under it, except the index, which
//! is given finished records.

pub mod alertmanager;
pub mod alerts;
pub(crate) mod any;
mod durability;
mod lazy;
mod map;
pub mod matcher;
pub mod nflog;
mod read;
pub(crate) mod replica;
mod schema;
mod setup;
pub mod silences;
pub mod snapshot;
mod tracking;
pub mod typed;
pub mod types;
mod write;

pub use any::Store;
pub use durability::Durability;
pub use map::Map;
pub use map::feed::{Cause, ChangeOrigin};
pub use read::{ChangedRecords, Quarantined};
pub use schema::{Body, Index, Schema, Unreadable};
pub use setup::{Context, Limits};
pub use tracking::{
    Answered, Copies, Held, Progress, ProgressWatch, ReadFromError, ReplicationError, Tracker,
    Watch, WriteId,
};
pub use write::{Expiry, StoreLimit, WriteError, Written};

// For the engine, the simulator and their tests.
pub(crate) use any::Replica;
#[cfg(test)]
pub(crate) use replica::Digest;
pub(crate) use replica::{Change, Digests, Found, HashedItem, Merged, Sketched, Sweep};
