//! What a stranger cannot do at security level off: the list, one test a line.
//!
//! A stranger knows the cluster's id, everybody's name, boot and address, and what was ever sent. It
//! sends datagrams from its own address, and opens streams. What joins by the protocol is no stranger
//! any more. Where a test says *spoofed*, it writes a member's address as the source of its datagrams,
//! which nothing at this level can tell; what that may change is said there.

use std::net::SocketAddr;
use std::time::Duration;

use foca::{Member, Message as Swim, State};

use super::packet::SwimPacket;
use super::testbed::{Testbed, claims, kinds, record, swim_bytes};
use crate::engine::core::tests::{encoded, hello, name, node, process};
use crate::engine::{Input, Output, StreamId};
use crate::id::{ClusterId, MemberState, NodeId, ProcessId};
use crate::wire::envelope::Envelope;
use crate::wire::{Ack, Delta, Leave, Members, Message, Purpose, RejectReason, Relayed};

fn stranger() -> NodeId {
    node("stranger", 1, 666)
}

fn a() -> NodeId {
    node("a", 1, 2)
}

/// No matter who the packet says it is from, it comes from the stranger's address.
fn inject(bed: &mut Testbed, packet: &SwimPacket) {
    bed.swim(stranger().addr, packet);
}

#[test]
fn inject_a_packet_of_any_kind() {
    let mut bed = Testbed::new(&["a", "b"]);
    let before = bed.knows();
    let me = bed.me();
    for src in [stranger(), a(), me.clone()] {
        for about in [stranger(), a(), me.clone()] {
            for kind in kinds(&about) {
                let packet = bed.packet(&src, kind, claims(&about));
                inject(&mut bed, &packet);
            }
        }
    }
    assert_eq!(bed.knows(), before);
    let sent = bed.datagrams();
    let elsewhere = sent.iter().find(|(to, _)| *to != stranger().addr);
    assert_eq!(elsewhere, None, "nothing is sent to anybody else");
}

/// Spoofed: every packet is one that the member did send once.
#[test]
fn replay_what_a_member_has_sent() {
    let mut bed = Testbed::new(&["a", "b"]);
    let old = bed.packet(&a(), Swim::Gossip, vec![suspected(&node("b", 1, 3), 0)]);
    let feed = bed.packet(&a(), Swim::Feed, vec![Member::alive(node("b", 1, 3))]);
    let announce = bed.packet(&a(), Swim::Announce, Vec::new());
    let undead = bed.packet(&a(), Swim::TurnUndead, Vec::new());
    // Since then `b` has refuted, and this node has renewed itself.
    let mut refutes = bed.packet(&node("b", 1, 3), Swim::Gossip, Vec::new());
    refutes.header.src_incarnation = 1;
    bed.swim(node("b", 1, 3).addr, &refutes);
    bed.swim(a().addr, &undead);
    assert_eq!(bed.me().renewal, 1);
    let before = bed.shows();
    for packet in [&old, &feed, &announce, &undead] {
        bed.swim(a().addr, packet);
    }
    assert_eq!(bed.shows(), before);
    // What an earlier process of `a` sent.
    bed.engine
        .members
        .roster
        .table
        .get_mut(&name("a"))
        .unwrap()
        .id = node("a", 5, 2);
    let before = bed.shows();
    let leave = Message::Leave(Leave {
        process: process("a"),
    });
    bed.datagram(a().addr, &leave);
    for packet in [&old, &feed, &announce, &undead] {
        bed.swim(a().addr, packet);
    }
    assert_eq!(bed.shows(), before);
}

