//! What has changed under the keys of a store, told to those that follow it.
//!
//! All followers of a store read one log, each from a place of its own, so a write costs the same
//! whether one follows or a hundred do. What all have read is dropped. A log that grows over its limit
//! loses what is oldest: a follower that had not read it is told that it lags, and goes on at the end.
//!
//! Invariant: what a change says was there before is what was last told of the key, or what was there when
//! the first follower came.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::contained::Contained;
use crate::id::{Key, WriterTag};
use crate::store::schema::Body;

/// Why the value of a key changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Its time was over, by this node's clock.
    Expired,
    /// It was written.
    Put,
    /// It was removed.
    Removed,
    /// What was written in its place cannot be used here: it is kept and relayed, and listed by
    /// [`quarantined`](super::super::Map::quarantined).
    Unreadable,
}

/// Where a change came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeOrigin {
    /// From this node: a local write, or its clock.
    Local,
    /// From a peer. [`View::name_of`](crate::View::name_of) has the names of members.
    #[non_exhaustive]
    Peer {
        /// Who wrote it, as it says.
        writer: WriterTag,
        /// Who delivered it.
        deliverer: WriterTag,
    },
}

/// One change, as the store knows it.
pub(in crate::store) struct FeedEvent<R> {
    pub(in crate::store) key: Key,
    pub(in crate::store) before: Option<Contained<R>>,
    pub(in crate::store) now: Option<Contained<R>>,
    pub(in crate::store) cause: Cause,
    pub(in crate::store) origin: ChangeOrigin,
    /// What was written, where that is no record.
    pub(in crate::store) body: Option<Body>,
}

/// The log of a store.
pub(super) struct ChangeFeed<R> {
    /// How many follow it; written under the lock.
    followed: AtomicUsize,
    log: Mutex<FeedLog<R>>,
}

struct FeedLog<R> {
    events: VecDeque<Logged<R>>,
    /// The number of the first event that is left.
    first: u64,
    bytes: usize,
    /// The number of the next event that each follower reads.
    followers: BTreeMap<u64, u64>,
    followers_made: u64,
    /// Followers that have read all, and how to wake them. A write that nobody waits for looks at none.
    waiting: BTreeMap<u64, Waker>,
    /// The end when the first of them came to wait.
    waiting_from: u64,
    /// What was pushed out, to be dropped where no lock of the store is held.
    dropped: Vec<Logged<R>>,
}

struct Logged<R> {
    event: Arc<FeedEvent<R>>,
    bytes: usize,
    /// How many are still to read it.
    unread: usize,
}

impl<R> Default for ChangeFeed<R> {
    fn default() -> Self {
        Self {
            followed: AtomicUsize::new(0),
            log: Mutex::new(FeedLog {
                events: VecDeque::new(),
                first: 0,
                bytes: 0,
                followers: BTreeMap::new(),
                followers_made: 0,
                waiting: BTreeMap::new(),
                waiting_from: 0,
                dropped: Vec::new(),
            }),
        }
    }
}

impl<R> ChangeFeed<R> {
    fn lock(&self) -> MutexGuard<'_, FeedLog<R>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody follows the store. Asked under the store's lock, as all that pushes.
    pub(super) fn is_followed(&self) -> bool {
        self.followed.load(Ordering::Acquire) > 0
    }

    /// Adds an event that holds so many bytes of records.
    pub(super) fn push(&self, event: FeedEvent<R>, bytes: usize) {
        let mut log = self.lock();
        let unread = log.followers.len();
        if unread == 0 {
            return;
        }
        let bytes = bytes.saturating_add(EVENT_BYTES);
        log.bytes = log.bytes.saturating_add(bytes);
        let event = Arc::new(event);
        log.events.push_back(Logged {
            event,
            bytes,
            unread,
        });
        while log.bytes > FEED_BYTES_MAX && log.events.len() > 1 {
            let oldest = log.pop();
            log.dropped.extend(oldest);
        }
    }

    /// Wakes those that wait, and drops what was pushed out. Never under the store's lock.
    pub(super) fn wake(&self) {
        if !self.is_followed() {
            return;
        }
        let mut log = self.lock();
        let dropped = std::mem::take(&mut log.dropped);
        let is_new = log.end() > log.waiting_from;
        let waiting = if is_new {
            std::mem::take(&mut log.waiting)
        } else {
            BTreeMap::new()
        };
        drop(log);
        drop(dropped);
        waiting.into_values().for_each(Waker::wake);
    }

