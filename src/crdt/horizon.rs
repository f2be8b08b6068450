//! Roots as of an instant of the last seconds, above each of three neighbouring cuts: what a node says of
//! itself in passing, and what it compares with what a peer says.
//!
//! Two nodes between which writes travel never hold the same at one moment. What they held of the writes
//! up to an instant is the same, once those have arrived. So the last changes are kept in a ring, by the
//! timestamps of their entries, which are the same everywhere; taken back, they leave the root as of any
//! instant since.
//!
//! A cut that is asked for in passing never moves the digests. Instead a running sum is kept for the step
//! of 30 s that the clock is in, the one before and the one after; other cuts are not looked at. A new
//! step's sum is an older one's, less what expires between the two.
//!
//! Nothing is kept before somebody asks.

use std::collections::VecDeque;
use std::ops::Bound;
use std::time::Duration;

use super::digests::Standing;
use super::expiring::Expiring;
use crate::time::Timestamp;

/// The sums and the ring. See the module's description.
#[derive(Debug, Default)]
pub(super) struct Horizons {
    /// The sum of the hashes of all that is held.
    all: u128,
    /// Ascending by cut; none before somebody asks.
    steps: Vec<CutSum>,
    recent: VecDeque<Recent>,
    /// Changes that are stamped up to here may be missing in the ring.
    since: Timestamp,
    /// Those stamped later were not put into it: they count at once.
    until: Timestamp,
}

/// The sum above one cut.
#[derive(Clone, Copy, Debug)]
struct CutSum {
    cut: Timestamp,
    /// What expires here or before is left out by now.
    passed: Expiring,
    sum: u128,
}

/// A change of the last seconds.
#[derive(Debug)]
struct Recent {
    ts: Timestamp,
    is: Part,
    was: Option<Part>,
}

/// What an entry is in a sum.
#[derive(Clone, Copy, Debug)]
struct Part {
    hash: u128,
    /// `None` for what is lasting.
    expiry: Option<Expiring>,
}

impl Part {
    fn of(place: &Standing) -> Self {
        Self {
            hash: place.hash,
            expiry: place.expiry,
        }
    }

    /// Its hash in the sum that leaves out what expires up to `passed`.
    fn above(&self, passed: Expiring) -> u128 {
        match self.expiry {
            Some(expiry) if expiry <= passed => 0,
            _ => self.hash,
        }
    }
}

