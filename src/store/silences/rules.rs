//! The rules that every silence keeps.

use crate::id::SchemaId;
use crate::store::matcher::{MATCHERS_MAX, Matcher, PATTERN_COST_MAX};
use crate::time::Timestamp;

/// Most annotations of one silence. A limit of the protocol.
pub const ANNOTATIONS_MAX: usize = 256;

pub(super) const SCHEMA: SchemaId = SchemaId::new(1);

/// A broken rule. Every silence keeps the rules, whether it is made here or comes from a peer.
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
    /// The patterns of all its matchers would take too much work and memory together when they are compiled.
    #[error("the regular expressions cost {cost} together, over the limit of {max}")]
    PatternsTooCostly {
        /// What they cost.
        cost: u32,
        /// [`PATTERN_COST_MAX`].
        max: u32,
    },
    /// There are too many annotations.
    #[error("{found} annotations are over the limit of {max}")]
    TooManyAnnotations {
        /// How many.
        found: usize,
        /// [`ANNOTATIONS_MAX`].
        max: usize,
    },
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
            Self::PatternsTooCostly { .. } => "the patterns cost too much",
            Self::TooManyAnnotations { .. } => "too many annotations",
            Self::TooManyMatchers { .. } => "too many matchers",
            Self::ZeroTime => "start or end is zero",
        }
    }
}

/// Checks what must hold of every silence, as Alertmanager's `validateSilence` (`silence/silence.go`).
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
    let costs = sets.iter().flatten().map(Matcher::cost);
    let (cost, max) = (costs.fold(0, u32::saturating_add), PATTERN_COST_MAX);
    if cost > max {
        return Err(RuleError::PatternsTooCostly { cost, max });
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

/// Checks how many annotations there are.
pub(super) fn check_annotations(found: usize) -> Result<(), RuleError> {
    let max = ANNOTATIONS_MAX;
    if found > max {
        return Err(RuleError::TooManyAnnotations { found, max });
    }
    Ok(())
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
