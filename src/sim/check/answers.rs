//! What is promised of the stores that the crate ships: what an alert is muted by is what a look
//! at every silence finds, whatever the index says; and nodes that hold the same, at the same time of
//! their clocks, give the same answers.

use super::look::Look;
use super::violation::Breach;
use crate::sim::nodes::alerting::Alerting;
use crate::sim::nodes::firing::{self, version_of};
use crate::time::{Timestamp, WallClock as _};

impl Look<'_> {
    fn alerting(&self, node: usize) -> Option<&Alerting> {
        self.nodes[node].process.as_ref()?.alerting.as_ref()
    }

    /// What a process says wrongly, or cannot read though it was written by its own kind.
    pub(super) fn misjudges(&self, node: usize) -> Option<Breach> {
        let alerting = self.alerting(node)?;
        if alerting.mutes_wrongly(self.nodes[node].clock.wall()) {
            return Some(Breach::MutesWrongly { node });
        }
        let silences = alerting.silences.quarantined(usize::MAX);
        let log = alerting.log.quarantined(usize::MAX);
        let [of_silences, of_log] = alerting.stores();
        let silences = silences.into_iter().map(|found| (&of_silences, found.key));
        let log = log.into_iter().map(|found| (&of_log, found.key));
        // What a liar has written may be unreadable.
        let mut sound = silences.chain(log).filter(|(store, key)| {
            let held = store.replica().held(key);
            let cluster = self.nodes[node].cluster;
            let history = &self.checker.history;
            !held.is_some_and(|held| history.is_lie(cluster, store.id(), &held.entry))
        });
        let (_, key) = sound.next()?;
        Some(Breach::PoisonSpread {
            node,
            key,
            mistake: "quarantines a sound entry",
        })
    }

    /// Two nodes of a group that hold the same and do not say the same. Clocks differ, and what
    /// has ended on one may not have on another: those are asked whose clock shows `cut`, above
    /// which all hold the same.
    pub(super) fn answers_differ(&self, group: &[usize], cut: Timestamp) -> Option<Breach> {
        let mut asked = group
            .iter()
            .filter(|node| self.nodes[**node].clock.wall() == cut);
        let &first = asked.next()?;
        let answers = |node: usize| {
            let alerts = self.nodes[node].process.as_ref();
            let alerts = alerts.and_then(|process| process.alerts.as_ref());
            let all = alerts.map(|alerts| alerts.all().alerts);
            let ready = self.nodes[node].process.as_ref();
            let ready = ready.and_then(|process| process.ready.as_ref());
            let ready = ready.map(|ready| (ready.counter.values(), ready.set.elements()));
            (self.alerting(node).map(Alerting::answers), all, ready)
        };
        let expected = answers(first);
        let other = asked.find(|node| answers(**node) != expected)?;
        Some(Breach::AnswersDiffer {
            a: first,
            b: *other,
        })
    }

    /// A node that shows an alert as firing longer that is over. Where somebody lies, nothing is promised: every
    /// member may send alerts.
    pub(super) fn fires_again(&self, node: usize) -> Option<Breach> {
        let of = &self.nodes[node];
        let alerts = of.process.as_ref()?.alerts.as_ref()?;
        if self.nodes.iter().any(|node| node.is_liar()) {
            return None;
        }
        // By a clock that is behind, what is over may not have ended yet.
        let all = alerts.all().alerts;
        let mut all = all
            .iter()
            .filter_map(|(_, it)| Some((firing::number(it)?, it.ends_at)));
        let (alert, _) = all.find(|(number, ends_at)| {
            version_of(alerts, *number).is_some_and(|(version, end)| {
                let is_over = self.checker.firings.is_over((of.cluster, *number), version);
                is_over && *ends_at > end
            })
        })?;
        Some(Breach::FiresAgain { node, alert })
    }
}
