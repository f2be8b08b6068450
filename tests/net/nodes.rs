//! Whole nodes: forming, writing, leaving, failing.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use rumormill::id::MemberState;
use rumormill::net::Transport as _;
use rumormill::net::plain::Plain;
use rumormill::node::{BuildError, EventsError, LeaveError, Node, Stopped, TurnOutcome};
use rumormill::store::{Expiry, ReplicationError};
use rumormill::{Event, Readiness};

use crate::support::{Notes, World, in_time, note};

macro_rules! in_every_world {
    ($($claim:ident,)*) => {
        mod over_plain {
            use crate::support::{World, in_time};
            $(#[tokio::test]
            async fn $claim() { in_time(super::$claim(World::Plain)).await; })*
        }
        mod over_memory {
            use crate::support::{World, in_time};
            $(#[tokio::test(start_paused = true)]
            async fn $claim() { in_time(super::$claim(World::memory())).await; })*
        }
        #[cfg(feature = "tls-ring")]
        mod over_tls {
            use crate::support::{World, in_time};
            $(#[tokio::test]
            async fn $claim() { in_time(super::$claim(World::tls())).await; })*
        }
    };
}

in_every_world! {
    a_write_on_one_node_is_read_on_the_others,
    what_was_written_before_a_node_joined_arrives_when_it_is_ready,
    a_large_burst_and_large_values_arrive,
    a_leave_is_seen_as_a_leave,
    a_node_that_is_dropped_is_seen_as_failed,
    a_node_that_left_can_start_again_at_its_address,
    a_node_that_died_comes_back_and_is_given_everything,
    an_exchange_that_is_asked_for_takes_place,
    seeds_that_refuse_leave_a_node_alone,
    work_is_done_in_turns_by_those_that_are_there,
}

async fn a_write_on_one_node_is_read_on_the_others(world: World) {
    let a = world.start("a", &[]).await;
    assert!(matches!(a.node.ready().await, Ok(Readiness::Alone { .. })));
    let b = world.start("b", &[a.addr()]).await;
    let c = world.start("c", &[a.addr()]).await;
    for peer in [&b, &c] {
        assert!(matches!(
            peer.node.ready().await,
            Ok(Readiness::Synced { .. })
        ));
    }
    for (seen_by, name) in [(&a, "b"), (&a, "c"), (&b, "c"), (&c, "b")] {
        seen_by.sees(name, MemberState::Alive).await;
    }
    let written = b.notes.put(note(1, "from b"), Expiry::Never).unwrap();
    assert_eq!(written.replicated(2).await.unwrap().copies, 2);
    a.reads(&note(1, "from b")).await;
    c.reads(&note(1, "from b")).await;
    let written = c.notes.put(note(1, "from c"), Expiry::Never).unwrap();
    written.replicated(2).await.unwrap();
    a.reads(&note(1, "from c")).await;
    assert_eq!(a.node.view().cluster_size(), 3);
    assert_eq!(a.node.view().position(), 0);
}

async fn what_was_written_before_a_node_joined_arrives_when_it_is_ready(world: World) {
    let a = world.start("a", &[]).await;
    for number in 0..1000 {
        a.notes.put(note(number, "early"), Expiry::Never).unwrap();
    }
    let b = world.start("b", &[a.addr()]).await;
    assert!(b.node.ready().await.is_ok_and(|ready| ready.is_ready()));
    assert_eq!(b.notes.records().len(), 1000);
}

async fn a_large_burst_and_large_values_arrive(world: World) {
    let a = world.start("a", &[]).await;
    let b = world.start("b", &[a.addr()]).await;
    b.node.ready().await.unwrap();
    for number in 0..5000 {
        a.notes.put(note(number, "burst"), Expiry::Never).unwrap();
    }
    let large = note(7, "x".repeat(1_000_000));
    let written = a.notes.put(large.clone(), Expiry::Never).unwrap();
    written.replicated(1).await.unwrap();
    b.reads(&large).await;
    b.reads(&note(4999, "burst")).await;
    assert_eq!(b.notes.records().len(), 5000);
}

