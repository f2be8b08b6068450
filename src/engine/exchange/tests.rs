//! The owner of exchanges, by itself: when they begin, who says what, and who pays for it.

use super::*;
use crate::engine::core::Dialling;
use crate::engine::core::ask::{ExchangeRoom, SessionStart};
use crate::engine::core::refusals::Refusals;
use crate::engine::core::tests::{
    Known, core, core_with, encoded, frames, linked, name, note, notes, process, start,
};
use crate::engine::io::Output;
use crate::id::{Key, Refusal, StoreId};
use crate::wire::{Delta, Done, Entry, StoreSummary, Summary, Verdict, Verdicts};

const STREAM: StreamId = StreamId(2);

fn opening(dialled: bool) -> ExchangeOpening {
    ExchangeOpening {
        stream: STREAM,
        process: process("a"),
        dialled,
    }
}

fn first_session(process: &ProcessId, dialled: bool) -> SessionStart {
    SessionStart {
        process: process.clone(),
        new: true,
        renewed: false,
        dialled,
        round_trip: None,
    }
}

/// An exchange with `a`, which has all stores.
fn opened(core: &mut Core, dialled: bool) -> (Exchanges, Known) {
    let known = linked(core, &["a"]);
    let mut exchanges = Exchanges::default();
    exchanges.opened(core, known.facts(), &opening(dialled));
    (exchanges, known)
}

fn receive(exchanges: &mut Exchanges, core: &mut Core, message: Message) {
    let bytes = encoded(&message).len();
    exchanges.message(core, STREAM, message, bytes);
}

/// A summary of one store in which nothing is.
fn empty(store: StoreId) -> StoreSummary {
    StoreSummary {
        store,
        count: 0,
        root: 0,
        exponent: 0,
        counters: [0; 64],
    }
}

/// A responder's answer for one store.
fn verdict(store: StoreId, verdict: Verdict) -> Message {
    Message::Verdicts(Verdicts {
        cut_accepted: true,
        stores: vec![(store, verdict)],
    })
}

fn done() -> Message {
    Message::Done(Done { complete: true })
}

/// The state of the cluster has arrived here.
fn has_joined(core: &mut Core) {
    core.readiness = Readiness::Synced { with: name("z") };
}

/// Sessions with these members that this node dialled: their first exchanges are due.
fn due(core: &mut Core, names: &[&str]) -> (Exchanges, Known) {
    has_joined(core);
    let known = linked(core, names);
    let mut exchanges = Exchanges::default();
    for process in known.sessions.by_process.keys() {
        exchanges.session_begun(core, &first_session(process, true));
    }
    core.timers.cancel(&TimerKind::Unsynced);
    (exchanges, known)
}

fn dialling(names: &[&str], room: usize) -> Dialling {
    let exchanges = names.iter().map(|text| name(text)).collect();
    Dialling { exchanges, room }
}

/// The dials that are asked for.
fn dials(core: &mut Core) -> Vec<NodeName> {
    let asks = core.take_asks().into_iter();
    let dials = asks.map(|ask| match ask {
        Ask::DialExchange(name) => name,
        other => panic!("{other:?}"),
    });
    dials.collect()
}

#[test]
fn the_initiator_sends_its_digests_when_its_handshake_is_done() {
    let (store, _) = notes(3);
    let mut core = core_with(vec![store.clone()], false);
    let (exchanges, _) = opened(&mut core, true);
    let sent = frames(&core);
    let [(STREAM, Message::Summary(summary))] = &sent[..] else {
        panic!("{sent:?}");
    };
    let counts = summary
        .stores
        .iter()
        .map(|known| (known.store, known.count));
    assert!(counts.eq([(store.id(), 3)]));
    assert!(summary.cut <= core.now.wall);
    assert_eq!(exchanges.streams(), [STREAM]);
    assert!(core.timers.is_set(&TimerKind::Stream(STREAM)));
}

#[test]
fn the_responder_waits_for_the_digests() {
    let mut core = core_with(vec![notes(3).0], false);
    let (exchanges, _) = opened(&mut core, false);
    assert_eq!(frames(&core), []);
    assert_eq!(exchanges.streams().len(), 1);
    assert!(core.timers.is_set(&TimerKind::Stream(STREAM)));
}

