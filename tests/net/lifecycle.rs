//! Starting, leaving and stopping: nothing is lost without a word, and no code of a caller can hold up a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rumormill::config::Config;
use rumormill::node::{LeaveError, Node, Stopped};
use rumormill::store::{Expiry, WriteError};
use rumormill::{MemberState, View};

use crate::support::{Notes, World, in_time, key, note};

/// Predicates that use the node, on two threads, while members come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_predicate_over_views_may_use_the_node() {
    in_time(async {
        let world = World::memory();
        let a = world.start("a", &[]).await;
        let over = Arc::new(AtomicBool::new(false));
        let watching = (0..2).map(|_| {
            let (node, over) = (a.node.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let looks = |view: &View| {
                    std::thread::sleep(Duration::from_millis(1));
                    let now = node.view();
                    assert!(now.revision >= view.revision);
                    over.load(Ordering::Acquire)
                };
                node.views().wait_for(looks).await.map(drop)
            })
        });
        let watching: Vec<_> = watching.collect();
        for _ in 0..12 {
            let b = world.start("b", &[a.addr()]).await;
            a.sees("b", MemberState::Alive).await;
            b.node.leave().await.unwrap();
            a.sees("b", MemberState::Left).await;
        }
        over.store(true, Ordering::Release);
        let last = world.start("c", &[a.addr()]).await;
        for watching in watching {
            assert_eq!(watching.await.unwrap(), Ok(()));
        }
        drop(last);
    })
    .await;
}

/// A predicate that takes its time holds up nobody but its caller.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_predicate_that_never_ends_stops_no_node() {
    in_time(async {
        let world = World::memory();
        let a = world.start("a", &[]).await;
        let (entered, inside) = std::sync::mpsc::channel();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let views = a.node.views();
        let watching = tokio::task::spawn_blocking(move || {
            let mut views = views;
            let looks = |_: &View| {
                let _ = entered.send(());
                let _ = held.recv();
                true
            };
            futures_lite(views.wait_for(looks))
        });
        tokio::task::spawn_blocking(move || inside.recv().unwrap())
            .await
            .unwrap();
        // Views are published and read while it is inside.
        let b = world.start("b", &[a.addr()]).await;
        b.node.ready().await.unwrap();
        a.sees("b", MemberState::Alive).await;
        b.node.leave().await.unwrap();
        a.sees("b", MemberState::Left).await;
        drop(release);
        assert!(watching.await.unwrap().is_ok());
    })
    .await;
}

/// Runs a future that is ready when its predicate is.
fn futures_lite<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

/// What was put before the start, and left behind at once, is at the other node.
#[tokio::test]
async fn a_leave_at_once_hands_over_what_was_put() {
    in_time(async {
        let world = World::Plain;
        let a = world.start("a", &[]).await;
        let mut builder = Node::builder("b")
            .seeds([a.addr().to_string()])
            .config(Config::local());
        let notes = builder.store(Notes);
        let put = |number| notes.put(note(number, "early"), Expiry::Never);
        put(1).unwrap();
        let b = builder.start_on(world.bind().await).await.unwrap();
        put(2).unwrap();
        b.leave().await.unwrap();
        for number in [1, 2] {
            assert!(a.notes.get(&key(number)).is_some());
        }
    })
    .await;
}

/// A burst that is too large to be sent entry by entry is left to an exchange, and the leave waits for it.
#[tokio::test]
async fn a_leave_hands_over_what_was_left_to_an_exchange() {
    in_time(async {
        let world = World::Plain;
        let a = world.start("a", &[]).await;
        let hurried = |builder: rumormill::Builder| {
            builder.config(
                Config::local()
                    .backlog_keys_max(16)
                    .leave_timeout(Duration::from_secs(30)),
            )
        };
        let b = world.start_with("b", &[a.addr()], hurried).await;
        b.node.ready().await.unwrap();
        a.sees("b", MemberState::Alive).await;
        for number in 0..5000 {
            b.notes.put(note(number, "burst"), Expiry::Never).unwrap();
        }
        b.node.leave().await.unwrap();
        assert_eq!(a.notes.records().len(), 5000);
    })
    .await;
}

/// Nobody is there to hand anything to: the leave says what is lost.
#[tokio::test]
async fn a_leave_that_finds_nobody_says_what_is_lost() {
    in_time(async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let seed = silent.local_addr().unwrap();
        let b = World::Plain.start("b", &[seed]).await;
        for number in 0..3 {
            b.notes.put(note(number, "lost"), Expiry::Never).unwrap();
        }
        assert_eq!(b.node.leave().await, Err(LeaveError::Unsent { entries: 3 }));
        assert_eq!(b.node.leave().await, Err(LeaveError::Stopped(Stopped)));
    })
    .await;
}

/// A node that is alone has nobody to lose anything to.
#[tokio::test]
async fn a_node_that_is_alone_leaves_without_complaint() {
    in_time(async {
        let a = World::Plain.start("a", &[]).await;
        a.notes.put(note(1, "mine"), Expiry::Never).unwrap();
        a.node.leave().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn who_writes_to_a_stopped_node_is_told() {
    in_time(async {
        let world = World::Plain;
        let a = world.start("a", &[]).await;
        a.notes.put(note(1, "in time"), Expiry::Never).unwrap();
        a.node.leave().await.unwrap();
        let late = a.notes.put(note(2, "too late"), Expiry::Never);
        assert!(matches!(late, Err(WriteError::Stopped)), "{late:?}");
        let removed = a.notes.remove(&key(1));
        assert!(matches!(removed, Err(WriteError::Stopped)), "{removed:?}");
        assert_eq!(a.notes.records().len(), 1);

        // A node whose last handle was dropped, once its task is gone.
        let b = world.start("b", &[]).await;
        let mut views = b.node.views();
        drop(b.node);
        while views.changed().await.is_ok() {}
        let late = b.notes.put(note(3, "too late"), Expiry::Never);
        assert!(matches!(late, Err(WriteError::Stopped)), "{late:?}");
    })
    .await;
}

/// A leave in the middle of a handshake is seen as a leave all the same, however little there is to hand over.
#[tokio::test]
async fn a_leave_in_the_middle_of_a_handshake_is_a_leave() {
    in_time(async {
        for world in [World::Plain, World::memory()] {
            let a = world.start("a", &[]).await;
            for _ in 0..10 {
                let b = world.start("b", &[a.addr()]).await;
                a.sees("b", MemberState::Alive).await;
                b.node.leave().await.unwrap();
                a.sees("b", MemberState::Left).await;
            }
        }
    })
    .await;
}
