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
