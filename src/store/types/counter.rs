//! A counter to which several nodes add at once (a PN counter).
//!
//! A process's part of a key is what it has added and what it has subtracted, which both only grow. What the
//! processes before it under its name had added, it takes over: it writes down how much it saw of each, by its
//! boot. Of one process there may so be several accounts; the greatest is right, since each
//! is what that process had added at some time. The value is the sum over all processes of that.
//!
//! Nobody else takes over what is another name's, unless the application says that the name is to be forgotten; then all
//! members must hold that first. What was taken over stays, and counts once, until [`Counter::tidy`] removes
//! it, and then only the version that was taken over: what that process had added later, without anybody here
//! knowing it, still counts when it is seen.

use std::borrow::Borrow;
use std::sync::Arc;

use super::account::{CounterPart, FORGOTTEN_MAX, Tallies, sum};
use super::by_owner::OwnedPart;
use super::changed::ChangedKeys;
use super::forget::{ForgetError, held_by_all};
use super::parts::{OwnedParts, PartKey};
use crate::id::NodeName;
use crate::store::any::Store;
use crate::store::schema::Unreadable;
use crate::store::setup::{Context, Limits};
use crate::store::write::{WriteError, Written};
use crate::time::Timestamp;

/// Counts, by key, to which all nodes add. Cheap to clone. Made by
/// [`Builder::counter`](crate::node::Builder::counter).
///
/// Every addition that returned counts once on every node that has heard of it. It is lost only with
/// all processes that held it.
///
/// ```
/// # #[cfg(feature = "net")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rumormill::Node;
///
/// let mut builder = Node::builder("a").listen("127.0.0.1:0");
/// let hits = builder.counter::<String>("hits");
/// let node = builder.start().await?;
///
/// hits.add("/index", 3)?;
/// hits.subtract("/index", 1)?;
/// assert_eq!(hits.value("/index"), 2);
/// # node.leave().await?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "net"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct Counter<K: PartKey> {
    parts: OwnedParts<K, CounterPart>,
}

impl<K: PartKey> Counter<K> {
    /// A counter of the node of that name, for a program that runs stores without a node, such as a simulation.
    #[must_use]
    pub fn new(name: &str, node: &str, limits: Limits, context: Context) -> Self {
        Self {
            parts: OwnedParts::new((name, node), limits, context, CounterPart::check),
        }
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.parts.map().store()
    }

    /// The keys whose counts change from now on.
    #[must_use]
    pub fn changes(&self) -> ChangedKeys<K> {
        self.parts.changes()
    }

    /// Adds to the count of a key.
    ///
    /// # Errors
    /// [`WriteError`]: `StoreFull`, `TooLarge`, `Unencodable`; `Invalid` if all additions of this process to the
    /// key would together be more than 2^64 - 1. Nothing was added.
    pub fn add(&self, key: impl Into<K>, amount: u64) -> Result<Written, WriteError> {
        self.change(&key.into(), amount, 0)
    }

