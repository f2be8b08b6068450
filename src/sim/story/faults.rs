//! Draws the faults of a scenario.
//!
//! Swarm testing (Groce et al., 2012): each seed leaves most kinds of faults out and stresses the
//! few that it has.

use std::time::Duration;

use rand::RngExt as _;

use super::dice::{Dice, KEYS};
use super::step::Step;
use crate::sim::network::bandwidth::Bandwidth;
use crate::sim::network::config::LatencyShape;
use crate::sim::nodes::clock::Skew;
use crate::sim::nodes::registers::Poison;

/// Kinds of faults in a story, and how often each happens.
const KINDS: std::ops::RangeInclusive<usize> = 3..=6;
const TIMES: std::ops::RangeInclusive<usize> = 1..=3;
/// How many more members may come than there are at the start.
pub(super) const JOINERS_MAX: usize = 3;

/// Kinds of faults, as they are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultKind {
    Bandwidth,
    Churn,
    ClockJump,
    Commits,
    Corruption,
    Crash,
    CrashAll,
    Cut,
    Disorder,
    HalfOpen,
    Latency,
    Loss,
    Partition,
    Poison,
    Replay,
    Slow,
    Split,
    Stall,
    Upgrade,
}

impl FaultKind {
    const ALL: [Self; 19] = [
        Self::Bandwidth,
        Self::Churn,
        Self::ClockJump,
        Self::Commits,
        Self::Corruption,
        Self::Crash,
        Self::CrashAll,
        Self::Cut,
        Self::Disorder,
        Self::HalfOpen,
        Self::Latency,
        Self::Loss,
        Self::Partition,
        Self::Poison,
        Self::Replay,
        Self::Slow,
        Self::Split,
        Self::Stall,
        Self::Upgrade,
    ];
}

