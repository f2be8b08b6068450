//! How much is sent at a time: to each receiver, and to all of them.
//!
//! A receiver takes another place only while at least as much is free as it has, in number and in bytes.
//! So one that hangs takes half at most, two take a third each. However many hang, each of those that work has its first
//! place: beyond the number of all, and beyond the bytes of all where its message is no large one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumormill::store::nflog::ReceiverKey;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The places, and who has them.
#[derive(Debug)]
pub(super) struct Lanes {
    taken: Mutex<Taken>,
    freed: Notify,
    each_max: usize,
    /// Those who wait for a place of their receiver do not wait for one of all: what is freed wakes few.
    own: Mutex<BTreeMap<ReceiverKey, Arc<Semaphore>>>,
}

#[derive(Debug)]
struct Taken {
    room: Load,
    all: Load,
    by: BTreeMap<ReceiverKey, Load>,
}

/// So many sends, of so many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) sends: usize,
    pub(super) bytes: usize,
}

/// A place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    lanes: Arc<Lanes>,
    key: ReceiverKey,
    bytes: usize,
    _own: OwnedSemaphorePermit,
}

impl Lanes {
    /// Room for so much in all, and for so many sends to each receiver.
    pub(super) fn new(room: Load, each_max: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::new(Taken {
                room,
                all: Load::default(),
                by: BTreeMap::new(),
            }),
            freed: Notify::new(),
            each_max,
            own: Mutex::default(),
        })
    }

    /// A place for a message of so many bytes, if there is one now.
    pub(super) fn at_once(self: &Arc<Self>, key: &ReceiverKey, bytes: usize) -> Option<Place> {
        let own = self.own(key).try_acquire_owned().ok()?;
        let is_taken = self.lock().take(key, bytes);
        is_taken.then(|| self.taken_place(key, bytes, own))
    }

    /// Waits for a place for a message of so many bytes. Cancel safe.
    pub(super) async fn place(self: &Arc<Self>, key: &ReceiverKey, bytes: usize) -> Place {
        let own = self.own(key).acquire_owned().await;
        let own = own.expect("the semaphore is never closed");
        loop {
            // Before the look, so that what is freed after it is heard of.
            let freed = self.freed.notified();
            if self.lock().take(key, bytes) {
                return self.taken_place(key, bytes, own);
            }
            freed.await;
        }
    }

    fn taken_place(
        self: &Arc<Self>,
        key: &ReceiverKey,
        bytes: usize,
        own: OwnedSemaphorePermit,
    ) -> Place {
        Place {
            lanes: Arc::clone(self),
            key: key.clone(),
            bytes,
            _own: own,
        }
    }

    fn own(&self, key: &ReceiverKey) -> Arc<Semaphore> {
        let mut all = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= OWN_MAX {
            all.retain(|_, own| Arc::strong_count(own) > 1);
        }
        let own = all.entry(key.clone());
        Arc::clone(own.or_insert_with(|| Arc::new(Semaphore::new(self.each_max))))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether a message of so many bytes may be sent in it.
    pub(super) fn holds(&self, bytes: usize) -> bool {
        bytes <= self.bytes
    }
}

impl Taken {
    fn take(&mut self, key: &ReceiverKey, bytes: usize) -> bool {
        let own = self.by.get(key).copied().unwrap_or_default();
        let free_sends = self.room.sends.saturating_sub(self.all.sends);
        let free_bytes = self.room.bytes.saturating_sub(self.all.bytes);
        let is_first = own.sends == 0 && (bytes <= FIRST_BYTES || bytes <= free_bytes);
        let bytes_after = own.bytes + bytes;
        let has_room = own.sends < free_sends && bytes_after + bytes <= free_bytes;
        if !(is_first || has_room) {
            return false;
        }
        self.all.sends += 1;
        self.all.bytes += bytes;
        let own = self.by.entry(key.clone()).or_default();
        own.sends += 1;
        own.bytes = bytes_after;
        true
    }

    fn give_back(&mut self, key: &ReceiverKey, bytes: usize) {
        self.all.sends -= 1;
        self.all.bytes -= bytes;
        let Some(own) = self.by.get_mut(key) else {
            return;
        };
        own.sends -= 1;
        own.bytes -= bytes;
        if own.sends == 0 {
            self.by.remove(key);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lanes.lock().give_back(&self.key, self.bytes);
        self.lanes.freed.notify_waiters();
    }
}

/// A first message of no more is sent however much is being sent: some 200 ordinary alerts.
const FIRST_BYTES: usize = 256 << 10;
/// Receivers that are remembered; beyond that those that send nothing are forgotten.
const OWN_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ReceiverKey {
        ReceiverKey {
            group_name: name.to_owned(),
            integration: "webhook".to_owned(),
            idx: 0,
        }
    }

    async fn taken(lanes: &Arc<Lanes>, name: &str, bytes: usize) -> Vec<Place> {
        let mut places = Vec::new();
        let patience = std::time::Duration::from_secs(1);
        while let Ok(place) = tokio::time::timeout(patience, lanes.place(&key(name), bytes)).await {
            places.push(place);
        }
        places
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_hang_leave_room_for_others() {
        let all = Load {
            sends: 12,
            bytes: 1200,
        };
        let lanes = Lanes::new(all, 100);
        let one = taken(&lanes, "hangs", 1).await;
        let two = taken(&lanes, "hangs too", 1).await;
        assert_eq!((one.len(), two.len()), (6, 3));
        assert_eq!(taken(&lanes, "works", 1).await.len(), 2);
        drop((one, two));
        assert_eq!(lanes.lock().all, Load::default());
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_hang_others_have_a_place() {
        let room = Load {
            sends: 4,
            bytes: 4 * FIRST_BYTES,
        };
        let lanes = Lanes::new(room, 100);
        let mut held = Vec::new();
        for (name, bytes) in [("a", 1), ("b", 1), ("c", 1), ("d", 4 * FIRST_BYTES - 10)] {
            held.push(taken(&lanes, name, bytes).await);
        }
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert_eq!(taken(&lanes, "works", FIRST_BYTES).await.len(), 1);
        assert_eq!(taken(&lanes, "too large", FIRST_BYTES + 1).await.len(), 0);
        drop(held);
        assert_eq!(lanes.lock().all, Load::default());
        assert!(lanes.at_once(&key("too large"), FIRST_BYTES + 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_limited_as_well_as_sends() {
        let all = Load {
            sends: 100,
            bytes: 10 * FIRST_BYTES,
        };
        let lanes = Lanes::new(all, 4);
        assert_eq!(taken(&lanes, "small", 1).await.len(), 4, "its own limit");
        let large = taken(&lanes, "large", 3 * FIRST_BYTES).await;
        assert_eq!(large.len(), 1);
        let larger = taken(&lanes, "larger", 6 * FIRST_BYTES).await;
        assert_eq!(larger.len(), 1);
        assert_eq!(taken(&lanes, "largest", 6 * FIRST_BYTES).await.len(), 0);
        drop((large, larger));
        assert_eq!(lanes.lock().all, Load::default());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_freed_is_given_to_who_waits() {
        let bytes = FIRST_BYTES + 1;
        let lanes = Lanes::new(Load { sends: 1, bytes }, 1);
        let place = lanes.place(&key("a"), bytes).await;
        let waits = Arc::clone(&lanes);
        let waiting = tokio::spawn(async move { waits.place(&key("b"), bytes).await.bytes });
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        drop(place);
        assert_eq!(waiting.await.unwrap(), bytes);
    }
}
