//! What is not taken.

use super::*;
use crate::store::write::WriteError;
use std::num::NonZeroUsize;

fn limits(count: usize) -> AlertLimits {
    let limits = AlertLimits::default().count(count).bytes(1 << 20);
    limits.alert_bytes(1 << 16)
}

fn put(site: &Site, seconds: u64, alert: Alert) -> Result<(), AlertError> {
    site.clock.set(at(seconds));
    site.alerts.put(alert, at(seconds)).map(|_| ())
}

#[test]
fn there_are_never_more_than_there_may_be() {
    let site = Site::with(limits(1));
    let (one, mut other) = (alert(10, 310), alert(10, 310));
    other.labels.insert("b".to_owned(), "y".to_owned());
    assert_eq!(put(&site, 20, one.clone()), Ok(()));
    assert_eq!(
        put(&site, 20, other.clone()),
        Err(AlertError::TooMany { max: 1 })
    );
    assert_eq!(put(&site, 20, one), Ok(()), "the one that is held");
    assert_eq!(site.alerts.all().alerts.len(), 1);
    // There is room again once it is not shown any more.
    let later = 310 + site.alerts.limits().retention.as_secs();
    other.ends_at = at(later + 100);
    assert_eq!(put(&site, later, other), Ok(()));
}

#[test]
fn a_peer_is_not_held_to_the_limits_of_this_node() {
    let (small, large) = (Site::with(limits(1)), Site::new());
    for value in ["x", "y"] {
        let mut alert = alert(0, 240);
        alert.labels.insert("b".to_owned(), value.to_owned());
        large.put(1, &alert);
    }
    talk(&small, &large, 2);
    assert_eq!(small.shown(2).len(), 2, "nodes must not differ");
    assert_eq!(
        put(&small, 3, alert(0, 240)),
        Err(AlertError::TooMany { max: 1 })
    );
}

#[test]
fn as_many_of_a_name_fire_as_may() {
    let max = NonZeroUsize::new(2).unwrap();
    let site = Site::with(limits(100).per_name(Some(max)));
    let named = |name: &str, value: &str, ends_at| Alert {
        labels: owned(&[("alertname", name), ("b", value)]),
        ..alert(0, ends_at)
    };
    assert_eq!(put(&site, 1, named("x", "1", 100)), Ok(()));
    assert_eq!(put(&site, 1, named("x", "2", 200)), Ok(()));
    let name = "x".to_owned();
    let full = Err(AlertError::TooManyOfName { name, max });
    assert_eq!(put(&site, 1, named("x", "3", 200)), full);
    assert_eq!(put(&site, 1, named("y", "3", 200)), Ok(()), "another name");
    assert_eq!(
        put(&site, 2, named("x", "1", 300)),
        Ok(()),
        "it fires already"
    );
    site.alerts.extend(at(2)).unwrap();
    assert_eq!(put(&site, 150, named("x", "3", 400)), full, "extended");
    // One ends, by what is said and by the time.
    assert_eq!(put(&site, 151, named("x", "1", 150)), Ok(()));
    assert_eq!(put(&site, 151, named("x", "3", 400)), Ok(()));
    assert_eq!(
        put(&site, 199, named("x", "1", 400)),
        full,
        "it fires again"
    );
    assert_eq!(
        put(&site, 201, named("x", "4", 400)),
        Ok(()),
        "the second has ended"
    );
    assert_eq!(
        put(&site, 201, named("x", "5", 201)),
        Ok(()),
        "resolved ones may be told"
    );
}

