//! Tree mode by itself: two rows, what is handed to whom, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use super::inbox::LOOKS_MAX;
use super::lane::Role;
use super::*;
use crate::engine::core::delta::{DeltaWay, Hand};
use crate::engine::core::grid::{GroupId, mark};
use crate::engine::core::tests::{
    Known, core_with, datagrams, linked, merged, note, notes, process,
};
use crate::engine::io::{Output, StreamId};
use crate::id::Key;
use crate::store::{Held, Store, WriteId};
use crate::wire::{
    Ack, Arrived, CoverReport, Covered, Delta, Entry, Handed, Message, Recall, RefusedEntry,
    Section,
};

/// The node `self` in tree mode, linked with all of these.
pub(super) struct Node {
    pub(super) core: Core,
    pub(super) spread: Spread,
    pub(super) known: Known,
    pub(super) store: Arc<dyn Store>,
    names: Vec<String>,
}

impl Node {
    pub(super) fn new() -> Self {
        Self::with((0..24).map(|n| format!("m{n:02}")).collect())
    }

    /// The names are sorted.
    pub(super) fn with(names: Vec<String>) -> Self {
        let texts: Vec<&str> = names.iter().map(String::as_str).collect();
        let store = notes(0).0;
        let core = core_with(vec![Arc::clone(&store)], false);
        let known = linked(&core, &texts);
        let mut node = Self {
            core,
            spread: Spread::new(),
            known,
            store,
            names: names.clone(),
        };
        for known in node.known.roster.table.values() {
            let member = known.member();
            node.spread.member_changed(&mut node.core, &member);
        }
        node.spread.membership_changed(&mut node.core, names.len());
        for process in node.known.sessions.by_process.keys() {
            let start = SessionStart {
                process: process.clone(),
                new: true,
                renewed: false,
                dialled: true,
                round_trip: Some(MS),
            };
            node.spread.session_begun(&mut node.core, &start);
        }
        node.flush();
        node.core.take_asks();
        node
    }

    pub(super) fn write(&self, n: u8) -> WriteId {
        let entry = note(n);
        let key = entry.key;
        self.store.replica().merge(&[entry], self.core.now.wall);
        WriteId {
            store: self.store.id(),
            key,
            seq: self.store.head(),
        }
    }

    pub(super) fn flush(&mut self) -> Vec<(String, Message)> {
        self.core.send_left = super::super::core::quota::SendQuota::TURN;
        self.spread.flush(&mut self.core, self.known.facts());
        let sent = datagrams(&self.core).into_iter();
        let sent =
            sent.map(|(to, message)| (self.names[usize::from(to.port()) - 2].clone(), message));
        let sent = sent.collect();
        self.core
            .outputs
            .retain(|output| matches!(output, Output::Watched { .. }));
        sent
    }

    /// Who was handed something, with the bits of its group; and who was sent something for itself.
    pub(super) fn sent_to(&mut self) -> (Vec<(String, u8)>, Vec<String>) {
        let (mut handed, mut plain) = (Vec::new(), Vec::new());
        for (to, message) in self.flush() {
            match message {
                Message::Handed(Handed { bits, .. }) => handed.push((to, bits)),
                Message::Delta(_) => plain.push(to),
                other => panic!("{other:?}"),
            }
        }
        (handed, plain)
    }

    pub(super) fn row(&self) -> Vec<String> {
        let row = self.core.grid.members(self.core.grid.row());
        let mut row: Vec<String> = row.map(|member| member.name.to_string()).collect();
        row.sort();
        row
    }

    /// The others of a relay's group.
    fn others(&self, relay: &str) -> Vec<ProcessId> {
        let group = self
            .core
            .grid
            .group_of(&process(relay).name)
            .expect("another group");
        let members = self.core.grid.members(group);
        members.filter(|member| *member != process(relay)).collect()
    }

