//! What a member gone bad cannot do with what it says of others: the list, one test a line, and what an
//! honest one still can.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use foca::{Member, Message as Swim, State};

use super::packet::SwimPacket;
use super::testbed::{Testbed, record};
use crate::engine::core::ask::Ask;
use crate::engine::core::tests::{decoded, name, node, process};
use crate::engine::{Event, Output};
use crate::id::{MemberState, Misbehaviour, NodeId};
use crate::wire::{Leave, MemberRecord, Message};

const ALIVE: MemberState = MemberState::Alive;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Members that there never were.
fn invented(count: u16) -> Vec<NodeId> {
    let invented = (0..count).map(|n| NodeId {
        addr: ([10, 9, 9, 9], 1000 + n).into(),
        ..node(&format!("invented-{n}"), 1, 1)
    });
    invented.collect()
}

fn records(ids: &[NodeId], state: MemberState) -> Vec<MemberRecord> {
    ids.iter().map(|id| record(id, state)).collect()
}

fn named(bed: &Testbed, who: &str) -> Vec<Misbehaviour> {
    let named = bed.events().into_iter().filter_map(|event| match event {
        Event::MemberMisbehaved { peer, kind, .. } if *peer == name(who) => Some(*kind),
        _ => None,
    });
    named.collect()
}

/// Dials of the host of those that were invented.
fn dials(bed: &Testbed) -> usize {
    let host = |to: &SocketAddr| to.ip() == IpAddr::from([10, 9, 9, 9]);
    let dialled = |output: &&Output| matches!(output, Output::OpenStream { to, .. } if host(to));
    bed.outputs.iter().filter(dialled).count()
}

/// Everybody but the liar goes on telling the truth, on its link.
fn truth(bed: &mut Testbed, from: &[(u64, &str)]) {
    for (stream, text) in from {
        let own = node(text, 1, u16::try_from(*stream / 2 + 2).unwrap());
        bed.list(*stream, vec![record(&own, ALIVE)]);
    }
}

#[test]
fn a_list_of_invented_members_changes_nothing_is_forgotten_and_its_teller_named() {
    for by_gossip in [false, true] {
        let mut bed = Testbed::new(&["liar", "b"]);
        let before = bed.shows();
        let invented = invented(20);
        if by_gossip {
            for some in invented.chunks(10) {
                let told = some.iter().cloned().map(Member::alive).collect();
                let packet = bed.packet(&node("liar", 1, 2), Swim::Gossip, told);
                bed.swim(node("liar", 1, 2).addr, &packet);
            }
        } else {
            bed.list(1, records(&invented, ALIVE));
        }
        assert_eq!(bed.engine.members.told.len(), 20);
        bed.run_with(secs(31), |bed| {
            assert_eq!(bed.engine.members.roster().size, 3);
            assert_eq!(bed.engine.view().cluster_size(), 3);
            truth(bed, &[(3, "b")]);
        });
        assert_eq!(bed.shows(), before);
        assert_eq!(bed.engine.members.told.len(), 0);
        assert_eq!(named(&bed, "liar"), [Misbehaviour::InventsMembers]);
        assert_eq!(bed.engine.counters().members_unconfirmed, 20);
        assert!(dials(&bed) <= 8, "{}", dials(&bed));
    }
}

#[test]
fn invented_members_that_failed_or_left_are_no_members_either() {
    for state in [MemberState::Failed, MemberState::Left, MemberState::Suspect] {
        let mut bed = Testbed::new(&["liar", "b"]);
        let before = bed.shows();
        bed.list(1, records(&invented(20), state));
        bed.run(secs(31));
        assert_eq!(bed.shows(), before);
        assert_eq!(bed.engine.members.told.len(), 0);
        assert!(bed.engine.members.roster().left.is_empty());
    }
}

#[test]
fn those_whom_nobody_else_was_asked_about_are_forgotten_and_nobody_is_named() {
    let mut bed = Testbed::new(&["teller"]);
    bed.list(1, records(&invented(20), ALIVE));
    bed.run(secs(31));
    assert_eq!(bed.engine.members.told.len(), 0);
    assert_eq!(named(&bed, "teller"), []);
}

