//! The two stores that the crate ships, on simulated nodes: silences and the notification log, and
//! what they are asked and told there.
//!
//! What is promised of them is in [`answers`](crate::sim::check::answers).

use std::sync::Arc;

use super::spec::NodeSpec;
use crate::store::matcher::{Labels, Matcher, Op, sets_match};
use crate::store::nflog::{Nflog, NflogEntry, NflogLimits, ReceiverKey};
use crate::store::silences::{SilenceId, SilenceLimits, SilenceState, Silences};
use crate::store::{Context, Store};
use crate::time::Timestamp;

/// Subjects of silences that steps share, and groups that are notified.
pub(in crate::sim) const SUBJECTS: u64 = 12;
pub(in crate::sim) const GROUPS: u64 = 24;

/// The stores of one process.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Alerting {
    pub(in crate::sim) silences: Silences,
    pub(in crate::sim) log: Nflog,
}

impl Alerting {
    /// Empty stores. Both keep what has ended for `tombstone_ttl`.
    pub(in crate::sim) fn new(spec: &NodeSpec, context: &Context, seed: [u8; 32]) -> Self {
        let limits = spec.limits();
        let retention = spec.config.tombstone_ttl;
        let of_silences = SilenceLimits {
            retention,
            // Two patterns: most are dropped, and compiled again.
            patterns_bytes_max: 3 << 10,
            ..SilenceLimits::default()
        };
        let of_log = NflogLimits { retention };
        Self {
            silences: Silences::new(of_silences, limits, context.clone(), seed),
            log: Nflog::new(of_log, limits, context.clone()),
        }
    }

    /// Both, to be replicated.
    pub(in crate::sim) fn stores(&self) -> [Arc<dyn Store>; 2] {
        [self.silences.store(), self.log.store()]
    }

    /// Whether the store says something else of some alerts than a look at every silence does, with
    /// matchers that share nothing with the store.
    pub(in crate::sim) fn mutes_wrongly(&self, now: Timestamp) -> bool {
        let records = self.silences.map().records();
        let active = records.iter().map(|(_, silence)| silence.whole());
        let active = active.filter(|silence| silence.state(now) == SilenceState::Active);
        let active: Vec<_> = active
            .map(|silence| {
                let sets = silence.matcher_sets.iter();
                let sets = sets.map(|set| set.iter().map(again).collect());
                (silence.id, sets.collect::<Vec<Vec<Matcher>>>())
            })
            .collect();
        alerts().iter().any(|labels| {
            let muting = active.iter().filter(|(_, sets)| sets_match(sets, labels));
            let mut expected: Vec<SilenceId> = muting.map(|(id, _)| *id).collect();
            expected.sort_unstable();
            self.silences.mutes(labels) != expected
        })
    }

    /// What it returns when it is asked a few questions.
    pub(in crate::sim) fn answers(&self) -> (Vec<Vec<SilenceId>>, Vec<Option<Arc<NflogEntry>>>) {
        let muted = alerts().into_iter();
        let muted = muted.map(|labels| self.silences.mutes(&labels));
        let groups = (0..GROUPS).map(|group| self.log.query(&receiver(group), &group_key(group)));
        (muted.collect(), groups.collect())
    }
}

/// The same matcher, made anew.
fn again(matcher: &Matcher) -> Matcher {
    let made = Matcher::new(matcher.name(), matcher.op(), matcher.value());
    made.expect("it was made once")
}

/// Who is notified of a group.
pub(in crate::sim) fn receiver(group: u64) -> ReceiverKey {
    ReceiverKey {
        group_name: format!("team {}", group % 3),
        integration: "webhook".to_owned(),
        idx: 0,
    }
}

/// The key of a group that is notified.
pub(in crate::sim) fn group_key(group: u64) -> String {
    format!("{{}}:{{alertname=\"a{group}\"}}")
}

/// What a silence of a subject matches: something for every way to find a silence.
pub(in crate::sim) fn matchers(subject: u64) -> Vec<Matcher> {
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