    pub(super) fn acknowledge(&mut self, text: &str, packet: u64) {
        let ack = Ack {
            token: 0,
            ranges: vec![(packet, packet)],
            refused: Vec::new(),
        };
        self.spread
            .ack_received(&mut self.core, &process(text), &ack);
        for ask in self.core.take_asks() {
            if let Ask::Acknowledged(process, receipt) = ask {
                let facts = self.known.facts();
                self.spread
                    .acknowledged(&mut self.core, facts, &process, receipt);
            }
        }
    }

    /// A relay tells that all others of its group but some hold its packet, as marks.
    fn covers(&mut self, relay: &str, packet: u64, complete: bool, but: &[ProcessId]) {
        let holders = self.others(relay).into_iter();
        let holders = holders.filter(|other| !but.contains(other));
        let covered = Covered {
            token: 0,
            reports: vec![CoverReport {
                packet,
                taken: 1,
                complete,
                list: 0,
                holders: holders.map(|other| mark(&other)).collect(),
            }],
        };
        let facts = self.known.facts();
        self.spread
            .covered_received(&mut self.core, facts, &process(relay), &covered);
    }

    pub(super) fn pass(&mut self, text: &str, time: Duration) {
        self.core.now.mono += time;
        let facts = self.known.facts();
        self.spread
            .check_loss(&mut self.core, facts, &process(text));
    }

    /// A member hands on this note, as its packet of this number, to all who share so many bits with this
    /// node.
    pub(super) fn is_handed(&mut self, text: &str, packet: u64, n: u8, bits: u8) {
        self.are_handed(text, packet, vec![note(n)], bits);
    }

    fn are_handed(&mut self, text: &str, packet: u64, entries: Vec<Entry>, bits: u8) {
        let delta = Delta {
            token: 0,
            packet,
            uncovered: Vec::new(),
            sections: vec![Section {
                store: self.store.id(),
                entries,
            }],
        };
        let group = GroupId::of(self.core.setup.name.cell(), bits);
        let marks = self.core.grid.marks(group);
        let list = marks.fold(0, u64::wrapping_add);
        let facts = self.known.facts();
        let way = DeltaWay::Datagram;
        let mut merged = merged(&mut self.core, &process(text), way, delta);
        merged.hand = Some(Hand { bits, list });
        self.spread.delta_merged(&mut self.core, facts, merged);
        let asks = self.core.take_asks().into_iter();
        let others = asks.filter(|ask| !matches!(ask, Ask::PassedOn(..)));
        others.for_each(|ask| self.core.ask(ask));
    }

    pub(super) fn is_owing(&self) -> bool {
        self.spread.is_owing(&self.core, self.known.facts())
    }
}

#[test]
fn a_write_goes_to_the_row_and_to_one_member_of_every_other_group() {
    let mut node = Node::new();
    node.write(1);
    let (handed, mut plain) = node.sent_to();
    plain.sort();
    let mut reached: Vec<String> = plain.clone();
    for (relay, bits) in &handed {
        assert_eq!(*bits, 2);
        reached.extend(
            node.others(relay)
                .iter()
                .map(|other| other.name.to_string()),
        );
        reached.push(relay.clone());
    }
    reached.sort();
    assert_eq!(reached, node.names, "everybody once");
    assert!(handed.len() <= 3 && plain.len() >= node.row().len());
    assert!(node.row().iter().all(|mate| plain.contains(mate)));
    assert_eq!(node.flush(), []);
}

#[test]
fn what_the_others_of_a_group_hold_is_told_by_its_relay() {
    let mut node = Node::new();
    let write = node.write(1);
    let facts = node.known.facts();
    node.spread.watch(
        &mut node.core,
        facts,
        7,
        write,
        24.into(),
        Duration::from_secs(5),
    );
    let (handed, plain) = node.sent_to();
    for to in plain.iter().chain(handed.iter().map(|(to, _)| to)) {
        node.acknowledge(to, 1);
    }
    assert!(node.is_owing(), "it is not known what the groups hold");
    for (relay, _) in &handed {
        assert!(node.core.outputs.is_empty());
        node.covers(relay, 1, true, &[]);
    }
    let told = node.core.outputs.pop_front();
    assert!(matches!(
        told,
        Some(Output::Watched {
            ticket: 7,
            outcome: Ok(Held { copies: 24 })
        })
    ));
    assert!(!node.is_owing());
}

