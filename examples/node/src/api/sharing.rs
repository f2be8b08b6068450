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

use crate::alerts::{Alert, Alerts};

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
    /// Of a request with so many alerts that was received at `now`, as the members are then.
    pub(super) fn of(view: Option<Arc<View>>, count: usize, now: Timestamp) -> Self {
        let is_shared = |view: &Arc<View>| count >= MANY && view.live().next().is_some();
        Self {
            view: view.filter(is_shared),
            now,
            started: Instant::now(),
            left: Vec::new(),
        }
    }

    /// Whether an alert is left to another node for now.
    pub(super) fn leaves(&mut self, alerts: &Alerts, place: usize, alert: &Alert) -> bool {
        let Some(view) = &self.view else {
            return false;
        };
        let is_own = view.rank(&alert.fingerprint().to_be_bytes()) == 0;
        let is_left = !is_own && alerts.has_news(alert, self.now);
        if is_left {
            self.left.push(place);
        }
        is_left
    }

    /// If something was left to other nodes, waits until nothing comes from them any more for as long as this one took
    /// for its own share: they may have begun a little later. Returns the places of what was left. Not for async workers.
    pub(super) fn wait(self, alerts: &Alerts) -> Vec<usize> {
        if self.left.is_empty() {
            return self.left;
        }
        let began = Instant::now();
        let patience = (began - self.started).clamp(QUIET_MIN, QUIET_MAX);
        let (mut seen, mut changed) = (alerts.changes(), began);
        while changed.elapsed() < patience && began.elapsed() < patience * 2 {
            sleep(STEP);
            let changes = alerts.changes();
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

#[cfg(test)]
mod tests {
    use rumormill::node::{Builder, Node, SystemClock};
    use rumormill::time::WallClock as _;

    use super::*;
    use crate::alerts::AlertLimits;

    fn alert(number: usize, now: Timestamp) -> Alert {
        Alert {
            labels: [("n".to_owned(), number.to_string())].into(),
            annotations: [].into(),
            starts_at: now,
            ends_at: now.plus(Duration::from_secs(600)),
            updated_at: now,
            generator_url: String::new(),
            timeout: false,
        }
    }

    async fn start(builder: Builder) -> Node {
        builder.listen("127.0.0.1:0").start().await.unwrap()
    }

    /// Which of two hundred alerts a node leaves.
    fn left(node: &Node, alerts: &Alerts, now: Timestamp) -> Vec<usize> {
        let mut sharing = Sharing::of(Some(node.view()), 200, now);
        for number in 0..200 {
            sharing.leaves(alerts, number, &alert(number, now));
        }
        sharing.wait(alerts)
    }

    #[tokio::test]
    async fn each_alert_is_left_to_others_by_all_but_one() {
        let (mut first, mut second) = (Node::builder("one"), Node::builder("two"));
        let stores = [&mut first, &mut second].map(|it| it.alerts(AlertLimits::default()));
        let one = start(first).await;
        let now = SystemClock.wall();
        assert!(left(&one, &stores[0], now).is_empty(), "there is nobody");
        let two = start(second.seeds([one.local_addr().to_string()])).await;
        while [&one, &two].iter().any(|it| it.view().live().count() == 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let few = Sharing::of(Some(two.view()), MANY - 1, now);
        assert!(few.view.is_none());
        let by = [(&one, &stores[0]), (&two, &stores[1])].map(|(node, it)| left(node, it, now));
        let mut all = by.concat();
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
        assert!(by.iter().all(|left| left.len() > 50), "{by:?}");
        // What is known already is nobody's to write.
        for number in 0..200 {
            stores[0].put(alert(number, now), now).unwrap();
        }
        assert!(left(&one, &stores[0], now).is_empty());
    }
}
