//! When this process did not run.
//!
//! Packets that wait in the sockets of a process that is not run have not been late: its peers did
//! answer in time, and the driver takes their answers before it runs the timers that give them up. So
//! a pulse beats, and whoever reads after it has missed some beats takes what waits for what arrived
//! when it last beat.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Beats as long as the process runs.
#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<State>,
    period: Duration,
}

#[derive(Debug)]
struct State {
    beat: Instant,
    /// The last beat before the last pause, and the first one after it.
    paused: Option<(Instant, Instant)>,
}

impl Pulse {
    /// Fine enough for packets that may be so old.
    pub(super) fn new(age_max: Duration) -> Self {
        let state = State {
            beat: Instant::now(),
            paused: None,
        };
        Self {
            state: Mutex::new(state),
            period: (age_max / 4).clamp(PERIOD_MIN, PERIOD_MAX),
        }
    }

    pub(super) async fn run(&self) {
        loop {
            drop(self.beat(Instant::now()));
            sleep(self.period).await;
        }
    }

    fn beat(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().expect("nothing panics under this lock");
        if now.saturating_duration_since(state.beat) > self.period * 2 {
            state.paused = Some((state.beat, now));
        }
        state.beat = state.beat.max(now);
        state
    }

    /// The earliest moment at which something can have arrived that is read `now`, from where nothing
    /// was left at `empty_at`.
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
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        drop(pulse.beat(at(0)));
        drop(pulse.beat(at(100)));
        assert_eq!(pulse.earliest(at(50), at(150)), at(150));
        drop(pulse.beat(at(200)));
        // Read before the pulse beats again, or after: from the last beat on nothing ran.
        assert_eq!(pulse.earliest(at(150), at(1000)), at(200));
        drop(pulse.beat(at(1100)));
        assert_eq!(pulse.earliest(at(150), at(1110)), at(200));
        // What was emptied since, at the end of the pause or later, has received it later.
        assert_eq!(pulse.earliest(at(1000), at(1120)), at(1120));
        // Not longer ago than nothing was there.
        let other = Pulse::new(Duration::from_millis(400));
        drop(other.beat(at(0)));
        assert_eq!(other.earliest(at(30), at(500)), at(30));
    }
}
