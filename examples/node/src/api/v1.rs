//! API v1, which Alertmanager had until 0.26: every answer has a status, and its data beside it. It does
//! what API v2 does, in the older shapes.
//!
//! Beside what it had, for the sake of scripts that ask for it: `cluster` and `config.original` beside the
//! data of `status`, `cluster/peers`, and alerts posted as `{"alerts": [...]}`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use rumormill::store::matcher::Labels;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::alerts::{self, Asked, Suppressed};
use super::answer::{Answer, Refusal, json_of};
use super::params::Params;
use super::payload::Payload;
use super::status::{cluster, version_info};
use super::{ALERTS_BYTES_MAX, Reading, SILENCE_BYTES_MAX, Seat, Shared, blocking, silences};
use crate::alerts::Alert;
use crate::app::App;
use crate::metrics::ApiVersion;
use crate::moment::Moment;
use crate::work::Turn;

/// Every path, under `/api/v1`.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/status", get(status))
        .route("/receivers", get(receivers))
        .route("/cluster/peers", get(peers))
        .route("/alerts", get(list_alerts).post(post_alerts))
        .route("/silences", get(list_silences).post(post_silence))
        .route("/silence/{id}", get(get_silence).delete(delete_silence))
}

/// An alert as it is listed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    labels: &'a Labels,
    annotations: &'a Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    status: ListedStatus,
    receivers: Vec<&'a str>,
    fingerprint: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedStatus {
    state: &'static str,
    silenced_by: Vec<String>,
    inhibited_by: Vec<String>,
}

/// A body that has the list of alerts inside.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    alerts: &'a RawValue,
}

/// An answer, or a refusal in the shape of this API.
fn shaped(answer: Answer) -> Response {
    answer.unwrap_or_else(|refusal| refusal.v1())
}

fn success(data: &Value) -> Response {
    json_of(&json!({"status": "success", "data": data}))
}

fn done() -> Response {
    json_of(&json!({"status": "success"}))
}

async fn status(State(app): Shared, Extension(place): Seat, Extension(turn): Reading) -> Response {
    let client = place.client;
    let described = move |_: &_| app.answers.of(client, &described(&app));
    shaped(blocking(turn, described).await)
}

fn described(app: &App) -> Value {
    let loaded = app.configuration.now();
    let cluster = cluster(app);
    json!({
        "status": "success",
        "data": {
            "configYAML": loaded.shown.yaml,
            "configJSON": loaded.shown.tree,
            "versionInfo": version_info(),
            "uptime": Moment(app.started).go_text(),
            "clusterStatus": app.name.as_ref().map(|_| &cluster),
        },
        "cluster": cluster,
        "config": {"original": loaded.shown.yaml},
    })
}

async fn receivers(State(app): Shared) -> Response {
    let loaded = app.configuration.now();
    let names: Vec<&str> = loaded.receivers.iter().map(|it| it.name.as_str()).collect();
    success(&json!(names))
}

async fn peers(State(app): Shared) -> Response {
    success(&cluster(&app)["peers"])
}

async fn list_alerts(
    State(app): Shared,
    Extension(place): Seat,
    Extension(turn): Reading,
    RawQuery(query): RawQuery,
) -> Response {
    let client = place.client;
    let list = move |turn: &Turn| {
        let params = Params::read(query.as_deref());
        let asked = Asked::read((ApiVersion::V1, &params), &app)?;
        let mut list = app.answers.list_v1(client);
        asked.each(&app, turn, |print, alert, suppressed| {
            list.push(&listed(&asked, print, alert, suppressed))
        })?;
        list.finish()
    };
    shaped(blocking(turn, list).await)
}

fn listed<'a>(
    asked: &'a Asked,
    print: u64,
    alert: &'a Alert,
    suppressed: &Suppressed,
) -> Listed<'a> {
    let routes = asked.route().map(|route| route.of(&alert.labels));
    let routes = routes.into_iter().flatten();
    Listed {
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: Moment(alert.starts_at).go_text(),
        ends_at: Moment(alert.ends_at).go_text(),
        generator_url: &alert.generator_url,
        status: ListedStatus {
            state: suppressed.state(),
            silenced_by: suppressed.silenced_by(),
            inhibited_by: suppressed.inhibited_by(),
        },
        receivers: routes.map(|route| route.receiver.as_str()).collect(),
        fingerprint: format!("{print:016x}"),
    }
}

