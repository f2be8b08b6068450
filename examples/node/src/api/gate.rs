//! What every request passes: the count, the limit of concurrent GETs, the timeout, and the time
//! that its answer may take.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, timeout};

use super::answer::RETRY_AFTER;
use super::{Seat, Shared};
use crate::app::App;
use crate::duration::Span;
use crate::limits::Limit;
use crate::web::{Phase, Place};

/// Counts requests: how many, how long, how large.
pub(super) async fn count(
    State(app): Shared,
    Extension(place): Seat,
    request: Request,
    next: Next,
) -> Response {
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
    let path = path.strip_prefix(&app.external.prefix).unwrap_or(path);
    // As Alertmanager names its handlers.
    let api = ["/api/v2", "/api/v1"];
    let path = api
        .iter()
        .find_map(|api| path.strip_prefix(api))
        .unwrap_or(path);
    let response = admit(&app, &place, request, next).await;
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    let code = response.status().as_u16();
    app.stats
        .request((path, method, code), started.elapsed(), bytes);
    response.map(|body| Body::new(Sent::new(body, place)))
}

/// As Alertmanager: GETs beyond the limit are refused at once. What tells whether the node lives is
/// always answered.
async fn admit(app: &Arc<App>, place: &Place, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix(&app.external.prefix).unwrap_or_default();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !(is_read && ["/-/healthy", "/-/ready", "/metrics"].contains(&path)) {
        if place.is_reserve {
            place.hit(Limit::Reserve);
            let mut refusal = refused("Too many requests are under way, try again later.\n".into());
            let close = HeaderValue::from_static("close");
            refusal.headers_mut().insert(header::CONNECTION, close);
            return refusal;
        }
        if is_read {
            let Ok(turn) = app.work.read() else {
                app.stats.get_refused();
                let max = app.work.reads_max;
                return refused(format!(
                    "Limit of concurrent GET requests reached ({max}), try again later.\n"
                ));
            };
            request.extensions_mut().insert(Arc::new(turn));
        }
    }
    let answered = next.run(request);
    let Some(max) = app.web_timeout else {
        return answered.await;
    };
    timeout(max, answered)
        .await
        .unwrap_or_else(|_| refused(format!("Exceeded configured timeout of {}.\n", Span(max))))
}

fn refused(message: String) -> Response {
    let retry = [(header::RETRY_AFTER, RETRY_AFTER)];
    (StatusCode::SERVICE_UNAVAILABLE, retry, message).into_response()
}

/// The body of an answer, which is to be read within a time.
struct Sent {
    body: Body,
    place: Arc<Place>,
    until: Instant,
}

impl Sent {
    fn new(body: Body, place: Arc<Place>) -> Self {
        place.enter(Phase::Moving);
        Self {
            body,
            place,
            until: Instant::now() + ANSWER_MAX,
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.place.enter(Phase::Waiting);
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    /// Comes each time that the client has read some of the answer.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if Instant::now() >= self.until {
            self.place.hit(Limit::AnswerTime);
            let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Poll::Ready(Some(Err(axum::Error::new(error))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How long an answer may take to be read, at whatever speed: 48 MiB at 160 kB a second.
const ANSWER_MAX: Duration = Duration::from_secs(300);
