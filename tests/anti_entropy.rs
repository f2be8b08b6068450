//! Push/pull between two real engines, byte by byte: what it costs, that it heals whatever differs
//! and goes on where it broke off. What hostile peers can do is in `anti_entropy_hostile`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod pair;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use pair::{ENTRY_BYTES, EPOCH, Fate, Held, Pair, Random, entry, is_urgent, newer, pair_of, sides};
use rumormill::id::SchemaId;
use rumormill::time::Timestamp;
use rumormill::unstable::crdt::digest::{entry_hash, item};
use rumormill::unstable::crdt::narrow::Narrow;
use rumormill::unstable::store::replica;
use rumormill::unstable::wire::frame::FRAME_HEADER_BYTES;
use rumormill::unstable::wire::{Entry, Message, codec};
use rumormill::{Comparison, Event};

#[test]
fn equal_stores_cost_a_total_and_a_verdict_at_any_size() {
    for shared in [1, 100, 5_000] {
        let mut pair = pair_of(&sides(shared, 0, 1));
        let said = Rc::new(Cell::new(0));
        let saying = Rc::clone(&said);
        pair.watcher = Some(Box::new(move |_, message, _| {
            if matches!(message, Message::Totals(_) | Message::Verdicts(_)) {
                let frame = FRAME_HEADER_BYTES + codec::encoded_len(message);
                saying.set(saying.get() + frame);
            }
            Fate::Pass
        }));
        let cost = pair.joined();
        assert!(
            cost.bytes <= 420,
            "{cost:?} for {shared}, handshakes included"
        );
        assert!(said.get() <= 64, "{} for {shared}", said.get());
        assert_eq!(pair.comparison(), Comparison::Equal);
        assert_eq!(pair.counters(1).push_pull_entries_received, 0);
    }
}

#[test]
fn the_cost_follows_the_difference() {
    for (shared, apart, factor) in [
        (6_000, 10, 2.2),
        (6_000, 100, 1.35),
        (6_000, 1_000, 1.15),
        (20_000, 3_000, 1.15),
    ] {
        let mut pair = pair_of(&sides(shared, apart, 2));
        let cost = pair.joined();
        assert!(pair.agree());
        assert_eq!(pair.comparison(), Comparison::Cells, "{apart}");
        let ideal = (apart * ENTRY_BYTES) as f64;
        let ratio = cost.bytes as f64 / ideal;
        println!("{apart} of {shared} differ: {ratio:.3} times their bytes");
        assert!(ratio <= factor, "{cost:?} for {apart}");
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
        assert_eq!(pair.comparison(), Comparison::Equal);
        assert!(cost.bytes <= 512);
    }
}

#[test]
fn when_most_differs_a_list_finds_it() {
    let mut pair = pair_of(&sides(3_000, 3_000, 3));
    let cost = pair.joined();
    assert!(pair.agree());
    assert_eq!(pair.comparison(), Comparison::List);
    assert!(cost.bytes < 3_000 * ENTRY_BYTES as u64 * 27 / 20);
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
    assert_eq!(pair.comparison(), Comparison::All);
    assert!(
        cost.bytes < 5_000 * ENTRY_BYTES as u64 * 21 / 20,
        "{cost:?}"
    );
    let order = order.borrow();
    assert_eq!(order.len(), 5_000);
    let urgent = order.iter().filter(|urgent| **urgent).count();
    assert!(urgent > 200 && order[..urgent].iter().all(|urgent| *urgent));
}

/// Whether it takes everything or a list, no message grows with the store, and what has come can be
/// read while the rest is on its way.
#[test]
fn entries_can_be_read_as_they_arrive_in_messages_of_bounded_size() {
    let all = sides(20_000, 0, 12)[0].clone();
    for there in [&[][..], &all[..8_000]] {
        let mut pair = Pair::new(&all, there, 1);
        let arrived = Rc::new(Cell::new(0));
        let seen = Rc::clone(&arrived);
        let mut first = None;
        pair.watcher = Some(Box::new(move |side, message, maps| {
            if let Message::Delta(delta) = message
                && side == 0
            {
                let first = *first.get_or_insert(delta.sections[0].entries[0].key);
                let has_come = maps[1].get(&first).is_some();
                seen.set(seen.get() + usize::from(has_come));
            }
            Fate::Pass
        }));
        pair.joined();
        assert!(pair.agree());
        assert!(arrived.get() > 20, "{} went out after that", arrived.get());
        assert!(pair.frame_bytes_max < 100_000, "{}", pair.frame_bytes_max);
    }
}

