//! `/api/v2/silences` and `/api/v2/silence/{id}`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use rumormill::node::SystemClock;
use rumormill::store::matcher::{Matcher, Op};
use rumormill::store::silences::{
    NewSilence, Query, RuleError, Silence, SilenceError, SilenceId, SilenceState, Silences,
};
use rumormill::store::{WriteError, Written};
use rumormill::time::{Timestamp, WallClock as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;

use super::answer::{Answer, List, Refusal, json_of};
use super::json::{self, First, FirstOfLists, Pairs, read_in_any_case};
use super::params::Params;
use super::payload::Payload;
use super::{Reading, SILENCE_BYTES_MAX, Seat, Shared, blocking};
use crate::acknowledge;
use crate::app::App;
use crate::client::Client;
use crate::limits::Limit;
use crate::matchers::{Excess, SILENCE, Tally};
use crate::metrics::ApiVersion;
use crate::moment::Moment;

/// `gettableSilence`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Gettable<'a> {
    id: String,
    status: Status,
    updated_at: Moment,
    comment: &'a str,
    created_by: &'a str,
    ends_at: Moment,
    /// The first set; others are in `matcher_sets`.
    matchers: Vec<GettableMatcher<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    matcher_sets: Vec<Vec<GettableMatcher<'a>>>,
    starts_at: Moment,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Status {
    state: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GettableMatcher<'a> {
    is_equal: bool,
    is_regex: bool,
    name: &'a str,
    value: &'a str,
}

/// `postableSilence`: everything optional, so that what is missing is said by name.
#[derive(Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", default)]
struct Postable {
    id: Option<String>,
    matchers: Option<PostableSet>,
    /// All sets, as they are answered; `matchers` is the first of them, or not given.
    matcher_sets: Option<FirstOfLists<PostableMatcher, { SILENCE.matchers }>>,
    starts_at: Option<Moment>,
    ends_at: Option<Moment>,
    created_by: Option<String>,
    comment: Option<String>,
    annotations: Option<Pairs>,
}

read_in_any_case!(
    Postable,
    "id",
    "matchers",
    "matcherSets",
    "startsAt",
    "endsAt",
    "createdBy",
    "comment",
    "annotations"
);

/// A set of matchers. Of one with too many, only the first are read.
type PostableSet = First<PostableMatcher, { SILENCE.matchers }>;

#[derive(Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", default)]
struct PostableMatcher {
    name: Option<String>,
    value: Option<String>,
    is_regex: Option<bool>,
    is_equal: Option<bool>,
}

read_in_any_case!(PostableMatcher, "name", "value", "isRegex", "isEqual");

pub(super) async fn list(
    State(app): Shared,
    Extension(place): Seat,
    Extension(turn): Reading,
    RawQuery(query): RawQuery,
) -> Answer {
    let client = place.client;
    let list = move |_: &_| listed(&app, client, &Params::read(query.as_deref()));
    blocking(turn, list).await
}

fn listed(app: &App, client: Client, params: &Params) -> Answer {
    list_into(app, app.answers.list(client), (ApiVersion::V2, params))
}

/// Writes the silences that are asked for into a list.
pub(super) fn list_into(
    app: &App,
    mut list: List<'_>,
    (version, params): (ApiVersion, &Params),
) -> Answer {
    let filter = params.check(&app.reached);
    let filter = filter.and_then(|()| params.filter(version));
    let filter = filter.inspect_err(|_| app.stats.silence_query_failed())?;
    let mut states = Vec::new();
    for (name, state) in [
        ("active", SilenceState::Active),
        ("pending", SilenceState::Pending),
        ("expired", SilenceState::Expired),
    ] {
        if params.flag(name)? {
            states.push(state);
        }
    }
    if states.is_empty() {
        return list.finish();
    }
    let started = Instant::now();
    let query = Query::default().states(states).filter(filter);
    let listed = app.silences.query(&query);
    app.stats.silence_query(started.elapsed());
    for one in &listed {
        list.push(&gettable(one.state, &one.silence))?;
    }
    list.finish()
}

pub(super) async fn post(
    State(app): Shared,
    Extension(place): Seat,
    body: Payload<SILENCE_BYTES_MAX>,
) -> Answer {
    let turn = Arc::new(app.work.write(place.client).await?);
    let taking = Arc::clone(&app);
    // Its patterns may have to be compiled.
    let taken = blocking(turn, move |_| take(&taking, body.json("silence")?)).await;
    let (id, written) = taken?;
    kept(&app, id, Some(written)).await?;
    Ok(json_of(&json!({"silenceID": id.to_string()})))
}

/// Waits until a change is on this node's disk, and then until the other members hold it: then it outlives this node.
/// Not in a turn: alerts wait for those too, and need no disk.
///
/// # Errors
/// It is not known to be on the disk.
pub(super) async fn kept(
    app: &App,
    id: SilenceId,
    written: Option<Written>,
) -> Result<(), Refusal> {
    if let Some(written) = &written {
        let on_disk = acknowledge::on_disk(written).await;
        on_disk.map_err(|_| {
            let message = format!("the silence {id} is changed, and that is not on the disk");
            Refusal::text(StatusCode::SERVICE_UNAVAILABLE, message)
        })?;
    }
    if !acknowledge::by_all(app, written.into_iter().collect()).await {
        app.stats.silence_unacknowledged();
    }
    Ok(())
}

/// Reads the silence in a body.
///
/// # Errors
/// It is none, or it breaks a rule.
pub(super) fn read(body: &[u8], now: Timestamp) -> Result<NewSilence, ReadError> {
    let posted: Postable = json::value(body, "silence", b'{').map_err(ReadError::Other)?;
    posted.check_size().map_err(ReadError::Excess)?;
    posted.checked(now).map_err(ReadError::Other)
}

/// Why a body is no silence.
#[derive(Debug)]
pub(super) enum ReadError {
    Excess(Excess),
    Other(Refusal),
}

fn take(app: &App, body: &[u8]) -> Result<(SilenceId, Written), Refusal> {
    set(app, read(body, SystemClock.wall()))
}

/// Writes a silence that was read; returns its id.
fn set(app: &App, read: Result<NewSilence, ReadError>) -> Result<(SilenceId, Written), Refusal> {
    let mut new = read.map_err(|error| match error {
        ReadError::Other(refusal) => refusal,
        ReadError::Excess(excess) => {
            app.reached.hit(Limit::Matchers);
            Refusal::bad(match excess {
                Excess::Bytes(_) | Excess::PatternBytes(_) => {
                    format!("silence exceeded maximum size: {excess}")
                }
                _ => format!("silence invalid: {excess}"),
            })
        }
    })?;
    keep_sets(&app.silences, &mut new)?;
    let author = new.created_by.clone();
    disk_works(app)?;
    let (id, written) = app.silences.set(new).map_err(refusal)?;
    if app.log_silences {
        info!(%id, author, "silence made or changed");
    }
    Ok((id, written))
}

/// Writes the silence in a body of API v1, where what is missing is empty; returns its id.
pub(super) fn take_v1(app: &App, body: &[u8]) -> Result<(SilenceId, Written), Refusal> {
    let now = SystemClock.wall();
    let read = json::value(body, "silence", b'{').map_err(ReadError::Other);
    let read = read.and_then(|mut posted: Postable| {
        posted.comment.get_or_insert_default();
        posted.created_by.get_or_insert_default();
        posted.starts_at.get_or_insert(Moment(Timestamp::ZERO));
        for matcher in posted.matchers.iter_mut().flat_map(|set| &mut set.values) {
            matcher.is_regex.get_or_insert(false);
        }
        posted.check_size().map_err(ReadError::Excess)?;
        posted.checked(now).map_err(ReadError::Other)
    });
    set(app, read)
}

/// A silence as it is shown, of which the id is given as a text.
pub(super) fn shown(app: &App, id: &str) -> Result<Value, Refusal> {
    let id = id.parse().map_err(|_| not_found())?;
    let started = Instant::now();
    let silence = app.silences.get(id);
    app.stats.silence_query(started.elapsed());
    let silence = silence.ok_or_else(not_found)?;
    let state = silence.state(SystemClock.wall());
    Ok(json!(gettable(state, &silence)))
}

/// Expires a silence of which the id is given as a text.
///
/// # Errors
/// There is none, or it cannot be written.
pub(super) fn expire(app: &App, id: &str) -> Result<(SilenceId, Option<Written>), Refusal> {
    let id: SilenceId = id.parse().map_err(|_| not_found())?;
    disk_works(app)?;
    let written = app.silences.expire(id).map_err(refusal)?;
    if app.log_silences {
        info!(%id, "silence expired");
    }
    Ok((id, written))
}

pub(super) async fn get(
    State(app): Shared,
    Extension(place): Seat,
    Extension(turn): Reading,
    id: IdPath,
) -> Answer {
    let (id, client) = (parse_id(id)?, place.client);
    let get = move |_: &_| app.answers.of(client, &shown(&app, &id.to_string())?);
    blocking(turn, get).await
}

pub(super) async fn delete(State(app): Shared, Extension(place): Seat, id: IdPath) -> Answer {
    let id = parse_id(id)?;
    let turn = Arc::new(app.work.write(place.client).await?);
    let expiring = Arc::clone(&app);
    let expired = blocking(turn, move |_| expire(&expiring, &id.to_string())).await;
    let (id, written) = expired?;
    kept(&app, id, written).await?;
    Ok(StatusCode::OK.into_response())
}

/// The id in a path, which need not even be a text.
type IdPath = Result<Path<String>, PathRejection>;

fn parse_id(path: IdPath) -> Result<SilenceId, Refusal> {
    let text = path.map(|Path(text)| text).unwrap_or_default();
    text.parse().map_err(|_| {
        let message = format!("silenceID in path must be of type uuid: {text:?}");
        Refusal::coded(StatusCode::UNPROCESSABLE_ENTITY, 601, message)
    })
}

fn not_found() -> Refusal {
    Refusal::text(StatusCode::NOT_FOUND, "silence not found")
}

impl Postable {
    /// Whether its matchers are few and small enough to be looked at.
    fn check_size(&self) -> Result<(), Excess> {
        // `matchers` is the first set once more.
        let mut all = [Tally::default(), Tally::default()];
        if let Some(sets) = &self.matcher_sets {
            let read = sets.lists.iter().map(PostableSet::tally);
            all[0] = Tally {
                matchers: sets.count,
                ..read.fold(Tally::default(), Tally::and)
            };
        }
        if let Some(set) = &self.matchers {
            all[1] = set.tally();
        }
        all.into_iter().try_for_each(|tally| tally.check(&SILENCE))
    }

    /// What is to be written, or what is wrong with it, in Alertmanager's words.
    fn checked(self, now: Timestamp) -> Result<NewSilence, Refusal> {
        let required = |field| move || Refusal::required(field);
        let comment = self.comment.ok_or_else(required("comment"))?;
        let created_by = self.created_by.ok_or_else(required("createdBy"))?;
        let ends_at = self.ends_at.ok_or_else(required("endsAt"))?;
        let sets = self.matcher_sets.map(|sets| sets.lists);
        let sets = sets.filter(|sets| !sets.is_empty());
        let given = self.matchers;
        let given = given.filter(|set| sets.is_none() || set.count > 0);
        if sets.is_none() && given.is_none() {
            return Err(Refusal::required("matchers"));
        }
        let starts_at = self.starts_at.ok_or_else(required("startsAt"))?;
        let empty = |set: &PostableSet| set.count == 0;
        if given.as_ref().is_some_and(empty) || sets.iter().flatten().any(empty) {
            let message = "matchers in body should have at least 1 items";
            return Err(Refusal::coded(
                StatusCode::UNPROCESSABLE_ENTITY,
                612,
                message,
            ));
        }
        let given = given.map(checked_set).transpose()?;
        let sets = sets.map(|sets| sets.into_iter().map(checked_set).collect());
        let matcher_sets: Vec<Vec<Matcher>> = match (sets.transpose()?, given) {
            (None, given) => given.into_iter().collect(),
            (Some(sets), None) => sets,
            (Some(sets), Some(first)) if sets.first() == Some(&first) => sets,
            (Some(_), Some(_)) => {
                let message = "matchers in body must be the first of matcherSets";
                return Err(Refusal::bad(message));
            }
        };
        let starts = starts_at.given().unwrap_or(now);
        if starts >= ends_at.0 {
            let message = "Failed to create silence: start time must be before end time";
            return Err(Refusal::bad(message));
        }
        if ends_at.0 < now {
            let message = "Failed to create silence: end time can't be in the past";
            return Err(Refusal::bad(message));
        }
        let annotations = self.annotations.unwrap_or_default();
        if annotations.is_over {
            let message = "silence exceeded maximum size: annotations";
            return Err(Refusal::bad(message));
        }
        let id = match self.id.as_deref() {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(|_| not_found())?),
        };
        // "For ever" ends where the store lets it.
        let ends_at = ends_at.0.min(now.plus(LASTS_MAX).max(starts));
        let mut new = NewSilence::new(Vec::new(), ends_at)
            .matcher_sets(matcher_sets)
            .created_by(created_by)
            .comment(comment)
            .annotations(annotations.pairs);
        new.id = id;
        new.starts_at = starts_at.given();
        Ok(new)
    }
}

