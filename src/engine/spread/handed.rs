//! What one peer was handed to hand on, and who of its group is not known to hold it.
//!
//! It is done with once the peer has told who holds it, by name: numbers would count somebody twice who was
//! reached by two ways.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::core::grid::{GroupId, mark};
use crate::engine::core::place::{SentItem, StoreKey};
use crate::id::{ProcessId, StoreId};
use crate::wire::CoverReport;

use super::handed_keys::HandedKeys;

/// The packets that one peer was handed, by number.
#[derive(Debug, Default)]
pub(super) struct HandedOn {
    packets: BTreeMap<u64, HandedPacket>,
    /// What they have.
    keys: HandedKeys,
    /// Packets of which the peer has told all before it acknowledged them: it may refuse a part still.
    unacknowledged: BTreeMap<u64, GroupId>,
}

/// One packet that a peer was handed.
#[derive(Debug)]
pub(super) struct HandedPacket {
    pub(super) group: GroupId,
    /// The sum of the marks of the members.
    pub(super) list: u64,
    /// The others of the group when it was sent, by cell and name.
    pub(super) members: Vec<ProcessId>,
    pub(super) items: Vec<SentItem>,
    /// Who of them is not known to hold it.
    pub(super) missing: BTreeSet<ProcessId>,
    pub(super) sent_at: Duration,
    /// When the peer is asked, or given up.
    pub(super) due: Duration,
    pub(super) asked: bool,
    /// The peer has acknowledged it, and named what it refuses of it.
    pub(super) acked: bool,
    /// The peer has told how far it is.
    pub(super) told: bool,
    /// It has told of somebody who holds it.
    pub(super) reached: bool,
}

/// What a report brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HolderNews {
    pub(super) holders: Vec<ProcessId>,
    pub(super) items: Vec<SentItem>,
    /// Nobody of whom the peer knows is waited for.
    pub(super) complete: bool,
    /// Of whom the peer does not know.
    pub(super) unknown: Vec<ProcessId>,
    /// How long it took to be complete.
    pub(super) took: Duration,
}

/// What was handed to a peer that does not do it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Undone {
    /// To be handed to somebody else.
    pub(super) places: BTreeSet<(GroupId, StoreKey)>,
    /// The peer has refused it, as others of the group may: it is sent to those within reach.
    pub(super) refused: BTreeSet<(GroupId, StoreKey)>,
    /// These lack something that others hold by now.
    pub(super) behind: BTreeSet<ProcessId>,
}

/// What is to be done about a peer whose time has run out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overdue {
    /// It is asked how far it is with these.
    pub(super) ask: Vec<u64>,
    /// It does not do what it was handed.
    pub(super) missed: bool,
    /// These lack something, and the peer has not got it to them.
    pub(super) behind: BTreeSet<ProcessId>,
}

impl HandedOn {
    /// A packet goes out.
    pub(super) fn sent(&mut self, packet: u64, handed: HandedPacket) {
        if !handed.missing.is_empty() {
            self.keys.add(packet, &handed.items);
            self.packets.insert(packet, handed);
        }
    }

    fn remove(&mut self, packet: u64) -> Option<HandedPacket> {
        let handed = self.packets.remove(&packet)?;
        self.keys.remove(packet, &handed.items);
        Some(handed)
    }

    /// A packet is lost: what it carried is sent once more.
    pub(super) fn lost(&mut self, packet: u64) {
        self.remove(packet);
        self.unacknowledged.remove(&packet);
    }

    /// The peer has acknowledged these ranges of packets, and all that it refuses of them is known.
    pub(super) fn acknowledged(&mut self, ranges: &[(u64, u64)]) {
        for &(first, last) in ranges.iter().filter(|(first, last)| first <= last) {
            for (_, handed) in self.packets.range_mut(first..=last) {
                handed.acked = true;
            }
            let over = self.unacknowledged.range(first..=last);
            let over: Vec<u64> = over.map(|(packet, _)| *packet).collect();
            for packet in over {
                self.unacknowledged.remove(&packet);
            }
        }
    }

