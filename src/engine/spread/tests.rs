//! The owner of what is under way to peers, by itself: who is sent what, and who is told of it.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::engine::core::LinkPolicy;
use crate::engine::core::delta::DeltaWay;
use crate::engine::core::quota::SendQuota;
use crate::engine::core::tests::{
    Known, core_with, datagrams, linked, merged, name, note, notes, process,
};
use crate::engine::io::Output;
use crate::id::{MemberState, NodeName, Refusal};
use crate::store::{Held, ReplicationError, Store, WriteId};
use crate::wire::{Ack, Delta, Message, RefusedEntry, Section};

/// A node with an empty store and a lane to each of these live members: the n-th is at port 1 + n.
struct Node {
    core: Core,
    spread: Spread,
    known: Known,
    store: Arc<dyn Store>,
}

impl Node {
    fn beside(names: &[&str]) -> Self {
        Self::with(names, false)
    }

    fn with(names: &[&str], durable: bool) -> Self {
        let store = notes(0).0;
        let mut core = core_with(vec![Arc::clone(&store)], durable);
        let known = linked(&core, names);
        let mut spread = Spread::new();
        for process in known.sessions.by_process.keys() {
            let start = SessionStart {
                process: process.clone(),
                new: true,
                renewed: false,
                dialled: true,
                round_trip: Some(Duration::from_millis(1)),
            };
            spread.session_begun(&mut core, &start);
        }
        Self {
            core,
            spread,
            known,
            store,
        }
    }

    fn write(&self, n: u8) -> WriteId {
        let entry = note(n);
        let key = entry.key;
        self.store.replica().merge(&[entry], self.core.now.wall);
        WriteId {
            store: self.store.id(),
            key,
            seq: self.store.head(),
        }
    }

    /// Takes what is sent by datagram: to which port, and what.
    fn sent(&mut self) -> Vec<(u16, Message)> {
        let sent = datagrams(&self.core).into_iter();
        let sent = sent.map(|(to, message)| (to.port(), message)).collect();
        self.core.outputs.clear();
        sent
    }

    /// Flushes: to which port each delta went, whom it names as uncovered, and the notes in it.
    fn flush(&mut self) -> Vec<(u16, Vec<NodeName>, Vec<u8>)> {
        self.spread.flush(&mut self.core, self.known.facts());
        let deltas = self.sent().into_iter().map(|(port, message)| {
            let Message::Delta(delta) = message else {
                panic!("{message:?}");
            };
            let entries = delta.sections.iter().flat_map(|section| &section.entries);
            let notes = entries.map(|entry| entry.key.0[0]).collect();
            (port, delta.uncovered, notes)
        });
        deltas.collect()
    }

    fn is_owing(&self) -> bool {
        self.spread.is_owing(&self.core, self.known.facts())
    }

    fn entries_owed(&self) -> usize {
        self.spread.entries_owed(self.known.facts())
    }

    /// Whether it is due is not asked.
    fn check_loss(&mut self, text: &str) {
        let facts = self.known.facts();
        self.spread
            .check_loss(&mut self.core, facts, &process(text));
    }

    /// A member acknowledges its first packet, which has one entry.
    fn acknowledge(&mut self, text: &str, refused: Option<Refusal>) {
        let refused = refused.map(|reason| RefusedEntry {
            packet: 1,
            index: 0,
            reason,
        });
        let ack = Ack {
            token: 0,
            ranges: vec![(1, 1)],
            refused: refused.into_iter().collect(),
        };
        self.spread
            .ack_received(&mut self.core, &process(text), &ack);
        for ask in self.core.take_asks() {
            let Ask::Acknowledged(process, receipt) = ask else {
                panic!("{ask:?}");
            };
            let facts = self.known.facts();
            self.spread
                .acknowledged(&mut self.core, facts, &process, receipt);
        }
    }

    /// A member sends these notes, as its packet of this number. Returns what it is charged for having them passed on.
    fn receive(
        &mut self,
        text: &str,
        packet: u64,
        notes: &[u8],
        uncovered: Vec<NodeName>,
    ) -> Duration {
        let section = Section {
            store: self.store.id(),
            entries: notes.iter().map(|&n| note(n)).collect(),
        };
        let delta = Delta {
            token: 0,
            packet,
            uncovered,
            sections: vec![section],
        };
        let facts = self.known.facts();
        let merged = merged(&mut self.core, &process(text), DeltaWay::Datagram, delta);
        self.spread.delta_merged(&mut self.core, facts, merged);
        let asks = self.core.take_asks().into_iter();
        let charged = asks.map(|ask| match ask {
            Ask::PassedOn(whom, work) if whom == name(text) => work,
            other => panic!("{other:?}"),
        });
        charged.sum()
    }