async fn post_alerts(
    State(app): Shared,
    Extension(place): Seat,
    body: Result<Payload<ALERTS_BYTES_MAX>, Refusal>,
) -> Response {
    let taken = async {
        let body = body?;
        let turn = Arc::new(app.work.write(place.client).await?);
        alerts::taken(app, turn, move |app, turn, written| {
            let list = inner(body.bytes())?;
            alerts::take(app, (ApiVersion::V1, list), turn, written)
        })
        .await
    };
    shaped(taken.await.map(|_| done()))
}

/// The list of alerts in a body, which may be in an object.
fn inner(body: &[u8]) -> Result<&[u8], Refusal> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Ok(body);
    }
    let wrapped: Wrapped<'_> = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad(format!("parsing alerts body failed, because {error}")))?;
    Ok(wrapped.alerts.get().as_bytes())
}

async fn list_silences(
    State(app): Shared,
    Extension(place): Seat,
    Extension(turn): Reading,
    RawQuery(query): RawQuery,
) -> Response {
    let client = place.client;
    let list = move |_: &_| {
        let params = Params::read(query.as_deref());
        let list = app.answers.list_v1(client);
        silences::list_into(&app, list, (ApiVersion::V1, &params))
    };
    shaped(blocking(turn, list).await)
}

async fn post_silence(
    State(app): Shared,
    Extension(place): Seat,
    body: Result<Payload<SILENCE_BYTES_MAX>, Refusal>,
) -> Response {
    let taken = async {
        let body = body?;
        let turn = Arc::new(app.work.write(place.client).await?);
        let taking = Arc::clone(&app);
        let taken = blocking(turn, move |_| silences::take_v1(&taking, body.bytes())).await;
        let (id, written) = taken?;
        silences::kept(&app, id, Some(written)).await?;
        Ok(id)
    };
    let answer: Result<_, Refusal> = taken.await;
    shaped(answer.map(|id| success(&json!({"silenceId": id.to_string()}))))
}

async fn get_silence(
    State(app): Shared,
    Extension(turn): Reading,
    Path(id): Path<String>,
) -> Response {
    let found = blocking(turn, move |_| silences::shown(&app, &id)).await;
    match found {
        Ok(silence) => success(&silence),
        Err(_) => {
            let message = "Error getting silence: silence not found\n";
            (StatusCode::NOT_FOUND, message).into_response()
        }
    }
}

async fn delete_silence(
    State(app): Shared,
    Extension(place): Seat,
    Path(id): Path<String>,
) -> Response {
    let expired = async {
        let turn = Arc::new(app.work.write(place.client).await?);
        let expiring = Arc::clone(&app);
        let expired = blocking(turn, move |_| silences::expire(&expiring, &id)).await;
        let (id, written) = expired?;
        silences::kept(&app, id, written).await?;
        Ok(done())
    };
    shaped(expired.await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_may_be_in_an_object() {
        assert_eq!(inner(b" [{}]").ok(), Some(&b" [{}]"[..]));
        assert_eq!(inner(b"{\"alerts\": [1, 2]}").ok(), Some(&b"[1, 2]"[..]));
        assert!(inner(b"{\"alert\": []}").is_err() && inner(b"{").is_err());
    }

    #[test]
    fn refusals_have_the_shape_of_v1() {
        for (refusal, status) in [
            (Refusal::bad("why"), StatusCode::BAD_REQUEST),
            (
                Refusal::text(StatusCode::NOT_FOUND, "why"),
                StatusCode::BAD_REQUEST,
            ),
            (
                Refusal::coded(StatusCode::UNPROCESSABLE_ENTITY, 602, "why"),
                StatusCode::BAD_REQUEST,
            ),
            (Refusal::later("why"), StatusCode::SERVICE_UNAVAILABLE),
        ] {
            assert_eq!(refusal.v1().status(), status);
        }
    }
}
