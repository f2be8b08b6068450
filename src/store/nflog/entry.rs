//! An entry of the log: the last notification of a group through a receiver.

use std::collections::BTreeMap;
use std::time::Duration;

use twox_hash::XxHash64;

use crate::id::Key;
use crate::store::matcher::Labels;
use crate::time::Timestamp;

/// One integration of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiverKey {
    /// The receiver's name in the configuration.
    pub group_name: String,
    /// The kind of integration, for instance `email`.
    pub integration: String,
    /// Its place among the receiver's integrations of that kind.
    pub idx: u32,
}

/// Something an integration remembers from one notification to the next, for instance the id of a
/// chat message.
#[derive(Clone, Debug, PartialEq)]
pub enum ReceiverValue {
    /// A number with a fraction.
    Double(f64),
    /// A whole number.
    Int(i64),
    /// A text.
    Str(String),
}

/// The last notification of a group through a receiver.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NflogEntry {
    /// To whom.
    pub receiver: ReceiverKey,
    /// About which group: the route's key and the group's labels.
    pub group_key: String,
    /// When, by the clock of the node that notified.
    pub timestamp: Timestamp,
    /// Hashes ([`alert_hash`]) of the alerts that were firing, ascending, each once.
    pub firing: Vec<u64>,
    /// Hashes of the alerts that were resolved, ascending, each once.
    pub resolved: Vec<u64>,
    /// What the integration remembers.
    pub receiver_data: BTreeMap<String, ReceiverValue>,
}

/// A notification that was made.
///
/// ```
/// use std::time::Duration;
///
/// use rumormill::store::nflog::{Notified, ReceiverKey};
///
/// let pager = ReceiverKey { group_name: "ops".into(), integration: "webhook".into(), idx: 0 };
/// let notified = Notified::new(pager, "{}:{alertname=\"DiskFull\"}")
///     .firing([17])
///     .repeat_interval(Duration::from_secs(4 * 3600));
/// # assert_eq!(notified.firing, [17]);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Notified {
    /// To whom.
    pub receiver: ReceiverKey,
    /// About which group.
    pub group_key: String,
    /// Hashes of the firing alerts, in any order.
    pub firing: Vec<u64>,
    /// Hashes of the resolved alerts, in any order.
    pub resolved: Vec<u64>,
    /// What the integration remembers. It replaces what it remembered before.
    pub receiver_data: BTreeMap<String, ReceiverValue>,
    /// How often an unchanged group is notified again. The entry is kept for twice as long, at most for
    /// the log's retention. With zero, it is kept for the retention.
    pub repeat_interval: Duration,
}

impl NflogEntry {
    /// An entry without alerts: what [`Nflog::log`](super::Nflog::log) makes of a [`Notified`] with none.
    #[must_use]
    pub fn new(receiver: ReceiverKey, group_key: impl Into<String>, timestamp: Timestamp) -> Self {
        Self {
            receiver,
            group_key: group_key.into(),
            timestamp,
            firing: Vec::new(),
            resolved: Vec::new(),
            receiver_data: BTreeMap::new(),
        }
    }
}

impl Notified {
    /// A notification of a group through a receiver, without alerts, kept for the log's retention.
    #[must_use]
    pub fn new(receiver: ReceiverKey, group_key: impl Into<String>) -> Self {
        Self {
            receiver,
            group_key: group_key.into(),
            firing: Vec::new(),
            resolved: Vec::new(),
            receiver_data: BTreeMap::new(),
            repeat_interval: Duration::ZERO,
        }
    }

    /// Sets the hashes of the firing alerts.
    #[must_use]
    pub fn firing(mut self, firing: impl Into<Vec<u64>>) -> Self {
        self.firing = firing.into();
        self
    }

    /// Sets the hashes of the resolved alerts.
    #[must_use]
    pub fn resolved(mut self, resolved: impl Into<Vec<u64>>) -> Self {
        self.resolved = resolved.into();
        self
    }

    /// Sets what the integration remembers.
    #[must_use]
    pub fn receiver_data(mut self, receiver_data: BTreeMap<String, ReceiverValue>) -> Self {
        self.receiver_data = receiver_data;
        self
    }

    /// Sets how often an unchanged group is notified again.
    #[must_use]
    pub fn repeat_interval(mut self, repeat_interval: Duration) -> Self {
        self.repeat_interval = repeat_interval;
        self
    }
}

/// The hash of an alert, as Alertmanager computes it: xxHash64 with seed 0 over `name 0xff value 0xff` of
/// all its labels in the order of their names.
#[must_use]
pub fn alert_hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::with_capacity(256);
    for (name, value) in labels {
        for part in [name, value] {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(0xff);
        }
    }
    XxHash64::oneshot(0, &bytes)
}

/// The entry key: that of the text `<group_key>:<group_name>/<integration>/<idx>`, which is
/// Alertmanager's `stateKey` (`nflog/nflog.go`).
pub(super) fn state_key(receiver: &ReceiverKey, group_key: &str) -> Key {
    let names = [group_key, &receiver.group_name, &receiver.integration];
    state_key_of(names.map(str::as_bytes), receiver.idx)
}

/// As [`state_key`], of group key, group name and integration, in this order.
pub(super) fn state_key_of([group_key, group_name, integration]: [&[u8]; 3], idx: u32) -> Key {
    let mut digits = [0; 10];
    let idx = decimal(idx, &mut digits);
    Key::of_parts(&[group_key, b":", group_name, b"/", integration, b"/", idx])
}

/// A number in decimal digits.
fn decimal(number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut rest = number;
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            return &digits[first..];
        }
    }
}