    /// A member tells what another one holds.
    fn relayed(&mut self, from: &str, relayed: &crate::wire::Relayed) {
        let facts = self.known.facts();
        self.spread
            .relayed_received(&mut self.core, facts, &process(from), relayed);
    }

    fn watch(&mut self, write: WriteId, copies: usize) {
        let (facts, within) = (self.known.facts(), Duration::from_secs(9));
        self.spread
            .watch(&mut self.core, facts, 7, write, copies.into(), within);
    }

    /// How the watch ended, if it has.
    fn watched(&self) -> Option<Result<Held, ReplicationError>> {
        self.core.outputs.iter().find_map(|output| match output {
            Output::Watched { ticket: 7, outcome } => Some(outcome.clone()),
            _ => None,
        })
    }
}

#[test]
fn a_write_leaves_for_every_live_member_in_one_flush() {
    let mut node = Node::beside(&["a", "b", "c"]);
    let table = &mut node.known.roster.table;
    table.get_mut(&name("b")).unwrap().state = MemberState::Failed;
    node.write(1);
    assert_eq!(
        node.flush(),
        [(2, Vec::new(), vec![1]), (4, Vec::new(), vec![1])]
    );
    assert_eq!(node.flush(), [], "it is under way");
    assert!(node.core.timers.is_set(&TimerKind::Loss(process("a"))));
}

#[test]
fn a_write_is_owed_until_every_live_member_has_acknowledged_it() {
    let mut node = Node::beside(&["a", "b"]);
    assert!(!node.is_owing());
    node.write(1);
    assert!(node.is_owing());
    node.flush();
    assert_eq!(node.entries_owed(), 2);
    node.acknowledge("a", None);
    assert!(node.is_owing());
    assert_eq!(node.entries_owed(), 1);
    node.acknowledge("b", None);
    assert!(!node.is_owing());
    assert_eq!(node.entries_owed(), 0);
}

#[test]
fn a_write_that_is_lost_goes_out_again_with_its_current_value() {
    let mut node = Node::beside(&["a"]);
    node.write(1);
    node.flush();
    node.core.now.mono += Duration::from_secs(2);
    node.check_loss("a");
    assert_eq!(node.core.counters.packets_lost, 1);
    assert_eq!(node.flush(), [(2, Vec::new(), vec![1])]);
}

#[test]
fn a_change_that_came_from_another_process_is_not_sent_on() {
    let mut node = Node::beside(&["a", "b"]);
    node.receive("b", 1, &[1], Vec::new());
    let sent = node.sent();
    assert!(
        matches!(&sent[..], [(3, Message::Ack(ack))] if ack.ranges == [(1, 1)]),
        "it is acknowledged alone: {sent:?}"
    );
    node.write(2);
    assert_eq!(
        node.flush(),
        [(2, Vec::new(), vec![2]), (3, Vec::new(), vec![2])]
    );
}

#[test]
fn what_is_not_on_disk_is_not_acknowledged() {
    let mut node = Node::with(&["a"], true);
    node.receive("a", 1, &[1], Vec::new());
    let facts = node.known.facts();
    node.spread.acknowledge_committed(&mut node.core, facts);
    // That it has arrived is told at once: a slow disk is not a slow network.
    assert!(matches!(&node.sent()[..], [(2, Message::Arrived(_))]));
    let (batch, _) = node
        .core
        .ledger
        .begin(&node.core.stores, node.core.now.mono)
        .unwrap();
    assert!(node.core.ledger.end(batch, true));
    let facts = node.known.facts();
    node.spread.acknowledge_committed(&mut node.core, facts);
    assert!(matches!(&node.sent()[..], [(2, Message::Ack(_))]));
}