/// Spoofed: cut off anywhere, with a check sum that fits.
#[test]
fn cut_a_packet_or_a_list_short() {
    let mut bed = Testbed::new(&["a", "b"]);
    let about = [
        suspected(&node("b", 1, 3), 0),
        Member::down(node("b", 1, 3)),
    ];
    let packet = bed.packet(&a(), Swim::Gossip, about.into());
    let bytes = swim_bytes(&packet);
    let bare = bed.packet(&a(), Swim::Gossip, Vec::new());
    let bare = swim_bytes(&bare).len();
    let before = bed.shows();
    for len in (0..bytes.len()).filter(|&len| len != bare) {
        let malformed = bed.engine.counters().malformed;
        bed.datagram(a().addr, &Message::Swim(bytes.slice(..len)));
        assert_eq!(bed.engine.counters().malformed, malformed + 1, "of {len}");
    }
    // The datagram itself cut short does not get that far.
    let message = encoded(&Message::Swim(bytes));
    let envelope = &bed.engine.core.envelope;
    let whole = envelope.seal(|out| out.extend_from_slice(&message));
    for len in 0..whole.len() {
        let (from, bytes) = (a().addr, whole.slice(..len));
        bed.input(Input::Datagram { from, bytes });
    }
    assert_eq!(bed.shows(), before);
    assert_eq!(bed.datagrams(), []);
}

/// Spoofed: whatever a bit turns a packet into, nobody comes or goes by it. A flipped bit of an
/// incarnation, of its own header or a claim, may have the member refute once more than it had to.
#[test]
fn flip_a_bit_of_a_packet() {
    let mut bed = Testbed::new(&["a", "b"]);
    let about = vec![
        suspected(&node("b", 1, 3), 0),
        Member::down(node("b", 1, 3)),
    ];
    let packet = bed.packet(&a(), Swim::Gossip, about);
    let bytes = swim_bytes(&packet);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        bed.datagram(a().addr, &Message::Swim(flipped.into()));
    }
    bed.run(Duration::from_secs(3));
    assert_all_alive(&bed);
}

/// With the check sum of what it was, it is not read at all.
#[test]
fn flip_a_bit_of_a_datagram() {
    let mut bed = Testbed::new(&["a", "b"]);
    let about = vec![Member::down(node("b", 1, 3))];
    let packet = bed.packet(&a(), Swim::Gossip, about);
    let message = encoded(&Message::Swim(swim_bytes(&packet)));
    let envelope = &bed.engine.core.envelope;
    let whole = envelope.seal(|out| out.extend_from_slice(&message));
    let before = bed.knows();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (from, bytes) = (a().addr, flipped.into());
        bed.input(Input::Datagram { from, bytes });
    }
    assert_eq!(bed.knows(), before);
}

#[test]
fn flip_a_bit_of_a_list() {
    let records = vec![
        record(&node("b", 1, 3), MemberState::Failed),
        record(&a(), MemberState::Alive),
    ];
    let ask = false;
    let list = encoded(&Message::Members(Members { ask, records }));
    for bit in 0..list.len() * 8 {
        let mut bed = Testbed::new(&["a", "b"]);
        let mut flipped = list.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (stream, frame) = (StreamId(1), flipped.into());
        bed.input(Input::StreamFrame { stream, frame });
        bed.run(Duration::from_millis(300));
        assert_all_alive(&bed);
    }
}

#[test]
fn send_from_another_cluster() {
    let mut bed = Testbed::new(&["a"]);
    let other = Envelope::of(&ClusterId::new("other").unwrap());
    let packet = bed.packet(&a(), Swim::TurnUndead, Vec::new());
    let swim = Message::Swim(swim_bytes(&packet));
    let leave = Message::Leave(Leave {
        process: process("a"),
    });
    let before = bed.knows();
    for message in [&swim, &leave] {
        let bytes = other.seal(|out| out.extend_from_slice(&encoded(message)));
        let from = a().addr;
        bed.input(Input::Datagram { from, bytes });
    }
    assert_eq!(bed.knows(), before);
    assert_eq!(bed.engine.counters().foreign_cluster, 2);
}

/// Joining is by a handshake on a stream, and by nothing else.
#[test]
fn join_by_datagram() {
    let mut bed = Testbed::new(&["a"]);
    let before = bed.knows();
    let announce = bed.packet(&stranger(), Swim::Announce, Vec::new());
    inject(&mut bed, &announce);
    let hello = hello(&bed.engine.core, &stranger(), Purpose::Link);
    bed.datagram(stranger().addr, &Message::Hello(hello));
    let ask = true;
    let records = vec![record(&stranger(), MemberState::Alive)];
    bed.datagram(stranger().addr, &Message::Members(Members { ask, records }));
    assert_eq!((bed.knows(), bed.datagrams()), (before, Vec::new()));
}

