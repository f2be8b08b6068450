//! Whether pages of other origins may call the API: only where `--web.cors.origin` says so, since a
//! page could silence alerts in the name of whose browser shows it.
//!
//! Browsers ask first only about what a form cannot send, and much that changes something is not that: an alert or a
//! silence of API v1, a reload. So whatever may change something is refused where its `Origin` is a foreign one.
//! Clients that are no browsers send none.

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
    ) {
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
        let mut request = Request::builder()
            .method(method)
            .uri("/api/v1/silences")
            .header(header::HOST, "am.example:9093");
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
            assert!(is_foreign_from("DELETE", Some(origin), None), "{origin}");
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
}
