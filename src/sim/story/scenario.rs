//! Scenarios: a story of writes and faults, all of it known before it begins.

use std::time::Duration;

use super::kept::Kept;
use super::step::Step;
use crate::sim::network::config::NetworkConfig;
use crate::sim::nodes::disk::DiskConfig;
use crate::sim::nodes::liar::Lying;
use crate::sim::nodes::spec::NodeSpec;

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
    /// these; they come next.
    pub strangers: usize,
    /// How many members lie; they come last. They are there from the start, and honest until a
    /// [`Step::Lie`]. See [`with_liars`](Self::with_liars).
    pub liars: usize,
    /// How they go on lying once the faults are over; `None` is not at all.
    pub lies_on: Option<Lying>,
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

impl Scenario {
    /// The part of a scenario that [`Kept`] names. Steps that it does not have are left out. What
    /// a failure of it prints names the same part of the whole, even if this is a part already.
    #[must_use]
    pub fn keep(&self, kept: &Kept) -> Self {
        let indices = kept.steps.iter().copied();
        let indices = indices.filter(|index| *index < self.steps.len());
        let in_whole = |index: usize| match &self.kept {
            Some(part) => part.steps[index],
            None => index,
        };
        let nodes = kept.nodes.clamp(2, self.nodes);
        Self {
            steps: indices.clone().map(|i| self.steps[i].clone()).collect(),
            nodes,
            story: kept.story,
            kept: Some(Kept {
                steps: indices.map(in_whole).collect(),
                nodes,
                story: kept.story,
            }),
            ..self.clone()
        }
    }
}

/// How long convergence may take once the faults are over.
pub(super) const CONVERGENCE_MAX: Duration = Duration::from_secs(60);
