//! Lies in entries, acknowledgements and relays.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::choice::{Choice, pick};
use super::kinds::Lie;
use super::knowledge::Knowledge;
use crate::id::{Key, NodeName, ProcessId, Refusal, SchemaId, StoreId, WriterTag};
use crate::time::Timestamp;
use crate::wire::codec::{HANDED_OVERHEAD, SECTION_OVERHEAD, delta_overhead};
use crate::wire::{
    Ack, Arrived, CoverReport, Covered, Delta, Entry, Handed, HeldVersion, Message, Recall,
    RefusedEntry, Relayed, Section,
};

/// Keys that liars write of their own, so that what they hold is bounded by more than time.
const KEYS: u64 = 48;
/// Keys of lies with many entries, and how many of these are in one.
const MANY_KEYS: u64 = 4_000;
const MANY: u64 = 1_500;
/// Keys of the largest bodies.
const LARGE_KEYS: u64 = 4;

/// Entries.
pub(super) fn delta(lie: Lie, choice: &mut dyn Choice, knows: &Knowledge) -> Message {
    let mut entries: Vec<(StoreId, Entry)> = Vec::new();
    let count = match lie {
        Lie::DeltaLarge => 1,
        Lie::DeltaCrowds | Lie::DeltaMany => 1 + choice.below(MANY),
        _ => 1 + choice.below(6),
    };
    for _ in 0..count {
        entries.push(entry(lie, choice, knows));
    }
    if lie == Lie::DeltaDuplicates {
        entries.extend(entries.clone());
    }
    let uncovered = if lie == Lie::DeltaPassedOn || choice.one_in(20) {
        uncovered(choice, knows)
    } else {
        Vec::new()
    };
    let room = knows.message_bytes_max;
    let room = room.saturating_sub(delta_overhead(&uncovered));
    let packet = match choice.below(8) {
        0 => choice.edge(),
        1 => knows.sent,
        _ => knows.sent.saturating_add(1 + choice.below(4)),
    };
    let handed = lie == Lie::HandedFalse;
    let delta = Delta {
        token: knows.token,
        packet,
        uncovered,
        sections: sections(entries, room.saturating_sub(HANDED_OVERHEAD)),
    };
    if !handed {
        return Message::Delta(delta);
    }
    Message::Handed(Handed {
        bits: u8::try_from(choice.below(256)).unwrap_or(0) >> choice.below(8),
        list: choice.edge(),
        delta,
    })
}

fn has_many(lie: Lie) -> bool {
    matches!(lie, Lie::DeltaCrowds | Lie::DeltaMany)
}

/// The entries by store, as many as have room.
fn sections(entries: Vec<(StoreId, Entry)>, room: usize) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut used = 0;
    for (store, entry) in entries {
        used += entry.encoded_len() + SECTION_OVERHEAD;
        if used > room {
            break;
        }
        match sections.iter_mut().find(|section| section.store == store) {
            Some(section) => section.entries.push(entry),
            None => sections.push(Section {
                store,
                entries: vec![entry],
            }),
        }
    }
    sections
}

/// A sound entry first, of somebody else or of the liar's own, and then what is wrong with it.
fn entry(lie: Lie, choice: &mut dyn Choice, knows: &Knowledge) -> (StoreId, Entry) {
    let (store, mut entry) = sound(lie, choice, knows);
    match lie {
        Lie::DeltaDisguised => entry.writer = writer(choice, knows),
        Lie::DeltaMany if choice.one_in(2) => entry.writer = writer(choice, knows),
        Lie::DeltaEmpty => entry.body = Bytes::from(vec![0; choice.place(8)]),
        Lie::DeltaEndless => {
            entry.expires_at = match choice.below(4) {
                0 => Timestamp::from_nanos(u64::MAX),
                1 => Timestamp::from_nanos(u64::MAX - choice.below(1 << 40)),
                2 => knows.wall.plus(CENTURY * 4),
                _ => Timestamp::ZERO,
            };
            entry.schema = match choice.below(3) {
                0 => entry.schema.lasting(),
                1 => entry.schema.shape(),
                _ => entry.schema,
            };
        }
        Lie::DeltaFuture => {
            entry.ts = match choice.below(4) {
                0 => Timestamp::from_nanos(u64::MAX),
                1 => Timestamp::from_nanos(u64::MAX - choice.below(1 << 40)),
                2 => knows.wall.plus(Duration::from_secs(1 + choice.below(900))),
                _ => knows.wall.plus(CENTURY),
            };
        }
        Lie::DeltaLarge => {
            entry.key = key(choice.below(LARGE_KEYS));
            let over = usize::from(choice.one_in(4));
            let room = knows.message_bytes_max.saturating_sub(1024);
            entry.body = body(&entry.key, (knows.body_bytes_max + over).min(room), choice);
        }
        Lie::DeltaTombstones => {
            entry.schema = SchemaId::TOMBSTONE;
            if choice.one_in(2) {
                entry.schema = entry.schema.lasting();
            }
            if choice.one_in(2) {
                entry.body = Bytes::new();
            }
        }
        Lie::DeltaUnknown => {
            let raw = u16::try_from(choice.below(65_536)).unwrap_or(1);
            entry.schema = SchemaId::from_raw(raw);
        }
        Lie::DeltaUnreadable => {
            let len = choice.within(1, 400);
            let noise: Vec<u8> = (0..len).map(|_| choice.below(256) as u8).collect();
            entry.body = noise.into();
            if choice.one_in(4) {
                let other = choice.any().to_be_bytes();
                entry.key.0[8..].copy_from_slice(&other);
            }
        }
        _ => {}
    }
    (store, entry)
}

