//! What members tell each other of what they hand on comes in datagrams, and on links where a datagram may have been lost.

use super::Engine;
use super::core::Facts;
use crate::id::ProcessId;
use crate::wire::Message;

impl Engine {
    /// Takes a message about what is handed on; any other makes no sense here.
    pub(super) fn of_handing_on(&mut self, from: &ProcessId, message: Message) {
        let facts = Facts {
            roster: self.members.roster(),
            sessions: self.sessions.table(),
        };
        let core = &mut self.core;
        match message {
            Message::Covered(covered) => {
                self.spread.covered_received(core, facts, from, &covered);
            }
            Message::Recall(recall) => self.spread.recall_received(from, &recall),
            _ => core.counters.unexpected += 1,
        }
    }
}
