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
