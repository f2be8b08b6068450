//! What is parsed inside a connection, out of bytes and without a connection: for checks from outside.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;

use super::channel::{Channel, FrameKind, lend};
use super::clock;
use super::hello::{HELLO_BYTES, TlsHello};
use super::record::{self, Age, Ages};

/// A hello, written again; `None` if it is not one.
#[must_use]
pub fn hello(bytes: [u8; HELLO_BYTES]) -> Option<[u8; HELLO_BYTES]> {
    TlsHello::decode(bytes).map(TlsHello::encode)
}

/// All packets of a connection that ends after `bytes`, with their stamps.
#[must_use]
pub fn records(mut bytes: &[u8]) -> Vec<(u32, Bytes)> {
    let read = async {
        let mut found = Vec::new();
        while let Ok(record) = record::read(&mut bytes).await {
            found.push(record);
        }
        found
    };
    at_once(read)
}

/// How many of these packets are not late, each of which comes with its stamp, some milliseconds after the
/// one before it, and can have come so many milliseconds earlier. Ends where the connection would.
#[must_use]
pub fn punctual(age_max: Duration, packets: &[(u32, u32, u32)]) -> usize {
    let mut now = clock::now();
    let mut ages = Ages::new(now, age_max);
    let mut young = 0;
    for &(stamp, after, early) in packets {
        now += Duration::from_millis(after.into());
        let earliest = now.checked_sub(Duration::from_millis(early.into()));
        match ages.judge(stamp, earliest.unwrap_or(now), now) {
            Age::Hopeless => break,
            Age::Late => {}
            Age::Young => young += 1,
        }
    }
    young
}

/// What the first stream over a connection brings that ends after `bytes`, and whether the stream ends as
/// it should.
#[must_use]
pub fn channel(bytes: &[u8]) -> (Vec<u8>, bool) {
    let io = tokio::io::join(bytes, tokio::io::sink());
    at_once(async {
        let mut channel = Channel::new(io);
        let mut data = Vec::new();
        if channel.expect(FrameKind::Open).await.is_err() {
            return (data, false);
        }
        let (mut stream, _loan) = lend(channel, None);
        let ended = stream.read_to_end(&mut data).await.is_ok();
        (data, ended)
    })
}

/// Bytes that are there are read without waiting.
#[expect(clippy::unreachable, reason = "what is read is in memory")]
fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("bytes in memory never keep a reader waiting"),
    }
}
