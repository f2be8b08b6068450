//! Alerts in bytes, and what the map holds of them.
//!
//! Schema 1 is labels and annotations (name, value), starts_at, ends_at, updated_at (nanoseconds),
//! generator_url, timeout (0 or 1), in this order and as [`encode_body`] writes them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bincode::Encode;
use bytes::Bytes;

use super::alert::Alert;
use super::lease::{Extent, Lease};
use super::rules::extensible_until;
use crate::id::{Key, SchemaId};
use crate::store::schema::Unreadable;
use crate::time::Timestamp;
use crate::wire::codec::{DecodeError, Values, encode_body};

/// The number of its shape.
pub(super) const SCHEMA: SchemaId = SchemaId::new(1);

/// What the map of alerts holds.
#[derive(Debug)]
pub enum AlertRecord {
    /// An alert, as it was sent.
    Alert(HeldAlert),
    /// Later ends of alerts.
    Lease(Lease),
}

/// An alert, as its [`map`](super::Alerts::map) holds it: in bytes, and what must be known at once.
pub struct HeldAlert {
    key: Key,
    pub(super) starts_at: Timestamp,
    pub(super) ends_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) timeout: bool,
    body: Bytes,
    /// Until the index takes it.
    whole: Mutex<Option<Arc<Alert>>>,
}

#[derive(Encode)]
struct AlertBody<'a> {
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    starts_at: u64,
    ends_at: u64,
    updated_at: u64,
    generator_url: &'a str,
    timeout: bool,
}

impl AlertRecord {
    /// An alert that is to be written.
    pub(super) fn of(alert: Alert) -> Self {
        let body = write(&alert);
        Self::Alert(HeldAlert::new(alert, body))
    }

    /// The alert in some bytes.
    pub(super) fn read(body: &Bytes) -> Result<Self, Unreadable> {
        let schema = SCHEMA;
        let pairs = pairs(body).ok_or(Unreadable::Malformed { schema })?;
        if pairs > PAIRS_MAX {
            return Err(Unreadable::Invalid { rule: TOO_MANY });
        }
        let alert = read(body).map_err(|_| Unreadable::Malformed { schema })?;
        let rule = if alert.labels.is_empty() {
            Some("an alert has labels")
        } else if alert.ends_at < alert.starts_at {
            Some("an alert starts before it ends")
        } else if alert.check().is_err() {
            Some("labels and annotations have valid names")
        } else if write(&alert) != body {
            Some("an alert has one spelling")
        } else {
            None
        };
        match rule {
            Some(rule) => Err(Unreadable::Invalid { rule }),
            None => Ok(Self::Alert(HeldAlert::new(alert, body.clone()))),
        }
    }

    /// The alert, if it is one.
    pub(super) fn alert(&self) -> Option<&HeldAlert> {
        match self {
            Self::Alert(alert) => Some(alert),
            Self::Lease(_) => None,
        }
    }
}

impl HeldAlert {
    fn new(alert: Alert, body: Bytes) -> Self {
        Self {
            key: alert.key(),
            starts_at: alert.starts_at,
            ends_at: alert.ends_at,
            updated_at: alert.updated_at,
            timeout: alert.timeout,
            body,
            whole: Mutex::new(Some(Arc::new(alert))),
        }
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    /// The alert as it was sent, without the ends that leases give it.
    #[must_use]
    pub fn whole(&self) -> Alert {
        read(&self.body).expect("what passed the check can be read whole")
    }

    /// The alert, to be kept elsewhere: it is read once only.
    pub(super) fn take_whole(&self) -> Arc<Alert> {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        whole.take().unwrap_or_else(|| Arc::new(self.whole()))
    }

    /// Whether an extent counts for this version.
    pub(super) fn is_extended_by(&self, extent: Extent) -> bool {
        let from = self.updated_at;
        (from..=extensible_until(from)).contains(&extent.received_at)
    }

    /// Whether an alert of the same labels is the same, but for its end and when it was received.
    pub(super) fn says(&self, alert: &Alert) -> bool {
        self.body == write_as(alert, self.ends_at, self.updated_at)
    }
}

impl fmt::Debug for HeldAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.whole(), f)
    }
}

/// How many labels and annotations some bytes have, or one more than they may; `None` if they are no alert.
pub(super) fn pairs(body: &[u8]) -> Option<usize> {
    let (mut values, mut pairs) = (Values::new(body), 0);
    for _ in 0..2 {
        for _ in 0..values.take_u64().ok()? {
            values.take_bytes().ok()?;
            values.take_bytes().ok()?;
            pairs += 1;
            if pairs > PAIRS_MAX {
                return Some(pairs);
            }
        }
    }
    Some(pairs)
}

fn write(alert: &Alert) -> Bytes {
    write_as(alert, alert.ends_at, alert.updated_at)
}

fn write_as(alert: &Alert, ends_at: Timestamp, updated_at: Timestamp) -> Bytes {
    encode_body(&AlertBody {
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: alert.starts_at.as_nanos(),
        ends_at: ends_at.as_nanos(),
        updated_at: updated_at.as_nanos(),
        generator_url: &alert.generator_url,
        timeout: alert.timeout,
    })
}

fn read(body: &[u8]) -> Result<Alert, DecodeError> {
    let mut values = Values::new(body);
    let (labels, annotations) = (take_pairs(&mut values)?, take_pairs(&mut values)?);
    let mut take_time = || values.take_u64().map(Timestamp::from_nanos);
    let (starts_at, ends_at, updated_at) = (take_time()?, take_time()?, take_time()?);
    let generator_url = take_text(&mut values)?;
    let timeout = values.take()?;
    values.end()?;
    Ok(Alert {
        labels,
        annotations,
        starts_at,
        ends_at,
        updated_at,
        generator_url,
        timeout,
    })
}

fn take_pairs(values: &mut Values<'_>) -> Result<BTreeMap<String, String>, DecodeError> {
    let mut pairs = BTreeMap::new();
    for _ in 0..values.take_u64()? {
        pairs.insert(take_text(values)?, take_text(values)?);
    }
    Ok(pairs)
}

fn take_text(values: &mut Values<'_>) -> Result<String, DecodeError> {
    let text = std::str::from_utf8(values.take_bytes()?).map_err(|_| DecodeError::Text)?;
    Ok(text.to_owned())
}

/// Labels and annotations of one alert: to read them takes less than one turn of a node may.
pub(super) const PAIRS_MAX: usize = 4096;
const TOO_MANY: &str = "an alert has a bounded number of labels and annotations";
