//! The alerts this node was told of. They are its own: Prometheus sends them to every node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumormill::store::matcher::{Labels, Syntax, is_label_name};
use rumormill::time::Timestamp;

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alert {
    pub(crate) labels: Labels,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) starts_at: Timestamp,
    pub(crate) ends_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) generator_url: String,
    /// Whether its end is a guess: it was sent without one.
    pub(crate) timeout: bool,
}

/// Why an alert is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AlertError {
    #[error("invalid annotations: invalid name {0:?}")]
    Annotation(String),
    #[error("start time must be before end time")]
    EndBeforeStart,
    #[error("invalid label set: invalid name {0:?}")]
    Label(String),
    #[error("at least one label pair required")]
    NoLabels,
    #[error("the alert takes more than {0} bytes, the limit of --alerts.max-alert-size-bytes")]
    TooLarge(usize),
    #[error("{0} alerts are held, the limit of --alerts.max-alerts")]
    TooMany(usize),
    #[error("the alerts that are held take {0} bytes, the limit of --alerts.max-bytes")]
    TooManyBytes(usize),
}

/// What alerts may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlertLimits {
    pub(crate) count: usize,
    /// Of all alerts.
    pub(crate) bytes: usize,
    /// Of each.
    pub(crate) alert_bytes: usize,
}

impl Alert {
    pub(crate) fn fingerprint(&self) -> u64 {
        fingerprint(&self.labels)
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let pairs = self.labels.iter().chain(&self.annotations);
        let pairs: usize = pairs.map(|(name, value)| pair_bytes(name, value)).sum();
        ALERT_BYTES + self.generator_url.len() + pairs
    }

    pub(crate) fn is_resolved(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }

    pub(crate) fn check(&self) -> Result<(), AlertError> {
        if self.ends_at < self.starts_at {
            return Err(AlertError::EndBeforeStart);
        }
        if self.labels.is_empty() {
            return Err(AlertError::NoLabels);
        }
        let wrong = |names: &BTreeMap<String, String>| {
            let mut names = names.keys();
            names
                .find(|name| !is_label_name(name, Syntax::Fallback))
                .cloned()
        };
        if let Some(name) = wrong(&self.labels) {
            return Err(AlertError::Label(name));
        }
        wrong(&self.annotations).map_or(Ok(()), |name| Err(AlertError::Annotation(name)))
    }

    /// The younger one, with the earlier start, and the end that was really said.
    fn merged(self, younger: Self, now: Timestamp) -> Self {
        let mut merged = younger;
        merged.starts_at = merged.starts_at.min(self.starts_at);
        let both_resolved = merged.is_resolved(now) && self.is_resolved(now);
        let said = !merged.is_resolved(now) && !self.timeout;
        if (both_resolved || said) && self.ends_at > merged.ends_at {
            merged.ends_at = self.ends_at;
        }
        merged
    }
}

/// All of them, by fingerprint.
#[derive(Debug)]
pub(crate) struct Alerts {
    held: Mutex<Held>,
    limits: AlertLimits,
}

#[derive(Debug, Default)]
struct Held {
    by_fingerprint: BTreeMap<u64, Arc<Alert>>,
    /// What they take.
    bytes: usize,
    /// Grows with every change.
    changes: u64,
}

/// All alerts, as of a change.
#[derive(Debug)]
pub(crate) struct All {
    pub(crate) alerts: Vec<(u64, Arc<Alert>)>,
    pub(crate) changes: u64,
}

impl Alerts {
    /// None, and never more than `limits` say.
    pub(crate) fn new(limits: AlertLimits) -> Self {
        Self {
            held: Mutex::default(),
            limits,
        }
    }

    pub(crate) fn limits(&self) -> &AlertLimits {
        &self.limits
    }

