//! Who writes what clients send to several nodes at once.
//!
//! Prometheus sends each alert to every node. Were they all to write it before they hear of each other, it would go
//! three times as often over the network as it must. So of a request with many alerts, a node writes those first that
//! are its own by the order of the members for each alert, and of the others only what nobody else has written by the
//! time that nothing comes from other nodes any more. What is not new is not waited for.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rumormill::View;
use rumormill::time::Timestamp;
use tokio::time::Instant;

use crate::alerts::Alert;
use crate::app::App;

/// Which alerts of a request are left to other nodes for a moment.
pub(super) struct Sharing {
    /// `None`: none is.
    view: Option<Arc<View>>,
    now: Timestamp,
    started: Instant,
    /// Their places in the request, ascending.
    left: Vec<usize>,
}

impl Sharing {
    /// Of a request with so many alerts that was received at `now`.
    pub(super) fn of(app: &App, count: usize, now: Timestamp) -> Self {
        let view = app.node().map(|node| node.view());
        let is_shared = |view: &Arc<View>| count >= MANY && view.live().next().is_some();
        Self {
            view: view.filter(is_shared),
            now,
            started: Instant::now(),
            left: Vec::new(),
        }
    }

    /// Whether an alert is left to another node for now.
    pub(super) fn leaves(&mut self, app: &App, place: usize, alert: &Alert) -> bool {
        let Some(view) = &self.view else {
            return false;
        };
        let is_own = view.rank(&alert.fingerprint().to_be_bytes()) == 0;
        let is_left = !is_own && app.alerts.has_news(alert, self.now);
        if is_left {
            self.left.push(place);
        }
        is_left
    }

    /// If something was left to other nodes, waits until nothing comes from them any more for as long as this one took
    /// for its own share: they may have begun a little later. Returns the places of what was left. Not for async workers.
    pub(super) fn wait(self, app: &App) -> Vec<usize> {
        if self.left.is_empty() {
            return self.left;
        }
        let began = Instant::now();
        let patience = (began - self.started).clamp(QUIET_MIN, QUIET_MAX);
        let (mut seen, mut changed) = (app.alerts.changes(), began);
        while changed.elapsed() < patience && began.elapsed() < patience * 2 {
            sleep(STEP);
            let changes = app.alerts.changes();
            if changes != seen {
                (seen, changed) = (changes, Instant::now());
            }
        }
        self.left
    }
}

/// Fewer alerts are written at once: what they cost is nothing, and who sends them may look for them at once.
const MANY: usize = 32;
/// How long nothing comes before what is left is written: longer than what others write is on its way, and as long as
/// a client may wait longer for its answer.
const QUIET_MIN: Duration = Duration::from_millis(6);
const QUIET_MAX: Duration = Duration::from_millis(40);
const STEP: Duration = Duration::from_millis(2);
