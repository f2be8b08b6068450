//! The alerts as they were last looked at, and what has changed since.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alerts::{Alert, Alerts};

/// What was seen of the store of alerts.
#[derive(Debug, Default)]
pub(super) struct Feed {
    seen: BTreeMap<u64, Arc<Alert>>,
    /// The store's change that this is as of; `None` before the first look.
    changes: Option<u64>,
}

/// An alert that is new, or not what it was.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) print: u64,
    pub(super) alert: Arc<Alert>,
    /// What it was when it was last looked at.
    pub(super) before: Option<Arc<Alert>>,
}

/// What a look finds.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) changed: Vec<Seen>,
    /// Alerts that the store holds no more.
    pub(super) gone: Vec<u64>,
}

impl Feed {
    /// Looks at the store. Where nothing has changed that costs nothing.
    pub(super) fn look(&mut self, alerts: &Alerts) -> Difference {
        if self.changes == Some(alerts.changes()) {
            return Difference::default();
        }
        let all = alerts.all();
        let mut old = std::mem::take(&mut self.seen);
        let mut changed = Vec::new();
        for (print, alert) in all.alerts {
            let before = old.remove(&print);
            let is_same = before
                .as_ref()
                .is_some_and(|old| Arc::ptr_eq(old, &alert) || **old == *alert);
            if !is_same {
                changed.push(Seen {
                    print,
                    alert: Arc::clone(&alert),
                    before,
                });
            }
            self.seen.insert(print, alert);
        }
        self.changes = Some(all.changes);
        Difference {
            changed,
            gone: old.into_keys().collect(),
        }
    }

    /// All alerts as they were last seen, by fingerprint.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, &Arc<Alert>)> {
        self.seen.iter().map(|(print, alert)| (*print, alert))
    }

    /// An alert as it was last seen.
    pub(super) fn get(&self, print: u64) -> Option<&Arc<Alert>> {
        self.seen.get(&print)
    }
}
