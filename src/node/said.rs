//! How often the same is said: a peer decides how often something happens, and must not decide how much is
//! written about it.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// What has been said lately, by what it was about.
#[derive(Debug)]
pub(super) struct Said<K> {
    lately: HashMap<K, Lately>,
}

#[derive(Debug)]
struct Lately {
    at: Duration,
    /// How often it has happened since.
    since: u64,
}

impl<K: Eq + Hash> Said<K> {
    pub(super) fn new() -> Self {
        Self {
            lately: HashMap::new(),
        }
    }

    /// It has happened again. Returns how often since it was last said, if it is to be said now: at most
    /// once in [`SAID_EVERY`].
    pub(super) fn happened(&mut self, about: K, now: Duration) -> Option<u64> {
        if let Some(lately) = self.lately.get_mut(&about) {
            lately.since += 1;
            if now < lately.at + SAID_EVERY {
                return None;
            }
            lately.at = now;
            return Some(std::mem::take(&mut lately.since));
        }
        if self.lately.len() >= SAID_MAX {
            self.lately.retain(|_, known| now < known.at + SAID_EVERY);
        }
        if self.lately.len() >= SAID_MAX {
            return None;
        }
        let lately = Lately { at: now, since: 0 };
        self.lately.insert(about, lately);
        Some(1)
    }
}

/// How much there may be of something: a burst, and then so much a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct SayAllowance {
    burst: f64,
    per_second: f64,
    left: f64,
    at: Duration,
}

impl SayAllowance {
    pub(super) fn new(burst: u32, per_second: f64) -> Self {
        let burst = f64::from(burst);
        Self {
            burst,
            per_second,
            left: burst,
            at: Duration::ZERO,
        }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let earned = now.saturating_sub(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + earned).min(self.burst);
        self.at = self.at.max(now);
        let any = self.left >= 1.0;
        if any {
            self.left -= 1.0;
        }
        any
    }

    /// Whether forgetting it changes nothing.
    pub(super) fn is_full(&self, now: Duration) -> bool {
        let earned = now.saturating_sub(self.at).as_secs_f64() * self.per_second;
        self.left + earned >= self.burst
    }
}

/// The same is said once in this time.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// Different things that are remembered; beyond it nothing else is said until some of them are old. More than
/// there are members, and more than anybody reads.
const SAID_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_with_how_often_it_happened() {
        let mut said = Said::new();
        let at = |millis| Duration::from_millis(millis);
        assert_eq!(said.happened("a", at(0)), Some(1));
        assert_eq!(said.happened("b", at(0)), Some(1));
        let again: Vec<_> = (1..1000)
            .filter_map(|n| said.happened("a", at(n)))
            .collect();
        assert!(again.is_empty());
        assert_eq!(said.happened("a", SAID_EVERY), Some(1000));
        assert_eq!(said.happened("a", SAID_EVERY * 3), Some(1));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut said = Said::new();
        let told = (0..SAID_MAX + 10).filter_map(|n| said.happened(n, Duration::ZERO));
        assert_eq!(told.count(), SAID_MAX);
        assert_eq!(said.happened(usize::MAX, SAID_EVERY), Some(1));
        assert_eq!(said.lately.len(), 1);
    }

    #[test]
    fn an_allowance_is_a_burst_and_a_rate() {
        let mut allowance = SayAllowance::new(3, 2.0);
        let mut taken = |seconds| {
            let now = Duration::from_secs(seconds);
            (0..100).filter(|_| allowance.take(now)).count()
        };
        assert_eq!([taken(0), taken(1), taken(1), taken(100)], [3, 2, 0, 3]);
        assert!(!allowance.is_full(Duration::from_secs(101)));
        assert!(allowance.is_full(Duration::from_secs(102)));
    }
}
