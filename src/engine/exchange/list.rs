//! The lists: what differs, read from both sides' items one after the other. Always ends.
//!
//! How an exchange goes through them is in `listing`.

use std::cmp::Ordering;

use crate::crdt::narrow::Narrow;
use crate::id::StoreId;
use crate::wire::{Hashed, Hashes, Item, Items, Message, Wants};

use super::line::Line;
use super::window::Window;

/// One store, listed.
#[derive(Debug)]
pub(super) struct List {
    pub(super) store: StoreId,
    pub(super) by_hashes: bool,
    pub(super) window: Window,
    /// Where the next chunk begins, or what is left of the one that came.
    pub(super) next: u64,
    /// Wrapping sum of the hashes of all lines before.
    sum: u128,
    pub(super) chunk: Option<Chunk>,
    /// Whether any chunk differed, to the responder.
    differs: bool,
}

/// The chunk under way.
#[derive(Debug)]
pub(super) enum Chunk {
    /// To the initiator: sent, from one hash to another, and not answered yet.
    Sent { from: u64, to: u64 },
    /// To the responder: being compared.
    Came(Came),
}

/// A chunk that came.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) lines: Theirs,
    /// How many of its lines have been compared.
    compared: usize,
    to: u64,
    /// As in [`Items`].
    sum: u128,
    /// What this side lacks of the lines that have been compared.
    wants: Vec<u64>,
}

#[derive(Debug)]
pub(super) enum Theirs {
    Hashes(Vec<Hashed>),
    Items(Vec<Item>),
}

/// What is in the order of the hashes of keys.
pub(super) trait ByHash: Copy + Ord {
    fn kh(&self) -> u64;
}

impl ByHash for Hashed {
    fn kh(&self) -> u64 {
        self.kh
    }
}

impl ByHash for Narrow {
    fn kh(&self) -> u64 {
        self.kh
    }
}

impl ByHash for Item {
    fn kh(&self) -> u64 {
        self.kh
    }
}

impl List {
    pub(super) fn new(store: StoreId, by_hashes: bool) -> Self {
        Self {
            store,
            by_hashes,
            window: Window::new(0),
            next: 0,
            sum: 0,
            chunk: None,
            differs: false,
        }
    }

    /// Whether these are asked for: keys of the chunk that is not answered yet.
    pub(super) fn has_sent(&self, wants: &Wants) -> bool {
        let Some(Chunk::Sent { from, to }) = self.chunk else {
            return false;
        };
        let lines = self.window.within(from, to);
        let among = |kh: &u64| lines.binary_search_by_key(kh, |line| line.item.kh).is_ok();
        self.store == wants.store && to == wants.to && wants.wants.iter().all(among)
    }

    /// Takes the next chunk of at most `max` lines off the window.
    pub(super) fn cut_chunk(&mut self, max: usize) -> Message {
        let (store, from) = (self.store, self.next);
        let rest = self.window.within(from, self.window.to());
        let (lines, to) = cut(rest, max, self.window.to());
        self.sum = sum_with(self.sum, lines);
        let sum = self.sum;
        let message = if self.by_hashes {
            Message::Hashes(Hashes {
                store,
                from,
                to,
                hashes: hashes(lines),
            })
        } else {
            Message::Items(Items {
                store,
                from,
                to,
                sum,
                items: items(lines),
            })
        };
        self.chunk = Some(Chunk::Sent { from, to });
        self.next = to.wrapping_add(1);
        message
    }

    /// Compares the chunk that came up to the end of the window. The hashes of keys of which the
    /// other side lacks what is here; and at the end of the chunk the answer, and whether the sums
    /// agree.
    pub(super) fn compare_on(&mut self) -> (Vec<u64>, Option<(Wants, bool)>) {
        let Some(Chunk::Came(came)) = &mut self.chunk else {
            return (Vec::new(), None);
        };
        let to = came.to.min(self.window.to());
        let ours = self.window.within(self.next, to);
        let (push, wants) = came.compare(ours, to);
        self.differs |= !push.is_empty() || !wants.is_empty();
        self.sum = sum_with(self.sum, ours);
        self.next = to.wrapping_add(1);
        came.wants.extend(wants);
        if to < came.to {
            return (push, None);
        }
        // Equal lists of different sums: an item stands for two different entries.
        let agrees = self.by_hashes || self.differs || self.sum == came.sum;
        let wants = Wants {
            store: self.store,
            to,
            wants: std::mem::take(&mut came.wants),
        };
        self.chunk = None;
        (push, Some((wants, agrees)))
    }
}

impl Came {
    pub(super) fn new(lines: Theirs, to: u64, sum: u128) -> Self {
        Self {
            lines,
            compared: 0,
            to,
            sum,
            wants: Vec::new(),
        }
    }

    /// Compares its lines up to a hash with ours, as [`compare`].
    fn compare(&mut self, ours: &[Line], to: u64) -> (Vec<u64>, Vec<u64>) {
        match &self.lines {
            Theirs::Hashes(lines) => {
                let theirs = lines_up_to(lines, &mut self.compared, to);
                compare(&hashes(ours), theirs, |_, _| Ordering::Equal)
            }
            Theirs::Items(lines) => {
                let theirs = lines_up_to(lines, &mut self.compared, to);
                compare(&items(ours), theirs, by_timestamp)
            }
        }
    }
}

