//! What Alertmanager demands of its sections beyond types: names that are there and meet.

use std::collections::BTreeSet;

use serde_saphyr::{Location, Spanned};

use crate::file::File;
use crate::receivers::HttpSection;
use crate::sections::{Global, Integration, List, Receiver, RouteSection};

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
    check_global(global)?;
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

fn check_global(global: &Global) -> Result<(), Fault> {
    let both = |name: &str| format!("at most one of {name} and {name}_file must be configured");
    match (&global.slack_api_url, &global.slack_api_url_file) {
        (Some(url), Some(file)) if !file.is_empty() => fault(url, both("slack_api_url"))?,
        _ => {}
    }
    for (name, key, file) in [
        (
            "opsgenie_api_key",
            &global.opsgenie_api_key,
            &global.opsgenie_api_key_file,
        ),
        (
            "victorops_api_key",
            &global.victorops_api_key,
            &global.victorops_api_key_file,
        ),
    ] {
        if let (Some(key), Some(file)) = (key, file)
            && !key.value.is_empty()
            && !file.is_empty()
        {
            fault(key, both(name))?;
        }
    }
    Ok(())
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
            let has_file = given(&webhook.value.url_file);
            match (&webhook.value.url, has_file) {
                (None, false) => fault(webhook, "one of url or url_file must be configured")?,
                (Some(_), true) => {
                    fault(webhook, "at most one of url & url_file must be configured")?;
                }
                _ => {}
            }
        }
        for (_, configs, missing) in one.value.integrations() {
            for config in configs.iter().flatten() {
                check_http(&config.value.http_config)?;
                if let Some(what) = missing(&config.value, global) {
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

fn given(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

fn absent<T>(what: &Option<T>) -> bool {
    what.is_none()
}

/// What is missing in an integration.
type Missing = fn(&Integration, &Global) -> Option<&'static str>;

impl Receiver {
    /// The integrations that this node does not have: key, configurations, what each must have.
    pub(crate) fn integrations(&self) -> [(&'static str, &List<Integration>, Missing); 10] {
        [
            ("discord_configs", &self.discord_configs, |it, _| {
                (absent(&it.webhook_url) && !given(&it.webhook_url_file))
                    .then_some("one of webhook_url or webhook_url_file must be configured")
            }),
            ("opsgenie_configs", &self.opsgenie_configs, |it, global| {
                let own = given(&it.api_key) || given(&it.api_key_file);
                let all = global.opsgenie_api_key.is_some() || given(&global.opsgenie_api_key_file);
                (!own && !all)
                    .then_some("no global OpsGenie API Key set either inline or in a file")
            }),
            ("pagerduty_configs", &self.pagerduty_configs, |it, _| {
                let keys = [&it.routing_key, &it.service_key];
                let files = [&it.routing_key_file, &it.service_key_file];
                let any = keys.into_iter().chain(files).any(given);
                (!any).then_some("missing service or routing key in PagerDuty config")
            }),
            ("pushover_configs", &self.pushover_configs, |it, _| {
                let user = given(&it.user_key) || given(&it.user_key_file);
                let token = given(&it.token) || given(&it.token_file);
                match (user, token) {
                    (false, _) => Some("missing user key in Pushover config"),
                    (_, false) => Some("missing token in Pushover config"),
                    _ => None,
                }
            }),
            ("slack_configs", &self.slack_configs, |it, global| {
                let own = it.api_url.is_some() || given(&it.api_url_file);
                let all = global.slack_api_url.is_some() || given(&global.slack_api_url_file);
                (!own && !all).then_some("no global Slack API URL set either inline or in a file")
            }),
            ("sns_configs", &self.sns_configs, |it, _| {
                let targets = [&it.target_arn, &it.topic_arn, &it.phone_number];
                (!targets.into_iter().any(given))
                    .then_some("must provide either a Target ARN, Topic ARN, or Phone Number")
            }),
            ("telegram_configs", &self.telegram_configs, |it, _| {
                let token = given(&it.bot_token) || given(&it.bot_token_file);
                match (token, it.chat_id) {
                    (false, _) => Some("missing bot_token or bot_token_file on telegram_config"),
                    (_, None | Some(0)) => Some("missing chat_id on telegram_config"),
                    _ => None,
                }
            }),
            (
                "victorops_configs",
                &self.victorops_configs,
                |it, global| {
                    let own = given(&it.api_key) || given(&it.api_key_file);
                    let all = global.victorops_api_key.is_some();
                    let all = all || given(&global.victorops_api_key_file);
                    match (given(&it.routing_key), own || all) {
                        (false, _) => Some("missing Routing key in VictorOps config"),
                        (_, false) => Some("no global VictorOps API Key set"),
                        _ => None,
                    }
                },
            ),
            ("webex_configs", &self.webex_configs, |it, _| {
                match (given(&it.room_id), &it.http_config) {
                    (false, _) => Some("missing room_id on webex_config"),
                    (_, None) => Some("missing webex_configs.http_config.authorization"),
                    _ => None,
                }
            }),
            ("wechat_configs", &self.wechat_configs, |it, global| {
                let secret = given(&it.api_secret) || given(&global.wechat_api_secret);
                let corp = given(&it.corp_id) || given(&global.wechat_api_corp_id);
                match (secret, corp) {
                    (false, _) => Some("no global Wechat ApiSecret set"),
                    (_, false) => Some("no global Wechat CorpID set"),
                    _ => None,
                }
            }),
        ]
    }
}

const MISSING_INTERVAL: &str = "missing name in time interval";
