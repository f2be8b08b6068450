//! A cache of what mutes each alert: asked again about an alert, it evaluates only what has changed.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::held::HeldSilence;
use super::record::{SilenceId, SilenceState};
use super::store::{Silences, active};
use crate::store::matcher::Labels;
use crate::store::read::ChangedRecords;
use crate::time::Timestamp;

/// With more changes than this since an alert was asked about, it is evaluated anew.
const CHANGES_MAX: usize = 256;

/// Returns what [`Silences::mutes`] returns, and remembers for each alert which silences match it, and up
/// to which change of the store that is known. Asked again, it evaluates only the silences that have
/// changed since: a new silence costs each alert one evaluation and not a scan. Starts and ends are
/// compared with the clock at every call, so nothing needs to be invalidated.
///
/// All calls may be made from any thread. Its lock is held briefly; silences are evaluated outside of
/// it, and outside of the store's lock.
///
/// ```
/// # use rumormill::store::silences::{Muting, Silences};
/// # use rumormill::store::matcher::Labels;
/// # fn show(silences: &Silences, alerts: &[Labels]) {
/// let muting = Muting::new(silences.clone(), 10_000.try_into().expect("not zero"));
/// for labels in alerts {
///     println!("{labels:?} is muted by {:?}", muting.mutes(labels));
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Muting {
    silences: Silences,
    /// Alerts in one generation: half of those that are remembered. When the new generation is full, it
    /// becomes the old one, and the alerts that were left in the old one are forgotten.
    generation_max: usize,
    known: Mutex<Generations>,
    scanned: AtomicU64,
    skipped: AtomicU64,
}

/// What all calls of [`Muting::mutes`] have cost since the [`Muting`] was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookedAt {
    /// Silences that were evaluated, once for each alert.
    pub scanned: u64,
    /// Silences that were held and did not need an evaluation, because of the index or of what was
    /// remembered. Those that have ended or are quarantined count as long as they are held.
    pub skipped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Generations {
    pub(super) new: HashMap<Labels, KnownAlert>,
    old: HashMap<Labels, KnownAlert>,
}

/// What is known of an alert.
#[derive(Clone, Debug)]
pub(super) struct KnownAlert {
    /// The silences that match it and had not ended at `at`, by id.
    matching: Arc<[Arc<HeldSilence>]>,
    /// The change up to which it is known.
    seq: u64,
    /// When it was last evaluated. If the clock is set back before that, it must be evaluated anew.
    at: Timestamp,
}

impl Muting {
    /// Remembers the alerts that were asked about last, at most `alerts_max` of them, but at least two.
    #[must_use]
    pub fn new(silences: Silences, alerts_max: NonZeroUsize) -> Self {
        Self {
            silences,
            generation_max: (alerts_max.get() / 2).max(1),
            known: Mutex::default(),
            scanned: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }

    /// The active silences that mute an alert with these labels, by id.
    #[must_use]
    pub fn mutes(&self, labels: &Labels) -> Vec<SilenceId> {
        let now = self.silences.now();
        let known = self.lock().get(labels, self.generation_max);
        let before = known.as_ref().map(|known| (known.seq, known.at));
        let (known, scanned) = match known {
            Some(known) if known.at <= now => self.caught_up(known, labels, now),
            _ => self.evaluated(labels, now),
        };
        self.count(scanned);
        let muting = active(&known.matching, now);
        let muting = muting.filter(|id| self.silences.is_live(*id)).collect();
        // Something is to be remembered too if the clock was set back and all was evaluated anew.
        let kept = before.is_some_and(|(seq, at)| seq == known.seq && at <= known.at);
        if !kept {
            self.lock().remember(labels, known, self.generation_max);
        }
        muting
    }

    /// How many alerts are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        let known = self.lock();
        known.new.len() + known.old.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the alerts for which `keep` returns `false`. Holds the lock meanwhile.
    pub fn retain(&self, mut keep: impl FnMut(&Labels) -> bool) {
        let mut known = self.lock();
        known.new.retain(|labels, _| keep(labels));
        known.old.retain(|labels, _| keep(labels));
    }

    /// What all calls of [`mutes`](Self::mutes) so far have cost.
    #[must_use]
    pub fn looked_at(&self) -> LookedAt {
        LookedAt {
            scanned: self.scanned.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
        }
    }

    fn count(&self, scanned: usize) {
        let skipped = self.silences.store().len().saturating_sub(scanned);
        self.scanned.fetch_add(scanned as u64, Ordering::Relaxed);
        self.skipped.fetch_add(skipped as u64, Ordering::Relaxed);
    }

    /// What is known of an alert with all changes since, and how many silences were evaluated for it.
    fn caught_up(&self, known: KnownAlert, labels: &Labels, now: Timestamp) -> (KnownAlert, usize) {
        let Some(changed) = self.silences.map.changed(known.seq, CHANGES_MAX) else {
            return self.evaluated(labels, now);
        };
        let ChangedRecords { records, seq } = changed;
        if records.is_empty() {
            return (KnownAlert { seq, ..known }, 0);
        }
        let mut matching: Vec<_> = known
            .matching
            .iter()
            .filter(|silence| silence.state(now) != SilenceState::Expired)
            .cloned()
            .collect();
        let mut scanned = 0;
        for (key, silence) in records {
            let place = matching.binary_search_by_key(&key, |silence| silence.id().key());
            let silence = silence.filter(|it| it.state(now) != SilenceState::Expired);
            scanned += usize::from(silence.is_some());
            let programs = self.silences.programs();
            let silence = silence.filter(|it| it.matches(labels, programs));
            match (place, silence) {
                (Ok(at), Some(silence)) => matching[at] = silence,
                (Ok(at), None) => {
                    matching.remove(at);
                }
                (Err(at), Some(silence)) => matching.insert(at, silence),
                (Err(_), None) => {}
            }
        }
        let known = KnownAlert {
            matching: matching.into(),
            seq,
            at: now,
        };
        (known, scanned)
    }

    /// Evaluates every candidate. Returns what is known then, and how many candidates there were.
    fn evaluated(&self, labels: &Labels, now: Timestamp) -> (KnownAlert, usize) {
        // Read before the candidates: a change that comes between the two is evaluated again next time.
        let seq = self.silences.map.store().head();
        let candidates = self.silences.candidates(labels, now);
        let scanned = candidates.len();
        let matching = candidates
            .into_iter()
            // It mutes the alert now, or will do so when it starts.
            .filter(|silence| {
                silence.state(now) != SilenceState::Expired
                    && silence.matches(labels, self.silences.programs())
            })
            .collect();
        let known = KnownAlert {
            matching,
            seq,
            at: now,
        };
        (known, scanned)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Generations> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    /// What is known of an alert, which is moved to the new generation.
    fn get(&mut self, labels: &Labels, generation_max: usize) -> Option<KnownAlert> {
        if let Some(known) = self.new.get(labels) {
            return Some(known.clone());
        }
        let (labels, known) = self.old.remove_entry(labels)?;
        self.add(labels, known.clone(), generation_max);
        Some(known)
    }

    fn remember(&mut self, labels: &Labels, known: KnownAlert, generation_max: usize) {
        match self.new.get_mut(labels) {
            // Two threads may have asked about the alert at once.
            Some(held) if held.seq > known.seq => {}
            Some(held) => *held = known,
            None => {
                self.old.remove(labels);
                self.add(labels.clone(), known, generation_max);
            }
        }
    }

    fn add(&mut self, labels: Labels, known: KnownAlert, generation_max: usize) {
        if self.new.len() >= generation_max {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(labels, known);
    }
}
