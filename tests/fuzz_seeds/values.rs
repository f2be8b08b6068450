//! Seeds of what is parsed or kept outside of messages.

use std::time::Duration;

use rumormill::store::Limits;
use rumormill::store::alerts::Alert;
use rumormill::store::matcher::Syntax;
use rumormill::store::nflog::{Notified, ReceiverKey, ReceiverValue};
use rumormill::store::silences::NewSilence;
use rumormill::time::Timestamp;
use rumormill::unstable::wire::Entry;

use super::{Seeds, piece};
use crate::checks::stores::{BEGIN, Clock, held};

fn named<const N: usize>(seeds: [(&str, Vec<u8>); N]) -> Seeds {
    let named = |(name, bytes): (&str, Vec<u8>)| (name.to_owned(), bytes);
    seeds.map(named).into()
}

fn silence() -> Vec<Entry> {
    let silences = Clock::new().silences(Limits::default());
    let matchers = r#"{alertname="Down",instance=~"db-.+|web-[0-9]",zone!="b",role!~"x{3}"}"#;
    let matchers = Syntax::Utf8.matchers(matchers).unwrap();
    let new = NewSilence::lasting(matchers, Duration::from_secs(3600));
    let _ = silences
        .set(new.created_by("ann").comment("disks"))
        .unwrap();
    held(&*silences.store())
}

/// An alert, and the lease of a repeat of it.
fn alert() -> [Entry; 2] {
    let (alerts, begin) = (
        Clock::new().alerts(Limits::default()),
        Timestamp::from_secs(BEGIN),
    );
    let pair = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    for seconds in [0, 200] {
        let now = begin.plus(Duration::from_secs(seconds));
        let sent = Alert {
            labels: pair("alertname", "Down"),
            annotations: pair("summary", "disks"),
            starts_at: begin,
            ends_at: now.plus(Duration::from_secs(300)),
            updated_at: begin,
            generator_url: "http://x".to_owned(),
            timeout: true,
        };
        let _ = alerts.put(sent, now).unwrap();
        let _ = alerts.extend(now).unwrap();
    }
    let mut held = held(&*alerts.store());
    held.sort_by_key(|entry| entry.schema);
    held.try_into().unwrap()
}

fn receiver() -> ReceiverKey {
    ReceiverKey {
        group_name: "team".to_owned(),
        integration: "webhook".to_owned(),
        idx: 1,
    }
}

/// A log of one entry, and what it holds.
fn notified() -> (Vec<Entry>, Vec<u8>) {
    let log = Clock::new().nflog(Limits::default());
    let mut made = Notified::new(receiver(), "{}:{alertname=\"Down\"}").firing([3, 1, 2]);
    made.resolved = vec![9];
    made.receiver_data = [
        ("a".to_owned(), ReceiverValue::Str("b".to_owned())),
        ("c".to_owned(), ReceiverValue::Int(-5)),
        ("d".to_owned(), ReceiverValue::Double(0.5)),
    ]
    .into();
    let _ = log.log(made).unwrap();
    let mut bytes = Vec::new();
    let _ = log.map().snapshot(&mut bytes).unwrap();
    (held(&*log.store()), bytes)
}

/// A silence and a log entry, alone and against an older version, a tombstone, and noise.
pub fn bodies() -> Seeds {
    // Shape, time, expiry, tie, writer, key; then the body.
    let entry = |shape: u8, after: u8, body: &[u8]| {
        [&[shape, after, 60, 0, 1, 1][..], &piece(body)].concat()
    };
    let of = |kind: u8, body: &[u8]| {
        let (first, second) = (entry(2, 9, body), entry(3, 8, body));
        let gone = entry(0, 10, b"");
        let noise = entry(2, 12, &body[..body.len() / 2]);
        let one = [&[kind][..], &first].concat();
        let all = [&[kind][..], &first, &second, &gone, &noise].concat();
        (one, all)
    };
    let (one, all) = of(0, &silence()[0].body);
    let (log_one, log_all) = of(1, &notified().0[0].body);
    let mut header = bytes::BytesMut::new();
    crate::golden::entry().encode(&mut header);
    let [alert, lease] = alert();
    let (alert_one, alert_all) = of(2, &alert.body);
    let lease = [&[2, 1, 0, 2, 9, 60, 0, 1, 1][..], &piece(&lease.body)].concat();
    named([
        ("alert", alert_one),
        ("alert_versions", alert_all),
        ("header", header.to_vec()),
        ("lease", lease),
        ("log", log_one),
        ("log_versions", log_all),
        ("silence", one),
        ("silence_versions", all),
    ])
}

#[cfg(feature = "serde")]
pub fn config() -> Seeds {
    let text = |config: &rumormill::Config| serde_json::to_vec_pretty(config).unwrap();
    named([
        ("empty", b"{}".to_vec()),
        (
            "few",
            br#"{"probe-interval": "2s", "members-max": 7}"#.to_vec(),
        ),
        ("lan", text(&rumormill::Config::lan())),
    ])
}

