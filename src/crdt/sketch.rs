//! The foldable table: an invertible Bloom lookup table of the items of a map, updated with every
//! write, from which the difference to another map's table can be read.
//!
//! A table has four *partitions* of `2^exponent` cells. An item is in one cell of each partition,
//! chosen by 16 bits of its keyed hash. A cell is the XOR of its items, each shortened and with a checksum
//! ([`Narrow`]): 16 bytes. When two tables are XORed cell by cell, the items that they share cancel. A cell in which one
//! item is left shows that item; it is removed from its other cells, which leaves more cells with one
//! item, and so on (*peeling*).
//!
//! Cells are chosen by low bits, so to XOR one half of a partition onto the other gives the partition of
//! half the size: one table serves every size. A [`Shape`] says which cells are sent. Shapes form a
//! ladder, `3p, 4p, 5p, 6p, 7p, 8p, 10p, ..` cells: three partitions of `p`, then all four, then one
//! partition unfolded at a time. The next shape costs only the cells that it adds.
//!
//! Reconciling sets with such tables is from Eppstein, Goodrich, Uyeda and Varghese 2011, "What's the
//! difference? Efficient set reconciliation without prior context". Integers only, and every loop is
//! bounded by the number of cells.

use super::narrow::Narrow;
use crate::wire::codec::CELLS_MAX as WIRE_CELLS_MAX;
use crate::wire::{Cell, Item};

/// The smallest table that is kept: 4 x 2^4 cells.
pub const EXPONENT_MIN: u8 = 4;
/// The largest: 4 x 2^13 cells, 524 kB, enough for differences of about 20,000 items.
pub const EXPONENT_MAX: u8 = 13;
/// Most cells in one table.
pub const CELLS_MAX: usize = PARTITIONS << EXPONENT_MAX;
const _: () = assert!(CELLS_MAX == WIRE_CELLS_MAX);

const PARTITIONS: usize = 4;

fn xor(cell: &mut Cell, other: Cell) {
    cell.0 ^= other.0;
}

/// The hash of an item: [`Narrow::hash`].
#[must_use]
pub fn item_hash(item: &Item) -> u64 {
    Narrow::of(item).hash()
}

/// Which cells of a table are sent: `width << exponent` of them.
///
/// With width 3, they are three partitions of `2^exponent` cells. From width 4 on all four partitions
/// are sent, and the first `width - 4` of them have twice as many cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    exponent: u8,
    width: u8,
}

impl Shape {
    /// From the two numbers that came from a peer; `None` if no table has that shape.
    #[must_use]
    pub fn new(exponent: u8, width: u8) -> Option<Self> {
        let shape = Self { exponent, width };
        let exponents = SHAPE_EXPONENT_MIN..=EXPONENT_MAX;
        let sound = exponents.contains(&exponent) && (3..8).contains(&width);
        (sound && shape.needs() <= EXPONENT_MAX).then_some(shape)
    }

    /// The smallest with at least `1.4 d + 2 sqrt(d) + 8` cells, where `d` items differ: the first attempt
    /// fails now and then, and the cells that the next shape adds mend that. `None` if no table is large
    /// enough.
    #[must_use]
    pub fn for_items(items: u64) -> Option<Self> {
        let root = items.isqrt();
        let cells = items
            .saturating_mul(7)
            .div_ceil(5)
            .saturating_add(root.saturating_mul(2) + 8);
        let cells = usize::try_from(cells).ok()?;
        // Three partitions peel better than four that are partly unfolded: they come first where
        // the numbers are equal.
        let starts = (SHAPE_EXPONENT_MIN..=EXPONENT_MAX).flat_map(|exponent| {
            let half = exponent.checked_sub(1);
            [
                (half, 5),
                (Some(exponent), 3),
                (half, 7),
                (Some(exponent), 4),
            ]
        });
        starts
            .filter_map(|(exponent, width)| Self::new(exponent?, width))
            .find(|shape| shape.cells() >= cells)
    }

