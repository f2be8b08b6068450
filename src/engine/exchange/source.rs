//! A node whose state has not arrived takes it from one peer.
//!
//! All peers of a newcomer owe it an exchange. Were they all to begin at once, each would send all that
//! it lacks. So until its first exchange is complete, a newcomer takes part in one at a time; with the
//! others it compares after that, and is sent what is missing then. Entries can be read as they arrive.
//!
//! A source that does not get on holds nobody up: a dial counts for [`DIAL_PATIENCE`], an exchange as
//! long as it brings [`PACE`] bytes of entries that are new in a second, but for the first [`START_PATIENCE`],
//! and none for longer than [`SOURCE_MAX`].

use std::time::Duration;

use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Dialling};
use crate::engine::event::Readiness;

use super::Exchanges;
use super::talk::Exchange;

impl Exchanges {
    /// Whether the state of the cluster has yet to arrive here.
    pub(super) fn awaits_state(core: &Core) -> bool {
        matches!(
            core.readiness,
            Readiness::ClockDiffers { .. }
                | Readiness::Joining { .. }
                | Readiness::SettleTimedOut { .. }
        )
    }

    /// The same, or this node has come up alone and has nothing.
    pub(super) fn lacks_state(core: &Core) -> bool {
        let is_alone = matches!(core.readiness, Readiness::Alone { .. });
        Self::awaits_state(core)
            || (is_alone && core.stores.heads().into_values().all(|head| head == 0))
    }

    /// Whether that state is on its way from a peer that gets on with it.
    pub(super) fn is_fetching(&self, core: &Core) -> bool {
        let now = core.now.mono;
        let mut under_way = self.under_way.values();
        under_way.any(|exchange| exchange.is_on_pace(now)) && Self::lacks_state(core)
    }

    /// Has this node look again whether its source gets on.
    pub(super) fn look_again_later(core: &mut Core) {
        core.timers
            .set_by(TimerKind::Unsynced, core.now.mono + LOOK_AGAIN);
    }

    /// The same, or a peer is being dialled for it.
    pub(super) fn is_seeking(&self, core: &Core, dialling: &Dialling) -> bool {
        let dials = !dialling.exchanges.is_empty();
        self.is_fetching(core) || (dials && self.is_dialling(core))
    }

    /// Whether a peer is being dialled for it, and not for too long.
    pub(super) fn is_dialling(&self, core: &Core) -> bool {
        let dialled = self
            .dialled_at
            .as_ref()
            .is_some_and(|(at, _)| core.now.mono < *at + DIAL_PATIENCE);
        dialled && Self::lacks_state(core)
    }
}

impl Exchange {
    fn is_on_pace(&self, now: Duration) -> bool {
        let spent = now.saturating_sub(self.since + START_PATIENCE);
        let brought = self.tally.stored_bytes;
        now < self.since + SOURCE_MAX && brought >= PACE.saturating_mul(spent.as_secs())
    }
}

impl Exchange {
    /// Whether it has moved less, both ways, than it has to for its place.
    pub(super) fn is_late(&self, now: Duration) -> bool {
        let spent = now.saturating_sub(self.since + PLACE_PATIENCE);
        let moved = self
            .tally
            .stored_bytes
            .saturating_add(self.tally.bytes_sent);
        moved < PACE.saturating_mul(spent.as_secs())
    }
}

