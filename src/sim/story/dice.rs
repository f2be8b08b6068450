//! What the parts of a scenario are drawn with.

use std::time::Duration;

use rand::RngExt as _;
use rand_pcg::Pcg64;

use super::step::Step;

/// Keys that single writes share.
pub(super) const KEYS: u64 = 40;

/// Draws the parts of one scenario, and keeps its steps.
pub(super) struct Dice<'a> {
    pub(super) rng: &'a mut Pcg64,
    pub(super) nodes: usize,
    /// How many of them everybody looks for, from index 0; `None` is all. The others are found
    /// through these only, and found again without them.
    pub(super) seeds: Option<usize>,
    pub(super) joiners: usize,
    pub(super) strangers: usize,
    pub(super) durable: bool,
    pub(super) push_pull: bool,
    /// Stores have room for less than is written.
    pub(super) crowded: bool,
    pub(super) long: bool,
    pub(super) millis_max: u64,
    pub(super) steps: Vec<(Duration, Step)>,
}

impl Dice<'_> {
    /// A time of so many milliseconds.
    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..to))
    }

    /// One of the nodes that are there at the start.
    pub(super) fn node(&mut self) -> usize {
        self.rng.random_range(0..self.nodes)
    }

    /// Another node than this one.
    pub(super) fn other(&mut self, node: usize) -> usize {
        (node + self.rng.random_range(1..self.nodes)) % self.nodes
    }

    /// Whether something of this probability happens.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    /// Adds a step.
    pub(super) fn push(&mut self, at: Duration, step: Step) {
        self.steps.push((at, step));
    }
}
