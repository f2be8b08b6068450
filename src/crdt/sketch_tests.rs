//! The table against plain sets, and against cells that nobody honest would send.

use super::*;
use crate::time::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn item(number: u64) -> Item {
    Item {
        kh: number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        ts: Timestamp::from_nanos(number * 7),
        tag: number as u32,
    }
}

fn narrow(number: u64) -> Narrow {
    Narrow::of(&item(number))
}

fn cell_of(number: u64) -> Cell {
    narrow(number).cell(narrow(number).hash())
}

fn filled(exponent: u8, items: impl Iterator<Item = Item>) -> Sketch {
    let mut sketch = Sketch::new(exponent);
    items.for_each(|item| sketch.toggle(&item, item_hash(&item)));
    sketch
}

fn every_shape() -> impl Iterator<Item = Shape> {
    std::iter::successors(Shape::new(SHAPE_EXPONENT_MIN, 3), |shape| shape.next())
}

#[test]
fn the_ladder_grows_by_at_most_a_third_up_to_the_largest_table() {
    let shapes: Vec<_> = every_shape().collect();
    for pair in shapes.windows(2) {
        assert_eq!(pair[0].cells() + pair[0].step(), pair[1].cells());
        assert!(pair[0].step() * 3 <= pair[0].cells());
    }
    assert_eq!(shapes[0].cells(), 12);
    assert_eq!(shapes.last().map(|shape| shape.cells()), Some(CELLS_MAX));
}

#[test]
fn a_start_shape_is_the_smallest_with_room() {
    assert_eq!(Shape::for_items(1).map(Shape::cells), Some(12));
    assert_eq!(Shape::for_items(0).map(Shape::cells), Some(12));
    for items in [1, 2, 10, 99, 1_000, 9_999, 22_000_u64] {
        let cells = Shape::for_items(items).unwrap().cells();
        let least = items as usize * 7 / 5 + items.isqrt() as usize * 2 + 8;
        assert!(
            (least..=least * 27 / 20 + 4).contains(&cells),
            "{items}: {cells}"
        );
    }
    assert_eq!(Shape::for_items(24_000), None);
    assert_eq!(Shape::for_items(u64::MAX), None);
}

#[test]
fn what_is_no_shape_is_refused() {
    for (exponent, width) in [(1, 3), (2, 2), (2, 8), (14, 3), (13, 5), (255, 7)] {
        assert_eq!(Shape::new(exponent, width), None);
    }
    assert_eq!(Shape::new(13, 4).map(Shape::cells), Some(CELLS_MAX));
}

#[test]
fn folding_and_filling_agree_in_every_shape() {
    let large = filled(7, (0..300).map(item));
    for exponent in 0..=7 {
        assert_eq!(large.folded(exponent), filled(exponent, (0..300).map(item)));
    }
    for shape in every_shape().filter(|shape| shape.needs() <= 6) {
        let cells = large.cells(shape).unwrap();
        assert_eq!(cells.len(), shape.cells());
        assert_eq!(large.folded(6).cells(shape), Some(cells));
        assert_eq!(large.folded(shape.needs()).cells(shape), large.cells(shape));
    }
    assert_eq!(large.cells(Shape::new(7, 5).unwrap()), None);
    assert_eq!(large.more(Shape::new(7, 4).unwrap()), None);
}

/// An extended difference is the one that would have been sent at once.
#[test]
fn extending_is_sending_the_next_shape() {
    let ours = filled(8, (0..500).map(item));
    let theirs = filled(9, (10..520).map(item));
    let start = Shape::new(2, 3).unwrap();
    let mut difference = Difference::new(&ours, start, &theirs.cells(start).unwrap()).unwrap();
    while let Some(more) = theirs.more(difference.shape()) {
        if difference.extend(&ours, &more).is_none() {
            break;
        }
        let shape = difference.shape();
        let whole = Difference::new(&ours, shape, &theirs.cells(shape).unwrap()).unwrap();
        assert_eq!(difference.partitions, whole.partitions, "{shape:?}");
    }
    assert_eq!(difference.shape(), Shape::new(8, 4).unwrap());
    let expected: BTreeSet<_> = (0..10).chain(500..520).map(narrow).collect();
    assert_eq!(difference.peel(), Some(expected.into_iter().collect()));
}

