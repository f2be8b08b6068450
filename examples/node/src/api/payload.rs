//! Bodies of requests: how large, how slow, how many bytes of all of them at a time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::Refusal;
use crate::app::App;

/// A body of at most `MAX` bytes. What is left of one that is refused, the connection reads and
/// throws away.
pub(super) struct Payload<const MAX: usize> {
    headers: HeaderMap,
    bytes: Bytes,
    /// Gives the room back when the body is done with.
    _room: Option<OwnedSemaphorePermit>,
}

/// What all bodies under way may take.
#[derive(Debug)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB)))
    }
}

impl<const MAX: usize> FromRequest<Arc<App>> for Payload<MAX> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let read = timeout(BODY_MAX, read(body, MAX, &app.room)).await;
        let (bytes, room) = read.map_err(|_| {
            let message = format!("the body did not arrive within {BODY_MAX:?}");
            Refusal::coded(StatusCode::REQUEST_TIMEOUT, 408, message)
        })??;
        Ok(Self {
            headers: parts.headers,
            bytes,
            _room: room,
        })
    }
}

async fn read(
    mut body: Body,
    max: usize,
    room: &Room,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
    let too_large = || {
        let message = format!("length limit exceeded: the body has more than {max} bytes");
        Refusal::coded(StatusCode::PAYLOAD_TOO_LARGE, 413, message)
    };
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > max {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut taken: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| {
            let message = format!("the body could not be read: {error}");
            Refusal::coded(StatusCode::BAD_REQUEST, 400, message)
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > max - bytes.len() {
            return Err(too_large());
        }
        let held = taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = (bytes.len() + data.len()).div_ceil(1024) - held;
        if wanted > 0 {
            let more = u32::try_from(wanted).unwrap_or(u32::MAX);
            let more = Arc::clone(&room.0).try_acquire_many_owned(more);
            let more = more.map_err(|_| {
                let message = "too many large requests are under way, try again later";
                Refusal::coded(StatusCode::SERVICE_UNAVAILABLE, 503, message)
            })?;
            match &mut taken {
                Some(taken) => taken.merge(more),
                none => *none = Some(more),
            }
        }
        bytes.extend_from_slice(&data);
    }
    Ok((Bytes::from(bytes), taken))
}

impl<const MAX: usize> Payload<MAX> {
    /// The JSON in a body that is called `what`: a value that begins with `opening`, which is asked
    /// for because a list of values would pass for an object otherwise.
    pub(super) fn json<T: DeserializeOwned>(&self, what: &str, opening: u8) -> Result<T, Refusal> {
        let kind = self.headers.get(header::CONTENT_TYPE);
        let kind = kind.map_or("application/octet-stream", |kind| {
            kind.to_str().unwrap_or_default()
        });
        let media = kind.split(';').next().unwrap_or_default().trim();
        if self.bytes.is_empty() {
            return Err(Refusal::required(what));
        }
        if !media.eq_ignore_ascii_case("application/json") {
            let message =
                format!("unsupported media type {media:?}, only [application/json] are allowed");
            return Err(Refusal::coded(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                415,
                message,
            ));
        }
        let first = self.bytes.trim_ascii_start().first();
        if first.is_some_and(|first| *first != opening) {
            let opening = char::from(opening);
            let message =
                format!("parsing {what} body failed, because it does not begin with {opening}");
            return Err(Refusal::coded(StatusCode::BAD_REQUEST, 400, message));
        }
        serde_json::from_slice(&self.bytes).map_err(|error| {
            let message = format!("parsing {what} body failed, because {error}");
            Refusal::coded(StatusCode::BAD_REQUEST, 400, message)
        })
    }
}

/// How long a body may take to arrive.
const BODY_MAX: Duration = Duration::from_secs(30);
/// Bodies under way, all together: 256 MiB.
const ROOM_KIB: usize = 256 << 10;
