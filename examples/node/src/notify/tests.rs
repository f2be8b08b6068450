//! The dispatcher and the pipeline of one node, on paused time, with receivers that remember what they are told.

use std::collections::BTreeMap;
use std::fs;
use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser as _;
use rumormill::Config;
use rumormill::node::Node;
use rumormill::store::matcher::{Labels, Syntax};
use rumormill::store::nflog::ReceiverKey;
use rumormill::store::silences::NewSilence;
use rumormill::time::{Timestamp, WallClock};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::integration::{Channel, Integration, Notification, SendError};
use super::{Dispatch, Options};
use crate::alerts::Alert;
use crate::app::App;
use crate::flags::Flags;
use crate::receivers::{ReceiverConfig, WebhookConfig};
use crate::settings::Settings;

/// `a=1,b=2` as labels.
pub(super) fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    pairs.map(owned).collect()
}

/// An alert that fires from one second to another.
pub(super) fn alert(text: &str, starts_at: u64, ends_at: u64) -> Alert {
    Alert {
        labels: labels(text),
        annotations: BTreeMap::new(),
        starts_at: Timestamp::from_secs(starts_at),
        ends_at: Timestamp::from_secs(ends_at),
        updated_at: Timestamp::from_secs(starts_at),
        generator_url: String::new(),
        timeout: false,
    }
}

/// What a receiver does with what it is told.
#[derive(Clone, Debug)]
enum Answer {
    Hangs,
    Refuses(SendError),
    Takes,
    /// After so long.
    TakesIn(Duration),
}

/// All receivers; each is a webhook by its name.
#[derive(Clone, Debug)]
pub(super) struct Fake {
    start: Instant,
    /// As `3 hook: +A,B -C`: at second 3 of the test the receiver is told that A and B fire and C is resolved.
    told: Arc<Mutex<Vec<String>>>,
    attempts: Arc<Mutex<usize>>,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    pub(super) config: WebhookConfig,
}

impl Fake {
    pub(super) async fn send(&self, notification: Notification) -> Result<(), SendError> {
        *self.attempts.lock().unwrap() += 1;
        let answers = self.answers.lock().unwrap().clone();
        match answers.get(&notification.receiver) {
            Some(Answer::Hangs) => pending().await,
            Some(Answer::Refuses(error)) => return Err(error.clone()),
            Some(Answer::TakesIn(span)) => sleep(*span).await,
            Some(Answer::Takes) | None => {}
        }
        let names = |is_resolved: bool| {
            let alerts = notification.alerts.iter();
            let alerts = alerts.filter(|told| told.is_resolved == is_resolved);
            let names: Vec<_> = alerts.map(|told| told.alert.labels["n"].as_str()).collect();
            names.join(",")
        };
        let (second, receiver) = (self.start.elapsed().as_secs(), &notification.receiver);
        let text = format!("{second} {receiver}: +{} -{}", names(false), names(true));
        self.told.lock().unwrap().push(text);
        Ok(())
    }
}

/// Wall time that goes with tokio's.
#[derive(Clone, Copy)]
struct TestClock(Instant);

impl WallClock for TestClock {
    fn wall(&self) -> Timestamp {
        BASE.plus(self.0.elapsed())
    }
}

