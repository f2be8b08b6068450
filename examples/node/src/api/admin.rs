//! What an operator does about a member that misbehaves, one thing at a time, and backups. Only where
//! `--web.enable-admin-api` is given.

use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use rumormill::NodeName;
use rumormill::node::Node;
use rumormill::persist::BackupFault;
use serde_json::json;

use super::answer::{Answer, Refusal, json_of};
use super::params::Params;
use super::{Seat, Shared, blocking, joined};
use crate::app::App;
use crate::expelled::{ExpelError, Expelled};
use crate::work::Turn;

/// Expels a member, here and, once enough members say so, everywhere; also after a restart.
pub(super) async fn expel(State(app): Shared, RawQuery(query): RawQuery) -> Answer {
    let (node, name) = asked(&app, query.as_deref())?;
    let turn = Arc::new(app.work.reload()?);
    remember(&app, &turn, &name, Expelled::add).await?;
    node.expel(name).await.map_err(stopped)?;
    Ok(StatusCode::OK.into_response())
}

/// Lets a member in again that was expelled here.
pub(super) async fn readmit(State(app): Shared, RawQuery(query): RawQuery) -> Answer {
    let (node, name) = asked(&app, query.as_deref())?;
    let turn = Arc::new(app.work.reload()?);
    remember(&app, &turn, &name, Expelled::remove).await?;
    node.readmit(name).await.map_err(stopped)?;
    Ok(StatusCode::OK.into_response())
}

/// Removes what a member wrote, as it says, from both stores, everywhere.
pub(super) async fn purge(State(app): Shared, RawQuery(query): RawQuery) -> Answer {
    let (node, name) = asked(&app, query.as_deref())?;
    let _turn = app.work.reload()?;
    let removed = node.purge(&name).await;
    let removed = removed.map_err(|error| Refusal::later(error.to_string()))?;
    Ok(json_of(&json!({ "removed": removed })))
}

/// Writes a backup of all stores to the file `backup` in the storage path, in place of the one before.
pub(super) async fn backup(State(app): Shared) -> Answer {
    allowed(&app)?;
    let none = || Refusal::later("the node does not run yet");
    let node = app.node().or_else(|| app.solo.get()).ok_or_else(none)?;
    // What peers or the disk have may be missing, and would be missing in the file that replaces a whole one.
    app.readiness().map_err(Refusal::later)?;
    if app.disk_fails() {
        return Err(Refusal::later(
            "the disk fails: it was not read, or takes nothing",
        ));
    }
    let (node, turn, path) = (node.clone(), app.work.reload()?, app.backup.clone());
    // On its own, so that the turn is kept until the file is written, even if the client is gone by then.
    let written = tokio::spawn(async move {
        let taken = node.backup(path).await;
        drop(turn);
        taken
    });
    let taken = joined(written.await).map_err(|error| match error.fault {
        BackupFault::Unread => Refusal::later(error.to_string()),
        _ => Refusal::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    })?;
    let file = app.backup.display().to_string();
    Ok(json_of(
        &json!({ "file": file, "entries": taken.entries, "bytes": taken.bytes }),
    ))
}

/// Who is expelled here, and what other members say.
pub(super) async fn list(State(app): Shared, Extension(place): Seat) -> Answer {
    let (node, names) = (enabled(&app)?, app.expelled.names());
    let view = node.view();
    let told = view.expulsions.iter().map(|expulsion| {
        let told_by: Vec<&str> = expulsion.told_by.iter().map(NodeName::as_str).collect();
        let (name, followed) = (expulsion.name.as_str(), expulsion.followed);
        json!({ "name": name, "followed": followed, "toldBy": told_by })
    });
    let here: Vec<&str> = names.iter().map(NodeName::as_str).collect();
    let all = json!({ "here": here, "known": told.collect::<Vec<_>>() });
    app.answers.of(place.client, &all)
}

fn allowed(app: &App) -> Result<(), Refusal> {
    if app.admin {
        return Ok(());
    }
    let message = "the admin API is disabled (--web.enable-admin-api)";
    Err(Refusal::coded(StatusCode::FORBIDDEN, 403, message))
}

fn enabled(app: &App) -> Result<&Node, Refusal> {
    allowed(app)?;
    let none = || Refusal::later("the node is in no cluster, or not yet");
    app.node().ok_or_else(none)
}

fn asked<'a>(app: &'a App, query: Option<&str>) -> Result<(&'a Node, NodeName), Refusal> {
    let node = enabled(app)?;
    let params = Params::read(query);
    let name = params.one("name").unwrap_or_default();
    let name = NodeName::new(name).map_err(|error| Refusal::bad(format!("name: {error}")))?;
    if name == *node.name() {
        return Err(Refusal::bad(format!("name: {name} is this node")));
    }
    Ok((node, name))
}

/// Changes the list on the disk, before the node does as it says. The turn is kept until it has, so that both
/// are changed in one order.
async fn remember(
    app: &Arc<App>,
    turn: &Arc<Turn>,
    name: &NodeName,
    change: fn(&Expelled, &NodeName) -> Result<(), ExpelError>,
) -> Result<(), Refusal> {
    let (shared, name) = (Arc::clone(app), name.clone());
    let changed = blocking(Arc::clone(turn), move |_| change(&shared.expelled, &name)).await;
    changed.map_err(|error| match error {
        ExpelError::TooMany => Refusal::bad(error.to_string()),
        ExpelError::Disk(_) => Refusal::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    })
}

fn stopped(error: impl std::fmt::Display) -> Refusal {
    Refusal::later(error.to_string())
}
