//! A remembered result is the one that an evaluation of all silences would give.

use proptest::prelude::*;

use super::*;

fn muting(silences: &Silences, alerts_max: usize) -> Muting {
    Muting::new(silences.clone(), NonZeroUsize::new(alerts_max).unwrap())
}

#[test]
fn a_remembered_alert_follows_every_change() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let muting = muting(&silences, 10);
    let alert = labels("a=b");
    assert_eq!(muting.mutes(&alert), []);
    let first = set(&silences, new("a=b", 0, 100));
    let _other = set(&silences, new("a=c", 0, 100));
    assert_eq!(muting.mutes(&alert), [first]);
    let pattern = set(&silences, new("a=~b+", 5, 100));
    assert_eq!(muting.mutes(&alert), [first], "it has not started");
    clock.set(at(5));
    let mut both = [first, pattern];
    both.sort_unstable();
    assert_eq!(muting.mutes(&alert), both);
    let _ = silences.expire(first).unwrap();
    assert_eq!(muting.mutes(&alert), [pattern]);
    clock.set(at(100));
    assert_eq!(muting.mutes(&alert), [], "all have ended");
    clock.set(at(50));
    assert_eq!(muting.mutes(&alert), [pattern], "a clock that was set back");
}

#[test]
fn only_what_changed_is_evaluated() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let muting = muting(&silences, 10);
    let old = set(&silences, new("a=~b.*,a=~.*c", 0, 100));
    let alert = labels("a=bc");
    let other = set(&silences, new("c=d", 0, 100));
    assert_eq!(muting.mutes(&alert), [old]);
    let looked_at = |scanned, skipped| {
        let expected = LookedAt { scanned, skipped };
        assert_eq!(muting.looked_at(), expected);
    };
    looked_at(1, 1);
    assert_eq!(muting.mutes(&alert), [old]);
    looked_at(1, 3);
    let compiled = silences.patterns_compiled();
    let new = set(&silences, new("a=~b.*,a=~.+c", 0, 100));
    let mut both = [old, new];
    both.sort_unstable();
    assert_eq!(muting.mutes(&alert), both);
    // Of the new one's two patterns, one is known already.
    assert_eq!(silences.patterns_compiled(), compiled + 1);
    looked_at(2, 5);
    let _ = silences.expire(other).unwrap();
    assert_eq!(muting.mutes(&alert), both);
    looked_at(2, 8);
}

#[test]
fn it_remembers_so_many_and_those_that_are_asked_about() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let muting = muting(&silences, 8);
    let often = labels("a=often");
    for n in 0..100 {
        let _ = muting.mutes(&labels(&format!("a=n{n}")));
        let _ = muting.mutes(&often);
        assert!(muting.len() <= 8, "{} are remembered", muting.len());
    }
    let known = muting.lock();
    assert!(known.new.contains_key(&often));
}

#[test]
fn alerts_are_forgotten_when_it_is_told_so() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let muting = muting(&silences, 4);
    for alert in ["a=1", "a=2", "a=3"] {
        let _ = muting.mutes(&labels(alert));
    }
    muting.retain(|alert| *alert == labels("a=2"));
    assert_eq!(muting.len(), 1);
    let silence = set(&silences, new("a=~[12]", 0, 100));
    for alert in ["a=1", "a=2"] {
        assert_eq!(muting.mutes(&labels(alert)), [silence]);
    }
}

/// More changes than are looked at one by one.
#[test]
fn after_many_changes_it_begins_anew() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let muting = muting(&silences, 8);
    let alert = labels("a=b");
    assert_eq!(muting.mutes(&alert), []);
    let made: Vec<_> = (0..600)
        .map(|_| set(&silences, new("a=b", 0, 100)))
        .collect();
    assert_eq!(muting.mutes(&alert).len(), made.len());
}

