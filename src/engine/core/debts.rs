//! Work that members have had done, and when it is made up for.
//!
//! The engine reads no clock: work is in nominal time. A member may have one part in so many of the time that
//! passes, and so much ahead of it. It is charged by name, whatever its boot.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::NodeName;

/// What members have had done.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) struct Debts {
    share: u32,
    ahead: Duration,
    /// When the work of each is made up for. Bounded by the members.
    made_up: BTreeMap<NodeName, Duration>,
}

impl Debts {
    /// A member may have one part in `share` of the time that passes, and `ahead` of it at once, which is
    /// counted in the time that makes up for it.
    pub(in crate::engine) const fn new(share: u32, ahead: Duration) -> Self {
        Self {
            share,
            ahead,
            made_up: BTreeMap::new(),
        }
    }

    /// More work was done for a member.
    pub(in crate::engine) fn charge(&mut self, now: Duration, name: &NodeName, work: Duration) {
        if work.is_zero() {
            return;
        }
        let work = work.saturating_mul(self.share);
        match self.made_up.get_mut(name) {
            Some(made_up) => *made_up = now.max(*made_up).saturating_add(work),
            None => drop(self.made_up.insert(name.clone(), now.saturating_add(work))),
        }
    }

    /// From when on a member may have more work done: a time that has passed if it may now.
    pub(in crate::engine) fn free_at(&self, name: &NodeName) -> Duration {
        let made_up = self.made_up.get(name).copied().unwrap_or_default();
        made_up.saturating_sub(self.ahead)
    }

    /// A member is not in the table any more.
    pub(in crate::engine) fn forget(&mut self, name: &NodeName) {
        self.made_up.remove(name);
    }

    /// How many members have been charged.
    #[cfg(any(test, feature = "sim"))]
    pub(in crate::engine) fn len(&self) -> usize {
        self.made_up.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::name;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn work_is_made_up_for_by_the_time_that_passes() {
        let (mut debts, start) = (Debts::new(8, MS * 10_000), MS * 100_000);
        // Ten times a second for a minute: a tenth of the time is within an eighth.
        for tenths in 0..600 {
            let now = start + MS * 100 * tenths;
            debts.charge(now, &name("a"), MS * 10);
            assert!(debts.free_at(&name("a")) <= now);
        }
        // All at once it is not, beyond what it may have ahead.
        let (now, mut bought) = (start * 2, 0);
        while debts.free_at(&name("a")) <= now {
            debts.charge(now, &name("a"), MS * 10);
            bought += 1;
        }
        assert_eq!(bought, 126);
        assert_eq!(debts.free_at(&name("b")), Duration::ZERO);
        debts.forget(&name("a"));
        assert_eq!(debts.len(), 0);
    }
}
