//! Room for frames on their way from the sockets to the engine.
//!
//! - **A stream has a share of its own**, from which every frame takes until the engine is done with it:
//!   a large frame all of it, so nothing more of the stream is read meanwhile. What a peer sends faster
//!   than the engine works waits in the peer's own socket.
//! - **What a frame has beyond that share** comes out of one room for all, and grows with the bytes that
//!   have arrived: a length that a peer announces takes nothing. It goes back once the engine has the
//!   frame.
//! - **Nobody holds others up.** Where the room is used up, a frame that does not grow is turned out as soon
//!   as another one needs it; and the frame that has waited longest has the elder's place, which
//!   suffices for any frame, so that frames which have all come halfway do not wait for each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;

use super::clock::Clocks;
use crate::wire::frame::FRAME_BYTES_MAX;

/// The room of all streams.
pub(super) struct Inflow {
    clock: Clocks,
    large: Arc<Semaphore>,
    elder: Arc<Semaphore>,
    growing: Mutex<LargeFrames>,
}

/// Large frames that are being read.
#[derive(Default)]
struct LargeFrames {
    next: u64,
    frames: BTreeMap<u64, GrowingFrame>,
}

struct GrowingFrame {
    /// When it last grew by [`GROWTH_MIN`], or got what it had waited for.
    grew: Duration,
    /// Its bytes then.
    bytes: usize,
    /// It is not its sender who holds it up.
    waits: bool,
    turn_out: Option<oneshot::Sender<()>>,
}

/// What one stream may have between its socket and the engine.
pub(super) struct StreamShare(Arc<Semaphore>);

/// The room of a frame that is whole. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct FrameRoom {
    share: HeldShare,
    _large: Option<OwnedSemaphorePermit>,
    _elder: Option<OwnedSemaphorePermit>,
}

/// A frame's part of its stream's share. Dropping it lets the stream be read on.
#[derive(Debug)]
pub(super) struct HeldShare {
    _permit: OwnedSemaphorePermit,
}

/// The room of a large frame that is being read.
pub(super) struct LargeRoom {
    inflow: Arc<Inflow>,
    number: u64,
    taken: Option<OwnedSemaphorePermit>,
    elder: Option<OwnedSemaphorePermit>,
    turned_out: oneshot::Receiver<()>,
}

impl StreamShare {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(SHARE_BYTES)))
    }

    /// Waits for a frame's part of the share. Small frames count as [`FRAME_COST_MIN`], so that many of
    /// them do not wait for the engine either.
    pub(super) async fn take(&self, len: usize) -> HeldShare {
        let cost = len.clamp(FRAME_COST_MIN, SHARE_BYTES) as u32;
        let taken = Arc::clone(&self.0).acquire_many_owned(cost).await;
        HeldShare {
            _permit: taken.expect("a share is never closed"),
        }
    }
}

impl FrameRoom {
    /// Of a frame that has its stream's share, and the rest from the room for all if it is large.
    pub(super) fn new(share: HeldShare, large: Option<LargeRoom>) -> Self {
        let (taken, elder) = large.map_or((None, None), LargeRoom::into_parts);
        Self {
            share,
            _large: taken,
            _elder: elder,
        }
    }

    /// The engine has the frame: it bounds what it puts off by itself, and the room for all goes to others.
    /// What stays is the stream's own share.
    pub(super) fn handed_over(self) -> HeldShare {
        self.share
    }
}

impl Inflow {
    pub(super) fn new(clock: Clocks) -> Self {
        Self {
            clock,
            large: Arc::new(Semaphore::new(LARGE_BYTES_TOTAL)),
            elder: Arc::new(Semaphore::new(1)),
            growing: Mutex::default(),
        }
    }

    /// The clock that room is measured by.
    pub(super) fn now(&self) -> Duration {
        self.clock.now().mono
    }

    /// A frame begins that is larger than a stream's share.
    pub(super) fn begin(self: &Arc<Self>) -> LargeRoom {
        let (turn_out, turned_out) = oneshot::channel();
        let mut growing = self.lock();
        growing.next += 1;
        let number = growing.next;
        let frame = GrowingFrame {
            grew: self.now(),
            bytes: 0,
            waits: false,
            turn_out: Some(turn_out),
        };
        growing.frames.insert(number, frame);
        LargeRoom {
            inflow: Arc::clone(self),
            number,
            taken: None,
            elder: None,
            turned_out,
        }
    }

