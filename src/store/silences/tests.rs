//! The promises of the store of silences, each as a claim; those that come from Alertmanager cite
//! where in its source they are from.

mod cost;
mod merging;
mod muting;
mod queries;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::support::{ManualClock, at};
use super::*;
use crate::store::matcher::{Labels, Matcher, Syntax};
use crate::store::{Limits, WriteError};
use crate::time::Timestamp;

const RETENTION: Duration = Duration::from_secs(1000);

fn store_with(clock: &ManualClock, seed: u8, limits: SilenceLimits) -> Silences {
    Silences::new(limits, Limits::default(), clock.context(), [seed; 32])
}

fn store(clock: &ManualClock, seed: u8) -> Silences {
    let limits = SilenceLimits {
        retention: RETENTION,
        ..SilenceLimits::default()
    };
    store_with(clock, seed, limits)
}

fn sets(texts: &[&str]) -> Vec<Vec<Matcher>> {
    texts
        .iter()
        .map(|text| Syntax::Fallback.matchers(text).unwrap())
        .collect()
}

fn new(matchers: &str, starts_at: u64, ends_at: u64) -> NewSilence {
    NewSilence {
        id: None,
        matcher_sets: sets(&[matchers]),
        starts_at: Some(at(starts_at)),
        end: SilenceEnd::At(at(ends_at)),
        created_by: "ops".into(),
        comment: "maintenance".into(),
        annotations: BTreeMap::new(),
    }
}

fn change(id: SilenceId, matchers: &str, starts_at: u64, ends_at: u64) -> NewSilence {
    NewSilence {
        id: Some(id),
        ..new(matchers, starts_at, ends_at)
    }
}

fn set(store: &Silences, new: NewSilence) -> SilenceId {
    store.set(new).unwrap().0
}

fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn states(store: &Silences) -> (usize, usize, usize) {
    let counts = store.count_by_state();
    (counts.pending, counts.active, counts.expired)
}

/// As `CalcSilenceState` of `types/types.go`, and the instant of the end, where Alertmanager disagrees
/// with itself.
#[test]
fn states_follow_the_clock() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let id = set(&silences, new("a=b", 10, 20));
    for (now, state) in [
        (0, SilenceState::Pending),
        (9, SilenceState::Pending),
        (10, SilenceState::Active),
        (19, SilenceState::Active),
        (20, SilenceState::Expired),
        (21, SilenceState::Expired),
    ] {
        clock.set(at(now));
        assert_eq!(silences.get(id).unwrap().state(at(now)), state, "{now}");
        let muted = silences.mutes(&labels("a=b"));
        assert_eq!(!muted.is_empty(), state == SilenceState::Active, "{now}");
    }
}

#[test]
fn a_silence_can_be_made_for_so_long_by_the_clock_of_its_store() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    clock.set(at(50));
    let matchers = || sets(&["a=b"]).remove(0);
    let minute = Duration::from_secs(60);
    let from_now = set(&silences, NewSilence::lasting(matchers(), minute));
    let later = NewSilence::lasting(matchers(), minute).starts_at(at(100));
    let later = set(&silences, later);
    let times = |id| {
        let silence = silences.get(id).unwrap();
        (silence.starts_at, silence.ends_at)
    };
    assert_eq!(times(from_now), (at(50), at(110)));
    assert_eq!(times(later), (at(100), at(160)));
    // Extended, it lasts so long from its start on.
    let longer = NewSilence::lasting(matchers(), 2 * minute);
    let longer = longer.id(from_now).starts_at(at(50));
    clock.set(at(80));
    assert_eq!(set(&silences, longer), from_now);
    assert_eq!(times(from_now), (at(50), at(170)));
}

