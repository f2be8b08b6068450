//! `/api/v2/status` and `/api/v2/receivers`.

use axum::extract::{Extension, State};
use serde_json::{Value, json};

use super::answer::Answer;
use super::{Reading, Seat, Shared, blocking};
use crate::app::App;
use crate::moment::Moment;
use crate::version;

pub(super) async fn status(
    State(app): Shared,
    Extension(place): Seat,
    Extension(turn): Reading,
) -> Answer {
    let client = place.client;
    let status = move |_: &_| app.answers.of(client, &described(&app));
    blocking(turn, status).await
}

fn described(app: &App) -> Value {
    json!({
        "cluster": cluster(app),
        "config": {"original": app.configuration.now().shown.yaml},
        "uptime": Moment(app.started),
        "versionInfo": version_info(),
    })
}

/// The version of the API, and this program's in place of a branch.
pub(super) fn version_info() -> Value {
    let unknown = "unknown";
    json!({
        "version": version::API,
        "branch": version::BRANCH,
        "revision": unknown,
        "buildDate": unknown,
        "buildUser": unknown,
        "goVersion": "none: this is Rust",
    })
}

pub(super) async fn receivers(
    State(app): Shared,
    Extension(place): Seat,
    Extension(turn): Reading,
) -> Answer {
    let client = place.client;
    let receivers = move |_: &_| {
        let loaded = app.configuration.now();
        let receivers = loaded.receivers.iter();
        let names = receivers.map(|it| json!({"name": it.name}));
        app.answers.of(client, &names.collect::<Vec<_>>())
    };
    blocking(turn, receivers).await
}

/// This node and the members that count, sorted by name.
pub(super) fn cluster(app: &App) -> Value {
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
