//! A number of bytes that many share, of which no client may hold more than half.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::Client;

/// What is shared. What one holder may take without asking is not counted: so a small request always
/// gets on, whatever large ones take, and all of them together stay bounded by how many there may be.
#[derive(Debug)]
pub(crate) struct Room {
    held: Mutex<Held>,
    max: usize,
    free: usize,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_client: BTreeMap<Client, usize>,
}

/// What one holder has of it; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Room>,
    client: Client,
    /// With those that are free.
    bytes: usize,
}

impl Room {
    /// Of `max` bytes, and `free` more for each holder.
    pub(crate) fn new(max: usize, free: usize) -> Arc<Self> {
        Arc::new(Self {
            held: Mutex::default(),
            max,
            free,
        })
    }

    /// A share of nothing.
    pub(crate) fn enter(self: &Arc<Self>, client: Client) -> Share {
        Share {
            room: Arc::clone(self),
            client,
            bytes: 0,
        }
    }

    /// How much is held, without what is free.
    pub(crate) fn held(&self) -> usize {
        self.lock().all
    }

    fn counted(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.free)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes more; `false`, and nothing is taken, if that is more than there is, or than half of all
    /// for this client.
    #[must_use]
    pub(crate) fn grow(&mut self, more: usize) -> bool {
        let room = &self.room;
        let wanted = self.bytes.saturating_add(more);
        let counted = room.counted(wanted) - room.counted(self.bytes);
        if counted > 0 {
            let mut held = room.lock();
            let own = held.by_client.get(&self.client).copied().unwrap_or(0);
            let (own, all) = (
                own.saturating_add(counted),
                held.all.saturating_add(counted),
            );
            if own > room.max / 2 || all > room.max {
                return false;
            }
            held.all = all;
            held.by_client.insert(self.client, own);
        }
        self.bytes = wanted;
        true
    }

    /// Gives some of it back.
    pub(crate) fn shrink(&mut self, less: usize) {
        let room = &self.room;
        let left = self.bytes.saturating_sub(less);
        let counted = room.counted(self.bytes) - room.counted(left);
        self.bytes = left;
        if counted == 0 {
            return;
        }
        let mut held = room.lock();
        held.all -= counted;
        if let Some(own) = held.by_client.get_mut(&self.client) {
            *own -= counted;
            if *own == 0 {
                held.by_client.remove(&self.client);
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Client {
        Client::V4([10, 0, 0, last].into())
    }

    #[test]
    fn one_client_takes_at_most_half() {
        let room = Room::new(100, 10);
        let mut greedy = room.enter(client(1));
        assert!(greedy.grow(60), "ten are free");
        assert!(!greedy.grow(1));
        let mut second = room.enter(client(1));
        assert!(
            second.grow(10) && !second.grow(1),
            "what is free is always there"
        );
        let mut other = room.enter(client(2));
        assert!(other.grow(60));
        let mut third = room.enter(client(3));
        assert!(third.grow(10) && !third.grow(1), "all is taken");
        other.shrink(30);
        assert!(third.grow(30) && !third.grow(1));
        assert_eq!(room.held(), 100);
        drop((greedy, second, other, third));
        assert_eq!(room.held(), 0);
        assert!(room.lock().by_client.is_empty());
    }
}
