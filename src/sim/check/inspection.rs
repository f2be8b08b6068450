//! What is looked at now and then, in all processes at once.
//!
//! Nothing is dropped before its time or kept long after it (invariants 3 and 7), no healthy member
//! is held for failed in a network at peace (5), nothing is over its limit (7), and what is
//! quarantined is what cannot be read (8).

use std::collections::BTreeSet;
use std::time::Duration;

use super::look::Look;
use super::violation::Breach;
use crate::config::Config;
use crate::crdt::compare_versions;
use crate::engine::{Event, Member};
use crate::id::{Key, MemberState};
use crate::sim::nodes::node::SimNode;
use crate::sim::nodes::process::Process;
use crate::sim::nodes::registers::Registers;
use crate::time::WallClock as _;
use crate::wire::frame;

/// How long after its time an entry may still be there: the engine looks every ten minutes.
pub(in crate::sim) const COLLECT_WITHIN: Duration = Duration::from_secs(660);
/// Frames that an exchange or a link may have under way, with room to spare.
const FRAMES_UNDER_WAY: usize = 16;

impl Look<'_> {
    /// The first promise that one of these nodes, which run, breaks. The stores of those for which
    /// `is_due` holds are gone through entry by entry.
    pub(in crate::sim) fn broken_by_one_of(
        &self,
        running: &[usize],
        is_due: impl Fn(usize) -> bool,
    ) -> Option<Breach> {
        running.iter().find_map(|index| {
            let node = &self.nodes[*index];
            let process = node.process.as_ref()?;
            let in_stores = || {
                let misplaced = self.misplaced(*index, node, process);
                misplaced.or_else(|| misread(*index, node, process))
            };
            let found = if is_due(*index) { in_stores() } else { None };
            found
                .or_else(|| self.misjudges(*index))
                .or_else(|| over_limit(*index, process))
                .or_else(|| not_done(*index, node, process))
                .or_else(|| self.stream_over_limit(*index, &node.spec.config))
                .or_else(|| self_check_failed(*index, process))
                .or_else(|| self.false_alarm(*index, node, process))
        })
    }

    /// Invariants 3 and 7: what was held is held until its time is over, and not much longer.
    fn misplaced(&self, index: usize, node: &SimNode, process: &Process) -> Option<Breach> {
        let latest = node.latest_process_time();
        let mut late = node.process_time();
        late.grace += COLLECT_WITHIN;
        let settled = self.time > self.disturbed + COLLECT_WITHIN;
        let mut last = self.checker.history.held_last((index, node.life));
        last.find_map(|(id, entry)| {
            let store = process.stores.iter().find(|store| store.id() == id)?;
            let held = store.replica().held(&entry.key).map(|change| change.entry);
            let current = held.filter(|held| compare_versions(held, entry).is_ge());
            let (node, key) = (index, entry.key);
            if current.is_none() && !latest.has_collected(entry) {
                let store = id;
                return Some(Breach::CollectedEarly { node, store, key });
            }
            let overdue = settled && current.is_some_and(|held| late.has_collected(&held));
            overdue.then_some(Breach::NotCollected {
                node,
                store: id,
                key,
            })
        })
    }

    fn stream_over_limit(&self, index: usize, config: &Config) -> Option<Breach> {
        let frame = config.entry_bytes_max + (64 << 10);
        let max = config.stream_window_bytes + FRAMES_UNDER_WAY * frame;
        let is = self.network.streams.backlog_max(index);
        (is > max).then_some(Breach::OverLimit {
            node: index,
            what: "bytes waiting on a stream",
            is,
            max,
        })
    }

    /// Invariant 5: in a network at peace nobody who runs is held for failed.
    fn false_alarm(&self, observer: usize, node: &SimNode, process: &Process) -> Option<Breach> {
        let calm = self.calm(&node.spec.config)?;
        let members = process.view.members.iter();
        let mut failed = members.filter(|member| member.state == MemberState::Failed);
        let wrong = failed.find(|member| {
            let named = |peer: &usize| self.nodes[*peer].name == member.process.name;
            let peer = self.peers_of(observer).find(named);
            peer.is_some_and(|peer| self.is_up(peer) && !self.nodes[peer].leaving)
        })?;
        Some(Breach::FalseAlarm {
            observer,
            member: wrong.process.name.clone(),
            seen: Some(wrong.state),
            calm,
        })
    }

    /// The same, at the moment a node declares it.
    pub(in crate::sim) fn false_alarm_by(&self, observer: usize, event: &Event) -> Option<Breach> {
        let Event::MemberFailed(Member { process, .. }) = event else {
            return None;
        };
        let named = |index: &usize| self.nodes[*index].name == process.name;
        let healthy = self.peers_of(observer).find(named).is_some_and(|peer| {
            let node = &self.nodes[peer];
            node.process.is_some() && node.paused_until.is_none() && !node.leaving
        });
        let calm = self.calm(&self.nodes[observer].spec.config)?;
        healthy.then(|| Breach::FalseAlarm {
            observer,
            member: process.name.clone(),
            seen: Some(MemberState::Failed),
            calm,
        })
    }

    /// For how long nothing has disturbed anybody, if that is long enough for every false alarm to
    /// have healed.
    fn calm(&self, config: &Config) -> Option<Duration> {
        let links = &self.network.links;
        let slow = |node: &SimNode| node.paused_until.is_some() || !node.service.is_zero();
        let peace = links.is_peaceful(config.probe_timeout / 4) && !self.nodes.iter().any(slow);
        let calm = self.time - self.disturbed;
        let enough = alarm_heals_within(config) + links.config.stream_timeout;
        (peace && calm >= enough).then_some(calm)
    }
}