    /// What all of them take in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Takes an alert; one of the same labels that overlaps it is merged with it.
    ///
    /// # Errors
    /// It is too large, or as many as there may be are held and this is another one, or it takes more
    /// than there is room for.
    pub(crate) fn put(&self, alert: Alert, now: Timestamp) -> Result<(), AlertError> {
        let (fingerprint, limits) = (alert.fingerprint(), &self.limits);
        let bytes = alert.bytes();
        if bytes > limits.alert_bytes {
            return Err(AlertError::TooLarge(limits.alert_bytes));
        }
        let mut held = self.lock();
        let full = held.by_fingerprint.len() >= limits.count;
        let old = held.by_fingerprint.get(&fingerprint);
        let freed = old.map_or(0, |old| old.bytes());
        // What is held already may be told again, even if it could not be added.
        let all = held.bytes - freed + bytes;
        if bytes > freed && all > limits.bytes {
            return Err(AlertError::TooManyBytes(limits.bytes));
        }
        let alert = match old {
            // Texts are those of the younger one, so that it takes what that does.
            Some(old) if overlap(old, &alert) => Alert::clone(old).merged(alert, now),
            None if full => return Err(AlertError::TooMany(limits.count)),
            _ => alert,
        };
        held.by_fingerprint.insert(fingerprint, Arc::new(alert));
        held.bytes = all;
        held.changes += 1;
        Ok(())
    }

    /// The ones that fire, by fingerprint.
    pub(crate) fn firing(&self, now: Timestamp) -> Vec<(u64, Arc<Alert>)> {
        let mut all = self.all().alerts;
        all.retain(|(_, alert)| !alert.is_resolved(now));
        all
    }

    /// All of them, those included that have been resolved and are not forgotten yet.
    pub(crate) fn all(&self) -> All {
        let held = self.lock();
        let alerts = held.by_fingerprint.iter();
        All {
            alerts: alerts.map(|(print, it)| (*print, Arc::clone(it))).collect(),
            changes: held.changes,
        }
    }

    /// How often they changed.
    pub(crate) fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Whether there is one of these labels.
    pub(crate) fn holds(&self, labels: &Labels) -> bool {
        self.lock()
            .by_fingerprint
            .contains_key(&fingerprint(labels))
    }

