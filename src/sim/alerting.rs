//! The two stores that the crate ships, on simulated nodes: silences and the notification log,
//! written by their own operations, replicated and checked like the registers.
//!
//! Two promises of their own are checked too: what an alert is muted by is what a look at every
//! silence finds, whatever the index says; and nodes that hold the same, at the same time of their
//! clocks, give the same answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::process::NodeSpec;
use super::simulator::Simulator;
use super::violation::Breach;
use crate::store::matcher::{Labels, Matcher, Op};
use crate::store::nflog::{
    Nflog, NflogEntry, NflogError, NflogLimits, Notified, ReceiverKey, ReceiverValue,
};
use crate::store::silences::{
    NewSilence, Query, Silence, SilenceError, SilenceId, SilenceLimits, SilenceState, Silences,
};
use crate::store::{Context, Limits, Store, WriteError};
use crate::time::Timestamp;

/// Subjects of silences that steps share, and groups that are notified.
pub(super) const SUBJECTS: u64 = 12;
pub(super) const GROUPS: u64 = 24;

/// The stores of one process.
#[derive(Clone, Debug)]
pub(super) struct Alerting {
    pub(super) silences: Silences,
    pub(super) log: Nflog,
}

impl Alerting {
    /// Empty stores. Both keep what has ended for `tombstone_ttl`.
    pub(super) fn new(spec: &NodeSpec, limits: Limits, context: &Context, seed: [u8; 32]) -> Self {
        let retention = spec.config.tombstone_ttl;
        let of_silences = SilenceLimits {
            retention,
            ..SilenceLimits::default()
        };
        let of_log = NflogLimits { retention };
        Self {
            silences: Silences::new(of_silences, limits, context.clone(), seed),
            log: Nflog::new(of_log, limits, context.clone()),
        }
    }

    pub(super) fn stores(&self) -> [Arc<dyn Store>; 2] {
        [self.silences.store(), self.log.store()]
    }

    /// What its index says of some alerts, and what a look at every silence does.
    fn mutes_wrongly(&self, now: Timestamp) -> bool {
        let records = self.silences.map().records();
        let active = |silence: &Silence| silence.state(now) == SilenceState::Active;
        alerts().iter().any(|labels| {
            let of_all = records.iter().map(|(_, silence)| silence);
            let muting = of_all.filter(|silence| active(silence) && silence.matches(labels));
            let mut expected: Vec<SilenceId> = muting.map(|silence| silence.id).collect();
            expected.sort_unstable();
            self.silences.mutes(labels) != expected
        })
    }

    /// What it answers to a few questions.
    fn answers(&self) -> (Vec<Vec<SilenceId>>, Vec<Option<Arc<NflogEntry>>>) {
        let muted = alerts().into_iter();
        let muted = muted.map(|labels| self.silences.mutes(&labels));
        let groups = (0..GROUPS).map(|group| self.log.query(&receiver(group), &group_key(group)));
        (muted.collect(), groups.collect())
    }
}

impl Simulator {
    /// A node's silences; `None` if it is down or does not have [`NodeSpec::alerting`].
    #[must_use]
    pub fn silences(&self, node: usize) -> Option<&Silences> {
        Some(&self.alerting(node)?.silences)
    }

    /// A node's notification log; `None` if it is down or does not have [`NodeSpec::alerting`].
    #[must_use]
    pub fn nflog(&self, node: usize) -> Option<&Nflog> {
        Some(&self.alerting(node)?.log)
    }

    fn alerting(&self, node: usize) -> Option<&Alerting> {
        self.nodes[node].process.as_ref()?.alerting.as_ref()
    }

    /// Makes or changes a silence on a node; `None` if the node has no silences.
    ///
    /// # Errors
    /// What the store says.
    pub fn set_silence(
        &mut self,
        node: usize,
        new: NewSilence,
    ) -> Option<Result<SilenceId, SilenceError>> {
        let silences = self.silences(node)?.clone();
        self.note(node, format_args!("silence until {:?}", new.ends_at), &[]);
        let set = silences.set(new);
        self.notice_contention(node, set.as_ref().err());
        Some(set.map(|(id, written)| {
            self.acknowledged(node, &written);
            id
        }))
    }

    /// Ends a silence on a node; `None` if the node has no silences.
    ///
    /// # Errors
    /// What the store says.
    pub fn expire_silence(
        &mut self,
        node: usize,
        id: SilenceId,
    ) -> Option<Result<(), SilenceError>> {
        let silences = self.silences(node)?.clone();
        self.note(node, format_args!("silence {id} ended"), &[]);
        let ended = silences.expire(id);
        self.notice_contention(node, ended.as_ref().err());
        Some(ended.map(|written| {
            if let Some(written) = written {
                self.acknowledged(node, &written);
            }
        }))
    }

    /// Logs a notification on a node; `None` if the node has no log.
    ///
    /// # Errors
    /// What the store says.
    pub fn log_notification(
        &mut self,
        node: usize,
        made: Notified,
    ) -> Option<Result<(), NflogError>> {
        let log = self.nflog(node)?.clone();
        self.note(node, format_args!("notified {}", made.group_key), &[]);
        let logged = log.log(made);
        if let Err(NflogError::Write(error)) = &logged {
            self.refused(node, error);
        }
        Some(logged.map(|written| {
            self.acknowledged(node, &written);
        }))
    }

