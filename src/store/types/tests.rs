//! The laws of the built-in types. A cluster of a few processes is told what to do in any order: they change, they
//! hear of each other entry by entry and not always of all, they end and start anew with what others hold. Then all
//! hear of everything, and what they read is what the law says.

mod hostile;
mod many;
mod removal;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll, Waker};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::id::{NodeName, Refusal, WriterTag};
use crate::store::{
    Context, Copies, Held, Limits, Merged, Progress, ProgressWatch, ReplicationError, Store,
    Tracker, Watch, WriteError, WriteId,
};
use crate::time::{Timestamp, WallClock};
use crate::wire::Entry;

#[derive(Clone)]
struct Ticking(Arc<AtomicU64>);

impl Ticking {
    fn pass(&self, nanos: u64) {
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl WallClock for Ticking {
    fn wall(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// All hold what is asked for: it is asked after all have heard.
struct Heard;

impl Tracker for Heard {
    fn watch(&self, _: WriteId, _: Copies) -> Watch {
        Box::pin(async { Ok(Held { copies: 1 }) })
    }

    fn progress(&self, _: WriteId) -> ProgressWatch {
        Box::pin(async { Ok(Progress::default()) })
    }
}

/// What a future comes to that waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = task::Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("nothing is waited for here"),
    }
}

/// What a process of a test cluster runs.
trait Replicated: Sized {
    fn start(node: &str, context: Context) -> Self;
    fn its_store(&self) -> Arc<dyn Store>;
}

macro_rules! replicated {
    ($type:ty) => {
        impl Replicated for $type {
            fn start(node: &str, context: Context) -> Self {
                Self::new("tried", node, Limits::default(), context)
            }
            fn its_store(&self) -> Arc<dyn Store> {
                self.store()
            }
        }
    };
}

replicated!(Counter<u8>);
replicated!(AddWinsSet<u8>);
replicated!(MultiRegister<u8, u32>);
replicated!(MergedMap<u8, Tags>);
replicated!(Flag);
replicated!(PresenceStore<u8, u32>);
replicated!(PresenceStore<u8, Vec<u8>>);

impl Replicated for Arc<PresenceStore<u8, u32>> {
    fn start(node: &str, context: Context) -> Self {
        Self::new(PresenceStore::start(node, context))
    }
    fn its_store(&self) -> Arc<dyn Store> {
        self.store()
    }
}

/// Processes, each with a clock that is off by as many seconds as its number.
struct Crowd<T> {
    clock: Ticking,
    processes: Vec<T>,
}

impl<T: Replicated> Crowd<T> {
    fn new(count: usize) -> Self {
        let clock = Ticking(Arc::new(AtomicU64::new(1_700_000_000_000_000_000)));
        let processes = (0..count).map(|node| Self::process(&clock, node)).collect();
        Self { clock, processes }
    }

    fn process(clock: &Ticking, node: usize) -> T {
        clock.pass(1);
        let name = format!("n{node}");
        let writer = WriterTag::of(&NodeName::new(&name).unwrap());
        let context = Context::new(writer, Arc::new(clock.clone()), Arc::new(Heard));
        T::start(&name, context)
    }

    fn entries(&self, node: usize) -> Vec<Entry> {
        let store = self.processes[node].its_store();
        let changes = store.replica().changes(0, 256, usize::MAX);
        changes.into_iter().map(|change| change.entry).collect()
    }

    /// `to` hears of what `from` holds, as far as `mask` lets it.
    fn hear(&self, from: usize, to: usize, mask: u8) {
        let entries = self.entries(from).into_iter().enumerate();
        let heard = entries.filter(|(at, _)| mask & (1 << (at % 8)) != 0);
        let heard: Vec<_> = heard.map(|(_, entry)| entry).collect();
        let store = self.processes[to].its_store();
        store.replica().merge(&heard, self.clock.wall());
        assert_eq!(store.replica().head(), store.head());
    }

    fn hear_all(&self) {
        for _ in 0..2 {
            for from in 0..self.processes.len() {
                (0..self.processes.len()).for_each(|to| self.hear(from, to, 255));
            }
        }
    }

    /// A process ends and starts anew with nothing; what the others hold it may hear later.
    fn restart(&mut self, node: usize) {
        // What it alone held is gone: the law is about what survives, so another one hears of it first.
        let heir = (node + 1) % self.processes.len();
        self.hear(node, heir, 255);
        self.processes[node] = Self::process(&self.clock, node);
    }
}

impl Crowd<Counter<u8>> {
    /// A process forgets the name of another one, which goes on: all hear of what it takes over before it takes away.
    fn forget(&self, node: usize, other: usize) {
        let name = NodeName::new(&format!("n{other}")).unwrap();
        let taken = self.processes[node].take_over_name(&name).unwrap();
        (0..self.processes.len()).for_each(|to| self.hear(node, to, 255));
        self.processes[node].take_parts_away(&taken);
    }
}

/// What to do: which of the processes, what, with which key, and a number.
type Steps = Vec<(usize, u8, u8, u8)>;

fn steps() -> impl Strategy<Value = Steps> {
    prop::collection::vec((0_usize..3, 0_u8..10, 0_u8..2, any::<u8>()), 0..60)
}

/// Does what is not of a type: time passes, processes hear and start anew. Returns whether it was that.
fn passes<T: Replicated>(
    crowd: &mut Crowd<T>,
    (node, what, _, number): (usize, u8, u8, u8),
) -> bool {
    let other = (node + 1 + usize::from(number) % 2) % 3;
    match what {
        0..=2 => crowd.hear(node, other, number),
        3 => crowd.clock.pass(61_000_000_000),
        4 => crowd.restart(node),
        _ => return false,
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_count_is_the_sum_of_all_additions(steps in steps()) {
        let mut crowd: Crowd<Counter<u8>> = Crowd::new(3);
        let mut sums = BTreeMap::new();
        for step in steps {
            crowd.clock.pass(1);
            if passes(&mut crowd, step) {
                continue;
            }
            let (node, what, key, number) = step;
            let counter = &crowd.processes[node];
            if what == 8 {
                crowd.forget(node, (node + 1 + usize::from(number) % 2) % 3);
            } else if what == 9 {
                counter.subtract(key, u64::from(number)).unwrap();
                *sums.entry(key).or_insert(0) -= i64::from(number);
            } else {
                counter.add(key, u64::from(number)).unwrap();
                *sums.entry(key).or_insert(0) += i64::from(number);
            }
        }
        crowd.hear_all();
        for counter in &crowd.processes {
            prop_assert_eq!(counter.values().into_iter().collect::<BTreeMap<_, _>>(), sums.clone());
        }
    }

    /// Whatever a process hears and in whatever order, also when what is forgotten is taken away.
    #[test]
    fn a_count_that_is_only_added_to_never_goes_back_where_names_are_forgotten(steps in steps()) {
        let crowd: Crowd<Counter<u8>> = Crowd::new(3);
        let mut read = [[0; 2]; 3];
        for (node, what, key, number) in steps {
            crowd.clock.pass(1_000_000_000);
            let other = (node + 1 + usize::from(number) % 2) % 3;
            match what {
                0..=3 => crowd.hear(node, other, number),
                4 | 5 => crowd.forget(node, other),
                _ => drop(crowd.processes[node].add(key, u64::from(number)).unwrap()),
            }
            for (counter, read) in crowd.processes.iter().zip(&mut read) {
                for (key, read) in (0_u8..).zip(read) {
                    let value = counter.value(&key);
                    prop_assert!(value >= *read, "{} after {} of {}", value, read, key);
                    *read = value;
                }
            }
        }
    }

    #[test]
    fn a_set_has_what_was_added_and_no_later_removal_saw(steps in steps()) {
        let mut crowd: Crowd<AddWinsSet<u8>> = Crowd::new(3);
        // Additions, by element, each with a number; which of them each process has seen; which are removed.
        let mut added = 0;
        let mut seen: Vec<BTreeSet<(u8, u32)>> = vec![BTreeSet::new(); 3];
        let mut removed = BTreeSet::new();
        for step in steps {
            crowd.clock.pass(1);
            let (node, what, element, number) = step;
            let number = if what < 3 { 255 } else { number };
            if passes(&mut crowd, (node, what, element, number)) {
                match what {
                    0..=2 => {
                        let other = (node + 2) % 3;
                        let heard = seen[node].clone();
                        seen[other].extend(heard);
                    }
                    4 => {
                        let was = std::mem::take(&mut seen[node]);
                        seen[(node + 1) % 3].extend(was);
                    }
                    _ => {}
                }
                continue;
            }
            let set = &crowd.processes[node];
            if what >= 8 {
                set.remove(&element).unwrap();
                removed.extend(seen[node].iter().filter(|it| it.0 == element).copied());
            } else {
                set.add(element).unwrap();
                added += 1;
                seen[node].insert((element, added));
            }
        }
        crowd.hear_all();
        let all: BTreeSet<(u8, u32)> = seen.into_iter().flatten().collect();
        let left: BTreeSet<u8> = all.difference(&removed).map(|it| it.0).collect();
        for set in &crowd.processes {
            let elements: BTreeSet<_> = set.elements().into_iter().collect();
            prop_assert_eq!(&elements, &left);
            prop_assert_eq!(set.is_empty(), left.is_empty());
        }
    }

    #[test]
    fn a_register_has_the_writes_that_no_later_write_saw(steps in steps()) {
        let mut crowd: Crowd<MultiRegister<u8, u32>> = Crowd::new(3);
        let mut written = 0_u32;
        // For each process the values that it has seen, and the values that somebody who had seen them replaced.
        let mut seen: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); 3];
        let mut replaced = BTreeSet::new();
        for step in steps {
            crowd.clock.pass(1);
            let (node, what, _, _) = step;
            if passes(&mut crowd, (node, what, 0, 255)) {
                let from = seen[node].clone();
                match what {
                    0..=2 => seen[(node + 2) % 3].extend(from),
                    4 => {
                        seen[node].clear();
                        seen[(node + 1) % 3].extend(from);
                    }
                    _ => {}
                }
                continue;
            }
            written += 1;
            crowd.processes[node].set(0, written).unwrap();
            replaced.extend(std::mem::take(&mut seen[node]));
            seen[node].insert(written);
        }
        crowd.hear_all();
        let expected: BTreeSet<u32> = (1..=written).filter(|it| !replaced.contains(it)).collect();
        for register in &crowd.processes {
            let values: BTreeSet<_> = register.get(&0).into_iter().collect();
            prop_assert_eq!(&values, &expected);
        }
    }

    #[test]
    fn merged_values_are_the_merge_of_all(steps in steps()) {
        let mut crowd: Crowd<MergedMap<u8, Tags>> = Crowd::new(3);
        let mut all: BTreeMap<u8, BTreeSet<u8>> = BTreeMap::new();
        for step in steps {
            crowd.clock.pass(1);
            if passes(&mut crowd, step) {
                continue;
            }
            let (node, _, key, tag) = step;
            let add = |own: Option<&Tags>| {
                let mut tags = own.cloned().unwrap_or_default();
                tags.0.insert(tag);
                tags
            };
            crowd.processes[node].update(key, add).unwrap();
            all.entry(key).or_default().insert(tag);
        }
        crowd.hear_all();
        for map in &crowd.processes {
            for key in 0..2 {
                prop_assert_eq!(map.get(&key).map(|tags| tags.0), all.get(&key).cloned());
            }
            prop_assert_eq!(map.keys(), all.keys().copied().collect::<Vec<_>>());
        }
    }

    /// An entry that is not its writer's own, or is none at all, changes nothing.
    #[test]
    fn nobody_writes_for_another(amount in 1_u64..100, writer in 2_u64..99) {
        let crowd: Crowd<Counter<u8>> = Crowd::new(2);
        crowd.processes[0].add(1, amount).unwrap();
        let mut forged = crowd.entries(0);
        forged[0].writer = WriterTag(writer);
        let store = crowd.processes[1].its_store();
        let merged = store.replica().merge(&forged, crowd.clock.wall());
        let is_quarantined = matches!(merged[0], Merged::Stored { quarantined: true, .. });
        prop_assert!(is_quarantined);
        prop_assert_eq!(crowd.processes[1].value(&1), 0);
    }
}

/// Texts that are merged by taking all of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Tags(BTreeSet<u8>);

impl Merge for Tags {
    fn merge(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }
}

const MINUTE: u64 = 61_000_000_000;

#[test]
fn a_count_goes_below_zero_and_stops_at_its_ends() {
    let crowd: Crowd<Counter<u8>> = Crowd::new(2);
    let counter = &crowd.processes[0];
    counter.subtract(1, 5).unwrap();
    assert_eq!((counter.value(&1), counter.value(&2)), (-5, 0));
    counter.add(1, u64::MAX).unwrap();
    assert_eq!(counter.value(&1), i64::MAX);
    // What could not be written down is not taken for added.
    let error = counter.add(1, 1).unwrap_err();
    assert!(matches!(error, WriteError::Invalid { .. }), "{error}");
    counter.subtract(1, u64::MAX - 5).unwrap();
    assert_eq!(counter.value(&1), 0);
}

#[test]
fn a_new_process_takes_over_what_the_one_before_it_counted() {
    let mut crowd: Crowd<Counter<u8>> = Crowd::new(2);
    for round in 1..=200 {
        crowd.processes[0].add(1, 1).unwrap();
        crowd.restart(0);
        crowd.hear_all();
        // It takes over with its first addition.
        crowd.processes[0].add(1, 1).unwrap();
        crowd.processes[0].add(1, 1).unwrap();
        crowd.hear_all();
        assert_eq!(at_once(crowd.processes[0].tidy()), Ok(1));
        crowd.hear_all();
        assert_eq!(crowd.processes[1].value(&1), round * 3);
    }
    let held = crowd.entries(1);
    let alive = held.iter().filter(|entry| !entry.schema.is_tombstone());
    let alive: Vec<_> = alive.collect();
    assert_eq!(alive.len(), 1, "one process has counted");
    assert!(alive[0].body.len() < 3_000, "{} bytes", alive[0].body.len());
}

#[test]
fn what_is_added_after_the_clock_was_set_back_counts() {
    let mut crowd: Crowd<Counter<u8>> = Crowd::new(2);
    for _ in 0..100 {
        crowd.processes[0].add(1, 1).unwrap();
        crowd.restart(0);
        crowd.hear_all();
    }
    crowd.clock.0.fetch_sub(1_000, Ordering::Relaxed);
    crowd.restart(0);
    crowd.hear_all();
    crowd.processes[0].add(1, 5).unwrap();
    crowd.processes[0].add(1, 2).unwrap();
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 107));
}

