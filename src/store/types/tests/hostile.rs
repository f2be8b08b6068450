//! What a hostile member writes into the ready types: it does not take away what others are told is written.

use std::time::Duration;

use super::super::account::{CounterPart, Earlier, Tallies};
use super::super::by_owner::OwnedPart;
use super::super::register::{Cover, RegisterPart};
use super::*;
use crate::id::{BOOT_AHEAD_MAX, Key, SchemaId};
use crate::wire::codec::{encode_u64, encode_value};

type Parts<P> = Vec<Arc<OwnedPart<u8, P>>>;

const LIFE: Duration = Duration::from_secs(24 * 3600);
const YEAR: u64 = 366 * 24 * 3600 * 1_000_000_000;

/// A part of a process under the key 1, as a member may write it in the name of any.
pub(super) fn part<P: Serialize>(crowd_clock: &Ticking, name: &str, boot: u64, part: &P) -> Entry {
    let mut key = Vec::new();
    encode_value(&(1_u8, name, boot), &mut key).unwrap();
    let mut body = Vec::new();
    encode_u64(0, &mut body);
    encode_u64(key.len() as u64, &mut body);
    body.extend_from_slice(&key);
    encode_value(part, &mut body).unwrap();
    Entry {
        key: Key::of(&key),
        ts: crowd_clock.wall(),
        tie: 1,
        writer: WriterTag::of(&NodeName::new(name).unwrap()),
        expires_at: crowd_clock.wall().plus(LIFE),
        schema: SchemaId::new(1),
        body: body.into(),
    }
}

impl<T: Replicated> Crowd<T> {
    /// All hear of these entries. Returns whether each was quarantined by all.
    pub(super) fn all_hear(&self, entries: &[Entry]) -> Vec<bool> {
        let mut set_apart = vec![true; entries.len()];
        for process in &self.processes {
            let store = process.its_store();
            let merged = store.replica().merge(entries, self.clock.wall());
            for (set_apart, merged) in set_apart.iter_mut().zip(merged) {
                let Merged::Stored { quarantined, .. } = merged else {
                    panic!("it is not stored: {merged:?}");
                };
                *set_apart &= quarantined;
            }
        }
        set_apart
    }
}

fn sum_of_none(boot: u64) -> Tallies {
    let (plus, minus) = (0, 0);
    Tallies {
        processes: Vec::new(),
        folded: Some(Earlier { boot, plus, minus }),
    }
}

/// Says that all that n1 ever counted comes to nothing.
fn n1_counted_nothing(boot: u64) -> CounterPart {
    CounterPart {
        forgotten: BTreeMap::from([("n1".to_owned(), sum_of_none(boot))]),
        ..CounterPart::default()
    }
}

#[test]
fn what_a_member_says_of_another_takes_no_count_away() {
    let mut crowd: Crowd<Counter<u8>> = Crowd::new(2);
    crowd.processes[1].add(1, 50).unwrap();
    crowd.hear_all();
    let now = crowd.clock.wall().as_nanos();
    for (boot, is_too_late) in [
        (u64::MAX, true),
        (now + YEAR, true),
        (now + YEAR / 4, false),
    ] {
        crowd.clock.pass(1);
        let lie = part(&crowd.clock, "liar", 1, &n1_counted_nothing(boot));
        assert_eq!(crowd.all_hear(&[lie]), [is_too_late], "{boot}");
        assert!(crowd.processes.iter().all(|it| it.value(&1) == 50));
    }
    // What it adds from now on counts too, and also once its part has all that the liar said.
    crowd.processes[1].add(1, 3).unwrap();
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 53));
    crowd.restart(1);
    crowd.hear_all();
    crowd.processes[1].add(1, 4).unwrap();
    let liar = NodeName::new("liar").unwrap();
    crowd.hear_all();
    let taken = crowd.processes[0].take_over_name(&liar).unwrap();
    crowd.hear_all();
    crowd.processes[0].take_parts_away(&taken);
    crowd.processes[1].add(1, 5).unwrap();
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 62));
}

#[test]
fn a_process_takes_over_nothing_that_is_as_late_as_itself() {
    let crowd: Crowd<Counter<u8>> = Crowd::new(2);
    let now = crowd.clock.wall().as_nanos();
    let lie = |boot: u64, earlier: u64| {
        let said = CounterPart {
            earlier: sum_of_none(earlier),
            ..CounterPart::default()
        };
        part(&crowd.clock, "n1", boot, &said)
    };
    let lies = [
        lie(1, u64::MAX),
        lie(2, 2),
        lie(3, 1),
        lie(now + YEAR / 4, now + YEAR / 4 - 1),
    ];
    assert_eq!(crowd.all_hear(&lies), [true, true, false, false]);
    crowd.processes[1].add(1, 3).unwrap();
    crowd.clock.pass(1);
    crowd.processes[1].add(1, 4).unwrap();
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 7));
}

