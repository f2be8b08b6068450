//! `/api/v2/alerts/groups`.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use serde::Serialize;

use super::alerts::{Asked, Gettable, Receiver};
use super::answer::{Answer, json_of};
use super::params::Params;
use super::{Shared, blocking};
use crate::app::App;

/// `alertGroup`.
#[derive(Serialize)]
struct Group {
    alerts: Vec<Gettable>,
    labels: BTreeMap<String, String>,
    receiver: Receiver,
}

/// Alerts by the labels that their routes group by, then by receiver.
pub(super) async fn list(State(app): Shared, RawQuery(query): RawQuery) -> Answer {
    let list = move || {
        let asked = Asked::read(&Params::read(query.as_deref()))?;
        Ok(json_of(&groups(&asked, &app)))
    };
    blocking(list).await
}

fn groups(asked: &Asked, app: &App) -> Vec<Group> {
    let loaded = app.configuration.now();
    let mut groups: BTreeMap<(BTreeMap<String, String>, Receiver), Vec<Gettable>> = BTreeMap::new();
    for alert in asked.alerts(app) {
        let routes = loaded
            .route
            .as_ref()
            .map(|route| route.of(&alert.labels))
            .unwrap_or_default();
        for route in routes
            .iter()
            .filter(|route| asked.wants_receiver(&route.receiver))
        {
            let receiver = Receiver {
                name: route.receiver.clone(),
            };
            let group = groups
                .entry((route.group(&alert.labels), receiver))
                .or_default();
            group.push(alert.clone());
        }
    }
    let group = |((labels, receiver), alerts)| Group {
        alerts,
        labels,
        receiver,
    };
    groups.into_iter().map(group).collect()
}
