//! What every node does about an alert, in Alertmanager's order: is it silenced; wait one turn for
//! each node before this one; has somebody notified meanwhile; notify; log it.

use std::net::SocketAddr;
use std::time::Duration;

use rumormill::node::{Node, SystemClock};
use rumormill::store::matcher::Labels;
use rumormill::store::nflog::{
    Decision, Group, Nflog, NflogError, Notified, ReceiverKey, alert_hash, needs_notification,
};
use rumormill::store::silences::Silences;
use rumormill::time::WallClock as _;

use crate::protocol::{Alert, Outcome, PEER_TIMEOUT};
use crate::webhook::{self, SendError};

/// An unchanged alert is notified again after this.
const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3600);

/// Why a node could not deal with an alert.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AlertError {
    #[error("the notification could not be logged: {0}")]
    Log(#[from] NflogError),
    #[error("the webhook did not take it: {0}")]
    Send(#[from] SendError),
}

pub(crate) async fn handle(
    node: &Node,
    silences: &Silences,
    nflog: &Nflog,
    alert: &Alert,
    webhook: SocketAddr,
) -> Result<Outcome, AlertError> {
    let labels = labels(alert);
    if !silences.mutes(&labels).is_empty() {
        return Ok(Outcome::Silenced);
    }
    let turn = node.view().position();
    let turns = u32::try_from(turn).unwrap_or(u32::MAX);
    tokio::time::sleep(PEER_TIMEOUT.saturating_mul(turns)).await;

    let firing = [alert_hash(&labels)];
    let group = Group {
        firing: &firing,
        resolved: &[],
        send_resolved: true,
        repeat_interval: REPEAT_INTERVAL,
    };
    let known = nflog.query(&receiver(), &alert.name);
    let now = SystemClock.wall();
    if needs_notification(known.as_deref(), &group, now) == Decision::No {
        return Ok(Outcome::AlreadyNotified { turn });
    }
    webhook::send(&alert.name, webhook).await?;
    // The next node in turn looks at the log after its wait: following the write tells nothing
    // that this node could act on.
    let notified = Notified::new(receiver(), alert.name.clone())
        .firing(firing)
        .repeat_interval(REPEAT_INTERVAL);
    let _ = nflog.log(notified)?;
    Ok(Outcome::Notified { turn })
}

pub(crate) fn labels(alert: &Alert) -> Labels {
    [("alertname", &alert.name), ("instance", &alert.instance)]
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .into()
}

fn receiver() -> ReceiverKey {
    ReceiverKey {
        group_name: "on-call".to_owned(),
        integration: "webhook".to_owned(),
        idx: 0,
    }
}
