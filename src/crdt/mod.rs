//! The join: how two values of one key become one, the same on every node in any order.
//!
//! The state of a key is `(version, expires_at)` with `version = (ts, tie, schema, body bytes)`,
//! totally ordered. [`join`] takes the greater of each: a product of total orders under max, hence
//! commutative, associative and idempotent. Expiry is looked at only after the join (the defects
//! of testing it before are listed in the laws below).
//!
//! "No expiry" is 0 and contributes nothing to the max. A version marked lasting
//! ([`SchemaId::lasting`](crate::wire::SchemaId::lasting)) is kept whatever `expires_at` says, so a
//! lasting write over a tombstone is not collected with it.

pub mod digest;
pub mod map;

use std::cmp::Ordering;

use crate::wire::Entry;

/// The total order of versions of one key: `(ts, tie, schema, body bytes)`.
#[must_use]
pub fn compare_versions(a: &Entry, b: &Entry) -> Ordering {
    a.ts.cmp(&b.ts)
        .then_with(|| a.tie.cmp(&b.tie))
        .then_with(|| a.schema.cmp(&b.schema))
        .then_with(|| a.body.cmp(&b.body))
}

/// The join of two entries of one key: the greater version, the later expiry.
///
/// # Panics
/// If the keys differ: joining across keys is a bug of the caller.
#[must_use]
pub fn join(a: &Entry, b: &Entry) -> Entry {
    assert_eq!(a.key, b.key, "a join is of one key");
    let winner = if compare_versions(a, b).is_ge() { a } else { b };
    Entry {
        expires_at: a.expires_at.max(b.expires_at),
        ..winner.clone()
    }
}
