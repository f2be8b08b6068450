//! Packets: late ones are dropped wherever they were, and what is lost is counted.

use std::net::SocketAddr;
use std::time::Duration;

use rumormill::config::Config;
use rumormill::net::tls::{Tls, TlsLimits};
use rumormill::net::{NetCounters, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::certs::{Authority, Files};
use crate::refusals::{Inside, hello};
use crate::relay::Relay;
use crate::support::in_time;

/// An age that a busy machine does not reach often. Where it would do harm, packets do not grow old.
const AGE_MAX: Duration = Duration::from_millis(400);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(600);

fn files() -> Files {
    files_of(&Authority::new("ours"))
}

fn files_of(authority: &Authority) -> Files {
    Files::new(&authority.leaf(&["127.0.0.1"]), &authority.pem())
}

async fn bind(files: &Files) -> Tls {
    bind_with(files, |_| {}).await
}

/// Its packets do not grow old, nor do those that it receives.
async fn bind_patient(files: &Files) -> Tls {
    bind_with(files, |limits| limits.packet_age_max = Some(NEVER)).await
}

async fn bind_with(files: &Files, settle: impl FnOnce(&mut TlsLimits)) -> Tls {
    let mut limits = TlsLimits::default();
    limits.packet_age_max = Some(AGE_MAX);
    limits.handshake_timeout = Some(NEVER);
    settle(&mut limits);
    let any = "127.0.0.1:0".parse().unwrap();
    let config = files.config().limits(limits);
    Tls::bind(any, config, &Config::local()).await.unwrap()
}

fn counted(tls: &Tls) -> NetCounters {
    tls.tally().unwrap().snapshot()
}

async fn recv(transport: &Tls) -> Vec<u8> {
    let mut buf = vec![0; 65_536];
    let received = std::future::poll_fn(|cx| transport.poll_recv(cx, &mut buf)).await;
    let (count, _) = received.unwrap();
    buf.truncate(count);
    buf
}

/// Sends the same packet again and again until one arrives, which is the next that does.
async fn send_until_received(from: &Tls, to: SocketAddr, by: &Tls, packet: &[u8]) {
    loop {
        send(from, to, packet);
        if let Some(received) = recv_soon(by).await {
            return assert_eq!(received, packet);
        }
    }
}

fn send(from: &Tls, to: SocketAddr, packet: &[u8]) {
    from.try_send(to, packet).unwrap();
}

async fn recv_soon(transport: &Tls) -> Option<Vec<u8>> {
    let soon = tokio::time::timeout(Duration::from_millis(20), recv(transport));
    soon.await.ok()
}

/// What grew old where its sender could not take it back, in the system or on the way, is dropped by
/// its receiver; what is sent after it arrives.
#[tokio::test]
async fn packets_that_grew_old_on_their_way_are_dropped() {
    in_time(async {
        let files = files();
        let (a, b) = (bind(&files).await, bind(&files).await);
        let relay = Relay::to(b.local_addr()).await;
        send_until_received(&a, relay.addr, &b, b"first").await;
        relay.hold(true);
        for _ in 0..10 {
            send(&a, relay.addr, b"old");
        }
        // The one wait for time itself: they have to grow old.
        tokio::time::sleep(AGE_MAX * 3 / 2).await;
        relay.hold(false);
        loop {
            send(&a, relay.addr, b"young");
            match recv_soon(&b).await.as_deref() {
                Some(b"young") => break,
                // A copy of it was on its way.
                Some(b"first") | None => {}
                Some(packet) => panic!("an old one arrived: {packet:?}"),
            }
        }
        assert!(counted(&b).tls_packets_late > 0, "{:?}", counted(&b));
    })
    .await;
}

/// What waited for a receiver that did not run has not been late: who sent it was there.
#[tokio::test]
async fn packets_that_waited_for_a_process_that_did_not_run_arrive() {
    in_time(async {
        let files = std::sync::Arc::new(files());
        let a = bind_patient(&files).await;
        let (addr, bound) = tokio::sync::oneshot::channel();
        let (stopping, mut stopped) = tokio::sync::oneshot::channel();
        let (go, on) = std::sync::mpsc::channel::<()>();
        let receiver = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async {
                let b = bind(&files).await;
                addr.send(b.local_addr()).unwrap();
                assert_eq!(recv(&b).await, b"first");
                stopping.send(()).unwrap();
                // Nothing runs in this runtime meanwhile.
                on.recv().unwrap();
                for number in 0..100 {
                    let mut packet = recv(&b).await;
                    while packet == b"first" {
                        packet = recv(&b).await;
                    }
                    assert_eq!(packet, [number]);
                }
            });
        });
        let to = bound.await.unwrap();
        // The first may be late: a handshake takes long on a busy machine.
        while stopped.try_recv().is_err() {
            send(&a, to, b"first");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for number in 0..100 {
            send(&a, to, &[number]);
        }
        // The one wait for time itself: they have to grow old.
        tokio::time::sleep(AGE_MAX * 3).await;
        go.send(()).unwrap();
        let joined = tokio::task::spawn_blocking(|| receiver.join());
        joined.await.unwrap().unwrap();
    })
    .await;
}

