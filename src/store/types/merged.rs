//! A map whose values the application merges itself.
//!
//! A process's part of a key is a whole value of the application's. What is read is all parts merged. A process
//! takes over what earlier processes of its name had written by merging it in.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::by_owner::{OwnedPart, SHOWN_MAX};
use super::changed::ChangedKeys;
use super::forget::ForgetError;
use super::parts::{OwnedParts, PartBounds, PartKey};
use crate::store::any::Store;
use crate::store::setup::{Context, Limits};
use crate::store::typed::MapValue;
use crate::store::write::{WriteError, Written};
use crate::time::Timestamp;

/// How two values of the application's become one.
///
/// It must not matter in which order values are merged, how they are grouped, nor how often: `merge` must be
/// commutative, associative and idempotent, as the greater of two numbers or the union of two sets is. A sum
/// is not. Nothing checks it: test it.
pub trait Merge: MapValue + Clone {
    /// Makes of this value what both make together.
    fn merge(&mut self, other: &Self);
}

/// Values, by key, that are merged by the application's own [`Merge`]. Cheap to clone. Made by
/// [`Builder::merged`](crate::node::Builder::merged).
///
/// What it costs: every change ships this process's whole part of the key, however little of it has
/// changed, and every read merges the parts of all processes that have one. Keep parts small: change your own
/// part as it was ([`update`](Self::update) gives it), and do not put into it what others have written.
pub struct MergedMap<K: PartKey, M: Merge> {
    parts: OwnedParts<K, MergedPart<M>>,
}

/// What one process has written under one key.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct MergedPart<M> {
    value: M,
    /// Which versions of earlier processes' parts are merged in: boot and timestamp.
    taken_over: Vec<(u64, u64)>,
}

impl<M> MergedPart<M> {
    fn check(&self, bounds: PartBounds) -> Result<(), &'static str> {
        if self.taken_over.len() > SHOWN_MAX {
            return Err("a process takes over no more than is read of its name");
        }
        if self.taken_over.iter().any(|it| it.0 >= bounds.boot) {
            return Err("what a process takes over is of processes before it");
        }
        bounds.check_inside(self.taken_over.iter().map(|it| it.0))
    }
}

/// A part as it is held.
type MergedHeld<K, M> = OwnedPart<K, MergedPart<M>>;

impl<K: PartKey, M: Merge> Clone for MergedMap<K, M> {
    fn clone(&self) -> Self {
        Self {
            parts: self.parts.clone(),
        }
    }
}

impl<K: PartKey, M: Merge> fmt::Debug for MergedMap<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.fmt(f)
    }
}

impl<K: PartKey, M: Merge> MergedMap<K, M> {
    /// A map of the node of that name, for a program that runs stores without a node, such as a simulation.
    #[must_use]
    pub fn new(name: &str, node: &str, limits: Limits, context: Context) -> Self {
        Self {
            parts: OwnedParts::new((name, node), limits, context, MergedPart::check),
        }
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.parts.map().store()
    }

    /// The keys whose values change from now on.
    #[must_use]
    pub fn changes(&self) -> ChangedKeys<K> {
        self.parts.changes()
    }

    /// What the parts of all processes make together; `None` if there is none.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<M>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let parts = self.parts.of(key);
        let mut values = parts.iter().map(|part| &part.value.value);
        let mut merged = values.next()?.clone();
        values.for_each(|value| merged.merge(value));
        Some(merged)
    }

    /// The keys that have values, in their order.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        let all = self.parts.all().into_iter();
        all.map(|(key, _)| key).collect()
    }

    /// Changes this process's part of a key, which `change` is given, or `None` if it has none yet. The part
    /// must not become less than it was: what was merged elsewhere cannot be taken back.
    ///
    /// # Errors
    /// [`WriteError`]: `StoreFull`, `TooLarge`, `Unencodable`.
    pub fn update(
        &self,
        key: impl Into<K>,
        change: impl Fn(Option<&M>) -> M,
    ) -> Result<Written, WriteError> {
        let key = key.into();
        let mut before = self.parts.of(&key);
        self.parts.outrank(&before);
        before.retain(|part| self.parts.is_predecessors(part));
        let versions: Vec<_> = before.iter().map(|part| self.version(part)).collect();
        let changed = |own: Option<&MergedPart<M>>| {
            let mut value = change(own.map(|own| &own.value));
            let mut taken_over = own.map_or_else(Vec::new, |own| own.taken_over.clone());
            for (part, version) in before.iter().zip(&versions) {
                value.merge(&part.value.value);
                taken_over.retain(|it| it.0 != version.0);
                taken_over.push(*version);
            }
            // Of parts that have been taken away nothing needs to be known.
            taken_over.retain(|it| versions.iter().any(|version| version.0 == it.0));
            MergedPart { value, taken_over }
        };
        self.parts.write(&key, changed, Timestamp::MAX)
    }

    /// Removes what earlier processes of this node's name left, where this one has taken it over, once all members hold
    /// that; failed ones too, until they are forgotten after `reconnect_timeout`. Returns how many entries were removed.
    /// Every process that changes a key leaves an entry; a node that runs calls this every hour.
    ///
    /// Cancel safe: what is not removed the next call removes.
    ///
    /// # Errors
    /// [`ForgetError`]: not all members are known to hold what takes the place of the rest.
    pub async fn tidy(&self) -> Result<usize, ForgetError> {
        let merged = |own: &MergedHeld<K, M>, part: &MergedHeld<K, M>| {
            let version = self.version(part);
            self.parts.is_predecessors(part) && own.taken_over.contains(&version)
        };
        self.parts.tidy(merged).await
    }

    /// Removes what this node has seen of a key; what is written meanwhile stays, and so does what a process
    /// that has a part writes of it again.
    ///
    /// # Errors
    /// Those of a write; what was removed before stays so.
    pub fn remove<Q>(&self, key: &Q) -> Result<Vec<Written>, WriteError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.parts.remove(key)
    }

    /// The boot of a part's process and the timestamp of its version.
    fn version(&self, part: &OwnedPart<K, MergedPart<M>>) -> (u64, u64) {
        let header = self.parts.map().header(&part.hash());
        let ts = header.map_or(0, |header| header.ts.as_nanos());
        (part.key().2, ts)
    }
}
