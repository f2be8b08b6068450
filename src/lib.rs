//! Replicated state by gossip, for programs that must keep working when some of their nodes do not.
//!
//! Give a node a name, an address and a few seed addresses, and it gives you a membership list that
//! heals itself, and typed stores that are the same on every node a few milliseconds after a write.
//! There is no leader, and nothing waits for a majority unless you ask for one: every node takes reads and
//! writes for as long as it lives.
//!
//! # The thesis
//! Gossip libraries queue *messages*, send each a fixed number of times to random peers, and hope.
//! This crate replicates *state*: what a peer lacks is derived from what it has acknowledged. A
//! burst cannot overflow a queue of messages, because there is none; a lost packet is sent again with current
//! values; and a write can tell when `k` other processes hold it.
//!
//! # Start here
//! [`Node`] is one node of a cluster, put together by a [`Builder`]. A [`TypedMap`] replicates keys and
//! values of your own, an [`OrderedMap`] has them in the order of keys. [`Counter`], [`AddWinsSet`],
//! [`MultiRegister`], [`Flag`] and [`MergedMap`] lose no concurrent change; in [`Presence`] each process speaks
//! for itself. [`Silences`], [`Nflog`] and [`Alerts`] are what Prometheus Alertmanager has. What most programs
//! need is at the root of the crate.
//!
//! ```
//! # #[cfg(feature = "net")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use rumormill::{Matcher, NewSilence, Node, Op, SilenceLimits};
//!
//! let mut builder = Node::builder("a").listen("127.0.0.1:0");
//! let on_a = builder.silences(SilenceLimits::default());
//! let a = builder.start().await?;
//!
//! let mut builder = Node::builder("b").listen("127.0.0.1:0").seeds([a.local_addr().to_string()]);
//! let on_b = builder.silences(SilenceLimits::default());
//! let b = builder.start().await?;
//! b.ready().await?; // a's state has arrived
//!
//! let matchers = vec![Matcher::new("alertname", Op::Equal, "DiskFull")?];
//! let an_hour = Duration::from_secs(3600);
//! let (id, written) = on_a.set(NewSilence::lasting(matchers, an_hour))?;
//! written.replicated(1).await?; // b holds it
//! assert!(on_b.get(id).is_some());
//! b.leave().await?;
//! a.leave().await?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "net"))]
//! # fn main() {}
//! ```
//!
//! Which type fits what is in [Choosing a type], what is promised of writes, clocks, removals and partitions in
//! [Consistency], and what to use instead in [When not to use this]. More pages: [Durability], [TLS], with a recipe for
//! certificates, [Security], the [metrics] and their names, [Alerts], [Figures], and the [words] that these pages and the logs use.
//! For those who work on the crate: [Architecture], [Protocol], [Contributing], [Dependencies], [changelog]. The operator's node has a
//! [page of its own][node], and one of [its metrics].
//!
//! [Durability]: https://github.com/rumormill/rumormill/blob/main/docs/durability.md
//! [TLS]: https://github.com/rumormill/rumormill/blob/main/docs/tls.md
//! [Security]: https://github.com/rumormill/rumormill/blob/main/docs/security.md
//! [metrics]: https://github.com/rumormill/rumormill/blob/main/docs/library-metrics.md
//! [Alerts]: https://github.com/rumormill/rumormill/blob/main/docs/alerts.md
//! [Figures]: https://github.com/rumormill/rumormill/blob/main/docs/figures.md
//! [words]: https://github.com/rumormill/rumormill/blob/main/docs/words.md
//! [Architecture]: https://github.com/rumormill/rumormill/blob/main/ARCHITECTURE.md
//! [Protocol]: https://github.com/rumormill/rumormill/blob/main/PROTOCOL.md
//! [Contributing]: https://github.com/rumormill/rumormill/blob/main/CONTRIBUTING.md
//! [Dependencies]: https://github.com/rumormill/rumormill/blob/main/docs/dependencies.md
//! [changelog]: https://github.com/rumormill/rumormill/blob/main/CHANGELOG.md
//! [node]: https://github.com/rumormill/rumormill/blob/main/examples/node/README.md
//! [its metrics]: https://github.com/rumormill/rumormill/blob/main/docs/metrics.md
//! [Choosing a type]: https://github.com/rumormill/rumormill/blob/main/docs/choosing-a-type.md
//! [Consistency]: https://github.com/rumormill/rumormill/blob/main/docs/consistency.md
//! [When not to use this]: https://github.com/rumormill/rumormill/blob/main/docs/when-not.md
//!
//! # The map
//!
//! | module | what it holds |
//! |---|---|
//! | `node` | [`Node`] and its [`Builder`], events and changes, the driver (feature `net`) |
//! | [`store`] | [typed maps](store::typed), [built-in types](store::types), records of your own [`Schema`], [`silences`](store::silences), the [notification log](store::nflog), [`alerts`](store::alerts), [matchers](store::matcher), [snapshots](store::snapshot), [Alertmanager's own files](store::alertmanager) |
//! | [`config`] | every timer and limit, presets, validation |
//! | [`id`] | names of nodes, processes, clusters, stores, keys and record shapes |
//! | [`time`] | wall-clock instants and the two clocks as data; nothing reads a clock |
//! | `net` | transports: UDP and TCP, mutual TLS (feature `tls`), and a network in memory (feature `net`) |
//! | `metrics` | every counter as a metric (feature `metrics`) |
//! | `persist` | durable stores: what survives the process (feature `persist`) |
//! | `sim` | seeded clusters of engines on virtual time (feature `sim`) |
//!
//! Three more are private. `engine` is the protocol of one node: inputs in, outputs out, no I/O and no
//! clock. `wire` is messages, entries, envelopes and frames, and their bytes. `crdt` is the join, and
//! the replicated map with its change index and digests. The crate's own benches and fuzz targets reach
//! them through a module `unstable`, which this documentation leaves out and semantic versioning does
//! not cover.
//!
//! In the order `id`, `time`, `config`, `wire`, `crdt`, `store`, then `engine` and `net`, `metrics`,
//! `persist`, `node`, each uses only those before it; `sim` uses all down to `engine`. `tests/tidy` enforces that.
//! [Architecture] says what is where within them, and [Protocol] what travels between nodes.
//!
//! # What always holds
//! 1. When faults stop, all connected nodes hold the same entries, but for those that one of them refused: for
//!    its clock, or for want of room.
//! 2. An acknowledged write is lost only if every process that held it lost its memory, and its disk where it
//!    has one.
//! 3. No older version ever replaces a newer one, nor a removed one until its tombstone is
//!    collected; but for what this node wrote while its clock was ahead, and every peer refused for that.
//! 4. The join is commutative, associative and idempotent, before and after collection.
//! 5. A healthy node is not declared failed for long; boots only grow.
//! 6. Nothing passes between clusters.
//! 7. Every queue, map, frame and loop has a limit, and reaching it is visible.
//! 8. An entry that cannot be evaluated is contained: kept, relayed, never used.
//! 9. The same seed gives the same trace.
//! 10. Alive, suspect, failed and left are never confused.
//!
//! The simulator checks them under loss, duplication, reordering, partitions, crashes, skew and members that
//! lie; [Security] names what is open there. Your own schema and invariants can be simulated too:
//! [`simulate_your_store.rs`](https://github.com/rumormill/rumormill/blob/main/examples/simulate_your_store.rs).
//!
//! # Security
//! With mutual TLS (`Builder::tls`, feature `tls` with a provider of cryptography) nobody without a certificate
//! of a trusted authority reads, writes or joins. Members trust each other: each may write anything,
//! within its share; [Security] says what one gone bad can do. Without it, anybody who can
//! reach a node's port can join the cluster; bytes from strangers are counted and dropped, and nothing
//! more is promised.

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
#[cfg(feature = "persist")]
pub mod persist;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod time;
mod wire;

