//! The sessions' owner, by itself: streams, handshakes and links.

use std::time::Duration;

use super::handshake::{Introduced, TOKENS_MAX};
use super::stream::Target;
use super::*;
use crate::engine::core::ask::{Ask, ExchangeRoom, Greeting, SessionStart, Vouched};
use crate::engine::core::roster::Roster;
use crate::engine::core::tests::{
    core, core_with, encoded, frames, hello, linked, name, node, notes, process,
};
use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, LinkPolicy};
use crate::engine::event::{Event, SeedFault};
use crate::engine::io::{CloseReason, Output};
use crate::id::{Misbehaviour, NodeId};
use crate::wire::{
    Ack, Capabilities, Members, Message, ObjectionReason, Purpose, RejectReason, Welcome,
};

/// A node that knows a member `a`, and has no session with it.
fn beside_a() -> (Core, Sessions, Roster) {
    beside("a")
}

fn beside(text: &str) -> (Core, Sessions, Roster) {
    let core = core();
    let sessions = Sessions::new(&core.setup);
    let roster = linked(&core, &[text]).roster;
    (core, sessions, roster)
}

fn a() -> NodeId {
    node("a", 1, 2)
}

/// Accepts a stream on which a member introduces itself.
fn accept(
    core: &mut Core,
    sessions: &mut Sessions,
    roster: &Roster,
    stream: u64,
    (node, purpose): (&NodeId, Purpose),
) -> StreamId {
    let stream = StreamId(stream);
    sessions.stream_opened(core, roster, stream, node.addr);
    let hello = hello(core, node, purpose);
    let greeting = Greeting {
        stream,
        hello: Box::new(hello),
        boot_known: 0,
    };
    sessions.welcome(core, roster, &greeting);
    if purpose == Purpose::Link {
        sessions.link_opened(core, roster, stream, &node.process);
    }
    core.take_asks();
    core.outputs.clear();
    stream
}

fn accept_link_of_a(core: &mut Core, sessions: &mut Sessions, roster: &Roster) -> StreamId {
    accept(core, sessions, roster, 1, (&a(), Purpose::Link))
}

/// Dials a member, up to the introduction.
fn dial(core: &mut Core, sessions: &mut Sessions, roster: &Roster, node: &NodeId) -> StreamId {
    sessions.dial_member(core, roster, &node.process.name);
    let stream = StreamId(sessions.next_stream);
    sessions.stream_opened(core, roster, stream, node.addr);
    stream
}

/// The member that was dialled answers.
fn answer(
    core: &mut Core,
    sessions: &mut Sessions,
    roster: &Roster,
    stream: StreamId,
    node: &NodeId,
) {
    let welcome = Welcome {
        node: node.clone(),
        incarnation: 0,
        nonce: 101,
        token: 7,
        capabilities: Capabilities::OURS,
        boot_known: 0,
        stores: Vec::new(),
    };
    sessions.after_welcome(core, roster, stream, &welcome);
    sessions.link_opened(core, roster, stream, &node.process);
    core.take_asks();
}

fn closed(core: &Core) -> Vec<StreamId> {
    let closed = core.outputs.iter().filter_map(|output| match output {
        Output::CloseStream { stream } => Some(*stream),
        _ => None,
    });
    closed.collect()
}

fn dials(core: &Core) -> usize {
    let outputs = core.outputs.iter();
    let dials = outputs.filter(|output| matches!(output, Output::OpenStream { .. }));
    dials.count()
}

