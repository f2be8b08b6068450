//! The HTTP side: Alertmanager's API v2, `/-/healthy`, `/-/ready` and `/metrics`.

mod admin;
mod alerts;
mod answer;
mod cors;
mod gate;
mod groups;
mod guard;
mod json;
mod page;
mod params;
mod payload;
mod sharing;
mod silences;
mod status;
mod v1;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use tokio::sync::Mutex;
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::app::App;
use crate::metrics;
use crate::web::Place;
use crate::work::Turn;
use answer::{Answer, Refusal};

pub(crate) use answer::AnswerRoom;
pub(crate) use guard::Guard;
pub(crate) use json::PAIRS_BYTES_MAX;
pub(crate) use payload::BodyRoom;

/// What handlers are given.
type Shared = State<Arc<App>>;
/// The place of a request's connection.
type Seat = Extension<Arc<Place>>;
/// The turn of a request that reads.
type Reading = Extension<Arc<Turn>>;

/// The page of metrics that was made last, and when that began.
pub(crate) type LastPage = Arc<Mutex<Option<(Instant, Bytes)>>>;

/// Every path.
pub(crate) fn router(app: Arc<App>) -> Router {
    let silences = get(silences::list).post(silences::post);
    let silence = get(silences::get).delete(silences::delete);
    let alerts = get(alerts::list).post(alerts::post);
    let inner = Router::new()
        .route("/", get(page::root))
        .route("/api/v2/status", get(status::status))
        .route("/api/v2/receivers", get(status::receivers))
        .route("/api/v2/silences", silences)
        .route("/api/v2/silence/{id}", silence)
        .route("/api/v2/alerts", alerts)
        .route("/api/v2/alerts/groups", get(groups::list))
        .nest("/api/v1", v1::router())
        .route("/-/healthy", get(|| async { "OK" }))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload))
        .route("/-/expelled", get(admin::list))
        .route("/-/expel", post(admin::expel))
        .route("/-/readmit", post(admin::readmit))
        .route("/-/purge", post(admin::purge))
        .route("/-/backup", post(admin::backup))
        .route("/metrics", get(render_metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method);
    let prefix = app.external.prefix.clone();
    let all = if prefix.is_empty() {
        inner
    } else {
        // With and without the slash, as clients write it.
        let with_slash = format!("{prefix}/");
        let to = with_slash.clone();
        Router::new()
            .route("/", get(|| async move { Redirect::temporary(&to) }))
            .route(&with_slash, get(page::root))
            .nest(&prefix, inner)
            .fallback(outside)
    };
    all.layer(from_fn_with_state(Arc::clone(&app), gate::read))
        .layer(from_fn_with_state(Arc::clone(&app), guard::guard))
        .layer(from_fn_with_state(Arc::clone(&app), cors::allow))
        .layer(from_fn_with_state(Arc::clone(&app), gate::count))
        .with_state(app)
}

/// A path that is not under the prefix.
async fn outside() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

async fn ready(State(app): Shared) -> Response {
    match app.readiness() {
        Ok(state) => state.into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

async fn render_metrics(State(app): Shared) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, page(app).await).into_response()
}

/// A page that was begun after this was called. One is made at a time, for all who wait for it: so
/// many who ask cost no more than one, and each waits for two pages at most.
async fn page(app: Arc<App>) -> Bytes {
    let asked = Instant::now();
    let mut last = Arc::clone(&app.last_page).lock_owned().await;
    if let Some((_, page)) = last.as_ref().filter(|(begun, _)| *begun >= asked) {
        return page.clone();
    }
    // On its own, so that it ends before the next one begins, even if nobody waits any more.
    let made = tokio::spawn(async move {
        let begun = Instant::now();
        let render = move || Bytes::from(metrics::render(&app));
        let page = joined(tokio::task::spawn_blocking(render).await);
        *last = Some((begun, page.clone()));
        page
    });
    joined(made.await)
}

/// Reads the configuration file and the certificates again.
async fn reload(State(app): Shared) -> Answer {
    let turn = Arc::new(app.work.reload()?);
    app.reload_certificates().await;
    let read = blocking(turn, move |_| app.configuration.reload()).await;
    Ok(match read {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let message = format!("failed to reload config: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    })
}

/// Runs what takes a while where it holds up nobody. It keeps its turn to its end, even if nobody
/// waits for that.
async fn blocking<T: Send + 'static>(
    turn: Arc<Turn>,
    work: impl FnOnce(&Turn) -> T + Send + 'static,
) -> T {
    joined(tokio::task::spawn_blocking(move || work(&turn)).await)
}

fn joined<T>(done: Result<T, JoinError>) -> T {
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

async fn not_found(uri: Uri) -> Response {
    let path = uri.path();
    if path.starts_with("/api/") {
        let message = format!("path {path} was not found");
        return Refusal::coded(StatusCode::NOT_FOUND, 404, message).into_response();
    }
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    if !path.starts_with("/api/") {
        return (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n").into_response();
    }
    let path_of = path.get("/api/v2/".len()..).unwrap_or_default();
    let allowed = match path_of {
        "silences" | "alerts" => "GET,POST",
        "status" | "receivers" | "alerts/groups" | "cluster/peers" => "GET",
        _ => "GET,DELETE",
    };
    let message = format!("method {method} is not allowed, but [{allowed}] are");
    Refusal::coded(StatusCode::METHOD_NOT_ALLOWED, 405, message).into_response()
}

/// What is parsed, without a node.
pub(crate) mod parse {
    use rumormill::time::Timestamp;

    use super::params::Params;
    use super::{alerts, silences};
    use crate::metrics::ApiVersion;

    pub(crate) fn alerts(body: &[u8]) -> bool {
        alerts::check(body).is_ok()
    }

    pub(crate) fn silence(body: &[u8], now: Timestamp) -> bool {
        silences::read(body, now).is_ok()
    }

    pub(crate) fn query(query: &str) -> bool {
        let params = Params::read(Some(query));
        params.check(&crate::limits::Reached::default()).is_ok()
            && params.filter(ApiVersion::V1).is_ok()
            && params.filter(ApiVersion::V2).is_ok()
            && params.pattern("receiver").is_ok()
    }
}

/// A silence is small; with a comment of a megabyte it is refused by the store.
const SILENCE_BYTES_MAX: usize = 2 << 20;
/// Prometheus sends alerts in batches of 256 at most, others a whole group of rules: 10,000 ordinary
/// alerts.
const ALERTS_BYTES_MAX: usize = 16 << 20;
