//! Whether pages of other origins may call the API: only where `--web.cors.origin` says so, since a
//! page could silence alerts in the name of whose browser shows it.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Shared;

/// Answers what browsers ask before they call, and lets them read the answers.
pub(super) async fn allow(State(app): Shared, request: Request, next: Next) -> Response {
    let Some(allowed) = &app.cors_origin else {
        return next.run(request).await;
    };
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_asking = *request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_asking {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    match origin {
        Some(origin) if allowed == "*" || origin.as_bytes() == allowed.as_bytes() => {
            permit(headers, origin);
        }
        _ => {}
    }
    response
}

fn permit(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    for (name, value) in PERMITTED {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

const PERMITTED: [(HeaderName, &str); 3] = [
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Accept, Authorization, Content-Type, Origin",
    ),
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        "GET, POST, DELETE, OPTIONS",
    ),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
];
