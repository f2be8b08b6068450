//! Any message at all, as long as it is one that a node may send.

use std::net::{SocketAddr, SocketAddrV6};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
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

fn names() -> impl Strategy<Value = NodeName> {
    "[a-zé0-9-]{1,32}".prop_map(|name| NodeName::new(&name).unwrap())
}

fn processes() -> impl Strategy<Value = ProcessId> {
    (names(), any::<u64>()).prop_map(|(name, boot)| ProcessId { name, boot })
}

fn addrs() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 16], u16, u32, u32)>().prop_map(|(ip, port, flow, scope)| {
            SocketAddrV6::new(ip.into(), port, flow, scope).into()
        }),
    ]
}

fn nodes() -> impl Strategy<Value = NodeId> {
    (processes(), any::<u32>(), addrs()).prop_map(|(process, renewal, addr)| NodeId {
        process,
        renewal,
        addr,
    })
}

fn stores() -> impl Strategy<Value = StoreId> {
    any::<u32>().prop_map(StoreId)
}

fn times() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_nanos)
}

fn offers() -> impl Strategy<Value = Vec<StoreOffer>> {
    let schemas = vec(any::<u16>().prop_map(SchemaId::from_raw), 0..4);
    let offer = (stores(), "[a-zü]{0,20}", schemas).prop_map(|(id, name, schemas)| StoreOffer {
        id,
        name,
        schemas,
    });
    vec(offer, 0..4)
}

fn entries() -> impl Strategy<Value = Entry> {
    let body = vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    (
        any::<[u8; 16]>(),
        times(),
        any::<u64>(),
        times(),
        any::<u16>(),
        body,
    )
        .prop_map(|(key, ts, tie, expires_at, schema, body)| Entry {
            key: Key(key),
            ts,
            tie,
            writer: WriterTag::NONE,
            expires_at,
            schema: SchemaId::from_raw(schema),
            body,
        })
}

pub fn deltas() -> impl Strategy<Value = Delta> {
    let section =
        (stores(), vec(entries(), 0..4)).prop_map(|(store, entries)| Section { store, entries });
    (any::<(u64, u64)>(), vec(names(), 0..4), vec(section, 0..4)).prop_map(
        |((token, packet), uncovered, sections)| Delta {
            token,
            packet,
            uncovered,
            sections,
        },
    )
}

pub fn acks() -> impl Strategy<Value = Ack> {
    let reason = prop_oneof![
        Just(Refusal::ClockAhead),
        Just(Refusal::Full),
        Just(Refusal::TooLarge),
        Just(Refusal::NoStore),
    ];
    let refused =
        (any::<(u64, u16)>(), reason).prop_map(|((packet, index), reason)| RefusedEntry {
            packet,
            index,
            reason,
        });
    let ranges = prop::collection::btree_set(any::<u64>(), 0..8).prop_map(|bounds| {
        let bounds: Vec<_> = bounds.into_iter().collect();
        bounds
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect()
    });
    (any::<u64>(), ranges, vec(refused, 0..4)).prop_map(|(token, ranges, refused)| Ack {
        token,
        ranges,
        refused,
    })
}

pub fn relays() -> impl Strategy<Value = Relayed> {
    let held =
        (stores(), any::<[u8; 16]>(), times(), any::<u32>()).prop_map(|(store, key, ts, tag)| {
            HeldVersion {
                store,
                key: Key(key),
                ts,
                tag,
            }
        });
    (any::<u64>(), processes(), vec(held, 0..4)).prop_map(|(token, holder, held)| Relayed {
        token,
        holder,
        held,
    })
}

pub fn covers() -> impl Strategy<Value = Covered> {
    let report = (any::<(u64, u16, bool, u64)>(), vec(any::<u64>(), 0..5)).prop_map(
        |((packet, taken, complete, list), holders)| CoverReport {
            packet,
            taken,
            complete,
            list,
            holders,
        },
    );
    (any::<u64>(), vec(report, 0..5)).prop_map(|(token, reports)| Covered { token, reports })
}