    /// Turns out the frame that has not grown for longest, if that is long enough.
    fn turn_out_idle(&self) {
        let now = self.now();
        let mut growing = self.lock();
        let idle = growing.frames.values_mut().filter(|frame| {
            let idle = now.saturating_sub(frame.grew);
            !frame.waits && frame.turn_out.is_some() && idle >= IDLE_MAX
        });
        if let Some(frame) = idle.min_by_key(|frame| frame.grew)
            && let Some(turn_out) = frame.turn_out.take()
        {
            // An error means that it has ended by itself.
            let _ = turn_out.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, LargeFrames> {
        self.growing.lock().expect("nothing panics under this lock")
    }
}

impl LargeRoom {
    /// Waits for room for so many bytes more. Returns whether it had to.
    pub(super) async fn grow(&mut self, bytes: usize) -> bool {
        if self.elder.is_some() {
            return false;
        }
        let large = Arc::clone(&self.inflow.large);
        let count = u32::try_from(bytes).expect("a frame is at most FRAME_BYTES_MAX");
        if let Ok(taken) = Arc::clone(&large).try_acquire_many_owned(count) {
            self.add(taken);
            return false;
        }
        self.change(|frame, _| frame.waits = true);
        let inflow = Arc::clone(&self.inflow);
        let mut room = std::pin::pin!(large.acquire_many_owned(count));
        let mut elder = std::pin::pin!(Arc::clone(&inflow.elder).acquire_owned());
        loop {
            tokio::select! {
                taken = &mut room => {
                    self.add(taken.expect("the room is never closed"));
                    break;
                }
                place = &mut elder => {
                    self.elder = Some(place.expect("the place is never closed"));
                    break;
                }
                () = sleep(IDLE_MAX) => inflow.turn_out_idle(),
            }
        }
        self.change(|frame, now| {
            frame.waits = false;
            frame.grew = now;
        });
        true
    }

    /// So many bytes of it have arrived in all.
    pub(super) fn grown_to(&self, bytes: usize) {
        self.change(|frame, now| {
            if bytes >= frame.bytes + GROWTH_MIN {
                frame.bytes = bytes;
                frame.grew = now;
            }
        });
    }

    /// Waits until it is turned out for another one: its stream is to be closed. Cancel safe.
    pub(super) async fn turned_out(&mut self) {
        if (&mut self.turned_out).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn add(&mut self, taken: OwnedSemaphorePermit) {
        match &mut self.taken {
            Some(held) => held.merge(taken),
            None => self.taken = Some(taken),
        }
    }

    fn change(&self, change: impl FnOnce(&mut GrowingFrame, Duration)) {
        let now = self.inflow.now();
        if let Some(frame) = self.inflow.lock().frames.get_mut(&self.number) {
            change(frame, now);
        }
    }

    /// It is whole: nobody turns it out any more.
    fn into_parts(mut self) -> (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>) {
        (self.taken.take(), self.elder.take())
    }
}

impl Drop for LargeRoom {
    fn drop(&mut self) {
        self.inflow.lock().frames.remove(&self.number);
    }
}

/// What one stream may have between its socket and the engine without asking: 16 MiB for the default of
/// 256 streams. It holds the frames of ordinary traffic, which are at most this large.
pub(super) const SHARE_BYTES: usize = 64 << 10;
/// What the smallest frame takes of it: sixteen of them wait for the engine.
const FRAME_COST_MIN: usize = 4 << 10;
/// What all large frames have beyond the shares of their streams, three of the largest; the elder's place is
/// for a fourth.
const LARGE_BYTES_TOTAL: usize = 3 * FRAME_BYTES_MAX;
/// How long a frame may not grow while another one waits for room.
const IDLE_MAX: Duration = Duration::from_millis(100);
/// By how much less it does not count as having grown: at 160 kB/s and more nothing is turned out.
const GROWTH_MIN: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::clock::SystemClock;

    fn inflow() -> Arc<Inflow> {
        Arc::new(Inflow::new(Clocks::start(Arc::new(SystemClock))))
    }

    fn is_turned_out(room: &mut LargeRoom) -> bool {
        room.turned_out.try_recv().is_ok()
    }

    /// Takes the whole room, in parts of a frame's size.
    async fn used_up(inflow: &Arc<Inflow>) -> Vec<LargeRoom> {
        let mut rooms = Vec::new();
        for _ in 0..3 {
            let mut room = inflow.begin();
            assert!(!room.grow(FRAME_BYTES_MAX).await);
            rooms.push(room);
        }
        rooms
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_longest_has_the_elders_place_and_others_follow() {
        let inflow = inflow();
        let held = used_up(&inflow).await;
        let mut first = inflow.begin();
        assert!(first.grow(1).await && first.elder.is_some());
        assert!(!first.grow(FRAME_BYTES_MAX).await);
        let second = async {
            let mut second = inflow.begin();
            assert!(second.grow(1).await);
            second
        };
        let whole = async {
            sleep(IDLE_MAX / 2).await;
            drop(FrameRoom::new(
                StreamShare::new().take(1).await,
                Some(first),
            ));
        };
        let (second, ()) = tokio::join!(second, whole);
        assert!(second.elder.is_some());
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_does_not_grow_makes_way_at_once_and_one_that_does_stays() {
        let inflow = inflow();
        let mut held = used_up(&inflow).await;
        let mut elder = inflow.begin();
        assert!(elder.grow(1).await);
        let began = inflow.now();
        let mut waiting = inflow.begin();
        let mut waited = std::pin::pin!(waiting.grow(1));
        let mut bytes = 0;
        loop {
            tokio::select! {
                waited = &mut waited => break assert!(waited),
                () = sleep(IDLE_MAX / 4) => {
                    bytes += GROWTH_MIN;
                    held[0].grown_to(bytes);
                    elder.grown_to(bytes);
                    held.retain_mut(|room| !is_turned_out(room));
                }
            }
        }
        assert!(inflow.now() - began <= IDLE_MAX * 2);
        assert!(!is_turned_out(&mut elder) && !is_turned_out(&mut held[0]));
        assert_eq!(held.len(), 2, "one was enough");
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_holds_one_large_frame_or_sixteen_small_ones() {
        let share = StreamShare::new();
        let one = share.take(FRAME_BYTES_MAX).await;
        assert_eq!(share.0.available_permits(), 0);
        drop(one);
        let mut many = Vec::new();
        for _ in 0..SHARE_BYTES / FRAME_COST_MIN {
            many.push(share.take(1).await);
        }
        assert_eq!((many.len(), share.0.available_permits()), (16, 0));
    }
}
