//! One line of a sorted list.

use crate::wire::Item;

/// An entry of a list. In order of its item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) item: Item,
    pub(super) hash: u128,
}
