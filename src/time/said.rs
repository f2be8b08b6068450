//! How often the same is said: a peer decides how often something happens, and must not decide how much is
//! written about it.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// What has been said lately, by what it was about.
#[derive(Debug)]
pub(crate) struct Said<K> {
    max: usize,
    lately: HashMap<K, Lately>,
}

#[derive(Debug)]
struct Lately {
    at: Duration,
    /// How often it has happened since.
    since: u64,
}

impl<K: Eq + Hash> Said<K> {
    /// At most so many different things are remembered: beyond it nothing else is said until some of them
    /// are old.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            lately: HashMap::new(),
        }
    }

    /// It has happened again. Returns how often since it was last said, if it is to be said now: at most
    /// once in [`SAID_EVERY`].
    pub(crate) fn happened(&mut self, about: K, now: Duration) -> Option<u64> {
        if let Some(lately) = self.lately.get_mut(&about) {
            lately.since += 1;
            if now < lately.at + SAID_EVERY {
                return None;
            }
            lately.at = now;
            return Some(std::mem::take(&mut lately.since));
        }
        if self.lately.len() >= self.max {
            self.lately.retain(|_, known| now < known.at + SAID_EVERY);
        }
        if self.lately.len() >= self.max {
            return None;
        }
        let lately = Lately { at: now, since: 0 };
        self.lately.insert(about, lately);
        Some(1)
    }
}

/// The same is said once in this time.
const SAID_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_with_how_often_it_happened() {
        let mut said = Said::new(9);
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
        let mut said = Said::new(50);
        let told = (0..60).filter_map(|n| said.happened(n, Duration::ZERO));
        assert_eq!(told.count(), 50);
        assert_eq!(said.happened(usize::MAX, SAID_EVERY), Some(1));
        assert_eq!(said.lately.len(), 1);
    }
}
