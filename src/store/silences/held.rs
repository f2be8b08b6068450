//! A silence as the store holds it. When it comes, it is read as far as is needed to check the rules; it
//! is read whole, with all its texts in memory, when it is asked for. Most silences of a node mute
//! nothing there and are never read whole.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::body::{self, MatcherBody};
use super::record::{Silence, SilenceId, SilenceState};
use crate::store::lazy::Lazy;
use crate::store::matcher::{Matcher, Op};
use crate::store::schema::Unreadable;
use crate::time::Timestamp;

/// A silence as the store's [`map`](super::Silences::map) holds it. It dereferences to the [`Silence`],
/// which is read from its bytes the first time.
#[derive(Clone)]
pub struct HeldSilence {
    id: SilenceId,
    starts_at: Timestamp,
    ends_at: Timestamp,
    whole: Lazy<Silence>,
}

/// One matcher of a silence.
pub(super) enum Condition<'a> {
    /// As it is in bytes: of a silence without patterns that was not read whole.
    Bytes(MatcherBody<'a>),
    /// Of a silence that was read whole.
    Whole(&'a Matcher),
}

impl Condition<'_> {
    /// The name of its label, how it compares, and with what value.
    #[inline(always)]
    pub(super) fn parts(&self) -> (&[u8], Op, &[u8]) {
        match self {
            Self::Bytes(matcher) => (
                matcher.name,
                matcher.op().expect(WAS_CHECKED),
                matcher.value,
            ),
            Self::Whole(matcher) => {
                let (name, value) = (matcher.name().as_bytes(), matcher.value().as_bytes());
                (name, matcher.op(), value)
            }
        }
    }

    /// As [`Matcher::texts`].
    pub(super) fn texts(&self) -> Option<&[Box<str>]> {
        match self {
            Self::Bytes(_) => None,
            Self::Whole(matcher) => matcher.texts(),
        }
    }

    /// As [`Matcher::needs_label`].
    pub(super) fn needs_label(&self) -> bool {
        match self {
            Self::Bytes(_) => {
                let (_, op, value) = self.parts();
                (op == Op::Equal) != value.is_empty()
            }
            Self::Whole(matcher) => matcher.needs_label(),
        }
    }
}

impl HeldSilence {
    /// Checks the bytes of a silence. One with patterns is read whole at once, to see that they compile.
    pub(super) fn read(id: SilenceId, body: &Bytes) -> Result<Self, Unreadable> {
        let checked = body::check(id, body)?;
        let whole = if checked.has_patterns {
            body::read(id, body)?.into()
        } else {
            Lazy::in_bytes(body.clone())
        };
        Ok(Self {
            id,
            starts_at: checked.starts_at,
            ends_at: checked.ends_at,
            whole,
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

    /// The whole of it.
    #[must_use]
    pub fn whole(&self) -> &Arc<Silence> {
        self.whole
            .get(|bytes| body::read(self.id, bytes).expect(WAS_CHECKED))
    }

    /// Whether local retention hides it at `now`: it ended at least `retention` ago.
    pub(super) fn is_hidden(&self, now: Timestamp, retention: Duration) -> bool {
        self.ends_at.plus(retention) <= now
    }

    /// Forgets its compiled patterns.
    pub(super) fn release(&self) {
        if let Ok(whole) = self.whole.look() {
            whole.release();
        }
    }

    /// Calls `each` with every matcher and the number of its set, without reading the silence whole.
    pub(super) fn conditions(&self, mut each: impl FnMut(usize, Condition<'_>)) {
        match self.whole.look() {
            Ok(whole) => {
                for (set, matchers) in whole.matcher_sets.iter().enumerate() {
                    for matcher in matchers {
                        each(set, Condition::Whole(matcher));
                    }
                }
            }
            Err(bytes) => body::matchers(bytes, |set, it| each(set, Condition::Bytes(it))),
        }
    }
}

impl From<Silence> for HeldSilence {
    fn from(silence: Silence) -> Self {
        Self {
            id: silence.id,
            starts_at: silence.starts_at,
            ends_at: silence.ends_at,
            whole: silence.into(),
        }
    }
}

impl Deref for HeldSilence {
    type Target = Silence;

    fn deref(&self) -> &Silence {
        self.whole()
    }
}

impl PartialEq for HeldSilence {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for HeldSilence {}

impl fmt::Debug for HeldSilence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

const WAS_CHECKED: &str = "what passed the check can be read whole";
