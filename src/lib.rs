//! State replicated by gossip.

pub mod config;
pub mod crdt;
pub mod engine;
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
pub mod wire;

/// The README's examples, as tests.
#[cfg(all(doctest, feature = "net"))]
#[doc = include_str!("../README.md")]
struct Readme;
