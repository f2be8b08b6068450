//! Sessions: streams and what is agreed on them, links, and finding others.
//!
//! | file | what it holds |
//! |---|---|
//! | `streams` | every stream, dialled and accepted, from open to close |
//! | `handshake` | the introduction at the start of each, and the session that follows |
//! | `links` | the one idle stream of each pair, and what its end proves |
//! | `discovery` | seeds, joining, reconnecting, being alone |

pub(super) mod discovery;
pub(super) mod handshake;
mod links;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::id::NodeName;

use super::core::session::SessionTable;
use super::io::{Setup, StreamId};

use discovery::Discovery;
use links::Dial;
pub(super) use streams::Opened;
use streams::Stream;

/// The sessions' owner.
pub(super) struct Sessions {
    table: SessionTable,
    streams: BTreeMap<StreamId, Stream>,
    next_stream: u64,
    /// The dialling of members, by name; nothing is known of a member that is not there.
    dials: BTreeMap<NodeName, Dial>,
    discovery: Discovery,
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

    /// How many seeds there are, and to how many addresses they resolve.
    #[cfg(feature = "sim")]
    pub(super) fn seeds(&self) -> (usize, usize) {
        self.discovery.sizes()
    }
}
