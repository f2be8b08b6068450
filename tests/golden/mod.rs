//! One message of every kind, as it is and as it looks in bytes.
//!
//! **A line that has to change is a new tag or a new schema number, not a new line**: nodes of both
//! versions run side by side during an upgrade.

use bytes::Bytes;
use rumormill::id::{Key, MemberState, NodeName, ProcessId, Refusal, SchemaId, StoreId, WriterTag};
use rumormill::time::Timestamp;
use rumormill::unstable::id::NodeId;
use rumormill::unstable::wire::{
    Ack, Arrived, Capabilities, Cell, Cells, CoverReport, Covered, Delta, Done, Entry, Expelled,
    Handed, Hashed, Hashes, HeldVersion, Hello, Item, Items, Leave, MemberRecord, Members, Message,
    More, Objection, ObjectionReason, Peeled, Probe, Purpose, Recall, Recheck, RefusedEntry,
    Reject, RejectReason, Relayed, Roots, Section, Settled, StoreOffer, StoreSummary, StoreTotal,
    Summary, Totals, Verdict, Verdicts, Wants, Welcome,
};

/// A name for files and failures, a message, and its bytes in hex.
pub type Golden = (&'static str, Message, &'static str);

pub fn process() -> ProcessId {
    ProcessId {
        name: NodeName::new("am-0").unwrap(),
        boot: 1_700_000_000_000_000_000,
    }
}

pub fn entry() -> Entry {
    Entry {
        key: Key(*b"0123456789abcdef"),
        ts: Timestamp::from_nanos(1_700_000_000_000_000_001),
        tie: 0x0102_0304_0506_0708,
        writer: WriterTag(0x1112_1314_1516_1718),
        expires_at: Timestamp::from_secs(1_700_000_060),
        schema: SchemaId::new(3).lasting(),
        body: Bytes::from_static(b"body"),
    }
}

pub fn all() -> Vec<Golden> {
    let mut all = handshake();
    all.extend(data());
    all.extend(membership());
    all.extend(passing());
    all.extend(anti_entropy());
    all
}

fn passing() -> Vec<Golden> {
    let (token, at) = (1, Timestamp::from_secs(1_700_000_000));
    vec![
        (
            "roots",
            Message::Roots(Roots {
                token,
                at,
                sum: 0x0102_0304_0506_0708,
            }),
            "320000001301fd00002a36fe9c9717fd0807060504030201",
        ),
        (
            "recheck",
            Message::Recheck(Recheck {
                token,
                ask: true,
                at,
                after: 62_500,
                sum: 5,
                later: 6,
            }),
            "35000000100101fd00002a36fe9c9717fb24f40506",
        ),
        (
            "probe",
            Message::Probe(Probe {
                token,
                ack: true,
                number: 7,
                incarnation: 3,
            }),
            "340000000401010703",
        ),
    ]
}

fn handshake() -> Vec<Golden> {
    let node = NodeId {
        process: process(),
        renewal: 300,
        addr: "10.0.0.1:9094".parse().unwrap(),
    };
    let stores = vec![StoreOffer {
        id: StoreId(0xdead_beef),
        name: "silences".to_owned(),
        schemas: vec![SchemaId::new(1), SchemaId::new(2)],
    }];
    vec![
        (
            "swim",
            Message::Swim(Bytes::from_static(b"opaque")),
            "01000000066f7061717565",
        ),
        (
            "hello",
            Message::Hello(Hello {
                purpose: Purpose::PushPull,
                node: node.clone(),
                incarnation: 2,
                nonce: 0x0102_0304_0506_0708,
                token: 250,
                capabilities: Capabilities(0),
                stores: stores.clone(),
            }),
            "02000000380104616d2d30fd00002a36fe9c9717fb2c01040a000001fb862302fd080706\
             0504030201fa0001fcefbeadde0873696c656e636573020102",
        ),
        (
            "welcome",
            Message::Welcome(Welcome {
                node: NodeId {
                    addr: "[fe80::1%5]:9094".parse().unwrap(),
                    ..node
                },
                incarnation: 251,
                nonce: 0xffff_ffff,
                token: u64::MAX,
                capabilities: Capabilities(0),
                boot_known: 0,
                stores,
            }),
            "030000004c04616d2d30fd00002a36fe9c9717fb2c0106fe800000000000000000000000\
             000001fb86230005fbfb00fcfffffffffdffffffffffffffff000001fcefbeadde0873696c\
             656e636573020102",
        ),
        (
            "reject",
            Message::Reject(Reject {
                reason: RejectReason::StaleBoot,
                boot_known: 7,
            }),
            "04000000020307",
        ),
        (
            "objection",
            Message::Objection(Objection {
                reason: ObjectionReason::NameTaken,
                twin: "127.0.0.1:1".parse().unwrap(),
            }),
            "3c0000000701047f00000101",
        ),
    ]
}