/// What others hold of this process is ahead of its clock by then, and may win over what it writes.
#[test]
fn what_is_added_while_the_clock_is_behind_counts_when_it_is_right_again() {
    let crowd: Crowd<Counter<u8>> = Crowd::new(2);
    crowd.clock.pass(60 * MINUTE);
    crowd.processes[0].add(1, 700).unwrap();
    crowd.hear_all();
    crowd.clock.pass(1);
    crowd.processes[0].add(1, 50).unwrap();
    let behind = 60 * MINUTE;
    crowd.clock.0.fetch_sub(behind, Ordering::Relaxed);
    crowd.processes[0].add(1, 9).unwrap();
    crowd.hear_all();
    crowd.clock.0.fetch_add(behind, Ordering::Relaxed);
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 759));
}

#[test]
fn what_is_set_while_the_clock_is_behind_is_shown_when_it_is_right_again() {
    let crowd: Crowd<MultiRegister<u8, u32>> = Crowd::new(2);
    crowd.clock.pass(60 * MINUTE);
    crowd.processes[0].set(1, 1).unwrap();
    crowd.hear_all();
    crowd.clock.pass(1);
    crowd.processes[0].set(1, 2).unwrap();
    crowd.clock.0.fetch_sub(60 * MINUTE, Ordering::Relaxed);
    crowd.processes[0].set(1, 3).unwrap();
    crowd.hear_all();
    crowd.clock.0.fetch_add(60 * MINUTE, Ordering::Relaxed);
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.get(&1) == [3]));
}

