//! The places that connections take: how many there are, and who gives way for a new one.
//!
//! A new connection always gets a place while there is one that waits for its client: the client with
//! the most connections loses the one that has been idle, or in the middle of a head, for longest;
//! where none of its connections is, the one that has been sending or reading for longest. So idle
//! connections, however many, keep nobody out, and an address that opens many of them closes its own.
//! A request that is being worked on is never cut off. Where all are, there are a few places more, on
//! which only what tells of life is answered; beyond those, a connection is closed at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client::Client;
use crate::limits::{Limit, Reached};

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    taken: Mutex<Taken>,
    max: usize,
    reached: Arc<Reached>,
}

#[derive(Debug, Default)]
struct Taken {
    seats: BTreeMap<u64, Seat>,
    by_client: BTreeMap<Client, usize>,
    /// Of the seats, those that are not of the reserve.
    ordinary: usize,
    next: u64,
}

#[derive(Debug)]
struct Seat {
    client: Client,
    phase: Phase,
    since: Instant,
    is_reserve: bool,
    cut: Arc<Notify>,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// No request is under way, or its head is not there yet.
    Waiting,
    /// A body is being received, or an answer sent.
    Moving,
    /// This node has a request to work on.
    Working,
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    id: u64,
    pub(crate) client: Client,
    /// Whether only what tells of life is answered on it.
    pub(crate) is_reserve: bool,
    cut: Arc<Notify>,
}

impl Places {
    /// `max` of them, and the reserve.
    pub(crate) fn new(max: usize, reached: Arc<Reached>) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            max,
            reached,
        })
    }

    /// How many there are, those of the reserve included.
    pub(crate) fn count(&self) -> usize {
        self.max + RESERVE
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.lock().seats.len()
    }

    /// A place for a new connection, for which another one may have to go; `None` if there is none.
    pub(crate) fn enter(self: &Arc<Self>, client: Client) -> Option<Place> {
        let mut taken = self.lock();
        let is_reserve = taken.ordinary >= self.max && !self.evict_from(&mut taken, false);
        let reserved = taken.seats.len() - taken.ordinary;
        if is_reserve && reserved >= RESERVE && !self.evict_from(&mut taken, true) {
            drop(taken);
            self.reached.hit(Limit::Connections);
            return None;
        }
        let (id, cut) = (taken.next, Arc::new(Notify::new()));
        taken.next += 1;
        taken.ordinary += usize::from(!is_reserve);
        *taken.by_client.entry(client).or_insert(0) += 1;
        let seat = Seat {
            client,
            phase: Phase::Waiting,
            since: Instant::now(),
            is_reserve,
            cut: Arc::clone(&cut),
        };
        taken.seats.insert(id, seat);
        Some(Place {
            places: Arc::clone(self),
            id,
            client,
            is_reserve,
            cut,
        })
    }

    /// Closes a connection that waits for its client, if there is one.
    pub(crate) fn evict(&self) {
        self.evict_from(&mut self.lock(), false);
    }

    fn evict_from(&self, taken: &mut Taken, is_reserve: bool) -> bool {
        let waiting = taken
            .seats
            .iter()
            .filter(|(_, seat)| seat.phase != Phase::Working && seat.is_reserve == is_reserve);
        let first = waiting.min_by_key(|(id, seat)| {
            let count = taken.by_client.get(&seat.client).copied();
            (std::cmp::Reverse(count), seat.phase, seat.since, **id)
        });
        let Some((&id, _)) = first else {
            return false;
        };
        if let Some(seat) = taken.leave(id) {
            seat.cut.notify_one();
        }
        self.reached.hit(Limit::Evicted);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn leave(&mut self, id: u64) -> Option<Seat> {
        let seat = self.seats.remove(&id)?;
        self.ordinary -= usize::from(!seat.is_reserve);
        if let Some(count) = self.by_client.get_mut(&seat.client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&seat.client);
            }
        }
        Some(seat)
    }
}

impl Place {
    /// What the connection does from now on.
    pub(crate) fn enter(&self, phase: Phase) {
        if let Some(seat) = self.places.lock().seats.get_mut(&self.id) {
            (seat.phase, seat.since) = (phase, Instant::now());
        }
    }

    /// A client met a limit.
    pub(crate) fn hit(&self, limit: Limit) {
        self.places.reached.hit(limit);
    }

    /// Returns when the connection has to go.
    pub(crate) async fn cut(&self) {
        self.cut.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().leave(self.id);
    }
}

/// Places beyond the ordinary ones, for what tells of life: a few tools that look at the node at the
/// same time, several times over.
const RESERVE: usize = 32;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn client(last: u8) -> Client {
        Client::V4([10, 0, 0, last].into())
    }

    fn places(max: usize) -> Arc<Places> {
        Places::new(max, Arc::default())
    }

    fn is_cut(place: &Place) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let cut = pin!(place.cut()).poll(&mut cx).is_ready();
        if cut {
            // For the next time it is asked.
            place.cut.notify_one();
        }
        cut
    }

    fn hits(places: &Places, limit: Limit) -> u64 {
        let mut counts = places.reached.counts();
        counts.find(|(it, _)| *it == limit).unwrap().1
    }

    /// Oldest first, of the one who has most; who is being worked for stays.
    #[test]
    fn who_has_most_gives_way() {
        let places = places(4);
        let lone = places.enter(client(1)).unwrap();
        let crowd: Vec<_> = (0..3).map(|_| places.enter(client(2)).unwrap()).collect();
        crowd[0].enter(Phase::Working);
        crowd[1].enter(Phase::Moving);
        let newcomer = places.enter(client(3)).unwrap();
        assert!(is_cut(&crowd[2]), "the idle one goes first");
        let another = places.enter(client(4)).unwrap();
        assert!(is_cut(&crowd[1]), "then the one that receives or sends");
        assert!(
            ![&lone, &crowd[0], &newcomer, &another]
                .into_iter()
                .any(is_cut)
        );
        let last = places.enter(client(5)).unwrap();
        assert!(is_cut(&lone), "all have one: the oldest of those that wait");
        assert!(!is_cut(&crowd[0]) && !last.is_reserve);
        assert_eq!((places.taken(), hits(&places, Limit::Evicted)), (4, 3));
    }

    /// All are worked for: what comes then is told so, and soon not even that.
    #[test]
    fn who_is_worked_for_is_never_cut() {
        let places = places(2);
        let busy: Vec<_> = (0..2).map(|_| places.enter(client(1)).unwrap()).collect();
        busy.iter().for_each(|place| place.enter(Phase::Working));
        let reserve: Vec<_> = (0..RESERVE)
            .map(|_| places.enter(client(2)).unwrap())
            .collect();
        assert!(reserve.iter().all(|place| place.is_reserve));
        let waits = places.enter(client(3)).unwrap();
        assert!(
            waits.is_reserve && is_cut(&reserve[0]),
            "the reserve as well"
        );
        waits.enter(Phase::Working);
        reserve.iter().for_each(|place| place.enter(Phase::Working));
        assert!(places.enter(client(3)).is_none());
        assert_eq!(hits(&places, Limit::Connections), 1);
        assert!(!busy.iter().chain(&reserve[1..]).any(is_cut));
        drop((reserve, waits));
        busy[0].enter(Phase::Waiting);
        let next = places.enter(client(3)).unwrap();
        assert!(!next.is_reserve && is_cut(&busy[0]));
        drop((busy, next));
        assert_eq!(places.taken(), 0);
        assert!(places.lock().by_client.is_empty());
    }
}
