//! An allowance for each of those that others may make up.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::Allowance;

/// How often something may be done for each of many: what one uses up, the others still have. So many are
/// told apart; beyond it nothing is done for a new one until others may be forgotten.
#[derive(Debug)]
pub(crate) struct Allowances<K> {
    max: usize,
    fresh: Allowance,
    each: HashMap<K, Allowance>,
}

impl<K: Eq + Hash> Allowances<K> {
    /// At most `max` that are told apart, with such an allowance each.
    pub(crate) fn new(max: usize, fresh: Allowance) -> Self {
        Self {
            max,
            fresh,
            each: HashMap::new(),
        }
    }

    /// Whether it could be done now.
    pub(crate) fn allows(&mut self, about: &K, now: Duration) -> bool {
        match self.each.get(about) {
            Some(allowance) => allowance.allows(now),
            None => self.has_room(now),
        }
    }

    /// Whether it may be done now; then it counts as done.
    pub(crate) fn take(&mut self, about: K, now: Duration) -> bool {
        (self.each.contains_key(&about) || self.has_room(now))
            && self.each.entry(about).or_insert(self.fresh).take(now)
    }

    /// How many are told apart now.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.each.len()
    }

    /// Makes room where there is none, of what it changes nothing to forget.
    fn has_room(&mut self, now: Duration) -> bool {
        if self.each.len() >= self.max {
            self.each.retain(|_, allowance| !allowance.is_full(now));
        }
        self.each.len() < self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn one_does_not_use_up_what_the_others_may() {
        let mut allowances = Allowances::new(256, Allowance::new(2, EVERY));
        let taken = (0..10).filter(|_| allowances.take("a", at(1000))).count();
        assert_eq!(taken, 2);
        assert!(!allowances.allows(&"a", at(1000)));
        assert!(allowances.take("b", at(1000)));
        assert!(allowances.take("a", at(1060)));
    }

    /// Also where it is only asked whether it could be done.
    #[test]
    fn who_is_told_apart_is_bounded_and_forgotten_again() {
        let mut allowances = Allowances::new(256, Allowance::new(2, EVERY));
        let taken = (0..1000).filter(|n| allowances.take(*n, at(1000)));
        assert_eq!(taken.count(), 256);
        assert!(!allowances.allows(&2000, at(1000)));
        assert!(allowances.allows(&2000, at(1120)));
        assert!(allowances.take(2000, at(1120)));
        assert_eq!(allowances.len(), 1);
    }
}
