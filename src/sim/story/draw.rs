//! Draws a scenario from a seed: its cluster, its configuration, its network, and what happens.
//!
//! The faults among that are in [`faults`](super::faults).

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::dice::{Dice, KEYS};
use super::faults::JOINERS_MAX;
use super::scenario::Scenario;
use super::step::Step;
use crate::config::Config;
use crate::sim::network::config::{LatencyShape, NetworkConfig};
use crate::sim::nodes::address::seed_name;
use crate::sim::nodes::alerting::{GROUPS, SUBJECTS};
use crate::sim::nodes::disk::DiskConfig;
use crate::sim::nodes::spec::{NodeSpec, brisk};

/// Members at the start; up to [`JOINERS_MAX`] more may come.
const NODES: std::ops::RangeInclusive<usize> = 2..=7;
const NODES_MAX: usize = *NODES.end() + JOINERS_MAX;
/// Members at the start of a large cluster, which is beyond direct mode.
const CROWD: std::ops::RangeInclusive<usize> = 17..=60;
/// One in so many clusters is large.
const CROWD_EVERY: u64 = 40;
/// Writes in a story, beside bursts.
const WRITES: std::ops::Range<usize> = 110..200;
/// Writes of silences and notifications, where there are such stores.
const ALERTING_WRITES: std::ops::Range<usize> = 40..90;
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

impl Scenario {
    /// Draws a cluster of 2 to 7 nodes, one in forty of 17 to 60, a third of them durable, its
    /// configuration, at least 30 virtual seconds with at least 100 writes and three to six kinds of faults,
    /// and a calm end. One in four has one or two members that lie.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut rng = Pcg64::seed_from_u64(seed ^ 0x7363_656e_6172_696f);
        let crowd = seed % CROWD_EVERY == CROWD_EVERY - 1;
        let nodes = match rng.random_range(NODES) {
            _ if crowd => Pcg64::seed_from_u64(seed).random_range(CROWD),
            nodes => nodes,
        };
        let alerting = rng.random_bool(1.0 / 3.0);
        let durable = rng.random_bool(1.0 / 3.0);
        let long = rng.random_bool(0.05);
        let seeds = rng
            .random_bool(0.5)
            .then(|| rng.random_range(1..=2.min(nodes - 1)));
        let mut draw = Dice {
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
        Self {
            seed,
            nodes,
            joiners: draw.joiners,
            strangers: draw.strangers,
            liars: 0,
            lies_on: None,
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
        .with_all_else()
    }

    /// With what is drawn from randomness of its own.
    fn with_all_else(self) -> Self {
        let what = self.with_drawn_alerts().with_drawn_deeds();
        what.with_drawn_reads()
            .with_drawn_arrivals()
            .with_drawn_full_disks()
            .with_drawn_liars()
    }
}

impl Dice<'_> {
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
        if self.chance(0.2) {
            config.direct_peers_max = self.rng.random_range(0..4);
        }
        if self.chance(0.1) {
            // Just as many as the configuration must have, or a few more.
            let least = config.direct_peers_max + config.exchanges_max;
            let few = (least + self.rng.random_range(0..4)).max(STREAMS_MIN);
            if self.nodes <= NODES_MAX {
                config.streams_max = few;
            }
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
        let direct = self.nodes <= NODES_MAX && config.direct_peers_max >= NODES_MAX;
        if room && direct && self.chance(0.3) {
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
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::kept::Kept;
    use super::*;

    #[test]
    fn a_seed_is_one_scenario_and_each_has_enough_in_it() {
        let mut all = BTreeSet::new();
        for seed in 0..1000 {
            let scenario = Scenario::random(seed);
            assert_eq!(scenario.steps, Scenario::random(seed).steps);
            let crowd = seed % CROWD_EVERY == CROWD_EVERY - 1;
            let expected = if crowd { CROWD } else { NODES };
            assert!(expected.contains(&scenario.nodes));
            assert_eq!(scenario.spec.config.validate(), Ok(()));
            let times: Vec<_> = scenario.steps.iter().map(|(at, _)| *at).collect();
            assert!(times.is_sorted());
            assert!(scenario.story >= Duration::from_secs(30));
            assert!(times.last().is_some_and(|at| *at < scenario.story * 2));
            let steps = || scenario.steps.iter().map(|(_, step)| step);
            let writes: u64 = steps().map(|step| step.writes(1)).sum();
            assert!(writes >= 100, "seed {seed}: {writes} writes");
            let faults: BTreeSet<_> = steps().filter_map(Step::fault).collect();
            assert!(faults.len() >= 3, "seed {seed}: {faults:?}");
            all.extend(faults);
        }
        assert_eq!(all.len(), 26, "{all:?}");
        let crowded = |seed| Scenario::random(seed).spec.config.entries_max < 1_000;
        assert!((0..100).any(crowded));
        assert!((0..20).any(|seed| Scenario::random(seed).spec.alerting));
        assert!((0..20).any(|seed| Scenario::random(seed).spec.durable));
        assert!((0..20).any(|seed| Scenario::random(seed).strangers > 0));
    }

    #[test]
    fn a_part_of_a_part_is_a_part_of_the_whole() {
        let part = |steps: &[usize], nodes| Kept {
            steps: steps.to_vec(),
            nodes,
            story: Duration::from_secs(9),
        };
        let whole = Scenario::random(5);
        let of_part = whole.keep(&part(&[2, 3, 5, 8, 1 << 20], 99));
        let of_part = of_part.keep(&part(&[1, 3, 4], 2));
        let kept = of_part.kept.as_ref().expect("it is a part");
        assert_eq!(*kept, part(&[3, 8], 2));
        assert_eq!(of_part.steps, whole.keep(kept).steps);
        assert_eq!(of_part.steps.len(), 2);
    }
}
