//! A process of a simulated node: an engine and its stores.
//!
//! A process takes no time over its inputs unless it is told to be slow: then what arrives waits in
//! its inbox, as it does while it is stalled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::alerting::Alerting;
use super::inbox::Inbox;
use super::ready::ReadyTypes;
use super::registers::Registers;
use crate::engine::{Engine, View, Work};
use crate::store::alerts::Alerts;
use crate::store::{Map, Store};

/// A running process.
pub(in crate::sim) struct Process {
    pub(in crate::sim) engine: Engine,
    pub(in crate::sim) stores: Vec<Arc<dyn Store>>,
    pub(in crate::sim) registers: Map<Registers>,
    pub(in crate::sim) alerting: Option<Alerting>,
    pub(in crate::sim) alerts: Option<Alerts>,
    pub(in crate::sim) ready: Option<ReadyTypes>,
    pub(in crate::sim) started: Duration,
    /// The wake-up that counts; others are stale.
    pub(in crate::sim) wake: Option<Duration>,
    /// Wake-ups at one instant.
    pub(in crate::sim) spins: (Duration, u32),
    /// Raised by the stores.
    pub(in crate::sim) changed: Arc<AtomicBool>,
    /// `StoresChanged` is on its way.
    pub(in crate::sim) notified: bool,
    pub(in crate::sim) inbox: Inbox,
    /// It will look at its inbox when it has time.
    pub(in crate::sim) serving: bool,
    /// It is of the next version.
    pub(in crate::sim) next_version: bool,
    /// Messages of the next version that its engine was given.
    pub(in crate::sim) strange_messages: u64,
    /// Messages of no version that its engine may have been given by liars.
    pub(in crate::sim) liars_messages: u64,
    /// Digests that did not account for what was compared, in exchanges with liars.
    pub(in crate::sim) liars_mismatches: u64,
    /// What its engine had done by the end of its last turn.
    pub(in crate::sim) worked: Work,
    /// How often its engine was called.
    pub(in crate::sim) turns: u64,
    pub(in crate::sim) view: View,
    pub(in crate::sim) revision: u64,
}

impl Process {
    /// Digests that have not accounted for what was compared since there were so many are liars'.
    pub(in crate::sim) fn blame_liars_since(&mut self, mismatches: u64) {
        self.liars_mismatches += self.engine.counters().digest_mismatches - mismatches;
    }

    /// Whether a store has changed since this was asked.
    pub(in crate::sim) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }
}
