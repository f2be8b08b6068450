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
use crate::engine::{Event, Member, Work};
use crate::id::{Key, MemberState, WriterTag};
use crate::sim::nodes::node::SimNode;
use crate::sim::nodes::process::Process;
use crate::sim::nodes::registers::Registers;
use crate::store::{Change, Store};
use crate::time::{Timestamp, WallClock as _};
use crate::wire::frame;

/// How long after its time an entry may still be there: the engine looks every ten minutes.
pub(in crate::sim) const COLLECT_WITHIN: Duration = Duration::from_secs(660);
/// What a process may hold beside its entries, in clusters of at most a dozen nodes and a few hundred
/// members that liars have invented: a window and a largest frame for each node, the tables of as many
/// exchanges as there may be, and as much again.
const HELD_BYTES_MAX: usize = 32 << 20;
/// What one turn may take apart: the largest frame.
const TURN_BYTES_IN_MAX: u64 = frame::FRAME_BYTES_MAX as u64;
/// What one turn may put together: a frame of the largest entry for every peer of a small cluster.
const TURN_BYTES_OUT_MAX: u64 = 16 << 20;
/// Nominal work that one turn may do for what others sent: what a turn is allowed, or one entry, which may
/// be the largest there is.
const TURN_MICROS_MAX: u64 = 4_000;
/// Entries that one turn may merge, and send.
const TURN_ENTRIES_MAX: u64 = 4_096;
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
                .or_else(|| self.fires_again(*index))
                .or_else(|| over_limit(*index, process))
                .or_else(|| not_done(*index, node, process))
                .or_else(|| self.stream_over_limit(*index, &node.spec.config))
                .or_else(|| self.holds_too_much(*index, process))
                .or_else(|| self_check_failed(*index, process))
                .or_else(|| self.false_alarm(*index, node, process))
        })
    }

    /// Invariants 3 and 7: what was held is held until its time is over, and not much longer. What came
    /// when its time was over already is held no longer than that from then on.
    fn misplaced(&self, index: usize, node: &SimNode, process: &Process) -> Option<Breach> {
        let latest = node.latest_process_time();
        let mut late = node.process_time();
        late.grace += COLLECT_WITHIN;
        let settled = self.time > self.disturbed + COLLECT_WITHIN;
        let mut last = self.checker.history.held_last((index, node.life));
        last.find_map(|(id, last)| {
            let entry = &last.entry;
            let settled = settled && self.time > last.since + COLLECT_WITHIN;
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

    /// Invariant 8: a node has just refused a write of its own application for want of room. One member
    /// that has gone bad must not be the reason: what is not its share is for the others. Where more of
    /// them lie, or one under several names, nothing is promised: their shares may be all there is.
    pub(in crate::sim) fn crowded_out(&self, node: usize, store: &dyn Store) -> Option<Breach> {
        let of = &self.nodes[node];
        let cluster = of.cluster;
        let liars = self.nodes.iter().filter(|node| node.is_liar());
        if liars.count() != 1 || self.checker.posed().len() > 1 {
            return None;
        }
        let limits = of.spec.limits();
        let share = (limits.entries_max * limits.share_percent).div_ceil(100);
        let mut room = share.min((limits.entries_max * 2).saturating_sub(share * 3));
        let liar = self.nodes.iter().find(|node| node.is_liar());
        let liar = liar.map(|liar| WriterTag::of(&liar.name));
        let (mut items, mut position) = (Vec::new(), 0);
        let (mut honest, mut own, mut forged, mut overwritten) = (0, 0, 0, 0);
        while let Some(next) = store.replica().items(position, Timestamp::ZERO, &mut items) {
            position = next;
        }
        for item in &items {
            let Some(Change { entry, .. }) = store.replica().held(&item.key) else {
                continue;
            };
            let lie = self.checker.history.is_lie(cluster, store.id(), &entry);
            honest += usize::from(!lie);
            own += usize::from(entry.writer == WriterTag::of(&of.name));
            forged += usize::from(lie && Some(entry.writer) != liar);
            let history = &self.checker.history;
            overwritten += usize::from(lie && history.was_written(cluster, store.id(), entry.key));
        }
        // A later version always finds room: that is not what is promised to be left for others.
        room = room.saturating_sub(overwritten);
        // What is read back from the disk counts as delivered by others.
        let restored = of.spec.durable && of.life > 1;
        if forged > 0 || restored {
            (honest, room) = (own, share / 32);
        }
        let by_bytes = store.bytes() > limits.store_bytes_max as u64 / 2;
        (honest < room && !by_bytes).then_some(Breach::CrowdedOut { node, honest, room })
    }

    /// Invariant 7, in bytes: what a process holds beside its entries, and what waits for others on its
    /// streams, all together, as if the driver's queues had no limit of their own.
    fn holds_too_much(&self, node: usize, process: &Process) -> Option<Breach> {
        let is = self.bytes_of(node, process);
        let (what, max) = ("bytes beside its entries", HELD_BYTES_MAX);
        (is > max).then_some(Breach::OverLimit {
            node,
            what,
            is,
            max,
        })
    }

    /// How much that is.
    pub(in crate::sim) fn bytes_of(&self, node: usize, process: &Process) -> usize {
        process.engine.bytes_held() + self.network.streams.backlog(node)
    }

    /// Invariant 5: in a network at peace nobody who runs is held for failed. While somebody lies,
    /// nobody is for long: what a liar says of another may be believed until the other one objects.
    fn false_alarm(&self, observer: usize, node: &SimNode, process: &Process) -> Option<Breach> {
        let config = &node.spec.config;
        let calm = self.calm(config)?;
        let members = process.view.members.iter();
        let for_long = |member: &&Member| {
            let life = (observer, node.life);
            let since = self
                .checker
                .members
                .failed_since(life, &member.process.name);
            !self.is_lied_to()
                || since.is_some_and(|since| self.time >= since + alarm_heals_within(config))
        };
        let failed = members.filter(|member| member.state == MemberState::Failed);
        let mut failed = failed.filter(for_long);
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

    /// Invariant 8: a node names a member that has done nothing wrong. Who has introduced itself under
    /// the name of another is named by that.
    pub(in crate::sim) fn accused(&self, observer: usize, event: &Event) -> Option<Breach> {
        let Event::MemberMisbehaved { peer, kind, .. } = event else {
            return None;
        };
        let honest = |node: &SimNode| node.name == *peer && !node.is_liar();
        let wrongly = self.nodes.iter().any(honest) && !self.checker.posed().contains(peer);
        wrongly.then(|| Breach::Accused {
            observer,
            member: peer.clone(),
            kind: *kind,
        })
    }

    /// A false alarm, at the moment a node declares it.
    pub(in crate::sim) fn false_alarm_by(&self, observer: usize, event: &Event) -> Option<Breach> {
        let Event::MemberFailed(Member { process, .. }) = event else {
            return None;
        };
        let named = |index: &usize| self.nodes[*index].name == process.name;
        let healthy = self.peers_of(observer).find(named).is_some_and(|peer| {
            let node = &self.nodes[peer];
            node.process.is_some() && node.paused_until.is_none() && !node.leaving
        });
        let config = &self.nodes[observer].spec.config;
        let calm = self.calm(config)?;
        // The word of liars who vouch for each other, which must not be believed for long.
        let told = self.checker.members.slandered_at(&process.name);
        let vouched = self.checker.posed().len() > 1;
        if vouched && told.is_some_and(|told| self.time < told + alarm_heals_within(config)) {
            return None;
        }
        healthy.then(|| Breach::FalseAlarm {
            observer,
            member: process.name.clone(),
            seen: Some(MemberState::Failed),
            calm,
        })
    }

    /// For how long nothing has disturbed anybody, if that is long enough for every false alarm to
    /// have healed.
    pub(in crate::sim) fn calm(&self, config: &Config) -> Option<Duration> {
        let links = &self.network.links;
        let held_up = self.nodes.iter().any(SimNode::is_held_up);
        let peace = links.is_peaceful(config.probe_timeout / 4) && !held_up;
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

/// Where nobody lies, a push/pull whose tables do not account for its roots has compared them
/// wrongly. By chance it happens once in 2^32 pairs of one key and timestamp. What happens in exchanges
/// with liars is not counted.
fn self_check_failed(node: usize, process: &Process) -> Option<Breach> {
    let count = process.engine.counters().digest_mismatches - process.liars_mismatches;
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

/// Invariant 7: what one turn of an engine has taken, if that is more than a turn may take.
/// It is counted, not timed: a run costs the same wherever it takes place.
pub(in crate::sim) fn over_budget(node: usize, turn: Work) -> Option<Breach> {
    let Work {
        bytes_in,
        bytes_out,
        entries_in,
        entries_out,
        nominal,
        ..
    } = turn;
    let nominal = u64::try_from(nominal.as_micros()).unwrap_or(u64::MAX);
    [
        ("bytes received", bytes_in, TURN_BYTES_IN_MAX),
        ("bytes sent", bytes_out, TURN_BYTES_OUT_MAX),
        ("entries received", entries_in, TURN_ENTRIES_MAX),
        ("entries sent", entries_out, TURN_ENTRIES_MAX),
        ("µs of nominal work", nominal, TURN_MICROS_MAX),
    ]
    .into_iter()
    .find(|(_, is, max)| is > max)
    .map(|(what, is, max)| Breach::OverBudget {
        node,
        what,
        is,
        max,
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
