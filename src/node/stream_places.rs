//! The places that streams take, from the start of their tasks to the end.
//!
//! A quarter is kept for this node's own dials. Of the rest one host has at most half, or what members
//! on one host may need if that is more; an IPv6 network of 64 bits counts as one host. A stream that is
//! being closed holds its place until what waited on it is written and the other side has closed as well,
//! which takes as long as that side likes, within bounds: where places are short, the oldest of these
//! makes way. So nobody uses up the streams of a node by opening one after another.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::task::{AbortHandle, Id};

use super::outflow::Outgoing;
use crate::engine::StreamId;
use crate::net::NetTally;

/// The places of a node's streams.
pub(super) struct StreamPlaces {
    streams_max: usize,
    host_streams_max: usize,
    taken: BTreeMap<Id, Place>,
    /// How many of them streams from each host take.
    by_host: BTreeMap<IpAddr, usize>,
    /// Those that are being closed, the oldest first.
    closing: BTreeMap<u64, Id>,
    closed: u64,
}

/// What a stream takes a place for.
pub(super) struct Placed {
    pub(super) stream: StreamId,
    pub(super) task: AbortHandle,
    /// What waits to be written on it.
    pub(super) waiting: Arc<Outgoing>,
    /// Where it was accepted from.
    pub(super) host: Option<IpAddr>,
}

struct Place {
    placed: Placed,
    /// Its number among those that are being closed.
    closing: Option<u64>,
}

impl StreamPlaces {
    pub(super) fn new(streams_max: usize, host_streams_min: usize) -> Self {
        let accepted_max = streams_max - streams_max / 4;
        Self {
            streams_max,
            host_streams_max: (accepted_max / 2).max(host_streams_min),
            taken: BTreeMap::new(),
            by_host: BTreeMap::new(),
            closing: BTreeMap::new(),
            closed: 0,
        }
    }

    /// Whether there is a place for a dial, now that another stream may have made way.
    pub(super) fn make_for_dial(&mut self, tally: &NetTally) -> bool {
        self.taken.len() < self.streams_max || self.turn_out(tally, |_| true)
    }

    /// Whether there is a place for a stream from a host, now that another one may have made way.
    pub(super) fn make_for_accept(&mut self, host: IpAddr, tally: &NetTally) -> bool {
        let of_host = self.by_host.get(&host).copied().unwrap_or_default();
        if of_host >= self.host_streams_max
            && !self.turn_out(tally, |placed| placed.host == Some(host))
        {
            return false;
        }
        let max = self.streams_max - self.streams_max / 4;
        self.taken.len() < max || self.turn_out(tally, |placed| placed.host.is_some())
    }

    /// A stream's task has started.
    pub(super) fn take(&mut self, placed: Placed) {
        if let Some(host) = placed.host {
            *self.by_host.entry(host).or_default() += 1;
        }
        let place = Place {
            placed,
            closing: None,
        };
        self.taken.insert(place.placed.task.id(), place);
    }

    /// Ends the stream on which most waits to be written, open or closing, as it is. `None` if nothing
    /// waits on any.
    pub(super) fn end_fullest(&mut self) -> Option<StreamId> {
        let placed = self.taken.values().map(|place| &place.placed);
        let fullest = placed.max_by_key(|placed| placed.waiting.bytes());
        let fullest = fullest.filter(|placed| placed.waiting.bytes() > 0)?;
        let (stream, task) = (fullest.stream, fullest.task.id());
        self.end(task);
        Some(stream)
    }

    /// Ends a stream as it is. What waited on it waits no longer, though its task ends a little later.
    pub(super) fn end(&mut self, task: Id) {
        if let Some(place) = self.taken.get(&task) {
            place.placed.waiting.give_up();
            place.placed.task.abort();
        }
        self.give_back(task);
    }

    /// A stream is being closed.
    pub(super) fn is_closing(&mut self, task: Id) {
        if let Some(place) = self.taken.get_mut(&task)
            && place.closing.is_none()
        {
            self.closed += 1;
            place.closing = Some(self.closed);
            self.closing.insert(self.closed, task);
        }
    }

    /// A task has ended, or is about to.
    pub(super) fn give_back(&mut self, task: Id) {
        let Some(place) = self.taken.remove(&task) else {
            return;
        };
        if let Some(closing) = place.closing {
            self.closing.remove(&closing);
        }
        if let Some(host) = place.placed.host
            && let Some(count) = self.by_host.get_mut(&host)
        {
            *count -= 1;
            if *count == 0 {
                self.by_host.remove(&host);
            }
        }
    }

