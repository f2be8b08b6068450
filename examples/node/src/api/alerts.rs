//! `/api/v2/alerts`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use rumormill::node::{Node, SystemClock};
use rumormill::store::Written;
use rumormill::store::matcher::{Matcher, set_matches};
use rumormill::store::silences::SilenceId;
use rumormill::time::{Timestamp, WallClock as _};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Refusal};
use super::json::{self, Pairs, read_in_any_case};
use super::params::Params;
use super::payload::Payload;
use super::sharing::Sharing;
use super::{ALERTS_BYTES_MAX, Reading, Seat, Shared, blocking};
use crate::acknowledge;
use crate::alerts::{Alert, AlertError, Alerts, is_limited, told};
use crate::app::App;
use crate::limits::Limit;
use crate::metrics::{AlertCounts, ApiVersion};
use crate::moment::Moment;
use crate::reload::Loaded;
use crate::routing::Route;
use crate::work::Turn;

/// `gettableAlert`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Gettable<'a> {
    annotations: &'a BTreeMap<String, String>,
    ends_at: Moment,
    fingerprint: String,
    receivers: Vec<Receiver<'a>>,
    starts_at: Moment,
    status: Status,
    updated_at: Moment,
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    generator_url: &'a str,
    labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
pub(super) struct Receiver<'a> {
    pub(super) name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    inhibited_by: Vec<String>,
    /// The time intervals that mute a group. An alert alone has none.
    muted_by: Vec<String>,
    silenced_by: Vec<String>,
    state: &'static str,
}

/// What keeps an alert from being told.
#[derive(Debug, Default)]
pub(super) struct Suppressed {
    pub(super) silenced_by: Vec<SilenceId>,
    /// Fingerprints of alerts.
    pub(super) inhibited_by: BTreeSet<u64>,
    /// Names of time intervals.
    pub(super) muted_by: Vec<String>,
}

impl Suppressed {
    /// What silences and inhibits an alert now. May take a while.
    pub(super) fn of(app: &App, alert: &Alert) -> Self {
        Self {
            silenced_by: app.mutes(alert),
            inhibited_by: app.dispatch.inhibited_by(&alert.labels),
            muted_by: Vec::new(),
        }
    }

    pub(super) fn state(&self) -> &'static str {
        let is_free = self.silenced_by.is_empty() && self.inhibited_by.is_empty();
        if is_free && self.muted_by.is_empty() {
            "active"
        } else {
            "suppressed"
        }
    }

    pub(super) fn silenced_by(&self) -> Vec<String> {
        self.silenced_by.iter().map(ToString::to_string).collect()
    }

    pub(super) fn inhibited_by(&self) -> Vec<String> {
        let prints = self.inhibited_by.iter();
        prints.map(|print| format!("{print:016x}")).collect()
    }
}

/// `postableAlert`.
#[derive(Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", default)]
struct Postable {
    labels: Option<Pairs>,
    annotations: Option<Pairs>,
    starts_at: Option<Moment>,
    ends_at: Option<Moment>,
    #[serde(rename = "generatorURL")]
    generator_url: Option<String>,
}

read_in_any_case!(
    Postable,
    "labels",
    "annotations",
    "startsAt",
    "endsAt",
    "generatorURL"
);

/// Which alerts are asked for.
pub(super) struct Asked {
    active: bool,
    silenced: bool,
    inhibited: bool,
    pub(super) muted: bool,
    filter: Vec<Matcher>,
    receiver: Option<Matcher>,
    loaded: Arc<Loaded>,
}

impl Asked {
    /// As the filters are in API v1 or v2. May take a while: not for async workers.
    pub(super) fn read(
        (version, params): (ApiVersion, &Params),
        app: &App,
    ) -> Result<Self, Refusal> {
        params.check(&app.reached)?;
        // Nothing is unprocessed here; what is wrong is said all the same.
        params.flag("unprocessed")?;
        // What was posted before this is looked at.
        app.dispatch.refresh(app);
        Ok(Self {
            inhibited: params.flag("inhibited")?,
            muted: params.flag("muted")?,
            active: params.flag("active")?,
            silenced: params.flag("silenced")?,
            filter: params.filter(version)?,
            receiver: params.pattern("receiver")?,
            loaded: app.configuration.now(),
        })
    }

    /// Shows the alerts, by fingerprint, and what silences and inhibits each.
    pub(super) fn each(
        &self,
        app: &App,
        turn: &Turn,
        mut see: impl FnMut(u64, &Arc<Alert>, &Suppressed) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        for (print, alert) in app.alerts.firing(SystemClock.wall()) {
            turn.goes_on()?;
            if !set_matches(&self.filter, &alert.labels) || !self.wants_routes(&alert) {
                continue;
            }
            let suppressed = Suppressed::of(app, &alert);
            let is_wanted = (self.active || suppressed.state() != "active")
                && (self.silenced || suppressed.silenced_by.is_empty())
                && (self.inhibited || suppressed.inhibited_by.is_empty());
            if is_wanted {
                see(print, &alert, &suppressed)?;
            }
        }
        Ok(())
    }

