//! What peers and strangers can cost that take more than they give: that do not read, send slowly, stay
//! silent, or flood. Others are served meanwhile, and who is a member is named.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rumormill::config::Config;
use rumormill::id::{ClusterId, MemberState, Misbehaviour, NodeName, ProcessId};
use rumormill::net::{BoxStream, Transport};
use rumormill::node::Builder;
use rumormill::store::Expiry;
use rumormill::unstable::id::NodeId;
use rumormill::unstable::wire::codec::{self, CodecLimits, Decoded, encode};
use rumormill::unstable::wire::envelope::{Envelope, PREFACE_BYTES};
use rumormill::unstable::wire::frame::{FRAME_BYTES_MAX, encode_frame_header};
use rumormill::unstable::wire::{Capabilities, Delta, Hello, Members, Message, Purpose};
use rumormill::{Event, NodeEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Peer, World, in_time, note};

fn ours() -> Envelope {
    Envelope::of(&ClusterId::default())
}

/// A member that is written by hand.
struct Member {
    transport: Arc<dyn Transport>,
    node: NodeId,
}

impl Member {
    async fn new(world: &World, name: &str) -> Self {
        let transport = world.bind().await;
        let node = NodeId {
            process: ProcessId {
                name: NodeName::new(name).unwrap(),
                boot: 1,
            },
            renewal: 0,
            addr: transport.local_addr(),
        };
        Self { transport, node }
    }

    fn hello(&self) -> Message {
        Message::Hello(Hello {
            purpose: Purpose::Link,
            node: self.node.clone(),
            incarnation: 0,
            nonce: u64::from(self.node.addr.port()),
            token: 7,
            capabilities: Capabilities::OURS,
            stores: Vec::new(),
        })
    }

    /// Opens a link, up to the answer to its introduction.
    async fn link(&self, to: SocketAddr) -> BoxStream {
        let mut stream = self.transport.dial(to).await.unwrap();
        stream.write_all(&ours().preface()).await.unwrap();
        stream.write_all(&framed(&self.hello())).await.unwrap();
        let mut preface = [0; PREFACE_BYTES];
        stream.read_exact(&mut preface).await.unwrap();
        let answer = receive(&mut stream).await;
        assert!(matches!(answer, Message::Welcome(_)), "{answer:?}");
        stream
    }
}

fn framed(message: &Message) -> Bytes {
    let mut frame = BytesMut::new();
    encode(message, &mut frame);
    [&encode_frame_header(frame.len())[..], &frame]
        .concat()
        .into()
}

