//! What the built-in types are made of: each process writes entries of its own alone, and readers put together
//! what all processes have written.
//!
//! A *part* is what one process says under one key: an entry under `(key, name, boot)`. No two processes write
//! the same entry, so the later version of an entry is the one that its process wrote later, and nothing is
//! lost to a concurrent write. The boot is when the process made the type: what an earlier process of the
//! name wrote is another entry, which it may have written later than anybody knows.
//!
//! A part may be taken away by any process, but only the version that it has seen: the tombstone has
//! that version's timestamp and 1 ns, and tie 0 where parts have tie 1. So it loses to whatever the
//! owner writes next, also if the owner does so without having heard of it.
//!
//! The owner is in the key and is checked against the writer in the entry's header: a part that somebody else
//! wrote is quarantined.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::changed::ChangedKeys;
use super::forget::{ForgetError, held_by_all};
use crate::id::{Key, NodeName, SchemaId, WriterTag};
use crate::store::map::Map;
use crate::store::schema::{Body, Index, Schema, Unreadable};
use crate::store::setup::{Context, Limits};
use crate::store::typed::{
    Lagged, MapKey, MapShape, MapValue, TypedRecord, TypedSchema, unencodable,
};
use crate::store::write::{Expiry, WriteError, Written};
use crate::time::Timestamp;

/// What can be a key of the built-in types: a [`MapKey`] with an order, which runs under the store's lock.
pub trait PartKey: MapKey + Ord + Clone {}

impl<K: MapKey + Ord + Clone> PartKey for K {}

/// A key, and the name and boot of the process whose part it is.
pub(super) type OwnedKey<K> = (K, String, u64);

/// A part as it is held.
pub(super) type OwnedPart<K, P> = TypedRecord<OwnedKey<K>, P>;

/// A key and all of its parts.
pub(super) type PartsOfKey<K, P> = (K, Vec<Arc<OwnedPart<K, P>>>);

/// Which process writes.
#[derive(Clone, Debug)]
struct Owner {
    name: String,
    /// Greater than that of every process before it under its name, as far as is known.
    boot: Arc<AtomicU64>,
}

/// Typed records whose key names their owner, who alone may write them.
pub(in crate::store) struct PartSchema<K, P>(TypedSchema<OwnedKey<K>, P>);

/// All parts by key, those of a key in the order of their owners.
pub(in crate::store) struct PartIndex<K, P>(BTreeMap<K, Vec<Arc<OwnedPart<K, P>>>>);

/// The parts of one built-in type.
pub(super) struct OwnedParts<K: PartKey, P: MapValue> {
    map: Map<PartSchema<K, P>>,
    owner: Owner,
    /// The last number that this process has given to a write.
    numbered: Arc<AtomicU64>,
}

impl<K: PartKey, P: MapValue> Clone for OwnedParts<K, P> {
    fn clone(&self) -> Self {
        Self {
            map: self.map.clone(),
            owner: self.owner.clone(),
            numbered: Arc::clone(&self.numbered),
        }
    }
}

