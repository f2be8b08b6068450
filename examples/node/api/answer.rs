//! Bodies in, bodies and refusals out.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// A request that is not done. Nothing was written.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    body: String,
}

impl Refusal {
    /// Alertmanager's own refusals: a JSON string.
    pub(super) fn text(status: StatusCode, message: impl AsRef<str>) -> Self {
        let body = json!(message.as_ref()).to_string();
        Self { status, body }
    }

    /// A bad request, in Alertmanager's own words.
    pub(super) fn bad(message: impl AsRef<str>) -> Self {
        Self::text(StatusCode::BAD_REQUEST, message)
    }

    /// The refusals of its framework: a code and a message.
    pub(super) fn coded(status: StatusCode, code: u32, message: impl AsRef<str>) -> Self {
        let body = json!({"code": code, "message": message.as_ref()}).to_string();
        Self { status, body }
    }

    /// A field that must be there.
    pub(super) fn required(field: &str) -> Self {
        let message = format!("{field} in body is required");
        Self::coded(StatusCode::UNPROCESSABLE_ENTITY, 602, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, JSON, self.body + "\n").into_response()
    }
}

/// What a handler answers.
pub(super) type Answer = Result<Response, Refusal>;

/// A value as the body.
pub(super) fn json_of(value: &impl Serialize) -> Response {
    let mut body = serde_json::to_vec(value).expect("plain data is valid JSON");
    body.push(b'\n');
    (JSON, body).into_response()
}

/// The JSON in a body that is called `what`: a value that begins with `opening`, which is asked for
/// because a list of values would pass for an object otherwise.
pub(super) fn read<T: DeserializeOwned>(
    what: &str,
    opening: u8,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Refusal> {
    let body = body.map_err(|error| {
        let status = error.status();
        let message = format!("the {what} body cannot be taken: {}", error.body_text());
        Refusal::coded(status, u32::from(status.as_u16()), message)
    })?;
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.map_or("application/octet-stream", |kind| {
        kind.to_str().unwrap_or_default()
    });
    let media = kind.split(';').next().unwrap_or_default().trim();
    if !body.is_empty() && !media.eq_ignore_ascii_case("application/json") {
        let message =
            format!("unsupported media type {media:?}, only [application/json] are allowed");
        return Err(Refusal::coded(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            415,
            message,
        ));
    }
    if body.is_empty() {
        return Err(Refusal::required(what));
    }
    let first = body.trim_ascii_start().first();
    if first.is_some_and(|first| *first != opening) {
        let opening = char::from(opening);
        let message =
            format!("parsing {what} body failed, because it does not begin with {opening}");
        return Err(Refusal::coded(StatusCode::BAD_REQUEST, 400, message));
    }
    serde_json::from_slice(&body).map_err(|error| {
        let message = format!("parsing {what} body failed, because {error}");
        Refusal::coded(StatusCode::BAD_REQUEST, 400, message)
    })
}

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
