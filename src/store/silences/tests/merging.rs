//! Silences that come from peers: bytes, poison, skew and ties.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::support::{entries, exchange, pass};
use super::*;
use crate::id::{SchemaId, WriterTag};
use crate::store::{Schema as _, Unreadable};
use crate::wire::Entry;
use crate::wire::codec::encode_body;

fn silence(id: u8, text: &str, starts_at: u64, ends_at: u64) -> Silence {
    Silence {
        id: SilenceId::from_bytes([id; 16]),
        matcher_sets: sets(&[text]),
        starts_at: at(starts_at),
        ends_at: at(ends_at),
        updated_at: at(1),
        created_by: "ops".into(),
        comment: "why".into(),
        annotations: [("k".into(), "v".into())].into(),
    }
}

fn schema() -> SilenceSchema {
    SilenceSchema::default()
}

pub(super) fn entry(silence: &Silence, ts: Timestamp) -> Entry {
    let body = schema().encode(&silence.clone().into());
    Entry {
        key: silence.id.key(),
        ts,
        tie: silence.tie(),
        writer: WriterTag::NONE,
        expires_at: silence.ends_at.plus(RETENTION),
        schema: body.schema,
        body: body.bytes,
    }
}

/// A body in the shape of schema 1, whatever rules it breaks: sets of (name, operator, value).
pub(super) fn raw(id: u8, sets: &[&[(&str, u8, &str)]], starts_at: u64, ends_at: u64) -> Bytes {
    let sets: Vec<Vec<(&str, u8, &str)>> = sets.iter().map(|set| set.to_vec()).collect();
    let times = (at(starts_at).as_nanos(), at(ends_at).as_nanos(), 1_u64);
    let none = BTreeMap::<String, String>::new();
    encode_body(&([id; 16], sets, times, "", "", none))
}

/// A change to these bytes breaks every cluster that runs two versions: a new shape is a new
/// schema number.
#[test]
fn schema_1_is_these_bytes() {
    let mut one = silence(7, r#"a="b",c=~"d""#, 0, 100);
    one.matcher_sets.extend(sets(&["e!=f,g!~h"]));
    let body = schema().encode(&one.clone().into());
    assert_eq!(body.schema, SchemaId::new(1));
    let hex: String = body.bytes.iter().map(|b| format!("{b:02x}")).collect();
    let golden = concat!(
        "07070707070707070707070707070707", // id
        "02",                               // sets
        "02",
        "0161",
        "00",
        "0162",
        "0163",
        "02",
        "0164",
        "02",
        "0165",
        "01",
        "0166",
        "0167",
        "03",
        "0168",
        "fd00002a36fe9c9717", // starts_at
        "fd00e8a07e159d9717", // ends_at
        "fd00cac471fe9c9717", // updated_at
        "036f7073",           // created_by
        "03776879",           // comment
        "01",
        "016b",
        "0176", // annotations
    );
    assert_eq!(hex, golden);
    assert_eq!(schema().decode(one.id.key(), &body), Ok(one.into()));
}

#[test]
fn what_cannot_be_evaluated_is_unreadable() {
    let ok: &[(&str, u8, &str)] = &[("a", 0, "b")];
    let invalid = |rule| Unreadable::Invalid { rule };
    let malformed = Unreadable::Malformed {
        schema: SchemaId::new(1),
    };
    let many = vec![("a", 0, "b"); MATCHERS_MAX + 1];
    let mut trailing = raw(1, &[ok], 0, 10).to_vec();
    trailing.push(0);
    for (bytes, why) in [
        (
            raw(1, &[&[("a", 2, "(")]], 0, 10),
            invalid("a matcher does not compile"),
        ),
        (
            raw(1, &[&[("", 0, "x")]], 0, 10),
            invalid("a matcher does not compile"),
        ),
        (
            raw(1, &[&[("a", 2, r"(\pL{300}){300}")]], 0, 10),
            invalid("the patterns cost too much"),
        ),
        (
            raw(1, &[&[("a", 9, "b")]], 0, 10),
            invalid("a matcher has an unknown operator"),
        ),
        (
            raw(1, &[&[("a", 2, ".*")]], 0, 10),
            invalid("a matcher set matches the empty string"),
        ),
        (raw(1, &[], 0, 10), invalid("no matcher set")),
        (raw(1, &[ok, &[]], 0, 10), invalid("a matcher set is empty")),
        (raw(1, &[&many], 0, 10), invalid("too many matchers")),
        (raw(1, &[ok], 10, 9), invalid("the end is before the start")),
        (raw(2, &[ok], 0, 10), Unreadable::WrongKey),
        (trailing.into(), malformed.clone()),
        (Bytes::from_static(b"\xff\xff"), malformed),
    ] {
        let body = crate::store::Body {
            schema: SchemaId::new(1),
            bytes,
        };
        let key = SilenceId::from_bytes([1; 16]).key();
        assert_eq!(schema().decode(key, &body), Err(why));
    }
}

/// A write that poisons a silence takes it out of the index; one that heals it brings it back.
#[test]
fn a_poisoned_silence_comes_back_when_it_is_healed() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let good = silence(3, "a=b", 0, 100);
    let mut poison = entry(&good, at(1));
    poison.body = raw(3, &[&[("a", 2, "(")]], 0, 100);
    for (entry, muted) in [
        (entry(&good, at(0)), 1),
        (poison, 0),
        (entry(&good, at(2)), 1),
    ] {
        silences.store().replica().merge(&[entry], at(0));
        assert_eq!(silences.mutes(&labels("a=b")).len(), muted);
    }
}