/// One after the other, and all of them in the end.
#[test]
fn a_turn_sends_so_much_to_all_and_the_next_one_goes_on_with_the_next_peer() {
    let mut node = Node::beside(&["a", "b", "c", "d", "e", "f", "g"]);
    for n in 1..=200 {
        node.write(n);
    }
    let entries = |sent: &[(u16, Vec<NodeName>, Vec<u8>)]| -> usize {
        sent.iter().map(|(_, _, notes)| notes.len()).sum()
    };
    let turn = SendQuota::TURN.entries();
    let first = node.flush();
    assert_eq!(entries(&first), turn);
    assert!(node.core.timers.is_set(&TimerKind::Flush));
    assert!(node.flush().is_empty(), "the turn has sent what it may");
    node.core.send_left = SendQuota::TURN;
    let second = node.flush();
    assert_eq!(second.first().map(|(port, ..)| *port), Some(8), "g's turn");
    assert_eq!(entries(&second), 7 * 200 - turn);
    let mut got: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    for (port, _, notes) in first.into_iter().chain(second) {
        got.entry(port).or_default().extend(notes);
    }
    let all: Vec<u8> = (1..=200).collect();
    assert!(got.len() == 7 && got.values().all(|notes| *notes == all));
}

#[test]
fn a_backlog_over_the_limit_is_left_to_an_exchange() {
    let mut node = Node::beside(&["a"]);
    node.core.config.backlog_keys_max = 2;
    for n in 1..=3 {
        node.write(n);
    }
    assert_eq!(node.flush(), []);
    assert_eq!(node.core.take_asks(), [Ask::CatchUp(process("a"))]);
}

#[test]
fn links_change_with_the_mode_before_it_is_told() {
    let mut node = Node::beside(&[]);
    let max = node.core.config.direct_peers_max;
    node.spread.choose_mode(&mut node.core, max);
    assert_eq!(node.core.take_asks(), []);
    let members = max + 1;
    node.spread.choose_mode(&mut node.core, members);
    let exceeded = Event::DirectModeExceeded { members };
    let asked = [Ask::LinksChanged, Ask::Emit(exceeded)];
    assert_eq!(node.core.take_asks(), asked);
    assert_eq!(node.core.link_policy, LinkPolicy::Near);
    // What was written meanwhile went to nobody: back in direct mode exchanges make up for it.
    let members = 1;
    node.spread.choose_mode(&mut node.core, members);
    let restored = Event::DirectModeRestored { members };
    let asked = [Ask::CatchUpAll, Ask::LinksChanged, Ask::Emit(restored)];
    assert_eq!(node.core.take_asks(), asked);
    assert_eq!(node.core.link_policy, LinkPolicy::Kept);
}

#[test]
fn a_refused_entry_is_told_and_not_counted_as_held() {
    let mut node = Node::beside(&["a"]);
    let write = node.write(1);
    node.flush();
    node.watch(write, 1);
    assert_eq!(node.watched(), None);
    node.acknowledge("a", Some(Refusal::Full));
    let told = node.core.outputs.iter().any(|output| {
        matches!(output, Output::Event(Event::EntryRefused { by_us: false, peer, .. }) if *peer == name("a"))
    });
    assert!(told);
    let refused = || ReplicationError::Refused {
        peer: name("a"),
        reason: Refusal::Full,
    };
    assert_eq!(node.watched(), Some(Err(refused())), "no one else can");
    // Nor by a watch that begins later.
    node.core.outputs.clear();
    node.watch(write, 1);
    assert_eq!(node.watched(), Some(Err(refused())));
}

#[test]
fn what_one_finds_ahead_of_its_clock_is_no_mistake_if_another_takes_it() {
    for taken_first in [true, false] {
        let mut node = Node::beside(&["b", "c"]);
        node.write(1);
        node.flush();
        if taken_first {
            node.acknowledge("c", None);
            node.acknowledge("b", Some(Refusal::ClockAhead));
        } else {
            node.acknowledge("b", Some(Refusal::ClockAhead));
            assert_eq!(node.spread.ahead.len(), 1, "nobody is known to hold it");
            node.acknowledge("c", None);
        }
        assert!(node.spread.ahead.is_empty(), "it is held");
    }
}

#[test]
fn a_watch_goes_on_while_others_can_take_what_one_has_refused() {
    let mut node = Node::beside(&["a", "b"]);
    let write = node.write(1);
    node.flush();
    node.watch(write, 1);
    node.acknowledge("a", Some(Refusal::Full));
    assert_eq!(node.watched(), None);
    node.acknowledge("b", None);
    assert_eq!(node.watched(), Some(Ok(Held { copies: 1 })));
    assert!(!node.core.timers.is_set(&TimerKind::Watch(7)));
}

