//! Sessions: what a handshake settled with each peer process. Their owner changes them; the other
//! owners are lent them to read.
//!
//! Keyed by process, so a restart is a new session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::engine::io::StreamId;
use crate::id::{ProcessId, StoreId};
use crate::wire::Capabilities;

/// What a handshake settled with one peer process.
#[derive(Debug)]
pub(in crate::engine) struct Session {
    pub(in crate::engine) addr: SocketAddr,
    /// The one idle stream of the pair, while there is one.
    pub(in crate::engine) link: Option<StreamId>,
    /// What datagrams from the peer carry, as the last handshake named it.
    pub(in crate::engine) our_token: u64,
    /// The tokens named by the last few handshakes.
    pub(in crate::engine) tokens: VecDeque<u64>,
    /// What datagrams to the peer carry.
    pub(in crate::engine) their_token: u64,
    /// What both sides can do.
    pub(in crate::engine) capabilities: Capabilities,
    /// Stores that both sides have.
    pub(in crate::engine) stores: BTreeSet<StoreId>,
}

/// All sessions.
#[derive(Debug, Default)]
pub(in crate::engine) struct SessionTable {
    pub(in crate::engine) by_process: BTreeMap<ProcessId, Session>,
    /// Our session tokens: whom a datagram that carries one is from.
    pub(in crate::engine) by_token: BTreeMap<u64, ProcessId>,
}

impl SessionTable {
    pub(in crate::engine) fn get(&self, process: &ProcessId) -> Option<&Session> {
        self.by_process.get(process)
    }

    /// The link with a process.
    pub(in crate::engine) fn link(&self, process: &ProcessId) -> Option<StreamId> {
        self.by_process.get(process)?.link
    }

    /// Whose session a token is.
    pub(in crate::engine) fn of_token(&self, token: u64) -> Option<&ProcessId> {
        self.by_token.get(&token)
    }

    /// Whether both sides have a store.
    pub(in crate::engine) fn share(&self, process: &ProcessId, store: StoreId) -> bool {
        let session = self.by_process.get(process);
        session.is_some_and(|session| session.stores.contains(&store))
    }
}
