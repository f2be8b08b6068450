//! The members' owner, by itself: what it shows, asks for and says.

use bytes::{Bytes, BytesMut};
use foca::Codec as _;

use super::*;
use crate::engine::core::Course;
use crate::engine::core::ask::Ask;
use crate::engine::core::roster::MemberChange;
use crate::engine::core::session::SessionTable;
use crate::engine::core::tests::{core, datagrams, frames, linked, name, node, process};
use crate::engine::core::timers::TimerKind;
use crate::engine::event::{Event, Member};
use crate::engine::io::StreamId;
use crate::id::MemberState;
use crate::wire::{Leave, MemberRecord, Message};

fn vouched(node: NodeId, incarnation: u16, nonce: u64) -> Vouched {
    Vouched {
        node,
        incarnation,
        nonce,
    }
}

/// A node that knows these members: the n-th at port 1 + n.
fn with(names: &[&str]) -> (Core, Membership) {
    let mut core = core();
    let mut members = Membership::new(&mut core);
    for (port, text) in (2..).zip(names) {
        members.vouch(&mut core, &vouched(node(text, 1, port), 0, 7));
    }
    core.take_asks();
    core.outputs.clear();
    (core, members)
}

fn state(members: &Membership, text: &str) -> Option<MemberState> {
    members.roster().get(&name(text)).map(|known| known.state)
}

fn record(text: &str, boot: u64, state: MemberState) -> MemberRecord {
    MemberRecord {
        id: node(text, boot, 2),
        incarnation: 0,
        state,
    }
}

/// A member of boot 1 at port 2 has come from one state to another.
fn changed(text: &str, was: Option<MemberState>, state: MemberState) -> Ask {
    let id = node(text, 1, 2);
    Ask::MemberChanged(MemberChange {
        member: Member {
            process: id.process,
            addr: id.addr,
            state,
        },
        was,
        replaced: None,
        moved: was.is_none(),
    })
}

/// A member that others are not, which tells of them.
fn teller() -> ProcessId {
    process("teller")
}

/// A boot is to be taken because it knows a later one.
fn adopts(known: u64) -> Ask {
    let from = node("teller", 1, 2).addr;
    Ask::AdoptBoot { known, from }
}

/// What a member tells in a membership exchange.
fn tell(core: &mut Core, members: &mut Membership, teller: &str, record: MemberRecord) {
    members.apply_records(core, &process(teller), vec![record]);
}

/// Nobody who is asked answers, for long enough.
fn nobody_answers(core: &mut Core, members: &mut Membership) {
    for _ in 0..4 {
        core.now.mono += core.config.probe_timeout;
        members.look(core, &SessionTable::default());
    }
}

/// Takes a member for failed, on the word of another one.
fn fails(core: &mut Core, members: &mut Membership, text: &str) {
    tell(
        core,
        members,
        "teller",
        record(text, 1, MemberState::Failed),
    );
    nobody_answers(core, members);
    assert_eq!(state(members, text), Some(MemberState::Failed));
    core.take_asks();
    core.outputs.clear();
}

fn leave(text: &str) -> Leave {
    let process = process(text);
    Leave { process }
}

#[test]
fn a_process_that_a_handshake_vouches_for_is_asked_to_be_shown_as_up() {
    let (mut core, mut members) = with(&[]);
    members.vouch(&mut core, &vouched(node("a", 1, 2), 0, 7));
    let up = changed("a", None, MemberState::Alive);
    let asked = [up, Ask::MembershipChanged { others: 1 }];
    assert_eq!(core.take_asks(), asked);
    let known = members.roster().get(&name("a")).unwrap();
    assert_eq!((known.nonce, known.heard), (Some((1, 7)), core.now.mono));
    members.vouch(&mut core, &vouched(node("a", 1, 2), 0, 7));
    assert_eq!(core.take_asks(), [], "nothing has changed");
}

#[test]
fn a_restart_says_which_process_it_replaces() {
    let (mut core, mut members) = with(&["a"]);
    members.vouch(&mut core, &vouched(node("a", 2, 2), 0, 8));
    let asked = core.take_asks();
    let Some(Ask::MemberChanged(change)) = asked.first() else {
        panic!("{asked:?}");
    };
    assert_eq!(change.replaced, Some(process("a")));
    assert!(change.moved && change.member.process.boot == 2);
}