/// It tells of some that die at that moment, and finds out itself.
#[test]
fn a_member_that_takes_back_what_it_said_is_not_named() {
    let mut bed = Testbed::new(&["teller", "b"]);
    bed.list(1, records(&invented(20), ALIVE));
    bed.run(secs(20));
    bed.list(1, records(&invented(20), MemberState::Failed));
    bed.run_with(secs(31), |bed| truth(bed, &[(3, "b")]));
    assert_eq!(named(&bed, "teller"), []);
}

#[test]
fn one_that_answers_is_a_member_within_a_round_trip() {
    let mut bed = Testbed::new(&["a"]);
    let told: Vec<NodeId> = (0..15)
        .map(|n| node(&format!("m{n}"), 1, 100 + n))
        .collect();
    bed.there.extend(told.iter().cloned());
    bed.list(1, records(&told, ALIVE));
    // No time passes.
    bed.run(Duration::ZERO);
    assert_eq!(bed.engine.view().cluster_size(), 17);
    assert_eq!(bed.engine.counters().members_confirmed, 15);
}

#[test]
fn one_that_two_members_vouch_for_is_a_member_though_it_does_not_answer() {
    let mut bed = Testbed::new(&["a", "b"]);
    let told = node("far", 1, 100);
    bed.list(1, records(std::slice::from_ref(&told), ALIVE));
    bed.list(1, records(std::slice::from_ref(&told), ALIVE));
    assert_eq!(bed.state(&name("far")), None, "one of them twice");
    bed.list(3, records(&[told], ALIVE));
    assert_eq!(bed.state(&name("far")), Some(ALIVE));
}

/// There is nobody else who could vouch; once.
#[test]
fn the_only_other_member_is_believed_about_one_that_does_not_answer() {
    let mut bed = Testbed::new(&["a"]);
    bed.list(1, records(&invented(5), ALIVE));
    bed.run(secs(4));
    assert_eq!(bed.engine.view().cluster_size(), 3);
    // Nor is it a member for ever, if it answers nobody.
    bed.run(secs(30));
    assert_eq!(bed.engine.view().cluster_size(), 2);
}

#[test]
fn a_member_that_restarts_where_this_node_cannot_reach_it_is_believed_to_have() {
    let mut bed = Testbed::new(&["a", "b", "c"]);
    bed.there.retain(|there| there.process.name != name("c"));
    bed.list(1, vec![record(&node("c", 5, 4), ALIVE)]);
    bed.run(secs(5));
    assert_eq!(bed.engine.members.roster().boot_known(&name("c")), 5);
}

/// Each kind of word against a live member, by list and by gossip.
#[test]
fn a_live_member_is_not_declared_anything_because_one_says_so() {
    for state in [MemberState::Suspect, MemberState::Failed, MemberState::Left] {
        for boot in [1, 2] {
            let mut bed = Testbed::new(&["liar", "b"]);
            let before = bed.shows();
            bed.run_with(secs(20), |bed| {
                bed.list(1, vec![record(&node("b", boot, 3), state)]);
                let down = Member::new(node("b", boot, 3), 0, State::Down);
                let packet = bed.packet(&node("liar", 1, 2), Swim::Gossip, vec![down]);
                bed.swim(node("liar", 1, 2).addr, &packet);
            });
            assert_eq!(bed.shows(), before, "{state:?} of boot {boot}");
            let against_b = |event: &&Event| match event {
                Event::MemberFailed(member) | Event::MemberSuspected(member) => {
                    member.process.name == name("b")
                }
                _ => false,
            };
            assert!(!bed.events().iter().any(against_b));
            assert!(bed.engine.counters().accusations_refuted > 0);
        }
    }
}

#[test]
fn what_is_said_against_one_that_does_not_answer_is_believed_soon() {
    for (state, shown) in [
        (MemberState::Failed, MemberState::Failed),
        (MemberState::Left, MemberState::Left),
        (MemberState::Suspect, MemberState::Suspect),
    ] {
        let mut bed = Testbed::new(&["a", "b"]);
        bed.there.retain(|there| there.process.name != name("b"));
        bed.list(1, vec![record(&node("b", 1, 3), state)]);
        bed.run(secs(2));
        assert_eq!(bed.state(&name("b")), Some(shown));
    }
}

/// One of several could bring about by that word that nobody looks for it any more.
#[test]
fn one_that_is_silent_has_left_if_two_say_so_and_failed_if_one_does() {
    let mut bed = Testbed::new(&["a", "b", "c"]);
    bed.there.retain(|there| there.process.name != name("c"));
    let left = record(&node("c", 1, 4), MemberState::Left);
    bed.list(1, vec![left.clone()]);
    bed.run(secs(2));
    bed.list(1, vec![left.clone()]);
    assert_eq!(bed.state(&name("c")), Some(MemberState::Failed));
    bed.list(3, vec![left]);
    assert_eq!(bed.state(&name("c")), Some(MemberState::Left));
}