impl Horizons {
    /// An entry stamped `ts` is held from now on, in the place of another one where there was one.
    #[inline]
    pub(super) fn changed(&mut self, ts: Timestamp, is: &Standing, was: Option<&Standing>) {
        let (is, was) = (Part::of(is), was.map(Part::of));
        self.add(&is, was.as_ref());
        if self.steps.is_empty() || ts <= self.since || ts > self.until {
            return;
        }
        if self.recent.len() >= RECENT_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            self.since = self.since.max(oldest.ts);
        }
        self.recent.push_back(Recent { ts, is, was });
    }

    /// An entry is held no longer.
    pub(super) fn collected(&mut self, place: &Standing) {
        let nothing = Part {
            hash: 0,
            expiry: None,
        };
        self.add(&nothing, Some(&Part::of(place)));
    }

    fn add(&mut self, is: &Part, was: Option<&Part>) {
        let changed = |sum: u128, passed| {
            let less = was.map_or(0, |was| was.above(passed));
            sum.wrapping_add(is.above(passed)).wrapping_sub(less)
        };
        self.all = changed(self.all, Expiring::default());
        for step in &mut self.steps {
            step.sum = changed(step.sum, step.passed);
        }
    }

    /// Keeps the steps around this time from now on.
    pub(super) fn keep(&mut self, wall: Timestamp) {
        // Nothing within the ring's reach of the clock: then the clock was set back, and would be mute until it has
        // caught up.
        let is_set_back = self.since > wall.plus(RECENT_KEPT);
        if self.steps.is_empty() || is_set_back {
            // What changed before was not put into the ring.
            self.since = wall;
            self.recent.clear();
        }
        let kept_from = wall.as_nanos().saturating_sub(nanos(RECENT_KEPT));
        self.since = self.since.max(Timestamp::from_nanos(kept_from));
        self.until = wall.plus(RECENT_KEPT);
        while self.recent.front().is_some_and(|it| it.ts <= self.since) {
            self.recent.pop_front();
        }
        let cut = cut_of(wall);
        let before = Timestamp::from_nanos(cut.as_nanos().saturating_sub(nanos(CUT_STEP)));
        let cuts = [before, cut, cut.plus(CUT_STEP)];
        if !self.steps.iter().map(|step| step.cut).eq(cuts) {
            self.steps = cuts.map(|cut| self.step(cut)).to_vec();
        }
    }

    /// The step of a cut, as far as it is known.
    fn step(&self, cut: Timestamp) -> CutSum {
        let end = Expiring::end_of(cut);
        let usable = self.steps.iter().filter(|step| step.passed <= end);
        match usable.max_by_key(|step| step.passed) {
            Some(step) => CutSum { cut, ..*step },
            None => CutSum {
                cut,
                passed: Expiring::default(),
                sum: self.all,
            },
        }
    }

    /// What some step has still to leave out.
    pub(super) fn to_pass(&self) -> Option<(Bound<Expiring>, Bound<Expiring>)> {
        let step = self.steps.iter().find(|step| !step.is_complete())?;
        let end = Expiring::end_of(step.cut);
        Some((Bound::Excluded(step.passed), Bound::Included(end)))
    }

    /// Leaves out these places, the first of those [`to_pass`](Self::to_pass) names; all of them if `whole`.
    pub(super) fn pass(&mut self, places: &[Standing], whole: bool) {
        let Some(step) = self.steps.iter_mut().find(|step| !step.is_complete()) else {
            return;
        };
        for place in places {
            step.sum = step.sum.wrapping_sub(place.hash);
        }
        if whole {
            step.passed = Expiring::end_of(step.cut);
        } else if let Some(last) = places.last().and_then(|place| place.expiry) {
            step.passed = last;
        }
    }

    /// The sum of the hashes of what outlives `cut` and is stamped up to `at`, as far as changes are
    /// known. `None` if the cut is none of those that are kept, or if `at` is too long ago.
    pub(super) fn root_at(&self, cut: Timestamp, at: Timestamp) -> Option<u128> {
        let mut steps = self.steps.iter();
        let step = steps.find(|step| step.cut == cut && step.is_complete())?;
        if at < self.since {
            return None;
        }
        let later = self.recent.iter().filter(|change| change.ts > at);
        Some(later.fold(step.sum, |sum, change| {
            let was = change.was.map_or(0, |was| was.above(step.passed));
            sum.wrapping_add(was)
                .wrapping_sub(change.is.above(step.passed))
        }))
    }
}

impl CutSum {
    fn is_complete(&self) -> bool {
        self.passed == Expiring::end_of(self.cut)
    }
}

