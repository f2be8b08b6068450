//! What Alertmanager demands of its sections beyond types: names that are there and meet.

use std::collections::BTreeSet;

use serde_saphyr::{Location, Spanned};

use crate::file::File;
use crate::integrations::global_fault;
use crate::receivers::HttpSection;
use crate::sections::{Global, List, Receiver, RouteSection};

/// Where, and what is wrong.
pub(crate) type Fault = (Location, String);

fn fault<T>(at: &Spanned<T>, message: impl Into<String>) -> Result<(), Fault> {
    Err((at.referenced, message.into()))
}

/// Checks everything. A file of nothing but a `cluster:` section needs no route.
pub(crate) fn check(file: &File) -> Result<(), Fault> {
    let global = file.global.as_ref().map(|it| &it.value);
    let defaults = Global::default();
    let global = global.and_then(Option::as_ref).unwrap_or(&defaults);
    if let (Some(what), Some(section)) = (global_fault(global), &file.global) {
        fault(section, what)?;
    }
    check_http(&global.http_config)?;
    if let Some(tls) = &global.smtp_tls_config
        && let Some(what) = tls.value.fault()
    {
        fault(tls, what)?;
    }
    let receivers = check_receivers(&file.receivers, global)?;
    let mut intervals = BTreeSet::new();
    let lists = [&file.mute_time_intervals, &file.time_intervals];
    for one in lists.into_iter().flatten().flatten() {
        match &one.value.name {
            Some(name) if name.value.is_empty() => fault(name, MISSING_INTERVAL)?,
            None => fault(one, MISSING_INTERVAL)?,
            Some(name) if !intervals.insert(name.value.as_str()) => {
                let message = format!("time interval {:?} is not unique", name.value);
                fault(name, message)?;
            }
            Some(_) => {}
        }
    }
    match file.route.as_ref() {
        Some(root) => check_root(root, &receivers, &intervals),
        None if file.has_sections() => Err((Location::UNKNOWN, "no route provided".to_owned())),
        None => Ok(()),
    }
}

/// Returns their names.
fn check_receivers<'a>(
    receivers: &'a List<Receiver>,
    global: &Global,
) -> Result<BTreeSet<&'a str>, Fault> {
    let mut names = BTreeSet::new();
    for one in receivers.iter().flatten() {
        let Some(name) = one.value.name.as_ref().filter(|it| !it.value.is_empty()) else {
            fault(one, "missing name in receiver")?;
            continue;
        };
        if !names.insert(name.value.as_str()) {
            let message = format!("notification config name {:?} is not unique", name.value);
            fault(name, message)?;
        }
        for email in one.value.email_configs.iter().flatten() {
            if let Some(what) = email.value.fault(global) {
                fault(email, what)?;
            }
        }
        for webhook in one.value.webhook_configs.iter().flatten() {
            check_http(&webhook.value.http_config)?;
            let has_file = webhook
                .value
                .url_file
                .as_ref()
                .is_some_and(|it| !it.is_empty());
            match (&webhook.value.url, has_file) {
                (None, false) => fault(webhook, "one of url or url_file must be configured")?,
                (Some(_), true) => {
                    fault(webhook, "at most one of url & url_file must be configured")?;
                }
                _ => {}
            }
        }
        for (_, configs, wrong) in one.value.integrations() {
            for config in configs.iter().flatten() {
                check_http(&config.value.http_config)?;
                if let Some(what) = wrong(&config.value, global) {
                    fault(config, what)?;
                }
            }
        }
    }
    Ok(names)
}

fn check_http(section: &Option<Spanned<HttpSection>>) -> Result<(), Fault> {
    let Some(section) = section else {
        return Ok(());
    };
    let said = section.value.fault();
    said.map_or(Ok(()), |what| fault(section, what))
}

fn check_root(
    root: &Spanned<RouteSection>,
    receivers: &BTreeSet<&str>,
    intervals: &BTreeSet<&str>,
) -> Result<(), Fault> {
    let section = &root.value;
    let receiver = section.receiver.as_ref();
    if receiver.is_none_or(|it| it.value.is_empty()) {
        fault(root, "root route must specify a default receiver")?;
    }
    let equal = section.equal.as_ref().is_some_and(|it| !it.is_empty());
    let regex = section.match_re.as_ref().is_some_and(|it| !it.is_empty());
    let matchers = section.matchers.as_ref().is_some_and(|it| !it.is_empty());
    if equal || regex || matchers {
        fault(root, "root route must not have any matchers")?;
    }
    if let Some(goes_on) = section.goes_on.as_ref().filter(|it| it.value.0) {
        fault(goes_on, "cannot have continue in root route")?;
    }
    for (name, list) in section.intervals() {
        if let Some(first) = list.iter().flatten().next() {
            fault(first, format!("root route must not have any {name}"))?;
        }
    }
    check_route(section, receivers, intervals)
}

