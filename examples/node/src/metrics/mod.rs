//! `/metrics`, with Alertmanager's names. Gauges are computed when they are asked for.

mod alerts;
mod cluster;
mod http;
mod notifications;
mod page;
mod process;
#[cfg(test)]
mod tests;
pub(crate) mod text;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::snapshots::Saved;
use notifications::Notifications;
use text::Histogram;

pub(crate) use page::render;

/// What this program counts itself.
#[derive(Debug)]
pub(crate) struct Stats {
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// By handler and method.
    requests: BTreeMap<(String, &'static str), Requests>,
    silence_queries: Queries,
    nflog_queries: Queries,
    notifications: Notifications,
    alerts_v1: AlertCounts,
    alerts_v2: AlertCounts,
    alerts_unacknowledged: u64,
    silences_unacknowledged: u64,
    extensions_failed: u64,
    gets_refused: u64,
    joined: u64,
    left: u64,
    updated: u64,
    reconnected: u64,
    name_conflicts: u64,
    silences_saved: Saved,
    nflog_saved: Saved,
    silences_collected: Collected,
    nflog_collected: Collected,
}

/// How collections went.
#[derive(Clone, Copy, Debug, Default)]
struct Collected {
    count: u64,
    errors: u64,
    took: Duration,
}

#[derive(Debug)]
struct Requests {
    seconds: Histogram,
    bytes: Histogram,
    /// How many there were, by the code of their answer.
    codes: BTreeMap<u16, u64>,
}

#[derive(Debug)]
struct Queries {
    seconds: Histogram,
    total: u64,
    errors: u64,
}

impl Counts {
    fn requests_to(&mut self, (handler, method): (&str, &'static str)) -> &mut Requests {
        let requests = self.requests.entry((handler.to_owned(), method));
        requests.or_insert_with(|| Requests {
            seconds: Histogram::new(REQUEST_SECONDS),
            bytes: Histogram::new(RESPONSE_BYTES),
            codes: BTreeMap::new(),
        })
    }
}

impl Queries {
    fn new() -> Self {
        Self {
            seconds: Histogram::new(QUERY_SECONDS),
            total: 0,
            errors: 0,
        }
    }
}

/// Through which version of the API alerts came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ApiVersion {
    V1,
    V2,
}

/// What became of alerts that were received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AlertCounts {
    pub(crate) firing: u64,
    pub(crate) resolved: u64,
    pub(crate) invalid: u64,
    /// Not taken for a limit.
    pub(crate) limited: u64,
}

/// Something that happened to a member.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MemberChange {
    Joined,
    Left,
    Reconnected,
    Updated,
}

