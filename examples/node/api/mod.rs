//! The HTTP side: Alertmanager's API v2, `/-/healthy`, `/-/ready` and `/metrics`.

mod alerts;
mod answer;
mod groups;
mod params;
mod payload;
mod silences;
mod status;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::Instant;

use crate::app::App;
use crate::metrics;
use answer::Refusal;

pub(crate) use payload::Room;

/// What handlers are given.
type Shared = State<Arc<App>>;

/// Every path.
pub(crate) fn router(app: Arc<App>) -> Router {
    let silences = get(silences::list).post(silences::post);
    let silence = get(silences::get).delete(silences::delete);
    let alerts = get(alerts::list).post(alerts::post);
    Router::new()
        .route("/api/v2/status", get(status::status))
        .route("/api/v2/receivers", get(status::receivers))
        .route("/api/v2/silences", silences)
        .route("/api/v2/silence/{id}", silence)
        .route("/api/v2/alerts", alerts)
        .route("/api/v2/alerts/groups", get(groups::list))
        .route("/-/healthy", get(|| async { "OK" }))
        .route("/-/ready", get(ready))
        .route("/metrics", get(render_metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), count))
        .with_state(app)
}

async fn ready(State(app): Shared) -> Response {
    match app.readiness() {
        Ok(()) => "OK".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

async fn render_metrics(State(app): Shared) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, metrics::render(&app)).into_response()
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
    let allowed = match path.trim_start_matches("/api/v2/") {
        "silences" | "alerts" => "GET,POST",
        "status" | "receivers" | "alerts/groups" => "GET",
        _ => "GET,DELETE",
    };
    let message = format!("method {method} is not allowed, but [{allowed}] are");
    Refusal::coded(StatusCode::METHOD_NOT_ALLOWED, 405, message).into_response()
}

/// Counts requests: how many, how long, how large.
async fn count(State(app): Shared, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = match *request.method() {
        Method::DELETE => "delete",
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        _ => "other",
    };
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("", MatchedPath::as_str);
    app.stats.in_flight.fetch_add(1, Ordering::Relaxed);
    let response = next.run(request).await;
    app.stats.in_flight.fetch_sub(1, Ordering::Relaxed);
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    app.stats.request(path, method, started.elapsed(), bytes);
    response
}

/// A silence is small; with a comment of a megabyte it is refused by the store.
const SILENCE_BYTES_MAX: usize = 2 << 20;
/// Prometheus sends alerts in batches.
const ALERTS_BYTES_MAX: usize = 64 << 20;
