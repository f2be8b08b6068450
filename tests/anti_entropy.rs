//! Push/pull between two real engines, byte by byte: what it costs, that it heals whatever differs,
//! goes on where it broke off, and that no message makes anything worse.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod pair;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use pair::{ENTRY_BYTES, EPOCH, Fate, Pair, Random, entry, is_urgent, newer};
use proptest::prelude::*;
use rumormill::crdt::digest::{entry_hash, item};
use rumormill::engine::{Comparison, Event};
use rumormill::time::Timestamp;
use rumormill::wire::{Cell, Entry, Message, SchemaId, Verdict};

/// `shared` entries on both sides; a third of `apart` only here, a third only there, and a third
/// updated, on one side or the other.
fn sides(shared: usize, apart: usize, seed: u64) -> [Vec<Entry>; 2] {
    let mut random = Random(seed);
    let base: Vec<_> = (0..shared).map(|_| entry(&mut random)).collect();
    let mut sides = [base.clone(), base];
    for number in 0..apart {
        match number % 3 {
            2 => {
                let at = number / 3;
                let update = newer(&sides[0][at], &mut random);
                sides[at % 2][at] = update;
            }
            side => sides[side].push(entry(&mut random)),
        }
    }
    sides
}

fn pair_of(sides: &[Vec<Entry>; 2]) -> Pair {
    Pair::new(&sides[0], &sides[1], 1)
}

/// How the last exchange found out.
fn comparison(pair: &Pair) -> Comparison {
    let completed = pair.events.iter().rev().find_map(|(_, event)| match event {
        Event::PushPullCompleted { comparison, .. } => Some(*comparison),
        _ => None,
    });
    completed.unwrap()
}

#[test]
fn equal_stores_cost_a_few_hundred_bytes_at_any_size() {
    for shared in [1, 100, 5_000] {
        let mut pair = pair_of(&sides(shared, 0, 1));
        let cost = pair.joined();
        assert!(cost.bytes <= 512, "{cost:?} for {shared}");
        assert_eq!(comparison(&pair), Comparison::Equal);
        assert_eq!(pair.counters(1).push_pull_entries_received, 0);
    }
}

#[test]
fn the_cost_follows_the_difference() {
    for (apart, factor) in [(10, 2.5), (100, 1.45), (1_000, 1.35)] {
        let mut pair = pair_of(&sides(6_000, apart, 2));
        let cost = pair.joined();
        assert!(pair.agree());
        assert_eq!(comparison(&pair), Comparison::Cells, "{apart}");
        let ideal = (apart * ENTRY_BYTES) as f64;
        assert!((cost.bytes as f64) < ideal * factor, "{cost:?} for {apart}");
        // Every differing key once, one way or the other.
        let sent = [0, 1].map(|side| pair.counters(side).push_pull_entries_sent);
        assert_eq!(sent[0] + sent[1], apart as u64);
        assert_eq!(pair.counters(0).digest_mismatches, 0);
    }
}

#[test]
fn any_difference_is_healed() {
    for seed in 0..30 {
        let mut random = Random(seed);
        let shared = random.draw() % 400;
        let apart = random.draw() % (shared + 1);
        let mut pair = pair_of(&sides(shared as usize, apart as usize, seed));
        pair.joined();
        assert!(pair.agree(), "seed {seed}: {shared} and {apart}");
        let cost = pair.exchange(0);
        assert_eq!(comparison(&pair), Comparison::Equal);
        assert!(cost.bytes <= 512);
    }
}

#[test]
fn when_most_differs_a_list_finds_it() {
    let mut pair = pair_of(&sides(3_000, 3_000, 3));
    let cost = pair.joined();
    assert!(pair.agree());
    assert_eq!(comparison(&pair), Comparison::List);
    assert!(cost.bytes < 3_000 * ENTRY_BYTES as u64 * 27 / 20);
}