#[test]
fn a_watch_of_what_enough_hold_already_ends_at_once() {
    let mut node = Node::beside(&["a", "b"]);
    let write = node.write(1);
    node.flush();
    node.acknowledge("a", None);
    node.watch(write, 1);
    assert_eq!(node.watched(), Some(Ok(Held { copies: 1 })));
}

#[test]
fn a_watch_that_asks_for_more_members_than_there_are_ends_at_once() {
    let mut node = Node::beside(&["a"]);
    let write = node.write(1);
    node.watch(write, 2);
    let too_few = ReplicationError::TooFewMembers {
        asked: 2,
        members: 1,
    };
    assert_eq!(node.watched(), Some(Err(too_few)));
}

#[test]
fn a_watch_of_local_durability_ends_when_the_write_is_on_disk() {
    let mut node = Node::with(&[], true);
    let write = node.write(1);
    let (batch, _) = node
        .core
        .ledger
        .begin(&node.core.stores, node.core.now.mono)
        .unwrap();
    node.watch(write, 0);
    assert_eq!(node.watched(), None);
    node.core.ledger.end(batch, true);
    node.spread
        .watches_committed(&mut node.core, node.known.facts());
    assert_eq!(node.watched(), Some(Ok(Held { copies: 0 })));
}

#[test]
fn what_a_completed_exchange_covers_is_held_but_for_what_was_refused_in_it() {
    let mut node = Node::beside(&["a"]);
    let (first, second) = (node.write(1), node.write(2));
    let mut refused = Refusals::default();
    refused.add(((second.store, second.key), second.seq), Refusal::Full);
    let heads = node.core.stores.heads();
    let facts = node.known.facts();
    assert!(node.spread.is_covered(facts, &process("a"), &heads));
    node.watch(first, 1);
    assert_eq!(node.watched(), None);
    node.spread.exchanged(&process("a"), heads, refused);
    let facts = node.known.facts();
    node.spread
        .watch_synced(&mut node.core, facts, &process("a"));
    assert_eq!(node.watched(), Some(Ok(Held { copies: 1 })));
    node.core.outputs.clear();
    node.watch(second, 1);
    assert!(matches!(
        node.watched(),
        Some(Err(ReplicationError::Refused { .. }))
    ));
}

#[test]
fn what_a_silent_member_lacks_goes_to_relays_with_its_name() {
    let mut node = Node::beside(&["a", "b", "c"]);
    node.write(1);
    node.flush();
    node.acknowledge("b", None);
    node.acknowledge("c", None);
    assert_eq!(node.flush(), []);
    node.core.now.mono += Duration::from_millis(50);
    node.check_loss("a");
    let uncovered = || vec![name("a")];
    assert_eq!(
        node.flush(),
        [(3, uncovered(), vec![1]), (4, uncovered(), vec![1])]
    );
    // What is written from now on as well, until it acknowledges something.
    node.write(2);
    let expected = [
        (2, Vec::new(), vec![2]),
        (3, uncovered(), vec![2]),
        (4, uncovered(), vec![2]),
    ];
    assert_eq!(node.flush(), expected);
    node.acknowledge("a", None);
    node.write(3);
    let expected = [2, 3, 4].map(|port| (port, Vec::new(), vec![3]));
    assert_eq!(node.flush(), expected);
}

#[test]
fn a_relay_forwards_what_it_was_asked_to_and_tells_the_writer_who_holds_it() {
    let mut node = Node::beside(&["a", "writer"]);
    node.receive("writer", 1, &[1], vec![name("a")]);
    node.core.outputs.clear();
    assert_eq!(node.flush(), [(2, Vec::new(), vec![1])]);
    node.acknowledge("a", None);
    let sent = node.sent();
    let [(3, Message::Relayed(relayed))] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(relayed.holder, process("a"));
    assert_eq!(relayed.held[0].key, note(1).key);
    // The writer counts that as an acknowledgement by the holder, if it still has that version: from one
    // of those that were asked, about a member that does not acknowledge.
    let relayed = relayed.clone();
    node.relayed("writer", &relayed);
    assert_eq!(node.core.take_asks(), [], "a is within reach");
    node.spread
        .lanes
        .get_mut(&process("a"))
        .expect("a lane")
        .uncovered = true;
    node.relayed("stranger", &relayed);
    assert_eq!(node.core.take_asks(), [], "it was not asked");
    node.relayed("writer", &relayed);
    let held = vec![((node.store.id(), note(1).key), 1)];
    let denied = Vec::new();
    let receipt = Receipt { held, denied };
    assert_eq!(
        node.core.take_asks(),
        [Ask::Acknowledged(process("a"), receipt)]
    );
}

