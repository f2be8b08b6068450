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
//! What must always hold ([`Invariant`], one to ten) is checked after every turn, every five virtual
//! seconds, and, when everybody agrees, by [`Simulator::converge`]; the first [`Violation`] is kept.
//!
//! # Rooms
//! Each uses only those above it.
//!
//! | room | what it holds |
//! |---|---|
//! | `network` | hosts, links, datagrams and streams; knows no engine |
//! | `lies` | everything that a member can say and should not; knows no simulation |
//! | `nodes` | one node: clock, disk, stores, and the process that runs; what makes one a liar |
//! | `check` | the ten promises, and how they are checked |
//! | `cluster` | the [`Simulator`]: all nodes on one clock, and what is done to them |
//! | `story` | scenarios: drawn from a seed, told, judged, shrunk |
//!
//! # Scenarios
//! [`Scenario::random`] draws a whole story from a seed before it begins: a cluster of 2 to 7 nodes, one in
//! forty of 17 to 60, its configuration, at least 30 virtual seconds with at least 100 writes, and three to
//! six kinds of faults ([`Step`]). A third of them have disks, and a third replicate [`Silences`] and [`Nflog`]
//! beside the [`Registers`], written by their own operations; three in ten replicate [`Alerts`], which
//! clients send, repeat and resolve. Some have as few streams as a
//! configuration may have, or room for fewer entries than are written: a full store need not hold
//! what it has said that it refused, until it has room. While the faults last, safety is checked;
//! then they end, and everybody must agree within 60 virtual seconds, and again after a while of
//! peace. In the end promises of time are kept, each by the scenarios that it fits: a write past a broken link,
//! islands that find each other without seeds, a node that has slept and blames nobody for it, and nobody that
//! is told to be behind. A [`Failure`] prints the seed,
//! the last lines of the log, one line an event, and the command that replays it;
//! [`Scenario::shrink`] finds the least of the steps that fails likewise, and prints the command
//! that replays that.
//!
//! ```
//! use rumormill::sim::{Scenario, Workload};
//!
//! if let Err(failure) = rumormill::sim::run(7) {
//!     let program = || Box::new(()) as Box<dyn Workload>;
//!     panic!("{}", Scenario::random(7).shrink(*failure, 200, program));
//! }
//! ```
//!
//! # Liars
//! One scenario in four has one or two members that lie ([`Step::Lie`]): nodes like any other, that join by
//! the protocol and so have sessions, tokens and streams. What their engines say is dropped, changed,
//! replaced or said twice; beside that they tell every [kind](Lie) of lie, on those streams, on streams
//! of their own and in datagrams, break exchanges at every step, do not read, die, leave and come back.
//! Once the faults are over they fall silent, or go on at a low rate to the end ([`Scenario::lies_on`]).
//!
//! The honest nodes keep every promise *to each other*. What follows from a liar's word at once is excused:
//! what it writes may win, as any later version may; whom it slanders may be taken for failed, left or
//! another process, until the other one objects; copies that it vouches for may be counted. What lasts
//! is not excused: they agree within the bound, nobody is held for failed for long, no member that does
//! not exist is counted on once the liars are silent, and neither memory nor the work of one turn
//! ([`Report::worst_turn`], [`Report::most_held`]) go over their limits.
//!
//! Lies are drawn from randomness of their own: [`Scenario::with_liars`] with 0 is the same story
//! without them. [`Simulator::set_lying`] has a node lie in a test. Not modelled: frames that end
//! half-way, which the engine never sees, and forged source addresses.
//!
//! # A program of your own
//! [`Simulator::set_store_factory`] gives every node further stores, [`Simulator::add_invariant`] and
//! [`Simulator::add_final_invariant`] check what your program promises. A [`Workload`] puts both into
//! every scenario: [`Scenario::run_with`].
//!
//! # What is and is not modelled
//! Latency (constant, even, heavy-tailed), loss, duplication, reordering, corruption and replay of
//! datagrams; one-way, two-way and datagram-only cuts; what a node can send at a time, with a queue
//! that drops datagrams and holds streams back; streams with the loss and retransmission of each
//! segment of 1,460 bytes, refused and silent dials, half-open ends; slow processes, stalls, clock
//! jumps; process and power failures with and without the disk, at the same address or another; slow,
//! failing and torn commits; members that come and go; a second cluster on the same network;
//! entries that nobody can read; members that lie; a rolling upgrade to a version that says and writes more. Not
//! modelled: congestion control, what segments sent again take of the bandwidth, and damage to
//! streams, which TCP notices.
//!
//! [`Silences`]: crate::store::silences::Silences
//! [`Nflog`]: crate::store::nflog::Nflog
//! [`Alerts`]: crate::store::alerts::Alerts
//!
//! # What it costs
//! `cargo run --release --features sim --example scale -- --nodes 1000 --seconds 60` prints it. A
//! thousand nodes, default timers, three seeds each, all started at once, took 38 s of one core for
//! the 60 s and 1.4 GB. Most of that goes to the phases `joining` and `linking` that it prints, in
//! which they come to know each other and tell each other of it; from then on a virtual second takes
//! 0.1 s. Memory grows with the square of the number of nodes, as everybody knows everybody: 1.4 MB a
//! node at a thousand.
//!
//! `cargo run --release --features sim --example sweep -- --seeds 10000` runs so many scenarios in 8
//! minutes on two cores: 273 virtual hours, 8 million writes. None fails; the slowest cluster agrees
//! 30 s after its faults are over.

mod check;
mod cluster;
pub(crate) mod lies;
mod network;
mod nodes;
mod story;

pub use crate::engine::Work;
pub use check::invariant::Invariant;
pub use check::violation::{Breach, Violation};
pub use cluster::lie_log::Heard;
pub use cluster::simulator::{InvariantCheck, Occurrence, SimConfig, Simulator, StoreFactory};
pub use cluster::tap::{Seen, Tap};
pub use lies::Lie;
pub use network::bandwidth::Bandwidth;
pub use network::config::{LatencyShape, NetworkConfig};
pub use network::links::NetworkCounters;
pub use nodes::clock::{Skew, WALL_BASE};
pub use nodes::disk::DiskConfig;
pub use nodes::liar::{Lying, Trick};
pub use nodes::ready::ReadyAct;
pub use nodes::registers::{Poison, Register, Registers};
pub use nodes::spec::{NodeSpec, brisk};
pub use story::kept::{Kept, KeptError};
pub use story::outcome::{Failure, Report, Shrunk};
pub use story::scenario::Scenario;
pub use story::step::Step;
pub use story::tell::run;
pub use story::workload::Workload;