/// A store of any size is listed by a bounded piece in a turn, and what is written in between is part of
/// this exchange or of the next.
#[test]
fn a_list_is_made_over_many_turns_while_writes_go_on() {
    let sides = sides(25_000, 25_000, 13);
    let all = sides[0].clone();
    let mut pair = pair_of(&sides);
    let turns = Rc::new(Cell::new(0));
    let counted = Rc::clone(&turns);
    let mut random = Random(14);
    pair.before_turn = Some(Box::new(move |maps| {
        counted.set(counted.get() + 1);
        let old = &all[random.draw() as usize % all.len()];
        let newer = Entry {
            ts: EPOCH,
            ..newer(old, &mut random)
        };
        let side = random.draw() as usize % 2;
        replica(&*maps[side].store()).merge(&[newer], EPOCH);
    }));
    let verdict = Rc::new(Cell::new(0));
    let chunks = Rc::new(RefCell::new(Vec::new()));
    let (seen, sent) = (Rc::clone(&verdict), Rc::clone(&chunks));
    pair.watcher = Some(Box::new(move |_, message, _| {
        match message {
            Message::Verdicts(_) => seen.set(turns.get()),
            Message::Items(_) | Message::Wants(_) => sent.borrow_mut().push(turns.get()),
            _ => {}
        }
        Fate::Pass
    }));
    pair.joined();
    assert_eq!(pair.comparison(), Comparison::List);
    let chunks = chunks.borrow();
    // Of 33,333 entries, 8,192 are looked at in one turn, on either side.
    assert!(
        chunks[0] >= verdict.get() + 4,
        "{chunks:?} after {verdict:?}"
    );
    assert!(chunks[1] >= chunks[0] + 4, "{chunks:?}");
    pair.before_turn = None;
    pair.exchange(1);
    assert!(pair.agree());
    assert_eq!(
        [0, 1].map(|side| pair.counters(side).digest_mismatches),
        [0, 0]
    );
}

/// Lists of more entries than a side sorts at a time, and chunks that span several of the other
/// side's windows.
#[test]
fn a_list_of_any_length_finds_every_difference() {
    let mut random = Random(15);
    let many: Vec<_> = (0..70_000).map(|_| entry(&mut random)).collect();
    let mut other = many[5..].to_vec();
    other[100] = newer(&other[100], &mut random);
    for (one, other) in [(&many[..], &other[..]), (&many[..], &many[..3_000])] {
        for sides in [[one, other], [other, one]] {
            let mut pair = Pair::new(sides[0], sides[1], 1);
            // So far ahead, digests are not compared, whatever they are.
            pair.watcher = Some(Box::new(|_, message, _| match message {
                Message::Totals(totals) => {
                    let mut ahead = totals.clone();
                    ahead.cut = ahead.cut.plus(Duration::from_secs(1800));
                    Fate::Replace(Message::Totals(ahead))
                }
                _ => Fate::Pass,
            }));
            pair.joined();
            assert_eq!(pair.comparison(), Comparison::List);
            assert!(pair.agree(), "{} and {}", sides[0].len(), sides[1].len());
            assert_eq!(
                [0, 1].map(|side| pair.counters(side).digest_mismatches),
                [0, 0]
            );
        }
    }
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
        assert_eq!(pair.comparison(), Comparison::List);
    }
}

/// The same key, the same millisecond, and as much of the tag as a cell has: found by trying, as anybody can.
#[test]
fn a_collision_that_was_forged_for_cells_is_found_by_the_self_check_and_healed() {
    let one = entry(&mut Random(77));
    let other = (1..1 << 24)
        .map(|number: u64| {
            let mut body = one.body.to_vec();
            body[20..28].copy_from_slice(&number.to_le_bytes());
            Entry {
                body: body.into(),
                ..one.clone()
            }
        })
        .find(|other| Narrow::of(&item(other)) == Narrow::of(&item(&one)))
        .expect("one in 65,536");
    assert_ne!(entry_hash(&one), entry_hash(&other));
    for apart in [0, 30] {
        let mut sides = sides(500, apart, 8);
        sides[0].push(one.clone());
        sides[1].push(other.clone());
        let mut pair = pair_of(&sides);
        pair.joined();
        assert!(pair.agree(), "beside {apart}");
        assert_eq!(
            [0, 1].map(|side| pair.counters(side).digest_mismatches),
            [1, 1]
        );
        assert_eq!(pair.comparison(), Comparison::List);
    }
}