async fn a_leave_is_seen_as_a_leave(world: World) {
    let mut a = world.start("a", &[]).await;
    let mut b = world.start("b", &[a.addr()]).await;
    b.node.ready().await.unwrap();
    a.sees("b", MemberState::Alive).await;
    let written = b.notes.put(note(1, "last"), Expiry::Never).unwrap();
    b.node.leave().await.unwrap();
    a.sees("b", MemberState::Left).await;
    let event = a
        .event(|event| matches!(event, Event::MemberLeft(_) | Event::MemberFailed(_)))
        .await;
    assert!(matches!(event, Event::MemberLeft(member) if member.process.name.as_str() == "b"));

    // What has stopped says so, and keeps what it knew.
    b.event(|event| *event == Event::Left).await;
    assert_eq!(b.events.recv().await, Err(EventsError::Stopped));
    assert_eq!(b.node.leave().await, Err(LeaveError::Stopped(Stopped)));
    assert_eq!(b.node.push_pull().await, Err(Stopped));
    let followed = written.replicated(1).await;
    assert_eq!(followed, Err(ReplicationError::NotRunning));
    assert_eq!(b.notes.records().len(), 1);
}

async fn a_node_that_is_dropped_is_seen_as_failed(world: World) {
    let mut a = world.start("a", &[]).await;
    let b = world.start("b", &[a.addr()]).await;
    b.node.ready().await.unwrap();
    a.sees("b", MemberState::Alive).await;
    drop(b);
    a.sees("b", MemberState::Failed).await;
    let event = a
        .event(|event| matches!(event, Event::MemberLeft(_) | Event::MemberFailed(_)))
        .await;
    assert!(matches!(event, Event::MemberFailed(_)));
}

async fn a_node_that_left_can_start_again_at_its_address(world: World) {
    let a = world.start("a", &[]).await;
    let b = world.start("b", &[a.addr()]).await;
    b.node.ready().await.unwrap();
    let addr = b.addr();
    b.node.leave().await.unwrap();
    a.sees("b", MemberState::Left).await;
    let transport = world.bind_at(addr).await;
    let mut builder = Node::builder("b").seeds([a.addr().to_string()]);
    let _notes = builder.store(Notes);
    let again = builder.start_on(transport).await.unwrap();
    again.ready().await.unwrap();
    a.sees("b", MemberState::Alive).await;
}

async fn a_node_that_died_comes_back_and_is_given_everything(world: World) {
    let a = world.start("a", &[]).await;
    let b = world.start("b", &[a.addr()]).await;
    b.node.ready().await.unwrap();
    a.sees("b", MemberState::Alive).await;
    b.notes.put(note(0, "its own"), Expiry::Never).unwrap();
    a.reads(&note(0, "its own")).await;
    let addr = b.addr();
    drop(b);
    a.sees("b", MemberState::Failed).await;
    for number in 1..100 {
        let written = a
            .notes
            .put(note(number, "while it was away"), Expiry::Never);
        written.unwrap();
    }
    let transport = world.bind_at(addr).await;
    let mut builder = Node::builder("b").seeds([a.addr().to_string()]);
    let notes = builder.store(Notes);
    let again = builder.start_on(transport).await.unwrap();
    again.ready().await.unwrap();
    assert_eq!(notes.records().len(), 100);
    a.sees("b", MemberState::Alive).await;
    let written = notes.put(note(100, "back"), Expiry::Never).unwrap();
    written.replicated(1).await.unwrap();
    a.reads(&note(100, "back")).await;
}

async fn an_exchange_that_is_asked_for_takes_place(world: World) {
    let a = world.start("a", &[]).await;
    let b = world.start("b", &[a.addr()]).await;
    b.node.ready().await.unwrap();
    a.sees("b", MemberState::Alive).await;
    let mut b = b;
    let done = |event: &Event| matches!(event, Event::PushPullCompleted { .. });
    for _ in 0..5 {
        b.node.push_pull().await.unwrap();
        b.event(done).await;
    }
}

async fn seeds_that_refuse_leave_a_node_alone(world: World) {
    let nobody = world.bind().await.local_addr();
    let a = world.start("a", &[nobody]).await;
    assert!(matches!(a.node.ready().await, Ok(Readiness::Alone { .. })));
    assert!(a.node.net_counters().dials_refused > 0);
}

