//! The wire format: golden vectors, and that every message comes back while nothing else gets in.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod golden;
mod strategies;
mod vectors;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use rumormill::config::Config;
use rumormill::id::StoreId;
use rumormill::time::Timestamp;
use rumormill::unstable::wire::codec::{
    self, ACK_OVERHEAD, ACK_RANGE_BYTES, ACK_REFUSED_BYTES, BODY_BYTES_MAX, COVERED_OVERHEAD,
    CodecLimits, DecodeError, Decoded, HANDED_OVERHEAD, HOLDER_BYTES, ITEM_BYTES, ITEMS_OVERHEAD,
    RELAYED_HELD_BYTES, RELAYED_OVERHEAD, REPORT_OVERHEAD, SECTION_OVERHEAD, Values,
    delta_overhead,
};
use rumormill::unstable::wire::{
    Ack, Done, Entry, Handed, Hashed, Hashes, Item, Items, Message, Recall, Wants,
};

use strategies::{acks, covers, deltas, lists, messages, relays};

fn encoded(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    codec::encode(message, &mut out);
    out.freeze()
}

fn decoded(bytes: &Bytes) -> Result<Decoded, DecodeError> {
    let mut rest = bytes.clone();
    let message = codec::decode(&mut rest, &CodecLimits::default())?;
    assert!(rest.is_empty(), "exactly one message is taken");
    Ok(message)
}

// --- golden vectors ---

/// `golden::entry()`. A change is a new `WIRE_VERSION`.
const ENTRY_HEX: &str = "3031323334353637383961626364656617979cfe362a000101020304050607081112131415161718\
             17979d0c2e715800800300000004626f6479";

/// `record()`. A change is a new schema number for every store.
const BODY_HEX: &str = "01020304fbfb00ff02c3a902fafc0000010001fd00002a36fe9c97170105";

#[derive(bincode::Encode, bincode::Decode, Debug, PartialEq)]
struct RecordV1 {
    id: [u8; 4],
    count: u64,
    small: u8,
    text: String,
    list: Vec<u32>,
    choice: Choice,
    maybe: Option<i64>,
}

#[derive(bincode::Encode, bincode::Decode, Debug, PartialEq)]
enum Choice {
    Never,
    At(u64),
}

fn record() -> RecordV1 {
    RecordV1 {
        id: [1, 2, 3, 4],
        count: 251,
        small: 255,
        text: "é".to_owned(),
        list: vec![250, 65_536],
        choice: Choice::At(1_700_000_000_000_000_000),
        maybe: Some(-3),
    }
}

#[test]
fn messages_stay_what_they_are() {
    let all = golden::all();
    for (name, message, expected) in &all {
        assert_eq!(hex(&encoded(message)), *expected, "{name}");
        let decoded = decoded(&encoded(message));
        assert_eq!(decoded, Ok(Decoded::Message(message.clone())), "{name}");
    }
    let tags: Vec<_> = all
        .iter()
        .map(|(_, message, _)| encoded(message)[0])
        .collect();
    // 11 to 14, 18 and 20 are retired.
    let retired = [18, 20];
    let known = (1..=10)
        .chain(15..=25)
        .chain(40..=42)
        .chain(50..=55)
        .chain([60, 70]);
    for tag in known.filter(|tag| !retired.contains(tag)) {
        assert!(tags.contains(&tag), "no golden vector for tag {tag}");
    }
}

