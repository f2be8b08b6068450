//! Connections that are kept: no handshakes in a steady cluster, peers that restart or go silent,
//! much state for a joiner.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumormill::config::Config;
use rumormill::id::MemberState;
use rumormill::net::tls::{Tls, TlsLimits};
use rumormill::net::{DialError, Transport};
use rumormill::node::{Node, NodeEvent, SystemClock};
use rumormill::store::Expiry;
use rumormill::store::matcher::{Matcher, Op};
use rumormill::store::silences::{NewSilence, SilenceLimits};
use rumormill::time::WallClock as _;
use rumormill::{Event, Readiness};

use crate::certs::{Authority, Files};
use crate::packets::silence;
use crate::support::{Notes, Peer, World, in_time, note};

fn world() -> (Arc<Files>, World) {
    let World::Tls(files) = World::tls() else {
        unreachable!()
    };
    (Arc::clone(&files), World::Tls(files))
}

async fn three(world: &World, config: &Config) -> [Peer; 3] {
    let settle = |builder: rumormill::Builder| builder.config(config.clone());
    let a = world.start_with("a", &[], settle).await;
    let b = world.start_with("b", &[a.addr()], settle).await;
    let c = world.start_with("c", &[a.addr()], settle).await;
    for (seen_by, name) in [(&a, "b"), (&a, "c"), (&b, "c"), (&c, "b")] {
        seen_by.sees(name, MemberState::Alive).await;
    }
    [a, b, c]
}

/// Exchanges of state go on for several intervals, and none of them makes a handshake.
#[tokio::test]
async fn a_steady_cluster_makes_no_handshakes() {
    in_time(async {
        let config = Config::local().push_pull_interval(Some(Duration::from_millis(100)));
        let nodes = three(&world().1, &config).await;
        let handshakes = || {
            let of = |peer: &Peer| peer.node.net_counters().tls_handshakes;
            nodes.iter().map(of).sum::<u64>()
        };
        // Each has dialled each of the others for packets, a link and an exchange, with a chance of
        // one in a billion that it has not. On a busy machine an exchange may begin before the one
        // before has given its connection back, which makes one more: not for ever.
        exchanges(&nodes, 60).await;
        let mut steady = false;
        for _ in 0..5 {
            let (before, exchanged) = (handshakes(), counts(&nodes));
            exchanges(&nodes, 40).await;
            println!("{exchanged:?}: {} handshakes", handshakes() - before);
            steady = handshakes() == before;
            if steady {
                break;
            }
        }
        assert!(steady);
        // A few connections for each direction of each pair, seen from both ends.
        assert!(handshakes() <= 2 * 6 * 5, "{}", handshakes());
    })
    .await;
}

fn counts(nodes: &[Peer; 3]) -> Vec<u64> {
    let of = |peer: &Peer| peer.node.counters().push_pulls;
    nodes.iter().map(of).collect()
}

