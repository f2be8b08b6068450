//! Simulated streams: reliable and ordered, with the delays and the deaths of TCP.
//!
//! A lost segment is sent again after 200 ms, doubling, and what follows waits for it. Across a cut
//! link segments wait; after `stream_timeout` without progress the stream ends on both sides. A
//! process that ends closes its streams, a machine that loses power tells nobody. An idle stream
//! notices nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::network::{Effects, Links, NetEvent};
use crate::engine::{CloseReason, Input, StreamId};

/// First retransmission of a segment.
pub(super) const RETRY: Duration = Duration::from_millis(200);
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
            segments: VecDeque::new(),
            scheduled: false,
            stalled: None,
            retry: RETRY,
            last: Duration::ZERO,
            finished: false,
        }
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
        } else if links.hosts[host].cluster != links.hosts[dialler].cluster {
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
        let pipe = stream.pipe(from);
        pipe.scheduled = false;
        if pipe.segments.is_empty() {
            return;
        }
        if !links.carries_streams(hosts.0, hosts.1) {
            let since = *pipe.stalled.get_or_insert(now);
            let deadline = since + links.config.stream_timeout;
            if now >= deadline {
                return self.break_off(number, CloseReason::Ended, fx);
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

    /// Queues a segment and sees to it that somebody looks when it arrives.
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
        let local = stream.acceptor.map(|end| end.host) == Some(stream.dialler.host);
        let mut at = now + links.latency();
        let mut retry = RETRY;
        // A dial's answer was drawn with the dial.
        let lossy = !local && !matches!(segment, Segment::Opened);
        while lossy && links.chance(links.config.loss) && retry < links.config.stream_timeout {
            at += retry;
            retry *= 2;
        }
        let pipe = stream.pipe(from);
        at = at.max(pipe.last);
        pipe.last = at;
        pipe.finished |= matches!(segment, Segment::Fin);
        pipe.segments.push_back((at, segment));
        if !pipe.scheduled {
            pipe.scheduled = true;
            let event = NetEvent::Pipe {
                stream: number,
                from,
            };
            fx.later.push((at, event));
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
            stream.pipe(side).segments.clear();
        }
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