#[test]
fn what_an_ended_process_had_added_unseen_counts_when_it_is_seen() {
    let mut crowd: Crowd<Counter<u8>> = Crowd::new(3);
    crowd.processes[0].add(1, 10).unwrap();
    crowd.hear(0, 1, 255);
    // This is heard by the third alone, who is cut off.
    crowd.clock.pass(1);
    crowd.processes[0].add(1, 5).unwrap();
    crowd.hear(0, 2, 255);
    crowd.processes[0] = Crowd::process(&crowd.clock, 0);
    crowd.hear(1, 0, 255);
    for _ in 0..3 {
        crowd.processes[0].add(1, 1).unwrap();
        crowd.clock.pass(MINUTE);
    }
    crowd.hear(0, 1, 255);
    assert_eq!(crowd.processes[1].value(&1), 13);
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 18));
    // And it is taken over in its turn.
    for _ in 0..3 {
        crowd.processes[0].add(1, 1).unwrap();
        crowd.clock.pass(MINUTE);
    }
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 21));
}

#[test]
fn an_addition_wins_over_a_removal_that_had_not_seen_it() {
    for _ in 0..50 {
        let crowd: Crowd<AddWinsSet<u8>> = Crowd::new(2);
        crowd.processes[0].add(7).unwrap();
        crowd.hear(0, 1, 255);
        // At one moment, and the removal by a clock that is far ahead.
        crowd.processes[0].add(7).unwrap();
        crowd.clock.pass(1_000_000_000);
        assert_eq!(crowd.processes[1].remove(&7).unwrap().len(), 1);
        assert!(!crowd.processes[1].contains(&7));
        crowd.hear_all();
        assert!(crowd.processes.iter().all(|it| it.contains(&7)));
        crowd.processes[0].remove(&7).unwrap();
        crowd.hear_all();
        assert!(crowd.processes.iter().all(AddWinsSet::is_empty));
    }
}

