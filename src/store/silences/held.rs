//! A silence as the store holds it: its bytes, and what is known of its patterns.
//!
//! It is evaluated on its bytes. It is read whole, with all its texts in memory, for whoever asks for that,
//! and what was read is theirs: the store keeps nothing of it. So what a silence takes is a small
//! multiple of its bytes, whatever is asked about it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::body::{self, MatcherBody, Set, Sets};
use super::record::{Silence, SilenceId, SilenceState};
use crate::store::matcher::{Labels, Matcher, Pattern, Programs};
use crate::store::schema::Unreadable;
use crate::time::Timestamp;

/// A silence as the store's [`map`](super::Silences::map) holds it. [`whole`](Self::whole) reads the
/// [`Silence`] from its bytes.
#[derive(Clone)]
pub struct HeldSilence {
    id: SilenceId,
    starts_at: Timestamp,
    ends_at: Timestamp,
    body: Bytes,
    /// Of the matchers that have one, in their order.
    patterns: Box<[Pattern]>,
}

impl HeldSilence {
    /// Checks the bytes of a silence.
    pub(super) fn read(id: SilenceId, body: &Bytes) -> Result<Self, Unreadable> {
        let checked = body::check(id, body)?;
        Ok(Self {
            id,
            starts_at: checked.starts_at,
            ends_at: checked.ends_at,
            body: body.clone(),
            patterns: checked.patterns,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> SilenceId {
        self.id
    }

    /// When it stops to mute.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.ends_at
    }

    /// Its state at `now`, as [`Silence::state`].
    #[must_use]
    pub fn state(&self, now: Timestamp) -> SilenceState {
        SilenceState::at(now, self.starts_at, self.ends_at)
    }

    /// The whole of it, read from its bytes at every call: a microsecond or two for a common silence.
    #[must_use]
    pub fn whole(&self) -> Arc<Silence> {
        Arc::new(body::read(self.id, &self.body, &self.patterns).expect(WAS_CHECKED))
    }

    /// Whether its matchers match an alert, whatever its state. What can be told without compiling a
    /// pattern is looked at first.
    pub(super) fn matches(&self, labels: &Labels, programs: &Programs) -> bool {
        let mut sets = self.sets();
        while let Some(set) = sets.next() {
            let mut looked_at = set.clone();
            let verdict = verdict(&mut looked_at, labels);
            if verdict == Some(true) || verdict.is_none() && all_match(set, labels, programs) {
                return true;
            }
            looked_at.by_ref().for_each(drop);
            sets.go_on(looked_at);
        }
        false
    }

    /// Whether local retention hides it at `now`: it ended at least `retention` ago.
    pub(super) fn is_hidden(&self, now: Timestamp, retention: Duration) -> bool {
        self.ends_at.plus(retention) <= now
    }

    /// Its sets of matchers.
    pub(super) fn sets(&self) -> Sets<'_> {
        body::sets(&self.body, &self.patterns)
    }

    /// Its bytes.
    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Memory that it keeps, beside the bytes of its entry.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        let patterns = self.patterns.iter();
        let patterns = patterns.map(|pattern| size_of_val(pattern) + pattern.heap_bytes());
        size_of::<Self>() + patterns.sum::<usize>()
    }
}

/// Whether all matchers of a set match, as far as that can be told without compiling a pattern. Stops at
/// the first that does not.
fn verdict(set: &mut Set<'_>, labels: &Labels) -> Option<bool> {
    let mut known = true;
    for (matcher, pattern) in set {
        match one_verdict(matcher, pattern, labels) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => known = false,
        }
    }
    known.then_some(true)
}

#[inline]
fn one_verdict(
    matcher: MatcherBody<'_>,
    pattern: Option<&Pattern>,
    labels: &Labels,
) -> Option<bool> {
    let label = label_of(matcher, labels);
    let op = matcher.op().expect(WAS_CHECKED);
    let matched = match pattern {
        Some(pattern) => pattern.verdict(matcher.value, label)?,
        None => matcher.value == label.as_bytes(),
    };
    Some(matched == op.is_positive())
}

/// Whether all matchers of a set match. Compiles the patterns that are not held compiled.
fn all_match(mut set: Set<'_>, labels: &Labels, programs: &Programs) -> bool {
    set.all(|(matcher, pattern)| {
        let op = matcher.op().expect(WAS_CHECKED);
        let Some(pattern) = pattern else {
            return one_verdict(matcher, pattern, labels) == Some(true);
        };
        let value = body::text(matcher.value).expect(WAS_CHECKED);
        let matched = programs.matches(value, pattern, label_of(matcher, labels));
        // One that does not compile after all mutes nothing, whatever its operator is.
        matched == Some(op.is_positive())
    })
}

/// The value of a matcher's label; a label that is missing is the empty string.
#[inline]
fn label_of<'a>(matcher: MatcherBody<'_>, labels: &'a Labels) -> &'a str {
    let name = body::text(matcher.name).expect(WAS_CHECKED);
    labels.get(name).map_or("", String::as_str)
}

impl From<Silence> for HeldSilence {
    fn from(silence: Silence) -> Self {
        let matchers = silence.matcher_sets.iter().flatten();
        Self {
            id: silence.id,
            starts_at: silence.starts_at,
            ends_at: silence.ends_at,
            body: body::write(&silence),
            patterns: matchers.filter_map(Matcher::pattern).cloned().collect(),
        }
    }
}

impl PartialEq for HeldSilence {
    fn eq(&self, other: &Self) -> bool {
        self.body == other.body
    }
}

impl Eq for HeldSilence {}

impl fmt::Debug for HeldSilence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.whole(), f)
    }
}

/// What an index asks of a matcher.
#[inline]
pub(super) fn needs_label(matcher: MatcherBody<'_>, pattern: Option<&Pattern>) -> bool {
    let op = matcher.op().expect(WAS_CHECKED);
    let empty = pattern.map_or(matcher.value.is_empty(), Pattern::matches_empty);
    op.is_positive() != empty
}

const WAS_CHECKED: &str = "what passed the check can be read";
