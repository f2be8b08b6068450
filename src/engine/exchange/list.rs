//! The lists: what differs, read from both sides' items one after the other. Always ends.
//!
//! Each side reads its store [`Window`] by window, in slices: the exchange is pumped until a window
//! is full, and other work goes on in between. The initiator cuts chunks from its windows; the
//! responder compares a chunk with as many windows of its own as it spans, then answers. One chunk
//! is under way at a time.

use std::cmp::Ordering;

use crate::engine::core::Core;
use crate::engine::event::Comparison;
use crate::wire::{Hashed, Hashes, Item, Items, Message, Settled, StoreId, Wants};

use super::line::Line;
use super::talk::{BreakOff, Comparing, Exchange};
use super::window::Window;
use super::work;

/// One store, listed.
#[derive(Debug)]
pub(super) struct List {
    store: StoreId,
    by_hashes: bool,
    window: Window,
    /// Where the next chunk begins, or what is left of the one that came.
    next: u64,
    /// Wrapping sum of the hashes of all lines before.
    sum: u128,
    chunk: Option<Chunk>,
    /// Whether any chunk differed, to the responder.
    differs: bool,
}

/// The chunk under way.
#[derive(Debug)]
enum Chunk {
    /// To the initiator: sent, from one hash to another, and not answered yet.
    Sent { from: u64, to: u64 },
    /// To the responder: being compared.
    Came(Came),
}

/// A chunk that came.
#[derive(Debug)]
struct Came {
    lines: Theirs,
    /// How many of its lines have been compared.
    compared: usize,
    to: u64,
    /// As in [`Items`].
    sum: u128,
    /// What this side lacks of the lines that have been compared.
    wants: Vec<u64>,
}

#[derive(Debug)]
enum Theirs {
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

impl ByHash for Item {
    fn kh(&self) -> u64 {
        self.kh
    }
}

impl Exchange {
    /// The store is to be listed, by the initiator.
    pub(super) fn list_next(&mut self, store: StoreId, by_hashes: bool) {
        self.used(Comparison::List);
        let listing = Comparing::Listing { by_hashes };
        if self.comparing.insert(store, listing).is_none() {
            self.to_list.push_back(store);
        }
    }

    /// The list under way, the initiator's next one if there is none.
    fn current_list(&mut self) -> Option<&mut List> {
        if self.list.is_none() {
            let store = self.to_list.pop_front()?;
            let by_hashes = matches!(
                self.comparing.get(&store),
                Some(Comparing::Listing { by_hashes: true })
            );
            self.list = Some(List::new(store, by_hashes));
        }
        self.list.as_mut()
    }

    /// Goes on with the list for a slice: reads on, then sends a chunk or compares the one that
    /// came.
    pub(super) fn list_on(&mut self, core: &mut Core) {
        let (initiator, cut) = (self.initiator, self.cut);
        let due = |list: &&mut List| match list.chunk {
            None => initiator,
            Some(Chunk::Came(_)) => true,
            Some(Chunk::Sent { .. }) => false,
        };
        let Some(list) = self.current_list().filter(due) else {
            return;
        };
        let Some(store) = core.stores.get(list.store) else {
            return;
        };
        if list.next > list.window.to() {
            list.window.advance();
        }
        if !list.window.is_full() {
            let items = |from, out: &mut Vec<_>| store.items(from, cut, out);
            let runs = list.window.fill(RUNS_PER_SLICE, items);
            let full = list.window.is_full();
            self.charge(work::of_looks(runs));
            if !full {
                return self.pump_soon(core);
            }
            self.pledge(core);
            // Until now the other side had to wait for this one.
            self.expect_progress(core);
        }
        if initiator {
            self.send_chunk(core);
        } else {
            self.compare_chunk(core);
        }
    }

    fn send_chunk(&mut self, core: &mut Core) {
        let max = core.config.items_chunk_max;
        let Some(list) = self.list.as_mut() else {
            return;
        };
        let message = list.cut_chunk(max);
        self.send(core, &message);
    }

    /// The initiator learns what the responder lacks of its last chunk.
    pub(super) fn wants_received(&mut self, wants: &Wants) -> Result<(), BreakOff> {
        let asked = |list: &&mut List| list.has_sent(wants);
        let Some(list) = self.list.as_mut().filter(asked) else {
            return Err(BreakOff::Unexpected);
        };
        list.chunk = None;
        if wants.to == u64::MAX {
            let by_hashes = list.by_hashes;
            self.list = None;
            let awaiting = Comparing::AwaitingSettled { by_hashes };
            self.comparing.insert(wants.store, awaiting);
        }
        self.owe(wants.store, wants.wants.iter().copied());
        Ok(())
    }