    /// Subtracts from the count of a key, as [`add`](Self::add) adds to it. It may go below zero.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn subtract(&self, key: impl Into<K>, amount: u64) -> Result<Written, WriteError> {
        self.change(&key.into(), 0, amount)
    }

    /// The count of a key as this node knows it; 0 if nobody has changed it. It stops at the least and the
    /// greatest number of its type.
    #[must_use]
    pub fn value<Q>(&self, key: &Q) -> i64
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        sum(&self.parts.of(key))
    }

    /// All keys with their counts, in the order of keys.
    #[must_use]
    pub fn values(&self) -> Vec<(K, i64)> {
        let all = self.parts.all().into_iter();
        all.map(|(key, parts)| (key, sum(&parts))).collect()
    }

    /// Forgets what this node has heard of a key. A process that changes the key without having heard of that brings
    /// back all that it has counted.
    ///
    /// # Errors
    /// Those of a write; what was forgotten before stays so.
    pub fn remove<Q>(&self, key: &Q) -> Result<Vec<Written>, WriteError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.parts.remove(key)
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
        let covers = |own: &OwnedPart<K, CounterPart>, part: &OwnedPart<K, CounterPart>| {
            self.parts.is_predecessors(part) && own.covers(part.key().2, part)
        };
        self.parts.tidy(covers).await
    }

    /// Forgets a name that does not come back: takes over for good what its processes have counted, waits until all members
    /// hold that, and then removes its entries. Returns how many were removed. Counts stay what they are, on every
    /// node and at every moment.
    ///
    /// It is for clusters whose nodes have ever new names: each leaves an entry behind for each key that it has counted. What
    /// is kept of a name is the name and some 30 bytes for each of its processes, of at most 64, in this process's entry of
    /// the key. An entry has room for 1,024 such names: then it is time for another key.
    ///
    /// All members are those that have not left; one that has failed counts until it is forgotten after
    /// `reconnect_timeout`, because it may come back. If a node of that name starts after all, what it adds counts
    /// too. A process of it that was cut off for longer than `reconnect_timeout` must not go on. For each key it waits up to `Config::replicated_timeout`. Cancel
    /// safe: dropped, or after an error, it can be called again, and goes on.
    ///
    /// # Errors
    /// [`ForgetError`]; no entry was removed, unless it is `Write`. That is also what says that a key has no room for
    /// the name ([`WriteError::Invalid`]): `Node::purge` takes away what a name wrote without taking it over. Entries of a name
    /// that bear a time of the far future stay where they are.
    ///
    /// ```
    /// # #[cfg(feature = "net")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use rumormill::Node;
    ///
    /// let mut builder = Node::builder("a").listen("127.0.0.1:0");
    /// let on_a = builder.counter::<String>("hits");
    /// let a = builder.start().await?;
    /// let mut builder = Node::builder("b").listen("127.0.0.1:0").seeds([a.local_addr()]);
    /// let on_b = builder.counter::<String>("hits");
    /// let b = builder.start().await?;
    /// b.ready().await?;
    ///
    /// on_b.add("/index", 3)?.replicated(1).await?;
    /// let gone = b.name().clone();
    /// b.leave().await?;
    /// assert_eq!(on_a.forget(&gone).await?, 1);
    /// assert_eq!(on_a.value("/index"), 3);
    /// # a.leave().await?;
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "net"))]
    /// # fn main() {}
    /// ```
    pub async fn forget(&self, name: &NodeName) -> Result<usize, ForgetError> {
        if name.as_str() == self.parts.name() {
            return Err(ForgetError::OwnName { name: name.clone() });
        }
        let taken = self.take_over_name(name)?;
        for (written, _) in &taken {
            held_by_all(written).await?;
        }
        let mut removed = 0;
        for part in taken.iter().flat_map(|(_, parts)| parts) {
            removed += usize::from(self.parts.take_away(part)?.is_some());
        }
        Ok(removed)
    }

    /// Takes over what the processes of another name have counted, as far as it is known here: for each key the
    /// write, and the parts that may be taken away once all members hold it.
    pub(super) fn take_over_name(&self, name: &NodeName) -> Result<Vec<TakenOver<K>>, WriteError> {
        let mut taken = Vec::new();
        for (key, shown) in self.parts.all() {
            if !shown.iter().any(|part| part.key().1 == name.as_str()) {
                continue;
            }
            self.parts.outrank(&shown);
            let mut parts = self.parts.every(&key);
            // What others do not let this process speak of yet stays where it is.
            let settled = self.parts.settled();
            parts.retain(|part| {
                let latest = part.latest_inside().max(Some(part.key().2));
                part.key().1 == name.as_str() && latest <= Some(settled)
            });
            if parts.is_empty() {
                continue;
            }
            let of_name = parts.iter().map(|part| (part.key().2, &part.value));
            let account = Tallies::of(of_name);
            let changed = |own: Option<&CounterPart>| {
                let mut own = own.cloned().unwrap_or_default();
                own.forget(name.as_str(), &account);
                let theirs = parts.iter().flat_map(|part| &part.forgotten);
                theirs.for_each(|(name, account)| own.forget(name, account));
                // What a name claims to have forgotten is its word alone.
                if !own.fits(FORGOTTEN_MAX) {
                    return Err(broken(TOO_MANY));
                }
                Ok(own)
            };
            let written = self.parts.try_write(&key, changed, Timestamp::MAX)?;
            taken.push((written, parts));
        }
        Ok(taken)
    }

    #[cfg(test)]
    pub(super) fn parts_of(&self, key: &K) -> Vec<Arc<OwnedPart<K, CounterPart>>> {
        self.parts.of(key)
    }

    /// Takes away parts that were taken over.
    #[cfg(test)]
    pub(super) fn take_parts_away(&self, taken: &[TakenOver<K>]) {
        for part in taken.iter().flat_map(|(_, parts)| parts) {
            self.parts.take_away(part).expect("there is room");
        }
    }

    /// Writes this part, whatever it says.
    #[cfg(test)]
    pub(super) fn writing(&self, key: K, part: CounterPart) -> Result<Written, WriteError> {
        self.parts.write(&key, |_| part.clone(), Timestamp::MAX)
    }

    fn change(&self, key: &K, plus: u64, minus: u64) -> Result<Written, WriteError> {
        let mut before = self.parts.of(key);
        self.parts.outrank(&before);
        let kept = before.iter().filter_map(|part| {
            let of_name = part.forgotten.get(self.parts.name());
            of_name.cloned()
        });
        let mut kept: Vec<Tallies> = kept.collect();
        // This very process was forgotten, and its part is taken away: what it adds now counts beside that. And no sum
        // of what this name had counted may be one over what it adds from now on.
        let of_name = before.iter().filter(|part| self.parts.is_of_name(part));
        let sums = of_name.map(|part| &part.earlier).chain(&kept);
        if let Some(latest) = sums.filter_map(Tallies::latest).max() {
            self.parts.follow_boot(latest);
        }
        // What others do not let this process speak of yet it takes over later.
        let settled = self.parts.settled();
        kept.retain(|account| account.latest() <= Some(settled));
        before.retain(|part| {
            self.parts.is_predecessors(part) && part.latest_inside() <= Some(settled)
        });
        let too_much = || broken(TOO_MUCH);
        let changed = |own: Option<&CounterPart>| -> Result<CounterPart, WriteError> {
            let mut own = own.cloned().unwrap_or_default();
            own.plus = own.plus.checked_add(plus).ok_or_else(too_much)?;
            own.minus = own.minus.checked_add(minus).ok_or_else(too_much)?;
            let before = before.iter().map(|part| (part.key().2, &part.value));
            own.take_over(before, kept.iter());
            Ok(own)
        };
        self.parts.try_write(key, changed, Timestamp::MAX)
    }
}

/// A write, and the parts that are taken over by it.
pub(super) type TakenOver<K> = (Written, Vec<Arc<OwnedPart<K, CounterPart>>>);

/// Why something is not written down.
fn broken(rule: &'static str) -> WriteError {
    WriteError::Invalid {
        why: Unreadable::Invalid { rule },
    }
}

const TOO_MANY: &str = "an entry of a counter has room for 1,024 forgotten names";
const TOO_MUCH: &str = "the additions of one process to a key are at most 2^64 - 1";
