//! Entries are removed only once all members hold what takes their place.

use crate::id::{NodeName, Refusal};
use crate::store::tracking::{Copies, ReplicationError};
use crate::store::write::{WriteError, Written};

/// Waits until all members hold a write, those that have failed included.
pub(super) async fn held_by_all(written: &Written) -> Result<(), ForgetError> {
    let held = written.replicated(Copies::All).await;
    let progress = written.progress().await?;
    let (waiting, refused) = match held {
        // Of a large cluster not everything is known any more that has been acknowledged.
        Ok(_) => (Vec::new(), Vec::new()),
        Err(_) => (progress.waiting, progress.refused),
    };
    if waiting.is_empty() && refused.is_empty() && progress.failed.is_empty() {
        return held.map(drop).map_err(ForgetError::from);
    }
    Err(ForgetError::NotAcknowledged {
        waiting,
        refused,
        failed: progress.failed,
    })
}

/// Why not everything was removed that something else stands for. What is read is what it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// Members are not known to hold what was taken over.
    #[error(
        "not acknowledged by all: {waiting:?} are waited for, {refused:?} refused, {failed:?} have failed"
    )]
    NotAcknowledged {
        /// Members that did not say so in time.
        waiting: Vec<NodeName>,
        /// Members that refused it, and why.
        refused: Vec<(NodeName, Refusal)>,
        /// Members that have failed and may come back: until `reconnect_timeout` has passed, or they are back.
        failed: Vec<NodeName>,
    },
    /// The name is this node's own. It takes over from its earlier processes by itself.
    #[error("{name:?} is the name of this node")]
    OwnName {
        /// The name.
        name: NodeName,
    },
    /// It cannot be followed who holds it.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    /// What was taken over could not be written, or an entry could not be removed: what was removed before stays so.
    #[error(transparent)]
    Write(#[from] WriteError),
}
