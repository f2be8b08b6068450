//! How much is done in one hold of a store's lock.

/// Entries handled in one hold of the lock.
pub(super) const RUN: usize = 256;
