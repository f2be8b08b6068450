//! What is known of the roots that peers show: differences that are looked into, and what each member's
//! have led to. What becomes of them is in `roots`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{NodeName, ProcessId};
use crate::time::{Allowance, Timestamp};

/// What is known of roots that peers show.
#[derive(Debug, Default)]
pub(super) struct RootWatch {
    pub(super) doubts: BTreeMap<ProcessId, Doubt>,
    /// Those whose roots have led to exchanges, and those that have asked. Bounded by the members.
    pub(super) records: BTreeMap<NodeName, RootRecord>,
}

/// A difference that is looked into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    pub(super) at: Timestamp,
    /// Our sum and theirs as of then, at the last look.
    pub(super) last: (u64, u64),
    pub(super) looks: u32,
    pub(super) next: Duration,
}

/// What a member's roots have led to.
#[derive(Debug)]
pub(super) struct RootRecord {
    /// How often it is listened to.
    allowance: Allowance,
    /// An exchange is due or under way because of them: they differed as of then, when our sum was this.
    pub(super) pending: Option<(Timestamp, u64)>,
    /// Exchanges in a row that moved nothing: for the next wait, and since roots were last equal.
    pub(super) idle: u32,
    pub(super) strikes: u32,
    /// Not heeded until then.
    pub(super) until: Duration,
    /// Entries are refused on one side, and left out by the other: until then nobody is named.
    pub(super) excused: Duration,
}

impl Default for RootRecord {
    fn default() -> Self {
        Self {
            allowance: Allowance::new(LOOKS_AT_ONCE, LOOK_EVERY),
            pending: None,
            idle: 0,
            strikes: 0,
            until: Duration::ZERO,
            excused: Duration::ZERO,
        }
    }
}

impl RootWatch {
    pub(super) fn member_forgotten(&mut self, name: &NodeName) {
        self.records.remove(name);
    }

    pub(super) fn session_over(&mut self, process: &ProcessId) {
        self.doubts.remove(process);
    }

    /// How many differences are looked into, and how many members are known.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.doubts.len(), self.records.len())
    }

    pub(super) fn is_heeded(&self, now: Duration, name: &NodeName) -> bool {
        let record = self.records.get(name);
        record.is_none_or(|record| record.pending.is_none() && record.until <= now)
    }

    /// Whether a member may have this node compute its sums once more.
    pub(super) fn may_ask(&mut self, now: Duration, name: &NodeName) -> bool {
        match self.records.get_mut(name) {
            Some(record) => record.allowance.take(now),
            None => {
                let mut record = RootRecord::default();
                let may = record.allowance.take(now);
                self.records.insert(name.clone(), record);
                may
            }
        }
    }

    /// Roots were equal.
    pub(super) fn agreed(&mut self, process: &ProcessId) {
        self.doubts.remove(process);
        if let Some(record) = self.records.get_mut(&process.name) {
            record.strikes = 0;
        }
    }
}

impl RootRecord {
    /// An exchange has moved nothing. Returns whether it is one too many.
    pub(super) fn has_struck(&mut self, now: Duration) -> bool {
        if now > self.until + IDLE_FORGOTTEN {
            self.idle = 0;
        }
        let wait = WAIT_MIN.saturating_mul(1 << self.idle.min(16));
        self.until = now + wait.min(WAIT_MAX);
        self.idle += 1;
        self.strikes += u32::from(now >= self.excused);
        let many = self.strikes >= STRIKES_MAX;
        if many {
            (self.strikes, self.until) = (0, now + WAIT_MAX);
        }
        many
    }
}

pub(super) const LOOKS_AT_ONCE: u32 = 32;
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
pub(super) const STRIKES_MAX: u32 = 8;
const IDLE_FORGOTTEN: Duration = Duration::from_secs(600);
const WAIT_MIN: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(3600);
pub(in crate::engine) const DOUBTS_MAX: usize = 8;
/// As long as what was refused may be left out of exchanges, and once more.
pub(super) const EXCUSED_FOR: Duration = Duration::from_secs(600);
