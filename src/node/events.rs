//! Events and views as the application receives them.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::event::NodeEvent;
use crate::engine::View;
use crate::id::NodeName;

/// The node has stopped: it left, its last handle was dropped, or its driver panicked. Or it was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped, or was not started")]
pub struct Stopped;

/// Why a node is not ready, and will not be by waiting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadyError {
    /// Another live node has this node's name, and no member lets this one in.
    #[error("another live node is named {name:?}, at {addr}: give this one a name of its own")]
    NameTaken {
        /// The name.
        name: NodeName,
        /// Where the other one is reached.
        addr: SocketAddr,
    },
    /// The node stopped before it was ready.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a leave was not a clean one. The node has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// The node had stopped already, by a leave or otherwise.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Within half of `leave_timeout` no member was known to hold all that this node held: unless one does, these
    /// entries are lost.
    #[error("the node has left, and no member is known to hold {entries} of its entries")]
    Unsent {
        /// How many, at most.
        entries: usize,
    },
}

/// How [`Node::run_until`](super::Node::run_until) ended. The node has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunOutcome<T> {
    /// The future completed with this, and the node has left.
    Left(T),
    /// The node had stopped before the future completed: it left at another handle's word, or its driver panicked.
    Stopped,
    /// The future completed with this, and the node has left, but no member is known to hold some of its entries:
    /// see [`LeaveError::Unsent`].
    Unsent {
        /// What the future returned.
        because: T,
        /// How many entries, at most.
        entries: usize,
    },
}

/// Why there is no next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// The receiver was too slow: the oldest events are lost. The next call goes on with the
    /// oldest that is left; the view tells what is true now.
    #[error("{lost} events were lost")]
    Lagged {
        /// How many.
        lost: u64,
    },
    /// The node has stopped, and all of its events were received.
    #[error("the node has stopped")]
    Stopped,
}

/// Events since this was made. At most 1024 wait; then the oldest are lost, visibly.
///
/// What happens to entries and exchanges ([`EntryQuarantined`](crate::Event::EntryQuarantined),
/// [`EntryRefused`](crate::Event::EntryRefused), `PushPull...`, [`StoreMissing`](crate::Event::StoreMissing),
/// [`NameConflict`](crate::Event::NameConflict)) is told up to 128 at once and then 16 a second for each
/// kind and peer, 512 and 64 for all: a peer decides how many there are, and they must not push out the
/// others. What is withheld is counted as `events_withheld`.
#[derive(Debug)]
pub struct Events(pub(super) broadcast::Receiver<NodeEvent>);

impl Events {
    /// The next event. Cancel safe.
    ///
    /// # Errors
    /// [`EventsError::Lagged`] once per gap; [`EventsError::Stopped`] at the end, for ever.
    pub async fn recv(&mut self) -> Result<NodeEvent, EventsError> {
        self.0.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(lost) => EventsError::Lagged { lost },
            broadcast::error::RecvError::Closed => EventsError::Stopped,
        })
    }
}

/// The view as it changes: intermediate views may be skipped, the latest never is.
#[derive(Clone, Debug)]
pub struct Views(pub(super) watch::Receiver<Arc<View>>);

impl Views {
    /// The latest view, also after the node has stopped.
    #[must_use]
    pub fn current(&self) -> Arc<View> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits for a view that this has not returned yet. Cancel safe.
    ///
    /// # Errors
    /// [`Stopped`]: there will be no other view.
    pub async fn changed(&mut self) -> Result<Arc<View>, Stopped> {
        self.0.changed().await.map_err(|_| Stopped)?;
        Ok(Arc::clone(&self.0.borrow_and_update()))
    }

    /// Waits until a view fulfils `condition`, the current one included; views that are replaced before it has looked
    /// are skipped. `condition` may take its time and may use the node: no lock is held while it runs. Cancel safe.
    ///
    /// # Errors
    /// [`Stopped`] if the node stops before that.
    pub async fn wait_for(
        &mut self,
        mut condition: impl FnMut(&View) -> bool,
    ) -> Result<Arc<View>, Stopped> {
        loop {
            // A copy: the caller's code must not run under the lock that the node publishes views by.
            let view = Arc::clone(&self.0.borrow_and_update());
            if condition(&view) {
                return Ok(view);
            }
            self.0.changed().await.map_err(|_| Stopped)?;
        }
    }
}
