//! What this node was handed to hand on, and what it tells those who handed it: who holds it by now.
//!
//! A duty is one packet. It is told of when everybody holds it, once before that when the time in which
//! that should be so has passed, and whenever the parent asks. What was done is remembered for a while, so
//! that who is handed the same by another way does not send it to the same members again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::engine::core::grid::GroupId;
use crate::engine::core::place::{SentItem, StoreKey};
use crate::id::{ProcessId, StoreId};

/// All that this node was handed.
#[derive(Debug, Default)]
pub(super) struct Duties {
    next: u64,
    known: BTreeMap<u64, Duty>,
    /// In which duties a key is, and where.
    by_place: BTreeMap<StoreKey, BTreeMap<u64, usize>>,
    by_packet: BTreeMap<(ProcessId, u64), u64>,
    /// Those that nobody is waited for in, oldest first.
    done: VecDeque<u64>,
    /// Those of which the parent is to be told.
    ready: BTreeSet<u64>,
    /// When parents are told of a part of those that are not done.
    dues: BTreeSet<(Duration, u64)>,
    /// Entries in all of them.
    items: usize,
    /// What the members of all of them take.
    weight: usize,
}

/// One packet that this node was handed.
#[derive(Debug)]
pub(super) struct Duty {
    pub(super) parent: ProcessId,
    pub(super) packet: u64,
    pub(super) group: GroupId,
    /// What the parent says of the members.
    pub(super) list: u64,
    pub(super) items: Vec<SentItem>,
    /// The entries that each of these is not known to hold.
    missing: BTreeMap<ProcessId, ItemSet>,
    pub(super) holders: BTreeSet<ProcessId>,
    /// When the parent is told of a part; `None` once it is.
    due: Option<Duration>,
    /// How often the parent has asked.
    recalls: u32,
    /// What its members take: one each, and one for every 64 entries.
    weight: usize,
}

/// Which entries of a duty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ItemSet {
    words: Vec<u64>,
    left: usize,
}

impl Duty {
    /// Whether the parent has asked how far it is.
    pub(super) fn is_recalled(&self) -> bool {
        self.recalls > 0
    }

    /// Nothing is held by any of these yet.
    pub(super) fn new(
        parent: ProcessId,
        packet: u64,
        group: (GroupId, u64),
        items: Vec<SentItem>,
        members: impl Iterator<Item = ProcessId>,
        due: Duration,
    ) -> Self {
        let all = ItemSet::all(items.len());
        let missing: BTreeMap<_, _> = members.map(|member| (member, all.clone())).collect();
        Self {
            parent,
            packet,
            group: group.0,
            list: group.1,
            weight: missing.len() * (1 + all.words.len()),
            missing,
            items,
            holders: BTreeSet::new(),
            due: Some(due),
            recalls: 0,
        }
    }

    /// Nobody is waited for.
    pub(super) fn is_done(&self) -> bool {
        self.missing.is_empty()
    }

    /// A member holds this change of an entry of it. Returns whether nobody is waited for any more.
    fn held(&mut self, holder: &ProcessId, at: usize, seq: u64) -> bool {
        let reached = self.items.get(at).is_some_and(|item| item.1 <= seq);
        let missing = self.missing.get_mut(holder);
        let Some(missing) = missing.filter(|_| reached) else {
            return false;
        };
        missing.remove(at);
        if missing.left > 0 {
            return false;
        }
        self.missing.remove(holder);
        self.holders.insert(holder.clone());
        self.is_done()
    }

    /// A member is not waited for. Returns whether nobody is any more, and somebody was.
    fn leave_out(&mut self, member: &ProcessId) -> bool {
        self.missing.remove(member).is_some() && self.is_done()
    }

    fn knows_held(&self, member: &ProcessId, at: usize) -> bool {
        let missing = self.missing.get(member);
        self.holders.contains(member) || missing.is_some_and(|missing| !missing.has(at))
    }
}

impl Duties {
    /// A packet came. What earlier duties know is taken over. Returns the entries that each member lacks as
    /// far as is known.
    pub(super) fn open(&mut self, mut duty: Duty) -> BTreeMap<ProcessId, Vec<StoreKey>> {
        self.take_over(&mut duty);
        if duty.items.is_empty() {
            duty.missing.clear();
        }
        let lacking = duty.missing.iter().map(|(member, missing)| {
            let items = duty.items.iter().enumerate();
            let places = items.filter(|(at, _)| missing.has(*at));
            (member.clone(), places.map(|(_, item)| item.0).collect())
        });
        let lacking = lacking.collect();
        self.next += 1;
        let id = self.next;
        let mut crowded = BTreeSet::new();
        for (at, (place, _)) in duty.items.iter().enumerate() {
            let duties = self.by_place.entry(*place).or_default();
            duties.insert(id, at);
            if duties.len() > PER_KEY_MAX {
                crowded.extend(duties.keys().next());
            }
        }
        self.items += duty.items.len();
        self.weight += duty.weight;
        let packet = (duty.parent.clone(), duty.packet);
        crowded.extend(self.by_packet.insert(packet, id));
        match duty.due {
            _ if duty.is_done() => {
                self.ready.insert(id);
                self.done.push_back(id);
            }
            Some(due) => drop(self.dues.insert((due, id))),
            None => {}
        }
        self.known.insert(id, duty);
        crowded.into_iter().for_each(|id| self.forget(id));
        self.limit();
        lacking
    }

