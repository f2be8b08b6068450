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

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::by_owner::OwnedPart;
use super::parts::{NO_NAME, PartBounds};
use crate::id::NodeName;

/// What one process says under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CounterPart {
    pub(super) plus: u64,
    pub(super) minus: u64,
    /// What processes before it under its name had counted.
    pub(super) earlier: Tallies,
    /// What the processes of other names had counted that are forgotten.
    #[serde(deserialize_with = "few_names")]
    pub(super) forgotten: BTreeMap<String, Tallies>,
}

/// What processes of one name had counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TalliesRead")]
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
            self.take_names(&part.forgotten);
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

    /// Takes over names that are forgotten. What does not fit stays where it is, and counts there.
    fn take_names(&mut self, forgotten: &BTreeMap<String, Tallies>) {
        if forgotten.is_empty() {
            return;
        }
        let mut with_theirs = self.clone();
        for (name, account) in forgotten {
            with_theirs.forget(name, account);
        }
        if with_theirs.fits(NAMES_READ_MAX) {
            *self = with_theirs;
        }
    }

    /// Whether there are so few names forgotten, and so few processes of theirs, that the part is written.
    pub(super) fn fits(&self, names_max: usize) -> bool {
        let processes = self.forgotten.values().map(|it| it.processes.len());
        self.forgotten.len() <= names_max && processes.sum::<usize>() <= FORGOTTEN_PROCESSES_MAX
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
        if self
            .forgotten
            .keys()
            .any(|name| NodeName::new(name).is_err())
        {
            return Err(NO_NAME);
        }
        if !self.fits(NAMES_READ_MAX) {
            return Err("a part has more processes of forgotten names than any would write");
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

/// As it is read, before it is known whether somebody has written it who keeps to the limits.
#[derive(Deserialize)]
struct TalliesRead {
    processes: Vec<Earlier>,
    folded: Option<Earlier>,
}

/// Something that no honest process writes. The entry that has it is quarantined.
#[derive(Debug, thiserror::Error)]
enum OutOfBounds {
    #[error("{names} names are forgotten, of at most {NAMES_READ_MAX}")]
    Names { names: usize },
    #[error("processes are told apart that are not in order, or more than {EARLIER_MAX}")]
    Processes,
}

impl TryFrom<TalliesRead> for Tallies {
    type Error = OutOfBounds;

    fn try_from(read: TalliesRead) -> Result<Self, OutOfBounds> {
        let TalliesRead { processes, folded } = read;
        let in_order = processes.is_sorted_by(|a, b| a.boot < b.boot);
        if processes.len() > EARLIER_MAX || !in_order {
            return Err(OutOfBounds::Processes);
        }
        Ok(Self { processes, folded })
    }
}

/// Reads the forgotten names of a part.
fn few_names<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Tallies>, D::Error> {
    let read = BTreeMap::<String, Tallies>::deserialize(from)?;
    let names = read.len();
    if names > NAMES_READ_MAX {
        return Err(D::Error::custom(OutOfBounds::Names { names }));
    }
    Ok(read)
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

/// Names that are forgotten in one part before it is not read. Their counts are of what is left of several parts, so it
/// is more than one process forgets.
const NAMES_READ_MAX: usize = 4 * FORGOTTEN_MAX;
/// Their processes that are told apart in one part: with that it is half as large as an entry may be.
const FORGOTTEN_PROCESSES_MAX: usize = 16_384;
/// Names that one process forgets in one part.
pub(super) const FORGOTTEN_MAX: usize = 1_024;
/// Earlier processes of a name that are told apart; what older ones had counted is one sum, and what
/// comes to be known of them later counts no more.
const EARLIER_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::{decode_value, encode_value};

    fn part(processes: impl Iterator<Item = u64>, names: usize) -> CounterPart {
        let processes = processes.map(|boot| Earlier {
            boot,
            plus: 1,
            minus: 0,
        });
        let earlier = Tallies {
            processes: processes.collect(),
            folded: None,
        };
        let forgotten = (0..names).map(|n| (format!("n{n}"), Tallies::default()));
        CounterPart {
            earlier,
            forgotten: forgotten.collect(),
            ..CounterPart::default()
        }
    }

    fn is_read(part: &CounterPart) -> bool {
        let mut bytes = Vec::new();
        encode_value(part, &mut bytes).unwrap();
        let read = decode_value::<CounterPart>(&bytes);
        read.is_ok_and(|read| read == *part)
    }

    #[test]
    fn what_no_honest_process_writes_is_not_read() {
        let most = EARLIER_MAX as u64;
        assert!(is_read(&part(0..most, NAMES_READ_MAX)));
        assert!(!is_read(&part(0..=most, 0)), "too many processes");
        assert!(!is_read(&part((0..9).rev(), 0)), "not in their order");
        assert!(!is_read(&part([1, 1].into_iter(), 0)), "one of them twice");
        assert!(!is_read(&part(0..1, NAMES_READ_MAX + 1)), "too many names");
    }

    fn account(processes: &[(u64, u64)], folded: Option<(u64, u64)>) -> Tallies {
        let earlier = |&(boot, plus): &(u64, u64)| Earlier {
            boot,
            plus,
            minus: 0,
        };
        Tallies {
            processes: processes.iter().map(earlier).collect(),
            folded: folded.as_ref().map(earlier),
        }
    }

    fn gathered(accounts: &[Tallies]) -> Gathered {
        let mut all = Gathered::default();
        accounts.iter().for_each(|it| all.add(it));
        all
    }

    /// Whatever order they come in, and where one of them is written down first.
    #[test]
    fn a_sum_counts_where_it_is_more_than_what_is_known_one_by_one() {
        let known = account(&[(1, 10), (2, 5), (4, 7)], None);
        for (sum, total) in [
            ((2, 0), 22),
            ((2, 20), 27),
            ((3, 15), 22),
            ((9, 0), 22),
            ((9, 30), 30),
        ] {
            let sum = account(&[], Some(sum));
            for both in [[&known, &sum], [&sum, &known]] {
                let both = both.map(Clone::clone);
                assert_eq!(gathered(&both).total(), (total, 0), "{sum:?}");
                let written = gathered(&both).into_tallies();
                assert_eq!(gathered(std::slice::from_ref(&written)).total(), (total, 0));
                assert!(written.has(|all| all.add(&known)) && written.has(|all| all.add(&sum)));
            }
        }
        assert!(!known.has(|all| all.add(&account(&[(2, 6)], None))));
    }

    #[test]
    fn the_oldest_processes_become_one_sum() {
        let most = EARLIER_MAX as u64;
        let many: Vec<(u64, u64)> = (1..=most + 3).map(|boot| (boot, boot)).collect();
        let written = gathered(&[account(&many, Some((1, 1)))]).into_tallies();
        assert_eq!(written, account(&many[3..], Some((3, 6))));
    }
}
