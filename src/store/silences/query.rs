//! Queries of silences: their conditions, and the order of what they list.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use super::held::HeldSilence;
use super::record::{Silence, SilenceId, SilenceState};
use crate::store::matcher::{Labels, Matcher, Programs};
use crate::time::Timestamp;

/// What to list. All conditions that are given must hold; the default lists everything.
///
/// ```
/// use rumormill::store::silences::{Query, SilenceState};
///
/// let active = Query::default().states([SilenceState::Active]);
/// # assert_eq!(active.states, [SilenceState::Active]);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Query {
    /// Only these silences.
    pub ids: Option<Vec<SilenceId>>,
    /// Only these states; any if empty.
    pub states: Vec<SilenceState>,
    /// Only silences whose matchers match these labels.
    pub matching: Option<Labels>,
    /// Only silences of which one matcher set contains every one of these matchers, as it is
    /// written: Alertmanager's `filter`.
    pub filter: Vec<Matcher>,
}

/// A silence and the state it was in when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its state by this node's clock.
    pub state: SilenceState,
    /// The silence.
    pub silence: Arc<Silence>,
}

/// How many silences are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateCounts {
    /// They mute.
    pub active: usize,
    /// They have ended and are still shown.
    pub expired: usize,
    /// They have not started.
    pub pending: usize,
}

impl Query {
    /// Only these silences.
    #[must_use]
    pub fn ids(mut self, ids: impl IntoIterator<Item = SilenceId>) -> Self {
        self.ids = Some(ids.into_iter().collect());
        self
    }

    /// Only these states; any if empty.
    #[must_use]
    pub fn states(mut self, states: impl IntoIterator<Item = SilenceState>) -> Self {
        self.states = states.into_iter().collect();
        self
    }

    /// Only silences whose matchers match these labels.
    #[must_use]
    pub fn matching(mut self, labels: Labels) -> Self {
        self.matching = Some(labels);
        self
    }

    /// Only silences of which one matcher set contains every one of these matchers, as it is written.
    #[must_use]
    pub fn filter(mut self, filter: impl IntoIterator<Item = Matcher>) -> Self {
        self.filter = filter.into_iter().collect();
        self
    }

    /// Whether a state is asked for.
    pub(super) fn wants(&self, state: SilenceState) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }

    /// The silence, if all conditions but `ids` hold of it.
    pub(super) fn admit(
        &self,
        held: &HeldSilence,
        now: Timestamp,
        programs: &Programs,
    ) -> Option<Listed> {
        let state = held.state(now);
        let matching = |labels| held.matches(labels, programs);
        if !self.wants(state) || !self.matching.as_ref().is_none_or(matching) {
            return None;
        }
        let silence = held.whole();
        let mut sets = silence.matcher_sets.iter();
        let admitted = sets.any(|set| self.filter.iter().all(|asked| set.contains(asked)));
        admitted.then_some(Listed { state, silence })
    }
}

/// Active ones first, the soonest to end first; then pending ones, the soonest to start first;
/// then expired ones, the last to have ended first; by id where that is equal. It is the order of
/// Alertmanager's API (`SortSilences` in `api/v2/api.go`).
pub(super) fn sort(listed: &mut [Listed]) {
    listed.sort_unstable_by(|a, b| {
        let (x, y) = (&a.silence, &b.silence);
        let within = match a.state {
            SilenceState::Active => x.ends_at.cmp(&y.ends_at),
            SilenceState::Expired => Reverse(x.ends_at).cmp(&Reverse(y.ends_at)),
            SilenceState::Pending => x.starts_at.cmp(&y.starts_at),
        };
        a.state
            .cmp(&b.state)
            .then(within)
            .then_with(|| -> Ordering { x.id.cmp(&y.id) })
    });
}