#[test]
fn a_silent_relay_is_passed_over_and_asked_last_from_then_on() {
    let mut node = Node::new();
    node.write(1);
    let (handed, _) = node.sent_to();
    let (silent, _) = handed[0].clone();
    let others = node.others(&silent);
    node.pass(&silent, MS * 50);
    let sent = node.flush();
    let to: Vec<&String> = sent.iter().map(|(to, _)| to).collect();
    // It is sent it again for itself, and everybody within reach is.
    for other in &others {
        assert!(to.contains(&&other.name.to_string()), "{to:?}");
    }
    let handed_now = sent
        .iter()
        .filter(|(_, it)| matches!(it, Message::Handed(_)));
    assert_eq!(handed_now.count(), 1);
    assert_eq!(node.core.counters.relays_passed_over, 1);
    node.write(2);
    let (handed, _) = node.sent_to();
    assert!(handed.iter().all(|(relay, _)| *relay != silent));
    assert!(
        handed
            .iter()
            .any(|(relay, _)| others.contains(&process(relay)))
    );
}

#[test]
fn a_relay_that_acknowledges_and_hands_nothing_on_is_asked_and_passed_over() {
    let mut node = Node::new();
    node.write(1);
    let (handed, plain) = node.sent_to();
    for to in plain.iter().chain(handed.iter().map(|(to, _)| to)) {
        node.acknowledge(to, 1);
    }
    let (idle, _) = handed[0].clone();
    node.pass(&idle, MS * 299);
    assert_eq!(node.flush(), []);
    node.pass(&idle, MS);
    let asked = datagrams(&node.core).pop();
    let recall = |message: &Message| matches!(message, Message::Recall(Recall { packets, .. }) if packets == &[1]);
    assert!(asked.is_some_and(|(_, message)| recall(&message)));
    node.core.outputs.clear();
    node.pass(&idle, MS * 50);
    assert_eq!(node.core.counters.relays_passed_over, 1);
    let sent = node.flush();
    let others = node.others(&idle);
    assert!(
        others
            .iter()
            .all(|other| sent.iter().any(|(to, _)| *to == other.name.as_str()))
    );
}

#[test]
fn a_member_that_a_relay_does_not_know_is_left_to_an_exchange() {
    let mut node = Node::new();
    node.write(1);
    let (handed, _) = node.sent_to();
    let relay = handed[0].0.clone();
    let unknown = node.others(&relay)[0].clone();
    node.acknowledge(&relay, 1);
    node.covers(&relay, 1, true, std::slice::from_ref(&unknown));
    node.flush();
    assert!(node.core.take_asks().contains(&Ask::CatchUp(unknown)));
}

#[test]
fn a_relay_that_fails_leaves_its_duty_to_the_next_one() {
    let mut node = Node::new();
    node.write(1);
    let (handed, _) = node.sent_to();
    let relay = handed[0].0.clone();
    node.acknowledge(&relay, 1);
    let member = node
        .known
        .roster
        .table
        .get_mut(&process(&relay).name)
        .map(|known| {
            known.state = MemberState::Failed;
            known.member()
        });
    node.spread
        .member_changed(&mut node.core, &member.expect("a member"));
    let sent = node.flush();
    let group = |message: &Message| match message {
        Message::Handed(handed) => Some(handed.bits),
        _ => None,
    };
    assert_eq!(
        sent.iter()
            .filter_map(|(_, message)| group(message))
            .count(),
        1
    );
    assert!(sent.iter().all(|(to, _)| *to != relay));
}

