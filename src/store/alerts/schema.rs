//! The schema of alerts. Schema 1 is an alert, schema 2 a [`Lease`].

use std::time::Duration;

use super::index::AlertIndex;
use super::lease::{self, Lease};
use super::record::{self, AlertRecord};
use crate::id::{Key, SchemaId};
use crate::store::schema::{Body, Schema, Unreadable};
use crate::time::Timestamp;

/// The schema of alerts, `alerts`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlertsSchema;

impl Schema for AlertsSchema {
    type Record = AlertRecord;
    type Index = AlertIndex;

    fn name(&self) -> &'static str {
        "alerts"
    }

    fn schemas(&self) -> &[SchemaId] {
        &[record::SCHEMA, lease::SCHEMA]
    }

    fn key(&self, record: &AlertRecord) -> Key {
        match record {
            AlertRecord::Alert(alert) => alert.key(),
            AlertRecord::Lease(lease) => lease.key(),
        }
    }

    fn encode(&self, record: &AlertRecord) -> Body {
        match record {
            AlertRecord::Alert(alert) => Body {
                schema: record::SCHEMA,
                bytes: alert.body().clone(),
            },
            AlertRecord::Lease(lease) => Body {
                schema: lease::SCHEMA,
                bytes: lease.body().clone(),
            },
        }
    }

    /// The store checks that the key is that of the entry.
    fn decode(&self, _: Key, body: &Body) -> Result<AlertRecord, Unreadable> {
        match body.schema.shape() {
            record::SCHEMA => AlertRecord::read(&body.bytes),
            lease::SCHEMA => Lease::read(&body.bytes).map(AlertRecord::Lease),
            schema => Err(Unreadable::UnknownSchema { schema }),
        }
    }

    /// Extensions and later versions go by what a body says, and only `ts` is compared with the clock.
    fn check_ts(&self, record: &AlertRecord, ts: Timestamp) -> Result<(), Unreadable> {
        let received_at = match record {
            AlertRecord::Alert(alert) => alert.updated_at,
            AlertRecord::Lease(lease) => lease.received_at(),
        };
        let rule = "an entry is of when its alerts were received";
        (received_at == ts)
            .then_some(())
            .ok_or(Unreadable::Invalid { rule })
    }

    fn work(&self, body: &[u8]) -> Duration {
        let texts = u32::try_from(body.len() / 1024).unwrap_or(u32::MAX);
        // Some bytes can be read as both. What is neither is not read to its end.
        let parts = record::pairs(body).max(lease::parts(body));
        let parts = parts.unwrap_or(lease::LEASE_ALERTS_MAX);
        let parts = u32::try_from(parts).unwrap_or(u32::MAX);
        PART_WORK * parts + TEXT_WORK_PER_KIB * texts
    }
}

/// To read a label, and to put an alert of a lease into the index.
const PART_WORK: Duration = Duration::from_nanos(400);
/// To check and copy a kibibyte of texts.
const TEXT_WORK_PER_KIB: Duration = Duration::from_nanos(500);
