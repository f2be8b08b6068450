//! Scenarios: a story of writes and faults, drawn from a seed, told, and judged.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::brisk;
use super::draw::draw_steps;
use super::network::{NetworkConfig, NetworkCounters};
use super::process::NodeSpec;
use super::registers::Skew;
use super::simulator::{SimConfig, Simulator};
use super::violation::Violation;

/// How long the faults last.
const STORY: Duration = Duration::from_secs(30);
/// How long convergence may take once they are over.
const CONVERGENCE_MAX: Duration = Duration::from_secs(60);
/// One thing that happens in a scenario. What makes no sense when its time comes, such as a write
/// on a node that is down, does not happen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// `count` keys from `first_key` on are written on one node at one instant.
    Burst {
        /// Where.
        node: usize,
        /// The first key.
        first_key: u64,
        /// How many.
        count: u64,
        /// Size of each value.
        bytes: usize,
    },
    /// Commits fail with this probability.
    CommitFailure(f64),
    /// Every live node writes one key at one instant.
    Concurrent {
        /// The key.
        key: u64,
    },
    /// A process dies, or its machine.
    Crash {
        /// Which.
        node: usize,
        /// The machine.
        power_off: bool,
    },
    /// One direction of a link is cut.
    CutOneWay {
        /// What this node sends
        from: usize,
        /// does not reach this one.
        to: usize,
    },
    /// Datagrams are duplicated and reordered with these probabilities.
    Disorder {
        /// Duplication.
        duplication: f64,
        /// Reordering.
        reorder: f64,
    },
    /// Every link heals.
    HealAll,
    /// One-way delays are up to this.
    Latency(Duration),
    /// A node leaves, and every link heals first: a leave that nobody hears of is a failure.
    Leave {
        /// Which.
        node: usize,
    },
    /// Loss has this probability.
    Loss(f64),
    /// A link is cut, both ways.
    Partition {
        /// One end.
        a: usize,
        /// The other.
        b: usize,
    },
    /// A process stalls.
    Pause {
        /// Which.
        node: usize,
        /// How long.
        span: Duration,
    },
    /// A key is removed.
    Remove {
        /// Where.
        node: usize,
        /// The key.
        key: u64,
    },
    /// A node that is down is started.
    Restart {
        /// Which.
        node: usize,
        /// At a new address.
        elsewhere: bool,
    },
    /// A clock is set.
    SetSkew {
        /// Whose.
        node: usize,
        /// How far off.
        skew: Skew,
    },
    /// A key is written, and maybe followed.
    Write {
        /// Where.
        node: usize,
        /// The key.
        key: u64,
        /// Size of the value.
        bytes: usize,
        /// Copies to wait for.
        copies: Option<usize>,
    },
}

/// A cluster and what happens to it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it came from; also the simulation's seed.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// What each of them is made with.
    pub spec: NodeSpec,
    /// The network at the start.
    pub network: NetworkConfig,
    /// What happens, in order of time.
    pub steps: Vec<(Duration, Step)>,
}

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
/// and the command that replays it.
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
    /// The last lines of the log.
    pub log: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.log {
            writeln!(f, "{line}")?;
        }
        match (&self.violation, &self.panic) {
            (Some(violation), _) => writeln!(f, "{violation}")?,
            (None, panic) => writeln!(
                f,
                "seed {} at {:?}: panic: {}",
                self.seed,
                self.at,
                panic.as_deref().unwrap_or("without a message")
            )?,
        }
        write!(
            f,
            "replay: RUMORMILL_SEED={} cargo test --release --features sim --test sim -- \
             --exact replay --nocapture",
            self.seed
        )
    }
}

impl std::error::Error for Failure {}

/// Draws the scenario of a seed and runs it.
///
/// # Errors
/// What was broken, and how to see it again.
pub fn run(seed: u64) -> Result<Report, Box<Failure>> {
    Scenario::random(seed).run()
}

impl Scenario {
    /// Draws a cluster of 2 to 7 nodes, a third of them durable, 30 virtual seconds with at least
    /// 100 writes and at least three kinds of faults, and a calm end.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut rng = Pcg64::seed_from_u64(seed ^ 0x7363_656e_6172_696f);
        let nodes = rng.random_range(2..=7);
        let durable = rng.random_bool(1.0 / 3.0);
        let steps = draw_steps(&mut rng, nodes, durable);
        Self {
            seed,
            nodes,
            spec: NodeSpec {
                config: brisk(),
                durable,
                ..NodeSpec::default()
            },
            network: NetworkConfig::default(),
            steps,
        }
    }

    /// Runs it: the steps, then the end of all faults, then convergence.
    ///
    /// # Errors
    /// What was broken, and how to see it again. A panic of an engine is such an end too.
    pub fn run(&self) -> Result<Report, Box<Failure>> {
        let mut sim = Simulator::new(SimConfig {
            network: self.network.clone(),
            ..SimConfig::new(self.seed)
        });
        let told = catch_unwind(AssertUnwindSafe(|| self.tell(&mut sim)));
        let failure = |violation, panic| {
            Box::new(Failure {
                seed: self.seed,
                at: sim.time(),
                violation,
                panic,
                log: sim.log().map(str::to_owned).collect(),
            })
        };
        match told {
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
            Ok(Err(violation)) => Err(failure(Some(violation), None)),
            Err(payload) => {
                let text = payload.downcast_ref::<String>().cloned();
                let text = text.or_else(|| payload.downcast_ref().map(|s: &&str| (*s).to_owned()));
                Err(failure(None, text))
            }
        }
    }

    fn tell(&self, sim: &mut Simulator) -> Result<Duration, Violation> {
        sim.add_nodes_with(self.nodes, &self.spec);
        for (at, step) in &self.steps {
            sim.run_for(at.saturating_sub(sim.time()));
            if let Some(violation) = sim.violation() {
                return Err(violation.clone());
            }
            apply(sim, step);
        }
        sim.run_for(STORY.saturating_sub(sim.time()));
        sim.end_faults();
        for node in 0..self.nodes {
            if !sim.is_up(node) && !sim.has_left(node) && node != self.absent() {
                sim.restart(node);
            }
        }
        sim.converge(CONVERGENCE_MAX)
    }

    /// A node that stays down if it is down at the end: some story should end with a failed member.
    fn absent(&self) -> usize {
        match self.seed % 4 {
            0 => self.nodes - 1,
            _ => self.nodes,
        }
    }
}

