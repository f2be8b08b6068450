//! The owner without an engine: deltas go in, and what is merged is read from the store.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::engine::core::TURN_WORK;
use crate::engine::core::tests::{core_with, name, note, notes, process, take_events};
use crate::engine::event::Event;
use crate::engine::io::StreamId;
use crate::id::{Key, StoreId};
use crate::store::Store;
use crate::wire::{Entry, Section};

struct Node {
    core: Core,
    merges: Merges,
    store: Arc<dyn Store>,
}

/// A node with an empty store of notes.
fn node() -> Node {
    let (store, _) = notes(0);
    Node {
        core: core_with(vec![Arc::clone(&store)], false),
        merges: Merges::default(),
        store,
    }
}

/// So many entries of one length that nobody can read, under keys from this number on.
fn entries(from: u32, count: u32, bytes: usize) -> Vec<Entry> {
    let entry = |n: u32| {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&n.to_be_bytes());
        Entry {
            key: Key(key),
            body: Bytes::from(vec![7; bytes]),
            ..note(1)
        }
    };
    (from..from + count).map(entry).collect()
}

fn delta(store: StoreId, packet: u64, entries: Vec<Entry>) -> Delta {
    Delta {
        token: 1,
        packet,
        uncovered: Vec::new(),
        sections: vec![Section { store, entries }],
    }
}

impl Node {
    fn take(&mut self, from: &str, way: DeltaWay, packet: u64, entries: Vec<Entry>) {
        let process = process(from);
        let delta = delta(self.store.id(), packet, entries);
        let incoming = IncomingDelta {
            process,
            way,
            delta,
            hand: None,
        };
        self.merges.take(&mut self.core, incoming);
    }

    /// The next turn.
    fn turn(&mut self) {
        self.core.work_left = TURN_WORK;
        self.merges.go_on(&mut self.core);
    }

    /// Who and which packet was merged whole since this was last asked.
    fn merged(&mut self) -> Vec<(String, u64)> {
        let asks = self.core.take_asks().into_iter();
        asks.filter_map(|ask| match ask {
            Ask::DeltaMerged(merged) => Some((merged.process.name.to_string(), merged.packet)),
            _ => None,
        })
        .collect()
    }
}

fn of(name: &str, packet: u64) -> (String, u64) {
    (name.to_owned(), packet)
}

#[test]
fn what_costs_little_is_merged_at_once() {
    let mut node = node();
    node.take("a", DeltaWay::Datagram, 1, entries(0, 20, 50));
    assert_eq!(node.merged(), [of("a", 1)]);
    assert_eq!((node.store.len(), node.merges.bytes()), (20, 0));
    assert_eq!(node.core.counters.merges_deferred, 0);
}

#[test]
fn what_costs_more_than_a_turn_is_merged_over_several_and_told_once() {
    let mut node = node();
    node.take("a", DeltaWay::Link(StreamId(1)), 1, entries(0, 60, 100_000));
    assert!(node.merged().is_empty());
    let mut turns = 1;
    while node.merges.bytes() > 0 {
        let before = node.store.len();
        assert!(before > 0, "each turn gets on");
        node.turn();
        turns += 1;
    }
    // A body of 100 kB is 0.35 ms of nominal work.
    assert!((8..16).contains(&turns), "{turns} turns");
    assert_eq!(node.store.len(), 60);
    assert_eq!(node.merged(), [of("a", 1)]);
}