#[test]
fn what_is_handed_to_this_node_goes_to_its_row_and_is_told_of_when_all_hold_it() {
    let mut node = Node::new();
    let parent = node.others_parent();
    node.is_handed(&parent, 9, 1, 2);
    node.core.outputs.clear();
    let (handed, mut plain) = node.sent_to();
    plain.sort();
    assert_eq!((handed, &plain), (Vec::new(), &node.row()));
    for mate in &plain[1..] {
        node.acknowledge(mate, 1);
    }
    assert_eq!(node.flush(), []);
    // Its time has come: a part is told.
    node.core.now.mono += MS * 50;
    node.spread.duties_due(&node.core);
    let told = |sent: Vec<(String, Message)>| -> Vec<(String, bool, usize)> {
        let told = sent.into_iter().map(|(to, message)| match message {
            Message::Covered(covered) => {
                let [report] = &covered.reports[..] else {
                    panic!("{covered:?}");
                };
                assert_eq!((report.packet, report.taken), (9, 1));
                assert_ne!(report.list, 0, "both know the same members");
                let holders = report.holders.iter().map(|word| word.count_ones() as usize);
                (to, report.complete, holders.sum())
            }
            other => panic!("{other:?}"),
        });
        told.collect()
    };
    let sent = node.flush();
    assert_eq!(told(sent), [(parent.clone(), false, plain.len() - 1)]);
    node.acknowledge(&plain[0], 1);
    let sent = node.flush();
    assert_eq!(told(sent), [(parent.clone(), true, plain.len())]);
    // Who asks is told again, and nobody is sent it again.
    let recall = Recall {
        token: 0,
        packets: vec![9, 10],
    };
    node.spread.recall_received(&process(&parent), &recall);
    let sent = node.flush();
    assert_eq!(told(sent), [(parent.clone(), true, plain.len())]);
    node.is_handed(&parent, 11, 1, 2);
    node.core.outputs.clear();
    let sent = node.flush();
    assert!(matches!(&sent[..], [(_, Message::Covered(_))]), "{sent:?}");
}

#[test]
fn who_asks_how_far_a_packet_is_is_told_on_the_link_as_well() {
    let mut node = Node::new();
    let parent = node.others_parent();
    let session = node.known.sessions.by_process.get_mut(&process(&parent));
    session.expect("a session").link = Some(StreamId(77));
    node.is_handed(&parent, 9, 1, 2);
    node.core.outputs.clear();
    let (_, plain) = node.sent_to();
    for mate in &plain {
        node.acknowledge(mate, 1);
    }
    let told = |node: &Node| {
        let outputs = node.core.outputs.iter();
        let on_link = outputs.filter(|output| match output {
            Output::StreamSend { stream, .. } => *stream == StreamId(77),
            _ => false,
        });
        (datagrams(&node.core).len(), on_link.count())
    };
    node.core.outputs.clear();
    node.spread.flush(&mut node.core, node.known.facts());
    assert_eq!(told(&node), (1, 0), "it is told by datagram");
    let recall = Recall {
        token: 0,
        packets: vec![9],
    };
    node.spread.recall_received(&process(&parent), &recall);
    node.core.outputs.clear();
    node.spread.flush(&mut node.core, node.known.facts());
    assert_eq!(told(&node), (1, 1), "which may have been lost");
    node.core.outputs.clear();
    let facts = node.known.facts();
    node.spread
        .recall(&mut node.core, facts, &process(&parent), &[1]);
    assert_eq!(told(&node), (1, 1), "and so may what asks");
}