pub use config::Config;
pub use engine::{
    Arrivals, Comparison, Counters, Event, Lag, Lags, Member, Pings, Readiness, SeedFault,
    SeedTrouble, View,
};
pub use id::{Key, MemberState, NodeName, Refusal, SchemaId, StoreId};
#[cfg(feature = "net")]
pub use node::{BuildError, Builder, Node, NodeEvent, Presence};
pub use store::alerts::{Alert, AlertLimits, Alerts};
pub use store::matcher::{Matcher, Op};
pub use store::nflog::{Nflog, NflogLimits, Notified, ReceiverKey};
pub use store::silences::{NewSilence, SilenceId, SilenceLimits, Silences};
pub use store::typed::{MapChange, MapChanges, OrderedMap, TypedMap};
pub use store::types::{AddWinsSet, Counter, Flag, MergedMap, MultiRegister};
pub use store::{Body, Copies, Durability, Expiry, Map, Schema, Unreadable, WriteError, Written};

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

        /// The first queue or map of an engine that is over its limit: what, how much, and how much may
        /// be.
        #[cfg(feature = "sim")]
        #[must_use]
        pub fn over_limit(engine: &Engine) -> Option<(&'static str, usize, usize)> {
            let size = engine.over_limit()?;
            Some((size.what, size.is, size.max))
        }
    }
    /// Who a node is to the failure detector.
    pub mod id {
        pub use crate::id::process::NodeId;
    }
    /// Everything that a member can say and should not.
    #[cfg(feature = "sim")]
    pub mod lies {
        pub use crate::sim::lies::*;
    }
    /// What is parsed inside a TLS connection, without a connection.
    #[cfg(feature = "tls")]
    pub mod tls {
        pub use crate::net::tls::parsed::{channel, hello, punctual, records};
    }
    /// Storages that no program wants.
    #[cfg(feature = "persist")]
    pub mod persist {
        use std::sync::Arc;

        use crate::persist::RedbStorage;

        /// As the storage of a directory, but in a file of the caller's making; flushed after each batch, or never.
        /// Damage in it cannot be set aside.
        #[must_use]
        pub fn redb_in(file: Arc<dyn redb::StorageBackend>, is_flushed: bool) -> RedbStorage {
            let durability = if is_flushed {
                redb::Durability::Immediate
            } else {
                redb::Durability::None
            };
            RedbStorage::in_file(file, durability)
        }
    }
    /// What stores are to the engine.
    pub mod store {
        pub use crate::store::any::Replica;
        pub use crate::store::replica::{
            Change, Digest, Digests, Found, HashedItem, Merged, Sketched, Sweep,
        };

        /// What a store is to the engine.
        #[must_use]
        pub fn replica(store: &dyn crate::store::Store) -> &dyn Replica {
            store.replica()
        }
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
