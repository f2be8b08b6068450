//! What a stranger can do to a node: be counted.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use rumormill::config::Config;
use rumormill::id::{ClusterId, MemberState, NodeName, ProcessId};
use rumormill::net::Transport;
use rumormill::node::Builder;
use rumormill::store::Expiry;
use rumormill::unstable::id::NodeId;
use rumormill::unstable::wire::codec::encode;
use rumormill::unstable::wire::envelope::{Envelope, PREFACE_BYTES};
use rumormill::unstable::wire::frame::encode_frame_header;
use rumormill::unstable::wire::{Capabilities, Hello, Message, Purpose};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{World, in_time, note};

/// How a stream begins in the cluster that test nodes are in by default.
fn ours() -> [u8; PREFACE_BYTES] {
    Envelope::of(&ClusterId::default()).preface()
}

/// How a stream of another cluster begins.
fn foreign() -> [u8; PREFACE_BYTES] {
    Envelope::of(&ClusterId::new("other").unwrap()).preface()
}

/// Says `bytes` on a new stream and waits until the node closes it.
async fn say(stranger: &dyn Transport, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = stranger.dial(to).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

async fn garbage_packets_are_counted_and_nothing_is_lost(world: World) {
    let a = world.start("a", &[]).await;
    let b = world.start("b", &[a.addr()]).await;
    b.node.ready().await.unwrap();
    a.sees("b", MemberState::Alive).await;
    let stranger = world.bind().await;
    let mut damaged = ours().to_vec();
    damaged.extend_from_slice(&[0xff; 100]);
    for number in 0..100 {
        for garbage in [&b""[..], b"x", &[0; 1400], &foreign(), &damaged] {
            let _ = stranger.try_send(a.addr(), garbage);
        }
        let written = b.notes.put(note(number, "fine"), Expiry::Never).unwrap();
        written.replicated(1).await.unwrap();
    }
    let counted = a.node.counters();
    assert!(counted.foreign_cluster > 0, "{counted:?}");
    assert!(
        counted.foreign_version + counted.malformed > 0,
        "{counted:?}"
    );
    assert_eq!(a.notes.records().len(), 100);
    assert_eq!(a.node.view().members.len(), 1);
}

async fn garbage_streams_are_closed_and_counted(world: World) {
    let a = world.start("a", &[]).await;
    let stranger = world.bind().await;
    say(&*stranger, a.addr(), b"GET / HTTP/1.1\r\n\r\n").await;
    say(&*stranger, a.addr(), &foreign()).await;
    let oversized = [&ours()[..], &encode_frame_header(1 << 24)].concat();
    say(&*stranger, a.addr(), &oversized).await;
    let counted = a.node.net_counters();
    assert_eq!(counted.streams_foreign_version, 1);
    assert_eq!(counted.streams_foreign_cluster, 1);
    assert_eq!(counted.frames_oversized, 1);

    // A whole frame of nonsense reaches the engine, which closes the stream as well.
    let nonsense = [&ours()[..], &encode_frame_header(4), b"oops"].concat();
    say(&*stranger, a.addr(), &nonsense).await;

    let b = world.start("b", &[a.addr()]).await;
    b.node.ready().await.unwrap();
    let counted = a.node.counters();
    assert!(counted.malformed + counted.unexpected + counted.unknown_messages > 0);
}

/// A peer introduces itself first: an introduction behind something unknown is not answered.
async fn nothing_comes_before_an_introduction(world: World) {
    let a = world.start("a", &[]).await;
    let stranger = world.bind().await;
    let hello = Message::Hello(Hello {
        purpose: Purpose::Link,
        node: NodeId {
            process: ProcessId {
                name: NodeName::new("b").unwrap(),
                boot: 1,
            },
            renewal: 0,
            addr: stranger.local_addr(),
        },
        incarnation: 0,
        nonce: 1,
        token: 1,
        capabilities: Capabilities::OURS,
        stores: Vec::new(),
    });
    let mut frame = BytesMut::new();
    encode(&hello, &mut frame);
    let header = encode_frame_header(frame.len());
    let unknown = [200, 0, 0, 0, 0];
    let said = [
        &ours()[..],
        &encode_frame_header(unknown.len()),
        &unknown,
        &header,
        &frame,
    ];
    let answer = say(&*stranger, a.addr(), &said.concat()).await;
    assert!(answer.len() <= ours().len(), "{answer:?}");
    assert_eq!(a.node.counters().unknown_messages, 1);
    assert!(a.node.view().members.is_empty());
    // By itself it is.
    let mut stream = stranger.dial(a.addr()).await.unwrap();
    let said = [&ours()[..], &header, &frame].concat();
    stream.write_all(&said).await.unwrap();
    let mut answer = vec![0; ours().len() + 1];
    stream.read_exact(&mut answer).await.unwrap();
}

async fn clusters_never_mix(world: World) {
    let a = world.start("a", &[]).await;
    let config = Config::local().settle_timeout(Duration::from_millis(500));
    let other = |builder: Builder| builder.cluster("other").config(config);
    let b = world.start_with("b", &[a.addr()], other).await;
    b.notes.put(note(1, "theirs"), Expiry::Never).unwrap();
    b.node.ready().await.unwrap();
    let (ours, theirs) = (a.node.net_counters(), b.node.net_counters());
    assert!(ours.streams_foreign_cluster > 0, "{ours:?}");
    assert!(theirs.streams_foreign_cluster > 0, "{theirs:?}");
    assert!(a.notes.records().is_empty());
    assert!(a.node.view().members.is_empty() && b.node.view().members.is_empty());
}

macro_rules! in_every_world {
    ($($claim:ident,)*) => {
        mod over_plain {
            $(#[tokio::test]
            async fn $claim() { super::in_time(super::$claim(super::World::Plain)).await; })*
        }
        mod over_memory {
            $(#[tokio::test(start_paused = true)]
            async fn $claim() { super::in_time(super::$claim(super::World::memory())).await; })*
        }
        /// The stranger has a certificate that is believed.
        #[cfg(feature = "tls-ring")]
        mod over_tls {
            $(#[tokio::test]
            async fn $claim() { super::in_time(super::$claim(super::World::tls())).await; })*
        }
    };
}

in_every_world! {
    clusters_never_mix,
    garbage_packets_are_counted_and_nothing_is_lost,
    garbage_streams_are_closed_and_counted,
    nothing_comes_before_an_introduction,
}