/// Does one step, if it makes sense now.
fn apply(sim: &mut Simulator, step: &Step) {
    let ready = |sim: &Simulator, node: usize| sim.is_up(node) && !sim.is_paused(node);
    match *step {
        Step::Burst {
            node,
            first_key,
            count,
            bytes,
        } if ready(sim, node) => {
            for key in first_key..first_key + count {
                write(sim, node, key, bytes, None);
            }
        }
        Step::CommitFailure(failure) => sim.set_commit_failure(failure),
        Step::Concurrent { key } => {
            for node in 0..sim.node_count() {
                if ready(sim, node) {
                    write(sim, node, key, 40, None);
                }
            }
        }
        Step::Crash {
            node,
            power_off: true,
        } => sim.power_off(node),
        Step::Crash { node, .. } => sim.crash(node),
        Step::CutOneWay { from, to } => sim.cut_one_way(from, to),
        Step::Disorder {
            duplication,
            reorder,
        } => sim.set_disorder(duplication, reorder),
        Step::HealAll => sim.heal_all(),
        Step::Latency(max) => sim.set_latency(max / 4, max),
        Step::Leave { node } if ready(sim, node) => {
            sim.heal_all();
            sim.leave(node);
        }
        Step::Loss(loss) => sim.set_loss(loss),
        Step::Partition { a, b } => sim.partition(a, b),
        Step::Pause { node, span } => sim.pause(node, span),
        Step::Remove { node, key } if ready(sim, node) => {
            // A full store is no failure, and it is not full.
            let _ = sim.remove(node, key);
        }
        Step::Restart { node, elsewhere } if !sim.is_up(node) && !sim.has_left(node) => {
            if elsewhere {
                sim.restart_elsewhere(node);
            } else {
                sim.restart(node);
            }
        }
        Step::SetSkew { node, skew } => sim.set_skew(node, skew),
        Step::Write {
            node,
            key,
            bytes,
            copies,
        } if ready(sim, node) => write(sim, node, key, bytes, copies),
        _ => {}
    }
}

/// Writes a value that tells writer and instant, and follows it if asked to.
fn write(sim: &mut Simulator, node: usize, key: u64, bytes: usize, copies: Option<usize>) {
    let mut value = format!("{node} {key} {:?}", sim.time()).into_bytes();
    value.resize(bytes, b'.');
    if let Ok(write) = sim.write(node, key, Bytes::from(value))
        && let Some(copies) = copies
    {
        sim.watch(node, write, copies, Duration::from_secs(5));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_one_scenario_and_each_has_enough_in_it() {
        for seed in 0..200 {
            let scenario = Scenario::random(seed);
            assert_eq!(scenario.steps, Scenario::random(seed).steps);
            assert!((2..=7).contains(&scenario.nodes));
            let mut writes = 0;
            let mut faults = BTreeSet::new();
            for (at, step) in &scenario.steps {
                assert!(*at <= STORY + Duration::from_secs(5), "{at:?}");
                match step {
                    Step::Write { .. } | Step::Remove { .. } | Step::Concurrent { .. } => {
                        writes += 1;
                    }
                    Step::Burst { .. } | Step::HealAll | Step::Restart { .. } => {}
                    fault => {
                        let name = format!("{fault:?}");
                        faults.insert(name.split([' ', '(']).next().map(str::to_owned));
                    }
                }
            }
            assert!(writes >= 100, "seed {seed}: {writes} writes");
            assert!(faults.len() >= 2, "seed {seed}: {faults:?}");
        }
        assert!((0..20).any(|seed| Scenario::random(seed).spec.durable));
    }

    #[test]
    fn a_failure_says_how_to_see_it_again() {
        let failure = Failure {
            seed: 17,
            at: Duration::from_secs(3),
            violation: None,
            panic: Some("broken".to_owned()),
            log: vec!["the last line".to_owned()],
        };
        let text = failure.to_string();
        assert!(text.contains("the last line") && text.contains("broken"));
        assert!(text.ends_with(
            "RUMORMILL_SEED=17 cargo test --release --features sim --test sim -- \
             --exact replay --nocapture"
        ));
    }
}
