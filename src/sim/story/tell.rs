//! A scenario is told from its beginning to its end, once or twice, and judged.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::outcome::{Failure, Report};
use super::runner::{self, Runner};
use super::scenario::Scenario;
use super::workload::Workload;
use crate::sim::check::violation::{Breach, Violation};
use crate::sim::cluster::simulator::Simulator;

/// Draws the scenario of a seed and runs it. What fails is not shrunk yet: see
/// [`Scenario::shrink`].
///
/// # Errors
/// What was broken, and how to see it again.
pub fn run(seed: u64) -> Result<Report, Box<Failure>> {
    Scenario::random(seed).run()
}

impl Scenario {
    /// Runs it: the steps, then the end of all faults, then convergence.
    ///
    /// # Errors
    /// What was broken, and how to see it again. A panic of an engine is such an end too.
    pub fn run(&self) -> Result<Report, Box<Failure>> {
        self.run_with(&mut ())
    }

    /// Runs it with a program of the caller's on every node. Set [`replay`](Self::replay) first:
    /// the command that is printed otherwise does not know of the program.
    ///
    /// # Errors
    /// As [`run`](Self::run); the invariants of the program are checked too.
    pub fn run_with(&self, workload: &mut dyn Workload) -> Result<Report, Box<Failure>> {
        self.told(workload).1
    }

    /// The same, with the simulation as it ended.
    fn told(&self, workload: &mut dyn Workload) -> (Simulator, Result<Report, Box<Failure>>) {
        let mut sim = runner::simulator(self);
        let mut runner = Runner::new(self, workload);
        let told = catch_unwind(AssertUnwindSafe(|| runner.tell(&mut sim)));
        let ended = match told {
            Ok(Ok(converged_in)) => Ok(Report {
                seed: self.seed,
                nodes: self.nodes,
                durable: self.spec.durable,
                writes: sim.acknowledged_writes(),
                converged_in,
                time: sim.time(),
                trace_hash: sim.trace_hash(),
                trace_records: sim.trace_records(),
                network: sim.network_counters(),
                liars: self.liars,
                lies: sim.lies().clone(),
                tricks: sim.tricks().clone(),
                worst_turn: sim.worst_turn(),
                most_held: sim.most_held(),
            }),
            Ok(Err(violation)) => Err(self.failure(&sim, Some(violation), None)),
            Err(payload) => {
                let text = payload.downcast_ref::<String>().cloned();
                let text = text.or_else(|| payload.downcast_ref().map(|s: &&str| (*s).to_owned()));
                Err(self.failure(&sim, None, text))
            }
        };
        (sim, ended)
    }

    /// Runs it twice: invariant 9, the same seed gives the same trace.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`Breach::NotDeterministic`] if the two runs differ.
    pub fn run_twice(
        &self,
        mut workload: impl FnMut() -> Box<dyn Workload>,
    ) -> Result<Report, Box<Failure>> {
        let trace = |run: &Result<Report, Box<Failure>>| match run {
            Ok(report) => report.trace_hash,
            Err(failure) => failure.trace_hash,
        };
        let one = self.run_with(&mut *workload());
        let (sim, other) = self.told(&mut *workload());
        let (first, second) = (trace(&one), trace(&other));
        if first == second {
            return one;
        }
        let violation = Violation {
            seed: self.seed,
            at: sim.time(),
            breach: Breach::NotDeterministic { first, second },
        };
        Err(self.failure(&sim, Some(violation), None))
    }

    fn failure(
        &self,
        sim: &Simulator,
        violation: Option<Violation>,
        panic: Option<String>,
    ) -> Box<Failure> {
        Box::new(Failure {
            seed: self.seed,
            at: sim.time(),
            violation,
            panic,
            log: sim.log().collect(),
            trace_hash: sim.trace_hash(),
            kept: self.kept.clone(),
            replay: self.replay.clone(),
            shrunk: None,
        })
    }
}
