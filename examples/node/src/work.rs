//! Whose turn it is: how many requests are worked on at a time, and for how long each may be.
//!
//! What may take more than a look runs on threads of its own, with a [`Turn`] that it holds to its
//! end, even if its client is gone by then: so there is never more of it than there are turns.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::client::Client;
use crate::limits::{Limit, Reached};
use crate::room::Room;

/// The turns of all requests.
#[derive(Debug)]
pub(crate) struct Work {
    reads: Arc<Semaphore>,
    pub(crate) reads_max: usize,
    writes: Arc<Semaphore>,
    /// Those that wait for a turn to write.
    queue: Arc<Room>,
    reloads: Arc<Semaphore>,
    reached: Arc<Reached>,
}

/// The right to work on a request.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
    until: Instant,
    reached: Arc<Reached>,
}

/// There is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// A request took more work than one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overrun;

impl Work {
    /// As many turns to read as are given, and to write as there are processors, but at least two.
    pub(crate) fn new(reads_max: usize, reached: Arc<Reached>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, |it| it.get().max(2));
        Self {
            reads: Arc::new(Semaphore::new(reads_max)),
            reads_max,
            writes: Arc::new(Semaphore::new(cores)),
            queue: Room::new(QUEUE_MAX, 0),
            reloads: Arc::new(Semaphore::new(1)),
            reached,
        }
    }

    /// A turn to read, now or not at all: Alertmanager has it so.
    pub(crate) fn read(&self) -> Result<Turn, Busy> {
        let permit = Arc::clone(&self.reads).try_acquire_owned();
        permit.map(|it| self.turn(it)).map_err(|_| Busy)
    }

    /// How many read.
    pub(crate) fn reading(&self) -> usize {
        self.reads_max - self.reads.available_permits()
    }

    /// A turn to write, for which a client may have to wait for a while.
    pub(crate) async fn write(&self, client: Client) -> Result<Turn, Busy> {
        let mut waits = self.queue.enter(client);
        if waits.grow(1)
            && let Ok(Ok(permit)) =
                timeout(WAIT_MAX, Arc::clone(&self.writes).acquire_owned()).await
        {
            return Ok(self.turn(permit));
        }
        self.reached.hit(Limit::Writes);
        Err(Busy)
    }

    /// The turn to read the configuration again: there is one.
    pub(crate) fn reload(&self) -> Result<Turn, Busy> {
        let permit = Arc::clone(&self.reloads).try_acquire_owned();
        permit.map(|it| self.turn(it)).map_err(|_| {
            self.reached.hit(Limit::Reloads);
            Busy
        })
    }

    fn turn(&self, permit: OwnedSemaphorePermit) -> Turn {
        Turn {
            _permit: permit,
            until: Instant::now() + WORK_MAX,
            reached: Arc::clone(&self.reached),
        }
    }
}

impl Turn {
    /// Whether the work may go on; asked between its parts, none of which takes long.
    pub(crate) fn goes_on(&self) -> Result<(), Overrun> {
        if Instant::now() < self.until {
            return Ok(());
        }
        self.reached.hit(Limit::WorkTime);
        Err(Overrun)
    }
}

/// Requests that wait for their turn to write, of all clients; a turn is a few milliseconds.
const QUEUE_MAX: usize = 128;
/// How long they wait: less than Prometheus does, which gives up after ten seconds.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long one request may be worked on. A listing of 1,000 alerts against 10,000 silences takes
/// half a second at the first time.
const WORK_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Client {
        Client::V4([10, 0, 0, last].into())
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_to_write_are_few() {
        let work = Arc::new(Work::new(1, Arc::default()));
        let mut held = Vec::new();
        while work.writes.available_permits() > 0 {
            held.push(work.write(client(1)).await.unwrap());
        }
        let asking = |client| {
            let work = Arc::clone(&work);
            tokio::spawn(async move { work.write(client).await.is_ok() })
        };
        let queue: Vec<_> = (0..QUEUE_MAX / 2).map(|_| asking(client(1))).collect();
        tokio::task::yield_now().await;
        assert!(
            !asking(client(1)).await.unwrap(),
            "half of the queue is theirs"
        );
        let other = asking(client(2));
        tokio::task::yield_now().await;
        held.clear();
        assert!(
            other.await.unwrap(),
            "others wait for their turn, and get it"
        );
        for one in queue {
            assert!(one.await.unwrap());
        }
        // Who has waited for too long is told so.
        while work.writes.available_permits() > 0 {
            held.push(work.write(client(1)).await.unwrap());
        }
        assert_eq!(work.write(client(2)).await.unwrap_err(), Busy);
        assert_eq!(work.queue.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends() {
        let work = Work::new(1, Arc::default());
        let turn = work.read().unwrap();
        assert!(work.read().is_err() && work.reading() == 1);
        assert_eq!(turn.goes_on(), Ok(()));
        tokio::time::advance(WORK_MAX).await;
        assert_eq!(turn.goes_on(), Err(Overrun));
    }
}