/// An entry with which nothing is wrong: a later version of somebody else's, or one of the liar's own.
fn sound(lie: Lie, choice: &mut dyn Choice, knows: &Knowledge) -> (StoreId, Entry) {
    let others = matches!(lie, Lie::DeltaOverwrites | Lie::DeltaTombstones) || choice.one_in(3);
    if let Some((store, held)) = pick(choice, &knows.entries)
        && others
        && !has_many(lie)
    {
        let mut entry = held.clone();
        let later = Duration::from_nanos(choice.below(3));
        entry.ts = match choice.below(4) {
            0 => held.ts.plus(later),
            1 => knows.wall.plus(Duration::from_secs(choice.below(240))),
            _ => knows.wall,
        };
        entry.tie = choice.edge();
        if choice.one_in(2) && !entry.body.is_empty() {
            let mut body = BytesMut::from(&entry.body[..]);
            let last = body.len() - 1;
            body[last] ^= u8::try_from(choice.below(256)).unwrap_or(1);
            entry.body = body.freeze();
        }
        if choice.one_in(2) {
            entry.expires_at = expiry(choice, knows);
        }
        return (*store, entry);
    }
    let store = match pick(choice, &knows.stores) {
        Some(store) if !choice.one_in(40) => store.id,
        _ => StoreId(u32::try_from(choice.below(9)).unwrap_or(0)),
    };
    let keys = if has_many(lie) {
        10_000 + choice.below(MANY_KEYS)
    } else {
        choice.below(KEYS)
    };
    let (key, len) = (key(keys), choice.within(0, 300));
    let entry = Entry {
        key,
        ts: knows.wall,
        tie: 0,
        writer: WriterTag::of(&knows.own.process.name),
        expires_at: expiry(choice, knows),
        schema: SchemaId::new(1),
        body: body(&key, len, choice),
    };
    (store, entry)
}

/// Somebody else, somebody who does not exist, or nobody.
fn writer(choice: &mut dyn Choice, knows: &Knowledge) -> WriterTag {
    match (choice.below(4), pick(choice, &knows.members)) {
        (0, _) => WriterTag(choice.edge()),
        (1, _) | (_, None) => WriterTag::NONE,
        (_, Some(member)) => WriterTag::of(&member.process.name),
    }
}

/// Soon, in a while, or not at all.
fn expiry(choice: &mut dyn Choice, knows: &Knowledge) -> Timestamp {
    match choice.below(4) {
        0 => knows.wall.plus(Duration::from_millis(choice.below(2_000))),
        1 => knows.wall.plus(Duration::from_secs(choice.below(60))),
        2 => knows.wall.plus(Duration::from_secs(3_600)),
        _ => Timestamp::ZERO,
    }
}

/// A key that others use too, where keys are numbers.
fn key(number: u64) -> Key {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Key(bytes)
}

/// A body that can be read where bodies begin with their key.
fn body(key: &Key, len: usize, choice: &mut dyn Choice) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + len);
    out.put_slice(&key.0[..8]);
    let fill = u8::try_from(choice.below(256)).unwrap_or(0);
    out.put_bytes(fill, len.saturating_sub(8));
    out.freeze()
}

