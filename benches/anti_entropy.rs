//! What a push/pull costs: `cargo bench --bench anti_entropy`.
//!
//! Two real engines, back to back in memory on virtual time, hold `n` keys between them, of which
//! `d` differ: a third is held by one side only, a third by the other only, a third is newer on one
//! side. Keys and differences are random, in each run anew. One exchange makes them equal:
//!
//! - `bytes`: both ways, everything: preface, handshake, frame headers, digests, entries and their
//!   acknowledgements. An entry is 300 bytes: a header of 46 and a body of 254.
//! - `messages`: one-way, the two of the handshake and all acknowledgements included.
//! - `cpu_us`: inside both engines, merging the entries included.
//!
//! `ratio` is bytes to the bytes of the differing entries, 300 d. `joiner` is a side with an empty
//! store, and its ratio is to the bytes of the state. Figures are means of 20 runs, 3 at a million.
#![allow(missing_docs)]

#[path = "../tests/pair/mod.rs"]
mod pair;
mod tables;

use pair::{Cost, ENTRY_BYTES, Pair, Random, entry, newer};
use rumormill::wire::Entry;
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
        let base: Vec<_> = (0..n).map(|_| entry(&mut random)).collect();
        let runs = match n {
            _ if is_test() => 1,
            1_000_000 => 3,
            _ => RUNS,
        };
        let mut differences = vec![0, 1, 10, 100, 1_000, 10_000, n];
        differences.retain(|&d| d <= n);
        differences.dedup();
        for d in differences {
            let cost = mean(runs, |run| differing(&base, d, run));
            add(&mut table, n, &d.to_string(), d, cost);
        }
        let cost = mean(runs, |run| exchanged(&base, &[], run));
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

/// One exchange over `d` differing keys among those of `base`.
fn differing(base: &[Entry], d: usize, run: usize) -> Cost {
    let mut random = Random((run * base.len() + d) as u64);
    // The last `d` after a draw without replacement.
    let mut order: Vec<usize> = (0..base.len()).collect();
    for at in 0..d {
        let last = order.len() - 1 - at;
        let other = (random.draw() % (last as u64 + 1)) as usize;
        order.swap(last, other);
    }
    let (shared, apart) = order.split_at(base.len() - d);
    let shared: Vec<Entry> = shared.iter().map(|&at| base[at].clone()).collect();
    let mut sides = [shared.clone(), shared];
    for (number, &at) in apart.iter().enumerate() {
        let old = &base[at];
        match (number + run) % 3 {
            2 => {
                let side = number / 3 % 2;
                sides[side].push(newer(old, &mut random));
                sides[1 - side].push(old.clone());
            }
            side => sides[side].push(old.clone()),
        }
    }
    exchanged(&sides[0], &sides[1], run)
}

fn exchanged(a: &[Entry], b: &[Entry], run: usize) -> Cost {
    let mut pair = Pair::new(a, b, run as u64);
    let cost = pair.joined();
    assert!(pair.agree(), "an exchange makes equal");
    cost
}
