//! When the next exchange with a peer is due.

use std::time::Duration;

/// The next exchange with one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Due {
    /// None is owed: the peer lacks nothing that is not sent to it.
    pub(super) synced: bool,
    /// When it is due, if one is owed.
    pub(super) next: Duration,
    pub(super) backoff: Duration,
}

impl Due {
    /// One is owed from now on.
    pub(super) fn at(&mut self, next: Duration) {
        self.synced = false;
        self.next = next;
    }

    /// One has come to its end.
    pub(super) fn completed(&mut self, now: Duration, covered: bool) {
        self.synced = covered;
        self.backoff = Duration::ZERO;
        if !covered {
            self.next = now;
        }
    }
}
