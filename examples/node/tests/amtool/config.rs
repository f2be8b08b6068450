//! The sections of Alertmanager: the node takes the files that `amtool check-config` takes.

use std::fs;
use std::process::Command;

use crate::support::{Dir, amtool, has_amtool, node};

/// Whether the node takes the file; if not, what it says. It is started with an interval that no
/// node takes, which it finds only when the file is right.
fn taken(dir: &Dir) -> Result<(), String> {
    let output = Command::new(node())
        .arg(format!("--config.file={}", dir.0.join("am.yml").display()))
        .arg("--cluster.gossip-interval=25h")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    if said.contains("gossip_interval is") {
        Ok(())
    } else {
        Err(said)
    }
}

/// Files in short, `ROUTE` and `RECEIVERS` standing for right ones, and a word of the refusal; no
/// word where the file is right.
#[test]
fn both_take_and_refuse_the_same_configurations() {
    if !has_amtool() {
        return;
    }
    let dir = Dir::new("check-config");
    let file = dir.0.join("am.yml");
    for (text, field) in GLOBAL.iter().chain(ROUTES).chain(RECEIVERS).chain(OTHERS) {
        let text = text
            .replace("ROUTE", "route: {receiver: a}")
            .replace("RECEIVERS", "receivers: [{name: a}]");
        fs::write(&file, &text).unwrap();
        let theirs = amtool(
            "http://127.0.0.1:1",
            &["check-config", file.to_str().unwrap()],
        );
        let ours = taken(&dir);
        assert_eq!(
            theirs.is_ok(),
            field.is_empty(),
            "amtool, {text}: {theirs:?}"
        );
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{text}: {ours:?}");
        if let Err(said) = ours {
            let said = said.replace('\\', "");
            assert!(
                said.contains(field) && said.contains("am.yml: line "),
                "{text}: {said}"
            );
        }
    }
}

const GLOBAL: &[(&str, &str)] = &[
    ("ROUTE\nRECEIVERS\n", ""),
    ("RECEIVERS\n", "no route provided"),
    (
        "global: {resolve_timeout: 5m}\nRECEIVERS\n",
        "no route provided",
    ),
    (
        "global: {resolve_timeout: 5x}\nROUTE\nRECEIVERS\n",
        "global.resolve_timeout: ",
    ),
    (
        "global: {resolve_timeout: 5}\nROUTE\nRECEIVERS\n",
        "global.resolve_timeout: ",
    ),
    ("global: {resolve_timeout: 0}\nROUTE\nRECEIVERS\n", ""),
    ("global: {resolve_timeout: 1h30m}\nROUTE\nRECEIVERS\n", ""),
    (
        "global: {resolve_timeout: 1.5h}\nROUTE\nRECEIVERS\n",
        "global.resolve_timeout: ",
    ),
    (
        "global: {resolve_timeout: 1s1m}\nROUTE\nRECEIVERS\n",
        "global.resolve_timeout: ",
    ),
    ("global: {resolve_timeout: }\nROUTE\nRECEIVERS\n", ""),
    ("global:\nROUTE\nRECEIVERS\n", ""),
    ("global: 5\nROUTE\nRECEIVERS\n", "global: "),
    (
        "global: {smtp_require_tls: maybe}\nROUTE\nRECEIVERS\n",
        "global.smtp_require_tls: ",
    ),
    (
        "global: {smtp_require_tls: 'yes'}\nROUTE\nRECEIVERS\n",
        "global.smtp_require_tls: ",
    ),
    ("global: {smtp_require_tls: yes}\nROUTE\nRECEIVERS\n", ""),
    (
        "global: {smtp_smarthost: nowhere}\nROUTE\nRECEIVERS\n",
        "global.smtp_smarthost: ",
    ),
    (
        "global: {smtp_smarthost: 'mail:25'}\nROUTE\nRECEIVERS\n",
        "",
    ),
    (
        "global: {slack_api_url: nowhere}\nROUTE\nRECEIVERS\n",
        "global.slack_api_url: ",
    ),
    (
        "global: {slack_api_url: 'ftp://x'}\nROUTE\nRECEIVERS\n",
        "global.slack_api_url: ",
    ),
    (
        "global: {slack_api_url: 'http://x'}\nROUTE\nRECEIVERS\n",
        "",
    ),
    (
        "global: {slack_api_url: 'http://x', slack_api_url_file: f}\nROUTE\nRECEIVERS\n",
        "at most one of slack_api_url",
    ),
];

