//! The drills, one by one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use crate::Failure;
use crate::fleet::{Fleet, Member, System};
use crate::hook::{Hook, Told};

/// What a drill found: figures by name, in order.
pub(crate) type Found = Vec<(&'static str, String)>;

/// One drill.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(System) -> Result<Found, Failure>,
}

/// All of them.
pub(crate) const ROWS: [Row; 9] = [
    Row {
        name: "repeat",
        about: "one alert sent to all three, for four repeats of 30 s",
        run: repeat,
    },
    Row {
        name: "killed",
        about: "one alert sent to one node, which is killed 100 ms after its answer; ten times",
        run: killed,
    },
    Row {
        name: "sigkill",
        about: "300 groups, one node killed when a third is told",
        run: |system| groups(system, "-KILL"),
    },
    Row {
        name: "sigterm",
        about: "300 groups, one node stopped when a third is told",
        run: |system| groups(system, "-TERM"),
    },
    Row {
        name: "resolve",
        about: "40 alerts that fire and resolve, with the default peer timeout",
        run: resolve,
    },
    Row {
        name: "burst",
        about: "5,000 new alerts of 400 bytes in 300 groups, sent to all three at the same time",
        run: burst,
    },
    Row {
        name: "unchanged",
        about: "5,000 alerts of 400 bytes repeated to all three every 15 s, unchanged",
        run: |system| steady(system, false),
    },
    Row {
        name: "changed",
        about: "the same, with annotations that change every time",
        run: |system| steady(system, true),
    },
    Row {
        name: "memory",
        about: "idle, with 50,000 silences, and with 5,000 alerts in 300 groups",
        run: memory,
    },
];

/// Not a drill: whether three nodes tell of one alert at all.
pub(crate) const BRIEF: Row = Row {
    name: "brief",
    about: "one alert sent to one of three nodes",
    run: brief,
};

fn brief(system: System) -> Result<Found, Failure> {
    let hook = Hook::start(Duration::ZERO)?;
    let fleet = Fleet::start(system, &config(&hook, "100ms", "10s", "30s"), &[])?;
    send(
        &fleet.members[0],
        &list(std::iter::once(alert("Down", 0, None, "x"))),
    )?;
    if !hook.wait(1, Duration::from_secs(30)) {
        return Err("nobody was told".into());
    }
    Ok(vec![("messages", hook.told().len().to_string())])
}

/// Groups by alert name.
fn config(hook: &Hook, wait: &str, interval: &str, repeat: &str) -> String {
    format!(
        "route: {{receiver: hook, group_by: [alertname], group_wait: {wait}, group_interval: {interval}, \
         repeat_interval: {repeat}}}\n\
         receivers: [{{name: hook, webhook_configs: [{{url: '{}', send_resolved: true}}]}}]\n",
        hook.url()
    )
}

