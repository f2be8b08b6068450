//! Scenarios: a story of writes and faults, drawn from a seed, told, and judged.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::disk::DiskConfig;
use super::draw;
use super::network::{NetworkConfig, NetworkCounters};
use super::process::NodeSpec;
use super::runner::{self, Runner};
use super::shrink::{Kept, Shrunk};
use super::simulator::Simulator;
use super::step::Step;
use super::violation::{Breach, Violation};

/// A cluster and what happens to it: everything is drawn from the seed before it begins, so a part
/// of it can be told too.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it came from; also the simulation's seed.
    pub seed: u64,
    /// How many nodes there are at the start, from index 0.
    pub nodes: usize,
    /// How many further nodes of the cluster may be started by a [`Step::Join`]; they come next.
    pub joiners: usize,
    /// How many nodes of another cluster there are, which are told to look for members among
    /// these; they come last.
    pub strangers: usize,
    /// What each of the nodes is made with.
    pub spec: NodeSpec,
    /// The network at the start.
    pub network: NetworkConfig,
    /// The disks at the start.
    pub disk: DiskConfig,
    /// What happens, in order of time.
    pub steps: Vec<(Duration, Step)>,
    /// How long the faults last.
    pub story: Duration,
    /// How long it goes on after everybody has agreed; then they must agree again.
    pub aftermath: Duration,
    /// Whether clocks that are off are right again once the faults are over.
    pub clocks_mend: bool,
    /// The command that runs seeds of a program of your own, for failures to print: `--seed 17`
    /// and, of a part, `--keep 3,17-20/nodes=3/story=12500ms` are put after it. `None` is the test
    /// that runs without a program.
    pub replay: Option<String>,
    /// What was kept of it, if it was shrunk.
    pub(super) kept: Option<Kept>,
}

/// What a program of the caller's does in a scenario, beside the writes to registers: its own
/// stores, its own writes, its own invariants. The same calls come in the same order every time; it
/// must draw nothing from elsewhere.
pub trait Workload {
    /// Before any node is started: gives the simulation
    /// [stores](Simulator::set_store_factory) and [invariants](Simulator::add_invariant).
    fn start(&mut self, sim: &mut Simulator) {
        let _ = sim;
    }

    /// Wherever the scenario writes a register on a node, its program may write too. `number` is the
    /// step's in the scenario.
    fn act(&mut self, sim: &mut Simulator, node: usize, number: u64) {
        let _ = (sim, node, number);
    }

    /// A step has been done, or could not be.
    fn after(&mut self, sim: &mut Simulator, step: &Step) {
        let _ = (sim, step);
    }
}

/// No program but the registers.
impl Workload for () {}

/// A scenario that ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// Whether they had disks.
    pub durable: bool,
    /// Writes that were acknowledged.
    pub writes: usize,
    /// How long convergence took once the faults were over.
    pub converged_in: Duration,
    /// Virtual time in all.
    pub time: Duration,
    /// The trace's hash.
    pub trace_hash: u64,
    /// Records in the trace.
    pub trace_records: u64,
    /// What the network carried.
    pub network: NetworkCounters,
}

/// A scenario that ended badly. Its `Display` prints the last lines of the log, what was broken,
/// and the command that replays it; if it was shrunk, the steps that suffice and the command that
/// replays those.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// When.
    pub at: Duration,
    /// What was broken; `None` if something panicked.
    pub violation: Option<Violation>,
    /// The message of the panic, if that was it.
    pub panic: Option<String>,
    /// The last lines of the log, one for each input, output and fault.
    pub log: Vec<String>,
    /// The trace's hash.
    pub trace_hash: u64,
    /// What was kept of the scenario, if it was told in part.
    pub kept: Option<Kept>,
    /// The scenario's command: [`Scenario::replay`].
    pub replay: Option<String>,
    /// The least of it that was found to fail likewise, if it was looked for.
    pub shrunk: Option<Box<Shrunk>>,
}

