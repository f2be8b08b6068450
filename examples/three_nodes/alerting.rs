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
use tokio::task::JoinError;

use crate::protocol::{Alert, Outcome, PEER_TIMEOUT};

/// An unchanged alert is notified again after this.
const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3600);
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a node could not deal with an alert.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AlertError {
    #[error("the webhook did not take it: {0}")]
    Http(#[from] ureq::Error),
    #[error("the notification could not be logged: {0}")]
    Log(#[from] NflogError),
    #[error("sending was cut short: {0}")]
    Task(#[from] JoinError),
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
    send(alert.name.clone(), webhook).await?;
    // The next node in turn looks at the log after its wait: following the write tells nothing
    // that this node could act on.
    let _ = nflog.log(Notified {
        receiver: receiver(),
        group_key: alert.name.clone(),
        firing: firing.to_vec(),
        resolved: Vec::new(),
        receiver_data: [].into(),
        repeat_interval: REPEAT_INTERVAL,
    })?;
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

async fn send(alert: String, webhook: SocketAddr) -> Result<(), AlertError> {
    let url = format!("http://{webhook}/notify/{alert}");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(WEBHOOK_TIMEOUT))
        .build()
        .into();
    tokio::task::spawn_blocking(move || agent.post(&url).send_empty()).await??;
    Ok(())
}
