//! Tests of the routing: what follows from an input in several owners, and in which order.

use super::core::ask::{Ask, ExchangeOpening};
use super::core::flight::Receipt;
use super::core::place::SentItem;
use super::core::tests::{encoded, framed, hello, node, note, notes, process, setup, start};
use super::*;
use crate::id::{ClusterId, NodeId, Refusal};
use crate::store::{Copies, Held, ReplicationError, WriteId};
use crate::wire::envelope::Envelope;
use crate::wire::{Ack, Done, Leave, Members, RefusedEntry, Verdict, Verdicts};

fn engine(stores: Vec<Arc<dyn Store>>) -> Engine {
    let mut engine = Engine::new(setup(false), Config::lan(), stores, start());
    engine.core.outputs.clear();
    engine
}

/// A process introduces itself on a stream; what follows from that.
fn introduce(engine: &mut Engine, stream: u64, node: &NodeId, purpose: Purpose) -> Vec<Output> {
    let stream = StreamId(stream);
    let peer = node.addr;
    engine.handle(start(), Input::StreamOpened { stream, peer });
    let hello = Message::Hello(hello(&engine.core, node, purpose));
    receive(engine, stream, &hello)
}

fn receive(engine: &mut Engine, stream: StreamId, message: &Message) -> Vec<Output> {
    let frame = encoded(message);
    engine.handle(start(), Input::StreamFrame { stream, frame });
    outputs(engine)
}

fn outputs(engine: &mut Engine) -> Vec<Output> {
    std::iter::from_fn(|| engine.poll_output()).collect()
}

/// The place of the one output of this kind.
fn place(outputs: &[Output], is_it: impl Fn(&Output) -> bool) -> usize {
    let places = (0..outputs.len()).filter(|&place| is_it(&outputs[place]));
    let places: Vec<usize> = places.collect();
    match places[..] {
        [place] => place,
        _ => panic!("at {places:?} of {outputs:?}"),
    }
}

fn closes(output: &Output, closed: u64) -> bool {
    matches!(output, Output::CloseStream { stream } if *stream == StreamId(closed))
}

fn is_welcome(output: &Output) -> bool {
    matches!(framed(output), Some((_, Message::Welcome(_))))
}

#[test]
fn what_an_ask_leads_to_comes_before_what_was_asked_after_it() {
    let mut engine = engine(Vec::new());
    let outputs = introduce(&mut engine, 1, &node("a", 1, 2), Purpose::Link);
    // That the process is vouched for leads to a change of the table, and that to the event.
    let up = place(&outputs, |output| {
        matches!(output, Output::Event(Event::MemberUp(_)))
    });
    assert!(up < place(&outputs, is_welcome));
    assert!(engine.core.take_asks().is_empty());
}

#[test]
fn a_member_that_restarts_has_its_old_streams_closed_before_that_is_told() {
    let mut engine = engine(Vec::new());
    introduce(&mut engine, 1, &node("a", 1, 2), Purpose::Link);
    introduce(&mut engine, 3, &node("a", 1, 2), Purpose::PushPull);
    let outputs = introduce(&mut engine, 5, &node("a", 2, 2), Purpose::Link);
    let told = place(&outputs, |output| {
        matches!(output, Output::Event(Event::MemberUpdated(_)))
    });
    assert!(place(&outputs, |output| closes(output, 1)) < told);
    assert!(place(&outputs, |output| closes(output, 3)) < told);
    let broken_off = place(&outputs, |output| {
        matches!(output, Output::Event(Event::PushPullFailed { .. }))
    });
    assert!(broken_off < told);
    assert!(engine.sessions.table().get(&process("a")).is_none());
}