/// Which of the two stores.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoreKind {
    Nflog,
    Silences,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let counts = Counts {
            requests: BTreeMap::new(),
            silence_queries: Queries::new(),
            nflog_queries: Queries::new(),
            notifications: Notifications::new(),
            alerts_v1: AlertCounts::default(),
            alerts_v2: AlertCounts::default(),
            alerts_unacknowledged: 0,
            silences_unacknowledged: 0,
            extensions_failed: 0,
            gets_refused: 0,
            joined: 0,
            left: 0,
            updated: 0,
            reconnected: 0,
            name_conflicts: 0,
            silences_saved: Saved::default(),
            nflog_saved: Saved::default(),
            silences_collected: Collected::default(),
            nflog_collected: Collected::default(),
        };
        Self {
            counts: Mutex::new(counts),
        }
    }

    /// A request to a handler, with a method, is answered with this code.
    pub(crate) fn request(&self, to: (&str, &'static str), code: u16, took: Duration) {
        let mut counts = self.lock();
        let requests = counts.requests_to(to);
        *requests.codes.entry(code).or_default() += 1;
        requests.seconds.observe(took.as_secs_f64());
    }

    /// So much of the answer was sent, which is over.
    pub(crate) fn answer_sent(&self, to: (&str, &'static str), bytes: u64) {
        let mut counts = self.lock();
        counts.requests_to(to).bytes.observe(bytes as f64);
    }

    pub(crate) fn silence_query(&self, took: Duration) {
        let mut counts = self.lock();
        counts.silence_queries.total += 1;
        counts.silence_queries.seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn nflog_query(&self, took: Duration) {
        let mut counts = self.lock();
        counts.nflog_queries.total += 1;
        counts.nflog_queries.seconds.observe(took.as_secs_f64());
    }

    /// A GET request was refused because too many were under way.
    pub(crate) fn get_refused(&self) {
        self.lock().gets_refused += 1;
    }

    /// A notification is to be made, in however many attempts.
    pub(crate) fn notification(&self, integration: &str) {
        self.lock().notifications.begun(integration);
    }

    /// It was given up.
    pub(crate) fn notification_failed(&self, integration: &str) {
        self.lock().notifications.failed(integration);
    }

    /// One attempt to make it.
    pub(crate) fn notification_request(&self, integration: &str, well: bool, took: Duration) {
        self.lock().notifications.request(integration, well, took);
    }

    pub(crate) fn silence_query_failed(&self) {
        let mut counts = self.lock();
        counts.silence_queries.total += 1;
        counts.silence_queries.errors += 1;
    }

    /// Alerts were received.
    pub(crate) fn alerts(&self, version: ApiVersion, more: AlertCounts) {
        let mut counts = self.lock();
        let so_far = match version {
            ApiVersion::V1 => &mut counts.alerts_v1,
            ApiVersion::V2 => &mut counts.alerts_v2,
        };
        so_far.firing += more.firing;
        so_far.resolved += more.resolved;
        so_far.invalid += more.invalid;
        so_far.limited += more.limited;
    }

    /// A client was answered before all live members held what it had sent.
    pub(crate) fn alerts_unacknowledged(&self) {
        self.lock().alerts_unacknowledged += 1;
    }

    /// A client was answered before all live members held the silence that it had changed.
    pub(crate) fn silence_unacknowledged(&self) {
        self.lock().silences_unacknowledged += 1;
    }

    /// Later ends of alerts could not be written, and are tried again.
    pub(crate) fn extension_failed(&self) {
        self.lock().extensions_failed += 1;
    }

    pub(crate) fn member(&self, change: MemberChange) {
        let mut counts = self.lock();
        match change {
            MemberChange::Joined => counts.joined += 1,
            MemberChange::Left => counts.left += 1,
            MemberChange::Reconnected => {
                counts.joined += 1;
                counts.reconnected += 1;
            }
            MemberChange::Updated => counts.updated += 1,
        }
    }

    /// Another live process uses this node's name.
    pub(crate) fn name_conflict(&self) {
        self.lock().name_conflicts += 1;
    }

    /// A store was rid of what is past its time; `None`: that failed.
    pub(crate) fn collected(&self, store: StoreKind, took: Option<Duration>) {
        let mut counts = self.lock();
        let collected = match store {
            StoreKind::Nflog => &mut counts.nflog_collected,
            StoreKind::Silences => &mut counts.silences_collected,
        };
        collected.count += 1;
        match took {
            Some(took) => collected.took += took,
            None => collected.errors += 1,
        }
    }

    /// A snapshot of so many bytes was written, or could not be.
    pub(crate) fn saved(&self, store: StoreKind, bytes: Option<u64>, took: Duration) {
        let mut counts = self.lock();
        let saved = match store {
            StoreKind::Nflog => &mut counts.nflog_saved,
            StoreKind::Silences => &mut counts.silences_saved,
        };
        saved.count += 1;
        saved.took += took;
        saved.bytes = bytes.unwrap_or(saved.bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const REQUEST_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 5.0, 20.0, 60.0];
const RESPONSE_BYTES: &[f64] = &[1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
const QUERY_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
