//! The laws, on what three nodes write that hear of each other now and then, in whatever order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::crdt::join;
use crate::wire::Entry;

#[derive(Clone, Copy, Debug)]
enum Act {
    /// Fires, with an end so many seconds ahead.
    Fire { site: usize, alert: u8, ahead: u64 },
    /// Is resolved.
    Resolve { site: usize, alert: u8 },
    /// One hears all that another one holds.
    Hear { from: usize, to: usize },
    /// What is remembered is looked at.
    Tend { site: usize },
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let (site, alert) = (0..3_usize, 0..2_u8);
    let act = prop_oneof![
        6 => (site.clone(), alert.clone(), 1..40_u64)
            .prop_map(|(site, alert, ahead)| Act::Fire { site, alert, ahead }),
        2 => (site.clone(), alert).prop_map(|(site, alert)| Act::Resolve { site, alert }),
        3 => (site.clone(), site.clone()).prop_map(|(from, to)| Act::Hear { from, to }),
        2 => site.prop_map(|site| Act::Tend { site }),
    ];
    // In tenths of a second: some fall into one step.
    prop::collection::vec((0..40_u64, act), 1..40)
}

/// Clocks that are off by up to two seconds.
fn skew(site: usize) -> Duration {
    Duration::from_secs(site as u64)
}

fn sent(alert: u8, starts_at: Timestamp, ends_at: Timestamp) -> Alert {
    let mut sent = super::alert(0, 0);
    sent.labels.insert("n".to_owned(), alert.to_string());
    (sent.starts_at, sent.ends_at) = (starts_at, ends_at);
    sent
}

/// What became of it all: the nodes, and every entry that was ever held.
fn play(acts: &[(u64, Act)]) -> (Vec<Site>, Vec<Entry>, Timestamp) {
    let sites: Vec<Site> = (0..3).map(|_| Site::new()).collect();
    let (mut time, mut seen) = (at(10), Vec::<Entry>::new());
    for (tenths, act) in acts {
        time = time.plus(Duration::from_millis(tenths * 100));
        let wall = |site: usize| time.plus(skew(site));
        match *act {
            Act::Fire { site, alert, ahead } => {
                let ends_at = wall(site).plus(Duration::from_secs(ahead));
                sites[site].put_at(wall(site), &sent(alert, at(0), ends_at));
            }
            Act::Resolve { site, alert } => {
                let ends_at = wall(site).minus(Duration::from_millis(1));
                sites[site].put_at(wall(site), &sent(alert, at(0), ends_at));
            }
            Act::Hear { from, to } => {
                let held = entries(&*sites[from].alerts.store());
                sites[to].alerts.store().replica().merge(&held, wall(to));
            }
            Act::Tend { site } => {
                sites[site].clock.set(wall(site));
                sites[site].alerts.tend(wall(site));
            }
        }
        for site in &sites {
            for entry in entries(&*site.alerts.store()) {
                if !seen.contains(&entry) {
                    seen.push(entry);
                }
            }
        }
    }
    (sites, seen, time.plus(skew(2)))
}

/// What a node shows that has heard of some entries in this order.
fn shown_of(entries: &[Entry], now: Timestamp) -> Vec<(u64, Alert)> {
    let site = Site::new();
    site.clock.set(now);
    for entry in entries {
        site.alerts
            .store()
            .replica()
            .merge(std::slice::from_ref(entry), now);
    }
    all(&site)
}