fn uncovered(choice: &mut dyn Choice, knows: &Knowledge) -> Vec<NodeName> {
    let mut names = Vec::new();
    for _ in 0..=choice.below(30) {
        names.push(match pick(choice, &knows.members) {
            Some(member) if !choice.one_in(4) => member.process.name.clone(),
            _ => {
                let name = format!("y{}", choice.below(1_000));
                NodeName::new(&name).expect("a short name is valid")
            }
        });
    }
    names
}

/// Acknowledgements, the liar's own and those that it passes on.
pub(super) fn acknowledgement(lie: Lie, choice: &mut dyn Choice, knows: &Knowledge) -> Message {
    match lie {
        Lie::CoveredFalse => return Message::Covered(covered(choice, knows)),
        Lie::RecallAlways => {
            let packets = (0..=choice.below(64)).map(|_| recalled(choice, knows));
            return Message::Recall(Recall {
                token: knows.token,
                packets: packets.collect(),
            });
        }
        Lie::RelayedFalse => return Message::Relayed(relayed(choice, knows)),
        _ => {}
    }
    let packet = knows.received;
    let ranges = match lie {
        Lie::AcksEverything => vec![(1, packet.saturating_add(choice.below(64)))],
        Lie::AcksTheUnsent => {
            let from = packet.saturating_add(1 + choice.below(1 << 20));
            vec![(from, from.saturating_add(choice.below(1 << 30)))]
        }
        Lie::RefusesEverything => vec![(1.max(packet.saturating_sub(64)), packet.max(1))],
        _ => {
            let mut ranges = vec![(0, u64::MAX)];
            for _ in 0..choice.below(200) {
                ranges.push((choice.edge(), choice.edge()));
            }
            ranges
        }
    };
    let token = knows.token;
    if lie != Lie::RefusesEverything && packet % 3 == 1 {
        return Message::Arrived(Arrived { token, ranges });
    }
    let mut refused = Vec::new();
    if lie == Lie::RefusesEverything || choice.one_in(10) {
        let reason = match choice.below(6) {
            0 => Refusal::ClockAhead,
            1 => Refusal::Full,
            2 => Refusal::NoStore,
            3 => Refusal::Share,
            4 => Refusal::TooLarge,
            _ => Refusal::TooLasting,
        };
        for back in 0..choice.below(64) {
            for index in 0..=choice.below(8) {
                refused.push(RefusedEntry {
                    packet: packet.saturating_sub(back),
                    index: u16::try_from(index * choice.below(9_000)).unwrap_or(u16::MAX),
                    reason,
                });
            }
        }
    }
    Message::Ack(Ack {
        token,
        ranges,
        refused,
    })
}

/// The number of a packet, sent or not.
fn recalled(choice: &mut dyn Choice, knows: &Knowledge) -> u64 {
    match choice.below(4) {
        0 => choice.edge(),
        1 => knows.sent,
        _ => knows.received.saturating_sub(choice.below(8)),
    }
}

fn covered(choice: &mut dyn Choice, knows: &Knowledge) -> Covered {
    let mut reports = Vec::new();
    for _ in 0..=choice.below(16) {
        let holders = (0..choice.below(8)).map(|_| choice.edge());
        reports.push(CoverReport {
            holders: holders.collect(),
            packet: recalled(choice, knows),
            taken: u16::try_from(choice.below(4)).unwrap_or(0),
            complete: choice.one_in(2),
            list: choice.edge(),
        });
    }
    Covered {
        token: knows.token,
        reports,
    }
}

fn relayed(choice: &mut dyn Choice, knows: &Knowledge) -> Relayed {
    let holder = match pick(choice, &knows.members) {
        Some(member) if !choice.one_in(6) => member.process.clone(),
        _ => ProcessId {
            name: NodeName::new("x1").expect("a short name is valid"),
            boot: choice.edge(),
        },
    };
    let mut held = Vec::new();
    for _ in 0..=choice.below(40) {
        let version = pick(choice, &knows.entries).map(|(store, entry)| HeldVersion {
            store: *store,
            key: entry.key,
            ts: entry.ts,
            tag: crate::crdt::digest::tag(crate::crdt::digest::entry_hash(entry)),
        });
        held.extend(version.filter(|_| !choice.one_in(8)));
        if choice.one_in(8) {
            held.push(HeldVersion {
                store: StoreId(u32::try_from(choice.below(6)).unwrap_or(0)),
                key: key(choice.below(KEYS)),
                ts: Timestamp::from_nanos(choice.edge()),
                tag: u32::try_from(choice.below(1 << 32)).unwrap_or(0),
            });
        }
    }
    Relayed {
        token: knows.token,
        holder,
        held,
    }
}

const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