/// When nothing but late packets comes, the connection is made anew, and the way is measured anew.
#[tokio::test]
async fn a_way_that_has_become_long_costs_one_connection() {
    in_time(async {
        let files = files();
        let (a, b) = (bind(&files).await, bind(&files).await);
        let relay = Relay::to(b.local_addr()).await;
        send_until_received(&a, relay.addr, &b, b"near").await;
        relay.take(AGE_MAX * 2);
        while counted(&b).tls_packets_late == 0 {
            send(&a, relay.addr, b"far");
            recv_soon(&b).await;
        }
        let before = counted(&a).tls_handshakes;
        loop {
            send(&a, relay.addr, b"far");
            if recv_soon(&b).await.as_deref() == Some(b"far") {
                break;
            }
        }
        assert_eq!(counted(&a).tls_handshakes, before + 1);
    })
    .await;
}

/// Somebody who accepts connections and says nothing.
pub(crate) async fn silence() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A dial that does not go on is no reason to keep packets until it ends.
#[tokio::test]
async fn packets_grow_old_while_their_peer_is_dialled() {
    in_time(async {
        let a = bind(&files()).await;
        let (hole, to) = silence().await;
        send(&a, to, b"first");
        let _held = hole.accept().await.unwrap();
        send(&a, to, b"second");
        // Nothing is sent that would make anybody look.
        while counted(&a).tls_packets_expired < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A dial under way, and a pause between two of them, end when there are new certificates: who was not
/// believed before may be now.
#[tokio::test]
async fn new_certificates_end_a_dial_and_a_pause() {
    in_time(async {
        let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
        let files = Files::new(&ours.leaf(&["127.0.0.1"]), &ours.pem());
        let a = bind(&files).await;
        let (hole, to) = silence().await;
        send(&a, to, b"first");
        let mut held = vec![hole.accept().await.unwrap()];
        a.handle().reload().await.unwrap();
        send(&a, to, b"second");
        held.push(hole.accept().await.unwrap());

        // Not believed, again and again, until the pause has grown to 5.12 s.
        let strange = Files::new(&theirs.leaf(&["127.0.0.1"]), &ours.pem());
        let b = bind(&strange).await;
        let to = b.local_addr();
        let before = counted(&a).tls_handshakes_failed;
        while counted(&a).tls_handshakes_failed < before + 9 {
            send(&a, to, b"not yet");
            recv_soon(&b).await;
        }
        let pause = tokio::time::Instant::now();
        strange.put(&ours.leaf(&["127.0.0.1"]));
        b.handle().reload().await.unwrap();
        a.handle().reload().await.unwrap();
        while recv_soon(&b).await.is_none() {
            send(&a, to, b"now");
        }
        assert!(pause.elapsed() < Duration::from_secs(4));
    })
    .await;
}

/// Connections for packets are limited: the one used longest ago makes room, dialled or not, and what
/// it held is counted.
#[tokio::test]
async fn what_makes_room_is_counted_and_gives_up_its_dial() {
    in_time(async {
        let a = bind_with(&files(), |limits| {
            limits.connections_max = 2.try_into().unwrap();
            limits.packet_age_max = Some(NEVER);
        })
        .await;
        let (first, oldest) = silence().await;
        let (second, other) = silence().await;
        let (third, last) = silence().await;
        for _ in 0..3 {
            send(&a, oldest, b"oldest");
        }
        let (mut given_up, _) = first.accept().await.unwrap();
        send(&a, other, b"other");
        let _second = second.accept().await.unwrap();
        send(&a, last, b"last");
        let _third = third.accept().await.unwrap();
        let counted = counted(&a);
        assert_eq!(
            (counted.tls_lanes_evicted, counted.tls_packets_lost),
            (1, 3)
        );
        // Its dial is over: the connection ends after what it had said.
        let mut said = Vec::new();
        let _ = given_up.read_to_end(&mut said).await;
    })
    .await;
}

/// That somebody says where he is reached closes nobody's connection.
#[tokio::test]
async fn who_shows_himself_takes_nobodys_place() {
    in_time(async {
        let authority = Authority::new("ours");
        let files = files_of(&authority);
        let a = bind_with(&files, |limits| {
            // Of those that it accepts, half may be of one host.
            limits.connections_max = 4.try_into().unwrap();
        })
        .await;
        let b = bind(&files).await;
        send_until_received(&a, b.local_addr(), &b, b"first").await;
        for port in 1..=10 {
            let reached = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port);
            loop {
                let mut tls = Inside::dial_to(a.local_addr(), &authority).await;
                tls.write_all(&hello(1, reached)).await.unwrap();
                // The one before may not have gone yet.
                if tls.read_u8().await.unwrap() == 1 {
                    break;
                }
            }
        }
        // One more, so that the last of them has been looked at.
        send_until_received(&b, a.local_addr(), &a, b"after it").await;
        assert_eq!(counted(&a).tls_lanes_evicted, 0);
    })
    .await;
}

/// Packets without a byte in them are not free, so a queue of them has an end.
#[tokio::test]
async fn empty_packets_that_wait_are_bounded() {
    in_time(async {
        let a = bind_with(&files(), |limits| {
            limits.packet_age_max = Some(NEVER);
            limits.packet_queue_bytes = 10_000.try_into().unwrap();
        })
        .await;
        let (_hole, to) = silence().await;
        for _ in 0..1000 {
            send(&a, to, b"");
        }
        assert!(counted(&a).tls_packets_overflowed > 500);
    })
    .await;
}

/// Somebody who sends old packets as fast as he can does not have the thread to himself.
#[tokio::test]
async fn a_flood_of_late_packets_leaves_others_their_turn() {
    in_time(async {
        const FLOOD: usize = 200_000;
        let authority = Authority::new("ours");
        let settle = |limits: &mut TlsLimits| limits.packet_age_max = Some(NEVER / 2);
        let a = bind_with(&files_of(&authority), settle).await;
        let mut tls = Inside::dial_to(a.local_addr(), &authority).await;
        let reached = "127.0.0.1:7".parse().unwrap();
        tls.write_all(&hello(1, reached)).await.unwrap();
        assert_eq!(tls.read_u8().await.unwrap(), 1);
        // No byte long, and handed over three hours before the connection began.
        let mut record = vec![0, 0];
        record.extend_from_slice(&10_000_000_u32.wrapping_neg().to_be_bytes());
        let flood = tokio::spawn(async move {
            tls.write_all(&record.repeat(FLOOD)).await.unwrap();
            tls.flush().await.unwrap();
            tls
        });
        let (mut seen, mut most) = (0, 0);
        while seen < FLOOD as u64 {
            tokio::task::yield_now().await;
            let now = counted(&a).tls_packets_late;
            (seen, most) = (now, most.max(now - seen));
        }
        drop(flood.await.unwrap());
        // As many as a task may do in one turn, and some.
        assert!(most <= 500, "{most}");
    })
    .await;
}

/// Packets that were being written when their connection ended are counted.
#[tokio::test]
async fn a_batch_that_is_lost_is_counted() {
    in_time(async {
        let files = files();
        let settle = |limits: &mut TlsLimits| {
            limits.packet_age_max = Some(NEVER);
            limits.packet_queue_bytes = (64 << 20).try_into().unwrap();
            limits.user_timeout = Some(Duration::from_secs(1));
        };
        let a = bind_with(&files, settle).await;
        let b = bind_with(&files, settle).await;
        send_until_received(&a, b.local_addr(), &b, b"first").await;
        // Nobody takes packets off any more, so they fill whatever is between the two.
        while counted(&a).tls_packets_lost == 0 {
            for _ in 0..100 {
                send(&a, b.local_addr(), &[7; 60_000]);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// What waits for a connection when the transport is finished arrives before that returns.
#[tokio::test]
async fn what_waits_is_written_before_the_end() {
    in_time(async {
        let files = files();
        let b = bind_patient(&files).await;
        for round in 0..5_u8 {
            let a = bind_patient(&files).await;
            // No connection is there yet: all of them wait for a handshake.
            for number in 0..100 {
                send(&a, b.local_addr(), &[round, number]);
            }
            a.finish().await;
            assert!(a.try_send(b.local_addr(), b"too late").is_err());
            drop(a);
            for number in 0..100 {
                assert_eq!(recv(&b).await, [round, number]);
            }
        }
    })
    .await;
}

/// Nobody who does not answer holds up the end for longer than packets stay young.
#[tokio::test]
async fn the_end_does_not_wait_for_those_who_do_not_answer() {
    in_time(async {
        let a = bind(&files()).await;
        let (hole, to) = silence().await;
        send(&a, to, b"never");
        let _held = hole.accept().await.unwrap();
        a.finish().await;
        assert_eq!(counted(&a).tls_packets_expired, 1);
    })
    .await;
}
