//! Which silences mute an alert, remembered per alert.
//!
//! For an alert that is seen for the first time the store's index is asked. From then on only the
//! silences that changed since are matched against it, so that one more silence costs one match
//! per alert. Whether a silence that matches is active is asked of the clock each time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use rumormill::node::SystemClock;
use rumormill::store::matcher::Labels;
use rumormill::store::silences::{Silence, SilenceId, SilenceState, Silences};
use rumormill::time::{Timestamp, WallClock as _};
use rumormill::wire::Key;

/// The memory.
#[derive(Debug, Default)]
pub(crate) struct Muting(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// Changes of the store up to this one are in `recent`, or were.
    seq: u64,
    /// Changes up to this one are not in `recent` any more.
    floor: u64,
    recent: VecDeque<Changed>,
    by_alert: HashMap<u64, Known>,
    /// Silences that were matched against alerts, and those that were not.
    scanned: u64,
    skipped: u64,
    /// When it was last asked. A clock that was set back brings silences to life.
    asked: Timestamp,
}

#[derive(Debug)]
struct Changed {
    seq: u64,
    key: Key,
    silence: Option<Arc<Silence>>,
}

/// The silences that match an alert, active or not, by id, as of a change.
#[derive(Debug)]
struct Known {
    seq: u64,
    silences: Vec<Arc<Silence>>,
}

impl Muting {
    /// The active silences that mute an alert, by id. Blocks while others ask.
    pub(crate) fn mutes(&self, silences: &Silences, print: u64, labels: &Labels) -> Vec<SilenceId> {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemClock.wall();
        if now < memory.asked {
            memory.by_alert.clear();
        }
        memory.asked = now;
        memory.follow(silences);
        let known = memory.known(silences, print, labels, now);
        let active = |silence: &&Arc<Silence>| silence.state(now) == SilenceState::Active;
        let muting = known.iter().filter(active).map(|it| it.id).collect();
        if known.len() > KNOWN_MAX {
            memory.by_alert.remove(&print);
        }
        muting
    }

    /// How many silences were matched against alerts, and how many needed not be.
    pub(crate) fn looked_at(&self) -> (u64, u64) {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (memory.scanned, memory.skipped)
    }

    /// Forgets alerts.
    pub(crate) fn retain(&self, keep: impl Fn(u64) -> bool) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.by_alert.retain(|print, _| keep(*print));
    }
}

impl Memory {
    /// Takes note of what changed.
    fn follow(&mut self, silences: &Silences) {
        let store = silences.store();
        let head = store.head();
        if store.backlog(self.seq) > RECENT_MAX {
            self.recent.clear();
            (self.floor, self.seq) = (head, head);
        }
        while self.seq < head {
            let changes = store.changes(self.seq, RECENT_MAX, BYTES_AT_A_TIME);
            let Some(last) = changes.last() else {
                // What changed was collected.
                self.seq = head;
                return;
            };
            self.seq = last.seq;
            self.recent
                .extend(changes.into_iter().map(|change| Changed {
                    seq: change.seq,
                    key: change.entry.key,
                    silence: silences.map().get(&change.entry.key),
                }));
        }
        while self.recent.len() > RECENT_MAX {
            self.floor = self.recent.pop_front().map_or(self.floor, |it| it.seq);
        }
    }

    fn known(
        &mut self,
        silences: &Silences,
        print: u64,
        labels: &Labels,
        now: Timestamp,
    ) -> &[Arc<Silence>] {
        let known = self.by_alert.entry(print).or_insert(Known {
            seq: 0,
            silences: Vec::new(),
        });
        let mut scanned = 0;
        let held = silences.store().len();
        if known.seq == 0 || known.seq < self.floor {
            let index = silences.map();
            known.silences = index.with_index(|index| index.candidates(labels, now));
            scanned = known.silences.len();
            known.silences.retain(|silence| silence.matches(labels));
        } else if known.seq < self.seq {
            let first = self.recent.partition_point(|it| it.seq <= known.seq);
            for changed in self.recent.range(first..) {
                known.silences.retain(|it| it.id.key() != changed.key);
                scanned += usize::from(changed.silence.is_some());
                let matches = |it: &&Arc<Silence>| it.matches(labels);
                known
                    .silences
                    .extend(changed.silence.iter().filter(matches).cloned());
            }
            known.silences.sort_unstable_by_key(|it| it.id);
        }
        self.scanned += scanned as u64;
        self.skipped += held.saturating_sub(scanned) as u64;
        known.seq = self.seq;
        &known.silences
    }
}

/// Silences that are remembered of an alert. Where more match, the index is asked each time.
const KNOWN_MAX: usize = 256;
/// Changes that are remembered. Beyond that the index is asked again.
const RECENT_MAX: usize = 256;
const BYTES_AT_A_TIME: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use rumormill::store::matcher::{Matcher, Op};
    use rumormill::store::silences::{NewSilence, SilenceLimits};
    use std::time::Duration;

    use super::*;

    fn silence(host: &str, starts: i64) -> NewSilence {
        let now = SystemClock.wall();
        let matcher = Matcher::new("host", Op::Regex, host).unwrap();
        let end = now.plus(Duration::from_secs(3600));
        let mut new = NewSilence::new(vec![matcher], end);
        if starts > 0 {
            new.starts_at = Some(now.plus(Duration::from_secs(starts.unsigned_abs())));
        }
        new
    }

    /// After every change, in small and in large steps, the memory answers what the store does.
    #[test]
    fn the_memory_answers_what_the_store_does() {
        let mut builder = rumormill::node::Node::builder("muting");
        let silences = builder.silences(SilenceLimits::default());
        let muting = Muting::default();
        let alerts: Vec<Labels> = (0..4)
            .map(|n| [("host".to_owned(), format!("h{n}"))].into())
            .collect();
        let same = |step: &str| {
            for (print, labels) in (0..).zip(&alerts) {
                let found = muting.mutes(&silences, print, labels);
                assert_eq!(found, silences.mutes(labels), "{step}");
            }
        };
        same("nothing");
        let one = silences.set(silence("h1", 0)).unwrap().0;
        same("one");
        let two = silences.set(silence("h[12]", 0)).unwrap().0;
        let later = silences.set(silence("h.*", 600)).unwrap().0;
        same("two, and one that is pending");
        assert_eq!(muting.mutes(&silences, 1, &alerts[1]).len(), 2);
        let _ = silences.expire(one).unwrap();
        same("expired");
        for number in 0..2 * RECENT_MAX {
            let _ = silences.set(silence(&format!("h3|x{number}"), 0)).unwrap();
            if number % 100 == 0 {
                same("some of many");
            }
        }
        same("many");
        for id in [two, later] {
            let _ = silences.expire(id).unwrap();
        }
        same("all but many");
        muting.retain(|print| print == 3);
        same("forgotten");
        assert_eq!(muting.mutes(&silences, 3, &alerts[3]).len(), 2 * RECENT_MAX);
    }
}
