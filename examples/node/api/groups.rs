//! `/api/v2/alerts/groups`.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use serde::Serialize;

use super::Shared;
use super::alerts::{Asked, Gettable, Receiver};
use super::answer::{Answer, json_of};
use super::params::Params;

/// `alertGroup`.
#[derive(Serialize)]
struct Group {
    alerts: Vec<Gettable>,
    labels: BTreeMap<String, String>,
    receiver: Receiver,
}

/// Alerts by the labels that their routes group by, then by receiver.
pub(super) async fn list(State(app): Shared, RawQuery(query): RawQuery) -> Answer {
    let asked = Asked::read(&Params::read(query.as_deref()))?;
    let mut groups: BTreeMap<(BTreeMap<String, String>, Receiver), Vec<Gettable>> = BTreeMap::new();
    for alert in asked.alerts(&app) {
        let routes = app
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
    Ok(json_of(&groups.into_iter().map(group).collect::<Vec<_>>()))
}