/// Bytes are given back when alerts go, and what is held may be told again as it is.
#[test]
fn bytes_are_limited_of_one_and_of_all() {
    let sized = |name: usize, bytes: usize| {
        let mut alert = alert(10, 30);
        alert.labels.insert("n".to_owned(), name.to_string());
        alert.annotations.insert("a".to_owned(), "x".repeat(bytes));
        alert
    };
    let site = Site::with(limits(1000));
    let whole = site.alerts.limits().alert_bytes;
    assert_eq!(
        put(&site, 20, sized(0, whole)),
        Err(AlertError::TooLarge { max: whole })
    );
    let held = (1..).take_while(|n| put(&site, 20, sized(*n, 60_000)).is_ok());
    assert_eq!(held.count(), 17, "of a mebibyte");
    let full = Err(AlertError::TooManyBytes { max: 1 << 20 });
    assert_eq!(put(&site, 20, sized(0, 60_000)), full);
    assert_eq!(put(&site, 20, sized(18, 10_000)), Ok(()), "a small one");
    assert_eq!(put(&site, 20, sized(1, 60_000)), Ok(()));
    assert_eq!(put(&site, 20, sized(1, 64_000)), full, "not larger");
    assert_eq!(put(&site, 20, sized(1, 10)), Ok(()), "smaller");
    assert_eq!(put(&site, 20, sized(0, 59_000)), Ok(()));
    // There is room again once they are not shown any more.
    let later = 60 + site.alerts.limits().retention.as_secs();
    let mut new = sized(99, 60_000);
    new.ends_at = at(later + 100);
    assert_eq!(put(&site, later, new.clone()), Ok(()));
    assert_eq!(site.alerts.bytes(), new.bytes());
    site.clock.set(at(later));
    let all = site.alerts.all().alerts;
    let bytes: usize = all.iter().map(|(_, alert)| alert.bytes()).sum();
    assert_eq!(site.alerts.bytes(), bytes);
    site.alerts
        .collect(at(later + 100).plus(site.alerts.limits().retention));
    assert_eq!(site.alerts.bytes(), 0);
}

/// A merge may free what an alert takes while its next version is judged.
#[test]
fn what_is_freed_may_have_gone() {
    let site = Site::with(limits(1000));
    assert_eq!(site.alerts.admit_more(10, 5), Ok(()));
    let unlimited = Site::with(AlertLimits::default().bytes(usize::MAX));
    assert_eq!(unlimited.alerts.admit_more(10, 5), Ok(()));
}

/// Every repeat is due again, and each is kept once.
#[test]
fn what_finds_no_room_is_remembered_once() {
    let site = Site::within(AlertLimits::default(), Limits::default().entries_max(2));
    site.put(0, &alert(0, 240));
    for seconds in [200, 201, 202] {
        site.clock.set(at(seconds));
        let sent = alert(0, seconds + 240);
        assert!(site.alerts.put(sent, at(seconds)).unwrap().is_none());
        let full = site.alerts.extend(at(seconds));
        assert!(matches!(full, Err(WriteError::StoreFull { .. })));
        assert_eq!(site.alerts.due(), 1);
    }
}

/// A lease of 128 alerts is too large here; one of a single alert is not.
#[test]
fn a_lease_that_is_not_written_does_not_stop_the_next() {
    let site = Site::within(
        AlertLimits::default(),
        Limits::default().entry_bytes_max(500),
    );
    let put = |seconds| {
        for n in 0..129 {
            let mut alert = alert(0, seconds + 240);
            alert.labels.insert("n".to_owned(), n.to_string());
            put(&site, seconds, alert).unwrap();
        }
    };
    put(0);
    put(200);
    assert_eq!(site.alerts.extend(at(200)).unwrap().len(), 1);
    assert_eq!(site.alerts.due(), 129);
    let tended = site.alerts.tend(at(230));
    assert!(matches!(tended.error, Some(WriteError::TooLarge { .. })));
    assert_eq!((tended.written.len(), tended.again), (0, Some(at(231))));
}

