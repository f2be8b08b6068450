//! State replicated by gossip.

pub mod config;
pub mod crdt;
pub mod engine;
pub mod id;
pub mod store;
pub mod time;
pub mod wire;
