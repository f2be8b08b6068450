//! What silences may cost: all nodes decide alike, and what is admitted takes little.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::support::pass;
use super::merging::{entry, raw};
use super::*;
use crate::id::SchemaId;
use crate::store::matcher::{MatcherError, Op, PATTERN_COST_MAX, Programs, sets_match};
use crate::store::{Body, Expiry, Schema as _, Unreadable};

const PATTERN: u8 = 2;

/// What a peer makes of these matchers.
fn judged(sets: &[Vec<(String, u8, String)>]) -> Result<HeldSilence, Unreadable> {
    let sets: Vec<Vec<(&str, u8, &str)>> = sets
        .iter()
        .map(|set| set.iter().map(|(n, op, v)| (&**n, *op, &**v)).collect())
        .collect();
    let sets: Vec<&[(&str, u8, &str)]> = sets.iter().map(Vec::as_slice).collect();
    let body = Body {
        schema: SchemaId::new(1),
        bytes: raw(1, &sets, 0, 1000),
    };
    SilenceSchema::default().decode(SilenceId::from_bytes([1; 16]).key(), &body)
}

fn of_patterns(patterns: &[&str]) -> Vec<Vec<(String, u8, String)>> {
    let matcher = |pattern: &&str| ("a".to_owned(), PATTERN, (*pattern).to_owned());
    vec![patterns.iter().map(matcher).collect()]
}

/// What the author of these matchers is told on a node.
fn written(sets: &[Vec<(String, u8, String)>], silences: &Silences) -> Result<SilenceId, String> {
    let op = |op| [Op::Equal, Op::NotEqual, Op::Regex, Op::NotRegex][usize::from(op)];
    let matcher = |(name, code, value): &(String, u8, String)| Matcher::new(name, op(*code), value);
    let sets: Result<Vec<Vec<Matcher>>, _> = sets
        .iter()
        .map(|set| set.iter().map(matcher).collect())
        .collect();
    let sets = sets.map_err(|error: MatcherError| error.to_string())?;
    let new = NewSilence {
        matcher_sets: sets,
        ..new("a=b", 0, 1000)
    };
    silences
        .set(new)
        .map(|(id, _)| id)
        .map_err(|error| error.to_string())
}

const TOO_COSTLY: Unreadable = Unreadable::Invalid {
    rule: "the patterns cost too much",
};

#[test]
fn patterns_that_cost_too_much_together_are_refused_and_quarantined() {
    let silences = store(&ManualClock::new(), 1);
    // Each of them may be there alone.
    let dear = [r"\pL{6}", r"\pL{5}x", r"\PL{4}"];
    assert!(judged(&of_patterns(&dear[..1])).is_ok());
    assert_eq!(judged(&of_patterns(&dear)), Err(TOO_COSTLY));
    let told = written(&of_patterns(&dear), &silences).unwrap_err();
    assert!(
        told.contains("together") && told.contains("20000"),
        "{told}"
    );
    // In one pattern or in several sets, it is the same.
    let sets: Vec<_> = dear.iter().flat_map(|one| of_patterns(&[one])).collect();
    assert_eq!(judged(&sets), Err(TOO_COSTLY));
    let told = written(&of_patterns(&[&dear.concat()]), &silences).unwrap_err();
    assert!(told.contains("costs at least"), "{told}");
    assert_eq!(judged(&of_patterns(&[&dear.concat()])), Err(TOO_COSTLY));
    assert_eq!(silences.patterns_compiled(), 0);
}

#[test]
fn annotations_have_a_limit_and_its_error_has_a_type() {
    let silences = store(&ManualClock::new(), 1);
    let with = |count: usize| NewSilence {
        annotations: (0..count).map(|n| (n.to_string(), String::new())).collect(),
        ..new("a=b", 0, 100)
    };
    assert!(silences.set(with(ANNOTATIONS_MAX)).is_ok());
    let (found, max) = (ANNOTATIONS_MAX + 1, ANNOTATIONS_MAX);
    let error = RuleError::TooManyAnnotations { found, max };
    assert_eq!(silences.set(with(found)).unwrap_err(), error.into());
}