/// An alert; `ends` seconds from now, if it says when.
fn alert(name: &str, instance: usize, ends: Option<i64>, annotation: &str) -> String {
    let starts = from_now(-1);
    let ends = ends.map_or_else(String::new, |at| format!(r#","endsAt":"{}""#, from_now(at)));
    format!(
        r#"{{"labels":{{"alertname":"{name}","instance":"{instance}"}},"annotations":{{"summary":"{annotation}"}},"startsAt":"{starts}"{ends}}}"#
    )
}

fn list(alerts: impl Iterator<Item = String>) -> String {
    let alerts: Vec<String> = alerts.collect();
    format!("[{}]", alerts.join(","))
}

fn send(member: &Member, alerts: &str) -> Result<(), Failure> {
    match member.post("/api/v2/alerts", alerts)? {
        200 => Ok(()),
        status => Err(format!("alerts: {status}").into()),
    }
}

fn repeat(system: System) -> Result<Found, Failure> {
    const REPEATS: u32 = 4;
    let hook = Hook::start(Duration::ZERO)?;
    let fleet = Fleet::start(system, &config(&hook, "5s", "10s", "30s"), &[])?;
    let started = Instant::now();
    // As Prometheus does: again and again.
    while started.elapsed() < Duration::from_secs(5 + 40 * u64::from(REPEATS)) {
        for member in &fleet.members {
            send(
                member,
                &list(std::iter::once(alert("Down", 0, Some(240), "x"))),
            )?;
        }
        sleep(Duration::from_secs(5));
    }
    let told = hook.told();
    // Within a flush of each other they are one repeat.
    let mut bursts: Vec<usize> = Vec::new();
    let mut last: Option<Instant> = None;
    for one in &told {
        if last.is_none_or(|last| one.at - last > Duration::from_secs(20)) {
            bursts.push(0);
        }
        last = last.or(Some(one.at)).max(Some(one.at));
        if let Some(burst) = bursts.last_mut() {
            *burst += 1;
        }
    }
    let each = bursts.iter().fold(String::new(), |mut text, count| {
        let _ = write!(text, "{count} ");
        text
    });
    Ok(vec![
        ("messages", told.len().to_string()),
        ("in each repeat", each.trim_end().to_owned()),
    ])
}

fn killed(system: System) -> Result<Found, Failure> {
    const TIMES: usize = 10;
    let hook = Hook::start(Duration::ZERO)?;
    let flags = ["--cluster.peer-timeout=2s"];
    let mut fleet = Fleet::start(system, &config(&hook, "5s", "10s", "1h"), &flags)?;
    for time in 0..TIMES {
        let index = time % fleet.members.len();
        let name = format!("Down{time}");
        send(
            &fleet.members[index],
            &list(std::iter::once(alert(&name, 0, Some(600), "x"))),
        )?;
        sleep(Duration::from_millis(100));
        fleet.members[index].signal("-KILL");
        sleep(Duration::from_secs(1));
        fleet.restart(index)?;
    }
    sleep(Duration::from_secs(30));
    let by_group = by_group(&hook.told());
    let of = |wanted: fn(usize) -> bool| by_group.values().filter(|it| wanted(it.len())).count();
    Ok(vec![
        (
            "told once",
            format!("{} of {TIMES}", of(|count| count == 1)),
        ),
        ("told more often", of(|count| count > 1).to_string()),
        ("never told", (TIMES - by_group.len()).to_string()),
    ])
}

fn groups(system: System, signal: &str) -> Result<Found, Failure> {
    const GROUPS: usize = 300;
    let hook = Hook::start(Duration::from_millis(20))?;
    let fleet = Fleet::start(system, &config(&hook, "5s", "5m", "1h"), &[])?;
    let alerts = list((0..GROUPS).map(|n| alert(&format!("A{n}"), 0, Some(3600), "x")));
    for member in &fleet.members {
        send(member, &alerts)?;
    }
    if !hook.wait(GROUPS / 3, Duration::from_secs(60)) {
        return Err("not a third was told".into());
    }
    fleet.members[0].signal(signal);
    let stopped = Instant::now();
    // The others wait for their turns, of 15 s each.
    let mut last = 0;
    let mut quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(40) && stopped.elapsed() < Duration::from_secs(120)
    {
        let now = hook.told().len();
        if now != last {
            (last, quiet) = (now, Instant::now());
        }
        sleep(Duration::from_millis(200));
    }
    let told = hook.told();
    let by_group = by_group(&told);
    let all = told
        .iter()
        .map(|one| one.at.saturating_duration_since(stopped))
        .max();
    Ok(vec![
        ("groups told", by_group.len().to_string()),
        ("groups missing", (GROUPS - by_group.len()).to_string()),
        ("duplicates", (told.len() - by_group.len()).to_string()),
        (
            "all told after the signal",
            seconds(all.unwrap_or_default()),
        ),
    ])
}

fn resolve(system: System) -> Result<Found, Failure> {
    const ALERTS: usize = 40;
    let hook = Hook::start(Duration::ZERO)?;
    let fleet = Fleet::start(system, &config(&hook, "5s", "10s", "30s"), &[])?;
    let all = |ends| list((0..ALERTS).map(|n| alert(&format!("A{n}"), 0, Some(ends), "x")));
    for member in &fleet.members {
        send(member, &all(240))?;
    }
    sleep(Duration::from_secs(7));
    for member in &fleet.members {
        send(member, &all(0))?;
    }
    sleep(Duration::from_secs(75));
    let told = hook.told();
    let by_group = by_group(&told);
    let wrong = by_group.values().flat_map(|told| {
        let resolved = told.iter().position(|one| one.status == "resolved");
        told[resolved.unwrap_or(told.len())..]
            .iter()
            .filter(|one| one.status == "firing")
    });
    Ok(vec![
        ("messages", told.len().to_string()),
        ("firing after resolved", wrong.count().to_string()),
    ])
}

fn steady(system: System, changing: bool) -> Result<Found, Failure> {
    const ALERTS: usize = 5_000;
    const ROUNDS: u32 = 8;
    const EVERY: Duration = Duration::from_secs(15);
    let hook = Hook::start(Duration::ZERO)?;
    let fleet = Fleet::start(system, &config(&hook, "5s", "10s", "4h"), &[])?;
    let idle = sent(&fleet, Duration::from_secs(30))?;
    let text = "x".repeat(250);
    let repeat = |round: u32| -> Result<Duration, Failure> {
        let (mut longest, note) = (
            Duration::ZERO,
            format!("{text}{}", if changing { round } else { 0 }),
        );
        for member in &fleet.members {
            for part in 0..ALERTS / 500 {
                let part = part * 500..(part + 1) * 500;
                let alerts =
                    list(part.map(|n| alert(&format!("A{}", n % 300), n, Some(240), &note)));
                let asked = Instant::now();
                send(member, &alerts)?;
                longest = longest.max(asked.elapsed());
            }
        }
        Ok(longest)
    };
    // Until all are known, and told.
    repeat(0)?;
    sleep(EVERY);
    repeat(1)?;
    sleep(EVERY);
    let before = totals(&fleet)?;
    let started = Instant::now();
    let mut longest = Duration::ZERO;
    for round in 2..2 + ROUNDS {
        let began = Instant::now();
        longest = longest.max(repeat(round)?);
        sleep(EVERY.saturating_sub(began.elapsed()));
    }
    let took = started.elapsed().as_secs_f64();
    let after = totals(&fleet)?;
    let each = |of: fn(&Totals) -> f64| (of(&after) - of(&before)) / took / 3.0;
    Ok(vec![
        ("sent per node when idle", format!("{:.0} B/s", idle)),
        (
            "sent per node above that",
            format!("{:.0} B/s", each(|it| it.sent) - idle),
        ),
        (
            "CPU per node",
            format!("{:.1} %", each(|it| it.cpu) * 100.0),
        ),
        (
            "slowest POST of 500",
            format!("{:.0} ms", longest.as_secs_f64() * 1e3),
        ),
    ])
}

fn burst(system: System) -> Result<Found, Failure> {
    const ALERTS: usize = 5_000;
    let hook = Hook::start(Duration::ZERO)?;
    let fleet = Fleet::start(system, &config(&hook, "5s", "30s", "4h"), &[])?;
    let idle = sent(&fleet, Duration::from_secs(10))?;
    let text = "x".repeat(250);
    let bodies: Vec<String> = (0..ALERTS / 500)
        .map(|part| {
            let part = part * 500..(part + 1) * 500;
            list(part.map(|n| alert(&format!("A{}", n % 300), n, Some(600), &text)))
        })
        .collect();
    let payload: usize = bodies.iter().map(String::len).sum();
    let lost = |fleet: &Fleet| -> Result<f64, Failure> {
        let each = fleet.members.iter();
        each.map(|it| it.metric("rumormill_packets_lost_total"))
            .sum()
    };
    let before = (totals(&fleet)?.sent, lost(&fleet)?);
    let began = Instant::now();
    let posted = std::thread::scope(|scope| {
        let posting: Vec<_> = fleet
            .members
            .iter()
            .map(|member| scope.spawn(|| bodies.iter().try_for_each(|body| send(member, body))))
            .collect();
        let panicked = |_| Err("a client panicked".into());
        let mut posting = posting.into_iter();
        posting.try_for_each(|it| it.join().unwrap_or_else(panicked))
    });
    posted?;
    let took = began.elapsed();
    sleep(Duration::from_secs(15).saturating_sub(began.elapsed()));
    let span = began.elapsed().as_secs_f64();
    let after = (totals(&fleet)?.sent, lost(&fleet)?);
    let sent = after.0 - before.0 - idle * 3.0 * span;
    let told = hook.told();
    Ok(vec![
        ("posted in", seconds(took)),
        (
            "bytes of the requests to one",
            format!("{:.1} MB", payload as f64 / 1e6),
        ),
        ("sent by all nodes", format!("{:.1} MB", sent / 1e6)),
        (
            "of two copies",
            format!("{:.2}", sent / (2.0 * payload as f64)),
        ),
        ("packets sent again", format!("{:.0}", after.1 - before.1)),
        ("messages in 15 s", told.len().to_string()),
        ("groups told", by_group(&told).len().to_string()),
    ])
}

/// What all nodes have sent and worked so far.
struct Totals {
    sent: f64,
    cpu: f64,
}

fn totals(fleet: &Fleet) -> Result<Totals, Failure> {
    let (mut sent, mut cpu) = (0.0, 0.0);
    for member in &fleet.members {
        sent += member.metric("alertmanager_cluster_messages_sent_size_total")?;
        cpu += member.cpu()?;
    }
    Ok(Totals { sent, cpu })
}

/// Bytes a second that each node sends, over a while.
fn sent(fleet: &Fleet, span: Duration) -> Result<f64, Failure> {
    let before = totals(fleet)?.sent;
    sleep(span);
    Ok((totals(fleet)?.sent - before) / span.as_secs_f64() / 3.0)
}

fn memory(system: System) -> Result<Found, Failure> {
    let hook = Hook::start(Duration::ZERO)?;
    let flags = ["--data.retention=120h"];
    let fleet = Fleet::start(system, &config(&hook, "5s", "10s", "4h"), &flags)?;
    sleep(Duration::from_secs(5));
    let idle = resident(&fleet)?;
    let alerts =
        list((0..5_000).map(|n| alert(&format!("A{}", n % 300), n, Some(600), &"x".repeat(250))));
    for member in &fleet.members {
        send(member, &alerts)?;
    }
    sleep(Duration::from_secs(20));
    let alerts = resident(&fleet)?;
    drop(fleet);
    let fleet = Fleet::start(system, &config(&hook, "5s", "10s", "4h"), &flags)?;
    let (from, to) = (from_now(0), from_now(7200));
    for number in 0..50_000 {
        let silence = format!(
            r#"{{"matchers":[{{"name":"instance","value":"host-{number}","isRegex":false}}],"startsAt":"{from}","endsAt":"{to}","createdBy":"drill","comment":"c"}}"#
        );
        fleet.members[number % 3].post("/api/v2/silences", &silence)?;
    }
    sleep(Duration::from_secs(10));
    let silences = resident(&fleet)?;
    let threads = fleet.members.iter().map(|member| member.status("Threads"));
    let threads: Vec<u64> = threads.collect::<Result<_, _>>()?;
    Ok(vec![
        ("idle", megabytes(idle)),
        ("5,000 alerts in 300 groups", megabytes(alerts)),
        ("50,000 silences", megabytes(silences)),
        (
            "threads then",
            threads.iter().max().copied().unwrap_or(0).to_string(),
        ),
    ])
}

/// The most that a node has in memory, in KiB.
fn resident(fleet: &Fleet) -> Result<u64, Failure> {
    let mut most = 0;
    for member in &fleet.members {
        most = most.max(member.status("VmRSS")?);
    }
    Ok(most)
}

fn megabytes(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 * 1024.0 / 1e6)
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

fn by_group(told: &[Told]) -> BTreeMap<String, Vec<Told>> {
    let mut groups: BTreeMap<String, Vec<Told>> = BTreeMap::new();
    for one in told {
        groups
            .entry(one.group.clone())
            .or_default()
            .push(one.clone());
    }
    groups
}

/// RFC 3339, `seconds` from now.
fn from_now(seconds: i64) -> String {
    let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    (now + jiff::SignedDuration::from_secs(seconds)).to_string()
}
