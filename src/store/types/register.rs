//! A register that keeps all values that were written at once, until somebody who has seen them writes again.
//!
//! A process's part of a register is its value, the number of its write among all of the process, and which writes of other processes that
//! one replaces. A value is shown if no other part replaces it. A part that was
//! replaced stays until [`MultiRegister::tidy`] removes it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::by_owner::OwnedPart;
use super::changed::ChangedKeys;
use super::forget::ForgetError;
use super::parts::{NO_NAME, OwnedParts, PartBounds, PartKey};
use crate::id::NodeName;
use crate::store::any::Store;
use crate::store::setup::{Context, Limits};
use crate::store::typed::MapValue;
use crate::store::write::{WriteError, Written};
use crate::time::Timestamp;

/// Registers, by key, that keep concurrent writes side by side. Cheap to clone. Made by
/// [`Builder::register`](crate::node::Builder::register).
///
/// A map keeps the later of two concurrent writes, by clocks that may be off. This keeps both and leaves it to
/// the reader to choose, or to write what the two make together.
///
/// ```
/// # #[cfg(feature = "net")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rumormill::Node;
///
/// let mut builder = Node::builder("a").listen("127.0.0.1:0");
/// let owners = builder.register::<String, String>("owners");
/// let node = builder.start().await?;
///
/// owners.set("build", "anna".to_owned())?;
/// owners.set("build", "ben".to_owned())?;
/// // Nobody else wrote meanwhile: there is one value.
/// assert_eq!(owners.get("build"), ["ben"]);
/// # node.leave().await?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "net"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct MultiRegister<K: PartKey, V: MapValue> {
    parts: OwnedParts<K, RegisterPart<V>>,
}

/// What one process has written to one register.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RegisterPart<V> {
    /// Which of its writes it is: later ones have greater numbers.
    pub(super) number: u64,
    pub(super) value: V,
    /// Which writes of others it replaces, by name and boot.
    pub(super) covers: Vec<Cover>,
}

impl<V> RegisterPart<V> {
    fn check(&self, bounds: PartBounds) -> Result<(), &'static str> {
        if self.covers.len() > HELD_COVERS_MAX + GONE_COVERS_MAX {
            return Err("a write lists more that it replaces than it may");
        }
        if !self.covers.is_sorted_by(|a, b| a.process() < b.process()) {
            return Err("what a write replaces is listed in order");
        }
        if self
            .covers
            .iter()
            .any(|it| NodeName::new(&it.name).is_err())
        {
            return Err(NO_NAME);
        }
        // No process writes more often than once a nanosecond.
        let covered = self.covers.iter().map(|it| it.number);
        bounds.check_inside(covered.chain([self.number]))?;
        bounds.check_inside(self.covers.iter().map(|it| it.boot))
    }
}

/// Writes of a process that are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cover {
    pub(super) name: String,
    pub(super) boot: u64,
    /// Up to this write.
    pub(super) number: u64,
}

/// A part as it is held.
type RegisterHeld<K, V> = OwnedPart<K, RegisterPart<V>>;

impl<K: PartKey, V: MapValue + Clone> MultiRegister<K, V> {
    /// Registers of the node of that name, for a program that runs stores without a node, such as a simulation.
    #[must_use]
    pub fn new(name: &str, node: &str, limits: Limits, context: Context) -> Self {
        Self {
            parts: OwnedParts::new((name, node), limits, context, RegisterPart::check),
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

    /// Writes a value, which replaces all that this node has seen of the register.
    ///
    /// # Errors
    /// [`WriteError`]: `StoreFull`, `TooLarge`, `Unencodable`.
    pub fn set(&self, key: impl Into<K>, value: V) -> Result<Written, WriteError> {
        let key = key.into();
        let parts = self.parts.of(&key);
        self.parts.outrank(&parts);
        self.outrank_covers(&parts);
        self.parts.write(
            &key,
            |own| RegisterPart {
                number: self.parts.next_number(),
                value: value.clone(),
                covers: self.covers(own, &parts),
            },
            Timestamp::MAX,
        )
    }

    /// Removes what others have written, where this process has replaced it, once all members hold
    /// that; failed ones too, until they are forgotten after `reconnect_timeout`. Returns how many entries were removed.
    /// Every process that writes a register leaves an entry; a node that runs calls this every hour.
    ///
    /// Cancel safe: what is not removed the next call removes.
    ///
    /// # Errors
    /// [`ForgetError`]: not all members are known to hold what takes the place of the rest.
    pub async fn tidy(&self) -> Result<usize, ForgetError> {
        let replaced = |own: &RegisterHeld<K, V>, part: &RegisterHeld<K, V>| {
            let (_, name, boot) = part.key();
            let mut covers = own.covers.iter().filter(|it| it.is_of(name, *boot));
            covers.any(|it| it.number >= part.number)
        };
        self.parts.tidy(replaced).await
    }

    /// The values: none if nobody has written, one mostly, several if some were written without knowledge of each
    /// other. In the order of their writers' names.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Vec<V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let parts = self.parts.of(key);
        let replaced = replaced(&parts);
        let is_shown = |part: &&Arc<RegisterHeld<K, V>>| {
            let by_others = replaced.get(&of_process(part));
            by_others.is_none_or(|number| *number < part.number)
        };
        let mut shown: Vec<_> = parts.iter().filter(is_shown).collect();
        shown.sort_by(|a, b| a.key().cmp(b.key()));
        shown
            .into_iter()
            .map(|part| part.value.value.clone())
            .collect()
    }

    /// Removes all values that this node has seen; what is written meanwhile stays, and so does a value that one of these
    /// had replaced, and that this node has not seen.
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

    /// The keys that have values, in their order.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        let all = self.parts.all().into_iter();
        all.map(|(key, _)| key).collect()
    }

