//! The store of silences: its writes and reads.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::body;
use super::error::SilenceError;
use super::held::HeldSilence;
use super::limits::SilenceLimits;
use super::new::NewSilence;
use super::query::{self, Listed, Query, StateCounts};
use super::record::{Silence, SilenceId, SilenceState};
use super::rules;
use super::schema::SilenceSchema;
use crate::store::any::Store;
use crate::store::map::Map;
use crate::store::matcher::{Labels, Programs};
use crate::store::read::Quarantined;
use crate::store::setup::{Context, Limits};
use crate::store::write::{Expiry, WriteError, Written};
use crate::time::Timestamp;

/// The store of silences. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Silences {
    pub(super) map: Map<SilenceSchema>,
    limits: SilenceLimits,
    /// Ids are drawn from it. Locked during a whole local write, so that limits are exact.
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
        let schema = SilenceSchema::new(limits.patterns_bytes_max);
        Self {
            map: Map::new(schema, store, context),
            limits,
            ids: Arc::new(Mutex::new(Pcg64::from_seed(seed))),
        }
    }

    /// Makes a silence, or changes one (`new.id`): in place if that does not rewrite history, otherwise
    /// by expiring it and making another. Returns the id that it now has.
    ///
    /// A change is made in place if the matcher sets are the same, in the same order, and if an active
    /// silence keeps its start to the second, or the start of a pending one is not in the past. An
    /// expired silence is never changed. A new silence starts now at the earliest. A change that makes
    /// a new silence takes two writes, one after the other, not atomically.
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
        Some(silence)
    }

    /// The silences that a query asks for: active ones first, the soonest to end first; then
    /// pending ones, the soonest to start first; then expired ones, the last to have ended first.
    /// It cannot fail, whatever is in a silence.
    #[must_use]
    pub fn query(&self, query: &Query) -> Vec<Listed> {
        let now = self.now();
        let retention = self.limits.retention;
        let mut listed: Vec<Listed> = self
            .eligible(query, now)
            .into_iter()
            .filter(|silence| !silence.is_hidden(now, retention))
            .filter_map(|silence| query.admit(&silence, now, self.programs()))
            .collect();
        query::sort(&mut listed);
        listed
    }

    /// The active silences that mute an alert with these labels, by id. The alert is muted if there
    /// is one. Looks at the silences that share a label with the alert, and at those that require no
    /// particular label; patterns run outside the store's lock. [`Muting`](super::Muting) remembers the
    /// results.
    #[must_use]
    pub fn mutes(&self, labels: &Labels) -> Vec<SilenceId> {
        let now = self.now();
        let mut candidates = self.candidates(labels, now);
        candidates.retain(|silence| {
            silence.state(now) == SilenceState::Active
                && silence.matches(labels, self.programs())
                && self.is_live(silence.id())
        });
        candidates.iter().map(|silence| silence.id()).collect()
    }

    /// How many silences are in each state, without those that retention hides. Looks at every silence.
    #[must_use]
    pub fn count_by_state(&self) -> StateCounts {
        let now = self.now();
        let mut counts = StateCounts::default();
        for (_, silence) in self.map.records() {
            let state = silence.state(now);
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

    /// Bytes of compiled patterns that are held: at most
    /// [`patterns_bytes_max`](SilenceLimits::patterns_bytes_max).
    #[must_use]
    pub fn patterns_bytes(&self) -> usize {
        self.programs().bytes()
    }

    /// How often a pattern was compiled. If it grows with every question, patterns do not fit into
    /// [`patterns_bytes_max`](SilenceLimits::patterns_bytes_max).
    #[must_use]
    pub fn patterns_compiled(&self) -> u64 {
        self.programs().compiled()
    }

    /// Silences that are kept and passed on but cannot be evaluated here, at most `max` of them.
    #[must_use]
    pub fn quarantined(&self, max: usize) -> Vec<Quarantined> {
        self.map.quarantined(max)
    }

    /// What it keeps and accepts.
    #[must_use]
    pub fn limits(&self) -> &SilenceLimits {
        &self.limits
    }

    /// The map beneath.
    #[must_use]
    pub fn map(&self) -> &Map<SilenceSchema> {
        &self.map
    }

    /// The store without the type of its records, as a node or a simulation runs it.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.map.store()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.map.context().clock.wall()
    }

    pub(super) fn programs(&self) -> &Arc<Programs> {
        self.map.schema().programs()
    }

    fn lock_writes(&self) -> MutexGuard<'_, Pcg64> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The silences that may match an alert and have not ended, by id.
    pub(super) fn candidates(&self, labels: &Labels, now: Timestamp) -> Vec<Arc<HeldSilence>> {
        self.map.with_index(|index| index.candidates(labels, now))
    }

    /// Whether the entry of a silence is held and has not expired. It may expire before the silence ends,
    /// if its writer said so.
    pub(super) fn is_live(&self, id: SilenceId) -> bool {
        self.map.get(&id.key()).is_some()
    }

    /// A silence that retention does not hide, and the sequence of its last change.
    fn shown(&self, id: SilenceId, now: Timestamp) -> Result<(Arc<Silence>, u64), SilenceError> {
        let (silence, seen) = self.map.read(&id.key());
        silence
            .filter(|silence| !silence.is_hidden(now, self.limits.retention))
            .map(|silence| (silence.whole(), seen))
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
        let (starts_at, ends_at) = times_of(new, now)?;
        let previous = new.id.map(|id| self.shown(id, now)).transpose()?;
        if let Some((silence, seen)) = &previous
            && can_update(silence, new, (starts_at, ends_at), now)
        {
            let updated_at = updated_after(silence, now);
            let next = record(new, silence.id, (starts_at, ends_at), updated_at);
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
        let next = record(new, id, (starts_at.max(now), ends_at), now);
        self.check_size(&next)?;
        if let Some((silence, seen)) = &previous {
            // The old one must not be ended if there is no room for the new one.
            self.map.room_for(body::write(&next).len())?;
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
        self.write(next, seen).map(Some)
    }

    fn write(&self, silence: Silence, seen: u64) -> Result<Written, WriteError> {
        let tie = silence.tie();
        let expiry = Expiry::At(silence.ends_at.plus(self.limits.retention));
        let silence = HeldSilence::of(silence, self.programs());
        self.map.put_if_local(silence, expiry, tie, seen)
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
pub(super) fn active(
    silences: &[Arc<HeldSilence>],
    now: Timestamp,
) -> impl Iterator<Item = SilenceId> + '_ {
    silences
        .iter()
        .filter(move |silence| silence.state(now) == SilenceState::Active)
        .map(|silence| silence.id())
}

/// Checks what is asked for, and returns its start and end. The rules are those of Alertmanager's
/// `validateSilence` (`silence/silence.go`) and of its API (`api/v2/api.go`).
fn times_of(new: &NewSilence, now: Timestamp) -> Result<(Timestamp, Timestamp), SilenceError> {
    let (starts_at, ends_at) = new.times(now);
    rules::check(&new.matcher_sets, starts_at, ends_at)?;
    rules::check_annotations(new.annotations.len())?;
    if ends_at <= now {
        return Err(SilenceError::EndInPast { ends_at, now });
    }
    if ends_at == starts_at {
        return Err(SilenceError::NoDuration { ends_at });
    }
    Ok((starts_at, ends_at))
}

/// Whether a silence may become `new` under its own id, as Alertmanager's `canUpdate`
/// (`silence/silence.go`).
fn can_update(
    old: &Silence,
    new: &NewSilence,
    (starts_at, ends_at): (Timestamp, Timestamp),
    now: Timestamp,
) -> bool {
    const SECOND: u64 = 1_000_000_000;
    old.matcher_sets == new.matcher_sets
        && match old.state(now) {
            SilenceState::Active => {
                old.starts_at.as_nanos() / SECOND == starts_at.as_nanos() / SECOND && ends_at >= now
            }
            SilenceState::Expired => false,
            SilenceState::Pending => starts_at >= now,
        }
}

/// Now, but later than the version it replaces.
fn updated_after(old: &Silence, now: Timestamp) -> Timestamp {
    now.max(old.updated_at.plus(Duration::from_nanos(1)))
}

fn record(
    new: &NewSilence,
    id: SilenceId,
    (starts_at, ends_at): (Timestamp, Timestamp),
    updated_at: Timestamp,
) -> Silence {
    Silence {
        id,
        matcher_sets: new.matcher_sets.clone(),
        starts_at,
        ends_at,
        updated_at,
        created_by: new.created_by.clone(),
        comment: new.comment.clone(),
        annotations: new.annotations.clone(),
    }
}

/// How often a write is tried again because the silence changed under it.
const ATTEMPTS_MAX: usize = 16;
