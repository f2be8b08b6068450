//! What every request passes: the count, the timeout, and the time that its answer may take; and, once
//! it is known who asks, the limit of concurrent GETs.

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
        Method::OPTIONS => "options",
        Method::POST => "post",
        _ => "other",
    };
    let path = request.extensions().get::<MatchedPath>().cloned();
    let handler = path.as_ref().map_or("other", |path| {
        let path = path.as_str();
        handler(path.strip_prefix(&app.external.prefix).unwrap_or(path))
    });
    let response = admit(&app, &place, request, next).await;
    let code = response.status().as_u16();
    app.stats
        .request((handler, method), code, started.elapsed());
    let counted = (app, handler.to_owned(), method);
    response.map(|body| Body::new(Sent::new(body, place, counted)))
}

/// What Alertmanager calls the handler of a path: both versions of the API have the same names.
fn handler(path: &str) -> &str {
    let rest = ["/api/v1", "/api/v2"]
        .iter()
        .find_map(|api| path.strip_prefix(api));
    match rest {
        Some("/silence/{id}") => "/silence/:sid",
        Some(rest) => rest,
        // The path of the prefix itself.
        None if path.is_empty() => "/",
        None => path,
    }
}

/// As Alertmanager: GETs beyond the limit are refused at once. This is asked after the password, so that who has none
/// takes no turn.
pub(super) async fn read(State(app): Shared, mut request: Request, next: Next) -> Response {
    if is_read(&request) && !tells_of_life(&app, &request) {
        let Ok(turn) = app.work.read() else {
            app.stats.get_refused();
            let max = app.work.reads_max;
            return refused(format!(
                "Limit of concurrent GET requests reached ({max}), try again later.\n"
            ));
        };
        request.extensions_mut().insert(Arc::new(turn));
    }
    next.run(request).await
}

fn is_read(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// What tells whether the node lives is always answered.
fn tells_of_life(app: &App, request: &Request) -> bool {
    let path = request.uri().path();
    let path = path.strip_prefix(&app.external.prefix).unwrap_or_default();
    is_read(request) && ["/-/healthy", "/-/ready", "/metrics"].contains(&path)
}

/// Within the time for a request; on a connection of the reserve only what tells of life.
async fn admit(app: &Arc<App>, place: &Place, request: Request, next: Next) -> Response {
    if place.is_reserve && !tells_of_life(app, &request) {
        place.hit(Limit::Reserve);
        let mut refusal = refused("Too many requests are under way, try again later.\n".into());
        let close = HeaderValue::from_static("close");
        refusal.headers_mut().insert(header::CONNECTION, close);
        return refusal;
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
    /// How much of it was sent.
    bytes: u64,
    /// Where that is counted, for which handler and method.
    counted: (Arc<App>, String, &'static str),
}

impl Sent {
    fn new(body: Body, place: Arc<Place>, counted: (Arc<App>, String, &'static str)) -> Self {
        place.enter(Phase::Moving);
        Self {
            body,
            place,
            until: Instant::now() + ANSWER_MAX,
            bytes: 0,
            counted,
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let (app, handler, method) = &self.counted;
        app.stats.answer_sent((handler, method), self.bytes);
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
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
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

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use rumormill::node::{Node, SystemClock};

    use super::*;
    use crate::client::Client;
    use crate::flags::Flags;
    use crate::notify::Dispatch;
    use crate::settings::Settings;

    #[tokio::test]
    async fn who_has_no_password_takes_no_turn_to_read() {
        let dir = std::env::temp_dir().join(format!("rumormill-gate-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (file, web) = (dir.join("am.yml"), dir.join("web.yml"));
        fs::write(&file, "route: {receiver: a}\nreceivers: [{name: a}]\n").unwrap();
        let hash = bcrypt::hash("s3cret", 4).unwrap();
        fs::write(&web, format!("basic_auth_users: {{alice: '{hash}'}}\n")).unwrap();
        let flags = Flags::parse_from([
            "node".to_owned(),
            format!("--config.file={}", file.display()),
            format!("--web.config.file={}", web.display()),
            "--web.get-concurrency=1".to_owned(),
            "--cluster.listen-address=".to_owned(),
        ]);
        let settings = Settings::load(&flags).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        let dispatch = Dispatch::new(Arc::new(SystemClock));
        let mut builder = Node::builder("alone");
        let app = crate::run::app(&mut builder, None, (flags, &settings), dispatch);
        let router = TowerToHyperService::new(crate::api::router(Arc::clone(&app)));
        let place = Arc::new(app.places.enter(Client::V4([10, 0, 0, 1].into())).unwrap());
        let ask = async |auth: &str| {
            let request = Request::get("/api/v2/status")
                .header(header::AUTHORIZATION, auth)
                .extension(Arc::clone(&place))
                .body(Body::empty());
            let answer = router.call(request.unwrap()).await.unwrap();
            answer.status()
        };
        // Of alice and her password.
        let right = "Basic YWxpY2U6czNjcmV0";
        assert_eq!(ask(right).await, StatusCode::OK);
        let turn = app.work.read().unwrap();
        assert_eq!(ask("").await, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(right).await, StatusCode::SERVICE_UNAVAILABLE);
        drop(turn);
        assert_eq!(ask(right).await, StatusCode::OK);
    }

    #[test]
    fn handlers_are_called_as_alertmanager_calls_them() {
        for (path, name) in [
            ("/api/v2/alerts", "/alerts"),
            ("/api/v1/alerts", "/alerts"),
            ("/api/v2/alerts/groups", "/alerts/groups"),
            ("/api/v2/silence/{id}", "/silence/:sid"),
            ("/api/v1/silences", "/silences"),
            ("/-/ready", "/-/ready"),
            ("/metrics", "/metrics"),
            ("/", "/"),
            ("", "/"),
        ] {
            assert_eq!(handler(path), name, "{path}");
        }
    }
}
