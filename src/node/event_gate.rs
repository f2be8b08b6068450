//! Which events reach the application: those of which a peer decides how many there are do not push out
//! the others.
//!
//! At most 1024 events wait for the application (`Events`). What happens to entries and exchanges is
//! told up to a burst and a rate, for each kind and peer, and for all of them together; so half of that room,
//! and more, is always left to what happens to members, readiness and certificates. What is withheld
//! is counted, and the views and stores tell what is so.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use super::event::NodeEvent;
use crate::engine::Event;
use crate::id::NodeName;
use crate::time::{Allowance, Allowances};

/// Decides what is told.
pub(super) struct EventGate {
    all: Allowance,
    /// By kind and peer. Bounded by members and kinds: what is full is forgotten.
    each: Allowances<(Discriminant<Event>, Option<NodeName>)>,
}

impl EventGate {
    pub(super) fn new() -> Self {
        Self {
            all: Allowance::new(ALL_BURST, ALL_EVERY),
            each: Allowances::new(EACH_MAX, Allowance::new(EACH_BURST, EACH_EVERY)),
        }
    }

    /// Whether the application is told this event.
    pub(super) fn lets_through(&mut self, event: &NodeEvent, now: Duration) -> bool {
        let NodeEvent::Cluster(event) = event else {
            // The transport bounds its own.
            return true;
        };
        let peer = match event {
            Event::IntroductionUnreadable { .. } | Event::NameConflict { .. } => None,
            Event::EntryQuarantined { peer, .. }
            | Event::EntryRefused { peer, .. }
            | Event::PushPullCompleted { peer, .. }
            | Event::PushPullFailed { peer }
            | Event::PushPullProgress { peer, .. }
            | Event::StoreMissing { peer, .. } => Some(peer.clone()),
            _ => return true,
        };
        let about = (discriminant(event), peer);
        self.each.take(about, now) && self.all.take(now)
    }
}

/// Half of the events that wait for a slow receiver.
const ALL_BURST: u32 = 512;
/// A receiver that is away for seven seconds misses nothing of the rest.
const ALL_EVERY: Duration = Duration::from_nanos(1_000_000_000 / 64);
/// A quarter of that: four peers cannot withhold what a fifth one has to tell.
const EACH_BURST: u32 = 128;
const EACH_EVERY: Duration = Duration::from_nanos(1_000_000_000 / 16);
/// Kinds and peers that are told apart.
const EACH_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Readiness;

    fn failed(name: &str) -> NodeEvent {
        let peer = NodeName::new(name).unwrap();
        Event::PushPullFailed { peer }.into()
    }

    fn told(gate: &mut EventGate, event: &NodeEvent, seconds: u64) -> usize {
        let now = Duration::from_secs(seconds);
        let events = (0..10_000).filter(|_| gate.lets_through(event, now));
        events.count()
    }

    #[test]
    fn a_flood_of_one_peer_withholds_nothing_of_others_and_all_floods_together_are_bounded() {
        let mut gate = EventGate::new();
        assert_eq!(told(&mut gate, &failed("a"), 0), EACH_BURST as usize);
        assert_eq!(told(&mut gate, &failed("b"), 0), EACH_BURST as usize);
        let more: usize = (0..10)
            .map(|n| told(&mut gate, &failed(&format!("n{n}")), 0))
            .sum();
        assert_eq!(more, (ALL_BURST - 2 * EACH_BURST) as usize);
        let ready = Event::Readiness(Readiness::Alone { seeds: vec![] }).into();
        assert_eq!(told(&mut gate, &ready, 0), 10_000);
        assert_eq!(told(&mut gate, &failed("a"), 1), 16);
    }

    #[test]
    fn who_is_told_apart_is_bounded() {
        let mut gate = EventGate::new();
        for n in 0..2 * EACH_MAX {
            gate.lets_through(
                &failed(&format!("n{n}")),
                Duration::from_secs(n as u64 / 64),
            );
            assert!(gate.each.len() <= EACH_MAX);
        }
    }
}
