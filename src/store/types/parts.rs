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
//! wrote is quarantined. So is one that speaks of boots or numbers far ahead of its timestamp ([`PartBounds`]): a later one
//! could not follow them.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::by_owner::{KeyParts, OwnedKey, OwnedPart};
use super::changed::ChangedKeys;
use super::forget::{ForgetError, held_by_all};
use crate::id::{BOOT_AHEAD_MAX, Key, NodeName, SchemaId, WriterTag};
use crate::store::map::Map;
use crate::store::schema::{Body, Index, Schema, Unreadable};
use crate::store::setup::{Context, Limits};
use crate::store::typed::{Lagged, MapKey, MapShape, MapValue, TypedSchema, unencodable};
use crate::store::write::{Expiry, WriteError, Written};
use crate::time::Timestamp;

/// What can be a key of the built-in types: a [`MapKey`] with an order, which runs under the store's lock.
pub trait PartKey: MapKey + Ord + Clone {}

impl<K: MapKey + Ord + Clone> PartKey for K {}

/// A key and all of its parts.
pub(super) type PartsOfKey<K, P> = (K, Vec<Arc<OwnedPart<K, P>>>);

/// Which process writes.
#[derive(Clone, Debug)]
struct Owner {
    name: String,
    /// Greater than that of every process before it under its name, as far as is known.
    boot: Arc<AtomicU64>,
}

/// What a part may say of processes, by the timestamp of its entry. A part of another process that says more is
/// quarantined, because nothing that a process writes would ever be later than that.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartBounds {
    /// The boot of the process whose part it is: what its predecessors were is before that.
    pub(super) boot: u64,
    /// The latest boot that it may speak of inside.
    latest: u64,
}

impl PartBounds {
    /// Whether a part may have these boots inside, or numbers, which no process has more of than nanoseconds.
    pub(super) fn check_inside(
        self,
        boots: impl IntoIterator<Item = u64>,
    ) -> Result<(), &'static str> {
        if boots.into_iter().any(|boot| boot > self.latest) {
            return Err(SPEAKS_OF_THE_FUTURE);
        }
        Ok(())
    }
}

/// Whether a part may be what it is.
pub(super) type PartRule<P> = fn(&P, PartBounds) -> Result<(), &'static str>;

/// Typed records whose key names their owner, who alone may write them.
pub(in crate::store) struct PartSchema<K, P> {
    typed: TypedSchema<OwnedKey<K>, P>,
    rule: PartRule<P>,
}

