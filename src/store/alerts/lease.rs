//! Leases: later ends of many alerts in one entry.
//!
//! Schema 2 is a list of extents as [`encode_body`] writes it. Each is when the repeats were received, their
//! end (nanoseconds), and a list of the first eight bytes of keys of alerts. Extents ascend by their
//! instants, and so do the alerts in each: what is said has one spelling.

use std::collections::BTreeSet;

use bincode::Encode;
use bytes::Bytes;

use super::rules::KEPT_MAX;
use crate::id::{Key, SchemaId};
use crate::store::schema::Unreadable;
use crate::time::Timestamp;
use crate::wire::codec::{DecodeError, Values, encode_body};

/// The first bytes of an alert's key.
pub(super) type Prefix = [u8; 8];

/// Until when an alert fires, by a repeat that was received at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Extent {
    pub(super) received_at: Timestamp,
    pub(super) ends_at: Timestamp,
}

/// Later ends of many alerts.
#[derive(Clone, Debug)]
pub struct Lease {
    key: Key,
    body: Bytes,
}

#[derive(Encode)]
struct ExtentBody {
    received_at: u64,
    ends_at: u64,
    alerts: Vec<Prefix>,
}

impl Lease {
    /// Of alerts that ascend by extent and prefix, at least one and at most [`LEASE_ALERTS_MAX`].
    pub(super) fn new(alerts: &[(Extent, Prefix)]) -> Self {
        let extents = alerts.chunk_by(|(one, _), (other, _)| one == other);
        let extents = extents.map(|alerts| {
            let (extent, _) = alerts[0];
            ExtentBody {
                received_at: extent.received_at.as_nanos(),
                ends_at: extent.ends_at.as_nanos(),
                alerts: alerts.iter().map(|(_, prefix)| *prefix).collect(),
            }
        });
        let body = encode_body(&extents.collect::<Vec<_>>());
        Self {
            key: Key::of(&body),
            body,
        }
    }

    /// The lease in some bytes.
    pub(super) fn read(body: &Bytes) -> Result<Self, Unreadable> {
        let malformed = Unreadable::Malformed { schema: SCHEMA };
        let parts = parts(body).ok_or_else(|| malformed.clone())?;
        if parts > PARTS_MAX {
            return Err(Unreadable::Invalid { rule: TOO_MANY });
        }
        let mut alerts = Vec::new();
        let walked = walk(body, |extent, prefix| alerts.push((extent, prefix)));
        if walked.is_err() || alerts.is_empty() {
            return Err(malformed);
        }
        let sane = |(extent, _): &(Extent, Prefix)| {
            extent.received_at <= extent.ends_at
                && extent.ends_at.since(extent.received_at) <= KEPT_MAX
        };
        let lease = Self::new(&alerts);
        let rule = if alerts.len() > LEASE_ALERTS_MAX {
            Some(TOO_MANY)
        } else if !alerts.iter().all(sane) {
            Some("an extension is of a few days at most")
        } else if !alerts.is_sorted_by(|one, next| one < next) {
            Some("extents and alerts ascend")
        } else if alerts.iter().map(|it| it.1).collect::<BTreeSet<_>>().len() < alerts.len() {
            Some("a lease names an alert once")
        } else if lease.body != body {
            Some("a lease has one spelling")
        } else {
            None
        };
        match rule {
            Some(rule) => Err(Unreadable::Invalid { rule }),
            None => Ok(Self {
                key: lease.key,
                body: body.clone(),
            }),
        }
    }

    /// How many alerts it extends.
    #[must_use]
    pub fn alerts(&self) -> usize {
        let mut alerts = 0;
        self.each(|_, _| alerts += 1);
        alerts
    }

    /// When the last of its repeats was received.
    pub(super) fn received_at(&self) -> Timestamp {
        let mut last = Timestamp::ZERO;
        self.each(|extent, _| last = last.max(extent.received_at));
        last
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Calls `see` with every alert, in order.
    pub(super) fn each(&self, see: impl FnMut(Extent, Prefix)) {
        let walked = walk(&self.body, see);
        debug_assert!(walked.is_ok(), "it was checked");
    }
}

/// The first bytes of a key.
pub(super) fn prefix(key: &Key) -> Prefix {
    let [prefix @ .., _, _, _, _, _, _, _, _] = key.0;
    prefix
}

/// How many extents and alerts some bytes have, or one more than they may; `None` if they are no lease.
pub(super) fn parts(body: &[u8]) -> Option<usize> {
    let (mut values, mut parts) = (Values::new(body), 0);
    for _ in 0..values.take_u64().ok()? {
        values.take_u64().ok()?;
        values.take_u64().ok()?;
        let alerts = values.take_u64().ok()?;
        parts += 1;
        for _ in 0..alerts {
            if parts > PARTS_MAX {
                return Some(parts);
            }
            values.take_array::<8>().ok()?;
            parts += 1;
        }
        if parts > PARTS_MAX {
            return Some(parts);
        }
    }
    Some(parts)
}

fn walk(body: &[u8], mut see: impl FnMut(Extent, Prefix)) -> Result<(), DecodeError> {
    let mut values = Values::new(body);
    for _ in 0..values.take_u64()? {
        let extent = Extent {
            received_at: Timestamp::from_nanos(values.take_u64()?),
            ends_at: Timestamp::from_nanos(values.take_u64()?),
        };
        for _ in 0..values.take_u64()? {
            see(extent, values.take_array()?);
        }
    }
    values.end()
}

/// The number of its shape.
pub(super) const SCHEMA: SchemaId = SchemaId::new(2);
/// Alerts in one lease: as many as fit into a datagram, if they share their instants.
pub(super) const LEASE_ALERTS_MAX: usize = 128;
/// Each has an extent of its own at worst.
const PARTS_MAX: usize = 2 * LEASE_ALERTS_MAX;
const TOO_MANY: &str = "a lease has a bounded number of alerts";
