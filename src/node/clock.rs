//! The clocks that the engine is given. Only this file and `net/tls/clock.rs` read any.
//!
//! Monotonic time is tokio's, so that a test that pauses tokio's time pauses the engine with it.
//! Wall time is the system's unless the builder was given another clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::time::{Now, Timestamp, WallClock};

/// The system's wall clock. It may jump, and ignores that tokio's time is paused.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl WallClock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where wall time enters the crate"
    )]
    fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            // A clock before 1970 counts as one at 1970: its writes are older than all others.
            .unwrap_or_default();
        Timestamp::ZERO.plus(since_epoch)
    }
}

/// Both clocks of one node.
#[derive(Clone)]
pub(super) struct Clocks {
    /// What monotonic time counts from.
    start: Instant,
    wall: Arc<dyn WallClock>,
}

impl Clocks {
    /// Monotonic time starts now.
    pub(super) fn start(wall: Arc<dyn WallClock>) -> Self {
        Self { start: now(), wall }
    }

    pub(super) fn now(&self) -> Now {
        Now {
            mono: now() - self.start,
            wall: self.wall.wall(),
        }
    }

    /// When monotonic time will be `mono`; a time that tokio cannot express is a day away, and
    /// asked for again then.
    pub(super) fn instant(&self, mono: Duration) -> Instant {
        self.start
            .checked_add(mono)
            .unwrap_or_else(|| now() + Duration::from_secs(86_400))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where monotonic time is read"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn monotonic_time_follows_paused_time() {
        let clock = Clocks::start(Arc::new(SystemClock));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(clock.now().mono, Duration::from_secs(7));
        assert_eq!(
            clock.instant(Duration::from_secs(9)),
            now() + Duration::from_secs(2)
        );
    }
}
