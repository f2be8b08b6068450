//! So many at once, and then one every so often.

use std::time::Duration;

/// How often something may be done: `burst` times at once, and once more every `every`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    burst: u32,
    every: Duration,
    left: u32,
    /// Up to when `left` has grown.
    grown: Duration,
}

impl Allowance {
    pub(crate) const fn new(burst: u32, every: Duration) -> Self {
        Self {
            burst,
            every,
            left: burst,
            grown: Duration::ZERO,
        }
    }

    /// Whether it could be done now.
    pub(crate) fn allows(mut self, now: Duration) -> bool {
        self.take(now)
    }

    /// Whether forgetting it changes nothing.
    pub(crate) fn is_full(self, now: Duration) -> bool {
        self.left.saturating_add(self.earned(now)) >= self.burst
    }

    /// Whether it may be done now; then it counts as done.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let grown = self.earned(now);
        self.left = self.left.saturating_add(grown).min(self.burst);
        // What is full does not grow any more: what passed meanwhile is not saved up.
        self.grown = if self.left == self.burst {
            now
        } else {
            self.grown.saturating_add(self.every.saturating_mul(grown))
        };
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }

    /// How often it may be done for the time that has passed.
    fn earned(&self, now: Duration) -> u32 {
        let passed = now.saturating_sub(self.grown);
        let earned = passed.as_nanos() / self.every.as_nanos().max(1);
        u32::try_from(earned).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_one_in_a_while() {
        let secs = Duration::from_secs;
        let mut allowance = Allowance::new(2, secs(5));
        let mut may = |at: u64| allowance.take(secs(at));
        assert_eq!([may(100), may(100), may(100)], [true, true, false]);
        assert_eq!([may(104), may(105), may(109)], [false, true, false]);
        assert_eq!([may(110), may(110)], [true, false]);
        assert_eq!([may(1000), may(1000), may(1000)], [true, true, false]);
    }

    #[test]
    fn what_is_full_can_be_forgotten() {
        let mut allowance = Allowance::new(3, Duration::from_millis(500));
        let mut taken = |seconds| {
            let now = Duration::from_secs(seconds);
            (0..100).filter(|_| allowance.take(now)).count()
        };
        assert_eq!([taken(0), taken(1), taken(1), taken(100)], [3, 2, 0, 3]);
        assert!(!allowance.is_full(Duration::from_secs(101)));
        assert!(allowance.is_full(Duration::from_secs(102)));
    }
}
