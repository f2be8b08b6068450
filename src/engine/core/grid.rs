//! The grid by which writes travel above direct mode: whom a node hands what it writes, and what it is
//! handed, on to.
//!
//! Every name has a *cell*, 64 bits that look random. Members whose cells begin with the same bits are a
//! *group*; so groups are nested, and a restart changes nothing. The [`GridShape`] says how many bits the groups of
//! each level have. Somebody who is to cover all members that share some bits with it sends to one member of each
//! other group of the next level, which is to cover that group in turn, and to each member of its own
//! smallest group. With two levels that is two hops, with three it is three.
//!
//! Whose view of the members differs still sends to the same groups: a group is named by its bits, not by
//! a list.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::ops::{Bound, RangeInclusive};

use siphasher::sip::SipHasher13;

use crate::id::{NodeName, ProcessId};

/// The live members other than this node, by cell. `spread` changes it; the other owners read it.
#[derive(Debug)]
pub(in crate::engine) struct Grid {
    own: u64,
    shape: GridShape,
    live: BTreeMap<GridKey, GridPlace>,
}

/// A cell, and a name in it: names may share one. Without a name it is the start of the cell.
type GridKey = (u64, Option<NodeName>);

/// A process in the grid.
#[derive(Clone, Copy, Debug)]
struct GridPlace {
    boot: u64,
    mark: u64,
}

/// A group: the cells that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct GroupId {
    pub(in crate::engine) bits: u8,
    /// Its first cell.
    first: u64,
}

/// How many bits the groups have at each level, fewest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct GridShape {
    row: usize,
}

impl Grid {
    /// Nobody but the node of this name.
    pub(in crate::engine) fn of(own: &NodeName) -> Self {
        Self {
            own: own.cell(),
            shape: GridShape::default(),
            live: BTreeMap::new(),
        }
    }

    /// This is the live process of its name.
    pub(in crate::engine) fn insert(&mut self, process: &ProcessId) {
        let place = GridPlace {
            boot: process.boot,
            mark: mark(process),
        };
        self.live.insert(key_of(&process.name), place);
        self.shape = self.shape.next(1 + self.live.len());
    }

    /// No process of this name is live.
    pub(in crate::engine) fn remove(&mut self, name: &NodeName) {
        if self.live.remove(&key_of(name)).is_some() {
            self.shape = self.shape.next(1 + self.live.len());
        }
    }

    /// How many live members there are, this node left out.
    pub(in crate::engine) fn len(&self) -> usize {
        self.live.len()
    }

    pub(in crate::engine) fn shape(&self) -> GridShape {
        self.shape
    }

    /// The members of a group by cell and name, this node left out.
    pub(in crate::engine) fn members(&self, group: GroupId) -> impl Iterator<Item = ProcessId> {
        self.places(group).map(|(name, place)| ProcessId {
            name: name.clone(),
            boot: place.boot,
        })
    }

    /// Their marks.
    pub(in crate::engine) fn marks(&self, group: GroupId) -> impl Iterator<Item = u64> {
        self.places(group).map(|(_, place)| place.mark)
    }

    /// Whether nobody else is in a group.
    pub(in crate::engine) fn is_empty(&self, group: GroupId) -> bool {
        self.places(group).next().is_none()
    }

    /// Whether exactly this process is live.
    pub(in crate::engine) fn has(&self, process: &ProcessId) -> bool {
        let place = self.live.get(&key_of(&process.name));
        place.is_some_and(|place| place.boot == process.boot)
    }

    /// The live process of a name.
    pub(in crate::engine) fn process_of(&self, name: &NodeName) -> Option<ProcessId> {
        let place = self.live.get(&key_of(name))?;
        Some(ProcessId {
            name: name.clone(),
            boot: place.boot,
        })
    }

    fn places(&self, group: GroupId) -> impl Iterator<Item = (&NodeName, &GridPlace)> {
        let (first, last) = group.cells().into_inner();
        let end = match last.checked_add(1) {
            Some(next) => Bound::Excluded((next, None)),
            None => Bound::Unbounded,
        };
        let places = self.live.range((Bound::Included((first, None)), end));
        places.filter_map(|((_, name), place)| Some((name.as_ref()?, place)))
    }

    /// The smallest group that this node is in: everybody there has a link with everybody.
    pub(in crate::engine) fn row(&self) -> GroupId {
        GroupId::of(self.own, self.shape.last_bits())
    }