/// Waits until every node has completed so many more exchanges.
async fn exchanges(nodes: &[Peer; 3], more: u64) {
    for peer in nodes {
        let before = peer.node.counters().push_pulls;
        while peer.node.counters().push_pulls < before + more {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn recv(transport: &Tls) -> (Vec<u8>, SocketAddr) {
    let mut buf = vec![0; 65_536];
    let received = std::future::poll_fn(|cx| transport.poll_recv(cx, &mut buf)).await;
    let (count, from) = received.unwrap();
    (buf[..count].to_vec(), from)
}

/// One whose handshakes and packets have more time than a busy machine needs.
async fn bind(files: &Files, addr: SocketAddr) -> Tls {
    bind_with(files, addr, |_| {}).await
}

async fn bind_with(files: &Files, addr: SocketAddr, settle: impl FnOnce(&mut TlsLimits)) -> Tls {
    let mut limits = TlsLimits::default();
    limits.packet_age_max = Some(Duration::from_secs(60));
    limits.handshake_timeout = Some(Duration::from_secs(60));
    settle(&mut limits);
    let config = files.config().limits(limits);
    Tls::bind(addr, config, &Config::local()).await.unwrap()
}

/// The end of the connection says that the peer has gone, so what is sent from then on waits for the
/// next process there.
#[tokio::test]
async fn a_restart_loses_no_packet_that_was_sent_after_it() {
    in_time(async {
        let (files, _) = world();
        let any = "127.0.0.1:0".parse().unwrap();
        let a = bind(&files, any).await;
        let mut b = bind(&files, any).await;
        let to = b.local_addr();
        a.try_send(to, b"first").unwrap();
        assert_eq!(recv(&b).await.0, b"first");
        for round in 0..10_u8 {
            drop(b);
            b = bind(&files, to).await;
            for number in 0..3 {
                a.try_send(to, &[round, number]).unwrap();
            }
            for number in 0..3 {
                let expected = (vec![round, number], a.local_addr());
                assert_eq!(recv(&b).await, expected);
            }
        }
    })
    .await;
}

/// A dial to a process that is known already resumes its session, which saves both sides most of a
/// handshake; one to another process at the same host does not, and does no harm.
#[tokio::test]
async fn redials_to_one_process_resume_its_session() {
    in_time(async {
        let (_, world) = world();
        let a = world.start("a", &[]).await;
        let b = world.start("b", &[a.addr()]).await;
        let _c = world.start("c", &[a.addr()]).await;
        b.node.ready().await.unwrap();
        b.sees("c", MemberState::Alive).await;
        // A link, packets and an exchange: each but the first dialled can be resumed.
        while b.node.net_counters().tls_handshakes_resumed == 0 {
            b.node.push_pull().await.unwrap();
            tokio::task::yield_now().await;
        }
        let counted = b.node.net_counters();
        assert!(counted.tls_handshakes_resumed < counted.tls_handshakes);
    })
    .await;
}

fn handshakes(tls: &Tls) -> u64 {
    tls.tally().unwrap().snapshot().tls_handshakes
}

/// Opens a stream from `a` to `b` and ends it on both sides.
async fn short_stream(a: &Tls, b: &Tls) {
    let (near, far) = tokio::join!(
        a.dial(b.local_addr()),
        std::future::poll_fn(|cx| b.poll_accept(cx))
    );
    drop((near.unwrap(), far.unwrap()));
}

/// One stream after another over one connection, which is closed when nobody has used it for long.
#[tokio::test]
async fn a_connection_serves_streams_until_nobody_uses_it() {
    in_time(async {
        let (files, _) = world();
        let any = "127.0.0.1:0".parse().unwrap();
        let b = bind(&files, any).await;
        let idle = Duration::from_millis(500);
        let a = bind_with(&files, any, |limits| limits.idle_timeout = Some(idle)).await;
        short_stream(&a, &b).await;
        // Each side has a connection for packets, too: as soon as the other one has shown itself.
        while handshakes(&a) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // On a busy machine one may not be back when the next stream is dialled, or have been idle.
        let mut in_a_row = 0;
        while in_a_row < 5 {
            // On its way back to the pool, for a moment.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let before = handshakes(&a);
            short_stream(&a, &b).await;
            in_a_row = if handshakes(&a) == before {
                in_a_row + 1
            } else {
                0
            };
        }
        let before = handshakes(&a);
        while handshakes(&a) == before {
            tokio::time::sleep(idle * 2).await;
            short_stream(&a, &b).await;
        }
    })
    .await;
}

/// However many streams and packets are for a peer, it is dialled once at a time, and all who waited
/// for a dial share its failure.
#[tokio::test]
async fn one_dial_at_a_time_goes_to_a_peer() {
    in_time(async {
        let (files, _) = world();
        let any = "127.0.0.1:0".parse().unwrap();
        let (hole, silent) = silence().await;
        let within = Some(Duration::from_secs(1));
        let a = bind_with(&files, any, |limits| limits.handshake_timeout = within).await;
        let mut dials = tokio::task::JoinSet::new();
        for _ in 0..8 {
            dials.spawn(a.dial(silent));
        }
        while let Some(dialled) = dials.join_next().await {
            let error = dialled.unwrap().err().unwrap();
            assert!(matches!(error, DialError::TimedOut { .. }), "{error}");
        }
        let mut connections = 0;
        while let Ok(accepted) = tokio::time::timeout(Duration::ZERO, hole.accept()).await {
            drop(accepted.unwrap());
            connections += 1;
        }
        assert_eq!(connections, 1);

        // To somebody who answers, one follows the other.
        let (a, b) = (bind(&files, any).await, bind(&files, any).await);
        for _ in 0..8 {
            dials.spawn(a.dial(b.local_addr()));
        }
        let mut streams = Vec::new();
        while let Some(dialled) = dials.join_next().await {
            streams.push(dialled.unwrap().unwrap());
        }
        assert_eq!(streams.len(), 8);
        // All but the first resume its session.
        assert!(a.tally().unwrap().snapshot().tls_handshakes_resumed >= 7);
    })
    .await;
}

/// What waits for a connection grows old and is dropped, and so is what is too much.
#[tokio::test]
async fn packets_that_wait_are_bounded_in_age_and_bytes() {
    in_time(async {
        let (files, _) = world();
        let any = "127.0.0.1:0".parse().unwrap();
        let (hole, to) = silence().await;
        let limits = TlsLimits::default()
            .packet_age_max(Some(Duration::from_millis(100)))
            // Ten packets, and what it takes to keep them.
            .packet_queue_bytes(11_000.try_into().unwrap())
            .handshake_timeout(Some(Duration::from_secs(60)));
        let config = files.config().limits(limits);
        let a = Tls::bind(any, config, &Config::local()).await.unwrap();
        for number in 0..25_u8 {
            a.try_send(to, &[number; 1000]).unwrap();
        }
        let counted = || a.tally().unwrap().snapshot();
        assert_eq!(counted().tls_packets_overflowed, 15);
        // They wait for a handshake that does not go on; then another process is there.
        let held = hole.accept().await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop((held, hole));
        let b = bind(&files, to).await;
        a.try_send(to, b"young").unwrap();
        // A busy machine may let the first of them grow old as well.
        while recv_soon(&b).await.is_none_or(|packet| packet != b"young") {
            a.try_send(to, b"young").unwrap();
        }
        assert!(counted().tls_packets_expired >= 5);
    })
    .await;
}

/// Packets for a process that has died are dialled for while they are young, and no longer.
#[tokio::test]
async fn a_dead_peer_is_not_dialled_for_ever() {
    in_time(async {
        let (files, _) = world();
        let any = "127.0.0.1:0".parse().unwrap();
        let limits = TlsLimits::default().packet_age_max(Some(Duration::from_millis(100)));
        let config = files.config().limits(limits);
        let a = Tls::bind(any, config, &Config::local()).await.unwrap();
        let b = bind(&files, any).await;
        let to = b.local_addr();
        while tokio::time::timeout(Duration::from_millis(20), recv(&b))
            .await
            .is_err()
        {
            a.try_send(to, b"first").unwrap();
        }
        drop(b);
        let grave = tokio::net::TcpListener::bind(to).await.unwrap();
        // A node that dials is hung up on. Packets go until one has made it dial.
        let dialled = async {
            loop {
                a.try_send(to, b"into the void").unwrap();
                let soon = tokio::time::timeout(Duration::from_millis(50), grave.accept());
                if soon.await.is_ok() {
                    return;
                }
            }
        };
        dialled.await;
        let silence = Duration::from_secs(2);
        let mut dials = 0;
        while let Ok(dial) = tokio::time::timeout(silence, grave.accept()).await {
            drop(dial.unwrap());
            dials += 1;
        }
        // Backoff grows from 20 ms to far more than the packets' age within eight of them.
        assert!(dials <= 20, "{dials}");
        assert!(a.tally().unwrap().snapshot().tls_packets_expired > 0);
    })
    .await;
}

async fn recv_soon(transport: &Tls) -> Option<Vec<u8>> {
    let soon = tokio::time::timeout(Duration::from_millis(50), recv(transport));
    let (packet, _) = soon.await.ok()?;
    assert_eq!(packet, b"young", "an old one arrived");
    Some(packet)
}

/// A host that accepts connections and answers nothing holds up nobody else.
#[tokio::test]
async fn a_black_holed_peer_changes_nothing_for_the_others() {
    in_time(async {
        let (files, _) = world();
        let (hole, silent) = silence().await;
        let any = "127.0.0.1:0".parse().unwrap();
        // A dial under way is under way until the end of the test, and longer.
        let for_ever = Some(Duration::from_secs(600));
        let a = bind_with(&files, any, |limits| limits.handshake_timeout = for_ever).await;
        let b = bind(&files, any).await;
        let dialled = a.dial(silent);
        let mut held = Vec::new();
        for number in 0..200_u8 {
            a.try_send(silent, &[number; 1000]).unwrap();
            a.try_send(b.local_addr(), &[number]).unwrap();
            assert_eq!(recv(&b).await.0, [number]);
            if let Ok(Ok(connection)) = tokio::time::timeout(Duration::ZERO, hole.accept()).await {
                held.push(connection);
            }
        }
        // One dial for packets, however many of them there are.
        assert!(held.len() <= 1, "{}", held.len());
        assert!(a.dial(b.local_addr()).await.is_ok());
        drop(dialled);
    })
    .await;
}

/// By what this node has told so far. On a busy machine others may be suspected, and refute it.
async fn nobody_failed_but(name: &str, peer: &mut Peer) {
    while let Ok(event) = tokio::time::timeout(Duration::ZERO, peer.events.recv()).await {
        if let NodeEvent::Cluster(Event::MemberFailed(member)) = event.unwrap() {
            assert_eq!(member.process.name.as_str(), name);
        }
    }
}

/// A seed that answers nothing holds up neither formation nor writes nor detection: dials to it take
/// longer than the test may.
#[tokio::test]
async fn a_black_holed_seed_changes_nothing_for_a_cluster() {
    in_time(async {
        let (files, _) = world();
        let (hole, silent) = silence().await;
        let start = async |name: &str, seeds: &[SocketAddr]| {
            let mut builder = Node::builder(name)
                .listen("127.0.0.1:0")
                .seeds(seeds.iter().map(ToString::to_string))
                .config(Config::local().tcp_timeout(Duration::from_secs(600)))
                .tls(files.config());
            let (notes, events) = (builder.store(Notes), builder.events());
            let node = builder.start().await.unwrap();
            Peer {
                node,
                notes,
                events,
            }
        };
        let a = start("a", &[silent]).await;
        let mut b = start("b", &[silent, a.addr()]).await;
        let c = start("c", &[silent, a.addr()]).await;
        for (seen_by, name) in [(&a, "b"), (&a, "c"), (&b, "c"), (&c, "b")] {
            seen_by.sees(name, MemberState::Alive).await;
        }
        for number in 0..50 {
            let written = a.notes.put(note(number, "by the way"), Expiry::Never);
            written.unwrap().replicated(2).await.unwrap();
        }
        drop(c);
        a.sees("c", MemberState::Failed).await;
        b.sees("c", MemberState::Failed).await;
        // The dial was there all the time.
        assert!(hole.accept().await.is_ok());
        nobody_failed_but("c", &mut b).await;
    })
    .await;
}

/// A node that stops as a whole still has its sockets: they take connections and bytes, and answer
/// nothing. The others see that it has failed, and nothing else changes for them.
#[tokio::test]
async fn a_member_that_stops_changes_nothing_for_the_others() {
    in_time(async {
        let (_, world) = world();
        let mut nodes = three(&world, &Config::local()).await;
        let seed = nodes[0].addr();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async {
                let _stopping = world.start("d", &[seed]).await;
                while stopped.try_recv().is_err() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // Nothing runs in this runtime until the test ends.
                let _ = ended.recv();
            });
        });
        for peer in &nodes {
            peer.sees("d", MemberState::Alive).await;
        }
        stop.send(()).unwrap();
        let failed = |peer: &Peer| {
            let view = peer.node.view();
            let mut members = view.members.iter();
            members.any(|m| m.process.name.as_str() == "d" && m.state == MemberState::Failed)
        };
        let mut number = 0;
        while !nodes.iter().all(failed) {
            for writer in &nodes {
                let written = writer.notes.put(note(number, "goes on"), Expiry::Never);
                written.unwrap().replicated(2).await.unwrap();
                number += 1;
            }
        }
        for peer in &mut nodes {
            assert_eq!(peer.notes.records().len() as u64, number);
            nobody_failed_but("d", peer).await;
        }
        drop(end);
        thread.join().unwrap();
    })
    .await;
}

