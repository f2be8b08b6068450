//! Members that take turns at jobs: each job is run once where they all see each other, and once on each side of a
//! partition.

use std::time::Duration;

use rumormill::sim::Simulator;

use crate::support::{cluster, secs};

const STEP: Duration = Duration::from_secs(5);

#[test]
fn sixty_jobs_run_once_each() {
    for seed in 0..3 {
        let mut sim = cluster(seed, 5);
        let began = sim.time();
        sim.take_turns(1 << 40, 60, STEP).unwrap();
        // Nobody had to wait for a second turn.
        assert!(sim.time() - began < STEP, "{:?}", sim.time() - began);
        sim.assert_sound();
    }
}

/// The first of many jobs are gone, or go while others wait.
#[test]
fn those_that_are_gone_are_not_waited_for() {
    let mut sim = cluster(7, 4);
    sim.crash(1);
    sim.crash(2);
    sim.take_turns(1 << 40, 30, STEP).unwrap();
    sim.assert_sound();
}

/// What a partition means: each side runs the job, since neither sees the other.
#[test]
fn a_job_runs_on_each_side_of_a_partition() {
    let mut sim = cluster(9, 4);
    sim.isolate(&[0, 1]);
    let apart = |sim: &Simulator| (0..4).all(|node| sim.view(node).live().count() == 1);
    sim.run_until(secs(120), apart)
        .expect("they miss each other");
    let twice = sim.take_turns(1 << 40, 1, STEP);
    let told = twice.unwrap_err().to_string();
    assert!(told.contains("was run by the nodes"), "{told}");
}
