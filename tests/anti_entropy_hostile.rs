//! Push/pull with a peer that does not keep to the protocol, or lies: nothing that is held is lost or
//! altered, nothing is believed that was not shown, no work is done again and again, and honest
//! exchanges that follow heal everything.

#![allow(clippy::unwrap_used, reason = "a test")]

mod pair;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use pair::{EPOCH, Fate, Pair, Random, entry, pair_of, sides};
use proptest::prelude::*;
use rumormill::unstable::store::replica;
use rumormill::unstable::wire::{Cell, Entry, Items, Message, Verdict};

/// Totals or a summary of the same stores with a cut so far ahead that the responder asks for lists.
fn far_ahead(message: &Message) -> Option<Message> {
    let mut ahead = message.clone();
    let cut = match &mut ahead {
        Message::Summary(summary) => &mut summary.cut,
        Message::Totals(totals) => &mut totals.cut,
        _ => return None,
    };
    *cut = cut.plus(Duration::from_secs(1800));
    Some(ahead)
}

/// Spoils the first message that `spoil` takes, of the side that begins; the exchange ends as
/// unexpected there, and the next one heals.
fn ends_and_heals(mut pair: Pair, mut spoil: impl FnMut(&Message) -> Option<Fate> + 'static) {
    let mut once = true;
    pair.watcher = Some(Box::new(move |side, message, _| {
        if side == 1
            && once
            && let Some(fate) = spoil(message)
        {
            once = false;
            return fate;
        }
        Fate::Pass
    }));
    pair.joined();
    assert!(pair.agree());
    assert_eq!(pair.counters(0).unexpected, 1);
    assert_eq!(pair.counters(0).push_pulls_failed, 1);
}

#[test]
fn a_chunk_that_comes_twice_ends_the_exchange() {
    ends_and_heals(pair_of(&sides(300, 300, 3)), |message| match message {
        Message::Items(_) => Some(Fate::Twice),
        _ => None,
    });
}

#[test]
fn no_more_keys_are_taken_from_cells_than_there_were_cells() {
    ends_and_heals(pair_of(&sides(3_000, 3, 3)), |message| match message {
        Message::Peeled(peeled) => {
            let mut peeled = peeled.clone();
            peeled.wants = (0..1_000).collect();
            Some(Fate::Replace(Message::Peeled(peeled)))
        }
        _ => None,
    });
}

/// A wrong sum makes equal lists doubtful, once: whole hashes follow. Items do not.
#[test]
fn one_exchange_cannot_have_the_same_list_made_again_and_again() {
    let mut pair = pair_of(&sides(300, 0, 3));
    let mut first: Option<Items> = None;
    let mut again = 0;
    pair.watcher = Some(Box::new(move |_, message, _| match message {
        Message::Summary(_) | Message::Totals(_) if first.is_none() => {
            Fate::Replace(far_ahead(message).unwrap())
        }
        Message::Items(items) if first.is_none() => {
            let mut items = items.clone();
            items.sum ^= 1;
            first = Some(items.clone());
            Fate::Replace(Message::Items(items))
        }
        Message::Hashes(_) if again == 0 => {
            again += 1;
            Fate::Replace(Message::Items(first.clone().unwrap()))
        }
        _ => Fate::Pass,
    }));
    pair.joined();
    assert_eq!(pair.counters(0).unexpected, 1);
    assert_eq!(pair.counters(0).digest_mismatches, 1);
    assert!(pair.agree());
}

/// What a peer does not name in its summary has not been compared with it.
#[test]
fn a_store_that_is_left_out_is_not_taken_for_equal() {
    let sides = sides(300, 9, 3);
    let there: BTreeSet<_> = sides[1].iter().map(|entry| entry.key).collect();
    let mut keys = sides[0].iter().map(|entry| entry.key);
    let alone = keys.find(|key| !there.contains(key)).unwrap();
    let mut pair = pair_of(&sides);
    let mut left_out = Vec::new();
    let mut messages = 0;
    pair.watcher = Some(Box::new(move |_, message, _| {
        messages += 1;
        match message {
            Message::Totals(totals) if left_out.is_empty() => {
                let mut totals = totals.clone();
                left_out = std::mem::take(&mut totals.stores);
                messages = 0;
                Fate::Replace(Message::Totals(totals))
            }
            // So that the honest engine on that side plays along.
            Message::Verdicts(verdicts) if messages == 1 => {
                let mut verdicts = verdicts.clone();
                let equal = left_out
                    .iter()
                    .map(|left_out| (left_out.store, Verdict::Equal));
                verdicts.stores = equal.collect();
                Fate::Replace(Message::Verdicts(verdicts))
            }
            _ => Fate::Pass,
        }
    }));
    pair.joined();
    pair.watch(0, alone);
    let held = replica(&*pair.maps[1].store()).held(&alone).is_some();
    assert_eq!(pair.watched[0].1.is_ok(), held, "{:?}", pair.watched);
    pair.exchange(0);
    assert!(pair.agree());
}

