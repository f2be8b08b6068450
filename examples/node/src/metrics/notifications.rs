//! What was told, by integration. A notification counts once, however many attempts it takes; attempts count as
//! requests.

use std::collections::BTreeMap;
use std::time::Duration;

use super::text::{Histogram, Page};

/// The end of a counter's name, what it is, and where its value is.
type CountMetric = (&'static str, &'static str, fn(&Notified) -> u64);

/// The counts of all integrations.
#[derive(Debug)]
pub(super) struct Notifications {
    by_integration: BTreeMap<String, Notified>,
}

#[derive(Debug)]
struct Notified {
    notifications: u64,
    failed: u64,
    requests: u64,
    requests_failed: u64,
    seconds: Histogram,
}

impl Notifications {
    pub(super) fn new() -> Self {
        let known = KNOWN
            .iter()
            .map(|name| ((*name).to_owned(), Notified::new()));
        Self {
            by_integration: known.collect(),
        }
    }

    pub(super) fn begun(&mut self, integration: &str) {
        self.of(integration).notifications += 1;
    }

    pub(super) fn failed(&mut self, integration: &str) {
        self.of(integration).failed += 1;
    }

    pub(super) fn request(&mut self, integration: &str, well: bool, took: Duration) {
        let notified = self.of(integration);
        notified.requests += 1;
        notified.requests_failed += u64::from(!well);
        notified.seconds.observe(took.as_secs_f64());
    }

    fn of(&mut self, integration: &str) -> &mut Notified {
        let of = self.by_integration.entry(integration.to_owned());
        of.or_insert_with(Notified::new)
    }

    pub(super) fn render(&self, page: &mut Page) {
        let metrics: [CountMetric; 4] = [
            (
                "notifications_total",
                "The total number of attempted notifications.",
                |it| it.notifications,
            ),
            (
                "notifications_failed_total",
                "The total number of failed notifications.",
                |it| it.failed,
            ),
            (
                "notification_requests_total",
                "The total number of attempted notification requests.",
                |it| it.requests,
            ),
            (
                "notification_requests_failed_total",
                "The total number of failed notification requests.",
                |it| it.requests_failed,
            ),
        ];
        for (name, help, value) in metrics {
            let name = format!("alertmanager_{name}");
            page.metric(&name, "counter", help);
            for (integration, notified) in &self.by_integration {
                page.sample(&name, &[("integration", integration)], value(notified));
            }
        }
        let name = "alertmanager_notification_latency_seconds";
        page.metric(
            name,
            "histogram",
            "The latency of notifications in seconds.",
        );
        for (integration, notified) in &self.by_integration {
            page.histogram(name, &[("integration", integration)], &notified.seconds);
        }
    }
}

impl Notified {
    fn new() -> Self {
        Self {
            notifications: 0,
            failed: 0,
            requests: 0,
            requests_failed: 0,
            seconds: Histogram::new(SECONDS),
        }
    }
}

const SECONDS: &[f64] = &[1.0, 5.0, 10.0, 15.0, 20.0];
/// Those that Alertmanager has from the start, so that rules have data before anything is told.
const KNOWN: [&str; 10] = [
    "email",
    "opsgenie",
    "pagerduty",
    "pushover",
    "slack",
    "sns",
    "telegram",
    "victorops",
    "webhook",
    "wechat",
];
