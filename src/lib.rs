//! State replicated by gossip.

pub mod config;
pub mod crdt;
pub mod engine;
pub mod id;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod time;
pub mod wire;