/// The rules of `validateSilence` of `silence/silence.go`, one by one.
#[test]
fn what_breaks_a_rule_is_refused() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    clock.set(at(50));
    let with = |matcher_sets| NewSilence {
        matcher_sets,
        ..new("a=b", 60, 70)
    };
    let rule = |rule: RuleError| Err(SilenceError::Rule(rule));
    let many = vec![sets(&["a=b"]).remove(0).remove(0); MATCHERS_MAX + 1];
    for (new, error) in [
        (with(vec![]), rule(RuleError::NoSets)),
        (
            with(sets(&["a=b", ""])),
            rule(RuleError::EmptySet { set: 1 }),
        ),
        (
            with(sets(&[r#"a="",b=~".*""#])),
            rule(RuleError::MatchesEmpty { set: 0 }),
        ),
        (
            with(vec![many]),
            rule(RuleError::TooManyMatchers {
                found: MATCHERS_MAX + 1,
                max: MATCHERS_MAX,
            }),
        ),
        (
            NewSilence {
                end: SilenceEnd::At(Timestamp::ZERO),
                ..new("a=b", 60, 70)
            },
            rule(RuleError::ZeroTime),
        ),
        (
            new("a=b", 60, 59),
            rule(RuleError::EndBeforeStart {
                starts_at: at(60),
                ends_at: at(59),
            }),
        ),
        (
            new("a=b", 60, 60),
            Err(SilenceError::NoDuration { ends_at: at(60) }),
        ),
        (
            new("a=b", 10, 49),
            Err(SilenceError::EndInPast {
                ends_at: at(49),
                now: at(50),
            }),
        ),
    ] {
        assert_eq!(silences.set(new).map(|(id, _)| id), error);
    }
    // Only positive matchers are looked at: these ask for something.
    set(&silences, with(sets(&["a!=b"])));
    set(&silences, with(sets(&["a!~.*"])));
    set(&silences, with(sets(&[r#"a="",b=c"#])));
}

/// As `setSilence` of `silence/silence.go`: a missing start is now, and a start in the past is raised to
/// now.
#[test]
fn a_new_silence_starts_now_at_the_earliest() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    clock.set(at(5));
    for starts_at in [None, Some(at(3))] {
        let id = set(
            &silences,
            NewSilence {
                starts_at,
                ..new("a=b", 0, 20)
            },
        );
        let silence = silences.get(id).unwrap();
        assert_eq!((silence.starts_at, silence.updated_at), (at(5), at(5)));
        assert_eq!(id.to_string().as_bytes()[14], b'4', "ids are version 4");
    }
    assert_eq!(silences.store().len(), 2);
}

/// The cases of `canUpdate` of `silence/silence.go`. The silence to change runs from 100 to 200.
#[test]
fn a_change_is_in_place_where_it_does_not_rewrite_history() {
    // What, when, the change's matchers, start and end, whether it keeps the id.
    for (what, now, matchers, starts_at, ends_at, in_place) in [
        ("active, longer", 150, "a=b,c=d", 100, 300, true),
        ("active, shorter", 150, "a=b,c=d", 100, 160, true),
        ("active, other start", 150, "a=b,c=d", 101, 300, false),
        ("active, other matchers", 150, "a=b", 100, 300, false),
        ("active, other order", 150, "c=d,a=b", 100, 300, false),
        ("active, other operator", 150, "a=b,c=~d", 100, 300, false),
        ("pending, earlier", 50, "a=b,c=d", 60, 200, true),
        ("pending, from now", 50, "a=b,c=d", 50, 200, true),
        ("pending, from before", 50, "a=b,c=d", 49, 200, false),
        ("pending, other matchers", 50, "a=x", 100, 200, false),
        ("expired", 250, "a=b,c=d", 100, 300, false),
    ] {
        let clock = ManualClock::new();
        let silences = store(&clock, 1);
        let id = set(&silences, new("a=b,c=d", 100, 200));
        clock.set(at(now));
        let next = set(&silences, change(id, matchers, starts_at, ends_at));
        assert_eq!(next == id, in_place, "{what}");
        let (old, new) = (silences.get(id).unwrap(), silences.get(next).unwrap());
        assert_eq!(
            (new.ends_at, new.updated_at),
            (at(ends_at), at(now)),
            "{what}"
        );
        if !in_place {
            assert_eq!(old.state(at(now)), SilenceState::Expired, "{what}");
            assert!(new.starts_at >= at(now), "{what}");
            assert_eq!(silences.store().len(), 2, "{what}");
        }
    }
}

#[test]
fn the_start_may_differ_within_its_second() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let id = set(&silences, new("a=b", 0, 100));
    clock.set(at(10));
    let again = NewSilence {
        starts_at: Some(at(0).plus(Duration::from_millis(999))),
        ..change(id, "a=b", 0, 100)
    };
    assert_eq!(set(&silences, again), id);
}

#[test]
fn text_fields_change_in_place() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let id = set(&silences, new("a=b", 0, 100));
    let again = NewSilence {
        comment: "more".into(),
        created_by: "dev".into(),
        annotations: [("ticket".into(), "7".into())].into(),
        ..change(id, "a=b", 0, 100)
    };
    assert_eq!(set(&silences, again), id);
    let silence = silences.get(id).unwrap();
    assert_eq!((&*silence.comment, &*silence.created_by), ("more", "dev"));
    assert_eq!(silence.annotations["ticket"], "7");
    assert_eq!(silence.updated_at, at(0).plus(Duration::from_nanos(1)));
}

#[test]
fn an_unknown_id_is_not_found() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let id = SilenceId::from_random([7; 16]);
    let not_found = SilenceError::NotFound { id };
    let error = silences.set(change(id, "a=b", 0, 10)).unwrap_err();
    assert_eq!(error, not_found);
    assert_eq!(silences.expire(id).unwrap_err(), not_found);
    assert!(silences.get(id).is_none());
}

/// As `Expire` of `silence/silence.go`.
#[test]
fn expiring_ends_a_silence_now() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let active = set(&silences, new("a=b", 0, 100));
    let pending = set(&silences, new("a=b", 50, 100));
    clock.set(at(10));
    assert_eq!(silences.mutes(&labels("a=b")), [active]);
    for id in [active, pending] {
        assert!(silences.expire(id).unwrap().is_some());
        assert!(
            silences.expire(id).unwrap().is_none(),
            "a second time is no write"
        );
    }
    assert!(silences.mutes(&labels("a=b")).is_empty());
    let (a, p) = (
        silences.get(active).unwrap(),
        silences.get(pending).unwrap(),
    );
    assert_eq!((a.starts_at, a.ends_at), (at(0), at(10)));
    assert_eq!((p.starts_at, p.ends_at), (at(10), at(10)));
    assert_eq!(states(&silences), (0, 0, 2));
}

#[test]
fn an_entry_expires_after_its_retention_but_never_earlier_than_before() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let id = set(&silences, new("a=b", 0, 100));
    let expiry = |silences: &Silences| {
        silences
            .store()
            .replica()
            .held(&id.key())
            .unwrap()
            .entry
            .expires_at
    };
    assert_eq!(expiry(&silences), at(100).plus(RETENTION));
    clock.set(at(10));
    let _ = silences.expire(id).unwrap();
    assert_eq!(expiry(&silences), at(100).plus(RETENTION));
}