#[test]
fn send_a_list_before_it_has_introduced_itself() {
    let mut bed = Testbed::new(&["a"]);
    let before = bed.knows();
    let (stream, peer) = (StreamId(9), stranger().addr);
    bed.input(Input::StreamOpened { stream, peer });
    bed.list(9, vec![record(&a(), MemberState::Left)]);
    assert_eq!(bed.knows(), before);
    let closed = |output: &Output| matches!(output, Output::CloseStream { .. });
    assert!(bed.outputs.iter().any(closed));
}

/// A later process of a live member's name, at its own address or at the member's.
#[test]
fn join_in_the_name_of_a_live_member() {
    for addr in [stranger().addr, a().addr] {
        let mut bed = Testbed::new(&["a"]);
        let before = bed.shows();
        let claimed = NodeId {
            addr,
            ..node("a", 9, 2)
        };
        for stream in [9, 11] {
            bed.join(stream, &claimed, ([10, 0, 0, 66], 1234).into());
            bed.run(Duration::from_millis(100));
        }
        assert_eq!(bed.shows(), before);
        let rejected: Vec<RejectReason> = bed
            .frames()
            .into_iter()
            .filter_map(|(_, message)| match message {
                Message::Objection(_) => Some(RejectReason::NameTaken),
                Message::Reject(reject) => Some(reject.reason),
                _ => None,
            })
            .collect();
        let reason = if addr == a().addr {
            RejectReason::Busy
        } else {
            RejectReason::NameTaken
        };
        assert_eq!(rejected, [reason; 2]);
    }
}

/// The process that was there has gone, and the one that is there shows it by answering.
#[test]
fn but_keep_a_member_from_restarting_behind_another_address() {
    let mut bed = Testbed::new(&["a"]);
    let restarted = node("a", 9, 2);
    bed.there = vec![restarted.clone()];
    bed.join(9, &restarted, ([10, 0, 0, 66], 1234).into());
    bed.run(Duration::from_millis(100));
    bed.join(11, &restarted, ([10, 0, 0, 66], 1234).into());
    let welcomed = |(stream, message): &(StreamId, Message)| {
        *stream == StreamId(11) && matches!(message, Message::Welcome(_))
    };
    assert!(bed.frames().iter().any(welcomed));
    assert_eq!(bed.engine.members.roster().boot_known(&name("a")), 9);
}

#[test]
fn have_a_member_leave() {
    let mut bed = Testbed::new(&["a"]);
    let before = bed.knows();
    bed.datagram(
        stranger().addr,
        &Message::Leave(Leave {
            process: process("a"),
        }),
    );
    // Spoofed, of a process that is not there.
    let process = ProcessId {
        boot: 9,
        ..process("a")
    };
    bed.datagram(a().addr, &Message::Leave(Leave { process }));
    assert_eq!((bed.knows(), bed.datagrams()), (before, Vec::new()));
    assert_eq!(bed.engine.counters().unknown_source, 2);
}

#[test]
fn have_a_leave_acknowledged_that_nobody_has_heard_of() {
    let mut bed = Testbed::new(&["a"]);
    bed.input(Input::Operation(crate::engine::Operation::Leave));
    let process = bed.me().process;
    bed.datagram(stranger().addr, &Message::LeaveAck(Leave { process }));
    bed.engine.handle_timeout(bed.now);
    let left = |event: &&crate::engine::Event| matches!(event, crate::engine::Event::Left);
    assert!(!bed.events().iter().any(left));
}

