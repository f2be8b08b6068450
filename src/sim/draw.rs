//! Draws the steps of a random scenario.

use std::time::Duration;

use rand::RngExt as _;
use rand_pcg::Pcg64;

use super::registers::Skew;
use super::scenario::Step;

/// Writes in a story, beside bursts.
const WRITES: std::ops::Range<usize> = 100..200;
/// Kinds of faults to draw from.
const FAULT_KINDS: usize = 8;
/// Keys that single writes share.
const KEYS: u64 = 40;
/// Over the datagram window, so that a peer is served over a stream.
const BURST: (u64, usize) = (300, 200);
/// The largest single value.
const BIG_BYTES: usize = 200_000;

/// Draws the steps of a story, in order of time.
pub(super) fn draw_steps(rng: &mut Pcg64, nodes: usize, durable: bool) -> Vec<(Duration, Step)> {
    let mut draw = Draw {
        rng,
        nodes,
        steps: Vec::new(),
    };
    draw.writes();
    let mut kinds: Vec<usize> = (0..FAULT_KINDS).collect();
    for _ in 0..draw.rng.random_range(3..=5) {
        let kind = kinds.swap_remove(draw.rng.random_range(0..kinds.len()));
        for _ in 0..draw.rng.random_range(1..=3) {
            draw.fault(kind, durable);
        }
    }
    draw.ending();
    draw.steps.sort_by_key(|(at, _)| *at);
    draw.steps
}

/// Draws steps.
struct Draw<'a> {
    rng: &'a mut Pcg64,
    nodes: usize,
    steps: Vec<(Duration, Step)>,
}

impl Draw<'_> {
    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..to))
    }

    fn node(&mut self) -> usize {
        self.rng.random_range(0..self.nodes)
    }

    /// Another node than this one.
    fn other(&mut self, node: usize) -> usize {
        (node + self.rng.random_range(1..self.nodes)) % self.nodes
    }

    fn push(&mut self, at: Duration, step: Step) {
        self.steps.push((at, step));
    }

    fn writes(&mut self) {
        for _ in 0..self.rng.random_range(WRITES) {
            let at = self.millis(100, 29_500);
            let (node, key) = (self.node(), self.rng.random_range(0..KEYS));
            let step = match self.rng.random_range(0..20) {
                0..=2 => Step::Remove { node, key },
                3..=4 => Step::Concurrent { key },
                5 => Step::Write {
                    node,
                    key,
                    bytes: self.rng.random_range(2_000..BIG_BYTES),
                    copies: None,
                },
                6..=8 => Step::Write {
                    node,
                    key,
                    bytes: 60,
                    copies: Some(self.rng.random_range(0..self.nodes)),
                },
                _ => Step::Write {
                    node,
                    key,
                    bytes: self.rng.random_range(30..400),
                    copies: None,
                },
            };
            self.push(at, step);
        }
        for burst in 0..self.rng.random_range(1..=3) {
            let (at, node) = (self.millis(500, 29_000), self.node());
            let step = Step::Burst {
                node,
                first_key: 1_000 * (burst + 1),
                count: BURST.0,
                bytes: BURST.1,
            };
            self.push(at, step);
        }
    }

    fn fault(&mut self, kind: usize, durable: bool) {
        let at = self.millis(1_000, 25_000);
        let end = at + self.millis(500, 8_000);
        let node = self.node();
        match kind {
            0 => {
                let power_off = self.rng.random_bool(0.4);
                let elsewhere = self.rng.random_bool(0.2);
                self.push(at, Step::Crash { node, power_off });
                self.push(end, Step::Restart { node, elsewhere });
            }
            1 => {
                let b = self.other(node);
                self.push(at, Step::Partition { a: node, b });
                self.push(end, Step::HealAll);
            }
            2 => {
                let to = self.other(node);
                self.push(at, Step::CutOneWay { from: node, to });
                self.push(end, Step::HealAll);
            }
            3 => {
                let loss = self.rng.random_range(0.02..0.3);
                self.push(at, Step::Loss(loss));
                self.push(end, Step::Loss(0.0));
            }
            4 => {
                let (duplication, reorder) = (self.rng.random_range(0.0..0.3), 0.2);
                let disorder = Step::Disorder {
                    duplication,
                    reorder,
                };
                self.push(at, disorder);
                let latency = self.millis(2, 60);
                self.push(at, Step::Latency(latency));
                self.push(end, Step::Latency(Duration::from_millis(1)));
            }
            5 => {
                let span = end - at;
                self.push(at, Step::Pause { node, span });
            }
            6 => {
                let span = self.millis(1, 60_000);
                let skew = if self.rng.random_bool(0.5) {
                    Skew::Ahead(span)
                } else {
                    Skew::Behind(span)
                };
                self.push(at, Step::SetSkew { node, skew });
            }
            _ => self.whole_cluster(at, end, node, durable),
        }
    }

    /// A durable cluster dies all at once; one in memory is cut off from one of its nodes.
    fn whole_cluster(&mut self, at: Duration, end: Duration, node: usize, durable: bool) {
        for other in 0..self.nodes {
            if durable {
                let power_off = self.rng.random_bool(0.5);
                let crash = Step::Crash {
                    node: other,
                    power_off,
                };
                self.push(at, crash);
                let restart = Step::Restart {
                    node: other,
                    elsewhere: false,
                };
                self.push(end, restart);
            } else if other != node {
                self.push(at, Step::Partition { a: node, b: other });
            }
        }
        if durable {
            self.push(
                at.saturating_sub(Duration::from_secs(1)),
                Step::CommitFailure(0.1),
            );
            self.push(end, Step::CommitFailure(0.0));
        } else {
            self.push(end, Step::HealAll);
        }
    }

    /// Sometimes somebody leaves, once the links are whole.
    fn ending(&mut self) {
        if self.nodes > 2 && self.rng.random_bool(0.3) {
            let node = self.node();
            self.push(Duration::from_millis(26_000), Step::HealAll);
            self.push(Duration::from_millis(27_000), Step::Leave { node });
        }
    }
}