    /// Follows the store from now on. Returns the number to read under.
    pub(super) fn follow(&self) -> u64 {
        let mut log = self.lock();
        log.followers_made += 1;
        let (id, next) = (log.followers_made, log.end());
        log.followers.insert(id, next);
        self.followed.store(log.followers.len(), Ordering::Release);
        id
    }

    /// Follows it no more.
    pub(super) fn unfollow(&self, id: u64) {
        let mut log = self.lock();
        let waker = log.waiting.remove(&id);
        let next = log.followers.remove(&id);
        let read = next.map(|next| log.has_read(next));
        self.followed.store(log.followers.len(), Ordering::Release);
        // Nobody may come to drop it: who wakes followers looks whether there are any.
        let dropped = std::mem::take(&mut log.dropped);
        drop(log);
        drop((read, dropped, waker));
    }

    /// Moves the next events of a follower to `taken`, up to [`TAKEN_MAX`] of them, or says how many it has missed for
    /// being too slow.
    pub(super) fn poll_take(
        &self,
        id: u64,
        context: &mut Context<'_>,
        taken: &mut VecDeque<Arc<FeedEvent<R>>>,
    ) -> Poll<Result<(), u64>> {
        let mut log = self.lock();
        let (first, end) = (log.first, log.end());
        let Some(&next) = log.followers.get(&id) else {
            return Poll::Pending;
        };
        if next == end {
            if log.waiting.is_empty() {
                log.waiting_from = end;
            }
            let waker = log.waiting.insert(id, context.waker().clone());
            drop(log);
            drop(waker);
            return Poll::Pending;
        }
        if next < first {
            log.followers.insert(id, end);
            let read = log.has_read(next);
            drop(log);
            drop(read);
            return Poll::Ready(Err(end - next));
        }
        let from = usize::try_from(next - first).unwrap_or(usize::MAX);
        let (mut bytes, mut count) = (0_usize, 0);
        for logged in log.events.iter_mut().skip(from).take(TAKEN_MAX) {
            bytes = bytes.saturating_add(logged.bytes);
            if count > 0 && bytes > TAKEN_BYTES_MAX {
                break;
            }
            count += 1;
            logged.unread -= 1;
            taken.push_back(Arc::clone(&logged.event));
        }
        log.followers.insert(id, next + count);
        let read = log.drop_read();
        drop(log);
        drop(read);
        Poll::Ready(Ok(()))
    }
}

impl<R> FeedLog<R> {
    /// The number of the next event.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn pop(&mut self) -> Option<Logged<R>> {
        let oldest = self.events.pop_front()?;
        self.bytes -= oldest.bytes;
        self.first += 1;
        Some(oldest)
    }

    /// A follower reads nothing of what is there from `next` on. Returns what can be dropped.
    fn has_read(&mut self, next: u64) -> Vec<Logged<R>> {
        let from = usize::try_from(next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        for logged in self.events.iter_mut().skip(from) {
            logged.unread -= 1;
        }
        self.drop_read()
    }

    /// Takes out what everybody has read, to be dropped outside of the lock.
    fn drop_read(&mut self) -> Vec<Logged<R>> {
        let mut read = Vec::new();
        while self.events.front().is_some_and(|oldest| oldest.unread == 0) {
            read.extend(self.pop());
        }
        read
    }
}

/// Bytes that wait for the slowest follower at most; a single larger change waits all the same.
pub(super) const FEED_BYTES_MAX: usize = 8 << 20;
/// Events that a follower takes out of the log at once: it returns them one by one.
const TAKEN_MAX: usize = 64;
/// Their bytes, unless one alone has more.
const TAKEN_BYTES_MAX: usize = 64 << 10;
/// What an event takes beside its records.
const EVENT_BYTES: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_follower_takes_along_what_was_pushed_out() {
        let feed = ChangeFeed::<u8>::default();
        let follower = feed.follow();
        for _ in 0..2 {
            let event = FeedEvent {
                key: Key([0; 16]),
                before: None,
                now: Some(Contained::new(1)),
                cause: Cause::Put,
                origin: ChangeOrigin::Local,
                body: None,
            };
            feed.push(event, FEED_BYTES_MAX);
        }
        assert_eq!(feed.lock().dropped.len(), 1);
        feed.unfollow(follower);
        let log = feed.lock();
        assert!(log.dropped.is_empty() && log.events.is_empty());
    }
}
