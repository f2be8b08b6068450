//! Silences in bytes.
//!
//! Schema 1 is, in this order and as [`encode_body`] writes it: id (16 bytes), matcher sets (a list
//! of lists of name, operator, value), starts_at, ends_at, updated_at (nanoseconds), created_by,
//! comment, annotations. Operators are 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`.
//!
//! [`check`] goes over the bytes once, checks every rule, and keeps what is known of the patterns and
//! nothing else. It parses and compiles nothing, and stops as soon as the patterns cost more than a silence
//! may. [`read`] makes a [`Silence`] of bytes that were checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use bincode::Encode;
use bytes::Bytes;

use super::record::{Silence, SilenceId};
use super::rules::{self, RuleError, SCHEMA};
use crate::store::matcher::{
    MATCHERS_MAX, Matcher, MatcherError, Op, PATTERN_COST_MAX, Pattern, Programs,
};
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
    /// What is known of the patterns, in the order of their matchers.
    pub(super) patterns: Box<[Pattern]>,
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

    /// What is known of its pattern, if it has one.
    fn pattern(self, op: Op) -> Result<Option<Pattern>, Unreadable> {
        if !op.is_regex() {
            return Ok(None);
        }
        let pattern = Pattern::new(text(self.value).ok_or(MALFORMED)?);
        pattern.map(Some).map_err(|error| match error {
            MatcherError::TooCostly { .. } => TOO_COSTLY,
            _ => NO_MATCHER,
        })
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

/// Checks all rules of the silence in some bytes.
pub(super) fn check(id: SilenceId, bytes: &[u8]) -> Result<Checked, Unreadable> {
    let mut values = Values::new(bytes);
    if values.take_array().map_err(malformed)? != id.bytes() {
        return Err(Unreadable::WrongKey);
    }
    let patterns = check_sets(&mut values)?;
    let mut take_time = || {
        values
            .take_u64()
            .map(Timestamp::from_nanos)
            .map_err(malformed)
    };
    let (starts_at, ends_at, _updated_at) = (take_time()?, take_time()?, take_time()?);
    let (_created_by, _comment) = (
        values.take_text().map_err(malformed)?,
        values.take_text().map_err(malformed)?,
    );
    let annotations = values.take_u64().map_err(malformed)?;
    let found = usize::try_from(annotations).unwrap_or(usize::MAX);
    rules::check_annotations(found).map_err(invalid)?;
    for _ in 0..annotations {
        values.take_text().map_err(malformed)?;
        values.take_text().map_err(malformed)?;
    }
    values.end().map_err(malformed)?;
    rules::check_times(starts_at, ends_at).map_err(invalid)?;
    Ok(Checked {
        starts_at,
        ends_at,
        patterns,
    })
}

fn check_sets(values: &mut Values<'_>) -> Result<Box<[Pattern]>, Unreadable> {
    let (mut left, mut cost_left, mut patterns) = (MATCHERS_MAX, PATTERN_COST_MAX, Vec::new());
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
            let pattern = matcher.pattern(op)?;
            asks |= match &pattern {
                Some(pattern) => op == Op::NotRegex || !pattern.matches_empty(),
                None => op == Op::NotEqual || !matcher.value.is_empty(),
            };
            if let Some(pattern) = pattern {
                cost_left = cost_left.checked_sub(pattern.cost()).ok_or(TOO_COSTLY)?;
                patterns.push(pattern);
            }
        }
        if !asks {
            return Err(invalid(RuleError::MatchesEmpty { set }));
        }
    }
    Ok(patterns.into())
}

/// The silence in bytes that were checked. `patterns` is what the check returned, and `programs` where they
/// are compiled.
pub(super) fn read(
    id: SilenceId,
    bytes: &[u8],
    patterns: &[Pattern],
    programs: Option<&Arc<Programs>>,
) -> Option<Silence> {
    let mut values = after_id(bytes);
    let mut patterns = patterns.iter();
    let mut matcher_sets = Vec::new();
    for _ in 0..values.take_u64().ok()? {
        let mut set = Vec::new();
        for _ in 0..values.take_u64().ok()? {
            let matcher = MatcherBody::take(&mut values).ok()?;
            let op = matcher.op()?;
            let known = op.is_regex().then(|| patterns.next().cloned());
            let (name, value) = (text(matcher.name)?, text(matcher.value)?);
            set.push(Matcher::checked(name, op, value, known.flatten(), programs));
        }
        matcher_sets.push(set);
    }
    let mut take_time = || values.take_u64().map(Timestamp::from_nanos).ok();
    let (starts_at, ends_at, updated_at) = (take_time()?, take_time()?, take_time()?);
    let mut take_text = || text(values.take_text().ok()?).map(str::to_owned);
    let (created_by, comment) = (take_text()?, take_text()?);
    let mut annotations = BTreeMap::new();
    for _ in 0..values.take_u64().ok()? {
        let mut take_text = || text(values.take_text().ok()?).map(str::to_owned);
        annotations.insert(take_text()?, take_text()?);
    }
    Some(Silence {
        id,
        matcher_sets,
        starts_at,
        ends_at,
        updated_at,
        created_by,
        comment,
        annotations,
    })
}

