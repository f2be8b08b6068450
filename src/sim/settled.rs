//! What is looked at now and then, in all processes at once, and what when all is settled.
//!
//! Now and then: nothing is dropped before its time or kept long after it (invariants 3 and 7), no
//! healthy member is held for failed in a network at peace (5), nothing is over its limit (7), and
//! what is quarantined is what cannot be read (8). When all is settled, further: the join laws on
//! what was seen (4), and every message of the next version was skipped (8).

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::laws;
use super::process::{Node, Process};
use super::registers::Registers;
use super::simulator::Simulator;
use super::violation::Breach;
use crate::config::Config;
use crate::crdt::compare_versions;
use crate::engine::{Event, Member};
use crate::id::ProcessId;
use crate::store::Merged;
use crate::time::WallClock as _;
use crate::wire::codec::{self, CodecLimits, Decoded};
use crate::wire::{Entry, Key, MemberState, Message, frame};

/// The tag of [`Message::LeaveAck`].
const LEAVE_ACK: u8 = 10;
/// How often everything is looked at, in virtual time.
pub(super) const INSPECT_EVERY: Duration = Duration::from_secs(5);
/// A process's queues are measured every so many turns.
const MEASURE_EVERY: u64 = 32;
/// How long after its time an entry may still be there: the engine looks every ten minutes.
const COLLECT_WITHIN: Duration = Duration::from_secs(660);
/// Keys on which the join laws are shown.
const LAW_KEYS_MAX: usize = 48;
/// Frames that an exchange or a link may have under way, with room to spare.
const FRAMES_UNDER_WAY: usize = 16;

impl Simulator {
    /// Looks at everything, if it is time.
    pub(super) fn inspect_now_and_then(&mut self) {
        if self.time >= self.next_inspection {
            self.next_inspection = self.time + INSPECT_EVERY;
            self.inspect(false);
        }
    }

    /// Stores in which nothing has changed since the last look are not gone through again, but where
    /// something may be overdue by now.
    fn inspect(&mut self, through: bool) {
        let through = through || self.time > self.disturbed + COLLECT_WITHIN;
        let running = |node: &usize| self.is_up(*node) && !self.is_paused(*node);
        let running: Vec<usize> = (0..self.nodes.len()).filter(running).collect();
        let mut changed = BTreeSet::new();
        for index in &running {
            let node = &self.nodes[*index];
            let life = (*index, node.life);
            if let Some(process) = &node.process
                && self
                    .checker
                    .has_changed(life, process.next_version, &process.stores)
            {
                changed.insert(*index);
            }
        }
        let breach = running.iter().find_map(|index| {
            let node = &self.nodes[*index];
            let process = node.process.as_ref()?;
            let in_stores = || {
                let misplaced = self.misplaced(*index, node, process);
                misplaced.or_else(|| misread(*index, node, process))
            };
            let look = through || changed.contains(index);
            let found = if look { in_stores() } else { None };
            found
                .or_else(|| self.misjudges(*index))
                .or_else(|| over_limit(*index, process))
                .or_else(|| self.stream_over_limit(*index, &node.spec.config))
                .or_else(|| self_check_failed(*index, process))
                .or_else(|| self.false_alarm(*index, node, process))
        });
        if let Some(breach) = breach {
            self.checker.report(self.time, breach);
        }
    }

    /// Looks at everything once more, and at what holds only when all is settled: the laws, and
    /// that nothing seen before is news. Everybody agrees when this is called.
    pub(super) fn inspect_settled(&mut self) {
        self.inspect(true);
        let breach = self
            .broken_law()
            .or_else(|| (0..self.nodes.len()).find_map(|node| self.not_absorbed(node)))
            .or_else(|| (0..self.nodes.len()).find_map(|node| self.not_skipped(node)));
        if let Some(breach) = breach {
            self.checker.report(self.time, breach);
        }
        let mut checks = std::mem::take(&mut self.final_invariants);
        self.run_invariants(&mut checks);
        self.final_invariants = checks;
    }

    /// Measures a process that has had a turn.
    pub(super) fn measure(&mut self, index: usize, process: &mut Process) {
        process.turns += 1;
        if process.turns.is_multiple_of(MEASURE_EVERY)
            && let Some(breach) = over_limit(index, process)
        {
            self.checker.report(self.time, breach);
        }
    }

    /// Something that is sent is within its limit.
    pub(super) fn measure_output(&mut self, index: usize, bytes: usize, is_datagram: bool) {
        let config = &self.nodes[index].spec.config;
        let (what, max) = if is_datagram {
            ("bytes in a datagram", config.packet_bytes_max)
        } else {
            ("bytes in a frame", frame::FRAME_BYTES_MAX)
        };
        if bytes > max {
            let breach = Breach::OverLimit {
                node: index,
                what,
                is: bytes,
                max,
            };
            self.checker.report(self.time, breach);
        }
    }

