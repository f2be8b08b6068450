//! What can be read of an engine between its turns: it changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::time::Duration;

use super::Engine;
use super::core::Facts;
use super::core::arrivals::Arrivals;
use super::core::counters::Counters;
use super::core::pings::Pings;
use super::event::{Lags, View};
use crate::id::{NodeName, ProcessId};
use crate::store::{Progress, WriteId};

impl Engine {
    /// The membership now.
    #[must_use]
    pub fn view(&self) -> View {
        let roster = self.members.roster();
        View {
            this: roster.me().clone(),
            addr: self.core.setup.addr,
            members: roster.members().map(|known| known.member()).collect(),
            readiness: self.core.readiness.with_troubles(self.sessions.troubles()),
            full_stores: self.core.stores.full().collect(),
            disk_failing: self.core.ledger.is_failing(),
            expulsions: self.expulsions.all(&self.core),
            revision: self.core.revision,
        }
    }

    /// Grows with every change of [`view`](Self::view).
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.core.revision
    }

    /// What has been counted since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// How long each member takes to answer probes, by its name.
    #[must_use]
    pub fn pings(&self) -> Arc<BTreeMap<NodeName, Pings>> {
        self.core.pings.snapshot()
    }

    /// How long the last probes took that were answered; each is returned once.
    #[cfg(feature = "metrics")]
    pub fn take_pings(&mut self) -> Vec<Duration> {
        self.core.pings.take_recent()
    }

    /// How old writes were when they arrived.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        self.core.arrivals.counted()
    }

    /// How old the last writes were that arrived; each is returned once.
    #[cfg(feature = "metrics")]
    pub fn take_arrivals(&mut self) -> Vec<Duration> {
        self.core.arrivals.take_recent()
    }

    /// Which members are behind this node now, and how far.
    #[must_use]
    pub fn lag(&self) -> Lags {
        let synced = |process: &ProcessId| self.exchanges.is_synced(process);
        self.spread.lag(&self.core, self.facts(), synced)
    }

    /// The same as of the last look, which is taken once a second.
    #[must_use]
    pub fn lag_seen(&self) -> Arc<Lags> {
        self.spread.lag_seen()
    }

    /// Entries that peers are not known to hold yet, those of all peers together, and are to be sent. What is left to
    /// exchanges does not count.
    #[must_use]
    pub fn entries_owed(&self) -> usize {
        self.spread.entries_owed(self.facts())
    }

    /// How far a write has come.
    #[must_use]
    pub fn progress(&self, write: &WriteId) -> Progress {
        self.spread.progress(&self.core, self.facts(), write)
    }

    /// Entries that no peer was known to hold when this node announced its leave, 0 before that.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.core.unsent
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            roster: self.members.roster(),
            sessions: self.sessions.table(),
        }
    }
}
