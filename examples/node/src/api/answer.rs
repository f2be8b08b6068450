//! Answers and refusals.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
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

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
