//! Floods of datagrams from a thread on one processor.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumormill::unstable::wire::{Delta, Message, Section};

use crate::Level;
use crate::figures::Figure;
use crate::payloads::{equals, silence, silences};
use crate::speech::datagram;
use crate::target::{Outcome, Target};

/// Datagrams a second.
const RATE: u64 = 50_000;

/// Bytes that mean nothing, of every length.
pub(crate) async fn garbage(target: &Target) -> Outcome {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    let packets = (0..512).map(|n| (0..1 + n * 1400 / 512).map(|_| byte()).collect());
    flood(target, packets.collect()).await
}

/// Entries in a valid envelope, with a token that nobody gave out.
pub(crate) async fn wrong_token(target: &Target) -> Outcome {
    let packet = |number: u64| {
        datagram(&Message::Delta(Delta {
            token: 0xbad0_0000 + number,
            packet: number,
            uncovered: Vec::new(),
            sections: vec![Section {
                store: silences(),
                entries: vec![silence(number, &[equals(number)], "not a member's")],
            }],
        }))
    };
    flood(target, (1..512).map(packet).collect()).await
}

/// Sends the packets over and over to the second node.
async fn flood(target: &Target, packets: Vec<Bytes>) -> Outcome {
    let to = target.nodes[1].cluster;
    let over = target.clone();
    let sent = spawn(move || {
        pin();
        match over.level {
            Level::Off => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                paced(&over, &packets, |packet| socket.send_to(packet, to).is_ok())
            }
            Level::Tls => over_tls(&over, &packets, to),
        }
    });
    target.rest().await;
    let sent = sent.join().map_err(|_| "the flood panicked")??;
    let value = format!(
        "{} /s for {:.1} s",
        sent.per_second(),
        sent.took.as_secs_f64()
    );
    Ok(vec![Figure::told(
        "datagrams sent to the second node",
        value,
    )])
}

#[cfg(feature = "tls")]
fn over_tls(target: &Target, packets: &[Bytes], to: SocketAddr) -> std::io::Result<Sent> {
    let mut lane = crate::lane::Lane::dial(&target.dir, to)?;
    paced(target, packets, |packet| {
        if lane.send(packet).is_ok() {
            return true;
        }
        // It was ended for what it brings: the next one.
        sleep(Duration::from_millis(10));
        if let Ok(again) = crate::lane::Lane::dial(&target.dir, to) {
            lane = again;
        }
        false
    })
}

#[cfg(not(feature = "tls"))]
fn over_tls(_: &Target, _: &[Bytes], _: SocketAddr) -> std::io::Result<Sent> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// How many were sent, and in what time.
pub(crate) struct Sent {
    count: u64,
    took: Duration,
}

impl Sent {
    pub(crate) fn per_second(&self) -> u64 {
        (self.count as f64 / self.took.as_secs_f64()) as u64
    }
}

/// Sends at the rate until the end. What could not be sent in time is not made up for.
fn paced(
    target: &Target,
    packets: &[Bytes],
    mut send: impl FnMut(&[u8]) -> bool,
) -> std::io::Result<Sent> {
    let started = Instant::now();
    let mut count = 0;
    let mut turn = Instant::now();
    for batch in packets.chunks(BATCH).cycle() {
        if target.is_over() {
            break;
        }
        for packet in batch {
            count += u64::from(send(packet));
        }
        turn = (turn + per_batch(batch.len())).max(Instant::now() - LAG_MAX);
        sleep(turn.saturating_duration_since(Instant::now()));
    }
    Ok(Sent {
        count,
        took: started.elapsed(),
    })
}

fn per_batch(packets: usize) -> Duration {
    Duration::from_nanos(1_000_000_000 * packets as u64 / RATE)
}

/// Keeps this thread on the last processor; where `taskset` is missing, on any.
fn pin() {
    let Ok(thread) = std::fs::read_link("/proc/thread-self") else {
        return;
    };
    let id = thread.file_name().unwrap_or_default().to_owned();
    let last = std::thread::available_parallelism().map_or(0, |count| count.get() - 1);
    let mut command = Command::new("taskset");
    command
        .args(["--pid", "--cpu-list", &last.to_string()])
        .arg(id);
    let _ = command.stdout(std::process::Stdio::null()).status();
}

/// Packets between two sleeps: a millisecond's.
const BATCH: usize = 50;
/// How much of what could not be sent is made up for.
const LAG_MAX: Duration = Duration::from_millis(20);