    /// The next on the ladder, with at most a third more cells. `None` after the largest.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self.width {
            7 => Self::new(self.exponent + 1, 4),
            width => Self::new(self.exponent, width + 1),
        }
    }

    /// How many cells it has.
    #[must_use]
    pub fn cells(self) -> usize {
        usize::from(self.width) << self.exponent
    }

    /// How many cells the next one adds.
    #[must_use]
    pub fn step(self) -> usize {
        1 << self.exponent
    }

    /// The exponent of the smallest table that has these cells.
    #[must_use]
    pub fn needs(self) -> u8 {
        self.exponent + u8::from(self.width > PARTITIONS as u8)
    }

    /// Its two numbers.
    #[must_use]
    pub fn parts(self) -> (u8, u8) {
        (self.exponent, self.width)
    }

    /// The exponent of a partition, `None` if it is not sent.
    fn partition(self, partition: usize) -> Option<u8> {
        let width = usize::from(self.width);
        (partition < width).then(|| {
            let unfolded = partition + PARTITIONS < width;
            self.exponent + u8::from(unfolded)
        })
    }

    /// The partition that the next shape adds or unfolds.
    fn grows(self) -> usize {
        usize::from(self.width) % PARTITIONS
    }
}

/// A table of all four partitions.
#[derive(Clone, PartialEq, Eq)]
pub struct Sketch {
    exponent: u8,
    cells: Vec<Cell>,
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sketch(4 x 2^{})", self.exponent)
    }
}

impl Sketch {
    /// An empty table of `4 x 2^exponent` cells.
    ///
    /// # Panics
    /// If `exponent` is over [`EXPONENT_MAX`].
    #[must_use]
    pub fn new(exponent: u8) -> Self {
        assert!(
            exponent <= EXPONENT_MAX,
            "a table has at most 4 x 2^13 cells"
        );
        Self {
            exponent,
            cells: vec![Cell::default(); PARTITIONS << exponent],
        }
    }

    /// Its size: `4 x 2^exponent` cells.
    #[must_use]
    pub fn exponent(&self) -> u8 {
        self.exponent
    }

    /// Adds an item with this [`item_hash`], or removes it if it is there.
    pub fn toggle(&mut self, item: &Item, hash: u64) {
        let cell = Narrow::of(item).cell(hash);
        let size = 1 << self.exponent;
        for (partition, cells) in self.cells.chunks_exact_mut(size).enumerate() {
            xor(&mut cells[slot(hash, partition) & (size - 1)], cell);
        }
    }

    /// The same items in a table of at most this size.
    #[must_use]
    pub fn folded(&self, exponent: u8) -> Self {
        let exponent = exponent.min(self.exponent);
        let cells = self.cells.chunks_exact(1 << self.exponent);
        Self {
            exponent,
            cells: cells.flat_map(|cells| fold(cells, exponent)).collect(),
        }
    }

    /// The cells of a shape, partition by partition. `None` if the table is too small for it.
    #[must_use]
    pub fn cells(&self, shape: Shape) -> Option<Vec<Cell>> {
        let partitions = (0..PARTITIONS).filter_map(|at| Some((at, shape.partition(at)?)));
        (shape.needs() <= self.exponent).then(|| {
            partitions
                .flat_map(|(at, exponent)| fold(self.partition(at), exponent))
                .collect()
        })
    }

    /// The cells that the shape after `shape` adds: a partition, or the upper half of one. `None` if the
    /// table is too small for the next shape.
    #[must_use]
    pub fn more(&self, shape: Shape) -> Option<Vec<Cell>> {
        let next = shape.next().filter(|next| next.needs() <= self.exponent)?;
        let at = shape.grows();
        let mut cells = fold(self.partition(at), next.partition(at)?);
        Some(cells.split_off(cells.len() - shape.step()))
    }

    fn partition(&self, at: usize) -> &[Cell] {
        let size = 1 << self.exponent;
        &self.cells[at * size..(at + 1) * size]
    }
}