#[tokio::test(start_paused = true)]
async fn seeds_that_are_silent_hold_a_node_back_until_it_has_waited_enough() {
    in_time(async {
        let world = World::memory();
        let World::Memory(network) = &world else {
            unreachable!()
        };
        let silent = world.bind().await;
        let transport = world.bind().await;
        let addr = transport.local_addr();
        network.partition(&[addr], &[silent.local_addr()]);
        let mut builder = Node::builder("a").seeds([silent.local_addr().to_string()]);
        let _notes = builder.store(Notes);
        let node = builder.start_on(transport).await.unwrap();
        assert!(matches!(
            node.ready().await,
            Ok(Readiness::SettleTimedOut { .. })
        ));
        assert_eq!(node.net_counters().dials_refused, 0);
    })
    .await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = Plain::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr: SocketAddr = taken.local_addr();
    match Node::builder("a").listen(addr).start().await {
        Err(BuildError::Bind { addr: named, .. }) => assert_eq!(named, addr),
        other => panic!("expected a port in use, got {other:?}"),
    }
}

#[tokio::test]
async fn two_stores_of_one_name_are_refused() {
    let mut builder = Node::builder("a").listen("127.0.0.1:0");
    let _first = builder.store(Notes);
    let second = builder.store(Notes);
    assert!(matches!(
        builder.start().await,
        Err(BuildError::DuplicateStore { name }) if name == "notes"
    ));
    // The store of a node that never ran works by itself.
    let written = second.put(note(1, "here"), Expiry::Never).unwrap();
    assert_eq!(
        written.replicated(1).await,
        Err(ReplicationError::NotRunning)
    );
}

#[tokio::test]
async fn the_plain_way_to_start_works() {
    in_time(async {
        let mut builder = Node::builder("a").listen("127.0.0.1:0").cluster("plain");
        let notes = builder.store(Notes);
        let early = notes.put(note(1, "before the start"), Expiry::Never);
        let a = builder.start().await.unwrap();
        let mut builder = Node::builder("b")
            .listen("127.0.0.1:0")
            .cluster("plain")
            .seeds([a.local_addr().to_string()]);
        let mut changes = rumormill::node::Changes::new(&builder.store(Notes)).from_start();
        let b = builder.start().await.unwrap();
        assert_eq!(b.name().as_str(), "b");
        let changed = changes.next().await;
        let record = changed.first().and_then(|changed| changed.record.clone());
        assert_eq!(record.as_deref(), Some(&note(1, "before the start")));
        early.unwrap().replicated(1).await.unwrap();
        b.leave().await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), a.leave())
            .await
            .unwrap()
            .unwrap();
    })
    .await;
}

/// The first one does it and leaves a note, which ends the wait of the second; the third has its turn once both are
/// gone, however long their steps are.
async fn work_is_done_in_turns_by_those_that_are_there(world: World) {
    let step = Duration::from_secs(3600);
    let a = world.start("a", &[]).await;
    let b = world.start("b", &[a.addr()]).await;
    let c = world.start("c", &[a.addr()]).await;
    for (seen_by, name) in [
        (&a, "b"),
        (&a, "c"),
        (&b, "a"),
        (&b, "c"),
        (&c, "a"),
        (&c, "b"),
    ] {
        seen_by.sees(name, MemberState::Alive).await;
    }
    let mut peers = [a, b, c];
    peers.sort_by_key(|peer| peer.node.view().rank(b"work"));
    let [first, second, third] = peers;
    let turn = first.node.wait_turn("work", step, pending::<()>()).await;
    assert_eq!(turn, Ok(TurnOutcome::Came { before: 0 }));
    let expected = note(1, "done");
    let done = second.reads(&expected);
    let wait = second.node.wait_turn(b"work", step, done);
    let (turn, written) = tokio::join!(wait, async {
        first.notes.put(note(1, "done"), Expiry::Never).unwrap()
    });
    assert_eq!(turn, Ok(TurnOutcome::Done(())));
    drop(written);

    let gone = async {
        first.node.leave().await.unwrap();
        drop(second);
    };
    let wait = third.node.wait_turn(b"work", step, pending::<()>());
    let (turn, ()) = tokio::join!(wait, gone);
    assert_eq!(turn, Ok(TurnOutcome::Vacated { before: 0, gone: 2 }));
}
