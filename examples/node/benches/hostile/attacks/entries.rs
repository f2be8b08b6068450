//! Attacks by what a member writes into a store, on its links and in exchanges.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumormill::SchemaId;
use rumormill::id::WriterTag;
use rumormill::unstable::wire::codec::DELTA_ENTRIES_MAX;
use rumormill::unstable::wire::{Entry, HEADER_BYTES, Message, Purpose, StoreSummary, Summary};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::cluster::NAMES;
use crate::figures::{Figure, show};
use crate::member::{Link, Member, Reads, delta};
use crate::payloads::{
    Ends, SILENCE, entry, equals, now, pattern, silence, silence_at, silences, writer,
};
use crate::speech::frame;
use crate::target::{NodeAddrs, Outcome, Target};

/// The parts of what is sent, each a packet of entries; `None` after the last.
type Parts = Arc<dyn Fn(u64) -> Option<Vec<Entry>> + Send + Sync>;

/// 20 silences of 256 patterns that are short and dear.
pub(crate) async fn patterns(target: &Target) -> Outcome {
    let silence = |number: u64| {
        let pattern_of = |n| pattern(format!("l{n}"), format!(r"\pL{{15}}{number}x{n}"));
        let matchers: Vec<_> = (0..256).map(pattern_of).collect();
        silence(number, &matchers, "patterns")
    };
    let all: Vec<Entry> = (0..20).map(silence).collect();
    feed(
        target,
        Arc::new(move |part| (part == 0).then(|| all.clone())),
    )
    .await
}

/// One silence with a pattern of 990 kB.
pub(crate) async fn pattern_of_a_megabyte(target: &Target) -> Outcome {
    let matchers = [pattern("a".to_owned(), r"\pL".repeat(330_000))];
    let one = silence(0, &matchers, "a pattern");
    feed(
        target,
        Arc::new(move |part| (part == 0).then(|| vec![one.clone()])),
    )
    .await
}

/// A million entries that never expire and that nobody can read: half of them of a shape that nobody
/// knows, half of the right shape with bytes that mean nothing.
pub(crate) async fn unreadable(target: &Target) -> Outcome {
    let ts = now();
    let one = move |number: u64| {
        let is_known = number.is_multiple_of(2);
        let schema = if is_known { SILENCE } else { SchemaId::new(77) };
        entry(
            number,
            ts,
            Ends::Never,
            schema,
            Bytes::from_static(&[0xee; 16]),
        )
    };
    let parts = move |part: u64| {
        let range = part * PART_ENTRIES..((part + 1) * PART_ENTRIES).min(1_000_000);
        (!range.is_empty()).then(|| range.map(one).collect())
    };
    feed(target, Arc::new(parts)).await
}

/// 1,500 silences of 1 MiB.
pub(crate) async fn bodies(target: &Target) -> Outcome {
    let comment = "c".repeat((1 << 20) - 100);
    let parts = move |part: u64| {
        let one = || vec![silence(part, &[equals(part)], &comment)];
        (part < 1500).then(one)
    };
    feed(target, Arc::new(parts)).await
}

/// Entries stamped a year ahead, under ever new keys.
pub(crate) async fn far_future(target: &Target) -> Outcome {
    let ts = now().plus(Duration::from_secs(366 * 24 * 3600));
    let one = move |number| silence_at(number, ts, &[equals(number)], "ahead");
    feed(target, without_end(one)).await
}

/// Silences like any other, under ever new keys.
pub(crate) async fn over_share(target: &Target) -> Outcome {
    feed(target, without_end(one_more(now()))).await
}

/// The same, written as the first node, whose share they take if they take any.
pub(crate) async fn framed(target: &Target) -> Outcome {
    let (one_more, victim) = (one_more(now()), writer(NAMES[0]));
    let one = move |number: u64| Entry {
        writer: victim,
        ..one_more(number)
    };
    feed(target, without_end(one)).await
}

/// The same, each written as somebody else.
pub(crate) async fn many_writers(target: &Target) -> Outcome {
    let one_more = one_more(now());
    let one = move |number: u64| Entry {
        writer: WriterTag(number << 20 | 0xbad),
        ..one_more(number)
    };
    feed(target, without_end(one)).await
}

/// Frames of 16 MiB full of entries: the same keys, newer each time.
pub(crate) async fn big_frames(target: &Target) -> Outcome {
    let each = (16 << 20) / DELTA_ENTRIES_MAX;
    // About what else is in the body of a silence.
    let comment = "c".repeat(each - HEADER_BYTES - 100);
    let parts = move |_| {
        let ts = now();
        let one = |number| silence_at(number, ts, &[equals(number)], &comment);
        Some((0..PART_ENTRIES).map(one).collect())
    };
    feed(target, Arc::new(parts)).await
}

