//! The vectors that PROTOCOL.md shows are what the code makes: another implementation is written from them.

use std::fs;
use std::path::Path;

use bytes::{BufMut as _, Bytes, BytesMut};
use rumormill::id::{ClusterId, Key, SchemaId, StoreId, WriterTag};
use rumormill::time::Timestamp;
use rumormill::unstable::crdt::digest::{entry_hash, item, kh, tag};
use rumormill::unstable::crdt::sketch::{Shape, Sketch, item_hash};
use rumormill::unstable::wire::envelope::Envelope;
use rumormill::unstable::wire::{Done, Entry, Message};

use crate::{ENTRY_HEX, encoded, golden, hex};

/// Of the page, each with what is under it, without blanks.
type Vector = (String, String);

#[test]
fn the_vectors_of_the_protocol_page_are_those_of_the_code() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## 21. Golden vectors\n").unwrap();
    let (_, section) = section.split_once("\n```text\n").unwrap();
    let (section, _) = section.split_once("\n```\n").unwrap();
    let mut shown = vectors(section);
    // A test beside the code that computes them looks for them.
    assert!(shown.pop().unwrap().0.starts_with("weights of "));

    let mut expected = vec![
        ("cluster tags and store ids".to_owned(), names()),
        (
            "key of the natural key \"web\"".to_owned(),
            hex(&Key::of(b"web").0),
        ),
    ];
    expected.extend(envelopes());
    expected.extend(messages());
    expected.push((shown[shown.len() - 1].0.clone(), hashes()));
    for (shown, expected) in shown.iter().zip(&expected) {
        assert_eq!(shown, expected);
    }
    assert_eq!(shown.len(), expected.len());
}

fn vectors(section: &str) -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    for line in section.lines().filter(|line| !line.is_empty()) {
        match vectors.last_mut() {
            Some((_, under)) if line.starts_with("  ") => {
                under.extend(line.chars().filter(|c| !c.is_whitespace()));
            }
            _ => vectors.push((line.to_owned(), String::new())),
        }
    }
    vectors
}

fn names() -> String {
    let cluster = |name| hex(&envelope(name).preface()[1..]);
    let store = |name| format!("{:08x}", StoreId::of(name).0);
    format!(
        "\"\"{}\"silences\"{}\"prod\"{}\"nflog\"{}",
        cluster(""),
        store("silences"),
        cluster("prod"),
        store("nflog"),
    )
}

fn envelope(cluster: &str) -> Envelope {
    Envelope::of(&ClusterId::new(cluster).unwrap())
}

fn envelopes() -> [Vector; 2] {
    let prod = envelope("prod");
    let done = encoded(&Message::Done(Done { complete: true }));
    [
        (
            "preface of the cluster \"prod\"".to_owned(),
            hex(&prod.preface()),
        ),
        (
            "datagram of the cluster \"prod\" with one Done {complete: true}".to_owned(),
            hex(&prod.seal(|out| out.put_slice(&done))),
        ),
    ]
}

/// Those of the golden messages that the page shows.
fn messages() -> Vec<Vector> {
    let shown = [
        ("reject", "Reject {stale boot, boot_known 7}"),
        ("objection", "Objection {name taken, 127.0.0.1:1}"),
        (
            "ack",
            "Ack {token 1, ranges 1..=4 and 6..=1000, refused: packet 6, entry 2, too large}",
        ),
        ("arrived", "Arrived {token 1, ranges 1..=4 and 6..=1000}"),
        ("leave", "Leave {am-0, boot 1700000000000000000}"),
        (
            "verdicts",
            "Verdicts {accepted; 3 equal, 4 cells, 5 no such store, 6 list, 7 all}",
        ),
        ("settled", "Settled {store 3, does not agree}"),
        (
            "wants",
            "Wants {store 3, to 2^64 - 1, wants 1 and 0102030405060708}",
        ),
        (
            "delta",
            "Delta {token 1, packet 2, uncovered \"am-1\", store 3 with the entry below}",
        ),
    ];
    let all = golden::all();
    let bytes = |name| {
        let (_, message, _) = all.iter().find(|(it, ..)| *it == name).unwrap();
        hex(&encoded(message)).replace(ENTRY_HEX, "<entry>")
    };
    let mut vectors: Vec<_> = shown
        .map(|(name, title)| (title.to_owned(), bytes(name)))
        .into();
    let entry = "entry {key \"0123456789abcdef\", ts 1700000000000000001, tie 0102030405060708, \
                 writer 1112131415161718, expires at 1700000060 s, schema 3 lasting}";
    let mut bytes = BytesMut::new();
    golden::entry().encode(&mut bytes);
    vectors.push((entry.to_owned(), hex(&bytes)));
    vectors
}

/// Of the entry that the page names.
fn hashes() -> String {
    let entry = Entry {
        key: Key([7; 16]),
        ts: Timestamp::from_secs(1_000),
        tie: 3,
        writer: WriterTag(4),
        expires_at: Timestamp::from_secs(2_000),
        schema: SchemaId::new(1),
        body: Bytes::from_static(b"body"),
    };
    let (whole, item) = (entry_hash(&entry), item(&entry));
    let ihash = item_hash(&item);
    let mut table = Sketch::new(4);
    table.toggle(&item, ihash);
    let cells = table.cells(Shape::new(4, 4).unwrap()).unwrap();
    let partitions = cells.chunks(16);
    let places = partitions.map(|cells| cells.iter().position(|cell| cell.0 != 0).unwrap());
    let places: Vec<_> = places.collect();
    let check = cells[places[0]].0 & 0xf_ffff;
    format!(
        "kh{:012x}entry{whole:032x}tag{:08x}ihash{ihash:016x}check{check:05x}\
         itscellsinatableofexponent4:{}ofpartition0,{}of1,{}of2,{}of3",
        kh(&entry.key),
        tag(whole),
        places[0],
        places[1],
        places[2],
        places[3],
    )
}
