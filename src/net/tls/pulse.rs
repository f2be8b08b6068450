//! When this process did not run.
//!
//! While a process is stopped or starved, packets wait in its sockets. They are not late: its peers sent
//! them in time, and the driver takes them before it runs the timers that would give these peers up. But
//! how long they waited cannot be seen when they are read.
//!
//! So a task notes the time at short intervals: it beats. A gap between two beats is a pause, in which
//! nothing was read. A packet that is read after a pause, and may have waited through it, is judged as
//! if it had arrived at the last beat before the pause.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::clock;

/// Beats as long as the process runs.
#[derive(Debug)]
pub(super) struct Pulse {
    beats: Mutex<Beats>,
    period: Duration,
}

#[derive(Debug)]
struct Beats {
    /// The last one.
    last: Instant,
    /// The last beat before the last pause, and the first one after it.
    paused: Option<(Instant, Instant)>,
}

impl Pulse {
    /// Beats often enough to judge packets that may be up to `age_max` old.
    pub(super) fn new(age_max: Duration) -> Self {
        let beats = Beats {
            last: clock::now(),
            paused: None,
        };
        Self {
            beats: Mutex::new(beats),
            period: (age_max / 4).clamp(PERIOD_MIN, PERIOD_MAX),
        }
    }

    pub(super) async fn run(&self) {
        loop {
            drop(self.beat(clock::now()));
            sleep(self.period).await;
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
    )]
    fn beat(&self, now: Instant) -> MutexGuard<'_, Beats> {
        let mut beats = self.beats.lock().expect("nothing panics under this lock");
        if now.saturating_duration_since(beats.last) > self.period * 2 {
            beats.paused = Some((beats.last, now));
        }
        beats.last = beats.last.max(now);
        beats
    }

    /// The earliest time at which a packet can have arrived that is read `now` from a connection. At
    /// `empty_at` the connection was last seen to be empty.
    pub(super) fn earliest(&self, empty_at: Instant, now: Instant) -> Instant {
        match self.beat(now).paused {
            Some((before, after)) if empty_at < after => before.max(empty_at),
            _ => now,
        }
    }
}

const PERIOD_MIN: Duration = Duration::from_millis(10);
const PERIOD_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_for_the_process_is_taken_for_what_came_before_it_paused() {
        let pulse = Pulse::new(Duration::from_millis(400));
        let began = clock::now();
        let at = |ms| began + Duration::from_millis(ms);
        drop(pulse.beat(at(0)));
        drop(pulse.beat(at(100)));
        assert_eq!(pulse.earliest(at(50), at(150)), at(150));
        drop(pulse.beat(at(200)));
        // It paused from 200 to 1000 or later, whether it is read before the next beat or after it.
        assert_eq!(pulse.earliest(at(150), at(1000)), at(200));
        drop(pulse.beat(at(1100)));
        assert_eq!(pulse.earliest(at(150), at(1110)), at(200));
        // Seen empty at the end of the pause or later: the packet arrived after that.
        assert_eq!(pulse.earliest(at(1000), at(1120)), at(1120));
        // Seen empty after the last beat: the packet cannot have arrived before that.
        let other = Pulse::new(Duration::from_millis(400));
        drop(other.beat(at(0)));
        assert_eq!(other.earliest(at(30), at(500)), at(30));
    }
}
