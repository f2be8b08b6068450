//! Proxies between the nodes, which keep what passes: what an eavesdropper has. And what it does with
//! that: it sends it again, as it was and damaged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumormill::id::{ClusterId, ProcessId};
use rumormill::unstable::id::NodeId;
use rumormill::unstable::wire::codec;
use rumormill::unstable::wire::envelope::Envelope;
use rumormill::unstable::wire::{Ack, HeldVersion, Leave, Message, Relayed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;

use crate::figures::Figure;
use crate::payloads::{key, now, silences};
use crate::speech::{datagram, envelope, opened};
use crate::swim::{Kind, Packet, Update};
use crate::target::{Outcome, Target};
use crate::{Failure, Level};

/// What passed between the nodes, and where it can be sent from.
pub(crate) struct Captured {
    /// One UDP socket and one listener a node, in the order of the nodes.
    doors: Vec<Door>,
    real: Mutex<Vec<SocketAddr>>,
    /// From which node, to which node, what.
    datagrams: Mutex<Vec<(usize, usize, Bytes)>>,
    /// The bytes of the side that dialled, by connection: to which node, what.
    streams: Mutex<Vec<(usize, Vec<u8>)>>,
    keeps: AtomicBool,
}

struct Door {
    udp: UdpSocket,
    tcp: TcpListener,
    addr: SocketAddr,
}

impl Captured {
    /// Opens a door for each node. They forward in the background for as long as the runtime lives.
    pub(crate) fn open(runtime: &Runtime, count: usize) -> Result<Arc<Self>, Failure> {
        let doors = runtime.block_on(async {
            let mut doors = Vec::new();
            for _ in 0..count {
                let tcp = TcpListener::bind("127.0.0.1:0").await?;
                let addr = tcp.local_addr()?;
                let udp = UdpSocket::bind(addr).await?;
                doors.push(Door { udp, tcp, addr });
            }
            Ok::<_, std::io::Error>(doors)
        })?;
        let captured = Arc::new(Self {
            doors,
            real: Mutex::default(),
            datagrams: Mutex::default(),
            streams: Mutex::default(),
            keeps: AtomicBool::new(true),
        });
        for index in 0..count {
            runtime.spawn(forward_datagrams(Arc::clone(&captured), index));
            runtime.spawn(forward_streams(Arc::clone(&captured), index));
        }
        Ok(captured)
    }

    /// The addresses that nodes are to be reached at.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        self.doors.iter().map(|door| door.addr).collect()
    }

    /// Where the next node really is.
    pub(crate) fn learn(&self, addr: SocketAddr) {
        lock(&self.real).push(addr);
    }

    fn real(&self, index: usize) -> Option<SocketAddr> {
        lock(&self.real).get(index).copied()
    }

    fn node_at(&self, addr: SocketAddr) -> Option<usize> {
        lock(&self.real).iter().position(|real| *real == addr)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn forward_datagrams(captured: Arc<Captured>, to: usize) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Ok((len, from)) = captured.doors[to].udp.recv_from(&mut buffer).await else {
            continue;
        };
        let (Some(from), Some(real)) = (captured.node_at(from), captured.real(to)) else {
            continue;
        };
        let _ = captured.doors[from].udp.try_send_to(&buffer[..len], real);
        let mut kept = lock(&captured.datagrams);
        if captured.keeps.load(Ordering::Relaxed) && kept.len() < KEPT_MAX {
            kept.push((from, to, Bytes::copy_from_slice(&buffer[..len])));
        }
    }
}

async fn forward_streams(captured: Arc<Captured>, to: usize) {
    loop {
        let Ok((dialler, _)) = captured.doors[to].tcp.accept().await else {
            continue;
        };
        tokio::spawn(forward_stream(Arc::clone(&captured), to, dialler));
    }
}