#[test]
fn retention_hides_what_ended_long_ago() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let id = set(&silences, new("a=b", 0, 5000));
    clock.set(at(10));
    let _ = silences.expire(id).unwrap();
    clock.set(at(1009));
    assert!(silences.get(id).is_some());
    clock.set(at(1010));
    assert!(silences.get(id).is_none());
    assert!(silences.query(&Query::default()).is_empty());
    assert_eq!(states(&silences), (0, 0, 0));
    let error = silences.expire(id).unwrap_err();
    assert_eq!(error, SilenceError::NotFound { id });
    assert_eq!(silences.store().len(), 1, "hidden, not freed");
}

#[test]
fn limits_hold_for_local_writes() {
    let clock = ManualClock::new();
    let limits = SilenceLimits {
        max_silences: NonZeroUsize::new(2),
        max_silence_size_bytes: NonZeroUsize::new(200),
        ..SilenceLimits::default()
    };
    let silences = store_with(&clock, 1, limits);
    let wordy = |comment: usize| NewSilence {
        comment: "x".repeat(comment),
        ..new("a=b", 0, 100)
    };
    let error = silences.set(wordy(200)).unwrap_err();
    assert!(matches!(
        error,
        SilenceError::TooLarge {
            bytes: 201..,
            max: 200
        }
    ));
    let id = set(&silences, wordy(100));
    let second = set(&silences, new("c=d", 0, 100));
    let _ = silences.expire(second).unwrap();
    let full = SilenceError::TooManySilences { held: 2, max: 2 };
    assert_eq!(
        silences.set(wordy(1)).unwrap_err(),
        full,
        "expired ones count"
    );
    // A change that needs a new silence fails before it ends the old one.
    assert_eq!(silences.set(change(id, "e=f", 0, 100)).unwrap_err(), full);
    assert_eq!(silences.mutes(&labels("a=b")), [id]);
    // An update in place needs no room, but must fit.
    assert_eq!(set(&silences, change(id, "a=b", 0, 300)), id);
    let long = NewSilence {
        id: Some(id),
        ..wordy(200)
    };
    let error = silences.set(long).unwrap_err();
    assert!(matches!(error, SilenceError::TooLarge { .. }));
}

#[test]
fn a_full_store_does_not_end_a_silence_it_cannot_replace() {
    let clock = ManualClock::new();
    let store = Limits {
        entries_max: 1,
        ..Limits::default()
    };
    let silences = Silences::new(SilenceLimits::default(), store, clock.context(), [1; 32]);
    let id = set(&silences, new("a=b", 0, 100));
    let error = silences.set(change(id, "c=d", 0, 100)).unwrap_err();
    assert!(matches!(
        error,
        SilenceError::Write(WriteError::StoreFull { max: 1, .. })
    ));
    assert_eq!(silences.mutes(&labels("a=b")), [id]);
}

#[test]
fn an_alert_is_muted_by_any_set_of_any_active_silence() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let two = NewSilence {
        matcher_sets: sets(&["a=b,c=~d+", "x=y"]),
        ..new("a=b", 0, 100)
    };
    let two = set(&silences, two);
    let negative = set(&silences, new("a!=b,q=r", 0, 100));
    let mut both = vec![two, negative];
    both.sort_unstable();
    assert_eq!(silences.mutes(&labels("a=b,c=dd")), [two]);
    assert!(silences.mutes(&labels("a=b,c=e")).is_empty());
    assert_eq!(silences.mutes(&labels("x=y,q=r")), both);
    assert!(silences.mutes(&labels("q=s")).is_empty());
    assert!(silences.mutes(&labels("")).is_empty());
}

#[test]
fn the_same_seed_gives_the_same_ids() {
    let clock = ManualClock::new();
    let ids = |seed| {
        let silences = store(&clock, seed);
        [1, 2].map(|n| set(&silences, new("a=b", 0, 10 + n)))
    };
    assert_eq!(ids(1), ids(1));
    assert_ne!(ids(1), ids(2));
    assert_ne!(ids(1)[0], ids(1)[1]);
}
