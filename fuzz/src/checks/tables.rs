//! Tables of cells, their differences, and the estimator of how large they are.

use std::collections::BTreeSet;

use rumormill::time::Timestamp;
use rumormill::unstable::crdt::estimator::{BitCounts, Estimator};
use rumormill::unstable::crdt::narrow::Narrow;
use rumormill::unstable::crdt::sketch::{Difference, Shape, Sketch, item_hash};
use rumormill::unstable::wire::{Cell, Cells, Item};

use super::feed::Feed;
use super::messages::come_apart;

/// Any cells come apart or do not; those of real sets say what is different; and no counters, however
/// false, do any harm. The first byte says which.
pub fn tables(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.byte() % 3 {
        0 => any_cells(&mut feed),
        1 => two_sets(&mut feed),
        _ => any_counters(&mut feed),
    }
}

fn any_cells(feed: &mut Feed<'_>) {
    let cells = Cells {
        store: rumormill::StoreId(0),
        exponent: feed.byte() % 16,
        width: feed.byte() % 9,
        cells: Vec::new(),
    };
    let shape = Shape::new(cells.exponent, cells.width);
    // As many as the shape has, or as there are bytes for.
    let full = shape
        .filter(|_| feed.byte().is_multiple_of(2))
        .map(Shape::cells);
    let count = full.unwrap_or_else(|| feed.rest().len() / 24).min(4096);
    let cells = Cells {
        cells: (0..count).map(|_| cell(feed)).collect(),
        ..cells
    };
    come_apart(&cells);
}

fn cell(feed: &mut Feed<'_>) -> Cell {
    Cell(u128::from(feed.u64()) << 64 | u128::from(feed.u64()))
}

/// One that a table tells from others: of a 48-bit hash, in whole milliseconds.
fn item(feed: &mut Feed<'_>) -> Item {
    const MILLI: u64 = 1_000_000;
    Item {
        kh: feed.edge() >> 16,
        ts: Timestamp::from_nanos(feed.edge() / MILLI % (1 << 44) * MILLI),
        tag: u32::from(feed.byte()),
    }
}

/// Two sets of items: what is read from their cells is what is in one of them alone, or nothing is.
fn two_sets(feed: &mut Feed<'_>) {
    let exponent = 4 + feed.byte() % 6;
    let (mut ours, mut theirs) = (Sketch::new(exponent), Sketch::new(exponent));
    let (mut in_ours, mut in_theirs) = (BTreeSet::new(), BTreeSet::new());
    let (mut our_counts, mut their_counts) = (BitCounts::default(), BitCounts::default());
    while !feed.is_empty() && in_ours.len() + in_theirs.len() < 512 {
        let whose = feed.byte();
        let item = item(feed);
        let hash = item_hash(&item);
        if whose & 1 != 0 && in_ours.insert(item) {
            ours.toggle(&item, hash);
            our_counts.add(hash);
        }
        if whose & 2 != 0 && in_theirs.insert(item) {
            theirs.toggle(&item, hash);
            their_counts.add(hash);
        }
        if whose & 4 != 0 && in_ours.remove(&item) {
            ours.toggle(&item, hash);
            our_counts.sub(hash);
        }
    }
    let expected = in_ours.symmetric_difference(&in_theirs);
    let expected: Vec<Narrow> = expected.map(Narrow::of).collect();
    let counters = (
        our_counts.estimator(in_ours.len() as u64),
        their_counts.estimator(in_theirs.len() as u64),
    );
    let estimate = counters.0.difference(&counters.1);
    assert_eq!(estimate, counters.1.difference(&counters.0));
    if expected.len() < 2 {
        assert_eq!(
            estimate,
            expected.len() as u64,
            "exact where it is so small"
        );
    }
    let Some(mut shape) = Shape::for_items(expected.len() as u64 / 2) else {
        return;
    };
    let Some(cells) = theirs.cells(shape) else {
        return;
    };
    let mut difference = Difference::new(&ours, shape, &cells).expect("their own cells");
    loop {
        if let Some(items) = difference.peel() {
            assert_eq!(items, expected);
            break;
        }
        let Some(more) = theirs.more(shape) else {
            break;
        };
        difference.extend(&ours, &more).expect("their own cells");
        shape = shape.next().expect("there was more");
        assert_eq!(difference.shape(), shape);
        // In steps or at once, it is the same table.
        let whole = Difference::new(&ours, shape, &theirs.cells(shape).expect("it grew"));
        assert_eq!(whole.expect("their own cells").peel(), difference.peel());
    }
    let folded = ours.folded(exponent - 1);
    let shape = Shape::new(2, 3).expect("the smallest");
    assert_eq!(folded.cells(shape), ours.cells(shape));
}

fn any_counters(feed: &mut Feed<'_>) {
    let mut counters = || Estimator(std::array::from_fn(|_| feed.u32() as i32));
    let (one, other) = (counters(), counters());
    assert_eq!(one.difference(&other), other.difference(&one));
    assert_eq!(one.difference(&one), 0);
    let items = one.difference(&other);
    if let Some(shape) = Shape::for_items(items) {
        assert!(shape.cells() as u64 >= items);
        let (exponent, width) = shape.parts();
        assert_eq!(Shape::new(exponent, width), Some(shape));
    }
}
