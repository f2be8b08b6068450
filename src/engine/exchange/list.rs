//! The lists: what differs, read from both sides' items one after the other. Always ends.

use crate::store::HashedItem;
use crate::wire::{Hashed, Hashes, Item, Items, Message, Settled, StoreId, Wants};

use super::{Comparing, Exchange};
use crate::engine::event::Comparison;
use crate::engine::{Engine, StreamId};
use std::cmp::Ordering;

/// A snapshot of one store's entries, sorted.
#[derive(Debug)]
pub(super) struct List {
    store: StoreId,
    lines: Lines,
    /// Wrapping sum of the hashes of all.
    sum: u128,
    /// How far the initiator has sent it.
    next: usize,
    /// The chunk that is not answered yet, at the initiator: its first line, and the hash at which
    /// it ends.
    sent: Option<(usize, u64)>,
    /// Where the next chunk must begin, at the responder.
    expected: u64,
    /// Whether any chunk differed, to the responder.
    differs: bool,
}

#[derive(Debug)]
enum Lines {
    Hashes(Vec<Hashed>),
    Items(Vec<Item>),
}

/// A line of a sorted list.
pub(super) trait Line: Copy + Ord {
    fn kh(&self) -> u64;
}

impl Line for Hashed {
    fn kh(&self) -> u64 {
        self.kh
    }
}

impl Line for Item {
    fn kh(&self) -> u64 {
        self.kh
    }
}

impl Lines {
    fn new(by_hashes: bool, count: usize) -> Self {
        if by_hashes {
            Self::Hashes(Vec::with_capacity(count))
        } else {
            Self::Items(Vec::with_capacity(count))
        }
    }

    fn push(&mut self, hashed: &HashedItem) {
        match self {
            Self::Hashes(lines) => lines.push(Hashed {
                kh: hashed.item.kh,
                hash: hashed.hash,
            }),
            Self::Items(lines) => lines.push(hashed.item),
        }
    }

