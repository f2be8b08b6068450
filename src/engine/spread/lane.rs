//! What this node sends to one peer process, and what it owes it: made of parts that each have a file.
//!
//! Keyed by process, so a restart is a new lane.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::core::flight::Flight;
use crate::engine::core::place::StoreKey;
use crate::engine::core::refusals::Refusals;
use crate::id::{ProcessId, StoreId};

use super::acks::Acks;
use super::owed::Owed;
use super::pace::Pace;
use super::unkept::Unkept;

/// One peer's lane.
#[derive(Debug)]
pub(super) struct Lane {
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
}

impl Lane {
    /// A lane at its start: what changes after `heads` is sent.
    pub(super) fn new(heads: BTreeMap<StoreId, u64>) -> Self {
        Self {
            owed: Owed::from(heads),
            flight: Flight::default(),
            pace: Pace::default(),
            acks: Acks::default(),
            unkept: Unkept::default(),
            refused: Refusals::default(),
            uncovered: false,
            relayed_for: BTreeMap::new(),
        }
    }

    /// A packet is lost: whatever it carried and no later packet carries is owed again.
    pub(super) fn lose(&mut self, number: u64) {
        let Some(packet) = self.flight.land(number) else {
            return;
        };
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
    }

    /// Whether the peer is known to hold change `seq` of a key, or a later one, as durably as it holds
    /// anything; see [`Owed::is_held`].
    pub(super) fn holds(&self, place: &StoreKey, seq: u64, overtaken: bool) -> bool {
        let may_lack = self.refused.may_have(place, seq) || self.unkept.may_lack(place, seq);
        !may_lack && self.owed.is_held(place, seq, overtaken)
    }

    /// When this peer's silence, if nothing ends it, has others forward to it.
    pub(super) fn silence_ends(&self) -> Option<Duration> {
        let since = self.pace.silent_since.filter(|_| !self.uncovered)?;
        Some(since + self.pace.patience())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::flight::SentPacket;
    use crate::id::{Key, Refusal};

    fn place(n: u8) -> StoreKey {
        (StoreId::of("notes"), Key([n; 16]))
    }

    #[test]
    fn what_was_refused_is_not_known_to_be_held() {
        let place = place(1);
        let mut lane = Lane::new(BTreeMap::new());
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
        let mut lane = Lane::new(BTreeMap::new());
        let mut send = |places: &[u8], on_stream| {
            let items = places.iter().map(|&n| (place(n), 1));
            let number = lane.flight.send(SentPacket {
                sent_at: Duration::ZERO,
                bytes: 1,
                items: items.collect(),
                on_stream,
            });
            for &n in places {
                lane.owed.sent(place(n), 1, number);
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
