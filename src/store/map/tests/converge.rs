//! Convergence and concurrency: many writes, any order, the same end.

use proptest::prelude::*;

use super::*;

/// What a peer may have made of a few keys, in a small domain so that everything ties.
fn entries() -> impl Strategy<Value = Entry> {
    let schemas = vec![SchemaId::TOMBSTONE, NOTE, NOTE.lasting(), SchemaId::new(2)];
    let bodies = vec![vec![], vec![b'a'], vec![0xff]];
    (
        0..5_u8,
        95..99_u64,
        0..2_u64,
        0..300_u64,
        prop::sample::select(schemas),
        prop::sample::select(bodies),
    )
        .prop_map(|(id, ts, tie, expires, schema, text)| {
            let mut body = vec![id];
            body.extend(text);
            Entry {
                tie,
                schema,
                body: body.into(),
                ..raw(id, ts, expires, "")
            }
        })
}

fn digest(map: &Map<Notes>) -> Digest {
    map.store().replica().digest(Timestamp::ZERO)
}

fn all_items(map: &Map<Notes>) -> Vec<HashedItem> {
    let mut out = Vec::new();
    let mut position = Some(0);
    while let Some(from) = position {
        position = map.store().replica().items(from, Timestamp::ZERO, &mut out);
    }
    out.sort_unstable();
    out
}

/// What the index should hold, told from the records.
fn check_index(map: &Map<Notes>) {
    let live: BTreeMap<_, _> = map.records().into_iter().collect();
    map.with_index(|index| assert_eq!(index.0, live));
    let poisoned = held(map)
        .values()
        .filter(|entry| {
            let readable =
                entry.schema.shape() == NOTE && std::str::from_utf8(&entry.body[1..]).is_ok();
            !entry.schema.is_tombstone() && !readable
        })
        .count();
    assert_eq!(map.quarantined_len(), poisoned);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_order_and_any_grouping_of_the_same_entries_end_alike(
        (left, right) in prop::collection::vec(entries(), 0..30)
            .prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle())),
        split in 0..30_usize,
    ) {
        let clock = TestClock::at(100);
        // A grace longer than the domain: nothing is dropped for its age before the join.
        let limits = Limits { max_clock_drift: Duration::from_secs(600), ..Limits::default() };
        let (a, b) = (notes_with(&clock, limits), notes_with(&clock, limits));
        a.store().replica().merge(&left, at(100));
        let split = split.min(right.len());
        b.store().replica().merge(&right[..split], at(100));
        b.store().replica().merge(&right[split..], at(100));
        prop_assert_eq!(held(&a), held(&b));
        prop_assert_eq!(digest(&a), digest(&b));
        prop_assert_eq!(all_items(&a), all_items(&b));
        let sum = all_items(&a).iter().fold(0_u128, |sum, item| sum.wrapping_add(item.hash));
        prop_assert_eq!(digest(&a).root, sum);
        for map in [&a, &b] {
            collect(map, 100);
            check_index(map);
        }
    }

    /// Writers on both sides, clocks apart, and entries crossing one by one at random.
    #[test]
    fn two_stores_that_write_and_talk_at_random_converge(
        steps in prop::collection::vec((0..6_u8, any::<bool>(), 0..4_u8, 0..40_u64), 0..80),
    ) {
        let clocks = [TestClock::at(1_000), TestClock::at(1_200)];
        let maps = clocks.each_ref().map(notes);
        for (action, side, id, amount) in steps {
            let (here, there) = if side { (0, 1) } else { (1, 0) };
            let map = &maps[here];
            let now = map.context().clock.wall().as_nanos() / 1_000_000_000;
            match action {
                0 => drop(map.put(note(id, &amount.to_string()), until(now + 10 * amount))),
                1 => drop(map.put(note(id, "lasting"), Expiry::Never)),
                2 => drop(map.remove(&key(id))),
                3 => clocks[here].set(now + amount / 8),
                4 => drop(map.store().collect(at(now))),
                _ => {
                    if let Some(change) = map.store().replica().held(&key(id)) {
                        merge(&maps[there], &change.entry);
                    }
                }
            }
        }
        let [a, b] = &maps;
        exchange(a, b);
        prop_assert_eq!(held(a), held(b));
        prop_assert_eq!(digest(a), digest(b));
        for (map, clock) in maps.iter().zip(&clocks) {
            collect(map, clock.wall().as_nanos() / 1_000_000_000);
            check_index(map);
        }
    }
}

#[test]
fn concurrent_writers_lose_nothing() {
    const WRITERS: u8 = 4;
    const ROUNDS: u64 = 200;
    let map = notes(&TestClock::at(100));
    let threads: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let map = map.clone();
            std::thread::spawn(move || {
                for round in 0..ROUNDS {
                    put(&map, note(writer, &round.to_string()), until(900));
                    add_one(&map, 99);
                    let newer = raw(writer + 100, 101 + round, 900, &round.to_string());
                    assert!(stored(merge(&map, &newer)));
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());

    let total = u64::from(WRITERS) * ROUNDS;
    assert_eq!(text(&map, 99), Some(total.to_string()));
    assert_eq!(map.store().head(), 3 * total);
    for writer in 0..WRITERS {
        let last = Some((ROUNDS - 1).to_string());
        assert_eq!(text(&map, writer), last);
        assert_eq!(text(&map, writer + 100), last);
    }
    check_index(&map);
    let sum = all_items(&map)
        .iter()
        .fold(0_u128, |sum, item| sum.wrapping_add(item.hash));
    assert_eq!(digest(&map).root, sum);
}

/// Reads, adds and writes under optimistic control until it wins.
fn add_one(map: &Map<Notes>, id: u8) {
    loop {
        let (record, seen) = map.read(&key(id));
        let count: u64 = record.map_or(0, |note| note.text.parse().unwrap());
        let next = note(id, &(count + 1).to_string());
        match map.put_if_local(next, until(900), 0, seen) {
            Ok(_) => return,
            Err(WriteError::Conflict) => {}
            Err(other) => panic!("{other}"),
        }
    }
}