    /// Invariants 3 and 7: what was held is held until its time is over, and not much longer.
    fn misplaced(&self, index: usize, node: &Node, process: &Process) -> Option<Breach> {
        let latest = node.latest_clock();
        let mut late = node.checker_clock();
        late.grace += COLLECT_WITHIN;
        let settled = self.time > self.disturbed + COLLECT_WITHIN;
        let mut last = self.checker.held_last((index, node.life));
        last.find_map(|(id, entry)| {
            let store = process.stores.iter().find(|store| store.id() == id)?;
            let held = store.held(&entry.key).map(|change| change.entry);
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
    fn false_alarm(&self, observer: usize, node: &Node, process: &Process) -> Option<Breach> {
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
    pub(super) fn note_alarm(&mut self, observer: usize, event: &Event) {
        let Event::MemberFailed(Member { process, .. }) = event else {
            return;
        };
        let named = |index: &usize| self.nodes[*index].name == process.name;
        let healthy = self.peers_of(observer).find(named).is_some_and(|peer| {
            let node = &self.nodes[peer];
            node.process.is_some() && node.paused_until.is_none() && !node.leaving
        });
        if let Some(calm) = self.calm(&self.nodes[observer].spec.config)
            && healthy
        {
            let breach = Breach::FalseAlarm {
                observer,
                member: process.name.clone(),
                seen: Some(MemberState::Failed),
                calm,
            };
            self.checker.report(self.time, breach);
        }
    }

    /// A process that acknowledges a leave knows of it from then on, whatever it shows.
    pub(super) fn note_leave_ack(&mut self, index: usize, mut message: Bytes) {
        if message.first() != Some(&LEAVE_ACK) {
            return;
        }
        let decoded = codec::decode(&mut message, &CodecLimits::default());
        if let Ok(Decoded::Message(Message::LeaveAck(leave))) = decoded {
            let life = (index, self.nodes[index].life);
            self.checker.members.acknowledges(life, leave.process);
        }
    }

    /// Invariant 5: nobody is declared failed who has refuted.
    pub(super) fn note_declared(&mut self, life: (usize, u64), event: &Event) {
        let is_there = |process: &ProcessId| {
            let mut nodes = self.nodes.iter().filter(|node| !node.leaving);
            nodes.any(|node| {
                let running = node.process.as_ref();
                running.is_some_and(|running| running.view.this == *process)
            })
        };
        if let Some(breach) = self.checker.members.told(life, event, is_there) {
            self.checker.report(self.time, breach);
        }
    }

    /// For how long nothing has disturbed anybody, if that is long enough for every false alarm to
    /// have healed.
    fn calm(&self, config: &Config) -> Option<Duration> {
        let links = &self.network.links;
        let slow = |node: &Node| node.paused_until.is_some() || !node.service.is_zero();
        let peace = links.is_peaceful(config.probe_timeout / 4) && !self.nodes.iter().any(slow);
        let calm = self.time - self.disturbed;
        let enough = alarm_heals_within(config) + links.config.stream_timeout;
        (peace && calm >= enough).then_some(calm)
    }

    /// Invariant 4, on what was seen.
    fn broken_law(&self) -> Option<Breach> {
        let limits = self.nodes.first()?.limits();
        let several = self.checker.versions.iter().filter(|(_, v)| v.len() > 1);
        let mut several = several.take(LAW_KEYS_MAX);
        several.find_map(|((_, store, _), versions)| laws::check(*store, versions, limits))
    }

    /// Invariant 4, on the stores themselves: what was seen before is not news.
    fn not_absorbed(&self, index: usize) -> Option<Breach> {
        let node = &self.nodes[index];
        let process = node.process.as_ref().filter(|_| !node.leaving)?;
        let wall = node.clock.wall();
        let clock = node.checker_clock();
        let ahead = wall.plus(node.limits().max_clock_drift);
        for store in &process.stores {
            let before = store.head();
            let of_store = |key: &(u64, _, Key)| key.0 == node.cluster && key.1 == store.id();
            let versions = self.checker.versions.iter().filter(|(k, _)| of_store(k));
            for ((_, id, key), versions) in versions {
                let held = store.held(key).map(|change| change.entry);
                let known = |entry: &&Entry| match &held {
                    Some(held) => {
                        compare_versions(entry, held).is_le()
                            && entry.expires_at <= held.expires_at
                            && entry.ts <= ahead
                    }
                    None => clock.has_collected(entry),
                };
                let versions: Vec<Entry> = versions.iter().filter(known).cloned().collect();
                let news = store.merge(&versions, wall).into_iter();
                let mut news = news.filter(|merged| !matches!(merged, Merged::Known));
                if news.next().is_some() || store.head() != before {
                    return Some(Breach::LawBroken {
                        law: "idempotent in a store that has seen it all",
                        store: *id,
                        key: *key,
                    });
                }
            }
        }
        None
    }

    /// Invariant 8: a process skipped the messages of the next version, and no others.
    fn not_skipped(&self, node: usize) -> Option<Breach> {
        let process = self.nodes[node].process.as_ref()?;
        let skipped = process.engine.counters().unknown_messages;
        let given = process.strange_messages;
        let (most, least) = if process.next_version {
            (0, 0)
        } else {
            // A frame may come on a stream that the process has closed.
            (given, u64::from(given > 1))
        };
        let wrong = skipped > most || skipped < least;
        wrong.then_some(Breach::StrangeMessages {
            node,
            given,
            skipped,
        })
    }
}

/// How long a false alarm may last in a network at peace: a failed member is dialled every
/// `reconnect_interval`, a dial takes `tcp_timeout` at most, and the news of a return takes some
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
fn over_limit(node: usize, process: &Process) -> Option<Breach> {
    let size = process.engine.over_limit()?;
    Some(Breach::OverLimit {
        node,
        what: size.what,
        is: size.is,
        max: size.max,
    })
}

/// Invariant 8: what can be read is used, what cannot be is quarantined, and nothing else is.
fn misread(node: usize, of: &Node, process: &Process) -> Option<Breach> {
    let registers = &process.registers;
    let listed = registers.quarantined(usize::MAX);
    let listed: BTreeSet<Key> = listed.into_iter().map(|found| found.key).collect();
    let store = registers.store();
    let wall = of.clock.wall();
    let mut position = 0;
    let mut items = Vec::new();
    while let Some(next) = store.items(position, wall, &mut items) {
        position = next;
    }
    items.iter().find_map(|item| {
        let entry = store.held(&item.key)?.entry;
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
