//! Draws reads that ask others first. Like what is done with the built-in types, from randomness of its own.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::scenario::Scenario;
use super::step::Step;

/// Scenarios with such reads, of all.
const READS_SHARE: f64 = 0.3;
/// How many of them.
const READS: std::ops::Range<usize> = 5..30;

impl Scenario {
    /// With reads if its seed draws them.
    pub(super) fn with_drawn_reads(mut self) -> Self {
        let mut rng = Pcg64::seed_from_u64(self.seed ^ 0x7265_6164_5f66_726f);
        if !rng.random_bool(READS_SHARE) {
            return self;
        }
        let last = u64::try_from(self.story.as_millis()).unwrap_or(u64::MAX);
        for _ in 0..rng.random_range(READS) {
            let at = Duration::from_millis(rng.random_range(100..last));
            let node = rng.random_range(0..self.nodes);
            let others = rng
                .random_bool(0.3)
                .then(|| rng.random_range(1..self.nodes));
            self.steps.push((at, Step::Read { node, others }));
        }
        self.steps.sort_by_key(|(at, _)| *at);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_scenarios_read_from_others() {
        let drawn: Vec<_> = (0..100).map(Scenario::random).collect();
        let steps = drawn.iter().flat_map(|it| &it.steps);
        let mut reads = steps.filter(|(_, step)| matches!(step, Step::Read { .. }));
        assert!(reads.clone().count() > 100);
        assert!(reads.any(|(_, step)| matches!(step, Step::Read { others: None, .. })));
    }
}