const ROUTES: &[(&str, &str)] = &[
    (
        "route: {receiver: a, group_wait: 5}\nRECEIVERS\n",
        "route.group_wait: ",
    ),
    ("route: {receiver: a, group_wait: 0s}\nRECEIVERS\n", ""),
    (
        "route: {receiver: a, group_interval: 0s}\nRECEIVERS\n",
        "group_interval cannot be zero",
    ),
    (
        "route: {receiver: a, repeat_interval: 0s}\nRECEIVERS\n",
        "repeat_interval cannot be zero",
    ),
    (
        "route: {receiver: a, group_by: x}\nRECEIVERS\n",
        "route.group_by: ",
    ),
    (
        "route: {receiver: a, group_by: [x, x]}\nRECEIVERS\n",
        "route.group_by[1]: duplicated",
    ),
    (
        "route: {receiver: a, group_by: [x, '...']}\nRECEIVERS\n",
        "route.group_by[1]: ",
    ),
    ("route: {receiver: a, group_by: ['...']}\nRECEIVERS\n", ""),
    (
        "route: {receiver: a, continue: yes}\nRECEIVERS\n",
        "cannot have continue",
    ),
    ("route: {receiver: a, continue: no}\nRECEIVERS\n", ""),
    (
        "route: {receiver: a, continue: maybe}\nRECEIVERS\n",
        "route.continue: ",
    ),
    (
        "route: {receiver: a, continue: 'true'}\nRECEIVERS\n",
        "route.continue: ",
    ),
    (
        "route: {receiver: a, continue: 1}\nRECEIVERS\n",
        "route.continue: ",
    ),
    (
        "route: {receiver: a, routes: [{continue: yes, receiver: b}]}\nRECEIVERS\n",
        "route.routes[0].receiver: undefined receiver \"b\"",
    ),
    (
        "route: {receiver: a, routes: {}}\nRECEIVERS\n",
        "route.routes: ",
    ),
    (
        "route: {receiver: a, routes: [5]}\nRECEIVERS\n",
        "route.routes[0]: ",
    ),
    ("route: {receiver: a, routes: [{}]}\nRECEIVERS\n", ""),
    (
        "route: {receiver: a, routes: [{matchers: [x]}]}\nRECEIVERS\n",
        "route.routes[0].matchers[0]: ",
    ),
    (
        "route: {receiver: a, routes: [{matchers: ['x=y']}]}\nRECEIVERS\n",
        "",
    ),
    (
        "route: {receiver: a, routes: [{matchers: 'x=y'}]}\nRECEIVERS\n",
        "route.routes[0].matchers: ",
    ),
    (
        "route: {receiver: a, routes: [{matchers: ['x=~(']}]}\nRECEIVERS\n",
        "route.routes[0].matchers[0]: ",
    ),
    (
        "route: {receiver: a, routes: [{match: {x: y}}]}\nRECEIVERS\n",
        "",
    ),
    (
        "route: {receiver: a, routes: [{match: {x: 5}}]}\nRECEIVERS\n",
        "",
    ),
    (
        "route: {receiver: a, routes: [{match: [x]}]}\nRECEIVERS\n",
        "route.routes[0].match: ",
    ),
    (
        "route: {receiver: a, routes: [{match_re: {x: '('}}]}\nRECEIVERS\n",
        "route.routes[0].match_re.x: ",
    ),
    (
        "route: {receiver: a, match: {x: y}}\nRECEIVERS\n",
        "root route must not have any matchers",
    ),
    (
        "route: {receiver: a, matchers: ['x=y']}\nRECEIVERS\n",
        "root route must not have any matchers",
    ),
    (
        "route: {receiver: a, mute_time_intervals: [t]}\nRECEIVERS\n",
        "root route must not have any mute",
    ),
    (
        "route: {receiver: a, routes: [{mute_time_intervals: [t]}]}\nRECEIVERS\n",
        "undefined time interval \"t\"",
    ),
    (
        "route: {receiver: a, routes: [{active_time_intervals: [t]}]}\nRECEIVERS\ntime_intervals: [{name: t}]\n",
        "",
    ),
    ("route: {}\nRECEIVERS\n", "must specify a default receiver"),
    ("route:\nRECEIVERS\n", "no route provided"),
    ("route: {receiver: 5}\nreceivers: [{name: '5'}]\n", ""),
    ("route: {receiver: a, receiver: b}\nRECEIVERS\n", "line 1"),
    ("ROUTE\nRECEIVERS\nROUTE\n", "line 3"),
    ("- a\n", "line 1"),
];