/// However much the others send: it comes first in the turn after the one in which it did not fit.
#[test]
fn an_entry_that_costs_more_than_a_turn_has_a_turn_to_itself() {
    let mut node = node();
    let small = |node: &mut Node, packet: u32| {
        node.core.work_left = Duration::ZERO;
        let entries = entries(packet * 10, 1, 10);
        node.take("b", DeltaWay::Datagram, packet.into(), entries);
    };
    small(&mut node, 1);
    small(&mut node, 2);
    let way = DeltaWay::Link(StreamId(1));
    node.take("a", way, 1, entries(0, 1, 1 << 20));
    let mut merged = Vec::new();
    for packet in 3..8 {
        small(&mut node, packet);
        node.turn();
        let now = node.merged();
        let large = now.contains(&of("a", 1));
        assert!(!large || now.len() == 1, "{now:?}");
        merged.extend(now);
    }
    let at = merged.iter().position(|of| of.0 == "a");
    assert!(at.is_some_and(|at| at < 3), "{merged:?}");
    node.turn();
    assert_eq!((node.merges.bytes(), node.store.len()), (0, 8));
}

#[test]
fn what_one_sends_is_not_held_up_by_what_another_sends() {
    let mut node = node();
    node.take(
        "a",
        DeltaWay::Link(StreamId(1)),
        1,
        entries(0, 100, 100_000),
    );
    node.take("a", DeltaWay::Datagram, 2, entries(200, 1, 10));
    node.core.work_left = TURN_WORK;
    node.take("b", DeltaWay::Datagram, 1, entries(300, 1, 10));
    assert_eq!(node.merged(), [of("b", 1)], "a comes in order, b at once");
    node.core.work_left = TURN_WORK;
    node.take(
        "c",
        DeltaWay::Link(StreamId(2)),
        1,
        entries(400, 10, 100_000),
    );
    // Two take turns: the shorter one is done long before the longer one.
    let mut turns = 0;
    while node.merged().is_empty() {
        node.turn();
        turns += 1;
    }
    assert!(turns < 12, "{turns} turns");
    assert!(node.merges.bytes() > 4_000_000);
}

#[test]
fn what_waits_is_bounded_and_its_sender_named() {
    let mut node = node();
    for packet in 0..40 {
        let entries = entries(0, 10, 100_000);
        node.core.work_left = Duration::ZERO;
        node.take("a", DeltaWay::Datagram, packet, entries);
    }
    assert!(node.merges.bytes() <= PROCESS_BYTES_MAX);
    assert!(node.core.counters.merges_refused > 10);
    node.take(
        "a",
        DeltaWay::Link(StreamId(9)),
        99,
        entries(0, 10, 100_000),
    );
    let closed = Ask::AbandonStream(StreamId(9));
    assert!(node.core.take_asks().contains(&closed));
    let named = take_events(&mut node.core).into_iter().filter(|event| {
        matches!(event, Event::MemberMisbehaved { peer, kind: Misbehaviour::CostsTooMuch, .. }
            if *peer == name("a"))
    });
    assert_eq!(named.count(), 1);
    // The others find room.
    node.core.work_left = Duration::ZERO;
    node.take("b", DeltaWay::Datagram, 1, entries(0, 10, 100_000));
    let waiting = node.merges.bytes();
    node.merges.forget(&process("a"));
    assert!(node.merges.bytes() < waiting && node.merges.bytes() > 1_000_000);
}

#[test]
fn a_member_that_asks_for_more_work_than_its_part_waits_and_is_named() {
    let mut node = node();
    let now = node.core.now.mono;
    let work = ALLOWANCE * 2 / SHARE;
    node.merges.debts.charge(now, &name("a"), work);
    node.take("a", DeltaWay::Datagram, 1, entries(0, 1, 10));
    node.turn();
    assert!(node.merged().is_empty());
    assert!(take_events(&mut node.core).iter().any(|event| {
        matches!(
            event,
            Event::MemberMisbehaved {
                kind: Misbehaviour::CostsTooMuch,
                ..
            }
        )
    }));
    // It goes on when that is made up for.
    let next = node.core.timers.next();
    assert_eq!(next, Some(node.core.now.mono + ALLOWANCE));
    node.core.now.mono += ALLOWANCE;
    node.turn();
    assert_eq!(node.merged(), [of("a", 1)]);
}

