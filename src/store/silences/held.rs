//! A silence as the store holds it: its bytes, and what is known of its patterns.
//!
//! It is evaluated on its bytes. It is read whole, with all its texts in memory, when somebody asks for
//! that, and stays so if that takes little more than its bytes. So what a silence takes is a small multiple of
//! its bytes, whatever is asked about it.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::body::{self, MatcherBody, Set, Sets};
use super::record::{Silence, SilenceId, SilenceState};
use crate::store::matcher::{Labels, Matcher, Pattern, Programs};
use crate::store::schema::Unreadable;
use crate::time::Timestamp;

/// A silence as the store's [`map`](super::Silences::map) holds it. [`whole`](Self::whole) is the
/// [`Silence`].
#[derive(Clone)]
pub struct HeldSilence {
    id: SilenceId,
    starts_at: Timestamp,
    ends_at: Timestamp,
    body: Bytes,
    /// Of the matchers that have one, in their order.
    patterns: Box<[Pattern]>,
    /// Where they are compiled; `None` for a silence that was not made by its store.
    programs: Option<Arc<Programs>>,
    whole: OnceLock<Arc<Silence>>,
}

impl HeldSilence {
    /// Checks the bytes of a silence.
    pub(super) fn read(
        id: SilenceId,
        body: &Bytes,
        programs: &Arc<Programs>,
    ) -> Result<Self, Unreadable> {
        let checked = body::check(id, body)?;
        Ok(Self {
            id,
            starts_at: checked.starts_at,
            ends_at: checked.ends_at,
            body: body.clone(),
            patterns: checked.patterns,
            programs: Some(Arc::clone(programs)),
            whole: OnceLock::new(),
        })
    }

    /// A silence of this store.
    pub(super) fn of(silence: Silence, programs: &Arc<Programs>) -> Self {
        Self {
            programs: Some(Arc::clone(programs)),
            ..Self::from(silence)
        }
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

    /// The whole of it. It is read from its bytes, which takes about a microsecond; once, or at every call if
    /// it would take much more memory than its bytes.
    #[must_use]
    pub fn whole(&self) -> Arc<Silence> {
        if let Some(whole) = self.whole.get() {
            return Arc::clone(whole);
        }
        let programs = self.programs.as_ref();
        let whole = body::read(self.id, &self.body, &self.patterns, programs).expect(WAS_CHECKED);
        // What compiles its patterns by itself does not stay.
        let stays = programs.is_some() || self.patterns.is_empty();
        if stays && whole.bytes() <= WHOLE_BYTES + WHOLE_TIMES * self.body.len() {
            return Arc::clone(self.whole.get_or_init(|| Arc::new(whole)));
        }
        Arc::new(whole)
    }

    /// Whether its matchers match an alert, whatever its state. What can be told without compiling a
    /// pattern is looked at first.
    pub(super) fn matches(&self, labels: &Labels, programs: &Programs) -> bool {
        let mut sets = self.sets();
        while let Some(mut set) = sets.next() {
            if set_matches(&mut set, labels, programs) {
                return true;
            }
            set.by_ref().for_each(drop);
            sets.go_on(set);
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
        let whole = self.whole.get().map_or(0, |whole| whole.bytes());
        size_of::<Self>() + patterns.sum::<usize>() + whole
    }
}

/// Whether all matchers of a set match. Stops at the first that does not.
fn set_matches(set: &mut Set<'_>, labels: &Labels, programs: &Programs) -> bool {
    let begun = set.clone();
    // Most sets have few patterns that must be run.
    let (mut few, mut unknown) = ([None; FEW], 0);
    for (matcher, pattern) in set {
        let op = matcher.op().expect(WAS_CHECKED);
        let label = label_of(matcher, labels);
        let matched = match pattern {
            Some(pattern) => pattern.verdict(matcher.value, label),
            None => Some(matcher.value == label.as_bytes()),
        };
        match (matched, pattern) {
            (Some(matched), _) if matched != op.is_positive() => return false,
            (None, Some(pattern)) => {
                if let Some(place) = few.get_mut(unknown) {
                    *place = Some((matcher, pattern, label));
                }
                unknown += 1;
            }
            _ => {}
        }
    }
    if unknown <= FEW {
        let mut few = few.iter().flatten();
        return few.all(|(matcher, pattern, label)| run(*matcher, pattern, label, programs));
    }
    let mut patterns = begun.filter_map(|(matcher, pattern)| Some((matcher, pattern?)));
    patterns.all(|(matcher, pattern)| run(matcher, pattern, label_of(matcher, labels), programs))
}

/// Whether a matcher with a pattern matches. Compiles the pattern if it is not held compiled.
fn run(matcher: MatcherBody<'_>, pattern: &Pattern, label: &str, programs: &Programs) -> bool {
    let op = matcher.op().expect(WAS_CHECKED);
    let value = body::text(matcher.value).expect(WAS_CHECKED);
    // One that does not compile after all mutes nothing, whatever its operator is.
    programs.matches(value, pattern, label) == Some(op.is_positive())
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
            programs: None,
            whole: OnceLock::new(),
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

/// Patterns of a set that are run without going over the set once more.
const FEW: usize = 4;
/// A silence that was read whole stays so if it takes at most so many times its bytes, and so many more.
const WHOLE_TIMES: usize = 3;
const WHOLE_BYTES: usize = 512;
const WAS_CHECKED: &str = "what passed the check can be read";
