//! Simulated streams: reliable and ordered, with the delays and the deaths of TCP.
//!
//! A frame is segments of 1,460 bytes. A lost one is sent again after 200 ms, doubling, and what
//! follows waits for it. Across a cut link frames wait; after `stream_timeout` without progress the
//! stream ends for the side that sent them, and the other side is told when it next sends. A process
//! that ends closes its streams, a machine that loses power tells nobody. An idle stream notices
//! nothing, and one that something between the two has forgotten never says so.
//!
//! Where what a host can send at a time is limited, frames take half of its queue and wait for
//! room, which is back-pressure: nothing is dropped. Segments that are sent again do not count
//! against the limit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::direction::{Direction, Segment};
use super::wire::{NetEvent, StreamSide, Wire};
use crate::engine::{CloseReason, Input, StreamId};
use crate::wire::envelope::Envelope;

/// First retransmission of a dial.
const DIAL_RETRY: Duration = Duration::from_secs(1);
/// First ephemeral port.
const EPHEMERAL: u16 = 32_768;

#[derive(Clone, Copy, Debug)]
struct SimStreamEnd {
    host: usize,
    id: StreamId,
    /// Its process still has it.
    open: bool,
}

#[derive(Debug)]
struct SimStream {
    to: SocketAddr,
    dialler: SimStreamEnd,
    /// Known once the dial has arrived.
    acceptor: Option<SimStreamEnd>,
    /// The dialler has been told.
    connected: bool,
    /// Frames the dialler sent before it was connected.
    early: Vec<Segment>,
    /// Something between the two has forgotten it: nothing gets through any more.
    forgotten: bool,
    from_dialler: Direction,
    from_acceptor: Direction,
}

impl SimStream {
    fn end(&mut self, side: StreamSide) -> Option<&mut SimStreamEnd> {
        match side {
            StreamSide::Acceptor => self.acceptor.as_mut(),
            StreamSide::Dialler => Some(&mut self.dialler),
        }
    }

    fn direction(&mut self, from: StreamSide) -> &mut Direction {
        match from {
            StreamSide::Acceptor => &mut self.from_acceptor,
            StreamSide::Dialler => &mut self.from_dialler,
        }
    }

    fn is_open(&mut self, side: StreamSide) -> bool {
        self.end(side).is_some_and(|end| end.open)
    }

    /// Whether both ends are on one host.
    fn is_local(&self) -> bool {
        self.acceptor.map(|end| end.host) == Some(self.dialler.host)
    }
}

/// All streams, by a number of the network's own.
#[derive(Debug, Default)]
pub(in crate::sim) struct SimStreams {
    streams: BTreeMap<u64, SimStream>,
    ends: BTreeMap<(usize, StreamId), (u64, StreamSide)>,
    opened: u64,
}

impl SimStreams {
    /// Dials.
    pub(super) fn open(&mut self, wire: &mut Wire<'_>, host: usize, id: StreamId, to: SocketAddr) {
        wire.links.counters.dials += 1;
        self.opened += 1;
        let number = self.opened;
        let known = self.ends.insert((host, id), (number, StreamSide::Dialler));
        assert!(known.is_none(), "stream {id:?} of host {host} is in use");
        let stream = SimStream {
            to,
            dialler: SimStreamEnd {
                host,
                id,
                open: true,
            },
            acceptor: None,
            connected: false,
            early: Vec::new(),
            forgotten: false,
            from_dialler: Direction::new(number, StreamSide::Dialler),
            from_acceptor: Direction::new(number, StreamSide::Acceptor),
        };
        self.streams.insert(number, stream);
        let deadline = wire.now + wire.links.hosts[host].dial_timeout;
        wire.later(deadline, NetEvent::DialDeadline { stream: number });
        let arrives = wire.now + wire.links.latency();
        let dial = NetEvent::Dial {
            stream: number,
            retry: DIAL_RETRY,
        };
        wire.later(arrives, dial);
    }

    /// Sends a frame. One on a stream that has ended meanwhile goes nowhere.
    pub(super) fn send(&mut self, wire: &mut Wire<'_>, host: usize, id: StreamId, frame: Bytes) {
        wire.links.counters.frames += 1;
        wire.links.counters.bytes += frame.len() as u64;
        let Some((number, side)) = self.ends.get(&(host, id)).copied() else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        if side == StreamSide::Dialler && !stream.connected {
            stream.early.push(Segment::Frame(frame));
            return;
        }
        self.push(wire, number, side, Segment::Frame(frame));
    }

    /// The engine closes its end: the other side gets what was sent, then the end.
    pub(super) fn close(&mut self, wire: &mut Wire<'_>, host: usize, id: StreamId) {
        if let Some((number, side)) = self.ends.get(&(host, id)).copied() {
            self.end_side(wire, number, side, true);
        }
    }

