//! Silences in bytes.
//!
//! Schema 1 is, in this order and as [`encode_body`] writes it: id (16 bytes), matcher sets (a list
//! of lists of name, operator, value), starts_at, ends_at, updated_at (nanoseconds), created_by,
//! comment, annotations. Operators are 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`.
//!
//! [`check`] goes over the bytes without keeping anything; [`read`] makes a [`Silence`] of them. Both
//! use the same [`walk`], so bytes that pass `check` can be read, unless a pattern does not compile.

use std::collections::BTreeMap;

use bincode::Encode;
use bytes::Bytes;

use super::record::{Silence, SilenceId};
use super::rules::{self, MATCHERS_MAX, RuleError, SCHEMA};
use crate::store::matcher::{Matcher, Op};
use crate::store::schema::Unreadable;
use crate::time::Timestamp;
use crate::wire::codec::{DecodeError, Values, encode_body, is_text};

/// A silence as it is in bytes.
#[derive(Encode)]
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

/// A matcher as it is in bytes. Its texts are checked to be UTF-8 once, when the silence comes, and are
/// only hashed later: so they stay bytes.
#[derive(Clone, Copy, Encode)]
pub(super) struct MatcherBody<'a> {
    pub(super) name: &'a [u8],
    op: u8,
    pub(super) value: &'a [u8],
}

/// What a check finds.
pub(super) struct Checked {
    pub(super) starts_at: Timestamp,
    pub(super) ends_at: Timestamp,
    /// Whether a matcher has a pattern: then the silence must be read whole, to see that it compiles.
    pub(super) has_patterns: bool,
}

impl<'a> MatcherBody<'a> {
    fn of(matcher: &'a Matcher) -> Self {
        Self {
            name: matcher.name().as_bytes(),
            op: match matcher.op() {
                Op::Equal => 0,
                Op::NotEqual => 1,
                Op::Regex => 2,
                Op::NotRegex => 3,
            },
            value: matcher.value().as_bytes(),
        }
    }

    /// The matcher that comes next. Its texts are not checked.
    #[inline(always)]
    fn take(values: &mut Values<'a>) -> Result<Self, DecodeError> {
        let name = values.take_bytes()?;
        let [op] = values.take_array()?;
        let value = values.take_bytes()?;
        Ok(Self { name, op, value })
    }

    /// How it compares; `None` if there is no such operator.
    #[inline(always)]
    pub(super) fn op(self) -> Option<Op> {
        Some(match self.op {
            0 => Op::Equal,
            1 => Op::NotEqual,
            2 => Op::Regex,
            3 => Op::NotRegex,
            _ => return None,
        })
    }

    fn read(self) -> Result<Matcher, Unreadable> {
        let op = self.op().ok_or(UNKNOWN_OPERATOR)?;
        Matcher::new(text(self.name)?, op, text(self.value)?).map_err(|_| NO_MATCHER)
    }
}

/// The bytes of a silence.
pub(super) fn write(silence: &Silence) -> Bytes {
    let sets = silence.matcher_sets.iter();
    let annotations = silence.annotations.iter();
    encode_body(&SilenceBody {
        id: silence.id.bytes(),
        matcher_sets: sets
            .map(|set| set.iter().map(MatcherBody::of).collect())
            .collect(),
        starts_at: silence.starts_at.as_nanos(),
        ends_at: silence.ends_at.as_nanos(),
        updated_at: silence.updated_at.as_nanos(),
        created_by: &silence.created_by,
        comment: &silence.comment,
        annotations: annotations.map(|(name, text)| (&**name, &**text)).collect(),
    })
}

/// The fields of a silence in bytes, except matchers and annotations.
struct Fixed<'a> {
    starts_at: Timestamp,
    ends_at: Timestamp,
    updated_at: Timestamp,
    created_by: &'a [u8],
    comment: &'a [u8],
}

/// What a [`walk`] meets, in order.
enum Met<'a> {
    /// The matchers of the next set follow.
    Set,
    Matcher(MatcherBody<'a>),
    Annotation(&'a [u8], &'a [u8]),
}