#[derive(Clone, Debug)]
enum MutingStep {
    Make(&'static str, u64, u64),
    /// Written elsewhere, with an entry that expires before the silence ends.
    MakeShort(&'static str, u64, u64),
    Change(usize, u64),
    Expire(usize),
    Remove(usize),
    Clock(u64),
    Ask(&'static str),
}

const MATCHERS: [&str; 6] = [
    "a=b",
    "a=~\"b|c\"",
    "a=~.+",
    "a!=b,c=~d?",
    "c!=\"\"",
    "a=c,c=~d.*",
];
const ALERTS: [&str; 5] = ["a=b", "a=c,c=d", "c=de", "a=x", ""];

fn any_step() -> impl Strategy<Value = MutingStep> {
    prop_oneof![
        3 => (prop::sample::select(&MATCHERS[..]), 0..50_u64, 1..50_u64)
            .prop_map(|(matchers, from, lasts)| MutingStep::Make(matchers, from, lasts)),
        2 => (prop::sample::select(&MATCHERS[..]), 2..50_u64, 1..40_u64)
            .prop_map(|(matchers, lasts, expires)| MutingStep::MakeShort(matchers, lasts, expires)),
        1 => (0..20_usize, 1..50_u64).prop_map(|(which, lasts)| MutingStep::Change(which, lasts)),
        1 => (0..20_usize).prop_map(MutingStep::Expire),
        1 => (0..20_usize).prop_map(MutingStep::Remove),
        2 => (0..100_u64).prop_map(MutingStep::Clock),
        6 => prop::sample::select(&ALERTS[..]).prop_map(MutingStep::Ask),
    ]
}

/// The alert is asked about before its silence's entry expires, and after.
#[test]
fn a_silence_whose_entry_has_gone_mutes_nothing() {
    let clock = ManualClock::new();
    let (silences, elsewhere) = (store(&clock, 1), store(&clock, 2));
    let muting = muting(&silences, 4);
    let id = set(&elsewhere, new("a=b", 0, 100));
    let mut entry = elsewhere.store().replica().held(&id.key()).unwrap().entry;
    entry.expires_at = at(50);
    silences.store().replica().merge(&[entry], at(0));
    let alert = labels("a=b");
    assert_eq!(
        (muting.mutes(&alert), silences.mutes(&alert)),
        (vec![id], vec![id])
    );
    clock.set(at(50));
    assert_eq!(
        (muting.mutes(&alert), silences.mutes(&alert)),
        (vec![], vec![])
    );
    let _ = silences.store().collect(at(90));
    assert_eq!(
        (muting.mutes(&alert), silences.mutes(&alert)),
        (vec![], vec![])
    );
}

#[test]
fn a_clock_that_was_set_back_costs_one_evaluation() {
    let clock = ManualClock::new();
    let silences = store(&clock, 1);
    let muting = muting(&silences, 4);
    let alert = labels("a=b");
    let silence = set(&silences, new("a=b", 0, 100));
    clock.set(at(50));
    assert_eq!(muting.mutes(&alert), [silence]);
    clock.set(at(20));
    for _ in 0..3 {
        assert_eq!(muting.mutes(&alert), [silence]);
    }
    assert_eq!(muting.looked_at().scanned, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens to the silences and to the clock.
    #[test]
    fn what_is_remembered_is_what_would_be_found(steps in prop::collection::vec(any_step(), 1..80)) {
        let clock = ManualClock::new();
        let limits = SilenceLimits { retention: Duration::from_secs(10), ..SilenceLimits::default() };
        let silences = store_with(&clock, 1, limits);
        let elsewhere = store_with(&clock, 2, limits);
        let muting = muting(&silences, 4);
        let mut now = 0;
        let mut ids = Vec::new();
        for step in steps {
            match step {
                MutingStep::Make(matchers, from, lasts) => {
                    ids.push(set(&silences, new(matchers, now + from, now + from + lasts)));
                }
                MutingStep::MakeShort(matchers, lasts, expires) => {
                    let id = set(&elsewhere, new(matchers, now, now + lasts));
                    let mut entry = elsewhere.store().replica().held(&id.key()).unwrap().entry;
                    entry.expires_at = at(now + expires.min(lasts - 1));
                    silences.store().replica().merge(&[entry], at(now));
                    ids.push(id);
                }
                MutingStep::Change(which, lasts) => {
                    let Some(silence) = ids.get(which).and_then(|id| silences.get(*id)) else { continue };
                    let changed = NewSilence {
                        id: Some(silence.id),
                        matcher_sets: silence.matcher_sets.clone(),
                        ..new("a=b", now, now + lasts)
                    };
                    if let Ok((id, _)) = silences.set(changed) {
                        ids.push(id);
                    }
                }
                MutingStep::Expire(which) => {
                    let _ = ids.get(which).map(|id| silences.expire(*id));
                }
                MutingStep::Remove(which) => {
                    let _ = ids.get(which).map(|id| silences.map().remove(&id.key()));
                }
                MutingStep::Clock(to) => {
                    now = to;
                    clock.set(at(to));
                    // Where a clock is set back, it is this that shows the store what it had hidden.
                    while silences.store().collect(at(now)).is_some_and(|next| next <= at(now)) {}
                }
                MutingStep::Ask(alert) => {
                    let muted = muting.mutes(&labels(alert));
                    prop_assert!(muted.iter().all(|id| silences.map().get(&id.key()).is_some()));
                    prop_assert_eq!(muting.mutes(&labels(alert)), silences.mutes(&labels(alert)), "{}", alert);
                }
            }
        }
        for alert in ALERTS {
            prop_assert_eq!(muting.mutes(&labels(alert)), silences.mutes(&labels(alert)), "{}", alert);
        }
    }
}
