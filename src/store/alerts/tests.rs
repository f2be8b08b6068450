//! Alerts on nodes that talk, and on nodes that cannot.

mod cost;
mod laws;
mod limits;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Alert, AlertError, AlertLimits, Alerts};
use crate::store::matcher::Labels;
use crate::store::setup::Limits;
use crate::store::silences::support::{BEGIN, ManualClock, at, entries, exchange};
use crate::time::Timestamp;

/// A node and its clock.
struct Site {
    clock: ManualClock,
    alerts: Alerts,
}

impl Site {
    fn new() -> Self {
        Self::with(AlertLimits::default())
    }

    fn with(limits: AlertLimits) -> Self {
        Self::within(limits, Limits::default())
    }

    fn within(limits: AlertLimits, store: Limits) -> Self {
        let clock = ManualClock::new();
        let alerts = Alerts::new(limits, store, clock.context());
        Self { clock, alerts }
    }

    /// Takes an alert so many seconds after tests begin, and returns how many entries it wrote.
    fn put(&self, seconds: u64, alert: &Alert) -> usize {
        self.put_at(at(seconds), alert)
    }

    fn put_at(&self, now: Timestamp, alert: &Alert) -> usize {
        self.clock.set(now);
        let is_news = self.alerts.has_news(alert, now);
        let written = self.alerts.put(alert.clone(), now).expect("it is valid");
        assert_eq!(is_news, written.is_some(), "{alert:?} at {now:?}");
        let extended = self.alerts.extend(now).expect("there is room");
        usize::from(written.is_some()) + extended.len()
    }

    fn tend(&self, seconds: u64) -> usize {
        self.clock.set(at(seconds));
        self.alerts.tend(at(seconds)).written.len()
    }

    /// Start and end of what is shown, in seconds, and whether it fires then.
    fn shown(&self, seconds: u64) -> Vec<(u64, u64, bool)> {
        self.clock.set(at(seconds));
        let all = self.alerts.all().alerts.into_iter();
        let seconds_of = |at: Timestamp| at.as_nanos() / 1_000_000_000 - BEGIN;
        let shown = all.map(|(_, alert)| {
            let fires = !alert.is_resolved(at(seconds));
            (
                seconds_of(alert.starts_at),
                seconds_of(alert.ends_at),
                fires,
            )
        });
        shown.collect()
    }

    fn fires(&self, seconds: u64) -> bool {
        self.shown(seconds).iter().any(|(_, _, fires)| *fires)
    }
}

/// What two nodes hold is on both.
fn talk(a: &Site, b: &Site, seconds: u64) {
    exchange(&*a.alerts.store(), &*b.alerts.store(), at(seconds));
}

