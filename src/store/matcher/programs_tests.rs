//! The budget holds whatever is asked, and what is dropped is missed by nobody.

use super::*;

fn ask(programs: &Programs, pattern: &str, label: &str) -> bool {
    let known = Pattern::new(pattern).unwrap();
    programs.matches(pattern, &known, label).unwrap()
}

#[test]
fn what_is_held_is_not_compiled_again_the_one_who_asks() {
    let programs = Programs::new(1 << 20);
    for _ in 0..3 {
        assert!(ask(&programs, "a.*b", "axb"));
        assert!(!ask(&programs, "a.*b.", "a1b"));
    }
    assert_eq!(programs.compiled(), 2);
    let bytes = programs.bytes();
    assert!((1_000..10_000).contains(&bytes), "{bytes}");
}

#[test]
fn what_the_ends_or_a_short_list_tell_is_not_compiled() {
    let programs = Programs::new(1 << 20);
    assert!(!ask(&programs, "a.*b", "xb"));
    assert!(ask(&programs, "a|b", "b"));
    assert!(ask(&programs, "a*", ""));
    assert_eq!((programs.compiled(), programs.bytes()), (0, 0));
}

/// Rounds over three times as many patterns as fit: every result is right, the budget is never exceeded,
/// and a good part is found from the round before.
#[test]
fn more_patterns_than_fit_stay_within_the_budget() {
    let one = Programs::new(1 << 20);
    assert!(ask(&one, "node-100.*", "node-100x"));
    let budget = 100 * one.bytes();
    let programs = Programs::new(budget);
    let rounds = 10;
    for round in 0..rounds {
        for n in 100..400 {
            let (pattern, label) = (format!("node-{n}.*"), format!("node-{n}-{round}"));
            assert!(ask(&programs, &pattern, &label));
            assert!(programs.bytes() <= budget);
        }
    }
    assert!(programs.bytes() > budget / 2);
    let compiled = programs.compiled();
    let all = rounds * 300;
    assert!(
        (300..all * 85 / 100).contains(&compiled),
        "{compiled} of {all}"
    );
}

#[test]
fn a_pattern_larger_than_the_budget_is_used_and_not_kept() {
    let programs = Programs::new(0);
    assert!(ask(&programs, "a.*", "ab") && ask(&programs, "a.*", "ac"));
    assert_eq!((programs.compiled(), programs.bytes()), (2, 0));
}

/// A long list is sorted once, and counts as what it takes.
#[test]
fn a_long_list_is_held_as_texts() {
    let programs = Programs::new(1 << 20);
    let list: Vec<String> = (0..500).map(|n| format!("node-{n}")).collect();
    let list = list.join("|");
    assert!(ask(&programs, &list, "node-499") && !ask(&programs, &list, "node-500"));
    assert_eq!(programs.compiled(), 1);
    assert!((list.len()..16 * list.len()).contains(&programs.bytes()));
}

/// Threads that need the same patterns at once, more of them than fit.
#[test]
fn threads_share_the_budget() {
    let programs = Programs::new(64 << 10);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let programs = &programs;
            scope.spawn(move || {
                for n in 0..200 {
                    let pattern = format!("x{}.+", (n + thread) % 20);
                    let label = format!("x{}-{thread}", (n + thread) % 20);
                    assert!(ask(programs, &pattern, &label));
                    assert!(!ask(programs, &pattern, &label[..label.len() - 2]));
                    assert!(programs.bytes() <= 64 << 10);
                }
            });
        }
    });
    let held = programs.held.read().unwrap();
    assert_eq!(held.by_hash.len(), held.places.len());
    let bytes: usize = held.places.iter().map(ProgramPlace::bytes).sum();
    assert_eq!(held.bytes, bytes);
}