#[test]
fn who_has_passed_on_what_is_known_pays_for_the_sending() {
    let mut node = Node::beside(&["a", "b", "writer"]);
    let both = || vec![name("a"), name("b")];
    let first = node.receive("writer", 1, &[1], both());
    let again = node.receive("writer", 2, &[1], both());
    let looks = Duration::from_nanos(2 * 200);
    let sending = Duration::from_nanos(2 * 10 * note(1).encoded_len() as u64);
    assert_eq!((first, again), (looks, looks + sending));
    assert_eq!(node.receive("writer", 3, &[1], Vec::new()), Duration::ZERO);
}

impl Node {
    /// Who is behind, by how many notes and how much time. Everybody's exchange is over, but for these.
    fn lag(&self, unsynced: &[&str]) -> Vec<(String, usize, u64)> {
        let synced = |process: &ProcessId| !unsynced.contains(&process.name.as_str());
        let lags = self.spread.lag(&self.core, self.known.facts(), synced);
        let lags = lags.into_iter().map(|(name, lags)| {
            let [lag] = lags[..] else {
                panic!("{lags:?}");
            };
            let millis = u64::try_from(lag.age.as_millis()).unwrap();
            (name.to_string(), lag.changes, millis)
        });
        lags.collect()
    }

    /// Looks who is behind; returns what is told of it.
    fn look_at_lag(&mut self) -> Vec<Event> {
        self.core.outputs.clear();
        let facts = self.known.facts();
        self.spread.look_at_lag(&mut self.core, facts, |_| true);
        crate::engine::core::tests::take_events(&mut self.core)
    }
}

#[test]
fn who_does_not_acknowledge_is_behind_by_so_much_and_for_so_long() {
    let mut node = Node::beside(&["a", "b"]);
    assert_eq!(node.lag(&[]), []);
    node.write(1);
    let both = |changes, millis| {
        let of = |name: &str| (name.to_owned(), changes, millis);
        vec![of("a"), of("b")]
    };
    assert_eq!(node.lag(&[]), both(1, 0));
    node.flush();
    node.core.now.mono += Duration::from_millis(40);
    node.write(2);
    node.flush();
    node.core.now.mono += Duration::from_millis(2);
    assert_eq!(node.lag(&[]), both(2, 42));
    node.acknowledge("a", None);
    assert_eq!(node.lag(&[])[0], ("a".to_owned(), 1, 2));
    assert_eq!(node.lag(&[])[1], ("b".to_owned(), 2, 42));
    // With whom an exchange is due may lack all.
    assert_eq!(node.lag(&["a"])[0], ("a".to_owned(), 2, 0));
}

#[test]
fn who_stays_behind_is_told_of_once_and_when_it_has_caught_up() {
    let mut node = Node::beside(&["a", "b"]);
    node.write(1);
    node.flush();
    node.acknowledge("a", None);
    assert_eq!(node.look_at_lag(), []);
    node.core.now.mono += Duration::from_secs(10);
    let store = node.store.id();
    let behind = Event::MemberBehind {
        peer: name("b"),
        store,
        changes: 1,
        age: Duration::from_secs(10),
    };
    assert_eq!(node.look_at_lag(), [behind]);
    node.core.now.mono += Duration::from_secs(1);
    assert_eq!(node.look_at_lag(), []);
    let seen = node.spread.lag_seen();
    assert_eq!(seen[&name("b")][0].age, Duration::from_secs(11));
    node.acknowledge("b", None);
    let caught_up = Event::MemberCaughtUp {
        peer: name("b"),
        after: Duration::from_secs(11),
    };
    assert_eq!(node.look_at_lag(), [caught_up]);
    assert!(node.spread.lag_seen().is_empty());
}