    /// A process ends; with `power_off` nobody is told.
    pub(super) fn stop(&mut self, wire: &mut Wire<'_>, host: usize, power_off: bool) {
        let first = (host, StreamId(0));
        let last = (host, StreamId(u64::MAX));
        let ends = self.ends.range(first..=last);
        let ends: Vec<(u64, StreamSide)> = ends.map(|(_, end)| *end).collect();
        for (number, side) in ends {
            self.end_side(wire, number, side, !power_off);
        }
    }

    /// A dial reaches whatever is at its address now.
    pub(super) fn dial_arrives(&mut self, wire: &mut Wire<'_>, number: u64, retry: Duration) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let links = &mut *wire.links;
        let dialler = stream.dialler.host;
        let there = links.host_at(stream.to);
        let reached = there.filter(|host| links.carries_streams(dialler, *host));
        let lost = reached != Some(dialler)
            && (links.chance(links.config.loss) || links.chance(links.config.loss));
        let Some(host) = reached.filter(|_| !lost) else {
            let dial = NetEvent::Dial {
                stream: number,
                retry: retry * 2,
            };
            return wire.later(wire.now + retry, dial);
        };
        let refusal = if !links.hosts[host].up {
            Some(CloseReason::Refused)
        } else if !speaks_to(links.hosts[dialler].envelope, links.hosts[host].envelope) {
            Some(CloseReason::ForeignCluster)
        } else {
            None
        };
        if let Some(reason) = refusal {
            let arrives = wire.now + links.latency();
            let answer = NetEvent::DialFailed {
                stream: number,
                reason,
            };
            return wire.later(arrives, answer);
        }
        let accepted = links.hosts[host].accepted;
        links.hosts[host].accepted += 1;
        let id = StreamId(accepted * 2 + 1);
        stream.acceptor = Some(SimStreamEnd {
            host,
            id,
            open: true,
        });
        self.ends.insert((host, id), (number, StreamSide::Acceptor));
        let mut peer = links.hosts[dialler].addr;
        peer.set_port(EPHEMERAL + u16::try_from(number % 16_384).unwrap_or(0));
        wire.give(host, Input::StreamOpened { stream: id, peer });
        self.push(wire, number, StreamSide::Acceptor, Segment::Opened);
    }

    pub(super) fn dial_deadline(&mut self, wire: &mut Wire<'_>, number: u64) {
        if self.streams.get(&number).is_some_and(|s| !s.connected) {
            self.break_off(wire, number, CloseReason::Unreachable);
        }
    }

    pub(super) fn dial_failed(&mut self, wire: &mut Wire<'_>, number: u64, reason: CloseReason) {
        self.break_off(wire, number, reason);
    }

