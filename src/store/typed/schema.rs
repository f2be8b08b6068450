//! The schema of typed maps: how keys and values of the application become entries.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body;
use crate::id::{Key, SchemaId};
use crate::store::schema::{Body, Index, Schema, Unreadable};
use crate::time::Timestamp;
use crate::wire::codec::decode_counted;

/// What can be a key of a [`TypedMap`](super::TypedMap): plain data that serde reads and writes, such as texts,
/// numbers, tuples, and enums or structs of them.
///
/// Equal keys must be written alike: a `HashSet` is no key, a `BTreeSet` is. `Debug` is how people see keys,
/// in logs and lists. What says of itself how it is to be read (`#[serde(untagged)]`, `#[serde(flatten)]`) is
/// refused when it is written.
pub trait MapKey: Serialize + DeserializeOwned + fmt::Debug + Send + Sync + 'static {}

impl<T> MapKey for T where T: Serialize + DeserializeOwned + fmt::Debug + Send + Sync + 'static {}

/// What can be a value of a [`TypedMap`](super::TypedMap): plain data that serde reads and writes.
///
/// A value that another version of the program cannot read is quarantined there: give a new shape a new
/// number, see [`MapShape`]. The memory that a value takes counts against the store's limits where it is much
/// more than its bytes, as far as it is in texts, sequences and maps. Types that contain themselves (a tree of boxes) are read as deep as a peer writes
/// them, and sequences of nothing (`Vec<()>`) as long as it says: do not use them.
pub trait MapValue: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T> MapValue for T where T: Serialize + DeserializeOwned + Send + Sync + 'static {}

/// A key and its value, as a typed map holds them. It dereferences to the value.
pub struct TypedRecord<K, V> {
    pub(in crate::store) key: K,
    pub(in crate::store) value: V,
    pub(super) hash: Key,
    pub(super) until: Timestamp,
    /// About how much memory the key and the value take on the heap, if they were decoded.
    heap: usize,
}

impl<K, V> TypedRecord<K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The key of its entry: the hash of the key's bytes.
    pub fn hash(&self) -> Key {
        self.hash
    }

    /// From when on it is hidden, if it is.
    pub fn expires_at(&self) -> Option<Timestamp> {
        (self.until < Timestamp::MAX).then_some(self.until)
    }
}

impl<K, V> Deref for TypedRecord<K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for TypedRecord<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.key, self.value)
    }
}

/// Which shape the values of a typed map have, and which older shapes it reads.
///
/// A shape is a number, from 1 to 32767; the default is 1. When the type of the values changes, give the new
/// one a new number, and say how values of the old one are read. Nodes that do not know the new number
/// keep what has it and pass it on, but do not show it: first bring all nodes to a version that reads it.
///
/// ```
/// use rumormill::store::typed::MapShape;
///
/// // Version 1 had only whether it is on; version 2 has for how many percent.
/// let shape = MapShape::<u8>::number(2).reads(1, |on: bool| if on { 100 } else { 0 });
/// # let _ = shape;
/// ```
pub struct MapShape<V> {
    shape: SchemaId,
    older: Vec<(SchemaId, OlderShape<V>)>,
}

type OlderShape<V> = Arc<dyn Fn(&[u8]) -> Option<(V, usize)> + Send + Sync>;

impl<V> Default for MapShape<V> {
    /// Shape 1, and no older one.
    fn default() -> Self {
        Self::number(1)
    }
}

impl<V> Clone for MapShape<V> {
    fn clone(&self) -> Self {
        Self {
            shape: self.shape,
            older: self.older.clone(),
        }
    }
}

impl<V> fmt::Debug for MapShape<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let older: Vec<_> = self.older.iter().map(|(shape, _)| shape).collect();
        f.debug_struct("MapShape")
            .field("shape", &self.shape)
            .field("older", &older)
            .finish()
    }
}

impl<V> MapShape<V> {
    /// The shape that is written.
    ///
    /// # Panics
    /// If it is 0 or over 32767: shapes are constants of the program.
    #[must_use]
    pub fn number(shape: u16) -> Self {
        Self {
            shape: SchemaId::new(shape),
            older: Vec::new(),
        }
    }

    /// Another shape that is read: values of an `Old` become those of today.
    ///
    /// # Panics
    /// If it is 0 or over 32767.
    #[must_use]
    pub fn reads<Old: DeserializeOwned>(
        mut self,
        shape: u16,
        to_now: impl Fn(Old) -> V + Send + Sync + 'static,
    ) -> Self {
        let read = move |bytes: &[u8]| {
            let (old, heap) = decode_counted(bytes).ok()?;
            Some((to_now(old), heap))
        };
        self.older.push((SchemaId::new(shape), Arc::new(read)));
        self
    }
}

/// The schema of a [`TypedMap`](super::TypedMap), with an index that is `()` or
/// [`Ordered`](super::Ordered).
pub struct TypedSchema<K, V, I = ()> {
    name: String,
    shape: MapShape<V>,
    shapes: Vec<SchemaId>,
    of: PhantomData<fn() -> (K, I)>,
}

