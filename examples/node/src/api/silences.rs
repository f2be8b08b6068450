//! `/api/v2/silences` and `/api/v2/silence/{id}`.

use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use rumormill::node::SystemClock;
use rumormill::store::WriteError;
use rumormill::store::matcher::{Matcher, Op};
use rumormill::store::silences::{
    NewSilence, Query, RuleError, Silence, SilenceError, SilenceId, SilenceState, Silences,
};
use rumormill::time::{Timestamp, WallClock as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::answer::{Answer, Refusal, json_of};
use super::params::Params;
use super::payload::Payload;
use super::{SILENCE_BYTES_MAX, Shared, blocking};
use crate::app::App;
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
#[serde(rename_all = "camelCase", default)]
struct Postable {
    id: Option<String>,
    matchers: Option<Vec<PostableMatcher>>,
    /// All sets, as they are answered; `matchers` is the first of them, or not given.
    matcher_sets: Option<Vec<Vec<PostableMatcher>>>,
    starts_at: Option<Moment>,
    ends_at: Option<Moment>,
    created_by: Option<String>,
    comment: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PostableMatcher {
    name: Option<String>,
    value: Option<String>,
    is_regex: Option<bool>,
    is_equal: Option<bool>,
}

pub(super) async fn list(State(app): Shared, RawQuery(query): RawQuery) -> Answer {
    blocking(move || listed(&app, &Params::read(query.as_deref()))).await
}

fn listed(app: &App, params: &Params) -> Answer {
    let filter = params
        .filter()
        .inspect_err(|_| app.stats.silence_query_failed())?;
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
        return Ok(json_of(&[(); 0]));
    }
    let started = Instant::now();
    let query = Query::default().states(states).filter(filter);
    let listed = app.silences.query(&query);
    app.stats.silence_query(started.elapsed());
    let gettable: Vec<_> = listed
        .iter()
        .map(|listed| gettable(listed.state, &listed.silence))
        .collect();
    Ok(json_of(&gettable))
}

pub(super) async fn post(State(app): Shared, body: Payload<SILENCE_BYTES_MAX>) -> Answer {
    // Its patterns are compiled.
    blocking(move || take(&app, &body)).await
}

fn take(app: &App, body: &Payload<SILENCE_BYTES_MAX>) -> Answer {
    let posted: Postable = body.json("silence", b'{')?;
    let mut new = posted.checked(SystemClock.wall())?;
    keep_sets(&app.silences, &mut new)?;
    let (id, _) = app.silences.set(new).map_err(refusal)?;
    Ok(json_of(&json!({"silenceID": id.to_string()})))
}

pub(super) async fn get(State(app): Shared, id: IdPath) -> Answer {
    let id = parse_id(id)?;
    let started = Instant::now();
    let silence = app.silences.get(id);
    app.stats.silence_query(started.elapsed());
    let silence = silence.ok_or_else(not_found)?;
    let state = silence.state(SystemClock.wall());
    Ok(json_of(&gettable(state, &silence)))
}

pub(super) async fn delete(State(app): Shared, id: IdPath) -> Answer {
    let id = parse_id(id)?;
    app.silences.expire(id).map_err(refusal)?;
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
    /// What is to be written, or what is wrong with it, in Alertmanager's words.
    fn checked(self, now: Timestamp) -> Result<NewSilence, Refusal> {
        let required = |field| move || Refusal::required(field);
        let comment = self.comment.ok_or_else(required("comment"))?;
        let created_by = self.created_by.ok_or_else(required("createdBy"))?;
        let ends_at = self.ends_at.ok_or_else(required("endsAt"))?;
        let sets = self.matcher_sets.filter(|sets| !sets.is_empty());
        let given = self
            .matchers
            .filter(|set| sets.is_none() || !set.is_empty());
        if sets.is_none() && given.is_none() {
            return Err(Refusal::required("matchers"));
        }
        let starts_at = self.starts_at.ok_or_else(required("startsAt"))?;
        let empty = |set: &Vec<PostableMatcher>| set.is_empty();
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
        let id = match self.id.as_deref() {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(|_| not_found())?),
        };
        let mut new = NewSilence::new(Vec::new(), ends_at.0)
            .matcher_sets(matcher_sets)
            .created_by(created_by)
            .comment(comment)
            .annotations(self.annotations.unwrap_or_default());
        new.id = id;
        new.starts_at = starts_at.given();
        Ok(new)
    }
}

fn checked_set(set: Vec<PostableMatcher>) -> Result<Vec<Matcher>, Refusal> {
    let set = set.into_iter().enumerate();
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
        SilenceError::Write(WriteError::StoreFull { .. }) | SilenceError::Contended { .. } => {
            Refusal::text(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
        other => Refusal::text(StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
    }
}

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