    /// The peer has not taken an entry of a packet: it does not hand it on. Returns the group.
    pub(super) fn refused(&mut self, packet: u64, place: &StoreKey) -> Option<GroupId> {
        let Some(handed) = self.packets.get_mut(&packet) else {
            return self.unacknowledged.get(&packet).copied();
        };
        let items = handed.items.iter();
        let gone: Vec<SentItem> = items.filter(|(it, _)| it == place).copied().collect();
        handed.items.retain(|(item, _)| item != place);
        self.keys.remove(packet, &gone);
        Some(handed.group)
    }

    /// How many keys of a store have been handed to it and are not known to be done, and since when.
    pub(super) fn lag(&self, store: StoreId) -> (usize, Option<Duration>) {
        let (keys, first) = self.keys.of_store(store);
        let first = first.and_then(|first| self.packets.get(&first));
        (keys, first.map(|handed| handed.sent_at))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// When to look again.
    pub(super) fn due(&self) -> Option<Duration> {
        self.packets.values().map(|handed| handed.due).min()
    }

    /// The peer tells who holds a packet. While it has not acknowledged it, it may have refused a part, which it
    /// does not speak of here: then the report counts only if it has taken all.
    pub(super) fn report(&mut self, report: &CoverReport, now: Duration) -> Option<HolderNews> {
        let handed = self.packets.get_mut(&report.packet)?;
        if !handed.acked && usize::from(report.taken) != handed.items.len() {
            return None;
        }
        let same = report.list == handed.list && report.list != 0;
        let told = if same {
            bits_of(&report.holders, &handed.members)
        } else {
            let marks: BTreeSet<u64> = report.holders.iter().copied().collect();
            let members = handed.members.iter();
            let told = members.filter(|member| marks.contains(&mark(member)));
            told.cloned().collect()
        };
        handed.reached |= !told.is_empty();
        let new = told.into_iter();
        let holders: Vec<_> = new.filter(|it| handed.missing.remove(it)).collect();
        if !handed.told {
            // Once: one that tells again and again of a part is given up all the same.
            (handed.told, handed.asked) = (true, false);
            handed.due = now + TOLD_WAIT;
        }
        let complete = report.complete || handed.missing.is_empty();
        let mut brought = HolderNews {
            holders,
            items: handed.items.clone(),
            complete,
            unknown: Vec::new(),
            took: now.saturating_sub(handed.sent_at),
        };
        if complete && let Some(handed) = self.remove(report.packet) {
            if !handed.acked && self.unacknowledged.len() < HANDED_MAX {
                self.unacknowledged.insert(report.packet, handed.group);
            }
            // With the same members in view, the others have refused it or are gone.
            let rest = handed.missing.into_iter().filter(|_| !same);
            brought.unknown = rest.collect();
        }
        Some(brought)
    }

    /// Whether the peer hands on this change of a key, or a later one.
    pub(super) fn has(&self, place: &StoreKey, seq: u64) -> bool {
        self.keys.has(place, seq)
    }

    /// A process holds these changes by another way, or is gone: `is_held` tells of each.
    pub(super) fn settle(&mut self, process: &ProcessId, is_held: impl Fn(&SentItem) -> bool) {
        let mut done = Vec::new();
        for (&packet, handed) in &mut self.packets {
            if handed.missing.contains(process) && handed.items.iter().all(&is_held) {
                handed.missing.remove(process);
            }
            if handed.missing.is_empty() {
                done.push(packet);
            }
        }
        done.into_iter()
            .for_each(|packet| drop(self.remove(packet)));
    }

    /// Takes everything off a peer that does not do it.
    pub(super) fn take(&mut self) -> Undone {
        let mut undone = Undone::default();
        self.keys = HandedKeys::default();
        for handed in std::mem::take(&mut self.packets).into_values() {
            if handed.told {
                undone.behind.extend(handed.missing);
            } else {
                let places = handed.items.iter().map(|(place, _)| (handed.group, *place));
                undone.places.extend(places);
            }
        }
        undone
    }

    /// What is to be done by now. A peer is asked before it is given up: what it told may be lost.
    pub(super) fn overdue(&mut self, patience: Duration, now: Duration) -> Overdue {
        let mut overdue = Overdue::default();
        let over = self.packets.len().saturating_sub(TOLD_MAX);
        let mut given_up = Vec::new();
        for (place, (packet, handed)) in self.packets.iter_mut().enumerate() {
            let crowded = handed.told && place < over;
            if handed.due > now && !crowded {
                continue;
            }
            if handed.asked || crowded {
                overdue.missed |= !handed.reached;
                if handed.told {
                    overdue.behind.append(&mut handed.missing);
                    given_up.push(*packet);
                } else {
                    // Who asked in vain takes all of it away, unless it cannot.
                    handed.due = now + TOLD_WAIT;
                }
            } else {
                handed.asked = true;
                handed.due = now + patience;
                overdue.ask.push(*packet);
            }
        }
        for packet in given_up {
            self.remove(packet);
        }
        overdue
    }
}

/// The members whose bits are set.
fn bits_of(words: &[u64], members: &[ProcessId]) -> Vec<ProcessId> {
    let set = members.iter().enumerate().filter(|(at, _)| {
        let word = words.get(at / 64).copied().unwrap_or(0);
        word >> (at % 64) & 1 == 1
    });
    set.map(|(_, member)| member.clone()).collect()
}

/// How long a peer that tells how far it is may take with the rest.
const TOLD_WAIT: Duration = Duration::from_secs(2);
/// Packets of one peer that are kept although somebody cannot be reached; beyond, that one is left to an
/// exchange.
const TOLD_MAX: usize = 256;
/// Packets that one peer may have been handed and not be done with; nothing more is handed to it then.
pub(super) const HANDED_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::tests::process;
    use crate::id::{Key, StoreId};