#[test]
fn a_member_that_leaves_is_acknowledged_first_and_gone_before_that_is_told() {
    let mut engine = engine(Vec::new());
    introduce(&mut engine, 1, &node("a", 1, 2), Purpose::Link);
    let process = process("a");
    let leave = Message::Leave(Leave { process });
    let outputs = receive(&mut engine, StreamId(1), &leave);
    let acknowledged = place(&outputs, |output| {
        matches!(framed(output), Some((_, Message::LeaveAck(_))))
    });
    let closed = place(&outputs, |output| closes(output, 1));
    let told = place(&outputs, |output| {
        matches!(output, Output::Event(Event::MemberLeft(_)))
    });
    assert!(acknowledged < closed && closed < told);
}

#[test]
fn a_node_that_has_left_says_so_last_and_does_nothing_more() {
    let mut engine = engine(Vec::new());
    introduce(&mut engine, 1, &node("a", 1, 2), Purpose::Link);
    engine.handle(start(), Input::Operation(Operation::Leave));
    let process = setup(false);
    let process = ProcessId {
        name: process.name,
        boot: process.boot,
    };
    receive(
        &mut engine,
        StreamId(1),
        &Message::LeaveAck(Leave { process }),
    );
    engine.handle_timeout(start());
    let left = outputs(&mut engine);
    assert!(matches!(left.last(), Some(Output::Event(Event::Left))));
    place(&left, |output| closes(output, 1));
    assert_eq!(engine.poll_timeout(), None);
    let after = introduce(&mut engine, 3, &node("b", 1, 3), Purpose::Link);
    let declined = matches!(
        after.as_slice(),
        [
            Output::CloseStream {
                stream: StreamId(3)
            },
            Output::StreamFrameDone {
                stream: StreamId(3)
            }
        ]
    );
    assert!(declined, "{after:?}");
}

#[test]
fn a_node_that_adopts_a_boot_ends_what_it_had_under_the_old_one() {
    let mut engine = engine(Vec::new());
    introduce(&mut engine, 1, &node("a", 1, 2), Purpose::Link);
    let (known, from) = (5, node("a", 1, 2).addr);
    engine.core.ask(Ask::AdoptBoot { known, from });
    engine.route_asks();
    let ended = outputs(&mut engine);
    place(&ended, |output| closes(output, 1));
    assert_eq!(engine.view().this.boot, 6);
    assert!(engine.sessions.table().by_process.is_empty());
}

/// An exchange in which `a` refuses both notes, as the initiator sends them; one is taken before
/// it ends.
#[test]
fn what_was_refused_and_then_taken_in_one_exchange_is_not_refused_after_it() {
    let (store, keys) = notes(2);
    let mut engine = engine(vec![Arc::clone(&store)]);
    introduce(&mut engine, 1, &node("a", 1, 2), Purpose::Link);
    let stream = StreamId(2);
    let (process, dialled) = (process("a"), true);
    engine.core.ask(Ask::ExchangeOpened(ExchangeOpening {
        stream,
        process: process.clone(),
        dialled,
    }));
    engine.route_asks();
    let say = |engine: &mut Engine, message| {
        engine
            .exchanges
            .message(&mut engine.core, stream, message, 1);
        engine.route_asks();
    };
    let verdicts = Verdicts {
        cut_accepted: true,
        stores: vec![(store.id(), Verdict::All)],
    };
    say(&mut engine, Message::Verdicts(verdicts));
    let refused = [0, 1].map(|index| RefusedEntry {
        packet: 1,
        index,
        reason: Refusal::Full,
    });
    let ack = Ack {
        token: 0,
        ranges: vec![(1, 1)],
        refused: refused.into(),
    };
    say(&mut engine, Message::Ack(ack));
    let taken: SentItem = (keys[0], 7);
    let receipt = Receipt {
        held: vec![taken],
        denied: Vec::new(),
    };
    engine.core.ask(Ask::Acknowledged(process, receipt));
    engine.route_asks();
    say(&mut engine, Message::Done(Done { complete: true }));
    assert_eq!(engine.counters().push_pulls, 1);
    outputs(&mut engine);
    let mut held = |n: usize| {
        let (store, key) = keys[n];
        let write = WriteId {
            store,
            key,
            seq: n as u64 + 1,
        };
        let watch = Operation::Watch {
            ticket: 7,
            write,
            copies: Copies::N(1),
            within: Duration::from_secs(9),
        };
        engine.handle(start(), Input::Operation(watch));
        let mut outputs = outputs(&mut engine).into_iter();
        outputs.find_map(|output| match output {
            Output::Watched { outcome, .. } => Some(outcome),
            _ => None,
        })
    };
    assert_eq!(held(0), Some(Ok(Held { copies: 1 })));
    let peer = node("a", 1, 2).process.name;
    let reason = Refusal::Full;
    let error = ReplicationError::Refused { peer, reason };
    assert_eq!(held(1), Some(Err(error)));
}