#[test]
fn what_only_one_side_has_is_not_exchanged_and_not_covered() {
    let mut core = core_with(vec![notes(3).0], false);
    let mut known = linked(&core, &["a"]);
    let session = known.sessions.by_process.get_mut(&process("a"));
    session.unwrap().stores.clear();
    let mut exchanges = Exchanges::default();
    exchanges.opened(&mut core, known.facts(), &opening(true));
    let sent = frames(&core);
    assert!(matches!(&sent[..], [(_, Message::Summary(summary))] if summary.stores.is_empty()));
    assert!(exchanges.take(STREAM).unwrap().heads.is_empty());
}

#[test]
fn a_message_out_of_place_is_counted_and_abandons_the_stream() {
    let mut core = core_with(vec![notes(3).0], false);
    let store = notes(0).0.id();
    let (mut exchanges, _) = opened(&mut core, false);
    receive(&mut exchanges, &mut core, verdict(store, Verdict::Equal));
    assert_eq!(core.counters.unexpected, 1);
    assert_eq!(core.take_asks(), [Ask::AbandonStream(STREAM)]);
}

#[test]
fn a_cut_that_is_not_accepted_ends_the_exchange_and_nobody_is_to_blame() {
    let mut core = core_with(vec![notes(3).0], false);
    let (mut exchanges, _) = opened(&mut core, true);
    let verdicts = Verdicts {
        cut_accepted: false,
        stores: vec![(notes(0).0.id(), Verdict::Equal)],
    };
    receive(&mut exchanges, &mut core, Message::Verdicts(verdicts));
    assert_eq!(core.counters.unexpected, 0);
    let asked = core.take_asks();
    assert_eq!(asked.last(), Some(&Ask::AbandonStream(STREAM)));
    // The clocks are to blame: this node is not ready until they agree.
    assert!(matches!(
        core.readiness,
        Readiness::ClockDiffers { ref with, .. } if *with == name("a")
    ));
}

#[test]
fn an_exchange_ends_when_both_sides_are_done_and_its_stream_after_it() {
    let (store, _) = notes(3);
    let mut core = core_with(vec![store.clone()], false);
    let (mut exchanges, _) = opened(&mut core, true);
    core.outputs.clear();
    receive(
        &mut exchanges,
        &mut core,
        verdict(store.id(), Verdict::Equal),
    );
    assert_eq!(core.take_asks(), [Ask::PumpExchange(STREAM)]);
    exchanges.pump(&mut core, STREAM);
    assert_eq!(frames(&core), [(STREAM, done())]);
    assert_eq!(core.take_asks(), [], "the other side is not done");
    receive(&mut exchanges, &mut core, done());
    core.take_asks();
    exchanges.pump(&mut core, STREAM);
    let ended = Ask::ExchangeEnded {
        stream: STREAM,
        complete: true,
    };
    assert_eq!(core.take_asks(), [ended, Ask::CloseStream(STREAM)]);
}

#[test]
fn what_is_held_is_on_disk_before_this_side_is_done() {
    let (store, _) = notes(1);
    let mut core = core_with(vec![store.clone()], true);
    let (mut exchanges, _) = opened(&mut core, true);
    core.outputs.clear();
    receive(
        &mut exchanges,
        &mut core,
        verdict(store.id(), Verdict::Equal),
    );
    exchanges.pump(&mut core, STREAM);
    assert_eq!(frames(&core), []);
    let (batch, _) = core.ledger.begin(&core.stores, core.now.mono).unwrap();
    exchanges.committed(&mut core, STREAM);
    assert_eq!(frames(&core), [], "it is being written");
    core.ledger.end(batch, true);
    exchanges.committed(&mut core, STREAM);
    assert_eq!(frames(&core), [(STREAM, done())]);
}

#[test]
fn as_many_exchanges_begin_as_the_limit_allows() {
    let mut core = core();
    core.config.exchanges_max = 2;
    let (mut exchanges, known) = due(&mut core, &["a", "b", "c"]);
    exchanges.start(&mut core, known.facts(), &dialling(&[], 9));
    assert_eq!(dials(&mut core), [name("a"), name("b")]);
    // The third soon, and not only when one of these two is to be tried again.
    let soon = core.now.mono + Duration::from_millis(50);
    assert_eq!(core.timers.next(), Some(soon));
}

#[test]
fn an_exchange_that_is_dialled_or_under_way_is_not_begun_again() {
    let mut core = core();
    let (mut exchanges, known) = due(&mut core, &["a", "b", "c"]);
    let exchange = Exchange::new(STREAM, process("b"), false, BTreeMap::new());
    exchanges.under_way.insert(STREAM, exchange);
    exchanges.start(&mut core, known.facts(), &dialling(&["a"], 9));
    assert_eq!(dials(&mut core), [name("c")]);
    assert!(core.timers.is_set(&TimerKind::Unsynced));
}

