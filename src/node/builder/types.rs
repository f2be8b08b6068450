//! Typed maps, the built-in types and presence: how a node is given them.

use std::sync::Arc;

use super::Builder;
use crate::node::presence::Presence;
use crate::store::typed::{MapKey, MapShape, MapValue, OrderedMap, TypedMap};
use crate::store::types::{
    AddWinsSet, Counter, Flag, Merge, MergedMap, MultiRegister, PartKey, PresenceStore,
};

/// Stores of the application's own types. Each has a name, which is the same on every node and
/// unlike those of the node's other stores; both are checked at the start.
impl Builder {
    /// Makes a map of keys and values of the application's own types; of two concurrent writes of a key the
    /// later one wins.
    pub fn map<K: MapKey, V: MapValue>(&mut self, name: &str) -> TypedMap<K, V> {
        self.map_shaped(name, MapShape::default())
    }

    /// As [`map`](Self::map), where the type of the values has changed since an earlier version of the program.
    pub fn map_shaped<K: MapKey, V: MapValue>(
        &mut self,
        name: &str,
        shape: MapShape<V>,
    ) -> TypedMap<K, V> {
        let map = TypedMap::new(name, shape, self.limits(), self.context());
        self.add(map.map().store());
        map
    }

    /// As [`map`](Self::map), with an index of the keys in their order, for ranges and prefixes.
    pub fn ordered_map<K, V>(&mut self, name: &str) -> OrderedMap<K, V>
    where
        K: MapKey + Ord + Clone,
        V: MapValue,
    {
        let map = OrderedMap::new(name, MapShape::default(), self.limits(), self.context());
        self.add(map.map().store());
        map
    }

    /// Makes counts, by key, to which all nodes add at once.
    pub fn counter<K: PartKey>(&mut self, name: &str) -> Counter<K> {
        let counter = Counter::new(name, &self.name, self.limits(), self.context());
        self.add(counter.store());
        self.tidies
            .add(&counter, |it| async move { it.tidy().await });
        counter
    }

    /// Makes a set in which an addition wins over a removal that had not seen it.
    pub fn set<E: PartKey>(&mut self, name: &str) -> AddWinsSet<E> {
        let set = AddWinsSet::new(name, &self.name, self.limits(), self.context());
        self.add(set.store());
        self.tidies.add(&set, |it| async move { it.tidy().await });
        set
    }

    /// Makes a flag; on wins over an off that had not seen it.
    pub fn flag(&mut self, name: &str) -> Flag {
        let flag = Flag::new(name, &self.name, self.limits(), self.context());
        self.add(flag.store());
        self.tidies.add(&flag, |it| async move { it.tidy().await });
        flag
    }

    /// Makes registers, by key, that keep concurrent writes side by side.
    pub fn register<K: PartKey, V: MapValue + Clone>(&mut self, name: &str) -> MultiRegister<K, V> {
        let register = MultiRegister::new(name, &self.name, self.limits(), self.context());
        self.add(register.store());
        self.tidies
            .add(&register, |it| async move { it.tidy().await });
        register
    }

    /// Makes values, by key, that are merged as the application says.
    pub fn merged<K: PartKey, M: Merge>(&mut self, name: &str) -> MergedMap<K, M> {
        let map = MergedMap::new(name, &self.name, self.limits(), self.context());
        self.add(map.store());
        self.tidies.add(&map, |it| async move { it.tidy().await });
        map
    }

    /// Makes entries that are there as long as the process that wrote them is a member.
    pub fn presence<K: PartKey, V: MapValue + Clone>(&mut self, name: &str) -> Presence<K, V> {
        let store = PresenceStore::new(name, &self.name, self.limits(), self.context());
        self.add(store.store());
        let presence = Presence::new(Arc::new(store), &self.presences);
        self.presences.add(&presence);
        presence
    }
}
