//! Packets: late ones are dropped wherever they were, and what is lost is counted.

use std::net::SocketAddr;
use std::time::Duration;

use rumormill::config::Config;
use rumormill::net::tls::{Tls, TlsLimits};
use rumormill::net::{NetCounters, Transport};

use crate::certs::{Authority, Files};
use crate::relay::Relay;
use crate::support::in_time;

/// An age that a busy machine does not reach by itself.
const AGE_MAX: Duration = Duration::from_millis(400);

fn files() -> Files {
    let authority = Authority::new("ours");
    Files::new(&authority.leaf(&["127.0.0.1"]), &authority.pem())
}

async fn bind(files: &Files) -> Tls {
    bind_with(files, |_| {}).await
}

async fn bind_with(files: &Files, settle: impl FnOnce(&mut TlsLimits)) -> Tls {
    let mut limits = TlsLimits::default();
    limits.packet_age_max = Some(AGE_MAX);
    // Longer than any test.
    limits.handshake_timeout = Some(Duration::from_secs(600));
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