/// Of b, which is silent, the other member says that it has left.
fn told_that_b_has_left() -> (Testbed, NodeId) {
    let mut bed = Testbed::new(&["a", "b"]);
    let b = node("b", 1, 3);
    bed.there.retain(|there| *there != b);
    bed.list(1, vec![record(&b, MemberState::Left)]);
    bed.run(secs(2));
    assert_eq!(bed.state(&name("b")), Some(MemberState::Left));
    bed.outputs.clear();
    (bed, b)
}

/// A liar told two of each other that they had left, while a link between them was cut.
#[test]
fn who_left_on_the_word_of_others_is_asked_and_not_dialled_until_it_answers() {
    let (mut bed, b) = told_that_b_has_left();
    let dials = |bed: &Testbed| {
        let of_b =
            |output: &&Output| matches!(output, Output::OpenStream { to, .. } if *to == b.addr);
        bed.outputs.iter().filter(of_b).count()
    };
    bed.run(secs(60));
    assert_eq!(bed.state(&name("b")), Some(MemberState::Left));
    assert_eq!(dials(&bed), 0);
    bed.there.push(b.clone());
    bed.run(secs(200));
    assert_eq!(bed.state(&name("b")), Some(MemberState::Failed));
    assert!(dials(&bed) > 0);
}

#[test]
fn who_said_itself_that_it_leaves_is_not_asked() {
    let (mut bed, b) = told_that_b_has_left();
    assert!(bed.engine.members.said_left.next().is_some());
    let process = b.process.clone();
    bed.datagram(b.addr, &Message::Leave(Leave { process }));
    assert_eq!(bed.engine.members.said_left.next(), None);
}

/// Where links are brief nobody else might come to say so.
#[test]
fn others_are_asked_once_one_says_of_a_failed_member_that_it_has_left() {
    let mut bed = Testbed::new(&["a", "b", "c"]);
    bed.there.retain(|there| there.process.name != name("c"));
    bed.list(1, vec![record(&node("c", 1, 4), MemberState::Failed)]);
    bed.run(secs(20));
    assert_eq!(bed.state(&name("c")), Some(MemberState::Failed));
    let asked = |bed: &mut Testbed| {
        bed.outputs.clear();
        bed.list(1, vec![record(&node("c", 1, 4), MemberState::Left)]);
        bed.run(secs(10));
        let asks =
            |frame: &Bytes| matches!(decoded(frame.clone()), Message::Members(list) if list.ask);
        let sent = bed.outputs.iter();
        let sent =
            sent.filter(|output| matches!(output, Output::StreamSend { frame, .. } if asks(frame)));
        sent.count()
    };
    assert_eq!([asked(&mut bed), asked(&mut bed)], [4, 0]);
}

/// It left, and one says that it is back: it says so itself, or another one does as well.
#[test]
fn one_that_left_is_not_brought_back_by_one_word() {
    let mut bed = Testbed::new(&["liar", "b", "c"]);
    let process = process("c");
    bed.datagram(node("c", 1, 4).addr, &Message::Leave(Leave { process }));
    bed.there.retain(|there| there.process.name != name("c"));
    let back = record(&node("c", 2, 4), ALIVE);
    bed.run_with(secs(40), |bed| bed.list(1, vec![back.clone()]));
    assert_eq!(bed.state(&name("c")), Some(MemberState::Left));
    bed.list(3, vec![back]);
    assert_eq!(bed.state(&name("c")), Some(ALIVE));
}

/// A list of many that are not there must not have this node end its links again and again.
#[test]
fn invented_members_cost_nobody_a_link() {
    let mut bed = Testbed::new(&["liar", "b"]);
    bed.run_with(secs(40), |bed| bed.list(1, records(&invented(100), ALIVE)));
    let closed = |output: &Output| matches!(output, Output::CloseStream { stream } if stream.0 == 1 || stream.0 == 3);
    assert!(!bed.outputs.iter().any(closed));
}