impl PostableSet {
    fn tally(&self) -> Tally {
        let one = |matcher: &PostableMatcher| {
            let name = matcher.name.as_deref().unwrap_or_default();
            let value = matcher.value.as_deref().unwrap_or_default();
            Tally::one(name, value, matcher.is_regex == Some(true))
        };
        let read = self.values.iter().map(one);
        Tally {
            matchers: self.count,
            ..read.fold(Tally::default(), Tally::and)
        }
    }
}

fn checked_set(set: PostableSet) -> Result<Vec<Matcher>, Refusal> {
    let set = set.values.into_iter().enumerate();
    set.map(|(index, matcher)| matcher.checked(index)).collect()
}

/// A client that does not know of matcher sets sends back the first alone: the others stay.
fn keep_sets(silences: &Silences, new: &mut NewSilence) -> Result<(), Refusal> {
    let held = new.id.and_then(|id| silences.get(id));
    let Some(held) = held.filter(|held| held.matcher_sets.len() > 1) else {
        return Ok(());
    };
    if new.matcher_sets.len() > 1 {
        return Ok(());
    }
    if new.matcher_sets.first() != held.matcher_sets.first() {
        return Err(Refusal::bad(format!(
            "the silence has {} matcher sets, and the body the first alone, changed; give all of \
             them as matcherSets",
            held.matcher_sets.len()
        )));
    }
    new.matcher_sets.clone_from(&held.matcher_sets);
    Ok(())
}