/// A seed that takes connections and says nothing is not one that refuses: nobody knows what it knows.
#[tokio::test]
async fn seeds_that_are_silent_hold_a_node_back_until_it_has_waited_enough() {
    in_time(async {
        let (_, world) = world();
        let (_hole, silent) = silence().await;
        let config = Config::local().settle_timeout(Duration::from_secs(3));
        let settle = |builder: rumormill::Builder| builder.config(config);
        let a = world.start_with("a", &[silent], settle).await;
        assert!(matches!(
            a.node.ready().await,
            Ok(Readiness::SettleTimedOut { .. })
        ));
        assert_eq!(a.node.net_counters().dials_refused, 0);
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_silences_arrive_at_a_joiner() {
    in_time(async {
        let authority = Authority::new("ours");
        let files = Files::new(&authority.leaf(&["127.0.0.1"]), &authority.pem());
        let start = async |name: &str, seeds: Vec<String>| {
            let mut builder = Node::builder(name)
                .listen("127.0.0.1:0")
                .config(Config::local())
                .seeds(seeds)
                .tls(files.config());
            let silences = builder.silences(SilenceLimits::default());
            (builder.start().await.unwrap(), silences)
        };
        let (a, on_a) = start("a", Vec::new()).await;
        let ends = SystemClock.wall().plus(Duration::from_secs(3600));
        for number in 0..10_000 {
            let host = format!("host-{number}");
            let matchers = vec![Matcher::new("instance", Op::Equal, host).unwrap()];
            let _ = on_a.set(NewSilence::new(matchers, ends)).unwrap();
        }
        let (b, on_b) = start("b", vec![a.local_addr().to_string()]).await;
        b.ready().await.unwrap();
        assert_eq!(on_b.count_by_state().active, 10_000);
    })
    .await;
}
