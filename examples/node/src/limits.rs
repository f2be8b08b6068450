//! What a client may ask of this node before it is told to wait or is cut off, and how often that
//! happened. Each limit is a sample of `alertmanager_http_limited_total`, and a warning once a minute.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// A limit that a client has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// An alert over `--alerts.max-alert-size-bytes`, or one more than `--alerts.max-bytes` has room for.
    AlertBytes,
    /// Answers that are not read yet take all the room that there is for them.
    AnswerRoom,
    /// An answer that was not read in time, or more slowly than the least speed.
    AnswerTime,
    /// A body over the limit of its path.
    BodyBytes,
    /// Bodies under way take all the room that there is for them.
    BodyRoom,
    /// A body that did not arrive in time, or came more slowly than the least speed.
    BodyTime,
    /// Every place is taken by a request that is being worked on.
    Connections,
    /// A connection that waited for its client was closed for a new one.
    Evicted,
    /// Too many filters in a query, or too many bytes of them.
    Filters,
    /// Too many matchers in a silence, or too many bytes of them.
    Matchers,
    /// `/metrics` was computed without what takes too long to count.
    MetricsTime,
    /// Another reload of the configuration was under way.
    Reloads,
    /// A request on one of the connections that are kept for `/-/` and `/metrics`.
    Reserve,
    /// A request took more work than one may.
    WorkTime,
    /// Too many requests that write were waiting for their turn.
    Writes,
}

/// How often each limit was met.
#[derive(Debug)]
pub(crate) struct Reached {
    counts: [AtomicU64; Limit::ALL.len()],
    /// When it was last said in the log.
    said: Mutex<[Option<Instant>; Limit::ALL.len()]>,
}

impl Default for Reached {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            said: Mutex::new([None; Limit::ALL.len()]),
        }
    }
}

impl Reached {
    /// A client met a limit.
    pub(crate) fn hit(&self, limit: Limit) {
        let count = self.counts[limit as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut said[limit as usize];
        if last.is_none_or(|last| now.duration_since(last) >= SAID_AGAIN) {
            *last = Some(now);
            warn!(%limit, count, "an HTTP client met a limit");
        }
    }

    /// All of them, in the order of their names.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Limit, u64)> {
        let count = |limit: Limit| self.counts[limit as usize].load(Ordering::Relaxed);
        Limit::ALL
            .into_iter()
            .map(move |limit| (limit, count(limit)))
    }
}

impl Limit {
    const ALL: [Self; 15] = [
        Self::AlertBytes,
        Self::AnswerRoom,
        Self::AnswerTime,
        Self::BodyBytes,
        Self::BodyRoom,
        Self::BodyTime,
        Self::Connections,
        Self::Evicted,
        Self::Filters,
        Self::Matchers,
        Self::MetricsTime,
        Self::Reloads,
        Self::Reserve,
        Self::WorkTime,
        Self::Writes,
    ];

    /// As the metric and the log name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AlertBytes => "alert_bytes",
            Self::AnswerRoom => "answer_room",
            Self::AnswerTime => "answer_time",
            Self::BodyBytes => "body_bytes",
            Self::BodyRoom => "body_room",
            Self::BodyTime => "body_time",
            Self::Connections => "connections",
            Self::Evicted => "evicted",
            Self::Filters => "filters",
            Self::Matchers => "matchers",
            Self::MetricsTime => "metrics_time",
            Self::Reloads => "reloads",
            Self::Reserve => "reserve",
            Self::WorkTime => "work_time",
            Self::Writes => "writes",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A limit that is met again and again is logged this often.
const SAID_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// A variant at the wrong place of the list would count as another one.
    #[test]
    fn every_limit_counts_as_itself() {
        let reached = Reached::default();
        for (at, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, at, "{limit}");
            (0..=at).for_each(|_| reached.hit(limit));
        }
        let counts: Vec<u64> = reached.counts().map(|(_, count)| count).collect();
        assert_eq!(counts, (1..=15).collect::<Vec<_>>());
    }
}
