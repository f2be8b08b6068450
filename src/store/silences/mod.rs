//! Silences: what is muted, from when until when.
//!
//! The rules are Alertmanager's (`silence/silence.go`; section 2 of the reference), over a map
//! whose join is a total order:
//!
//! - **State** follows from the reader's clock: pending, active, expired ([`Silence::state`]).
//! - **Set** without an id makes a silence. With an id it updates that silence in place where the
//!   change does not rewrite history (`can_update`); otherwise it expires the old one and makes
//!   a new one.
//! - **Expire** moves the end to now. The silence stays, expired, until its retention has passed.
//! - The entry expires at `ends_at + retention`, and the join keeps the latest expiry of all
//!   versions: the record of an early end outlives every copy of the silence it ended. Local
//!   retention only hides; memory is freed by the map, on every node at the same time.
//! - A local write is later than whatever it replaces, so a silence stamped by a fast clock can be
//!   expired. At equal timestamps the earlier end wins: alerting is the safe side.
//! - A silence is checked when it comes and read whole when somebody asks for it, or an alert may be
//!   muted by it. One of three matchers and a comment of 100 bytes takes about 0.7 kB of memory, all
//!   indexes included, and 1.3 kB from then on (`cargo bench --bench merge`).
//! - A silence that cannot be evaluated here is quarantined by the map: it mutes nothing, is in
//!   nobody's way, and is passed on.

mod body;
mod held;
mod muting;
mod query;
mod record;
mod schema;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::matcher::{Labels, Matcher};
use super::{Context, Expiry, Limits, Map, Quarantined, Store, WriteError, Written};
use crate::time::Timestamp;

pub(in crate::store) use held::Condition;
pub use held::HeldSilence;
pub use muting::{LookedAt, Muting};
pub use query::{Listed, Query, StateCounts};
pub use record::{Silence, SilenceId, SilenceIdError, SilenceState};
pub use schema::{MATCHERS_MAX, RuleError, SilenceSchema};

/// How often a write is tried again because the silence changed under it.
const ATTEMPTS_MAX: usize = 16;

/// What a store of silences keeps and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SilenceLimits {
    /// How long a silence is shown, and its entry kept, after it ended. Default 120 h. Lowered, it
    /// hides ended silences earlier at once; their memory is freed when they were to expire.
    pub retention: Duration,
    /// Making a silence fails when this many are held, expired ones included; merges and updates
    /// do not. Default none.
    pub max_silences: Option<NonZeroUsize>,
    /// Making or updating a silence fails when its body is larger than this many bytes; merges do
    /// not. Default none.
    pub max_silence_size_bytes: Option<NonZeroUsize>,
}

impl Default for SilenceLimits {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(120 * 3600),
            max_silences: None,
            max_silence_size_bytes: None,
        }
    }
}

/// A silence to be made, or what one is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSilence {
    /// The silence to change; `None` makes one.
    pub id: Option<SilenceId>,
    /// What it mutes.
    pub matcher_sets: Vec<Vec<Matcher>>,
    /// When it begins; `None` is now.
    pub starts_at: Option<Timestamp>,
    /// When it ends.
    pub ends_at: Timestamp,
    /// Who makes it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// Anything else.
    pub annotations: BTreeMap<String, String>,
}