fn check_route(
    section: &RouteSection,
    receivers: &BTreeSet<&str>,
    intervals: &BTreeSet<&str>,
) -> Result<(), Fault> {
    if let Some(name) = &section.receiver
        && !name.value.is_empty()
        && !receivers.contains(name.value.as_str())
    {
        fault(
            name,
            format!("undefined receiver {:?} used in route", name.value),
        )?;
    }
    let mut labels = BTreeSet::new();
    for label in section.group_by.iter().flatten() {
        if !labels.insert(&label.value) {
            fault(
                label,
                format!("duplicated label {:?} in group_by", label.value.0),
            )?;
        }
        if label.value.0 == "..." && section.group_by.as_ref().is_some_and(|all| all.len() > 1) {
            fault(
                label,
                "cannot have wildcard group_by (`...`) and other labels at the same time",
            )?;
        }
    }
    for (name, span) in [
        ("group_interval", &section.group_interval),
        ("repeat_interval", &section.repeat_interval),
    ] {
        if let Some(span) = span.as_ref().filter(|it| it.value.0.is_zero()) {
            fault(span, format!("{name} cannot be zero"))?;
        }
    }
    for (_, list) in section.intervals() {
        for name in list.iter().flatten() {
            if !intervals.contains(name.value.as_str()) {
                let message = format!("undefined time interval {:?} used in route", name.value);
                fault(name, message)?;
            }
        }
    }
    let mut children = section.routes.iter().flatten();
    children.try_for_each(|child| check_route(&child.value, receivers, intervals))
}

impl RouteSection {
    /// Its lists of time intervals.
    pub(crate) fn intervals(&self) -> [(&'static str, &List<String>); 2] {
        [
            ("mute_time_intervals", &self.mute_time_intervals),
            ("active_time_intervals", &self.active_time_intervals),
        ]
    }
}

const MISSING_INTERVAL: &str = "missing name in time interval";

#[cfg(test)]
mod tests {
    use crate::file::parse;

