//! A seeded cluster of engines on virtual time: what the tests use to break the protocol, and
//! protocol tuners to measure it (feature `sim`).
//!
//! A [`Simulator`] owns N nodes, each an [`Engine`](crate::engine::Engine) with its stores, a
//! simulated network, disks and a resolver. There is one clock, one heap of things to come ordered
//! by `(time, sequence)`, and one seed from which all randomness is drawn; a simulated hour takes
//! seconds, and the same seed gives the same trace. The engine is the one that ships: a failure
//! found here is a failure there.
//!
//! ```no_run
//! use std::time::Duration;
//! use rumormill::sim::{SimConfig, Simulator};
//!
//! let mut sim = Simulator::new(SimConfig::new(7));
//! sim.add_nodes(3);
//! sim.run_for(Duration::from_secs(2));
//! sim.write(0, 1, "hello").expect("room for one");
//! let took = sim.run_until(Duration::from_secs(1), |sim| {
//!     (0..3).all(|node| sim.read(node, 1).as_deref() == Some(b"hello"))
//! });
//! println!("everywhere after {took:?}");
//! sim.partition(0, 1);
//! sim.run_for(Duration::from_secs(30));
//! sim.heal_all();
//! sim.converge(Duration::from_secs(30)).expect("the partition heals");
//! sim.assert_sound();
//! ```
//!
//! What must always hold is checked after every turn, and whether everybody agrees by
//! [`Simulator::converge`]; the first [`Violation`] is kept. [`Scenario::random`] draws a whole
//! story of writes and faults from a seed, and its [`Failure`] prints the command that replays it.
//!
//! # What is and is not modelled
//! Latency, loss, duplication, reordering, corruption, one-way and two-way cuts, refused and silent
//! dials, retransmission, process and power failures, stalls, clock skew, slow, failing and torn
//! commits. Not modelled: bandwidth, congestion, and the network's own queues.

mod agenda;
mod bandwidth;
mod checker;
mod client;
mod convergence;
mod disk;
mod draw;
mod faults;
#[cfg(test)]
mod harness;
mod invariant;
mod laws;
mod membership_checks;
mod network;
mod next_version;
mod process;
mod registers;
mod runner;
mod scenario;
mod settled;
mod shrink;
mod simulator;
mod step;
mod streams;
#[cfg(test)]
mod streams_tests;
mod tap;
mod trace;
mod turn;
mod violation;

pub use bandwidth::Bandwidth;
pub use disk::DiskConfig;
pub use faults::Poison;
pub use invariant::Invariant;
pub use network::{LatencyShape, NetworkConfig, NetworkCounters};
pub use process::NodeSpec;
pub use registers::{Register, Registers, Skew, WALL_BASE};
pub use scenario::{Failure, Report, Scenario, Workload, run};
pub use shrink::{Kept, KeptError, Shrunk};
pub use simulator::{InvariantCheck, Occurrence, SimConfig, Simulator, StoreFactory};
pub use step::Step;
pub use tap::{Seen, Tap};
pub use violation::{Breach, Violation};

use std::time::Duration;

use crate::config::Config;

/// A configuration with short timers, so that half a minute of virtual time holds many rounds of
/// everything: probes every 200 ms, push/pull every 2 s, dials given up after 1 s.
#[must_use]
pub fn brisk() -> Config {
    Config {
        gossip_interval: Duration::from_millis(50),
        gossip_to_dead_time: Duration::from_secs(10),
        push_pull_interval: Some(Duration::from_secs(2)),
        probe_interval: Duration::from_millis(200),
        probe_timeout: Duration::from_millis(80),
        tcp_timeout: Duration::from_secs(1),
        reconnect_interval: Some(Duration::from_secs(1)),
        settle_timeout: Duration::from_secs(5),
        peers_resolve_interval: Duration::from_secs(2),
        leave_timeout: Duration::from_secs(2),
        ..Config::lan()
    }
}