/// Good silences without end, in exchanges that the hostile member begins.
pub(crate) async fn by_exchange(target: &Target) -> Outcome {
    let (member, _links) = Member::join(target, "mallory").await?;
    let member = Arc::new(member);
    let mut tasks = JoinSet::new();
    for (at, node) in target.nodes.iter().enumerate() {
        let (member, target, node) = (Arc::clone(&member), target.clone(), node.clone());
        tasks.spawn(async move {
            let mut offered = 0;
            while !target.is_over() {
                // Keys that no other exchange has.
                let from = (at as u64) << 40 | offered;
                let left = target.until.saturating_duration_since(Instant::now());
                let pushed = timeout(left, push(&member, &node, from, &target));
                offered += pushed.await.map_or(0, Result::unwrap_or_default);
                sleep(Duration::from_millis(10)).await;
            }
            offered
        });
    }
    let offered: u64 = tasks.join_all().await.into_iter().sum();
    let what = "entries offered in exchanges, to all nodes";
    Ok(vec![Figure::told(what, offered.to_string())])
}

/// One exchange that sends until it is ended; how many entries went into it.
async fn push(
    member: &Member,
    node: &NodeAddrs,
    from: u64,
    target: &Target,
) -> Result<u64, Failure> {
    let (mut reader, mut write, _) = member.open(node.cluster, Purpose::PushPull).await?;
    let summary = Summary {
        cut: now(),
        stores: vec![StoreSummary {
            store: silences(),
            count: 1 << 40,
            root: 1,
            exponent: 8,
            counters: [7; 64],
        }],
    };
    write.write_all(&frame(&Message::Summary(summary))).await?;
    write.flush().await?;
    let reading = tokio::spawn(async move { while reader.next().await.is_ok() {} });
    let one = one_more(now());
    let mut number = from;
    let mut packet = 0;
    while !target.is_over() && !reading.is_finished() {
        packet += 1;
        let entries = (number..number + 1000).map(&one).collect();
        let delta = frame(&delta(0, packet, silences(), entries));
        if write.write_all(&delta).await.is_err() || write.flush().await.is_err() {
            break;
        }
        number += 1000;
    }
    reading.abort();
    Ok(number - from)
}

/// A silence like any other.
fn one_more(ts: rumormill::time::Timestamp) -> impl Fn(u64) -> Entry + Send + Sync + 'static {
    move |number| silence_at(number, ts, &[equals(number)], "one more")
}

/// Entry after entry, each with a key of its own.
fn without_end(one: impl Fn(u64) -> Entry + Send + Sync + 'static) -> Parts {
    Arc::new(move |part| {
        let from = part * PART_ENTRIES;
        Some((from..from + PART_ENTRIES).map(&one).collect())
    })
}

/// What became of the parts at one node.
#[derive(Default)]
struct Fed {
    parts: u64,
    entries: u64,
    refused: u64,
    cut: u64,
    /// When all were acknowledged, if they were.
    acked: Option<Duration>,
}

/// Sends the parts to all nodes, to each as fast as it takes them, until the end of the attack.
async fn feed(target: &Target, parts: Parts) -> Outcome {
    let (member, links) = Member::join(target, "mallory").await?;
    let member = Arc::new(member);
    let mut tasks = JoinSet::new();
    for (link, node) in links.into_iter().zip(target.nodes.clone()) {
        let (member, target) = (Arc::clone(&member), target.clone());
        let parts = Arc::clone(&parts);
        tasks.spawn(async move { feed_one(&target, &member, &node, link, &*parts).await });
    }
    let fed = tasks.join_all().await;
    target.rest().await;
    let told = |of: fn(&Fed) -> u64| {
        let each = fed.iter().map(|fed| of(fed).to_string());
        each.collect::<Vec<_>>().join(", ")
    };
    let acked: Option<Vec<Duration>> = fed.iter().map(|fed| fed.acked).collect();
    let acked = acked.and_then(|all| all.into_iter().max());
    let acked = acked.map_or_else(|| "not by all".to_owned(), show);
    Ok(vec![
        Figure::told("entries sent to each node", told(|fed| fed.entries)),
        Figure::told("entries refused by each node", told(|fed| fed.refused)),
        Figure::told("links cut by each node", told(|fed| fed.cut)),
        Figure::told("all of it acknowledged by all nodes", acked),
    ])
}

async fn feed_one(
    target: &Target,
    member: &Member,
    node: &NodeAddrs,
    mut link: Link,
    parts: &(dyn Fn(u64) -> Option<Vec<Entry>> + Send + Sync),
) -> Fed {
    let mut fed = Fed::default();
    let started = Instant::now();
    let mut acked = 0;
    while !target.is_over() {
        let Some(entries) = parts(fed.parts) else {
            let left = target.until.saturating_duration_since(Instant::now());
            let all = fed.parts.saturating_sub(acked);
            fed.acked = link.acked(all, left).await.then(|| started.elapsed());
            break;
        };
        let count = entries.len() as u64;
        let left = target.until.saturating_duration_since(Instant::now());
        match timeout(left, link.deliver(silences(), entries)).await {
            Ok(Ok(_)) => {
                fed.parts += 1;
                fed.entries += count;
            }
            Ok(Err(_)) => {
                fed.cut += 1;
                fed.refused += link.tally.refused.load(Ordering::Relaxed);
                acked += link.tally.packets_acked.load(Ordering::Relaxed);
                sleep(Duration::from_millis(100)).await;
                if let Ok(again) = member.link(node.cluster, Reads::All).await {
                    link = again;
                }
            }
            Err(_) => break,
        }
    }
    fed.refused += link.tally.refused.load(Ordering::Relaxed);
    fed
}

/// As many as a packet may hold.
const PART_ENTRIES: u64 = DELTA_ENTRIES_MAX as u64;
