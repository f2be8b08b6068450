//! Disks that are full: for a while none takes anything, while the cluster goes on.
//!
//! Peers exchange what they hold meanwhile, and find that they hold the same. So this is when something could count as
//! kept that is in memory alone.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::scenario::Scenario;
use super::step::Step;

impl Scenario {
    /// With full disks, where nodes have disks and the seed draws it.
    pub(super) fn with_drawn_full_disks(mut self) -> Self {
        let mut rng = Pcg64::seed_from_u64(self.seed ^ 0x6675_6c6c_6469_736b);
        if !self.spec.durable || !rng.random_bool(FULL_SHARE) {
            return self;
        }
        let last = u64::try_from(self.story.as_millis()).unwrap_or(u64::MAX);
        for _ in 0..rng.random_range(1..=3) {
            let at = Duration::from_millis(rng.random_range(1_000..last.saturating_sub(5_000)));
            let span = Duration::from_millis(rng.random_range(500..8_000));
            let failure = 1.0;
            self.steps.push((at, Step::CommitFailure { failure, span }));
        }
        self.steps.sort_by_key(|(at, _)| *at);
        self
    }
}

/// Of the scenarios with disks.
const FULL_SHARE: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_scenarios_have_full_disks() {
        let drawn: Vec<_> = (0..100).map(Scenario::random).collect();
        let is_full =
            |step: &Step| matches!(step, Step::CommitFailure { failure, .. } if *failure >= 1.0);
        let full = drawn
            .iter()
            .filter(|it| it.steps.iter().any(|(_, step)| is_full(step)));
        let full: Vec<_> = full.collect();
        assert!(full.len() > 8, "{}", full.len());
        assert!(full.iter().all(|it| it.spec.durable));
    }
}