#[test]
fn a_member_that_lacks_a_store_is_not_waited_for() {
    let mut node = Node::new();
    let (parent, row) = (node.others_parent(), node.row());
    let lacking = process(&row[0]);
    let session = node.known.sessions.by_process.get_mut(&lacking);
    session.expect("a session").stores.clear();
    node.is_handed(&parent, 9, 1, 2);
    node.core.outputs.clear();
    let (_, mut plain) = node.sent_to();
    plain.sort();
    assert_eq!(plain, row[1..]);
    for mate in &plain[..plain.len() - 1] {
        node.acknowledge(mate, 1);
    }
    assert_eq!(node.flush(), []);
    node.acknowledge(&plain[plain.len() - 1], 1);
    let sent = node.flush();
    let [(to, Message::Covered(covered))] = &sent[..] else {
        panic!("{sent:?}");
    };
    let report = &covered.reports[0];
    let told: u32 = report.holders.iter().map(|word| word.count_ones()).sum();
    assert_eq!((to, report.complete), (&parent, true));
    assert_eq!(told as usize, plain.len(), "it is no holder");
}

#[test]
fn what_is_handed_within_a_group_is_taken_and_not_handed_on() {
    let mut node = Node::new();
    let (parent, row) = (node.others_parent(), node.row());
    // All members, one of which has sent it; and a member of the row, for the row.
    for (n, (from, bits)) in [(&parent, 0), (&row[0], 2)].into_iter().enumerate() {
        node.is_handed(from, 9, n as u8 + 1, bits);
        node.core.outputs.clear();
        let (handed, plain) = node.sent_to();
        assert_eq!((handed, plain), (Vec::new(), Vec::new()));
        assert_eq!(node.spread.duties.len(), 0);
        assert_eq!(node.core.counters.unexpected, n as u64 + 1);
        assert_eq!(node.store.head(), n as u64 + 1, "it is held");
    }
}

#[test]
fn what_is_handed_beyond_a_turns_work_is_taken_and_not_handed_on() {
    let mut node = Node::new();
    let parent = node.others_parent();
    let entry = |n: usize| {
        let mut key = [0xff; 16];
        key[..8].copy_from_slice(&n.to_be_bytes());
        Entry {
            key: Key(key),
            ..note(0)
        }
    };
    let others = node.row().len();
    let most = LOOKS_MAX / others;
    node.are_handed(&parent, 9, (0..most).map(entry).collect(), 2);
    assert_eq!(
        (node.spread.duties.len(), node.core.counters.unexpected),
        (1, 0)
    );
    node.are_handed(&parent, 10, (0..=most).map(entry).collect(), 2);
    assert_eq!(
        (node.spread.duties.len(), node.core.counters.unexpected),
        (1, 1)
    );
    assert_eq!(node.store.len(), most + 1);
}

