//! What every transport must do. Each claim is one function, run for each of them.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumormill::net::memory::Network;
use rumormill::net::plain::Plain;
use rumormill::net::{BoxStream, DialError, Transport, dial_within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Any = Arc<dyn Transport>;

/// Two transports that reach each other.
struct Pair {
    a: Any,
    b: Any,
}

async fn plain() -> Pair {
    let bind = || Plain::bind("127.0.0.1:0".parse().unwrap());
    Pair {
        a: Arc::new(bind().await.unwrap()),
        b: Arc::new(bind().await.unwrap()),
    }
}

#[cfg(feature = "tls-ring")]
async fn tls() -> Pair {
    let world = crate::support::World::tls();
    Pair {
        a: world.bind().await,
        b: world.bind().await,
    }
}

async fn memory() -> Pair {
    let network = Network::new();
    let bind = || network.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    Pair {
        a: bind(),
        b: bind(),
    }
}

macro_rules! for_every_transport {
    ($($claim:ident,)*) => {
        mod over_plain {
            $(#[tokio::test]
            async fn $claim() { super::in_time(super::$claim(super::plain().await)).await; })*
        }
        mod over_memory {
            $(#[tokio::test(start_paused = true)]
            async fn $claim() { super::in_time(super::$claim(super::memory().await)).await; })*
        }
        #[cfg(feature = "tls-ring")]
        mod over_tls {
            $(#[tokio::test]
            async fn $claim() { super::in_time(super::$claim(super::tls().await)).await; })*
        }
    };
}

for_every_transport! {
    packets_arrive_with_their_source,
    streams_carry_both_directions,
    much_data_arrives_whole,
    a_dial_to_nobody_is_refused,
    the_end_of_a_peer_is_the_end_of_its_streams,
    what_was_written_before_a_close_arrives,
    a_slow_reader_slows_its_writer_and_loses_nothing,
    an_address_that_is_taken_is_refused_and_free_after,
}

async fn in_time(test: impl Future<Output = ()>) {
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, test).await.expect("in time");
}

async fn recv(transport: &Any) -> (Vec<u8>, SocketAddr) {
    let mut buf = vec![0; 65_536];
    let (count, from) = poll_fn(|cx| transport.poll_recv(cx, &mut buf))
        .await
        .unwrap();
    buf.truncate(count);
    (buf, from)
}

async fn connect(pair: &Pair) -> (BoxStream, BoxStream) {
    let dial = pair.a.dial(pair.b.local_addr());
    let accept = poll_fn(|cx| pair.b.poll_accept(cx));
    let (near, far) = tokio::join!(dial, accept);
    let (far, peer) = far.unwrap();
    assert_eq!(peer.ip(), pair.a.local_addr().ip());
    (near.unwrap(), far)
}

async fn packets_arrive_with_their_source(pair: Pair) {
    for size in [1, 1400, 60_000] {
        let packet = vec![7; size];
        pair.a.try_send(pair.b.local_addr(), &packet).unwrap();
        assert_eq!(recv(&pair.b).await, (packet, pair.a.local_addr()));
    }
    pair.b.try_send(pair.a.local_addr(), b"back").unwrap();
    assert_eq!(recv(&pair.a).await.0, b"back");
    // To an address where nobody is: lost without a word, and the socket works on.
    let nobody = SocketAddr::new(pair.a.local_addr().ip(), 1);
    pair.a.try_send(nobody, b"lost").unwrap();
    pair.a.try_send(pair.b.local_addr(), b"next").unwrap();
    assert_eq!(recv(&pair.b).await.0, b"next");
}

async fn streams_carry_both_directions(pair: Pair) {
    let (mut near, mut far) = connect(&pair).await;
    near.write_all(b"there").await.unwrap();
    far.write_all(b"back").await.unwrap();
    let (mut there, mut back) = ([0; 5], [0; 4]);
    far.read_exact(&mut there).await.unwrap();
    near.read_exact(&mut back).await.unwrap();
    assert_eq!((&there, &back), (b"there", b"back"));
}

async fn much_data_arrives_whole(pair: Pair) {
    let (mut near, mut far) = connect(&pair).await;
    let sent: Vec<u8> = (0..20_000_000_u32).map(|n| (n >> 8) as u8).collect();
    let mut received = Vec::new();
    let write = async {
        near.write_all(&sent).await.unwrap();
        near.shutdown().await.unwrap();
    };
    let (_, read) = tokio::join!(write, far.read_to_end(&mut received));
    read.unwrap();
    assert!(received == sent);
}

async fn a_dial_to_nobody_is_refused(pair: Pair) {
    let Pair { a, b } = pair;
    let nobody = b.local_addr();
    drop(b);
    let dialled = dial_within(&*a, nobody, Duration::from_secs(5)).await;
    assert!(matches!(dialled.err(), Some(DialError::Refused { to }) if to == nobody));
}