fn data() -> Vec<Golden> {
    vec![
        (
            "delta",
            Message::Delta(Delta {
                token: 1,
                packet: 2,
                uncovered: vec![NodeName::new("am-1").unwrap()],
                sections: vec![Section {
                    store: StoreId(3),
                    entries: vec![entry()],
                }],
            }),
            "050000005900000000000000010000000000000002000104616d2d310001000000030001\
             3031323334353637383961626364656617979cfe362a000101020304050607081112131415161718\
             17979d0c2e715800800300000004626f6479",
        ),
        (
            "ack",
            Message::Ack(Ack {
                token: 1,
                ranges: vec![(1, 4), (6, 1000)],
                refused: vec![RefusedEntry {
                    packet: 6,
                    index: 2,
                    reason: Refusal::TooLarge,
                }],
            }),
            "060000000c0102010406fbe80301060202",
        ),
        (
            "arrived",
            Message::Arrived(Arrived {
                token: 1,
                ranges: vec![(1, 4), (6, 1000)],
            }),
            "46000000080102010406fbe803",
        ),
        (
            "relayed",
            Message::Relayed(Relayed {
                token: 1,
                holder: process(),
                held: vec![HeldVersion {
                    store: StoreId(3),
                    key: Key([0xaa; 16]),
                    ts: Timestamp::from_nanos(5),
                    tag: 0x0102_0304,
                }],
            }),
            "07000000270104616d2d30fd00002a36fe9c97170103aaaaaaaaaaaaaaaaaaaaaaaaaaaa\
             aaaa05fc04030201",
        ),
        (
            "handed",
            Message::Handed(Handed {
                bits: 5,
                list: 0x0102_0304_0506_0708,
                delta: Delta {
                    token: 1,
                    packet: 2,
                    uncovered: vec![NodeName::new("am-1").unwrap()],
                    sections: Vec::new(),
                },
            }),
            "280000002205010203040506070800000000000000010000000000000002\
             000104616d2d310000",
        ),
        (
            "covered",
            Message::Covered(Covered {
                token: 1,
                reports: vec![CoverReport {
                    packet: 2,
                    taken: 3,
                    complete: true,
                    list: 0x0102_0304_0506_0708,
                    holders: vec![0b101],
                }],
            }),
            "29000000100101020301fd08070605040302010105",
        ),
        (
            "recall",
            Message::Recall(Recall {
                token: 1,
                packets: vec![2, 1000],
            }),
            "2a00000006010202fbe803",
        ),
    ]
}

fn membership() -> Vec<Golden> {
    vec![
        (
            "members",
            Message::Members(Members {
                ask: true,
                records: vec![MemberRecord {
                    id: NodeId {
                        process: process(),
                        renewal: 0,
                        addr: "127.0.0.1:1".parse().unwrap(),
                    },
                    incarnation: 1,
                    state: MemberState::Suspect,
                }],
            }),
            "0800000019010104616d2d30fd00002a36fe9c971700047f000001010101",
        ),
        (
            "leave",
            Message::Leave(Leave { process: process() }),
            "090000000e04616d2d30fd00002a36fe9c9717",
        ),
        (
            "expelled",
            Message::Expelled(Expelled {
                names: vec![NodeName::new("am-1").unwrap()],
            }),
            "19000000060104616d2d31",
        ),
        (
            "leave_ack",
            Message::LeaveAck(Leave { process: process() }),
            "0a0000000e04616d2d30fd00002a36fe9c9717",
        ),
    ]
}