#[test]
fn on_wins_over_an_off_that_had_not_seen_it() {
    let crowd: Crowd<Flag> = Crowd::new(2);
    assert!(!crowd.processes[0].is_on());
    crowd.processes[0].turn_on().unwrap();
    crowd.hear_all();
    crowd.processes[0].turn_on().unwrap();
    crowd.processes[1].turn_off().unwrap();
    crowd.hear_all();
    assert!(crowd.processes.iter().all(Flag::is_on));
    crowd.processes[1].turn_off().unwrap();
    crowd.hear_all();
    assert!(!crowd.processes.iter().any(Flag::is_on));
}

#[test]
fn a_register_keeps_what_was_written_at_once_until_it_is_written_again() {
    let crowd: Crowd<MultiRegister<u8, u32>> = Crowd::new(3);
    crowd.processes[0].set(1, 10).unwrap();
    crowd.processes[1].set(1, 11).unwrap();
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.get(&1) == [10, 11]));
    crowd.processes[2].set(1, 12).unwrap();
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.get(&1) == [12]));
    crowd.processes[2].remove(&1).unwrap();
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.get(&1).is_empty()));
}

thread_local! {
    /// What the next clone of a [`Meddling`] does.
    static MEDDLING: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// A value during whose next clone something else is done.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Meddling(u32);

impl Clone for Meddling {
    fn clone(&self) -> Self {
        if let Some(meddle) = MEDDLING.take() {
            meddle();
        }
        Self(self.0)
    }
}

replicated!(MultiRegister<u8, Meddling>);

#[test]
fn a_write_covers_what_another_thread_covered_while_it_was_made() {
    let crowd: Crowd<MultiRegister<u8, Meddling>> = Crowd::new(2);
    crowd.processes[1].set(1, Meddling(11)).unwrap();
    let (register, entries) = (crowd.processes[0].clone(), crowd.entries(1));
    let now = crowd.clock.wall();
    MEDDLING.set(Some(Box::new(move || {
        register.store().replica().merge(&entries, now);
        register.set(1, Meddling(12)).unwrap();
    })));
    crowd.processes[0].set(1, Meddling(13)).unwrap();
    assert_eq!(crowd.processes[0].get(&1), [Meddling(13)]);
}

#[test]
fn parts_that_were_replaced_are_removed_once_all_hold_what_replaced_them() {
    let crowd: Crowd<MultiRegister<u8, u32>> = Crowd::new(3);
    for round in 0..200_u32 {
        let node = round as usize % 3;
        crowd.processes[node].set(1, round).unwrap();
        crowd.hear_all();
        assert_eq!(
            at_once(crowd.processes[node].tidy()),
            Ok(usize::from(round > 0))
        );
        crowd.hear_all();
        assert!(crowd.processes.iter().all(|it| it.get(&1) == [round]));
    }
    let held = crowd.entries(0).into_iter();
    let alive: Vec<_> = held.filter(|entry| !entry.schema.is_tombstone()).collect();
    assert_eq!(alive.len(), 1);
    assert!(alive[0].body.len() < 200, "{} bytes", alive[0].body.len());
}

#[test]
fn presence_is_of_processes_that_are_members() {
    let mut crowd: Crowd<PresenceStore<u8, u32>> = Crowd::new(2);
    let shown = |crowd: &Crowd<PresenceStore<u8, u32>>, node: usize, members: &[(&str, u64)]| {
        let present = crowd.processes[node].present(|name, boot| members.contains(&(name, boot)));
        let said = present
            .iter()
            .map(|it| (it.node().to_owned(), *it.key(), **it));
        said.collect::<Vec<_>>()
    };
    crowd.processes[0].insert(1, 10, || None).unwrap();
    assert_eq!(shown(&crowd, 0, &[("n0", 5)]), []);
    crowd.processes[0].renew(5).unwrap();
    crowd.processes[1].insert(1, 11, || Some(6)).unwrap();
    crowd.hear_all();
    let (first, second) = (("n0".to_owned(), 1, 10), ("n1".to_owned(), 1, 11));
    let both = [first.clone(), second.clone()];
    assert_eq!(shown(&crowd, 1, &[("n0", 5), ("n1", 6)]), both);
    assert_eq!(shown(&crowd, 1, &[("n1", 6)]), &both[1..]);
    assert_eq!(shown(&crowd, 1, &[("n0", 4), ("n1", 6)]), &both[1..]);
    // Under a new boot the old entry is not shown, and goes when its owner comes.
    crowd.processes[0] = Crowd::process(&crowd.clock, 0);
    crowd.hear_all();
    assert_eq!(shown(&crowd, 1, &[("n0", 7), ("n1", 6)]), &both[1..]);
    crowd.processes[0].insert(1, 10, || Some(7)).unwrap();
    crowd.processes[0].renew(7).unwrap();
    crowd.hear_all();
    assert_eq!(shown(&crowd, 1, &[("n0", 7), ("n1", 6)]), [first, second]);
    assert_eq!(shown(&crowd, 1, &[("n0", 5)]), []);
    let removed = crowd.processes[0].remove(&1, || Some(7)).unwrap();
    assert!(removed.is_some());
    crowd.hear_all();
    assert_eq!(shown(&crowd, 1, &[("n0", 7)]), []);
}

#[test]
fn what_is_said_while_the_boot_changes_is_said_under_the_new_one() {
    let crowd: Crowd<PresenceStore<u8, u32>> = Crowd::new(1);
    let asked = Cell::new(0);
    let boot = || {
        asked.set(asked.get() + 1);
        Some(if asked.get() == 1 { 5 } else { 7 })
    };
    crowd.processes[0].insert(1, 10, boot).unwrap();
    let said = crowd.processes[0].present(|_, boot| boot == 7);
    assert_eq!(said.iter().map(|it| **it).collect::<Vec<_>>(), [10]);
}

#[test]
fn what_is_removed_while_all_is_said_again_stays_removed() {
    for removed in [1, 2] {
        let crowd: Crowd<Arc<PresenceStore<u8, u32>>> = Crowd::new(1);
        let presence = &crowd.processes[0];
        for key in [1, 2] {
            presence.insert(key, 10, || Some(5)).unwrap();
        }
        let (remover, done) = (Arc::downgrade(presence), AtomicU64::new(0));
        presence.its_store().on_change(Arc::new(move || {
            if done.fetch_add(1, Ordering::Relaxed) == 0 {
                let presence = remover.upgrade().unwrap();
                presence.remove(&removed, || Some(7)).unwrap();
            }
        }));
        // The removal comes after the first of the two is said again.
        presence.renew(7).unwrap();
        let said = presence.present(|_, boot| boot == 7);
        let keys: Vec<u8> = said.iter().map(|it| *it.key()).collect();
        assert_eq!(keys, [3 - removed]);
    }
}

#[test]
fn what_cannot_be_said_leaves_what_was_said_before() {
    let crowd: Crowd<PresenceStore<u8, Vec<u8>>> = Crowd::new(1);
    let presence = &crowd.processes[0];
    presence.insert(1, vec![1], || Some(5)).unwrap();
    let error = presence.insert(1, vec![0; 2 << 20], || Some(5));
    assert!(matches!(error, Err(WriteError::TooLarge { .. })));
    presence.renew(7).unwrap();
    let said = presence.present(|_, boot| boot == 7);
    assert_eq!(said.iter().map(|it| it.to_vec()).collect::<Vec<_>>(), [[1]]);
}

#[test]
fn what_would_be_written_under_another_nodes_name_is_not_written() {
    let clock = Ticking(Arc::new(AtomicU64::new(1_700_000_000_000_000_000)));
    let writer = WriterTag::of(&NodeName::new("a").unwrap());
    let context = Context::new(writer, Arc::new(clock), Arc::new(Heard));
    let counter: Counter<u8> = Counter::new("count", "b", Limits::default(), context);
    let error = counter.add(1, 1).unwrap_err();
    assert!(matches!(error, WriteError::Invalid { .. }), "{error}");
    assert_eq!((counter.value(&1), counter.store().len()), (0, 0));
}

#[test]
fn presence_ends_after_half_a_day_unless_it_is_said_again() {
    let crowd: Crowd<PresenceStore<u8, u32>> = Crowd::new(2);
    crowd.processes[0].insert(1, 10, || Some(5)).unwrap();
    crowd.hear_all();
    let count = |node: usize| crowd.processes[node].present(|_, _| true).len();
    crowd.clock.pass(11 * 3_600 * 1_000_000_000);
    assert_eq!((count(0), count(1)), (1, 1));
    crowd.processes[0].renew(5).unwrap();
    crowd.hear_all();
    crowd.clock.pass(11 * 3_600 * 1_000_000_000);
    assert_eq!((count(0), count(1)), (1, 1));
    crowd.clock.pass(2 * 3_600 * 1_000_000_000);
    assert_eq!((count(0), count(1)), (0, 0));
}

#[test]
fn a_write_that_finds_no_room_says_so_and_changes_nothing() {
    let clock = Ticking(Arc::new(AtomicU64::new(1_700_000_000_000_000_000)));
    let writer = WriterTag::of(&NodeName::new("a").unwrap());
    let context = Context::new(writer, Arc::new(clock), Arc::new(Heard));
    let limits = Limits::default().entries_max(1).share_percent(100);
    let set: AddWinsSet<u8> = AddWinsSet::new("set", "a", limits, context);
    set.add(1).unwrap();
    assert!(matches!(set.add(2), Err(WriteError::StoreFull { .. })));
    assert_eq!(set.elements(), [1]);
}

#[test]
fn changed_keys_are_told_whether_they_come_or_go() {
    let crowd: Crowd<AddWinsSet<u8>> = Crowd::new(2);
    let [here, there] = &crowd.processes[..] else {
        panic!("there are two");
    };
    let mut changed = here.changes();
    let mut told = || {
        let mut context = task::Context::from_waker(Waker::noop());
        let mut keys = Vec::new();
        while let Poll::Ready(key) = pin!(changed.next()).poll(&mut context) {
            keys.push(key.unwrap());
        }
        keys
    };
    here.add(1).unwrap();
    there.add(2).unwrap();
    crowd.hear_all();
    assert_eq!(told(), [1, 2]);
    there.remove(&1).unwrap();
    crowd.hear_all();
    assert_eq!(told(), [1]);
}