    /// The routing tree, as of the request.
    pub(super) fn route(&self) -> Option<&Route> {
        self.loaded.route.as_ref()
    }

    /// The time intervals that mute a route's groups at an instant, by name.
    pub(super) fn muted_by(&self, route: &Route, now: Timestamp) -> Vec<String> {
        self.loaded.muted_by(route, now)
    }

    fn wants_routes(&self, alert: &Alert) -> bool {
        let routes = || self.route().map(|route| route.of(&alert.labels));
        let mut routes = self.receiver.iter().flat_map(|_| routes()).flatten();
        self.receiver.is_none() || routes.any(|route| self.wants_receiver(&route.receiver))
    }

    /// Whether a receiver is asked for.
    pub(super) fn wants_receiver(&self, name: &str) -> bool {
        self.receiver
            .as_ref()
            .is_none_or(|pattern| pattern.matches(name))
    }
}

pub(super) async fn list(
    State(app): Shared,
    Extension(place): Seat,
    Extension(turn): Reading,
    RawQuery(query): RawQuery,
) -> Answer {
    let client = place.client;
    let list = move |turn: &Turn| {
        let params = Params::read(query.as_deref());
        let asked = Asked::read((ApiVersion::V2, &params), &app)?;
        let mut list = app.answers.list(client);
        asked.each(&app, turn, |print, alert, suppressed| {
            list.push(&Gettable::of(&asked, print, alert, suppressed))
        })?;
        list.finish()
    };
    blocking(turn, list).await
}

/// Takes the alerts that are valid; if some are not, says so, as Alertmanager does.
pub(super) async fn post(
    State(app): Shared,
    Extension(place): Seat,
    body: Payload<ALERTS_BYTES_MAX>,
) -> Answer {
    let turn = Arc::new(app.work.write(place.client).await?);
    taken(app, turn, move |app, turn, written| {
        let body = body.json("alerts")?;
        take(app, (ApiVersion::V2, body), turn, written)
    })
    .await
}

/// Takes alerts, and waits until the other members hold them.
pub(super) async fn taken(
    app: Arc<App>,
    turn: Arc<Turn>,
    take: impl FnOnce(&App, &Turn, &mut Vec<Written>) -> Answer + Send + 'static,
) -> Answer {
    let taking = Arc::clone(&app);
    let (answer, written) = blocking(turn, move |turn| {
        let mut written = Vec::new();
        let answer = take(&taking, turn, &mut written);
        (answer, written)
    })
    .await;
    // Also if some were not taken: what was stands.
    if !acknowledge::by_all(&app, written).await {
        app.stats.alerts_unacknowledged();
    }
    answer
}

/// Reads every alert of a body, and says what is wrong with it as a whole; returns how many there are.
///
/// # Errors
/// It is no list of alerts, or one has no labels.
pub(super) fn check(body: &[u8]) -> Result<usize, Refusal> {
    let mut count = 0;
    json::each(body, "alerts", |index, alert: Postable| {
        count += 1;
        let labels = alert.labels.as_ref();
        labels.map_or_else(
            || Err(Refusal::required(&format!("{index}.labels"))),
            |_| Ok(()),
        )
    })?;
    Ok(count)
}

/// Takes the alerts of a body.
pub(super) fn take(
    app: &App,
    (version, body): (ApiVersion, &[u8]),
    turn: &Turn,
    written: &mut Vec<Written>,
) -> Answer {
    // More than once, so that there is never more than one alert that is not taken yet.
    let count = check(body)?;
    let mut taking = Taking::new(app, written);
    let view = app.node().map(Node::view);
    let mut sharing = Sharing::of(view, count, taking.now);
    let mut taken = json::each(body, "alerts", |place, alert: Postable| {
        turn.goes_on()?;
        let alert = alert.complete(taking.now, app);
        let is_left = |alert: &Alert| sharing.leaves(&app.alerts, place, alert);
        if !alert.as_ref().is_ok_and(is_left) {
            taking.take(alert);
        }
        Ok(())
    });
    let left = sharing.wait(&app.alerts);
    if taken.is_ok() && !left.is_empty() {
        let mut left = left.into_iter().peekable();
        taken = json::each(body, "alerts", |place, alert: Postable| {
            turn.goes_on()?;
            if left.next_if_eq(&place).is_some() {
                taking.take(alert.complete(taking.now, app));
            }
            Ok(())
        });
    }
    let answer = taking.end(version);
    taken?;
    answer
}

