//! Many parts of one name, or of many, under one key.

use super::super::account::CounterPart;
use super::super::register::{Cover, RegisterPart};
use super::hostile::part;
use super::*;

const COUNT: u64 = 200;

/// Parts of processes with the boots from 1 on, each of which has counted 1.
fn parts_of_liar(clock: &Ticking) -> Vec<Entry> {
    let said = CounterPart {
        plus: 1,
        ..CounterPart::default()
    };
    let parts = (1..=COUNT).map(|boot| part(clock, "liar", boot, &said));
    parts.collect()
}

#[test]
fn of_a_name_the_latest_parts_are_read_whatever_order_they_came_in() {
    let crowd: Crowd<Counter<u8>> = Crowd::new(2);
    crowd.processes[1].add(1, 5).unwrap();
    let mut parts = parts_of_liar(&crowd.clock);
    for process in &crowd.processes {
        let store = process.its_store();
        for part in &parts {
            store
                .replica()
                .merge(std::slice::from_ref(part), crowd.clock.wall());
        }
        parts.reverse();
    }
    crowd.hear_all();
    crowd.hear(1, 0, 255);
    assert!(crowd.processes.iter().all(|it| it.value(&1) == 5 + 64));
    let boots = |node: usize| {
        let held = crowd.processes[node].parts_of(&1);
        let of_liar = held.iter().filter(|part| part.key().1 == "liar");
        of_liar.map(|part| part.key().2).collect::<BTreeSet<u64>>()
    };
    let latest: BTreeSet<u64> = (COUNT - 63..=COUNT).collect();
    assert_eq!((boots(0), boots(1)), (latest.clone(), latest));

    // All of them are forgotten, also those that were not read.
    let liar = NodeName::new("liar").unwrap();
    let taken = crowd.processes[0].take_over_name(&liar).unwrap();
    crowd.hear(0, 1, 255);
    crowd.processes[0].take_parts_away(&taken);
    let store = crowd.processes[0].its_store();
    assert_eq!(store.len() - store.tombstones(), 2);
    assert_eq!(
        crowd.processes[0].value(&1),
        5 + i64::try_from(COUNT).unwrap()
    );
}

#[test]
fn an_element_is_removed_with_all_of_its_parts() {
    let crowd: Crowd<AddWinsSet<u8>> = Crowd::new(1);
    let parts: Vec<_> = (1..=COUNT)
        .map(|boot| part(&crowd.clock, "liar", boot, &0_u64))
        .collect();
    let store = crowd.processes[0].its_store();
    store.replica().merge(&parts, crowd.clock.wall());
    assert!(crowd.processes[0].contains(&1));
    let removed = crowd.processes[0].remove(&1).unwrap();
    assert_eq!(removed.len() as u64, COUNT);
    assert!(!crowd.processes[0].contains(&1));
}

/// A write lists no more than so many processes, and what it does not list is shown beside it.
#[test]
fn a_write_to_a_register_of_very_many_processes_is_no_larger_than_it_may_be() {
    let crowd: Crowd<MultiRegister<u8, u32>> = Crowd::new(1);
    let register = &crowd.processes[0];
    let written = |value| RegisterPart {
        number: 1,
        value,
        covers: Vec::new(),
    };
    let heard = |names: std::ops::Range<u32>| {
        let parts = names.map(|n| part(&crowd.clock, &format!("p{n:05}"), 1, &written(n)));
        let parts: Vec<_> = parts.collect();
        register
            .its_store()
            .replica()
            .merge(&parts, crowd.clock.wall());
    };
    heard(0..4_096);
    assert_eq!(register.get(&1).len(), 4_096);
    register.set(1, 9_999).unwrap();
    assert_eq!(register.get(&1), [9_999]);
    heard(4_096..4_196);
    register.set(1, 9_998).unwrap();
    assert_eq!(register.get(&1).len(), 101);
    assert_eq!(register.get(&1)[0], 9_998);
}

#[test]
fn a_write_that_lists_what_no_process_would_is_not_used() {
    let crowd: Crowd<MultiRegister<u8, u32>> = Crowd::new(1);
    let listed = |names: &[&str]| {
        let covers = names.iter().map(|&name| Cover {
            name: name.to_owned(),
            boot: 1,
            number: 1,
        });
        RegisterPart {
            number: 1,
            value: 7,
            covers: covers.collect(),
        }
    };
    let many: Vec<String> = (0..=4_096 + 64).map(|n| format!("p{n:05}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let lists = [
        &["b", "a"][..],
        &["a", "a"],
        &[""],
        &["a\n"],
        &many,
        &many[1..],
        &["a", "b"],
    ];
    let lies = (1..).zip(lists);
    let lies: Vec<_> = lies
        .map(|(boot, names)| part(&crowd.clock, "liar", boot, &listed(names)))
        .collect();
    let quarantined = [true, true, true, true, true, false, false];
    assert_eq!(crowd.all_hear(&lies), quarantined);
}

#[test]
fn a_process_that_takes_over_more_than_is_read_is_not_used() {
    let crowd: Crowd<MergedMap<u8, Tags>> = Crowd::new(1);
    let taken_over = |count: u64| {
        let versions: Vec<(u64, u64)> = (0..count).map(|boot| (boot, 1)).collect();
        (Tags::default(), versions)
    };
    let lies = [(100, 65), (101, 64)];
    let lies = lies.map(|(boot, count)| part(&crowd.clock, "liar", boot, &taken_over(count)));
    assert_eq!(crowd.all_hear(&lies), [true, false]);
}
