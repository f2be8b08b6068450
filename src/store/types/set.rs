//! A set to which several nodes add and from which they remove at once; an addition wins over a removal that
//! had not seen it.
//!
//! An element has an entry for every process that has added it. A removal takes away those that it sees, each
//! in the version that it sees; what is added meanwhile is a later version, or another entry, and stays.

use std::borrow::Borrow;
use std::sync::Arc;

use super::changed::ChangedKeys;
use super::forget::ForgetError;
use super::parts::{OwnedParts, PartKey};
use crate::store::any::Store;
use crate::store::setup::{Context, Limits};
use crate::store::write::{WriteError, Written};
use crate::time::Timestamp;

/// A set of elements that all nodes add to and remove from. Cheap to clone. Made by
/// [`Builder::set`](crate::node::Builder::set).
///
/// An element is there once somebody's addition has come, until somebody removes it who has seen that
/// addition. So of an addition and a removal that do not know of each other, the addition wins.
///
/// ```
/// # #[cfg(feature = "net")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rumormill::Node;
///
/// let mut builder = Node::builder("a").listen("127.0.0.1:0");
/// let banned = builder.set::<String>("banned");
/// let node = builder.start().await?;
///
/// banned.add("mallory")?;
/// assert!(banned.contains("mallory"));
/// banned.remove("mallory")?;
/// assert!(banned.is_empty());
/// # node.leave().await?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "net"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct AddWinsSet<E: PartKey> {
    /// Of each process, when it first added the element, in nanoseconds.
    parts: OwnedParts<E, u64>,
}

impl<E: PartKey> AddWinsSet<E> {
    /// A set of the node of that name, for a program that runs stores without a node, such as a simulation.
    #[must_use]
    pub fn new(name: &str, node: &str, limits: Limits, context: Context) -> Self {
        Self {
            parts: OwnedParts::new((name, node), limits, context, |_, _| Ok(())),
        }
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.parts.map().store()
    }

    /// The elements that are added or removed from now on.
    #[must_use]
    pub fn changes(&self) -> ChangedKeys<E> {
        self.parts.changes()
    }

    /// Adds an element. It is a write also if the element is there: a removal that has not seen this addition
    /// must not undo it.
    ///
    /// # Errors
    /// [`WriteError`]: `StoreFull`, `TooLarge`, `Unencodable`.
    pub fn add(&self, element: impl Into<E>) -> Result<Written, WriteError> {
        let element = element.into();
        let now = self.parts.now().as_nanos();
        let since = |own: Option<&u64>| own.copied().unwrap_or(now);
        let parts = self.parts.of(&element);
        self.parts.outrank(&parts);
        self.parts.write(&element, since, Timestamp::MAX)
    }

    /// Removes what earlier processes of this node's name left, where this one has added the same element, once all members hold
    /// that; failed ones too, until they are forgotten after `reconnect_timeout`. Returns how many entries were removed.
    /// Every process that adds an element leaves an entry; a node that runs calls this every hour.
    ///
    /// Cancel safe: what is not removed the next call removes.
    ///
    /// # Errors
    /// [`ForgetError`]: not all members are known to hold what takes the place of the rest.
    pub async fn tidy(&self) -> Result<usize, ForgetError> {
        let earlier = |_: &_, part: &_| self.parts.is_predecessors(part);
        self.parts.tidy(earlier).await
    }

    /// Removes an element: every addition of it that this node has seen. Returns a write for each; none if the
    /// element is not there.
    ///
    /// # Errors
    /// Those of a write; what was removed before stays so.
    pub fn remove<Q>(&self, element: &Q) -> Result<Vec<Written>, WriteError>
    where
        E: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.parts.remove(element)
    }

    /// Whether an element is there.
    #[must_use]
    pub fn contains<Q>(&self, element: &Q) -> bool
    where
        E: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        !self.parts.of(element).is_empty()
    }

    /// The elements, in their order.
    #[must_use]
    pub fn elements(&self) -> Vec<E> {
        let all = self.parts.all().into_iter();
        all.map(|(element, _)| element).collect()
    }

    /// How many elements there are. Costs as much as [`elements`](Self::elements).
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.all().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.map().is_empty()
    }
}
