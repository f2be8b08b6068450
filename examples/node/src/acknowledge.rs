//! When a client is answered that has sent alerts or changed a silence: once all live members hold
//! that, and no later than after a second.

use std::time::Duration;

use rumormill::store::{ReplicationError, Written};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::app::App;

/// Waits until all live members hold what was written, all of it at once, and no longer than
/// [`WAIT_MAX`]. Returns whether they do. Alone, there is nothing to wait for.
pub(crate) async fn by_all(app: &App, mut written: Vec<Written>) -> bool {
    let Some(node) = app.node() else {
        return true;
    };
    let until = Instant::now() + WAIT_MAX;
    let mut all = true;
    while !written.is_empty() {
        let copies = node.view().live().count();
        if copies == 0 {
            return all;
        }
        let rest = written.split_off(written.len().min(TOGETHER_MAX));
        match timeout_at(until, held_by(copies, written)).await {
            Ok(held) => all &= held,
            Err(_) => return false,
        }
        written = rest;
    }
    all
}

/// Waits until what was written is on this node's disk. A disk may take long: nothing that others wait for is to be held
/// meanwhile.
///
/// # Errors
/// It is not known to be; it stands all the same, and reaches the other nodes.
pub(crate) async fn on_disk(written: &Written) -> Result<(), ReplicationError> {
    match timeout(DISK_MAX, written.durable()).await {
        Ok(Err(error @ (ReplicationError::NotDurable | ReplicationError::Timeout { .. }))) => {
            Err(error)
        }
        Err(_) => Err(ReplicationError::NotDurable),
        // What is written before the node runs, or while it ends, is in the database, or in the snapshot, of the end.
        Ok(_) => Ok(()),
    }
}

/// Whether so many others hold all of it, or all of them that are left.
async fn held_by(copies: usize, written: Vec<Written>) -> bool {
    let mut watches = JoinSet::new();
    for write in written {
        watches.spawn(async move {
            let mut copies = copies;
            loop {
                match write.replicated(copies).await {
                    // Some have left or died meanwhile.
                    Err(ReplicationError::TooFewMembers { members, .. }) if members < copies => {
                        copies = members;
                        if copies == 0 {
                            return true;
                        }
                    }
                    outcome => return outcome.is_ok(),
                }
            }
        });
    }
    let mut all = true;
    while let Some(held) = watches.join_next().await {
        all &= held.unwrap_or(false);
    }
    all
}

/// How long a client waits for the disk.
const DISK_MAX: Duration = Duration::from_secs(3);
/// How long a client waits at most.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Writes that are followed at a time: more than one ordinary request has, and a quarter of what a node
/// follows in all.
const TOGETHER_MAX: usize = 4096;
