//! Going over a typed map, without holding it up.

use std::sync::Arc;
use std::vec;

use super::schema::{MapKey, MapValue, TypedRecord, TypedSchema};
use super::value::ValueRef;
use crate::store::map::Map;
use crate::store::schema::Index;

/// The keys and values of a [`TypedMap`](super::TypedMap), in no particular order. The store is looked at for a
/// few hundred of them at a time.
pub struct TypedIter<K, V, I = ()>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    map: Map<TypedSchema<K, V, I>>,
    /// Where to go on; `None` at the end.
    position: Option<usize>,
    read: vec::IntoIter<Arc<TypedRecord<K, V>>>,
}

impl<K, V, I> TypedIter<K, V, I>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    pub(super) fn new(map: Map<TypedSchema<K, V, I>>) -> Self {
        Self {
            map,
            position: Some(0),
            read: Vec::new().into_iter(),
        }
    }
}

impl<K, V, I> Iterator for TypedIter<K, V, I>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    type Item = ValueRef<K, V>;

    fn next(&mut self) -> Option<ValueRef<K, V>> {
        loop {
            if let Some(record) = self.read.next() {
                return Some(ValueRef(record));
            }
            let (records, next) = self.map.run(self.position?);
            self.read = records.into_iter();
            self.position = next;
        }
    }
}