fn all(site: &Site) -> Vec<(u64, Alert)> {
    let all = site.alerts.all().alerts.into_iter();
    all.map(|(print, alert)| (print, Alert::clone(&alert)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Commutative, associative, idempotent: whatever the order, and however often, all show the same; and
    /// the index agrees with one that is made anew.
    #[test]
    fn the_order_in_which_a_node_hears_does_not_matter(
        acts in acts(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let (sites, seen, now) = play(&acts);
        let expected = shown_of(&seen, now);
        // Every entry at least once, in another order, some several times.
        let mut shuffled: Vec<Entry> = order
            .iter()
            .filter(|_| !seen.is_empty())
            .map(|index| index.get(&seen).clone())
            .collect();
        shuffled.extend(seen.iter().rev().cloned());
        prop_assert_eq!(shown_of(&shuffled, now), expected.clone());
        for site in &sites {
            site.clock.set(now);
            prop_assert_eq!(all(site), shown_of(&entries(&*site.alerts.store()), now));
            site.alerts.store().replica().merge(&shuffled, now);
            prop_assert_eq!(all(site), expected.clone());
            let head = site.alerts.store().head();
            site.alerts.store().replica().merge(&shuffled, now);
            prop_assert_eq!(site.alerts.store().head(), head, "it absorbs what it knows");
        }
    }

    /// The join of any two versions is one that somebody wrote, and they have no writer.
    #[test]
    fn versions_join_as_in_every_map(acts in acts()) {
        let (_, seen, _) = play(&acts);
        for a in &seen {
            prop_assert_eq!(a.writer, crate::id::WriterTag::NONE);
            for b in seen.iter().filter(|b| b.key == a.key) {
                let joined = join(a, b);
                prop_assert_eq!(&joined, &join(b, a));
                prop_assert_eq!(&join(&joined, a), &joined);
                for c in seen.iter().filter(|c| c.key == a.key) {
                    prop_assert_eq!(join(&joined, c), join(a, &join(b, c)));
                }
            }
        }
    }

    /// When all have heard of all, an alert is what was received last says, by the clocks of those who received it: a
    /// resolve after every firing ends it, and after a firing it fires until the end that was said, or longer. Where
    /// clocks and steps leave the order open, nothing is promised.
    #[test]
    fn what_was_received_last_holds(acts in acts()) {
        let (sites, ..) = play(&acts);
        let mut time = at(10);
        let mut last: [Vec<(Timestamp, bool, Timestamp)>; 2] = [Vec::new(), Vec::new()];
        for (tenths, act) in &acts {
            time = time.plus(Duration::from_millis(tenths * 100));
            match *act {
                Act::Fire { site, alert, ahead } => {
                    let wall = time.plus(skew(site));
                    let ends_at = wall.plus(Duration::from_secs(ahead));
                    last[usize::from(alert)].push((wall, true, ends_at));
                }
                Act::Resolve { site, alert } => {
                    let wall = time.plus(skew(site));
                    last[usize::from(alert)].push((wall, false, wall));
                }
                Act::Hear { .. } | Act::Tend { .. } => {}
            }
        }
        let now = time.plus(skew(2));
        for _ in 0..2 {
            for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 2)] {
                let held = entries(&*sites[from].alerts.store());
                sites[to].alerts.store().replica().merge(&held, now);
                sites[to].clock.set(now);
                sites[to].alerts.tend(now);
            }
        }
        let clear = Duration::from_secs(3);
        for (alert, received) in last.iter().enumerate() {
            let Some(&(wall, fires, ends_at)) = received.last() else {
                continue;
            };
            let others = &received[..received.len() - 1];
            let open = |other: &(Timestamp, bool, Timestamp)| {
                let differs = other.1 != fires || other.2 != ends_at;
                differs && other.0.plus(clear) > wall
            };
            if others.iter().any(open) {
                continue;
            }
            let shown: BTreeSet<bool> = sites
                .iter()
                .map(|site| {
                    let firing = site.alerts.firing(now);
                    firing.iter().any(|(_, it)| it.labels["n"] == alert.to_string())
                })
                .collect();
            if !fires {
                prop_assert_eq!(shown, BTreeSet::from([false]), "{} was resolved", alert);
            } else if ends_at > now {
                prop_assert_eq!(shown, BTreeSet::from([true]), "{} fires", alert);
            }
        }
    }
}
