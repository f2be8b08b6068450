//! The join: how two values of one key become one, the same on every node in any order.
//!
//! The state of a key is `(version, expires_at)` with `version = (ts, tie, writer, schema, body
//! bytes)`,
//! totally ordered. [`join`] takes the greater of each: a product of total orders under max, hence
//! commutative, associative and idempotent (a join semilattice, as in Shapiro, Preguiça, Baquero and
//! Zawirski 2011, "Conflict-free replicated data types"). Whether an entry has expired is tested only
//! after the join: tested before it, the laws do not hold. `PROTOCOL.md` has the join for other
//! implementations.
//!
//! "No expiry" is 0 and contributes nothing to the max. A version marked lasting
//! ([`SchemaId::lasting`](crate::id::SchemaId::lasting)) is kept whatever `expires_at` says, so a
//! lasting write over a tombstone is not collected with it.

use std::cmp::Ordering;

use crate::wire::entry::Entry;

/// The total order of versions of one key: `(ts, tie, writer, schema, body bytes)`.
#[must_use]
pub fn compare_versions(a: &Entry, b: &Entry) -> Ordering {
    a.ts.cmp(&b.ts)
        .then_with(|| a.tie.cmp(&b.tie))
        .then_with(|| a.writer.cmp(&b.writer))
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

#[cfg(test)]
mod tests {
    //! The laws, over real entries from domains so small that every tie happens. If expiry were
    //! tested before the join, 78 of 361 pairs would break them.

    use super::*;
    use crate::id::{Key, SchemaId, WriterTag};
    use crate::time::Timestamp;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn entry(ts: u64, tie: u64, expires_at: u64, schema: SchemaId, body: &'static str) -> Entry {
        Entry {
            key: Key([1; 16]),
            ts: Timestamp::from_nanos(ts),
            tie,
            writer: WriterTag::NONE,
            expires_at: Timestamp::from_nanos(expires_at),
            schema,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let schemas = [
            SchemaId::TOMBSTONE,
            SchemaId::new(1),
            SchemaId::new(1).lasting(),
            SchemaId::new(2),
        ];
        let schema = prop::sample::select(schemas.to_vec());
        let body = prop::sample::select(&["", "a", "b"][..]);
        (1..4_u64, 0..2_u64, 0..4_u64, schema, body)
            .prop_map(|(ts, tie, expires, schema, body)| entry(ts, tie, expires, schema, body))
    }

    /// What is left of a value at an instant, as collection has it.
    fn collect(entry: &Entry, now: Timestamp) -> Option<Entry> {
        entry.outlives(now).then(|| entry.clone())
    }

    fn join_all(entries: &[Option<Entry>]) -> Option<Entry> {
        entries
            .iter()
            .flatten()
            .cloned()
            .reduce(|a, b| join(&a, &b))
    }

    /// Makes of any two entries an older and a newer one for which collection commutes with the
    /// join: the winner lives at least as long as the loser. A local write ensures this for every
    /// version that its writer had seen.
    fn monotone(a: Entry, b: Entry) -> (Entry, Entry) {
        let (mut older, mut newer) = if compare_versions(&a, &b).is_le() {
            (a, b)
        } else {
            (b, a)
        };
        if !newer.schema.is_lasting() {
            older.schema = older.schema.shape();
            let (earlier, later) = (older.expires_at, newer.expires_at);
            older.expires_at = earlier.min(later);
            newer.expires_at = earlier.max(later);
        }
        (older, newer)
    }

    #[test]
    fn equal_timestamps_are_decided_by_tie_then_schema_then_body() {
        let one = SchemaId::new(1);
        let base = entry(5, 0, 9, one, "b");
        for greater in [
            entry(5, 1, 9, one, "a"),
            entry(5, 0, 9, SchemaId::new(2), "a"),
            entry(5, 0, 9, one, "c"),
            entry(6, 0, 9, one, "a"),
        ] {
            assert_eq!(join(&base, &greater), greater);
            assert_eq!(join(&greater, &base), greater);
        }
    }

    #[test]
    fn the_winner_inherits_the_later_expiry() {
        let long = entry(1, 0, 90, SchemaId::new(1), "long");
        let short = entry(2, 0, 10, SchemaId::TOMBSTONE, "");
        let joined = join(&long, &short);
        assert_eq!(joined.schema, SchemaId::TOMBSTONE);
        assert_eq!(joined.expires_at, Timestamp::from_nanos(90));
    }

    #[test]
    fn a_lasting_write_over_a_tombstone_outlives_every_cut() {
        let tombstone = entry(1, 0, 90, SchemaId::TOMBSTONE, "");
        let lasting = entry(2, 0, 0, SchemaId::new(1).lasting(), "x");
        assert!(join(&tombstone, &lasting).outlives(Timestamp::MAX));
        let removed = entry(3, 0, 95, SchemaId::TOMBSTONE, "");
        assert!(!join(&lasting, &removed).outlives(Timestamp::from_nanos(95)));
    }

    #[test]
    #[should_panic(expected = "a join is of one key")]
    fn entries_of_two_keys_do_not_join() {
        let a = entry(1, 0, 0, SchemaId::new(1), "");
        let mut b = a.clone();
        b.key = Key([2; 16]);
        let _ = join(&a, &b);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn join_is_commutative(a in entries(), b in entries()) {
            prop_assert_eq!(join(&a, &b), join(&b, &a));
        }

        #[test]
        fn join_is_associative(a in entries(), b in entries(), c in entries()) {
            prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        }

        #[test]
        fn join_is_idempotent_and_absorbs(a in entries(), b in entries()) {
            prop_assert_eq!(join(&a, &a), a.clone());
            let joined = join(&a, &b);
            prop_assert_eq!(join(&joined, &a), joined.clone());
            prop_assert_eq!(join(&b, &joined), joined);
        }

        #[test]
        fn versions_are_totally_ordered(a in entries(), b in entries(), c in entries()) {
            prop_assert_eq!(compare_versions(&a, &b), compare_versions(&b, &a).reverse());
            if compare_versions(&a, &b).is_le() && compare_versions(&b, &c).is_le() {
                prop_assert!(compare_versions(&a, &c).is_le());
            }
        }

        #[test]
        fn collection_before_and_after_the_join_agree(
            a in entries(),
            b in entries(),
            now in (0..5_u64).prop_map(Timestamp::from_nanos),
        ) {
            let (older, newer) = monotone(a, b);
            let after = collect(&join(&older, &newer), now);
            let before = join_all(&[collect(&older, now), collect(&newer, now)]);
            let versions = |x: &Entry, y: &Entry| compare_versions(x, y).is_eq();
            match (&after, &before) {
                (Some(x), Some(y)) => {
                    prop_assert!(versions(x, y));
                    // A lasting entry's expiry no longer matters; it joins once nodes compare.
                    prop_assert!(x.expires_at == y.expires_at || x.schema.is_lasting());
                }
                (x, y) => prop_assert_eq!(x.is_some(), y.is_some()),
            }
        }
    }
}