    /// The first segment of a direction is due.
    pub(super) fn segment_due(&mut self, wire: &mut Wire<'_>, number: u64, from: StreamSide) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let dialler = stream.dialler.host;
        let acceptor = stream.acceptor.map_or(dialler, |end| end.host);
        let carried = !stream.forgotten && wire.links.carries_streams(dialler, acceptor);
        let direction = stream.direction(from);
        if !direction.look() {
            return;
        }
        if !carried {
            if direction.stall(wire) {
                self.tell_closed(wire, number, from, CloseReason::Ended);
            }
            return;
        }
        direction.resume();
        let reader = match from {
            StreamSide::Acceptor => dialler,
            StreamSide::Dialler => acceptor,
        };
        if wire.links.hosts[reader].deaf {
            // Its machine says that it is there and has no room.
            return direction.wait(wire);
        }
        while let Some(stream) = self.streams.get_mut(&number)
            && let Some(segment) = stream.direction(from).arrived(wire)
        {
            self.deliver(wire, number, from, segment);
        }
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.direction(from).look_at_room(wire);
        }
    }

    fn deliver(&mut self, wire: &mut Wire<'_>, number: u64, from: StreamSide, segment: Segment) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let Some(end) = stream.end(from.other()).copied() else {
            return;
        };
        if !end.open {
            // Nobody there: a reset, unless the end is on its way already.
            if !stream.direction(from.other()).is_finished() {
                self.push(wire, number, from.other(), Segment::Fin);
            }
            return;
        }
        let id = end.id;
        match segment {
            Segment::Frame(frame) => {
                wire.give(end.host, Input::StreamFrame { stream: id, frame });
            }
            Segment::Opened => {
                stream.connected = true;
                let peer = stream.to;
                let early = std::mem::take(&mut stream.early);
                wire.give(end.host, Input::StreamOpened { stream: id, peer });
                for segment in early {
                    self.push(wire, number, StreamSide::Dialler, segment);
                }
            }
            Segment::Fin => self.tell_closed(wire, number, from.other(), CloseReason::Ended),
        }
    }

    /// Queues a segment behind what waits already.
    fn push(&mut self, wire: &mut Wire<'_>, number: u64, from: StreamSide, segment: Segment) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        if stream.direction(from).queue(segment) {
            self.pump(wire, number, from);
        }
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.direction(from).look_at_room(wire);
        }
    }

    /// Tells a sender that too much waits, or that there is room again.
    pub(super) fn tell_room(&mut self, wire: &mut Wire<'_>, number: u64, from: StreamSide) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let Some(end) = stream.end(from).copied().filter(|end| end.open) else {
            return;
        };
        let stream_id = end.id;
        if let Some(full) = stream.direction(from).fullness_changed() {
            let input = if full {
                Input::StreamFull { stream: stream_id }
            } else {
                Input::StreamWritable { stream: stream_id }
            };
            wire.give(end.host, input);
        }
    }

    /// Sends as much as the host may.
    pub(super) fn pump(&mut self, wire: &mut Wire<'_>, number: u64, from: StreamSide) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let Some(host) = stream.end(from).map(|end| end.host) else {
            return;
        };
        let local = stream.is_local();
        stream.direction(from).pump(wire, host, local);
    }

    /// One side is done with a stream; `told` says whether the other side hears of it.
    fn end_side(&mut self, wire: &mut Wire<'_>, number: u64, side: StreamSide, told: bool) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        if let Some(end) = stream.end(side) {
            end.open = false;
            let key = (end.host, end.id);
            self.ends.remove(&key);
        }
        if !stream.is_open(side.other()) {
            self.streams.remove(&number);
        } else if told {
            self.push(wire, number, side, Segment::Fin);
        } else {
            stream.direction(side).clear();
        }
    }

    /// Everything on open streams between two hosts is lost from now on, and nobody is told. Returns
    /// how many there were.
    pub(in crate::sim) fn forget_between(&mut self, a: usize, b: usize) -> usize {
        let between = |stream: &SimStream| {
            let acceptor = stream.acceptor.map(|end| end.host);
            let dialler = stream.dialler.host;
            (dialler == a && acceptor == Some(b)) || (dialler == b && acceptor == Some(a))
        };
        let streams = self.streams.values_mut().filter(|s| between(s));
        streams.map(|stream| stream.forgotten = true).count()
    }

    /// The host at the other end of a stream that a host has open; `None` if there is none.
    pub(in crate::sim) fn other_end(&self, host: usize, id: StreamId) -> Option<usize> {
        let (number, side) = self.ends.get(&(host, id))?;
        let stream = self.streams.get(number)?;
        match side {
            StreamSide::Acceptor => Some(stream.dialler.host),
            StreamSide::Dialler => stream.acceptor.map(|end| end.host),
        }
    }

    /// The most that waits in one direction of a stream that a host has open, in bytes.
    pub(in crate::sim) fn backlog_max(&self, host: usize) -> usize {
        self.backlogs(host).max().unwrap_or(0)
    }

    /// What waits on all streams that a host has open, in bytes.
    pub(in crate::sim) fn backlog(&self, host: usize) -> usize {
        self.backlogs(host).sum()
    }

    fn backlogs(&self, host: usize) -> impl Iterator<Item = usize> {
        let ends = self
            .ends
            .range((host, StreamId(0))..=(host, StreamId(u64::MAX)));
        ends.filter_map(|(_, (number, side))| {
            let stream = self.streams.get(number)?;
            Some(match side {
                StreamSide::Acceptor => stream.from_acceptor.bytes(),
                StreamSide::Dialler => {
                    let early: usize = stream.early.iter().map(Segment::bytes).sum();
                    stream.from_dialler.bytes() + early
                }
            })
        })
    }

    /// One side loses the stream, if it still has it, and learns why.
    fn tell_closed(
        &mut self,
        wire: &mut Wire<'_>,
        number: u64,
        side: StreamSide,
        reason: CloseReason,
    ) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        if let Some(end) = stream.end(side)
            && end.open
        {
            end.open = false;
            let (host, id) = (end.host, end.id);
            self.ends.remove(&(host, id));
            wire.give(host, Input::StreamClosed { stream: id, reason });
        }
        if !stream.is_open(side.other()) {
            self.streams.remove(&number);
        }
    }

    /// Both sides lose the stream; the dialler learns `reason`, the acceptor that it ended.
    fn break_off(&mut self, wire: &mut Wire<'_>, number: u64, reason: CloseReason) {
        self.tell_closed(wire, number, StreamSide::Dialler, reason);
        self.tell_closed(wire, number, StreamSide::Acceptor, CloseReason::Ended);
    }
}

/// Whether the first bytes of a dialler are let in by the other side: the shipped check.
fn speaks_to(dialler: Envelope, acceptor: Envelope) -> bool {
    acceptor.open_preface(&dialler.preface()).is_ok()
}
