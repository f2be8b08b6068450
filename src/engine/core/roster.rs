//! The membership table: what is known of each member, by name. The members' owner changes it; the
//! other owners are lent it to read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt as _;
use rand_pcg::Pcg64;

use crate::engine::event::Member;
use crate::id::{MemberState, NodeId, NodeName, ProcessId};
use crate::wire::MemberRecord;

/// What is known of one member.
#[derive(Clone, Debug)]
pub(in crate::engine) struct RosterEntry {
    pub(in crate::engine) id: NodeId,
    pub(in crate::engine) incarnation: u16,
    pub(in crate::engine) state: MemberState,
    /// When it came to be in this state.
    pub(in crate::engine) since: Duration,
    /// The instance nonce of its handshake, with the boot it belongs to.
    pub(in crate::engine) nonce: Option<(u64, u64)>,
    /// When anything was last heard from it directly.
    pub(in crate::engine) heard: Duration,
    /// When it last answered a ping of this node itself.
    pub(in crate::engine) answered: Duration,
    /// When it last told whom it knows, in a membership exchange.
    pub(in crate::engine) listed: Duration,
}

/// What has changed in the membership table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct MemberChange {
    /// The member as it is now.
    pub(in crate::engine) member: Member,
    /// What it was before; `None` for a name that is new.
    pub(in crate::engine) was: Option<MemberState>,
    /// The earlier process of its name, if it is another one now.
    pub(in crate::engine) replaced: Option<ProcessId>,
    /// It is another process than before, or at another address.
    pub(in crate::engine) moved: bool,
}

/// This node and every member it knows.
#[derive(Debug)]
pub(in crate::engine) struct Roster {
    /// This node's own identity, as the failure detector has it.
    pub(in crate::engine) own: NodeId,
    /// This node's incarnation, as of the last packet sent.
    pub(in crate::engine) incarnation: u16,
    /// Live members and this node: the size that the failure detector is configured for.
    pub(in crate::engine) size: usize,
    pub(in crate::engine) table: BTreeMap<NodeName, RosterEntry>,
    /// The boot that left, by name.
    pub(in crate::engine) left: BTreeMap<NodeName, u64>,
}

impl RosterEntry {
    pub(in crate::engine) fn is_live(&self) -> bool {
        matches!(self.state, MemberState::Alive | MemberState::Suspect)
    }

    pub(in crate::engine) fn member(&self) -> Member {
        Member {
            process: self.id.process.clone(),
            addr: self.id.addr,
            state: self.state,
        }
    }

    /// As it is told to others.
    pub(in crate::engine) fn record(&self) -> MemberRecord {
        MemberRecord {
            id: self.id.clone(),
            incarnation: self.incarnation,
            state: self.state,
        }
    }
}

impl Roster {
    pub(in crate::engine) fn new(own: NodeId) -> Self {
        Self {
            own,
            incarnation: 0,
            size: 1,
            table: BTreeMap::new(),
            left: BTreeMap::new(),
        }
    }

    /// This process.
    pub(in crate::engine) fn me(&self) -> &ProcessId {
        &self.own.process
    }

    pub(in crate::engine) fn get(&self, name: &NodeName) -> Option<&RosterEntry> {
        self.table.get(name)
    }

    /// Members that are alive or suspect, by name.
    pub(in crate::engine) fn live(&self) -> impl Iterator<Item = &RosterEntry> {
        self.table.values().filter(|known| known.is_live())
    }

    /// Every member, by name.
    pub(in crate::engine) fn members(&self) -> impl Iterator<Item = &RosterEntry> {
        self.table.values()
    }

    /// Whether this very process is alive or suspect.
    pub(in crate::engine) fn is_live(&self, process: &ProcessId) -> bool {
        self.table
            .get(&process.name)
            .is_some_and(|known| known.id.process == *process && known.is_live())
    }

    /// The address of exactly this process.
    pub(in crate::engine) fn address_of(&self, process: &ProcessId) -> Option<SocketAddr> {
        let known = self.table.get(&process.name)?;
        (known.id.process == *process).then_some(known.id.addr)
    }

    /// A process has left. One that is expelled has left with every boot, and stays so.
    pub(in crate::engine) fn note_left(&mut self, process: &ProcessId) {
        let boot = self.left.entry(process.name.clone()).or_default();
        *boot = process.boot.max(*boot);
    }

    /// Whether this process, or a later one of its name, has left.
    pub(in crate::engine) fn has_left(&self, process: &ProcessId) -> bool {
        self.left
            .get(&process.name)
            .is_some_and(|&boot| boot >= process.boot)
    }

    /// The highest boot known for a name, 0 if none.
    pub(in crate::engine) fn boot_known(&self, name: &NodeName) -> u64 {
        let known = self
            .table
            .get(name)
            .map_or(0, |known| known.id.process.boot);
        known.max(self.left.get(name).copied().unwrap_or(0))
    }

    /// Some live member, drawn.
    pub(in crate::engine) fn random_live(&self, rng: &mut Pcg64) -> Option<NodeName> {
        let count = self.live().count();
        let chosen = (count > 0).then(|| rng.random_range(0..count))?;
        let chosen = self.live().nth(chosen);
        chosen.map(|known| known.id.process.name.clone())
    }

    /// The membership as records, this node first.
    pub(in crate::engine) fn records(&self) -> Vec<MemberRecord> {
        let own = MemberRecord {
            id: self.own.clone(),
            incarnation: self.incarnation,
            state: MemberState::Alive,
        };
        let others = self.table.values().map(RosterEntry::record);
        std::iter::once(own).chain(others).collect()
    }
}