async fn forward_stream(captured: Arc<Captured>, to: usize, dialler: TcpStream) {
    let Some(real) = captured.real(to) else {
        return;
    };
    let Ok(node) = TcpStream::connect(real).await else {
        return;
    };
    let place = {
        let mut streams = lock(&captured.streams);
        streams.push((to, Vec::new()));
        streams.len() - 1
    };
    let (mut from_dialler, mut to_dialler) = dialler.into_split();
    let (mut from_node, mut to_node) = node.into_split();
    let there = async {
        let mut buffer = vec![0; 1 << 14];
        while let Ok(len) = from_dialler.read(&mut buffer).await {
            if len == 0 || to_node.write_all(&buffer[..len]).await.is_err() {
                break;
            }
            if captured.keeps.load(Ordering::Relaxed)
                && let Some((_, kept)) = lock(&captured.streams).get_mut(place)
                && kept.len() < STREAM_KEPT_MAX
            {
                kept.extend_from_slice(&buffer[..len]);
            }
        }
        let _ = to_node.shutdown().await;
    };
    let back = async {
        let _ = tokio::io::copy(&mut from_node, &mut to_dialler).await;
        let _ = to_dialler.shutdown().await;
    };
    tokio::join!(there, back);
}

/// Sends all that was captured again: from where it came, and from elsewhere. Over TLS, the bytes of
/// whole connections.
pub(crate) async fn again(target: &Target) -> Outcome {
    let captured = captured(target).await?;
    match target.level {
        Level::Off => {
            let datagrams = lock(&captured.datagrams).clone();
            resend(target, &captured, &datagrams, |_, bytes| bytes.clone()).await
        }
        Level::Tls => streams_again(target, &captured).await,
    }
}

/// Sends what was captured damaged, and what is forged whole.
pub(crate) async fn tampered(target: &Target) -> Outcome {
    let captured = captured(target).await?;
    if target.level == Level::Tls {
        return streams_again(target, &captured).await;
    }
    let datagrams = lock(&captured.datagrams).clone();
    resend(target, &captured, &datagrams, damage).await
}

/// Lets honest traffic pass for a while, then keeps no more.
async fn captured(target: &Target) -> Result<Arc<Captured>, Failure> {
    let captured = target.captured.clone().ok_or("there are no proxies")?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    captured.keeps.store(false, Ordering::Relaxed);
    Ok(captured)
}

/// Sends each datagram, changed, from where it came and from a stranger's address; and from there what
/// is forged.
async fn resend(
    target: &Target,
    captured: &Captured,
    datagrams: &[(usize, usize, Bytes)],
    change: impl Fn(usize, &Bytes) -> Bytes,
) -> Outcome {
    let elsewhere = UdpSocket::bind("127.0.0.1:0").await?;
    let forged = forged(datagrams, elsewhere.local_addr()?);
    let mut lies = forged.iter().cycle();
    let mut sent = 0_usize;
    while !target.is_over() && !datagrams.is_empty() {
        for (from, to, bytes) in datagrams {
            let Some(real) = captured.real(*to) else {
                continue;
            };
            let bytes = change(sent, bytes);
            let _ = captured.doors[*from].udp.try_send_to(&bytes, real);
            let _ = elsewhere.try_send_to(&bytes, real);
            if let Some(lie) = lies.next() {
                let _ = elsewhere.try_send_to(lie, real);
            }
            sent += 3;
            if sent.is_multiple_of(15) {
                // About 5,000 a second, where the system sleeps as shortly as it is told to.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            if target.is_over() {
                break;
            }
        }
    }
    Ok(vec![
        Figure::told("datagrams captured", datagrams.len().to_string()),
        Figure::told("datagrams sent", sent.to_string()),
    ])
}

async fn streams_again(target: &Target, captured: &Captured) -> Outcome {
    let streams = lock(&captured.streams).clone();
    let mut sent = 0_u64;
    while !target.is_over() && !streams.is_empty() {
        for (number, (to, bytes)) in streams.iter().enumerate() {
            let Some(real) = captured.real(*to) else {
                continue;
            };
            if let Ok(mut stream) = TcpStream::connect(real).await {
                let mut bytes = bytes.clone();
                if number % 2 == 1
                    && let Some(byte) = bytes.get_mut(sent as usize % 600)
                {
                    *byte ^= 1;
                }
                let _ = stream.write_all(&bytes).await;
                let mut answer = [0; 4096];
                let read = stream.read(&mut answer);
                let _ = tokio::time::timeout(Duration::from_millis(20), read).await;
                sent += 1;
            }
            if target.is_over() {
                break;
            }
        }
    }
    Ok(vec![
        Figure::told("connections captured", streams.len().to_string()),
        Figure::told("connections sent again", sent.to_string()),
    ])
}