/// A boot at the end of all numbers is none that anybody follows, nor that wraps to 0.
#[test]
fn no_boot_of_the_far_future_is_used_or_followed() {
    let crowd: Crowd<Counter<u8>> = Crowd::new(2);
    let ahead = u64::try_from(BOOT_AHEAD_MAX.as_nanos()).unwrap();
    let now = crowd.clock.wall().as_nanos();
    let lie = |boot: u64| part(&crowd.clock, "n1", boot, &CounterPart::default());
    let lies = [lie(u64::MAX), lie(now + ahead + 1), lie(now + ahead)];
    assert_eq!(crowd.all_hear(&lies), [true, true, false]);
    crowd.processes[1].add(1, 3).unwrap();
    let held = crowd.processes[1].parts_of(&1);
    let boots: BTreeSet<u64> = held.iter().map(|part| part.key().2).collect();
    assert!(boots.first().unwrap() < &(now + ahead), "{boots:?}");
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 3));
    // And where there was a boot of the near future, what is written is later.
    let lie = part(&crowd.clock, "n1", now + ahead / 4, &CounterPart::default());
    assert_eq!(crowd.all_hear(&[lie]), [false]);
    crowd.processes[1].add(1, 4).unwrap();
    let held = crowd.processes[1].parts_of(&1);
    assert!(
        held.iter()
            .any(|part| part.key().2 > now + ahead / 4 && part.plus == 4)
    );
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 7));
}

#[test]
fn what_is_added_after_the_clock_was_set_back_by_years_counts() {
    let mut crowd: Crowd<Counter<u8>> = Crowd::new(2);
    crowd.processes[0].add(1, 5).unwrap();
    crowd.hear_all();
    crowd.clock.0.fetch_sub(2 * YEAR, Ordering::Relaxed);
    crowd.processes[0].add(1, 3).unwrap();
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 8));
    crowd.restart(0);
    crowd.hear_all();
    crowd.processes[0].add(1, 2).unwrap();
    crowd.clock.0.fetch_add(2 * YEAR, Ordering::Relaxed);
    crowd.processes[0].add(1, 1).unwrap();
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 11));
}

fn written(number: u64, value: u32, covers: &[(&str, u64, u64)]) -> RegisterPart<u32> {
    let covers = covers.iter().map(|&(name, boot, number)| Cover {
        name: name.to_owned(),
        boot,
        number,
    });
    RegisterPart {
        number,
        value,
        covers: covers.collect(),
    }
}

#[test]
fn what_is_set_is_shown_whatever_a_member_says_it_replaced() {
    let mut crowd: Crowd<MultiRegister<u8, u32>> = Crowd::new(2);
    crowd.processes[1].set(1, 10).unwrap();
    crowd.hear_all();
    let held: Parts<RegisterPart<u32>> = crowd.processes[1].parts_of(&1);
    let (boot, now) = (held[0].key().2, crowd.clock.wall().as_nanos());
    let lie = |value: RegisterPart<u32>| part(&crowd.clock, "liar", 1, &value);
    // The last number that there is, of the process that runs and of those to come.
    let late = [
        (u64::MAX, 1),
        (now + YEAR, 1),
        (boot, u64::MAX),
        (boot, now + YEAR),
    ];
    for (boot, number) in late {
        crowd.clock.pass(1);
        let lies = [lie(written(1, 99, &[("n1", boot, number)]))];
        assert_eq!(crowd.all_hear(&lies), [true]);
        assert!(crowd.processes.iter().all(|it| it.get(&1) == [10]));
    }
    crowd.clock.pass(1);
    assert_eq!(crowd.all_hear(&[lie(written(u64::MAX, 99, &[]))]), [true]);
    crowd.clock.pass(1);
    let near = [("n1", boot, now), ("n1", now + YEAR / 4, 57)];
    let lies = [part(&crowd.clock, "liar", 1, &written(1, 99, &near))];
    assert_eq!(crowd.all_hear(&lies), [false]);
    for value in 11..15 {
        crowd.processes[1].set(1, value).unwrap();
        crowd.hear_all();
        assert!(crowd.processes.iter().all(|it| it.get(&1) == [value]));
    }
    // A process after it has another boot, so its first writes are shown as well.
    crowd.restart(1);
    crowd.hear_all();
    for value in 15..19 {
        crowd.processes[1].set(1, value).unwrap();
        crowd.hear_all();
        assert!(crowd.processes.iter().all(|it| it.get(&1) == [value]));
    }
}