impl NewSilence {
    /// A silence of what all of `matchers` match, from now until `ends_at`.
    #[must_use]
    pub fn new(matchers: Vec<Matcher>, ends_at: Timestamp) -> Self {
        Self {
            id: None,
            matcher_sets: vec![matchers],
            starts_at: None,
            ends_at,
            created_by: String::new(),
            comment: String::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// Why a silence was not written. Unless said otherwise nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SilenceError {
    /// The silence changed again and again while it was being written.
    #[error("the silence changed {attempts} times while it was being written")]
    Contended {
        /// How often it was tried.
        attempts: usize,
    },
    /// It would have ended by now.
    #[error("the end {ends_at:?} must not be in the past (now {now:?})")]
    EndInPast {
        /// Its end.
        ends_at: Timestamp,
        /// This node's clock.
        now: Timestamp,
    },
    /// It would end when it starts.
    #[error("the start must be before the end ({ends_at:?})")]
    NoDuration {
        /// Its end, and start.
        ends_at: Timestamp,
    },
    /// No silence of that id is shown here.
    #[error("there is no silence {id}")]
    NotFound {
        /// The id.
        id: SilenceId,
    },
    /// It breaks a rule that every silence keeps.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// It is too large.
    #[error("a silence of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// There are as many silences as there may be.
    #[error("{held} silences are held, with a limit of {max}")]
    TooManySilences {
        /// How many are held.
        held: usize,
        /// The limit.
        max: usize,
    },
    /// The store did not take it. Of a change that makes a new silence, the old one may have been
    /// expired by then.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The store of silences. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Silences {
    map: Map<SilenceSchema>,
    limits: SilenceLimits,
    /// Where ids come from. Held through a whole local write, so that limits are exact.
    ids: Arc<Mutex<Pcg64>>,
}

impl fmt::Debug for Silences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Silences")
            .field("map", &self.map)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Silences {
    /// An empty store. `seed` must be random and different on every node and at every start: ids
    /// are drawn from it, and two silences of one id are one silence.
    #[must_use]
    pub fn new(limits: SilenceLimits, store: Limits, context: Context, seed: [u8; 32]) -> Self {
        let schema = SilenceSchema::new(Arc::clone(&context.clock));
        Self {
            map: Map::new(schema, store, context),
            limits,
            ids: Arc::new(Mutex::new(Pcg64::from_seed(seed))),
        }
    }

    /// Makes a silence, or changes one (`new.id`): in place if that does not rewrite history, else
    /// by expiring it and making another. Answers the id it now has.
    ///
    /// In place means the same matcher sets in the same order, and: of an active silence, the same
    /// start to the second; of a pending one, a start that is not in the past; an expired one is
    /// never changed. A new silence starts now at the earliest. The two writes of a change that
    /// makes a new silence are made one after the other, not atomically.
    ///
    /// # Errors
    /// Any [`SilenceError`].
    pub fn set(&self, new: NewSilence) -> Result<(SilenceId, Written), SilenceError> {
        let mut ids = self.lock_writes();
        for _ in 0..ATTEMPTS_MAX {
            match self.try_set(&new, &mut ids) {
                Err(SilenceError::Write(WriteError::Conflict)) => {}
                done => return done,
            }
        }
        Err(SilenceError::Contended {
            attempts: ATTEMPTS_MAX,
        })
    }

    /// Ends a silence now; a pending one never starts. `None` if it had ended already.
    ///
    /// # Errors
    /// [`SilenceError::NotFound`], [`SilenceError::Contended`] and [`SilenceError::Write`].
    pub fn expire(&self, id: SilenceId) -> Result<Option<Written>, SilenceError> {
        let _one_at_a_time = self.lock_writes();
        for _ in 0..ATTEMPTS_MAX {
            let now = self.now();
            let (silence, seen) = self.shown(id, now)?;
            match self.expire_seen(&silence, seen, now) {
                Err(WriteError::Conflict) => {}
                done => return Ok(done?),
            }
        }
        Err(SilenceError::Contended {
            attempts: ATTEMPTS_MAX,
        })
    }

    /// A silence, unless retention hides it.
    #[must_use]
    pub fn get(&self, id: SilenceId) -> Option<Arc<Silence>> {
        let (silence, _) = self.shown(id, self.now()).ok()?;
        Some(Arc::clone(silence.whole()))
    }

    /// The silences that a query asks for: active ones first, the soonest to end first; then
    /// pending ones, the soonest to start first; then expired ones, the last to have ended first.
    /// No silence, however odd, makes it fail.
    #[must_use]
    pub fn query(&self, query: &Query) -> Vec<Listed> {
        let now = self.now();
        let retention = self.limits.retention;
        let mut listed: Vec<Listed> = self
            .eligible(query, now)
            .into_iter()
            .filter(|silence| !silence.is_hidden(now, retention))
            .filter_map(|silence| query.admit(&silence, now))
            .collect();
        query::sort(&mut listed);
        listed
    }

    /// The active silences that mute an alert with these labels, by id. The alert is muted if there
    /// is one. Looks at the silences that share a label with the alert, and at those that ask for
    /// none in particular; patterns run outside the store's lock. [`Muting`] remembers the answers.
    #[must_use]
    pub fn mutes(&self, labels: &Labels) -> Vec<SilenceId> {
        let now = self.now();
        let mut candidates = self.candidates(labels, now);
        candidates.retain(|silence| {
            silence.state(now) == SilenceState::Active
                && silence.matches(labels)
                && self.is_live(silence.id())
        });
        candidates.iter().map(|silence| silence.id()).collect()
    }

    /// How many silences are in each state, those that retention hides left out. Looks at every
    /// silence, and drops what those that have ended still hold compiled.
    #[must_use]
    pub fn count_by_state(&self) -> StateCounts {
        let now = self.now();
        let mut counts = StateCounts::default();
        for (_, silence) in self.map.records() {
            let state = silence.state(now);
            if state == SilenceState::Expired {
                silence.release();
            }
            if silence.is_hidden(now, self.limits.retention) {
                continue;
            }
            match state {
                SilenceState::Active => counts.active += 1,
                SilenceState::Expired => counts.expired += 1,
                SilenceState::Pending => counts.pending += 1,
            }
        }
        counts
    }

    /// Silences that are kept and passed on but cannot be evaluated here, at most `max`.
    #[must_use]
    pub fn quarantined(&self, max: usize) -> Vec<Quarantined> {
        self.map.quarantined(max)
    }

    /// What it keeps and takes.
    #[must_use]
    pub fn limits(&self) -> &SilenceLimits {
        &self.limits
    }

    /// The map beneath.
    #[must_use]
    pub fn map(&self) -> &Map<SilenceSchema> {
        &self.map
    }

    /// The store as the engine sees it.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.map.store()
    }

    fn now(&self) -> Timestamp {
        self.map.context().clock.wall()
    }

    fn lock_writes(&self) -> MutexGuard<'_, Pcg64> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The silences that may match an alert and have not ended, by id.
    fn candidates(&self, labels: &Labels, now: Timestamp) -> Vec<Arc<HeldSilence>> {
        self.map.with_index(|index| index.candidates(labels, now))
    }

    /// Whether the entry of a silence is held and has not expired: its writer may have let it go
    /// before it ends.
    fn is_live(&self, id: SilenceId) -> bool {
        self.map.get(&id.key()).is_some()
    }

    /// A silence that is shown, and the sequence of its last change.
    fn shown(
        &self,
        id: SilenceId,
        now: Timestamp,
    ) -> Result<(Arc<HeldSilence>, u64), SilenceError> {
        let (silence, seen) = self.map.read(&id.key());
        silence
            .filter(|silence| !silence.is_hidden(now, self.limits.retention))
            .map(|silence| (silence, seen))
            .ok_or(SilenceError::NotFound { id })
    }

    /// What a query must look at.
    fn eligible(&self, query: &Query, now: Timestamp) -> Vec<Arc<HeldSilence>> {
        if let Some(ids) = &query.ids {
            let mut ids = ids.clone();
            ids.sort_unstable();
            ids.dedup();
            return ids
                .iter()
                .filter_map(|id| self.map.get(&id.key()))
                .collect();
        }
        match &query.matching {
            Some(labels) if !query.wants(SilenceState::Expired) => self.candidates(labels, now),
            _ => self.map.records().into_iter().map(|(_, it)| it).collect(),
        }
    }

    fn try_set(
        &self,
        new: &NewSilence,
        ids: &mut Pcg64,
    ) -> Result<(SilenceId, Written), SilenceError> {
        let now = self.now();
        let starts_at = start_of(new, now)?;
        let previous = new.id.map(|id| self.shown(id, now)).transpose()?;
        if let Some((silence, seen)) = &previous
            && can_update(silence, new, starts_at, now)
        {
            let updated_at = updated_after(silence, now);
            let next = record(new, silence.id, starts_at, updated_at);
            self.check_size(&next)?;
            return Ok((silence.id, self.write(next, *seen)?));
        }
        let held = self.map.store().len();
        if let Some(max) = self.limits.max_silences.map(NonZeroUsize::get)
            && held >= max
        {
            return Err(SilenceError::TooManySilences { held, max });
        }
        let mut bytes = [0; 16];
        ids.fill_bytes(&mut bytes);
        let id = SilenceId::from_random(bytes);
        let next = record(new, id, starts_at.max(now), now);
        self.check_size(&next)?;
        if let Some((silence, seen)) = &previous {
            // The old one must not end for a new one that then finds no room.
            let max = self.map.limits().entries_max;
            if held >= max {
                return Err(WriteError::StoreFull { max }.into());
            }
            let _ = self.expire_seen(silence, *seen, now)?;
        }
        Ok((id, self.write(next, 0)?))
    }

    fn expire_seen(
        &self,
        silence: &Silence,
        seen: u64,
        now: Timestamp,
    ) -> Result<Option<Written>, WriteError> {
        let state = silence.state(now);
        if state == SilenceState::Expired {
            return Ok(None);
        }
        let mut next = silence.clone();
        next.ends_at = now;
        if state == SilenceState::Pending {
            next.starts_at = now;
        }
        next.updated_at = updated_after(silence, now);
        let written = self.write(next, seen)?;
        // Copies of a silence share what is compiled, each by a handle of its own.
        if let Some(ended) = self.map.get(&silence.id.key()) {
            ended.release();
        }
        Ok(Some(written))
    }

    fn write(&self, silence: Silence, seen: u64) -> Result<Written, WriteError> {
        let tie = silence.tie();
        let expiry = Expiry::At(silence.ends_at.plus(self.limits.retention));
        self.map.put_if(silence.into(), expiry, tie, seen)
    }

    fn check_size(&self, silence: &Silence) -> Result<(), SilenceError> {
        let Some(max) = self.limits.max_silence_size_bytes.map(NonZeroUsize::get) else {
            return Ok(());
        };
        let bytes = body::write(silence).len();
        if bytes > max {
            return Err(SilenceError::TooLarge { bytes, max });
        }
        Ok(())
    }
}

/// The active ones of some silences.
fn active(silences: &[Arc<HeldSilence>], now: Timestamp) -> impl Iterator<Item = SilenceId> + '_ {
    silences
        .iter()
        .filter(move |silence| silence.state(now) == SilenceState::Active)
        .map(|silence| silence.id())
}

