//! Draws a scenario from a seed: its cluster, its configuration, its network, and what happens.
//!
//! Swarm testing (Groce et al., 2012): each seed leaves most kinds of faults out and stresses the
//! few that it has.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::alerting::{GROUPS, SUBJECTS};
use super::bandwidth::Bandwidth;
use super::brisk;
use super::disk::DiskConfig;
use super::faults::Poison;
use super::network::{LatencyShape, NetworkConfig};
use super::process::NodeSpec;
use super::registers::Skew;
use super::scenario::Scenario;
use super::simulator::seed_name;
use super::step::Step;
use crate::config::Config;

/// Members at the start; up to [`JOINERS_MAX`] more may come.
const NODES: std::ops::RangeInclusive<usize> = 2..=7;
const JOINERS_MAX: usize = 3;
const NODES_MAX: usize = 10;
/// Writes in a story, beside bursts.
const WRITES: std::ops::Range<usize> = 110..200;
/// Kinds of faults in a story, and how often each happens.
const KINDS: std::ops::RangeInclusive<usize> = 3..=6;
const TIMES: std::ops::RangeInclusive<usize> = 1..=3;
/// Writes of silences and notifications, where there are such stores.
const ALERTING_WRITES: std::ops::Range<usize> = 40..90;
/// Keys that single writes share.
const KEYS: u64 = 40;
/// Over the datagram window, so that a peer is served over a stream.
const BURST: (u64, usize) = (300, 200);
/// The least `streams_max` that is valid.
const STREAMS_MIN: usize = 2;
/// The largest single value.
const BIG_BYTES: usize = 200_000;
/// How long most stories are, in ms, and the long ones.
const STORY: u64 = 30_000;
const LONG_STORY: u64 = 90_000;
/// How long it goes on after everybody has agreed: a false alarm would have healed by then. After
/// a long story, everything that expired in it is not served any more.
const AFTERMATH: Duration = Duration::from_secs(40);
const LONG_AFTERMATH: Duration = Duration::from_secs(200);
/// After this much everything that expired has been collected: the engine looks every ten minutes.
const COLLECTED: Duration = Duration::from_secs(1_500);

/// Kinds of faults, as they are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
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

impl Kind {
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

/// Draws the scenario of a seed.
pub(super) fn draw(seed: u64) -> Scenario {
    let mut rng = Pcg64::seed_from_u64(seed ^ 0x7363_656e_6172_696f);
    let nodes = rng.random_range(NODES);
    let alerting = rng.random_bool(1.0 / 3.0);
    let durable = rng.random_bool(1.0 / 3.0);
    let long = rng.random_bool(0.05);
    let seeds = rng
        .random_bool(0.5)
        .then(|| rng.random_range(1..=2.min(nodes - 1)));
    let mut draw = Draw {
        nodes,
        seeds,
        joiners: 0,
        strangers: if rng.random_bool(0.2) { 2 } else { 0 },
        durable,
        push_pull: true,
        crowded: false,
        millis_max: if long { LONG_STORY } else { STORY },
        long,
        rng: &mut rng,
        steps: Vec::new(),
    };
    let config = draw.config();
    draw.push_pull = config.push_pull_interval.is_some();
    draw.crowded = config.entries_max < Config::lan().entries_max;
    let crowded = draw.crowded;
    draw.faults();
    draw.writes();
    if alerting {
        draw.alerting_writes();
    }
    draw.steps.sort_by_key(|(at, _)| *at);
    let spec = NodeSpec {
        alerting,
        config,
        durable,
        seeds: seeds.map(|seeds| (0..seeds).map(seed_name).collect()),
        ..NodeSpec::default()
    };
    let aftermath = match (long, draw.rng.random_range(0..5)) {
        (true, 0) => COLLECTED,
        (true, _) if crowded => COLLECTED,
        (true, _) => LONG_AFTERMATH,
        (false, _) => AFTERMATH,
    };
    Scenario {
        seed,
        nodes,
        joiners: draw.joiners,
        strangers: draw.strangers,
        network: draw.network(),
        disk: DiskConfig::default(),
        spec,
        story: Duration::from_millis(draw.millis_max),
        aftermath,
        clocks_mend: draw.rng.random_bool(0.5),
        steps: draw.steps,
        replay: None,
        kept: None,
    }
}

/// Draws the parts.
struct Draw<'a> {
    rng: &'a mut Pcg64,
    nodes: usize,
    /// How many of them everybody looks for, from index 0; `None` is all. The others are found
    /// through these only, and found again without them.
    seeds: Option<usize>,
    joiners: usize,
    strangers: usize,
    durable: bool,
    push_pull: bool,
    /// Stores have room for less than is written.
    crowded: bool,
    long: bool,
    millis_max: u64,
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

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    fn push(&mut self, at: Duration, step: Step) {
        self.steps.push((at, step));
    }