impl<K: PartKey, P: MapValue> fmt::Debug for OwnedParts<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedParts")
            .field("map", &self.map)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl<K: PartKey, P: MapValue> OwnedParts<K, P> {
    /// An empty store of that name, for the process that starts now under the node's name.
    pub(super) fn new(name: &str, node: &str, limits: Limits, context: Context) -> Self {
        let schema = PartSchema(TypedSchema::new(name.to_owned(), MapShape::default()));
        let owner = Owner {
            name: node.to_owned(),
            boot: Arc::new(AtomicU64::new(context.clock.wall().as_nanos())),
        };
        Self {
            map: Map::new(schema, limits, context),
            owner,
            numbered: Arc::default(),
        }
    }

    /// A number for a write that no other write of this process has, and no earlier one a greater one: also if
    /// what that wrote has been taken away since.
    pub(super) fn next_number(&self) -> u64 {
        self.numbered
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
    }

    pub(super) fn map(&self) -> &Map<PartSchema<K, P>> {
        &self.map
    }

    /// The name of this process's node.
    pub(super) fn name(&self) -> &str {
        &self.owner.name
    }

    /// Which process of that name this is.
    pub(super) fn boot(&self) -> u64 {
        self.owner.boot.load(Ordering::Relaxed)
    }

    /// Takes a later boot if one of these parts has one under this name, or if what this process wrote is so far ahead
    /// of the clock that it may give way to what others hold: the clock was set back since. What this process has
    /// written before is a predecessor's from then on.
    pub(super) fn outrank(&self, parts: &[Arc<OwnedPart<K, P>>]) {
        let sane = self.now().plus(self.map.limits().max_clock_drift);
        let is_ahead = |part: &Arc<OwnedPart<K, P>>| {
            let header = self.map.header(&part.hash());
            header.is_some_and(|header| header.ts > sane)
        };
        if parts.iter().any(|part| self.is_own(part) && is_ahead(part)) {
            self.owner.boot.fetch_add(1, Ordering::Relaxed);
        }
        let of_name = parts.iter().map(|part| part.key());
        let of_name = of_name.filter(|(_, name, _)| *name == self.owner.name);
        let latest = of_name.map(|(_, _, boot)| *boot).max();
        if let Some(latest) = latest.filter(|&latest| latest > self.boot()) {
            self.follow_boot(latest);
        }
    }

    /// Takes a boot later than this, unless it has one.
    pub(super) fn follow_boot(&self, latest: u64) {
        let next = latest.saturating_add(1);
        self.owner.boot.fetch_max(next, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.map.context().clock.wall()
    }

    /// The parts of a key, of all processes.
    pub(super) fn of<Q>(&self, key: &Q) -> Vec<Arc<OwnedPart<K, P>>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let now = self.now();
        let parts = self.map.with_index(|index| index.0.get(key).cloned());
        let mut parts = parts.unwrap_or_default();
        parts.retain(|part| part.expires_at().is_none_or(|at| at > now));
        parts
    }

    /// The keys that have parts, each with its parts, in the order of keys.
    pub(super) fn all(&self) -> Vec<PartsOfKey<K, P>> {
        let now = self.now();
        let mut out: Vec<PartsOfKey<K, P>> = Vec::new();
        let mut last: Option<K> = None;
        loop {
            let read: Vec<_> = self.map.with_index(|index| {
                let rest = match &last {
                    Some(last) => index.0.range((Bound::Excluded(last), Bound::Unbounded)),
                    None => index.0.range::<K, _>(..),
                };
                let rest = rest.map(|(key, parts)| (key.clone(), parts.clone()));
                rest.take(KEYS_AT_ONCE).collect()
            });
            let is_last = read.len() < KEYS_AT_ONCE;
            last = read.last().map(|(key, _)| key.clone());
            out.extend(read.into_iter().filter_map(|(key, mut parts)| {
                parts.retain(|part| part.expires_at().is_none_or(|at| at > now));
                (!parts.is_empty()).then_some((key, parts))
            }));
            if is_last {
                return out;
            }
        }
    }

    /// The keys whose parts change from now on.
    pub(super) fn changes(&self) -> ChangedKeys<K> {
        let mut reader = self.map.follow();
        ChangedKeys::new(move |context| {
            reader.poll_next(context).map(|next| {
                let event = next.map_err(|missed| Lagged { missed })?;
                if let Some(part) = event.now.as_ref().or(event.before.as_ref()) {
                    return Ok(Some(part.key().0.clone()));
                }
                let read = |body| TypedSchema::<OwnedKey<K>, P>::read_key(event.key, body);
                let owned = event.body.as_ref().and_then(read);
                Ok(owned.map(|(key, _, _)| key))
            })
        })
    }

    /// Writes this process's part of a key, given what it is now.
    ///
    /// # Errors
    /// Those of a write.
    pub(super) fn write(
        &self,
        key: &K,
        part: impl Fn(Option<&P>) -> P,
        until: Timestamp,
    ) -> Result<Written, WriteError> {
        self.try_write(key, |own| Ok(part(own)), until)
    }

    /// As [`write`](Self::write), of a part that there may be none of.
    ///
    /// # Errors
    /// As [`write`](Self::write), and those of `part`.
    pub(super) fn try_write(
        &self,
        key: &K,
        part: impl Fn(Option<&P>) -> Result<P, WriteError>,
        until: Timestamp,
    ) -> Result<Written, WriteError> {
        let written = self.write_as((key, self.boot()), |own| part(own).map(Some), until)?;
        written.ok_or(WriteError::Conflict)
    }

    /// Writes the part of a process of this node's name, the one with that boot; nothing if `part` is `None`.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    pub(super) fn write_as(
        &self,
        (key, boot): (&K, u64),
        part: impl Fn(Option<&P>) -> Result<Option<P>, WriteError>,
        until: Timestamp,
    ) -> Result<Option<Written>, WriteError> {
        let owned = (key.clone(), self.owner.name.clone(), boot);
        let schema = &self.map.schema().0;
        let expiry = match until {
            Timestamp::MAX => Expiry::Never,
            at => Expiry::At(at),
        };
        let hash = crate::store::typed::hash_of(&owned).map_err(|_| unencodable::<K>())?;
        for _ in 0..WRITES_TRIED {
            let (held, seen) = self.map.read(&hash);
            let Some(part) = part(held.as_deref().map(|held| &held.value))? else {
                return Ok(None);
            };
            let record = schema.record(owned.clone(), part, until);
            let (record, body) = record.ok_or_else(unencodable::<(K, P)>)?;
            match self.map.put_body(record, body, expiry, TIE, Some(seen)) {
                Err(WriteError::Conflict) => {}
                done => return done.map(Some),
            }
        }
        Err(WriteError::Conflict)
    }

    /// Takes away the version of a part that is held, if it is the one that was read.
    ///
    /// # Errors
    /// Those of a write.
    pub(super) fn take_away(
        &self,
        part: &Arc<OwnedPart<K, P>>,
    ) -> Result<Option<Written>, WriteError> {
        let hash = part.hash();
        let (held, seen) = self.map.read(&hash);
        if held.is_none_or(|held| !Arc::ptr_eq(&held, part)) {
            return Ok(None);
        }
        self.map.remove_seen(&hash, seen)
    }

    /// Takes away the parts that this process's own part of a key stands for, once all members hold that one. Returns
    /// how many.
    pub(super) async fn tidy(
        &self,
        stands_for: impl Fn(&OwnedPart<K, P>, &OwnedPart<K, P>) -> bool,
    ) -> Result<usize, ForgetError> {
        let mut removed = 0;
        for (_, mut parts) in self.all() {
            let Some(own) = parts.iter().position(|part| self.is_own(part)) else {
                continue;
            };
            let own = parts.swap_remove(own);
            parts.retain(|part| stands_for(&own, part));
            if parts.is_empty() {
                continue;
            }
            let hash = own.hash();
            let (held, seq) = self.map.read(&hash);
            if !held.is_some_and(|held| Arc::ptr_eq(&held, &own)) {
                // It was written meanwhile: the next time.
                continue;
            }
            held_by_all(&self.map.follow_change(hash, seq)).await?;
            for part in &parts {
                removed += usize::from(self.take_away(part)?.is_some());
            }
        }
        Ok(removed)
    }

    /// Takes away all parts of a key that are held here; what is written meanwhile stays.
    ///
    /// # Errors
    /// Those of a write; what was taken away before stays so.
    pub(super) fn remove<Q>(&self, key: &Q) -> Result<Vec<Written>, WriteError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let parts = self.of(key);
        let taken = parts.iter().map(|part| self.take_away(part));
        taken.filter_map(Result::transpose).collect()
    }

    /// Whether a part is of an earlier process of this node's name.
    pub(super) fn is_predecessors(&self, part: &OwnedPart<K, P>) -> bool {
        let (_, name, boot) = part.key();
        *name == self.owner.name && *boot < self.boot()
    }

    /// Whether a part is this process's own.
    pub(super) fn is_own(&self, part: &OwnedPart<K, P>) -> bool {
        let (_, name, boot) = part.key();
        *name == self.owner.name && *boot == self.boot()
    }
}

