//! Draws the alerts of a scenario: which are sent, where, and when they are resolved.
//!
//! They are drawn from randomness of their own, so a scenario without them is what it always was, and one
//! with them is the same story with alerts in it.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::scenario::Scenario;
use super::step::Step;
use crate::sim::nodes::firing::ALERTS;

/// Scenarios with alerts, of all.
const SHARE: f64 = 0.3;
/// How often alerts are sent, and how often each node looks at what it remembers.
const SENT: std::ops::Range<usize> = 60..200;
const TENDED: std::ops::Range<usize> = 10..60;
/// How often a resolve is not heard of by a node that remembers a repeat.
const UNHEARD: std::ops::RangeInclusive<u64> = 1..=4;

impl Scenario {
    /// With alerts if its seed draws them.
    pub(super) fn with_drawn_alerts(mut self) -> Self {
        let mut rng = Pcg64::seed_from_u64(self.seed ^ 0x616c_6572_7473_5f6f);
        if !rng.random_bool(SHARE) {
            return self;
        }
        self.spec.alerts = true;
        let last = u64::try_from(self.story.as_millis()).unwrap_or(u64::MAX) - 500;
        let at = |rng: &mut Pcg64| Duration::from_millis(rng.random_range(100..last));
        for _ in 0..rng.random_range(SENT) {
            let at = at(&mut rng);
            let step = Step::Alert {
                node: rng.random_range(0..self.nodes),
                alert: rng.random_range(0..ALERTS),
                ends_in: match rng.random_range(0..4) {
                    0 => None,
                    _ => Some(Duration::from_millis(rng.random_range(500..20_000))),
                },
                copies: match rng.random_range(0..3) {
                    0 => Some(rng.random_range(1..self.nodes)),
                    _ => None,
                },
            };
            self.steps.push((at, step));
        }
        for node in 0..self.nodes {
            for _ in 0..rng.random_range(TENDED) {
                let at = at(&mut rng);
                self.steps.push((at, Step::TendAlerts { node }));
            }
        }
        for alert in ALERTS..ALERTS + rng.random_range(UNHEARD) {
            let at = Duration::from_millis(rng.random_range(100..last - 9_000));
            let node = rng.random_range(0..self.nodes);
            let other = (node + rng.random_range(1..self.nodes)) % self.nodes;
            self.steps.extend(unheard(at, alert, node, other));
        }
        self.steps.sort_by_key(|(at, _)| *at);
        self
    }
}

/// A repeat is remembered by a node that is then cut off; the alert is resolved elsewhere; and only after
/// that the node writes what it remembers.
fn unheard(at: Duration, alert: u64, node: usize, other: usize) -> [(Duration, Step); 6] {
    let sent = |node, ends_in: Option<u64>| Step::Alert {
        node,
        alert,
        ends_in: ends_in.map(Duration::from_millis),
        copies: None,
    };
    let cut_off = Step::Isolate {
        group: vec![other],
        span: Duration::from_secs(7),
    };
    [
        (0, sent(node, Some(6_000))),
        (500, sent(other, Some(6_200))),
        (1_000, cut_off),
        (1_500, sent(node, None)),
        (5_200, Step::TendAlerts { node: other }),
        (5_700, Step::TendAlerts { node: other }),
    ]
    .map(|(millis, step)| (at + Duration::from_millis(millis), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_scenarios_have_alerts_of_every_kind() {
        let drawn = (0..100).map(Scenario::random);
        let with: Vec<_> = drawn.filter(|it| it.spec.alerts).collect();
        assert!((15..45).contains(&with.len()), "{}", with.len());
        for scenario in with {
            let steps = || scenario.steps.iter().map(|(_, step)| step);
            let has = |wanted: fn(&Step) -> bool| steps().any(wanted);
            assert!(has(|step| matches!(
                step,
                Step::Alert { ends_in: None, .. }
            )));
            assert!(has(|step| matches!(
                step,
                Step::Alert {
                    ends_in: Some(_),
                    copies: Some(_),
                    ..
                }
            )));
            assert!(has(|step| matches!(step, Step::TendAlerts { .. })));
        }
    }
}
