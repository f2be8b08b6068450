//! What repeats cost: bytes of entries that three nodes send each other.

use super::*;
use crate::wire::Entry;

/// A client sends so many in one request.
const BATCH: usize = 64;
const AHEAD: u64 = 240;

/// The alerts of a round: each group of rules has its own instant of evaluation.
fn round(count: usize, seconds: u64) -> Vec<Alert> {
    let one = |index: usize| {
        let mut alert = alert(0, 0);
        alert.labels.insert(
            "instance".to_owned(),
            format!("host-{index:05}.example.org:9100"),
        );
        alert.annotations.insert("text".to_owned(), "x".repeat(260));
        let millis = (index / 25) as u64 * 7;
        alert.ends_at = at(seconds + AHEAD).plus(Duration::from_millis(millis));
        alert
    };
    (0..count).map(one).collect()
}

fn send(site: &Site, seconds: u64, alerts: &[Alert]) {
    let now = at(seconds);
    site.clock.set(now);
    for batch in alerts.chunks(BATCH) {
        for alert in batch {
            site.alerts.put(alert.clone(), now).unwrap();
        }
        site.alerts.extend(now).unwrap();
    }
    site.alerts.tend(now);
}

/// What has changed in a store since a change.
fn changed(site: &Site, after: u64) -> Vec<Entry> {
    let (store, mut after) = (site.alerts.store(), after);
    let mut entries = Vec::new();
    loop {
        let changes = store.replica().changes(after, 256, usize::MAX);
        let Some(last) = changes.last() else {
            return entries;
        };
        after = last.seq;
        entries.extend(changes.into_iter().map(|change| change.entry));
    }
}

/// Repeats go to all three nodes, which all write before they hear of each other: the worst there is.
/// Returns what each sends to the two others a second, once all alerts are known.
fn cost(count: usize, every: u64, span: u64) -> [f64; 3] {
    let sites = [Site::new(), Site::new(), Site::new()];
    let mut sent = [0; 3];
    for seconds in (0..=span).step_by(usize::try_from(every).unwrap()) {
        let heads = sites.each_ref().map(|site| site.alerts.store().head());
        let alerts = round(count, seconds);
        sites.iter().for_each(|site| send(site, seconds, &alerts));
        for (from, head) in heads.into_iter().enumerate() {
            let written = changed(&sites[from], head);
            let bytes: usize = written.iter().map(Entry::encoded_len).sum();
            sent[from] += if seconds == 0 { 0 } else { 2 * bytes };
            for other in (0..3).filter(|other| *other != from) {
                let store = sites[other].alerts.store();
                store.replica().merge(&written, at(seconds));
            }
        }
        for site in &sites {
            site.alerts.tend(at(seconds));
            site.alerts.collect(at(seconds));
            assert_eq!(site.alerts.firing(at(seconds)).len(), count);
        }
    }
    sent.map(|bytes| {
        f64::from(u32::try_from(bytes).unwrap()) / f64::from(u32::try_from(span).unwrap())
    })
}

#[test]
fn repeats_cost_each_node_less_than_two_kilobytes_a_second() {
    for (count, every, span) in [(5_000, 15, 270), (250, 60, 6 * 3600)] {
        let scale = 5_000.0 / f64::from(u32::try_from(count).unwrap());
        for bytes in cost(count, every, span) {
            let bytes = bytes * scale;
            assert!((300.0..1_800.0).contains(&bytes), "{bytes} B/s for {count}");
        }
    }
}