/// What expires before a cut far ahead has not been compared.
#[test]
fn what_a_cut_far_ahead_leaves_out_is_not_known_to_be_held() {
    let mut sides = sides(300, 0, 3);
    let soon = Entry {
        expires_at: EPOCH.plus(Duration::from_secs(1_200)),
        ..entry(&mut Random(4))
    };
    sides[0].push(soon.clone());
    let mut pair = pair_of(&sides);
    pair.watcher = Some(Box::new(|_, message, _| {
        far_ahead(message).map_or(Fate::Pass, Fate::Replace)
    }));
    pair.joined();
    assert!(replica(&*pair.maps[1].store()).held(&soon.key).is_none());
    pair.watch(0, soon.key);
    assert!(pair.watched[0].1.is_err(), "{:?}", pair.watched);
}

/// A peer that begins exchange after exchange, each of which has a table made and is broken off, is
/// refused after so many, and served again when time has passed.
#[test]
fn a_peer_cannot_have_work_done_again_and_again() {
    let mut pair = pair_of(&sides(300, 0, 3));
    pair.joined();
    let fresh = entry(&mut Random(5));
    let tables = Rc::new(RefCell::new(0));
    let made = Rc::clone(&tables);
    pair.watcher = Some(Box::new(move |side, message, maps| match message {
        Message::Totals(totals) if side == 1 => {
            let mut totals = totals.clone();
            totals.stores[0].root ^= 1;
            Fate::Replace(Message::Totals(totals))
        }
        Message::Summary(summary) if side == 1 => {
            // It always lacks something.
            let mut summary = summary.clone();
            summary.stores[0].root ^= 1;
            assert_eq!(maps[0].store().len(), 300);
            Fate::Replace(Message::Summary(summary))
        }
        Message::Cells(_) => {
            *made.borrow_mut() += 1;
            Fate::Break
        }
        _ => Fate::Pass,
    }));
    let began = pair.wall();
    for _ in 0..2_000 {
        let failed = pair.counters(1).push_pulls_failed;
        pair.begin(1);
        pair.run_until(|pair| pair.counters(1).push_pulls_failed > failed);
    }
    let millis = pair.wall().since(began).as_millis();
    // By what they cost, or by how often it introduces itself.
    let refused = pair.counters(0).push_pulls_throttled + pair.counters(0).streams_refused;
    assert!(refused > 500, "{refused}");
    // An eighth of the time that passed and of ten seconds, by a millisecond each.
    let most = (millis + 10_000) / 8 + 1;
    let made = *tables.borrow();
    assert!(made > 100 && made <= most, "{made} in {millis} ms");
    pair.watcher = None;
    replica(&*pair.maps[1].store()).merge(std::slice::from_ref(&fresh), EPOCH);
    pair.run_for(Duration::from_secs(20));
    pair.exchange(1);
    assert!(pair.agree());
}

/// The responder replies to what it was asked, or the exchange ends; the next one heals.
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
        Message::Summary(_) | Message::Totals(_) => Fate::Replace(far_ahead(message).unwrap()),
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
                    _ => Cell(u128::from(any()) << 64 | u128::from(any())),
                };
            }
            match any() % 4 {
                0 => cells.width = any() as u8,
                1 => cells.exponent = any() as u8,
                2 => cells.cells.truncate(any() as usize % 20),
                _ => {}
            }
        }
        Message::Totals(totals) => {
            for store in &mut totals.stores {
                store.count = any() % 100_000;
                store.root = any().into();
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
            let held = replica(&*pair.maps[0].store()).held(key);
            prop_assert_eq!(held.map(|held| held.entry), Some(entry.clone()));
        }
        prop_assert_eq!(pair.maps[0].store().len(), expected.len());
    }
}