#[test]
fn a_newcomer_begins_one_exchange_and_the_others_when_that_is_complete() {
    let mut core = core();
    let (mut exchanges, known) = due(&mut core, &["a", "b", "c"]);
    core.readiness = Readiness::Joining { seeds: Vec::new() };
    exchanges.start(&mut core, known.facts(), &dialling(&[], 9));
    assert_eq!(dials(&mut core), [name("a")]);
    exchanges.start(&mut core, known.facts(), &dialling(&["a"], 9));
    assert_eq!(dials(&mut core), [], "it is dialled");
    exchanges.opened(&mut core, known.facts(), &opening(true));
    core.now.mono += Duration::from_secs(1);
    exchanges.start(&mut core, known.facts(), &dialling(&[], 9));
    assert_eq!(dials(&mut core), [], "it is under way");
    let exchange = exchanges.take(STREAM).unwrap();
    exchanges.completed(&mut core, known.facts(), &exchange, true);
    core.timers.cancel(&TimerKind::Unsynced);
    exchanges.report(&mut core, known.facts(), &exchange);
    core.take_asks();
    assert!(core.timers.is_set(&TimerKind::Unsynced));
    exchanges.start(&mut core, known.facts(), &dialling(&[], 9));
    assert_eq!(dials(&mut core), [name("b"), name("c")]);
}

/// The dial without room is refused and counted where streams are; more are not tried.
#[test]
fn without_room_for_streams_one_dial_is_tried_and_no_more() {
    let mut core = core();
    let (mut exchanges, known) = due(&mut core, &["a", "b", "c"]);
    exchanges.start(&mut core, known.facts(), &dialling(&[], 1));
    assert_eq!(dials(&mut core), [name("a"), name("b")]);
    let soon = core.now.mono + Duration::from_millis(50);
    assert_eq!(core.timers.next(), Some(soon));
}

#[test]
fn the_side_that_dialled_exchanges_first() {
    let mut core = core();
    let known = linked(&core, &["a"]);
    let mut exchanges = Exchanges::default();
    exchanges.session_begun(&mut core, &first_session(&process("a"), false));
    exchanges.start(&mut core, known.facts(), &dialling(&[], 9));
    assert_eq!(dials(&mut core), []);
    let due = core.now.mono + Duration::from_secs(1);
    assert_eq!(core.timers.next(), Some(due));
    core.now.mono = due;
    exchanges.start(&mut core, known.facts(), &dialling(&[], 9));
    assert_eq!(dials(&mut core), [name("a")]);
}

#[test]
fn after_an_exchange_that_covered_all_none_is_due_until_something_is_left_to_one() {
    let mut core = core();
    let (mut exchanges, known) = due(&mut core, &["a"]);
    let exchange = Exchange::new(STREAM, process("a"), true, BTreeMap::new());
    exchanges.completed(&mut core, known.facts(), &exchange, true);
    exchanges.start(&mut core, known.facts(), &dialling(&[], 9));
    assert_eq!(dials(&mut core), []);
    exchanges.catch_up(&mut core, &process("a"));
    assert!(core.timers.is_set(&TimerKind::Unsynced));
    exchanges.start(&mut core, known.facts(), &dialling(&[], 9));
    assert_eq!(dials(&mut core), [name("a")]);
}

#[test]
fn one_exchange_that_a_member_begins_is_taken_part_in_at_a_time() {
    let mut core = core();
    core.config.exchanges_max = 3;
    has_joined(&mut core);
    let (mut exchanges, _) = opened(&mut core, false);
    let room = |exchanges: &Exchanges, text| exchanges.room_for(&core, &process(text));
    assert_eq!(room(&exchanges, "a"), ExchangeRoom::Full);
    assert_eq!(room(&exchanges, "b"), ExchangeRoom::Free);
    let of_b = Exchange::new(StreamId(3), process("b"), false, BTreeMap::new());
    exchanges.under_way.insert(StreamId(3), of_b);
    assert_eq!(room(&exchanges, "c"), ExchangeRoom::Full, "one is kept");
}