/// The silence in some bytes.
pub(super) fn read(id: SilenceId, bytes: &[u8]) -> Result<Silence, Unreadable> {
    let mut sets: Vec<Vec<Matcher>> = Vec::new();
    let mut annotations = BTreeMap::new();
    let fixed = walk(id, bytes, |met| {
        match met {
            Met::Set => sets.push(Vec::new()),
            Met::Matcher(matcher) => {
                let matcher = matcher.read()?;
                sets.last_mut().expect("a set comes first").push(matcher);
            }
            Met::Annotation(name, value) => {
                annotations.insert(text(name)?.to_owned(), text(value)?.to_owned());
            }
        }
        Ok(())
    })?;
    // Once more, now with compiled patterns: the walk does not know what a pattern matches.
    rules::check(&sets, fixed.starts_at, fixed.ends_at).map_err(invalid)?;
    Ok(Silence {
        id,
        matcher_sets: sets,
        starts_at: fixed.starts_at,
        ends_at: fixed.ends_at,
        updated_at: fixed.updated_at,
        created_by: text(fixed.created_by)?.to_owned(),
        comment: text(fixed.comment)?.to_owned(),
        annotations,
    })
}

/// Checks all rules of the silence in some bytes, except that its patterns compile.
pub(super) fn check(id: SilenceId, bytes: &[u8]) -> Result<Checked, Unreadable> {
    let mut has_patterns = false;
    let fixed = walk(id, bytes, |met| {
        if let Met::Matcher(matcher) = met {
            has_patterns |= matcher.op().is_some_and(Op::is_regex);
        }
        Ok(())
    })?;
    Ok(Checked {
        starts_at: fixed.starts_at,
        ends_at: fixed.ends_at,
        has_patterns,
    })
}

/// Goes over the bytes of a silence, calls `meet` with what it finds, and checks all rules except that
/// the patterns compile.
#[inline]
fn walk<'a>(
    id: SilenceId,
    bytes: &'a [u8],
    mut meet: impl FnMut(Met<'a>) -> Result<(), Unreadable>,
) -> Result<Fixed<'a>, Unreadable> {
    let mut values = Values::new(bytes);
    if values.take_array().map_err(malformed)? != id.bytes() {
        return Err(Unreadable::WrongKey);
    }
    walk_sets(&mut values, &mut meet)?;
    let mut take_time = || {
        values
            .take_u64()
            .map(Timestamp::from_nanos)
            .map_err(malformed)
    };
    let fixed = Fixed {
        starts_at: take_time()?,
        ends_at: take_time()?,
        updated_at: take_time()?,
        created_by: values.take_text().map_err(malformed)?,
        comment: values.take_text().map_err(malformed)?,
    };
    let annotations = values.take_u64().map_err(malformed)?;
    if annotations > ANNOTATIONS_MAX {
        return Err(TOO_MANY_ANNOTATIONS);
    }
    for _ in 0..annotations {
        let (name, value) = (
            values.take_text().map_err(malformed)?,
            values.take_text().map_err(malformed)?,
        );
        meet(Met::Annotation(name, value))?;
    }
    values.end().map_err(malformed)?;
    rules::check_times(fixed.starts_at, fixed.ends_at).map_err(invalid)?;
    Ok(fixed)
}

#[inline]
fn walk_sets<'a>(
    values: &mut Values<'a>,
    meet: &mut impl FnMut(Met<'a>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let mut left = MATCHERS_MAX;
    let sets = values.take_u64().map_err(malformed)?;
    if sets == 0 {
        return Err(invalid(RuleError::NoSets));
    }
    for set in 0..sets {
        let set = usize::try_from(set).unwrap_or(usize::MAX);
        let matchers = values.take_u64().map_err(malformed)?;
        if matchers == 0 {
            return Err(invalid(RuleError::EmptySet { set }));
        }
        meet(Met::Set)?;
        let mut asks = false;
        for _ in 0..matchers {
            left = left.checked_sub(1).ok_or_else(|| invalid(TOO_MANY))?;
            let matcher = MatcherBody::take(values).map_err(malformed)?;
            if !is_text(matcher.name) || !is_text(matcher.value) {
                return Err(MALFORMED);
            }
            let op = matcher.op().ok_or(UNKNOWN_OPERATOR)?;
            if matcher.name.is_empty() {
                return Err(NO_MATCHER);
            }
            // Whether a pattern matches the empty string is known only once it is compiled.
            asks |= op != Op::Equal || !matcher.value.is_empty();
            meet(Met::Matcher(matcher))?;
        }
        if !asks {
            return Err(invalid(RuleError::MatchesEmpty { set }));
        }
    }
    Ok(())
}