/// All parts by key.
pub(in crate::store) struct PartIndex<K, P>(BTreeMap<K, KeyParts<K, P>>);

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
    pub(super) fn new(
        (name, node): (&str, &str),
        limits: Limits,
        context: Context,
        rule: PartRule<P>,
    ) -> Self {
        let typed = TypedSchema::new(name.to_owned(), MapShape::default());
        let schema = PartSchema { typed, rule };
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
        // It counts writes, so it does not come to its end.
        self.numbered.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The last number that a write of this process has.
    pub(super) fn numbered(&self) -> u64 {
        self.numbered.load(Ordering::Relaxed)
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
    ///
    /// A boot from the far future is not followed: it is of a process whose clock was wrong, or of none. If this process
    /// has such a boot itself, it takes that of now.
    pub(super) fn outrank(&self, parts: &[Arc<OwnedPart<K, P>>]) {
        let (now, boot) = (self.now(), &self.owner.boot);
        let most = now.plus(BOOT_AHEAD_MAX).as_nanos();
        let set_back = |boot| (boot > most).then_some(now.as_nanos());
        // Nothing to do is no error.
        let _ = boot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, set_back);
        let sane = now.plus(self.map.limits().max_clock_drift);
        let is_ahead = |part: &Arc<OwnedPart<K, P>>| {
            let header = self.map.header(&part.hash());
            header.is_some_and(|header| header.ts > sane)
        };
        if parts.iter().any(|part| self.is_own(part) && is_ahead(part)) {
            self.follow_boot(self.boot());
        }
        let settled = self.settled();
        let of_name = parts.iter().filter(|part| self.is_of_name(part));
        let boots = of_name.map(|part| part.key().2);
        if let Some(latest) = boots.filter(|&boot| boot <= settled).max()
            && latest > self.boot()
        {
            self.follow_boot(latest);
        }
    }

    /// Takes a boot later than this, unless it has one. Another process that follows the same boot takes another
    /// one.
    pub(super) fn follow_boot(&self, latest: u64) {
        let apart = 1 + self.now().as_nanos() % FOLLOWED_APART;
        // What is read from others is never so late that there would be none.
        if let Some(next) = latest.checked_add(apart)
            && latest >= self.boot()
        {
            self.owner.boot.fetch_max(next, Ordering::Relaxed);
        }
    }

    /// The latest boot that others let a part speak of, by this node's clock.
    pub(super) fn settled(&self) -> u64 {
        self.now().plus(BOOT_INSIDE_AHEAD_MAX).as_nanos()
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
        let parts = self
            .map
            .with_index(|index| index.0.get(key).map(KeyParts::shown));
        let mut parts = parts.unwrap_or_default();
        parts.retain(|part| part.expires_at().is_none_or(|at| at > now));
        parts
    }

    /// The parts of a key, also those that are not shown because their names have too many.
    pub(super) fn every<Q>(&self, key: &Q) -> Vec<Arc<OwnedPart<K, P>>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let mut parts: Vec<Arc<OwnedPart<K, P>>> = Vec::new();
        loop {
            let next: Vec<_> = self.map.with_index(|index| {
                let of_key = index.0.get(key);
                let rest = of_key.map(|of_key| of_key.after(parts.last()).cloned());
                rest.into_iter().flatten().take(PARTS_AT_ONCE).collect()
            });
            let is_last = next.len() < PARTS_AT_ONCE;
            parts.extend(next);
            if is_last {
                return parts;
            }
        }
    }

    /// The keys that have parts, each with its parts, in the order of keys.
    pub(super) fn all(&self) -> Vec<PartsOfKey<K, P>> {
        let now = self.now();
        let mut out: Vec<PartsOfKey<K, P>> = Vec::new();
        let mut last: Option<K> = None;
        loop {
            let (read, is_last) = self.map.with_index(|index| {
                let rest = match &last {
                    Some(last) => index.0.range((Bound::Excluded(last), Bound::Unbounded)),
                    None => index.0.range::<K, _>(..),
                };
                let (mut read, mut count) = (Vec::new(), 0);
                for (key, parts) in rest {
                    if read.len() >= KEYS_AT_ONCE || count >= PARTS_AT_ONCE {
                        return (read, false);
                    }
                    let parts = parts.shown();
                    count += parts.len();
                    read.push((key.clone(), parts));
                }
                (read, true)
            });
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
        let schema = self.map.schema();
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
            let record = schema.typed.record(owned.clone(), part, until);
            let (record, body) = record.ok_or_else(unencodable::<(K, P)>)?;
            // Others would not use it; it gets no earlier timestamp than this.
            let checked = schema.check_ts(&record, self.now());
            checked.map_err(|why| WriteError::Invalid { why })?;
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
        for (key, parts) in self.all() {
            let Some(own) = parts.into_iter().find(|part| self.is_own(part)) else {
                continue;
            };
            let mut parts = self.every(&key);
            parts.retain(|part| !self.is_own(part) && stands_for(&own, part));
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
        let parts = self.every(key);
        let taken = parts.iter().map(|part| self.take_away(part));
        taken.filter_map(Result::transpose).collect()
    }

    /// Whether a part is of this node's name.
    pub(super) fn is_of_name(&self, part: &OwnedPart<K, P>) -> bool {
        part.key().1 == self.owner.name
    }

    /// Whether a part is of an earlier process of this node's name, that others let this one speak of.
    pub(super) fn is_predecessors(&self, part: &OwnedPart<K, P>) -> bool {
        let boot = part.key().2;
        self.is_of_name(part) && boot < self.boot() && boot <= self.settled()
    }

    /// Whether a part is this process's own.
    pub(super) fn is_own(&self, part: &OwnedPart<K, P>) -> bool {
        self.is_of_name(part) && part.key().2 == self.boot()
    }
}

impl<K: PartKey, P: MapValue> Schema for PartSchema<K, P> {
    type Record = OwnedPart<K, P>;
    type Index = PartIndex<K, P>;

    fn name(&self) -> &str {
        self.typed.name()
    }

    fn schemas(&self) -> &[SchemaId] {
        self.typed.schemas()
    }

    fn key(&self, record: &OwnedPart<K, P>) -> Key {
        self.typed.key(record)
    }

    fn encode(&self, record: &OwnedPart<K, P>) -> Body {
        self.typed.encode(record)
    }

    fn decode(&self, key: Key, body: &Body) -> Result<OwnedPart<K, P>, Unreadable> {
        self.typed.decode(key, body)
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

    fn check_ts(&self, record: &OwnedPart<K, P>, ts: Timestamp) -> Result<(), Unreadable> {
        let boot = record.key().2;
        let bounds = PartBounds {
            boot,
            latest: ts.plus(BOOT_INSIDE_AHEAD_MAX).as_nanos(),
        };
        let checked = if boot > ts.plus(BOOT_AHEAD_MAX).as_nanos() {
            Err(SPEAKS_OF_THE_FUTURE)
        } else {
            (self.rule)(&record.value, bounds)
        };
        checked.map_err(|rule| Unreadable::Invalid { rule })
    }

    fn hidden_from(&self, record: &OwnedPart<K, P>) -> Timestamp {
        self.typed.hidden_from(record)
    }

    fn tombstone(&self, key: Key, body: &Body) -> Bytes {
        self.typed.tombstone(key, body)
    }

    fn check_tombstone(&self, key: Key, bytes: &Bytes) -> Result<(), Unreadable> {
        self.typed.check_tombstone(key, bytes)
    }

    fn key_text(&self, key: Key, body: &Body) -> Option<String> {
        self.typed.key_text(key, body)
    }

    fn work(&self, body: &[u8]) -> Duration {
        self.typed.work(body)
    }

    fn memory(&self, record: &OwnedPart<K, P>) -> usize {
        self.typed.memory(record)
    }
}

impl<K, P> Default for PartIndex<K, P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: PartKey, P: MapValue> Index<OwnedPart<K, P>> for PartIndex<K, P> {
    fn insert(&mut self, _: Key, _: Option<&Arc<OwnedPart<K, P>>>, record: &Arc<OwnedPart<K, P>>) {
        let parts = self.0.entry(record.key().0.clone()).or_default();
        // A later version has the place of the one before it.
        parts.insert(record);
    }

    fn remove(&mut self, _: Key, old: &Arc<OwnedPart<K, P>>) {
        let key = &old.key().0;
        if let Some(parts) = self.0.get_mut(key) {
            parts.remove(old);
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
/// Keys that are read in one hold of the store's lock, unless they have more parts than the next.
const KEYS_AT_ONCE: usize = 256;
const PARTS_AT_ONCE: usize = 1024;
/// How far ahead of its entry's timestamp boots inside a part may be: half as far as the part's own. So a process that has
/// to take one after them still writes what others use, whatever the clocks.
const BOOT_INSIDE_AHEAD_MAX: Duration = Duration::from_secs(BOOT_AHEAD_MAX.as_secs() / 2);
/// The boots of two processes that follow one lie this far apart at most, in nanoseconds.
const FOLLOWED_APART: u64 = 1 << 20;
const SPEAKS_OF_THE_FUTURE: &str = "a part speaks of processes of the far future";
pub(super) const NO_NAME: &str = "a part speaks of a node that cannot be";
const NOT_ITS_OWN: &str = "a process writes under its own name alone";
