//! Lies about members: lists, probes, leaves, introductions.

use std::net::SocketAddr;

use super::choice::{Choice, pick};
use super::kinds::Lie;
use super::knowledge::Knowledge;
use crate::engine::SwimClaim;
use crate::id::{MemberState, NodeId, NodeName, ProcessId, SchemaId, StoreId};
use crate::wire::{
    Capabilities, Expelled, Hello, Leave, MemberRecord, Members, Message, Objection,
    ObjectionReason, Purpose, Reject, RejectReason, StoreOffer, Welcome,
};

/// How many members a liar invents in all, so that what they cost can be told from what each new one
/// costs.
const INVENTED: u64 = 300;
/// How many of them in one list: seldom many.
const IN_A_LIST: u64 = 24;
const IN_A_LONG_LIST: u64 = 200;

/// Lists, leaves, introductions.
pub(super) fn message(lie: Lie, choice: &mut dyn Choice, knows: &Knowledge) -> Message {
    match lie {
        Lie::ExpelsOthers => Message::Expelled(expelled(choice, knows)),
        Lie::HelloFalse => Message::Hello(hello(choice, knows)),
        Lie::LeaveAckOfOthers => Message::LeaveAck(leave(choice, knows)),
        Lie::LeaveOfOthers => Message::Leave(leave(choice, knows)),
        Lie::RejectLate if choice.one_in(4) => Message::Objection(Objection {
            reason: match choice.below(4) {
                0 => ObjectionReason::NameNotAllowed,
                1 => ObjectionReason::NameTaken,
                2 => ObjectionReason::NameTakenHere,
                _ => ObjectionReason::Unreadable,
            },
            twin: knows.to.addr,
        }),
        Lie::RejectLate => Message::Reject(Reject {
            reason: match choice.below(6) {
                0 => RejectReason::Busy,
                1 => RejectReason::Expelled,
                2 => RejectReason::Itself,
                3 => RejectReason::NameTaken,
                4 => RejectReason::StaleBoot,
                _ => RejectReason::Leaving,
            },
            boot_known: boot(choice, knows, knows.to.process.boot),
        }),
        Lie::WelcomeLate => Message::Welcome(welcome(choice, knows)),
        _ => Message::Members(members(lie, choice, knows)),
    }
}

fn members(lie: Lie, choice: &mut dyn Choice, knows: &Knowledge) -> Members {
    let mut records = Vec::new();
    match lie {
        Lie::MembersInvented => {
            let many = if choice.one_in(8) {
                IN_A_LONG_LIST
            } else {
                IN_A_LIST
            };
            for _ in 0..=choice.below(many) {
                records.push(MemberRecord {
                    id: invented(choice, knows),
                    incarnation: incarnation(choice),
                    state: state(choice),
                });
            }
        }
        Lie::MembersTwisted => {
            for _ in 0..=choice.below(4) {
                records.push(MemberRecord {
                    id: twisted(choice, knows),
                    incarnation: incarnation(choice),
                    state: state(choice),
                });
            }
        }
        _ => {}
    }
    Members {
        ask: lie == Lie::MembersAsked || choice.one_in(4),
        records,
    }
}

/// How a liar introduces itself.
pub(super) fn hello(choice: &mut dyn Choice, knows: &Knowledge) -> Hello {
    let (node, nonce) = introduced(choice, knows);
    Hello {
        purpose: if choice.one_in(2) {
            Purpose::Link
        } else {
            Purpose::PushPull
        },
        node,
        incarnation: incarnation(choice),
        nonce,
        token: choice.edge(),
        capabilities: Capabilities(choice.edge()),
        stores: offers(choice, knows),
    }
}

fn welcome(choice: &mut dyn Choice, knows: &Knowledge) -> Welcome {
    let (node, nonce) = introduced(choice, knows);
    Welcome {
        node,
        incarnation: incarnation(choice),
        nonce,
        token: choice.edge(),
        capabilities: Capabilities(choice.edge()),
        boot_known: boot(choice, knows, knows.to.process.boot),
        stores: offers(choice, knows),
    }
}

/// As whom, and of which instance: itself of another boot, somebody new, or another member.
fn introduced(choice: &mut dyn Choice, knows: &Knowledge) -> (NodeId, u64) {
    let nonce = if choice.one_in(2) {
        knows.nonce
    } else {
        choice.edge()
    };
    let mut node = match choice.below(4) {
        0 => invented(choice, knows),
        1 => twisted(choice, knows),
        2 => knows.to.clone(),
        _ => knows.own.clone(),
    };
    if choice.one_in(2) {
        node.process.boot = boot(choice, knows, node.process.boot);
    }
    if choice.one_in(2) {
        node.addr = knows.own.addr;
    }
    (node, nonce)
}

/// Other stores, the same under other names, twice, or none.
fn offers(choice: &mut dyn Choice, knows: &Knowledge) -> Vec<StoreOffer> {
    let mut stores = knows.stores.clone();
    match choice.below(5) {
        0 => stores.clear(),
        1 => {
            for store in &mut stores {
                store.name = format!("other {}", choice.below(10));
            }
        }
        2 => {
            for _ in 0..choice.below(40) {
                let schema = SchemaId::from_raw(u16::try_from(choice.below(65_536)).unwrap_or(0));
                stores.push(StoreOffer {
                    id: StoreId(u32::try_from(choice.edge() >> 32).unwrap_or(0)),
                    name: "further".to_owned(),
                    schemas: vec![schema; choice.place(20)],
                });
            }
        }
        3 => stores.extend(stores.clone()),
        _ => {}
    }
    stores
}

