//! What values cost beside their bytes.

use super::*;

fn texts_of(count: usize, text: &str) -> Vec<String> {
    vec![text.to_owned(); count]
}

/// What takes much more memory than it has bytes counts as what it takes, as long as it is held.
#[test]
fn memory_that_a_value_takes_counts_against_the_limits() {
    type Lists = TypedMap<u8, Vec<String>>;
    let clock = HandClock::at(1_000_000);
    let lists = |node: &str, limits| -> Lists {
        Lists::new("lists", MapShape::default(), limits, context(node, &clock))
    };
    let from = lists("a", Limits::default());
    from.insert(1, texts_of(10_000, "")).unwrap();
    from.insert(2, texts_of(1_000, "as long as texts are"))
        .unwrap();
    let to = lists("b", Limits::default());
    bring(&from, &to);
    let bytes = |map: &Lists| map.map().store().bytes();
    let bodies = |map: &Lists| {
        let held = entries(&*map.map().store()).into_iter();
        held.map(|entry| entry.body.len() as u64 + 400).sum::<u64>()
    };
    let beyond = 24 * 10_000 - 4 * 10_006 - 1024;
    assert_eq!(bytes(&to) - bodies(&to), beyond);
    // It counts as much for who wrote it, so that a write fails there and not elsewhere.
    assert_eq!(bytes(&from) - bodies(&from), beyond);

    // With less room it is refused, as other large entries are.
    let small = lists(
        "c",
        Limits::default().store_bytes_max(200_000).share_percent(50),
    );
    bring(&from, &small);
    assert!(small.get(&1).is_none() && small.get(&2).is_some());

    // It is off the account with the value.
    clock.set(1_000_001);
    from.remove(&1).unwrap();
    bring(&from, &to);
    assert_eq!(bytes(&to), bodies(&to));
    assert_eq!(bytes(&from), bodies(&from));
}

#[test]
fn many_elements_are_more_work_than_a_long_text() {
    let map = Texts::new(
        "texts",
        MapShape::default(),
        Limits::default(),
        context("a", &HandClock::at(1)),
    );
    let schema = map.map().schema();
    let work = |body: &[u8]| Schema::work(schema, body);
    assert_eq!(work(&[b'x'; 100 * 1024]), Duration::from_micros(200));
    assert_eq!(
        work(&[0; 10 * 1024]),
        Duration::from_nanos(20_000 + 409_600)
    );
    // As much as an entry that has a turn to itself.
    assert_eq!(work(&[0; 100 * 1024]), Duration::from_millis(2));
}