impl<K, V, I> fmt::Debug for TypedSchema<K, V, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedSchema")
            .field("name", &self.name)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl<K: MapKey, V: MapValue, I> TypedSchema<K, V, I> {
    pub(in crate::store) fn new(name: String, shape: MapShape<V>) -> Self {
        let older = shape.older.iter().map(|(shape, _)| *shape);
        Self {
            name,
            shapes: std::iter::once(shape.shape).chain(older).collect(),
            shape,
            of: PhantomData,
        }
    }

    /// A record and its body; `None` if the key or the value has no encoding.
    pub(in crate::store) fn record(
        &self,
        key: K,
        value: V,
        until: Timestamp,
    ) -> Option<(TypedRecord<K, V>, Body)> {
        let (hash, bytes) = body::write(&key, &value, body::from_until(until)).ok()?;
        let record = TypedRecord {
            key,
            value,
            hash,
            until,
            heap: 0,
        };
        let body = Body {
            schema: self.shape.shape,
            bytes,
        };
        Some((record, body))
    }

    /// The value in its bytes, and how much memory it takes on the heap.
    fn read_value(&self, schema: SchemaId, bytes: &[u8]) -> Option<(V, usize)> {
        if schema == self.shape.shape {
            return decode_counted(bytes).ok();
        }
        let mut older = self.shape.older.iter();
        let (_, read) = older.find(|(shape, _)| *shape == schema)?;
        read(bytes)
    }

    /// The key in the body of a record or of a tombstone, if it is there.
    pub(in crate::store) fn read_key(key: Key, body: &Body) -> Option<K> {
        let bytes = if body.schema.is_tombstone() {
            &body.bytes[..]
        } else {
            body::split(&body.bytes).ok()?.key
        };
        if Key::of(bytes) != key {
            return None;
        }
        body::read_key(bytes).ok().map(|(key, _)| key)
    }
}

impl<K, V, I> Schema for TypedSchema<K, V, I>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    type Record = TypedRecord<K, V>;
    type Index = I;

    fn name(&self) -> &str {
        &self.name
    }

    fn schemas(&self) -> &[SchemaId] {
        &self.shapes
    }

    fn key(&self, record: &TypedRecord<K, V>) -> Key {
        record.hash
    }

    /// What cannot be written becomes a body that cannot be read, so that the write fails.
    fn encode(&self, record: &TypedRecord<K, V>) -> Body {
        let written = body::write(&record.key, &record.value, body::from_until(record.until));
        Body {
            schema: self.shape.shape,
            bytes: written.map(|(_, bytes)| bytes).unwrap_or_default(),
        }
    }

    fn decode(&self, key: Key, body: &Body) -> Result<TypedRecord<K, V>, Unreadable> {
        let schema = body.schema;
        let malformed = Unreadable::Malformed { schema };
        let parts = body::split(&body.bytes).map_err(|_| malformed.clone())?;
        if Key::of(parts.key) != key {
            return Err(Unreadable::WrongKey);
        }
        let natural = body::read_key(parts.key).map_err(|_| malformed.clone())?;
        let (natural, heap_of_key) = natural;
        let read = self.read_value(schema, parts.value);
        let (value, heap) = read.ok_or(malformed)?;
        Ok(TypedRecord {
            key: natural,
            value,
            hash: key,
            until: body::to_until(parts.until),
            heap: heap.saturating_add(heap_of_key),
        })
    }

    /// A few bytes that say how long something is can be as many elements, each of which is read by itself.
    fn work(&self, body: &[u8]) -> Duration {
        let lengths = body.iter().filter(|byte| **byte <= SHORT_LENGTH).count();
        let kibibytes = u32::try_from(body.len() / 1024).unwrap_or(u32::MAX);
        let lengths = u32::try_from(lengths).unwrap_or(u32::MAX);
        (WORK_PER_KIB * kibibytes + WORK_PER_LENGTH * lengths).min(WORK_MAX)
    }

    fn memory(&self, record: &TypedRecord<K, V>) -> usize {
        record.heap
    }

    fn hidden_from(&self, record: &TypedRecord<K, V>) -> Timestamp {
        record.until
    }

    fn tombstone(&self, key: Key, body: &Body) -> Bytes {
        match body::split(&body.bytes) {
            Ok(parts) if Key::of(parts.key) == key => body.bytes.slice_ref(parts.key),
            _ => Bytes::new(),
        }
    }

    fn check_tombstone(&self, key: Key, bytes: &Bytes) -> Result<(), Unreadable> {
        if Key::of(bytes) != key {
            return Err(Unreadable::WrongKey);
        }
        let read = body::read_key::<K>(bytes);
        let schema = SchemaId::TOMBSTONE;
        read.map(drop).map_err(|_| Unreadable::Malformed { schema })
    }

    fn key_text(&self, key: Key, body: &Body) -> Option<String> {
        Self::read_key(key, body).map(|key| format!("{key:?}"))
    }
}

/// A byte that may be the length of something short.
const SHORT_LENGTH: u8 = 8;
/// To read something short: it may have an allocation of its own.
const WORK_PER_LENGTH: Duration = Duration::from_nanos(40);
/// What costs more has a turn to itself all the same: more than that it cannot have.
const WORK_MAX: Duration = Duration::from_millis(2);
/// To read a kibibyte of what is longer.
const WORK_PER_KIB: Duration = Duration::from_micros(2);
