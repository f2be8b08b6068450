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

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::network::{Effects, Links, NetEvent};
use crate::engine::{CloseReason, Input, StreamId};
use crate::wire::frame;

/// First retransmission of a segment.
pub(super) const RETRY: Duration = Duration::from_millis(200);
/// What one segment carries.
const SEGMENT_BYTES: usize = 1460;
/// First retransmission of a dial.
const DIAL_RETRY: Duration = Duration::from_secs(1);
/// First ephemeral port.
const EPHEMERAL: u16 = 32_768;

/// Which end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Dialler,
    Acceptor,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Acceptor => Self::Dialler,
            Self::Dialler => Self::Acceptor,
        }
    }
}

#[derive(Debug)]
enum Segment {
    /// The dial was accepted.
    Opened,
    Frame(Bytes),
    /// The sender is gone.
    Fin,
}

impl Segment {
    fn bytes(&self) -> usize {
        match self {
            Self::Fin | Self::Opened => 0,
            Self::Frame(frame) => frame.len(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct End {
    host: usize,
    id: StreamId,
    /// Its process still has it.
    open: bool,
}

/// One direction of a stream.
#[derive(Debug)]
struct Pipe {
    /// What waits for room on its way out, and how many bytes of it are still to go.
    unsent: VecDeque<(Segment, usize)>,
    /// Somebody will look at what waits.
    pumping: bool,
    segments: VecDeque<(Duration, Segment)>,
    /// An event is on its way.
    scheduled: bool,
    stalled: Option<Duration>,
    retry: Duration,
    /// No segment overtakes this one.
    last: Duration,
    finished: bool,
}

impl Pipe {
    fn new() -> Self {
        Self {
            unsent: VecDeque::new(),
            pumping: false,
            segments: VecDeque::new(),
            scheduled: false,
            stalled: None,
            retry: RETRY,
            last: Duration::ZERO,
            finished: false,
        }
    }

    /// Puts a segment on its way and sees to it that somebody looks when it arrives.
    #[allow(clippy::too_many_arguments, reason = "one call, all of it context")]
    fn ship(
        &mut self,
        links: &mut Links,
        departs: Duration,
        stream: u64,
        from: Side,
        segment: Segment,
        local: bool,
        fx: &mut Effects,
    ) {
        // A dial's answer was drawn with the dial.
        let lossy = !local && links.config.loss > 0.0 && !matches!(segment, Segment::Opened);
        let segments = segment.bytes().div_ceil(SEGMENT_BYTES).max(1);
        let delay = if lossy {
            (0..segments).map(|_| links.retransmission()).max()
        } else {
            None
        };
        let at = departs + links.latency() + delay.unwrap_or_default();
        let at = at.max(self.last);
        self.last = at;
        self.segments.push_back((at, segment));
        if !self.scheduled {
            self.scheduled = true;
            fx.later.push((at, NetEvent::Pipe { stream, from }));
        }
    }

    fn bytes(&self) -> usize {
        let waiting = self.unsent.iter().map(|(segment, _)| segment.bytes());
        let sent = self.segments.iter().map(|(_, segment)| segment.bytes());
        waiting.chain(sent).sum()
    }
}

#[derive(Debug)]
struct Stream {
    to: SocketAddr,
    dialler: End,
    /// Known once the dial has arrived.
    acceptor: Option<End>,
    /// The dialler has been told.
    connected: bool,
    /// Frames the dialler sent before it was connected.
    early: Vec<Segment>,
    /// Something between the two has forgotten it: nothing gets through any more.
    forgotten: bool,
    from_dialler: Pipe,
    from_acceptor: Pipe,
}

impl Stream {
    fn end(&mut self, side: Side) -> Option<&mut End> {
        match side {
            Side::Acceptor => self.acceptor.as_mut(),
            Side::Dialler => Some(&mut self.dialler),
        }
    }

    fn pipe(&mut self, from: Side) -> &mut Pipe {
        match from {
            Side::Acceptor => &mut self.from_acceptor,
            Side::Dialler => &mut self.from_dialler,
        }
    }

    fn is_open(&mut self, side: Side) -> bool {
        self.end(side).is_some_and(|end| end.open)
    }
}

/// All streams, by a number of the network's own.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<u64, Stream>,
    ends: BTreeMap<(usize, StreamId), (u64, Side)>,
    opened: u64,
}

impl Streams {
    /// Dials.
    pub(super) fn open(
        &mut self,
        links: &mut Links,
        now: Duration,
        host: usize,
        id: StreamId,
        to: SocketAddr,
        fx: &mut Effects,
    ) {
        links.counters.dials += 1;
        self.opened += 1;
        let number = self.opened;
        let known = self.ends.insert((host, id), (number, Side::Dialler));
        assert!(known.is_none(), "stream {id:?} of host {host} is in use");
        let stream = Stream {
            to,
            dialler: End {
                host,
                id,
                open: true,
            },
            acceptor: None,
            connected: false,
            early: Vec::new(),
            forgotten: false,
            from_dialler: Pipe::new(),
            from_acceptor: Pipe::new(),
        };
        self.streams.insert(number, stream);
        let deadline = now + links.hosts[host].dial_timeout;
        fx.later
            .push((deadline, NetEvent::DialDeadline { stream: number }));
        let dial = NetEvent::Dial {
            stream: number,
            retry: DIAL_RETRY,
        };
        fx.later.push((now + links.latency(), dial));
    }

    /// Sends a frame. One on a stream that has ended meanwhile goes nowhere.
    pub(super) fn send(
        &mut self,
        links: &mut Links,
        now: Duration,
        host: usize,
        id: StreamId,
        frame: Bytes,
        fx: &mut Effects,
    ) {
        links.counters.frames += 1;
        links.counters.bytes += frame.len() as u64;
        let Some((number, side)) = self.ends.get(&(host, id)).copied() else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        if side == Side::Dialler && !stream.connected {
            stream.early.push(Segment::Frame(frame));
            return;
        }
        self.push(links, now, number, side, Segment::Frame(frame), fx);
    }

    /// The engine closes its end: the other side gets what was sent, then the end.
    pub(super) fn close(
        &mut self,
        links: &mut Links,
        now: Duration,
        host: usize,
        id: StreamId,
        fx: &mut Effects,
    ) {
        if let Some((number, side)) = self.ends.get(&(host, id)).copied() {
            self.end_side(links, now, number, side, true, fx);
        }
    }

    /// A process ends; with `power_off` nobody is told.
    pub(super) fn stop(
        &mut self,
        links: &mut Links,
        now: Duration,
        host: usize,
        power_off: bool,
        fx: &mut Effects,
    ) {
        let first = (host, StreamId(0));
        let last = (host, StreamId(u64::MAX));
        let ends: Vec<(u64, Side)> = self.ends.range(first..=last).map(|(_, e)| *e).collect();
        for (number, side) in ends {
            self.end_side(links, now, number, side, !power_off, fx);
        }
    }

    /// A dial reaches whatever is at its address now.
    pub(super) fn dial_arrives(
        &mut self,
        links: &mut Links,
        now: Duration,
        number: u64,
        retry: Duration,
        fx: &mut Effects,
    ) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let dialler = stream.dialler.host;
        let reached = links
            .host_at(stream.to)
            .filter(|host| links.carries_streams(dialler, *host));
        let lost = reached != Some(dialler)
            && (links.chance(links.config.loss) || links.chance(links.config.loss));
        let Some(host) = reached.filter(|_| !lost) else {
            let dial = NetEvent::Dial {
                stream: number,
                retry: retry * 2,
            };
            fx.later.push((now + retry, dial));
            return;
        };
        let refusal = if !links.hosts[host].up {
            Some(CloseReason::Refused)
        } else if !speaks_to(links.hosts[dialler].cluster, links.hosts[host].cluster) {
            Some(CloseReason::Ended)
        } else {
            None
        };
        if let Some(reason) = refusal {
            let answer = NetEvent::DialFailed {
                stream: number,
                reason,
            };
            fx.later.push((now + links.latency(), answer));
            return;
        }
        let accepted = links.hosts[host].accepted;
        links.hosts[host].accepted += 1;
        let id = StreamId(accepted * 2 + 1);
        stream.acceptor = Some(End {
            host,
            id,
            open: true,
        });
        self.ends.insert((host, id), (number, Side::Acceptor));
        let mut peer = links.hosts[dialler].addr;
        peer.set_port(EPHEMERAL + u16::try_from(number % 16_384).unwrap_or(0));
        fx.inputs
            .push((host, Input::StreamOpened { stream: id, peer }));
        self.push(links, now, number, Side::Acceptor, Segment::Opened, fx);
    }

    pub(super) fn dial_deadline(&mut self, number: u64, fx: &mut Effects) {
        if self.streams.get(&number).is_some_and(|s| !s.connected) {
            self.break_off(number, CloseReason::Unreachable, fx);
        }
    }

    pub(super) fn dial_failed(&mut self, number: u64, reason: CloseReason, fx: &mut Effects) {
        self.break_off(number, reason, fx);
    }

    /// The first segment of a direction is due.
    pub(super) fn pipe_due(
        &mut self,
        links: &mut Links,
        now: Duration,
        number: u64,
        from: Side,
        fx: &mut Effects,
    ) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let hosts = (
            stream.dialler.host,
            stream.acceptor.map_or(stream.dialler.host, |end| end.host),
        );
        let carried = !stream.forgotten && links.carries_streams(hosts.0, hosts.1);
        let pipe = stream.pipe(from);
        pipe.scheduled = false;
        if pipe.segments.is_empty() {
            return;
        }
        if !carried {
            let since = *pipe.stalled.get_or_insert(now);
            let deadline = since + links.config.stream_timeout;
            if now >= deadline {
                pipe.segments.clear();
                pipe.unsent.clear();
                return self.tell_closed(number, from, CloseReason::Ended, fx);
            }
            let again = (now + pipe.retry).min(deadline);
            pipe.retry *= 2;
            pipe.scheduled = true;
            let event = NetEvent::Pipe {
                stream: number,
                from,
            };
            fx.later.push((again, event));
            return;
        }
        pipe.stalled = None;
        pipe.retry = RETRY;
        self.deliver_due(links, now, number, from, fx);
    }

    fn deliver_due(
        &mut self,
        links: &mut Links,
        now: Duration,
        number: u64,
        from: Side,
        fx: &mut Effects,
    ) {
        loop {
            let Some(stream) = self.streams.get_mut(&number) else {
                return;
            };
            let pipe = stream.pipe(from);
            let Some((at, _)) = pipe.segments.front() else {
                return;
            };
            let at = *at;
            if at > now {
                pipe.scheduled = true;
                let event = NetEvent::Pipe {
                    stream: number,
                    from,
                };
                fx.later.push((at, event));
                return;
            }
            if let Some((_, segment)) = pipe.segments.pop_front() {
                self.deliver(links, now, number, from, segment, fx);
            }
        }
    }

    fn deliver(
        &mut self,
        links: &mut Links,
        now: Duration,
        number: u64,
        from: Side,
        segment: Segment,
        fx: &mut Effects,
    ) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let Some(end) = stream.end(from.other()).copied() else {
            return;
        };
        if !end.open {
            // Nobody there: a reset, unless the end is on its way already.
            if !stream.pipe(from.other()).finished {
                self.push(links, now, number, from.other(), Segment::Fin, fx);
            }
            return;
        }
        let stream_id = end.id;
        match segment {
            Segment::Frame(frame) => fx.inputs.push((
                end.host,
                Input::StreamFrame {
                    stream: stream_id,
                    frame,
                },
            )),
            Segment::Opened => {
                stream.connected = true;
                let peer = stream.to;
                let early = std::mem::take(&mut stream.early);
                let opened = Input::StreamOpened {
                    stream: stream_id,
                    peer,
                };
                fx.inputs.push((end.host, opened));
                for segment in early {
                    self.push(links, now, number, Side::Dialler, segment, fx);
                }
            }
            Segment::Fin => self.tell_closed(number, from.other(), CloseReason::Ended, fx),
        }
    }

