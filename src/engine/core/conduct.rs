//! Members that misbehave are named: each kind is counted, and told once a minute for each member.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{Misbehaviour, NodeName};

/// Who was named for what lately.
#[derive(Debug, Default)]
pub(in crate::engine) struct Conduct {
    named: BTreeMap<(NodeName, Misbehaviour), Named>,
    of_entries: EntryEvents,
}

/// How many events about single entries may be told: members decide how many there are.
#[derive(Debug)]
struct EntryEvents {
    left: u32,
    since: Duration,
}

impl Default for EntryEvents {
    fn default() -> Self {
        Self {
            left: ENTRY_EVENTS_AT_ONCE,
            since: Duration::ZERO,
        }
    }
}

#[derive(Debug)]
struct Named {
    /// When it was last told, on the monotonic clock.
    told: Duration,
    /// How often it has happened since.
    since: u64,
}

impl Conduct {
    /// A member has misbehaved once more. Returns how often since it was last told, if it is to be told now:
    /// the first time is told at once, and what follows within [`NAMED_EVERY`] together, with the first time
    /// after it.
    pub(in crate::engine) fn note(
        &mut self,
        now: Duration,
        peer: &NodeName,
        kind: Misbehaviour,
    ) -> Option<u64> {
        let key = (peer.clone(), kind);
        if let Some(named) = self.named.get_mut(&key) {
            named.since += 1;
            if now < named.told + NAMED_EVERY {
                return None;
            }
            named.told = now;
            return Some(std::mem::take(&mut named.since));
        }
        if self.named.len() >= NAMED_MAX {
            self.named.retain(|_, named| now < named.told + NAMED_EVERY);
        }
        // Beyond that, what happens is counted but not told.
        if self.named.len() >= NAMED_MAX {
            return None;
        }
        let named = Named {
            told: now,
            since: 0,
        };
        self.named.insert(key, named);
        Some(1)
    }

    /// Whether an event about a single entry may be told, which then counts as told.
    pub(in crate::engine) fn may_tell_of_entry(&mut self, now: Duration) -> bool {
        let events = &mut self.of_entries;
        let passed = now.saturating_sub(events.since);
        let more = passed.as_millis() * u128::from(ENTRY_EVENTS_A_SECOND) / 1000;
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            events.left = events.left.saturating_add(more).min(ENTRY_EVENTS_AT_ONCE);
            events.since = now;
        }
        let may = events.left > 0;
        events.left -= u32::from(may);
        may
    }
}

/// How often a member is named for one kind of misbehaviour.
const NAMED_EVERY: Duration = Duration::from_secs(60);
/// Events about single entries.
const ENTRY_EVENTS_AT_ONCE: u32 = 1024;
const ENTRY_EVENTS_A_SECOND: u32 = 256;
/// Most members and kinds that are remembered.
const NAMED_MAX: usize = 4096;

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
        core.now.mono += NAMED_EVERY;
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
            (0..5_000)
                .filter(|_| conduct.may_tell_of_entry(now))
                .count()
        };
        assert_eq!(tell(1, 0), 1024);
        assert_eq!(tell(1, 0), 0);
        assert_eq!(tell(1, 500), 128);
        assert_eq!(tell(3_600, 0), 1024);
    }

    #[test]
    fn who_is_remembered_is_bounded() {
        let (mut conduct, start) = (Conduct::default(), Duration::from_secs(9));
        let mut note = |now, n: usize| conduct.note(now, &name(&format!("n{n}")), BreaksExchanges);
        let told = (0..NAMED_MAX + 10).filter(|&n| note(start, n).is_some());
        assert_eq!(told.count(), NAMED_MAX);
        assert_eq!(note(start + NAMED_EVERY, NAMED_MAX + 20), Some(1));
        assert_eq!(conduct.named.len(), 1);
    }
}