/// What came before was asked about then: nobody waits again.
#[test]
fn who_did_not_answer_when_it_was_suspected_is_down_at_once_when_that_is_said() {
    let mut bed = Testbed::new(&["a", "b"]);
    bed.there.retain(|there| there.process.name != name("b"));
    bed.list(1, vec![record(&node("b", 1, 3), MemberState::Suspect)]);
    bed.run(secs(2));
    bed.list(1, vec![record(&node("b", 1, 3), MemberState::Failed)]);
    assert_eq!(bed.state(&name("b")), Some(MemberState::Failed));
}

const MANY: [&str; 12] = [
    "liar", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l",
];

fn accuse_everybody(bed: &mut Testbed) {
    let all = (1_u16..).zip(&MANY[1..]);
    let records = all.map(|(n, text)| record(&node(text, 1, n + 2), MemberState::Failed));
    bed.list(1, records.collect());
}

#[test]
fn one_that_declares_many_who_are_there_is_named() {
    let mut bed = Testbed::new(&MANY);
    bed.run_with(secs(17), accuse_everybody);
    assert_eq!(named(&bed, "liar"), [Misbehaviour::AccusesWrongly]);
    assert_eq!(bed.engine.view().cluster_size(), 13);
}

/// It comes out of a partition, in which it has declared everybody, and hears of them now.
#[test]
fn one_that_declares_everybody_and_takes_it_back_is_not_named() {
    let mut bed = Testbed::new(&MANY);
    for _ in 0..20 {
        accuse_everybody(&mut bed);
        bed.run(secs(6));
        let all = (1_u16..).zip(&MANY[1..]);
        let there = all.map(|(n, text)| record(&node(text, 1, n + 2), ALIVE));
        bed.list(1, there.collect());
        bed.run(secs(6));
    }
    // Or it is the next partition, a while later.
    for _ in 0..4 {
        accuse_everybody(&mut bed);
        bed.run(secs(20));
    }
    assert_eq!(named(&bed, "liar"), []);
}

/// Who finds one there that a liar speaks against tells it so, each time: else it would not renew itself.
#[test]
fn who_tells_this_node_that_it_is_held_for_down_is_not_named() {
    let mut bed = Testbed::new(&["a", "b"]);
    bed.run_with(secs(300), |bed| {
        let down = vec![Member::down(bed.me())];
        let gossip = bed.packet(&node("a", 1, 2), Swim::Gossip, down);
        bed.swim(node("a", 1, 2).addr, &gossip);
        bed.outputs
            .retain(|output| !matches!(output, Output::StreamSend { .. }));
    });
    assert_eq!(named(&bed, "a"), []);
}

/// Its own packets get out, and nothing comes in: it takes everybody for dead.
#[test]
fn one_that_hears_nothing_is_wrong_in_good_faith() {
    let mut bed = Testbed::new(&MANY);
    bed.there.retain(|there| there.process.name != name("liar"));
    bed.run_with(secs(17), accuse_everybody);
    assert_eq!(named(&bed, "liar"), []);
}

#[test]
fn a_later_boot_or_another_address_of_a_live_member_is_not_taken_from_another_one() {
    let mut bed = Testbed::new(&["liar", "b"]);
    let before = bed.shows();
    let elsewhere = NodeId {
        addr: ([10, 9, 9, 9], 9).into(),
        ..node("b", 1, 3)
    };
    let claimed = [
        elsewhere.clone(),
        NodeId {
            renewal: u32::MAX,
            ..node("b", 1, 3)
        },
        node("b", bed.now.wall.as_nanos(), 3),
        node("b", u64::MAX, 3),
    ];
    // The liar answers where it says that `b` is.
    bed.there.push(elsewhere);
    bed.run_with(secs(10), |bed| bed.list(1, records(&claimed, ALIVE)));
    assert_eq!(bed.shows(), before);
}

/// A member that did move is taken from there once it is not where it was.
#[test]
fn a_member_that_moved_is_found_where_it_is() {
    let mut bed = Testbed::new(&["a", "b"]);
    let moved = node("b", 2, 77);
    bed.there.retain(|there| there.process.name != name("b"));
    bed.there.push(moved.clone());
    bed.list(1, vec![record(&moved, ALIVE)]);
    bed.run(secs(2));
    assert_eq!(
        bed.engine.members.roster().get(&name("b")).unwrap().id,
        moved
    );
}