#[test]
fn a_record_of_this_nodes_name_with_a_later_boot_asks_for_that_boot_alone() {
    let (mut core, mut members) = with(&["teller"]);
    let records = vec![
        record("a", 1, MemberState::Alive),
        record("self", 5, MemberState::Alive),
    ];
    members.apply_records(&mut core, &teller(), records);
    assert_eq!(core.take_asks(), [adopts(5)]);
    assert_eq!(state(&members, "a"), None);
}

#[test]
fn the_boot_after_the_one_known_is_adopted_once_all_sessions_have_ended() {
    let (mut core, mut members) = with(&[]);
    let addr = node("teller", 1, 2).addr;
    members.adopt_boot(&mut core, 5, addr);
    let asked = [Ask::DropSessions, Ask::BecomeProcess, Ask::Rejoin];
    assert_eq!(core.take_asks(), asked);
    assert_eq!(members.roster().me().boot, 1, "not yet");
    members.become_process(&mut core);
    assert_eq!(members.roster().me().boot, 6);
    // One that is behind, and one that would lock the name out.
    members.adopt_boot(&mut core, 5, addr);
    members.adopt_boot(&mut core, u64::MAX - 1, addr);
    assert_eq!(core.counters.unexpected, 2);
    assert!(!core.take_asks().contains(&Ask::BecomeProcess));
}

#[test]
fn an_implausible_boot_is_counted_and_changes_nothing() {
    let (mut core, mut members) = with(&[]);
    members.apply_records(
        &mut core,
        &teller(),
        vec![record("a", u64::MAX, MemberState::Alive)],
    );
    assert_eq!(core.counters.unexpected, 1);
    assert_eq!(state(&members, "a"), None);
    assert_eq!(core.take_asks(), []);
}

#[test]
fn no_more_members_are_learned_than_may_be_kept() {
    let (mut core, mut members) = with(&["a", "b"]);
    core.config.members_max = 3;
    for teller in ["a", "b"] {
        for told in ["c", "d"] {
            tell(
                &mut core,
                &mut members,
                teller,
                record(told, 1, MemberState::Alive),
            );
        }
    }
    assert_eq!(state(&members, "c"), Some(MemberState::Alive));
    assert_eq!(state(&members, "d"), None);
}

#[test]
fn a_live_member_told_to_have_left_and_silent_is_left_and_not_failed() {
    let (mut core, mut members) = with(&["a", "teller"]);
    tell(
        &mut core,
        &mut members,
        "teller",
        record("a", 1, MemberState::Left),
    );
    assert_eq!(state(&members, "a"), Some(MemberState::Alive), "not yet");
    nobody_answers(&mut core, &mut members);
    let asked = core.take_asks();
    let left = changed("a", Some(MemberState::Alive), MemberState::Left);
    assert_eq!(asked, [left, Ask::MembershipChanged { others: 1 }]);
    members.refresh_left(&mut core, &[name("a")]);
    assert_eq!(core.take_asks(), [], "it is shown already");
    assert_eq!(members.shown_otherwise(&core), 0);
}

/// The failure detector has nothing new to say of it.
#[test]
fn a_failed_member_that_says_it_is_leaving_is_left_after_all() {
    let (mut core, mut members) = with(&["a"]);
    fails(&mut core, &mut members, "a");
    members.leave_announced(&mut core, ([10, 0, 0, 2], 2).into(), &leave("a"));
    let left = changed("a", Some(MemberState::Failed), MemberState::Left);
    assert_eq!(core.take_asks().first(), Some(&left));
}

/// foca has nothing new to say of it, and a debug build has to bear that as a release build does.
#[test]
fn a_failed_member_is_left_after_all_if_a_record_says_so() {
    let (mut core, mut members) = with(&["a", "teller"]);
    fails(&mut core, &mut members, "a");
    tell(
        &mut core,
        &mut members,
        "teller",
        record("a", 1, MemberState::Left),
    );
    assert_eq!(core.take_asks(), [Ask::RefreshLeft(vec![name("a")])]);
    members.refresh_left(&mut core, &[name("a")]);
    assert_eq!(state(&members, "a"), Some(MemberState::Left));
    let left = changed("a", Some(MemberState::Failed), MemberState::Left);
    assert_eq!(core.take_asks().first(), Some(&left));
    assert_eq!(members.shown_otherwise(&core), 0);
}