impl<K: PartKey, P: MapValue> Schema for PartSchema<K, P> {
    type Record = OwnedPart<K, P>;
    type Index = PartIndex<K, P>;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schemas(&self) -> &[SchemaId] {
        self.0.schemas()
    }

    fn key(&self, record: &OwnedPart<K, P>) -> Key {
        self.0.key(record)
    }

    fn encode(&self, record: &OwnedPart<K, P>) -> Body {
        self.0.encode(record)
    }

    fn decode(&self, key: Key, body: &Body) -> Result<OwnedPart<K, P>, Unreadable> {
        self.0.decode(key, body)
    }

    fn gives_way(&self) -> bool {
        false
    }

    fn check_writer(&self, record: &OwnedPart<K, P>, writer: WriterTag) -> Result<(), Unreadable> {
        let (_, name, _) = record.key();
        let owner = NodeName::new(name).map(|name| WriterTag::of(&name));
        if owner == Ok(writer) {
            Ok(())
        } else {
            Err(Unreadable::Invalid { rule: NOT_ITS_OWN })
        }
    }

    fn hidden_from(&self, record: &OwnedPart<K, P>) -> Timestamp {
        self.0.hidden_from(record)
    }

    fn tombstone(&self, key: Key, body: &Body) -> Bytes {
        self.0.tombstone(key, body)
    }

    fn check_tombstone(&self, key: Key, bytes: &Bytes) -> Result<(), Unreadable> {
        self.0.check_tombstone(key, bytes)
    }

    fn key_text(&self, key: Key, body: &Body) -> Option<String> {
        self.0.key_text(key, body)
    }
}

impl<K, P> Default for PartIndex<K, P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: PartKey, P: MapValue> Index<OwnedPart<K, P>> for PartIndex<K, P> {
    fn insert(
        &mut self,
        _: Key,
        old: Option<&Arc<OwnedPart<K, P>>>,
        record: &Arc<OwnedPart<K, P>>,
    ) {
        let parts = self.0.entry(record.key().0.clone()).or_default();
        let before = old.and_then(|old| parts.iter_mut().find(|part| Arc::ptr_eq(part, old)));
        match before {
            Some(before) => *before = Arc::clone(record),
            None => {
                let at = parts.partition_point(|part| part.key() < record.key());
                parts.insert(at, Arc::clone(record));
            }
        }
    }

    fn remove(&mut self, _: Key, old: &Arc<OwnedPart<K, P>>) {
        let key = &old.key().0;
        if let Some(parts) = self.0.get_mut(key) {
            parts.retain(|part| !Arc::ptr_eq(part, old));
            if parts.is_empty() {
                self.0.remove(key);
            }
        }
    }
}

/// The tie of parts: greater than that of a tombstone of the same instant.
const TIE: u64 = 1;
/// How often a write is tried that another thread outruns.
const WRITES_TRIED: usize = 1_000;
/// Keys that are read in one hold of the store's lock.
const KEYS_AT_ONCE: usize = 256;
const NOT_ITS_OWN: &str = "a process writes under its own name alone";