    /// A chunk of items came.
    pub(super) fn items_received(&mut self, theirs: Items) -> Result<(), BreakOff> {
        let (from, to) = (theirs.from, theirs.to);
        let came = Came::new(Theirs::Items(theirs.items), to, theirs.sum);
        self.chunk_received(theirs.store, from, came)
    }

    /// A chunk of whole hashes came.
    pub(super) fn hashes_received(&mut self, theirs: Hashes) -> Result<(), BreakOff> {
        let (from, to) = (theirs.from, theirs.to);
        let came = Came::new(Theirs::Hashes(theirs.hashes), to, 0);
        self.chunk_received(theirs.store, from, came)
    }

    /// Takes a chunk that is due: of this kind, and right after the last one.
    fn chunk_received(&mut self, store: StoreId, from: u64, came: Came) -> Result<(), BreakOff> {
        let by_hashes = matches!(came.lines, Theirs::Hashes(_));
        let due = match self.comparing.get(&store) {
            Some(Comparing::Listed { by_hashes: due }) => *due == by_hashes,
            // Where cells led nowhere, the initiator lists without asking.
            Some(Comparing::Telling(_)) => !by_hashes,
            _ => false,
        };
        let begins = self.list.is_none();
        let list = self.list.get_or_insert_with(|| List::new(store, by_hashes));
        let follows = list.store == store && list.chunk.is_none() && list.next == from;
        if !due || !follows {
            return Err(BreakOff::Unexpected);
        }
        list.chunk = Some(Chunk::Came(came));
        if begins {
            self.used(Comparison::List);
            self.comparing
                .insert(store, Comparing::Listed { by_hashes });
            self.charge(work::ANSWER);
        }
        Ok(())
    }

    /// Compares the chunk that came with the window, as far as that goes, and answers at its end.
    fn compare_chunk(&mut self, core: &mut Core) {
        let Some(list) = self.list.as_mut() else {
            return;
        };
        let store = list.store;
        let (push, answer) = list.compare_on();
        self.owe(store, push);
        let Some((wants, agrees)) = answer else {
            return self.pump_soon(core);
        };
        let ends = wants.to == u64::MAX;
        if ends {
            self.list = None;
            if agrees {
                self.comparing.remove(&store);
            } else {
                tracing::warn!(node = %core.setup.name, ?store, "equal lists under different roots");
                core.counters.digest_mismatches += 1;
                let listed = Comparing::Listed { by_hashes: true };
                self.comparing.insert(store, listed);
            }
        }
        self.send(core, &Message::Wants(wants));
        if ends {
            self.send(core, &Message::Settled(Settled { store, agrees }));
        }
    }
}

impl List {
    fn new(store: StoreId, by_hashes: bool) -> Self {
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
    fn has_sent(&self, wants: &Wants) -> bool {
        let Some(Chunk::Sent { from, to }) = self.chunk else {
            return false;
        };
        let lines = self.window.within(from, to);
        let among = |kh: &u64| lines.binary_search_by_key(kh, |line| line.item.kh).is_ok();
        self.store == wants.store && to == wants.to && wants.wants.iter().all(among)
    }

    /// Takes the next chunk of at most `max` lines off the window.
    fn cut_chunk(&mut self, max: usize) -> Message {
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
    fn compare_on(&mut self) -> (Vec<u64>, Option<(Wants, bool)>) {
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
    fn new(lines: Theirs, to: u64, sum: u128) -> Self {
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
fn lines_up_to<'a, T: ByHash>(lines: &'a [T], from: &mut usize, to: u64) -> &'a [T] {
    let rest = lines.get(*from..).unwrap_or_default();
    let part = &rest[..rest.partition_point(|line| line.kh() <= to)];
    *from += part.len();
    part
}

/// The first lines, `max` or as many more as are of the last one's hash, and the hash at which
/// they end: `end` if these are all.
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

/// Takes the lines of a key off the front.
fn take_key<'a, T: ByHash>(lines: &mut &'a [T], kh: u64) -> &'a [T] {
    let count = lines.iter().take_while(|line| line.kh() == kh).count();
    let (taken, rest) = lines.split_at(count);
    *lines = rest;
    taken
}

/// Runs of a store's slots that are read in one turn.
const RUNS_PER_SLICE: usize = 32;

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