    /// Limits small enough to be met, and timers around those of [`brisk`].
    fn config(&mut self) -> Config {
        let mut config = brisk();
        if self.chance(0.3) {
            config.packet_bytes_max = self.rng.random_range(576..1400);
            config.window_bytes = config.packet_bytes_max * self.rng.random_range(2..10);
        }
        if self.chance(0.2) {
            config.stream_window_bytes = self.rng.random_range(4 << 10..64 << 10);
        }
        if self.chance(0.2) {
            config.backlog_keys_max = self.rng.random_range(20..400);
        }
        if self.chance(0.2) {
            config.items_chunk_max = self.rng.random_range(8..200);
            config.exchanges_max = self.rng.random_range(1..4);
        }
        if self.chance(0.1) {
            config.direct_peers_max = self.rng.random_range(0..4);
        }
        if self.chance(0.1) {
            // Just as many as the configuration must have, or a few more.
            let least = config.direct_peers_max + config.exchanges_max;
            config.streams_max = (least + self.rng.random_range(0..4)).max(STREAMS_MIN);
        }
        if self.chance(0.08) {
            config.entries_max = self.rng.random_range(60..300);
        }
        if self.chance(0.1) {
            config.entry_bytes_max = self.rng.random_range(1_000..BIG_BYTES);
        }
        if self.chance(0.1) {
            config.watches_max = self.rng.random_range(1..8);
        }
        if self.chance(0.2) {
            config.probe_interval = self.millis(150, 400);
            config.probe_timeout = config.probe_interval / 3;
            config.suspicion_mult = self.rng.random_range(2..6);
            config.indirect_probes = self.rng.random_range(1..4);
        }
        // Up to `direct_peers_max` a write gets everywhere without it; what was refused for want of
        // room does not.
        let room = config.entries_max == Config::lan().entries_max;
        if room && config.direct_peers_max >= NODES_MAX && self.chance(0.3) {
            config.push_pull_interval = None;
        }
        if self.chance(0.2) {
            config.ack_delay_max = self.millis(0, 25);
        }
        if self.long {
            config.max_clock_drift = self.millis(1_000, 10_000);
            config.tombstone_ttl = self.millis(500, 20_000);
        }
        config
    }

    /// Now and then another network than a quiet one, for the whole story.
    fn network(&mut self) -> NetworkConfig {
        let mut network = NetworkConfig::default();
        match self.rng.random_range(0..10) {
            0 => network.latency_min = network.latency_max,
            1 => {
                network.latency_max = self.millis(20, 150);
                network.latency_shape = LatencyShape::HeavyTailed;
            }
            _ => {}
        }
        network
    }

    fn writes(&mut self) {
        for _ in 0..self.rng.random_range(WRITES) {
            let at = self.millis(100, self.millis_max - 500);
            let (node, key) = (self.node(), self.rng.random_range(0..KEYS));
            let node = match self.rng.random_range(0..10) {
                0 if self.strangers > 0 => self.nodes,
                _ => node,
            };
            let write = |bytes, copies| Step::Write {
                node,
                key,
                bytes,
                ttl: None,
                copies,
            };
            let step = match self.rng.random_range(0..20) {
                0..=2 => Step::Remove { node, key },
                3..=4 => Step::Concurrent { key },
                5 => write(self.rng.random_range(2_000..BIG_BYTES), None),
                6..=8 => write(60, Some(self.rng.random_range(0..self.nodes))),
                9..=10 => Step::Write {
                    node,
                    key,
                    bytes: 50,
                    ttl: Some(self.millis(10, 20_000)),
                    copies: None,
                },
                _ => write(self.rng.random_range(30..400), None),
            };
            self.push(at, step);
        }
        for burst in 0..self.rng.random_range(1..=3) {
            let (at, node) = (self.millis(500, self.millis_max - 1_000), self.node());
            self.burst(at, node, 1_000 * (burst + 1));
            // A store is overfilled by those who have not heard of each other yet.
            let others = if self.crowded { self.nodes } else { 0 };
            for other in (0..others).filter(|other| *other != node) {
                self.burst(at, other, 10_000 * (other as u64 + 1));
            }
        }
    }

    fn burst(&mut self, at: Duration, node: usize, first_key: u64) {
        let step = Step::Burst {
            node,
            first_key,
            count: BURST.0,
            bytes: BURST.1,
            // Room comes back.
            ttl: self.crowded.then(|| self.millis(10, 20_000)),
        };
        self.push(at, step);
    }

    /// Silences are made, changed and ended, and notifications logged.
    fn alerting_writes(&mut self) {
        for _ in 0..self.rng.random_range(ALERTING_WRITES) {
            let at = self.millis(100, self.millis_max - 500);
            let node = self.node();
            let step = match self.rng.random_range(0..10) {
                0..=2 => Step::Silence {
                    node,
                    subject: self.rng.random_range(0..SUBJECTS),
                    starts_in: match self.rng.random_range(0..3) {
                        0 => self.millis(1, 10_000),
                        _ => Duration::ZERO,
                    },
                    lasts: self.millis(500, 60_000),
                },
                3..=4 => Step::ChangeSilence {
                    node,
                    pick: self.rng.random(),
                    lasts: match self.rng.random_range(0..2) {
                        0 => None,
                        _ => Some(self.millis(500, 60_000)),
                    },
                },
                _ => Step::Notify {
                    node,
                    group: self.rng.random_range(0..GROUPS),
                    repeat: self.millis(500, 40_000),
                },
            };
            self.push(at, step);
        }
    }