impl Failure {
    /// Whether it fails as another one does.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (&self.violation, &other.violation) {
            (Some(a), Some(b)) => a.breach.is_like(&b.breach),
            (None, None) => true,
            _ => false,
        }
    }

    fn what(&self) -> String {
        match (&self.violation, &self.panic) {
            (Some(violation), _) => violation.to_string(),
            (None, panic) => format!(
                "seed {} at {:?}: panic: {}",
                self.seed,
                self.at,
                panic.as_deref().unwrap_or("without a message")
            ),
        }
    }

    fn command(&self) -> String {
        let kept = self.kept.as_ref();
        if let Some(replay) = &self.replay {
            let kept = kept.map_or_else(String::new, |kept| format!(" --keep {kept}"));
            return format!("{replay} --seed {}{kept}", self.seed);
        }
        let kept = kept.map_or_else(String::new, |kept| format!(" RUMORMILL_KEEP={kept}"));
        format!(
            "RUMORMILL_SEED={}{kept} cargo test --release --features sim --test sim -- \
             --exact replay --nocapture",
            self.seed
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(shrunk) = &self.shrunk {
            writeln!(f, "{}", self.what())?;
            writeln!(f, "replay: {}", self.command())?;
            return write!(f, "{shrunk}");
        }
        for line in &self.log {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "{}", self.what())?;
        write!(f, "replay: {}", self.command())
    }
}

impl std::error::Error for Failure {}

/// Draws the scenario of a seed and runs it. What fails is not shrunk yet: see
/// [`Scenario::shrink`].
///
/// # Errors
/// What was broken, and how to see it again.
pub fn run(seed: u64) -> Result<Report, Box<Failure>> {
    Scenario::random(seed).run()
}

impl Scenario {
    /// Draws a cluster of 2 to 7 nodes, a third of them durable, its configuration, at least 30
    /// virtual seconds with at least 100 writes and three kinds of faults, and a calm end.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        draw::draw(seed)
    }

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
                writes: sim.checker.acknowledged.len(),
                converged_in,
                time: sim.time(),
                trace_hash: sim.trace_hash(),
                trace_records: sim.trace_records(),
                network: sim.network_counters(),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_one_scenario_and_each_has_enough_in_it() {
        let mut all = BTreeSet::new();
        for seed in 0..1000 {
            let scenario = Scenario::random(seed);
            assert_eq!(scenario.steps, Scenario::random(seed).steps);
            assert!((2..=7).contains(&scenario.nodes));
            assert_eq!(scenario.spec.config.validate(), Ok(()));
            let times: Vec<_> = scenario.steps.iter().map(|(at, _)| *at).collect();
            assert!(times.is_sorted());
            assert!(scenario.story >= Duration::from_secs(30));
            assert!(times.last().is_some_and(|at| *at < scenario.story * 2));
            let steps = || scenario.steps.iter().map(|(_, step)| step);
            let writes: u64 = steps().map(|step| step.writes(1)).sum();
            assert!(writes >= 100, "seed {seed}: {writes} writes");
            let faults: BTreeSet<_> = steps().filter_map(Step::fault).collect();
            assert!(faults.len() >= 3, "seed {seed}: {faults:?}");
            all.extend(faults);
        }
        assert_eq!(all.len(), 25, "{all:?}");
        let crowded = |seed| Scenario::random(seed).spec.config.entries_max < 1_000;
        assert!((0..100).any(crowded));
        assert!((0..20).any(|seed| Scenario::random(seed).spec.alerting));
        assert!((0..20).any(|seed| Scenario::random(seed).spec.durable));
        assert!((0..20).any(|seed| Scenario::random(seed).strangers > 0));
    }

    #[test]
    fn a_failure_says_how_to_see_it_again() {
        let mut failure = Failure {
            seed: 17,
            at: Duration::from_secs(3),
            violation: None,
            panic: Some("broken".to_owned()),
            log: vec!["the last line".to_owned()],
            trace_hash: 0,
            kept: None,
            replay: None,
            shrunk: None,
        };
        let text = failure.to_string();
        assert!(text.contains("the last line") && text.contains("broken"));
        assert!(text.ends_with(
            "RUMORMILL_SEED=17 cargo test --release --features sim --test sim -- \
             --exact replay --nocapture"
        ));
        failure.replay = Some("cargo run --example mine --".to_owned());
        failure.kept = "3-4/nodes=2/story=5ms".parse().ok();
        let text = failure.to_string();
        let command = "cargo run --example mine -- --seed 17 --keep 3-4/nodes=2/story=5ms";
        assert!(text.ends_with(command), "{text}");
    }
}
