//! Steps of an engine, and of one exchange: every golden message where it belongs.

use rumormill::store::Limits;

use super::{Seeds, dialogue, encoded, piece};
use crate::checks::engine::GROUPS;
use crate::checks::stores::{Clock, fill};
use crate::golden;

/// What may be in a datagram.
const DATAGRAMS: [&str; 6] = ["ack", "delta", "leave", "leave_ack", "relayed", "swim"];

/// A packet of the failure detector, up to what a check adds: an incarnation, the message, and about whom
/// it gossips.
const PACKETS: [&[u8]; 5] = [
    &[0, 0, 7],
    &[0, 1, 7, 1, 3, 0, 0, 0, 0],
    &[0, 2, 4, 7, 2, 8, 0, 1, 2, 1, 12, 0, 0, 3, 2],
    &[0, 7, 3, 0, 1, 0, 0, 0, 1, 0, 0, 1, 1, 28, 0, 0, 2, 1],
    &[1, 10],
];

fn packet(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap();
    [&[1], &len.to_be_bytes()[..], bytes].concat()
}

pub fn engine() -> Seeds {
    let mut seeds = Seeds::new();
    let mut all = vec![0];
    let mut add = |name: &str, steps: Vec<u8>| {
        all.extend_from_slice(&steps);
        seeds.insert(name.to_owned(), [&[0][..], &steps].concat());
    };
    for (name, message, _) in golden::all() {
        let bytes = piece(&encoded(&message));
        // On the link of the second member, and then some time.
        let mut steps = [&[2, 1, 0][..], &bytes, &[0, 50, 0]].concat();
        if DATAGRAMS.contains(&name) {
            steps.extend([&[1, 0, 0][..], &bytes].concat());
        }
        add(name, steps);
    }
    let mut packets = Vec::new();
    for (peer, bytes) in (0..).zip(PACKETS) {
        packets.extend([&[1, peer % 3, 0][..], &piece(&packet(bytes))].concat());
    }
    add("packets", packets);
    add(
        "strangers",
        [&[4, 5, 3, 3, 0, 3, 4, 1, 13, 9][..], &piece(b"\x02noise")].concat(),
    );
    // Answered dials, writes, watches, an exchange; a member is expelled and let in again.
    add(
        "operations",
        vec![
            6, 4, 10, 2, 3, 4, 6, 9, 8, 1, 2, 7, 3, 5, 2, 1, 9, 7, 5, 6, 5,
        ],
    );
    add(
        "expulsion",
        vec![7, 0, 0, 0, 9, 0, 7, 1, 0, 3, 0, 0, 7, 4, 4, 0, 200, 0],
    );
    add(
        "clocks",
        vec![
            0, 0, 1, 0, 1, 0, 9, 255, 0, 1, 0, 0, 255, 200, 0, 8, 1, 1, 0, 99, 255, 1, 3, 3,
        ],
    );
    let durable = [&[1][..], &all[1..], &[9, 1, 9, 0]].concat();
    seeds.insert("durable".to_owned(), durable);
    seeds.insert("all".to_owned(), all);
    seeds
}

pub fn exchange() -> Seeds {
    let step = |name: &str| {
        let found = golden::all().into_iter().find(|(it, ..)| *it == name);
        let (_, message, _) = found.unwrap();
        [&[0][..], &piece(&encoded(&message))].concat()
    };
    let talk = |ours: u8, names: &[&str]| {
        let steps = names.iter().flat_map(|name| step(name));
        std::iter::once(ours).chain(steps).collect::<Vec<u8>>()
    };
    let talks: [(&str, &[&str]); 5] = [
        ("cells", &["summary", "peeled", "delta", "settled", "done"]),
        ("lists", &["summary", "items", "wants", "delta", "done"]),
        (
            "hashes",
            &["summary", "more", "peeled_unsure", "hashes", "done"],
        ),
        (
            "answers",
            &["verdicts", "cells", "settled", "wants", "delta", "done"],
        ),
        (
            "acks",
            &[
                "summary", "verdicts", "delta", "ack", "more", "cells", "done",
            ],
        ),
    ];
    let mut seeds = Seeds::new();
    for (name, steps) in talks {
        seeds.insert(format!("{name}_accepted"), talk(0, steps));
        seeds.insert(format!("{name}_begun"), talk(1, steps));
    }
    seeds.extend(dialogues());
    seeds
}

/// What an honest member says in an exchange with the node of the checks: which has little that the member
/// lacks, or much, or nothing at all.
fn dialogues() -> Seeds {
    let stores = |groups: std::ops::Range<u8>| {
        let clock = Clock::new();
        let (silences, nflog) = (
            clock.silences(Limits::default()),
            clock.nflog(Limits::default()),
        );
        fill(&silences, &nflog, groups);
        vec![silences.store(), nflog.store()]
    };
    let mut seeds = Seeds::new();
    for (name, groups) in [
        ("little", 1..GROUPS + 1),
        ("much", 20..80),
        ("nothing", 0..GROUPS),
    ] {
        for (how, begins) in [("accepted", false), ("begun", true)] {
            let ours = stores(0..GROUPS);
            let said = dialogue::exchange(ours, stores(groups.clone()), begins);
            // Writers, packets and cuts are as they should be.
            let steps = said
                .iter()
                .flat_map(|frame| [&[10][..], &piece(frame)].concat());
            let seed = std::iter::once(u8::from(begins)).chain(steps).collect();
            seeds.insert(format!("{name}_{how}"), seed);
        }
    }
    seeds
}
