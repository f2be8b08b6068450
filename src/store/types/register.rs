//! A register that keeps all values that were written at once, until somebody who has seen them writes again.
//!
//! A process's part of a register is its value, the number of its write among all of the process, and which writes of other processes that
//! one replaces. A value is shown if no other part replaces it. A part that was
//! replaced stays until [`MultiRegister::tidy`] removes it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::changed::ChangedKeys;
use super::forget::ForgetError;
use super::parts::{OwnedPart, OwnedParts, PartKey};
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
struct RegisterPart<V> {
    /// Which of its writes it is: later ones have greater numbers.
    number: u64,
    value: V,
    /// Which writes of others it replaces, by name and boot.
    covers: Vec<Cover>,
}

/// Writes of a process that are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cover {
    name: String,
    boot: u64,
    /// Up to this write.
    number: u64,
}

/// A part as it is held.
type RegisterHeld<K, V> = OwnedPart<K, RegisterPart<V>>;

type Covers = BTreeMap<(String, u64), u64>;

impl<K: PartKey, V: MapValue + Clone> MultiRegister<K, V> {
    /// Registers of the node of that name, for a program that runs stores without a node, such as a simulation.
    #[must_use]
    pub fn new(name: &str, node: &str, limits: Limits, context: Context) -> Self {
        Self {
            parts: OwnedParts::new(name, node, limits, context),
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
        let mut shown: Vec<_> = parts.iter().filter(|it| is_shown(it, &parts)).collect();
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

    /// What a write of this process replaces that has seen these parts, and takes the place of `own`: another thread
    /// may have written that after these were read.
    fn covers(
        &self,
        own: Option<&RegisterPart<V>>,
        parts: &[Arc<RegisterHeld<K, V>>],
    ) -> Vec<Cover> {
        let mut covers = Covers::new();
        let mut note = |name: &str, boot: u64, number: u64| {
            let known = covers.entry((name.to_owned(), boot)).or_default();
            *known = number.max(*known);
        };
        let of_own = own.into_iter().flat_map(|own| &own.covers);
        of_own.for_each(|it| note(&it.name, it.boot, it.number));
        for part in parts.iter().filter(|part| !self.parts.is_own(part)) {
            let (_, name, boot) = part.key();
            note(name, *boot, part.number);
            let of_it = part.covers.iter();
            of_it.for_each(|it| note(&it.name, it.boot, it.number));
        }
        covers.remove(&(self.parts.name().to_owned(), self.parts.boot()));
        let covers = covers
            .into_iter()
            .map(|((name, boot), number)| Cover { name, boot, number });
        let mut covers: Vec<_> = covers.collect();
        if covers.len() > COVERS_MAX {
            // What is still held must stay covered; of the others, those of the latest processes.
            let is_held = |it: &Cover| {
                let mut keys = parts.iter().map(|part| part.key());
                keys.any(|(_, name, boot)| it.is_of(name, *boot))
            };
            covers.sort_by_key(|it| std::cmp::Reverse((is_held(it), it.boot)));
            covers.truncate(COVERS_MAX.max(parts.len()));
            covers.sort_by(|a, b| (&a.name, a.boot).cmp(&(&b.name, b.boot)));
        }
        covers
    }
}

impl Cover {
    fn is_of(&self, name: &str, boot: u64) -> bool {
        self.name == name && self.boot == boot
    }
}

/// Whether no other part replaces this one.
fn is_shown<K, V>(
    part: &OwnedPart<K, RegisterPart<V>>,
    parts: &[Arc<OwnedPart<K, RegisterPart<V>>>],
) -> bool {
    let (_, name, boot) = part.key();
    let mut covers = parts.iter().flat_map(|other| &other.covers);
    !covers.any(|it| it.is_of(name, *boot) && it.number >= part.number)
}

/// Replaced writes that a part lists, beside those that are still held: one for each process that ever wrote.
/// What is not listed any more is not held where it was left out.
const COVERS_MAX: usize = 64;
