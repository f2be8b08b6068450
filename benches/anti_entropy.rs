//! What a push/pull costs: `cargo bench --bench anti_entropy`.
//!
//! Two real engines, back to back in memory on virtual time, hold `n` keys between them, of which
//! `d` differ: a third is held by one side only, a third by the other only, a third is newer on one
//! side. One exchange makes them equal:
//!
//! - `bytes`: both ways, everything: preface, handshake, frame headers, digests, entries and their
//!   acknowledgements. An entry is 300 bytes: a header of 54 and a body of 246.
//! - `messages`: one-way, the two of the handshake and all acknowledgements included.
//! - `cpu_us`: inside both engines, merging the entries included.
//!
//! `ratio` is bytes to the bytes of the differing entries, 300 d. `joiner` is a side with an empty
//! store, and its ratio is to the bytes of the state. Figures are means of 20 runs, 3 at a million.
//!
//! The stores are filled once for each `d`; what differs is random and anew in each run. What only
//! one side held expires between the runs, on virtual time, so that each begins with as many keys.
#![allow(missing_docs)]

#[path = "../tests/pair/mod.rs"]
mod pair;
mod tables;

use std::time::Duration;

use pair::{Cost, ENTRY_BYTES, Held, Pair, Random, entry, newer};
use rumormill::unstable::wire::Entry;
use tables::{RUNS, Table, is_test};

fn main() {
    let sizes: &[usize] = if is_test() {
        &[1_000]
    } else {
        &[1_000, 10_000, 100_000, 1_000_000]
    };
    let mut table = Table::new("anti_entropy");
    println!("      keys   differing          bytes   ratio  messages        cpu us");
    for &n in sizes {
        let mut random = Random(n as u64);
        let runs = match n {
            _ if is_test() => 1,
            1_000_000 => 3,
            _ => RUNS,
        };
        let mut differences = vec![0, 1, 10, 100, 1_000, 10_000, n];
        differences.retain(|&d| d <= n);
        differences.dedup();
        for d in differences {
            let mut sides = Sides::new(n, d, &mut random);
            let cost = mean(runs, |run| sides.run(run as u64));
            add(&mut table, n, &d.to_string(), d, cost);
        }
        let mut sides = Sides::new(n, 0, &mut random);
        let cost = mean(runs, |run| sides.join(run as u64));
        add(&mut table, n, "joiner", n, cost);
    }
    table.finish();
}

/// Means of bytes, messages and microseconds.
fn mean(runs: usize, mut run: impl FnMut(usize) -> Cost) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for number in 0..runs {
        let cost = run(number);
        let micros = cost.spent.as_secs_f64() * 1e6;
        for (sum, value) in sums
            .iter_mut()
            .zip([cost.bytes as f64, cost.messages as f64, micros])
        {
            *sum += value;
        }
    }
    sums.map(|sum| sum / runs as f64)
}

fn add(table: &mut Table, n: usize, d: &str, entries: usize, [bytes, messages, cpu]: [f64; 3]) {
    let name = format!("anti_entropy/{n}/{d}");
    let mut ratio = String::from("-");
    table.row(format!("{name}/bytes"), bytes);
    if entries > 0 {
        let value = bytes / (entries * ENTRY_BYTES) as f64;
        ratio = format!("{value:.3}");
        table.row(format!("{name}/ratio"), value);
    }
    table.row(format!("{name}/messages"), messages);
    table.row(format!("{name}/cpu_us"), cpu);
    println!("{n:>10} {d:>11} {bytes:>14.0} {ratio:>7} {messages:>9.1} {cpu:>13.1}");
}

/// Two nodes that hold the same, but for what differs in a run.
struct Sides {
    held: Held,
    /// What both hold between runs, in no order.
    base: Vec<Entry>,
    /// How many of them are updated, and how many keys each side alone has, in a run.
    updated: usize,
    alone: [usize; 2],
    random: Random,
}

impl Sides {
    fn new(n: usize, d: usize, random: &mut Random) -> Self {
        let updated = d / 3;
        let alone = [d.div_ceil(3), (d + 1) / 3];
        assert_eq!(updated + alone[0] + alone[1], d);
        let lasts = |random: &mut Random| {
            let entry = entry(random);
            Entry {
                expires_at: entry.expires_at.plus(LASTING),
                ..entry
            }
        };
        let base: Vec<_> = (0..n - alone[0] - alone[1])
            .map(|_| lasts(random))
            .collect();
        Self {
            held: Held::new(&base, &base),
            base,
            updated,
            alone,
            random: Random(random.draw()),
        }
    }

    /// One exchange over what differs in this run.
    fn run(&mut self, run: u64) -> Cost {
        let mut fresh: [Vec<Entry>; 2] = [Vec::new(), Vec::new()];
        // A draw without replacement.
        for at in 0..self.updated {
            let left = (self.base.len() - at) as u64;
            self.base
                .swap(at, at + (self.random.draw() % left) as usize);
            self.base[at] = newer(&self.base[at], &mut self.random);
            fresh[at % 2].push(self.base[at].clone());
        }
        let expires_at = self.held.wall().plus(ALONE_FOR);
        for (side, fresh) in fresh.iter_mut().enumerate() {
            fresh.extend((0..self.alone[side]).map(|_| Entry {
                expires_at,
                ..entry(&mut self.random)
            }));
            self.held.merge(side, fresh);
        }
        let cost = exchanged(&self.held, run);
        self.held.pass(ALONE_FOR * 2);
        let left = self.held.maps.iter().map(|map| map.store().len());
        assert!(left.eq([self.base.len(); 2]), "the rest has expired");
        cost
    }

    /// One exchange with a side that has nothing.
    fn join(&mut self, run: u64) -> Cost {
        self.held.empty(1);
        exchanged(&self.held, run)
    }
}

fn exchanged(held: &Held, seed: u64) -> Cost {
    let mut pair = Pair::over(held, seed);
    let cost = pair.joined();
    assert!(pair.agree(), "an exchange makes equal");
    cost
}

/// More than all the time that passes in a bench.
const LASTING: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long what only one side has is kept; its grace is shorter.
const ALONE_FOR: Duration = Duration::from_secs(600);
