//! Whether pages of other origins may call the API: only where `--web.cors.origin` says so, since a
//! page could silence alerts in the name of whose browser shows it.
//!
//! Browsers ask first only about what a form cannot send, and much that changes something is not that: an alert or a
//! silence of API v1, a reload. So whatever a form could send, and may change something, is refused where its `Origin`
//! is a foreign one. Clients that are no browsers send none. What a form cannot send is taken: a browser that sends it
//! has asked before, and was let; and programs that pass on what their own pages send, such as karma, pass on the
//! `Origin` too.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Shared;

/// Answers what browsers ask before they call, and lets them read the answers.
pub(super) async fn allow(State(app): Shared, request: Request, next: Next) -> Response {
    if is_foreign(&request, app.cors_origin.as_deref(), &app.external.url) {
        let why = "Pages of other origins may not change anything here (--web.cors.origin, --web.external-url).\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
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

/// Whether a request may change something and comes from a page that is neither of this host nor let in.
fn is_foreign(request: &Request, allowed: Option<&str>, external_url: &str) -> bool {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) || is_asked_about(request)
    {
        return false;
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return false;
    };
    let origin = origin.to_str().unwrap_or_default();
    if allowed.is_some_and(|allowed| allowed == "*" || allowed == origin) {
        return false;
    }
    let Some((scheme, from)) = origin.split_once("://") else {
        return true;
    };
    // HTTP/2 has the host in its URI.
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(|it| it.as_str()));
    // A proxy may say another host than the browser was told.
    let external = external_url.split_once("://").map(|(external, rest)| {
        let host = rest.split('/').next().unwrap_or_default();
        (external, host)
    });
    let from = without_port(scheme, from);
    let is_host = host.is_some_and(|host| without_port(scheme, host).eq_ignore_ascii_case(from));
    let is_external = external.is_some_and(|(external, host)| {
        external == scheme && without_port(scheme, host).eq_ignore_ascii_case(from)
    });
    !is_host && !is_external
}

/// Whether a browser asks before it sends this for a page of another origin: no form can send it.
fn is_asked_about(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let media = kind.split(';').next().unwrap_or_default().trim();
    *request.method() != Method::POST || media.eq_ignore_ascii_case("application/json")
}

/// A host and its port, without that if it goes without saying.
fn without_port<'a>(scheme: &str, host: &'a str) -> &'a str {
    let port = if scheme == "https" { ":443" } else { ":80" };
    host.strip_suffix(port).unwrap_or(host)
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

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn is_foreign_from(method: &str, origin: Option<&str>, allowed: Option<&str>) -> bool {
        is_foreign_of(method, origin, allowed, "text/plain")
    }

    fn is_foreign_of(
        method: &str,
        origin: Option<&str>,
        allowed: Option<&str>,
        kind: &str,
    ) -> bool {
        let mut request = Request::builder()
            .method(method)
            .uri("/api/v1/silences")
            .header(header::HOST, "am.example:9093")
            .header(header::CONTENT_TYPE, kind);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let request = request.body(Body::empty()).unwrap();
        is_foreign(&request, allowed, "https://alerts.example:443/am")
    }

    #[test]
    fn pages_of_other_origins_change_nothing() {
        let karma = Some("https://karma.example");
        for origin in [
            "https://evil.example",
            "http://am.example",
            "http://am.example:9094",
            "http://am.example:9093.evil.example",
            "http://alerts.example",
            "null",
            "",
        ] {
            assert!(is_foreign_from("POST", Some(origin), karma), "{origin}");
            assert!(!is_foreign_from("GET", Some(origin), karma), "{origin}");
            assert!(
                !is_foreign_from("POST", Some(origin), Some("*")),
                "{origin}"
            );
        }
        for origin in [
            "http://am.example:9093",
            "https://AM.example:9093",
            "https://alerts.example",
            "https://karma.example",
        ] {
            assert!(!is_foreign_from("POST", Some(origin), karma), "{origin}");
        }
        assert!(!is_foreign_from("POST", None, None), "no browser");
    }

    /// A form sends three kinds, and POST alone.
    #[test]
    fn what_no_form_can_send_was_asked_about() {
        let evil = Some("https://evil.example");
        for (method, kind, is_foreign) in [
            ("POST", "application/json", false),
            ("POST", "Application/JSON; charset=utf-8", false),
            ("DELETE", "", false),
            ("POST", "", true),
            ("POST", "text/plain", true),
            ("POST", "text/plain; application/json", true),
            (
                "POST",
                "multipart/form-data; boundary=application/json",
                true,
            ),
            ("POST", "application/x-www-form-urlencoded", true),
        ] {
            let found = is_foreign_of(method, evil, None, kind);
            assert_eq!(found, is_foreign, "{method} {kind}");
        }
    }
}