/// Such names would be in no table, and so never be forgotten.
#[test]
fn nothing_is_noted_of_a_list_that_ends_in_a_boot_to_adopt() {
    let (mut core, mut members) = with(&["teller"]);
    let own = core.setup.name.as_str().to_owned();
    let invented = record("invented", 1, MemberState::Left);
    let later = record(&own, 9, MemberState::Alive);
    members.apply_records(&mut core, &teller(), vec![invented, later]);
    assert!(members.roster().left.is_empty());
    assert_eq!(core.take_asks(), [adopts(9)]);
}

#[test]
fn a_condemned_member_is_suspected_at_once_and_fails_only_if_refused_again() {
    let (mut core, mut members) = with(&["a"]);
    members.condemn(&mut core, &name("a"));
    let suspected = changed("a", Some(MemberState::Alive), MemberState::Suspect);
    assert_eq!(core.take_asks().first(), Some(&suspected));
    assert!(core.timers.is_set(&TimerKind::Condemned(name("a"))));
    members.judge_condemned(&mut core, &name("a"), false);
    assert_eq!(state(&members, "a"), Some(MemberState::Suspect));
    members.judge_condemned(&mut core, &name("a"), true);
    assert_eq!(state(&members, "a"), Some(MemberState::Failed));
}

#[test]
fn a_condemned_member_that_has_refuted_is_spared() {
    let (mut core, mut members) = with(&["a"]);
    members.condemn(&mut core, &name("a"));
    members.vouch(&mut core, &vouched(node("a", 1, 2), 1, 7));
    members.judge_condemned(&mut core, &name("a"), true);
    assert_eq!(state(&members, "a"), Some(MemberState::Alive));
}

#[test]
fn a_leave_waits_while_something_is_owed_and_for_half_of_its_time_at_most() {
    let (mut core, mut members) = with(&["a"]);
    let sessions = SessionTable::default();
    assert!(members.begin_leave(&core));
    assert!(!members.begin_leave(&core), "it has begun");
    members.leave_due(&mut core, &sessions, true);
    assert_eq!((core.course, core.outputs.len()), (Course::Here, 0));
    assert!(core.timers.is_set(&TimerKind::Leave));
    core.now.mono += core.config.leave_timeout / 2;
    members.leave_due(&mut core, &sessions, true);
    assert_eq!(core.course, Course::Leaving);
    assert_eq!(datagrams(&core).len(), 1);
}

#[test]
fn a_leave_is_announced_to_live_members_again_and_again_and_to_failed_ones_once() {
    let (mut core, mut members) = with(&["c", "a", "b"]);
    fails(&mut core, &mut members, "c");
    let sessions = linked(&core, &["a"]).sessions;
    core.outputs.clear();
    members.begin_leave(&core);
    members.leave_due(&mut core, &sessions, false);
    let told = Message::Leave(leave("self"));
    let to = |port| (([10, 0, 0, 2], port).into(), told.clone());
    assert_eq!(
        datagrams(&core),
        [to(2), to(3), to(4)],
        "the failed one first"
    );
    assert_eq!(frames(&core), [(StreamId(2), told.clone())]);
    core.outputs.clear();
    members.leave_due(&mut core, &sessions, false);
    assert_eq!(datagrams(&core), [to(3), to(4)]);
}

#[test]
fn a_leave_ends_when_all_have_acknowledged_it() {
    let (mut core, mut members) = with(&["a", "b"]);
    let sessions = SessionTable::default();
    members.begin_leave(&core);
    members.leave_due(&mut core, &sessions, false);
    members.leave_acked_by(&mut core, &process("a"), &leave("self"));
    let of_b = members.roster().get(&name("b")).unwrap().id.addr;
    members.leave_acked(&mut core, of_b, &leave("a"));
    members.leave_due(&mut core, &sessions, false);
    assert_eq!(core.take_asks(), [], "that was about another leave");
    members.leave_acked(&mut core, of_b, &leave("self"));
    members.leave_due(&mut core, &sessions, false);
    assert_eq!(core.take_asks(), [Ask::EndAll, Ask::Emit(Event::Left)]);
}