    /// Forgets the resolved ones.
    pub(crate) fn collect(&self, now: Timestamp) {
        let mut guard = self.lock();
        let held = &mut *guard;
        held.by_fingerprint.retain(|_, alert| {
            let stays = !alert.is_resolved(now);
            if !stays {
                held.bytes -= alert.bytes();
            }
            stays
        });
        held.changes += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// FNV-1a over `name 0xff value 0xff` of all labels, as Prometheus fingerprints them.
fn fingerprint(labels: &Labels) -> u64 {
    let bytes = labels.iter().flat_map(|(name, value)| {
        name.bytes()
            .chain([0xff])
            .chain(value.bytes())
            .chain([0xff])
    });
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// What a name and a value take in a mapping: the texts, and what holds them.
pub(crate) fn pair_bytes(name: &str, value: &str) -> usize {
    PAIR_BYTES + name.len() + value.len()
}

fn overlap(old: &Alert, new: &Alert) -> bool {
    let within = |at: Timestamp| old.starts_at < at && at < old.ends_at;
    within(new.ends_at) || within(new.starts_at)
}

/// Two short texts as the allocator has them, and their place in a mapping that is half empty.
const PAIR_BYTES: usize = 144;
/// An alert without texts, and its place among the others.
const ALERT_BYTES: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(count: usize) -> AlertLimits {
        AlertLimits {
            count,
            bytes: 1 << 20,
            alert_bytes: 1 << 16,
        }
    }

    fn alert(starts_at: u64, ends_at: u64, timeout: bool) -> Alert {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Alert {
            labels: [("a", "x"), ("alertname", "x")].map(owned).into(),
            annotations: BTreeMap::new(),
            starts_at: Timestamp::from_secs(starts_at),
            ends_at: Timestamp::from_secs(ends_at),
            updated_at: Timestamp::from_secs(starts_at),
            generator_url: String::new(),
            timeout,
        }
    }

    /// As the real one answered for these labels.
    #[test]
    fn fingerprints_are_those_of_prometheus() {
        assert_eq!(alert(1, 2, false).fingerprint(), 0x0a68_48cc_c023_6493);
    }

    /// Old and new as (start, end, timeout), now, and what comes of them.
    #[test]
    fn alerts_that_overlap_are_merged() {
        for (old, new, now, expected) in [
            // An alert is sent again and again, its end a guess each time.
            ((10, 310, true), (20, 320, true), 20, (10, 320)),
            // It is resolved.
            ((10, 310, true), (10, 50, false), 60, (10, 50)),
            // An end that was said holds against a guess that is earlier.
            ((10, 500, false), (20, 320, true), 20, (10, 500)),
            // It fires again after its end: another story.
            ((10, 50, false), (100, 400, true), 100, (100, 400)),
        ] {
            let alerts = Alerts::new(limits(10));
            let at = Timestamp::from_secs(now);
            alerts.put(alert(old.0, old.1, old.2), at).unwrap();
            alerts.put(alert(new.0, new.1, new.2), at).unwrap();
            let held = alerts.firing(Timestamp::ZERO);
            let (from, to) = (held[0].1.starts_at, held[0].1.ends_at);
            let expected = (
                Timestamp::from_secs(expected.0),
                Timestamp::from_secs(expected.1),
            );
            assert_eq!((from, to), expected, "{old:?} {new:?}");
        }
    }

    #[test]
    fn there_are_never_more_than_there_may_be() {
        let alerts = Alerts::new(limits(1));
        let (one, mut other) = (alert(10, 310, true), alert(10, 310, true));
        other.labels.insert("b".to_owned(), "y".to_owned());
        let now = Timestamp::from_secs(20);
        assert_eq!(alerts.put(one.clone(), now), Ok(()));
        assert_eq!(alerts.put(other, now), Err(AlertError::TooMany(1)));
        assert_eq!(alerts.put(one, now), Ok(()), "the one that is held");
        assert_eq!(alerts.all().alerts.len(), 1);
    }

    /// Bytes are given back when alerts go, and what is held may be told again as it is.
    #[test]
    fn bytes_are_limited_of_one_and_of_all() {
        let now = Timestamp::from_secs(20);
        let sized = |name: usize, bytes: usize| {
            let mut alert = alert(10, 30, false);
            alert.labels.insert("n".to_owned(), name.to_string());
            alert.annotations.insert("a".to_owned(), "x".repeat(bytes));
            alert
        };
        let alerts = Alerts::new(limits(1000));
        let whole = alerts.limits().alert_bytes;
        assert_eq!(
            alerts.put(sized(0, whole), now),
            Err(AlertError::TooLarge(whole))
        );
        let held = (1..).take_while(|n| alerts.put(sized(*n, 60_000), now).is_ok());
        let held = held.count();
        assert_eq!(held, 17, "of a mebibyte");
        let full = Err(AlertError::TooManyBytes(1 << 20));
        assert_eq!(alerts.put(sized(0, 60_000), now), full);
        assert_eq!(alerts.put(sized(18, 10_000), now), Ok(()), "a small one");
        assert_eq!(alerts.put(sized(1, 60_000), now), Ok(()));
        assert_eq!(alerts.put(sized(1, 64_000), now), full, "not larger");
        assert_eq!(alerts.put(sized(1, 10), now), Ok(()), "smaller");
        assert_eq!(alerts.put(sized(0, 59_000), now), Ok(()));
        let all = alerts.all().alerts;
        let bytes: usize = all.iter().map(|(_, alert)| alert.bytes()).sum();
        assert_eq!(alerts.bytes(), bytes);
        alerts.collect(Timestamp::from_secs(30));
        assert_eq!((alerts.bytes(), alerts.all().alerts.len()), (0, 0));
    }

    #[test]
    fn resolved_alerts_are_forgotten() {
        let alerts = Alerts::new(limits(10));
        let now = Timestamp::from_secs(20);
        alerts.put(alert(10, 20, false), now).unwrap();
        assert!(alerts.firing(now).is_empty());
        alerts.collect(now);
        assert!(alerts.firing(Timestamp::ZERO).is_empty());
    }
}
