//! One direction of a stream: the segments that wait for room on their way out, and those under way.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::links::RETRY;
use super::wire::{NetEvent, StreamSide, Wire};

/// How often it is looked whether a reader that had no room has some.
const READER_AGAIN: Duration = Duration::from_millis(250);
/// What one segment carries.
const SEGMENT_BYTES: usize = 1460;

/// What waits for the driver's sockets at most: these hold a quarter of a megabyte, and so does the driver.
const FULL_BYTES: usize = 512 << 10;
/// What waits when there is room again.
const WRITABLE_BYTES: usize = 320 << 10;

/// What is sent in one piece and arrives in one piece: a frame may be many segments of TCP.
#[derive(Debug)]
pub(super) enum Segment {
    /// The dial was accepted.
    Opened,
    Frame(Bytes),
    /// The sender is gone.
    Fin,
}

impl Segment {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Fin | Self::Opened => 0,
            Self::Frame(frame) => frame.len(),
        }
    }
}

/// One direction of a stream.
#[derive(Debug)]
pub(super) struct Direction {
    /// Which stream, and who sends.
    stream: u64,
    from: StreamSide,
    /// What waits for room on its way out, and how many bytes of it are still to go.
    unsent: VecDeque<(Segment, usize)>,
    /// A look at what waits is scheduled.
    pumping: bool,
    segments: VecDeque<(Duration, Segment)>,
    /// A look at the first segment is scheduled.
    scheduled: bool,
    stalled: Option<Duration>,
    retry: Duration,
    /// No segment overtakes this one.
    last: Duration,
    finished: bool,
    /// Its sender was told that too much waits.
    full: bool,
    /// It is about to be told something else.
    telling: bool,
}

impl Direction {
    pub(super) fn new(stream: u64, from: StreamSide) -> Self {
        Self {
            stream,
            from,
            unsent: VecDeque::new(),
            pumping: false,
            segments: VecDeque::new(),
            scheduled: false,
            stalled: None,
            retry: RETRY,
            last: Duration::ZERO,
            finished: false,
            full: false,
            telling: false,
        }
    }

    /// Has its sender told, in a turn of its own, if there is more to say of what waits than was said.
    pub(super) fn look_at_room(&mut self, wire: &mut Wire<'_>) {
        if self.is_full() != self.full && !self.telling {
            self.telling = true;
            let (stream, from) = (self.stream, self.from);
            wire.later(wire.now, NetEvent::Room { stream, from });
        }
    }

    /// Whether too much waits, if that is not what the sender was told last.
    pub(super) fn fullness_changed(&mut self) -> Option<bool> {
        self.telling = false;
        let full = self.is_full();
        (std::mem::replace(&mut self.full, full) != full).then_some(full)
    }

    fn is_full(&self) -> bool {
        let most = if self.full {
            WRITABLE_BYTES
        } else {
            FULL_BYTES
        };
        self.bytes() > most
    }

    /// Whether its end has been sent.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Bytes that were sent and have not arrived.
    pub(super) fn bytes(&self) -> usize {
        let waiting = self.unsent.iter().map(|(segment, _)| segment.bytes());
        let sent = self.segments.iter().map(|(_, segment)| segment.bytes());
        waiting.chain(sent).sum()
    }

    /// Everything that was sent and has not arrived is lost.
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        self.unsent.clear();
    }

    /// Queues a segment behind what waits already. Returns whether the caller must
    /// [`pump`](Self::pump) now; otherwise that is scheduled.
    pub(super) fn queue(&mut self, segment: Segment) -> bool {
        self.finished |= matches!(segment, Segment::Fin);
        let bytes = segment.bytes();
        self.unsent.push_back((segment, bytes));
        !self.pumping
    }

    /// Sends as much as `host`, whose direction it is, may. Nothing is lost on a `local` stream.
    pub(super) fn pump(&mut self, wire: &mut Wire<'_>, host: usize, local: bool) {
        self.pumping = false;
        while let Some((_, left)) = self.unsent.front_mut() {
            let egress = &mut wire.links.hosts[host].egress;
            let mut departs = egress.drained(wire.now);
            while *left > 0 {
                let bytes = SEGMENT_BYTES.min(*left);
                match egress.segment(wire.now, bytes) {
                    Ok(at) => departs = at,
                    Err(room_at) => {
                        self.pumping = true;
                        let (stream, from) = (self.stream, self.from);
                        return wire.later(room_at, NetEvent::Pump { stream, from });
                    }
                }
                *left -= bytes;
            }
            let Some((segment, _)) = self.unsent.pop_front() else {
                return;
            };
            self.ship(wire, departs, segment, local);
        }
    }

    /// Puts a segment on its way, and schedules a look for when it arrives.
    fn ship(&mut self, wire: &mut Wire<'_>, departs: Duration, segment: Segment, local: bool) {
        let links = &mut *wire.links;
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
            self.look_at(wire, at);
        }
    }

    /// A scheduled look takes place now. Returns whether there is anything to look at.
    pub(super) fn look(&mut self) -> bool {
        self.scheduled = false;
        !self.segments.is_empty()
    }

    /// Nothing gets through now: it is tried again later. After `stream_timeout` without progress
    /// everything is lost, and it returns true: the stream has ended for the side that sends.
    pub(super) fn stall(&mut self, wire: &mut Wire<'_>) -> bool {
        let since = *self.stalled.get_or_insert(wire.now);
        let deadline = since + wire.links.config.stream_timeout;
        if wire.now >= deadline {
            self.clear();
            return true;
        }
        let again = (wire.now + self.retry).min(deadline);
        self.retry *= 2;
        self.look_at(wire, again);
        false
    }

    /// The reader takes nothing at present: a look is scheduled for later.
    pub(super) fn wait(&mut self, wire: &mut Wire<'_>) {
        let again = wire.now + READER_AGAIN;
        self.look_at(wire, again);
    }

    /// Segments get through again.
    pub(super) fn resume(&mut self) {
        self.stalled = None;
        self.retry = RETRY;
    }

    /// Takes the next segment that has arrived by now. If the next one is still under way, a look is
    /// scheduled for when it arrives.
    pub(super) fn arrived(&mut self, wire: &mut Wire<'_>) -> Option<Segment> {
        let (at, _) = self.segments.front()?;
        let at = *at;
        if at > wire.now {
            self.look_at(wire, at);
            return None;
        }
        self.segments.pop_front().map(|(_, segment)| segment)
    }

    fn look_at(&mut self, wire: &mut Wire<'_>, at: Duration) {
        self.scheduled = true;
        let (stream, from) = (self.stream, self.from);
        wire.later(at, NetEvent::Segment { stream, from });
    }
}