impl Dice<'_> {
    /// A few kinds of faults, each some times.
    pub(super) fn faults(&mut self) {
        let mut kinds = FaultKind::ALL.to_vec();
        let of_disks = |kind: &FaultKind| matches!(kind, FaultKind::Commits | FaultKind::CrashAll);
        kinds.retain(|kind| self.durable || !of_disks(kind));
        // What is refused for its clock is offered again by push/pull, and by nothing else.
        kinds.retain(|kind| self.push_pull || *kind != FaultKind::ClockJump);
        for _ in 0..self.rng.random_range(KINDS) {
            let at = self.rng.random_range(0..kinds.len());
            let kind = kinds.swap_remove(at);
            for _ in 0..self.rng.random_range(TIMES) {
                self.fault(kind);
            }
        }
    }

    fn fault(&mut self, kind: FaultKind) {
        let at = self.millis(1_000, self.millis_max - 5_000);
        let span = self.millis(500, 8_000);
        let node = self.node();
        match kind {
            FaultKind::Bandwidth | FaultKind::Slow | FaultKind::Stall => {
                self.hold_up(kind, at, span, node)
            }
            FaultKind::Churn => self.churn(at, span),
            FaultKind::Commits | FaultKind::CrashAll => self.disks(kind, at, span),
            FaultKind::Split => {
                let size = self.rng.random_range(1..self.nodes);
                let group = (node..node + size).map(|n| n % self.nodes).collect();
                self.push(at, Step::Isolate { group, span });
            }
            FaultKind::ClockJump => {
                let far = self.chance(0.1);
                let off = self.millis(1, if far { 600_000 } else { 60_000 });
                let skew = if self.chance(0.5) {
                    Skew::Ahead(off)
                } else {
                    Skew::Behind(off)
                };
                self.push(at, Step::SetSkew { node, skew });
            }
            FaultKind::Crash => {
                let step = Step::Crash {
                    node,
                    power_off: self.chance(0.4),
                    disk_lost: self.durable && self.chance(0.3),
                    elsewhere: self.chance(0.2),
                    span,
                };
                self.push(at, step);
            }
            FaultKind::Cut | FaultKind::HalfOpen | FaultKind::Partition => {
                let b = self.other(node);
                let step = match kind {
                    FaultKind::Cut if self.chance(0.5) => Step::CutDatagrams { a: node, b, span },
                    FaultKind::Cut => Step::CutOneWay {
                        from: node,
                        to: b,
                        span,
                    },
                    FaultKind::HalfOpen => Step::ForgetStreams { a: node, b },
                    _ => Step::Partition { a: node, b, span },
                };
                self.push(at, step);
            }
            FaultKind::Corruption | FaultKind::Disorder | FaultKind::Latency | FaultKind::Loss => {
                self.weather(kind, at, span);
            }
            FaultKind::Poison => {
                let key = self.rng.random_range(0..KEYS);
                let kind = match self.rng.random_range(0..3) {
                    0 => Poison::Malformed,
                    1 => Poison::Panics,
                    _ => Poison::WrongKey,
                };
                self.push(at, Step::Poison { node, key, kind });
            }
            FaultKind::Replay => {
                let count = self.rng.random_range(1..60);
                self.push(at, Step::Replay { count });
            }
            FaultKind::Upgrade => self.push(at, Step::Upgrade { node }),
        }
    }

    /// One node is slow to send, slow to think, or not there at all for a while.
    fn hold_up(&mut self, kind: FaultKind, at: Duration, span: Duration, node: usize) {
        let step = match kind {
            FaultKind::Bandwidth => {
                let limit = Bandwidth {
                    bytes_per_second: self.rng.random_range(20_000..1_000_000),
                    queue_bytes: self.rng.random_range(4_000..100_000),
                };
                Step::Bandwidth { node, limit, span }
            }
            FaultKind::Slow => {
                let per_input = Duration::from_micros(self.rng.random_range(100..5_000));
                Step::Slow {
                    node,
                    per_input,
                    span,
                }
            }
            _ => Step::Pause { node, span },
        };
        self.push(at, step);
    }

    /// What the whole network suffers.
    fn weather(&mut self, kind: FaultKind, at: Duration, span: Duration) {
        let step = match kind {
            FaultKind::Corruption => Step::Corruption {
                corruption: self.rng.random_range(0.01..0.2),
                span,
            },
            FaultKind::Disorder => Step::Disorder {
                duplication: self.rng.random_range(0.0..0.3),
                reorder: self.rng.random_range(0.0..0.4),
                span,
            },
            FaultKind::Latency if self.chance(0.5) => Step::Latency {
                max: self.millis(2, 60),
                shape: LatencyShape::Uniform,
                span,
            },
            FaultKind::Latency => Step::Latency {
                max: self.millis(50, 1_000),
                shape: LatencyShape::HeavyTailed,
                span,
            },
            _ => Step::Loss {
                loss: self.rng.random_range(0.02..0.3),
                span,
            },
        };
        self.push(at, step);
    }

    /// Disks fail or are slow, or a durable cluster dies all at once.
    fn disks(&mut self, kind: FaultKind, at: Duration, span: Duration) {
        let failing = Step::CommitFailure {
            failure: self.rng.random_range(0.02..0.3),
            span: span + Duration::from_secs(2),
        };
        match kind {
            FaultKind::CrashAll => {
                let power_off = self.chance(0.5);
                self.push(at.saturating_sub(Duration::from_secs(1)), failing);
                self.push(at, Step::CrashAll { power_off, span });
            }
            _ if self.chance(0.5) => {
                let max = self.millis(10, 400);
                self.push(at, Step::CommitDelay { max, span });
            }
            _ => self.push(at, failing),
        }
    }

    /// Somebody new comes, or somebody leaves and maybe comes back.
    fn churn(&mut self, at: Duration, span: Duration) {
        if self.chance(0.4) && self.strangers == 0 && self.joiners < JOINERS_MAX {
            let node = self.nodes + self.joiners;
            self.joiners += 1;
            self.push(at, Step::Join { node });
            if self.chance(0.5) {
                self.push(at + span, Step::Leave { node });
            }
            return;
        }
        // Whom others look for stays.
        let node = self.rng.random_range(self.seeds.unwrap_or(0)..self.nodes);
        self.push(at, Step::Leave { node });
        if self.chance(0.6) {
            self.push(at + span + Duration::from_secs(3), Step::Join { node });
        }
    }
}
