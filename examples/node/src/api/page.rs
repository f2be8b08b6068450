//! `/`: a plain page that says what runs here, and where to look.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use super::Shared;
use crate::version;

/// The page. It runs nothing and loads nothing.
pub(super) async fn root(State(app): Shared) -> Response {
    let prefix = escaped(&app.external.prefix);
    let name = app
        .name
        .as_deref()
        .map_or_else(|| "none: clustering is off".to_owned(), escaped);
    let readiness = match app.readiness() {
        Ok(said) | Err(said) => escaped(said),
    };
    let members = app.node().map_or(1, |node| node.view().live().count() + 1);
    let links = LINKS.map(|path| format!("<li><a href=\"{prefix}{path}\">{path}</a></li>\n"));
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>Alertmanager</title></head>\n<body><h1>rumormill-node {}</h1>\n\
         <p>Speaks the API of Alertmanager {}.</p>\n\
         <table>\n<tr><th>Name</th><td>{name}</td></tr>\n\
         <tr><th>Members</th><td>{members}</td></tr>\n\
         <tr><th>Readiness</th><td>{readiness}</td></tr>\n</table>\n\
         <ul>\n{}</ul></body></html>\n",
        version::OWN,
        version::API,
        links.concat()
    );
    let kind = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (kind, page).into_response()
}

/// A text that is no markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// What there is to look at.
const LINKS: [&str; 6] = [
    "/api/v2/status",
    "/api/v2/alerts",
    "/api/v2/silences",
    "/metrics",
    "/-/healthy",
    "/-/ready",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(escaped("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
    }
}