/// The responder answers what it was asked, or the exchange ends; the next one heals.
#[test]
fn answers_to_what_was_not_asked_end_the_exchange() {
    let spoilt: [fn(&mut Message) -> bool; 3] = [
        |message| match message {
            Message::Wants(wants) => {
                wants.wants = vec![12_345];
                true
            }
            _ => false,
        },
        |message| match message {
            Message::Verdicts(verdicts) => {
                verdicts.stores.clear();
                true
            }
            _ => false,
        },
        |message| match message {
            Message::Verdicts(verdicts) => {
                verdicts.stores = verdicts.stores.repeat(2);
                true
            }
            _ => false,
        },
    ];
    for spoil in spoilt {
        let mut pair = pair_of(&sides(300, 300, 3));
        let mut once = true;
        pair.watcher = Some(Box::new(move |side, message, _| {
            let mut message = message.clone();
            if side == 0 && once && spoil(&mut message) {
                once = false;
                return Fate::Replace(message);
            }
            Fate::Pass
        }));
        pair.joined();
        assert!(pair.agree());
        assert_eq!(pair.counters(1).unexpected, 1);
        assert_eq!(pair.counters(1).push_pulls_failed, 1);
    }
}

/// Digests are not moved there, however much that would take: even equal stores are listed.
#[test]
fn a_cut_far_ahead_is_answered_by_a_list() {
    let mut pair = pair_of(&sides(300, 0, 3));
    let verdicts = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&verdicts);
    pair.watcher = Some(Box::new(move |_, message, _| match message {
        Message::Summary(summary) => {
            let mut ahead = summary.clone();
            ahead.cut = ahead.cut.plus(Duration::from_secs(1800));
            Fate::Replace(Message::Summary(ahead))
        }
        Message::Verdicts(verdicts) => {
            let verdicts = verdicts.stores.iter().map(|&(_, verdict)| verdict);
            seen.borrow_mut().extend(verdicts);
            Fate::Pass
        }
        _ => Fate::Pass,
    }));
    pair.joined();
    assert_eq!(*verdicts.borrow(), [Verdict::List]);
    assert!(pair.agree());
}

#[test]
fn a_joiner_is_sent_everything_what_is_urgent_first() {
    let sides = [sides(5_000, 0, 4)[0].clone(), Vec::new()];
    let mut pair = pair_of(&sides);
    let order = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&order);
    pair.watcher = Some(Box::new(move |_, message, _| {
        if let Message::Delta(delta) = message {
            let entries = delta.sections.iter().flat_map(|section| &section.entries);
            let urgent = entries.map(|entry| is_urgent(&entry.body));
            seen.borrow_mut().extend(urgent);
        }
        Fate::Pass
    }));
    let cost = pair.joined();
    assert!(pair.agree());
    assert_eq!(comparison(&pair), Comparison::All);
    assert!(
        cost.bytes < 5_000 * ENTRY_BYTES as u64 * 21 / 20,
        "{cost:?}"
    );
    let order = order.borrow();
    assert_eq!(order.len(), 5_000);
    let urgent = order.iter().filter(|urgent| **urgent).count();
    assert!(urgent > 200 && order[..urgent].iter().all(|urgent| *urgent));
}

/// A process takes one place at another, however often it asks.
#[test]
fn a_second_exchange_of_one_process_is_refused() {
    let mut pair = pair_of(&sides(300, 5, 6));
    pair.joined();
    let before = [0, 1].map(|side| pair.counters(side).push_pulls);
    let failed = pair.counters(1).push_pulls_failed;
    pair.begin(1);
    pair.begin(1);
    pair.run_until(|pair| pair.counters(1).push_pulls_failed > failed);
    pair.run_until(|pair| (0..2).all(|side| pair.counters(side).push_pulls > before[side]));
    assert_eq!(pair.counters(1).push_pulls_failed, failed + 1);
    assert_eq!(pair.counters(0).push_pulls, before[0] + 1);
}

#[test]
fn progress_is_told() {
    let sides = [sides(25_000, 0, 5)[0].clone(), Vec::new()];
    let mut pair = pair_of(&sides);
    pair.joined();
    let received: Vec<_> = pair
        .events
        .iter()
        .filter_map(|(side, event)| match event {
            Event::PushPullProgress { received, .. } if *side == 1 => Some(*received),
            _ => None,
        })
        .collect();
    assert_eq!(received.len(), 2);
    assert!(received[0] >= 10_000 && received[1] >= 20_000);
}

