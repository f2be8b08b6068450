//! Draws the liars of a scenario: how many, when they lie, and how.
//!
//! They are drawn from randomness of their own, so a scenario without them is what it always was, and
//! one with them is the same story with liars in it.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::scenario::Scenario;
use super::step::Step;
use crate::config::Config;
use crate::sim::lies::Lie;
use crate::sim::nodes::liar::Lying;
use crate::sim::nodes::spec::brisk;

/// Scenarios with liars, of all, and with two of them, of those.
const SHARE: f64 = 0.25;
const TWO: f64 = 0.3;
/// In one of so many scenarios with one liar it does nothing but accuse others, so often.
const ACCUSED_EVERY: u64 = 5;
const ACCUSES_EVERY: Duration = Duration::from_millis(300);
/// More votes than liars have names that count.
const EXPEL_VOTES: usize = 64;
/// How often each of them begins to lie.
const TIMES: std::ops::RangeInclusive<usize> = 1..=3;
/// Kinds of lies, where a liar prefers some.
const KINDS: std::ops::RangeInclusive<usize> = 2..=6;

impl Scenario {
    /// As many liars as its seed draws: none in three of four.
    pub(super) fn with_drawn_liars(self) -> Self {
        if self.spec.config.push_pull_interval.is_none() {
            return self;
        }
        let mut rng = self.liars_rng();
        let count = match (rng.random_bool(SHARE), rng.random_bool(TWO)) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        self.with_liars(count)
    }

    /// The same story with so many liars, instead of those that its seed draws. Their indices are the
    /// last ones.
    ///
    /// Where there are liars there is push/pull too: a writer that tells one peer and not the others
    /// is made good by that and by nothing else. And nobody is expelled because others say so: names are
    /// not proven here, so a liar would have as many votes as it takes names.
    #[must_use]
    pub fn with_liars(mut self, count: usize) -> Self {
        let is_lie = |step: &Step| matches!(step, Step::Lie { .. });
        self.steps.retain(|(_, step)| !is_lie(step));
        self.liars = count;
        let mut rng = self.liars_rng();
        // What was drawn to find out how many there are.
        let _: (bool, bool) = (rng.random_bool(SHARE), rng.random_bool(TWO));
        self.lies_on = None;
        let push_pull = &mut self.spec.config.push_pull_interval;
        if count > 0 && push_pull.is_none() {
            *push_pull = brisk().push_pull_interval;
        }
        self.spec.config.expel_votes = match count {
            0 => brisk().expel_votes,
            _ => EXPEL_VOTES,
        };
        for liar in self.liars() {
            for _ in 0..rng.random_range(TIMES) {
                let story = u64::try_from(self.story.as_millis()).unwrap_or(u64::MAX);
                let at = rng.random_range(500..story.max(4_000) - 3_000);
                let step = Step::Lie {
                    node: liar,
                    lying: lying(&mut rng),
                    span: Duration::from_millis(rng.random_range(1_500..10_000)),
                };
                self.steps.push((Duration::from_millis(at), step));
            }
        }
        if count > 0 && rng.random_bool(0.5) {
            self.lies_on = Some(Lying {
                every: Duration::from_millis(rng.random_range(1_000..5_000)),
                moody: false,
                tampering: rng.random_range(0.0..0.02),
                ..lying(&mut rng)
            });
        }
        match self.seed {
            seed if self.is_crowded() && seed.is_multiple_of(2) => self.crowds(),
            seed if self.liars == 1 && seed % ACCUSED_EVERY == 1 => self.accuses(),
            _ => {}
        }
        self.steps.sort_by_key(|(at, _)| *at);
        self
    }

    fn is_crowded(&self) -> bool {
        self.spec.config.entries_max < Config::lan().entries_max
    }

    /// Its liar says in packets, to the end and under its own name alone, that others are down or
    /// suspect, and nothing else: nobody vouches for that, so nobody may ever be declared failed for it.
    fn accuses(&mut self) {
        let accusing = Lying {
            every: ACCUSES_EVERY,
            kinds: vec![Lie::SwimDeclares, Lie::SwimSuspects],
            moody: false,
            tampering: 0.0,
        };
        for (_, step) in &mut self.steps {
            if let Step::Lie { lying, .. } = step {
                *lying = accusing.clone();
            }
        }
        self.lies_on = Some(accusing);
    }

    /// Its liars do nothing but fill stores, under their own names: what is promised of room then is
    /// more than where they write in the names of others.
    fn crowds(&mut self) {
        let steps = self.steps.iter_mut().map(|(_, step)| step);
        let lying = steps.filter_map(|step| match step {
            Step::Lie { lying, .. } => Some(lying),
            _ => None,
        });
        for lying in lying.chain(&mut self.lies_on) {
            lying.kinds = vec![Lie::DeltaCrowds];
            lying.moody = false;
            lying.tampering = 0.0;
        }
    }

    /// The indices of its liars.
    pub(super) fn liars(&self) -> std::ops::Range<usize> {
        let first = self.nodes + self.joiners + self.strangers;
        first..first + self.liars
    }

    fn liars_rng(&self) -> Pcg64 {
        Pcg64::seed_from_u64(self.seed ^ 0x6c69_6172_735f_6f66)
    }
}

/// Everything or a few kinds, from three times a second up to two hundred times.
fn lying(rng: &mut Pcg64) -> Lying {
    let kinds = match rng.random_range(0..2) {
        0 => Vec::new(),
        _ => {
            let count = rng.random_range(KINDS);
            let kinds = (0..count).map(|_| Lie::ALL[rng.random_range(0..Lie::ALL.len())]);
            kinds.collect()
        }
    };
    // As many slow ones as fast ones.
    let doublings = rng.random_range(0..6);
    Lying {
        every: Duration::from_millis(rng.random_range(5..10) << doublings),
        kinds,
        moody: rng.random_bool(0.5),
        tampering: match rng.random_range(0..3) {
            0 => 0.0,
            1 => rng.random_range(0.0..0.05),
            _ => rng.random_range(0.05..0.4),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_the_same_with_liars_and_without() {
        let mut with = 0;
        for seed in 0..200 {
            let drawn = Scenario::random(seed);
            with += usize::from(drawn.liars > 0);
            assert_eq!(drawn.clone().with_liars(drawn.liars).steps, drawn.steps);
            let without = drawn.clone().with_liars(0);
            let mut config = drawn.spec.config.clone();
            config.expel_votes = brisk().expel_votes;
            assert_eq!(without.spec.config, config);
            let honest = drawn.steps.iter();
            let honest = honest.filter(|(_, step)| !matches!(step, Step::Lie { .. }));
            assert!(without.steps.iter().eq(honest));
            assert_eq!(drawn.with_liars(2).liars().len(), 2);
        }
        assert!((30..70).contains(&with), "{with} of 200 have liars");
    }
}
