//! Members that misbehave are named: each kind is counted, and told once a minute for each member.

use std::time::Duration;

use crate::id::{Misbehaviour, NodeName};
use crate::time::{Allowance, Said};

/// Who was named for what lately.
#[derive(Debug)]
pub(in crate::engine) struct Conduct {
    named: Said<(NodeName, Misbehaviour)>,
    /// Events of which members decide how many there are.
    events: Allowance,
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            named: Said::new(NAMED_MAX),
            events: Allowance::new(EVENTS_AT_ONCE, EVENTS_EVERY),
        }
    }
}

impl Conduct {
    /// A member has misbehaved once more. Returns how often since it was last told, if it is to be told now.
    pub(in crate::engine) fn note(
        &mut self,
        now: Duration,
        peer: &NodeName,
        kind: Misbehaviour,
    ) -> Option<u64> {
        self.named.happened((peer.clone(), kind), now)
    }

    /// Whether an event of which members decide how many there are may be told; then it counts as told.
    pub(in crate::engine) fn may_tell(&mut self, now: Duration) -> bool {
        self.events.take(now)
    }
}

/// Most members and kinds that are remembered. Beyond it, what happens is counted but not told.
const NAMED_MAX: usize = 4096;
/// How many events there may be at once, and how often in the long run.
const EVENTS_AT_ONCE: u32 = 1024;
const EVENTS_EVERY: Duration = Duration::from_nanos(1_000_000_000 / 256);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::{core, name, take_events};
    use crate::engine::event::Event;
    use crate::id::Misbehaviour::{BreaksExchanges, InventsMembers};

    #[test]
    fn a_member_is_named_once_a_minute_for_each_kind() {
        let mut core = core();
        for _ in 0..1000 {
            core.misbehaved(&name("b"), BreaksExchanges);
        }
        core.misbehaved(&name("b"), InventsMembers);
        core.now.mono += Duration::from_secs(60);
        core.misbehaved(&name("b"), BreaksExchanges);
        let told = take_events(&mut core).into_iter().map(|event| match event {
            Event::MemberMisbehaved { kind, times, .. } => (kind, times),
            other => panic!("{other:?}"),
        });
        let expected = [
            (BreaksExchanges, 1),
            (InventsMembers, 1),
            (BreaksExchanges, 1000),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert_eq!(core.counters.misbehaved_breaks_exchanges, 1001);
    }

    #[test]
    fn of_many_entries_some_are_told_of() {
        let mut conduct = Conduct::default();
        let mut tell = |secs: u64, millis| {
            let now = Duration::from_secs(secs) + Duration::from_millis(millis);
            (0..5_000).filter(|_| conduct.may_tell(now)).count()
        };
        assert_eq!(tell(1, 0), 1024);
        assert_eq!(tell(1, 0), 0);
        assert_eq!(tell(1, 500), 128);
        assert_eq!(tell(3_600, 0), 1024);
    }
}