async fn the_end_of_a_peer_is_the_end_of_its_streams(pair: Pair) {
    let (mut near, far) = connect(&pair).await;
    let Pair { a, b } = pair;
    let peer = b.local_addr();
    drop((b, far));
    let mut rest = Vec::new();
    // An end or a reset, as it happens.
    let _ = near.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    let redialled = a.dial(peer).await;
    assert!(matches!(redialled.err(), Some(DialError::Refused { .. })));
}

async fn what_was_written_before_a_close_arrives(pair: Pair) {
    let (mut near, mut far) = connect(&pair).await;
    near.write_all(&[7; 10_000]).await.unwrap();
    near.shutdown().await.unwrap();
    drop(near);
    let mut received = Vec::new();
    far.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, [7; 10_000]);
}

async fn a_slow_reader_slows_its_writer_and_loses_nothing(pair: Pair) {
    let (mut near, mut far) = connect(&pair).await;
    let chunk = [7; 10_000];
    let mut written = 0;
    // Nobody reads: some of it fits into buffers, then the writer waits.
    let patience = Duration::from_millis(200);
    while let Ok(count) = tokio::time::timeout(patience, near.write(&chunk)).await {
        written += count.unwrap();
        assert!(written < 100_000_000, "somebody buffers without a limit");
    }
    assert!(written > 0);
    let write = async { near.shutdown().await.unwrap() };
    let mut received = Vec::new();
    let (_, read) = tokio::join!(write, far.read_to_end(&mut received));
    assert_eq!(read.unwrap(), written);
}

async fn an_address_that_is_taken_is_refused_and_free_after(pair: Pair) {
    // One transport is on sockets if the other one is; this asks each kind about its own.
    let addr = pair.b.local_addr();
    if let Ok(taken) = Plain::bind(addr).await {
        drop(taken);
        let network = Network::new();
        let first = network.bind(addr).unwrap();
        let error = network.bind(addr).unwrap_err();
        assert_eq!(
            (error.addr, error.source.kind()),
            (addr, ErrorKind::AddrInUse)
        );
        drop(first);
        network.bind(addr).unwrap();
        return;
    }
    drop(pair.b);
    Plain::bind(addr).await.unwrap();
}

#[tokio::test]
async fn a_port_is_taken_for_both_kinds_of_sockets_or_for_none() {
    let first = Plain::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Plain::bind(first.local_addr()).await.unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::AddrInUse);

    // UDP alone has the port: binding it fails, and gives the TCP port back.
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = udp.local_addr().unwrap();
    Plain::bind(addr).await.unwrap_err();
    drop(udp);
    Plain::bind(addr).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_host_that_does_not_answer_is_not_one_that_refuses() {
    let transport = Plain::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    // A listener that accepts nobody: once its backlog is full, the system answers no more.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let silent = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    loop {
        match dial_within(&transport, silent, Duration::from_millis(300)).await {
            Ok(stream) => held.push(stream),
            Err(DialError::TimedOut { to, .. }) => return assert_eq!(to, silent),
            Err(other) => panic!("expected no answer, got {other}"),
        }
        assert!(held.len() < 100, "the backlog never fills");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_loses_packets_stalls_streams_and_hangs_dials_until_it_heals() {
    let network = Network::new();
    let bind = || network.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let pair = Pair {
        a: bind(),
        b: bind(),
    };
    let (a, b) = (pair.a.local_addr(), pair.b.local_addr());
    let (mut near, mut far) = connect(&pair).await;

    network.partition(&[a], &[b]);
    pair.a.try_send(b, b"lost").unwrap();
    near.write_all(b"late").await.unwrap();
    let within = Duration::from_secs(10);
    let dialled = dial_within(&*pair.a, b, within).await;
    assert!(matches!(dialled.err(), Some(DialError::TimedOut { .. })));
    let mut late = [0; 4];
    let stalled = tokio::time::timeout(within, far.read_exact(&mut late)).await;
    assert!(stalled.is_err());

    network.heal();
    far.read_exact(&mut late).await.unwrap();
    assert_eq!(&late, b"late");
    pair.a.try_send(b, b"next").unwrap();
    assert_eq!(recv(&pair.b).await.0, b"next");
    connect(&pair).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_endpoint_is_a_dead_process() {
    let network = Network::new();
    let bind = || network.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let pair = Pair {
        a: bind(),
        b: bind(),
    };
    let (mut near, mut far) = connect(&pair).await;
    assert!(network.kill(pair.b.local_addr()));
    let mut rest = Vec::new();
    near.read_to_end(&mut rest).await.unwrap();
    far.read_to_end(&mut rest).await.unwrap();
    let redialled = pair.a.dial(pair.b.local_addr()).await;
    assert!(matches!(redialled.err(), Some(DialError::Refused { .. })));
    // The address is free for the next process.
    network.bind(pair.b.local_addr()).unwrap();
}