fn owned(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// An alert from and to so many seconds after tests begin.
fn alert(starts_at: u64, ends_at: u64) -> Alert {
    Alert {
        labels: owned(&[("a", "x"), ("alertname", "x")]),
        annotations: BTreeMap::new(),
        starts_at: at(starts_at),
        ends_at: at(ends_at),
        updated_at: Timestamp::ZERO,
        generator_url: String::new(),
        timeout: false,
    }
}

/// As the real one answered for these labels.
#[test]
fn fingerprints_are_those_of_prometheus() {
    assert_eq!(alert(1, 2).fingerprint(), 0x0a68_48cc_c023_6493);
}

/// Old and new as (start, end, timeout), when the new one is received, and what comes of them.
#[test]
fn alerts_that_overlap_are_merged() {
    for (old, new, now, expected) in [
        // An alert is sent again and again, its end a guess each time.
        ((10, 310, true), (20, 320, true), 20, (10, 320)),
        // It is resolved.
        ((10, 310, true), (10, 50, false), 60, (10, 50)),
        // An end that was said holds against a guess that is earlier.
        ((10, 500, false), (20, 320, true), 20, (10, 500)),
        // It fires again after its end: another story.
        ((10, 50, false), (100, 400, true), 100, (100, 400)),
    ] {
        let site = Site::new();
        let sent = |(starts_at, ends_at, timeout)| Alert {
            timeout,
            ..alert(starts_at, ends_at)
        };
        site.put(now, &sent(old));
        site.put(now, &sent(new));
        // A later end that is not written yet is.
        site.tend(old.1.max(now) - 1);
        let shown = site.shown(now);
        assert_eq!((shown[0].0, shown[0].1), expected, "{old:?} {new:?}");
    }
}

#[test]
fn the_same_alert_sent_to_three_nodes_is_one_version() {
    let sites = [Site::new(), Site::new(), Site::new()];
    for (site, millis) in sites.iter().zip([10, 11, 99]) {
        let now = at(100).plus(Duration::from_millis(millis));
        assert_eq!(site.put_at(now, &alert(100, 340)), 1);
    }
    let [first, others @ ..] = &sites;
    let version = entries(&*first.alerts.store());
    assert_eq!(version.len(), 1);
    for other in others {
        assert_eq!(entries(&*other.alerts.store()), version);
        talk(first, other, 101);
        assert_eq!(other.alerts.store().head(), 1, "there was nothing to say");
    }
}

#[test]
fn what_says_nothing_new_writes_nothing() {
    let (site, other) = (Site::new(), Site::new());
    assert_eq!(site.put(0, &alert(0, 240)), 1);
    assert_eq!(site.put(1, &alert(0, 240)), 0);
    talk(&site, &other, 2);
    assert_eq!(other.put(3, &alert(0, 240)), 0, "it came from elsewhere");
    let resolved = alert(0, 10);
    assert_eq!(site.put(20, &resolved), 1);
    assert_eq!(site.put(21, &resolved), 0);
}

/// Received later wins, in whatever order it arrives, and by which node it was received.
#[test]
fn what_was_received_later_wins() {
    let (a, b) = (Site::new(), Site::new());
    a.put(0, &alert(0, 240));
    talk(&a, &b, 1);
    // They do not hear of each other.
    a.put(20, &alert(0, 15));
    b.put(
        10,
        &Alert {
            generator_url: "new".into(),
            ..alert(0, 250)
        },
    );
    talk(&b, &a, 21);
    assert!(!a.fires(21) && !b.fires(21), "the resolve came last");
    a.put(30, &alert(0, 15));
    b.put(40, &alert(0, 280));
    talk(&a, &b, 41);
    assert!(a.fires(41) && b.fires(41), "the firing came last");
}

/// Within one step nobody can tell which came first: to alert is the safe side.
#[test]
fn at_the_same_instant_firing_wins() {
    let (a, b) = (Site::new(), Site::new());
    a.put(10, &alert(0, 240));
    b.put(10, &alert(0, 5));
    talk(&a, &b, 11);
    assert!(a.fires(11) && b.fires(11));
    // One that has heard of the firing can tell.
    b.put(10, &alert(0, 5));
    talk(&a, &b, 11);
    assert!(!a.fires(11) && !b.fires(11));
}

#[test]
fn an_extension_does_not_beat_a_resolve_that_was_received_after_the_repeat() {
    let (a, b) = (Site::new(), Site::new());
    a.put(0, &alert(0, 240));
    talk(&a, &b, 1);
    assert_eq!(b.put(100, &alert(0, 340)), 0, "it is remembered");
    a.put(110, &alert(0, 105));
    // Only now is it written, and long after the resolve.
    assert_eq!(b.tend(209), 0);
    assert_eq!(b.tend(215), 1);
    assert_eq!(b.shown(215), [(0, 340, true)]);
    talk(&a, &b, 216);
    assert_eq!(a.shown(216), [(0, 105, false)]);
    assert_eq!(b.shown(216), a.shown(216));
    assert_eq!(b.tend(217), 0, "what is older is forgotten");
}

#[test]
fn a_repeat_that_was_received_after_a_resolve_fires() {
    let (a, b) = (Site::new(), Site::new());
    a.put(0, &alert(0, 240));
    talk(&a, &b, 1);
    a.put(110, &alert(0, 105));
    assert_eq!(
        b.put(121, &alert(0, 361)),
        1,
        "under half of the time is left: a lease"
    );
    assert_eq!(b.put(122, &alert(0, 362)), 0, "remembered");
    talk(&a, &b, 123);
    assert_eq!(a.shown(123), [(0, 361, true)]);
    assert_eq!(b.shown(123), a.shown(123));
    // A repeat that says nothing new at all is remembered too.
    a.put(130, &alert(0, 125));
    b.put(140, &alert(0, 362));
    talk(&a, &b, 141);
    assert_eq!(b.tend(142), 1, "the resolve is older");
    talk(&a, &b, 143);
    assert_eq!(a.shown(143), [(0, 362, true)]);
    assert_eq!(b.shown(143), a.shown(143));
}

/// All within 100 ms: who resolves has heard of the repeat, which is not written.
#[test]
fn a_resolve_in_the_instant_of_a_repeat_is_the_later_one() {
    let (a, b) = (Site::new(), Site::new());
    a.put(0, &alert(0, 240));
    talk(&a, &b, 1);
    let millis = |millis| at(2).plus(Duration::from_millis(millis));
    for site in [&a, &b] {
        assert_eq!(site.put_at(millis(10), &alert(0, 242)), 0, "remembered");
    }
    assert_eq!(b.put_at(millis(20), &alert(0, 1)), 1);
    talk(&a, &b, 3);
    assert_eq!((a.tend(3), b.tend(3)), (0, 0), "the resolve is later");
    assert!(!a.fires(3) && !b.fires(3));
}

#[test]
fn the_end_that_was_said_last_holds_though_nobody_repeats_it() {
    let (a, b) = (Site::new(), Site::new());
    a.put(0, &alert(0, 240));
    a.put(100, &alert(0, 340));
    talk(&a, &b, 101);
    assert_eq!(b.shown(101), [(0, 240, true)]);
    let tended = a.alerts.tend(at(101));
    assert_eq!(
        tended.again,
        Some(at(210)),
        "an eighth of the time before the end"
    );
    assert_eq!(a.tend(210), 1);
    talk(&a, &b, 211);
    assert_eq!(b.shown(211), [(0, 340, true)]);
    assert_eq!(a.alerts.tend(at(211)).again, None);
}

#[test]
fn a_node_that_leaves_says_what_it_remembers() {
    let (a, b) = (Site::new(), Site::new());
    a.put(0, &alert(0, 240));
    a.put(100, &alert(0, 340));
    let handed_over = |seconds| a.alerts.hand_over(at(seconds)).unwrap().len();
    assert_eq!((handed_over(101), handed_over(102)), (1, 0));
    talk(&a, &b, 103);
    assert_eq!(b.shown(103), [(0, 340, true)]);
}

/// A lease may arrive before its alert, and the other way round.
#[test]
fn what_a_lease_says_does_not_depend_on_the_order() {
    let site = Site::new();
    site.put(0, &alert(0, 240));
    site.put(130, &alert(0, 370));
    let held = entries(&*site.alerts.store());
    assert_eq!(held.len(), 2);
    for order in [[0, 1], [1, 0]] {
        let other = Site::new();
        for index in order {
            let entry = held[index].clone();
            other.alerts.store().replica().merge(&[entry], at(131));
        }
        assert_eq!(other.shown(131), [(0, 370, true)]);
        let (_, shown) = other.alerts.all().alerts.remove(0);
        assert_eq!(shown.updated_at, at(130));
    }
}

/// The clock of one node is two seconds ahead: what another has heard of it is before what that writes.
#[test]
fn what_was_heard_of_a_fast_clock_is_older_than_what_is_written_here() {
    let (fast, slow) = (Site::new(), Site::new());
    fast.put(2, &alert(0, 240));
    fast.put(132, &alert(0, 370));
    talk(&fast, &slow, 130);
    assert!(slow.fires(130));
    slow.put(131, &alert(0, 129));
    talk(&fast, &slow, 132);
    assert!(!slow.fires(132) && !fast.fires(132));
}

/// One node's clock is ahead, or was: the repeat ends before the version that is held was received, and no
/// lease can say so.
#[test]
fn a_repeat_that_no_lease_can_hold_is_written_whole() {
    let (fast, slow) = (Site::new(), Site::new());
    fast.put(1_000, &alert(0, 990));
    talk(&fast, &slow, 980);
    assert_eq!(slow.put(980, &alert(0, 995)), 1);
    assert_eq!(slow.shown(980), [(0, 995, true)]);
    assert_eq!(slow.alerts.tend(at(981)).error, None);
}

/// Leases can extend an alert for two hours; then it is written whole again, and an alert that goes on
/// for days is always held.
#[test]
fn an_alert_that_is_repeated_is_held_for_days() {
    let site = Site::new();
    let (mut whole, mut leases) = (0, 0);
    for seconds in (0..3 * 86_400).step_by(60) {
        site.clock.set(at(seconds));
        let sent = alert(0, seconds + 240);
        whole += usize::from(site.alerts.put(sent, at(seconds)).unwrap().is_some());
        leases += site.alerts.extend(at(seconds)).unwrap().len();
        site.alerts.collect(at(seconds));
        assert!(site.fires(seconds), "after {seconds} s");
    }
    assert!((30..60).contains(&whole), "{whole} times");
    assert!((1_000..2_200).contains(&leases), "{leases} leases");
    assert!(site.alerts.store().len() < 40, "the past is collected");
}

/// Another node may have been told of a later end.
#[test]
fn a_resolve_is_written_of_what_has_ended_by_itself_and_once() {
    let site = Site::new();
    site.put_at(at(10), &alert(0, 21));
    site.clock.set(at(21));
    let resolved = || alert(0, 20);
    assert!(site.alerts.put(resolved(), at(21)).unwrap().is_some());
    assert!(site.alerts.put(resolved(), at(22)).unwrap().is_none());
}

/// However long what is resolved is shown, and however far ends are ahead, an alert is written whole once
/// in two hours.
#[test]
fn an_alert_that_is_repeated_is_rarely_written_whole() {
    let (hour, day) = (3_600, 86_400);
    // Whether it moves with the time, and how far it is ahead at first.
    let ends = [
        ("minutes ahead", 1, 240),
        ("hours ahead", 1, 3 * hour),
        ("days ahead", 1, 6 * day),
        ("fixed", 0, 3 * day),
        ("fixed, far away", 0, 1_000 * day),
    ];
    for retention in [hour / 2, 5 * day] {
        for (name, moves, ahead) in ends {
            let limits = AlertLimits::default().retention(Duration::from_secs(retention));
            let (site, mut whole) = (Site::with(limits), 0);
            for seconds in (0..4 * hour).step_by(60) {
                site.clock.set(at(seconds));
                let sent = alert(0, moves * seconds + ahead);
                whole += usize::from(site.alerts.put(sent, at(seconds)).unwrap().is_some());
                site.alerts.extend(at(seconds)).unwrap();
            }
            assert_eq!(whole, 2, "{name}, shown for {retention} s");
        }
    }
}

/// The entry of an alert goes at its time, whatever leases say.
#[test]
fn an_end_days_later_is_held_until_then() {
    let (site, day) = (Site::new(), 86_400);
    site.put(0, &alert(0, 4 * day));
    site.put(100, &alert(0, 6 * day));
    site.tend(101);
    site.alerts.collect(at(5 * day));
    assert_eq!(site.shown(5 * day), [(0, 6 * day, true)]);
}

#[test]
fn what_is_resolved_is_shown_for_a_while_and_collected_later() {
    let site = Site::new();
    let retention = site.alerts.limits().retention.as_secs();
    site.put(0, &alert(0, 240));
    site.put(50, &alert(0, 5));
    assert_eq!(site.shown(50 + retention - 1).len(), 1);
    assert!(site.shown(50 + retention).is_empty());
    let changes = site.alerts.changes();
    site.alerts.collect(at(50 + retention));
    assert!(site.alerts.changes() > changes);
    assert_eq!(site.alerts.bytes(), 0);
    // It fires again, though the entry is still there.
    assert_eq!(site.put(3_000, &alert(2_990, 3_300)), 1);
    assert_eq!(site.shown(3_000), [(2_990, 3_300, true)]);
    site.alerts.collect(at(30_000));
    assert_eq!(site.alerts.store().len(), 0);
    assert_eq!(site.alerts.bytes(), 0);
}

/// An end in the year 2999 does not keep an alert for ever.
#[test]
fn an_alert_that_nobody_repeats_is_forgotten() {
    let (site, day) = (Site::new(), 86_400);
    site.put(0, &alert(0, 30_000_000_000 - BEGIN));
    assert!(site.fires(6 * day));
    site.alerts.collect(at(8 * day));
    assert!(site.shown(8 * day).is_empty());
    // One that is repeated stays.
    let site = Site::new();
    for days in 0..20 {
        site.put(days * day, &alert(0, 30_000_000_000 - BEGIN));
        site.alerts.collect(at(days * day));
        assert!(site.fires(days * day), "after {days} days");
    }
}
