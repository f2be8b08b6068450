//! In which order alerts and groups are shown and told: Alertmanager's.

use std::cmp::Ordering;

use rumormill::store::matcher::Labels;

use crate::alerts::Alert;

/// By job, then by instance, those without last; then by all labels.
pub(crate) fn alerts(a: &Alert, b: &Alert) -> Ordering {
    fn named<'a>(alert: &'a Alert, name: &str) -> (bool, Option<&'a String>) {
        let value = alert.labels.get(name);
        (value.is_none(), value)
    }
    let key = |alert| (named(alert, "job"), named(alert, "instance"));
    let by_name = key(a).cmp(&key(b));
    by_name.then_with(|| labels(&a.labels, &b.labels))
}

/// Fewer come first. Of as many, the first name that differs decides: what does not have it comes first, then what has the
/// lesser value.
pub(crate) fn labels(a: &Labels, b: &Labels) -> Ordering {
    let differing = a.iter().zip(b).find(|(a, b)| a != b);
    let by_first = differing.map(|((a_name, a_value), (b_name, b_value))| {
        // Who has the lesser name of the two has one that the other does not have.
        b_name.cmp(a_name).then_with(|| a_value.cmp(b_value))
    });
    let by_count = a.len().cmp(&b.len());
    by_count.then(by_first.unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(texts: &[&'static str]) -> Vec<&'static str> {
        let of = |text: &str| -> Labels {
            let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        };
        let mut all = texts.to_vec();
        all.sort_by(|a, b| labels(&of(a), &of(b)));
        all
    }

    /// As `LabelSet.Before` has it.
    #[test]
    fn labels_are_in_alertmanagers_order() {
        let all = [
            "", "z=9", "y=1", "b=1,c=1", "a=1,c=1", "a=1,b=1", "a=1,b=2", "a=2,b=0",
        ];
        let mut mixed = all;
        mixed.reverse();
        mixed.swap(1, 5);
        assert_eq!(sorted(&mixed), all);
    }
}
