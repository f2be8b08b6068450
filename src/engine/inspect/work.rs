//! How much the engine has done: for a check from outside that no turn costs more than a turn may.
//!
//! No clock is read, so a turn costs the same wherever it runs: what counts is what it takes apart,
//! what it looks at in its stores, and what it puts out.

use std::time::Duration;

use crate::engine::Engine;

/// What an engine has done since its start; the work of a turn is the difference of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Work {
    /// Bytes taken apart.
    pub bytes_in: u64,
    /// Bytes put together.
    pub bytes_out: u64,
    /// Nominal work for what others have sent, as it is charged to them.
    pub nominal: Duration,
    /// Entries merged, or found to be known, or refused.
    pub entries_in: u64,
    /// Entries put out.
    pub entries_out: u64,
}

impl Work {
    /// The most of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            bytes_in: self.bytes_in.max(other.bytes_in),
            bytes_out: self.bytes_out.max(other.bytes_out),
            nominal: self.nominal.max(other.nominal),
            entries_in: self.entries_in.max(other.entries_in),
            entries_out: self.entries_out.max(other.entries_out),
        }
    }

    /// What was done since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            bytes_in: self.bytes_in - before.bytes_in,
            bytes_out: self.bytes_out - before.bytes_out,
            nominal: self.nominal.saturating_sub(before.nominal),
            entries_in: self.entries_in - before.entries_in,
            entries_out: self.entries_out - before.entries_out,
        }
    }
}

impl Engine {
    /// What has been done since the start.
    pub(crate) fn work(&self) -> Work {
        let counters = self.counters();
        Work {
            bytes_in: counters.datagram_bytes_received + counters.frame_bytes_received,
            bytes_out: counters.datagram_bytes_sent + counters.frame_bytes_sent,
            nominal: self.core.work_ever,
            entries_in: counters.entries_received,
            entries_out: counters.entries_sent,
        }
    }
}
