//! Bodies of requests: how large, how slow, how many bytes of all of them at a time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use tokio::time::{Instant, timeout_at};

use super::answer::Refusal;
use crate::app::App;
use crate::limits::{Limit, Reached};
use crate::room::{Room, Share};
use crate::web::{Phase, Place};

/// A body of at most `MAX` bytes. What is left of one that is refused, the connection reads and
/// throws away.
pub(super) struct Payload<const MAX: usize> {
    headers: HeaderMap,
    bytes: Bytes,
    /// Gives the room back when the body is done with.
    _share: Share,
}

/// The room that bodies share.
#[derive(Debug)]
pub(crate) struct BodyRoom {
    room: Arc<Room>,
    reached: Arc<Reached>,
}

impl BodyRoom {
    pub(crate) fn new(reached: Arc<Reached>) -> Self {
        Self {
            room: Room::new(ROOM_BYTES, SMALL_BYTES),
            reached,
        }
    }

    /// How much is taken.
    pub(crate) fn held(&self) -> usize {
        self.room.held()
    }
}

impl<const MAX: usize> FromRequest<Arc<App>> for Payload<MAX> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let place = parts.extensions.remove::<Arc<Place>>();
        let place = place.expect("every request has the place of its connection");
        place.enter(Phase::Moving);
        let share = app.bodies.room.enter(place.client);
        let read = read(body, MAX, share).await;
        place.enter(Phase::Working);
        let (bytes, share) = read.map_err(|unread| unread.refusal(&app.bodies.reached))?;
        Ok(Self {
            headers: parts.headers,
            bytes,
            _share: share,
        })
    }
}

/// Why a body is not read to its end.
#[derive(Debug)]
enum Unread {
    Broken(axum::Error),
    NoRoom,
    TooLarge(usize),
    TooSlow,
}

impl Unread {
    fn refusal(self, reached: &Reached) -> Refusal {
        match self {
            Self::Broken(error) => {
                let message = format!("the body could not be read: {error}");
                Refusal::coded(StatusCode::BAD_REQUEST, 400, message)
            }
            Self::NoRoom => {
                reached.hit(Limit::BodyRoom);
                Refusal::later("too many large requests are under way, try again later")
            }
            Self::TooLarge(max) => {
                reached.hit(Limit::BodyBytes);
                let message = format!("length limit exceeded: the body has more than {max} bytes");
                Refusal::coded(StatusCode::PAYLOAD_TOO_LARGE, 413, message)
            }
            Self::TooSlow => {
                reached.hit(Limit::BodyTime);
                let message = format!(
                    "the body did not arrive within {BODY_MAX:?} and at {BYTES_PER_SECOND_MIN} \
                     bytes a second"
                );
                Refusal::coded(StatusCode::REQUEST_TIMEOUT, 408, message)
            }
        }
    }
}

/// Reads a body of at most `max` bytes, no slower than it may be.
async fn read(mut body: Body, max: usize, mut share: Share) -> Result<(Bytes, Share), Unread> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > max {
        return Err(Unread::TooLarge(max));
    }
    let started = Instant::now();
    let mut bytes = Vec::new();
    loop {
        let earned = Duration::from_secs_f64(bytes.len() as f64 / BYTES_PER_SECOND_MIN);
        let until = started + (BODY_PATIENCE + earned).min(BODY_MAX);
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame = timeout_at(until, frame).await;
        let Some(frame) = frame.map_err(|_| Unread::TooSlow)? else {
            return Ok((Bytes::from(bytes), share));
        };
        let Ok(data) = frame.map_err(Unread::Broken)?.into_data() else {
            continue;
        };
        if data.len() > max - bytes.len() {
            return Err(Unread::TooLarge(max));
        }
        if !share.grow(data.len()) {
            return Err(Unread::NoRoom);
        }
        bytes.extend_from_slice(&data);
    }
}

impl<const MAX: usize> Payload<MAX> {
    /// The bytes, whatever the client says that they are.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The JSON in a body that is called `what`.
    pub(super) fn json(&self, what: &str) -> Result<&[u8], Refusal> {
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
        Ok(&self.bytes)
    }
}

/// How long a body may take to arrive, at whatever speed: the largest at 280 kB a second.
const BODY_MAX: Duration = Duration::from_secs(60);
/// How long nothing need come, all in all, and the least speed apart from that.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
const BYTES_PER_SECOND_MIN: f64 = 16384.0;
/// Bodies under way, all together: two of the largest. Half of it is any one client's.
const ROOM_BYTES: usize = 32 << 20;
/// A body as small as that needs no room.
const SMALL_BYTES: usize = 16 << 10;