    const MS: Duration = Duration::from_millis(1);

    fn item(n: u8) -> SentItem {
        ((StoreId(1), Key([n; 16])), u64::from(n))
    }

    /// Two items for a group of three others.
    fn handed() -> (HandedOn, Vec<ProcessId>) {
        let members: Vec<_> = ["a", "b", "c"].map(process).to_vec();
        let mut handed = HandedOn::default();
        handed.sent(
            7,
            HandedPacket {
                group: GroupId::ALL,
                list: 99,
                members: members.clone(),
                items: vec![item(1), item(2)],
                missing: members.iter().cloned().collect(),
                sent_at: MS,
                due: MS * 300,
                asked: false,
                acked: true,
                told: false,
                reached: false,
            },
        );
        (handed, members)
    }

    fn report(complete: bool, list: u64, holders: Vec<u64>) -> CoverReport {
        CoverReport {
            packet: 7,
            taken: 2,
            complete,
            list,
            holders,
        }
    }

    #[test]
    fn holders_are_told_by_name_and_once() {
        let (mut handed, members) = handed();
        let told = handed.report(&report(false, 99, vec![0b101]), MS * 9);
        let told = told.expect("it is known");
        assert_eq!(told.holders, [members[0].clone(), members[2].clone()]);
        assert!(!told.complete);
        let again = handed.report(&report(true, 99, vec![0b111]), MS * 11);
        let again = again.expect("it is known");
        assert_eq!(
            again.holders,
            [members[1].clone()],
            "the others were told of"
        );
        assert_eq!((again.complete, again.took), (true, MS * 10));
        assert!(handed.is_empty());
        assert_eq!(handed.report(&report(true, 99, vec![7]), MS * 12), None);
    }

    #[test]
    fn who_is_not_on_the_list_of_the_other_is_not_taken_for_done() {
        let (mut handed, members) = handed();
        let others = vec![mark(&members[0]), mark(&members[1])];
        let told = handed.report(&report(true, 5, others), MS * 9);
        let told = told.expect("it is known");
        assert_eq!(told.holders, members[..2]);
        assert_eq!(told.unknown, members[2..]);
        let (mut same, members) = self::handed();
        let told = same.report(&report(true, 99, vec![0b011]), MS * 9);
        let told = told.expect("it is known");
        assert_eq!(
            (told.holders, told.unknown),
            (members[..2].to_vec(), vec![])
        );
    }

