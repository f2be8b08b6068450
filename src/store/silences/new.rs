//! A silence to be made, or what one is to become.

use std::collections::BTreeMap;
use std::time::Duration;

use super::record::SilenceId;
use crate::store::matcher::Matcher;
use crate::time::Timestamp;

/// A silence to be made, or what one is to become.
///
/// ```
/// use std::time::Duration;
///
/// use rumormill::store::matcher::{Matcher, Op};
/// use rumormill::store::silences::NewSilence;
///
/// let matchers = vec![Matcher::new("alertname", Op::Equal, "DiskFull")?];
/// let eight_hours = Duration::from_secs(8 * 3600);
/// let new = NewSilence::lasting(matchers, eight_hours)
///     .created_by("ann")
///     .comment("new disks on Monday");
/// # assert_eq!(new.comment, "new disks on Monday");
/// # Ok::<(), rumormill::store::matcher::MatcherError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewSilence {
    /// The silence to change; `None` makes one.
    pub id: Option<SilenceId>,
    /// What it mutes.
    pub matcher_sets: Vec<Vec<Matcher>>,
    /// When it begins; `None` is now.
    pub starts_at: Option<Timestamp>,
    /// When it ends.
    pub end: SilenceEnd,
    /// Who makes it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// Anything else.
    pub annotations: BTreeMap<String, String>,
}

/// When a silence is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SilenceEnd {
    /// So long after [`NewSilence::starts_at`], or after it is made if that is `None`.
    After(Duration),
    /// At this instant.
    At(Timestamp),
}

impl NewSilence {
    /// A silence of what all of `matchers` match, from now until `ends_at`.
    #[must_use]
    pub fn new(matchers: Vec<Matcher>, ends_at: Timestamp) -> Self {
        Self::with_end(matchers, SilenceEnd::At(ends_at))
    }

    /// A silence of what all of `matchers` match, for so long. It begins when it is made, by the store's
    /// clock, or at [`starts_at`](Self::starts_at).
    #[must_use]
    pub fn lasting(matchers: Vec<Matcher>, span: Duration) -> Self {
        Self::with_end(matchers, SilenceEnd::After(span))
    }

    fn with_end(matchers: Vec<Matcher>, end: SilenceEnd) -> Self {
        Self {
            id: None,
            matcher_sets: vec![matchers],
            starts_at: None,
            end,
            created_by: String::new(),
            comment: String::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// Changes this silence instead of making one.
    #[must_use]
    pub fn id(mut self, id: SilenceId) -> Self {
        self.id = Some(id);
        self
    }

    /// Replaces all matcher sets. It mutes what all matchers of one of them match.
    #[must_use]
    pub fn matcher_sets(mut self, matcher_sets: Vec<Vec<Matcher>>) -> Self {
        self.matcher_sets = matcher_sets;
        self
    }

    /// Sets when it begins.
    #[must_use]
    pub fn starts_at(mut self, starts_at: Timestamp) -> Self {
        self.starts_at = Some(starts_at);
        self
    }

    /// Sets who makes it.
    #[must_use]
    pub fn created_by(mut self, created_by: impl Into<String>) -> Self {
        self.created_by = created_by.into();
        self
    }

    /// Sets why it is made.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = comment.into();
        self
    }

    /// Sets all annotations.
    #[must_use]
    pub fn annotations(mut self, annotations: BTreeMap<String, String>) -> Self {
        self.annotations = annotations;
        self
    }

    /// When it begins and ends if it is made at `now`.
    pub(crate) fn times(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let starts_at = self.starts_at.unwrap_or(now);
        let ends_at = match self.end {
            SilenceEnd::After(span) => starts_at.plus(span),
            SilenceEnd::At(ends_at) => ends_at,
        };
        (starts_at, ends_at)
    }
}