/// What Alertmanager cannot do (reference H5).
#[test]
fn a_silence_from_a_fast_clock_can_be_updated() {
    let (clock, fast) = (ManualClock::new(), ManualClock::new());
    let (here, there) = (store(&clock, 1), store(&fast, 2));
    fast.set(at(200));
    let id = set(&there, new("a=b", 200, 500));
    pass(&*there.store(), &*here.store(), at(0));
    clock.set(at(1));
    assert_eq!(set(&here, change(id, "a=b", 300, 600)), id, "pending here");
    assert!(here.get(id).unwrap().updated_at > at(200));
    exchange(&*here.store(), &*there.store(), at(1));
    assert_eq!(there.get(id).unwrap().ends_at, at(600));
    assert_eq!(there.get(id), here.get(id));
}

#[test]
fn merging_may_exceed_local_limits() {
    let clock = ManualClock::new();
    let limits = SilenceLimits {
        max_silences: NonZeroUsize::new(1),
        max_silence_size_bytes: NonZeroUsize::new(1),
        ..SilenceLimits::default()
    };
    let silences = store_with(&clock, 1, limits);
    let both = [silence(1, "a=b", 0, 9), silence(2, "a=b", 0, 9)].map(|one| entry(&one, at(0)));
    silences.store().replica().merge(&both, at(0));
    assert_eq!(silences.mutes(&labels("a=b")).len(), 2);
}

#[derive(Clone, Debug)]
enum MergeStep {
    Make {
        node: usize,
        ends_in: u64,
    },
    Change {
        node: usize,
        which: usize,
        ends_in: u64,
    },
    Expire {
        node: usize,
        which: usize,
    },
    Exchange {
        a: usize,
        b: usize,
    },
    Wait {
        node: usize,
        seconds: u64,
    },
}

fn any_step() -> impl Strategy<Value = MergeStep> {
    let node = 0..3_usize;
    prop_oneof![
        (node.clone(), 1..60_u64).prop_map(|(node, ends_in)| MergeStep::Make { node, ends_in }),
        (node.clone(), 0..8_usize, 1..60_u64).prop_map(|(node, which, ends_in)| {
            MergeStep::Change {
                node,
                which,
                ends_in,
            }
        }),
        (node.clone(), 0..8_usize).prop_map(|(node, which)| MergeStep::Expire { node, which }),
        (node.clone(), node.clone()).prop_map(|(a, b)| MergeStep::Exchange { a, b }),
        (node, 0..10_u64).prop_map(|(node, seconds)| MergeStep::Wait { node, seconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Three nodes with clocks that drift apart make, change, expire and exchange; once they have
    /// all exchanged they hold and mute the same, and nothing that a node had seen expired by the
    /// end of its own calls is undone.
    #[test]
    fn nodes_that_have_exchanged_agree(steps in prop::collection::vec(any_step(), 1..40)) {
        let clocks = [(); 3].map(|()| ManualClock::new());
        let mut elapsed = [0_u64; 3];
        let nodes: Vec<Silences> = clocks.iter().zip(1..).map(|(clock, n)| store(clock, n)).collect();
        let mut ids: Vec<SilenceId> = Vec::new();
        for step in steps {
            match step {
                MergeStep::Make { node, ends_in } => {
                    let now = elapsed[node];
                    ids.push(set(&nodes[node], new("a=b", now, now + ends_in)));
                }
                MergeStep::Change { node, which, ends_in } => {
                    let Some(id) = ids.get(which) else { continue };
                    let now = elapsed[node];
                    if let Ok((next, _)) = nodes[node].set(change(*id, "a=b", now, now + ends_in))
                        && next != *id {
                            ids.push(next);
                        }
                }
                MergeStep::Expire { node, which } => {
                    let Some(id) = ids.get(which) else { continue };
                    if nodes[node].expire(*id).is_ok() {
                        let silence = nodes[node].get(*id).unwrap();
                        prop_assert_eq!(silence.state(at(elapsed[node])), SilenceState::Expired);
                    }
                }
                MergeStep::Exchange { a, b } => {
                    if a != b {
                        exchange(&*nodes[a].store(), &*nodes[b].store(), at(elapsed[a].min(elapsed[b])));
                    }
                }
                MergeStep::Wait { node, seconds } => {
                    elapsed[node] = (elapsed[node] + seconds).min(120);
                    clocks[node].set(at(elapsed[node]));
                }
            }
        }
        for (a, b) in [(0, 1), (1, 2), (0, 2), (0, 1)] {
            exchange(&*nodes[a].store(), &*nodes[b].store(), at(0));
        }
        let sorted = |node: &Silences| {
            let mut held = entries(&*node.store());
            held.sort_unstable_by_key(|entry| entry.key);
            held
        };
        prop_assert_eq!(sorted(&nodes[0]), sorted(&nodes[1]));
        prop_assert_eq!(sorted(&nodes[1]), sorted(&nodes[2]));
        for clock in &clocks {
            clock.set(at(120));
        }
        prop_assert_eq!(nodes[0].mutes(&labels("a=b")), nodes[1].mutes(&labels("a=b")));
        prop_assert_eq!(nodes[1].query(&Query::default()), nodes[2].query(&Query::default()));
    }
}