    /// What the last duties with the same keys know of who holds them.
    fn take_over(&self, duty: &mut Duty) {
        let members: Vec<ProcessId> = duty.missing.keys().cloned().collect();
        for (at, (place, seq)) in duty.items.clone().into_iter().enumerate() {
            let before = self.by_place.get(&place).into_iter().flatten().rev();
            for (id, place_there) in before.take(TAKEN_OVER) {
                let Some(known) = self.known.get(id) else {
                    continue;
                };
                if known
                    .items
                    .get(*place_there)
                    .is_none_or(|item| item.1 < seq)
                {
                    continue;
                }
                let holders = members.iter();
                let holders = holders.filter(|member| known.knows_held(member, *place_there));
                for holder in holders {
                    duty.held(holder, at, seq);
                }
            }
        }
    }

    /// A member holds the change of a key, or a later one.
    pub(super) fn held(&mut self, holder: &ProcessId, place: &StoreKey, seq: u64) {
        let mut done = Vec::new();
        for (&id, &at) in self.by_place.get(place).into_iter().flatten() {
            let duty = self.known.get_mut(&id);
            if duty.is_some_and(|duty| duty.held(holder, at, seq)) {
                done.push(id);
            }
        }
        done.into_iter().for_each(|id| self.finish(id));
    }

    /// A member has refused the change of a key, and what came before it: it is not waited for, and holds not
    /// all.
    pub(super) fn denied(&mut self, member: &ProcessId, place: &StoreKey, seq: u64) {
        let mut done = Vec::new();
        for (&id, &at) in self.by_place.get(place).into_iter().flatten() {
            let duty = self.known.get_mut(&id);
            let duty = duty.filter(|duty| duty.items.get(at).is_some_and(|item| item.1 <= seq));
            if duty.is_some_and(|duty| duty.leave_out(member)) {
                done.push(id);
            }
        }
        done.into_iter().for_each(|id| self.finish(id));
    }

    /// A member is gone.
    pub(super) fn gone(&mut self, member: &ProcessId) {
        let mut done = Vec::new();
        for (&id, duty) in &mut self.known {
            if duty.leave_out(member) {
                done.push(id);
            }
        }
        done.into_iter().for_each(|id| self.finish(id));
    }

    /// An exchange that began at these heads covers a member.
    pub(super) fn exchanged(&mut self, member: &ProcessId, heads: &BTreeMap<StoreId, u64>) {
        let reached = |place: &StoreKey| heads.get(&place.0).copied().unwrap_or(0);
        let of_member = self
            .known
            .values()
            .filter(|duty| duty.missing.contains_key(member));
        let items = of_member.flat_map(|duty| duty.items.iter());
        let covered = items.filter(|(place, seq)| *seq <= reached(place));
        let covered: BTreeSet<SentItem> = covered.copied().collect();
        for (place, seq) in covered {
            self.held(member, &place, seq);
        }
    }

    fn finish(&mut self, id: u64) {
        let due = self.known.get(&id).and_then(|duty| duty.due);
        due.map(|due| self.dues.remove(&(due, id)));
        self.ready.insert(id);
        self.done.push_back(id);
    }

    /// The parent asks how far this node is. It is told [`RECALLS_MAX`] times.
    pub(super) fn recall(&mut self, parent: &ProcessId, packet: u64) {
        let Some(&id) = self.by_packet.get(&(parent.clone(), packet)) else {
            return;
        };
        if let Some(duty) = self.known.get_mut(&id)
            && duty.recalls < RECALLS_MAX
        {
            duty.recalls += 1;
            self.ready.insert(id);
        }
    }

    /// Those of which the parents are told only a part because their time has come.
    pub(super) fn look(&mut self, now: Duration) {
        while let Some(&(due, id)) = self.dues.first() {
            if due > now {
                break;
            }
            self.dues.pop_first();
            if let Some(duty) = self.known.get_mut(&id) {
                duty.due = None;
                self.ready.insert(id);
            }
        }
    }

    /// When to look again.
    pub(super) fn due(&self) -> Option<Duration> {
        self.dues.first().map(|(due, _)| *due)
    }