/// How long a false alarm may last in a network at peace: a failed member is dialled every
/// `reconnect_interval`, a dial takes `tcp_timeout` at most, and word of a return takes some
/// rounds of probes.
fn alarm_heals_within(config: &Config) -> Duration {
    let reconnect = config.reconnect_interval.unwrap_or(config.tcp_timeout);
    (reconnect + config.tcp_timeout) * 2 + config.probe_interval * 20
}

/// Nobody lies here: a push/pull whose tables do not account for its roots has compared them
/// wrongly. By chance it happens once in 2^32 pairs of one key and timestamp.
fn self_check_failed(node: usize, process: &Process) -> Option<Breach> {
    let count = process.engine.counters().digest_mismatches;
    (count > 0).then_some(Breach::SelfCheckFailed { node, count })
}

/// Invariant 7: the engine's queues and maps.
pub(in crate::sim) fn over_limit(node: usize, process: &Process) -> Option<Breach> {
    let size = process.engine.over_limit()?;
    Some(Breach::OverLimit {
        node,
        what: size.what,
        is: size.is,
        max: size.max,
    })
}

/// Invariant 7: a frame that is neither done with nor waits to be merged holds its stream up for ever.
fn not_done(index: usize, node: &SimNode, process: &Process) -> Option<Breach> {
    let is = node.not_done.values().sum();
    let max = process.engine.frames_put_off();
    (is > max).then_some(Breach::OverLimit {
        node: index,
        what: "frames that are not done with",
        is,
        max,
    })
}

/// Invariant 7: something that a node sends, if it is over its limit.
pub(in crate::sim) fn oversized(
    node: usize,
    config: &Config,
    bytes: usize,
    is_datagram: bool,
) -> Option<Breach> {
    let (what, max) = if is_datagram {
        ("bytes in a datagram", config.packet_bytes_max)
    } else {
        ("bytes in a frame", frame::FRAME_BYTES_MAX)
    };
    (bytes > max).then_some(Breach::OverLimit {
        node,
        what,
        is: bytes,
        max,
    })
}

/// Invariant 8: what can be read is used, what cannot be is quarantined, and nothing else is.
fn misread(node: usize, of: &SimNode, process: &Process) -> Option<Breach> {
    let registers = &process.registers;
    let listed = registers.quarantined(usize::MAX);
    let listed: BTreeSet<Key> = listed.into_iter().map(|found| found.key).collect();
    let store = registers.store();
    let wall = of.clock.wall();
    let mut position = 0;
    let mut items = Vec::new();
    while let Some(next) = store.replica().items(position, wall, &mut items) {
        position = next;
    }
    items.iter().find_map(|item| {
        let entry = store.replica().held(&item.key)?.entry;
        let removed = entry.schema.is_tombstone();
        let sound = removed || Registers::is_sound(&entry, process.next_version);
        let used = registers.get(&item.key).is_some();
        let mistake = match (sound, listed.contains(&item.key)) {
            (true, true) => "quarantines a sound entry",
            (false, false) => "does not quarantine what it cannot read",
            (false, true) if used => "uses what it cannot read",
            (true, false) if used == removed => {
                "does not show a sound entry, or shows a removed one"
            }
            _ => return None,
        };
        let key = item.key;
        Some(Breach::PoisonSpread { node, key, mistake })
    })
}
