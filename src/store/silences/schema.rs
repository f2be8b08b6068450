//! The schema of the store of silences.

use std::sync::Arc;

use super::held::HeldSilence;
use super::index::SilenceIndex;
use super::limits::SilenceLimits;
use super::record::{SilenceId, SilenceState};
use super::rules::SCHEMA;
use crate::id::{Key, SchemaId};
use crate::store::matcher::Programs;
use crate::store::schema::{Body, Schema, Unreadable};
use crate::time::Timestamp;

/// The schema of the store of silences, `silences`.
pub struct SilenceSchema {
    programs: Arc<Programs>,
}

impl SilenceSchema {
    /// A schema that keeps at most so many bytes of compiled patterns
    /// ([`SilenceLimits::patterns_bytes_max`](super::SilenceLimits::patterns_bytes_max)).
    #[must_use]
    pub fn new(patterns_bytes_max: usize) -> Self {
        Self {
            programs: Arc::new(Programs::new(patterns_bytes_max)),
        }
    }

    /// The compiled patterns of all silences.
    pub(super) fn programs(&self) -> &Arc<Programs> {
        &self.programs
    }
}

impl Default for SilenceSchema {
    /// One that keeps as many bytes as [`SilenceLimits`] says by default.
    fn default() -> Self {
        Self::new(SilenceLimits::default().patterns_bytes_max)
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
            bytes: record.body().clone(),
        }
    }

    fn decode(&self, key: Key, body: &Body) -> Result<HeldSilence, Unreadable> {
        let schema = body.schema.shape();
        if schema != SCHEMA {
            return Err(Unreadable::UnknownSchema { schema });
        }
        HeldSilence::read(SilenceId::from_bytes(key.0), &body.bytes, &self.programs)
    }

    /// Silences that mute now are sent before everything else: a node that joins must not notify because
    /// it does not have them yet.
    fn is_urgent(&self, record: &HeldSilence, now: Timestamp) -> bool {
        record.state(now) == SilenceState::Active
    }
}
