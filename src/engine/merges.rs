//! Deltas are merged into the stores, in slices.
//!
//! A delta that costs little is merged in the turn in which it comes, which is nearly always so. One that
//! costs more than a turn may (many entries, long bodies, many patterns) is merged over several turns,
//! and so is what comes from the same process after it. Those who wait take turns, process by process, so
//! what one sends is never held up by what another sends. A sender learns nothing of this but that the
//! acknowledgement comes later.
//!
//! The engine reads no clock: work is counted in nominal time, which
//! [`Replica::work`](crate::store::Replica::work) estimates from the bytes of an entry. A member may
//! have one part in [`SHARE`] of the time that passes, and [`ALLOWANCE`] ahead of it; what it sends beyond that
//! waits, and the member is named. A frame that waits is not done with, so its stream is not read on. What
//! waits is bounded in bytes for each process and for all of them: beyond, a datagram is dropped, to be sent
//! again, and a stream is closed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::id::{Misbehaviour, NodeName, ProcessId};
use crate::wire::Delta;

use super::core::Core;
use super::core::ask::Ask;
use super::core::debts::Debts;
use super::core::delta::{DeltaWay, Hand, IncomingDelta, MergedDelta, Received};
use super::core::timers::TimerKind;
use super::io::{Output, StreamId};

/// The owner of deltas that are being merged.
#[derive(Debug)]
pub(super) struct Merges {
    queues: BTreeMap<ProcessId, MergeQueue>,
    bytes: usize,
    /// How many of those that wait came on each stream: the stream is not read on for so long.
    on_streams: BTreeMap<StreamId, usize>,
    /// Whose turn was last.
    last: Option<ProcessId>,
    debts: Debts,
}

impl Default for Merges {
    fn default() -> Self {
        Self {
            queues: BTreeMap::new(),
            bytes: 0,
            on_streams: BTreeMap::new(),
            last: None,
            debts: Debts::new(SHARE, ALLOWANCE),
        }
    }
}

/// What one process has sent and waits.
#[derive(Debug, Default)]
struct MergeQueue {
    waiting: VecDeque<Merging>,
    bytes: usize,
}

/// A delta that is being merged.
#[derive(Debug)]
struct Merging {
    process: ProcessId,
    way: DeltaWay,
    delta: Delta,
    hand: Option<Hand>,
    bytes: usize,
    /// How far it is: a section, and an entry of it.
    section: usize,
    entry: usize,
    received: Received,
}

impl Merges {
    /// A delta came. What becomes of it is told by [`Ask::DeltaMerged`].
    pub(super) fn take(&mut self, core: &mut Core, incoming: IncomingDelta) {
        let mut merging = Merging::new(incoming);
        let (waiting, bytes) = (self.queues.get(&merging.process), merging.bytes);
        let queued = waiting.map_or(0, |queue| queue.bytes);
        if !self.may_work(core, &merging.process.name) {
            core.misbehaved(&merging.process.name, Misbehaviour::CostsTooMuch);
        } else if waiting.is_none() && self.go_on_with(core, &mut merging) {
            return merging.end(core);
        }
        if queued + bytes > PROCESS_BYTES_MAX {
            core.misbehaved(&merging.process.name, Misbehaviour::CostsTooMuch);
            return refuse(core, &merging);
        }
        // It may be others who leave no room: those with most of it make some.
        while self.bytes + bytes > BYTES_MAX {
            let Some(last) = self.take_from_fullest(queued + bytes) else {
                return refuse(core, &merging);
            };
            refuse(core, &last);
        }
        if let Some(stream) = merging.stream() {
            *self.on_streams.entry(stream).or_default() += 1;
        }
        self.bytes += bytes;
        let queue = self.queues.entry(merging.process.clone()).or_default();
        queue.bytes += bytes;
        queue.waiting.push_back(merging);
        core.counters.merges_deferred += 1;
        self.schedule(core);
    }

    /// Goes on with what waits, as far as this turn's work allows.
    pub(super) fn go_on(&mut self, core: &mut Core) {
        let mut looked = 0;
        while !core.work_left.is_zero() && looked < self.queues.len() {
            let Some(process) = self.next() else {
                break;
            };
            let before = self.last.replace(process.clone());
            if !self.may_work(core, &process.name) {
                looked += 1;
                continue;
            }
            looked = 0;
            if !self.slice(core, &process) {
                // What it waits for is a turn to itself: it comes first in the next one.
                self.last = before;
                break;
            }
        }
        self.schedule(core);
    }

    /// The process is not known any more.
    pub(super) fn forget(&mut self, process: &ProcessId) {
        if let Some(queue) = self.queues.remove(process) {
            self.bytes -= queue.bytes;
            for merging in &queue.waiting {
                self.waits_no_longer(merging);
            }
        }
    }

    /// Takes out what came last from the process of which most waits, if that is more than so many bytes.
    fn take_from_fullest(&mut self, bytes: usize) -> Option<Merging> {
        let queues = self.queues.iter_mut();
        let (process, queue) = queues.max_by_key(|(_, queue)| queue.bytes)?;
        if queue.bytes <= bytes {
            return None;
        }
        let last = queue.waiting.pop_back()?;
        queue.bytes -= last.bytes;
        self.bytes -= last.bytes;
        if queue.waiting.is_empty() {
            let process = process.clone();
            self.queues.remove(&process);
        }
        self.waits_no_longer(&last);
        Some(last)
    }

    /// How many deltas wait that came on a stream.
    pub(super) fn waiting_on(&self, stream: StreamId) -> usize {
        self.on_streams.get(&stream).copied().unwrap_or_default()
    }

    /// How many deltas wait that came on streams.
    #[cfg(feature = "sim")]
    pub(super) fn put_off(&self) -> usize {
        self.on_streams.values().sum()
    }