/// Broken after every so many messages, exchanges go on where they were: no entry comes twice.
#[test]
fn a_broken_exchange_goes_on_where_it_was() {
    let sides = [sides(4_000, 0, 6)[0].clone(), Vec::new()];
    let mut pair = pair_of(&sides);
    let times = Rc::new(RefCell::new(BTreeMap::new()));
    let breaks = Rc::new(RefCell::new(0));
    let (sent, broken) = (Rc::clone(&times), Rc::clone(&breaks));
    let mut deltas = 0;
    pair.watcher = Some(Box::new(move |_, message, _| {
        let Message::Delta(delta) = message else {
            return Fate::Pass;
        };
        deltas += 1;
        if deltas % 7 == 0 && *broken.borrow() < 3 {
            *broken.borrow_mut() += 1;
            return Fate::Break;
        }
        for entry in delta.sections.iter().flat_map(|section| &section.entries) {
            *sent.borrow_mut().entry(entry.key).or_insert(0) += 1;
        }
        Fate::Pass
    }));
    pair.joined();
    assert!(pair.agree());
    assert_eq!(*breaks.borrow(), 3);
    let times = times.borrow();
    assert_eq!(times.len(), 4_000);
    // What was on its way when the stream broke was read all the same: this wire loses nothing.
    assert!(times.values().all(|&times| times == 1));
}

/// Two entries of one key, timestamp and content tag. A tag has 32 bits, so one in some ten
/// thousands of pairs of bodies has equal ones.
fn look_alikes() -> [Entry; 2] {
    let mut random = Random(7);
    let base = entry(&mut random);
    let mut tags = BTreeMap::new();
    loop {
        let mut body = base.body.to_vec();
        body[20..28].copy_from_slice(&random.draw().to_le_bytes());
        let body = body.into();
        let one = Entry {
            body,
            ..base.clone()
        };
        if let Some(other) = tags.insert(item(&one).tag, one.clone()) {
            return [one, other];
        }
    }
}

#[test]
fn entries_that_items_cannot_tell_apart_are_found_by_the_self_check_and_healed() {
    let [one, other] = look_alikes();
    assert_eq!(item(&one), item(&other));
    assert_ne!(entry_hash(&one), entry_hash(&other));
    // Alone, beside other differences, and where a list is made at once.
    for (shared, apart) in [(500, 0), (500, 30), (10, 0)] {
        let mut sides = sides(shared, apart, 8);
        sides[0].push(one.clone());
        sides[1].push(other.clone());
        let mut pair = pair_of(&sides);
        pair.joined();
        assert!(pair.agree(), "{shared} and {apart}");
        assert_eq!(pair.counters(0).digest_mismatches, 1);
        assert_eq!(pair.counters(1).digest_mismatches, 1);
        assert_eq!(comparison(&pair), Comparison::List);
    }
}

/// What one side has collected, or will soon, is no difference.
#[test]
fn what_expires_before_the_cut_is_not_compared() {
    let mut sides = sides(300, 0, 9);
    let mut random = Random(10);
    for second in 0..50 {
        let expired = Entry {
            expires_at: Timestamp::from_secs(EPOCH.as_nanos() / 1_000_000_000 - second),
            ..entry(&mut random)
        };
        sides[1].push(expired);
    }
    let mut pair = pair_of(&sides);
    let cost = pair.joined();
    assert_eq!(comparison(&pair), Comparison::Equal);
    assert!(cost.bytes <= 512);
    assert_eq!(pair.maps[1].store().len(), 350);
}

/// Entries change on both sides while they are compared.
#[test]
fn writes_during_an_exchange_are_part_of_it_or_of_the_next() {
    for seed in 0..20 {
        let sides = sides(400, 60, seed);
        let all: Vec<_> = sides.concat();
        let mut pair = pair_of(&sides);
        let mut random = Random(seed + 100);
        pair.watcher = Some(Box::new(move |side, _, maps| {
            for _ in 0..3 {
                let old = &all[random.draw() as usize % all.len()];
                let newer = Entry {
                    ts: EPOCH,
                    ..newer(old, &mut random)
                };
                maps[side].store().merge(&[newer], EPOCH);
            }
            Fate::Pass
        }));
        pair.joined();
        assert_eq!(pair.counters(0).digest_mismatches, 0, "seed {seed}");
        pair.watcher = None;
        pair.exchange(1);
        assert!(pair.agree(), "seed {seed}");
        assert_eq!(pair.counters(0).digest_mismatches, 0, "seed {seed}");
    }
}