/// Twenty silences of 256 patterns each, 70 kB in all, which compile to gigabytes.
#[test]
fn dear_patterns_of_a_member_are_quarantined_unseen() {
    let silences = store(&ManualClock::new(), 1);
    let sets = vec![("a", PATTERN, r"\pL{15}"); 256];
    let entries: Vec<_> = (1..=20)
        .map(|id| {
            let one = Silence::new(SilenceId::from_bytes([id; 16]), Vec::new(), at(0), at(1000));
            let mut entry = entry(&one, at(0));
            entry.body = raw(id, &[&sets], 0, 1000);
            entry
        })
        .collect();
    silences.store().replica().merge(&entries, at(0));
    let why: Vec<_> = silences
        .quarantined(99)
        .into_iter()
        .map(|it| it.why)
        .collect();
    assert_eq!(why, vec![TOO_COSTLY; 20]);
    assert!(silences.mutes(&labels("a=bbbbbbbbbbbbbbb")).is_empty());
    assert_eq!(
        (silences.patterns_compiled(), silences.patterns_bytes()),
        (0, 0)
    );
}

/// As many patterns as may be, all different and all to be compiled, and a budget for a small part of them.
#[test]
fn five_thousand_patterns_that_do_not_fit_are_evaluated_rightly() {
    const BUDGET: usize = 256 << 10;
    let limits = SilenceLimits::default().patterns_bytes_max(BUDGET);
    let clock = ManualClock::new();
    let silences = store_with(&clock, 1, limits);
    let ids: Vec<SilenceId> = (0..20)
        .map(|silence| {
            let mut matchers = String::new();
            for n in 0..256 {
                write!(matchers, "l{n}=~\"[a-z]+x{silence}y{n}z?\",").unwrap();
            }
            set(&silences, new(&matchers, 0, 100))
        })
        .collect();
    assert!(silences.quarantined(1).is_empty());
    for round in 1..=3 {
        for which in [3, 14] {
            let value = |n| (format!("l{n}"), format!("ax{which}y{n}"));
            let alert: Labels = (0..256).map(value).collect();
            assert_eq!(silences.mutes(&alert), [ids[which]]);
            assert!((BUDGET / 2..=BUDGET).contains(&silences.patterns_bytes()));
        }
        // The other nineteen are out after their first pattern; some patterns are found.
        let compiled = silences.patterns_compiled();
        let all = 2 * (256 + 19) * round;
        assert!((500..=all).contains(&compiled), "{compiled} of {all}");
    }
}

/// Each evaluation of a silence that was read from a store uses what the store holds compiled.
#[test]
fn a_silence_that_was_read_whole_compiles_within_the_budget() {
    let silences = store(&ManualClock::new(), 1);
    let id = set(&silences, new("a=~b.*c", 0, 100));
    let alert = labels("a=bc");
    for _ in 0..2 {
        let whole = silences.get(id).unwrap();
        assert!(whole.matches(&alert));
        assert!(whole.matcher_sets[0][0].clone().matches("b-c"));
    }
    assert_eq!(silences.mutes(&alert), [id]);
    assert_eq!(silences.patterns_compiled(), 1);
    // What takes little stays, and what takes much is read anew.
    assert!(Arc::ptr_eq(
        &silences.get(id).unwrap(),
        &silences.get(id).unwrap()
    ));
    let many = sets(&[&"a=~b+,".repeat(200)]);
    let many = NewSilence {
        matcher_sets: many,
        ..new("a=b", 0, 100)
    };
    let id = set(&silences, many);
    assert!(!Arc::ptr_eq(
        &silences.get(id).unwrap(),
        &silences.get(id).unwrap()
    ));
}