fn anti_entropy() -> Vec<Golden> {
    let mut all = lists();
    all.extend(summaries());
    all.extend(cells());
    all
}

fn summaries() -> Vec<Golden> {
    let mut counters = [0; 64];
    counters[..5].copy_from_slice(&[1, -1, 63, -65, 300]);
    vec![
        (
            "summary",
            Message::Summary(Summary {
                cut: Timestamp::from_secs(1_700_000_000),
                stores: vec![StoreSummary {
                    store: StoreId(3),
                    count: 5,
                    root: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
                    exponent: 4,
                    counters,
                }],
            }),
            "1000000060fd00002a36fe9c9717010305fe100f0e0d0c0b0a090807060504030201040201\
             7e8101d8040000000000000000000000000000000000000000000000000000000000000000\
             000000000000000000000000000000000000000000000000000000",
        ),
        (
            "totals",
            Message::Totals(Totals {
                found: false,
                cut: Timestamp::from_secs(1_700_000_000),
                stores: vec![StoreTotal {
                    store: StoreId(3),
                    count: 5,
                    root: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
                }],
            }),
            "330000001e00fd00002a36fe9c9717010305fe100f0e0d0c0b0a090807060504030201",
        ),
        (
            "verdicts",
            Message::Verdicts(Verdicts {
                cut_accepted: true,
                stores: vec![
                    (StoreId(3), Verdict::Equal),
                    (StoreId(4), Verdict::Cells),
                    (StoreId(5), Verdict::NoStore),
                    (StoreId(6), Verdict::List),
                    (StoreId(7), Verdict::All),
                ],
            }),
            "110000000c010503000401050206030704",
        ),
        (
            "settled",
            Message::Settled(Settled {
                store: StoreId(3),
                agrees: false,
            }),
            "15000000020300",
        ),
        (
            "done",
            Message::Done(Done { complete: true }),
            "0f0000000101",
        ),
    ]
}

fn cells() -> Vec<Golden> {
    let cell = Cell(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    vec![
        (
            "cells",
            Message::Cells(Cells {
                store: StoreId(3),
                exponent: 2,
                width: 3,
                cells: vec![cell; 2],
            }),
            "360000002a000000030203000000020102030405060708090a0b0c0d0e0f10010203040506\
             0708090a0b0c0d0e0f10",
        ),
        (
            "more",
            Message::More(More { store: StoreId(3) }),
            "130000000103",
        ),
        (
            "peeled",
            Message::Peeled(Peeled {
                store: StoreId(3),
                common: Some(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
                wants: vec![1, 2],
                stale: vec![3],
            }),
            "370000002f00000003010102030405060708090a0b0c0d0e0f100000000200000001000000\
             000001000000000002000000000003",
        ),
        (
            "peeled_unsure",
            Message::Peeled(Peeled {
                store: StoreId(3),
                common: None,
                wants: vec![],
                stale: vec![4],
            }),
            "370000001300000003000000000000000001000000000004",
        ),
    ]
}

fn lists() -> Vec<Golden> {
    vec![
        (
            "items",
            Message::Items(Items {
                store: StoreId(3),
                from: 0,
                to: u64::MAX,
                sum: 12,
                items: vec![Item {
                    kh: 0x0102_0304_0506_0708,
                    ts: Timestamp::from_nanos(9),
                    tag: 10,
                }],
            }),
            "160000003c000000030000000000000000ffffffffffffffff000000000000000000000000\
             0000000c00000001010203040506070800000000000000090000000a",
        ),
        (
            "hashes",
            Message::Hashes(Hashes {
                store: StoreId(3),
                from: 0,
                to: u64::MAX,
                hashes: vec![Hashed {
                    kh: 0x0102_0304_0506_0708,
                    hash: 9,
                }],
            }),
            "1700000030000000030000000000000000ffffffffffffffff000000010102030405060708\
             00000000000000000000000000000009",
        ),
        (
            "wants",
            Message::Wants(Wants {
                store: StoreId(3),
                to: u64::MAX,
                wants: vec![1, 0x0102_0304_0506_0708],
            }),
            "180000002000000003ffffffffffffffff0000000200000000000000010102030405060708",
        ),
    ]
}
