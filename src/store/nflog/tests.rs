//! The promises of the notification log, each as a claim.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::entry::state_key;
use super::*;
use crate::id::{Key, SchemaId, WriterTag};
use crate::store::matcher::Labels;
use crate::store::silences::support::{ManualClock, at, exchange, pass};
use crate::store::{Body, Limits, Merged, Schema as _, Unreadable};
use crate::wire::Entry;
use crate::wire::codec::encode_body;

const HOUR: Duration = Duration::from_secs(3600);

fn email(idx: u32) -> ReceiverKey {
    ReceiverKey {
        group_name: "team".into(),
        integration: "email".into(),
        idx,
    }
}

fn made(firing: &[u64], resolved: &[u64]) -> Notified {
    Notified {
        receiver: email(0),
        group_key: "{}:{alertname=\"Down\"}".into(),
        firing: firing.to_vec(),
        resolved: resolved.to_vec(),
        receiver_data: BTreeMap::new(),
        repeat_interval: HOUR,
    }
}

fn log(clock: &ManualClock) -> Nflog {
    Nflog::new(NflogLimits::default(), Limits::default(), clock.context())
}

fn last(log: &Nflog) -> Option<Arc<NflogEntry>> {
    log.query(&email(0), "{}:{alertname=\"Down\"}")
}

#[test]
fn what_was_logged_is_found() {
    let clock = ManualClock::new();
    let log = log(&clock);
    assert_eq!(last(&log), None);
    let data = [("ts".into(), ReceiverValue::Str("17".into()))];
    let _ = log
        .log(Notified {
            receiver_data: data.into(),
            ..made(&[3, 1, 2, 1], &[9, 8])
        })
        .unwrap();
    let entry = last(&log).unwrap();
    assert_eq!(entry.firing, [1, 2, 3], "ascending, each once");
    assert_eq!(entry.resolved, [8, 9]);
    assert_eq!(entry.timestamp, at(0));
    assert_eq!(entry.receiver_data["ts"], ReceiverValue::Str("17".into()));
    assert_eq!(log.query(&email(1), &entry.group_key), None);
    assert_eq!(log.query(&email(0), "other"), None);
}

#[test]
fn there_is_one_entry_for_a_receiver_and_group() {
    let clock = ManualClock::new();
    let log = log(&clock);
    for firing in [[1], [2]] {
        clock.set(at(firing[0]));
        log.log(made(&firing, &[])).unwrap();
    }
    assert_eq!(last(&log).unwrap().firing, [2]);
    assert_eq!(log.store().len(), 1);
}

/// As `Log` of `nflog/nflog.go`.
#[test]
fn an_entry_is_kept_for_twice_the_repeat_interval_at_most_for_the_retention() {
    let clock = ManualClock::new();
    for (repeat_interval, hours) in [
        (HOUR, 2),
        (HOUR * 59, 118),
        (HOUR * 61, 120),
        (Duration::MAX, 120),
        (Duration::ZERO, 120),
    ] {
        let log = log(&clock);
        let made = Notified {
            repeat_interval,
            ..made(&[1], &[])
        };
        let key = state_key(&made.receiver, &made.group_key);
        log.log(made).unwrap();
        let held = log.store().replica().held(&key).unwrap().entry;
        assert_eq!(held.expires_at, at(hours * 3600), "{repeat_interval:?}");
        clock.set(at(hours * 3600));
        assert_eq!(last(&log), None);
        clock.set(at(0));
    }
}

#[test]
fn names_must_not_be_empty() {
    let clock = ManualClock::new();
    let nameless = Notified {
        group_key: String::new(),
        ..made(&[1], &[])
    };
    let error = log(&clock).log(nameless).unwrap_err();
    let field = "the group key";
    assert_eq!(error, NflogError::Empty { field });
}

/// Alertmanager skips the write here (`Log` of `nflog/nflog.go`) and notifies again.
#[test]
fn a_node_with_a_slow_clock_logs_over_a_faster_one() {
    let (clock, fast) = (ManualClock::new(), ManualClock::new());
    let (here, there) = (log(&clock), log(&fast));
    fast.set(at(200));
    there.log(made(&[1], &[])).unwrap();
    pass(&*there.store(), &*here.store(), at(0));
    here.log(made(&[1, 2], &[])).unwrap();
    exchange(&*here.store(), &*there.store(), at(0));
    assert_eq!(last(&there).unwrap().firing, [1, 2]);
    assert_eq!(last(&there), last(&here));
}

#[test]
fn two_that_log_at_one_instant_end_up_the_same() {
    let clock = ManualClock::new();
    let (a, b) = (log(&clock), log(&clock));
    a.log(made(&[1], &[])).unwrap();
    b.log(made(&[2], &[])).unwrap();
    exchange(&*a.store(), &*b.store(), at(0));
    assert_eq!(last(&a), last(&b));
}

/// Names may hold the separators of the state key: two receivers may share one, and one must not
/// be taken for the other.
#[test]
fn a_shared_state_key_is_not_a_shared_entry() {
    let clock = ManualClock::new();
    let log = log(&clock);
    let slash = ReceiverKey {
        group_name: "team/email".into(),
        integration: "x".into(),
        idx: 0,
    };
    let other = ReceiverKey {
        group_name: "team".into(),
        integration: "email/x".into(),
        idx: 0,
    };
    assert_eq!(state_key(&slash, "g"), state_key(&other, "g"));
    let _ = log
        .log(Notified {
            receiver: slash.clone(),
            group_key: "g".into(),
            ..made(&[1], &[])
        })
        .unwrap();
    assert!(log.query(&slash, "g").is_some());
    assert_eq!(log.query(&other, "g"), None);
}

