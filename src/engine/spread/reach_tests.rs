//! Tree mode where not everybody is within reach: large values without a link, and rows of two.

use std::time::Duration;

use super::tree_tests::Node;
use super::*;
use crate::engine::core::grid::GroupId;
use crate::engine::core::tests::{name, note, process};
use crate::wire::{HeldVersion, Message, Relayed};

impl Node {
    /// Writes a value that no datagram has room for.
    fn write_large(&mut self) {
        let mut large = note(1);
        large.body = vec![7; 10_000].into();
        self.store.replica().merge(&[large], self.core.now.wall);
        self.flush();
        self.core.take_asks();
    }

    fn look_at_lag(&mut self) -> Vec<Ask> {
        self.core.now.mono += Duration::from_secs(1);
        let facts = self.known.facts();
        self.spread.look_at_lag(&mut self.core, facts, |_| true);
        self.core.take_asks()
    }

    fn unlink(&mut self, process: &ProcessId) {
        let session = self.known.sessions.by_process.get_mut(process);
        session.expect("a session").link = None;
    }
}

#[test]
fn a_large_value_is_left_to_exchanges_where_no_link_comes() {
    let mut node = Node::new();
    let all: Vec<ProcessId> = node.known.sessions.by_process.keys().cloned().collect();
    all.iter().for_each(|process| node.unlink(process));
    node.write_large();
    assert_eq!(node.look_at_lag(), [], "a link may be on its way");
    assert!(node.is_owing());
    let asks = node.look_at_lag();
    assert_eq!(asks.len(), all.len(), "{asks:?}");
    assert!(all.into_iter().all(|it| asks.contains(&Ask::CatchUp(it))));
    assert!(!node.is_owing(), "nothing waits any more");
    assert_eq!((node.look_at_lag(), node.flush()), (vec![], vec![]));
}

#[test]
fn a_large_value_is_handed_to_somebody_with_a_link() {
    let mut node = Node::new();
    let groups = node.spread.groups.by_id.iter();
    let several = groups.filter(|(id, _)| node.core.grid.members(**id).nth(1).is_some());
    let mut relays = several.filter_map(|(id, group)| Some((*id, group.relay.clone()?)));
    let (group, relay) = relays.next().expect("a group with a relay");
    drop(relays);
    node.unlink(&relay);
    node.write_large();
    node.look_at_lag();
    node.look_at_lag();
    assert_eq!(node.core.counters.relays_passed_over, 1);
    node.flush();
    let next = node.spread.groups.by_id[&group].relay.clone();
    assert_ne!(next.as_ref(), Some(&relay));
    let handed = next.is_some_and(|next| !node.spread.lanes[&next].handed.is_empty());
    assert!(handed, "the next one hands it on");
    // The one without a link gets it by an exchange, and nobody else needs one.
    assert_eq!(node.look_at_lag(), [Ask::CatchUp(relay.clone())]);
    assert!(node.spread.lanes[&relay].owed.outstanding.is_empty());
}

/// The node shares its row with one other member, of whom it hears nothing.
fn in_a_row_of_two() -> (Node, ProcessId) {
    let row = |text: &str| GroupId::of(name(text).cell(), 2);
    let own = row("self");
    let all = (0..100).map(|n| format!("m{n:02}"));
    let (mates, others): (Vec<String>, Vec<String>) = all.partition(|text| row(text) == own);
    let mate = mates[0].clone();
    let mut names: Vec<String> = others.into_iter().take(20).collect();
    names.push(mate.clone());
    names.sort();
    let node = Node::with(names);
    assert_eq!(node.row(), std::slice::from_ref(&mate));
    (node, process(&mate))
}

#[test]
fn in_a_row_of_two_members_of_other_groups_get_past_a_broken_link() {
    let (mut node, mate) = in_a_row_of_two();
    let write = node.write(1);
    node.flush();
    node.pass(mate.name.as_str(), Duration::from_millis(50));
    let named = |(to, message): (String, Message)| match message {
        Message::Delta(delta) if delta.uncovered.contains(&mate.name) => Some(to),
        Message::Handed(handed) if handed.delta.uncovered.contains(&mate.name) => Some(to),
        _ => None,
    };
    let asked: Vec<String> = node.flush().into_iter().filter_map(named).collect();
    assert_eq!(asked.len(), 2, "two are to forward it: {asked:?}");
    // From then on they are asked with the write itself.
    node.write(2);
    let later: Vec<String> = node.flush().into_iter().filter_map(named).collect();
    assert_eq!(later, asked);
    // They are believed, and nobody else is.
    let place = (write.store, write.key);
    let held = node.core.stores.found(&place).expect("it is held");
    let item = held.hashed.item;
    let relayed = Relayed {
        token: 0,
        holder: mate.clone(),
        held: vec![HeldVersion {
            store: place.0,
            key: place.1,
            ts: item.ts,
            tag: item.tag,
        }],
    };
    let mut others = node.known.sessions.by_process.keys();
    let other = others.find(|it| **it != mate && !asked.contains(&it.name.to_string()));
    let other = other.cloned().expect("many others");
    for (from, asks) in [(other, 0), (process(&asked[0]), 1)] {
        let facts = node.known.facts();
        let spread = &mut node.spread;
        spread.relayed_received(&mut node.core, facts, &from, &relayed);
        assert_eq!(node.core.take_asks().len(), asks, "{from}");
    }
}