#[test]
fn every_frame_is_done_with_once_unless_its_stream_is_closed() {
    let mut engine = engine(Vec::new());
    let done = |outputs: &[Output]| -> Vec<StreamId> {
        let done = outputs.iter().filter_map(|output| match output {
            Output::StreamFrameDone { stream } => Some(*stream),
            _ => None,
        });
        done.collect()
    };
    let outputs = introduce(&mut engine, 1, &node("a", 1, 2), Purpose::Link);
    assert_eq!(done(&outputs), [StreamId(1)]);
    let members = Message::Members(Members {
        ask: true,
        records: Vec::new(),
    });
    let outputs = receive(&mut engine, StreamId(1), &members);
    assert_eq!(done(&outputs), [StreamId(1)]);
    assert!(place(&outputs, |output| framed(output).is_some()) < outputs.len() - 1);
}

#[test]
fn a_datagram_of_others_is_counted_before_it_is_copied_and_sends_nothing() {
    let mut engine = engine(Vec::new());
    let ours = engine.core.envelope.seal(|_| ());
    let theirs = Envelope::of(&ClusterId::new("theirs").unwrap()).seal(|_| ());
    assert!(!engine.refuses(&ours));
    for garbage in [&theirs[..], b"\xffgarbage", b"", &ours[..5]] {
        assert!(engine.refuses(garbage));
    }
    let counted = *engine.counters();
    assert_eq!((counted.foreign_cluster, counted.foreign_version), (1, 1));
    assert_eq!((counted.malformed, counted.datagrams_received), (2, 4));
}

/// A value too large for a datagram takes the link, once there is room on it.
#[test]
fn entries_wait_while_the_link_is_full() {
    let (store, _) = notes(0);
    let mut engine = engine(vec![Arc::clone(&store)]);
    let link = StreamId(1);
    introduce(&mut engine, link.0, &node("a", 1, 2), Purpose::Link);
    engine.handle(start(), Input::StreamFull { stream: link });
    let mut entry = note(1);
    entry.body = Bytes::from(vec![7; 10_000]);
    store.replica().merge(&[entry], start().wall);
    engine.handle(start(), Input::StoresChanged);
    let deltas = |outputs: Vec<Output>| {
        let sent = outputs.iter().filter_map(framed);
        let deltas = sent.filter(|(_, message)| matches!(message, Message::Delta(_)));
        deltas.count()
    };
    assert_eq!(deltas(outputs(&mut engine)), 0);
    engine.handle(start(), Input::StreamWritable { stream: link });
    assert_eq!(deltas(outputs(&mut engine)), 1);
}

/// The clock was late by a minute: much else is due when the leave ends.
#[test]
fn nothing_is_said_after_a_leave_has_ended() {
    let mut engine = engine(Vec::new());
    let peer = node("a", 1, 2);
    introduce(&mut engine, 1, &peer, Purpose::Link);
    engine.handle(start(), Input::Operation(Operation::Leave));
    outputs(&mut engine);
    let late = Now {
        mono: start().mono + Duration::from_secs(60),
        ..start()
    };
    while engine.poll_timeout().is_some_and(|due| due <= late.mono) {
        engine.handle_timeout(late);
    }
    assert_eq!(engine.poll_timeout(), None);
    let outputs = outputs(&mut engine);
    assert!(
        matches!(outputs.last(), Some(Output::Event(Event::Left))),
        "{outputs:?}"
    );
}
