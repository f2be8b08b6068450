//! Entries that are there as long as the process that wrote them is a member: the store side. Which processes
//! are members is the caller's to say.
//!
//! An entry is of a process, by its name and its boot as members know it. It is shown if that process is
//! a member at the reader; nobody removes it for its owner. It expires after [`LIFETIME`], and its owner writes it
//! again at half of that, and when it gets another boot.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::parts::{Part, PartKey, Parts};
use crate::store::any::Store;
use crate::store::setup::{Context, Limits};
use crate::store::typed::MapValue;
use crate::store::write::{WriteError, Written};

/// What the processes of a cluster say of themselves.
pub(crate) struct PresenceStore<K: PartKey, V: MapValue + Clone> {
    parts: Parts<K, V>,
    /// What this process says, whether or not it has a boot to say it under.
    own: Mutex<BTreeMap<K, V>>,
}

/// What a process says of itself, as it was when it was read. It dereferences to the value.
pub struct Present<K, V>(Arc<Part<K, V>>);

impl<K, V> Present<K, V> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.0.key().0
    }

    /// The name of the node that says it.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.0.key().1
    }

    /// Which of the node's processes.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.0.key().2
    }

    /// Whether it is this very version of what is said.
    #[cfg(feature = "net")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<K, V> Deref for Present<K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0
    }
}

impl<K, V> Clone for Present<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Present<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, node, value): (_, _, &V) = (self.key(), self.node(), self);
        write!(f, "{key:?} of {node}: {value:?}")
    }
}

impl<K: PartKey, V: MapValue + Clone> PresenceStore<K, V> {
    /// An empty store of that name, of the node of the other.
    pub(crate) fn new(name: &str, node: &str, limits: Limits, context: Context) -> Self {
        Self {
            parts: Parts::new(name, node, limits, context),
            own: Mutex::default(),
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        self.parts.map().store()
    }

    fn own(&self) -> MutexGuard<'_, BTreeMap<K, V>> {
        let own = self.own.lock();
        own.unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something of this process, under this boot if it has one by now.
    ///
    /// # Errors
    /// Those of a write; nothing is said then.
    pub(crate) fn insert(
        &self,
        key: K,
        value: V,
        boot: Option<u64>,
    ) -> Result<Option<Written>, WriteError> {
        let written = boot
            .map(|boot| self.write(&key, &value, boot))
            .transpose()?;
        self.own().insert(key, value);
        Ok(written)
    }

    /// Says something no more.
    ///
    /// # Errors
    /// Those of a write.
    pub(crate) fn remove<Q>(
        &self,
        key: &Q,
        boot: Option<u64>,
    ) -> Result<Option<Written>, WriteError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.own().remove(key);
        let Some(boot) = boot else {
            return Ok(None);
        };
        let name = &self.parts.owner().name;
        let mut parts = self.parts.of(key).into_iter();
        let own = parts.find(|part| (&part.key().1, part.key().2) == (name, boot));
        match own {
            Some(own) => self.parts.take_away(&own),
            None => Ok(None),
        }
    }

    /// Writes again all that this process says of itself, under this boot.
    ///
    /// # Errors
    /// The first of those of the writes. All were tried.
    pub(crate) fn renew(&self, boot: u64) -> Result<(), WriteError> {
        let own = self.own().clone();
        let mut result = Ok(());
        for (key, value) in &own {
            let written = self.write(key, value, boot).map(drop);
            result = result.and(written);
        }
        // What earlier processes of this node have said of themselves nobody shows any more.
        let all = self.parts.all().into_iter().flat_map(|(_, parts)| parts);
        let owner = &self.parts.owner().name;
        let earlier = all.filter(|part| part.key().1 == *owner && part.key().2 < boot);
        for part in earlier {
            let taken = self.parts.take_away(&part).map(drop);
            result = result.and(taken);
        }
        result
    }

    /// The entries of processes that are members, in the order of keys.
    pub(crate) fn present(&self, is_member: impl Fn(&str, u64) -> bool) -> Vec<Present<K, V>> {
        let all = self.parts.all().into_iter().flat_map(|(_, parts)| parts);
        let all = all.map(Present);
        all.filter(|it| is_member(it.node(), it.boot())).collect()
    }

    /// The same of one key.
    pub(crate) fn present_of<Q>(
        &self,
        key: &Q,
        is_member: impl Fn(&str, u64) -> bool,
    ) -> Vec<Present<K, V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let parts = self.parts.of(key).into_iter().map(Present);
        parts.filter(|it| is_member(it.node(), it.boot())).collect()
    }

    fn write(&self, key: &K, value: &V, boot: u64) -> Result<Written, WriteError> {
        let owned = (key.clone(), self.parts.owner().name.clone(), boot);
        let until = self.parts.now().plus(LIFETIME);
        self.parts.write_as(&owned, |_| value.clone(), until)
    }
}

/// How long an entry lives that its owner does not write again.
pub(crate) const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// How often its owner writes it again.
pub(crate) const RENEWED_EVERY: Duration = Duration::from_secs(6 * 3600);
