//! `/api/v2/alerts/groups`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State};
use rumormill::store::matcher::Labels;
use serde::ser::{Serialize, SerializeSeq as _, Serializer};

use super::alerts::{Asked, Gettable, Receiver};
use super::answer::Answer;
use super::params::Params;
use super::{Reading, Seat, Shared, blocking};
use crate::alerts::{Alert, pair_bytes};
use crate::app::App;
use crate::client::Client;
use crate::work::Turn;

/// `alertGroup`.
#[derive(serde::Serialize)]
struct Group<'a> {
    alerts: Members<'a>,
    labels: &'a Labels,
    receiver: Receiver<'a>,
}

/// The alerts of a group, made one by one as they are written.
struct Members<'a> {
    app: &'a App,
    asked: &'a Asked,
    alerts: &'a [Member],
}

/// An alert in a group, and its fingerprint.
type Member = (u64, Arc<Alert>);

/// Alerts by the labels that their routes group by, then by receiver.
pub(super) async fn list(
    State(app): Shared,
    Extension(place): Seat,
    Extension(turn): Reading,
    RawQuery(query): RawQuery,
) -> Answer {
    let client = place.client;
    let list = move |turn: &Turn| {
        let asked = Asked::read(&Params::read(query.as_deref()), &app)?;
        groups(&asked, &app, client, turn)
    };
    blocking(turn, list).await
}

fn groups(asked: &Asked, app: &App, client: Client, turn: &Turn) -> Answer {
    let mut groups: BTreeMap<(Labels, &str), Vec<Member>> = BTreeMap::new();
    // What grouping takes is of the room for answers.
    let mut workspace = app.answers.workspace(client);
    asked.each(app, turn, |print, alert, _| {
        let Some(route) = asked.route() else {
            return Ok(());
        };
        for route in route.of(&alert.labels) {
            if !asked.wants_receiver(&route.receiver) {
                continue;
            }
            let labels = route.group(&alert.labels);
            let bytes = labels.iter().map(|(name, value)| pair_bytes(name, value));
            if !workspace.grow(MEMBER_BYTES + bytes.sum::<usize>()) {
                return Err(app.answers.refusal());
            }
            let group = groups.entry((labels, route.receiver.as_str())).or_default();
            group.push((print, Arc::clone(alert)));
        }
        Ok(())
    })?;
    let mut list = app.answers.list(client);
    for ((labels, receiver), alerts) in &groups {
        turn.goes_on()?;
        let group = Group {
            alerts: Members { app, asked, alerts },
            labels,
            receiver: Receiver { name: receiver },
        };
        list.push(&group)?;
    }
    list.finish()
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.alerts.len()))?;
        for (print, alert) in self.alerts {
            let silenced_by = self.app.mutes(alert);
            list.serialize_element(&Gettable::of(self.asked, *print, alert, &silenced_by))?;
        }
        list.end()
    }
}

/// What an alert takes in a group, besides the group's labels.
const MEMBER_BYTES: usize = 64;