#[test]
fn have_a_member_suspected_or_a_suspicion_refuted() {
    let mut bed = Testbed::new(&["a", "b"]);
    let before = bed.knows();
    for about in claims(&a()) {
        let packet = bed.packet(&stranger(), Swim::Gossip, vec![about.clone()]);
        inject(&mut bed, &packet);
        let packet = bed.packet(&node("b", 1, 3), Swim::Gossip, vec![about]);
        inject(&mut bed, &packet);
    }
    assert_eq!(bed.knows(), before);
    // `a` is suspected, and says from elsewhere that it is not.
    let id = a();
    bed.engine
        .members
        .apply(&mut bed.engine.core, vec![suspected(&id, 0)]);
    bed.engine.core.take_asks();
    let mut refutes = bed.packet(&a(), Swim::Gossip, Vec::new());
    refutes.header.src_incarnation = 1;
    inject(&mut bed, &refutes);
    assert_eq!(bed.state(&name("a")), Some(MemberState::Suspect));
}

/// A probe passed on for a stranger, or by one.
#[test]
fn have_a_probe_passed_on() {
    let mut bed = Testbed::new(&["a", "b"]);
    let before = bed.knows();
    for kind in kinds(&node("b", 1, 3)) {
        let relays = !matches!(kind, Swim::Ping(_));
        for src in [stranger(), a()] {
            let packet = bed.packet(&src, kind.clone(), Vec::new());
            inject(&mut bed, &packet);
            let sent = bed.datagrams();
            assert!(sent.is_empty() || !relays, "{kind:?}: {sent:?}");
        }
    }
    assert_eq!(bed.knows(), before);
}

/// Spoofed: to somebody who is no member.
#[test]
fn have_a_probe_sent_to_a_third_party() {
    let mut bed = Testbed::new(&["a", "b"]);
    let victim = node("victim", 1, 80);
    for kind in kinds(&victim) {
        let packet = bed.packet(&a(), kind, Vec::new());
        bed.swim(a().addr, &packet);
    }
    let to: Vec<SocketAddr> = bed.datagrams().into_iter().map(|(to, _)| to).collect();
    assert!(!to.contains(&victim.addr), "{to:?}");
    assert_eq!(bed.engine.counters().relays_refused, 2);
}

#[test]
fn have_data_taken() {
    let mut bed = Testbed::new(&["a"]);
    let token = 12345;
    let delta = Delta {
        token,
        packet: 1,
        uncovered: Vec::new(),
        sections: Vec::new(),
    };
    let ack = Ack {
        token,
        ranges: vec![(1, 1)],
        refused: Vec::new(),
    };
    let relayed = Relayed {
        token,
        holder: process("a"),
        held: Vec::new(),
    };
    let before = bed.knows();
    bed.datagram(a().addr, &Message::Delta(delta));
    bed.datagram(a().addr, &Message::Ack(ack));
    bed.datagram(a().addr, &Message::Relayed(relayed));
    assert_eq!((bed.knows(), bed.datagrams()), (before, Vec::new()));
    assert_eq!(bed.engine.counters().unknown_token, 3);
}

/// It is sent back what it sent, to where it came from, and not more often than is good.
#[test]
fn have_more_sent_than_it_sends() {
    let mut bed = Testbed::new(&["a"]);
    let ping = bed.packet(&stranger(), Swim::Ping(7), claims(&a()));
    let sent: usize = 5000;
    for _ in 0..sent {
        inject(&mut bed, &ping);
    }
    let answered = bed.datagrams();
    assert!(answered.len() <= 1025, "{}", answered.len());
    let longest = answered.iter().map(|(_, message)| encoded(message).len());
    assert!(longest.max().unwrap() <= encoded(&Message::Swim(swim_bytes(&ping))).len());
}

fn suspected(id: &NodeId, incarnation: u16) -> Member<NodeId> {
    Member::new(id.clone(), incarnation, State::Suspect)
}

fn assert_all_alive(bed: &Testbed) {
    let members = bed.engine.members.roster().members();
    let shown: Vec<_> = members
        .map(|known| (known.id.process.clone(), known.id.addr, known.is_live()))
        .collect();
    let expected = [a(), node("b", 1, 3)].map(|id| (id.process, id.addr, true));
    assert_eq!(shown, expected);
}