/// With the start shape of the exact number, most attempts succeed, and six steps suffice.
#[test]
fn differences_come_apart_at_the_start_shape_or_soon_after() {
    let mut steps = [0; 7];
    let mut from = 0;
    for apart in [1, 3, 10, 30, 100, 300, 1_000_u64] {
        for _ in 0..20 {
            let numbers = from..from + apart;
            let items: BTreeSet<_> = numbers.clone().map(narrow).collect();
            from += apart;
            let (ours, theirs) = (Sketch::new(11), filled(11, numbers.map(item)));
            let mut shape = Shape::for_items(apart).unwrap();
            let taken = (0..7).find(|_| {
                let cells = theirs.cells(shape).unwrap();
                let difference = Difference::new(&ours, shape, &cells).unwrap();
                shape = shape.next().unwrap();
                let found = difference.peel();
                assert!(found.as_ref().is_none_or(|found| found.iter().eq(&items)));
                found.is_some()
            });
            steps[taken.expect("six steps suffice")] += 1;
        }
    }
    assert!(steps[0] >= 80, "{steps:?}");
}

#[test]
fn cells_of_another_number_than_the_shape_says_are_refused() {
    let ours = Sketch::new(4);
    let shape = Shape::new(3, 3).unwrap();
    assert!(Difference::new(&ours, shape, &[Cell::default(); 23]).is_none());
    let mut difference = Difference::new(&ours, shape, &[Cell::default(); 24]).unwrap();
    assert!(difference.extend(&ours, &[Cell::default(); 7]).is_none());
    assert_eq!(difference.shape(), shape);
    assert_eq!(difference.peel(), Some(vec![]));
    let too_large = Shape::new(5, 4).unwrap();
    assert!(Difference::new(&ours, too_large, &[Cell::default(); 128]).is_none());
}

/// Every cell pretends to hold an item alone. Most do not belong where they are; those that do
/// leave their other cells full of rubbish.
#[test]
fn forged_cells_end_in_nothing() {
    let ours = Sketch::new(EXPONENT_MAX);
    let shape = Shape::new(EXPONENT_MAX, 4).unwrap();
    let forged = |at: usize| cell_of(at as u64);
    let cells: Vec<_> = (0..CELLS_MAX).map(forged).collect();
    assert_eq!(Difference::new(&ours, shape, &cells).unwrap().peel(), None);
    // The same item in cells that are its own in one partition only.
    let same = vec![forged(1); CELLS_MAX];
    assert_eq!(Difference::new(&ours, shape, &same).unwrap().peel(), None);
}

fn cells() -> impl Strategy<Value = Cell> {
    let random = any::<u128>().prop_map(Cell);
    let pure = (0..40_u64).prop_map(cell_of);
    prop_oneof![random, pure.clone(), pure, Just(Cell::default())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Two sets, tables of two sizes: what is peeled is what differs.
    #[test]
    fn what_is_peeled_is_the_difference(
        ours in prop::collection::btree_set(0..400_u64, 0..60),
        theirs in prop::collection::btree_set(0..400_u64, 0..60),
        sizes in (6..8_u8, 6..8_u8),
        start in 0..200_u64,
    ) {
        let expected: BTreeSet<_> = ours.symmetric_difference(&theirs).copied().map(narrow).collect();
        let ours = filled(sizes.0, ours.into_iter().map(item));
        let theirs = filled(sizes.1, theirs.into_iter().map(item));
        let shape = Shape::for_items(start).unwrap();
        if let Some(cells) = theirs.cells(shape)
            && let Some(mut difference) = Difference::new(&ours, shape, &cells)
        {
            loop {
                if let Some(found) = difference.peel() {
                    prop_assert!(found.iter().eq(&expected));
                    break;
                }
                let Some(more) = theirs.more(difference.shape()) else { break };
                if difference.extend(&ours, &more).is_none() {
                    break;
                }
            }
        }
    }

    /// Any cells at all: an answer, no more items than cells, each of them once.
    #[test]
    fn any_cells_are_taken_apart_or_refused(
        cells in prop::collection::vec(cells(), 0..300),
        exponent in 0..8_u8,
        width in 0..10_u8,
    ) {
        let ours = filled(6, (0..20).map(item));
        let Some(shape) = Shape::new(exponent, width) else { return Ok(()) };
        let mut cells = cells;
        cells.resize(shape.cells(), Cell::default());
        let Some(mut difference) = Difference::new(&ours, shape, &cells) else { return Ok(()) };
        if let Some(items) = difference.peel() {
            prop_assert!(items.len() <= shape.cells());
            prop_assert!(items.is_sorted_by(|a, b| a < b));
        }
        cells.resize(shape.step(), Cell::default());
        if difference.extend(&ours, &cells).is_some() {
            let _ = difference.peel();
        }
    }
}