/// A node that tells nobody but the receivers of the test.
struct Rig {
    app: Arc<App>,
    fake: Fake,
    dir: PathBuf,
    stop: Option<watch::Sender<()>>,
    running: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Rig {
    fn start(name: &str, config: &str) -> Self {
        Self::start_with(name, config, Config::lan())
    }

    fn start_with(name: &str, config: &str, node: Config) -> Self {
        let dir = std::env::temp_dir().join(format!("rumormill-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("am.yml");
        fs::write(&file, config).unwrap();
        let flags = Flags::parse_from([
            "node".to_owned(),
            format!("--config.file={}", file.display()),
            "--cluster.listen-address=".to_owned(),
        ]);
        let settings = Settings::load(&flags).unwrap();
        let start = Instant::now();
        let fake = Fake {
            start,
            told: Arc::default(),
            attempts: Arc::default(),
            answers: Arc::default(),
            config: settings.receivers[0].webhooks[0].clone(),
        };
        let clock = Arc::new(TestClock(start));
        let channel = fake.clone();
        let connect = Box::new(move |receivers: &[ReceiverConfig]| {
            let fake = |name: &str, config: &WebhookConfig| Integration {
                key: ReceiverKey {
                    group_name: name.to_owned(),
                    integration: "webhook".to_owned(),
                    idx: 0,
                },
                send_resolved: config.send_resolved,
                channel: Channel::Fake(Box::new(Fake {
                    config: config.clone(),
                    ..channel.clone()
                })),
            };
            let receivers = receivers.iter().map(|receiver| {
                let webhooks = receiver.webhooks.iter();
                let all = webhooks.map(|config| Arc::new(fake(&receiver.name, config)));
                (receiver.name.clone(), all.collect())
            });
            receivers.collect()
        });
        let builder = Node::builder("alone").config(node);
        let mut builder = builder.wall_clock(Arc::<TestClock>::clone(&clock));
        let dispatch = Dispatch::connected_by(clock, connect);
        let app = crate::run::app(&mut builder, None, (flags, &settings), dispatch);
        let options = Options {
            peer_timeout: settings.peer_timeout,
            external_url: "http://am".to_owned(),
            start_delay: settings.dispatch_start_delay,
        };
        let (stop, stopped) = watch::channel(());
        let running = tokio::spawn(super::run(Arc::clone(&app), options, stopped));
        Self {
            app,
            fake,
            dir,
            stop: Some(stop),
            running,
        }
    }

    fn now(&self) -> Timestamp {
        BASE.plus(self.fake.start.elapsed())
    }

    /// Alerts that fire since so many seconds ago, for an hour.
    fn fire(&self, ago: u64, alerts: &[&str]) {
        self.put(alerts, Duration::from_secs(ago), Duration::from_secs(3600));
    }

    fn resolve(&self, alerts: &[&str]) {
        self.put(alerts, Duration::from_secs(30), Duration::ZERO);
    }

    fn put(&self, alerts: &[&str], ago: Duration, on: Duration) {
        let now = self.now();
        for text in alerts {
            let mut alert = alert(text, 0, 0);
            (alert.starts_at, alert.ends_at) = (now.minus(ago), now.plus(on));
            alert.updated_at = now;
            self.app.alerts.put(alert, now).unwrap();
        }
    }

    fn answers(&self, receiver: &str, answer: Answer) {
        let mut answers = self.fake.answers.lock().unwrap();
        answers.insert(receiver.to_owned(), answer);
    }

    /// What receivers are told until a second of the test.
    async fn told_until(&self, second: u64) -> Vec<String> {
        tokio::time::sleep_until(self.fake.start + Duration::from_secs(second)).await;
        std::mem::take(&mut self.fake.told.lock().unwrap())
    }

    fn attempts(&self) -> usize {
        *self.fake.attempts.lock().unwrap()
    }

    fn metric(&self, name: &str) -> u64 {
        let page = crate::metrics::render(&self.app);
        let start = format!("alertmanager_{name}{{integration=\"webhook\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap().parse().unwrap()
    }
}

/// A configuration of one receiver; alerts are grouped by their `g`.
fn one(times: &str) -> String {
    format!(
        "route: {{receiver: hook, group_by: [g], {times}}}\nreceivers: [{{name: hook, \
         webhook_configs: [{{url: 'http://h/'}}]}}]\n"
    )
}

const TIMES: &str = "group_wait: 5s, group_interval: 10s, repeat_interval: 30s";

#[tokio::test(start_paused = true)]
async fn a_group_waits_for_company_and_is_repeated() {
    let rig = Rig::start("wait", &one(TIMES));
    rig.fire(0, &["n=A"]);
    sleep(Duration::from_secs(3)).await;
    rig.fire(0, &["n=B"]);
    assert_eq!(rig.told_until(14).await, ["5 hook: +A,B -"]);
    rig.fire(60, &["n=C"]);
    rig.fire(0, &["g=other,n=D"]);
    // Only what changes is told at each interval, and what does not once it is time to repeat it.
    let told = rig.told_until(70).await;
    let expected = [
        "15 hook: +A,B,C -",
        "19 hook: +D -",
        "55 hook: +A,B,C -",
        "59 hook: +D -",
    ];
    assert_eq!(told, expected);
}

/// Where its entry of the log is too large it is told again only once it is time to.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_logged_is_not_told_at_each_flush() {
    let node = Config::lan().entry_bytes_max(1024);
    let rig = Rig::start_with("unlogged", &one(TIMES), node);
    let names: Vec<String> = (0..300).map(|number| format!("n={number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.fire(0, &names);
    assert_eq!(rig.told_until(44).await.len(), 1);
    assert_eq!(rig.app.nflog.store().len(), 0);
    rig.resolve(&names[1..]);
    assert_eq!(rig.told_until(58).await.len(), 1);
    assert_eq!(rig.told_until(84).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_old_alert_flushes_a_group_at_once_that_was_never_flushed() {
    let rig = Rig::start("old", &one(TIMES));
    sleep(Duration::from_secs(1)).await;
    rig.fire(6, &["n=A"]);
    sleep(Duration::from_secs(1)).await;
    rig.fire(60, &["n=B"]);
    assert_eq!(
        rig.told_until(20).await,
        ["1 hook: +A -", "11 hook: +A,B -"]
    );
}

/// A post is written alert by alert, and part of it comes by way of other nodes.
#[tokio::test(start_paused = true)]
async fn what_was_posted_with_a_late_alert_is_told_with_it() {
    let inhibits = "inhibit_rules: [{source_matchers: [n=S], target_matchers: [n=T]}]\n";
    let rig = Rig::start("together", &format!("{}{inhibits}", one(TIMES)));
    sleep(Duration::from_secs(1)).await;
    for late in ["n=A", "n=T", "n=B", "n=S"] {
        rig.fire(60, &[late]);
        sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(rig.told_until(9).await, ["1 hook: +A,B,S -"]);
    assert_eq!(rig.told_until(20).await, [""; 0]);
}

/// Until it fires again, however often it is repeated that it is resolved.
#[tokio::test(start_paused = true)]
async fn what_is_resolved_is_told_once() {
    let rig = Rig::start("once", &one(TIMES));
    rig.fire(0, &["n=A", "n=B"]);
    assert_eq!(rig.told_until(10).await, ["5 hook: +A,B -"]);
    let ended = (Duration::from_secs(30), Duration::ZERO);
    let (starts_at, ends_at) = (rig.now().minus(ended.0), rig.now());
    let resolve_again = || {
        let mut again = alert("n=A", 0, 0);
        (again.starts_at, again.ends_at, again.updated_at) = (starts_at, ends_at, rig.now());
        rig.app.alerts.put(again, rig.now()).unwrap();
    };
    resolve_again();
    assert_eq!(rig.told_until(16).await, ["15 hook: +B -A"]);
    resolve_again();
    rig.fire(0, &["n=C"]);
    assert_eq!(rig.told_until(30).await, ["25 hook: +B,C -"]);
    resolve_again();
    assert_eq!(rig.told_until(50).await, [""; 0]);
    rig.fire(0, &["n=A"]);
    assert_eq!(rig.told_until(60).await, ["55 hook: +A,B,C -"]);
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_fires_and_ends_before_it_is_told_is_never_told() {
    let rig = Rig::start("never", &one(TIMES));
    rig.fire(0, &["n=A"]);
    sleep(Duration::from_secs(2)).await;
    rig.resolve(&["n=A"]);
    assert_eq!(rig.told_until(60).await, [""; 0]);
    assert_eq!(
        rig.app.dispatch.figures().groups,
        0,
        "the empty group is forgotten"
    );
}

#[tokio::test(start_paused = true)]
async fn who_does_not_want_resolved_alerts_is_told_of_none() {
    let config = "route: {receiver: hook, group_wait: 1s, group_interval: 10s}\nreceivers: [{name: hook, \
                  webhook_configs: [{url: 'http://h/', send_resolved: false}]}]\n";
    let rig = Rig::start("unresolved", config);
    rig.fire(0, &["n=A", "n=B"]);
    assert_eq!(rig.told_until(5).await, ["1 hook: +A,B -"]);
    rig.resolve(&["n=A"]);
    assert_eq!(rig.told_until(15).await, [""; 0]);
    rig.resolve(&["n=B"]);
    assert_eq!(rig.told_until(30).await, [""; 0]);
    // The log knows that B is resolved, so this is something new.
    rig.fire(0, &["n=B"]);
    assert_eq!(rig.told_until(40).await, ["31 hook: +B -"]);
}

/// Before each further attempt the state is looked at again.
#[tokio::test(start_paused = true)]
async fn what_ends_while_it_cannot_be_told_is_not_told_any_more() {
    let rig = Rig::start("refuses", &one(TIMES));
    rig.answers("hook", Answer::Refuses(SendError::Retry("500".to_owned())));
    rig.fire(0, &["n=A", "n=B"]);
    assert_eq!(rig.told_until(8).await, [""; 0]);
    assert!(rig.attempts() > 1);
    rig.resolve(&["n=A"]);
    rig.answers("hook", Answer::Takes);
    let told = rig.told_until(12).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("+B -A"), "{told:?}");
    let requests = rig.attempts() as u64;
    assert_eq!(rig.metric("notifications_total"), 1);
    assert_eq!(rig.metric("notifications_failed_total"), 0);
    assert_eq!(rig.metric("notification_requests_total"), requests);
    assert_eq!(
        rig.metric("notification_requests_failed_total"),
        requests - 1
    );
}

/// As one does whose proxy has given up on it: it is told of the end too. One that nobody reached is told nothing.
#[tokio::test(start_paused = true)]
async fn who_may_have_taken_an_alert_is_told_of_its_end() {
    let rig = Rig::start("unsure", &one(TIMES));
    for (error, told) in [
        (SendError::Unsure("504".to_owned()), &["hook: + -A"][..]),
        (SendError::Retry("refused".to_owned()), &[]),
    ] {
        let start = rig.fake.start.elapsed().as_secs();
        rig.answers("hook", Answer::Refuses(error));
        rig.fire(0, &["n=A"]);
        assert_eq!(rig.told_until(start + 8).await, [""; 0]);
        rig.resolve(&["n=A"]);
        rig.answers("hook", Answer::Takes);
        let all = rig.told_until(start + 60).await;
        let all: Vec<_> = all.iter().filter_map(|it| it.split_once(' ')).collect();
        let all: Vec<_> = all.iter().map(|(_, it)| *it).collect();
        assert_eq!(all, told);
    }
    assert_eq!(rig.app.dispatch.figures().groups, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_told_once_a_flush() {
    let rig = Rig::start("final", &one(TIMES));
    rig.answers("hook", Answer::Refuses(SendError::Final("400".to_owned())));
    rig.fire(0, &["n=A"]);
    assert_eq!(rig.told_until(14).await, [""; 0]);
    assert_eq!(rig.attempts(), 1);
    assert_eq!(rig.metric("notifications_failed_total"), 1);
    assert_eq!(rig.told_until(24).await, [""; 0]);
    assert_eq!(rig.attempts(), 2);
    assert_eq!(rig.metric("notifications_total"), 2);
    assert_eq!(rig.metric("notifications_failed_total"), 2);
    assert_eq!(rig.metric("notification_requests_total"), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_counts_as_failed() {
    let rig = Rig::start("cut", &one(TIMES));
    rig.answers("hook", Answer::Hangs);
    rig.fire(0, &["n=A"]);
    assert_eq!(rig.told_until(14).await, [""; 0]);
    assert_eq!(rig.metric("notification_requests_total"), 0);
    rig.answers("hook", Answer::Takes);
    // The flush at second 5 has had the ten seconds that it may take.
    assert_eq!(rig.told_until(16).await, ["15 hook: +A -"]);
    assert_eq!(rig.metric("notifications_total"), 2);
    assert_eq!(rig.metric("notifications_failed_total"), 1);
    assert_eq!(rig.metric("notification_requests_total"), 2);
    assert_eq!(rig.metric("notification_requests_failed_total"), 1);
}

/// An attempt is bounded by its flush alone, and a group is not flushed while its last flush lasts.
#[tokio::test(start_paused = true)]
async fn a_slow_receiver_is_told_once() {
    let rig = Rig::start("slow", &one("group_wait: 1s, group_interval: 1m"));
    rig.answers("hook", Answer::TakesIn(Duration::from_secs(50)));
    rig.fire(0, &["n=A"]);
    assert_eq!(rig.told_until(300).await, ["51 hook: +A -"]);
    assert_eq!(rig.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_holds_up_no_other() {
    let config = "
route:
  receiver: good
  group_by: ['...']
  group_wait: 1s
  routes: [{receiver: hangs, continue: true}, {receiver: good}]
receivers:
- {name: hangs, webhook_configs: [{url: 'http://h/'}]}
- {name: good, webhook_configs: [{url: 'http://h/'}]}
";
    let rig = Rig::start("hangs", config);
    rig.answers("hangs", Answer::Hangs);
    let names: Vec<String> = (0..1000).map(|number| format!("n={number}")).collect();
    rig.fire(0, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let told = rig.told_until(2).await;
    assert_eq!(told.len(), 1000);
    assert!(rig.attempts() <= 1000 + super::SENDING_EACH_MAX);
}

/// Nor sent as it was before the wait.
#[tokio::test(start_paused = true)]
async fn what_ends_while_it_waits_for_a_place_is_not_told() {
    let times = "group_wait: 1s, group_interval: 1m";
    let rig = Rig::start("places", &one(times).replace("[g]", "['...']"));
    rig.answers("hook", Answer::TakesIn(Duration::from_secs(8)));
    let names: Vec<String> = (0..=super::SENDING_EACH_MAX)
        .map(|number| format!("n={number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.fire(0, &names);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.attempts(), super::SENDING_EACH_MAX);
    rig.resolve(&names);
    assert_eq!(rig.told_until(40).await.len(), super::SENDING_EACH_MAX);
    assert_eq!(rig.attempts(), super::SENDING_EACH_MAX);
}

#[tokio::test(start_paused = true)]
async fn what_is_silenced_inhibited_or_not_in_time_is_not_told() {
    // The test begins at 22:13:20 of a Tuesday.
    let config = "
route:
  receiver: hook
  group_by: [g]
  group_wait: 1s
  group_interval: 10s
  routes:
  - {receiver: night, matchers: [g=night], mute_time_intervals: [late]}
  - {receiver: day, matchers: [g=day], active_time_intervals: [late]}
inhibit_rules:
- {source_matchers: [n=source], target_matchers: [n=target], equal: [x]}
time_intervals:
- {name: late, time_intervals: [{times: [{start_time: '22:00', end_time: '22:14'}]}]}
receivers:
- {name: hook, webhook_configs: [{url: 'http://h/'}]}
- {name: night, webhook_configs: [{url: 'http://h/'}]}
- {name: day, webhook_configs: [{url: 'http://h/'}]}
";
    let rig = Rig::start("mutes", config);
    let matchers = Syntax::Fallback.matchers("n=silenced").unwrap();
    rig.app
        .silences
        .set(NewSilence::new(
            matchers,
            rig.now().plus(Duration::from_secs(25)),
        ))
        .unwrap();
    rig.fire(0, &["n=silenced", "n=source", "n=target", "n=target,x=1"]);
    rig.fire(0, &["g=night,n=N", "g=day,n=D"]);
    let mut told = rig.told_until(9).await;
    told.sort();
    assert_eq!(told, ["1 day: +D -", "1 hook: +source,target -"]);
    rig.resolve(&["n=source"]);
    // The target that was inhibited is told once its source is resolved, the silenced one after the silence.
    let told = rig.told_until(29).await;
    assert_eq!(told, ["11 hook: +target,target -source",]);
    let told = rig.told_until(60).await;
    assert_eq!(
        told,
        ["31 hook: +silenced,target,target -", "41 night: +N -"]
    );
}

/// However short the time after which it is repeated.
#[tokio::test(start_paused = true)]
async fn what_is_resolved_is_told_where_everything_is_repeated() {
    let rig = Rig::start(
        "short",
        &one("group_wait: 1s, group_interval: 1s, repeat_interval: 1ms"),
    );
    rig.fire(0, &["n=A"]);
    sleep(Duration::from_millis(2500)).await;
    rig.resolve(&["n=A"]);
    let told = rig.told_until(10).await;
    assert_eq!(told, ["1 hook: +A -", "2 hook: +A -", "3 hook: + -A"]);
}

#[tokio::test(start_paused = true)]
async fn no_metric_is_on_the_page_twice() {
    let rig = Rig::start("metrics", &one(TIMES));
    rig.fire(0, &["n=A"]);
    assert_eq!(rig.told_until(6).await.len(), 1);
    let page = crate::metrics::render(&rig.app);
    let mut types: Vec<_> = page.lines().filter(|it| it.starts_with("# TYPE")).collect();
    let count = types.len();
    types.sort_unstable();
    types.dedup_by_key(|line| line.split(' ').nth(2));
    assert_eq!(types.len(), count, "{page}");
}

/// Two routes with one receiver make two groups.
#[tokio::test(start_paused = true)]
async fn two_routes_make_two_groups() {
    let config = "
route:
  receiver: hook
  group_by: [g]
  group_wait: 1s
  routes:
  - {receiver: hook, matchers: ['severity=~\"high|critical\"'], continue: true}
  - {receiver: hook, matchers: ['owner=me']}
receivers: [{name: hook, webhook_configs: [{url: 'http://h/'}]}]
";
    let rig = Rig::start("routes", config);
    rig.fire(0, &["n=A,severity=high,owner=me"]);
    assert_eq!(rig.told_until(3).await, ["1 hook: +A -", "1 hook: +A -"]);
    assert_eq!(rig.app.dispatch.figures().groups, 2);
}

/// Nor is a flush that is under way begun a second time, nor what is resolved told again.
#[tokio::test(start_paused = true)]
async fn a_reload_tells_nothing_twice() {
    let rig = Rig::start("reload", &one(TIMES));
    rig.fire(0, &["n=A", "n=B"]);
    assert_eq!(rig.told_until(6).await, ["5 hook: +A,B -"]);
    rig.resolve(&["n=B"]);
    assert_eq!(rig.told_until(16).await, ["15 hook: +A -B"]);
    rig.answers("hook", Answer::TakesIn(Duration::from_secs(8)));
    rig.fire(0, &["n=C"]);
    assert_eq!(rig.told_until(28).await, [""; 0]);
    let before = rig.app.dispatch.integrations("hook");
    rig.app.configuration.reload().unwrap();
    assert_eq!(rig.told_until(50).await, ["33 hook: +A,C -"]);
    let after = rig.app.dispatch.integrations("hook");
    assert!(Arc::ptr_eq(&before[0], &after[0]));
}

/// What hangs by a configuration that is gone is not waited for.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_configured_anew_is_told_soon() {
    let config = one("group_wait: 1s, group_interval: 5m");
    let rig = Rig::start("anew", &config);
    rig.answers("hook", Answer::Hangs);
    rig.fire(0, &["n=A"]);
    assert_eq!(rig.told_until(20).await, [""; 0]);
    let other = config.replace("http://h/", "http://other/");
    fs::write(rig.dir.join("am.yml"), other).unwrap();
    rig.answers("hook", Answer::Takes);
    rig.app.configuration.reload().unwrap();
    let told = rig.told_until(40).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        ["24 hook: +A -", "25 hook: +A -"].contains(&told[0].as_str()),
        "{told:?}"
    );
}

/// By what the configuration says now, and to those that it names.
#[tokio::test(start_paused = true)]
async fn what_a_route_tells_no_more_is_not_tried_again() {
    let always = "time_intervals: [{name: always, time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]}]\n";
    let config = format!("{always}{}", one("group_wait: 1s, group_interval: 5m"));
    let without =
        "receivers: [{name: hook, webhook_configs: [{url: 'http://h/'}]}, {name: nobody}]\n";
    for (name, after) in [
        (
            "muted",
            config.replace(
                "group_wait: 1s",
                "group_wait: 1s, routes: [{matchers: [n=A], mute_time_intervals: [always]}]",
            ),
        ),
        (
            "unrouted",
            format!("route: {{receiver: nobody}}\n{without}"),
        ),
    ] {
        let rig = Rig::start(name, &config);
        rig.answers("hook", Answer::Refuses(SendError::Retry("500".to_owned())));
        rig.fire(0, &["n=A"]);
        assert_eq!(rig.told_until(20).await, [""; 0]);
        fs::write(rig.dir.join("am.yml"), after).unwrap();
        rig.app.configuration.reload().unwrap();
        // It is noticed within a second.
        sleep(Duration::from_secs(2)).await;
        let attempts = rig.attempts();
        rig.answers("hook", Answer::Takes);
        assert_eq!(rig.told_until(290).await, [""; 0], "{name}");
        assert_eq!(rig.attempts(), attempts, "{name}");
    }
}

/// What is being sent is taken and logged, what waits is left to others.
#[tokio::test(start_paused = true)]
async fn a_node_that_stops_finishes_what_it_sends() {
    let mut rig = Rig::start("stop", &one("group_wait: 1s"));
    rig.answers("hook", Answer::TakesIn(Duration::from_secs(3)));
    rig.fire(0, &["n=A,g=1"]);
    assert_eq!(rig.told_until(2).await, [""; 0]);
    rig.fire(0, &["n=B,g=2"]);
    drop(rig.stop.take());
    (&mut rig.running).await.unwrap();
    assert_eq!(rig.fake.start.elapsed().as_secs(), 4);
    assert_eq!(rig.told_until(60).await, ["4 hook: +A -"]);
    assert_eq!(rig.app.nflog.store().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_waits_for_no_receiver_that_hangs() {
    let mut rig = Rig::start("stop-hangs", &one("group_wait: 1s"));
    rig.answers("hook", Answer::Hangs);
    rig.fire(0, &["n=A"]);
    assert_eq!(rig.told_until(2).await, [""; 0]);
    drop(rig.stop.take());
    (&mut rig.running).await.unwrap();
    assert_eq!(rig.fake.start.elapsed().as_secs(), 6);
}

/// 2023-11-14T22:13:20Z.
const BASE: Timestamp = Timestamp::from_secs(1_700_000_000);
