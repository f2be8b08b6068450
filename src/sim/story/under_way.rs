//! The faults of a scenario that are under way, and what they make of the network and the disks.
//!
//! Faults of one kind may overlap. What holds at any moment is made of all that are under way: the
//! highest probability, the latest limit, every cut.

use std::collections::BTreeMap;
use std::time::Duration;

use super::step::Step;
use crate::sim::cluster::simulator::Simulator;
use crate::sim::network::bandwidth::Bandwidth;
use crate::sim::network::config::{LatencyShape, NetworkConfig};
use crate::sim::nodes::disk::DiskConfig;
use crate::sim::nodes::liar::Lying;

/// Faults under way, and how it is without them.
pub(super) struct UnderWay<'a> {
    network: &'a NetworkConfig,
    disk: &'a DiskConfig,
    /// By their number in the scenario: the order in which they began.
    steps: BTreeMap<usize, Step>,
}

impl<'a> UnderWay<'a> {
    pub(super) fn new(network: &'a NetworkConfig, disk: &'a DiskConfig) -> Self {
        Self {
            network,
            disk,
            steps: BTreeMap::new(),
        }
    }

    /// A fault begins; what it is about is not changed yet.
    pub(super) fn insert(&mut self, number: usize, step: Step) {
        self.steps.insert(number, step);
    }

    /// A fault is over; what it is about is not changed yet.
    pub(super) fn remove(&mut self, number: usize) -> Option<Step> {
        self.steps.remove(&number)
    }

    /// All are over.
    pub(super) fn clear(&mut self) {
        self.steps.clear();
    }

    /// Makes what faults of this kind are about as all that are under way want it.
    pub(super) fn enforce(&self, sim: &mut Simulator, kind: &Step) {
        match kind {
            Step::Bandwidth { node, .. } => sim.set_bandwidth(*node, self.bandwidth(*node)),
            Step::CommitDelay { .. } => {
                sim.set_commit_delay(self.disk.delay_min, self.commit_delay())
            }
            Step::CommitFailure { .. } => sim.set_commit_failure(self.commit_failure()),
            Step::Corruption { .. } => sim.set_corruption(self.corruption()),
            Step::Disorder { .. } => {
                let (duplication, reorder) = self.disorder();
                sim.set_disorder(duplication, reorder);
            }
            Step::Latency { .. } => {
                let (min, max, shape) = self.latency();
                sim.set_latency(min, max);
                sim.set_latency_shape(shape);
            }
            Step::Lie { node, .. } => sim.set_lying(*node, self.lying(*node)),
            Step::Loss { .. } => sim.set_loss(self.loss()),
            Step::Slow { node, .. } => sim.set_slow(*node, self.slowness(*node)),
            Step::CutDatagrams { .. }
            | Step::CutOneWay { .. }
            | Step::Isolate { .. }
            | Step::Partition { .. } => self.enforce_cuts(sim),
            _ => {}
        }
    }

    fn enforce_cuts(&self, sim: &mut Simulator) {
        sim.heal_all();
        for step in self.steps.values() {
            match step {
                Step::CutDatagrams { a, b, .. } => sim.cut_datagrams(*a, *b),
                Step::CutOneWay { from, to, .. } => sim.cut_one_way(*from, *to),
                Step::Isolate { group, .. } => sim.isolate(group),
                Step::Partition { a, b, .. } => sim.partition(*a, *b),
                _ => {}
            }
        }
    }

    /// The latest limit.
    fn bandwidth(&self, node: usize) -> Option<Bandwidth> {
        let mut limits = self.steps.values().filter_map(|step| match step {
            Step::Bandwidth { node: n, limit, .. } if *n == node => Some(*limit),
            _ => None,
        });
        limits.next_back().or(self.network.bandwidth)
    }

    /// The longest delay.
    fn commit_delay(&self) -> Duration {
        let delays = self.steps.values().filter_map(|step| match step {
            Step::CommitDelay { max, .. } => Some(*max),
            _ => None,
        });
        delays.max().unwrap_or(self.disk.delay_max)
    }

    fn commit_failure(&self) -> f64 {
        self.highest(self.disk.failure, |step| match step {
            Step::CommitFailure { failure, .. } => Some(*failure),
            _ => None,
        })
    }

    fn corruption(&self) -> f64 {
        self.highest(self.network.corruption, |step| match step {
            Step::Corruption { corruption, .. } => Some(*corruption),
            _ => None,
        })
    }

    /// The latest way.
    fn lying(&self, node: usize) -> Option<Lying> {
        let mut ways = self.steps.values().filter_map(|step| match step {
            Step::Lie { node: n, lying, .. } if *n == node => Some(lying.clone()),
            _ => None,
        });
        ways.next_back()
    }

    fn loss(&self) -> f64 {
        self.highest(self.network.loss, |step| match step {
            Step::Loss { loss, .. } => Some(*loss),
            _ => None,
        })
    }

    /// The highest probability, or what it is without faults if that is higher.
    fn highest(&self, calm: f64, of: impl Fn(&Step) -> Option<f64>) -> f64 {
        self.steps.values().filter_map(of).fold(calm, f64::max)
    }

    /// The latest probabilities, of duplication and of reordering.
    fn disorder(&self) -> (f64, f64) {
        let mut all = self.steps.values().filter_map(|step| match step {
            Step::Disorder {
                duplication,
                reorder,
                ..
            } => Some((*duplication, *reorder)),
            _ => None,
        });
        let calm = (self.network.duplication, self.network.reorder);
        all.next_back().unwrap_or(calm)
    }

    /// The latest range, and how delays spread over it.
    fn latency(&self) -> (Duration, Duration, LatencyShape) {
        let mut all = self.steps.values().filter_map(|step| match step {
            Step::Latency { max, shape, .. } => Some((*max / 4, *max, *shape)),
            _ => None,
        });
        let network = self.network;
        let calm = (
            network.latency_min,
            network.latency_max,
            network.latency_shape,
        );
        all.next_back().unwrap_or(calm)
    }

    /// The longest time for an input.
    fn slowness(&self, node: usize) -> Duration {
        let slow = self.steps.values().filter_map(|step| match step {
            Step::Slow {
                node: n, per_input, ..
            } if *n == node => Some(*per_input),
            _ => None,
        });
        slow.max().unwrap_or_default()
    }
}
