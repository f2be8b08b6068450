//! Packets for one peer that wait to be written, and what the lane's task is told meanwhile.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::clock;
use super::core::TlsCore;
use super::record;

/// The queue of one lane. One task waits on it; any task fills it.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// There may be something to do.
    changed: Notify,
    /// The peer is known to be there: dial at once.
    pub(super) knocked: Notify,
}

#[derive(Default)]
struct Waiting {
    packets: VecDeque<(Instant, Bytes)>,
    /// What they cost.
    bytes: usize,
    /// Packets that were taken and are being written.
    writing: u64,
    last_used: Option<Instant>,
    /// To be dialled, though there is nothing to send yet.
    wanted: bool,
    phase: QueuePhase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum QueuePhase {
    #[default]
    Open,
    /// What waits is written, and then it ends.
    Draining,
    /// It ends as it is.
    Closed,
}

impl Waiting {
    fn is_over(&self) -> bool {
        match self.phase {
            QueuePhase::Open => false,
            QueuePhase::Draining => self.packets.is_empty() && self.writing == 0,
            QueuePhase::Closed => true,
        }
    }

    /// Drops packets that have grown old; returns when the next one will have grown old.
    fn expire(&mut self, core: &TlsCore) -> Option<Instant> {
        let now = clock::now();
        while let Some((at, packet)) = self.packets.front() {
            if now.saturating_duration_since(*at) <= core.bounds.packet_age_max {
                // One tick later: at the limit itself a packet is still allowed.
                return at.checked_add(core.bounds.packet_age_max.saturating_add(TICK));
            }
            self.bytes -= cost(packet);
            self.packets.pop_front();
            core.tally.tls_packets_expired.one();
        }
        None
    }
}

impl Queue {
    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics under this lock")
    }

    /// Adds a packet; drops the oldest ones while there are too many bytes.
    pub(super) fn push(&self, core: &TlsCore, packet: Bytes) {
        let mut waiting = self.lock();
        let now = clock::now();
        waiting.last_used = Some(now);
        waiting.bytes += cost(&packet);
        waiting.packets.push_back((now, packet));
        while waiting.bytes > core.bounds.packet_queue_bytes
            && let Some((_, oldest)) = waiting.packets.pop_front()
        {
            waiting.bytes -= cost(&oldest);
            core.tally.tls_packets_overflowed.one();
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// The peer has just shown itself: it is dialled at once.
    pub(super) fn knock(&self) {
        let mut waiting = self.lock();
        waiting.wanted = true;
        waiting.last_used.get_or_insert_with(clock::now);
        drop(waiting);
        self.changed.notify_one();
        self.knocked.notify_waiters();
    }

    pub(super) fn last_used(&self) -> Option<Instant> {
        self.lock().last_used
    }

    /// Nothing is to be sent any more; what waits is counted as lost.
    pub(super) fn close(&self, core: &TlsCore) {
        let mut waiting = self.lock();
        waiting.phase = QueuePhase::Closed;
        waiting.bytes = 0;
        let dropped = std::mem::take(&mut waiting.packets).len() as u64;
        let writing = std::mem::take(&mut waiting.writing);
        core.tally.tls_packets_lost.add(dropped + writing);
        drop(waiting);
        self.changed.notify_one();
    }

    /// What waits is to be written, and nothing else comes.
    pub(super) fn drain(&self) {
        let mut waiting = self.lock();
        if waiting.phase == QueuePhase::Open {
            waiting.phase = QueuePhase::Draining;
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Closes it, unless there is something to send or to dial for; returns whether it is closed.
    pub(super) fn retire(&self) -> bool {
        let mut waiting = self.lock();
        let idle = waiting.packets.is_empty() && !waiting.wanted;
        if waiting.is_over() || waiting.phase == QueuePhase::Open && idle {
            waiting.phase = QueuePhase::Closed;
        }
        waiting.phase == QueuePhase::Closed
    }

    /// Waits until there is something to send, to dial for, or to end.
    pub(super) async fn due(&self, core: &TlsCore) {
        loop {
            {
                let mut waiting = self.lock();
                waiting.expire(core);
                if waiting.wanted || !waiting.packets.is_empty() || waiting.is_over() {
                    return;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Drops packets as they grow old, until the lane is to end.
    pub(super) async fn over(&self, core: &TlsCore) {
        loop {
            let next = {
                let mut waiting = self.lock();
                let next = waiting.expire(core);
                if waiting.is_over() {
                    return;
                }
                next
            };
            let changed = self.changed.notified();
            match next {
                Some(at) => drop(timeout_at(at, changed).await),
                None => changed.await,
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    /// Whether it is to end at once, whatever there is to write.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().phase == QueuePhase::Closed
    }

    /// A dial has ended, well or not: the one that was wanted has been made.
    pub(super) fn dialled(&self) {
        self.lock().wanted = false;
    }

    /// Takes packets that are young enough into `batch`, up to a bound, for a connection that `began`.
    pub(super) fn take(&self, core: &TlsCore, began: Instant, batch: &mut Vec<u8>) {
        let mut waiting = self.lock();
        waiting.wanted = false;
        waiting.expire(core);
        while batch.len() < BATCH_BYTES
            && let Some((at, packet)) = waiting.packets.pop_front()
        {
            waiting.bytes -= cost(&packet);
            waiting.writing += 1;
            record::put(batch, &packet, at, began);
        }
    }

    /// What was taken last has been written, or is lost.
    pub(super) fn written(&self, core: &TlsCore, wrote: bool) {
        let count = std::mem::take(&mut self.lock().writing);
        if !wrote {
            core.tally.tls_packets_lost.add(count);
        }
    }
}

/// The memory that a packet takes while it waits: an empty one takes some too.
fn cost(packet: &Bytes) -> usize {
    packet.len() + size_of::<(Instant, Bytes)>()
}

/// Written at once; the last packet may be over it.
pub(super) const BATCH_BYTES: usize = 32 << 10;
/// The resolution of timers.
const TICK: Duration = Duration::from_millis(1);