/// Everybody but the liar, some, or nobody that there is.
fn expelled(choice: &mut dyn Choice, knows: &Knowledge) -> Expelled {
    let mut names = Vec::new();
    for member in &knows.members {
        if !choice.one_in(3) {
            names.push(member.process.name.clone());
        }
    }
    for _ in 0..choice.below(30) {
        names.push(invented(choice, knows).process.name);
    }
    Expelled { names }
}

fn leave(choice: &mut dyn Choice, knows: &Knowledge) -> Leave {
    let of = if choice.one_in(3) {
        knows.to.clone()
    } else {
        twisted(choice, knows)
    };
    Leave {
        process: of.process,
    }
}

/// Packets of the failure detector.
pub(super) fn probe(lie: Lie, choice: &mut dyn Choice, knows: &Knowledge) -> Message {
    if lie == Lie::SwimNoise {
        let len = choice.within(0, 120);
        let noise: Vec<u8> = (0..len).map(|_| choice.below(256) as u8).collect();
        return Message::Swim(noise.into());
    }
    let mut gossip = Vec::new();
    for _ in 0..=choice.below(4) {
        gossip.push(match lie {
            Lie::SwimDeclares => (
                known(choice, knows),
                incarnation(choice),
                MemberState::Failed,
            ),
            Lie::SwimSuspects => (
                known(choice, knows),
                incarnation(choice),
                MemberState::Suspect,
            ),
            Lie::SwimVindicates => (
                known(choice, knows),
                incarnation(choice),
                MemberState::Alive,
            ),
            Lie::SwimInvents => (invented(choice, knows), incarnation(choice), state(choice)),
            _ => (twisted(choice, knows), incarnation(choice), state(choice)),
        });
    }
    let disguised = lie == Lie::SwimDisguised;
    let other = twisted(choice, knows);
    let claim = SwimClaim {
        from: if disguised && choice.one_in(2) {
            twisted(choice, knows)
        } else {
            knows.own.clone()
        },
        incarnation: if choice.one_in(4) {
            incarnation(choice)
        } else {
            0
        },
        to: if disguised && choice.one_in(2) {
            other.clone()
        } else {
            knows.to.clone()
        },
        kind: if disguised || choice.one_in(4) {
            u8::try_from(choice.below(11)).unwrap_or(0)
        } else {
            GOSSIP
        },
        about: other,
        probe: u8::try_from(choice.below(256)).unwrap_or(0),
        gossip: if disguised { Vec::new() } else { gossip },
    };
    Message::Swim(claim.encode())
}

/// The kind of packet that only carries gossip.
const GOSSIP: u8 = 8;

/// A member as it is.
fn known(choice: &mut dyn Choice, knows: &Knowledge) -> NodeId {
    pick(choice, &knows.members).unwrap_or(&knows.to).clone()
}

/// A member that exists, or its name, with something wrong.
fn twisted(choice: &mut dyn Choice, knows: &Knowledge) -> NodeId {
    let mut id = known(choice, knows);
    match choice.below(6) {
        0 => id.process.boot = boot(choice, knows, id.process.boot),
        1 => id.renewal = u32::try_from(choice.edge() >> 32).unwrap_or(u32::MAX),
        2 => id.addr = addr(choice, knows),
        3 => id.process.boot = id.process.boot.saturating_add(1 + choice.below(3)),
        4 => id.process.boot = id.process.boot.saturating_sub(1 + choice.below(3)),
        _ => {}
    }
    id
}

/// A member that does not exist.
fn invented(choice: &mut dyn Choice, knows: &Knowledge) -> NodeId {
    let name = format!("x{}", choice.below(INVENTED));
    let process = ProcessId {
        name: NodeName::new(&name).expect("a short name is valid"),
        boot: boot(choice, knows, knows.own.process.boot),
    };
    NodeId {
        process,
        renewal: u32::try_from(choice.below(3)).unwrap_or(0),
        addr: addr(choice, knows),
    }
}

/// Where nobody is, or somebody else, or the liar itself.
fn addr(choice: &mut dyn Choice, knows: &Knowledge) -> SocketAddr {
    match choice.below(6) {
        0 => knows.own.addr,
        1 => known(choice, knows).addr,
        2 => SocketAddr::from(([0, 0, 0, 0], 0)),
        3 => SocketAddr::from(([0; 16], 9094)),
        _ => {
            let host = u8::try_from(choice.below(200)).unwrap_or(0);
            SocketAddr::from(([10, 9, 0, host], 9094))
        }
    }
}

/// A boot near one that is known, near the time, or at an edge.
fn boot(choice: &mut dyn Choice, knows: &Knowledge, near: u64) -> u64 {
    match choice.below(4) {
        0 => choice.edge(),
        1 => near.saturating_add(choice.below(1_000_000)),
        2 => near.saturating_sub(choice.below(1_000_000)),
        _ => knows.wall.as_nanos(),
    }
}

fn incarnation(choice: &mut dyn Choice) -> u16 {
    match choice.below(4) {
        0 => u16::MAX,
        1 => u16::try_from(choice.below(65_536)).unwrap_or(0),
        _ => u16::try_from(choice.below(4)).unwrap_or(0),
    }
}

fn state(choice: &mut dyn Choice) -> MemberState {
    match choice.below(4) {
        0 => MemberState::Alive,
        1 => MemberState::Failed,
        2 => MemberState::Left,
        _ => MemberState::Suspect,
    }
}
