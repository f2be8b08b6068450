//! The typed map as the application has it.

use std::borrow::Borrow;
use std::fmt;

use serde::Serialize;

use super::body::hash_of;
use super::changes::MapChanges;
use super::iter::TypedIter;
use super::schema::{MapKey, MapShape, MapValue, TypedRecord, TypedSchema};
use super::value::ValueRef;
use crate::store::map::Map;
use crate::store::read::Quarantined;
use crate::store::schema::Index;
use crate::store::setup::{Context, Limits};
use crate::store::write::{Expiry, WriteError, Written};
use crate::time::Timestamp;

/// Keys and values of the application's own types, the same on every node. Cheap to clone; all clones are one
/// store.
///
/// Of two concurrent writes of a key the later one wins, on every node: values are not merged. All calls look
/// at this node's copy and never wait for the network. Made by
/// [`Builder::map`](crate::node::Builder::map).
///
/// ```
/// # #[cfg(feature = "net")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rumormill::Node;
///
/// let mut builder = Node::builder("a").listen("127.0.0.1:0");
/// let flags = builder.map::<String, bool>("flags");
/// let node = builder.start().await?;
///
/// flags.insert("dark-mode", true)?;
/// assert!(flags.get("dark-mode").is_some_and(|on| *on));
/// flags.remove("dark-mode")?;
/// assert!(flags.is_empty());
/// # node.leave().await?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "net"))]
/// # fn main() {}
/// ```
pub struct TypedMap<K, V, I = ()>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    map: Map<TypedSchema<K, V, I>>,
}

