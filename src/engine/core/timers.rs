//! One ordered set of timers, one next deadline.
//!
//! Timers of one instant run in the order they were set. The failure detector's timers carry a
//! payload and are never dropped or merged; each of the engine's own kinds is set at most once and
//! moved by setting it again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{NodeId, NodeName, ProcessId};

use crate::engine::io::StreamId;

/// The engine's own timers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum TimerKind {
    /// An acknowledgement is due to a peer.
    Ack(ProcessId),
    /// Free what has expired.
    Collect,
    /// Tell who handed something on that not everybody holds it yet.
    Duties,
    /// Try a failed commit again.
    Commit,
    /// Look at a suspect whose process is proven dead: declare it, or spare it.
    Condemned(NodeName),
    /// Look at those that something was said of, and that were asked themselves.
    Look,
    /// Look at a peer's unacknowledged data.
    Loss(ProcessId),
    /// Go on with sending what peers lack.
    Flush,
    /// Forget the session of a peer that failed, or above direct mode of any.
    Forget(ProcessId),
    /// Look who is behind.
    Lag,
    /// Announce the leave again, or give up.
    Leave,
    /// Go on with merging deltas.
    Merge,
    /// Exchange the membership again.
    Members,
    /// Choose anew with whom links are kept above direct mode.
    Near,
    /// Go on with an exchange: read a list, look for what is to be sent.
    Pump(StreamId),
    /// Start the periodic push/pull.
    PushPull,
    /// Dial failed members.
    Reconnect,
    /// Dial a member's link again.
    Redial(NodeName),
    /// Look again at roots that differed.
    Roots,
    /// Resolve the seeds again.
    Resolve,
    /// Dial the seeds that are due.
    Seeds,
    /// Give up waiting for silent seeds.
    Settle,
    /// A stream has not got on with what it has to do.
    Stream(StreamId),
    /// Start exchanges with unsynced peers.
    Unsynced,
    /// A followed write runs out of time.
    Watch(u64),
}

/// A timer that is due.
#[derive(Debug)]
pub(in crate::engine) enum DueTimer {
    /// One of the engine's own.
    Own(TimerKind),
    /// One of the failure detector's.
    Swim(foca::Timer<NodeId>),
}

#[derive(Debug, Default)]
pub(in crate::engine) struct Timers {
    queue: BTreeMap<(Duration, u64), DueTimer>,
    own: BTreeMap<TimerKind, (Duration, u64)>,
    next: u64,
}

impl Timers {
    #[cfg(feature = "sim")]
    pub(in crate::engine) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Sets one of the engine's own timers, or moves it.
    pub(in crate::engine) fn set(&mut self, kind: TimerKind, due: Duration) {
        if self.own.get(&kind).is_some_and(|&(set, _)| set == due) {
            return;
        }
        self.cancel(&kind);
        let place = self.place(due);
        self.own.insert(kind.clone(), place);
        self.queue.insert(place, DueTimer::Own(kind));
    }

    /// Sets a timer unless it is set for an earlier or the same instant already.
    pub(in crate::engine) fn set_by(&mut self, kind: TimerKind, due: Duration) {
        if self.own.get(&kind).is_none_or(|&(set, _)| set > due) {
            self.set(kind, due);
        }
    }

    /// Whether one of the engine's own timers is set.
    pub(in crate::engine) fn is_set(&self, kind: &TimerKind) -> bool {
        self.own.contains_key(kind)
    }

    pub(in crate::engine) fn cancel(&mut self, kind: &TimerKind) {
        if let Some(place) = self.own.remove(kind) {
            self.queue.remove(&place);
        }
    }

    /// Adds a timer of the failure detector.
    pub(in crate::engine) fn add_swim(&mut self, timer: foca::Timer<NodeId>, due: Duration) {
        let place = self.place(due);
        self.queue.insert(place, DueTimer::Swim(timer));
    }

    /// Moves every timer of the failure detector back by `lateness`, keeping their spacing: after a
    /// stall of this process, the time it slept through is nobody's fault.
    pub(in crate::engine) fn shift_swim(&mut self, lateness: Duration) {
        let places: Vec<_> = self
            .queue
            .iter()
            .filter(|(_, due)| matches!(due, DueTimer::Swim(_)))
            .map(|(&place, _)| place)
            .collect();
        let moved: Vec<_> = places
            .into_iter()
            .filter_map(|place| Some((place, self.queue.remove(&place)?)))
            .collect();
        for ((due, seq), timer) in moved {
            self.queue.insert((due + lateness, seq), timer);
        }
    }

    /// When the failure detector's next timer is due.
    pub(in crate::engine) fn next_swim(&self) -> Option<Duration> {
        self.queue
            .iter()
            .find(|(_, due)| matches!(due, DueTimer::Swim(_)))
            .map(|(place, _)| place.0)
    }

    /// When the next timer is due.
    pub(in crate::engine) fn next(&self) -> Option<Duration> {
        self.queue.first_key_value().map(|(place, _)| place.0)
    }

    /// Takes the next timer if it is due.
    pub(in crate::engine) fn pop(&mut self, now: Duration) -> Option<DueTimer> {
        if self.next()? > now {
            return None;
        }
        let (_, due) = self.queue.pop_first()?;
        if let DueTimer::Own(kind) = &due {
            self.own.remove(kind);
        }
        Some(due)
    }

    fn place(&mut self, due: Duration) -> (Duration, u64) {
        self.next += 1;
        (due, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn timers_of_one_instant_run_in_the_order_they_were_set() {
        let mut timers = Timers::default();
        timers.set(TimerKind::Reconnect, ms(5));
        timers.set(TimerKind::Collect, ms(5));
        timers.set(TimerKind::Resolve, ms(4));
        let mut order = Vec::new();
        while let Some(DueTimer::Own(kind)) = timers.pop(ms(5)) {
            order.push(kind);
        }
        assert_eq!(
            order,
            [TimerKind::Resolve, TimerKind::Reconnect, TimerKind::Collect]
        );
    }

    #[test]
    fn a_timer_set_again_moves() {
        let mut timers = Timers::default();
        timers.set(TimerKind::Collect, ms(5));
        timers.set(TimerKind::Collect, ms(9));
        timers.set_by(TimerKind::Collect, ms(10));
        assert_eq!(timers.next(), Some(ms(9)));
        assert!(timers.pop(ms(8)).is_none());
        assert!(matches!(
            timers.pop(ms(9)),
            Some(DueTimer::Own(TimerKind::Collect))
        ));
        assert!(timers.next().is_none());
    }

    #[test]
    fn a_shift_keeps_the_spacing_of_probe_timers_and_leaves_the_rest() {
        let mut timers = Timers::default();
        timers.add_swim(foca::Timer::PeriodicGossip(0), ms(100));
        timers.add_swim(foca::Timer::PeriodicAnnounce(0), ms(150));
        timers.set(TimerKind::Collect, ms(110));
        timers.shift_swim(ms(1000));
        assert_eq!(timers.next(), Some(ms(110)));
        assert_eq!(timers.next_swim(), Some(ms(1100)));
    }
}