pub fn lists() -> impl Strategy<Value = Items> {
    let item = (any::<u64>(), times(), any::<u32>()).prop_map(|(kh, ts, tag)| Item { kh, ts, tag });
    (stores(), prop::collection::btree_set(item, 0..6)).prop_map(|(store, items)| Items {
        store,
        from: items.first().map_or(0, |item| item.kh),
        to: items.last().map_or(u64::MAX, |item| item.kh),
        sum: u128::from(store.0) << 90,
        items: items.into_iter().collect(),
    })
}

fn hash_lists() -> impl Strategy<Value = Hashes> {
    let hashed = any::<(u64, u128)>().prop_map(|(kh, hash)| Hashed { kh, hash });
    (stores(), prop::collection::btree_set(hashed, 0..6)).prop_map(|(store, hashes)| Hashes {
        store,
        from: hashes.first().map_or(0, |hashed| hashed.kh),
        to: hashes.last().map_or(u64::MAX, |hashed| hashed.kh),
        hashes: hashes.into_iter().collect(),
    })
}

fn key_hashes() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::btree_set(any::<u64>(), 0..6).prop_map(|hashes| hashes.into_iter().collect())
}

/// Of 48 bits.
fn short_hashes() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::btree_set(0..1_u64 << 48, 0..6)
        .prop_map(|hashes| hashes.into_iter().collect())
}

fn cells() -> impl Strategy<Value = Cells> {
    let cell = any::<u128>().prop_map(Cell);
    (stores(), any::<(u8, u8)>(), vec(cell, 0..6)).prop_map(|(store, (exponent, width), cells)| {
        Cells {
            store,
            exponent,
            width,
            cells,
        }
    })
}

fn handshakes() -> impl Strategy<Value = Message> {
    let purpose = prop_oneof![Just(Purpose::Link), Just(Purpose::PushPull)];
    let hello = (purpose, nodes(), any::<(u16, u64, u64)>(), offers()).prop_map(
        |(purpose, node, (incarnation, nonce, token), stores)| {
            Message::Hello(Hello {
                purpose,
                node,
                incarnation,
                nonce,
                token,
                capabilities: Capabilities::OURS,
                stores,
            })
        },
    );
    let welcome = (nodes(), any::<(u16, u64, u64, u64)>(), offers()).prop_map(
        |(node, (incarnation, nonce, token, boot_known), stores)| {
            Message::Welcome(Welcome {
                node,
                incarnation,
                nonce,
                token,
                capabilities: Capabilities::OURS,
                boot_known,
                stores,
            })
        },
    );
    let reason = prop_oneof![
        Just(RejectReason::Busy),
        Just(RejectReason::Itself),
        Just(RejectReason::NameTaken),
        Just(RejectReason::StaleBoot),
        Just(RejectReason::Leaving),
    ];
    let reject = (reason, any::<u64>())
        .prop_map(|(reason, boot_known)| Message::Reject(Reject { reason, boot_known }));
    let reason = prop_oneof![
        Just(ObjectionReason::NameNotAllowed),
        Just(ObjectionReason::NameTaken),
        Just(ObjectionReason::NameTakenHere),
        Just(ObjectionReason::Unreadable),
    ];
    let objection = (reason, nodes()).prop_map(|(reason, node)| {
        let twin = node.addr;
        Message::Objection(Objection { reason, twin })
    });
    prop_oneof![hello, welcome, reject, objection]
}

fn passing() -> impl Strategy<Value = Message> {
    let roots = (any::<(u64, u64)>(), times())
        .prop_map(|((token, sum), at)| Message::Roots(Roots { token, at, sum }));
    let look = (any::<(u64, bool, u32, u64, u64)>(), times()).prop_map(
        |((token, ask, after, sum, later), at)| {
            Message::Recheck(Recheck {
                token,
                ask,
                at,
                after,
                sum,
                later,
            })
        },
    );
    let probe = any::<(u64, bool, u8, u16)>().prop_map(|(token, ack, number, incarnation)| {
        Message::Probe(Probe {
            token,
            ack,
            number,
            incarnation,
        })
    });
    prop_oneof![roots, look, probe]
}

