//! `/api/v2/alerts/groups`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State};
use rumormill::node::SystemClock;
use rumormill::store::matcher::Labels;
use rumormill::time::WallClock as _;
use serde::ser::{Serialize, SerializeSeq as _, Serializer};

use super::alerts::{Asked, Gettable, Receiver, Suppressed};
use super::answer::Answer;
use super::params::Params;
use super::{Reading, Seat, Shared, blocking};
use crate::alerts::{Alert, pair_bytes};
use crate::app::App;
use crate::client::Client;
use crate::metrics::ApiVersion;
use crate::order;
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
    made: &'a Made,
}

/// An alert in a group, and its fingerprint.
type Member = (u64, Arc<Alert>);

/// The labels of a group, its receiver, and the place of its route: two routes have two groups, even
/// if they have the same receiver.
type Key<'a> = (Ordered, &'a str, usize);

/// Labels of a group, in the order of groups.
#[derive(PartialEq, Eq)]
struct Ordered(Labels);

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        order::labels(&self.0, &other.0)
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A group that is being made.
struct Made {
    members: Vec<Member>,
    /// The time intervals that mute it.
    muted_by: Vec<String>,
}

/// Alerts by the labels that their routes group by, then by receiver, in Alertmanager's order.
pub(super) async fn list(
    State(app): Shared,
    Extension(place): Seat,
    Extension(turn): Reading,
    RawQuery(query): RawQuery,
) -> Answer {
    let client = place.client;
    let list = move |turn: &Turn| {
        let params = Params::read(query.as_deref());
        let asked = Asked::read((ApiVersion::V2, &params), &app)?;
        groups(&asked, &app, client, turn)
    };
    blocking(turn, list).await
}

fn groups(asked: &Asked, app: &App, client: Client, turn: &Turn) -> Answer {
    let mut groups: BTreeMap<Key<'_>, Made> = BTreeMap::new();
    let now = SystemClock.wall();
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
            let key = (Ordered(labels), route.receiver.as_str(), route.id);
            let group = groups.entry(key).or_insert_with(|| Made {
                members: Vec::new(),
                muted_by: asked.muted_by(route, now),
            });
            group.members.push((print, Arc::clone(alert)));
        }
        Ok(())
    })?;
    let mut list = app.answers.list(client);
    for ((Ordered(labels), receiver, _), made) in &mut groups {
        turn.goes_on()?;
        made.members.sort_by(|a, b| order::alerts(&a.1, &b.1));
        if !asked.muted && !made.muted_by.is_empty() {
            continue;
        }
        let group = Group {
            alerts: Members { app, asked, made },
            labels,
            receiver: Receiver { name: receiver },
        };
        list.push(&group)?;
    }
    list.finish()
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.made.members.len()))?;
        for (print, alert) in &self.made.members {
            let mut suppressed = Suppressed::of(self.app, alert);
            suppressed.muted_by.clone_from(&self.made.muted_by);
            let listed = Gettable::of(self.asked, *print, alert, &suppressed);
            list.serialize_element(&listed.in_group(self.asked))?;
        }
        list.end()
    }
}

/// What an alert takes in a group, besides the group's labels.
const MEMBER_BYTES: usize = 64;