    /// Whether parents are to be told.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes what parents are to be told, by parent.
    pub(super) fn take_ready(&mut self) -> BTreeMap<ProcessId, Vec<&Duty>> {
        let mut ready: BTreeMap<ProcessId, Vec<&Duty>> = BTreeMap::new();
        for id in std::mem::take(&mut self.ready) {
            if let Some(duty) = self.known.get(&id) {
                ready.entry(duty.parent.clone()).or_default().push(duty);
            }
        }
        ready
    }

    /// Entries in all duties, done ones included.
    #[cfg(feature = "sim")]
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// What the members of all duties take, done ones included.
    #[cfg(feature = "sim")]
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// How many duties are remembered.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets the oldest, those that are done first: a parent that hears nothing covers its group.
    fn limit(&mut self) {
        while self.done.len() > DONE_MAX
            || self.known.len() > DUTIES_MAX
            || self.items > ITEMS_MAX
            || self.weight > WEIGHT_MAX
        {
            let oldest = self.done.pop_front();
            let oldest = oldest.or_else(|| self.known.keys().next().copied());
            let Some(oldest) = oldest else {
                return;
            };
            // What has to be told still is told first, unless that itself is too much.
            self.forget(oldest);
        }
    }

    fn forget(&mut self, id: u64) {
        let Some(duty) = self.known.remove(&id) else {
            return;
        };
        self.items -= duty.items.len();
        self.weight -= duty.weight;
        self.ready.remove(&id);
        if let Some(due) = duty.due {
            self.dues.remove(&(due, id));
        }
        for (place, _) in &duty.items {
            if let Some(ids) = self.by_place.get_mut(place) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_place.remove(place);
                }
            }
        }
        let packet = (duty.parent, duty.packet);
        if self.by_packet.get(&packet) == Some(&id) {
            self.by_packet.remove(&packet);
        }
    }
}

impl ItemSet {
    fn all(count: usize) -> Self {
        let mut words = vec![u64::MAX; count.div_ceil(64)];
        if let Some(last) = words.last_mut()
            && !count.is_multiple_of(64)
        {
            *last = (1 << (count % 64)) - 1;
        }
        Self { words, left: count }
    }

    fn has(&self, at: usize) -> bool {
        let word = self.words.get(at / 64).copied().unwrap_or(0);
        word >> (at % 64) & 1 == 1
    }

    fn remove(&mut self, at: usize) {
        let has = self.has(at);
        if let Some(word) = self.words.get_mut(at / 64) {
            *word &= !(1 << (at % 64));
            self.left -= usize::from(has);
        }
    }
}

