//! When the next exchange with a peer is due.

use std::time::Duration;

use crate::engine::core::refusals::Refusals;

/// The next exchange with one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Due {
    /// None is owed: the peer lacks nothing that is not sent to it.
    pub(super) synced: bool,
    /// When it is due, if one is owed.
    pub(super) next: Duration,
    pub(super) backoff: Duration,
    /// Because roots differed.
    pub(super) found: bool,
    pub(super) withheld: Withheld,
}

/// What the peer refused in the last exchange. It is not sent again at once: the peer has no more room, and
/// its clock is no further, than a moment ago.
#[derive(Clone, Debug, Default)]
pub(super) struct Withheld {
    pub(super) refusals: Refusals,
    until: Duration,
    backoff: Duration,
}

impl Withheld {
    /// Until when.
    pub(super) fn until(&self) -> Duration {
        self.until
    }
}

impl Due {
    /// One is owed from now on.
    pub(super) fn at(&mut self, next: Duration) {
        self.synced = false;
        self.next = next;
    }

    /// One has come to its end. `backoff_max` is how long what was refused is withheld at most.
    pub(super) fn completed(&mut self, now: Duration, ended: Ended, backoff_max: Duration) {
        self.synced = ended.covered;
        self.backoff = Duration::ZERO;
        let withheld = &mut self.withheld;
        if ended.refused.is_empty() && !ended.fruitless {
            *withheld = Withheld::default();
        } else if now >= withheld.until {
            withheld.backoff =
                (withheld.backoff * 2).clamp(REFUSED_MIN, backoff_max.max(REFUSED_MIN));
            withheld.until = now + withheld.backoff;
        }
        withheld.refusals = ended.refused;
        if !ended.covered {
            self.next = if ended.fruitless { withheld.until } else { now };
        }
    }

    /// What is not to be sent in an exchange that begins now.
    pub(super) fn withheld(&self, now: Duration) -> Refusals {
        if now < self.withheld.until {
            self.withheld.refusals.clone()
        } else {
            Refusals::default()
        }
    }
}

/// How an exchange has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// It covers all that was left to exchanges.
    pub(super) covered: bool,
    /// It has moved nothing but what was refused.
    pub(super) fruitless: bool,
    /// What the peer refused, or would have.
    pub(super) refused: Refusals,
}

/// How long what was refused is withheld the first time.
const REFUSED_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Key, Refusal, StoreId};

    fn ended(refusals: u8, fruitless: bool) -> Ended {
        let mut refused = Refusals::default();
        for n in 0..refusals {
            refused.add(((StoreId(1), Key([n; 16])), 1), Refusal::Full);
        }
        Ended {
            covered: false,
            fruitless,
            refused,
        }
    }

    #[test]
    fn what_was_refused_is_withheld_for_twice_as_long_each_time() {
        let (mut due, secs) = (Due::default(), Duration::from_secs);
        let mut now = Duration::ZERO;
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            due.completed(now, ended(3, true), secs(60));
            assert_eq!(due.next, now + secs(wait));
            let just_before = now + secs(wait) - Duration::from_nanos(1);
            assert!(!due.withheld(just_before).is_empty());
            // One in between, as the peer begins them, changes nothing.
            due.completed(just_before, ended(3, true), secs(60));
            now += secs(wait);
            assert!(due.withheld(now).is_empty());
        }
        // What moves something is gone on with at once.
        due.completed(now, ended(3, false), secs(60));
        assert_eq!(due.next, now);
        due.completed(now, ended(0, false), secs(60));
        due.completed(now, ended(1, true), secs(60));
        assert_eq!(due.next, now + secs(1));
    }
}
