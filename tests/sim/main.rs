//! The cluster under faults, on virtual time. Swarm tests draw whole stories from seeds; the others
//! each show one promise, or a conversation that goes wrong where one rule is missing.
//!
//! - `RUMORMILL_SEEDS=10000 cargo test --release --features sim --test sim -- --exact many_seeds`
//! - `RUMORMILL_SEED=17 cargo test --release --features sim --test sim -- --exact replay --nocapture`
//!   runs one; if it fails, the least of it that still fails is looked for and printed, with the
//!   command that replays that: the same with `RUMORMILL_KEEP`.
#![cfg(feature = "sim")]

mod durability;
mod exchanges;
mod expiry;
#[path = "../labels/mod.rs"]
mod labels;
mod lies;
mod links;
mod membership;
mod reads;
mod refusals;
mod roots;
mod stores;
mod support;
mod trees;
mod turns;
mod writes;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rumormill::sim::{Failure, Invariant, Kept, Scenario, Simulator, Workload, run};

fn seed_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Whether little is run: in a build with debug assertions, which is slow most of the time. `RUMORMILL_THOROUGH` is for
/// one that is not.
fn is_quick() -> bool {
    cfg!(debug_assertions) && std::env::var_os("RUMORMILL_THOROUGH").is_none()
}

/// Of the kept seeds, all are run, or one in five where little is run.
fn stride() -> usize {
    if is_quick() { 5 } else { 1 }
}

/// Without optimization a seed takes seconds: the hundreds are for release builds, a few run in
/// any.
#[test]
fn many_seeds() {
    let usual = if is_quick() { 8 } else { 400 };
    let count = seed_from("RUMORMILL_SEEDS").unwrap_or(usual);
    println!("{count} seeds");
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    // Now and then twice: both must take the same course.
                    let ended = match seed % 50 {
                        0 => Scenario::random(seed).run_twice(|| Box::new(())),
                        _ => run(seed),
                    };
                    if let Err(failure) = ended {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort_by_key(|failure| failure.seed);
    for failure in &failures {
        match &failure.violation {
            Some(violation) => println!("{violation}"),
            None => println!("seed {}: panic: {:?}", failure.seed, failure.panic),
        }
    }
    let failed = failures.len();
    if let Some(first) = failures.into_iter().next() {
        let first = shrunk(*first);
        panic!("{failed} of {count} seeds failed; the first:\n{first}");
    }
}

/// Scenarios that reach what few do, each with what goes wrong in it where a rule is missing. With every
/// change of what is drawn, and of the engine, a seed does something else, and is one like any other. So
/// each rule has a test of its own beside this file, where one can be told in a few lines, or a mutant in
/// `tests/mutants`.
#[test]
fn kept_seeds() {
    let seeds = [
        (
            96,
            "a copy counted by push/pull before the peer had it on disk",
        ),
        (107, "the same, on the way of an equal root"),
        (
            276,
            "a relay vouched for a newer version than was acknowledged",
        ),
        (436, "the same, with durable nodes"),
        (459, "the same, after a burst"),
        (
            1345,
            "a push/pull that could not be dialled was never tried again",
        ),
        (1103, "relays that repeated what was under way, twentyfold"),
        (
            1604,
            "a version that expired by the clock of the one that had it compared",
        ),
        (
            611,
            "a counter that lost what was added while the clock was behind",
        ),
        (
            846,
            "nobody told one that had been apart who had left meanwhile",
        ),
        (4461, "what a liar's stream brought after its end had gone"),
        (
            8883,
            "held for failed under a boot that two liars made up, and not told of it",
        ),
        (10589, "a leave that only a paused member could have heard"),
    ];
    for (seed, found) in seeds.into_iter().step_by(stride()) {
        if let Err(failure) = run(seed) {
            panic!("again: {found}\n{failure}");
        }
    }
}

/// The same, with one liar in the cluster.
#[test]
fn kept_seeds_with_a_liar() {
    let seeds = [
        (
            42,
            "entries that others passed on, in place of one's own, beyond three shares",
        ),
        (74, "a writer that told each of the others something else"),
        (
            184,
            "a ping of the former process, repeated on a link of the next one",
        ),
        (
            209,
            "a renewal that its process never had, held for failed for ever",
        ),
        (
            334,
            "a departure of which one list told, and no other was asked for",
        ),
        (
            340,
            "one that came out of partitions named for what it took back",
        ),
        (
            391,
            "one that told another what a liar said of it named for that",
        ),
        (398, "left, because a later process is said to have left"),
        (869, "left on the word of one, which is not enough"),
    ];
    for (seed, found) in seeds.into_iter().step_by(stride()) {
        if let Err(failure) = Scenario::random(seed).with_liars(1).run() {
            panic!("again: {found}\n{failure}");
        }
    }
}

/// The failure of a whole scenario, with the least of it that fails likewise.
fn shrunk(failure: Failure) -> Failure {
    let replays_max = if is_quick() { 40 } else { 400 };
    Scenario::random(failure.seed).shrink(failure, replays_max, || Box::new(()))
}

#[test]
fn replay() {
    let seed = seed_from("RUMORMILL_SEED").unwrap_or(0);
    let whole = Scenario::random(seed);
    let kept = std::env::var("RUMORMILL_KEEP").ok();
    let kept = kept.map(|kept| kept.parse::<Kept>().expect("a part of a scenario"));
    let scenario = match &kept {
        Some(kept) => whole.keep(kept),
        None => whole,
    };
    match scenario.run_twice(|| Box::new(())) {
        Ok(report) => println!("{report:#?}"),
        Err(failure) if kept.is_some() => panic!("{failure}"),
        Err(failure) => panic!("{}", shrunk(*failure)),
    }
}

/// Invariant 9, on the seeds that the others run on, too.
#[test]
fn every_run_of_a_seed_is_the_same() {
    let count = if is_quick() { 1 } else { 10 };
    for seed in 1000..1000 + count {
        if let Err(failure) = Scenario::random(seed).run_twice(|| Box::new(())) {
            panic!("{failure}");
        }
    }
}

/// A program that is not the same every time is found out.
#[test]
fn what_draws_from_elsewhere_is_found_out() {
    struct Restless(u64);
    impl Workload for Restless {
        fn act(&mut self, sim: &mut Simulator, node: usize, _: u64) {
            sim.write(node, 9_999, self.0.to_string()).unwrap();
        }
    }
    let mut runs = 0;
    let restless = || {
        runs += 1;
        Box::new(Restless(runs)) as Box<dyn Workload>
    };
    let failure = Scenario::random(3).run_twice(restless).unwrap_err();
    let breach = failure.violation.map(|violation| violation.breach);
    let invariant = breach.and_then(|breach| breach.invariant());
    assert_eq!(invariant, Some(Invariant::Determinism));
}

#[test]
fn same_seed_same_trace() {
    let report = |seed| run(seed).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(report(3), report(3));
    assert_ne!(report(3).trace_hash, report(4).trace_hash);
}