/// A peer that has such collisions at hand gets a few lists of them, and no more for a while.
#[test]
fn lists_that_cells_have_led_to_are_few() {
    let mut pair = pair_of(&sides(500, 0, 8));
    pair.joined();
    let spoilt = Rc::new(Cell::new(0));
    let spoiling = Rc::clone(&spoilt);
    pair.watcher = Some(Box::new(move |side, message, _| {
        let mut message = message.clone();
        match &mut message {
            Message::Totals(totals) if side == 1 => totals.stores[0].root ^= 1,
            Message::Summary(summary) if side == 1 => summary.stores[0].root ^= 1,
            Message::Peeled(peeled) => {
                spoiling.set(spoiling.get() + 1);
                peeled.common = peeled.common.map(|common| common ^ 1);
            }
            _ => return Fate::Pass,
        }
        Fate::Replace(message)
    }));
    for _ in 0..20 {
        pair.begin(1);
        pair.run_for(Duration::from_millis(900));
    }
    let lists = pair.counters(1).push_pulls_list;
    assert!((4..=5).contains(&lists), "{lists}");
    assert!(spoilt.get() > lists, "others were broken off");
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
    assert_eq!(pair.comparison(), Comparison::Equal);
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
                replica(&*maps[side].store()).merge(&[newer], EPOCH);
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

/// More refusals than are kept make nothing known to be held, until an exchange shows otherwise.
#[test]
fn what_was_refused_and_taken_later_is_known_to_be_held() {
    let mut random = Random(17);
    let ahead = EPOCH.plus(Duration::from_secs(600));
    let late: Vec<_> = (0..5_000)
        .map(|_| Entry {
            ts: ahead,
            ..entry(&mut random)
        })
        .collect();
    let held = Held::new(&[], &[]);
    replica(&*held.maps[0].store()).merge(&late, ahead);
    let mut pair = Pair::over(&held, 1);
    pair.joined();
    assert_eq!(pair.counters(1).entries_refused, 5_000);
    let key = late[4_999].key;
    pair.watch(0, key);
    assert!(pair.watched.pop().unwrap().1.is_err());
    pair.run_for(Duration::from_secs(400));
    pair.exchange(0);
    assert!(pair.agree());
    pair.watch(0, key);
    assert!(pair.watched.pop().unwrap().1.is_ok());
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

/// In the simulator, where time passes on the way: two nodes that were apart hold far more than is
/// listed in one turn, and both are written to all the while.
#[cfg(feature = "sim")]
#[test]
fn nodes_that_were_apart_meet_under_live_writes() {
    use rumormill::Config;
    use rumormill::sim::{NodeSpec, SimConfig, Simulator};

    let mut sim = Simulator::new(SimConfig::new(7));
    // Each holds the other for failed, so that nothing but exchanges brings what was written apart.
    let interval = Duration::from_millis(500);
    let config = Config::lan()
        .direct_peers_max(0)
        .push_pull_interval(interval);
    let spec = NodeSpec {
        config,
        ..NodeSpec::default()
    };
    sim.add_nodes_with(2, &spec);
    sim.converge(Duration::from_secs(30)).unwrap();
    let mut random = Random(16);
    // So much that a list is shorter, and so little that cells are.
    for apart in [10_000, 20] {
        sim.partition(0, 1);
        for key in 0..apart {
            let node = usize::from(key % 4 == 0);
            sim.write(node, key, vec![1]).unwrap();
        }
        sim.run_for(Duration::from_secs(60));
        sim.heal_all();
        for _ in 0..600 {
            for node in 0..2 {
                let body = random.draw().to_le_bytes().to_vec();
                sim.write(node, random.draw() % 10_000, body).unwrap();
            }
            sim.run_for(Duration::from_millis(10));
        }
        sim.converge(Duration::from_secs(30)).unwrap();
    }
    sim.assert_sound();
    for node in 0..2 {
        assert_eq!(sim.stores(node)[0].len(), 10_000);
        let counters = sim.counters(node);
        assert!(counters.push_pulls_list > 0 && counters.push_pulls_cells > 0);
        assert_eq!(counters.digest_mismatches, 0);
    }
}

/// Many nodes that join at once are served a few at a time; the others come back.
#[cfg(feature = "sim")]
#[test]
fn more_nodes_join_at_once_than_exchanges_are_allowed() {
    use rumormill::Config;
    use rumormill::sim::{NodeSpec, SimConfig, Simulator};

    let mut sim = Simulator::new(SimConfig::new(8));
    let spec = NodeSpec {
        config: Config::lan().exchanges_max(2),
        ..NodeSpec::default()
    };
    let first = sim.add_node(spec.clone());
    for key in 0..3_000 {
        sim.write(first, key, vec![2; 200]).unwrap();
    }
    sim.add_nodes_with(8, &spec);
    sim.converge(Duration::from_secs(60)).unwrap();
    // How many there are at a time is among the sizes that are looked at all the while.
    sim.assert_sound();
    let failed: u64 = (1..9)
        .map(|node| sim.counters(node).push_pulls_failed)
        .sum();
    assert!(failed > 0, "some had to come back");
}
