//! What a scenario ends with, once everybody agrees: promises of time are kept, by the seed.
//!
//! | promise | when |
//! |---|---|
//! | differences are found without a timer | no timer begins exchanges |
//! | a write is everywhere at once, also if somebody dies with it | the network is calm |
//! | nobody is behind | nobody refuses anything |
//! | a broken link costs a write next to nothing | every third, in direct mode, if the network is calm |
//! | what a silent relay was handed is handed on by others | above direct mode, if the network is calm |
//! | islands find each other without seeds | every third, in direct mode |
//! | one's own stall is nobody's fault | every third |
//!
//! Where somebody lies, none of them is promised.

use std::time::Duration;

use super::scenario::{CONVERGENCE_MAX, Scenario};
use crate::sim::check::violation::Violation;
use crate::sim::cluster::simulator::Simulator;

/// A key that nothing else writes.
const HIDDEN_KEY: u64 = 777_777;
/// The key of the last write that all are to have; no other step uses it.
const LAST_KEY: u64 = 1 << 41;
/// The first of the keys that are written past a cut.
const PAST_CUT_KEY: u64 = LAST_KEY + 1;
/// The first of those that are written while relays fall silent.
const HANDED_KEY: u64 = LAST_KEY + 1_000;
/// How long a write may take to be everywhere where nothing is wrong but that somebody has just died.
const DELIVERY_MAX: Duration = Duration::from_secs(1);
/// The longest latency at which that is promised.
const LATENCY_CALM: Duration = Duration::from_millis(5);
/// Stores that have room for so many entries have room for one more.
const ROOM: usize = 100_000;

/// Where no timer begins exchanges: each node holds another version of something from the same instant, and
/// does not know that it has to send it. They find out.
pub(super) fn hide_one(scenario: &Scenario, sim: &mut Simulator) -> Result<(), Violation> {
    let timer = scenario.spec.config.push_pull_interval.is_some();
    if timer || scenario.liars > 0 {
        return Ok(());
    }
    for node in 0..scenario.nodes {
        if sim.is_ready(node) {
            // A store without room holds what it held.
            let value = format!("hidden {} {node}", scenario.seed);
            let _ = sim.write_unseen(node, HIDDEN_KEY, value);
        }
    }
    sim.converge(CONVERGENCE_MAX).map(drop)
}

/// Now that all agree and nothing happens, one more write is everywhere at once; also if somebody dies with
/// it, in every other story.
pub(super) fn write_last(scenario: &Scenario, sim: &mut Simulator) -> Result<(), Violation> {
    let ready: Vec<usize> = (0..scenario.nodes).filter(|n| sim.is_ready(*n)).collect();
    let calm = writes_are_calm(scenario, sim, &ready);
    let Some(&writer) = ready.first().filter(|_| calm) else {
        return Ok(());
    };
    let several = ready.len() > 2 && scenario.seed.is_multiple_of(2);
    let lost = ready.get(1 + scenario.seed as usize % (ready.len().max(2) - 1));
    let lost = lost.copied().filter(|_| several);
    sim.write_everywhere(writer, LAST_KEY, lost, DELIVERY_MAX)
        .map(drop)
}

/// One of the promises that take faults to see.
pub(super) fn keep_time(scenario: &Scenario, sim: &mut Simulator) -> Result<(), Violation> {
    let members = 0..scenario.nodes + scenario.joiners;
    let live: Vec<usize> = members.filter(|node| sim.is_ready(*node)).collect();
    if scenario.liars > 0 || live.len() < 2 {
        return Ok(());
    }
    sim.converge(CONVERGENCE_MAX)?;
    let direct = live.len() <= scenario.spec.config.direct_peers_max;
    if direct && scenario.clocks_mend && scenario.spec.config.entries_max >= ROOM {
        sim.catch_up(&live)?;
    }
    let calm = live.len() > 2 && writes_are_calm(scenario, sim, &live);
    if calm && !direct {
        sim.silence_relays(live[0], HANDED_KEY)?;
    }
    match scenario.seed % 3 {
        0 if direct => {
            let (half, other) = live.split_at(live.len() / 2);
            sim.find_each_other(half, other)?;
        }
        1 if calm && direct => sim.write_past_cut(live[0], live[1], PAST_CUT_KEY)?,
        _ => sim.sleep_after_ping(live[0])?,
    }
    sim.converge(CONVERGENCE_MAX).map(drop)
}

/// Whether what one of these nodes writes gets to the others in the time that it takes, and is read there.
fn writes_are_calm(scenario: &Scenario, sim: &Simulator, live: &[usize]) -> bool {
    // What the next version writes the present one cannot read.
    let alike = !live.iter().any(|node| sim.is_next_version(*node));
    alike
        && scenario.clocks_mend
        && scenario.liars == 0
        && scenario.network.loss == 0.0
        && scenario.network.latency_max <= LATENCY_CALM
        && scenario.spec.config.entries_max >= ROOM
}