/// Two processes of a name see the same boot, and not each other.
#[test]
fn processes_that_follow_one_boot_take_boots_of_their_own() {
    let mut crowd: Crowd<Counter<u8>> = Crowd::new(2);
    let now = crowd.clock.wall().as_nanos();
    let lie = part(&crowd.clock, "n0", now + YEAR / 8, &CounterPart::default());
    for amount in [3, 4] {
        let store = crowd.processes[0].its_store();
        store
            .replica()
            .merge(std::slice::from_ref(&lie), crowd.clock.wall());
        crowd.processes[0].add(1, amount).unwrap();
        crowd.restart(0);
    }
    crowd.hear_all();
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 7));
}

/// A boot that somebody makes up, near or far.
fn made_up(clock: &Ticking, number: u8) -> u64 {
    let now = clock.wall().as_nanos();
    let boots = [
        1,
        now - 1_000,
        now,
        now + YEAR / 4,
        now + YEAR / 2,
        now + YEAR,
        u64::MAX,
    ];
    boots[usize::from(number) % boots.len()]
}

/// A part that says of a process of this name that it had counted nothing.
fn nothing(clock: &Ticking, name: &str, number: u8) -> Entry {
    let boot = made_up(clock, number);
    let mut said = CounterPart::default();
    match number / 7 % 3 {
        0 => drop(said.forgotten.insert(name.to_owned(), sum_of_none(boot))),
        1 => {
            let (plus, minus) = (0, 0);
            let processes = vec![Earlier { boot, plus, minus }];
            let folded = None;
            let account = Tallies { processes, folded };
            said.forgotten.insert(name.to_owned(), account);
        }
        _ => {
            said.earlier = sum_of_none(boot - 1);
            return part(clock, name, boot, &said);
        }
    }
    part(clock, "liar", u64::from(number), &said)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is said, in whose name, and of which boots.
    #[test]
    fn no_count_is_less_than_was_added_for_what_a_member_says(steps in steps()) {
        let mut crowd: Crowd<Counter<u8>> = Crowd::new(3);
        let mut sum = 0;
        for step in steps {
            crowd.clock.pass(1);
            let (node, what, key, number) = step;
            if what == 5 || what == 6 {
                let of = (node + usize::from(key)) % 3;
                let lie = nothing(&crowd.clock, &format!("n{of}"), number);
                let store = crowd.processes[node].its_store();
                store.replica().merge(&[lie], crowd.clock.wall());
            } else if !passes(&mut crowd, step) {
                crowd.processes[node].add(1, u64::from(number)).unwrap();
                sum += i64::from(number);
            }
        }
        crowd.hear_all();
        for counter in &crowd.processes {
            prop_assert_eq!(counter.value(&1), sum);
        }
    }

    #[test]
    fn what_is_written_to_a_register_is_shown_for_all_that_a_member_says(steps in steps()) {
        let mut crowd: Crowd<MultiRegister<u8, u32>> = Crowd::new(3);
        let mut value = 0;
        for step in steps {
            crowd.clock.pass(1);
            let (node, what, key, number) = step;
            if what == 5 || what == 6 {
                let name = format!("n{}", (node + usize::from(key)) % 3);
                let boot = made_up(&crowd.clock, number);
                let count = made_up(&crowd.clock, number / 7);
                let (liar, of_liar) = if number % 2 == 0 {
                    ("liar", u64::from(number))
                } else {
                    (name.as_str(), boot)
                };
                let said = written(count, 0, &[(&name, boot, count)]);
                let lie = part(&crowd.clock, liar, of_liar, &said);
                let store = crowd.processes[node].its_store();
                store.replica().merge(&[lie], crowd.clock.wall());
            } else if !passes(&mut crowd, step) {
                value += 1;
                crowd.processes[node].set(1, value).unwrap();
            }
        }
        for node in 0..3 {
            crowd.hear_all();
            crowd.clock.pass(1);
            value += 1;
            crowd.processes[node].set(1, value).unwrap();
            crowd.hear_all();
            for register in &crowd.processes {
                prop_assert!(register.get(&1).contains(&value));
            }
        }
    }
}