/// A durable peer tells that it has merged a packet before it acknowledges it, and what it refuses only then.
#[test]
fn what_a_durable_relay_refuses_is_brought_to_its_group_all_the_same() {
    let mut node = Node::new();
    node.write(1);
    node.write(2);
    let (handed, _) = node.sent_to();
    let relay = handed[0].0.clone();
    let others = node.others(&relay);
    let arrived = Arrived {
        token: 0,
        ranges: vec![(1, 1)],
    };
    node.spread
        .arrived(&mut node.core, &process(&relay), arrived);
    // It tells of the one that it has taken; which one that is is not known yet.
    node.covers(&relay, 1, true, &[]);
    let lane = &node.spread.lanes[&process(&relay)];
    assert!(!lane.handed.is_empty(), "nothing follows from that");
    let ack = Ack {
        token: 0,
        ranges: vec![(1, 1)],
        refused: vec![RefusedEntry {
            packet: 1,
            index: 0,
            reason: Refusal::Full,
        }],
    };
    node.spread
        .ack_received(&mut node.core, &process(&relay), &ack);
    node.core.outputs.clear();
    let sent = node.flush();
    for other in &others {
        let to_it = sent.iter().filter(|(to, _)| *to == other.name.as_str());
        let entries = to_it.map(|(_, message)| match message {
            Message::Delta(delta) => delta.sections[0].entries.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(entries.sum::<usize>(), 1, "the one that is refused");
    }
}

impl Node {
    /// Somebody who is not in this node's row.
    fn others_parent(&self) -> String {
        let row = self.row();
        let parent = self.names.iter().find(|name| !row.contains(name));
        parent.expect("there are several rows").clone()
    }
}

#[test]
fn a_group_that_nobody_hands_on_to_is_served_once_somebody_does() {
    let mut node = Node::new();
    node.write(1);
    let (handed, _) = node.sent_to();
    let relay = handed[0].0.clone();
    let group = node
        .core
        .grid
        .group_of(&process(&relay).name)
        .expect("another group");
    let members: Vec<ProcessId> = node.core.grid.members(group).collect();
    let mut gone = Vec::new();
    for member in &members {
        gone.push((
            member.clone(),
            node.known.sessions.by_process.remove(member),
        ));
        node.spread.forget(&mut node.core, member);
    }
    node.write(2);
    let (handed, _) = node.sent_to();
    assert!(handed.iter().all(|(to, _)| !members.contains(&process(to))));
    assert!(node.is_owing());
    for (member, session) in gone {
        node.known
            .sessions
            .by_process
            .insert(member.clone(), session.expect("a session"));
        let start = SessionStart {
            process: member,
            new: true,
            renewed: false,
            dialled: true,
            round_trip: None,
        };
        node.spread.session_begun(&mut node.core, &start);
    }
    let sent = node.flush();
    let to_group = sent.iter().filter(|(to, _)| members.contains(&process(to)));
    let entries = to_group.map(|(_, message)| match message {
        Message::Handed(handed) => handed.delta.sections[0].entries.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(entries.collect::<Vec<_>>(), [2], "both, to one of them");
}

#[test]
fn back_in_direct_mode_everybody_is_a_leaf_again() {
    let mut node = Node::new();
    node.write(1);
    node.spread.membership_changed(&mut node.core, 14);
    assert!(node.core.take_asks().contains(&Ask::CatchUpAll));
    assert!(
        node.spread
            .lanes
            .values()
            .all(|lane| lane.role == Role::Leaf)
    );
    node.write(2);
    let (handed, plain) = node.sent_to();
    assert_eq!((handed.len(), plain.len()), (0, 24));
}

/// What fits no datagram goes by the link, and is handed on like everything else.
#[test]
fn a_large_value_is_handed_on_too() {
    let mut node = Node::new();
    let mut large = note(1);
    large.body = vec![7; 10_000].into();
    node.store.replica().merge(&[large], node.core.now.wall);
    node.spread.flush(&mut node.core, node.known.facts());
    let frames = crate::engine::core::tests::frames(&node.core);
    let handed = frames
        .iter()
        .filter(|(_, message)| matches!(message, Message::Handed(_)));
    let groups = node.spread.groups.by_id.keys();
    let several = groups.filter(|group| node.core.grid.members(**group).nth(1).is_some());
    assert_eq!(handed.count(), several.count());
    assert_eq!(
        frames.len(),
        node.row().len() + node.spread.groups.by_id.len()
    );
}

/// A relay that takes nothing is owed no more than anybody is.
#[test]
fn what_a_relay_is_owed_beyond_the_limit_is_left_to_exchanges_with_its_group() {
    let mut node = Node::new();
    node.core.config.backlog_keys_max = 3;
    node.write(1);
    let (handed, _) = node.sent_to();
    let relay = process(&handed[0].0);
    let group = node.core.grid.group_of(&relay.name).expect("another group");
    node.acknowledge(&handed[0].0, 1);
    let places: Vec<StoreKey> = (100..109)
        .map(|n| (node.store.id(), Key([n; 16])))
        .collect();
    node.spread.hand_to(&mut node.core, group, &places[..3]);
    node.flush();
    assert_eq!(node.core.take_asks(), []);
    node.spread.hand_to(&mut node.core, group, &places);
    node.flush();
    let asks = node.core.take_asks();
    let members: Vec<ProcessId> = node.core.grid.members(group).collect();
    for member in members {
        assert!(asks.contains(&Ask::CatchUp(member)));
    }
    let lane = &node.spread.lanes[&relay];
    assert_eq!(lane.role, Role::Relay(group), "it hands on what comes next");
    assert!(lane.owed.outstanding.is_empty());
}

#[test]
fn what_a_process_was_handed_is_not_done_by_the_next_one_of_its_name() {
    let mut node = Node::new();
    node.write(1);
    let (handed, _) = node.sent_to();
    let relay = process(&handed[0].0);
    let bits = handed[0].1;
    node.acknowledge(&handed[0].0, 1);
    let known = node.known.roster.table.get_mut(&relay.name);
    let known = known.expect("a member");
    known.id.process.boot += 1;
    let member = known.member();
    node.spread.member_changed(&mut node.core, &member);
    let sent = node.flush();
    let handed = sent.iter().filter(|(to, message)| {
        *to != relay.name.as_str()
            && matches!(message, Message::Handed(handed) if handed.bits == bits)
    });
    assert_eq!(handed.count(), 1, "another one does it");
}

/// What came from others is not sent to a group for which somebody hands on later.
#[test]
fn groups_that_nobody_hands_on_to_keep_what_is_not_theirs_to_get() {
    let mut node = Node::new();
    node.write(1);
    let (handed, _) = node.sent_to();
    let group = node.core.grid.group_of(&process(&handed[0].0).name);
    let group = group.expect("another group");
    let before = node.store.head();
    for member in node.core.grid.members(group) {
        node.known.sessions.by_process.remove(&member);
    }
    let members: Vec<ProcessId> = node.core.grid.members(group).collect();
    for member in &members {
        node.spread.forget(&mut node.core, member);
    }
    node.flush();
    // More ranges of what came from others than are kept for nobody, and a write of its own after each.
    for range in 0..1_100 {
        node.core
            .stores
            .add_foreign(node.store.id(), before + 1 + 2 * range);
    }
    for lane in node.spread.lanes.values_mut() {
        lane.owed.advance(node.store.id(), before + 5_000);
    }
    node.spread.prune_foreign(&mut node.core);
    assert!(node.core.stores.is_foreign(node.store.id(), before + 1));
}

/// When groups change, they are served from where the last of the old ones was. Who is gone is none of them.
#[test]
fn one_that_is_gone_has_nothing_sent_again_when_groups_change() {
    let mut node = Node::new();
    node.write(1);
    let (handed, plain) = node.sent_to();
    for to in plain.iter().chain(handed.iter().map(|(to, _)| to)) {
        node.acknowledge(to, 1);
    }
    for (relay, _) in &handed {
        node.covers(relay, 1, true, &[]);
    }
    let gone = process(&node.row()[0]);
    let store = node.store.id();
    let lane = node.spread.lanes.get_mut(&gone).expect("a lane");
    lane.owed.advance(store, 0);
    let mut member = node.known.roster.table[&gone.name].member();
    member.state = MemberState::Failed;
    node.spread.member_changed(&mut node.core, &member);
    let shape = node.core.grid.shape();
    for n in 0..12 {
        node.core.grid.insert(&process(&format!("new{n}")));
    }
    assert_ne!(node.core.grid.shape(), shape);
    node.spread.groups.stale = true;
    assert_eq!(node.sent_to(), (Vec::new(), Vec::new()));
}

#[test]
fn a_member_that_comes_back_is_compared_with() {
    let mut node = Node::new();
    let gone = process(&node.names[3]);
    let mut member = node.known.roster.table[&gone.name].member();
    member.state = MemberState::Failed;
    node.spread.member_changed(&mut node.core, &member);
    assert!(!node.core.grid.has(&gone));
    node.core.take_asks();
    member.state = MemberState::Alive;
    node.spread.member_changed(&mut node.core, &member);
    assert_eq!(node.core.take_asks(), [Ask::CatchUp(gone)]);
}

const MS: Duration = Duration::from_millis(1);
