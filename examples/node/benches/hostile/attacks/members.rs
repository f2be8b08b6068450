//! Attacks by what a member says of members.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use rumormill::NodeName;
use rumormill::id::{MemberState, ProcessId};
use rumormill::unstable::id::NodeId;
use rumormill::unstable::wire::{MemberRecord, Members, Message};

use crate::figures::Figure;
use crate::member::{Link, Member, Reads};
use crate::payloads::now;
use crate::target::{Outcome, Target};

/// One list of 20 members that do not exist, at addresses at which nobody ever answers.
pub(crate) async fn invented(target: &Target) -> Outcome {
    let (_member, links) = Member::join(target, "mallory").await?;
    let mut silent = Vec::new();
    let mut records = Vec::new();
    for number in 0..20_u8 {
        // Bound, so that nothing is refused there, and never read.
        let (listener, addr) = silent_address(number)?;
        silent.push(listener);
        let process = ProcessId {
            name: NodeName::new(&format!("invented-{number}"))?,
            boot: now().as_nanos(),
        };
        records.push(MemberRecord {
            id: NodeId {
                process,
                renewal: 0,
                addr,
            },
            incarnation: 0,
            state: MemberState::Alive,
        });
    }
    let list = Message::Members(Members {
        ask: false,
        records,
    });
    for link in &links {
        link.say(&list).await?;
    }
    target.rest().await;
    Ok(Vec::new())
}

fn silent_address(number: u8) -> std::io::Result<((TcpListener, UdpSocket), SocketAddr)> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 20 + number], 0)))?;
    let addr = listener.local_addr()?;
    let socket = UdpSocket::bind(addr)?;
    Ok(((listener, socket), addr))
}

/// 100 members that ask for the list of members all the time and read nothing.
pub(crate) async fn unread_by_many(target: &Target) -> Outcome {
    unread(target, 100).await
}

/// One such member.
pub(crate) async fn unread_by_one(target: &Target) -> Outcome {
    unread(target, 1).await
}

async fn unread(target: &Target, count: usize) -> Outcome {
    let mut members = Vec::new();
    let mut links: Vec<(usize, usize, Link)> = Vec::new();
    let mut refused = 0;
    for number in 0..count {
        let name = if count == 1 {
            "mallory".to_owned()
        } else {
            // As long as names may be, so that the lists are long.
            format!("mallory-{number:056}")
        };
        let member = Member::new(target, &name).await?;
        for (at, node) in target.nodes.iter().enumerate() {
            match member.link(node.cluster, Reads::Nothing).await {
                Ok(link) => links.push((number, at, link)),
                Err(_) => refused += 1,
            }
        }
        members.push(member);
    }
    let mut asked = 0_u64;
    let mut cut = 0_u64;
    while !target.is_over() && !links.is_empty() {
        let mut open = Vec::new();
        for (number, at, link) in links {
            if link.is_cut() {
                cut += 1;
                let node = &target.nodes[at];
                match members[number].link(node.cluster, Reads::Nothing).await {
                    Ok(link) => open.push((number, at, link)),
                    Err(_) => refused += 1,
                }
                continue;
            }
            let ask = members[number].me.introduction(true);
            // What a node does not read any more is not waited for.
            let said = tokio::time::timeout(ASK_MAX, link.say(&ask)).await;
            asked += u64::from(matches!(said, Ok(Ok(()))));
            open.push((number, at, link));
        }
        links = open;
    }
    target.rest().await;
    Ok(vec![
        Figure::told("lists asked for, of all nodes", asked.to_string()),
        Figure::told("links cut, refused", format!("{cut}, {refused}")),
    ])
}

/// Says that the second node has left, at its own boot.
pub(crate) async fn left(target: &Target) -> Outcome {
    let (_member, links) = Member::join(target, "mallory").await?;
    let victim = links.get(1).ok_or("there are three nodes")?.peer.clone();
    let mut said = 0;
    for state in [MemberState::Left, MemberState::Failed, MemberState::Suspect] {
        let list = Message::Members(Members {
            ask: false,
            records: vec![MemberRecord {
                id: victim.clone(),
                incarnation: 0,
                state,
            }],
        });
        // The states get a third of the time each.
        let ends = Instant::now() + target.until.saturating_duration_since(Instant::now()) / 3;
        while Instant::now() < ends && !target.is_over() {
            for link in &links {
                said += u64::from(link.say(&list).await.is_ok());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    target.rest().await;
    Ok(vec![Figure::told("lies told", said.to_string())])
}

const ASK_MAX: Duration = Duration::from_millis(5);
