//! How fast a frame has to arrive, from its first byte on.

use std::time::Duration;

/// What has arrived of a frame, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct FramePace {
    /// When it began; put off by what it had to wait for on this side.
    began: Duration,
    grace: Duration,
    received: usize,
    last: Duration,
    crumbs: u32,
}

impl FramePace {
    /// A frame began. It may be behind the least speed by `grace`.
    pub(super) fn new(now: Duration, grace: Duration) -> Self {
        Self {
            began: now,
            grace,
            received: 0,
            last: now,
            crumbs: 0,
        }
    }

    /// When the next byte must have come. What is spun out is not waited for as long as a network that
    /// has trouble.
    pub(super) fn deadline(&self) -> Duration {
        let earned = self.received as f64 / f64::from(FRAME_SPEED_MIN);
        let grace = if self.is_spun_out() {
            self.grace.min(SPUN_OUT_GRACE)
        } else {
            self.grace
        };
        self.began + grace + Duration::from_secs_f64(earned)
    }

    /// So many bytes came; `last` if they were the last ones.
    pub(super) fn arrived(&mut self, now: Duration, bytes: usize, last: bool) {
        let waited = now.saturating_sub(self.last);
        if !last && bytes < CRUMB_BYTES && waited >= CRUMB_WAIT {
            self.crumbs += 1;
        }
        self.received += bytes;
        self.last = now;
    }

    /// For so long nothing was read because this side had no room.
    pub(super) fn held_up(&mut self, since: Duration, now: Duration) {
        self.began += now.saturating_sub(since);
        self.last = now;
    }

    /// Whether its sender spins it out. A frame is written at once, and TCP sends what it has in segments of
    /// 536 bytes and more, however lossy the network is; one that comes in crumbs was written so.
    pub(super) fn is_spun_out(&self) -> bool {
        self.crumbs >= CRUMBS_MIN
    }
}

/// Bytes a second that a frame must keep up, beyond `tcp_timeout`.
pub(super) const FRAME_SPEED_MIN: u32 = 64 << 10;
/// By how much a frame that is spun out may be behind.
const SPUN_OUT_GRACE: Duration = Duration::from_secs(2);
/// Less than a segment.
const CRUMB_BYTES: usize = 256;
/// What comes sooner after what came before may be the other part of a segment.
const CRUMB_WAIT: Duration = Duration::from_millis(50);
/// One or two are where a frame begins within a segment.
const CRUMBS_MIN: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_deadline_moves_with_what_has_arrived_and_with_what_held_it_up() {
        let mut pace = FramePace::new(millis(500), millis(1000));
        assert_eq!(pace.deadline(), millis(1500));
        pace.arrived(millis(600), FRAME_SPEED_MIN as usize, false);
        assert_eq!(pace.deadline(), millis(2500));
        pace.held_up(millis(600), millis(900));
        assert_eq!(pace.deadline(), millis(2800));
    }

    #[test]
    fn only_crumbs_that_keep_coming_are_spun_out() {
        let mut pace = FramePace::new(millis(0), millis(1000));
        for n in 1..=7 {
            pace.arrived(millis(n * 100), 1, false);
        }
        // A segment, the rest of one, and the end of the frame.
        pace.arrived(millis(1000), 1460, false);
        pace.arrived(millis(1001), 10, false);
        pace.arrived(millis(2000), 10, true);
        assert!(!pace.is_spun_out());
        assert!(pace.deadline() > millis(1000));
        pace.arrived(millis(3000), 1, false);
        assert!(pace.is_spun_out());
        let mut pace = FramePace::new(millis(0), millis(60_000));
        (1..=8).for_each(|n| pace.arrived(millis(n * 100), 1, false));
        assert!(pace.deadline() < millis(2001));
    }
}