const RECEIVERS: &[(&str, &str)] = &[
    (
        "ROUTE\nreceivers: [{name: a}, {name: a}]\n",
        "receivers[1].name: notification config name \"a\" is not unique",
    ),
    (
        "ROUTE\nreceivers: [{name: a}, {}]\n",
        "receivers[1]: missing name",
    ),
    ("ROUTE\nreceivers: {name: a}\n", "receivers: "),
    ("ROUTE\nreceivers: [a]\n", "receivers[0]: "),
    (
        "ROUTE\nreceivers: [{name: a, webhook_configs: [{}]}]\n",
        "webhook_configs[0]: one of url or url_file",
    ),
    (
        "ROUTE\nreceivers: [{name: a, webhook_configs: [{url: nowhere}]}]\n",
        "webhook_configs[0].url: ",
    ),
    (
        "ROUTE\nreceivers: [{name: a, webhook_configs: [{url: 'http://'}]}]\n",
        "webhook_configs[0].url: ",
    ),
    (
        "ROUTE\nreceivers: [{name: a, webhook_configs: [{url: 'http://x'}]}]\n",
        "",
    ),
    (
        "ROUTE\nreceivers: [{name: a, webhook_configs: [{url: 'http://x', send_resolved: maybe}]}]\n",
        "webhook_configs[0].send_resolved: ",
    ),
    (
        "ROUTE\nreceivers: [{name: a, webhook_configs: [{url: 'http://x', max_alerts: -1}]}]\n",
        "webhook_configs[0].max_alerts: ",
    ),
    (
        "ROUTE\nreceivers: [{name: a, webhook_configs: {url: 'http://x'}}]\n",
        "receivers[0].webhook_configs: ",
    ),
    ("ROUTE\nreceivers: [{name: a, webhook_configs: }]\n", ""),
    (
        "ROUTE\nreceivers: [{name: a, slack_configs: [{}]}]\n",
        "slack_configs[0]: no global Slack API URL",
    ),
    (
        "ROUTE\nreceivers: [{name: a, slack_configs: [{api_url: 'http://x'}]}]\n",
        "",
    ),
    (
        "ROUTE\nreceivers: [{name: a, email_configs: [{}]}]\n",
        "missing to address",
    ),
    (
        "ROUTE\nreceivers: [{name: a, email_configs: [{to: x}]}]\n",
        "no global SMTP smarthost",
    ),
    (
        "ROUTE\nreceivers: [{name: a, email_configs: [{to: x, from: y, smarthost: 'm:25'}]}]\n",
        "",
    ),
    (
        "ROUTE\nreceivers: [{name: a, pagerduty_configs: [{}]}]\n",
        "missing service or routing key",
    ),
    (
        "ROUTE\nreceivers: [{name: a, pagerduty_configs: [{routing_key: x}]}]\n",
        "",
    ),
    (
        "ROUTE\nreceivers: [{name: a, opsgenie_configs: [{}]}]\n",
        "no global OpsGenie API Key",
    ),
    (
        "ROUTE\nreceivers: [{name: a, pushover_configs: [{user_key: x}]}]\n",
        "missing token",
    ),
    (
        "ROUTE\nreceivers: [{name: a, sns_configs: [{}]}]\n",
        "must provide either a Target ARN",
    ),
    (
        "ROUTE\nreceivers: [{name: a, telegram_configs: [{}]}]\n",
        "missing bot_token",
    ),
    (
        "ROUTE\nreceivers: [{name: a, telegram_configs: [{bot_token: x, chat_id: 5}]}]\n",
        "",
    ),
    (
        "ROUTE\nreceivers: [{name: a, victorops_configs: [{api_key: x}]}]\n",
        "missing Routing key",
    ),
    (
        "ROUTE\nreceivers: [{name: a, wechat_configs: [{api_secret: x}]}]\n",
        "no global Wechat CorpID",
    ),
];

