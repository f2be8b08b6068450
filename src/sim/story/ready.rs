//! Draws what clients do with the built-in types in a scenario.
//!
//! It is drawn from randomness of its own, so a scenario without it is what it always was, and one with it
//! is the same story with this in it.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::scenario::Scenario;
use super::step::Step;
use crate::sim::nodes::ready::{READY_KEYS, ReadyAct};

/// Scenarios with built-in types, of all.
const READY_SHARE: f64 = 0.4;
/// How often something is done with them.
const DEEDS: std::ops::Range<usize> = 60..200;

impl Scenario {
    /// With built-in types if its seed draws them.
    pub(super) fn with_drawn_deeds(mut self) -> Self {
        let mut rng = Pcg64::seed_from_u64(self.seed ^ 0x7265_6164_795f_7479);
        if !rng.random_bool(READY_SHARE) {
            return self;
        }
        self.spec.ready_types = true;
        let last = u64::try_from(self.story.as_millis()).unwrap_or(u64::MAX) - 500;
        for _ in 0..rng.random_range(DEEDS) {
            let at = Duration::from_millis(rng.random_range(100..last));
            let key = rng.random_range(0..READY_KEYS);
            let amount = rng.random_range(1..1_000);
            let act = match rng.random_range(0..12) {
                0..4 => ReadyAct::Add { key, amount },
                4 => ReadyAct::Subtract { key, amount },
                5..8 => ReadyAct::Insert { element: key },
                8..10 => ReadyAct::Remove { element: key },
                10 => ReadyAct::Appear { key },
                _ => ReadyAct::Disappear { key },
            };
            let node = rng.random_range(0..self.nodes);
            self.steps.push((at, Step::Ready { node, act }));
        }
        // An element is removed on one node while another adds it.
        for _ in 0..4 {
            let at = Duration::from_millis(rng.random_range(2_000..last));
            let element = rng.random_range(0..READY_KEYS);
            let node = rng.random_range(0..self.nodes);
            let other = (node + rng.random_range(1..self.nodes)) % self.nodes;
            let earlier = ReadyAct::Insert { element };
            let step = |node, act| Step::Ready { node, act };
            self.steps
                .push((at - Duration::from_secs(1), step(node, earlier)));
            self.steps.push((at, step(node, earlier)));
            self.steps
                .push((at, step(other, ReadyAct::Remove { element })));
        }
        for _ in 0..rng.random_range(DEEDS) {
            let at = Duration::from_millis(rng.random_range(100..last));
            let (key, value) = (rng.random_range(0..READY_KEYS), rng.random());
            let number = rng.random_range(0..64);
            let act = match rng.random_range(0..10) {
                0..4 => ReadyAct::Set { key, value },
                4..7 => ReadyAct::Merge { key, number },
                7..9 => ReadyAct::TurnOn,
                _ => ReadyAct::TurnOff,
            };
            let node = rng.random_range(0..self.nodes);
            self.steps.push((at, Step::Ready { node, act }));
        }
        self.steps.sort_by_key(|(at, _)| *at);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_scenarios_use_every_ready_type() {
        let drawn = (0..100).map(Scenario::random);
        let with: Vec<_> = drawn.filter(|it| it.spec.ready_types).collect();
        assert!((25..55).contains(&with.len()), "{}", with.len());
        let deeds = with.iter().flat_map(|it| &it.steps);
        let has = |wanted: fn(&ReadyAct) -> bool| {
            let mut deeds = deeds.clone();
            deeds.any(|(_, step)| matches!(step, Step::Ready { act, .. } if wanted(act)))
        };
        assert!(has(|act| matches!(act, ReadyAct::Add { .. })));
        assert!(has(|act| matches!(act, ReadyAct::Subtract { .. })));
        assert!(has(|act| matches!(act, ReadyAct::Remove { .. })));
        assert!(has(|act| matches!(act, ReadyAct::Appear { .. })));
        assert!(has(|act| matches!(act, ReadyAct::Disappear { .. })));
        assert!(has(|act| matches!(act, ReadyAct::Set { .. })));
        assert!(has(|act| matches!(act, ReadyAct::Merge { .. })));
        assert!(has(|act| matches!(act, ReadyAct::TurnOn)));
        assert!(has(|act| matches!(act, ReadyAct::TurnOff)));
    }
}