/// One of many kinds of damage.
fn damage(number: usize, bytes: &Bytes) -> Bytes {
    let mut out = bytes.to_vec();
    let at = number.wrapping_mul(7919) % out.len().max(1);
    match number / 2 % 5 {
        0 => out.truncate(at),
        1 => {
            if let Some(byte) = out.get_mut(at) {
                *byte ^= 1 << (number % 8);
            }
        }
        // Another cluster's, whole.
        2 => return resealed(bytes, "other"),
        // With the token of somebody who does not know it.
        3 => return without_token(bytes),
        _ => {}
    }
    out.into()
}

/// The same messages, with tokens that nobody gave out, and packet numbers never used.
fn without_token(bytes: &Bytes) -> Bytes {
    let mut messages = opened(bytes);
    for message in &mut messages {
        match message {
            Message::Ack(ack) => ack.token ^= 1 << 40,
            Message::Delta(delta) => {
                delta.token ^= 1 << 40;
                delta.packet += 1 << 40;
            }
            Message::Relayed(relayed) => relayed.token ^= 1 << 40,
            _ => {}
        }
    }
    envelope().seal(|out| {
        messages
            .iter()
            .for_each(|message| codec::encode(message, out))
    })
}

fn resealed(bytes: &Bytes, cluster: &str) -> Bytes {
    let Ok(cluster) = ClusterId::new(cluster) else {
        return Bytes::new();
    };
    let messages = envelope().messages(bytes).to_vec();
    Envelope::of(&cluster).seal(|out| out.extend_from_slice(&messages))
}

/// What a stranger can say of others once it has seen who they are: that they left, are down, are
/// suspected; that somebody holds what it does not; that packets have arrived.
fn forged(datagrams: &[(usize, usize, Bytes)], own: SocketAddr) -> Vec<Bytes> {
    let mut ids = BTreeMap::<String, (NodeId, u16)>::new();
    for (_, _, bytes) in datagrams {
        for message in opened(bytes) {
            if let Message::Swim(packet) = message
                && let Some(packet) = Packet::read(packet)
            {
                let name = packet.from.process.name.to_string();
                ids.insert(name, (packet.from, packet.incarnation));
            }
        }
    }
    let ids: Vec<_> = ids.into_values().collect();
    let mut forged = Vec::new();
    for (victim, incarnation) in &ids {
        forged.extend(about(&victim.process));
        for (teller, _) in &ids {
            // As the teller, from an address that is not its own; and with the address that it is sent from.
            let moved = NodeId {
                addr: own,
                ..teller.clone()
            };
            for from in [teller.clone(), moved] {
                for (to, _) in ids.iter().filter(|(to, _)| to != teller) {
                    forged.extend((0..3).map(|state| {
                        let update = Update {
                            id: victim.clone(),
                            incarnation: incarnation.saturating_add(u16::from(state == 0)),
                            state,
                        };
                        let lie = Packet {
                            from: from.clone(),
                            incarnation: *incarnation,
                            to: to.clone(),
                            kind: Kind::Gossip,
                            updates: vec![update],
                        };
                        datagram(&Message::Swim(lie.write()))
                    }));
                }
            }
        }
    }
    forged.push(datagram(&Message::Ack(Ack {
        token: 0xbad,
        ranges: vec![(1, u64::MAX)],
        refused: Vec::new(),
    })));
    forged
}

/// That a process leaves, and that it holds something.
fn about(process: &ProcessId) -> [Bytes; 2] {
    let leave = Leave {
        process: process.clone(),
    };
    let relayed = Relayed {
        token: 0xbad,
        holder: process.clone(),
        held: vec![HeldVersion {
            store: silences(),
            key: key(1),
            ts: now(),
            tag: 1,
        }],
    };
    [
        datagram(&Message::Leave(leave)),
        datagram(&Message::Relayed(relayed)),
    ]
}

/// Datagrams that are kept.
const KEPT_MAX: usize = 20_000;
/// Bytes that are kept of one connection.
const STREAM_KEPT_MAX: usize = 256 << 10;
