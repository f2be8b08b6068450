//! Silences in bytes, and the rules every one of them keeps.
//!
//! Schema 1 is, in this order and as [`encode_body`] writes it: id (16 bytes), matcher sets (a list
//! of lists of name, operator, value), starts_at, ends_at, updated_at (nanoseconds), created_by,
//! comment, annotations. Operators are 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bincode::{BorrowDecode, Encode};

use super::record::{Silence, SilenceId, SilenceState};
use crate::store::index::SilenceIndex;
use crate::store::matcher::{Matcher, Op};
use crate::store::{Body, Schema, Unreadable};
use crate::time::{Timestamp, WallClock};
use crate::wire::codec::{decode_borrowed, encode_body};
use crate::wire::{Key, SchemaId};

/// Most matchers in one silence, over all its sets.
pub const MATCHERS_MAX: usize = 256;

const SCHEMA: SchemaId = SchemaId::new(1);

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
    fn name(self) -> &'static str {
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
    if starts_at == Timestamp::ZERO || ends_at == Timestamp::ZERO {
        return Err(RuleError::ZeroTime);
    }
    if ends_at < starts_at {
        return Err(RuleError::EndBeforeStart { starts_at, ends_at });
    }
    Ok(())
}

/// As it is in bytes; texts are those of the record, or of the bytes.
#[derive(Encode, BorrowDecode)]
struct SilenceBody<'a> {
    id: [u8; 16],
    matcher_sets: Vec<Vec<MatcherBody<'a>>>,
    starts_at: u64,
    ends_at: u64,
    updated_at: u64,
    created_by: &'a str,
    comment: &'a str,
    annotations: BTreeMap<&'a str, &'a str>,
}

#[derive(Encode, BorrowDecode)]
struct MatcherBody<'a> {
    name: &'a str,
    op: u8,
    value: &'a str,
}

impl<'a> MatcherBody<'a> {
    fn of(matcher: &'a Matcher) -> Self {
        Self {
            name: matcher.name(),
            op: match matcher.op() {
                Op::Equal => 0,
                Op::NotEqual => 1,
                Op::Regex => 2,
                Op::NotRegex => 3,
            },
            value: matcher.value(),
        }
    }

    fn read(self) -> Result<Matcher, Unreadable> {
        let op = match self.op {
            0 => Op::Equal,
            1 => Op::NotEqual,
            2 => Op::Regex,
            3 => Op::NotRegex,
            _ => return Err(invalid("a matcher has an unknown operator")),
        };
        Matcher::new(self.name, op, self.value).map_err(|_| invalid("a matcher does not compile"))
    }
}

/// Annotations with texts of another kind.
fn texts<'a, T: From<&'a str> + Ord>(
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<T, T> {
    annotations
        .map(|(name, text)| (name.into(), text.into()))
        .collect()
}

fn invalid(rule: &'static str) -> Unreadable {
    Unreadable::Invalid { rule }
}

impl Schema for SilenceSchema {
    type Record = Silence;
    type Index = SilenceIndex;

    fn name(&self) -> &'static str {
        "silences"
    }

    fn schemas(&self) -> &[SchemaId] {
        &[SCHEMA]
    }

    fn key(&self, record: &Silence) -> Key {
        record.id.key()
    }

    fn encode(&self, record: &Silence) -> Body {
        let sets = record.matcher_sets.iter();
        Body {
            schema: SCHEMA,
            bytes: encode_body(&SilenceBody {
                id: record.id.bytes(),
                matcher_sets: sets
                    .map(|set| set.iter().map(MatcherBody::of).collect())
                    .collect(),
                starts_at: record.starts_at.as_nanos(),
                ends_at: record.ends_at.as_nanos(),
                updated_at: record.updated_at.as_nanos(),
                created_by: &record.created_by,
                comment: &record.comment,
                annotations: texts(
                    record
                        .annotations
                        .iter()
                        .map(|(name, text)| (&**name, &**text)),
                ),
            }),
        }
    }

    fn decode(&self, key: Key, body: &Body) -> Result<Silence, Unreadable> {
        let schema = body.schema.shape();
        if schema != SCHEMA {
            return Err(Unreadable::UnknownSchema { schema });
        }
        let read: SilenceBody<'_> =
            decode_borrowed(&body.bytes).map_err(|_| Unreadable::Malformed { schema })?;
        let id = SilenceId::from_bytes(read.id);
        if id.key() != key {
            return Err(Unreadable::WrongKey);
        }
        // Before anything is compiled.
        if read.matcher_sets.iter().map(Vec::len).sum::<usize>() > MATCHERS_MAX {
            return Err(invalid("too many matchers"));
        }
        let sets = read.matcher_sets.into_iter();
        let silence = Silence {
            id,
            matcher_sets: sets
                .map(|set| set.into_iter().map(MatcherBody::read).collect())
                .collect::<Result<_, _>>()?,
            starts_at: Timestamp::from_nanos(read.starts_at),
            ends_at: Timestamp::from_nanos(read.ends_at),
            updated_at: Timestamp::from_nanos(read.updated_at),
            created_by: read.created_by.to_owned(),
            comment: read.comment.to_owned(),
            annotations: texts(read.annotations.into_iter()),
        };
        check(&silence.matcher_sets, silence.starts_at, silence.ends_at)
            .map_err(|rule| invalid(rule.name()))?;
        if silence.is_compiled() && self.clock.wall() >= silence.ends_at {
            silence.release();
        }
        Ok(silence)
    }

    /// What mutes now comes before all else: a node that joins must not notify for want of it.
    fn is_urgent(&self, record: &Silence, now: Timestamp) -> bool {
        record.state(now) == SilenceState::Active
    }
}
