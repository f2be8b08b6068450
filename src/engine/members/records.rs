//! The membership as peers tell it, and boots that are ahead of this node's own.

use std::net::SocketAddr;

use crate::engine::core::Core;
use crate::engine::core::ask::Ask;
use crate::id::{MemberState, NodeId, ProcessId};
use crate::wire::MemberRecord;

use super::Membership;
use super::gate::Claim;
use super::told::is_newer;

impl Membership {
    /// Looks through another node's view of the membership, this node's own state included (which it
    /// refutes if it must).
    pub(in crate::engine) fn apply_records(
        &mut self,
        core: &mut Core,
        peer: &ProcessId,
        records: Vec<MemberRecord>,
    ) {
        let own = &self.roster.own;
        let adopted = records.iter().map(|record| &record.id);
        // Of a renewal that this process never had, too: those that hold it for that one take no other
        // word of it than that of a later process.
        let adopted = adopted.filter(|id| id.process.name == own.process.name && is_newer(id, own));
        let boots = adopted.map(|id| id.process.boot);
        // Nothing is noted of a list that has a boot to adopt: it is asked for again.
        if let Some(known) = boots.filter(|boot| core.is_plausible_own(*boot)).max()
            && let Some(from) = self.roster.address_of(peer)
            && self.adoptions.allows(&from, core.now.mono)
        {
            return core.ask(Ask::AdoptBoot { known, from });
        }
        if let Some(known) = self.roster.table.get_mut(&peer.name) {
            known.listed = core.now.mono;
        }
        let mut members = Vec::new();
        let mut left = Vec::new();
        for record in records {
            let claim = Claim {
                id: record.id,
                incarnation: record.incarnation,
                state: record.state,
            };
            if claim.state == MemberState::Left && self.is_of_failed(&claim) {
                let process = &claim.id.process;
                let new = self.departures.hear(&peer.name, &claim.id);
                if !self.departures.are_told(&self.roster, &claim.id) {
                    if new {
                        // Where links are brief, nobody else might come to say so.
                        core.ask(Ask::DepartureTold);
                    }
                    continue;
                }
                self.note_said_left(core, process);
                left.push(process.name.clone());
            } else if self.is_of_teller(peer, &claim) || self.judge(core, &peer.name, &claim) {
                members.push(claim.member());
            }
        }
        if !members.is_empty() {
            self.apply(core, members);
        }
        if !left.is_empty() {
            core.ask(Ask::RefreshLeft(left));
        }
        self.look_into_heard(core);
    }

    /// Whether a claim is about a failed member, which may have left after all.
    fn is_of_failed(&self, claim: &Claim) -> bool {
        let known = self.roster.get(&claim.id.process.name);
        known.is_some_and(|known| {
            known.id.process == claim.id.process && known.state == MemberState::Failed
        })
    }

    /// Whether a peer says of itself that it is there, at the address that it named in the handshake.
    /// It may have renewed itself since.
    fn is_of_teller(&self, peer: &ProcessId, claim: &Claim) -> bool {
        let known = self.roster.get(&peer.name);
        claim.id.process == *peer
            && claim.state == MemberState::Alive
            && known.is_some_and(|known| {
                known.id.process == *peer
                    && known.id.addr == claim.id.addr
                    && (is_newer(&claim.id, &known.id)
                        || known.id == claim.id && claim.incarnation > known.incarnation)
            })
    }

    /// Somebody knows a later process of this node's name, or takes it for what it never was: becomes the
    /// one after it. Sessions, links and exchanges of the former process end, and discovery starts over.
    pub(in crate::engine) fn adopt_boot(&mut self, core: &mut Core, known: u64, from: SocketAddr) {
        let boot = known.saturating_add(1);
        let sound = boot > self.roster.me().boot && core.is_plausible_own(known);
        if !sound || !self.adoptions.take(from, core.now.mono) {
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
        // It was the former process's ping: on a link of this one it would be somebody else's word.
        self.detector.last_ping = None;
        let effects = &mut self.detector.effects;
        if let Err(error) = self.detector.foca.change_identity(id, effects) {
            tracing::debug!(%error, "change of identity");
        }
        self.detector.reconnect();
        self.absorb(core);
        core.revision += 1;
    }
}