    /// Whether a name belongs to the smallest group that this node is in.
    #[cfg(test)]
    pub(in crate::engine) fn is_in_row(&self, name: &NodeName) -> bool {
        self.row().has(name)
    }

    /// The groups of which somebody covers one each for a node that is to cover all that share this many
    /// bits with it. Nobody may be in them.
    pub(in crate::engine) fn groups_below(&self, bits: u8) -> Vec<GroupId> {
        let mut groups = Vec::new();
        let mut from = bits;
        for to in self.shape.levels().iter().copied().filter(|to| *to > bits) {
            let own = GroupId::of(self.own, to);
            let all = GroupId::of(self.own, from).split(to);
            groups.extend(all.filter(|group| *group != own));
            from = to;
        }
        groups
    }

    /// Everybody that this node itself sends to who is to cover all that share this many bits with it.
    pub(in crate::engine) fn leaves(&self, bits: u8) -> GroupId {
        GroupId::of(self.own, self.shape.last_bits().max(bits))
    }

    /// The group of a name that this node hands on to; `None` for its own smallest one.
    pub(in crate::engine) fn group_of(&self, name: &NodeName) -> Option<GroupId> {
        let levels = self.shape.levels().iter();
        let mut groups = levels.map(|bits| GroupId::of(name.cell(), *bits));
        groups.find(|group| !group.contains(self.own))
    }

    /// How a node ranks others as those that cover their group for it: the greatest first. Each node ranks them in
    /// its own order, so that all are asked about as much, and few change when one comes or goes.
    pub(in crate::engine) fn rank(&self, name: &NodeName) -> u64 {
        mixed(self.own.rotate_left(32) ^ name.cell())
    }
}

impl GroupId {
    /// Everybody.
    pub(in crate::engine) const ALL: Self = Self { bits: 0, first: 0 };

    /// The cells that share this many bits, at most 63, with this one.
    pub(in crate::engine) fn of(cell: u64, bits: u8) -> Self {
        let bits = bits.min(63);
        Self {
            bits,
            first: cell & !Self::span(bits),
        }
    }

    /// All low bits, of which there is at least one.
    const fn span(bits: u8) -> u64 {
        u64::MAX >> bits
    }

    fn cells(self) -> RangeInclusive<u64> {
        self.first..=self.first | Self::span(self.bits)
    }

    pub(in crate::engine) fn contains(self, cell: u64) -> bool {
        self.cells().contains(&cell)
    }

    pub(in crate::engine) fn has(self, name: &NodeName) -> bool {
        self.contains(name.cell())
    }

    /// Its parts of this many bits, in order.
    fn split(self, bits: u8) -> impl Iterator<Item = Self> {
        let more = bits.saturating_sub(self.bits);
        (0..1_u64 << more).map(move |part| {
            let first = self.first | part << (64 - u32::from(bits.max(1)));
            Self::of(first, bits)
        })
    }
}

impl GridShape {
    /// The shape for so many members, this node included. It changes back with an eighth to spare.
    fn next(self, members: usize) -> Self {
        let mut row = self.row;
        while SHAPES.get(row).is_some_and(|shape| members >= shape.below) {
            row += 1;
        }
        while row > 0
            && SHAPES
                .get(row - 1)
                .is_some_and(|below| members < below.below - below.below / 8)
        {
            row -= 1;
        }
        Self { row }
    }

    fn levels(self) -> &'static [u8] {
        SHAPES.get(self.row).map_or(LAST.levels, |row| row.levels)
    }

    fn last_bits(self) -> u8 {
        self.levels().last().copied().unwrap_or(0)
    }
}

/// A shape, and the number of members from which on the next one holds.
struct ShapeRow {
    below: usize,
    levels: &'static [u8],
}

/// Groups are about as large as there are many; from 2,048 members on there is one level more.
const SHAPES: [ShapeRow; 5] = [
    row(32, &[2]),
    row(128, &[3]),
    row(512, &[4]),
    row(2_048, &[5]),
    row(16_384, &[4, 8]),
];
const LAST: ShapeRow = row(usize::MAX, &[5, 10]);

const fn row(below: usize, levels: &'static [u8]) -> ShapeRow {
    ShapeRow { below, levels }
}

fn key_of(name: &NodeName) -> GridKey {
    (name.cell(), Some(name.clone()))
}