/// 65,000 names of the longest kind, and many boots of one name, within two minutes.
#[test]
fn what_is_kept_of_what_is_told_is_bounded() {
    let mut bed = Testbed::new(&["liar", "b"]);
    let before = bed.shows();
    let mut told = 0;
    let mut most = 0;
    for round in 0..130_u64 {
        let long = |n: u64| format!("{:0>64}", round * 500 + n);
        let names = (0..500).map(|n| NodeId {
            addr: ([10, 9, (n / 250) as u8, (n % 250) as u8], 9).into(),
            ..node(&long(n), 1, 1)
        });
        let names: Vec<NodeId> = names.collect();
        told += names.len();
        bed.list(1, records(&names, ALIVE));
        bed.list(
            1,
            records(&[node("b", round + 2, 3), node("x", round, 9)], ALIVE),
        );
        bed.run_with(secs(1), |bed| {
            most = most.max(bed.engine.members.told.len())
        });
        bed.outputs.clear();
    }
    assert_eq!(told, 65_000);
    assert_eq!(most, 4096);
    assert_eq!(bed.shows(), before);
    assert_eq!(bed.engine.members.roster().members().count(), 2);
    bed.run(secs(31));
    assert_eq!(bed.engine.members.told.len(), 0);
}

/// What is sent to addresses that nobody has verified, on one member's word.
#[test]
fn a_third_party_is_hardly_bothered() {
    let mut bed = Testbed::new(&["liar", "b"]);
    let victim = |n: u16| NodeId {
        addr: ([10, 9, 9, 9], 80).into(),
        ..node(&format!("victim-{n}"), 1, 80)
    };
    let victims: Vec<NodeId> = (0..2000).map(victim).collect();
    let (mut datagrams, mut bytes) = (0, 0);
    let mut rounds = 0;
    bed.run_with(secs(60), |bed| {
        rounds += 1;
        if rounds % 20 == 1 {
            for some in victims.chunks(500) {
                bed.list(1, records(some, ALIVE));
            }
        }
        for output in std::mem::take(&mut bed.outputs) {
            match output {
                Output::Datagram { to, bytes: sent } if to == victims[0].addr => {
                    (datagrams, bytes) = (datagrams + 1, bytes + sent.len());
                }
                Output::OpenStream { .. } => bed.outputs.push(output),
                _ => {}
            }
        }
    });
    assert!(
        datagrams <= 1500 && bytes <= 150_000,
        "{datagrams}, {bytes} bytes"
    );
    assert!(dials(&bed) <= 32, "{}", dials(&bed));
}

#[test]
fn a_node_that_is_told_down_again_and_again_does_not_do_nothing_else() {
    let mut bed = Testbed::new(&["liar", "b"]);
    let liar = node("liar", 1, 2);
    bed.run_with(secs(60), |bed| {
        for _ in 0..10 {
            let me = bed.me();
            let undead = bed.packet(&liar, Swim::TurnUndead, Vec::new());
            bed.swim(liar.addr, &undead);
            let suspect = Member::new(me.clone(), u16::MAX, State::Suspect);
            let claims = vec![Member::down(me.clone()), Member::down(me), suspect];
            let gossip = bed.packet(&liar, Swim::Gossip, claims);
            bed.swim(liar.addr, &gossip);
        }
        bed.outputs
            .retain(|output| matches!(output, Output::Event(_)));
    });
    assert!((4..=17).contains(&bed.me().renewal), "{}", bed.me().renewal);
    assert!(bed.engine.counters().accusations_ignored > 1000);
    // Earlier identities of this node are no members.
    let own = name("self");
    let mut held = bed.engine.members.detector.foca.iter_membership_state();
    assert!(!held.any(|member| member.id().process.name == own));
}

/// An incarnation that cannot grow any more, of this node and of another one.
#[test]
fn the_last_incarnation_wraps_nothing() {
    let mut bed = Testbed::new(&["liar", "b"]);
    let (liar, b) = (node("liar", 1, 2), node("b", 1, 3));
    let me = bed.me();
    for incarnation in [u16::MAX - 1, u16::MAX] {
        for state in [State::Alive, State::Suspect] {
            let claims = [&me, &b].map(|id| Member::new(id.clone(), incarnation, state));
            let mut packet = bed.packet(&liar, Swim::Gossip, claims.into());
            packet.header.src_incarnation = incarnation;
            bed.swim(liar.addr, &packet);
        }
    }
    bed.run(secs(3));
    assert_eq!(bed.state(&name("b")), Some(ALIVE));
}