async fn receive(stream: &mut BoxStream) -> Message {
    let len = stream.read_u32().await.unwrap();
    let mut frame = vec![0; len as usize];
    stream.read_exact(&mut frame).await.unwrap();
    match codec::decode(&mut frame.into(), &CodecLimits::default()) {
        Ok(Decoded::Message(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn ask() -> Bytes {
    framed(&Message::Members(Members {
        ask: true,
        records: Vec::new(),
    }))
}

/// The memory of this process, as the system counts it.
#[cfg(target_os = "linux")]
fn memory_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split(' ').nth(1).unwrap();
    pages.parse::<usize>().unwrap() * 4096
}

/// Waits until a member is named for one of these.
async fn named(peer: &mut Peer, kinds: &[Misbehaviour]) -> NodeName {
    let event = peer.event(
        |event| matches!(event, Event::MemberMisbehaved { kind, .. } if kinds.contains(kind)),
    );
    match event.await {
        Event::MemberMisbehaved { peer, .. } => peer,
        other => panic!("{other:?}"),
    }
}

/// How long a write takes to be held by another node.
async fn write(from: &Peer, number: u64, text: impl Into<String>) -> Duration {
    let began = now();
    let written = from.notes.put(note(number, text), Expiry::Never).unwrap();
    written.replicated(1).await.unwrap();
    began.elapsed()
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test measures how long something takes"
)]
fn now() -> Instant {
    Instant::now()
}

async fn two(world: &World) -> (Peer, Peer) {
    let config = || Config::lan().probe_interval(Duration::from_secs(1));
    let a = world
        .start_with("a", &[], |builder| builder.config(config()))
        .await;
    let seeds = [a.addr()];
    let b = world
        .start_with("b", &seeds, |builder| builder.config(config()))
        .await;
    b.node.ready().await.unwrap();
    a.sees("b", MemberState::Alive).await;
    (a, b)
}

/// Ninety of them, as many as one host may have streams, ask five thousand times each. What waits for them is bounded for each and in all.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn members_that_ask_and_do_not_read_cost_little_and_are_named() {
    in_time(async {
        let world = World::Plain;
        // Nobody answers for them, and they are not to fail meanwhile.
        let config = Config::lan().probe_interval(Duration::from_secs(3600));
        let settle = |builder: Builder| builder.config(config);
        let mut a = world.start_with("a", &[], settle).await;
        let before = memory_bytes();
        let most = Arc::new(AtomicUsize::new(0));
        let watching = {
            let most = Arc::clone(&most);
            std::thread::spawn(move || {
                // The test holds the other one until it is over.
                while Arc::strong_count(&most) > 1 {
                    most.fetch_max(memory_bytes(), Ordering::Relaxed);
                    std::thread::yield_now();
                }
            })
        };
        let asks = ask().repeat(5_000);
        let mut members = Vec::new();
        for number in 1..=90 {
            let member = Member::new(&world, &format!("m{number}")).await;
            let asks = asks.clone();
            let mut stream = member.link(a.addr()).await;
            members.push(tokio::spawn(async move {
                let _ = stream.write_all(&asks).await;
                (member, stream)
            }));
        }
        // Which of the two depends on how much the sockets take.
        let kinds = [Misbehaviour::CostsTooMuch, Misbehaviour::ReadsNothing];
        let name = named(&mut a, &kinds).await;
        assert!(name.as_str().starts_with('m'));
        let kept: Vec<_> = futures(members).await;
        let grown = most.load(Ordering::Relaxed).saturating_sub(before) >> 20;
        println!("90 members that ask and do not read: {grown} MiB more");
        assert!(grown < 200, "{grown} MiB");
        drop((kept, most));
        watching.join().unwrap();
    })
    .await;
}

async fn futures<T>(tasks: Vec<tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

/// Four of them announce the largest frame and send a byte a second. Others' frames do not wait for theirs.
#[tokio::test]
async fn frames_that_are_spun_out_hold_nobody_up_and_their_senders_are_named() {
    in_time(async {
        let world = World::Plain;
        let (mut a, b) = two(&world).await;
        let mut slow = Vec::new();
        for number in 0..4 {
            let member = Member::new(&world, &format!("slow{number}")).await;
            let mut stream = member.link(a.addr()).await;
            slow.push(tokio::spawn(async move {
                let announced = encode_frame_header(FRAME_BYTES_MAX);
                stream.write_all(&announced).await.unwrap();
                while stream.write_all(b"x").await.is_ok() {
                    // Not a second: nobody answers for this member, and it counts as failed soon.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                member
            }));
        }
        let (large, small) = (write(&b, 1, "x".repeat(200_000)), write(&a, 2, "small"));
        let (large, small) = tokio::join!(large, small);
        println!("200 kB beside four frames that are spun out: {large:?}; small: {small:?}");
        assert!(large < Duration::from_secs(3), "{large:?}");
        assert!(small < Duration::from_secs(3), "{small:?}");
        let name = named(&mut a, &[Misbehaviour::SendsSlowly]).await;
        assert!(name.as_str().starts_with("slow"));
        slow.iter().for_each(tokio::task::JoinHandle::abort);
    })
    .await;
}

/// Frames that came nearly whole and stopped take all the room there is, until somebody needs it.
#[tokio::test]
async fn frames_that_stop_halfway_make_way_for_others() {
    in_time(async {
        let world = World::Plain;
        let (a, b) = two(&world).await;
        let mut held = Vec::new();
        for number in 0..6 {
            let member = Member::new(&world, &format!("half{number}")).await;
            let mut stream = member.link(a.addr()).await;
            stream
                .write_all(&encode_frame_header(FRAME_BYTES_MAX))
                .await
                .unwrap();
            stream
                .write_all(&vec![0; FRAME_BYTES_MAX * 9 / 10])
                .await
                .unwrap();
            held.push((member, stream));
        }
        let took = write(&b, 1, "x".repeat(900_000)).await;
        println!("900 kB beside six frames that stopped: {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(a.node.net_counters().frames_evicted > 0);
    })
    .await;
}

/// With the timers of a LAN: what is silent would be waited for for ten seconds.
async fn joins_beside(world: &World, a: &Peer, what: &str) {
    let began = now();
    let seeds = [a.addr()];
    let lan = |builder: Builder| builder.config(Config::lan());
    let b = world.start_with("b", &seeds, lan).await;
    b.node.ready().await.unwrap();
    let took = began.elapsed();
    println!("joined beside {what} in {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    a.sees("b", MemberState::Alive).await;
}

/// Connections that say nothing at all, and such that say nothing behind the preface.
async fn silent_strangers_keep_nobody_out(prefaced: bool, what: &str) {
    let world = World::Plain;
    let a = world
        .start_with("a", &[], |builder| builder.config(Config::lan()))
        .await;
    let stranger = world.bind().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        let mut stream = stranger.dial(a.addr()).await.unwrap();
        if prefaced {
            let _ = stream.write_all(&ours().preface()).await;
        }
        // So that it is accepted, and answered.
        tokio::task::yield_now().await;
        silent.push(stream);
    }
    joins_beside(&world, &a, what).await;
    assert!(a.node.net_counters().handshakes_evicted > 0);
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    in_time(silent_strangers_keep_nobody_out(
        false,
        "300 silent connections",
    ))
    .await;
}

#[tokio::test]
async fn silent_connections_behind_their_preface_keep_nobody_out() {
    let what = "300 connections that are silent behind their preface";
    in_time(silent_strangers_keep_nobody_out(true, what)).await;
}

#[cfg(feature = "tls-ring")]
#[tokio::test]
async fn silent_connections_keep_nobody_out_over_tls() {
    in_time(async {
        let world = World::tls();
        let a = world
            .start_with("a", &[], |builder| builder.config(Config::lan()))
            .await;
        // Not one of them begins its TLS handshake.
        let mut silent = Vec::new();
        for _ in 0..70 {
            silent.push(tokio::net::TcpStream::connect(a.addr()).await.unwrap());
        }
        joins_beside(&world, &a, "70 silent TLS connections").await;
        assert!(a.node.net_counters().handshakes_evicted > 0);
    })
    .await;
}

/// One that opens one stream after another, and closes none of its own accord.
#[tokio::test]
async fn a_member_that_opens_streams_on_and_on_does_not_use_them_up() {
    in_time(async {
        let world = World::Plain;
        let a = world.start("a", &[]).await;
        let greedy = Member::new(&world, "greedy").await;
        let mut held = Vec::new();
        for _ in 0..600 {
            let mut stream = greedy.transport.dial(a.addr()).await.unwrap();
            let _ = stream.write_all(&ours().preface()).await;
            let _ = stream.write_all(&framed(&greedy.hello())).await;
            held.push(stream);
        }
        let b = world.start("b", &[a.addr()]).await;
        b.node.ready().await.unwrap();
        let took = write(&b, 1, "fine").await;
        assert!(took < Duration::from_secs(5), "{took:?}");
    })
    .await;
}

/// A flood of events of one kind leaves the others their place.
#[tokio::test]
async fn exchanges_that_break_do_not_push_out_other_events() {
    in_time(async {
        let world = World::Plain;
        let mut a = world.start("a", &[]).await;
        let hostile = Member::new(&world, "hostile").await;
        let mut hello = hostile.hello();
        if let Message::Hello(hello) = &mut hello {
            hello.purpose = Purpose::PushPull;
        }
        let said = [&ours().preface()[..], &framed(&hello)].concat();
        for _ in 0..1200 {
            let mut stream = hostile.transport.dial(a.addr()).await.unwrap();
            let _ = stream.write_all(&said).await;
            let mut preface = [0; PREFACE_BYTES];
            let _ = stream.read_exact(&mut preface).await;
        }
        let b = world.start("b", &[a.addr()]).await;
        b.node.ready().await.unwrap();
        a.sees("b", MemberState::Alive).await;
        let (mut failed, mut lost) = (0, 0);
        loop {
            match a.events.recv().await {
                Ok(NodeEvent::Cluster(Event::PushPullFailed { .. })) => failed += 1,
                Ok(NodeEvent::Cluster(Event::MemberUp(member))) => {
                    if member.process.name.as_str() == "b" {
                        break;
                    }
                }
                Ok(_) => {}
                Err(error) => lost += u64::from(error.to_string().contains("lost")),
            }
        }
        assert_eq!(lost, 0);
        assert!(failed < 600, "{failed}");
    })
    .await;
}

/// Three kinds of datagrams, as fast as one thread sends them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_datagrams_does_not_stop_anything() {
    in_time(async {
        let world = World::Plain;
        let (a, b) = two(&world).await;
        let foreign = Envelope::of(&ClusterId::new("other").unwrap());
        let delta = Message::Delta(Delta {
            token: 99,
            packet: 1,
            uncovered: Vec::new(),
            sections: Vec::new(),
        });
        let packets = [
            vec![0xff; 1400],
            foreign
                .seal(|out| out.extend_from_slice(&[0; 1300]))
                .to_vec(),
            ours().seal(|out| encode(&delta, out)).to_vec(),
        ];
        let (to, stop) = (a.addr(), Arc::new(AtomicBool::new(false)));
        let flood = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                let began = now();
                let mut sent = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    // Fifty thousand a second.
                    if sent > (began.elapsed().as_secs_f64() * 50_000.0) as u64 {
                        std::thread::yield_now();
                        continue;
                    }
                    let _ = socket.send_to(&packets[sent as usize % 3], to);
                    sent += 1;
                }
                sent as f64 / began.elapsed().as_secs_f64()
            })
        };
        let mut took = Vec::new();
        for number in 0..100 {
            let (from, other) = if number % 2 == 0 { (&a, &b) } else { (&b, &a) };
            took.push(write(from, number, "in a flood").await);
            other.reads(&note(number, "in a flood")).await;
        }
        stop.store(true, Ordering::Relaxed);
        let rate = flood.join().unwrap();
        took.sort();
        let counted = a.node.counters();
        println!(
            "{rate:.0} datagrams a second: median {:?}, 95 % {:?}, worst {:?}; received {}",
            took[50], took[95], took[99], counted.datagrams_received
        );
        assert!(took[95] < Duration::from_secs(2), "{took:?}");
        assert!(counted.foreign_version > 0 && counted.foreign_cluster > 0);
        assert!(counted.unknown_token > 0);
        let states = [&a, &b].map(|peer| peer.node.view().members[0].state);
        assert_eq!(states, [MemberState::Alive; 2]);
    })
    .await;
}
