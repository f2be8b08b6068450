//! Replicated state by gossip, for programs that must keep working when some of their nodes do not.
//!
//! Give a node a name, an address and a few seed addresses, and it gives you a membership list that
//! heals itself, and typed stores that are the same on every node a few milliseconds after a write.
//! There is no leader and no quorum: every node takes reads and writes for as long as it lives.
//!
//! # The thesis
//! Gossip libraries queue *messages*, send each a fixed number of times to random peers, and hope.
//! This crate replicates *state*: what a peer lacks is derived from what it has acknowledged. A
//! burst cannot overflow a queue, because there is none; a lost packet is sent again with current
//! values; and a write can tell when `k` other processes hold it.
//!
//! # Start here
//! [`node::Node`] is one node of a cluster. [`store::silences::Silences`] and
//! [`store::nflog::Nflog`] are what Prometheus Alertmanager replicates; [`store::Map`] replicates
//! records of your own [`store::Schema`].
//!
//! ```
//! # #[cfg(feature = "net")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use rumormill::node::Node;
//! use rumormill::store::nflog::{NflogLimits, Notified, ReceiverKey};
//! use std::time::Duration;
//!
//! let mut builder = Node::builder("a").listen("127.0.0.1:0");
//! let on_a = builder.nflog(NflogLimits::default());
//! let a = builder.start().await?;
//!
//! let mut builder = Node::builder("b").listen("127.0.0.1:0").seeds([a.local_addr().to_string()]);
//! let on_b = builder.nflog(NflogLimits::default());
//! let b = builder.start().await?;
//! b.ready().await?; // its state has arrived
//!
//! let pager = ReceiverKey { group_name: "ops".into(), integration: "webhook".into(), idx: 0 };
//! let notified = Notified::new(pager.clone(), "{}:{alertname=\"DiskFull\"}")
//!     .firing([17])
//!     .repeat_interval(Duration::from_secs(4 * 3600));
//! let written = on_a.log(notified)?;
//! written.replicated(1).await?; // b holds it
//! assert!(on_b.query(&pager, "{}:{alertname=\"DiskFull\"}").is_some());
//! b.leave().await?;
//! a.leave().await?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "net"))]
//! # fn main() {}
//! ```
//!
//! # The map
//! Each layer uses only the layers above it in this list; `tests/tidy.rs` enforces that.
//!
//! | module | what it holds |
//! |---|---|
//! | [`id`] | names, processes, SWIM identities, clusters |
//! | [`time`] | wall-clock instants and the two clocks as data; nothing reads a clock |
//! | [`config`] | every timer and limit, presets, validation |
//! | [`wire`] | messages, entries, envelopes and frames, and their bytes |
//! | [`crdt`] | the join, the replicated map with its change index, digests and the foldable table |
//! | [`store`] | typed records over the map: [`store::Map`], silences, notification log, matchers |
//! | [`engine`] | the protocol of one node: inputs in, outputs out; no I/O, no clock |
//! | `net` | transports: UDP and TCP, mutual TLS (feature `tls`), and an in-memory network (feature `net`) |
//! | `metrics` | every counter as a metric (feature `metrics`) |
//! | `node` | the driver and the async API (feature `net`) |
//! | `sim` | seeded clusters of engines on virtual time (feature `sim`); uses all down to `engine` |
//!
//! # What always holds
//! 1. When faults stop, all connected nodes hold the same entries.
//! 2. An acknowledged write is lost only if every process that held it lost its memory.
//! 3. No older version ever replaces a newer one, nor a removed one until its tombstone is
//!    collected.
//! 4. The join is commutative, associative and idempotent, before and after collection.
//! 5. A healthy node is not declared failed for long; boots only grow.
//! 6. Nothing crosses cluster ids.
//! 7. Every queue, map, frame and loop has a limit, and reaching it is visible.
//! 8. An entry that cannot be evaluated is contained: kept, relayed, never used.
//! 9. The same seed gives the same trace.
//! 10. Alive, suspect, failed and left are never confused.
//!
//! The simulator checks them under loss, duplication, reordering, partitions, crashes and skew. Your
//! own schema and invariants can be simulated too: `examples/simulate_your_store.rs`.
//!
//! # Security
//! With mutual TLS (feature `tls`, `Builder::tls`) nobody without a certificate of a trusted authority
//! reads, writes or joins. Members trust each other: each may write anything. Without it, anybody who
//! can reach a node's port can join the cluster; bytes from strangers are counted and dropped, and
//! nothing more is promised.

#![forbid(unsafe_code)]
// docs.rs says which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod config;
mod crdt;
mod engine;
pub mod id;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "net")]
pub mod node;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod time;
mod wire;

pub use config::Config;
pub use engine::{Comparison, Counters, Event, Member, Readiness, View};
pub use id::{Key, MemberState, NodeName, Refusal, SchemaId, StoreId};
#[cfg(feature = "net")]
pub use node::{BuildError, Builder, Node, NodeEvent};
pub use store::matcher::{Matcher, Op};
pub use store::nflog::{Nflog, NflogLimits, Notified, ReceiverKey};
pub use store::silences::{NewSilence, SilenceId, SilenceLimits, Silences};
pub use store::{Body, Expiry, Map, Schema, Unreadable, Written};

/// What the crate is made of, for its own benches, fuzz targets and simulations: the engine with its
/// inputs and outputs, messages and their bytes, the replicated map.
///
/// **Unstable.** Nothing here is covered by semantic versioning: any release may change or remove
/// it. It is not needed to use the crate.
#[doc(hidden)]
pub mod unstable {
    /// The replicated map, its digests and tables.
    pub mod crdt {
        pub use crate::crdt::*;
    }
    /// The protocol of one node as a state machine.
    pub mod engine {
        pub use crate::engine::*;
    }
    /// Who a node is to the failure detector.
    pub mod id {
        pub use crate::id::process::NodeId;
    }
    /// What stores are to the engine.
    pub mod store {
        pub use crate::store::replica::{
            Change, Digest, Digests, Found, HashedItem, Merged, Sketched, Sweep,
        };
    }
    /// Messages, entries, envelopes and frames, and their bytes.
    pub mod wire {
        pub use crate::wire::*;
    }
}

/// The README's example, compiled and checked.
#[cfg(doctest)]
#[cfg(feature = "net")]
#[doc = include_str!("../README.md")]
struct Readme;
