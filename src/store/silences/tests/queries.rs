//! Lists: their order and their conditions.

use super::super::support::{ManualClock, at};
use super::*;

/// As `SortSilences` of `api/v2/api.go`.
#[test]
fn lists_are_sorted_by_state_and_time() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let ended_first = set(&silences, new("a=b", 0, 10));
    let ended_last = set(&silences, new("a=b", 0, 20));
    let starts_last = set(&silences, new("a=b", 80, 200));
    let starts_first = set(&silences, new("a=b", 70, 210));
    let ends_last = set(&silences, new("a=b", 0, 90));
    let ends_first = set(&silences, new("a=b", 0, 60));
    clock.set(at(50));
    let listed = silences.query(&Query::default());
    let ids: Vec<SilenceId> = listed.iter().map(|one| one.silence.id).collect();
    let order = [
        ends_first,
        ends_last,
        starts_first,
        starts_last,
        ended_last,
        ended_first,
    ];
    assert_eq!(ids, order);
    assert_eq!(listed[0].state, SilenceState::Active);
    assert_eq!(listed[5].state, SilenceState::Expired);
}

#[test]
fn conditions_of_a_query_are_anded() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let plain = set(&silences, new("a=b", 0, 100));
    let pattern = set(&silences, new("a=~b.*,c=d", 0, 100));
    let pending = set(&silences, new("a=b", 50, 100));
    let two = NewSilence {
        matcher_sets: sets(&["a=z", "c=d,e!=f"]),
        ..new("a=b", 0, 100)
    };
    let two = set(&silences, two);
    let ask = |query: Query| {
        let listed = silences.query(&query).into_iter();
        let mut ids: Vec<SilenceId> = listed.map(|one| one.silence.id).collect();
        ids.sort_unstable();
        ids
    };
    let sorted = |mut ids: Vec<SilenceId>| {
        ids.sort_unstable();
        ids
    };
    let all = vec![plain, pattern, pending, two];
    assert_eq!(ask(Query::default()), sorted(all.clone()));
    let some = Query {
        ids: Some(vec![plain, pending, plain, SilenceId::from_random([9; 16])]),
        ..Query::default()
    };
    assert_eq!(ask(some.clone()), sorted(vec![plain, pending]));
    let active = Query {
        states: vec![SilenceState::Active],
        ..some
    };
    assert_eq!(ask(active), [plain]);
    // By labels: through the index without expired ones, by a scan with them.
    let live = vec![SilenceState::Active, SilenceState::Pending];
    for states in [live, vec![]] {
        let matching = Query {
            states,
            matching: Some(labels("a=b,c=d")),
            ..Query::default()
        };
        assert_eq!(ask(matching), sorted(all.clone()));
    }
    let filter = |text| Query {
        filter: sets(&[text]).remove(0),
        ..Query::default()
    };
    assert_eq!(ask(filter("c=d")), sorted(vec![pattern, two]));
    assert_eq!(ask(filter("c=d,e!=f")), [two]);
    assert!(ask(filter("a=z,c=d")).is_empty(), "matchers of two sets");
    assert_eq!(
        ask(filter("a=~b.*")),
        [pattern],
        "as written, not by meaning"
    );
    assert!(
        ask(Query {
            ids: Some(vec![]),
            ..Query::default()
        })
        .is_empty()
    );
}