pub fn map() -> Seeds {
    named([
        (
            "clocks",
            vec![
                2, 0, 0, 0, 9, 0, 0, 7, 208, 4, 0, 0, 15, 0, 0, 3, 232, 2, 1, 1, 0, 1, 2,
            ],
        ),
        (
            "merges",
            vec![
                1, 2, 0, 0, 0, 3, 232, 0, 1, 4, 76, 1, 2, 1, 4, 0, 1, 0, 5, 0, 2,
            ],
        ),
        (
            "purges",
            vec![2, 0, 0, 0, 9, 0, 2, 1, 1, 0, 9, 2, 5, 1, 5, 0],
        ),
        (
            "snapshots",
            vec![
                2, 0, 0, 0, 9, 0, 6, 2, 0, 1, 1, 0, 2, 4, 0, 7, 0, 0, 0, 100, 7, 0,
            ],
        ),
        (
            "ties",
            vec![
                3, 0, 0, 1, 0, 0, 1, 5, 3, 0, 1, 0, 9, 2, 4, 9, 3, 0, 2, 0, 9, 1, 0, 1,
            ],
        ),
    ])
}

pub fn matchers() -> Seeds {
    let texts = [
        ("classic", 0, r#"foo=bar,baz=~"a\"b.*",x!="""#),
        ("fallback", 1, r#"{"näme"="ünï", b!~"(a|b)+c{2,3}"}"#),
        ("one", 4, r#"alertname=~"^(?i:down)[[:alpha:]]\d\pL$""#),
        ("pattern", 6, r"(?s)\Qa.b\E|[^\x00-\x{10FFFF}]*?|\bx\B{2}"),
        ("utf8", 2, "{a=\"\\u00e9\\x41\\101\\n\", \"b c\"!='}"),
    ];
    let seed =
        |(name, how, text): (&str, u8, &str)| (name.to_owned(), [&[how], text.as_bytes()].concat());
    texts.map(seed).into()
}

pub fn snapshot() -> Seeds {
    let (entries, whole) = notified();
    // Behind the magic, the version and the name, and before the checksum.
    let inside = &whole[8 + 2 + 2 + 5..whole.len() - 8];
    let mut entry = bytes::BytesMut::new();
    entries[0].encode(&mut entry);
    named([
        ("changed", vec![0, 3, 0, 9, 1, 2, 0, 40, 0, 1, 0]),
        (
            "entries",
            [&[3, 7][..], &piece(&entry), &[1], &piece(&entry)].concat(),
        ),
        ("inside", [&[2], inside].concat()),
        ("unchanged", vec![0]),
        ("whole", [&[1], &whole[..]].concat()),
    ])
}

pub fn swim() -> Seeds {
    let a = "0161010203040506070800000009040a0000012386";
    let bc = "02626301020304050607080000000906fe80000000000000000000000000000123860000000000000005";
    let d = "0164010203040506070800000009040a0000020001";
    named([
        ("announce", unhex(&format!("{a}0003{bc}06"))),
        (
            "gossip",
            unhex(&format!("{a}0003{bc}080002{a}000100{d}010202")),
        ),
        ("indirect", unhex(&format!("{a}0003{bc}02{d}07"))),
        ("member", unhex(&format!("{d}010202{a}000001"))),
        ("ping", unhex(&format!("{a}0003{d}0007"))),
    ])
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

pub fn tables() -> Seeds {
    // Whose, key, time, tag: in ours, in theirs, in both, and taken back.
    let items: Vec<u8> = (0..60_u8)
        .flat_map(|n| [[1, 2, 3, 5, 3][usize::from(n) % 5], n, 7, n])
        .collect();
    let cells: Vec<u8> = (0..12 * 24_u16).map(|n| (n % 251) as u8).collect();
    let mut counters = vec![2];
    for n in 0..128_i32 {
        counters.extend_from_slice(&(n * n - 40 * n).to_be_bytes());
    }
    named([
        ("cells", [&[0, 2, 3, 1][..], &cells].concat()),
        ("counters", counters),
        ("empty_cells", vec![0, 4, 5, 0]),
        ("sets", [&[1, 0][..], &items].concat()),
    ])
}

pub fn tls() -> Seeds {
    let mapped = [&[0; 10][..], &[0xff, 0xff, 10, 0, 0, 1]].concat();
    let hello = [&[0, 1, 2][..], &mapped, &[0x23, 0x86]].concat();
    let records = [
        &[1][..],
        &[0, 3, 0, 0, 1, 0],
        b"one",
        &[0, 0, 255, 255, 255, 255],
    ]
    .concat();
    let channel = [
        &[2, 2, 0, 0, 0, 0, 3][..],
        b"abc",
        &[0, 0, 1],
        b"d",
        &[1, 0, 0],
    ]
    .concat();
    let ages = [
        &[3, 200][..],
        &[0, 0, 0, 9, 0, 9, 0, 0],
        &[0, 0, 0, 10, 9, 0, 0, 5],
    ]
    .concat();
    named([
        ("ages", ages),
        ("channel", channel),
        ("hello", hello),
        ("records", records),
    ])
}