    fn faults(&mut self) {
        let mut kinds = Kind::ALL.to_vec();
        let of_disks = |kind: &Kind| matches!(kind, Kind::Commits | Kind::CrashAll);
        kinds.retain(|kind| self.durable || !of_disks(kind));
        // What is refused for its clock is offered again by push/pull, and by nothing else.
        kinds.retain(|kind| self.push_pull || *kind != Kind::ClockJump);
        for _ in 0..self.rng.random_range(KINDS) {
            let at = self.rng.random_range(0..kinds.len());
            let kind = kinds.swap_remove(at);
            for _ in 0..self.rng.random_range(TIMES) {
                self.fault(kind);
            }
        }
    }

    fn fault(&mut self, kind: Kind) {
        let at = self.millis(1_000, self.millis_max - 5_000);
        let span = self.millis(500, 8_000);
        let node = self.node();
        match kind {
            Kind::Bandwidth | Kind::Slow | Kind::Stall => self.hold_up(kind, at, span, node),
            Kind::Churn => self.churn(at, span),
            Kind::Commits | Kind::CrashAll => self.disks(kind, at, span),
            Kind::Split => {
                let size = self.rng.random_range(1..self.nodes);
                let group = (node..node + size).map(|n| n % self.nodes).collect();
                self.push(at, Step::Isolate { group, span });
            }
            Kind::ClockJump => {
                let far = self.chance(0.1);
                let off = self.millis(1, if far { 600_000 } else { 60_000 });
                let skew = if self.chance(0.5) {
                    Skew::Ahead(off)
                } else {
                    Skew::Behind(off)
                };
                self.push(at, Step::SetSkew { node, skew });
            }
            Kind::Crash => {
                let step = Step::Crash {
                    node,
                    power_off: self.chance(0.4),
                    disk_lost: self.durable && self.chance(0.3),
                    elsewhere: self.chance(0.2),
                    span,
                };
                self.push(at, step);
            }
            Kind::Cut | Kind::HalfOpen | Kind::Partition => {
                let b = self.other(node);
                let step = match kind {
                    Kind::Cut if self.chance(0.5) => Step::CutDatagrams { a: node, b, span },
                    Kind::Cut => Step::CutOneWay {
                        from: node,
                        to: b,
                        span,
                    },
                    Kind::HalfOpen => Step::ForgetStreams { a: node, b },
                    _ => Step::Partition { a: node, b, span },
                };
                self.push(at, step);
            }
            Kind::Corruption | Kind::Disorder | Kind::Latency | Kind::Loss => {
                self.weather(kind, at, span);
            }
            Kind::Poison => {
                let key = self.rng.random_range(0..KEYS);
                let kind = match self.rng.random_range(0..3) {
                    0 => Poison::Malformed,
                    1 => Poison::Panics,
                    _ => Poison::WrongKey,
                };
                self.push(at, Step::Poison { node, key, kind });
            }
            Kind::Replay => {
                let count = self.rng.random_range(1..60);
                self.push(at, Step::Replay { count });
            }
            Kind::Upgrade => self.push(at, Step::Upgrade { node }),
        }
    }

    /// One node is slow to send, slow to think, or not there at all for a while.
    fn hold_up(&mut self, kind: Kind, at: Duration, span: Duration, node: usize) {
        let step = match kind {
            Kind::Bandwidth => {
                let limit = Bandwidth {
                    bytes_per_second: self.rng.random_range(20_000..1_000_000),
                    queue_bytes: self.rng.random_range(4_000..100_000),
                };
                Step::Bandwidth { node, limit, span }
            }
            Kind::Slow => {
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
    fn weather(&mut self, kind: Kind, at: Duration, span: Duration) {
        let step = match kind {
            Kind::Corruption => Step::Corruption {
                corruption: self.rng.random_range(0.01..0.2),
                span,
            },
            Kind::Disorder => Step::Disorder {
                duplication: self.rng.random_range(0.0..0.3),
                reorder: self.rng.random_range(0.0..0.4),
                span,
            },
            Kind::Latency if self.chance(0.5) => Step::Latency {
                max: self.millis(2, 60),
                shape: LatencyShape::Uniform,
                span,
            },
            Kind::Latency => Step::Latency {
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
    fn disks(&mut self, kind: Kind, at: Duration, span: Duration) {
        let failing = Step::CommitFailure {
            failure: self.rng.random_range(0.02..0.3),
            span: span + Duration::from_secs(2),
        };
        match kind {
            Kind::CrashAll => {
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