/// What a silence keeps, in its own fields and in the index, is a small multiple of its bytes, or
/// little.
#[test]
fn what_is_kept_of_a_silence_is_bounded_by_its_bytes() {
    for pattern in [
        ".+",
        "a+",
        "x.*y",
        "[a-z]",
        "a|b|c|d",
        "(a)",
        r"\d",
        "aaaaaaaaaaaaaaaaaaa.bbbbbbbb",
    ] {
        let silence = judged(&of_patterns(&[pattern; 240]));
        let silence = silence.unwrap_or_else(|why| panic!("{pattern}: {why}"));
        let bytes = silence.body().len();
        assert!(
            silence.kept_bytes() <= 6 * bytes + 256,
            "{pattern}: {silence:?}"
        );
        let whole = silence.whole();
        assert_eq!(*silence.whole(), *whole);
        assert!(
            silence.kept_bytes() <= 9 * bytes + 1024,
            "{pattern}: {silence:?}"
        );
    }
}

fn any_sets() -> impl Strategy<Value = Vec<Vec<(String, u8, String)>>> {
    let piece = prop::sample::select(vec![
        "a", "b", "|", ".", ".*", "[ab]", "(a|b)", "(", ")", "[", "*", "+", "{3}", "{1000}",
        r"\pL", r"\pL{9}", "(?i)", r"\b", r"\.", "x{999}", "((((", "é",
    ]);
    let pattern = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    let value = prop_oneof![4 => pattern, 1 => "[ab]{0,2}".prop_map(String::from)];
    let matcher = ("[ab]{0,1}c?", 0..4_u8, value);
    let set = prop::collection::vec(matcher, 0..5);
    prop::collection::vec(set, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A node refuses its author what its peers would quarantine, and nothing else; what it writes is
    /// read by its peers.
    #[test]
    fn what_may_be_written_here_is_read_elsewhere_and_nothing_else(sets in any_sets()) {
        let clock = ManualClock::new();
        let (here, there) = (store(&clock, 1), store(&clock, 2));
        let (told, judged) = (written(&sets, &here), judged(&sets));
        prop_assert_eq!(told.is_ok(), judged.is_ok(), "{:?} and {:?}", told, judged);
        pass(&*here.store(), &*there.store(), at(0));
        prop_assert!(there.quarantined(1).is_empty());
        prop_assert_eq!(there.store().len(), usize::from(told.is_ok()));
        if let Ok(judged) = judged {
            let cost: u32 = judged.whole().matcher_sets.iter().flatten().map(Matcher::cost).sum();
            prop_assert!(cost <= PATTERN_COST_MAX);
        }
        prop_assert_eq!(here.patterns_compiled() + there.patterns_compiled(), 0);
    }

    /// A silence is evaluated on its bytes as its matchers would be one by one.
    #[test]
    fn what_is_evaluated_on_bytes_is_what_the_matchers_say(
        sets in any_sets(),
        alerts in prop::collection::vec(prop::collection::btree_map("[ab]?c?", "[abxé.]{0,3}", 0..4), 4),
        budget in prop::sample::select(vec![0, 20_000, 1 << 20]),
    ) {
        let Ok(held) = judged(&sets) else {
            return Ok(());
        };
        let programs = Programs::new(budget);
        for alert in &alerts {
            let expected = sets_match(&held.whole().matcher_sets, alert);
            prop_assert_eq!(held.matches(alert, &programs), expected, "{:?} of {:?}", held, alert);
        }
        let local = HeldSilence::from(Silence::clone(&held.whole()));
        prop_assert_eq!(&local, &held);
        for alert in &alerts {
            prop_assert_eq!(held.matches(alert, &programs), local.matches(alert, &programs));
        }
    }
}

/// A record that somebody else's code put into the map is as good as one that was set.
#[test]
fn a_silence_that_is_put_into_the_map_keeps_to_the_budget() {
    let clock = ManualClock::new();
    let silences = store_with(&clock, 1, SilenceLimits::default().patterns_bytes_max(0));
    let id = SilenceId::from_bytes([9; 16]);
    let silence = Silence::new(id, sets(&["a=~b.*c"]), at(0), at(100));
    let _ = silences.map().put(silence.into(), Expiry::Never).unwrap();
    assert_eq!(silences.mutes(&labels("a=bc")), [id]);
    assert_eq!(
        (silences.patterns_compiled(), silences.patterns_bytes()),
        (1, 0)
    );
}