    /// A receiver's part of a file, the global part, and words of the refusal; none where it loads. The kinds
    /// of the reference's own files are among them.
    const RECEIVERS: &[(&str, &str, &str)] = &[
        ("slack_configs: [{channel: x}]", "slack_app_token: t", ""),
        ("slack_configs: [{channel: x}]", "slack_api_url_file: f", ""),
        (
            "slack_configs: [{channel: x}]",
            "",
            "no global Slack API URL",
        ),
        (
            "slack_configs: [{api_url: 'http://s', api_url_file: f}]",
            "",
            "api_url & api_url_file",
        ),
        (
            "slack_configs: [{api_url: 'http://s', app_token: t}]",
            "",
            "app_token/app_token_file",
        ),
        (
            "slack_configs: [{actions: [{type: button, text: x, url: y}], fields: [{title: t, value: v}]}]",
            "slack_api_url: 'http://s'",
            "",
        ),
        (
            "slack_configs: [{actions: [{type: button, text: x}]}]",
            "slack_api_url: 'http://s'",
            "missing name or url",
        ),
        (
            "",
            "slack_api_url: 'http://s', slack_api_url_file: f",
            "slack_api_url & slack_api_url_file",
        ),
        (
            "slack_configs: [{}]",
            "slack_api_url: 'https://slack.com/api/chat.postMessage', slack_app_token: t",
            "",
        ),
        (
            "slack_configs: [{api_url: 'https://hooks/x', update_message: true}]",
            "",
            "update_message can only",
        ),
        (
            "",
            "slack_api_url: 'http://s', slack_app_token: t",
            "slack_app_token/slack_app_token_file",
        ),
        (
            "",
            "opsgenie_api_key: k, opsgenie_api_key_file: f",
            "opsgenie_api_key & opsgenie_api_key_file",
        ),
        (
            "",
            "victorops_api_key: k, victorops_api_key_file: f",
            "victorops_api_key &",
        ),
        (
            "",
            "telegram_bot_token: k, telegram_bot_token_file: f",
            "telegram_bot_token &",
        ),
        (
            "",
            "smtp_auth_password: p, smtp_auth_password_file: f",
            "smtp_auth_password &",
        ),
        (
            "",
            "http_config: {bearer_token: a, bearer_token_file: b}",
            "bearer_token_file",
        ),
        ("", "smtp_tls_config: {cert_file: a}", "exactly one of key"),
        (
            "email_configs: [{to: a}]",
            "smtp_from: f, smtp_smarthost: 'h:25'",
            "",
        ),
        (
            "email_configs: [{to: a}]",
            "smtp_smarthost: 'h:25'",
            "no global SMTP from",
        ),
        (
            "email_configs: [{to: a}]",
            "smtp_from: f",
            "no global SMTP smarthost",
        ),
        (
            "email_configs: [{to: a}]",
            "smtp_from: f, smtp_smarthost: ''",
            "no global SMTP smarthost",
        ),
        (
            "email_configs: [{from: f, smarthost: 'h:25'}]",
            "",
            "missing to address",
        ),
        (
            "email_configs: [{to: a, from: f, smarthost: 'h:25', headers: {Subject: a, SUBJECT: b}}]",
            "",
            "duplicate header",
        ),
        (
            "email_configs: [{to: a, from: f, smarthost: 'h:25', auth_password: p, auth_password_file: f}]",
            "",
            "auth_password & auth_password_file",
        ),
        (
            "opsgenie_configs: [{responders: [{name: a, type: Team}]}]",
            "opsgenie_api_key_file: f",
            "",
        ),
        (
            "opsgenie_configs: [{actions: 'a,b'}]",
            "opsgenie_api_key: k",
            "",
        ),
        (
            "opsgenie_configs: [{responders: [{type: team}]}]",
            "opsgenie_api_key: k",
            "at least one of id",
        ),
        (
            "opsgenie_configs: [{responders: [{name: a, type: x}]}]",
            "opsgenie_api_key: k",
            "one of team",
        ),
        (
            "opsgenie_configs: [{teams: a}]",
            "opsgenie_api_key: k",
            "does not know this key any more",
        ),
        ("opsgenie_configs: [{}]", "", "no global OpsGenie API Key"),
        ("sns_configs: [{topic_arn: a, sigv4: {}}]", "", ""),
        ("sns_configs: [{sigv4: {}}]", "", "Target ARN"),
        (
            "victorops_configs: [{routing_key: a}]",
            "victorops_api_key_file: f",
            "",
        ),
        (
            "victorops_configs: [{routing_key: a}]",
            "",
            "no global VictorOps API Key",
        ),
        (
            "victorops_configs: [{routing_key: a, api_key: k, custom_fields: {entity_id: x}}]",
            "",
            "fixed field",
        ),
        (
            "telegram_configs: [{chat_id: -5}]",
            "telegram_bot_token_file: f",
            "",
        ),
        (
            "telegram_configs: [{chat_id: 5, bot_token: t, parse_mode: html}]",
            "",
            "unknown parse_mode",
        ),
        (
            "wechat_configs: [{corp_id: c, message_type: x}]",
            "wechat_api_secret: s",
            "text or markdown",
        ),
        (
            "wechat_configs: [{corp_id: c}]",
            "wechat_api_secret_file: f",
            "",
        ),
        (
            "pagerduty_configs: [{routing_key: a, routing_key_file: b}]",
            "",
            "routing_key & routing_key_file",
        ),
        (
            "webhook_configs: [{url: 'http://h', payload: {a: [1]}, timeout: 1.5s}]",
            "",
            "",
        ),
        (
            "webhook_configs: [{url: 'http://h', http_config: {authorization: {type: basic}}}]",
            "",
            "basic_auth",
        ),
        ("webhook_configs: [{url: '/x'}]", "", "unsupported scheme"),
        ("webhook_configs: [{}]", "", "one of url or url_file"),
        (
            "jira_configs: [{project: p, issue_type: t}]",
            "jira_api_url: 'http://j'",
            "",
        ),
        (
            "jira_configs: [{project: p, issue_type: t}]",
            "",
            "no global Jira",
        ),
        (
            "mattermost_configs: [{}]",
            "mattermost_webhook_url_file: f",
            "",
        ),
        ("mattermost_configs: [{}]", "", "missing webhook_url"),
        (
            "msteams_configs: [{webhook_url: 'http://t'}], msteamsv2_configs: [{webhook_url_file: f}]",
            "",
            "",
        ),
        (
            "msteams_configs: [{}]",
            "",
            "webhook_url or webhook_url_file",
        ),
        (
            "rocketchat_configs: [{}]",
            "rocketchat_token: a, rocketchat_token_id_file: f",
            "",
        ),
        ("rocketchat_configs: [{}]", "rocketchat_token: a", "TokenID"),
        (
            "incidentio_configs: [{url: 'http://i', alert_source_token: t}]",
            "",
            "",
        ),
        (
            "incidentio_configs: [{url: 'http://i'}]",
            "",
            "alert_source_token",
        ),
        ("hipchat_configs: []", "", "does not know this key any more"),
        ("unheard_of_configs: []", "", ""),
    ];

    #[test]
    fn receivers_are_taken_or_refused_as_alertmanager_does() {
        for (receiver, global, words) in RECEIVERS {
            let comma = if receiver.is_empty() { "" } else { ", " };
            let text = format!(
                "route: {{receiver: a}}\nglobal: {{{global}}}\nreceivers:\n- {{name: a{comma}{receiver}}}\n"
            );
            match (parse(&text), words.is_empty()) {
                (Ok(_), true) => {}
                (Err(error), false) => {
                    let said = error.to_string();
                    assert!(said.contains(words) && error.line > 1, "{text}: {said}");
                }
                (parsed, _) => panic!("{text}: {:?}", parsed.map(|_| ())),
            }
        }
    }
}
