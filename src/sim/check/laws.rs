//! Invariant 4: the join laws, for every schema, at equal timestamps, under skew, before and after
//! collection. Shown on the entries that were seen in a run, not on made-up ones.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::violation::Breach;
use crate::crdt::{compare_versions, join};
use crate::id::{Key, SchemaId, StoreId};
use crate::sim::nodes::clock::{SimClock, Skew};
use crate::sim::nodes::registers::SimTracker;
use crate::store::{Body, Context, Limits, Map, Schema, Unreadable};
use crate::time::Timestamp;
use crate::wire::Entry;

/// A join of two entries.
type Join = fn(&Entry, &Entry) -> Entry;

/// Checks the laws on versions of one key; at most [`VERSIONS_MAX`] are used.
pub(super) fn check(store: StoreId, versions: &[Entry], limits: Limits) -> Option<Breach> {
    let versions = &versions[..versions.len().min(VERSIONS_MAX)];
    let key = versions.first()?.key;
    let law = broken_law(versions, join).or_else(|| broken_in_a_store(versions, limits));
    law.map(|law| Breach::LawBroken { law, store, key })
}

/// The law that a join breaks on these entries.
fn broken_law(entries: &[Entry], join: Join) -> Option<&'static str> {
    for a in entries {
        if join(a, a) != *a {
            return Some("idempotent");
        }
        for b in entries {
            if join(a, b) != join(b, a) {
                return Some("commutative");
            }
            for c in entries {
                if join(&join(a, b), c) != join(a, &join(b, c)) {
                    return Some("associative");
                }
            }
        }
    }
    None
}

/// The law that a store breaks when these entries reach it in every order, while they live and
/// after their collection.
fn broken_in_a_store(entries: &[Entry], limits: Limits) -> Option<&'static str> {
    let joined = entries.iter().cloned().reduce(|a, b| join(&a, &b))?;
    let early = entries.iter().map(|e| e.ts).max().unwrap_or_default();
    let lasting = Some(joined.clone()).filter(|_| joined.outlives(early));
    // Under skew one of them may be past its collection when the last one is written.
    let whole = entries.iter().all(|entry| entry.outlives(early));
    for order in orders(entries.len()) {
        let held = merged(entries, &order, early, limits);
        if lasting.is_some() && whole && held != lasting {
            return Some("the same in every order");
        }
    }
    // Where what wins lives as long as what it beats, as local writes see to, collection commutes
    // with the join.
    let late = joined.expires_at.plus(limits.grace()).plus(SECOND);
    if is_monotone(entries) && late > early {
        let expected = Some(joined.clone()).filter(|_| joined.schema.is_lasting());
        for order in orders(entries.len()) {
            // A loser that is dropped on arrival does not lengthen the winner's life any more: the
            // versions are the same, and the later expiry comes with the next join.
            let found = merged(entries, &order, late, limits);
            let same = match (&found, &expected) {
                (Some(found), Some(expected)) => compare_versions(found, expected).is_eq(),
                (found, expected) => found == expected,
            };
            if !same {
                return Some("the same in every order after collection");
            }
        }
    }
    None
}

/// What a new store holds of one key after these entries came in this order.
fn merged(entries: &[Entry], order: &[usize], wall: Timestamp, limits: Limits) -> Option<Entry> {
    let time = Arc::new(AtomicU64::new(0));
    let context = Context::new(
        crate::id::WriterTag::NONE,
        Arc::new(SimClock::new(time, Skew::None)),
        Arc::new(SimTracker),
    );
    let map = Map::new(AnyBody, limits, context);
    let store = map.store();
    for index in order {
        store
            .replica()
            .merge(std::slice::from_ref(&entries[*index]), wall);
    }
    store.collect(wall);
    store
        .replica()
        .held(&entries.first()?.key)
        .map(|change| change.entry)
}

fn is_monotone(entries: &[Entry]) -> bool {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| compare_versions(a, b));
    sorted.windows(2).all(|pair| {
        let newer_lasts = pair[1].schema.is_lasting();
        newer_lasts || (!pair[0].schema.is_lasting() && pair[0].expires_at <= pair[1].expires_at)
    })
}

/// Every order of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for next in 0..count {
        let longer = orders.into_iter().flat_map(|order: Vec<usize>| {
            (0..=order.len()).map(move |at| {
                let mut longer = order.clone();
                longer.insert(at, next);
                longer
            })
        });
        orders = longer.collect();
    }
    orders
}

/// A schema that reads whatever comes: the join looks at headers and bytes alone.
struct AnyBody;

impl Schema for AnyBody {
    type Record = Body;
    type Index = ();

    fn name(&self) -> &'static str {
        "any body"
    }

    fn schemas(&self) -> &[SchemaId] {
        &[]
    }

    fn key(&self, _: &Body) -> Key {
        Key([0; 16])
    }

    fn encode(&self, record: &Body) -> Body {
        record.clone()
    }

    fn decode(&self, _: Key, body: &Body) -> Result<Body, Unreadable> {
        Ok(body.clone())
    }
}

/// Versions of one key that are joined in every order.
const VERSIONS_MAX: usize = 3;
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::WriterTag;

    const NOW: u64 = 1_000_000_000;

    fn entry(ts: u64, expires_at: u64, body: &'static str) -> Entry {
        Entry {
            key: Key([1; 16]),
            ts: Timestamp::from_nanos(NOW + ts),
            tie: 0,
            writer: WriterTag::NONE,
            expires_at: Timestamp::from_secs(expires_at),
            schema: SchemaId::new(1),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn real_entries_keep_the_laws() {
        let versions = [entry(1, 50, "a"), entry(2, 60, "b"), entry(2, 60, "c")];
        assert_eq!(check(StoreId(1), &versions, Limits::default()), None);
        assert_eq!(orders(3).len(), 6);
    }

    #[test]
    fn a_join_by_arrival_is_found_out() {
        let arrival: Join = |_, later| later.clone();
        let versions = [entry(1, 50, "a"), entry(2, 50, "b")];
        assert_eq!(broken_law(&versions, arrival), Some("commutative"));
    }

    #[test]
    fn a_join_that_is_not_associative_or_not_idempotent_is_found_out() {
        let mean: Join = |a, b| Entry {
            ts: Timestamp::from_nanos(a.ts.as_nanos().midpoint(b.ts.as_nanos())),
            body: a.body.clone().max(b.body.clone()),
            ..a.clone()
        };
        let versions = [entry(0, 50, "a"), entry(8, 50, "a"), entry(32, 50, "a")];
        assert_eq!(broken_law(&versions, mean), Some("associative"));
        let aging: Join = |a, b| Entry {
            expires_at: a.expires_at.max(b.expires_at).plus(SECOND),
            ..join(a, b)
        };
        assert_eq!(broken_law(&versions, aging), Some("idempotent"));
    }
}
