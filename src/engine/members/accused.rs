//! What is said against a live member: it is asked, and what is said is taken or not.
//!
//! A member that answers hears what it is suspected of, in the first ping, and refutes it with
//! its next word. If somebody holds it for down it is told so, and renews itself: nothing else
//! brings it back there.

use std::time::Duration;

use foca::{Member, Message as SwimMessage, State};

use crate::engine::core::Core;
use crate::engine::core::session::SessionTable;
use crate::id::{MemberState, NodeId, NodeName};

use super::Membership;
use super::accounts::Accusing;
use super::asking::{ASKS, random_number};
use super::gate::Claim;
use super::inquiry::InquiryOutcome;
use super::told::{HearsayKey, ToldMember, is_live, key};

impl Membership {
    /// Begins to ask a member whether it is there, or waits for what comes of it.
    pub(super) fn inquire(&mut self, core: &mut Core, id: &NodeId) {
        let number = random_number(core);
        if self.inquiries.begin(core.now.mono, id, number) {
            self.ask_accused(core, &id.process.name, None);
        }
    }

    /// Asks a member whether it is there.
    pub(in crate::engine) fn inquire_of(&mut self, core: &mut Core, name: &NodeName) {
        if let Some(id) = self.roster.get(name).map(|known| known.id.clone()) {
            self.inquire(core, &id);
        }
    }

    /// A member says something against another one that is in the table as `accused`.
    pub(super) fn accuse_on_hearsay(
        &mut self,
        core: &mut Core,
        teller: &NodeName,
        accused: &NodeId,
        claim: &Claim,
    ) {
        core.counters.accusations_checked += 1;
        if claim.state == MemberState::Left {
            self.departures.hear(teller, accused);
        }
        let name = &accused.process.name;
        let known = self
            .inquiries
            .get(name)
            .filter(|known| known.id == *accused);
        match known.map(|known| known.outcome) {
            Some(InquiryOutcome::Answered(_)) => {
                return self.refuted(core, teller, accused, claim.state);
            }
            Some(InquiryOutcome::Unanswered(_)) => {
                return self.take_over(core, accused, claim.state);
            }
            Some(InquiryOutcome::Open) => {}
            None => {
                let number = random_number(core);
                self.inquiries.begin(core.now.mono, accused, number);
            }
        }
        if let Some(inquiry) = self.inquiries.get_mut(name) {
            inquiry.claim(teller, claim.state);
            if inquiry.asked == 0 {
                let suspected = (claim.state == MemberState::Suspect && claim.id == *accused)
                    .then_some(claim.incarnation);
                self.ask_accused(core, name, suspected);
            }
        }
    }

    /// Pings an accused member, and tells it at which incarnation it is suspected.
    fn ask_accused(&mut self, core: &mut Core, name: &NodeName, suspected: Option<u16>) {
        let Some(inquiry) = self.inquiries.get_mut(name) else {
            return;
        };
        inquiry.asked += 1;
        inquiry.next = core.now.mono + core.config.probe_timeout;
        let (id, number) = (inquiry.id.clone(), inquiry.number);
        let told =
            suspected.map(|incarnation| Member::new(id.clone(), incarnation, State::Suspect));
        self.send_ping(core, &id, number, told);
        self.look_within(core, core.config.probe_timeout);
    }

    pub(super) fn look_at_accused(&mut self, core: &mut Core, sessions: &SessionTable) {
        let now = core.now.mono;
        let due = self.inquiries.iter().filter(|(_, inquiry)| {
            let until = ended(core, inquiry.outcome);
            until.unwrap_or(inquiry.next) <= now
        });
        let due: Vec<NodeName> = due.map(|(name, _)| name.clone()).collect();
        for name in due {
            let Some(inquiry) = self.inquiries.get_mut(&name) else {
                continue;
            };
            let known = self.roster.get(&name);
            let moot = known.is_none_or(|known| known.id != inquiry.id || !known.is_live());
            if moot || inquiry.outcome != InquiryOutcome::Open {
                self.inquiries.remove(&name);
            } else if inquiry.asked < ASKS {
                let (id, number) = (inquiry.id.clone(), inquiry.number);
                self.ask_accused(core, &name, None);
                if let Some(link) = sessions.link(&id.process)
                    && let Some(ping) = self.ping(&id, number, None)
                {
                    core.send_frame(link, &ping);
                }
            } else {
                self.not_answered(core, &name);
            }
        }
    }

    /// A member that something was said against has not answered: that is taken over.
    fn not_answered(&mut self, core: &mut Core, name: &NodeName) {
        let Some(inquiry) = self.inquiries.get_mut(name) else {
            return;
        };
        inquiry.outcome = InquiryOutcome::Unanswered(core.now.mono);
        let (id, gravest) = (inquiry.id.clone(), inquiry.gravest());
        inquiry.claims.clear();
        if let Some(state) = gravest {
            self.take_over(core, &id, state);
        }
        let told: Vec<HearsayKey> = self
            .told
            .of_name(name)
            .map(|(key, _)| key.clone())
            .collect();
        for key in told {
            self.try_accept(core, &key);
        }
    }