#[test]
fn entries_and_records_stay_what_they_are() {
    let mut out = BytesMut::new();
    golden::entry().encode(&mut out);
    assert_eq!(hex(&out), ENTRY_HEX);

    let body = codec::encode_body(&record());
    assert_eq!(hex(&body), BODY_HEX);
    assert_eq!(codec::decode_body(&body), Ok(record()));
    assert_eq!(hex(&codec::encode_body(&Choice::Never)), "00");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// --- bodies of entries ---

#[test]
fn a_record_with_bytes_left_over_or_missing_is_refused() {
    let body = codec::encode_body(&record());
    let longer = [&body[..], b"x"].concat();
    assert_eq!(
        codec::decode_body::<RecordV1>(&longer),
        Err(DecodeError::Trailing { bytes: 1 })
    );
    for len in 0..body.len() {
        assert!(codec::decode_body::<RecordV1>(&body[..len]).is_err());
    }
}

proptest! {
    /// A number is what bincode reads, or what it refuses, whatever the bytes.
    #[test]
    fn numbers_are_those_of_the_encoding(first: u8, mut rest in vec(any::<u8>(), 0..20)) {
        rest.insert(0, first);
        let (mut ours, mut theirs) = (Values::new(&rest), Values::new(&rest));
        let (number, expected) = (ours.take_u64(), theirs.take::<u64>());
        prop_assert_eq!(&number, &expected);
        if number.is_ok() {
            prop_assert_eq!(ours.end(), theirs.end());
        }
    }

    /// Text is what the standard library says is, whatever the length.
    #[test]
    fn text_is_utf8(
        mut bytes in vec(0..128_u8, 0..40),
        other in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        text in ".{0,20}",
    ) {
        if let Some((at, byte)) = other {
            bytes.insert(at.index(bytes.len() + 1), byte);
        }
        prop_assert_eq!(codec::is_text(&bytes), std::str::from_utf8(&bytes).is_ok());
        prop_assert!(codec::is_text(text.as_bytes()));
    }
}

/// One after the other, a record's values are what the whole of it is, whatever the lengths of its
/// texts and lists.
#[test]
fn values_are_those_of_the_record() {
    for len in [0, 1, 249, 250, 251, 252, 1_000, 70_000] {
        let text = "é".repeat(len / 2) + &"x".repeat(len % 2);
        let body = codec::encode_body(&([1_u8, 2], &*text, vec![9_u64; len], text.as_bytes()));
        let read = |body: &[u8]| {
            let mut values = Values::new(body);
            let array = values.take_array()?;
            let text = values.take_text()?.to_vec();
            let list = (0..values.take_u64()?).map(|_| values.take());
            let list: Vec<u64> = list.collect::<Result<_, _>>()?;
            let bytes = values.take_bytes()?.to_vec();
            values.end()?;
            Ok((array, text, list, bytes))
        };
        let whole = (
            [1, 2],
            text.clone().into_bytes(),
            vec![9; len],
            text.into_bytes(),
        );
        assert_eq!(read(&body), Ok(whole));
        let longer = [&body[..], b"x"].concat();
        assert_eq!(read(&longer), Err(DecodeError::Trailing { bytes: 1 }));
        for cut in (0..body.len()).rev().step_by(len / 20 + 1) {
            assert!(read(&body[..cut]).is_err());
        }
    }
    assert_eq!(Values::new(b"\x01\xff").take_text(), Err(DecodeError::Text));
}

#[test]
fn a_record_that_claims_too_much_memory_is_refused() {
    // A varint of 8 bytes: a list of 2^40 elements.
    let claim = [0xfd, 0, 0, 0, 0, 0, 1, 0, 0];
    assert!(matches!(
        codec::decode_body::<Vec<u64>>(&claim),
        Err(DecodeError::Limit { .. })
    ));
    assert_eq!(
        Values::new(&claim).take_bytes(),
        Err(DecodeError::Truncated { what: "body" })
    );
}

#[test]
fn the_largest_entry_a_node_may_write_is_the_largest_body() {
    let config = Config::lan().entry_bytes_max(BODY_BYTES_MAX);
    assert_eq!(config.validate(), Ok(()));
    let config = Config::lan().entry_bytes_max(BODY_BYTES_MAX + 1);
    assert!(config.validate().is_err());
}

// --- what is refused ---

#[test]
fn an_unknown_tag_is_stepped_over_by_its_length() {
    let mut bytes = BytesMut::from(&[99, 0, 0, 0, 2, 1, 2][..]);
    codec::encode(&Message::Done(Done { complete: false }), &mut bytes);
    let (mut bytes, limits) = (bytes.freeze(), CodecLimits::default());
    assert_eq!(
        codec::decode(&mut bytes, &limits),
        Ok(Decoded::Unknown { tag: 99 })
    );
    assert_eq!(
        codec::decode(&mut bytes, &limits),
        Ok(Decoded::Message(Message::Done(Done { complete: false })))
    );
}

#[test]
fn every_list_over_its_limit_is_refused() {
    let limits = CodecLimits {
        cells_max: 0,
        entry_bytes_max: 3,
        expelled_max: 0,
        held_max: 0,
        holders_max: 0,
        items_max: 0,
        names_max: 0,
        ranges_max: 0,
        recalls_max: 0,
        records_max: 0,
        refused_max: 0,
        schemas_max: 0,
        sections_max: 0,
        stores_max: 0,
    };
    for (name, message, _) in golden::all() {
        let refused = codec::decode(&mut encoded(&message), &limits);
        let has_list = !matches!(
            message,
            Message::Swim(_)
                | Message::Objection(_)
                | Message::Reject(_)
                | Message::Leave(_)
                | Message::LeaveAck(_)
                | Message::Done(_)
                | Message::More(_)
                | Message::Settled(_)
                | Message::Recheck(_)
                | Message::Probe(_)
                | Message::Roots(_)
        );
        let too_many = matches!(refused, Err(DecodeError::TooMany { .. }));
        assert_eq!(too_many, has_list, "{name}: {refused:?}");
    }
    let wide = CodecLimits {
        entry_bytes_max: 3,
        ..CodecLimits::default()
    };
    let (_, delta, _) = golden::all()
        .into_iter()
        .find(|(name, ..)| *name == "delta")
        .unwrap();
    assert!(matches!(
        codec::decode(&mut encoded(&delta), &wide),
        Err(DecodeError::TooLarge {
            bytes: 4,
            max: 3,
            ..
        })
    ));
}

#[test]
fn lists_out_of_order_are_refused() {
    let ack = |ranges| {
        Message::Ack(Ack {
            token: 0,
            ranges,
            refused: vec![],
        })
    };
    for ranges in [vec![(2, 1)], vec![(1, 2), (2, 3)], vec![(5, 6), (1, 2)]] {
        let refused = Err(DecodeError::Disorder { what: "ranges" });
        assert_eq!(decoded(&encoded(&ack(ranges))), refused);
    }
    let items = |from, to, hashes: &[u64]| {
        let item = |&kh| Item {
            kh,
            ts: Timestamp::ZERO,
            tag: 0,
        };
        Message::Items(Items {
            store: StoreId(0),
            from,
            to,
            sum: 0,
            items: hashes.iter().map(item).collect(),
        })
    };
    for message in [items(0, 9, &[2, 1]), items(3, 9, &[2]), items(9, 0, &[])] {
        let refused = Err(DecodeError::Disorder { what: "items" });
        assert_eq!(decoded(&encoded(&message)), refused);
    }
    let hashes = |from, to, hashes: &[u64]| {
        let hashed = |&kh| Hashed { kh, hash: 0 };
        Message::Hashes(Hashes {
            store: StoreId(0),
            from,
            to,
            hashes: hashes.iter().map(hashed).collect(),
        })
    };
    for message in [hashes(0, 9, &[2, 1]), hashes(3, 9, &[2]), hashes(9, 0, &[])] {
        let refused = Err(DecodeError::Disorder { what: "hashes" });
        assert_eq!(decoded(&encoded(&message)), refused);
    }
    for wants in [vec![1, 1], vec![2, 1]] {
        let store = StoreId(0);
        let message = Message::Wants(Wants {
            store,
            to: 9,
            wants,
        });
        let refused = Err(DecodeError::Disorder { what: "wants" });
        assert_eq!(decoded(&encoded(&message)), refused);
    }
}

/// A counter is as long as it needs to be, and no longer than four bytes and a half.
#[test]
fn a_counter_over_32_bits_is_refused() {
    let (_, summary, _) = golden::all()
        .into_iter()
        .find(|(name, ..)| *name == "summary")
        .unwrap();
    let whole = encoded(&summary);
    // Two of the 64 take two bytes.
    let counters = whole.len() - 66;
    let with_first = |first: [u8; 5]| {
        let mut bytes = whole[..counters].to_vec();
        bytes.extend_from_slice(&first);
        bytes.extend_from_slice(&[0; 63]);
        let len = bytes.len() as u32 - 5;
        bytes[1..5].copy_from_slice(&len.to_be_bytes());
        decoded(&bytes.into())
    };
    assert!(with_first([0xff, 0xff, 0xff, 0xff, 0x0f]).is_ok());
    for last in [0x1f, 0x8f] {
        let first = [0xff, 0xff, 0xff, 0xff, last];
        assert_eq!(with_first(first), Err(DecodeError::Malformed));
    }
}

#[test]
fn a_name_that_breaks_the_rules_is_refused() {
    for name in ["", "a\nb"] {
        let mut bytes = vec![9, 0, 0, 0, name.len() as u8 + 2, name.len() as u8];
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(1);
        let refused = decoded(&bytes.into());
        assert!(matches!(refused, Err(DecodeError::Name(_))), "{refused:?}");
    }
    let long = [&[9, 0, 0, 0, 67, 65][..], &[b'a'; 65], &[1]].concat();
    assert_eq!(
        decoded(&long.into()),
        Err(DecodeError::TooLarge {
            what: "name",
            bytes: 65,
            max: 64
        })
    );
}

// --- every message ---

proptest! {
    #[test]
    fn messages_come_back_and_their_length_is_known(message in messages()) {
        let bytes = encoded(&message);
        prop_assert_eq!(codec::encoded_len(&message), bytes.len());
        prop_assert_eq!(decoded(&bytes), Ok(Decoded::Message(message)));
    }

    #[test]
    fn a_message_cut_anywhere_is_refused(message in messages()) {
        let bytes = encoded(&message);
        for len in 0..bytes.len() {
            prop_assert!(decoded(&bytes.slice(..len)).is_err());
        }
        // The same with a length that agrees: the body itself is short.
        for len in 5..bytes.len() {
            let mut short = bytes[..len].to_vec();
            short[1..5].copy_from_slice(&(len as u32 - 5).to_be_bytes());
            let opaque = matches!(message, Message::Swim(_));
            prop_assert_eq!(decoded(&short.into()).is_ok(), opaque);
        }
    }

    #[test]
    fn a_message_with_bytes_left_over_is_refused(message in messages()) {
        prop_assume!(!matches!(message, Message::Swim(_)));
        let mut bytes = encoded(&message).to_vec();
        bytes.push(0);
        let len = bytes.len() as u32 - 5;
        bytes[1..5].copy_from_slice(&len.to_be_bytes());
        prop_assert_eq!(decoded(&bytes.into()), Err(DecodeError::Trailing { bytes: 1 }));
    }

    #[test]
    fn random_bytes_never_panic(tag in 0..30_u8, body in vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&body);
        let _ = decoded(&bytes.into());
        let _ = codec::decode(&mut body.clone().into(), &CodecLimits::default());
        let _ = codec::decode_body::<RecordV1>(&body);
    }

    #[test]
    fn a_damaged_message_never_panics(message in messages(), at in any::<usize>(), byte: u8) {
        let mut bytes = encoded(&message).to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = codec::decode(&mut bytes.into(), &CodecLimits::default());
    }

    /// What the outbox fills a datagram by.
    #[test]
    fn a_delta_is_exactly_as_long_as_its_parts(delta in deltas()) {
        let parts: usize = delta
            .sections
            .iter()
            .map(|section| {
                SECTION_OVERHEAD + section.entries.iter().map(Entry::encoded_len).sum::<usize>()
            })
            .sum();
        let expected = delta_overhead(&delta.uncovered) + parts;
        prop_assert_eq!(encoded(&Message::Delta(delta)).len(), expected);
    }

    #[test]
    fn reports_are_no_longer_than_their_bounds(covered in covers(), delta in deltas()) {
        let reports = covered.reports.iter();
        let reports = reports.map(|it| REPORT_OVERHEAD + it.holders.len() * HOLDER_BYTES);
        let bound = COVERED_OVERHEAD + reports.sum::<usize>();
        prop_assert!(encoded(&Message::Covered(covered)).len() <= bound);
        let (bits, list) = (3, u64::MAX);
        let whole = encoded(&Message::Delta(delta.clone())).len() + HANDED_OVERHEAD;
        prop_assert_eq!(encoded(&Message::Handed(Handed { bits, list, delta })).len(), whole);
        let recall = Recall { token: u64::MAX, packets: vec![u64::MAX; 3] };
        let bound = COVERED_OVERHEAD + 3 * HOLDER_BYTES;
        prop_assert!(encoded(&Message::Recall(recall)).len() <= bound);
    }

    #[test]
    fn lists_are_no_longer_than_their_bounds(ack in acks(), relay in relays(), list in lists()) {
        let bound = ACK_OVERHEAD
            + ack.ranges.len() * ACK_RANGE_BYTES
            + ack.refused.len() * ACK_REFUSED_BYTES;
        prop_assert!(encoded(&Message::Ack(ack)).len() <= bound);
        let bound = RELAYED_OVERHEAD + relay.held.len() * RELAYED_HELD_BYTES;
        prop_assert!(encoded(&Message::Relayed(relay)).len() <= bound);
        let expected = ITEMS_OVERHEAD + list.items.len() * ITEM_BYTES;
        prop_assert_eq!(encoded(&Message::Items(list)).len(), expected);
    }
}
