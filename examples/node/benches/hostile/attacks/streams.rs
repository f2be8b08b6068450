//! Attacks by streams: that hang, that say nothing, that say what makes no sense.

use std::net::{SocketAddr, TcpStream};
use std::thread::{sleep, spawn};
use std::time::Duration;

use bytes::Bytes;
use rumormill::net::BoxStream;
use rumormill::unstable::wire::frame::{FRAME_BYTES_MAX, encode_frame_header};
use rumormill::unstable::wire::{
    Done, Item, Items, Message, Peeled, Purpose, Settled, StoreSummary, Summary, Wants,
};
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::task::JoinSet;

use super::web::is_closed;
use crate::Failure;
use crate::figures::Figure;
use crate::member::{Member, Reads};
use crate::payloads::{now, silences};
use crate::speech::frame;
use crate::target::{Outcome, Target};

/// Four members announce frames of 17 MiB to each node and send one byte a second.
pub(crate) async fn slow(target: &Target) -> Outcome {
    let mut members = Vec::new();
    let mut links = Vec::new();
    for number in 0..4 {
        let member = Member::new(target, &format!("mallory-{number}")).await?;
        for node in &target.nodes {
            let link = member.link(node.cluster, Reads::All).await?;
            let header = encode_frame_header(FRAME_BYTES_MAX);
            link.send(Bytes::copy_from_slice(&header)).await?;
            // A delta, so that the frame looks like one that is worth to be waited for.
            link.send(Bytes::from_static(&[5])).await?;
            links.push(link);
        }
        members.push(member);
    }
    while !target.is_over() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for link in &links {
            let byte = link.send(Bytes::from_static(&[0]));
            let _ = tokio::time::timeout(Duration::from_millis(50), byte).await;
        }
    }
    let open = links.iter().filter(|link| !link.is_cut()).count();
    let value = format!("{open} of {}", links.len());
    Ok(vec![Figure::told(
        "slow links still open at the end",
        value,
    )])
}

/// 70 connections to each node on which nothing is said; one that is closed is opened again.
pub(crate) async fn silent(target: &Target) -> Outcome {
    let holding = target.nodes.iter().map(|node| {
        let (to, target) = (node.cluster, target.clone());
        spawn(move || hold(to, 70, &target))
    });
    let holding: Vec<_> = holding.collect();
    target.rest().await;
    let opened = holding.into_iter().map(|it| it.join().unwrap_or_default());
    let opened = opened.sum::<u64>().to_string();
    Ok(vec![Figure::told(
        "silent connections opened, in all",
        opened,
    )])
}

fn hold(to: SocketAddr, count: usize, target: &Target) -> u64 {
    let mut held: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    let mut opened = 0;
    while !target.is_over() {
        for place in &mut held {
            if place.as_mut().is_some_and(is_closed) {
                *place = None;
            }
            if place.is_none() {
                let stream = TcpStream::connect_timeout(&to, Duration::from_millis(200)).ok();
                *place = stream.filter(|stream| stream.set_nonblocking(true).is_ok());
                opened += u64::from(place.is_some());
            }
        }
        sleep(Duration::from_millis(20));
    }
    opened
}

/// Frames on links that are no message, or none that belongs there; a link that is cut is opened again.
pub(crate) async fn malformed(target: &Target) -> Outcome {
    let (member, mut links) = Member::join(target, "mallory").await?;
    let (mut sent, mut cut) = (0_u64, 0_u64);
    while !target.is_over() {
        for (link, node) in links.iter_mut().zip(&target.nodes) {
            if link.is_cut() {
                cut += 1;
                if let Ok(again) = member.link(node.cluster, Reads::All).await {
                    *link = again;
                }
            }
            let said = match sent % 4 {
                0 => {
                    link.send(Bytes::from_static(b"\0\0\0\x08\x05\0\0\0\x03abc"))
                        .await
                }
                1 => {
                    link.send(Bytes::from_static(b"\0\0\0\x06\x08\0\0\0\x01\x07"))
                        .await
                }
                2 => link.say(&Message::Done(Done { complete: true })).await,
                _ => link.send(Bytes::from_static(b"\0\0\0\x02no")).await,
            };
            sent += u64::from(said.is_ok());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(vec![
        Figure::told("frames sent, to all nodes", sent.to_string()),
        Figure::told("links cut", cut.to_string()),
    ])
}

/// Begins one exchange after another, and breaks the rules in each.
pub(crate) async fn forged(target: &Target) -> Outcome {
    let (member, _links) = Member::join(target, "mallory").await?;
    let member = std::sync::Arc::new(member);
    let mut tasks = JoinSet::new();
    for node in &target.nodes {
        for lane in 0..4 {
            let (member, target, to) = (member.clone(), target.clone(), node.cluster);
            tasks.spawn(async move {
                let (mut begun, mut refused) = (0_u64, 0_u64);
                while !target.is_over() {
                    match forge(&member, to, begun + lane).await {
                        Ok(()) => begun += 1,
                        Err(_) => {
                            refused += 1;
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                }
                (begun, refused)
            });
        }
    }
    let (mut begun, mut refused) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        let (more, not) = done.unwrap_or_default();
        begun += more;
        refused += not;
    }
    Ok(vec![
        Figure::told("forged exchanges, of all nodes", begun.to_string()),
        Figure::told("exchanges refused", refused.to_string()),
    ])
}

/// One exchange with lies of the kind that `number` picks.
async fn forge(member: &Member, to: SocketAddr, number: u64) -> Result<(), Failure> {
    let (mut reader, mut write, _) = member.open(to, Purpose::PushPull).await?;
    let store = silences();
    let summary = Message::Summary(Summary {
        cut: now(),
        stores: vec![StoreSummary {
            store,
            count: 5000,
            root: u128::from(number) << 64 | 0xbad,
            exponent: 8,
            counters: [7; 64],
        }],
    });
    let hashes: Vec<u64> = (1..1000).map(|n| n << 40 | number).collect();
    let lies = match number % 6 {
        0 => vec![summary],
        1 => vec![
            summary,
            Message::Settled(Settled {
                store,
                agrees: false,
            }),
        ],
        2 => vec![
            summary,
            Message::Peeled(Peeled {
                store,
                common: Some(1),
                wants: hashes,
                stale: Vec::new(),
            }),
        ],
        3 => {
            let item = |kh| Item {
                kh,
                ts: now(),
                tag: 1,
            };
            let items = Items {
                store,
                from: 0,
                to: u64::MAX,
                sum: 1,
                items: hashes.into_iter().map(item).collect(),
            };
            vec![summary, Message::Items(items)]
        }
        4 => vec![Message::Done(Done { complete: true })],
        _ => vec![
            summary,
            Message::Wants(Wants {
                store,
                to: 0,
                wants: hashes,
            }),
        ],
    };
    for lie in &lies {
        say(&mut write, lie).await?;
    }
    // The answer is waited for a little, so that the lies are read.
    let _ = tokio::time::timeout(Duration::from_millis(20), reader.next()).await;
    let _ = write.shutdown().await;
    Ok(())
}

async fn say(write: &mut WriteHalf<BoxStream>, message: &Message) -> Result<(), Failure> {
    write.write_all(&frame(message)).await?;
    write.flush().await?;
    Ok(())
}