/// How often a parent is told of a duty because it asks: it does so twice, unless something is lost.
const RECALLS_MAX: u32 = 16;
/// Duties that are remembered once they are done.
const DONE_MAX: usize = 1024;
/// Duties that one key may be in; of more, the oldest are forgotten.
const PER_KEY_MAX: usize = 256;
/// So many duties with the same key are asked who holds it.
const TAKEN_OVER: usize = 2;
/// Duties, done ones included.
pub(super) const DUTIES_MAX: usize = 8192;
/// Entries in all of them.
pub(super) const ITEMS_MAX: usize = 65_536;
/// Members in all of them, each counted once and once more for every 64 entries: some 25 MB.
pub(super) const WEIGHT_MAX: usize = 262_144;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::process;
    use crate::id::Key;

    const MS: Duration = Duration::from_millis(1);

    fn place(n: u8) -> StoreKey {
        (StoreId(1), Key([n; 16]))
    }

    /// The packet of a parent with these entries, each at the change of its number, for `a` and `b`.
    fn duty(parent: &str, packet: u64, notes: &[u8]) -> Duty {
        let items = notes.iter().map(|&n| (place(n), u64::from(n))).collect();
        let members = ["a", "b"].map(process).into_iter();
        let group = (GroupId::ALL, 5);
        Duty::new(process(parent), packet, group, items, members, MS * 50)
    }

    /// Of which packets whom would be told what: complete or not, and who holds them.
    fn told(duties: &mut Duties) -> Vec<(u64, bool, usize)> {
        let ready = duties.take_ready().into_values().flatten();
        ready
            .map(|duty| (duty.packet, duty.is_done(), duty.holders.len()))
            .collect()
    }

    #[test]
    fn the_parent_is_told_when_everybody_holds_all_of_it() {
        let mut duties = Duties::default();
        let lacking = duties.open(duty("p", 1, &[3, 4]));
        assert_eq!(lacking[&process("a")], [place(3), place(4)]);
        duties.held(&process("a"), &place(3), 3);
        duties.held(&process("a"), &place(4), 9);
        duties.held(&process("b"), &place(3), 2);
        duties.held(&process("b"), &place(4), 4);
        assert!(
            told(&mut duties).is_empty(),
            "b has an older one of the first"
        );
        duties.held(&process("b"), &place(3), 3);
        assert_eq!(told(&mut duties), [(1, true, 2)]);
        assert!(told(&mut duties).is_empty());
        duties.recall(&process("p"), 1);
        duties.recall(&process("q"), 1);
        assert_eq!(told(&mut duties), [(1, true, 2)], "who asks is told again");
        let answered = (0..1_000).filter(|_| {
            duties.recall(&process("p"), 1);
            !told(&mut duties).is_empty()
        });
        assert_eq!(answered.count(), 15, "of a thousand, after the first one");
    }

    #[test]
    fn who_is_gone_or_refuses_is_not_waited_for_and_is_no_holder() {
        let mut duties = Duties::default();
        duties.open(duty("p", 1, &[3]));
        duties.denied(&process("a"), &place(3), 2);
        assert_eq!(duties.known[&1].missing.len(), 2, "that was another change");
        duties.denied(&process("a"), &place(3), 3);
        duties.held(&process("a"), &place(3), 3);
        duties.gone(&process("b"));
        assert_eq!(told(&mut duties), [(1, true, 0)]);
    }

    #[test]
    fn a_part_is_told_once_when_its_time_has_come() {
        let mut duties = Duties::default();
        duties.open(duty("p", 1, &[3]));
        duties.held(&process("b"), &place(3), 3);
        assert_eq!(duties.due(), Some(MS * 50));
        duties.look(MS * 49);
        assert!(!duties.has_ready());
        duties.look(MS * 50);
        duties.look(MS * 51);
        assert_eq!(told(&mut duties), [(1, false, 1)]);
        assert_eq!(duties.due(), None);
    }

    #[test]
    fn what_others_handed_before_is_not_sent_again() {
        let mut duties = Duties::default();
        duties.open(duty("p", 1, &[3]));
        duties.held(&process("a"), &place(3), 3);
        let lacking = duties.open(duty("q", 7, &[3]));
        assert_eq!(lacking.keys().collect::<Vec<_>>(), [&process("b")]);
        duties.held(&process("b"), &place(3), 3);
        assert_eq!(told(&mut duties), [(1, true, 2), (7, true, 2)]);
        // A later change is another matter.
        let mut later = duty("q", 8, &[3]);
        later.items = vec![(place(3), 4)];
        assert_eq!(duties.open(later).len(), 2);
    }

    #[test]
    fn an_exchange_covers_what_came_before_it() {
        let mut duties = Duties::default();
        duties.open(duty("p", 1, &[3]));
        duties.open(duty("p", 2, &[6]));
        duties.gone(&process("b"));
        duties.exchanged(&process("a"), &BTreeMap::from([(StoreId(1), 5)]));
        assert_eq!(told(&mut duties), [(1, true, 1)]);
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let mut duties = Duties::default();
        let wide = |packet: u64| {
            let mut wide = duty("p", packet, &[1, 2]);
            let key = |n: u64| Key((packet * 2 + n).to_be_bytes().repeat(2).try_into().unwrap());
            wide.items = (0..2).map(|n| ((StoreId(1), key(n)), 1)).collect();
            wide
        };
        for packet in 0..9_000 {
            duties.open(wide(packet));
        }
        assert_eq!(duties.len(), DUTIES_MAX);
        for member in ["a", "b"] {
            duties.gone(&process(member));
        }
        for packet in 9_000..9_400 {
            duties.open(duty("p", packet, &[1]));
        }
        assert_eq!(duties.len(), DONE_MAX + PER_KEY_MAX);
        let items = duties.known.values().map(|duty| duty.items.len());
        assert_eq!(duties.items, items.sum::<usize>());
        let places = duties.by_place.values().map(BTreeMap::len).sum::<usize>();
        assert_eq!(duties.items, places);
        let weights = duties.known.values().map(|duty| duty.weight);
        assert_eq!(duties.weight, weights.sum::<usize>());
    }

    #[test]
    fn no_more_members_are_waited_for_than_there_is_room_for() {
        let mut duties = Duties::default();
        let members: Vec<ProcessId> = (0..1_000).map(|n| process(&format!("m{n}"))).collect();
        // 2,000 of the weight each: a member, and a word of entries.
        for packet in 0..140 {
            let items = vec![(place(packet), 1)];
            let group = (GroupId::ALL, 5);
            let members = members.iter().cloned();
            let packet = packet.into();
            duties.open(Duty::new(process("p"), packet, group, items, members, MS));
        }
        assert_eq!(duties.len(), WEIGHT_MAX / 2_000);
        assert_eq!(duties.weight, duties.len() * 2_000);
        let oldest = duties.known.values().map(|duty| duty.packet).min();
        assert_eq!(
            oldest,
            Some(140 - duties.len() as u64),
            "the oldest are forgotten"
        );
    }
}
