//! The rules that every silence keeps, and the schema of their store.

use std::sync::Arc;

use super::body;
use super::held::HeldSilence;
use super::record::{SilenceId, SilenceState};
use crate::store::index::SilenceIndex;
use crate::store::matcher::Matcher;
use crate::store::{Body, Schema, Unreadable};
use crate::time::{Timestamp, WallClock};
use crate::wire::{Key, SchemaId};

/// Most matchers in one silence, over all its sets.
pub const MATCHERS_MAX: usize = 256;

pub(super) const SCHEMA: SchemaId = SchemaId::new(1);

/// The schema of the store of silences, `silences`.
pub struct SilenceSchema {
    clock: Arc<dyn WallClock>,
}

impl SilenceSchema {
    /// The clock decides only whether patterns stay compiled: those of a silence that has ended
    /// are checked and dropped.
    #[must_use]
    pub fn new(clock: Arc<dyn WallClock>) -> Self {
        Self { clock }
    }
}

/// A rule that every silence keeps, a local one and one that comes from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A set is empty: it would match every alert.
    #[error("matcher set {set} is empty")]
    EmptySet {
        /// Which, from 0.
        set: usize,
    },
    /// It ends before it starts.
    #[error("the end {ends_at:?} must not be before the start {starts_at:?}")]
    EndBeforeStart {
        /// Its start.
        starts_at: Timestamp,
        /// Its end.
        ends_at: Timestamp,
    },
    /// Every matcher of a set matches the empty string: it would match almost every alert.
    #[error("matcher set {set}: at least one matcher must not match the empty string")]
    MatchesEmpty {
        /// Which, from 0.
        set: usize,
    },
    /// There are no sets.
    #[error("at least one matcher set is required")]
    NoSets,
    /// There are too many matchers.
    #[error("{found} matchers are over the limit of {max}")]
    TooManyMatchers {
        /// How many.
        found: usize,
        /// [`MATCHERS_MAX`].
        max: usize,
    },
    /// A time is missing.
    #[error("start and end must not be zero")]
    ZeroTime,
}

impl RuleError {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EmptySet { .. } => "a matcher set is empty",
            Self::EndBeforeStart { .. } => "the end is before the start",
            Self::MatchesEmpty { .. } => "a matcher set matches the empty string",
            Self::NoSets => "no matcher set",
            Self::TooManyMatchers { .. } => "too many matchers",
            Self::ZeroTime => "start or end is zero",
        }
    }
}

/// Checks what must hold of every silence (reference 2.3).
pub(super) fn check(
    sets: &[Vec<Matcher>],
    starts_at: Timestamp,
    ends_at: Timestamp,
) -> Result<(), RuleError> {
    if sets.is_empty() {
        return Err(RuleError::NoSets);
    }
    let (found, max) = (sets.iter().map(Vec::len).sum(), MATCHERS_MAX);
    if found > max {
        return Err(RuleError::TooManyMatchers { found, max });
    }
    for (set, matchers) in sets.iter().enumerate() {
        if matchers.is_empty() {
            return Err(RuleError::EmptySet { set });
        }
        if matchers.iter().all(Matcher::matches_empty) {
            return Err(RuleError::MatchesEmpty { set });
        }
    }
    check_times(starts_at, ends_at)
}

/// Checks when a silence starts and ends.
pub(super) fn check_times(starts_at: Timestamp, ends_at: Timestamp) -> Result<(), RuleError> {
    if starts_at == Timestamp::ZERO || ends_at == Timestamp::ZERO {
        return Err(RuleError::ZeroTime);
    }
    if ends_at < starts_at {
        return Err(RuleError::EndBeforeStart { starts_at, ends_at });
    }
    Ok(())
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

    /// What mutes now comes before all else: a node that joins must not notify for want of it.
    fn is_urgent(&self, record: &HeldSilence, now: Timestamp) -> bool {
        record.state(now) == SilenceState::Active
    }
}