    fn sort(&mut self) {
        match self {
            Self::Hashes(lines) => lines.sort_unstable(),
            Self::Items(lines) => lines.sort_unstable(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Hashes(lines) => lines.len(),
            Self::Items(lines) => lines.len(),
        }
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
}

impl Engine {
    /// The sorted entries of a store above the cut. The lock is held for 256 of them at a time.
    fn snapshot(&mut self, stream: StreamId, id: StoreId, by_hashes: bool) -> Option<List> {
        let store = self.stores.get(&id)?;
        let cut = self.exchanges.get(&stream)?.cut;
        let mut lines = Lines::new(by_hashes, store.len());
        let mut sum = 0_u128;
        let mut position = Some(0);
        let mut run = Vec::new();
        while let Some(from) = position {
            position = store.items(from, cut, &mut run);
            for hashed in run.drain(..) {
                sum = sum.wrapping_add(hashed.hash);
                lines.push(&hashed);
            }
        }
        lines.sort();
        self.pledge_exchange(stream);
        Some(List {
            store: id,
            lines,
            sum,
            next: 0,
            sent: None,
            expected: 0,
            differs: false,
        })
    }

    /// The initiator sends its next chunk, or goes on to the next store.
    pub(super) fn next_chunk(&mut self, stream: StreamId) {
        let max = self.config.items_chunk_max;
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        if exchange.list.is_none() {
            let Some(store) = exchange.to_list.pop_front() else {
                return;
            };
            let by_hashes = matches!(
                exchange.comparing.get(&store),
                Some(Comparing::Listing { by_hashes: true })
            );
            let list = self.snapshot(stream, store, by_hashes);
            if let Some(exchange) = self.exchanges.get_mut(&stream) {
                exchange.list = list;
            }
        }
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let Some(list) = exchange.list.as_mut().filter(|list| list.sent.is_none()) else {
            return;
        };
        let message = list.chunk(max);
        self.send_exchanged(stream, &message);
    }

    /// The initiator learns what the responder lacks of its last chunk.
    pub(super) fn wants_received(&mut self, stream: StreamId, wants: &Wants) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        let asked = |list: &&mut List| list.store == wants.store && list.has_sent(wants);
        let Some(list) = exchange.list.as_mut().filter(asked) else {
            return self.exchange_unexpected(stream);
        };
        list.sent = None;
        let ends = list.next == list.lines.len();
        let by_hashes = matches!(list.lines, Lines::Hashes(_));
        if ends {
            exchange.list = None;
            let awaiting = Comparing::AwaitingSettled { by_hashes };
            exchange.comparing.insert(wants.store, awaiting);
        }
        exchange.owe(wants.store, wants.wants.iter().copied());
        self.next_chunk(stream);
    }

    pub(super) fn items_received(&mut self, stream: StreamId, theirs: &Items) {
        let (store, from, to) = (theirs.store, theirs.from, theirs.to);
        let Some(list) = self.list_for(stream, store, from, false) else {
            return self.exchange_unexpected(stream);
        };
        let Lines::Items(lines) = &list.lines else {
            return self.exchange_unexpected(stream);
        };
        let (push, wants) = compare(within(lines, from, to), &theirs.items, by_timestamp);
        list.differs |= !push.is_empty() || !wants.is_empty();
        list.expected = to.wrapping_add(1);
        // Equal lists of different sums: an item stands for two different entries.
        let agrees = list.differs || list.sum == theirs.sum;
        self.answer_chunk(stream, (store, to), push, wants, agrees);
    }

    pub(super) fn hashes_received(&mut self, stream: StreamId, theirs: &Hashes) {
        let (store, from, to) = (theirs.store, theirs.from, theirs.to);
        let Some(list) = self.list_for(stream, store, from, true) else {
            return self.exchange_unexpected(stream);
        };
        let Lines::Hashes(lines) = &list.lines else {
            return self.exchange_unexpected(stream);
        };
        let both = |_: &Hashed, _: &Hashed| Ordering::Equal;
        let (push, wants) = compare(within(lines, from, to), &theirs.hashes, both);
        list.expected = to.wrapping_add(1);
        self.answer_chunk(stream, (store, to), push, wants, true);
    }

    /// The responder's list for a chunk, made for the first one. `None` if no such chunk is due.
    fn list_for(
        &mut self,
        stream: StreamId,
        store: StoreId,
        from: u64,
        by_hashes: bool,
    ) -> Option<&mut List> {
        let exchange = self.exchanges.get_mut(&stream)?;
        let current = exchange.list.as_ref();
        let expected = current.map_or(0, |list| list.expected);
        let begins = current.is_none();
        let another = current.is_some_and(|list| list.store != store);
        // Where cells led nowhere, the initiator lists without asking.
        let due = matches!(
            exchange.comparing.get(&store),
            Some(Comparing::Listed | Comparing::Telling(_))
        );
        if !due || another || from != expected {
            return None;
        }
        if begins {
            exchange.used(Comparison::List);
            exchange.comparing.insert(store, Comparing::Listed);
            let list = self.snapshot(stream, store, by_hashes);
            self.exchanges.get_mut(&stream)?.list = list;
        }
        self.exchanges.get_mut(&stream)?.list.as_mut()
    }

    fn answer_chunk(
        &mut self,
        stream: StreamId,
        (store, to): (StoreId, u64),
        push: Vec<u64>,
        wants: Vec<u64>,
        agrees: bool,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else {
            return;
        };
        exchange.owe(store, push);
        let ends = to == u64::MAX;
        if ends {
            exchange.list = None;
            if agrees {
                exchange.comparing.remove(&store);
            } else {
                tracing::warn!(node = %self.setup.name, ?store, "equal lists under different roots");
                self.counters.digest_mismatches += 1;
            }
        }
        self.send_exchanged(stream, &Message::Wants(Wants { store, to, wants }));
        if ends {
            self.send_exchanged(stream, &Message::Settled(Settled { store, agrees }));
        }
    }
}

impl List {
    /// Whether these are asked for: keys of the chunk that is not answered yet.
    fn has_sent(&self, wants: &Wants) -> bool {
        let Some((start, to)) = self.sent else {
            return false;
        };
        let all = &wants.wants;
        let among = match &self.lines {
            Lines::Hashes(lines) => all.iter().all(|kh| holds(&lines[start..self.next], *kh)),
            Lines::Items(lines) => all.iter().all(|kh| holds(&lines[start..self.next], *kh)),
        };
        to == wants.to && among
    }