/// The matcher sets in bytes that were checked, one after the other.
pub(super) struct Sets<'a> {
    values: Values<'a>,
    patterns: &'a [Pattern],
    sets: u64,
}

/// The matchers of one set, and what is known of their patterns.
#[derive(Clone)]
pub(super) struct Set<'a> {
    values: Values<'a>,
    patterns: &'a [Pattern],
    matchers: u64,
}

/// The sets in bytes that were checked. `patterns` is what the check returned.
pub(super) fn sets<'a>(bytes: &'a [u8], patterns: &'a [Pattern]) -> Sets<'a> {
    let mut values = after_id(bytes);
    let sets = values.take_u64().unwrap_or(0);
    Sets {
        values,
        patterns,
        sets,
    }
}

impl<'a> Sets<'a> {
    /// The next set. When all its matchers were looked at, [`go_on`](Self::go_on) must follow.
    pub(super) fn next(&mut self) -> Option<Set<'a>> {
        self.sets = self.sets.checked_sub(1)?;
        let matchers = self.values.take_u64().ok()?;
        Some(Set {
            values: self.values,
            patterns: self.patterns,
            matchers,
        })
    }

    /// Goes on behind a set that was looked at to its end.
    pub(super) fn go_on(&mut self, set: Set<'a>) {
        debug_assert_eq!(set.matchers, 0);
        (self.values, self.patterns) = (set.values, set.patterns);
    }
}

impl<'a> Iterator for Set<'a> {
    type Item = (MatcherBody<'a>, Option<&'a Pattern>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.matchers = self.matchers.checked_sub(1)?;
        let matcher = MatcherBody::take(&mut self.values).ok()?;
        let mut pattern = None;
        if matcher.op()?.is_regex() {
            let (first, others) = self.patterns.split_first()?;
            (pattern, self.patterns) = (Some(first), others);
        }
        Some((matcher, pattern))
    }
}

fn after_id(bytes: &[u8]) -> Values<'_> {
    Values::new(bytes.get(ID_BYTES..).unwrap_or_default())
}

pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn malformed(_: DecodeError) -> Unreadable {
    MALFORMED
}

fn invalid(rule: RuleError) -> Unreadable {
    Unreadable::Invalid { rule: rule.name() }
}

const ID_BYTES: usize = 16;
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

const TOO_COSTLY: Unreadable = Unreadable::Invalid {
    rule: "the patterns cost too much",
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
        fn what_passes_the_check_is_read_whole(
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
            let Ok(checked) = check(ID, &bytes) else {
                return Ok(());
            };
            let whole = read(ID, &bytes, &checked.patterns, None).expect("it was checked");
            prop_assert_eq!(checked.starts_at, whole.starts_at);
            prop_assert_eq!(checked.ends_at, whole.ends_at);
            let kept = rules::check(&whole.matcher_sets, whole.starts_at, whole.ends_at);
            prop_assert_eq!(kept, Ok(()));
            let patterns = whole.matcher_sets.iter().flatten().filter_map(Matcher::pattern);
            prop_assert!(checked.patterns.iter().eq(patterns));
            for matcher in whole.matcher_sets.iter().flatten() {
                let made = Matcher::new(matcher.name(), matcher.op(), matcher.value());
                prop_assert_eq!(made.as_ref().ok().and_then(Matcher::pattern), matcher.pattern());
            }
            let again = write(&whole);
            prop_assert!(check(ID, &again).is_ok());
            prop_assert_eq!(read(ID, &again, &checked.patterns, None), Some(whole));
        }

        /// Silences that keep all rules pass, and only they.
        #[test]
        fn what_keeps_the_rules_passes_the_check(silence in any_silence()) {
            let kept = rules::check(&silence.matcher_sets, silence.starts_at, silence.ends_at);
            prop_assert_eq!(check(ID, &write(&silence)).is_ok(), kept.is_ok());
        }
    }
}