    #[cfg(test)]
    pub(super) fn parts_of(&self, key: &K) -> Vec<Arc<RegisterHeld<K, V>>> {
        self.parts.of(key)
    }

    /// Takes a later boot if one of these parts replaces more than this process has written, or is more than it has
    /// written, under its boot: somebody else wrote it, and it would replace what this process writes.
    fn outrank_covers(&self, parts: &[Arc<RegisterHeld<K, V>>]) {
        let numbered = self.parts.numbered();
        let own = parts.iter().filter(|part| self.parts.is_own(part));
        if own.into_iter().any(|own| own.number > numbered) {
            self.parts.follow_boot(self.parts.boot());
        }
        let covers = parts.iter().flat_map(|part| &part.covers);
        let of_name = covers.filter(|it| it.name == self.parts.name());
        let beyond = of_name.filter(|it| {
            let boot = self.parts.boot();
            it.boot > boot || it.boot == boot && it.number > numbered
        });
        if let Some(latest) = beyond.map(|it| it.boot).max() {
            self.parts.follow_boot(latest);
        }
    }

    /// What a write of this process replaces that has seen these parts, and takes the place of `own`: another thread
    /// may have written that after these were read.
    ///
    /// What is still held must stay replaced; of the others, those of the latest processes are listed.
    fn covers(
        &self,
        own: Option<&RegisterPart<V>>,
        parts: &[Arc<RegisterHeld<K, V>>],
    ) -> Vec<Cover> {
        // What others do not let this process speak of is not replaced.
        let settled = self.parts.settled();
        let others = parts.iter().filter(|part| !self.parts.is_own(part));
        let is_spoken_of =
            |&((_, boot), number): &(ProcessKey<'_>, u64)| boot.max(number) <= settled;
        let held = others.clone().map(|part| (of_process(part), part.number));
        let held = held.filter(is_spoken_of).take(HELD_COVERS_MAX);
        let mut held: BTreeMap<ProcessKey<'_>, u64> = held.collect();
        let mut gone: BTreeMap<(u64, &str), u64> = BTreeMap::new();
        let covers = others.flat_map(|part| &part.covers);
        let covers = covers.chain(own.into_iter().flat_map(|own| &own.covers));
        let covers = covers.map(|it| ((it.name.as_str(), it.boot), it.number));
        for ((name, boot), number) in covers.filter(is_spoken_of) {
            if (name, boot) == (self.parts.name(), self.parts.boot()) {
                continue;
            }
            if let Some(known) = held.get_mut(&(name, boot)) {
                *known = number.max(*known);
                continue;
            }
            let known = gone.entry((boot, name)).or_default();
            *known = number.max(*known);
            if gone.len() > GONE_COVERS_MAX {
                gone.pop_first();
            }
        }
        held.extend(
            gone.into_iter()
                .map(|((boot, name), it)| ((name, boot), it)),
        );
        let covers = held.into_iter().map(|((name, boot), number)| Cover {
            name: name.to_owned(),
            boot,
            number,
        });
        covers.collect()
    }
}

impl Cover {
    fn process(&self) -> ProcessKey<'_> {
        (&self.name, self.boot)
    }

    fn is_of(&self, name: &str, boot: u64) -> bool {
        self.name == name && self.boot == boot
    }
}

/// A process, by its name and boot.
type ProcessKey<'a> = (&'a str, u64);

/// ProcessKey part it is.
fn of_process<K, P>(part: &OwnedPart<K, P>) -> ProcessKey<'_> {
    let (_, name, boot) = part.key();
    (name, *boot)
}

/// Up to which of the writes of each process these parts replace them.
fn replaced<K, V>(parts: &[Arc<OwnedPart<K, RegisterPart<V>>>]) -> BTreeMap<ProcessKey<'_>, u64> {
    let mut replaced = BTreeMap::new();
    for it in parts.iter().flat_map(|part| &part.covers) {
        let known = replaced.entry((it.name.as_str(), it.boot)).or_default();
        *known = it.number.max(*known);
    }
    replaced
}

/// Replaced writes that a part lists of those that are held: one for each process. If there are more, they are shown
/// again.
const HELD_COVERS_MAX: usize = 4096;
/// Replaced writes that a part lists beside those: of processes whose parts are gone.
/// What is not listed any more is not held where it was left out.
const GONE_COVERS_MAX: usize = 64;