    /// Takes over what is said against a member that does not answer.
    fn take_over(&mut self, core: &mut Core, id: &NodeId, state: MemberState) {
        let Some(known) = self.roster.get(&id.process.name) else {
            return;
        };
        let left = state == MemberState::Left && self.departures.are_told(&self.roster, id);
        let state = match state {
            MemberState::Left if !left => MemberState::Failed,
            state => state,
        };
        let claim = Claim {
            id: id.clone(),
            incarnation: known.incarnation,
            state,
        };
        if left {
            self.note_said_left(core, &id.process);
        }
        self.apply(core, vec![claim.member()]);
    }

    /// A member has sent a number back from its address, or on its link. It may be the one it was
    /// pinged with.
    pub(super) fn member_answers(&mut self, core: &mut Core, src: &NodeId, number: u8) {
        let name = &src.process.name;
        let awaited = self.inquiries.awaits(name, number);
        let inquiry = self.inquiries.get_mut(name);
        let Some(inquiry) = inquiry.filter(|_| awaited) else {
            return;
        };
        inquiry.outcome = InquiryOutcome::Answered(core.now.mono);
        let (id, claims) = (inquiry.id.clone(), std::mem::take(&mut inquiry.claims));
        self.look_within(core, core.config.probe_interval);
        if let Some(known) = self.roster.table.get_mut(name) {
            known.answered = core.now.mono;
        }
        let down = claims
            .iter()
            .any(|(_, state)| *state == MemberState::Failed);
        if down && *src == id {
            // Who holds it for down hears of it again only when it has renewed itself.
            self.send_down(core, &id);
        }
        for (teller, state) in claims {
            self.refuted(core, &teller, &id, state);
        }
        let told: Vec<HearsayKey> = self
            .told
            .of_name(name)
            .map(|(key, _)| key.clone())
            .collect();
        for false_one in told.iter().filter(|told| **told != key(src)) {
            let told = self.told.remove(false_one);
            if let Some(teller) = told.as_ref().and_then(ToldMember::teller) {
                self.accounts.has_invented(core, teller);
            }
        }
    }

    /// Something was seen of a member that was silent before.
    pub(super) fn shows_itself(&mut self, name: &NodeName) {
        let known = self.inquiries.get(name);
        if known.is_some_and(|known| matches!(known.outcome, InquiryOutcome::Unanswered(_))) {
            self.inquiries.remove(name);
        }
    }

    /// What a member said against another one is not so.
    fn refuted(&mut self, core: &mut Core, teller: &NodeName, id: &NodeId, state: MemberState) {
        core.counters.accusations_refuted += 1;
        if !is_live(state) && *teller != id.process.name {
            self.is_accusing(core, teller, id);
        }
    }

    /// A member says that another one is down, which is there. To tell a liar from one that hears
    /// nothing, and takes everybody for dead in good faith, it is asked whether it hears this node.
    ///
    /// What this node is told of itself is not counted: so says who passes on what others hold it for.
    fn is_accusing(&mut self, core: &mut Core, teller: &NodeName, accused: &NodeId) {
        let Some(known) = self.roster.get(teller).filter(|known| known.is_live()) else {
            return;
        };
        let (id, answered) = (known.id.clone(), known.answered);
        let process = &accused.process;
        match self.accounts.accuses(core.now.mono, teller, process) {
            Accusing::Again => {}
            Accusing::First => self.inquire(core, &id),
            Accusing::Insists { since } => {
                if answered >= since {
                    self.accounts.has_accused_wrongly(core, teller);
                }
                self.inquire(core, &id);
            }
        }
    }

    /// When the next of those that something is said against is due.
    pub(super) fn next_accused(&self, core: &Core) -> Option<Duration> {
        let asked = self.inquiries.iter();
        let asked = asked.map(|(_, inquiry)| ended(core, inquiry.outcome).unwrap_or(inquiry.next));
        asked.min()
    }

    /// Tells a member that it is held for down.
    fn send_down(&self, core: &mut Core, to: &NodeId) {
        let down = Member::down(to.clone());
        if let Some(gossip) = self.message(to, SwimMessage::Gossip, Some(down)) {
            core.send_datagram(to.addr, &gossip);
        }
    }
}

/// Until when an inquiry that has ended is remembered: what is said meanwhile is judged by it.
fn ended(core: &Core, outcome: InquiryOutcome) -> Option<Duration> {
    match outcome {
        InquiryOutcome::Answered(at) => Some(at + core.config.probe_interval),
        InquiryOutcome::Open => None,
        InquiryOutcome::Unanswered(at) => Some(at + core.config.probe_interval * SILENT_ROUNDS),
    }
}

/// For how many probes what is said against one that did not answer is taken at once.
const SILENT_ROUNDS: u32 = 30;
