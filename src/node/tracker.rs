//! What the application asks of the driver, and how writes are followed.

use crate::id::NodeName;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::store::{
    Answered, Copies, Held, Progress, ProgressWatch, ReadFromError, ReplicationError, Tracker,
    Watch, WriteId,
};

/// How a followed write ended.
pub(super) type Outcome = Result<Held, ReplicationError>;

/// How a read that asked others ended.
pub(super) type ReadOutcome = Result<Answered, ReadFromError>;

/// What the application asks of the driver.
#[derive(Debug)]
pub(super) enum Request {
    /// Expel a member.
    Expel(NodeName),
    /// Leave, then stop.
    Leave,
    /// Start a push/pull.
    PushPull,
    /// Ask others for what they hold.
    Read {
        from: Copies,
        reply: oneshot::Sender<ReadOutcome>,
    },
    /// Let a member in again.
    Readmit(NodeName),
    /// Follow a write.
    Watch {
        ticket: u64,
        write: WriteId,
        copies: Copies,
        within: Duration,
        reply: oneshot::Sender<Outcome>,
    },
    /// Look up how far a write has come.
    Progress {
        write: WriteId,
        reply: oneshot::Sender<Progress>,
    },
    /// Stop following.
    Unwatch { ticket: u64 },
}

/// Requests that wait for the driver; more wait in their callers.
pub(super) const REQUESTS_MAX: usize = 1024;

/// Follows writes through the driver. It is there before the node runs, because stores are.
pub(super) struct NodeTracker {
    /// Set when the node starts.
    requests: OnceLock<mpsc::Sender<Request>>,
    within: OnceLock<Duration>,
    tickets: AtomicU64,
    leaving: AtomicBool,
}

impl NodeTracker {
    /// For a node that does not run yet.
    pub(super) fn new() -> Self {
        Self {
            requests: OnceLock::new(),
            within: OnceLock::new(),
            tickets: AtomicU64::new(1),
            leaving: AtomicBool::new(false),
        }
    }

    /// The node runs: writes are followed for `within` from now on.
    pub(super) fn start(&self, requests: mpsc::Sender<Request>, within: Duration) {
        self.within.set(within).expect("a node starts once");
        self.requests.set(requests).expect("a node starts once");
    }

    /// The node begins to leave: what is written from now on would reach nobody.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }
}

impl Tracker for NodeTracker {
    fn watch(&self, write: WriteId, copies: Copies) -> Watch {
        let running = self.requests.get().cloned().zip(self.within.get().copied());
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let (requests, within) = running.ok_or(ReplicationError::NotRunning)?;
            let (reply, outcome) = oneshot::channel();
            let watch = Request::Watch {
                ticket,
                write,
                copies,
                within,
                reply,
            };
            let stopped = |_| ReplicationError::NotRunning;
            requests.send(watch).await.map_err(stopped)?;
            let following = Following {
                requests: Some(requests),
                ticket,
            };
            let outcome = outcome.await.unwrap_or(Err(ReplicationError::NotRunning));
            following.settled();
            outcome
        })
    }

    fn progress(&self, write: WriteId) -> ProgressWatch {
        let requests = self.requests.get().cloned();
        Box::pin(async move {
            let requests = requests.ok_or(ReplicationError::NotRunning)?;
            let (reply, progress) = oneshot::channel();
            let stopped = |_| ReplicationError::NotRunning;
            let request = Request::Progress { write, reply };
            requests.send(request).await.map_err(stopped)?;
            progress.await.map_err(|_| ReplicationError::NotRunning)
        })
    }

    fn has_stopped(&self) -> bool {
        let stopped = self.requests.get().is_some_and(mpsc::Sender::is_closed);
        stopped || self.leaving.load(Ordering::Acquire)
    }
}

/// Stops following when the caller gives up, best effort: the engine stops by itself in the end.
struct Following {
    requests: Option<mpsc::Sender<Request>>,
    ticket: u64,
}

impl Following {
    fn settled(mut self) {
        self.requests = None;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(requests) = &self.requests {
            let ticket = self.ticket;
            let _ = requests.try_send(Request::Unwatch { ticket });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Key, StoreId};

    fn write() -> WriteId {
        WriteId {
            store: StoreId(1),
            key: Key([7; 16]),
            seq: 1,
        }
    }

    #[tokio::test]
    async fn a_write_of_a_node_that_does_not_run_is_not_followed() {
        let tracker = NodeTracker::new();
        let before = tracker.watch(write(), Copies::N(1)).await;
        assert_eq!(before, Err(ReplicationError::NotRunning));

        let (requests, receiver) = mpsc::channel(1);
        tracker.start(requests, Duration::from_secs(1));
        drop(receiver);
        let after = tracker.watch(write(), Copies::N(1)).await;
        assert_eq!(after, Err(ReplicationError::NotRunning));
    }

    #[tokio::test]
    async fn giving_up_stops_following() {
        let tracker = NodeTracker::new();
        let (requests, mut receiver) = mpsc::channel(4);
        tracker.start(requests, Duration::from_secs(1));
        let watch = tokio::spawn(tracker.watch(write(), Copies::N(2)));
        let Some(Request::Watch {
            ticket,
            copies: Copies::N(2),
            ..
        }) = receiver.recv().await
        else {
            panic!("expected a watch");
        };
        watch.abort();
        match receiver.recv().await {
            Some(Request::Unwatch { ticket: given_up }) => assert_eq!(given_up, ticket),
            other => panic!("expected an unwatch, got {other:?}"),
        }
    }
}