    /// Queues a segment behind what waits already.
    fn push(
        &mut self,
        links: &mut Links,
        now: Duration,
        number: u64,
        from: Side,
        segment: Segment,
        fx: &mut Effects,
    ) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let pipe = stream.pipe(from);
        pipe.finished |= matches!(segment, Segment::Fin);
        let bytes = segment.bytes();
        pipe.unsent.push_back((segment, bytes));
        if !pipe.pumping {
            self.pump(links, now, number, from, fx);
        }
    }

    /// Sends as much as the host may.
    pub(super) fn pump(
        &mut self,
        links: &mut Links,
        now: Duration,
        number: u64,
        from: Side,
        fx: &mut Effects,
    ) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let Some(host) = stream.end(from).map(|end| end.host) else {
            return;
        };
        let local = stream.acceptor.map(|end| end.host) == Some(stream.dialler.host);
        let pipe = stream.pipe(from);
        pipe.pumping = false;
        while let Some((_, left)) = pipe.unsent.front_mut() {
            let egress = &mut links.hosts[host].egress;
            let mut departs = egress.drained(now);
            while *left > 0 {
                let bytes = SEGMENT_BYTES.min(*left);
                match egress.segment(now, bytes) {
                    Ok(at) => departs = at,
                    Err(room_at) => {
                        pipe.pumping = true;
                        let event = NetEvent::Pump {
                            stream: number,
                            from,
                        };
                        fx.later.push((room_at, event));
                        return;
                    }
                }
                *left -= bytes;
            }
            let Some((segment, _)) = pipe.unsent.pop_front() else {
                return;
            };
            pipe.ship(links, departs, number, from, segment, local, fx);
        }
    }

    /// One side is done with a stream; `told` says whether the other side hears of it.
    fn end_side(
        &mut self,
        links: &mut Links,
        now: Duration,
        number: u64,
        side: Side,
        told: bool,
        fx: &mut Effects,
    ) {
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
            self.push(links, now, number, side, Segment::Fin, fx);
        } else {
            let pipe = stream.pipe(side);
            pipe.segments.clear();
            pipe.unsent.clear();
        }
    }

    /// Everything on open streams between two hosts is lost from now on, and nobody is told.
    pub(super) fn forget_between(&mut self, a: usize, b: usize) -> usize {
        let between = |stream: &Stream| {
            let acceptor = stream.acceptor.map(|end| end.host);
            let dialler = stream.dialler.host;
            (dialler == a && acceptor == Some(b)) || (dialler == b && acceptor == Some(a))
        };
        let streams = self.streams.values_mut().filter(|s| between(s));
        streams.map(|stream| stream.forgotten = true).count()
    }

    /// The most that waits in one direction of a stream that a host has open, in bytes.
    pub(super) fn backlog_max(&self, host: usize) -> usize {
        let ends = self
            .ends
            .range((host, StreamId(0))..=(host, StreamId(u64::MAX)));
        let bytes = ends.filter_map(|(_, (number, side))| {
            let stream = self.streams.get(number)?;
            Some(match side {
                Side::Acceptor => stream.from_acceptor.bytes(),
                Side::Dialler => {
                    let early: usize = stream.early.iter().map(Segment::bytes).sum();
                    stream.from_dialler.bytes() + early
                }
            })
        });
        bytes.max().unwrap_or(0)
    }

    fn tell_closed(&mut self, number: u64, side: Side, reason: CloseReason, fx: &mut Effects) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        if let Some(end) = stream.end(side)
            && end.open
        {
            end.open = false;
            let (host, id) = (end.host, end.id);
            self.ends.remove(&(host, id));
            fx.inputs
                .push((host, Input::StreamClosed { stream: id, reason }));
        }
        if !stream.is_open(side.other()) {
            self.streams.remove(&number);
        }
    }

    /// Both sides lose the stream; the dialler learns `reason`, the acceptor that it ended.
    fn break_off(&mut self, number: u64, reason: CloseReason, fx: &mut Effects) {
        self.tell_closed(number, Side::Dialler, reason, fx);
        self.tell_closed(number, Side::Acceptor, CloseReason::Ended, fx);
    }
}

/// Whether the first bytes of a dialler are let in by the other side: the shipped check.
fn speaks_to(dialler: u64, acceptor: u64) -> bool {
    frame::check_preface(frame::preface(dialler), acceptor).is_ok()
}