    #[test]
    fn a_report_that_may_leave_out_what_was_refused_waits_for_the_acknowledgement() {
        let (mut handed, _) = handed();
        unacknowledged(&mut handed);
        let mut part = report(true, 99, vec![7]);
        part.taken = 1;
        assert_eq!(handed.report(&part, MS), None);
        handed.acknowledged(&[(1, 6), (8, 9)]);
        assert_eq!(handed.report(&part, MS), None, "those are others");
        handed.acknowledged(&[(3, 7)]);
        assert_eq!(handed.refused(7, &item(2).0), Some(GroupId::ALL));
        let told = handed.report(&part, MS).expect("the rest is meant");
        assert_eq!(told.items, [item(1)]);
        assert_eq!(handed.refused(7, &item(2).0), None, "all is said");
    }

    #[test]
    fn what_is_refused_after_all_is_told_is_known_of_its_group() {
        let (mut handed, _) = handed();
        unacknowledged(&mut handed);
        let told = handed.report(&report(true, 99, vec![7]), MS);
        assert!(told.is_some_and(|told| told.complete), "it has taken all");
        assert!(handed.is_empty());
        assert_eq!(handed.refused(7, &item(2).0), Some(GroupId::ALL));
        handed.acknowledged(&[(7, 7)]);
        assert_eq!(handed.refused(7, &item(2).0), None);
    }

    fn unacknowledged(handed: &mut HandedOn) {
        for packet in handed.packets.values_mut() {
            packet.acked = false;
        }
    }

    #[test]
    fn one_that_tells_of_a_part_again_and_again_is_given_up() {
        let (mut handed, members) = handed();
        let part = report(false, 99, vec![0b001]);
        handed.report(&part, MS * 9);
        assert_eq!(handed.overdue(MS * 50, MS * 2_009).ask, [7]);
        handed.report(&part, MS * 2_020);
        let over = handed.overdue(MS * 50, MS * 2_059);
        assert_eq!(over.behind, members[1..].iter().cloned().collect());
        assert!(!over.missed, "it has got it to somebody");
        assert!(handed.is_empty());
        // One that has got it to nobody does not do what it was handed.
        let (mut idle, members) = self::handed();
        idle.report(&report(false, 99, vec![0]), MS * 9);
        assert_eq!(idle.overdue(MS * 50, MS * 2_009).ask, [7]);
        idle.report(&report(false, 99, vec![0]), MS * 2_020);
        let over = idle.overdue(MS * 50, MS * 2_059);
        assert_eq!(over.behind, members.into_iter().collect());
        assert!(over.missed && idle.is_empty());
    }

    #[test]
    fn a_silent_peer_is_asked_before_it_is_given_up() {
        let (mut handed, members) = handed();
        let none = handed.overdue(MS * 50, MS * 299);
        assert_eq!(none, Overdue::default());
        let asked = handed.overdue(MS * 50, MS * 300);
        assert_eq!((asked.ask, asked.missed), (vec![7], false));
        assert_eq!(handed.due(), Some(MS * 350));
        assert!(handed.overdue(MS * 50, MS * 350).missed);
        let undone = handed.take();
        assert_eq!(undone.places.len(), 2);
        assert!(undone.behind.is_empty() && handed.is_empty());
        // One that told how far it is keeps the rest for a while.
        let (mut handed, _) = self::handed();
        handed.report(&report(false, 99, vec![0b011]), MS * 9);
        assert_eq!(handed.overdue(MS * 50, MS * 2_000), Overdue::default());
        assert_eq!(handed.overdue(MS * 50, MS * 2_009).ask, [7]);
        let over = handed.overdue(MS * 50, MS * 2_059);
        assert_eq!(over.behind, BTreeSet::from([members[2].clone()]));
        assert!(!over.missed && handed.is_empty());
    }

    #[test]
    fn who_holds_it_by_another_way_is_waited_for_no_longer() {
        let (mut handed, members) = handed();
        handed.settle(&members[0], |item| item.1 < 2);
        handed.settle(&members[1], |_| true);
        let undone = handed.report(&report(false, 99, vec![0b011]), MS);
        assert_eq!(undone.expect("it is known").holders, members[..1]);
        handed.settle(&members[2], |_| true);
        assert!(handed.is_empty());
    }
}
