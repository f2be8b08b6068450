//! The HTTP side: Alertmanager's API v2, `/-/healthy`, `/-/ready` and `/metrics`.

mod alerts;
mod answer;
mod gate;
mod groups;
mod params;
mod payload;
mod silences;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

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
        .route("/-/reload", post(reload))
        .route("/metrics", get(render_metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), gate::count))
        .with_state(app)
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
    let page = blocking(move || metrics::render(&app)).await;
    (kind, page).into_response()
}

/// Reads the configuration file and the certificates again.
async fn reload(State(app): Shared) -> Response {
    app.reload_certificates().await;
    match blocking(move || app.configuration.reload()).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let message = format!("failed to reload config: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}

/// Runs what takes a while where it holds up nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
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

/// A silence is small; with a comment of a megabyte it is refused by the store.
const SILENCE_BYTES_MAX: usize = 2 << 20;
/// Prometheus sends alerts in batches.
const ALERTS_BYTES_MAX: usize = 64 << 20;
