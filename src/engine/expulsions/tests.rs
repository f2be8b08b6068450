//! The owner without an engine.

use super::*;
use crate::engine::core::tests::{Known, core, frames, linked, name, process};

struct Node {
    core: Core,
    known: Known,
    expulsions: Expulsions,
}

/// A node that is linked with these.
fn beside(names: &[&str]) -> Node {
    let mut core = core();
    let known = linked(&core, names);
    let expulsions = Expulsions::new(&mut core);
    Node {
        core,
        known,
        expulsions,
    }
}

impl Node {
    fn expel(&mut self, text: &str) {
        let facts = self.known.facts();
        self.expulsions.expel(&mut self.core, facts, name(text));
    }

    fn readmit(&mut self, text: &str) {
        let facts = self.known.facts();
        self.expulsions.readmit(&mut self.core, facts, name(text));
    }

    fn told(&mut self, peer: &str, names: &[&str]) {
        let names = names.iter().copied().map(name).collect();
        self.expulsions
            .told(&mut self.core, &name(peer), Expelled { names });
    }

    /// Who is to be refused, and who is let in again, since this was last asked.
    fn asked(&mut self) -> (Vec<NodeName>, Vec<NodeName>) {
        let (mut expelled, mut readmitted) = (Vec::new(), Vec::new());
        for ask in self.core.take_asks() {
            match ask {
                Ask::Expel(name) => expelled.push(name),
                Ask::Readmit(name) => readmitted.push(name),
                Ask::Emit(Event::ExpulsionChanged(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        (expelled, readmitted)
    }
}

#[test]
fn what_an_operator_says_binds_here_and_is_told_to_the_peers() {
    let mut node = beside(&["a", "b"]);
    node.expel("a");
    node.expel("a");
    assert_eq!(node.asked(), (vec![name("a")], vec![]));
    let names = vec![name("a")];
    let told = frames(&node.core);
    assert_eq!(told.len(), 2);
    let message = Message::Expelled(Expelled { names });
    assert!(told.iter().all(|(_, said)| *said == message));
    node.readmit("a");
    node.readmit("a");
    assert_eq!(node.asked(), (vec![], vec![name("a")]));
    let last = Message::Expelled(Expelled { names: vec![] });
    assert_eq!(
        frames(&node.core).last().map(|(_, said)| said.clone()),
        Some(last)
    );
    assert!(node.expulsions.all(&node.core).is_empty());
}

#[test]
fn what_one_peer_says_is_shown_and_what_two_say_is_followed() {
    let mut node = beside(&["a", "b", "c", "d"]);
    node.told("a", &["d", "self"]);
    node.told("a", &["d", "self"]);
    assert_eq!(node.asked(), (vec![], vec![]));
    let shown = node.expulsions.all(&node.core);
    let of_d = &shown[0];
    assert_eq!(
        (of_d.name.clone(), of_d.told_by.clone()),
        (name("d"), vec![name("a")])
    );
    assert!(!of_d.here && !of_d.followed);
    // One's own vote against it, and that of one who is expelled, do not count.
    node.told("d", &["d"]);
    node.expel("b");
    node.asked();
    node.told("b", &["d"]);
    assert_eq!(node.asked(), (vec![], vec![]));
    node.told("c", &["d", "self"]);
    assert_eq!(node.asked(), (vec![name("d")], vec![]), "never itself");
    node.told("a", &[]);
    assert_eq!(node.asked(), (vec![], vec![name("d")]));
}

#[test]
fn the_votes_of_who_is_gone_do_not_count() {
    let mut node = beside(&["a", "b", "c"]);
    node.told("a", &["c"]);
    node.told("b", &["c"]);
    assert_eq!(node.asked(), (vec![name("c")], vec![]));
    node.expulsions.member_forgotten(&mut node.core, &name("a"));
    assert_eq!(node.asked(), (vec![], vec![name("c")]));
}

#[test]
fn whom_it_expelled_before_it_was_started_stays_expelled() {
    let mut core = core();
    core.setup.expelled = vec![name("a"), name("self")];
    let expulsions = Expulsions::new(&mut core);
    assert_eq!(core.take_asks(), [Ask::Expel(name("a"))]);
    assert_eq!(core.expelled, BTreeSet::from([name("a")]));
    assert_eq!(expulsions.len(), 1);
    let known = linked(&core, &["b"]);
    let link = known.facts().sessions.link(&process("b")).expect("a link");
    expulsions.link_opened(&mut core, link);
    assert_eq!(frames(&core).len(), 1);
}
