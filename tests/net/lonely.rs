//! A node that is alone says why: each cause of each seed is told once, and stands in its readiness.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumormill::config::Config;
use rumormill::id::NodeName;
use rumormill::node::{Node, ReadyError, SystemClock};
use rumormill::store::{Expiry, Map};
use rumormill::time::{Timestamp, WallClock};
use rumormill::{Event, Readiness, SeedFault, SeedTrouble};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::support::{Notes, Peer, World, in_time, note};

/// Nodes in a hurry.
fn hasty() -> Config {
    Config::local()
        .tcp_timeout(Duration::from_millis(300))
        .settle_timeout(Duration::from_secs(4))
}

async fn seeded(seed: &str) -> Peer {
    let mut builder = Node::builder("lonely")
        .listen("127.0.0.1:0")
        .seeds([seed])
        .config(hasty());
    let notes = builder.store(Notes);
    let events = builder.events();
    let node = builder.start().await.unwrap();
    Peer {
        node,
        notes,
        events,
    }
}

/// Waits for the one event about a seed, and looks for the same in the readiness.
async fn trouble_of(peer: &mut Peer) -> SeedTrouble {
    let event = peer
        .event(|event| matches!(event, Event::SeedFailed(_)))
        .await;
    let Event::SeedFailed(trouble) = event else {
        panic!("{event:?}");
    };
    let views = peer.node.views().current();
    assert_eq!(views.readiness.troubles(), std::slice::from_ref(&trouble));
    trouble
}

/// No cause is told twice, however often the seed is tried, until the node is settled.
async fn settles_quietly(peer: &mut Peer, told: &SeedTrouble) {
    let ready = peer.node.ready().await.unwrap();
    assert_eq!(ready.troubles(), std::slice::from_ref(told), "{ready:?}");
    while let Ok(Ok(event)) = tokio::time::timeout(Duration::ZERO, peer.events.recv()).await {
        let again = matches!(event.cluster(), Some(Event::SeedFailed(_)));
        assert!(!again, "{event:?}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    in_time(async {
        let mut peer = seeded("nobody.invalid:9094").await;
        let trouble = trouble_of(&mut peer).await;
        assert_eq!(trouble.seed, "nobody.invalid:9094");
        assert_eq!(
            (trouble.addr, &trouble.fault),
            (None, &SeedFault::Unresolved)
        );
        assert_eq!(
            trouble.to_string(),
            "nobody.invalid:9094: the name does not resolve"
        );
        settles_quietly(&mut peer, &trouble).await;
    })
    .await;
}

#[tokio::test]
async fn a_port_that_nobody_listens_at() {
    in_time(async {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        let mut peer = seeded(&addr.to_string()).await;
        let trouble = trouble_of(&mut peer).await;
        assert_eq!(
            (trouble.addr, &trouble.fault),
            (Some(addr), &SeedFault::Refused)
        );
        settles_quietly(&mut peer, &trouble).await;
        let ready = peer.node.ready().await;
        assert!(matches!(ready, Ok(Readiness::Alone { .. })), "{ready:?}");
    })
    .await;
}

#[tokio::test]
async fn something_that_accepts_and_says_nothing() {
    in_time(async {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let seed = silent.local_addr().unwrap().to_string();
        let mut peer = seeded(&seed).await;
        let trouble = trouble_of(&mut peer).await;
        assert_eq!(trouble.fault, SeedFault::Silent);
        settles_quietly(&mut peer, &trouble).await;
    })
    .await;
}

#[tokio::test]
async fn something_that_speaks_another_protocol() {
    in_time(async {
        let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let seed = web.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = web.accept().await {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        });
        let mut peer = seeded(&seed).await;
        let trouble = trouble_of(&mut peer).await;
        assert_eq!(trouble.fault, SeedFault::OtherVersion);
        settles_quietly(&mut peer, &trouble).await;
        server.abort();
    })
    .await;
}

