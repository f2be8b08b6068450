//! When the next exchange with a peer is due.

use std::time::Duration;

use crate::engine::core::refusals::{REFUSED_MAX, Refusals};

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
    pub(super) denied: Denied,
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

/// What this node refused of the peer, as the peer knows it. Of very many the peer does not know each, and withholds
/// with them what was never refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Denied {
    count: u64,
    until: Duration,
    backoff: Duration,
}

impl Denied {
    /// How many of them the peer withholds in an exchange that begins now.
    pub(super) fn at(&self, now: Duration) -> u64 {
        if now < self.until { self.count } else { 0 }
    }

    /// Whether it may withhold what was never refused. Its clock may be a little behind.
    pub(super) fn is_too_many(&self, now: Duration) -> bool {
        self.count > REFUSED_MAX as u64 && now < self.until + REFUSED_MIN
    }

    /// An exchange has come to its end in which so many were refused, or withheld for that.
    pub(super) fn completed(&mut self, now: Duration, count: u64, backoff_max: Duration) {
        if count == 0 {
            *self = Self::default();
        } else if now >= self.until {
            self.backoff = (self.backoff * 2).clamp(REFUSED_MIN, backoff_max.max(REFUSED_MIN));
            self.until = now + self.backoff;
        }
        self.count = count;
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

    #[test]
    fn only_where_very_many_were_refused_may_more_be_withheld_and_for_as_long() {
        let max = Duration::from_secs(60);
        let mut denied = Denied::default();
        let mut now = Duration::from_secs(5);
        denied.completed(now, REFUSED_MAX as u64, max);
        assert!(!denied.is_too_many(now));
        // In the next one those are withheld, and one more is refused.
        let before = denied.at(now);
        denied.completed(now, before + 1, max);
        assert!(denied.is_too_many(now));
        now += REFUSED_MIN * 2;
        assert_eq!(denied.at(now), 0, "all is sent again");
        assert!(!denied.is_too_many(now));
        denied.completed(now, 10, max);
        assert!(!denied.is_too_many(now));
    }
}
