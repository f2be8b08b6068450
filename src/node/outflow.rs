//! What waits to be written: counted for each stream and for all together.
//!
//! The engine is told when too much waits on a stream, and when that is over; it keeps to itself what
//! can wait. Where that does not help, the driver closes streams: see `stream_table`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What waits on all streams of a node, in bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Outflow(Arc<AtomicUsize>);

impl Outflow {
    /// A stream with nothing to be written yet.
    pub(super) fn stream(&self) -> Arc<Outgoing> {
        Arc::new(Outgoing {
            all: Arc::clone(&self.0),
            bytes: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            stall: Mutex::default(),
        })
    }

    /// Bytes that wait on all streams.
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// What waits on one stream. What is left when it is dropped waits no longer.
#[derive(Debug)]
pub(super) struct Outgoing {
    all: Arc<AtomicUsize>,
    bytes: AtomicUsize,
    /// The engine was told, or is about to be, that too much waits.
    full: AtomicBool,
    stall: Mutex<Stall>,
}

/// What the other side said while it took nothing.
#[derive(Debug, Default)]
struct Stall {
    since: Option<Duration>,
    first_heard: Option<Duration>,
    last_heard: Duration,
}

impl Outgoing {
    /// So many bytes more wait. Returns how many that makes.
    pub(super) fn add(&self, bytes: usize) -> usize {
        // In this order, so that what is given up is never more than what is counted.
        self.all.fetch_add(bytes, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// Whether more waits than should, and the engine has not been told yet.
    pub(super) fn becomes_full(&self) -> bool {
        if self.bytes() <= FULL_BYTES || self.full.swap(true, Ordering::SeqCst) {
            return false;
        }
        // What was written before the mark was set has told nobody.
        !(self.bytes() <= WRITABLE_BYTES && self.full.swap(false, Ordering::SeqCst))
    }

    /// So many bytes are written. Returns whether the engine is to be told that there is room again.
    pub(super) fn wrote(&self, bytes: usize) -> bool {
        let subtract = |waiting: usize| Some(waiting.saturating_sub(bytes));
        // What was given up meanwhile waits no longer.
        let waited = self
            .bytes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, subtract)
            .unwrap_or_default();
        self.all.fetch_sub(bytes.min(waited), Ordering::SeqCst);
        let left = waited.saturating_sub(bytes);
        left <= WRITABLE_BYTES && self.full.swap(false, Ordering::SeqCst)
    }

    /// Nothing of it will be written any more: it waits no longer.
    pub(super) fn give_up(&self) {
        let left = self.bytes.swap(0, Ordering::SeqCst);
        self.all.fetch_sub(left, Ordering::SeqCst);
    }

    /// A piece begins to be written.
    pub(super) fn begin_piece(&self, now: Duration) {
        *self.stall() = Stall {
            since: Some(now),
            ..Stall::default()
        };
    }

    /// The piece is written.
    pub(super) fn end_piece(&self) {
        self.stall().since = None;
    }

    /// A whole frame came from the other side.
    pub(super) fn heard(&self, now: Duration) {
        let mut stall = self.stall();
        if stall.since.is_some() {
            stall.first_heard.get_or_insert(now);
            stall.last_heard = now;
        }
    }

    /// Whether the other side went on sending, for at least `span`, while it took nothing. Its frames
    /// cannot have passed for longer than a retransmission takes if what answers them did not: so it is not
    /// the network, but the other side that does not read.
    pub(super) fn is_ignored(&self, span: Duration) -> bool {
        let stall = self.stall();
        let first = stall.first_heard.filter(|_| stall.since.is_some());
        first.is_some_and(|first| stall.last_heard.saturating_sub(first) >= span)
    }

    fn stall(&self) -> MutexGuard<'_, Stall> {
        self.stall.lock().expect("nothing panics under this lock")
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// More waits on a stream than should: four frames of an exchange.
const FULL_BYTES: usize = 256 << 10;
/// There is room again: one frame, so that the socket does not run dry meanwhile.
const WRITABLE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_told_once_each_way() {
        let outflow = Outflow::default();
        let stream = outflow.stream();
        assert_eq!(stream.add(FULL_BYTES), FULL_BYTES);
        assert!(!stream.becomes_full());
        stream.add(1);
        assert!(stream.becomes_full() && !stream.becomes_full());
        assert!(!stream.wrote(1));
        assert!(stream.wrote(FULL_BYTES - WRITABLE_BYTES));
        assert!(!stream.wrote(WRITABLE_BYTES));
        stream.add(7);
        assert_eq!(outflow.bytes(), 7);
        drop(stream);
        assert_eq!(outflow.bytes(), 0);
    }

    #[test]
    fn only_one_that_goes_on_sending_ignores_what_it_is_sent() {
        let stream = Outflow::default().stream();
        let at = Duration::from_secs;
        stream.heard(at(1));
        stream.begin_piece(at(2));
        stream.heard(at(3));
        stream.heard(at(4));
        assert!(stream.is_ignored(at(1)) && !stream.is_ignored(at(2)));
        stream.end_piece();
        assert!(!stream.is_ignored(at(1)));
        stream.begin_piece(at(5));
        stream.heard(at(9));
        assert!(
            !stream.is_ignored(at(1)),
            "what it said last may have been all"
        );
    }
}
