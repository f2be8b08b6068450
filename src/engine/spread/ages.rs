//! For how long a peer has lacked something of one store, in little memory and without looking at every key.
//!
//! Keys that the peer was sent, or is to be sent once more, are in *batches*, by the turn since which that is
//! so; what it was not sent yet is told by *marks*: up to which change, and since when. Where there are more than
//! [`STEPS_MAX`] of either, two neighbours become one that is as old as the older. So the age that is told is never
//! less than that of the oldest, and at most by the time between two neighbours more.

use std::collections::VecDeque;
use std::time::Duration;

/// Since when a peer has lacked what it lacks of one store.
#[derive(Debug, Default)]
pub(super) struct LackAges {
    batches: VecDeque<AgedKeys>,
    /// The number of the next batch.
    next: u64,
    /// Changes after the one before, up to this one, were not sent yet, since then.
    marks: VecDeque<(u64, Duration)>,
}

/// Keys that became outstanding in one turn, or in several.
#[derive(Debug)]
struct AgedKeys {
    /// Its number, the least where several became one.
    number: u64,
    /// `None` until the turn has ended.
    since: Option<Duration>,
    keys: usize,
}

impl LackAges {
    /// A key is outstanding from now on. Returns what [`settled`](Self::settled) is to be given.
    pub(super) fn outstanding(&mut self) -> u64 {
        if let Some(batch) = self.batches.back_mut().filter(|it| it.since.is_none()) {
            batch.keys += 1;
            return batch.number;
        }
        let number = self.next;
        self.next += 1;
        self.batches.push_back(AgedKeys {
            number,
            since: None,
            keys: 1,
        });
        number
    }

    /// A key of this batch is not outstanding any more.
    pub(super) fn settled(&mut self, number: u64) {
        let after = self.batches.partition_point(|it| it.number <= number);
        let Some(at) = after.checked_sub(1) else {
            return;
        };
        if let Some(batch) = self.batches.get_mut(at) {
            batch.keys = batch.keys.saturating_sub(1);
            if batch.keys == 0 {
                self.batches.remove(at);
            }
        }
    }

    /// A turn ends: the peer has been sent what changed up to `sent`, of changes up to `head`.
    pub(super) fn turn_ends(&mut self, now: Duration, sent: u64, head: u64) {
        let waited = self.marks.front().map_or(now, |(_, since)| *since);
        if let Some(batch) = self.batches.back_mut().filter(|it| it.since.is_none()) {
            // It may have waited to be sent.
            batch.since = Some(waited);
        }
        while self.marks.front().is_some_and(|(upto, _)| *upto <= sent) {
            self.marks.pop_front();
        }
        let marked = self.marks.back().map_or(sent, |(upto, _)| *upto);
        if head > marked {
            self.marks.push_back((head, now));
        }
        self.forget_steps();
    }

    fn forget_steps(&mut self) {
        if self.batches.len() > STEPS_MAX {
            let since = |batch: &AgedKeys| batch.since.unwrap_or_default();
            let at = nearest(self.batches.iter().map(since));
            if let Some(later) = self.batches.remove(at + 1)
                && let Some(batch) = self.batches.get_mut(at)
            {
                batch.keys += later.keys;
                batch.since = batch.since.min(later.since);
            }
        }
        if self.marks.len() > STEPS_MAX {
            let at = nearest(self.marks.iter().map(|(_, since)| *since));
            if let Some((upto, _)) = self.marks.remove(at + 1)
                && let Some(mark) = self.marks.get_mut(at)
            {
                mark.0 = upto;
            }
        }
    }

    /// Nothing is to be sent any more that was not sent yet.
    pub(super) fn all_sent(&mut self) {
        self.marks.clear();
    }

    /// How many keys are outstanding.
    pub(super) fn keys(&self) -> usize {
        self.batches.iter().map(|batch| batch.keys).sum()
    }

    /// Since when the peer has lacked the oldest of what it lacks, as of the end of the last turn.
    pub(super) fn since(&self) -> Option<Duration> {
        let batches = self.batches.iter().filter_map(|batch| batch.since);
        let marks = self.marks.front().map(|(_, since)| *since);
        batches.chain(marks).min()
    }

    /// How many steps there are.
    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.batches.len().max(self.marks.len())
    }
}

/// The place of the one that has its next nearest.
fn nearest(times: impl Iterator<Item = Duration> + Clone) -> usize {
    let gaps = times
        .clone()
        .zip(times.skip(1))
        .map(|(one, next)| next.saturating_sub(one));
    let nearest = gaps.enumerate().min_by_key(|(_, gap)| *gap);
    nearest.map_or(0, |(at, _)| at)
}

/// Batches, and marks, of one peer and store.
pub(super) const STEPS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_age_is_that_of_the_oldest_that_is_lacking() {
        let mut ages = LackAges::default();
        let first = ages.outstanding();
        assert_eq!((ages.keys(), ages.since()), (1, None), "the turn goes on");
        ages.turn_ends(ms(5), 1, 1);
        let second = ages.outstanding();
        assert_eq!(ages.outstanding(), second, "one turn is one batch");
        ages.turn_ends(ms(9), 3, 3);
        assert_eq!((ages.keys(), ages.since()), (3, Some(ms(5))));
        ages.settled(first);
        assert_eq!((ages.keys(), ages.since()), (2, Some(ms(9))));
        ages.settled(second);
        ages.settled(second);
        assert_eq!((ages.keys(), ages.since()), (0, None));
    }

    #[test]
    fn what_waits_to_be_sent_ages_and_goes_on_to_age_when_it_is_sent() {
        let mut ages = LackAges::default();
        ages.turn_ends(ms(10), 0, 4);
        ages.turn_ends(ms(20), 0, 6);
        assert_eq!((ages.keys(), ages.since()), (0, Some(ms(10))));
        let sent = ages.outstanding();
        ages.turn_ends(ms(50), 4, 6);
        assert_eq!(ages.since(), Some(ms(10)), "it has waited since then");
        ages.settled(sent);
        assert_eq!(ages.since(), Some(ms(20)), "the rest waits");
        ages.turn_ends(ms(60), 6, 6);
        assert_eq!(ages.since(), None);
    }

    #[test]
    fn memory_is_bounded_and_no_age_is_told_too_small() {
        let mut ages = LackAges::default();
        let mut open = VecDeque::new();
        for turn in 0..10_000 {
            open.push_back((ages.outstanding(), ms(turn)));
            ages.turn_ends(ms(turn), turn, turn + 100);
            if turn > 500 {
                let (settled, _) = open.pop_front().unwrap();
                ages.settled(settled);
            }
            assert!(ages.batches.len() <= STEPS_MAX && ages.marks.len() <= STEPS_MAX);
            assert!(ages.since().is_some_and(|since| since <= open[0].1));
        }
        assert_eq!(ages.keys(), open.len());
        open.into_iter()
            .for_each(|(number, _)| ages.settled(number));
        ages.turn_ends(ms(10_001), 10_100, 10_100);
        assert_eq!((ages.keys(), ages.since()), (0, None));
    }
}