/// What becomes of a message on a hostile wire.
fn forge(message: &Message, random: &mut Random) -> Message {
    let mut forged = message.clone();
    let mut any = || random.draw();
    match &mut forged {
        Message::Cells(cells) => {
            for cell in &mut cells.cells {
                *cell = match any() % 3 {
                    0 => Cell::default(),
                    1 => *cell,
                    _ => Cell {
                        kh: any(),
                        ts: any(),
                        tag: any() as u32,
                        check: any() as u32,
                    },
                };
            }
            match any() % 4 {
                0 => cells.width = any() as u8,
                1 => cells.exponent = any() as u8,
                2 => cells.cells.truncate(any() as usize % 20),
                _ => {}
            }
        }
        Message::Summary(summary) => {
            for store in &mut summary.stores {
                store.count = any() % 100_000;
                store.root = any().into();
                store.exponent = any() as u8;
                store.counters = std::array::from_fn(|_| any() as i32);
            }
        }
        Message::Verdicts(verdicts) => {
            let all = [
                Verdict::All,
                Verdict::Cells,
                Verdict::Equal,
                Verdict::List,
                Verdict::NoStore,
            ];
            for (_, verdict) in &mut verdicts.stores {
                *verdict = all[any() as usize % all.len()];
            }
        }
        Message::Peeled(peeled) => {
            peeled.common = (any() % 2 == 0).then(|| any().into());
            let wants: BTreeSet<_> = (0..any() % 50).map(|_| any()).collect();
            peeled.wants.extend(wants);
            peeled.wants.sort_unstable();
            peeled.wants.dedup();
        }
        Message::Settled(settled) => settled.agrees = any() % 2 == 0,
        Message::Items(items) => {
            items.sum = any().into();
            items.items.retain(|_| any() % 4 != 0);
        }
        Message::Hashes(hashes) => hashes.hashes.retain(|_| any() % 4 != 0),
        Message::Wants(wants) => wants.wants.retain(|_| any() % 2 == 0),
        _ => {}
    }
    forged
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever a peer says about what it has, nothing that is held is lost or altered, nobody
    /// panics or loops, and honest exchanges that follow heal everything.
    #[test]
    fn forged_comparisons_are_no_worse_than_none(
        seed: u64,
        shared in 0..300_usize,
        apart in 0..100_usize,
        forged in 0..2_usize,
    ) {
        let sides = sides(shared.max(apart), apart, seed);
        let mut pair = pair_of(&sides);
        let mut random = Random(seed);
        let mut left = 40;
        pair.watcher = Some(Box::new(move |side, message, _| {
            if side != forged || left == 0 || random.draw().is_multiple_of(3) {
                return Fate::Pass;
            }
            left -= 1;
            Fate::Replace(forge(message, &mut random))
        }));
        pair.joined();
        pair.watcher = None;
        pair.exchange(0);
        prop_assert!(pair.agree());
        let expected = sides.concat().into_iter().fold(BTreeMap::new(), |mut all, entry| {
            let newest: &mut Entry = all.entry(entry.key).or_insert_with(|| entry.clone());
            if entry.ts > newest.ts {
                *newest = entry;
            }
            all
        });
        for (key, entry) in &expected {
            let held = pair.maps[0].store().held(key);
            prop_assert_eq!(held.map(|held| held.entry), Some(entry.clone()));
        }
        prop_assert_eq!(pair.maps[0].store().len(), expected.len());
    }
}

/// An entry that cannot be read is compared and sent like any other.
#[test]
fn what_cannot_be_read_is_exchanged_all_the_same() {
    let mut sides = sides(300, 10, 11);
    for body in ["short", "odd"] {
        sides[0].push(Entry {
            schema: SchemaId::new(if body == "odd" { 9 } else { 1 }),
            body: body.as_bytes().into(),
            ..entry(&mut Random(body.len() as u64))
        });
    }
    let mut pair = pair_of(&sides);
    pair.joined();
    assert!(pair.agree());
    assert_eq!(pair.maps[1].quarantined_len(), 2);
}