/// Why an introduction is refused, if it is.
fn refusal(
    core: &mut Core,
    node: &NodeId,
    purpose: Purpose,
    room: ExchangeRoom,
) -> Option<RejectReason> {
    let mut sessions = Sessions::new(&core.setup);
    let roster = linked(core, &["a"]).roster;
    let stream = StreamId(1);
    sessions.stream_opened(core, &roster, stream, node.addr);
    let hello = Box::new(hello(core, node, purpose));
    sessions.hello_received(core, &roster, stream, hello, room);
    let reason = match &frames(core)[..] {
        [] => None,
        [(StreamId(1), Message::Reject(reject))] => Some(reject.reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason.is_some(), sessions.streams.is_empty());
    assert_eq!(reason.is_some(), !closed(core).is_empty());
    core.outputs.clear();
    reason
}

#[test]
fn there_are_no_more_streams_than_streams_max() {
    let (mut core, mut sessions, roster) = beside_a();
    core.config.streams_max = 2;
    let addr = a().addr;
    for stream in [1, 3, 5] {
        sessions.stream_opened(&mut core, &roster, StreamId(stream), addr);
    }
    assert_eq!(closed(&core), [StreamId(5)]);
    let target = Target::Seed(addr);
    assert_eq!(sessions.dial(&mut core, &roster, target, addr), None);
    assert_eq!((sessions.streams.len(), dials(&core)), (2, 0));
    assert_eq!(core.counters.streams_refused, 2);
    assert_eq!(sessions.dialling(&mut core).room, 0);
}

#[test]
fn a_stream_from_outside_has_an_odd_number() {
    let (mut core, mut sessions, roster) = beside_a();
    sessions.stream_opened(&mut core, &roster, StreamId(2), a().addr);
    assert_eq!(closed(&core), [StreamId(2)]);
    assert!(sessions.streams.is_empty());
}

#[test]
fn a_frame_before_the_introduction_closes_the_stream() {
    let (mut core, mut sessions, roster) = beside_a();
    let stream = StreamId(1);
    sessions.stream_opened(&mut core, &roster, stream, a().addr);
    let ack = encoded(&Message::Ack(Ack {
        token: 0,
        ranges: Vec::new(),
        refused: Vec::new(),
    }));
    let opened = sessions.stream_frame(&mut core, &roster, stream, ack);
    assert!(opened.is_none());
    assert_eq!((closed(&core), core.counters.unexpected), (vec![stream], 1));
    assert!(sessions.streams.is_empty());
    assert!(!core.timers.is_set(&TimerKind::Stream(stream)));
}

#[test]
fn a_stream_on_which_nobody_introduces_itself_ends() {
    let (mut core, mut sessions, roster) = beside_a();
    let stream = StreamId(1);
    sessions.stream_opened(&mut core, &roster, stream, a().addr);
    assert!(core.timers.is_set(&TimerKind::Stream(stream)));
    sessions.stream_timed_out(&mut core, &roster, stream);
    assert_eq!(closed(&core), [stream]);
}

#[test]
fn an_introduction_is_vouched_for_before_it_is_answered() {
    let (mut core, mut sessions, roster) = beside_a();
    let stream = StreamId(1);
    sessions.stream_opened(&mut core, &roster, stream, a().addr);
    let hello = Box::new(hello(&core, &a(), Purpose::Link));
    sessions.hello_received(&mut core, &roster, stream, hello, ExchangeRoom::Free);
    let asked = core.take_asks();
    assert!(
        matches!(
            &asked[..],
            [
                Ask::Vouch(Vouched { nonce: 101, .. }),
                Ask::Welcome(Greeting { boot_known: 1, .. })
            ]
        ),
        "{asked:?}"
    );
    assert!(frames(&core).is_empty() && sessions.table().by_process.is_empty());
}

#[test]
fn another_node_of_this_nodes_name_is_rejected_and_told_of() {
    let mut core = core();
    let other = node("self", 1, 9);
    let mut sessions = Sessions::new(&core.setup);
    let roster = linked(&core, &[]).roster;
    let stream = StreamId(1);
    sessions.stream_opened(&mut core, &roster, stream, other.addr);
    let mut hello = Box::new(hello(&core, &other, Purpose::Link));
    hello.capabilities = Capabilities::READS_OBJECTIONS;
    sessions.hello_received(&mut core, &roster, stream, hello, ExchangeRoom::Free);
    assert!(core.outputs.iter().any(|output| matches!(
        output,
        Output::Event(Event::NameConflict { addr }) if *addr == other.addr
    )));
    let sent = frames(&core);
    assert!(matches!(
        &sent[..],
        [(_, Message::Objection(objection))]
            if objection.reason == ObjectionReason::NameTakenHere
                && objection.twin == core.setup.addr
    ));
    assert_eq!((closed(&core), core.take_asks()), (vec![stream], vec![]));
}

#[test]
fn an_earlier_boot_and_one_from_the_far_future_are_rejected() {
    let mut core = core();
    let mut reason = |boot| {
        let node = node("a", boot, 2);
        refusal(&mut core, &node, Purpose::Link, ExchangeRoom::Free)
    };
    assert_eq!(reason(0), Some(RejectReason::StaleBoot));
    assert_eq!(reason(u64::MAX / 2), Some(RejectReason::Busy));
    assert_eq!([reason(1), reason(2)], [None, None]);
}

#[test]
fn who_answers_with_an_earlier_boot_is_told_the_later_one() {
    let (mut core, mut sessions, mut roster) = beside_a();
    let known = roster.table.get_mut(&name("a")).expect("it is known");
    known.id.process.boot = 5;
    let told = known.record();
    let stream = dial(&mut core, &mut sessions, &roster, &a());
    core.outputs.clear();
    let welcome = Welcome {
        node: a(),
        incarnation: 0,
        nonce: 101,
        token: 7,
        capabilities: Capabilities::OURS,
        boot_known: 0,
        stores: Vec::new(),
    };
    sessions.welcomed(&mut core, &roster, stream, welcome);
    let records = vec![told];
    let ask = false;
    let said = (stream, Message::Members(Members { ask, records }));
    assert_eq!(frames(&core), [said]);
    assert_eq!(closed(&core), [stream]);
}

#[test]
fn an_exchange_that_there_is_no_room_for_is_rejected_as_busy() {
    let mut core = core();
    let mut reason = |purpose, room| refusal(&mut core, &a(), purpose, room);
    let (full, overworked) = (ExchangeRoom::Full, ExchangeRoom::Overworked);
    let busy = Some(RejectReason::Busy);
    assert_eq!(reason(Purpose::PushPull, ExchangeRoom::Free), None);
    assert_eq!(reason(Purpose::PushPull, full), busy);
    assert_eq!(
        reason(Purpose::Link, overworked),
        None,
        "a link costs little"
    );
    assert_eq!(reason(Purpose::PushPull, overworked), busy);
    assert_eq!(core.counters.push_pulls_throttled, 1, "the overworked one");
}

#[test]
fn the_end_of_an_exchanges_stream_asks_for_the_exchanges_end() {
    let (mut core, mut sessions, roster) = beside_a();
    let exchange = (&a(), Purpose::PushPull);
    let stream = accept(&mut core, &mut sessions, &roster, 1, exchange);
    sessions.stream_closed(&mut core, &roster, stream, CloseReason::Ended);
    let complete = false;
    assert_eq!(core.take_asks(), [Ask::ExchangeEnded { stream, complete }]);
}

#[test]
fn the_end_of_a_link_is_told_and_it_is_dialled_again_while_links_are_kept() {
    for (links, dialled) in [(LinkPolicy::Kept, 1), (LinkPolicy::Near, 0)] {
        let (mut core, mut sessions, roster) = beside_a();
        let link = accept_link_of_a(&mut core, &mut sessions, &roster);
        assert_eq!(sessions.table().link(&process("a")), Some(link));
        core.link_policy = links;
        sessions.stream_closed(&mut core, &roster, link, CloseReason::Ended);
        assert_eq!(core.take_asks(), [Ask::LinkLost(process("a"))]);
        assert_eq!(dials(&core), dialled, "{links:?}");
        assert_eq!(sessions.table().link(&process("a")), None);
    }
}

#[test]
fn a_refused_dial_after_a_link_condemns_before_the_member_is_dialled_again() {
    let (mut core, mut sessions, roster) = beside_a();
    let link = accept_link_of_a(&mut core, &mut sessions, &roster);
    sessions.stream_closed(&mut core, &roster, link, CloseReason::Ended);
    core.take_asks();
    let redial = StreamId(sessions.next_stream);
    sessions.stream_closed(&mut core, &roster, redial, CloseReason::Refused);
    let asked = [Ask::Condemn(name("a")), Ask::DialMemberLater(name("a"))];
    assert_eq!(core.take_asks(), asked);
    assert_eq!(sessions.refused_dials(&name("a")), 1);
}

#[test]
fn a_failed_dial_proves_nothing_unless_it_is_refused_after_a_link() {
    let (mut core, mut sessions, roster) = beside_a();
    sessions.dial_member(&mut core, &roster, &name("a"));
    let dial = StreamId(sessions.next_stream);
    sessions.stream_closed(&mut core, &roster, dial, CloseReason::Refused);
    assert_eq!(core.take_asks(), [Ask::DialMemberLater(name("a"))]);
    let link = accept_link_of_a(&mut core, &mut sessions, &roster);
    sessions.stream_closed(&mut core, &roster, link, CloseReason::Ended);
    core.take_asks();
    let redial = StreamId(sessions.next_stream);
    sessions.stream_closed(&mut core, &roster, redial, CloseReason::Unreachable);
    assert_eq!(core.take_asks(), [Ask::DialMemberLater(name("a"))]);
    assert_eq!(sessions.refused_dials(&name("a")), 0);
}

/// Whether the link that this node dialled is kept, of two with this member.
fn keeps_own_link(text: &str, own_is_first: bool) -> bool {
    let (mut core, mut sessions, roster) = beside(text);
    let peer = node(text, 1, 2);
    let own = dial(&mut core, &mut sessions, &roster, &peer);
    if own_is_first {
        answer(&mut core, &mut sessions, &roster, own, &peer);
    }
    let theirs = accept(&mut core, &mut sessions, &roster, 1, (&peer, Purpose::Link));
    if !own_is_first {
        answer(&mut core, &mut sessions, &roster, own, &peer);
    }
    let kept = sessions.table().link(&peer.process);
    assert!(sessions.streams.keys().copied().eq(kept), "one stays");
    assert!(kept == Some(own) || kept == Some(theirs));
    kept == Some(own)
}

#[test]
fn of_two_rival_links_both_sides_keep_the_one_that_the_smaller_name_dialled() {
    assert!(!keeps_own_link("a", true) && !keeps_own_link("a", false));
    assert!(keeps_own_link("z", true) && keeps_own_link("z", false));
}

#[test]
fn an_old_link_gives_way_to_a_new_one() {
    let (mut core, mut sessions, roster) = beside("z");
    let z = node("z", 1, 2);
    let own = dial(&mut core, &mut sessions, &roster, &z);
    answer(&mut core, &mut sessions, &roster, own, &z);
    core.now.mono += core.config.tcp_timeout + Duration::from_secs(1);
    let theirs = accept(&mut core, &mut sessions, &roster, 1, (&z, Purpose::Link));
    assert_eq!(sessions.table().link(&z.process), Some(theirs));
}

#[test]
fn above_direct_mode_a_dialled_link_ends_once_the_membership_has_come() {
    let (mut core, mut sessions, roster) = beside_a();
    core.link_policy = LinkPolicy::Near;
    let link = dial(&mut core, &mut sessions, &roster, &a());
    answer(&mut core, &mut sessions, &roster, link, &a());
    assert!(core.timers.is_set(&TimerKind::Stream(link)), "late or not");
    sessions.members_answered(&mut core, &roster, link, false);
    assert_eq!(closed(&core), [link]);
    assert_eq!(dials(&core), 1, "it is not dialled again");
}

#[test]
fn the_tokens_of_the_last_handshakes_are_honoured() {
    let (mut core, mut sessions, roster) = beside_a();
    let last = TOKENS_MAX as u64 + 1;
    for our_token in 1..=last {
        let introduced = Introduced {
            capabilities: Capabilities::OURS,
            node: &a(),
            our_token,
            their_token: 7,
            offers: &[],
        };
        sessions.establish(&mut core, &roster, introduced, Some(Duration::ZERO));
    }
    let honoured = |token| sessions.table().of_token(token) == Some(&process("a"));
    assert!(!honoured(1));
    assert!((2..=last).all(honoured));
    assert_eq!(sessions.table().get(&process("a")).unwrap().our_token, last);
    let begun = core.take_asks();
    let renewed = |ask: &Ask| matches!(ask, Ask::SessionBegun(SessionStart { renewed: true, .. }));
    assert!(!begun.iter().any(renewed), "the other side's is the same");
    sessions.forget(&mut core, &process("a"));
    assert!(sessions.table().by_token.is_empty());
}

#[test]
fn a_new_token_of_the_other_side_renews_the_session() {
    let (mut core, mut sessions, roster) = beside_a();
    for (their_token, new, renewed) in [(7, true, false), (8, false, true)] {
        let introduced = Introduced {
            capabilities: Capabilities::OURS,
            node: &a(),
            our_token: 1,
            their_token,
            offers: &[],
        };
        sessions.establish(&mut core, &roster, introduced, Some(Duration::ZERO));
        let begun = Ask::SessionBegun(SessionStart {
            process: process("a"),
            new,
            renewed,
            dialled: true,
            round_trip: Some(Duration::ZERO),
        });
        assert_eq!(core.take_asks(), [begun]);
    }
}

#[test]
fn a_store_that_a_peer_has_not_is_told_once() {
    let mut core = core_with(vec![notes(0).0], false);
    let mut sessions = Sessions::new(&core.setup);
    let roster = linked(&core, &["a"]).roster;
    for _ in 0..2 {
        let introduced = Introduced {
            capabilities: Capabilities::OURS,
            node: &a(),
            our_token: 1,
            their_token: 7,
            offers: &[],
        };
        sessions.establish(&mut core, &roster, introduced, Some(Duration::ZERO));
    }
    let missing = |output: &&Output| matches!(output, Output::Event(Event::StoreMissing { .. }));
    assert_eq!(core.outputs.iter().filter(missing).count(), 1);
}

#[test]
fn the_end_of_a_session_ends_its_exchange_before_that_ones_stream() {
    let (mut core, mut sessions, roster) = beside_a();
    let link = accept_link_of_a(&mut core, &mut sessions, &roster);
    let exchange = (&a(), Purpose::PushPull);
    let stream = accept(&mut core, &mut sessions, &roster, 3, exchange);
    sessions.drop_session(&mut core, &process("a"));
    let complete = false;
    let asked = [
        Ask::CloseStream(link),
        Ask::ExchangeEnded { stream, complete },
        Ask::CloseStream(stream),
        Ask::LinkLost(process("a")),
        Ask::ForgetSession(process("a")),
    ];
    assert_eq!(core.take_asks(), asked);
}

/// What a peer says to ask for the membership.
fn ask() -> Members {
    Members {
        ask: true,
        records: Vec::new(),
    }
}

fn named(core: &Core) -> Vec<Misbehaviour> {
    let events = core.outputs.iter().filter_map(|output| match output {
        Output::Event(Event::MemberMisbehaved { peer, kind, .. }) if *peer == name("a") => {
            Some(*kind)
        }
        _ => None,
    });
    events.collect()
}

#[test]
fn one_answer_waits_however_often_the_membership_is_asked_for() {
    let (mut core, mut sessions, roster) = beside_a();
    let link = accept_link_of_a(&mut core, &mut sessions, &roster);
    core.room.is_full(link);
    for _ in 0..15 {
        sessions.members_received(&mut core, &roster, link, &process("a"), ask());
    }
    assert!(frames(&core).is_empty());
    core.room.is_writable(link);
    sessions.stream_writable(&mut core, &roster, link);
    sessions.stream_writable(&mut core, &roster, link);
    assert_eq!(frames(&core).len(), 1);
    assert!(named(&core).is_empty() && closed(&core).is_empty());
}

#[test]
fn a_member_that_asks_and_does_not_read_is_closed_and_named() {
    let (mut core, mut sessions, roster) = beside_a();
    let link = accept_link_of_a(&mut core, &mut sessions, &roster);
    core.room.is_full(link);
    for _ in 0..16 {
        sessions.members_received(&mut core, &roster, link, &process("a"), ask());
    }
    assert_eq!(closed(&core), [link]);
    assert_eq!(named(&core), [Misbehaviour::ReadsNothing]);
    assert!(core.room.has_room(link), "nothing is kept of it");
}

#[test]
fn a_member_that_asks_on_and_on_is_answered_at_a_rate_and_named() {
    let (mut core, mut sessions, roster) = beside_a();
    let link = accept_link_of_a(&mut core, &mut sessions, &roster);
    for _ in 0..1000 {
        sessions.members_received(&mut core, &roster, link, &process("a"), ask());
    }
    assert_eq!(frames(&core).len(), 16);
    assert_eq!(named(&core), [Misbehaviour::CostsTooMuch]);
    core.outputs.clear();
    core.now.mono += Duration::from_secs(1);
    for _ in 0..4 {
        sessions.members_received(&mut core, &roster, link, &process("a"), ask());
    }
    assert_eq!((frames(&core).len(), named(&core).len()), (4, 0));
    assert!(closed(&core).is_empty());
}

#[test]
fn what_everybody_is_told_waits_where_there_is_no_room() {
    let (mut core, mut sessions, roster) = beside_a();
    let link = accept_link_of_a(&mut core, &mut sessions, &roster);
    core.room.is_full(link);
    sessions.send_members_to_all(&mut core, &roster);
    assert!(frames(&core).is_empty());
    core.room.is_writable(link);
    sessions.stream_writable(&mut core, &roster, link);
    assert_eq!(frames(&core).len(), 1);
}

#[test]
fn why_a_stream_was_cut_off_names_its_member() {
    for (reason, expected) in [
        (CloseReason::Ended, vec![]),
        (CloseReason::Local, vec![]),
        (CloseReason::SpunOut, vec![Misbehaviour::SendsSlowly]),
        (CloseReason::Unread, vec![Misbehaviour::ReadsNothing]),
    ] {
        let (mut core, mut sessions, roster) = beside_a();
        let link = accept_link_of_a(&mut core, &mut sessions, &roster);
        sessions.stream_closed(&mut core, &roster, link, reason.clone());
        assert_eq!(named(&core), expected);
        // A stranger has no name.
        let stream = StreamId(9);
        core.outputs.clear();
        sessions.stream_opened(&mut core, &roster, stream, a().addr);
        sessions.stream_closed(&mut core, &roster, stream, reason);
        assert!(named(&core).is_empty());
    }
}

#[test]
fn a_member_introduces_itself_at_a_rate() {
    let (mut core, mut sessions, roster) = beside_a();
    let mut refused = |core: &mut Core, count: u64, from: u64| {
        for n in 0..count {
            let stream = StreamId(from + 2 * n);
            sessions.stream_opened(core, &roster, stream, a().addr);
            let hello = Box::new(hello(core, &a(), Purpose::Link));
            sessions.hello_received(core, &roster, stream, hello, ExchangeRoom::Free);
            sessions.close_stream(core, stream);
            core.take_asks();
        }
        let refused = frames(core).len();
        core.outputs.clear();
        refused
    };
    assert_eq!(refused(&mut core, 300, 1), 44);
    core.now.mono += Duration::from_secs(60);
    assert_eq!(refused(&mut core, 100, 1001), 0);
    assert_eq!(core.counters.streams_refused, 44);
    sessions.member_forgotten(&mut core, &process("a"));
    assert!(sessions.introductions.is_empty());
}

#[test]
fn a_seed_that_moves_is_news_and_an_address_that_comes_twice_is_one() {
    let mut core = core();
    core.setup.seeds = vec!["seed:1".to_owned()];
    let mut sessions = Sessions::new(&core.setup);
    let addr = a().addr;
    sessions.seed_resolved(&mut core, "seed:1", vec![addr, addr]);
    sessions.seed_fails(&mut core, addr, SeedFault::Silent);
    assert_eq!(sessions.troubles().len(), 1);
    let before = core.revision;
    sessions.seed_resolved(&mut core, "seed:1", vec![addr]);
    assert_eq!(core.revision, before);
    sessions.seed_resolved(&mut core, "seed:1", vec![node("b", 1, 3).addr]);
    assert_eq!((sessions.troubles().len(), core.revision), (0, before + 1));
}
