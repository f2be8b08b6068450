//! What each system is to the scenarios: nodes on the loopback that share keys, or at least members.

pub mod chitchat;
pub mod memberlist;
pub mod reconcile;
pub mod rumormill;

use std::net::SocketAddr;

/// A node of some system.
pub trait System: Sized + Send + Sync + 'static {
    /// Its name and version.
    const NAME: &str;
    /// Whether nodes share keys.
    const SHARES_KEYS: bool;
    /// Whether nodes know members, and notice that one is gone.
    const KNOWS_MEMBERS: bool;
    /// What is not comparable, in a sentence.
    const REMARK: &str;

    /// Starts a node that looks for others at `seed`, if there is one.
    fn start(
        number: usize,
        addr: SocketAddr,
        seed: Option<SocketAddr>,
    ) -> impl Future<Output = Self> + Send;
    /// Sets a key.
    fn set(&self, key: &str, value: &str) -> impl Future<Output = ()> + Send;
    /// Whether the node has a key.
    fn has(&self, key: &str) -> impl Future<Output = bool> + Send;
    /// How many keys the node has.
    fn len(&self) -> impl Future<Output = usize> + Send;
    /// How many live members it sees, itself included.
    fn members(&self) -> impl Future<Output = usize> + Send;
    /// Stops at once and tells nobody, as if the process had died.
    fn kill(self) -> impl Future<Output = ()> + Send;
}