/// Each of them a little later: on the liar's word twice, and on that of another one still.
#[test]
fn a_boot_is_adopted_on_one_members_word_now_and_then() {
    let mut bed = Testbed::new(&["liar", "b"]);
    let adopt = |bed: &mut Testbed, from: &NodeId| {
        let (known, from) = (bed.me().process.boot + 5, from.addr);
        bed.engine.core.ask(Ask::AdoptBoot { known, from });
        bed.run(Duration::from_millis(50));
    };
    for _ in 0..100 {
        adopt(&mut bed, &node("liar", 1, 2));
    }
    assert_eq!(bed.me().process.boot, 1 + 2 * 6);
    adopt(&mut bed, &node("b", 1, 3));
    assert_eq!(bed.me().process.boot, 1 + 3 * 6);
}

/// Those that hold it for that one take no other word of it.
#[test]
fn a_renewal_that_this_process_never_had_makes_it_a_later_process() {
    let twisted: [fn(&mut NodeId); 2] = [|id| id.renewal = u32::MAX, |id| id.addr.set_port(9)];
    for twist in twisted {
        let mut bed = Testbed::new(&["liar", "b"]);
        let mut own = bed.me();
        twist(&mut own);
        bed.list(1, vec![record(&own, MemberState::Failed)]);
        bed.run(Duration::from_millis(50));
        assert_eq!(bed.me().epoch(), (2, 0));
    }
}

/// A list that says it is not to be looked at does not hide what else it says.
#[test]
fn a_list_with_a_boot_that_is_not_adopted_is_looked_through() {
    let mut bed = Testbed::new(&["a"]);
    let told = node("m", 1, 100);
    bed.there.push(told.clone());
    let own = NodeId {
        addr: bed.me().addr,
        ..node("self", u64::MAX, 1)
    };
    bed.list(1, vec![record(&told, ALIVE), record(&own, ALIVE)]);
    bed.run(Duration::ZERO);
    assert_eq!(bed.me().process.boot, 1);
    assert_eq!(bed.state(&name("m")), Some(ALIVE));
}

/// Else it could not come back: what it would have to take is nowhere let in.
#[test]
fn a_boot_that_others_tell_of_leaves_room_for_the_one_after_it() {
    let bed = Testbed::new(&["a"]);
    let core = &bed.engine.core;
    let day = 24 * 3600;
    let ahead = |days: u64| core.now.wall.plus(secs(days * day)).as_nanos();
    let told = |days: u64| core.is_plausible_told(ahead(days));
    let own = |days: u64| core.is_plausible_own(ahead(days));
    let shown = |days: u64| core.is_plausible(ahead(days));
    assert_eq!([told(91), told(92)], [true, false]);
    assert_eq!([own(183), own(184)], [true, false]);
    assert_eq!([shown(366), shown(367)], [true, false]);
}

/// A member may tell of its own renewal on its link, and only there of itself.
#[test]
fn a_member_is_believed_about_itself_on_its_link() {
    let mut bed = Testbed::new(&["a", "b"]);
    let renewed = NodeId {
        renewal: 3,
        ..node("a", 1, 2)
    };
    bed.list(3, vec![record(&renewed, ALIVE)]);
    assert_eq!(
        bed.engine.members.roster().get(&name("a")).unwrap().id,
        node("a", 1, 2)
    );
    bed.list(1, vec![record(&renewed, ALIVE)]);
    assert_eq!(
        bed.engine.members.roster().get(&name("a")).unwrap().id,
        renewed
    );
    // Not at an address of somebody else.
    let elsewhere = NodeId {
        addr: ([10, 9, 9, 9], 80).into(),
        renewal: 4,
        ..node("a", 1, 2)
    };
    bed.list(1, vec![record(&elsewhere, ALIVE)]);
    assert_eq!(
        bed.engine.members.roster().get(&name("a")).unwrap().id,
        renewed
    );
}

#[test]
fn a_packet_on_a_link_in_the_name_of_another_process_is_held_against_the_peer() {
    let mut bed = Testbed::new(&["liar", "b"]);
    let packet = bed.packet(&node("b", 1, 3), Swim::Gossip, Vec::new());
    let bytes = packet.encode().unwrap();
    bed.frame(crate::engine::StreamId(1), &Message::Swim(bytes));
    assert_eq!(named(&bed, "liar"), [Misbehaviour::SendsUnexpected]);
    assert_eq!(process("b"), node("b", 1, 3).process);
}

