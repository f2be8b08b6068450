//! The writes that are followed.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::core::place::StoreKey;
use crate::id::{ProcessId, Refusal};
use crate::store::{Copies, WriteId};

/// The writes that are followed, by ticket and by key.
#[derive(Debug, Default)]
pub(super) struct Watches {
    pub(super) open: BTreeMap<u64, Followed>,
    pub(super) by_place: BTreeMap<StoreKey, BTreeSet<u64>>,
}

/// One write that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) write: WriteId,
    pub(super) copies: Copies,
    pub(super) holders: BTreeSet<ProcessId>,
    pub(super) refused: BTreeMap<ProcessId, Refusal>,
}

impl Watches {
    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Followed {
    pub(super) fn place(&self) -> StoreKey {
        (self.write.store, self.write.key)
    }
}