#[test]
fn work_is_charged_to_the_one_who_asked_for_it() {
    let mut node = node();
    node.take("a", DeltaWay::Link(StreamId(1)), 1, entries(0, 4, 100_000));
    node.core.now.mono = Duration::ZERO;
    node.merges
        .debts
        .charge(Duration::ZERO, &name("a"), ALLOWANCE / SHARE);
    let work = node.merges.debts.free_at(&name("a")) - Duration::from_secs(1);
    assert!(work > Duration::from_millis(4) && work < Duration::from_millis(8));
    assert_eq!(node.merges.debts.len(), 1);
    node.merges.member_forgotten(&name("a"));
    assert_eq!(node.merges.debts.len(), 0);
}

#[test]
fn nobody_is_named_for_the_room_that_others_take() {
    let mut node = node();
    for (number, liar) in ["x", "y", "z"].into_iter().enumerate() {
        for packet in 0..27 {
            node.core.work_left = Duration::ZERO;
            let stream = StreamId(number as u64);
            node.take(liar, DeltaWay::Link(stream), packet, entries(0, 9, 100_000));
        }
    }
    assert!(node.merges.bytes() > BYTES_MAX - (1 << 20));
    node.core.take_asks();
    node.core.outputs.clear();
    node.core.work_left = Duration::ZERO;
    node.take("a", DeltaWay::Link(StreamId(9)), 1, entries(0, 9, 100_000));
    // One of those who take the room makes some.
    let asks = node.core.take_asks();
    assert!(
        matches!(asks[..], [Ask::AbandonStream(StreamId(stream))] if stream < 3),
        "{asks:?}"
    );
    assert_eq!(node.merges.waiting_on(StreamId(9)), 1);
    assert!(node.merges.bytes() <= BYTES_MAX);
    assert!(take_events(&mut node.core).is_empty());
    node.merges.forget(&process("a"));
    // What is little is merged at once.
    node.core.work_left = TURN_WORK;
    node.take("a", DeltaWay::Datagram, 2, entries(0, 9, 10));
    assert_eq!(node.merged(), [of("a", 2)]);
}

#[test]
fn a_frame_that_waits_is_done_with_when_it_is_merged() {
    let mut node = node();
    let stream = StreamId(1);
    let done = |core: &Core| {
        let outputs = core.outputs.iter();
        let done = outputs.filter(|output| matches!(output, Output::StreamFrameDone { .. }));
        done.count()
    };
    node.take("a", DeltaWay::Link(stream), 1, entries(0, 60, 100_000));
    node.take("a", DeltaWay::Datagram, 2, entries(200, 1, 10));
    node.take("a", DeltaWay::Link(stream), 3, entries(300, 1, 10));
    assert_eq!((node.merges.waiting_on(stream), done(&node.core)), (2, 0));
    while node.merges.bytes() > 0 {
        node.turn();
    }
    assert_eq!((node.merges.waiting_on(stream), done(&node.core)), (0, 2));
    // What was never put off is said to be done with by who routes it.
    node.core.work_left = TURN_WORK;
    node.take("a", DeltaWay::Link(stream), 4, entries(400, 1, 10));
    assert_eq!(done(&node.core), 2);
    node.core.work_left = Duration::ZERO;
    node.take("a", DeltaWay::Link(stream), 5, entries(500, 10, 100_000));
    assert_eq!(node.merges.waiting_on(stream), 1);
    node.merges.forget(&process("a"));
    assert_eq!(
        (node.merges.waiting_on(stream), node.merges.bytes()),
        (0, 0)
    );
}

#[test]
fn deltas_without_entries_are_bounded_too() {
    let mut node = node();
    node.core.work_left = Duration::ZERO;
    node.take("a", DeltaWay::Datagram, 1, entries(0, 1, 10));
    for packet in 2..100_000 {
        node.take("a", DeltaWay::Datagram, packet, Vec::new());
    }
    assert!(node.core.counters.merges_refused > 1_000);
    assert!(node.merges.bytes() <= PROCESS_BYTES_MAX);
}
