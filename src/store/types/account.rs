//! What the processes of each name have counted, and what they come to.
//!
//! All that anybody says of a process is how much it had added and subtracted by some time, both of which only grow. So
//! whatever is said of it, and by how many, the greatest is right; a process counts once. It is told apart by its
//! name and its boot. Of the oldest processes of a name there is one sum; it counts where it is more than what is known of
//! them one by one.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::parts::{OwnedPart, PartBounds};

/// What one process says under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CounterPart {
    pub(super) plus: u64,
    pub(super) minus: u64,
    /// What processes before it under its name had counted.
    pub(super) earlier: Tallies,
    /// What the processes of other names had counted that are forgotten.
    pub(super) forgotten: BTreeMap<String, Tallies>,
}

/// What processes of one name had counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tallies {
    /// By boot, ascending.
    pub(super) processes: Vec<Earlier>,
    /// The sum over those that are not told apart any more.
    pub(super) folded: Option<Earlier>,
}

/// What an earlier process had counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Earlier {
    /// Its boot; of a sum, the latest.
    pub(super) boot: u64,
    pub(super) plus: u64,
    pub(super) minus: u64,
}

impl CounterPart {
    /// Takes over what earlier processes of this name had counted, and what they had taken over; and takes back what
    /// other names keep of them.
    pub(super) fn take_over<'p>(
        &mut self,
        before: impl Iterator<Item = (u64, &'p Self)>,
        kept: impl Iterator<Item = &'p Tallies>,
    ) {
        let mut earlier = Gathered::default();
        earlier.add(&self.earlier);
        for (boot, part) in before {
            for (name, account) in &part.forgotten {
                self.forget(name, account);
            }
            earlier.add(&part.earlier);
            earlier.note(part.as_of(boot));
        }
        kept.for_each(|account| earlier.add(account));
        self.earlier = earlier.into_tallies();
    }

    /// Writes down what the processes of another name had counted.
    pub(super) fn forget(&mut self, name: &str, account: &Tallies) {
        let own = self.forgotten.entry(name.to_owned()).or_default();
        let mut all = Gathered::default();
        all.add(own);
        all.add(account);
        *own = all.into_tallies();
    }

    /// What this process has counted itself.
    pub(super) fn as_of(&self, boot: u64) -> Earlier {
        Earlier {
            boot,
            plus: self.plus,
            minus: self.minus,
        }
    }

    /// Whether all that an earlier process had counted is written down here.
    pub(super) fn covers(&self, boot: u64, part: &Self) -> bool {
        let forgotten = part.forgotten.iter().all(|(name, account)| {
            let own = self.forgotten.get(name);
            own.is_some_and(|own| own.has(|all| all.add(account)))
        });
        let noted = |all: &mut Gathered| {
            all.add(&part.earlier);
            all.note(part.as_of(boot));
        };
        forgotten && self.earlier.has(noted)
    }

    /// Whether it may be the part of the process with a boot: see [`PartBounds`].
    pub(super) fn check(&self, bounds: PartBounds) -> Result<(), &'static str> {
        let of_name = self.earlier.latest();
        if of_name.is_some_and(|boot| boot >= bounds.boot) {
            return Err("what a process takes over is of processes before it");
        }
        bounds.check_inside(self.latest_inside())
    }

    /// The latest boot that it has anything of beside that of its process.
    pub(super) fn latest_inside(&self) -> Option<u64> {
        let of_others = self.forgotten.values().filter_map(Tallies::latest);
        of_others.chain(self.earlier.latest()).max()
    }
}

impl Tallies {
    /// Everything that the parts of one name say, of which these are some.
    pub(super) fn of<'p>(parts: impl Iterator<Item = (u64, &'p CounterPart)>) -> Self {
        let mut all = Gathered::default();
        for (boot, part) in parts {
            all.add(&part.earlier);
            all.note(part.as_of(boot));
        }
        all.into_tallies()
    }

    /// Whether it says as much as it does with more that is known.
    fn has(&self, more: impl FnOnce(&mut Gathered)) -> bool {
        let mut all = Gathered::default();
        all.add(self);
        let own = all.total();
        more(&mut all);
        all.total() == own
    }

    /// The latest boot that it has anything of.
    pub(super) fn latest(&self) -> Option<u64> {
        let all = self.processes.iter().chain(&self.folded);
        all.map(|it| it.boot).max()
    }
}