const OTHERS: &[(&str, &str)] = &[
    ("ROUTE\nRECEIVERS\ninhibit_rules: [{}]\n", ""),
    ("ROUTE\nRECEIVERS\ninhibit_rules: {}\n", "inhibit_rules: "),
    (
        "ROUTE\nRECEIVERS\ninhibit_rules: [{source_matchers: [x]}]\n",
        "inhibit_rules[0].source_matchers[0]: ",
    ),
    (
        "ROUTE\nRECEIVERS\ninhibit_rules: [{source_matchers: ['x=y'], target_match: {a: b}, equal: [c]}]\n",
        "",
    ),
    (
        "ROUTE\nRECEIVERS\ninhibit_rules: [{equal: x}]\n",
        "inhibit_rules[0].equal: ",
    ),
    (
        "ROUTE\nRECEIVERS\ninhibit_rules: [{target_match_re: {a: '['}}]\n",
        "inhibit_rules[0].target_match_re.a: ",
    ),
    ("ROUTE\nRECEIVERS\ntemplates: x\n", "templates: "),
    ("ROUTE\nRECEIVERS\ntemplates: ['*.tmpl']\n", ""),
    (
        "ROUTE\nRECEIVERS\ntime_intervals: [{name: t}, {name: t}]\n",
        "time_intervals[1].name: ",
    ),
    (
        "ROUTE\nRECEIVERS\nmute_time_intervals: [{name: t}]\ntime_intervals: [{name: t}]\n",
        "is not unique",
    ),
    (
        "ROUTE\nRECEIVERS\ntime_intervals: [{time_intervals: []}]\n",
        "missing name in time interval",
    ),
    (
        "ROUTE\nRECEIVERS\ntime_intervals: [{name: t, time_intervals: [{weekdays: ['monday:friday', sunday], \
         days_of_month: ['1:5', '-3:-1'], months: ['january:march', '4'], years: ['2020:2030'], \
         times: [{start_time: '09:00', end_time: '24:00'}]}]}]\n",
        "",
    ),
    (
        "ROUTE\nRECEIVERS\ntime_intervals: [{name: t, time_intervals: [{weekdays: [x]}]}]\n",
        "time_intervals[0].time_intervals[0].weekdays[0]: ",
    ),
    (
        "ROUTE\nRECEIVERS\ntime_intervals: [{name: t, time_intervals: [{weekdays: ['friday:monday']}]}]\n",
        "weekdays[0]: ",
    ),
    (
        "ROUTE\nRECEIVERS\ntime_intervals: [{name: t, time_intervals: [{days_of_month: ['32']}]}]\n",
        "days_of_month[0]: ",
    ),
    (
        "ROUTE\nRECEIVERS\ntime_intervals: [{name: t, time_intervals: [{times: [{start_time: '9:00', end_time: '10:00'}]}]}]\n",
        "times[0]: ",
    ),
    (
        "ROUTE\nRECEIVERS\ntime_intervals: [{name: t, time_intervals: [{times: [{start_time: '10:00', end_time: '10:00'}]}]}]\n",
        "times[0]: ",
    ),
];
