//! The metrics of the HTTP side.

use super::Counts;
use super::text::Page;
use crate::app::App;

/// Alertmanager's, how many requests there were, and what the limits for clients are about.
pub(super) fn render(page: &mut Page, app: &App, counts: &Counts) {
    let name = "alertmanager_http_requests_in_flight";
    page.metric(
        name,
        "gauge",
        "Current number of GET requests being processed, this one included, without those of /-/.",
    );
    page.sample(name, &[("method", "get")], app.work.reading() + 1);
    for (name, help, value) in [
        (
            "alertmanager_http_connections",
            "HTTP connections, idle ones included.",
            app.places.taken(),
        ),
        (
            "alertmanager_http_body_bytes",
            "Bytes of request bodies under way, without small ones.",
            app.bodies.held(),
        ),
        (
            "alertmanager_http_answer_bytes",
            "Bytes of answers under way, without small ones.",
            app.answers.held(),
        ),
    ] {
        page.gauge(name, help, value);
    }
    let name = "alertmanager_http_limited_total";
    page.metric(name, "counter", "How often HTTP clients met a limit.");
    for (limit, count) in app.reached.counts() {
        page.sample(name, &[("limit", limit.name())], count);
    }
    let name = "alertmanager_http_concurrency_limit_exceeded_total";
    page.metric(
        name,
        "counter",
        "GET requests refused because --web.get-concurrency were being processed.",
    );
    page.sample(name, &[("method", "get")], counts.gets_refused);
    let name = "alertmanager_http_requests_total";
    page.metric(
        name,
        "counter",
        "HTTP requests by the code of their answer.",
    );
    for ((handler, method), requests) in &counts.requests {
        for (code, count) in &requests.codes {
            let labels = [
                ("code", &*code.to_string()),
                ("handler", handler),
                ("method", method),
            ];
            page.sample(name, &labels, count);
        }
    }
    let seconds = "alertmanager_http_request_duration_seconds";
    page.metric(
        seconds,
        "histogram",
        "Histogram of latencies for HTTP requests.",
    );
    for ((handler, method), requests) in &counts.requests {
        let labels = [("handler", handler.as_str()), ("method", *method)];
        page.histogram(seconds, &labels, &requests.seconds);
    }
    let bytes = "alertmanager_http_response_size_bytes";
    page.metric(
        bytes,
        "histogram",
        "Histogram of response size for HTTP requests.",
    );
    for ((handler, method), requests) in &counts.requests {
        let labels = [("handler", handler.as_str()), ("method", *method)];
        page.histogram(bytes, &labels, &requests.bytes);
    }
}