/// A change to these bytes breaks every cluster that runs two versions: a new shape is a new
/// schema number.
#[test]
fn schema_1_is_these_bytes() {
    let data = [
        ("a".to_owned(), ReceiverValue::Str("s".into())),
        ("b".to_owned(), ReceiverValue::Int(-2)),
        ("c".to_owned(), ReceiverValue::Double(1.5)),
    ];
    let entry = NflogEntry {
        receiver: email(3),
        group_key: "g".into(),
        timestamp: at(0),
        firing: vec![1, u64::MAX],
        resolved: vec![2],
        receiver_data: data.into(),
    };
    let body = NflogSchema.encode(&entry.clone().into());
    assert_eq!(body.schema, SchemaId::new(1));
    let hex: String = body.bytes.iter().map(|b| format!("{b:02x}")).collect();
    let golden = concat!(
        "047465616d",         // group_name
        "05656d61696c",       // integration
        "03",                 // idx
        "0167",               // group_key
        "fd00002a36fe9c9717", // timestamp
        "02",
        "01",
        "fdffffffffffffffff", // firing
        "01",
        "02", // resolved
        "03", // receiver_data
        "0161",
        "00",
        "0173",
        "0162",
        "01",
        "03",
        "0163",
        "02",
        "000000000000f83f",
    );
    assert_eq!(hex, golden);
    let key = state_key(&entry.receiver, &entry.group_key);
    assert_eq!(NflogSchema.decode(key, &body), Ok(entry.into()));
}

#[test]
fn what_cannot_be_read_is_quarantined_and_the_rest_is_not() {
    let clock = ManualClock::new();
    let log = log(&clock);
    let key = state_key(&email(0), "g");
    let raw = |group_key: &str, firing: &[u64]| {
        let none = BTreeMap::<String, u8>::new();
        let receiver = ("team", "email", 0_u32);
        encode_body(&(
            receiver,
            group_key,
            1_u64,
            firing.to_vec(),
            [0_u64; 0].to_vec(),
            none,
        ))
    };
    let schema = SchemaId::new(1);
    let rule = "alert hashes ascend, each once";
    for (bytes, why) in [
        (raw("g", &[2, 1]), Unreadable::Invalid { rule }),
        (raw("g", &[1, 1]), Unreadable::Invalid { rule }),
        (
            bytes::Bytes::from_static(b"\x01"),
            Unreadable::Malformed { schema },
        ),
    ] {
        let body = Body { schema, bytes };
        assert_eq!(NflogSchema.decode(key, &body), Err(why));
    }
    let poison = Entry {
        key,
        ts: at(0),
        tie: 0,
        writer: WriterTag::NONE,
        expires_at: at(100),
        schema,
        body: raw("g", &[2, 1]),
    };
    let wrong_key = Entry {
        key: Key([7; 16]),
        body: raw("other", &[1]),
        ..poison.clone()
    };
    let merged = log.store().replica().merge(&[poison, wrong_key], at(0));
    assert!(merged.iter().all(|one| matches!(
        one,
        Merged::Stored {
            quarantined: true,
            ..
        }
    )));
    log.log(made(&[1], &[])).unwrap();
    assert!(last(&log).is_some());
    let why: Vec<_> = log.quarantined(10).into_iter().map(|one| one.why).collect();
    assert_eq!(why, [Unreadable::Invalid { rule }, Unreadable::WrongKey]);
    assert_eq!(log.query(&email(0), "g"), None);
}

/// Computed with the reference implementation of xxHash (python-xxhash).
#[test]
fn alert_hashes_are_alertmanagers() {
    let labels = |pairs: &[(&str, &str)]| -> Labels {
        let pairs = pairs.iter();
        pairs.map(|(n, v)| ((*n).into(), (*v).into())).collect()
    };
    for (alert, hash) in [
        (labels(&[]), 0xef46_db37_51d8_e999),
        (labels(&[("a", "b")]), 0x6088_91b6_a4fd_3588),
        (
            labels(&[("alertname", "Down"), ("instance", "db-1:9100")]),
            0x110e_fbef_d65a_8dd0,
        ),
        (
            labels(&[
                ("severity", "critical"),
                ("instance", "node-17.example.com:9100"),
                ("cluster", "eu-west-1"),
                ("alertname", "DiskWillFillIn4Hours"),
            ]),
            0x0d51_ea34_99c4_a525,
        ),
    ] {
        assert_eq!(alert_hash(&alert), hash, "{alert:?}");
    }
}

proptest! {
    /// Whatever is logged reads back the same on another node.
    #[test]
    fn entries_round_trip(
        names in ("\\PC{1,8}", "\\PC{1,8}", any::<u32>(), "\\PC{1,12}"),
        firing in prop::collection::vec(any::<u64>(), 0..20),
        resolved in prop::collection::vec(any::<u64>(), 0..20),
        int in any::<i64>(),
    ) {
        let clock = ManualClock::new();
        let (here, there) = (log(&clock), log(&clock));
        let (group_name, integration, idx, group_key) = names;
        let receiver = ReceiverKey { group_name, integration, idx };
        let _ = here.log(Notified {
            receiver: receiver.clone(),
            group_key: group_key.clone(),
            firing,
            resolved,
            receiver_data: [("n".into(), ReceiverValue::Int(int))].into(),
            repeat_interval: HOUR,
        }).unwrap();
        pass(&*here.store(), &*there.store(), at(0));
        let entry = there.query(&receiver, &group_key);
        prop_assert!(entry.is_some());
        prop_assert_eq!(entry, here.query(&receiver, &group_key));
    }
}