fn exchanges() -> impl Strategy<Value = Message> {
    // Counters are small in practice, and may be anything.
    let counters = prop_oneof![vec(-200..200_i32, 64..=64), vec(any::<i32>(), 64..=64),];
    let summary = (stores(), any::<(u64, u128, u8)>(), counters).prop_map(
        |(store, (count, root, exponent), counters)| StoreSummary {
            store,
            count,
            root,
            exponent,
            counters: counters.try_into().unwrap(),
        },
    );
    let verdict = prop_oneof![
        Just(Verdict::All),
        Just(Verdict::Cells),
        Just(Verdict::Equal),
        Just(Verdict::List),
        Just(Verdict::Measure),
        Just(Verdict::NoStore)
    ];
    let total = (stores(), any::<(u64, u128)>()).prop_map(|(store, (count, root))| StoreTotal {
        store,
        count,
        root,
    });
    prop_oneof![
        (any::<bool>(), times(), vec(total, 0..4))
            .prop_map(|(found, cut, stores)| Message::Totals(Totals { found, cut, stores })),
        (times(), vec(summary, 0..4))
            .prop_map(|(cut, stores)| Message::Summary(Summary { cut, stores })),
        (any::<bool>(), vec((stores(), verdict), 0..4)).prop_map(|(cut_accepted, stores)| {
            Message::Verdicts(Verdicts {
                cut_accepted,
                stores,
            })
        }),
        cells().prop_map(Message::Cells),
        stores().prop_map(|store| Message::More(More { store })),
        (
            stores(),
            any::<Option<u128>>(),
            short_hashes(),
            short_hashes()
        )
            .prop_map(|(store, common, wants, stale)| Message::Peeled(Peeled {
                store,
                common,
                wants,
                stale
            })),
        (stores(), any::<bool>())
            .prop_map(|(store, agrees)| Message::Settled(Settled { store, agrees })),
        lists().prop_map(Message::Items),
        hash_lists().prop_map(Message::Hashes),
        (stores(), any::<u64>(), key_hashes())
            .prop_map(|(store, to, wants)| Message::Wants(Wants { store, to, wants })),
        any::<bool>().prop_map(|complete| Message::Done(Done { complete })),
    ]
}

pub fn messages() -> impl Strategy<Value = Message> {
    let state = prop_oneof![
        Just(MemberState::Alive),
        Just(MemberState::Failed),
        Just(MemberState::Left),
        Just(MemberState::Suspect),
    ];
    let record = (nodes(), any::<u16>(), state).prop_map(|(id, incarnation, state)| MemberRecord {
        id,
        incarnation,
        state,
    });
    prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(|packet| Message::Swim(packet.into())),
        handshakes(),
        deltas().prop_map(Message::Delta),
        acks().prop_map(Message::Ack),
        acks().prop_map(|ack| {
            let (token, ranges) = (ack.token, ack.ranges);
            Message::Arrived(Arrived { token, ranges })
        }),
        relays().prop_map(Message::Relayed),
        (any::<u8>(), any::<u64>(), deltas())
            .prop_map(|(bits, list, delta)| Message::Handed(Handed { bits, list, delta })),
        covers().prop_map(Message::Covered),
        (any::<u64>(), vec(any::<u64>(), 0..6))
            .prop_map(|(token, packets)| Message::Recall(Recall { token, packets })),
        (any::<bool>(), vec(record, 0..4))
            .prop_map(|(ask, records)| Message::Members(Members { ask, records })),
        processes().prop_map(|process| Message::Leave(Leave { process })),
        processes().prop_map(|process| Message::LeaveAck(Leave { process })),
        passing(),
        vec(names(), 0..6).prop_map(|names| Message::Expelled(Expelled { names })),
        exchanges(),
    ]
}