/// What became of the alerts of a request so far.
struct Taking<'a> {
    app: &'a App,
    /// When it was received.
    now: Timestamp,
    written: &'a mut Vec<Written>,
    counts: AlertCounts,
    errors: Vec<String>,
}

impl<'a> Taking<'a> {
    fn new(app: &'a App, written: &'a mut Vec<Written>) -> Self {
        Self {
            app,
            now: SystemClock.wall(),
            written,
            counts: AlertCounts::default(),
            errors: Vec::new(),
        }
    }

    fn take(&mut self, alert: Result<Alert, AlertError>) {
        let taken = alert.and_then(|alert| {
            if alert.is_resolved(self.now) {
                self.counts.resolved += 1;
            } else {
                self.counts.firing += 1;
            }
            self.app.alerts.put(alert, self.now)
        });
        match taken {
            Ok(write) => self.written.extend(write),
            Err(error) => self.refused(&error),
        }
    }

    fn refused(&mut self, error: &AlertError) {
        if matches!(
            error,
            AlertError::TooLarge { .. } | AlertError::TooManyBytes { .. }
        ) {
            self.app.reached.hit(Limit::AlertBytes);
        }
        if is_limited(error) {
            self.counts.limited += 1;
        } else {
            self.counts.invalid += 1;
        }
        self.said(error);
    }

    /// As many as an operator reads.
    fn said(&mut self, error: &AlertError) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(told(error));
        }
    }

    /// Writes what the alerts say of later ends, counts, and says what was not taken.
    fn end(mut self, version: ApiVersion) -> Answer {
        match self.app.alerts.extend(self.now) {
            Ok(leases) => self.written.extend(leases),
            Err(error) => {
                self.counts.limited += 1;
                self.said(&error.into());
            }
        }
        self.app.stats.alerts(version, self.counts);
        match (self.counts.invalid, self.counts.limited) {
            (0, 0) => Ok(StatusCode::OK.into_response()),
            (0, limited) => {
                let message = format!("{limited} alerts are not taken: {}", self.errors[0]);
                Err(Refusal::text(StatusCode::INSUFFICIENT_STORAGE, message))
            }
            _ => Err(Refusal::bad(self.errors.join("; "))),
        }
    }
}

impl Postable {
    /// With a start and an end.
    fn complete(self, now: Timestamp, app: &App) -> Result<Alert, AlertError> {
        let resolve_timeout = app.configuration.now().resolve_timeout;
        // What is missing is the same on all nodes that are sent it.
        let now = Alerts::received(now);
        let given = |moment: Option<Moment>| moment.and_then(Moment::given);
        let ends_at = given(self.ends_at);
        let labels = self.labels.unwrap_or_default();
        let annotations = self.annotations.unwrap_or_default();
        if labels.is_over || annotations.is_over {
            let max = app.alerts.limits().alert_bytes;
            return Err(AlertError::TooLarge { max });
        }
        let mut labels = labels.pairs;
        labels.retain(|_, value| !value.is_empty());
        Ok(Alert {
            labels,
            annotations: annotations.pairs,
            starts_at: given(self.starts_at).or(ends_at).unwrap_or(now),
            ends_at: ends_at.unwrap_or_else(|| now.plus(resolve_timeout)),
            updated_at: now,
            generator_url: self.generator_url.unwrap_or_default(),
            timeout: ends_at.is_none(),
        })
    }
}

impl<'a> Gettable<'a> {
    /// An alert as it is listed.
    pub(super) fn of(
        asked: &'a Asked,
        fingerprint: u64,
        alert: &'a Alert,
        suppressed: &Suppressed,
    ) -> Self {
        let routes = asked.route().map(|route| route.of(&alert.labels));
        let name = |route: &'a Route| Receiver {
            name: &route.receiver,
        };
        Self {
            annotations: &alert.annotations,
            ends_at: Moment(alert.ends_at),
            fingerprint: format!("{fingerprint:016x}"),
            receivers: routes.into_iter().flatten().map(name).collect(),
            starts_at: Moment(alert.starts_at),
            status: Status {
                inhibited_by: suppressed.inhibited_by(),
                muted_by: suppressed.muted_by.clone(),
                silenced_by: suppressed.silenced_by(),
                state: suppressed.state(),
            },
            updated_at: Moment(alert.updated_at),
            generator_url: &alert.generator_url,
            labels: &alert.labels,
        }
    }

    /// As it is listed in a group: with the receivers that are asked for alone, by name.
    pub(super) fn in_group(mut self, asked: &Asked) -> Self {
        self.receivers.retain(|it| asked.wants_receiver(it.name));
        self.receivers.sort_unstable_by_key(|it| it.name);
        self
    }
}

/// Errors that one answer tells of.
const ERRORS_MAX: usize = 100;
