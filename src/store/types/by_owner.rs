//! The parts of one key, in the order of their owners: what an insertion, a removal and a look-up cost does not grow
//! with what one member writes.

use std::borrow::Borrow;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use crate::id::Key;
use crate::store::typed::TypedRecord;

/// A key, and the name and boot of the process whose part it is.
pub(super) type OwnedKey<K> = (K, String, u64);

/// A part as it is held.
pub(super) type OwnedPart<K, P> = TypedRecord<OwnedKey<K>, P>;

/// The parts of one key: by name, and of a name the latest process first.
///
/// Of each name the [`SHOWN_MAX`] latest are read, on all nodes that hold the same. A process takes over what its
/// predecessors wrote, so what is older than that is in one of these, or a member has written it that makes up processes.
pub(super) struct KeyParts<K, P>(BTreeSet<ByOwner<K, P>>);

/// A part, in the order of its owner.
struct ByOwner<K, P>(Arc<OwnedPart<K, P>>);

/// Where a part stands: by its name, its boot and its entry's key.
type PartPlace<'a> = (&'a str, Reverse<u64>, Key);

/// What has a place among the parts of a key.
trait HasPlace {
    fn place(&self) -> PartPlace<'_>;
}

impl<K, P> HasPlace for ByOwner<K, P> {
    fn place(&self) -> PartPlace<'_> {
        let (_, name, boot) = self.0.key();
        (name, Reverse(*boot), self.0.hash())
    }
}

impl HasPlace for PartPlace<'_> {
    fn place(&self) -> PartPlace<'_> {
        *self
    }
}

impl PartialEq for dyn HasPlace + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for dyn HasPlace + '_ {}

impl PartialOrd for dyn HasPlace + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn HasPlace + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl<K, P> PartialEq for ByOwner<K, P> {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl<K, P> Eq for ByOwner<K, P> {}

impl<K, P> PartialOrd for ByOwner<K, P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K, P> Ord for ByOwner<K, P> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl<'a, K: 'a, P: 'a> Borrow<dyn HasPlace + 'a> for ByOwner<K, P> {
    fn borrow(&self) -> &(dyn HasPlace + 'a) {
        self
    }
}

impl<K, P> Default for KeyParts<K, P> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K, P> KeyParts<K, P> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a part into its place, where an earlier version of it may be.
    pub(super) fn insert(&mut self, part: &Arc<OwnedPart<K, P>>) {
        drop(self.0.replace(ByOwner(Arc::clone(part))));
    }

    pub(super) fn remove(&mut self, part: &Arc<OwnedPart<K, P>>) {
        self.0.remove(&ByOwner(Arc::clone(part)));
    }

    /// The parts after this one.
    pub(super) fn after(
        &self,
        part: Option<&Arc<OwnedPart<K, P>>>,
    ) -> impl Iterator<Item = &Arc<OwnedPart<K, P>>> {
        let part = part.map(|part| ByOwner(Arc::clone(part)));
        let from = part.as_ref().map_or(Unbounded, Excluded);
        let rest = self.0.range::<ByOwner<K, P>, _>((from, Unbounded));
        rest.map(|ByOwner(part)| part)
    }

    /// The parts that are read: of each name the latest.
    pub(super) fn shown(&self) -> Vec<Arc<OwnedPart<K, P>>> {
        let mut shown: Vec<Arc<OwnedPart<K, P>>> = Vec::new();
        let (mut of_name, mut count) = (None, 0);
        let mut rest = self.0.range::<ByOwner<K, P>, _>(..);
        while let Some(ByOwner(part)) = rest.next() {
            let name = part.key().1.as_str();
            if of_name != Some(name) {
                (of_name, count) = (Some(name), 0);
            }
            if count < SHOWN_MAX {
                shown.push(Arc::clone(part));
                count += 1;
            } else {
                let last: PartPlace<'_> = (name, Reverse(0), Key([u8::MAX; 16]));
                let last: &dyn HasPlace = &last;
                rest = self.0.range::<dyn HasPlace, _>((Excluded(last), Unbounded));
            }
        }
        shown
    }
}

/// Parts of one name under one key that are read.
pub(super) const SHOWN_MAX: usize = 64;
