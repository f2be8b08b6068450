//! Whether a group is to be notified now: `needsUpdate` of `notify/dedup_stage.go`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::NflogEntry;
use crate::time::Timestamp;

/// A group as it is now, and how its receiver wants to hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// Hashes of the alerts that fire, in any order.
    pub firing: &'a [u64],
    /// Hashes of the alerts that are resolved, in any order.
    pub resolved: &'a [u64],
    /// Whether the receiver wants to hear of resolved alerts.
    pub send_resolved: bool,
    /// How often an unchanged group is notified again.
    pub repeat_interval: Duration,
}

/// Whether to notify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is nothing to tell.
    No,
    /// Notify, and log it.
    Notify(Reason),
}

/// Why to notify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// All alerts that the receiver knows of are resolved. It holds whether or not the receiver
    /// wants to hear of it, so that the log forgets the firing ones: with `send_resolved` off, log
    /// without sending.
    AllAlertsResolved,
    /// The receiver knows of no firing alert of the group. What its integration remembers belongs
    /// to an earlier story: begin with none.
    FirstNotification,
    /// Some alert fires that the receiver does not know of.
    NewAlertsInGroup,
    /// Some alert is resolved that the receiver does not know to be.
    NewResolvedAlerts,
    /// Nothing changed for longer than the repeat interval.
    RepeatIntervalElapsed,
}

/// Decides about a group, given what the log has of it, at the instant `now` at which the group
/// was flushed. The rules are tried from the top (reference 3.5).
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
        // Alerts that came and went since the last notification are nobody's news.
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
    use super::super::ReceiverKey;
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

    /// Reference 3.5, row by row, and the cases of `TestDedupStageNeedsUpdate`.
    #[test]
    fn the_rules_are_tried_from_the_top() {
        let soon = Duration::from_secs(60);
        let late = REPEAT + Duration::from_nanos(1);
        // Rule, entry, firing now, resolved now, send_resolved, decision.
        type Row = (
            &'static str,
            Option<NflogEntry>,
            &'static [u64],
            &'static [u64],
            bool,
            Decision,
        );
        let rows: [Row; 18] = [
            (
                "1",
                None,
                &[1],
                &[],
                true,
                Notify(Reason::FirstNotification),
            ),
            ("2", None, &[], &[1], true, No),
            ("2", None, &[], &[], true, No),
            (
                "3",
                entry(&[], &[1], soon),
                &[1],
                &[],
                true,
                Notify(Reason::FirstNotification),
            ),
            (
                "4",
                entry(&[1, 2, 3], &[], soon),
                &[2, 3, 4],
                &[],
                true,
                Notify(Reason::NewAlertsInGroup),
            ),
            (
                "4 before 7",
                entry(&[1], &[], soon),
                &[2],
                &[1],
                true,
                Notify(Reason::NewAlertsInGroup),
            ),
            (
                "5",
                entry(&[1, 2], &[3], soon),
                &[],
                &[1, 2, 3],
                true,
                Notify(Reason::AllAlertsResolved),
            ),
            (
                "5, whatever send_resolved",
                entry(&[1], &[], soon),
                &[],
                &[1],
                false,
                Notify(Reason::AllAlertsResolved),
            ),
            (
                "5, without resolved ones",
                entry(&[1], &[], soon),
                &[],
                &[],
                false,
                Notify(Reason::AllAlertsResolved),
            ),
            ("6", entry(&[], &[1], soon), &[], &[1, 2], true, No),
            (
                "6, however late",
                entry(&[], &[1], late),
                &[],
                &[1, 2],
                true,
                No,
            ),
            (
                "7",
                entry(&[1, 2], &[3], soon),
                &[1],
                &[2, 3],
                true,
                Notify(Reason::NewResolvedAlerts),
            ),
            (
                "7 needs send_resolved",
                entry(&[1, 2], &[3], soon),
                &[1],
                &[2, 3],
                false,
                No,
            ),
            (
                "8",
                entry(&[1, 2, 3], &[], late),
                &[1, 2, 3],
                &[],
                true,
                Notify(Reason::RepeatIntervalElapsed),
            ),
            ("8 is strict", entry(&[1], &[], REPEAT), &[1], &[], true, No),
            ("9", entry(&[1, 2, 3], &[], soon), &[1, 2, 3], &[], true, No),
            (
                "9, one less firing",
                entry(&[1, 2, 3], &[], soon),
                &[1, 2],
                &[],
                true,
                No,
            ),
            (
                "9, resolved known",
                entry(&[1, 2], &[2, 3], soon),
                &[1],
                &[2],
                true,
                No,
            ),
        ];
        for (rule, entry, firing, resolved, send_resolved, decision) in rows {
            let group = Group {
                firing,
                resolved,
                send_resolved,
                repeat_interval: REPEAT,
            };
            let decided = needs_notification(entry.as_ref(), &group, NOW);
            assert_eq!(decided, decision, "rule {rule}");
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