/// Two tables XORed: the items that are in one of them and not in both.
#[derive(Clone, Debug)]
pub struct Difference {
    shape: Shape,
    partitions: [Vec<Cell>; PARTITIONS],
}

impl Difference {
    /// Our own table XORed with the cells of a shape that came from a peer. `None` if there are not as
    /// many cells as the shape has, or if our table is too small for it.
    #[must_use]
    pub fn new(ours: &Sketch, shape: Shape, theirs: &[Cell]) -> Option<Self> {
        let mut cells = ours.cells(shape)?;
        if cells.len() != theirs.len() {
            return None;
        }
        xor_into(&mut cells, theirs);
        let mut cells = cells.into_iter();
        let partitions = std::array::from_fn(|at| match shape.partition(at) {
            Some(exponent) => cells.by_ref().take(1 << exponent).collect(),
            None => Vec::new(),
        });
        Some(Self { shape, partitions })
    }

    /// The shape it has.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Adds the cells that the next shape adds. Returns `None`, and changes nothing, in the cases of
    /// [`new`](Self::new).
    #[must_use]
    pub fn extend(&mut self, ours: &Sketch, theirs: &[Cell]) -> Option<()> {
        let next = self.shape.next()?;
        let mut cells = ours.more(self.shape)?;
        if cells.len() != theirs.len() {
            return None;
        }
        xor_into(&mut cells, theirs);
        // What we have is the XOR of both halves; XORed with the upper half, it is the lower one.
        let partition = &mut self.partitions[self.shape.grows()];
        xor_into(partition, &cells);
        partition.append(&mut cells);
        self.shape = next;
        Some(())
    }

    /// All items of the difference, ascending; `None` if the cells are too few to tell them apart.
    ///
    /// The cells come from a peer and may be anything: this gives up after as many items as there are
    /// cells, and takes a cell for an item only if the checksum is right and the item belongs in it.
    #[must_use]
    pub fn peel(&self) -> Option<Vec<Narrow>> {
        let mut partitions = self.partitions.clone();
        let mut items = Vec::new();
        let count = self.shape.cells();
        let places = |at: usize, len: usize| (0..len).map(move |place| (at, place));
        let mut queue: Vec<(usize, usize)> = partitions
            .iter()
            .enumerate()
            .flat_map(|(at, cells)| places(at, cells.len()))
            .collect();
        while let Some((at, place)) = queue.pop() {
            let Some((item, hash)) = Narrow::alone(partitions[at][place]) else {
                continue;
            };
            if slot(hash, at) & (partitions[at].len() - 1) != place {
                continue;
            }
            if items.len() == count {
                return None;
            }
            items.push(item);
            let cell = item.cell(hash);
            for (other, cells) in partitions.iter_mut().enumerate() {
                if cells.is_empty() {
                    continue;
                }
                let place = slot(hash, other) & (cells.len() - 1);
                xor(&mut cells[place], cell);
                queue.push((other, place));
            }
        }
        let clean = partitions
            .iter()
            .flatten()
            .all(|cell| *cell == Cell::default());
        items.sort_unstable();
        let once = items.windows(2).all(|pair| pair[0] != pair[1]);
        (clean && once).then_some(items)
    }
}

/// A partition folded to `2^exponent` cells, which is at most what it has.
fn fold(cells: &[Cell], exponent: u8) -> Vec<Cell> {
    let mut parts = cells.chunks_exact(1 << exponent);
    let mut folded = parts.next().unwrap_or_default().to_vec();
    parts.for_each(|part| xor_into(&mut folded, part));
    folded
}

fn xor_into(cells: &mut [Cell], others: &[Cell]) {
    for (cell, other) in cells.iter_mut().zip(others) {
        xor(cell, *other);
    }
}

/// The place of an item in the largest partition; a smaller one uses the low bits.
fn slot(hash: u64, partition: usize) -> usize {
    usize::from((hash >> (16 * partition)) as u16)
}

const SHAPE_EXPONENT_MIN: u8 = 2;

#[cfg(test)]
#[path = "sketch_tests.rs"]
mod tests;
