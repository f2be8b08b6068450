//! `/api/v2/alerts`.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use rumormill::node::SystemClock;
use rumormill::store::matcher::{Matcher, set_matches};
use rumormill::time::{Timestamp, WallClock as _};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Refusal, json_of};
use super::params::Params;
use super::payload::Payload;
use super::{ALERTS_BYTES_MAX, Shared, blocking};
use crate::alerts::{Alert, AlertError};
use crate::app::App;
use crate::moment::Moment;
use crate::routing::Route;

/// `gettableAlert`.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Gettable {
    annotations: BTreeMap<String, String>,
    ends_at: Moment,
    pub(super) fingerprint: String,
    pub(super) receivers: Vec<Receiver>,
    starts_at: Moment,
    status: Status,
    updated_at: Moment,
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    generator_url: String,
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Receiver {
    pub(super) name: String,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    inhibited_by: Vec<String>,
    silenced_by: Vec<String>,
    state: &'static str,
}

/// `postableAlert`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Postable {
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    starts_at: Option<Moment>,
    ends_at: Option<Moment>,
    #[serde(rename = "generatorURL")]
    generator_url: Option<String>,
}

/// Which alerts are asked for.
pub(super) struct Asked {
    active: bool,
    silenced: bool,
    filter: Vec<Matcher>,
    receiver: Option<Matcher>,
}

impl Asked {
    pub(super) fn read(params: &Params) -> Result<Self, Refusal> {
        // Nothing is inhibited or unprocessed here; what is wrong is said all the same.
        params.flag("inhibited")?;
        params.flag("unprocessed")?;
        params.flag("muted")?;
        Ok(Self {
            active: params.flag("active")?,
            silenced: params.flag("silenced")?,
            filter: params.filter()?,
            receiver: params.pattern("receiver")?,
        })
    }

    /// The alerts, by fingerprint.
    pub(super) fn alerts(&self, app: &App) -> Vec<Gettable> {
        let loaded = app.configuration.now();
        let route = loaded.route.as_ref();
        let firing = app.alerts.firing(SystemClock.wall());
        let admitted = firing
            .into_iter()
            .filter(|(_, alert)| set_matches(&self.filter, &alert.labels));
        let gettable = admitted.map(|(print, alert)| gettable(app, route, print, &alert));
        gettable.filter(|alert| self.wants(alert)).collect()
    }

    fn wants(&self, alert: &Gettable) -> bool {
        let silenced = !alert.status.silenced_by.is_empty();
        let state = if silenced { self.silenced } else { self.active };
        let wanted = |pattern: &Matcher| alert.receivers.iter().any(|it| pattern.matches(&it.name));
        state && self.receiver.as_ref().is_none_or(wanted)
    }

    /// Whether a receiver is asked for.
    pub(super) fn wants_receiver(&self, name: &str) -> bool {
        self.receiver
            .as_ref()
            .is_none_or(|pattern| pattern.matches(name))
    }
}

pub(super) async fn list(State(app): Shared, RawQuery(query): RawQuery) -> Answer {
    let list = move || {
        let asked = Asked::read(&Params::read(query.as_deref()))?;
        Ok(json_of(&asked.alerts(&app)))
    };
    blocking(list).await
}

/// Takes the alerts that are valid; if some are not, says so, as Alertmanager does.
pub(super) async fn post(State(app): Shared, body: Payload<ALERTS_BYTES_MAX>) -> Answer {
    blocking(move || take(&app, &body)).await
}

fn take(app: &App, body: &Payload<ALERTS_BYTES_MAX>) -> Answer {
    let posted: Vec<Postable> = body.json("alerts", b'[')?;
    let now = SystemClock.wall();
    if let Some(index) = posted.iter().position(|alert| alert.labels.is_none()) {
        return Err(Refusal::required(&format!("{index}.labels")));
    }
    let (mut firing, mut resolved, mut errors) = (0, 0, Vec::new());
    let (mut invalid, mut limited) = (0, 0);
    for alert in posted {
        let alert = alert.complete(now, app);
        if alert.is_resolved(now) {
            resolved += 1;
        } else {
            firing += 1;
        }
        let taken = alert.check().and_then(|()| app.alerts.put(alert, now));
        let Err(error) = taken else {
            continue;
        };
        if matches!(error, AlertError::TooMany(_)) {
            limited += 1;
        } else {
            invalid += 1;
        }
        // As many as an operator reads.
        if errors.len() < ERRORS_MAX {
            errors.push(error.to_string());
        }
    }
    app.stats.alerts(firing, resolved, invalid, limited);
    match (invalid, limited) {
        (0, 0) => Ok(StatusCode::OK.into_response()),
        (0, _) => {
            let message = format!("{limited} alerts are not taken: {}", errors[0]);
            Err(Refusal::text(StatusCode::INSUFFICIENT_STORAGE, message))
        }
        _ => Err(Refusal::bad(errors.join("; "))),
    }
}

impl Postable {
    /// With a start and an end.
    fn complete(self, now: Timestamp, app: &App) -> Alert {
        let resolve_timeout = app.configuration.now().resolve_timeout;
        let given = |moment: Option<Moment>| moment.and_then(Moment::given);
        let ends_at = given(self.ends_at);
        let mut labels = self.labels.unwrap_or_default();
        labels.retain(|_, value| !value.is_empty());
        Alert {
            labels,
            annotations: self.annotations.unwrap_or_default(),
            starts_at: given(self.starts_at).or(ends_at).unwrap_or(now),
            ends_at: ends_at.unwrap_or_else(|| now.plus(resolve_timeout)),
            updated_at: now,
            generator_url: self.generator_url.unwrap_or_default(),
            timeout: ends_at.is_none(),
        }
    }
}

fn gettable(app: &App, route: Option<&Route>, fingerprint: u64, alert: &Alert) -> Gettable {
    let silenced_by = app.mutes(alert);
    let routes = route
        .map(|route| route.of(&alert.labels))
        .unwrap_or_default();
    let name = |name: &String| Receiver { name: name.clone() };
    Gettable {
        annotations: alert.annotations.clone(),
        ends_at: Moment(alert.ends_at),
        fingerprint: format!("{fingerprint:016x}"),
        receivers: routes.iter().map(|route| name(&route.receiver)).collect(),
        starts_at: Moment(alert.starts_at),
        status: Status {
            inhibited_by: Vec::new(),
            state: if silenced_by.is_empty() {
                "active"
            } else {
                "suppressed"
            },
            silenced_by: silenced_by.iter().map(ToString::to_string).collect(),
        },
        updated_at: Moment(alert.updated_at),
        generator_url: alert.generator_url.clone(),
        labels: alert.labels.clone(),
    }
}

/// Errors that one answer tells of.
const ERRORS_MAX: usize = 100;
