//! What a member says of others, before it is believed.
//!
//! The failure detector believes whatever any member tells it. So what is said comes by here first, and
//! goes on to it only if
//!
//! - it is about the teller itself, and came from it;
//! - or it is known already, or an incarnation that refutes a suspicion;
//! - or it is about a member that was asked and did not answer.
//!
//! The rest is kept apart and looked into (`asking`): an identity that is not in the table until it has
//! answered, or two members vouch for it; what is said against a live member until that one has
//! not answered.

use std::net::{IpAddr, SocketAddr};

use foca::State;

use crate::engine::core::Core;
use crate::id::{MemberState, NodeId, NodeName};

use super::Membership;
use super::told::{held_max, is_live, is_newer, key};

/// Something that a member says of an identity.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) id: NodeId,
    pub(super) incarnation: u16,
    pub(super) state: MemberState,
}

impl Claim {
    /// What a packet of the failure detector says. It does not tell left from failed.
    pub(super) fn of(member: &foca::Member<NodeId>) -> Self {
        Self {
            id: member.id().clone(),
            incarnation: member.incarnation(),
            state: match member.state() {
                State::Alive => MemberState::Alive,
                State::Suspect => MemberState::Suspect,
                State::Down => MemberState::Failed,
            },
        }
    }

    /// The claim as the failure detector takes it.
    pub(super) fn member(self) -> foca::Member<NodeId> {
        let state = match self.state {
            MemberState::Alive => State::Alive,
            MemberState::Suspect => State::Suspect,
            MemberState::Failed | MemberState::Left => State::Down,
        };
        foca::Member::new(self.id, self.incarnation, state)
    }
}

impl Membership {
    /// Whether what a member says goes to the failure detector now. If not, it is no news, or is
    /// looked into.
    pub(super) fn judge(&mut self, core: &mut Core, teller: &NodeName, claim: &Claim) -> bool {
        let id = &claim.id;
        let name = &id.process.name;
        if *name == core.setup.name {
            return self.judge_of_this_node(core, claim);
        }
        if !core.is_plausible_told(id.process.boot) || !is_reachable(id.addr) {
            core.counters.unexpected += 1;
            return false;
        }
        // Somebody had this address before.
        if id.addr == core.setup.addr {
            return false;
        }
        let Some(known) = self.roster.get(name) else {
            self.hear(core, teller, claim);
            return false;
        };
        if is_live(claim.state) && known.id.process == id.process {
            self.accounts.takes_back(teller, &id.process);
        }
        if known.id != *id {
            let newer = is_newer(id, &known.id);
            let (accused, live) = (known.id.clone(), known.is_live());
            if newer && is_live(claim.state) {
                self.hear(core, teller, claim);
                if live {
                    self.inquire(core, &accused);
                }
            } else if newer && live {
                // Whatever became of it: the process that is in the table is not there any more.
                self.accuse_on_hearsay(core, teller, &accused, claim);
            }
            return false;
        }
        match (known.state, claim.state) {
            (MemberState::Alive | MemberState::Suspect, MemberState::Alive) => {
                claim.incarnation > known.incarnation
            }
            (MemberState::Alive, MemberState::Suspect) => {
                claim.incarnation >= known.incarnation && self.is_accused(core, teller, claim)
            }
            (MemberState::Suspect, MemberState::Suspect) => {
                claim.incarnation > known.incarnation && self.is_accused(core, teller, claim)
            }
            (MemberState::Alive | MemberState::Suspect, _) => self.is_accused(core, teller, claim),
            (MemberState::Failed | MemberState::Left, _) => false,
        }
    }

    /// Something said against a live member, under its very identity. Returns whether it is taken over
    /// at once: the member was asked already, and did not answer.
    fn is_accused(&mut self, core: &mut Core, teller: &NodeName, claim: &Claim) -> bool {
        // That it has left is for `accuse_on_hearsay` to take over, or not.
        let unanswered =
            self.inquiries.is_unanswered(&claim.id) && claim.state != MemberState::Left;
        if !unanswered {
            self.accuse_on_hearsay(core, teller, &claim.id, claim);
        }
        unanswered
    }

    /// What is said of this very node. It refutes a suspicion and renews itself if it is down, but a
    /// member that says so again and again must not have it do nothing else.
    fn judge_of_this_node(&mut self, core: &mut Core, claim: &Claim) -> bool {
        // An earlier identity of this node, or one it never had.
        if claim.id != self.roster.own || core.is_leaving() {
            return false;
        }
        let now = core.now.mono;
        let may = match claim.state {
            MemberState::Alive => return false,
            MemberState::Suspect if claim.incarnation < self.roster.incarnation => return false,
            // What cannot be refuted any more is answered with a renewal.
            MemberState::Suspect if claim.incarnation < u16::MAX => self.refutations.take(now),
            MemberState::Suspect => self.renewals.take(now),
            MemberState::Failed | MemberState::Left => self.renewals.take(now),
        };
        core.counters.accusations_ignored += u64::from(!may);
        may
    }

    /// Whether this node, told down by a member's packet, is to renew itself.
    pub(super) fn renews(&mut self, core: &mut Core) -> bool {
        let claim = Claim {
            id: self.roster.own.clone(),
            incarnation: 0,
            state: MemberState::Failed,
        };
        self.judge_of_this_node(core, &claim)
    }

    /// Takes down an identity that is not in the table.
    fn hear(&mut self, core: &mut Core, teller: &NodeName, claim: &Claim) {
        if self.roster.has_left(&claim.id.process) {
            return;
        }
        let forgotten = self.forgotten.get(&claim.id.process.name);
        if !is_live(claim.state) && forgotten.is_some_and(|it| it.0 >= claim.id.process.boot) {
            // Else what all have forgotten would go round among them for ever.
            return;
        }
        let max = held_max(core.config.members_max);
        let heard = (&claim.id, claim.incarnation, claim.state);
        let held = self.told.len();
        if self.told.hear(core.now.mono, teller, heard, max) {
            core.counters.members_doubted += u64::from(self.told.len() > held);
            self.heard_of.insert(key(&claim.id));
        }
    }
}

/// Whether somebody may be at an address. What is sent to others goes to many, or to nobody.
fn is_reachable(addr: SocketAddr) -> bool {
    let many = match addr.ip() {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.is_multicast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    };
    !many && !addr.ip().is_unspecified() && addr.port() != 0
}
