//! The membership as peers tell it, and boots that are ahead of this node's own.

use foca::State;

use crate::engine::core::Core;
use crate::engine::core::ask::Ask;
use crate::id::{MemberState, NodeId, ProcessId};
use crate::wire::MemberRecord;

use super::Membership;

impl Membership {
    /// Applies another node's view of the membership, this node's own state included (which it
    /// refutes if it must).
    pub(in crate::engine) fn apply_records(&mut self, core: &mut Core, records: Vec<MemberRecord>) {
        let own = self.roster.me().clone();
        let mut members = Vec::new();
        let mut left = Vec::new();
        for record in records {
            let name = &record.id.process.name;
            if *name == own.name && record.id.process.boot > own.boot {
                core.ask(Ask::AdoptBoot(record.id.process.boot));
                return;
            }
            let table = &self.roster.table;
            let room = table.len() + members.len() < core.config.members_max;
            if !core.is_plausible(record.id.process.boot) {
                core.counters.unexpected += 1;
                continue;
            }
            if *name != own.name && !table.contains_key(name) && !room {
                continue;
            }
            if record.state == MemberState::Left && *name != own.name {
                left.push((name.clone(), record.id.process.boot));
            }
            if self.is_known(&record) {
                continue;
            }
            let state = match record.state {
                MemberState::Alive => State::Alive,
                MemberState::Suspect => State::Suspect,
                MemberState::Failed | MemberState::Left => State::Down,
            };
            members.push(foca::Member::new(record.id, record.incarnation, state));
        }
        // Nothing is noted of a list that ends in a boot to adopt: names that are in no table would
        // never be forgotten.
        for (name, boot) in &left {
            let known = self.roster.left.entry(name.clone()).or_default();
            *known = (*known).max(*boot);
        }
        self.apply(core, members);
        let names = left.into_iter().map(|(name, _)| name).collect();
        core.ask(Ask::RefreshLeft(names));
    }

    /// Whether foca would not take a record over. It looks through all members to find that out,
    /// and most records are known.
    fn is_known(&self, record: &MemberRecord) -> bool {
        use MemberState::{Alive, Failed, Left, Suspect};
        let known = self.roster.table.get(&record.id.process.name);
        let known = known.filter(|known| known.id == record.id);
        known.is_some_and(|known| match (known.state, record.state) {
            (Alive, Alive) | (Suspect, Alive | Suspect) => record.incarnation <= known.incarnation,
            (Failed, Failed | Left) => true,
            _ => false,
        })
    }

    /// The cluster knows a later process of this node's name: becomes the one after it. Sessions,
    /// links and exchanges of the former process end, and discovery starts over.
    pub(in crate::engine) fn adopt_boot(&mut self, core: &mut Core, known: u64) {
        let boot = known.saturating_add(1);
        if boot <= self.roster.me().boot || !core.is_plausible(known) {
            core.counters.unexpected += 1;
            return;
        }
        tracing::info!(node = %core.setup.name, boot, "adopting a boot after the highest known one");
        core.setup.boot = boot;
        core.ask(Ask::DropSessions);
        core.ask(Ask::BecomeProcess);
        core.ask(Ask::Rejoin);
    }

    /// Becomes the process whose boot was adopted.
    pub(in crate::engine) fn become_process(&mut self, core: &mut Core) {
        let id = NodeId {
            process: ProcessId {
                name: core.setup.name.clone(),
                boot: core.setup.boot,
            },
            renewal: 0,
            addr: core.setup.addr,
        };
        let effects = &mut self.detector.effects;
        if let Err(error) = self.detector.foca.change_identity(id, effects) {
            tracing::debug!(%error, "change of identity");
        }
        self.detector.reconnect();
        self.absorb(core);
        core.revision += 1;
    }
}