/// How long an exchange has its place, whatever it moves.
const PLACE_PATIENCE: Duration = Duration::from_secs(20);
/// How long one dial keeps others from being tried.
const DIAL_PATIENCE: Duration = Duration::from_secs(1);
/// How long an exchange may take before anything of it has to have come.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// How long an exchange keeps others from being begun, whatever it brings.
const SOURCE_MAX: Duration = Duration::from_secs(30);
/// Bytes of entries in a second that a source has to bring which are new here. As many are moved, both ways, by who
/// keeps a place that others want.
const PACE: u64 = 65_536;
/// When a newcomer looks again whether its source gets on.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::core::ask::ExchangeRoom;
    use crate::engine::core::tests::{core, core_with, name, notes, process};
    use crate::engine::io::StreamId;

    fn dialling(names: &[&str]) -> Dialling {
        Dialling {
            exchanges: names.iter().map(|text| name(text)).collect(),
            room: 9,
        }
    }

    #[test]
    fn a_newcomer_takes_part_in_one_exchange_until_that_falls_behind() {
        let mut core = core();
        let mut exchanges = Exchanges::default();
        let start = core.now.mono;
        let room = |exchanges: &Exchanges, core: &Core| exchanges.room_for(core, &process("b"));
        assert_eq!(room(&exchanges, &core), ExchangeRoom::Free);
        let mut source = Exchange::new(StreamId(2), process("a"), true, BTreeMap::new());
        source.since = start;
        source.tally.stored_bytes = 2 * PACE;
        // What is not new here is nothing.
        source.tally.bytes_received = 1_000 * PACE;
        exchanges.under_way.insert(StreamId(2), source);
        assert_eq!(room(&exchanges, &core), ExchangeRoom::Full);
        // As much as it has brought is enough for two seconds after the first two.
        core.now.mono = start + Duration::from_millis(4_999);
        assert_eq!(room(&exchanges, &core), ExchangeRoom::Full);
        core.now.mono = start + Duration::from_secs(5);
        assert_eq!(room(&exchanges, &core), ExchangeRoom::Free);
        // However much it brings, it is the only one for half a minute.
        let source = exchanges.under_way.get_mut(&StreamId(2)).unwrap();
        source.tally.stored_bytes = 1_000 * PACE;
        core.now.mono = start + Duration::from_millis(29_999);
        assert_eq!(room(&exchanges, &core), ExchangeRoom::Full);
        core.now.mono = start + Duration::from_secs(30);
        assert_eq!(room(&exchanges, &core), ExchangeRoom::Free);
        // Who has its state has room, whatever is under way.
        core.now.mono = start;
        core.readiness = Readiness::Synced { with: name("a") };
        assert_eq!(room(&exchanges, &core), ExchangeRoom::Free);
    }

    #[test]
    fn a_dial_keeps_others_from_being_tried_for_a_second() {
        let mut core = core();
        let exchanges = Exchanges {
            dialled_at: Some((core.now.mono, name("a"))),
            ..Exchanges::default()
        };
        assert!(exchanges.is_seeking(&core, &dialling(&["a"])));
        assert!(!exchanges.is_seeking(&core, &dialling(&[])));
        core.now.mono += DIAL_PATIENCE;
        assert!(!exchanges.is_seeking(&core, &dialling(&["a"])));
        core.now.mono -= Duration::from_nanos(1);
        for (notes, seeks) in [(0, true), (1, false)] {
            // Who is alone and has something is no newcomer.
            let (store, _) = self::notes(notes);
            let (mono, wall) = (core.now.mono, core.now.wall);
            core = core_with(vec![store], false);
            (core.now.mono, core.now.wall) = (mono, wall);
            core.readiness = Readiness::Alone { seeds: Vec::new() };
            assert_eq!(exchanges.is_seeking(&core, &dialling(&["a"])), seeks);
        }
    }

    #[test]
    fn of_two_newcomers_that_dial_each_other_one_takes_part() {
        let mut core = core();
        let mut exchanges = Exchanges::default();
        let room = |exchanges: &Exchanges, core: &Core, from: &str| {
            exchanges.room_for(core, &process(from))
        };
        // This node is `self`.
        for (dialled, from, expected) in [
            ("a", "a", ExchangeRoom::Free),
            ("a", "b", ExchangeRoom::Full),
            ("z", "z", ExchangeRoom::Full),
        ] {
            exchanges.dialled_at = Some((core.now.mono, name(dialled)));
            assert_eq!(room(&exchanges, &core, from), expected, "{dialled}, {from}");
        }
        // Not while another one is under way.
        exchanges.dialled_at = Some((core.now.mono, name("a")));
        let mut source = Exchange::new(StreamId(2), process("b"), false, BTreeMap::new());
        source.since = core.now.mono;
        exchanges.under_way.insert(StreamId(2), source);
        assert_eq!(room(&exchanges, &core, "a"), ExchangeRoom::Full);
        core.now.mono += DIAL_PATIENCE;
        exchanges.under_way.clear();
        assert_eq!(room(&exchanges, &core, "c"), ExchangeRoom::Free);
    }
}
