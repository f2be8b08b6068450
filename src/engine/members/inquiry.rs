//! What is said against a live member, until the member itself was asked.
//!
//! A member of which another one says that it is suspect, down or gone is pinged by this node. If it
//! answers, what was said changes nothing, and the member is told of it, so that it can refute. If it
//! does not answer three pings, what was said is taken over, and what is said later is too.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{MemberState, NodeId, NodeName};

/// How a member has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InquiryOutcome {
    /// It did, at this time.
    Answered(Duration),
    /// It is being asked.
    Open,
    /// It did not, up to this time.
    Unanswered(Duration),
}

/// One member that is asked whether it is there.
#[derive(Clone, Debug)]
pub(super) struct Inquiry {
    /// Whom the claims are about: the member as it was known when the asking began.
    pub(super) id: NodeId,
    pub(super) outcome: InquiryOutcome,
    /// Who said what, and has to wait for the outcome.
    pub(super) claims: Vec<(NodeName, MemberState)>,
    /// How often it was asked, by what number, and when it is next.
    pub(super) asked: u32,
    pub(super) number: u8,
    pub(super) next: Duration,
}

/// The members that are asked, by name: at most every member.
#[derive(Debug, Default)]
pub(super) struct Inquiries(BTreeMap<NodeName, Inquiry>);

impl Inquiries {
    pub(super) fn get(&self, name: &NodeName) -> Option<&Inquiry> {
        self.0.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &NodeName) -> Option<&mut Inquiry> {
        self.0.get_mut(name)
    }

    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn remove(&mut self, name: &NodeName) {
        self.0.remove(name);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&NodeName, &Inquiry)> {
        self.0.iter()
    }

    /// Whether this very identity was asked and did not answer.
    pub(super) fn is_unanswered(&self, id: &NodeId) -> bool {
        let inquiry = self.0.get(&id.process.name);
        inquiry.is_some_and(|inquiry| {
            inquiry.id == *id && matches!(inquiry.outcome, InquiryOutcome::Unanswered(_))
        })
    }

    /// Whether a member was pinged with this number, and has not answered yet.
    pub(super) fn awaits(&self, name: &NodeName, number: u8) -> bool {
        let inquiry = self.0.get(name);
        inquiry.is_some_and(|inquiry| {
            inquiry.number == number && inquiry.outcome == InquiryOutcome::Open
        })
    }

    /// Begins to ask a member, if that is worth it: not while it is asked, and not soon after it
    /// has answered. Returns whether it is new.
    pub(super) fn begin(&mut self, now: Duration, id: &NodeId, number: u8) -> bool {
        let known = self.0.get(&id.process.name);
        if known.is_some_and(|known| known.id == *id) {
            return false;
        }
        let inquiry = Inquiry {
            id: id.clone(),
            outcome: InquiryOutcome::Open,
            claims: Vec::new(),
            asked: 0,
            number,
            next: now,
        };
        self.0.insert(id.process.name.clone(), inquiry);
        true
    }
}

impl Inquiry {
    /// Has a claim wait for the outcome.
    pub(super) fn claim(&mut self, teller: &NodeName, state: MemberState) {
        let room = self.claims.len() < CLAIMS_MAX;
        let known = self.claims.iter_mut().find(|(name, _)| name == teller);
        match known {
            // The graver claim counts, and that it left is the gravest.
            Some((_, said)) => *said = graver(*said, state),
            None if room => self.claims.push((teller.clone(), state)),
            None => {}
        }
    }

    /// The gravest claim that waits.
    pub(super) fn gravest(&self) -> Option<MemberState> {
        let states = self.claims.iter().map(|(_, state)| *state);
        states.reduce(graver)
    }
}

fn graver(one: MemberState, other: MemberState) -> MemberState {
    let weight = |state| match state {
        MemberState::Alive => 0,
        MemberState::Suspect => 1,
        MemberState::Failed => 2,
        MemberState::Left => 3,
    };
    if weight(one) >= weight(other) {
        one
    } else {
        other
    }
}

/// How many members' claims against one are kept until it has answered or not.
const CLAIMS_MAX: usize = 8;