impl<K, V, I> TypedMap<K, V, I>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    /// An empty map, for a program that runs stores without a node, such as a simulation.
    #[must_use]
    pub fn new(name: &str, shape: MapShape<V>, limits: Limits, context: Context) -> Self {
        let schema = TypedSchema::new(name.to_owned(), shape);
        Self {
            map: Map::new(schema, limits, context),
        }
    }

    /// The map beneath, whose keys are hashes: for [snapshots](crate::store::snapshot), limits and the store itself.
    #[must_use]
    pub fn map(&self) -> &Map<TypedSchema<K, V, I>> {
        &self.map
    }

    /// The value of a key, if it is there and has not expired.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<ValueRef<K, V>>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let key = hash_of(key).ok()?;
        self.map.get(&key).map(ValueRef)
    }

    /// Whether [`get`](Self::get) would return a value.
    #[must_use]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.get(key).is_some()
    }

    /// Writes a value that stays until it is removed. It replaces what this node holds under the key.
    ///
    /// # Errors
    /// [`WriteError`]: `StoreFull`, `TooLarge`, `Unencodable`, and `Invalid` if what was written cannot be read
    /// back.
    pub fn insert(&self, key: impl Into<K>, value: V) -> Result<Written, WriteError> {
        self.insert_with(key, value, Expiry::Never)
    }

    /// Writes a value that is hidden at its end, on each node by that node's clock.
    ///
    /// An end may be earlier than that of the value that it replaces. The room that a key takes is given
    /// back at the latest end that it was ever given, and a while after that
    /// ([`Limits::grace`](crate::store::Limits::grace)).
    ///
    /// # Errors
    /// As [`insert`](Self::insert), and `TooLasting`.
    pub fn insert_with(
        &self,
        key: impl Into<K>,
        value: V,
        expiry: Expiry,
    ) -> Result<Written, WriteError> {
        let until = self.end_of(expiry);
        self.write(key.into(), value, until, None)
    }

    /// Changes the value of a key as this node holds it, and nothing else: what another node writes meanwhile
    /// is not seen, and the later of the two writes wins. So this is no way to count across nodes
    /// ([`Counter`](crate::store::types::Counter) is).
    ///
    /// `change` is given the value, or `None` if there is none, and returns the new one; it is called again if
    /// somebody else on this node, or a peer, has written the key since it was read. The end that the value
    /// has stays as it is.
    ///
    /// # Errors
    /// As [`insert`](Self::insert), and `Conflict` if it was outrun a thousand times.
    pub fn update(
        &self,
        key: impl Into<K>,
        mut change: impl FnMut(Option<&V>) -> V,
    ) -> Result<Written, WriteError>
    where
        K: Clone,
    {
        let key = key.into();
        let hash = hash_of(&key).map_err(|_| unencodable::<K>())?;
        for _ in 0..UPDATES_TRIED {
            let (held, seen) = self.map.read(&hash);
            let value = change(held.as_deref().map(|held| &held.value));
            let until = held.map_or(Timestamp::MAX, |held| held.until);
            match self.write(key.clone(), value, until, Some(seen)) {
                Err(WriteError::Conflict) => {}
                done => return done,
            }
        }
        Err(WriteError::Conflict)
    }

    /// Removes a key; `None` if there is nothing to remove. See [`Map::remove`] for what a removal leaves, and
    /// for how long.
    ///
    /// # Errors
    /// None today but those of a write.
    pub fn remove<Q>(&self, key: &Q) -> Result<Option<Written>, WriteError>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        match hash_of(key) {
            Ok(key) => self.map.remove(&key),
            // What cannot be written is not there.
            Err(_) => Ok(None),
        }
    }

    /// All keys and values, in no particular order, read bit by bit: a write that is made meanwhile may or may not
    /// be among them.
    #[must_use]
    pub fn iter(&self) -> TypedIter<K, V, I> {
        TypedIter::new(self.map.clone())
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// What happens to the keys from now on.
    #[must_use]
    pub fn changes(&self) -> MapChanges<K, V, I> {
        MapChanges::new(&self.map)
    }

    /// What happens to the keys that begin with `prefix`, from now on.
    #[must_use]
    pub fn changes_with_prefix(&self, prefix: impl Into<String>) -> MapChanges<K, V, I>
    where
        K: Borrow<str>,
    {
        let prefix = prefix.into();
        self.changes()
            .only(move |key| key.borrow().starts_with(&prefix))
    }

    /// Waits until a key has a value that is `wanted`, and returns it: at once if it has one now. Cancel safe.
    ///
    /// A value that is replaced before this is polled again may be missed. It waits for ever where none comes, also after
    /// the node has stopped: select between this and [`Node::stopped`](crate::Node::stopped), or set a timeout.
    ///
    /// ```
    /// # #[cfg(feature = "net")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use rumormill::Node;
    ///
    /// let mut builder = Node::builder("a").listen("127.0.0.1:0");
    /// let limits = builder.map::<String, u32>("limits");
    /// let node = builder.start().await?;
    ///
    /// limits.insert("requests", 40_u32)?;
    /// let enough = limits.wait_for("requests", |limit| *limit >= 30).await;
    /// assert_eq!(*enough, 40);
    /// # node.leave().await?;
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "net"))]
    /// # fn main() {}
    /// ```
    pub async fn wait_for<Q>(&self, key: &Q, mut wanted: impl FnMut(&V) -> bool) -> ValueRef<K, V>
    where
        K: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        // Made before the look, so that a change after it is not missed.
        let mut changes = self.changes();
        loop {
            if let Some(value) = self.get(key).filter(|value| wanted(value)) {
                return value;
            }
            // Where changes were missed, what is true now is read all the same.
            let _ = changes.next().await;
        }
    }

    /// What is kept but cannot be used here, at most `max` of them.
    #[must_use]
    pub fn quarantined(&self, max: usize) -> Vec<Quarantined> {
        self.map.quarantined(max)
    }

    fn end_of(&self, expiry: Expiry) -> Timestamp {
        match expiry {
            Expiry::After(span) => self.map.context().clock.wall().plus(span).min(LAST),
            // Written down, these two would mean that it has no end.
            Expiry::At(at) => at.max(FIRST).min(LAST),
            Expiry::Never => Timestamp::MAX,
        }
    }

    fn write(
        &self,
        key: K,
        value: V,
        until: Timestamp,
        seen: Option<u64>,
    ) -> Result<Written, WriteError> {
        let expiry = match until {
            Timestamp::MAX => Expiry::Never,
            at => Expiry::At(at),
        };
        let written = self.map.schema().record(key, value, until);
        let (record, body) = written.ok_or_else(unencodable::<(K, V)>)?;
        self.map.put_body(record, body, expiry, 0, seen)
    }
}

impl<K, V, I> Clone for TypedMap<K, V, I>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    fn clone(&self) -> Self {
        Self {
            map: self.map.clone(),
        }
    }
}

impl<K, V, I> fmt::Debug for TypedMap<K, V, I>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedMap")
            .field("map", &self.map)
            .finish_non_exhaustive()
    }
}

impl<K, V, I> IntoIterator for &TypedMap<K, V, I>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    type Item = ValueRef<K, V>;
    type IntoIter = TypedIter<K, V, I>;

    fn into_iter(self) -> TypedIter<K, V, I> {
        self.iter()
    }
}

pub(in crate::store) fn unencodable<T>() -> WriteError {
    WriteError::Unencodable {
        type_name: std::any::type_name::<T>(),
    }
}

/// The earliest and the latest end that is written down.
const FIRST: Timestamp = Timestamp::from_nanos(1);
const LAST: Timestamp = Timestamp::from_nanos(u64::MAX - 1);
/// How often an update is tried that others outrun.
const UPDATES_TRIED: usize = 1_000;
