//! How a scenario ends, well or badly, and what is printed of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::kept::Kept;
use super::scenario::Scenario;
use super::step::Step;
use crate::engine::Work;
use crate::sim::check::violation::Violation;
use crate::sim::cluster::lie_log::Heard;
use crate::sim::lies::Lie;
use crate::sim::network::links::NetworkCounters;
use crate::sim::nodes::liar::Trick;

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
    /// How many liars.
    pub liars: usize,
    /// What they told.
    pub lies: BTreeMap<Lie, Heard>,
    /// What they did beside that, and how often.
    pub tricks: BTreeMap<Trick, u64>,
    /// What the turn of an honest engine took at most, each in some turn.
    pub worst_turn: Work,
    /// The most bytes that an honest process held beside its entries.
    pub most_held: usize,
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

/// The least of a scenario that was found to fail as the whole of it does. Its `Display` prints
/// these steps, the last lines of the log, what was broken, and the command that replays it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shrunk {
    /// The scenario that is left.
    pub scenario: Scenario,
    /// How it fails.
    pub failure: Failure,
    /// How many runs that took.
    pub replays: usize,
}

impl Shrunk {
    /// The kinds of faults that are left, in order.
    #[must_use]
    pub fn faults(&self) -> Vec<&'static str> {
        let steps = self.scenario.steps.iter();
        steps.filter_map(|(_, step)| Step::fault(step)).collect()
    }
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scenario, replays) = (&self.scenario, self.replays);
        writeln!(
            f,
            "shrunk in {replays} runs to {} steps on {} nodes:",
            scenario.steps.len(),
            scenario.nodes
        )?;
        for (at, step) in &scenario.steps {
            writeln!(f, "  {:>9.3} {step:?}", at.as_secs_f64())?;
        }
        write!(f, "{}", self.failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
