//! The schema of the store of silences.

use std::sync::Arc;

use super::body;
use super::held::HeldSilence;
use super::index::SilenceIndex;
use super::record::{SilenceId, SilenceState};
use super::rules::SCHEMA;
use crate::id::{Key, SchemaId};
use crate::store::schema::{Body, Schema, Unreadable};
use crate::time::{Timestamp, WallClock};

/// The schema of the store of silences, `silences`.
pub struct SilenceSchema {
    clock: Arc<dyn WallClock>,
}

impl SilenceSchema {
    /// The clock decides only whether patterns stay compiled: those of a silence that has ended are
    /// dropped once they are checked.
    #[must_use]
    pub fn new(clock: Arc<dyn WallClock>) -> Self {
        Self { clock }
    }
}

impl Schema for SilenceSchema {
    type Record = HeldSilence;
    type Index = SilenceIndex;

    fn name(&self) -> &'static str {
        "silences"
    }

    fn schemas(&self) -> &[SchemaId] {
        &[SCHEMA]
    }

    fn key(&self, record: &HeldSilence) -> Key {
        record.id().key()
    }

    fn encode(&self, record: &HeldSilence) -> Body {
        Body {
            schema: SCHEMA,
            bytes: body::write(record),
        }
    }

    fn decode(&self, key: Key, body: &Body) -> Result<HeldSilence, Unreadable> {
        let schema = body.schema.shape();
        if schema != SCHEMA {
            return Err(Unreadable::UnknownSchema { schema });
        }
        let silence = HeldSilence::read(SilenceId::from_bytes(key.0), &body.bytes)?;
        if silence.state(self.clock.wall()) == SilenceState::Expired {
            silence.release();
        }
        Ok(silence)
    }

    /// Silences that mute now are sent before everything else: a node that joins must not notify because
    /// it does not have them yet.
    fn is_urgent(&self, record: &HeldSilence, now: Timestamp) -> bool {
        record.state(now) == SilenceState::Active
    }
}
