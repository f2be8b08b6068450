//! Whether a group is to be notified now: `needsUpdate` of `notify/dedup_stage.go`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::entry::NflogEntry;
use crate::time::Timestamp;

/// A group as it is now, and what its receiver wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// Hashes of the alerts that fire, in any order.
    pub firing: &'a [u64],
    /// Hashes of the alerts that are resolved, in any order.
    pub resolved: &'a [u64],
    /// Whether the receiver wants to be told of resolved alerts.
    pub send_resolved: bool,
    /// How often an unchanged group is notified again.
    pub repeat_interval: Duration,
}

/// Whether to notify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is nothing to notify.
    No,
    /// Notify, and log it.
    Notify(Reason),
}

/// Why to notify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// All alerts that the receiver knows of are resolved. This is the reason also if the receiver does
    /// not want to be told: with `send_resolved` off, log without sending, so that the log forgets the
    /// firing alerts.
    AllAlertsResolved,
    /// The receiver knows of no firing alert of the group. What its integration remembers is about
    /// earlier alerts: begin with an empty `receiver_data`.
    FirstNotification,
    /// Some alert fires that the receiver does not know of.
    NewAlertsInGroup,
    /// Some alert is resolved that the receiver does not know to be.
    NewResolvedAlerts,
    /// Nothing changed for longer than the repeat interval.
    RepeatIntervalElapsed,
}

/// Decides about a group, given its entry in the log, at the instant `now` at which the group was
/// flushed. The rules are tried from the top, as in Alertmanager's `needsUpdate`
/// (`notify/dedup_stage.go`).
#[must_use]
pub fn needs_notification(
    entry: Option<&NflogEntry>,
    group: &Group<'_>,
    now: Timestamp,
) -> Decision {
    use Decision::{No, Notify};
    let Some(entry) = entry else {
        return if group.firing.is_empty() {
            No
        } else {
            Notify(Reason::FirstNotification)
        };
    };
    if !is_subset(group.firing, &entry.firing) {
        return Notify(if entry.firing.is_empty() {
            Reason::FirstNotification
        } else {
            Reason::NewAlertsInGroup
        });
    }
    if group.firing.is_empty() {
        // Alerts that fired and were resolved since the last notification were never notified.
        return if entry.firing.is_empty() {
            No
        } else {
            Notify(Reason::AllAlertsResolved)
        };
    }
    if group.send_resolved && !is_subset(group.resolved, &entry.resolved) {
        return Notify(Reason::NewResolvedAlerts);
    }
    if entry.timestamp < now.minus(group.repeat_interval) {
        return Notify(Reason::RepeatIntervalElapsed);
    }
    No
}

fn is_subset(some: &[u64], of: &[u64]) -> bool {
    let of: BTreeSet<u64> = of.iter().copied().collect();
    some.iter().all(|hash| of.contains(hash))
}

#[cfg(test)]
mod tests {
    use super::super::entry::ReceiverKey;
    use super::Decision::{No, Notify};
    use super::*;
    use std::collections::BTreeMap;

    const NOW: Timestamp = Timestamp::from_secs(100_000);
    const REPEAT: Duration = Duration::from_secs(3600);

    fn entry(firing: &[u64], resolved: &[u64], ago: Duration) -> Option<NflogEntry> {
        Some(NflogEntry {
            receiver: ReceiverKey {
                group_name: "team".into(),
                integration: "email".into(),
                idx: 0,
            },
            group_key: "{}".into(),
            timestamp: NOW.minus(ago),
            firing: firing.to_vec(),
            resolved: resolved.to_vec(),
            receiver_data: BTreeMap::new(),
        })
    }

    /// Every rule, and the cases of Alertmanager's `TestDedupStageNeedsUpdate`. The columns: the number
    /// of the rule; the entry's firing and resolved alerts and its age in seconds, or `none`; what is
    /// firing and resolved now; whether the receiver wants resolved alerts; the decision.
    const RULES: &str = "
        1  none             |  1      -      yes  |  FirstNotification
        2  none             |  -      1      yes  |  No
        2  none             |  -      -      yes  |  No
        3  -      1    60   |  1      -      yes  |  FirstNotification
        3  -      -    9999 |  1      -      yes  |  FirstNotification
        4  1,2,3  -    60   |  2,3,4  -      yes  |  NewAlertsInGroup
        4  1      -    9999 |  2      1      yes  |  NewAlertsInGroup
        5  1,2    3    60   |  -      1,2,3  yes  |  AllAlertsResolved
        5  1      -    60   |  -      1      no   |  AllAlertsResolved
        5  1      -    60   |  -      -      no   |  AllAlertsResolved
        6  -      1    60   |  -      1,2    yes  |  No
        6  -      1    9999 |  -      1,2    yes  |  No
        7  1,2    3    60   |  1      2,3    yes  |  NewResolvedAlerts
        7  1,2    3    9999 |  1      2,3    yes  |  NewResolvedAlerts
        8  1,2    3    3601 |  1      2,3    no   |  RepeatIntervalElapsed
        8  1,2,3  -    3601 |  1,2,3  -      yes  |  RepeatIntervalElapsed
        9  1      -    3600 |  1      -      yes  |  No
        9  1,2    3    60   |  1      2,3    no   |  No
        9  1,2,3  -    60   |  1,2,3  -      yes  |  No
        9  1,2,3  -    60   |  1,2    -      yes  |  No
        9  1,2    2,3  60   |  1      2      yes  |  No";

    fn hashes(text: &str) -> Vec<u64> {
        let parts = text.split(',').filter(|part| *part != "-");
        parts.map(|part| part.parse().unwrap()).collect()
    }

    #[test]
    fn the_rules_are_tried_from_the_top() {
        for row in RULES.lines().skip(1) {
            let columns: Vec<Vec<&str>> = row
                .split('|')
                .map(|column| column.split_whitespace().collect())
                .collect();
            let entry = match columns[0][1..] {
                [firing, resolved, age] => entry(
                    &hashes(firing),
                    &hashes(resolved),
                    Duration::from_secs(age.parse().unwrap()),
                ),
                _ => None,
            };
            let group = Group {
                firing: &hashes(columns[1][0]),
                resolved: &hashes(columns[1][1]),
                send_resolved: columns[1][2] == "yes",
                repeat_interval: REPEAT,
            };
            let decided = match needs_notification(entry.as_ref(), &group, NOW) {
                No => "No".to_owned(),
                Notify(reason) => format!("{reason:?}"),
            };
            assert_eq!(decided, columns[2][0], "{row}");
        }
    }

    #[test]
    fn an_entry_from_the_future_is_not_repeated() {
        let mut ahead = entry(&[1], &[], Duration::ZERO).unwrap();
        ahead.timestamp = NOW.plus(REPEAT);
        let group = Group {
            firing: &[1],
            resolved: &[],
            send_resolved: true,
            repeat_interval: Duration::ZERO,
        };
        assert_eq!(needs_notification(Some(&ahead), &group, NOW), No);
    }
}
