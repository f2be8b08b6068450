//! Inhibition: alerts that others mute while those fire.
//!
//! The rules are Alertmanager's (`inhibit/inhibit.go`): a target is muted while a source of the same rule
//! fires that has the same values for the labels of `equal`. An alert that matches both sides of a rule is
//! not muted by others that do, so none is ever muted by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rumormill::store::matcher::{Labels, set_matches};
use rumormill::time::Timestamp;

use super::feed::Difference;
use crate::alerts::Alert;
use crate::rules::Rule;

/// The rules, each with the alerts that match its source.
#[derive(Debug, Default)]
pub(super) struct Inhibitor {
    rules: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    rule: Rule,
    /// By the values of the labels of `equal`, then by fingerprint.
    sources: BTreeMap<Vec<String>, BTreeMap<u64, Source>>,
    /// Where each source is.
    places: BTreeMap<u64, Vec<String>>,
}

#[derive(Debug)]
struct Source {
    alert: Arc<Alert>,
    /// Whether the rule's target matches it as well.
    is_target: bool,
}

impl Inhibitor {
    /// Without alerts.
    pub(super) fn new(rules: &[Rule]) -> Self {
        let rules = rules.iter().map(|rule| Kept {
            rule: rule.clone(),
            sources: BTreeMap::new(),
            places: BTreeMap::new(),
        });
        Self {
            rules: rules.collect(),
        }
    }

    /// Takes over what has changed.
    pub(super) fn update(&mut self, difference: &Difference) {
        for kept in &mut self.rules {
            difference.gone.iter().for_each(|print| kept.remove(*print));
            for seen in &difference.changed {
                kept.put(seen.print, &seen.alert);
            }
        }
    }

    /// Takes an alert.
    pub(super) fn put(&mut self, print: u64, alert: &Arc<Alert>) {
        self.rules
            .iter_mut()
            .for_each(|kept| kept.put(print, alert));
    }

    /// The alerts that mute one of these labels now: one for each rule, at most.
    pub(super) fn muted_by(&self, labels: &Labels, now: Timestamp) -> BTreeSet<u64> {
        let rules = self.rules.iter();
        rules
            .filter_map(|kept| kept.muted_by(labels, now))
            .collect()
    }
}

impl Kept {
    fn put(&mut self, print: u64, alert: &Arc<Alert>) {
        if !set_matches(&self.rule.sources, &alert.labels) {
            return;
        }
        let equal = self.equal(&alert.labels);
        self.places.insert(print, equal.clone());
        let is_target = set_matches(&self.rule.targets, &alert.labels);
        let alert = Arc::clone(alert);
        let sources = self.sources.entry(equal).or_default();
        sources.insert(print, Source { alert, is_target });
    }

    fn remove(&mut self, print: u64) {
        let Some(equal) = self.places.remove(&print) else {
            return;
        };
        if let Some(sources) = self.sources.get_mut(&equal) {
            sources.remove(&print);
            if sources.is_empty() {
                self.sources.remove(&equal);
            }
        }
    }

    fn muted_by(&self, labels: &Labels, now: Timestamp) -> Option<u64> {
        if self.sources.is_empty() || !set_matches(&self.rule.targets, labels) {
            return None;
        }
        let is_source = set_matches(&self.rule.sources, labels);
        let mut sources = self.sources.get(&self.equal(labels))?.iter();
        let muting =
            |source: &Source| !(source.alert.is_resolved(now) || is_source && source.is_target);
        sources
            .find(|(_, source)| muting(source))
            .map(|(print, _)| *print)
    }

    /// A label that is missing is as good as an empty one.
    fn equal(&self, labels: &Labels) -> Vec<String> {
        let names = self.rule.equal.iter();
        let values = names.map(|name| labels.get(name).cloned().unwrap_or_default());
        values.collect()
    }
}

#[cfg(test)]
mod tests {
    use rumormill::store::matcher::Syntax;

    use super::super::feed::Seen;
    use super::super::tests::alert;
    use super::*;

    fn rule(sources: &str, targets: &str, equal: &[&str]) -> Rule {
        let read = |text| Syntax::Fallback.matchers(text).unwrap();
        Rule {
            sources: read(sources),
            targets: read(targets),
            equal: equal.iter().map(ToString::to_string).collect(),
        }
    }

    fn labels(text: &str) -> Labels {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    /// Alerts that fire from 10 to 20, and what mutes one of these labels at 15.
    fn muted(rule: Rule, firing: &[&str], target: &str) -> Vec<u64> {
        let mut inhibitor = Inhibitor::new(&[rule]);
        for (print, text) in (0..).zip(firing) {
            inhibitor.put(print, &Arc::new(alert(text, 10, 20)));
        }
        let now = Timestamp::from_secs(15);
        inhibitor
            .muted_by(&labels(target), now)
            .into_iter()
            .collect()
    }

    #[test]
    fn a_source_mutes_targets_with_the_same_values() {
        let rule = || {
            rule(
                "severity=critical",
                "severity=~\"warning|info\"",
                &["team", "x"],
            )
        };
        let firing = ["severity=critical,team=a", "severity=warning,team=b"];
        for (target, by) in [
            ("severity=warning,team=a", &[0][..]),
            ("severity=info,team=a,x=", &[0]),
            ("severity=info,team=a,x=1", &[]),
            ("severity=warning,team=b", &[]),
            ("severity=critical,team=a", &[]),
        ] {
            assert_eq!(muted(rule(), &firing, target), by, "{target}");
        }
    }

    #[test]
    fn no_alert_is_muted_by_itself_or_by_one_that_matches_both_sides_like_itself() {
        let rule = || rule("a=~\".+\"", "b=~\".+\"", &[]);
        for (firing, target, by) in [
            (&["a=1,b=1"][..], "a=1,b=1", &[][..]),
            (&["a=1,b=1", "a=2,b=2"], "a=1,b=1", &[]),
            (&["a=1,b=1"], "b=1", &[0]),
            (&["a=1"], "a=2,b=2", &[0]),
        ] {
            assert_eq!(muted(rule(), firing, target), by, "{firing:?} {target}");
        }
    }

    #[test]
    fn what_is_resolved_or_gone_mutes_nothing() {
        let mut inhibitor = Inhibitor::new(&[rule("s=1", "t=1", &[])]);
        let source = Arc::new(alert("s=1", 10, 20));
        let seen = Seen {
            print: 7,
            alert: source,
            before: None,
        };
        let mutes = |inhibitor: &Inhibitor, at| {
            let by = inhibitor.muted_by(&labels("t=1"), Timestamp::from_secs(at));
            !by.is_empty()
        };
        inhibitor.update(&Difference {
            changed: vec![seen],
            gone: Vec::new(),
        });
        assert!(mutes(&inhibitor, 19) && !mutes(&inhibitor, 20));
        inhibitor.update(&Difference {
            changed: Vec::new(),
            gone: vec![7],
        });
        assert!(!mutes(&inhibitor, 19));
    }
}