#[test]
fn what_is_not_valid_is_named() {
    let site = Site::new();
    let put = |alert: Alert| put(&site, 1, alert);
    assert_eq!(put(alert(10, 5)), Err(AlertError::EndBeforeStart));
    let labels = Labels::new();
    assert_eq!(
        put(Alert {
            labels,
            ..alert(0, 9)
        }),
        Err(AlertError::NoLabels)
    );
    let empty = owned(&[("", "x")]);
    let labelled = Alert {
        labels: empty.clone(),
        ..alert(0, 9)
    };
    assert_eq!(put(labelled), Err(AlertError::Label(String::new())));
    let annotated = Alert {
        annotations: empty,
        ..alert(0, 9)
    };
    assert_eq!(put(annotated), Err(AlertError::Annotation(String::new())));
    let wide = (0..5_000)
        .map(|n| (format!("a{n}"), String::new()))
        .collect();
    let wide = Alert {
        annotations: wide,
        ..alert(0, 9)
    };
    let large = Site::with(limits(9).alert_bytes(1 << 20));
    let refused = large.alerts.put(wide, at(1)).map(|_| ());
    assert_eq!(refused, Err(AlertError::TooManyPairs { max: 4096 }));
    assert_eq!(site.alerts.store().len(), 0);
}

/// What a peer may not send is kept and passed on, and is never an alert.
#[test]
fn what_a_peer_may_not_send_is_quarantined() {
    use crate::id::{Key, SchemaId, WriterTag};
    let pair = |n: u16| [2, n.to_be_bytes()[0] & 0x7f, n.to_be_bytes()[1] & 0x7f, 0];
    let wide = [vec![251, 0x88, 0x13], (0..5_000).flat_map(pair).collect()].concat();
    for (schema, body) in [
        (1, Vec::new()),
        (1, vec![0, 0, 0, 0, 0, 0, 0]),
        (1, wide),
        (2, Vec::new()),
        (2, vec![0]),
        // Twice the same alert; an end before the repeat; one that is years ahead.
        (2, [vec![1, 5, 6, 2], vec![7; 16]].concat()),
        (2, [vec![1, 6, 5, 1], vec![7; 8]].concat()),
        (
            2,
            [vec![1, 5, 253], vec![0xff; 8], vec![1], vec![7; 8]].concat(),
        ),
        // The same alert in two extents; an extent without alerts.
        (
            2,
            [vec![2, 5, 6, 1], vec![7; 8], vec![5, 7, 1], vec![7; 8]].concat(),
        ),
        (2, [vec![2, 5, 6, 0, 5, 7, 1], vec![7; 8]].concat()),
        (3, Vec::new()),
    ] {
        let site = Site::new();
        let entry = crate::wire::Entry {
            key: Key::of(&body),
            ts: Timestamp::from_nanos(5),
            tie: 0,
            writer: WriterTag::NONE,
            expires_at: at(1_000),
            schema: SchemaId::new(schema),
            body: body.clone().into(),
        };
        site.alerts.store().replica().merge(&[entry], at(1));
        assert_eq!(site.alerts.store().len(), 1);
        assert_eq!(
            site.alerts.map().quarantined(9).len(),
            1,
            "{schema} {body:?}"
        );
        assert!(site.shown(1).is_empty());
    }
}

/// Only the timestamp of an entry is compared with the clock, so what a body says must not be later: no
/// version could be written any more.
#[test]
fn what_is_of_another_instant_than_it_says_is_quarantined() {
    let honest = Site::new();
    honest.put(0, &alert(0, 240));
    honest.put(200, &alert(0, 440));
    for index in [0, 1] {
        let site = Site::new();
        let mut entry = entries(&*honest.alerts.store())[index].clone();
        let late = Site::new();
        late.alerts
            .store()
            .replica()
            .merge(std::slice::from_ref(&entry), at(201));
        assert!(late.alerts.map().quarantined(9).is_empty());
        // As if what was received at 0 s or 200 s were of 199 s.
        entry.ts = at(199);
        site.alerts.store().replica().merge(&[entry], at(201));
        assert_eq!(site.alerts.map().quarantined(9).len(), 1);
    }
}

/// The bytes of a lease that can be read as an alert with one label cost what the lease does.
#[test]
fn work_is_that_of_a_lease_too() {
    use crate::store::schema::Schema;
    let prefixes = (0..100_u8).flat_map(|n| [0, 0, 0, 0, 0, 0, 0, n]);
    let body: Vec<u8> = [1, 5, 6, 100].into_iter().chain(prefixes).collect();
    let work = super::super::AlertsSchema.work(&body);
    assert!(work >= Duration::from_micros(40), "{work:?}");
}