    /// Nobody else writes meanwhile: a write that loses again and again lost to what the node held.
    fn notice_contention(&mut self, node: usize, error: Option<&SilenceError>) {
        if matches!(error, Some(SilenceError::Contended { .. })) {
            self.refused(node, &WriteError::Conflict);
        }
    }

    /// Makes a silence of a subject.
    pub(super) fn silence_subject(
        &mut self,
        node: usize,
        subject: u64,
        starts_in: Duration,
        lasts: Duration,
    ) {
        let starts_at = self.wall(node).plus(starts_in);
        let mut new = NewSilence::new(matchers(subject), starts_at.plus(lasts));
        new.starts_at = Some(starts_at);
        new.created_by = format!("n{node}");
        new.comment = format!("subject {subject}");
        // A full store is no failure.
        let _ = self.set_silence(node, new);
    }

    /// Changes one of the silences that a node shows: it ends in a while, or now.
    pub(super) fn change_silence(&mut self, node: usize, pick: u64, lasts: Option<Duration>) {
        let Some(silences) = self.silences(node) else {
            return;
        };
        let mut shown = silences.query(&Query::default());
        shown.sort_by_key(|listed| listed.silence.id);
        let Some(at) = usize::try_from(pick)
            .ok()
            .and_then(|pick| pick.checked_rem(shown.len()))
        else {
            return;
        };
        let silence = Arc::clone(&shown[at].silence);
        let Some(lasts) = lasts else {
            // It may be at its end already.
            let _ = self.expire_silence(node, silence.id);
            return;
        };
        let new = NewSilence {
            id: Some(silence.id),
            matcher_sets: silence.matcher_sets.clone(),
            starts_at: Some(silence.starts_at),
            ends_at: self.wall(node).plus(lasts),
            created_by: format!("n{node}"),
            comment: silence.comment.clone(),
            annotations: BTreeMap::new(),
        };
        // It may end before it starts, which is refused.
        let _ = self.set_silence(node, new);
    }

    /// Logs that a group was notified.
    pub(super) fn notify_group(&mut self, node: usize, group: u64, repeat_interval: Duration) {
        let nanos = self.time.subsec_nanos();
        let data = ReceiverValue::Str(format!("n{node} {:?}", self.time));
        let made = Notified {
            receiver: receiver(group),
            group_key: group_key(group),
            firing: vec![group, u64::from(nanos)],
            resolved: vec![u64::from(nanos / 2)],
            receiver_data: BTreeMap::from([("thread".to_owned(), data)]),
            repeat_interval,
        };
        // A full store is no failure.
        let _ = self.log_notification(node, made);
    }

    /// What a process answers wrongly, or cannot read though it was written by its own kind.
    pub(super) fn misjudges(&self, node: usize) -> Option<Breach> {
        let alerting = self.alerting(node)?;
        if alerting.mutes_wrongly(self.wall(node)) {
            return Some(Breach::MutesWrongly { node });
        }
        let silences = alerting.silences.quarantined(1);
        let log = alerting.log.quarantined(1);
        let found = silences.first().or_else(|| log.first())?;
        Some(Breach::PoisonSpread {
            node,
            key: found.key,
            mistake: "quarantines a sound entry",
        })
    }

    /// Two nodes of a group that hold the same and do not answer the same. Clocks differ, and what
    /// has ended on one may not have on another: those are asked whose clock shows `cut`, above
    /// which all hold the same.
    pub(super) fn answers_differ(&self, group: &[usize], cut: Timestamp) -> Option<Breach> {
        let mut asked = group.iter().filter(|node| self.wall(**node) == cut);
        let &first = asked.next()?;
        let expected = self.alerting(first)?.answers();
        let other = asked.find(|node| {
            let answers = self.alerting(**node).map(Alerting::answers);
            answers.is_some_and(|answers| answers != expected)
        })?;
        Some(Breach::AnswersDiffer {
            a: first,
            b: *other,
        })
    }
}

fn receiver(group: u64) -> ReceiverKey {
    ReceiverKey {
        group_name: format!("team {}", group % 3),
        integration: "webhook".to_owned(),
        idx: 0,
    }
}

fn group_key(group: u64) -> String {
    format!("{{}}:{{alertname=\"a{group}\"}}")
}

/// What a silence of a subject matches: something for every way to find a silence.
fn matchers(subject: u64) -> Vec<Matcher> {
    let matcher = |name: &str, op, value: String| {
        Matcher::new(name, op, &value).expect("a name and a pattern that are valid")
    };
    let name = format!("a{}", subject % 6);
    match subject % 4 {
        0 => vec![matcher("alertname", Op::Equal, name)],
        1 => vec![
            matcher("alertname", Op::Equal, name),
            matcher("instance", Op::Regex, "i[0-4]".to_owned()),
        ],
        2 => vec![matcher("alertname", Op::Regex, format!("{name}|b.*"))],
        _ => vec![
            matcher("severity", Op::NotEqual, "page".to_owned()),
            matcher("instance", Op::Equal, format!("i{}", subject % 8)),
        ],
    }
}

/// Alerts that are asked about.
fn alerts() -> [Labels; 4] {
    [
        (0, 1, "page"),
        (1, 3, "warn"),
        (2, 7, "warn"),
        (5, 5, "page"),
    ]
    .map(|(name, instance, severity)| {
        let label = |name: &str, value: String| (name.to_owned(), value);
        Labels::from([
            label("alertname", format!("a{name}")),
            label("instance", format!("i{instance}")),
            label("severity", severity.to_owned()),
        ])
    })
}
