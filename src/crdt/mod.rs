//! Replication of one map: the [`join()`] of two values of one key, the map of entries by key
//! ([`map::EntryMap`]), and what the map keeps in step with every write: the change index, the expiry
//! order and the digests by which two maps are compared.
//!
//! Everything here works on entries as they are on the wire, and never decodes a body.

mod buckets;
mod changes;
pub mod digest;
pub mod digests;
pub mod estimator;
pub mod expiring;
pub(crate) mod fold;
pub mod hashes;
pub mod horizon;
mod join;
mod keys;
pub mod map;
pub mod narrow;
mod order;
pub mod sketch;

pub use join::{compare_versions, join};
