//! What an application does with the two stores that the crate ships: silences are made, changed and
//! ended, notifications logged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::simulator::Simulator;
use crate::sim::nodes::alerting::{Alerting, group_key, matchers, receiver};
use crate::store::WriteError;
use crate::store::nflog::{Nflog, NflogError, Notified, ReceiverValue};
use crate::store::silences::{NewSilence, Query, SilenceEnd, SilenceError, SilenceId, Silences};

impl Simulator {
    /// A node's silences; `None` if it is down or does not have
    /// [`NodeSpec::alerting`](crate::sim::NodeSpec::alerting).
    #[must_use]
    pub fn silences(&self, node: usize) -> Option<&Silences> {
        Some(&self.alerting(node)?.silences)
    }

    /// A node's notification log; `None` if it is down or does not have
    /// [`NodeSpec::alerting`](crate::sim::NodeSpec::alerting).
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
        let (_, ends_at) = new.times(self.wall(node));
        self.note(node, format_args!("silence until {ends_at:?}"), &[]);
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
    pub(in crate::sim) fn silence_subject(
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
    pub(in crate::sim) fn change_silence(
        &mut self,
        node: usize,
        pick: u64,
        lasts: Option<Duration>,
    ) {
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
            end: SilenceEnd::At(self.wall(node).plus(lasts)),
            created_by: format!("n{node}"),
            comment: silence.comment.clone(),
            annotations: BTreeMap::new(),
        };
        // It may end before it starts, which is refused.
        let _ = self.set_silence(node, new);
    }

    /// Logs that a group was notified.
    pub(in crate::sim) fn notify_group(
        &mut self,
        node: usize,
        group: u64,
        repeat_interval: Duration,
    ) {
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
}