/// Checks what is asked for and answers its start (reference 2.3, those of the API included).
fn start_of(new: &NewSilence, now: Timestamp) -> Result<Timestamp, SilenceError> {
    let starts_at = new.starts_at.unwrap_or(now);
    let ends_at = new.ends_at;
    schema::check(&new.matcher_sets, starts_at, ends_at)?;
    if ends_at <= now {
        return Err(SilenceError::EndInPast { ends_at, now });
    }
    if ends_at == starts_at {
        return Err(SilenceError::NoDuration { ends_at });
    }
    Ok(starts_at)
}

/// Whether a silence may become `new` under its own id (reference 2.4).
fn can_update(old: &Silence, new: &NewSilence, starts_at: Timestamp, now: Timestamp) -> bool {
    const SECOND: u64 = 1_000_000_000;
    old.matcher_sets == new.matcher_sets
        && match old.state(now) {
            SilenceState::Active => {
                old.starts_at.as_nanos() / SECOND == starts_at.as_nanos() / SECOND
                    && new.ends_at >= now
            }
            SilenceState::Expired => false,
            SilenceState::Pending => starts_at >= now,
        }
}

/// Now, but later than the version it replaces.
fn updated_after(old: &Silence, now: Timestamp) -> Timestamp {
    now.max(old.updated_at.plus(Duration::from_nanos(1)))
}

fn record(new: &NewSilence, id: SilenceId, starts_at: Timestamp, updated_at: Timestamp) -> Silence {
    Silence {
        id,
        matcher_sets: new.matcher_sets.clone(),
        starts_at,
        ends_at: new.ends_at,
        updated_at,
        created_by: new.created_by.clone(),
        comment: new.comment.clone(),
        annotations: new.annotations.clone(),
    }
}

#[cfg(test)]
pub(crate) mod support;
#[cfg(test)]
mod tests;
