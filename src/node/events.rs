//! Events and views as the application receives them.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::event::NodeEvent;
use crate::engine::View;

/// The node has stopped: it left, its last handle was dropped, or its driver panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct Stopped;

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

    /// Waits until a view fulfils `condition`, the current one included. Cancel safe.
    ///
    /// # Errors
    /// [`Stopped`] if the node stops before that.
    pub async fn wait_for(
        &mut self,
        mut condition: impl FnMut(&View) -> bool,
    ) -> Result<Arc<View>, Stopped> {
        let found = self.0.wait_for(|view| condition(view)).await;
        found.map(|view| Arc::clone(&view)).map_err(|_| Stopped)
    }
}
