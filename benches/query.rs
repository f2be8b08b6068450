//! Which of 10,000 active silences mute an alert: `cargo bench --bench query`.
//!
//! - *equality*: three equality matchers each, four silences of 10,000 mute the alert.
//! - *patterns*: two regular expressions each and nothing else, `A{4}|ID7` and `ID7`, one in ten
//!   `B(B|C)B.|ID7`: those of Alertmanager's own benchmark. A tenth of them mutes the alert.
//! - *open_patterns*: `rack-7.*` and `.+[.]zone-7`, of which nothing can be listed.
//!   `uncompiled` is the first question of all, which compiles what it must.
//! - *remembered*: what `Muting` takes when nothing has changed, and after one more silence.
//! - *alerts*: 1,000 alerts one after the other, as a page of alerts asks.
//!
//! Bars: equality 20 us, patterns and open patterns 3,500 us (a third of what Alertmanager takes).
#![allow(missing_docs)]

mod support;
mod tables;

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use rumormill::store::Limits;
use rumormill::store::matcher::{Labels, Matcher, Op};
use rumormill::store::silences::{Muting, NewSilence, SilenceLimits, Silences};
use support::{BEGIN, Random, VirtualClock, context, timed};
use tables::{Table, is_test, mean, mean_in_rounds};

const HOUR: Duration = Duration::from_secs(3600);
const ALERTS: usize = 1_000;

fn main() {
    let mut table = Table::new("query");
    let count = if is_test() { 1_000 } else { 10_000 };

    let silences = filled(count, equality);
    let alerts = alerts();
    let mutes = |alert: &Labels| silences.mutes(alert).len();
    let row = mean_in_rounds(5, || us(&alerts, mutes));
    table.row("query/equality/us", row);
    let muted: usize = alerts.iter().map(mutes).sum();
    table.row("query/equality/muting", muted as f64 / ALERTS as f64);
    remembered(&mut table, &silences, &alerts);

    let silences = filled(count, patterns);
    let alert = labels(&[("aaaa", "AAAA"), ("bbbb", "BBBB"), ("cccc", "CCCC")]);
    assert_eq!(silences.mutes(&alert).len(), count / 10);
    let row = mean_in_rounds(20, || us(&[()], |()| silences.mutes(&alert).len()));
    table.row("query/patterns/us", row);

    let alert = labels(&[("instance", "rack-7-host-19"), ("zone", "a.zone-7")]);
    let row = mean(|| {
        let silences = filled(count, open_patterns);
        us(&[()], |()| silences.mutes(&alert).len())
    });
    table.row("query/open_patterns/uncompiled/us", row);
    let silences = filled(count, open_patterns);
    let row = mean_in_rounds(20, || us(&[()], |()| silences.mutes(&alert).len()));
    table.row("query/open_patterns/us", row);
    table.finish();
}

/// What is remembered of alerts.
fn remembered(table: &mut Table, silences: &Silences, alerts: &[Labels]) {
    let muting = || {
        let alerts_max = NonZeroUsize::new(4 * ALERTS).expect("not zero");
        Muting::new(silences.clone(), alerts_max)
    };
    let first = mean(|| {
        let muting = muting();
        us(alerts, |alert| muting.mutes(alert).len()) * ALERTS as f64
    });
    table.row("query/alerts/first/us", first);
    let muting = muting();
    us(alerts, |alert| muting.mutes(alert).len());
    let again = mean(|| us(alerts, |alert| muting.mutes(alert).len()));
    table.row("query/remembered/us", again);
    table.row("query/alerts/again/us", again * ALERTS as f64);
    let mut random = Random(11);
    let one_more = mean(|| {
        write(silences, equality(&mut random, 0));
        us(alerts, |alert| muting.mutes(alert).len())
    });
    table.row("query/remembered/one_more/us", one_more);
    table.row("query/alerts/one_more/us", one_more * ALERTS as f64);
    for alert in alerts {
        assert_eq!(muting.mutes(alert), silences.mutes(alert));
    }
}

fn filled(count: usize, matchers: fn(&mut Random, usize) -> Vec<Matcher>) -> Silences {
    let clock = context(Arc::new(VirtualClock::default()));
    let silences = Silences::new(SilenceLimits::default(), Limits::default(), clock, [7; 32]);
    let mut random = Random(7);
    for n in 0..count {
        write(&silences, matchers(&mut random, n));
    }
    silences
}

fn write(silences: &Silences, matchers: Vec<Matcher>) {
    let written = silences.set(NewSilence::new(matchers, BEGIN.plus(HOUR)));
    assert!(written.is_ok(), "{written:?}");
}

/// Alerts of 500 names on 5 clusters: four silences of 10,000 name both.
fn equality(random: &mut Random, _: usize) -> Vec<Matcher> {
    vec![
        matcher(
            "alertname",
            Op::Equal,
            format!("Alert{}", random.below(500)),
        ),
        matcher("cluster", Op::Equal, format!("cluster-{}", random.below(5))),
        matcher("env", Op::Equal, "production".to_owned()),
    ]
}

fn patterns(_: &mut Random, n: usize) -> Vec<Matcher> {
    let id = format!("ID{n}");
    let second = if n.is_multiple_of(10) {
        format!("B(B|C)B.|{id}")
    } else {
        id.clone()
    };
    vec![
        matcher("aaaa", Op::Regex, format!("A{{4}}|{id}")),
        matcher("bbbb", Op::Regex, second),
    ]
}

fn open_patterns(random: &mut Random, n: usize) -> Vec<Matcher> {
    vec![
        matcher("instance", Op::Regex, format!("rack-{}.*", n % 1000)),
        matcher("zone", Op::Regex, format!(".+[.]zone-{}", random.below(10))),
    ]
}

fn matcher(name: &str, op: Op, value: String) -> Matcher {
    Matcher::new(name, op, value).expect("a matcher")
}

fn alerts() -> Vec<Labels> {
    let mut random = Random(3);
    let alert = |n| {
        let name = format!("Alert{}", random.below(500));
        let cluster = format!("cluster-{}", random.below(5));
        let instance = format!("node-{n}:9100");
        labels(&[
            ("alertname", &name),
            ("cluster", &cluster),
            ("env", "production"),
            ("instance", &instance),
            ("job", "node"),
            ("severity", "warning"),
            ("team", "infrastructure"),
        ])
    };
    (0..ALERTS).map(alert).collect()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Microseconds for each of a list.
fn us<T>(list: &[T], mut ask: impl FnMut(&T) -> usize) -> f64 {
    let asked = || list.iter().map(|one| black_box(ask(one))).sum::<usize>();
    let (_, time) = timed(asked);
    time.as_secs_f64() * 1e6 / list.len() as f64
}