/// The cut that goes with an instant.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "it is rounded down from a `u64`"
)]
pub fn cut_of(at: Timestamp) -> Timestamp {
    let step = CUT_STEP.as_nanos() as u64;
    Timestamp::from_nanos(at.as_nanos() / step * step)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Cuts are a multiple of this.
pub const CUT_STEP: Duration = Duration::from_secs(30);
/// For how long changes stay in the ring; and how far ahead of the clock they may be stamped to get there.
const RECENT_KEPT: Duration = Duration::from_secs(8);
/// Changes in the ring.
const RECENT_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Item;

    const WALL: Timestamp = Timestamp::from_secs(1_000);

    fn at(millis: u64) -> Timestamp {
        WALL.plus(Duration::from_millis(millis))
    }

    fn place(hash: u128, expires_at: Option<u64>) -> Standing {
        let expiry = expires_at.map(|secs| Expiring::new(Timestamp::from_secs(secs), 1));
        Standing {
            item: Item {
                kh: 0,
                ts: WALL,
                tag: 0,
            },
            item_hash: 0,
            hash,
            at: 1,
            expiry,
        }
    }

    fn kept(wall: Timestamp) -> Horizons {
        let mut horizons = Horizons::default();
        horizons.keep(wall);
        while horizons.to_pass().is_some() {
            horizons.pass(&[], true);
        }
        horizons
    }

    #[test]
    fn the_last_changes_are_taken_back_one_by_one() {
        let mut horizons = kept(WALL);
        let cut = cut_of(WALL);
        let [one, two, three] = [1, 2, 4].map(|hash| place(hash, None));
        horizons.changed(at(100), &one, None);
        horizons.changed(at(200), &two, Some(&one));
        horizons.changed(at(300), &three, Some(&two));
        let roots = [300, 299, 200, 199, 100, 99].map(|ms| horizons.root_at(cut, at(ms)));
        assert_eq!(roots, [4, 2, 2, 1, 1, 0].map(Some));
        assert_eq!(horizons.root_at(cut.plus(CUT_STEP * 2), at(300)), None);
        let before = Timestamp::from_nanos(WALL.as_nanos() - 1);
        assert_eq!(horizons.root_at(cut, before), None);
    }

    #[test]
    fn each_step_leaves_out_what_it_outlives() {
        let mut horizons = kept(WALL);
        // The steps of 1,000 s are 960, 990 and 1,020.
        for (hash, expires_at) in [(1, 970), (2, 1_000), (4, 1_100)] {
            horizons.changed(Timestamp::ZERO, &place(hash, Some(expires_at)), None);
        }
        let root = |horizons: &Horizons, secs| horizons.root_at(Timestamp::from_secs(secs), at(0));
        let roots = [960, 990, 1_020].map(|secs| root(&horizons, secs));
        assert_eq!(roots, [7, 6, 4].map(Some));
        horizons.keep(at(30_000));
        assert_eq!(horizons.steps.len(), 3);
        // Of the new step, what the one before has left out is left out already.
        assert_eq!(root(&horizons, 1_050), None);
        horizons.pass(&[], true);
        let late = at(30_000);
        assert_eq!(horizons.root_at(Timestamp::from_secs(1_050), late), Some(4));
        assert_eq!(horizons.root_at(Timestamp::from_secs(960), late), None);
    }

    #[test]
    fn the_ring_is_bounded_and_says_what_it_has_forgotten() {
        let mut horizons = kept(WALL);
        let cut = cut_of(WALL);
        for n in 1..=RECENT_MAX as u64 + 10 {
            let stamp = Timestamp::from_nanos(WALL.as_nanos() + n);
            horizons.changed(stamp, &place(1, None), None);
        }
        assert_eq!(horizons.recent.len(), RECENT_MAX);
        let root = |n| horizons.root_at(cut, Timestamp::from_nanos(WALL.as_nanos() + n));
        assert_eq!((root(9), root(10)), (None, Some(10)));
        horizons.keep(at(9_000));
        assert!(horizons.recent.is_empty(), "they are old");
    }

    #[test]
    fn a_clock_that_is_set_back_is_not_mute_until_it_has_caught_up() {
        let mut horizons = kept(WALL);
        horizons.changed(at(100), &place(1, None), None);
        let back = Timestamp::from_secs(100);
        horizons.keep(back);
        while horizons.to_pass().is_some() {
            horizons.pass(&[], true);
        }
        let later = |millis| back.plus(Duration::from_millis(millis));
        horizons.changed(later(300), &place(2, None), None);
        // What was stamped by the clock as it was counts at once.
        let root = |millis| horizons.root_at(cut_of(back), later(millis));
        assert_eq!([0, 299, 300].map(root), [1, 1, 3].map(Some));
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_does_not_forget_what_the_ring_lacks() {
        let mut horizons = kept(WALL);
        let back = Timestamp::from_nanos(WALL.as_nanos() - 1_000_000_000);
        horizons.keep(back);
        assert_eq!(horizons.root_at(cut_of(back), back), None);
    }

    #[test]
    fn what_is_stamped_far_ahead_counts_at_once() {
        let mut horizons = kept(WALL);
        horizons.changed(at(8_001), &place(1, None), None);
        horizons.changed(at(8_000), &place(2, None), None);
        assert_eq!(horizons.root_at(cut_of(WALL), WALL), Some(1));
    }
}
