//! Draws writes at the moments when members come, in clusters that hand writes on: who hands on may not know
//! of a newcomer whom the writer knows, or the other way round.
//!
//! They are drawn from randomness of their own, so a scenario without them is what it always was, and one
//! with them is the same story with these writes in it.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::dice::KEYS;
use super::scenario::Scenario;
use super::step::Step;

/// Arrivals in a story at which it is written.
const ARRIVALS_MAX: usize = 6;
/// How often, and in which time.
const WRITES: usize = 24;
const WITHIN: Duration = Duration::from_millis(600);

impl Scenario {
    /// With writes at arrivals, if its cluster is beyond direct mode.
    pub(super) fn with_drawn_arrivals(mut self) -> Self {
        if self.spec.config.direct_peers_max >= self.nodes {
            return self;
        }
        let mut rng = Pcg64::seed_from_u64(self.seed ^ 0x6172_7269_7661_6c73);
        let arrivals = self.steps.iter().filter_map(|(at, step)| match step {
            Step::Crash { span, .. } => Some(*at + *span),
            Step::Join { .. } => Some(*at),
            _ => None,
        });
        let last = self.story - WITHIN;
        let arrivals = arrivals.filter(|at| *at < last).take(ARRIVALS_MAX);
        for arrival in arrivals.collect::<Vec<_>>() {
            for _ in 0..WRITES {
                let step = Step::Write {
                    node: rng.random_range(0..self.nodes),
                    key: rng.random_range(0..KEYS),
                    bytes: 60,
                    ttl: None,
                    copies: Some(self.nodes),
                };
                let at = arrival + WITHIN.mul_f64(rng.random_range(0.0..1.0));
                self.steps.push((at, step));
            }
        }
        self.steps.sort_by_key(|(at, _)| *at);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_writes_are_handed_on_they_come_with_members() {
        let drawn = (0..100).map(Scenario::random);
        let handing_on = drawn.filter(|it| it.spec.config.direct_peers_max < it.nodes);
        let with = handing_on.filter(|it| {
            let all = |step: &Step| matches!(step, Step::Write { copies, .. } if *copies == Some(it.nodes));
            it.steps.iter().any(|(_, step)| all(step))
        });
        let count = with.count();
        assert!(count >= 5, "{count}");
    }
}
