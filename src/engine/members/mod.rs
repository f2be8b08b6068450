//! The members: foca behind our names, the table of members by name, and leaving.
//!
//! What changes in the table is told as events, by name: a member that renews itself or restarts is
//! the same member. *Left is not failed*: foca knows one "down". Leaves are kept here, by process, and
//! override it. SWIM is Das, Gupta and Motivala 2002.
//!
//! | file | what it holds |
//! |---|---|
//! | `detector`, `feed` | foca, fed and obeyed |
//! | `foca_config` | its configuration |
//! | `codec`, `log` | the bytes of its packets; what it accepts |
//! | `table` | the table of members, kept up to what foca accepts |
//! | `records` | the membership as peers tell it; boots |
//! | `leave`, `leaving` | leaving: drained, announced and acknowledged |

pub(super) mod codec;
mod detector;
mod expel;
mod feed;
mod foca_config;
mod leave;
mod leaving;
mod log;
mod records;
mod table;
#[cfg(test)]
mod tests;

use crate::id::{NodeId, NodeName, ProcessId};

use super::core::Core;
use super::core::ask::Vouched;
use super::core::roster::Roster;

use detector::Detector;
pub(super) use feed::forgive_stall;
use leaving::Leaving;

/// The members' owner.
pub(super) struct Membership {
    detector: Detector,
    roster: Roster,
    leaving: Leaving,
}

impl Membership {
    /// This node alone.
    pub(super) fn new(core: &mut Core) -> Self {
        let own = NodeId {
            process: ProcessId {
                name: core.setup.name.clone(),
                boot: core.setup.boot,
            },
            renewal: 0,
            addr: core.setup.addr,
        };
        Self {
            detector: Detector::new(own.clone(), core),
            roster: Roster::new(own),
            leaving: Leaving::No,
        }
    }

    /// Who is there.
    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Something came from a member on a stream of its own.
    pub(super) fn heard(&mut self, core: &Core, name: &NodeName) {
        if let Some(known) = self.roster.table.get_mut(name) {
            known.heard = core.now.mono;
        }
    }

    /// Takes over what a handshake proves: this process is alive at this address.
    pub(super) fn vouch(&mut self, core: &mut Core, vouched: &Vouched) {
        let (node, nonce) = (&vouched.node, vouched.nonce);
        let alive = foca::Member::new(node.clone(), vouched.incarnation, foca::State::Alive);
        self.apply(core, vec![alive]);
        if let Some(known) = self.roster.table.get_mut(&node.process.name)
            && known.id.process == node.process
        {
            known.nonce = Some((node.process.boot, nonce));
            known.heard = core.now.mono;
        }
    }
}