/// The lines after the first `from` up to a hash; `from` moves behind them.
#[expect(
    clippy::indexing_slicing,
    reason = "both bounds come from a search in it"
)]
fn lines_up_to<'a, T: ByHash>(lines: &'a [T], from: &mut usize, to: u64) -> &'a [T] {
    let rest = lines.get(*from..).unwrap_or_default();
    let part = &rest[..rest.partition_point(|line| line.kh() <= to)];
    *from += part.len();
    part
}

/// The first lines, `max` or as many more as are of the last one's hash, and the hash at which
/// they end: `end` if these are all.
#[expect(
    clippy::indexing_slicing,
    reason = "both bounds come from a search in it"
)]
fn cut(lines: &[Line], max: usize, end: u64) -> (&[Line], u64) {
    let Some(last) = lines.get(max - 1).filter(|_| max < lines.len()) else {
        return (lines, end);
    };
    let to = last.item.kh;
    let count = lines.partition_point(|line| line.item.kh <= to);
    if count < lines.len() {
        (&lines[..count], to)
    } else {
        (lines, end)
    }
}

fn sum_with(sum: u128, lines: &[Line]) -> u128 {
    let hashes = lines.iter().map(|line| line.hash);
    hashes.fold(sum, u128::wrapping_add)
}

fn items(lines: &[Line]) -> Vec<Item> {
    lines.iter().map(|line| line.item).collect()
}

fn hashes(lines: &[Line]) -> Vec<Hashed> {
    let hashed = lines.iter().map(|line| Hashed {
        kh: line.item.kh,
        hash: line.hash,
    });
    let mut hashes: Vec<_> = hashed.collect();
    // Of one hash of keys, lines are in the order of their items.
    hashes.sort_unstable();
    hashes
}

/// The hashes of keys of which the other side lacks `ours`, and of which we lack `theirs`. Both
/// lists ascend. Where each has one line of a key, `later` says which moves, both if neither is.
pub(super) fn compare<T: ByHash>(
    ours: &[T],
    theirs: &[T],
    later: impl Fn(&T, &T) -> Ordering,
) -> (Vec<u64>, Vec<u64>) {
    let (mut push, mut wants) = (Vec::new(), Vec::new());
    let (mut ours, mut theirs) = (ours, theirs);
    loop {
        let heads = [ours.first(), theirs.first()];
        let Some(kh) = heads.into_iter().flatten().map(ByHash::kh).min() else {
            return (push, wants);
        };
        let (our, their) = (take_key(&mut ours, kh), take_key(&mut theirs, kh));
        if our == their {
            continue;
        }
        let order = match (our, their) {
            // One key, or else keys of one hash: then all of them move.
            ([our], [their]) => later(our, their),
            _ => Ordering::Equal,
        };
        if !our.is_empty() && order.is_ge() {
            push.push(kh);
        }
        if !their.is_empty() && order.is_le() {
            wants.push(kh);
        }
    }
}

/// The later version moves; of one instant, both do, and so does an expiry that alone has grown.
pub(super) fn by_timestamp(our: &Item, their: &Item) -> Ordering {
    our.ts.cmp(&their.ts)
}

/// The same of items that tell milliseconds apart, and no more.
pub(super) fn by_millisecond(our: &Narrow, their: &Narrow) -> Ordering {
    our.ms.cmp(&their.ms)
}

/// Takes the lines of a key off the front.
fn take_key<'a, T: ByHash>(lines: &mut &'a [T], kh: u64) -> &'a [T] {
    let count = lines.iter().take_while(|line| line.kh() == kh).count();
    let (taken, rest) = lines.split_at(count);
    *lines = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn item(kh: u64, ts: u64, tag: u32) -> Item {
        let ts = Timestamp::from_nanos(ts);
        Item { kh, ts, tag }
    }

    #[test]
    fn lists_are_compared_key_by_key() {
        let ours = [item(1, 1, 0), item(2, 5, 0), item(4, 5, 0), item(5, 1, 1)];
        let theirs = [item(2, 4, 0), item(3, 1, 0), item(4, 6, 0), item(5, 1, 2)];
        let expected = (vec![1, 2, 5], vec![3, 4, 5]);
        assert_eq!(compare(&ours, &theirs, by_timestamp), expected);
        assert_eq!(compare(&ours, &ours, by_timestamp), (vec![], vec![]));
    }

    #[test]
    fn keys_of_one_hash_are_never_taken_for_versions_of_one() {
        let ours = [item(1, 1, 0), item(1, 9, 9)];
        let theirs = [item(1, 1, 0)];
        let expected = (vec![1], vec![1]);
        assert_eq!(compare(&ours, &theirs, by_timestamp), expected);
    }

    #[test]
    fn chunks_cover_all_hashes_and_end_between_them() {
        let line = |kh| Line {
            item: item(kh, kh, 0),
            hash: kh.into(),
        };
        let lines: Vec<_> = [1, 2, 2, 2, 7, 9, 9].map(line).into();
        let mut rest = &lines[..];
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let (chunk, to) = cut(rest, 2, u64::MAX);
            chunks.push((chunk.len(), to));
            rest = &rest[chunk.len()..];
        }
        assert_eq!(chunks, [(4, 2), (3, u64::MAX)]);
        assert_eq!(cut(&lines, 7, 100), (&lines[..], 100));
        assert_eq!(cut(&[], 2, u64::MAX), (&[][..], u64::MAX));
    }
}