impl PostableMatcher {
    fn checked(self, index: usize) -> Result<Matcher, Refusal> {
        let required = |field| move || Refusal::required(&format!("matchers.{index}.{field}"));
        let is_regex = self.is_regex.ok_or_else(required("isRegex"))?;
        let name = self.name.ok_or_else(required("name"))?;
        let value = self.value.ok_or_else(required("value"))?;
        let op = match (self.is_equal.unwrap_or(true), is_regex) {
            (true, false) => Op::Equal,
            (false, false) => Op::NotEqual,
            (true, true) => Op::Regex,
            (false, true) => Op::NotRegex,
        };
        Matcher::new(&name, op, &value).map_err(|error| {
            Refusal::bad(format!(
                "silence invalid: invalid label matcher {index}, {name:?}{op}{value:?}: {error}"
            ))
        })
    }
}

/// What the store said, as Alertmanager says it.
fn refusal(error: SilenceError) -> Refusal {
    match error {
        SilenceError::NotFound { .. } => not_found(),
        SilenceError::Rule(RuleError::MatchesEmpty { .. }) => Refusal::bad(
            "silence invalid: at least one matcher must not match the empty string, or the silence \
             would mute almost every alert",
        ),
        SilenceError::Rule(rule) => Refusal::bad(format!("silence invalid: {rule}")),
        SilenceError::EndInPast { .. } => {
            Refusal::bad("Failed to create silence: end time can't be in the past")
        }
        SilenceError::NoDuration { .. } => {
            Refusal::bad("Failed to create silence: start time must be before end time")
        }
        SilenceError::TooManySilences { held, max } => Refusal::bad(format!(
            "exceeded maximum number of silences: {} (limit: {max}, expired ones included)",
            held + 1
        )),
        SilenceError::TooLarge { bytes, max }
        | SilenceError::Write(WriteError::TooLarge { bytes, max }) => Refusal::bad(format!(
            "silence exceeded maximum size: {bytes} bytes (limit: {max} bytes)"
        )),
        SilenceError::Write(WriteError::TooLasting { .. }) => {
            Refusal::bad(format!("silence invalid: {error}"))
        }
        SilenceError::Write(WriteError::StoreFull { .. }) | SilenceError::Contended { .. } => {
            Refusal::text(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
        other => Refusal::text(StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
    }
}

/// While the disk takes nothing, nothing is changed either: an operator would take it for done.
fn disk_works(app: &App) -> Result<(), Refusal> {
    if app.disk_fails() {
        let message = "the disk takes nothing at the moment: nothing was changed";
        return Err(Refusal::text(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    Ok(())
}

/// How long a silence lasts at most. The store keeps nothing for over 100 years.
const LASTS_MAX: Duration = Duration::from_secs(99 * 365 * 24 * 3600);

fn gettable(state: SilenceState, silence: &Silence) -> Gettable<'_> {
    let sets = &silence.matcher_sets;
    Gettable {
        id: silence.id.to_string(),
        status: Status {
            state: match state {
                SilenceState::Active => "active",
                SilenceState::Expired => "expired",
                SilenceState::Pending => "pending",
            },
        },
        updated_at: Moment(silence.updated_at),
        comment: &silence.comment,
        created_by: &silence.created_by,
        ends_at: Moment(silence.ends_at),
        matchers: sets
            .first()
            .map(|set| gettable_set(set))
            .unwrap_or_default(),
        matcher_sets: if sets.len() > 1 {
            sets.iter().map(|set| gettable_set(set)).collect()
        } else {
            Vec::new()
        },
        starts_at: Moment(silence.starts_at),
        annotations: &silence.annotations,
    }
}

fn gettable_set(set: &[Matcher]) -> Vec<GettableMatcher<'_>> {
    set.iter()
        .map(|matcher| GettableMatcher {
            is_equal: matcher.op().is_positive(),
            is_regex: matcher.op().is_regex(),
            name: matcher.name(),
            value: matcher.value(),
        })
        .collect()
}
