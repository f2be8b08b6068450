//! Sessions: streams and what is agreed on them, links, and finding others.
//!
//! | file | what it holds |
//! |---|---|
//! | `streams`, `stream` | every stream, dialled and accepted, from open to close |
//! | `handshake` | the introduction at the start of each, and the session that follows |
//! | `links`, `dial` | the one idle stream of each pair, and what its end proves |
//! | `discovery`, `seeds` | seeds, joining, reconnecting, being alone |
//! | `troubles` | why seeds are of no help |

mod dial;
pub(super) mod discovery;
pub(super) mod handshake;
mod links;
mod seeds;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod troubles;

use std::collections::BTreeMap;

use crate::id::NodeName;
use crate::time::Allowance;

use super::core::session::SessionTable;
use super::io::{Setup, StreamId};

use dial::MemberDial;
use seeds::Discovery;
use stream::StreamState;
pub(super) use streams::Opened;

/// The sessions' owner.
pub(super) struct Sessions {
    table: SessionTable,
    streams: BTreeMap<StreamId, StreamState>,
    next_stream: u64,
    /// The dialling of members, by name; nothing is known of a member that is not there.
    dials: BTreeMap<NodeName, MemberDial>,
    discovery: Discovery,
    /// How often each member may still introduce itself.
    introductions: BTreeMap<NodeName, Allowance>,
}

impl Sessions {
    /// No session yet, and seeds to look for.
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            table: SessionTable::default(),
            streams: BTreeMap::new(),
            next_stream: 0,
            dials: BTreeMap::new(),
            discovery: Discovery::new(setup),
            introductions: BTreeMap::new(),
        }
    }

    /// The sessions there are.
    pub(super) fn table(&self) -> &SessionTable {
        &self.table
    }

    /// How many streams there are.
    #[cfg(feature = "sim")]
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// How many members are dialled, or were.
    #[cfg(feature = "sim")]
    pub(super) fn dials(&self) -> usize {
        self.dials.len()
    }

    /// Of how many members it is known how often they introduced themselves.
    #[cfg(feature = "sim")]
    pub(super) fn introductions(&self) -> usize {
        self.introductions.len()
    }

    /// How many seeds there are, and to how many addresses they resolve.
    #[cfg(feature = "sim")]
    pub(super) fn seeds(&self) -> (usize, usize) {
        self.discovery.sizes()
    }
}
