//! `/api/v2/status` and `/api/v2/receivers`.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::Shared;
use super::answer::json_of;
use crate::app::App;
use crate::moment::Moment;

pub(super) async fn status(State(app): Shared) -> Response {
    let unknown = "unknown";
    json_of(&json!({
        "cluster": cluster(&app),
        "config": {"original": app.file},
        "uptime": Moment(app.started),
        "versionInfo": {
            "version": env!("CARGO_PKG_VERSION"),
            "branch": env!("CARGO_PKG_NAME"),
            "revision": unknown,
            "buildDate": unknown,
            "buildUser": unknown,
            "goVersion": "none: this is Rust",
        },
    }))
}

pub(super) async fn receivers(State(app): Shared) -> Response {
    let names = app.receivers.iter().map(|name| json!({"name": name}));
    json_of(&names.collect::<Vec<_>>())
}

/// This node and the members that count, sorted by name.
fn cluster(app: &App) -> Value {
    let Some(name) = &app.name else {
        return json!({"status": "disabled", "peers": []});
    };
    let status = if app.readiness().is_ok() {
        "ready"
    } else {
        "settling"
    };
    let mut peers = Vec::new();
    if let Some(node) = app.node() {
        let view = node.view();
        peers.push((name.clone(), view.addr));
        peers.extend(view.live().map(|it| (it.process.name.to_string(), it.addr)));
    }
    peers.sort();
    let peer = |(name, addr): &(String, std::net::SocketAddr)| json!({"name": name, "address": addr.to_string()});
    json!({
        "name": name,
        "status": status,
        "peers": peers.iter().map(peer).collect::<Vec<_>>(),
    })
}
