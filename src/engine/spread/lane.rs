//! What this node sends to one peer process, and what it owes it: made of parts that each have a file.
//!
//! Keyed by process, so a restart is a new lane.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::core::flight::Flight;
use crate::engine::core::grid::GroupId;
use crate::engine::core::place::StoreKey;
use crate::engine::core::refusals::Refusals;
use crate::id::{ProcessId, StoreId};

use super::acks::Acks;
use super::handed::HandedOn;
use super::owed::Owed;
use super::pace::Pace;
use super::unkept::Unkept;

/// One peer's lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// Whose it is.
    pub(super) process: ProcessId,
    /// What it lacks.
    pub(super) owed: Owed,
    /// What is under way to it.
    pub(super) flight: Flight,
    /// How fast it acknowledges, and how it is served.
    pub(super) pace: Pace,
    /// Acknowledgements owed to it.
    pub(super) acks: Acks,
    /// What it has merged and not on its disk yet.
    pub(super) unkept: Unkept,
    /// What it has refused.
    pub(super) refused: Refusals,
    /// Others forward to it what we write.
    pub(super) uncovered: bool,
    /// Writers who asked us to forward a key to this peer.
    pub(super) relayed_for: BTreeMap<StoreKey, BTreeSet<ProcessId>>,
    /// What it is sent of what this node writes.
    pub(super) role: Role,
    /// Whether it is able to hand on.
    pub(super) is_relay: bool,
    /// What it was handed to hand on.
    pub(super) handed: HandedOn,
    /// How it does that.
    pub(super) standing: RelayStanding,
    /// It had no link for what no datagram has room for, when that was last looked at.
    pub(super) waits_for_link: bool,
}

/// What a peer is sent of what this node writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Everything, for itself.
    Leaf,
    /// Everything, and it hands it on to this group.
    Relay(GroupId),
    /// Nothing: others bring it.
    Resting,
}

/// How well a peer has handed on so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RelayStanding {
    /// It has told of something as done.
    proven: bool,
    /// How often in a row it did not do it.
    misses: u32,
    /// Until then others are asked first.
    passed_over: Duration,
}

impl RelayStanding {
    /// It did what it was handed.
    pub(super) fn done(&mut self) {
        *self = Self {
            proven: true,
            ..Self::default()
        };
    }

    /// It did not. Others are asked first for a while, twice as long each time.
    pub(super) fn missed(&mut self, now: Duration) {
        let wait = PASSED_OVER_MIN * (1 << self.misses.min(6));
        (self.proven, self.misses) = (false, self.misses.saturating_add(1));
        self.passed_over = now + wait;
    }

    /// In which order peers are asked: the smallest first. One that `answers`, which is to say that it has
    /// acknowledged anything, comes before strangers.
    pub(super) fn class(&self, now: Duration, answers: bool) -> RelayClass {
        let unproven = match (self.proven, answers) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        (self.passed_over > now, unproven)
    }
}

/// Whether a peer is passed over, and how little is known of how it hands on.
pub(super) type RelayClass = (bool, u8);

/// That of a member without a session.
pub(super) const STRANGER: RelayClass = (false, 2);

impl Lane {
    /// A lane at its start: what changes after `heads` is sent.
    pub(super) fn new(process: ProcessId, heads: BTreeMap<StoreId, u64>) -> Self {
        Self {
            process,
            owed: Owed::from(heads),
            flight: Flight::default(),
            pace: Pace::default(),
            acks: Acks::default(),
            unkept: Unkept::default(),
            refused: Refusals::default(),
            uncovered: false,
            relayed_for: BTreeMap::new(),
            role: Role::Leaf,
            is_relay: false,
            handed: HandedOn::default(),
            standing: RelayStanding::default(),
            waits_for_link: false,
        }
    }

    /// A packet is lost: whatever it carried and no later packet carries is owed again.
    pub(super) fn lose(&mut self, number: u64) {
        let Some(packet) = self.flight.land(number) else {
            return;
        };
        self.handed.lost(number);
        for (place, _) in packet.items {
            if self.owed.packet_of(&place) == Some(number) {
                self.owed.owe(place);
            }
        }
    }

    /// Everything under way on the link is lost with it.
    pub(super) fn lose_stream(&mut self) {
        for number in self.flight.on_stream() {
            self.lose(number);
        }
        self.pace.streaming = false;
    }

    /// Gives up on sending one by one: an exchange will cover everything up to `heads`.
    pub(super) fn leave_to_exchange(&mut self, heads: BTreeMap<StoreId, u64>) {
        self.owed.leave_to_exchange(heads);
        self.flight.clear();
        self.pace.streaming = false;
        self.pace.silent_since = None;
        self.relayed_for.clear();
        self.handed = HandedOn::default();
    }

    /// Whether the peer is known to hold change `seq` of a key, or a later one, as durably as it holds
    /// anything; see [`Owed::is_held`].
    pub(super) fn holds(&self, place: &StoreKey, seq: u64, overtaken: bool) -> bool {
        let may_lack = self.refused.may_have(place, seq) || self.unkept.may_lack(place, seq);
        !may_lack && self.owed.is_held(place, seq, overtaken)
    }

    /// In which order peers are asked to hand on: the smallest first.
    pub(super) fn class(&self, now: Duration) -> RelayClass {
        self.standing.class(now, self.pace.rtt.is_some())
    }

    /// When this peer's silence, if nothing ends it, has others forward to it.
    pub(super) fn silence_ends(&self) -> Option<Duration> {
        let since = self.pace.silent_since.filter(|_| !self.uncovered)?;
        Some(since + self.pace.patience())
    }
}

/// How long others are asked first once a peer has not done what it was handed.
const PASSED_OVER_MIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::flight::SentPacket;
    use crate::engine::core::tests::process;
    use crate::id::{Key, Refusal};

    fn place(n: u8) -> StoreKey {
        (StoreId::of("notes"), Key([n; 16]))
    }

    #[test]
    fn what_was_refused_is_not_known_to_be_held() {
        let place = place(1);
        let mut lane = Lane::new(process("a"), BTreeMap::new());
        lane.owed.exchanged(BTreeMap::from([(place.0, 5)]));
        lane.owed.advance(place.0, 9);
        assert!(lane.holds(&place, 5, true), "an exchange covers it");
        assert!(lane.holds(&place, 9, false), "it was delivered");
        lane.refused.add((place, 9), Refusal::Full);
        assert!(!lane.holds(&place, 5, true));
        assert!(!lane.holds(&place, 9, false));
    }

    #[test]
    fn what_a_lost_packet_carried_is_owed_again_unless_a_later_one_carries_it() {
        let mut lane = Lane::new(process("a"), BTreeMap::new());
        let mut send = |places: &[u8], on_stream| {
            let items = places.iter().map(|&n| (place(n), 1));
            let number = lane.flight.send(SentPacket {
                sent_at: Duration::ZERO,
                bytes: 1,
                items: items.collect(),
                on_stream,
            });
            for &n in places {
                lane.owed.sent(place(n), 1, number, None);
            }
        };
        send(&[1, 2], true);
        send(&[2], false);
        lane.lose_stream();
        assert_eq!(lane.owed.retry, BTreeSet::from([place(1)]));
        lane.lose(2);
        assert_eq!(lane.owed.retry, BTreeSet::from([place(1), place(2)]));
        assert!(lane.flight.is_empty());
    }
}