#[test]
fn a_restart_pays_nothing_off() {
    let mut core = core();
    let (mut exchanges, _) = opened(&mut core, false);
    let exchange = exchanges.under_way.get_mut(&STREAM).unwrap();
    exchange.charge(Duration::from_secs(10));
    exchanges.settle_work(&core, STREAM);
    exchanges.take(STREAM);
    let mut again = process("a");
    again.boot = 2;
    let (overworked, free) = (ExchangeRoom::Overworked, ExchangeRoom::Free);
    assert_eq!(exchanges.room_for(&core, &process("a")), overworked);
    assert_eq!(exchanges.room_for(&core, &again), overworked);
    exchanges.forget(&process("a"));
    assert_eq!(exchanges.room_for(&core, &again), overworked);
    assert_eq!(exchanges.room_for(&core, &process("aa")), free);
    // Eight times as long as it took, less what it may have ahead.
    core.now.mono += Duration::from_secs(70);
    assert_eq!(exchanges.room_for(&core, &again), free);
    core.now.mono -= Duration::from_secs(1);
    assert_eq!(exchanges.room_for(&core, &again), overworked);
    exchanges.member_forgotten(&name("a"));
    assert_eq!(exchanges.room_for(&core, &again), free);
}

#[test]
fn what_this_node_began_is_not_charged() {
    let mut core = core();
    let (mut exchanges, _) = opened(&mut core, true);
    let exchange = exchanges.under_way.get_mut(&STREAM).unwrap();
    exchange.charge(Duration::from_secs(10));
    exchanges.settle_work(&core, STREAM);
    assert_eq!(exchanges.debts.len(), 0);
    // Unless roots that the other side has shown led to it.
    let exchange = exchanges.under_way.get_mut(&STREAM).unwrap();
    exchange.found = true;
    exchange.charge(Duration::from_secs(10));
    exchanges.settle_work(&core, STREAM);
    assert!(exchanges.is_overworked_by(&core, &name("a")));
}

#[test]
fn a_stream_that_opens_while_the_state_arrives_is_given_up() {
    let mut core = core();
    let (mut exchanges, known) = opened(&mut core, false);
    core.take_asks();
    let late = ExchangeOpening {
        stream: StreamId(4),
        ..opening(true)
    };
    exchanges.opened(&mut core, known.facts(), &late);
    assert_eq!(core.take_asks(), [Ask::AbandonStream(StreamId(4))]);
    assert_eq!(exchanges.streams(), [STREAM]);
    assert!(core.timers.is_set(&TimerKind::Unsynced));
    // Who has its state goes on with both.
    has_joined(&mut core);
    exchanges.opened(&mut core, known.facts(), &late);
    assert_eq!(exchanges.streams(), [STREAM, StreamId(4)]);
}

#[test]
fn the_end_of_a_dial_ends_no_later_one() {
    let mut core = core();
    let mut exchanges = Exchanges::default();
    core.readiness = Readiness::Joining { seeds: Vec::new() };
    exchanges.dialled_at = Some((core.now.mono, name("b")));
    exchanges.dial_failed(&mut core, &name("a"));
    assert!(exchanges.is_dialling(&core), "another one");
    exchanges.dial_failed(&mut core, &name("b"));
    assert!(!exchanges.is_dialling(&core));
}

/// A summary whose cut is not where the digests are, though nothing differs.
#[test]
fn to_move_the_digests_is_work() {
    let (store, _) = notes(0);
    let wall = start().wall;
    let entry = |n: u16| {
        let mut key = [0; 16];
        key[..2].copy_from_slice(&n.to_le_bytes());
        Entry {
            key: Key(key),
            expires_at: wall.plus(Duration::from_secs(10)),
            ..note(0)
        }
    };
    let entries: Vec<_> = (0..600).map(entry).collect();
    store.replica().merge(&entries, wall);
    let mut core = core_with(vec![store.clone()], false);
    let (mut exchanges, _) = opened(&mut core, false);
    let summary = Summary {
        cut: wall.plus(Duration::from_secs(20)),
        stores: vec![empty(store.id())],
    };
    receive(&mut exchanges, &mut core, Message::Summary(summary));
    let sent = frames(&core);
    assert_eq!(sent, [(STREAM, verdict(store.id(), Verdict::Equal))]);
    let mut expected = work::debts();
    expected.charge(core.now.mono, &name("a"), work::of_moves(3));
    assert_eq!(exchanges.debts, expected);
}