    /// Ends the oldest of the streams that are being closed and fit. Returns whether there was one.
    fn turn_out(&mut self, tally: &NetTally, fits: impl Fn(&Placed) -> bool) -> bool {
        let mut closing = self.closing.values();
        let oldest = closing.find(|task| {
            let place = self.taken.get(task);
            place.is_some_and(|place| fits(&place.placed))
        });
        let Some(&task) = oldest else {
            return false;
        };
        tally.streams_evicted.one();
        self.end(task);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::outflow::Outflow;
    use super::*;
    use tokio::task::JoinSet;

    fn host(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    struct Rig {
        places: StreamPlaces,
        outflow: Outflow,
        tasks: JoinSet<()>,
        tally: NetTally,
    }

    impl Rig {
        fn new(streams_max: usize, host_streams_min: usize) -> Self {
            Self {
                places: StreamPlaces::new(streams_max, host_streams_min),
                outflow: Outflow::default(),
                tasks: JoinSet::new(),
                tally: NetTally::default(),
            }
        }

        fn accept(&mut self, from: IpAddr) -> Option<Id> {
            let made = self.places.make_for_accept(from, &self.tally);
            made.then(|| self.begin(Some(from)))
        }

        fn begin(&mut self, host: Option<IpAddr>) -> Id {
            let task = self.tasks.spawn(std::future::pending());
            let id = task.id();
            let (stream, waiting) = (StreamId(1), self.outflow.stream());
            let placed = Placed {
                stream,
                task,
                waiting,
                host,
            };
            self.places.take(placed);
            id
        }

        fn accepted(&mut self, from: IpAddr, count: usize) -> usize {
            (0..count).filter_map(|_| self.accept(from)).count()
        }
    }

    #[tokio::test]
    async fn a_host_has_half_of_what_is_not_kept_for_dials() {
        let mut rig = Rig::new(16, 2);
        assert_eq!(rig.accepted(host(1), 100), 6);
        assert_eq!(rig.accepted(host(2), 100), 6);
        assert_eq!(rig.accepted(host(3), 100), 0);
        for _ in 0..4 {
            assert!(rig.places.make_for_dial(&rig.tally));
            rig.begin(None);
        }
        assert!(!rig.places.make_for_dial(&rig.tally));
        assert_eq!(rig.tally.snapshot().streams_evicted, 0);
    }

    #[tokio::test]
    async fn all_members_on_one_host_have_their_streams() {
        let mut rig = Rig::new(24, 20);
        assert_eq!(rig.accepted(host(1), 100), 18);
    }

    #[tokio::test]
    async fn streams_that_are_closing_make_way_the_oldest_of_the_host_first() {
        let mut rig = Rig::new(16, 2);
        let other = rig.accept(host(2)).unwrap();
        let own: Vec<Id> = (0..6).filter_map(|_| rig.accept(host(1))).collect();
        for &task in [other, own[4], own[1]].iter() {
            rig.places.is_closing(task);
        }
        assert!(rig.accept(host(1)).is_some());
        assert!(!rig.places.taken.contains_key(&own[4]));
        assert!(rig.accept(host(1)).is_some());
        assert_eq!(rig.accept(host(1)), None);
        assert!(rig.places.taken.contains_key(&other));
        assert_eq!(rig.tally.snapshot().streams_evicted, 2);
        // A task that ends after it made way gives nothing back twice.
        rig.places.give_back(own[4]);
        assert_eq!(rig.places.by_host[&host(1)], 6);
        rig.places.give_back(other);
        assert!(!rig.places.by_host.contains_key(&host(2)));
    }

    /// Also if it is closing: to have one's stream closed is no way to keep what waits on it.
    #[tokio::test]
    async fn the_stream_on_which_most_waits_is_ended() {
        let mut rig = Rig::new(16, 2);
        let tasks: Vec<Id> = (0..3).filter_map(|n| rig.accept(host(n))).collect();
        for (&task, bytes) in tasks.iter().zip([5, 9, 7]) {
            rig.places.taken[&task].placed.waiting.add(bytes);
        }
        rig.places.is_closing(tasks[1]);
        let left = [21, 12, 5].map(|bytes| {
            assert_eq!(rig.outflow.bytes(), bytes);
            rig.places.end_fullest()
        });
        assert_eq!((left, rig.outflow.bytes()), ([Some(StreamId(1)); 3], 0));
        assert!(rig.places.taken.is_empty() && rig.places.closing.is_empty());
        assert_eq!(rig.places.end_fullest(), None);
    }
}
