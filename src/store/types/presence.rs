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

use super::by_owner::OwnedPart;
#[cfg(feature = "net")]
use super::changed::ChangedKeys;
use super::parts::{OwnedParts, PartKey};
use crate::store::any::Store;
use crate::store::setup::{Context, Limits};
use crate::store::typed::MapValue;
use crate::store::write::{WriteError, Written};

/// What the processes of a cluster say of themselves.
pub(crate) struct PresenceStore<K: PartKey, V: MapValue + Clone> {
    parts: OwnedParts<K, V>,
    /// What this process says, whether or not it has a boot to say it under.
    own: Mutex<Sayings<K, V>>,
}

/// What a process says of itself.
struct Sayings<K, V> {
    /// Each with the number of the call that said it.
    by_key: BTreeMap<K, (u64, Arc<V>)>,
    calls: u64,
}

/// What a process says of itself, as it was when it was read. It dereferences to the value.
pub struct Present<K, V>(Arc<OwnedPart<K, V>>);

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
            parts: OwnedParts::new((name, node), limits, context, |_, _| Ok(())),
            own: Mutex::new(Sayings {
                by_key: BTreeMap::new(),
                calls: 0,
            }),
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        self.parts.map().store()
    }

    fn own(&self) -> MutexGuard<'_, Sayings<K, V>> {
        let own = self.own.lock();
        own.unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something of this process, under its boot if it has one by now. That may change meanwhile, so it is
    /// asked for.
    ///
    /// # Errors
    /// Those of a write; what was said before stays.
    pub(crate) fn insert(
        &self,
        key: K,
        value: V,
        boot: impl Fn() -> Option<u64>,
    ) -> Result<Option<Written>, WriteError> {
        // It is noted first: who renews what is said from now on renews this.
        let mut own = self.own();
        own.calls += 1;
        let call = own.calls;
        let before = own.by_key.insert(key.clone(), (call, Arc::new(value)));
        drop(own);
        let written = self.say(&key, boot);
        if written.is_err() {
            let mut own = self.own();
            let is_last = own.by_key.get(&key).is_some_and(|it| it.0 == call);
            let unsaid = match before {
                Some(before) if is_last => own.by_key.insert(key, before),
                None if is_last => own.by_key.remove(&key),
                other => other,
            };
            drop(own);
            drop(unsaid);
        }
        written
    }

    fn say(&self, key: &K, boot: impl Fn() -> Option<u64>) -> Result<Option<Written>, WriteError> {
        let mut written = None;
        for _ in 0..BOOTS_TRIED {
            let Some(under) = boot() else {
                break;
            };
            written = self.write(key, under)?;
            if boot() == Some(under) {
                break;
            }
        }
        Ok(written)
    }

    /// Says something no more.
    ///
    /// # Errors
    /// Those of a write.
    pub(crate) fn remove<Q>(
        &self,
        key: &Q,
        boot: impl Fn() -> Option<u64>,
    ) -> Result<Option<Written>, WriteError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let unsaid = self.own().by_key.remove(key);
        drop(unsaid);
        match boot() {
            Some(boot) => self.take_away(key, boot),
            None => Ok(None),
        }
    }

    /// Takes away what is said under a key and a boot.
    fn take_away<Q>(&self, key: &Q, boot: u64) -> Result<Option<Written>, WriteError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let name = self.parts.name();
        let mut parts = self.parts.of(key).into_iter();
        let own = parts.find(|part| (part.key().1.as_str(), part.key().2) == (name, boot));
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
        let keys: Vec<K> = self.own().by_key.keys().cloned().collect();
        let mut result = Ok(());
        for key in &keys {
            let written = self.write(key, boot).map(drop);
            result = result.and(written);
            // It may have been removed between the look at what is said and the write.
            if !self.own().by_key.contains_key(key) {
                let taken = self.take_away(key, boot).map(drop);
                result = result.and(taken);
            }
        }
        // What earlier processes of this node have said of themselves nobody shows any more.
        let all = self.parts.all().into_iter().flat_map(|(_, parts)| parts);
        let name = self.parts.name();
        let earlier = all.filter(|part| part.key().1 == name && part.key().2 < boot);
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
    #[cfg(feature = "net")]
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

    /// The keys under which something is said, or is said no more, from now on.
    #[cfg(feature = "net")]
    pub(crate) fn changes(&self) -> ChangedKeys<K> {
        self.parts.changes()
    }

    /// The wall clock that the store was made with.
    #[cfg(feature = "net")]
    pub(crate) fn wall(&self) -> crate::time::Timestamp {
        self.parts.now()
    }

    /// Writes what this process says under a key at the moment of the write; nothing if it says nothing.
    fn write(&self, key: &K, boot: u64) -> Result<Option<Written>, WriteError> {
        let until = self.parts.now().plus(LIFETIME);
        let said = |_: Option<&V>| {
            let said = self.own().by_key.get(key).map(|it| Arc::clone(&it.1));
            Ok(said.map(|value| V::clone(&value)))
        };
        self.parts.write_as((key, boot), said, until)
    }
}

/// Boots under which something is said that change while it is.
const BOOTS_TRIED: usize = 8;
/// How long an entry lives that its owner does not write again.
pub(crate) const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// How often its owner writes it again.
#[cfg(feature = "net")]
pub(crate) const RENEWED_EVERY: Duration = Duration::from_secs(6 * 3600);
