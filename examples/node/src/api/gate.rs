//! What every request passes: the count, the limit of concurrent GETs, the timeout.

use std::sync::Arc;

use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::{Instant, timeout};

use super::Shared;
use crate::app::App;
use crate::duration::Span;

/// Counts requests: how many, how long, how large.
pub(super) async fn count(State(app): Shared, request: Request, next: Next) -> Response {
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
    let response = admit(&app, request, next).await;
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    app.stats.request(path, method, started.elapsed(), bytes);
    response
}

/// As Alertmanager: GETs beyond the limit are refused at once. What tells whether the node lives is
/// always answered.
async fn admit(app: &Arc<App>, request: Request, next: Next) -> Response {
    let is_get = request.method() == Method::GET && !request.uri().path().starts_with("/-/");
    let permit = if is_get {
        let Ok(permit) = app.gets.try_acquire() else {
            app.stats.get_refused();
            let message = format!(
                "Limit of concurrent GET requests reached ({}), try again later.\n",
                app.gets_max
            );
            return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
        };
        Some(permit)
    } else {
        None
    };
    let answered = async {
        let response = next.run(request).await;
        drop(permit);
        response
    };
    let Some(max) = app.web_timeout else {
        return answered.await;
    };
    timeout(max, answered).await.unwrap_or_else(|_| {
        let message = format!("Exceeded configured timeout of {}.\n", Span(max));
        (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
    })
}
