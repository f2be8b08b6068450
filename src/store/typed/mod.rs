//! Typed maps: keys and values of the application, the same on every node.
//!
//! A [`TypedMap`] is a [`Map`](crate::store::Map) of key and value, so it has everything that a map has: quarantine, limits,
//! [snapshots](crate::store::snapshot). What is promised of concurrent writes is the same too: of two, the later one wins,
//! whole. Where that is not wanted, see [`types`](crate::store::types).

mod body;
mod changes;
mod iter;
mod map;
mod ordered;
mod schema;
mod value;

pub(in crate::store) use body::hash_of;
pub use changes::{Lagged, MapChange, MapChanges};
pub use iter::TypedIter;
pub use map::TypedMap;
pub(in crate::store) use map::unencodable;
pub use ordered::{Ordered, OrderedMap};
pub use schema::{MapKey, MapShape, MapValue, TypedRecord, TypedSchema};
pub use value::ValueRef;

#[cfg(test)]
mod tests;
