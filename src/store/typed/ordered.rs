//! An index of a typed map's keys in their order, for ranges and prefixes. Opt-in: it takes memory for every
//! key, and time with every write.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::map::TypedMap;
use super::schema::{MapKey, MapValue, TypedRecord};
use super::value::ValueRef;
use crate::id::Key;
use crate::store::schema::Index;

/// Keys in their order. `Ord` of the keys runs under the store's lock, and must not panic.
pub struct Ordered<K, V>(BTreeMap<K, Arc<TypedRecord<K, V>>>);

/// A typed map whose keys can be read in their order. Made by
/// [`Builder::ordered_map`](crate::node::Builder::ordered_map).
pub type OrderedMap<K, V> = TypedMap<K, V, Ordered<K, V>>;

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K, V> std::fmt::Debug for Ordered<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ordered({} keys)", self.0.len())
    }
}

impl<K, V> Index<TypedRecord<K, V>> for Ordered<K, V>
where
    K: MapKey + Ord + Clone,
    V: MapValue,
{
    fn insert(
        &mut self,
        _: Key,
        _: Option<&Arc<TypedRecord<K, V>>>,
        record: &Arc<TypedRecord<K, V>>,
    ) {
        self.0.insert(record.key.clone(), Arc::clone(record));
    }

    fn remove(&mut self, _: Key, old: &Arc<TypedRecord<K, V>>) {
        self.0.remove(&old.key);
    }
}

impl<K, V> TypedMap<K, V, Ordered<K, V>>
where
    K: MapKey + Ord + Clone,
    V: MapValue,
{
    /// The keys within a range of borrowed ones (`"a".."b"`, `&1..=&9`) and their values, in the order of the keys. The store is looked at for 256 of
    /// them at a time: a write that is made meanwhile may or may not be among them.
    #[must_use]
    pub fn range<'q, Q>(&self, range: impl RangeBounds<&'q Q>) -> Vec<ValueRef<K, V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized + 'q,
    {
        let start = range.start_bound().map(|start| *start);
        self.read_while(start, |key: &Q| match range.end_bound() {
            Bound::Included(end) => key <= *end,
            Bound::Excluded(end) => key < *end,
            Bound::Unbounded => true,
        })
    }

    /// The keys that begin with `prefix` and their values, in the order of the keys; otherwise as
    /// [`range`](Self::range).
    #[must_use]
    pub fn prefix(&self, prefix: &str) -> Vec<ValueRef<K, V>>
    where
        K: Borrow<str>,
    {
        self.read_while(Bound::Included(prefix), |key: &str| key.starts_with(prefix))
    }

    /// What comes from `start` on, up to the first key that `belongs` does not hold of.
    fn read_while<Q>(&self, start: Bound<&Q>, belongs: impl Fn(&Q) -> bool) -> Vec<ValueRef<K, V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let now = self.map().context().clock.wall();
        let mut out: Vec<ValueRef<K, V>> = Vec::new();
        let mut last: Option<K> = None;
        loop {
            let from = match &last {
                Some(last) => Bound::Excluded(last.borrow()),
                None => start,
            };
            let read: Vec<_> = self.map().with_index(|index| {
                let found = index.0.range::<Q, _>((from, Bound::Unbounded));
                let found = found.take_while(|(key, _)| belongs((*key).borrow()));
                found
                    .take(READ_AT_ONCE)
                    .map(|it| Arc::clone(it.1))
                    .collect()
            });
            let is_last = read.len() < READ_AT_ONCE;
            last = read.last().map(|record| record.key.clone());
            let shown = read.into_iter().filter(|record| record.until > now);
            out.extend(shown.map(ValueRef));
            if is_last {
                return out;
            }
        }
    }
}

/// Keys that are read in one hold of the store's lock.
const READ_AT_ONCE: usize = 256;