/// Calls `each` with the matchers of a silence that was checked, and the number of their set.
pub(super) fn matchers<'a>(bytes: &'a [u8], mut each: impl FnMut(usize, MatcherBody<'a>)) {
    let mut values = Values::new(bytes.get(ID_BYTES..).unwrap_or_default());
    let mut all = || -> Result<(), DecodeError> {
        for set in 0..values.take_u64()? {
            for _ in 0..values.take_u64()? {
                let matcher = MatcherBody::take(&mut values)?;
                each(usize::try_from(set).unwrap_or(usize::MAX), matcher);
            }
        }
        Ok(())
    };
    all().expect("the bytes were checked");
}

fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| MALFORMED)
}

fn malformed(_: DecodeError) -> Unreadable {
    MALFORMED
}

fn invalid(rule: RuleError) -> Unreadable {
    Unreadable::Invalid { rule: rule.name() }
}

const ID_BYTES: usize = 16;
/// Most annotations of one silence.
const ANNOTATIONS_MAX: u64 = 65_536;
const TOO_MANY_ANNOTATIONS: Unreadable = Unreadable::Invalid {
    rule: "too many annotations",
};
const TOO_MANY: RuleError = RuleError::TooManyMatchers {
    found: MATCHERS_MAX + 1,
    max: MATCHERS_MAX,
};
const MALFORMED: Unreadable = Unreadable::Malformed { schema: SCHEMA };
const UNKNOWN_OPERATOR: Unreadable = Unreadable::Invalid {
    rule: "a matcher has an unknown operator",
};
const NO_MATCHER: Unreadable = Unreadable::Invalid {
    rule: "a matcher does not compile",
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::matcher::Syntax;

    const ID: SilenceId = SilenceId::from_bytes([7; 16]);

    fn any_silence() -> impl Strategy<Value = Silence> {
        let matcher = ("[ab]{1,2}", "=|!=|=~|!~", "[xy|.]{0,3}");
        let matcher = matcher.prop_map(|(name, op, value)| format!("{name}{op}\"{value}\""));
        let set = prop::collection::vec(matcher, 0..4).prop_map(|set| set.join(","));
        let sets = prop::collection::vec(set, 0..3).prop_map(|sets| {
            let sets = sets
                .iter()
                .map(|set| Syntax::Utf8.matchers(&format!("{{{set}}}")));
            sets.filter_map(Result::ok).collect::<Vec<_>>()
        });
        let annotations = prop::collection::btree_map("[a-c]{0,2}", "[a-c]{0,2}", 0..3);
        (sets, 0..3_u64, 0..300_u64, "[a-z]{0,9}", annotations).prop_map(
            |(matcher_sets, starts_at, ends_at, text, annotations)| Silence {
                id: ID,
                matcher_sets,
                starts_at: Timestamp::from_nanos(starts_at),
                ends_at: Timestamp::from_nanos(ends_at),
                updated_at: Timestamp::from_nanos(ends_at),
                created_by: text.clone(),
                comment: text,
                annotations,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Bytes of silences, many of which break a rule, and what becomes of them when some
        /// bytes are changed, cut off or added.
        #[test]
        fn what_passes_the_check_is_read_whole_and_nothing_else_is(
            silence in any_silence(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
            added in prop::collection::vec(any::<u8>(), 0..2),
        ) {
            let mut bytes = write(&silence).to_vec();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes.extend(added);
            let (checked, whole) = (check(ID, &bytes), read(ID, &bytes));
            match (checked, whole) {
                (Ok(checked), Ok(whole)) => {
                    prop_assert_eq!(checked.starts_at, whole.starts_at);
                    prop_assert_eq!(checked.ends_at, whole.ends_at);
                    let mut met = Vec::new();
                    matchers(&bytes, |set, matcher| met.push((set, matcher.read().unwrap())));
                    let sets = whole.matcher_sets.iter().enumerate();
                    let all = sets.flat_map(|(set, all)| all.iter().map(move |it| (set, it.clone())));
                    prop_assert_eq!(met, all.collect::<Vec<_>>());
                }
                (Ok(checked), Err(_)) => prop_assert!(checked.has_patterns),
                (Err(_), whole) => prop_assert!(whole.is_err()),
            }
        }
    }
}