#[tokio::test]
async fn a_node_of_another_cluster() {
    in_time(async {
        let other = Node::builder("other").listen("127.0.0.1:0").cluster("x");
        let other = other.start().await.unwrap();
        let mut peer = seeded(&other.local_addr().to_string()).await;
        let trouble = trouble_of(&mut peer).await;
        assert_eq!(trouble.fault, SeedFault::OtherCluster);
        settles_quietly(&mut peer, &trouble).await;
        assert_eq!(other.view().cluster_size(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_wrong_with_a_seed_is_over_when_it_answers() {
    in_time(async {
        let world = World::memory();
        let later = world.bind().await;
        let addr = later.local_addr();
        drop(later);
        let mut peer = world.start("b", &[addr]).await;
        peer.event(|event| matches!(event, Event::SeedFailed(_)))
            .await;
        let a = world.bind_at(addr).await;
        let a = Node::builder("a").start_on(a).await.unwrap();
        peer.sees("a", rumormill::MemberState::Alive).await;
        let settled = |view: &rumormill::View| view.readiness.troubles().is_empty();
        peer.node.views().wait_for(settled).await.unwrap();
        drop(a);
    })
    .await;
}

fn is_twin(event: &Event, at: SocketAddr) -> bool {
    matches!(event, Event::NameConflict { addr, .. } if *addr == at)
}

/// The seed is the other node of the name: that is known at once.
#[tokio::test]
async fn a_name_that_is_the_seeds_own() {
    in_time(async {
        let world = World::Plain;
        let mut first = world.start("twin", &[]).await;
        let second = world.start("twin", &[first.addr()]).await;
        let name = NodeName::new("twin").unwrap();
        let addr = first.addr();
        assert_eq!(
            second.node.ready().await,
            Err(ReadyError::NameTaken { name, addr })
        );
        let at = second.addr();
        first.event(|event| is_twin(event, at)).await;
    })
    .await;
}

/// A third node says so: the address is that of the other one of the name, not of who says it.
#[tokio::test]
async fn a_name_that_another_member_has() {
    in_time(async {
        let world = World::Plain;
        let twin = world.start("twin", &[]).await;
        let third = world.start("third", &[twin.addr()]).await;
        third.node.ready().await.unwrap();
        let mut second = world.start("twin", &[third.addr()]).await;
        let addr = twin.addr();
        second.event(|event| is_twin(event, addr)).await;
        let name = NodeName::new("twin").unwrap();
        assert_eq!(
            second.node.ready().await,
            Err(ReadyError::NameTaken { name, addr })
        );
        // It is told once a minute, however often it is tried.
        while let Ok(Ok(event)) = tokio::time::timeout(Duration::ZERO, second.events.recv()).await {
            let again = event.cluster().is_some_and(|event| is_twin(event, addr));
            assert!(!again, "{event:?}");
        }
        assert_eq!(third.node.view().cluster_size(), 2);
    })
    .await;
}

/// A wall clock that is wrong.
struct Behind(Duration);

impl WallClock for Behind {
    fn wall(&self) -> Timestamp {
        let behind = u64::try_from(self.0.as_nanos()).unwrap();
        Timestamp::from_nanos(SystemClock.wall().as_nanos() - behind)
    }
}

#[tokio::test]
async fn a_clock_that_is_ten_minutes_behind() {
    in_time(async {
        let world = World::Plain;
        let a = world.start("a", &[]).await;
        for number in 0..100 {
            let put = a.notes.put(note(number, "now"), Expiry::Never);
            put.unwrap();
        }
        let behind = Duration::from_secs(600);
        let b = world
            .start_with("b", &[a.addr()], |builder| {
                builder.wall_clock(Arc::new(Behind(behind)))
            })
            .await;
        let named = |view: &rumormill::View| match &view.readiness {
            Readiness::ClockDiffers { with, by } => {
                with.as_str() == "a" && *by >= Duration::from_secs(300)
            }
            _ => false,
        };
        let view = b.node.views().wait_for(named).await.unwrap();
        assert!(!view.readiness.is_ready());
        assert_eq!(read(&b.notes), 0);
    })
    .await;
}

fn read(notes: &Map<Notes>) -> usize {
    notes.records().len()
}