/// What is known of the processes of one name, from all who say something of them.
///
/// A sum is what all processes up to its boot had counted at least, and so is what is known of them one by one. The
/// greater of the two is taken, each with the processes that are later: so no sum can take away what is known.
#[derive(Debug, Default)]
struct Gathered {
    sums: Vec<Earlier>,
    by_boot: BTreeMap<u64, Earlier>,
}

impl Gathered {
    fn add(&mut self, account: &Tallies) {
        self.sums.extend(account.folded);
        account.processes.iter().for_each(|it| self.note(*it));
    }

    /// Writes down what a process had counted, if that is more than is known.
    fn note(&mut self, seen: Earlier) {
        let known = self.by_boot.entry(seen.boot).or_insert(seen);
        known.plus = known.plus.max(seen.plus);
        known.minus = known.minus.max(seen.minus);
    }

    /// What the processes up to a boot had added, and subtracted.
    fn up_to(&self, end: u64) -> (u128, u128) {
        let mut sums: Vec<&Earlier> = self.sums.iter().filter(|sum| sum.boot <= end).collect();
        sums.sort_unstable_by_key(|sum| Reverse(sum.boot));
        let (mut later, mut most) = ((0, 0), (0, 0));
        let mut raise = |(plus, minus): (u128, u128)| {
            most = (plus.max(most.0), minus.max(most.1));
        };
        let mut known = self.by_boot.range(..=end).rev().peekable();
        for sum in sums {
            while let Some((_, process)) = known.next_if(|(boot, _)| **boot > sum.boot) {
                later = plus(later, process);
            }
            raise(plus(later, sum));
        }
        raise(known.fold(later, |later, (_, process)| plus(later, process)));
        most
    }

    /// All that they have counted.
    fn total(&self) -> (u128, u128) {
        self.up_to(u64::MAX)
    }

    /// As it is written down: one sum of the oldest.
    fn into_tallies(self) -> Tallies {
        let summed = self.sums.iter().map(|sum| sum.boot).max();
        let after = summed.map_or(Unbounded, Excluded);
        let told_apart = self.by_boot.range((after, Unbounded)).rev();
        let too_old = told_apart.map(|(boot, _)| *boot).nth(EARLIER_MAX);
        let end = too_old.or(summed);
        let folded = end.map(|boot| {
            let (plus, minus) = self.up_to(boot);
            Earlier {
                boot,
                plus: u64::try_from(plus).unwrap_or(u64::MAX),
                minus: u64::try_from(minus).unwrap_or(u64::MAX),
            }
        });
        let after = end.map_or(Unbounded, Excluded);
        let told_apart = self.by_boot.range((after, Unbounded));
        Tallies {
            processes: told_apart.map(|(_, process)| *process).collect(),
            folded,
        }
    }
}

fn plus(sum: (u128, u128), process: &Earlier) -> (u128, u128) {
    (
        sum.0 + u128::from(process.plus),
        sum.1 + u128::from(process.minus),
    )
}

/// The count that the parts of all processes make.
pub(super) fn sum<K>(parts: &[Arc<OwnedPart<K, CounterPart>>]) -> i64 {
    let mut names: BTreeMap<&str, Gathered> = BTreeMap::new();
    for part in parts {
        let (_, name, boot) = part.key();
        let all = names.entry(name).or_default();
        all.add(&part.earlier);
        all.note(part.as_of(*boot));
        for (name, account) in &part.forgotten {
            names.entry(name).or_default().add(account);
        }
    }
    let (mut plus, mut minus) = (0_u128, 0_u128);
    for all in names.values() {
        let of_name = all.total();
        plus += of_name.0;
        minus += of_name.1;
    }
    let difference = i64::try_from(plus.abs_diff(minus)).ok();
    if plus >= minus {
        difference.unwrap_or(i64::MAX)
    } else {
        difference.map_or(i64::MIN, |below| -below)
    }
}

/// Earlier processes of a name that are told apart; what older ones had counted is one sum, and what
/// comes to be known of them later counts no more.
const EARLIER_MAX: usize = 64;
