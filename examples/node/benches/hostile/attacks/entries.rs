//! Attacks by what a member writes into a store.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rumormill::SchemaId;
use rumormill::id::WriterTag;
use rumormill::unstable::wire::Entry;

use crate::cluster::NAMES;
use crate::figures::{Figure, show};
use crate::member::{Link, Member, Reads};
use crate::payloads::{
    Ends, SILENCE, entry, equals, now, pattern, silence, silence_at, silences, writer,
};
use crate::target::{Outcome, Target};

/// 20 silences of 256 patterns that are short and dear.
pub(crate) async fn patterns(target: &Target) -> Outcome {
    let silence = |number: u64| {
        let matchers =
            (0..256).map(|n| pattern(format!("l{n}"), format!(r"\pL{{15}}{number}x{n}")));
        silence(number, &matchers.collect::<Vec<_>>(), "patterns")
    };
    once(target, |part| {
        (part == 0).then(|| (0..20).map(silence).collect())
    })
    .await
}

/// One silence with a pattern of 990 kB.
pub(crate) async fn pattern_of_a_megabyte(target: &Target) -> Outcome {
    let matchers = [pattern("a".to_owned(), r"\pL".repeat(330_000))];
    let one = silence(0, &matchers, "a pattern");
    once(target, |part| (part == 0).then(|| vec![one.clone()])).await
}

/// A million entries that never expire and that nobody can read: half of them of a shape that nobody
/// knows, half of the right shape with bytes that mean nothing.
pub(crate) async fn unreadable(target: &Target) -> Outcome {
    let ts = now();
    let unknown = SchemaId::new(77);
    let one = |number: u64| {
        let schema = if number.is_multiple_of(2) {
            SILENCE
        } else {
            unknown
        };
        let body = Bytes::copy_from_slice(&[0xee; 16]);
        entry(number, ts, Ends::Never, schema, body)
    };
    once(target, |part| {
        let from = part * PART_ENTRIES;
        (from < 1_000_000).then(|| {
            (from..(from + PART_ENTRIES).min(1_000_000))
                .map(one)
                .collect()
        })
    })
    .await
}

/// 1,500 silences of 1 MiB.
pub(crate) async fn bodies(target: &Target) -> Outcome {
    let comment = "c".repeat((1 << 20) - 100);
    once(target, |part| {
        let one = || vec![silence(part, &[equals(part)], &comment)];
        (part < 1500).then(one)
    })
    .await
}

/// Entries stamped a year ahead, under ever new keys.
pub(crate) async fn far_future(target: &Target) -> Outcome {
    let ts = now().plus(Duration::from_secs(366 * 24 * 3600));
    without_end(target, |number| {
        silence_at(number, ts, &[equals(number)], "ahead")
    })
    .await
}

/// Silences like any other, under ever new keys.
pub(crate) async fn over_share(target: &Target) -> Outcome {
    let ts = now();
    without_end(target, |number| {
        silence_at(number, ts, &[equals(number)], "one more")
    })
    .await
}

/// The same, written as the first node, whose share they take if they take any.
pub(crate) async fn framed(target: &Target) -> Outcome {
    let (ts, victim) = (now(), writer(NAMES[0]));
    without_end(target, |number| {
        let mut one = silence_at(number, ts, &[equals(number)], "one more");
        one.writer = victim;
        one
    })
    .await
}

/// The same, each written as somebody else.
pub(crate) async fn many_writers(target: &Target) -> Outcome {
    let ts = now();
    without_end(target, |number| {
        let mut one = silence_at(number, ts, &[equals(number)], "one more");
        one.writer = WriterTag(number << 20 | 0xbad);
        one
    })
    .await
}

/// Frames of 16 MiB full of small entries: the same keys, newer each time.
pub(crate) async fn big_frames(target: &Target) -> Outcome {
    let comment = "c".repeat(110);
    let (member, mut links) = Member::join(target, "mallory").await?;
    let mut sent = 0_u64;
    while !target.is_over() {
        let ts = now();
        let entries = |number| silence_at(number, ts, &[equals(number)], &comment);
        let entries: Vec<Entry> = (0..FRAME_ENTRIES).map(entries).collect();
        for (at, link) in links.iter_mut().enumerate() {
            if target.is_over() {
                break;
            }
            match link.deliver(silences(), entries.clone()).await {
                Ok(_) => sent += 1,
                Err(_) => relink(target, &member, link, at).await,
            }
        }
    }
    Ok(vec![Figure::told(
        "frames of 16 MiB sent, to all nodes",
        sent.to_string(),
    )])
}

/// Sends each node the same parts, and waits until all are acknowledged or the attack ends.
async fn once(target: &Target, part: impl Fn(u64) -> Option<Vec<Entry>>) -> Outcome {
    let (_member, mut links) = Member::join(target, "mallory").await?;
    let started = Instant::now();
    let mut cut = 0;
    let mut parts = 0;
    while let Some(entries) = part(parts) {
        if target.is_over() {
            break;
        }
        parts += 1;
        for link in &mut links {
            cut += u64::from(link.deliver(silences(), entries.clone()).await.is_err());
        }
    }
    let mut slowest = Duration::ZERO;
    let mut all = true;
    for link in &links {
        let left = target.until.saturating_duration_since(Instant::now());
        all &= link.acked(parts, left).await;
        slowest = slowest.max(started.elapsed());
    }
    let acked = if all {
        show(slowest)
    } else {
        format!("not by all in {}", show(slowest))
    };
    target.rest().await;
    let mut told = tallied(&links);
    told.push(Figure::told("all of it acknowledged by all nodes", acked));
    told.push(Figure::told("packets that met a cut link", cut.to_string()));
    Ok(told)
}

/// Sends entry after entry to all nodes, as fast as they are taken, until the end.
async fn without_end(target: &Target, one: impl Fn(u64) -> Entry) -> Outcome {
    let (member, mut links) = Member::join(target, "mallory").await?;
    let mut number = 0;
    while !target.is_over() {
        let entries: Vec<Entry> = (number..number + SMALL_PART).map(&one).collect();
        number += SMALL_PART;
        for (at, link) in links.iter_mut().enumerate() {
            let delivered = link.deliver(silences(), entries.clone());
            let delivered = tokio::time::timeout(Duration::from_secs(1), delivered).await;
            if matches!(delivered, Ok(Err(_))) {
                relink(target, &member, link, at).await;
            }
        }
    }
    let mut told = tallied(&links);
    told.push(Figure::told(
        "entries offered to each node",
        number.to_string(),
    ));
    Ok(told)
}

/// Opens a link again that was cut, if the node lets it.
async fn relink(target: &Target, member: &Member, link: &mut Link, at: usize) {
    tokio::time::sleep(Duration::from_millis(100)).await;
    if let Some(node) = target.nodes.get(at)
        && let Ok(again) = member.link(node.cluster, Reads::All).await
    {
        *link = again;
    }
}

fn tallied(links: &[Link]) -> Vec<Figure> {
    use std::sync::atomic::Ordering::Relaxed;
    let refused = links.iter().map(|link| link.tally.refused.load(Relaxed));
    let refused = refused.sum::<u64>().to_string();
    vec![Figure::told("entries refused, by all nodes", refused)]
}

/// Entries in a frame of the million.
const PART_ENTRIES: u64 = 65_000;
/// Entries in a frame of those without end.
const SMALL_PART: u64 = 4096;
/// As many as a packet may hold.
const FRAME_ENTRIES: u64 = 65_000;