#[test]
fn nobody_is_named_because_another_one_has_taken_its_name_elsewhere() {
    let mut bed = Testbed::new(&["liar", "b"]);
    let posed = NodeId {
        renewal: 9,
        addr: ([10, 0, 0, 9], 9).into(),
        ..node("b", 1, 3)
    };
    // No datagram of b gets through for a while; its link is still there.
    bed.there.pop();
    bed.there.push(posed.clone());
    bed.list(1, vec![record(&posed, ALIVE)]);
    bed.run(secs(3));
    let known = bed.engine.members.roster().get(&name("b"));
    assert_eq!(known.map(|known| &known.id), Some(&posed));
    let packet = bed.packet(&node("b", 1, 3), Swim::Gossip, Vec::new());
    let bytes = packet.encode().unwrap();
    bed.frame(crate::engine::StreamId(3), &Message::Swim(bytes));
    assert_eq!(named(&bed, "b"), []);
}

/// On the link of the process that it is by then, that would be a packet of somebody else.
#[test]
fn a_ping_is_not_repeated_by_who_is_another_process_by_then() {
    let mut bed = Testbed::new(&["a"]);
    bed.there.clear();
    while bed.engine.members.detector.last_ping.is_none() {
        bed.run(Duration::from_millis(50));
    }
    let (known, from) = (5, node("a", 1, 2).addr);
    bed.engine.core.ask(Ask::AdoptBoot { known, from });
    bed.engine.route_asks();
    bed.join(3, &node("a", 1, 2), from);
    bed.outputs.clear();
    bed.run(secs(5));
    let frames = bed.frames().into_iter();
    let pings = frames.filter_map(|(_, message)| match message {
        Message::Swim(packet) => SwimPacket::parse(&packet).ok(),
        _ => None,
    });
    let from: Vec<NodeId> = pings.map(|packet| packet.header.src).collect();
    assert!(!from.is_empty() && from.iter().all(|src| *src == bed.me()));
}

fn failed(text: &str, boot: u64, host: u16) -> MemberRecord {
    record(&node(text, boot, host), MemberState::Failed)
}

/// Where nobody else is there, a majority without that member cannot be had anyway.
#[test]
fn the_only_other_member_is_believed_of_those_that_have_failed_and_of_few() {
    let mut bed = Testbed::new(&["a"]);
    bed.list(1, vec![failed("c", 1, 4), failed("d", 1, 5)]);
    assert_eq!(bed.state(&name("c")), Some(MemberState::Failed));
    assert_eq!(bed.state(&name("d")), Some(MemberState::Failed));
    bed.list(1, records(&invented(100), MemberState::Failed));
    bed.run(secs(31));
    assert_eq!(bed.engine.members.roster().table.len(), 65);
}

/// Of its first list a newcomer does not know yet who of those is there that could say more.
#[test]
fn where_another_may_be_there_one_word_does_not_make_a_failed_member() {
    let mut bed = Testbed::new(&["a"]);
    let b = node("b", 1, 3);
    bed.there.push(b.clone());
    bed.list(1, vec![record(&b, ALIVE), failed("c", 1, 4)]);
    assert_eq!(bed.state(&name("c")), None);
    bed.run(secs(1));
    assert_eq!(bed.state(&name("b")), Some(ALIVE));
    assert_eq!(bed.state(&name("c")), None);
    bed.join(3, &b, b.addr);
    bed.list(3, vec![failed("c", 1, 4)]);
    assert_eq!(bed.state(&name("c")), Some(MemberState::Failed));
}

#[test]
fn what_this_node_has_forgotten_it_does_not_learn_again_from_others() {
    let mut bed = Testbed::new(&["a"]);
    bed.list(1, vec![failed("c", 1, 4)]);
    let hours = secs(7 * 3600);
    bed.now.mono += hours;
    bed.now.wall = bed.now.wall.plus(hours);
    bed.run(secs(61));
    assert_eq!(bed.state(&name("c")), None);
    assert_eq!(bed.state(&name("a")), Some(ALIVE));
    bed.list(1, vec![failed("c", 1, 4)]);
    assert_eq!(bed.state(&name("c")), None);
    bed.list(1, vec![failed("c", 2, 4)]);
    assert_eq!(
        bed.state(&name("c")),
        Some(MemberState::Failed),
        "another process"
    );
}