    /// The next chunk of at most `max` lines.
    fn chunk(&mut self, max: usize) -> Message {
        let (store, start, sum) = (self.store, self.next, self.sum);
        match &self.lines {
            Lines::Hashes(lines) => {
                let (from, to, end) = cut_chunk(lines, start, max);
                (self.next, self.sent) = (end, Some((start, to)));
                Message::Hashes(Hashes {
                    store,
                    from,
                    to,
                    hashes: lines[start..end].to_vec(),
                })
            }
            Lines::Items(lines) => {
                let (from, to, end) = cut_chunk(lines, start, max);
                (self.next, self.sent) = (end, Some((start, to)));
                Message::Items(Items {
                    store,
                    from,
                    to,
                    sum,
                    items: lines[start..end].to_vec(),
                })
            }
        }
    }
}

/// The hashes from and to which a chunk goes that begins at `start`, and where it ends: between
/// hashes, never within equal ones.
fn cut_chunk<T: Line>(lines: &[T], start: usize, max: usize) -> (u64, u64, usize) {
    let before = start.checked_sub(1).and_then(|last| lines.get(last));
    let from = before.map_or(0, |last| last.kh().saturating_add(1));
    let mut end = (start + max).min(lines.len());
    while end < lines.len() && lines[end].kh() == lines[end - 1].kh() {
        end += 1;
    }
    let last = lines.get(end.wrapping_sub(1));
    match last {
        Some(last) if end < lines.len() => (from, last.kh(), end),
        _ => (from, u64::MAX, end),
    }
}

fn holds<T: Line>(lines: &[T], kh: u64) -> bool {
    lines.binary_search_by_key(&kh, Line::kh).is_ok()
}

fn within<T: Line>(lines: &[T], from: u64, to: u64) -> &[T] {
    let start = lines.partition_point(|line| line.kh() < from);
    let end = lines.partition_point(|line| line.kh() <= to);
    lines.get(start..end).unwrap_or_default()
}

/// The hashes of keys of which the other side lacks `ours`, and of which we lack `theirs`. Both
/// lists ascend. Where each has one line of a key, `later` says which moves, both if neither is.
pub(super) fn compare<T: Line>(
    ours: &[T],
    theirs: &[T],
    later: impl Fn(&T, &T) -> Ordering,
) -> (Vec<u64>, Vec<u64>) {
    let (mut push, mut wants) = (Vec::new(), Vec::new());
    let (mut ours, mut theirs) = (ours, theirs);
    loop {
        let heads = [ours.first(), theirs.first()];
        let Some(kh) = heads.into_iter().flatten().map(Line::kh).min() else {
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
fn take_key<'a, T: Line>(lines: &mut &'a [T], kh: u64) -> &'a [T] {
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
        let lines: Vec<_> = [1, 2, 2, 2, 7, 9].map(|kh| item(kh, kh, 0)).into();
        let mut chunks = Vec::new();
        let mut start = 0;
        loop {
            let (from, to, end) = cut_chunk(&lines, start, 2);
            chunks.push((from, to, end));
            if to == u64::MAX {
                break;
            }
            start = end;
        }
        assert_eq!(chunks, [(0, 2, 4), (3, u64::MAX, 6)]);
        assert_eq!(cut_chunk::<Item>(&[], 0, 2), (0, u64::MAX, 0));
        assert_eq!(within(&lines, 2, 7).len(), 4);
    }
}