#[test]
fn a_leave_that_nobody_acknowledges_ends_after_the_other_half_of_its_time() {
    let (mut core, mut members) = with(&["a"]);
    let sessions = SessionTable::default();
    members.begin_leave(&core);
    members.leave_due(&mut core, &sessions, false);
    core.now.mono += core.config.leave_timeout / 2;
    members.leave_due(&mut core, &sessions, false);
    assert_eq!(core.take_asks(), [Ask::EndAll, Ask::Emit(Event::Left)]);
}

#[test]
fn a_leave_by_datagram_is_believed_from_the_members_own_address_alone() {
    let (mut core, mut members) = with(&["a"]);
    members.leave_announced(&mut core, ([10, 0, 0, 2], 9).into(), &leave("a"));
    assert_eq!(core.counters.unknown_source, 1);
    assert_eq!(core.take_asks(), []);
    let addr = ([10, 0, 0, 2], 2).into();
    members.leave_announced(&mut core, addr, &leave("a"));
    // It is acknowledged once everything that follows is done.
    let asked = [
        changed("a", Some(MemberState::Alive), MemberState::Left),
        Ask::MembershipChanged { others: 0 },
        Ask::Datagram(addr, Box::new(Message::LeaveAck(leave("a")))),
    ];
    assert_eq!(core.take_asks(), asked);
    assert_eq!(core.counters.unknown_source, 1);
}

#[test]
fn a_leave_on_a_link_is_believed_of_the_peer_alone() {
    let (mut core, mut members) = with(&["a", "b"]);
    members.leave_on_link(&mut core, StreamId(4), &process("b"), &leave("a"));
    assert_eq!(core.counters.unexpected, 1);
    assert_eq!(state(&members, "a"), Some(MemberState::Alive));
    members.leave_on_link(&mut core, StreamId(2), &process("a"), &leave("a"));
    assert_eq!(state(&members, "a"), Some(MemberState::Left));
    let acknowledged = (StreamId(2), Message::LeaveAck(leave("a")));
    assert_eq!(frames(&core), [acknowledged]);
}

fn packet(src: &NodeId, message: foca::Message<NodeId>) -> Bytes {
    let header = foca::Header {
        src: src.clone(),
        src_incarnation: 0,
        dst: NodeId {
            addr: core().setup.addr,
            ..node("self", 1, 1)
        },
        message,
    };
    let mut bytes = BytesMut::new();
    codec::SwimCodec.encode_header(&header, &mut bytes).unwrap();
    bytes.freeze()
}

#[test]
fn the_ping_of_an_unknown_node_changes_nothing_and_makes_one_ask() {
    let (mut core, mut members) = with(&["a"]);
    let stranger = node("b", 1, 3);
    let ping = packet(&stranger, foca::Message::Ping(1));
    members.packet(&mut core, stranger.addr, &ping);
    assert_eq!(core.take_asks(), [Ask::StrangerProbes]);
    // Neither what is not a probe, nor a member's ping from elsewhere.
    let gossip = packet(&stranger, foca::Message::Gossip);
    members.packet(&mut core, stranger.addr, &gossip);
    let ping = packet(&node("a", 1, 2), foca::Message::Ping(1));
    members.packet(&mut core, stranger.addr, &ping);
    assert_eq!(core.take_asks(), []);
    assert_eq!(core.counters.unknown_source, 3);
    assert_eq!(state(&members, "b"), None);
    // A ping is sent back to where its sender says it is, if it came from there.
    let answered: Vec<_> = datagrams(&core).into_iter().map(|(to, _)| to).collect();
    assert_eq!(answered, [stranger.addr]);
}

#[test]
fn a_ping_on_a_link_is_answered_on_it() {
    let (mut core, mut members) = with(&["a"]);
    let ping = packet(&node("a", 1, 2), foca::Message::Ping(1));
    members.packet_on_link(&mut core, StreamId(2), &process("a"), &ping);
    assert!(datagrams(&core).is_empty());
    assert!(matches!(
        frames(&core)[..],
        [(StreamId(2), Message::Swim(_))]
    ));
    // In the name of another process it is not taken.
    members.packet_on_link(&mut core, StreamId(4), &process("b"), &ping);
    assert_eq!(core.counters.unexpected, 1);
}