    /// Returns the stream that it came on.
    fn waits_no_longer(&mut self, merging: &Merging) -> Option<StreamId> {
        let stream = merging.stream()?;
        if let Some(count) = self.on_streams.get_mut(&stream) {
            *count -= 1;
            if *count == 0 {
                self.on_streams.remove(&stream);
            }
        }
        Some(stream)
    }

    /// A member is not in the table any more.
    pub(super) fn member_forgotten(&mut self, name: &NodeName) {
        self.debts.forget(name);
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.queues.clear();
        self.on_streams.clear();
        self.bytes = 0;
    }

    /// How many bytes wait.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many members have been charged for work.
    #[cfg(feature = "sim")]
    pub(super) fn charged(&self) -> usize {
        self.debts.len()
    }

    /// The process after the last one, round and round.
    fn next(&self) -> Option<ProcessId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.last.as_ref().and_then(|last| {
            let mut after = self.queues.range((Excluded(last), Unbounded));
            after.next()
        });
        let (process, _) = after.or_else(|| self.queues.iter().next())?;
        Some(process.clone())
    }

    /// Goes on with the first delta of a process. Returns whether it has got on.
    fn slice(&mut self, core: &mut Core, process: &ProcessId) -> bool {
        let waiting = self.queues.get_mut(process);
        let Some(mut merging) = waiting.and_then(|queue| queue.waiting.pop_front()) else {
            return false;
        };
        let before = merging.received.count();
        let done = self.go_on_with(core, &mut merging);
        let Some(queue) = self.queues.get_mut(process) else {
            return false;
        };
        if !done {
            let got_on = merging.received.count() > before;
            queue.waiting.push_front(merging);
            return got_on;
        }
        queue.bytes -= merging.bytes;
        self.bytes -= merging.bytes;
        if queue.waiting.is_empty() {
            self.queues.remove(process);
        }
        if let Some(stream) = self.waits_no_longer(&merging) {
            core.outputs.push_back(Output::StreamFrameDone { stream });
        }
        merging.end(core);
        true
    }

    /// Goes on with a delta, and charges the member that sent it. Returns whether all of it is done.
    fn go_on_with(&mut self, core: &mut Core, merging: &mut Merging) -> bool {
        let (done, work) = merging.go_on(core);
        self.debts
            .charge(core.now.mono, &merging.process.name, work);
        done
    }

    /// More work was done for a member than to merge what it sent.
    pub(super) fn charge(&mut self, core: &Core, name: &NodeName, work: Duration) {
        self.debts.charge(core.now.mono, name, work);
    }

    /// Whether a member has work left.
    fn may_work(&self, core: &Core, name: &NodeName) -> bool {
        self.debts.free_at(name) <= core.now.mono
    }

    /// Sets when to go on.
    fn schedule(&self, core: &mut Core) {
        let processes = self.queues.keys();
        let due = processes.map(|process| self.debts.free_at(&process.name));
        if let Some(due) = due.min() {
            core.timers.set_by(TimerKind::Merge, due.max(core.now.mono));
        }
    }
}

impl Merging {
    fn new(incoming: IncomingDelta) -> Self {
        let IncomingDelta {
            process,
            way,
            delta,
            hand,
        } = incoming;
        let entries = delta.sections.iter().flat_map(|section| &section.entries);
        Self {
            process,
            way,
            bytes: DELTA_BYTES
                + entries
                    .map(|entry| entry.encoded_len() + ENTRY_BYTES)
                    .sum::<usize>(),
            delta,
            hand,
            section: 0,
            entry: 0,
            received: Received::default(),
        }
    }

    /// Merges as much as this turn's work allows. Returns whether all is done, and the nominal work.
    fn go_on(&mut self, core: &mut Core) -> (bool, Duration) {
        let mut all = Duration::ZERO;
        while let Some(section) = self.delta.sections.get(self.section) {
            let rest = section.entries.get(self.entry..).unwrap_or_default();
            if rest.is_empty() {
                (self.section, self.entry) = (self.section + 1, 0);
                continue;
            }
            if core.work_left.is_zero() {
                return (false, all);
            }
            let received = &mut self.received;
            let (merged, work) = core.merge_some(&self.process, section.store, rest, received);
            self.entry += merged;
            all += work;
        }
        (true, all)
    }

    fn stream(&self) -> Option<StreamId> {
        match self.way {
            DeltaWay::Datagram => None,
            DeltaWay::Exchange(stream) | DeltaWay::Link(stream) => Some(stream),
        }
    }

    /// Tells what became of it.
    fn end(self, core: &mut Core) {
        core.ask(Ask::DeltaMerged(Box::new(MergedDelta {
            process: self.process,
            way: self.way,
            packet: self.delta.packet,
            uncovered: self.delta.uncovered,
            hand: self.hand,
            received: self.received,
        })));
    }
}

/// There is no room for a delta to wait.
fn refuse(core: &mut Core, merging: &Merging) {
    core.counters.merges_refused += 1;
    if let Some(stream) = merging.stream() {
        core.ask(Ask::AbandonStream(stream));
    }
}

/// A member's deltas may cost one part in so many of this node's time.
const SHARE: u32 = 4;
/// And so much ahead of it: what a node that joins is sent costs about 2 us an entry.
const ALLOWANCE: Duration = Duration::from_secs(10);
/// What may wait of one process: more than the windows let it have under way, and a frame of the
/// largest size.
const PROCESS_BYTES_MAX: usize = 24 << 20;
/// And of all of them.
pub(super) const BYTES_MAX: usize = 64 << 20;

/// What a delta and each of its entries take in memory beside their bytes.
const DELTA_BYTES: usize = 512;
const ENTRY_BYTES: usize = 96;

#[cfg(test)]
mod tests;