/// What stands for a process in sums and reports: 64 bits that look random.
pub(in crate::engine) fn mark(process: &ProcessId) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x7275_6d6f_726d_696c, 0x7472_6565_6d61_726b);
    hasher.write_u64(process.name.cell());
    hasher.write_u64(process.boot);
    hasher.finish()
}

/// Stafford's mix 13 of the finisher of splitmix64.
const fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::core::tests::{name, process};

    fn grid(own: &str, nodes: usize) -> Grid {
        let mut grid = Grid::of(&name(own));
        let others = (0..nodes).map(|n| format!("n{n}")).filter(|n| n != own);
        others.for_each(|other| grid.insert(&process(&other)));
        grid
    }

    /// The grid of one of these, who all know all of them.
    fn as_seen_by(all: &Grid, own: &NodeName) -> Grid {
        let mut grid = Grid {
            live: all.live.clone(),
            shape: all.shape,
            ..Grid::of(own)
        };
        grid.remove(own);
        grid
    }

    /// Whom a node reaches that is to cover all who share some bits with it, and by how many hops.
    fn reached(all: &Grid, own: &NodeName, bits: u8, hops: usize) -> Vec<(NodeName, usize)> {
        let grid = as_seen_by(all, own);
        let leaves = grid.members(grid.leaves(bits));
        let mut reached: Vec<_> = leaves.map(|leaf| (leaf.name, hops)).collect();
        for group in grid.groups_below(bits) {
            let members = grid.members(group).map(|member| member.name);
            if let Some(first) = members.max_by_key(|name| grid.rank(name)) {
                reached.push((first.clone(), hops));
                reached.extend(self::reached(all, &first, group.bits, hops + 1));
            }
        }
        reached
    }

    #[test]
    fn everybody_is_reached_once_and_within_two_or_three_hops() {
        for (nodes, hops_max) in [(2, 2), (18, 2), (60, 2), (300, 2), (2_100, 3)] {
            let all = grid("nobody", nodes);
            let reached = reached(&all, &name("n0"), 0, 1);
            let distinct: BTreeSet<_> = reached.iter().map(|(name, _)| name.clone()).collect();
            assert_eq!((reached.len(), distinct.len()), (nodes - 1, nodes - 1));
            assert!(reached.iter().all(|(_, hops)| *hops <= hops_max));
        }
    }

    #[test]
    fn a_node_sends_to_about_twice_the_square_root() {
        let grid = grid("n0", 1_000);
        let sent = grid.members(grid.leaves(0)).count() + grid.groups_below(0).len();
        assert!((40..90).contains(&sent), "{sent}");
        let other = grid
            .members(GroupId::ALL)
            .find(|other| !grid.is_in_row(&other.name));
        let other = other.expect("somebody is elsewhere");
        assert!(
            grid.group_of(&other.name)
                .is_some_and(|group| group.has(&other.name))
        );
        let mate = grid.members(grid.row()).next().expect("somebody is near");
        assert_eq!(grid.group_of(&mate.name), None);
    }

    #[test]
    fn the_shape_changes_back_with_an_eighth_to_spare() {
        let mut shape = GridShape::default();
        let mut bits = |members| {
            shape = shape.next(members);
            shape.levels().to_vec()
        };
        assert_eq!(bits(31), [2]);
        assert_eq!(bits(32), [3]);
        assert_eq!(bits(28), [3]);
        assert_eq!(bits(27), [2]);
        assert_eq!(bits(5_000), [4, 8]);
        assert_eq!(bits(100_000), [5, 10]);
    }

    #[test]
    fn a_restart_keeps_its_place_under_another_mark() {
        let mut grid = grid("n0", 3);
        let later = ProcessId {
            boot: 9,
            ..process("n1")
        };
        let before: Vec<u64> = grid.marks(GroupId::ALL).collect();
        grid.insert(&later);
        assert_eq!(grid.len(), 2);
        assert_eq!(grid.process_of(&later.name), Some(later.clone()));
        assert_eq!(grid.process_of(&name("n0")), None);
        assert!(grid.has(&later) && !grid.has(&process("n1")));
        assert_ne!(grid.marks(GroupId::ALL).collect::<Vec<_>>(), before);
        grid.remove(&later.name);
        grid.remove(&later.name);
        assert_eq!(grid.len(), 1);
    }
}
