//! Members that misbehave are named: each kind is counted, and told once a minute for each member.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::event::Event;
use crate::id::{Misbehaviour, NodeName};

use super::Core;

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

impl Core {
    /// A member has done what no member of this version does. Members alone are named: what strangers
    /// send is counted elsewhere.
    ///
    /// The first time is told at once. What follows within [`NAMED_EVERY`] is told together, with the
    /// first time after it.
    pub(in crate::engine) fn misbehaved(&mut self, peer: &NodeName, kind: Misbehaviour) {
        *self.counters.misbehaved(kind) += 1;
        let now = self.now.mono;
        let known = &mut self.conduct.named;
        if let Some(named) = known.get_mut(&(peer.clone(), kind)) {
            named.since += 1;
            if now < named.told + NAMED_EVERY {
                return;
            }
            let times = std::mem::take(&mut named.since);
            named.told = now;
            self.tell_misbehaved(peer, kind, times);
            return;
        }
        if known.len() >= NAMED_MAX {
            known.retain(|_, named| now < named.told + NAMED_EVERY);
        }
        // Beyond that, what happens is counted but not told.
        if known.len() < NAMED_MAX {
            let named = Named {
                told: now,
                since: 0,
            };
            known.insert((peer.clone(), kind), named);
            self.tell_misbehaved(peer, kind, 1);
        }
    }

    /// Tells of a single entry, unless too many were told of lately.
    pub(in crate::engine) fn emit_of_entry(&mut self, event: Event) {
        let events = &mut self.conduct.of_entries;
        let passed = self.now.mono.saturating_sub(events.since);
        let more = passed.as_millis() * u128::from(ENTRY_EVENTS_A_SECOND) / 1000;
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            events.left = events.left.saturating_add(more).min(ENTRY_EVENTS_AT_ONCE);
            events.since = self.now.mono;
        }
        if events.left > 0 {
            events.left -= 1;
            self.emit(event);
        }
    }

    fn tell_misbehaved(&mut self, peer: &NodeName, kind: Misbehaviour, times: u64) {
        let peer = peer.clone();
        self.emit(Event::MemberMisbehaved { peer, kind, times });
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
    use crate::id::Misbehaviour::{BreaksExchanges, InventsMembers};

    fn told(core: &mut Core) -> Vec<(Misbehaviour, u64)> {
        take_events(core)
            .into_iter()
            .filter_map(|event| match event {
                Event::MemberMisbehaved { kind, times, .. } => Some((kind, times)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_member_is_named_once_a_minute_for_each_kind() {
        let mut core = core();
        for _ in 0..1000 {
            core.misbehaved(&name("b"), BreaksExchanges);
        }
        core.misbehaved(&name("b"), InventsMembers);
        assert_eq!(told(&mut core), [(BreaksExchanges, 1), (InventsMembers, 1)]);
        assert_eq!(core.counters.misbehaved_breaks_exchanges, 1000);
        core.now.mono += NAMED_EVERY;
        core.misbehaved(&name("b"), BreaksExchanges);
        assert_eq!(told(&mut core), [(BreaksExchanges, 1000)]);
    }

    #[test]
    fn of_many_entries_some_are_told_of() {
        let mut core = core();
        let tell = |core: &mut Core| {
            (0..5_000).for_each(|_| core.emit_of_entry(Event::CommitFailed));
            take_events(core).len()
        };
        assert_eq!(tell(&mut core), 1024);
        assert_eq!(tell(&mut core), 0);
        core.now.mono += Duration::from_millis(500);
        assert_eq!(tell(&mut core), 128);
        core.now.mono += Duration::from_secs(3_600);
        assert_eq!(tell(&mut core), 1024);
    }

    #[test]
    fn who_is_remembered_is_bounded() {
        let mut core = core();
        for n in 0..NAMED_MAX + 10 {
            core.misbehaved(&name(&format!("n{n}")), BreaksExchanges);
        }
        assert_eq!(told(&mut core).len(), NAMED_MAX);
        assert_eq!(
            core.counters.misbehaved_breaks_exchanges,
            NAMED_MAX as u64 + 10
        );
        core.now.mono += NAMED_EVERY;
        core.misbehaved(&name("late"), BreaksExchanges);
        assert_eq!(told(&mut core).len(), 1);
        assert_eq!(core.conduct.named.len(), 1);
    }
}
