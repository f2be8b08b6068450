//! What the processes of each name have counted, and what they come to.
//!
//! All that anybody says of a process is how much it had added and subtracted by some time, both of which only grow. So
//! whatever is said of it, and by how many, the greatest is right; a process counts once. It is told apart by its
//! name and its boot.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::parts::OwnedPart;

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
    /// Takes over what an earlier process of this name had counted, and what that had taken over.
    pub(super) fn take_over(&mut self, boot: u64, part: &Self) {
        for (name, account) in &part.forgotten {
            self.forget(name, account);
        }
        self.earlier.add(&part.earlier);
        self.earlier.note(part.as_of(boot));
        self.earlier.fold();
    }

    /// Takes back what another name keeps of this one's processes, of those before that boot.
    pub(super) fn take_back(&mut self, boot: u64, account: &Tallies) {
        self.earlier.add(&account.before(boot));
        self.earlier.fold();
    }

    /// Writes down what the processes of another name had counted.
    pub(super) fn forget(&mut self, name: &str, account: &Tallies) {
        let own = self.forgotten.entry(name.to_owned()).or_default();
        own.add(account);
        own.fold();
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
            own.is_some_and(|own| own.has_all(account))
        });
        let folded = self.earlier.folded;
        let noted = folded.is_some_and(|folded| folded.boot >= boot)
            || self.earlier.has(&part.as_of(boot)) && self.earlier.has_all(&part.earlier);
        forgotten && noted
    }
}

impl Tallies {
    /// Everything that the parts of one name say, of which these are some.
    pub(super) fn of<'p>(parts: impl Iterator<Item = (u64, &'p CounterPart)>) -> Self {
        let mut all = Self::default();
        for (boot, part) in parts {
            all.gather(&part.earlier);
            all.processes.push(part.as_of(boot));
        }
        all.settle();
        all
    }

    /// Takes what another one says, to be put in order by [`settle`](Self::settle) once all is there.
    fn gather(&mut self, other: &Self) {
        self.fold_in(other.folded);
        self.processes.extend_from_slice(&other.processes);
    }

    /// Keeps the most that is said of each process.
    fn settle(&mut self) {
        self.processes.sort_unstable_by_key(|it| it.boot);
        self.processes.dedup_by(|same, kept| {
            let is_same = same.boot == kept.boot;
            if is_same {
                kept.plus = kept.plus.max(same.plus);
                kept.minus = kept.minus.max(same.minus);
            }
            is_same
        });
        let end = self.folded.map_or(0, |folded| folded.boot);
        self.processes.retain(|process| process.boot > end);
    }

    /// Writes down what is more than is known.
    fn add(&mut self, other: &Self) {
        self.fold_in(other.folded);
        for process in &other.processes {
            self.note(*process);
        }
        let end = self.folded.map_or(0, |folded| folded.boot);
        self.processes.retain(|process| process.boot > end);
    }

    /// Each sum is what all up to its boot had counted at least.
    fn fold_in(&mut self, other: Option<Earlier>) {
        if let Some(folded) = other {
            let own = self.folded.unwrap_or(folded);
            self.folded = Some(Earlier {
                boot: own.boot.max(folded.boot),
                plus: own.plus.max(folded.plus),
                minus: own.minus.max(folded.minus),
            });
        }
    }

    /// Writes down what a process had counted, if that is more than is known.
    fn note(&mut self, seen: Earlier) {
        let by_boot = |it: &Earlier| it.boot;
        match self.processes.binary_search_by_key(&seen.boot, by_boot) {
            Err(place) => self.processes.insert(place, seen),
            Ok(place) => {
                let known = &mut self.processes[place];
                known.plus = known.plus.max(seen.plus);
                known.minus = known.minus.max(seen.minus);
            }
        }
    }

    /// Makes one sum of the oldest.
    fn fold(&mut self) {
        let end = self.folded.map_or(0, |folded| folded.boot);
        self.processes.retain(|process| process.boot > end);
        while self.processes.len() > EARLIER_MAX {
            let oldest = self.processes.remove(0);
            let sum = self.folded.unwrap_or(Earlier {
                plus: 0,
                minus: 0,
                ..oldest
            });
            self.folded = Some(Earlier {
                boot: oldest.boot,
                plus: sum.plus.saturating_add(oldest.plus),
                minus: sum.minus.saturating_add(oldest.minus),
            });
        }
    }

    fn has(&self, process: &Earlier) -> bool {
        let mut known = self.processes.iter();
        known.any(|it| {
            it.boot == process.boot && it.plus >= process.plus && it.minus >= process.minus
        })
    }

    fn has_all(&self, other: &Self) -> bool {
        let end = self.folded.map_or(0, |folded| folded.boot);
        let mut later = other.processes.iter().filter(|it| it.boot > end);
        let folded = other.folded.is_none_or(|folded| folded.boot <= end);
        folded && later.all(|process| self.has(process))
    }

    /// The latest boot that it has anything of.
    pub(super) fn latest(&self) -> Option<u64> {
        let all = self.processes.iter().chain(&self.folded);
        all.map(|it| it.boot).max()
    }

    /// The part of it that is of processes before that boot.
    fn before(&self, boot: u64) -> Self {
        let mut before = self.clone();
        before.processes.retain(|it| it.boot < boot);
        before.folded = self.folded.filter(|folded| folded.boot < boot);
        before
    }

    fn total(&self) -> i128 {
        let end = self.folded.map_or(0, |folded| folded.boot);
        let counted = self.processes.iter().filter(|it| it.boot > end);
        let counted = counted.chain(&self.folded);
        counted
            .map(|it| i128::from(it.plus) - i128::from(it.minus))
            .sum()
    }
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
    let mut names: BTreeMap<&str, Tallies> = BTreeMap::new();
    for part in parts {
        let (_, name, boot) = part.key();
        let all = names.entry(name).or_default();
        all.gather(&part.earlier);
        all.processes.push(part.as_of(*boot));
        for (name, account) in &part.forgotten {
            names.entry(name).or_default().gather(account);
        }
    }
    names.values_mut().for_each(Tallies::settle);
    let total: i128 = names.values().map(Tallies::total).sum();
    let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(total.clamp(least, most)).unwrap_or_default()
}

/// Names that are forgotten in one part before it is not read. Their counts are of what is left of several parts, so it
/// is more than one process forgets.
const NAMES_READ_MAX: usize = 4 * FORGOTTEN_MAX;
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

    #[test]
    fn what_is_gathered_comes_to_what_is_noted_bit_by_bit() {
        let (low, high) = (
            part([2, 4, 6].into_iter(), 0),
            part([4, 5, 8].into_iter(), 0),
        );
        let mut folded = high.clone();
        folded.earlier.folded = Some(Earlier {
            boot: 4,
            plus: 9,
            minus: 1,
        });
        let parts = [(7, &low), (9, &high), (10, &folded)];
        let mut noted = Tallies::default();
        for (boot, part) in parts {
            noted.add(&part.earlier);
            noted.note(part.as_of(boot));
        }
        assert_eq!(Tallies::of(parts.into_iter()), noted);
    }
}