#[test]
fn what_is_acknowledged_on_another_way_counts_no_longer_as_refused() {
    let mut core = core_with(vec![notes(2).0], false);
    let (mut exchanges, _) = opened(&mut core, true);
    let place = |n| (notes(0).0.id(), Key([n; 16]));
    let exchange = exchanges.under_way.get_mut(&STREAM).unwrap();
    exchange.refused.add((place(1), 5), Refusal::Full);
    exchange.refused.add((place(2), 6), Refusal::Full);
    let receipt = Receipt {
        held: vec![(place(1), 7)],
        denied: Vec::new(),
    };
    exchanges.acknowledged(&process("b"), &receipt);
    let exchange = &exchanges.under_way[&STREAM];
    assert!(exchange.refused.get(&place(1)).is_some(), "of another peer");
    exchanges.acknowledged(&process("a"), &receipt);
    let mut exchange = exchanges.take(STREAM).unwrap();
    let mut left = Refusals::default();
    left.add((place(2), 6), Refusal::Full);
    let heads = core.stores.heads();
    assert_eq!(exchange.take_covered(&core), Some((heads, left)));
}

#[test]
fn an_exchange_whose_cut_is_far_ahead_covers_nothing() {
    let mut core = core_with(vec![notes(2).0], false);
    let (mut exchanges, _) = opened(&mut core, false);
    let mut exchange = exchanges.take(STREAM).unwrap();
    exchange.cut = core.now.wall.plus(cut::cut_grace(&core));
    let covered = exchange.take_covered(&core);
    assert_eq!(covered.map(|(heads, _)| heads), Some(core.stores.heads()));
    exchange.cut = exchange.cut.plus(Duration::from_nanos(1));
    assert_eq!(exchange.take_covered(&core), None);
}

#[test]
fn a_failed_exchange_is_told_and_another_is_due() {
    let mut core = core();
    let (mut exchanges, _) = due(&mut core, &["a"]);
    let exchange = Exchange::new(STREAM, process("a"), true, BTreeMap::new());
    exchanges.failed(&mut core, &exchange);
    let peer = name("a");
    let failed = Event::PushPullFailed { peer };
    let mut outputs = core.outputs.iter();
    assert!(outputs.any(|output| matches!(output, Output::Event(event) if *event == failed)));
    assert_eq!(core.counters.push_pulls_failed, 1);
    assert!(core.timers.is_set(&TimerKind::Unsynced));
}

#[test]
fn one_that_does_not_get_on_gives_way_where_others_have_no_place() {
    let (store, _) = notes(3);
    let mut core = core_with(vec![store], false);
    has_joined(&mut core);
    let (mut exchanges, known) = opened(&mut core, false);
    let named = |core: &Core| core.counters.misbehaved_sends_slowly;
    let touch = |exchanges: &mut Exchanges, core: &mut Core| {
        core.take_asks();
        let delta = Delta {
            token: 0,
            packet: 1,
            uncovered: Vec::new(),
            sections: Vec::new(),
        };
        receive(exchanges, core, Message::Delta(delta));
        let mut asks = core.take_asks().into_iter();
        asks.any(|ask| matches!(ask, Ask::AbandonStream(STREAM)))
    };
    core.now.mono += Duration::from_secs(3600);
    assert!(!touch(&mut exchanges, &mut core), "nobody wants its place");
    for place in 1..core.config.exchanges_max as u64 {
        let opening = ExchangeOpening {
            stream: StreamId(STREAM.0 + 2 * place),
            process: process("b"),
            dialled: true,
        };
        exchanges.opened(&mut core, known.facts(), &opening);
    }
    let exchange = exchanges.under_way.get_mut(&STREAM).unwrap();
    exchange.tally.stored_bytes = 3600 * 65_536;
    assert!(!touch(&mut exchanges, &mut core), "it brings something");
    let exchange = exchanges.under_way.get_mut(&STREAM).unwrap();
    exchange.tally.stored_bytes = 1_000;
    assert_eq!(named(&core), 0);
    assert!(touch(&mut exchanges, &mut core));
    assert_eq!(named(&core), 1);
}

#[test]
fn a_member_with_which_one_was_begun_is_not_asked_again_meanwhile() {
    let mut core = core();
    has_joined(&mut core);
    let (mut exchanges, known) = opened(&mut core, true);
    core.take_asks();
    exchanges.with_random_peer(&mut core, known.facts(), &dialling(&[], 9));
    assert_eq!(dials(&mut core), []);
    exchanges.take(STREAM);
    exchanges.with_random_peer(&mut core, known.facts(), &dialling(&[], 9));
    assert_eq!(dials(&mut core), [name("a")]);
}
