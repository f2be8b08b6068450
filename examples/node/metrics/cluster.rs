//! The metrics of the cluster.

use rumormill::wire::MemberState;

use super::text::Page;
use super::{Counts, text};
use crate::app::App;

/// Alertmanager's cluster metrics. Three of them count what has no equal here and say in their
/// help what they stand for; queues that do not exist are empty.
pub(super) fn render(page: &mut Page, app: &App, counts: &Counts) {
    page.gauge(
        "alertmanager_cluster_enabled",
        "Indicates whether the clustering is enabled or not.",
        u8::from(app.name.is_some()),
    );
    let Some(node) = app.node() else {
        return;
    };
    let view = node.view();
    let failed = view
        .members
        .iter()
        .filter(|it| it.state == MemberState::Failed)
        .count();
    page.gauge(
        "alertmanager_cluster_members",
        "Number indicating current number of members in cluster.",
        view.cluster_size(),
    );
    page.gauge(
        "alertmanager_cluster_failed_peers",
        "Number indicating the current number of failed peers in the cluster; one that left is none.",
        failed,
    );
    page.gauge(
        "alertmanager_cluster_health_score",
        "Members that are suspected at the moment. Zero means 'totally healthy'.",
        view.members
            .iter()
            .filter(|it| it.state == MemberState::Suspect)
            .count(),
    );
    page.gauge(
        "alertmanager_peer_position",
        "Position the node believes it's in.",
        view.position(),
    );
    page.metric(
        "alertmanager_cluster_peer_info",
        "gauge",
        "A metric with a constant '1' value labeled by peer name.",
    );
    let live = view.live().map(|member| &member.process.name);
    for name in live.chain([node.name()]) {
        page.sample(
            "alertmanager_cluster_peer_info",
            &[("peer", name.as_str())],
            1,
        );
    }
    for (name, help, value) in [
        (
            "peers_joined",
            "A counter of the number of peers that have joined.",
            counts.joined,
        ),
        (
            "peers_left",
            "A counter of the number of peers that have left or failed.",
            counts.left,
        ),
        (
            "peers_update",
            "A counter of the number of peers that have updated metadata.",
            counts.updated,
        ),
        (
            "reconnections",
            "A counter of the number of cluster peer reconnections.",
            counts.reconnected,
        ),
    ] {
        page.counter(&format!("alertmanager_cluster_{name}_total"), help, value);
    }
    let net = node.net_counters();
    page.counter(
        "alertmanager_cluster_reconnections_failed_total",
        "A counter of the number of dials of peers that failed.",
        net.dials_refused + net.dials_unreachable + net.dials_failed,
    );
    messages(page, &node.counters());
}

fn messages(page: &mut Page, engine: &rumormill::engine::Counters) {
    let kinds: [(&str, &str, u64, u64); 4] = [
        (
            "messages_received",
            "Full states (push/pulls) and updates (entries) received.",
            engine.push_pulls,
            engine.entries_received,
        ),
        (
            "messages_received_size",
            "Bytes received in streams (full_state) and in datagrams (update).",
            engine.frame_bytes_received,
            engine.datagram_bytes_received,
        ),
        (
            "messages_sent",
            "Full states (push/pulls) and updates (entries) sent.",
            engine.push_pulls,
            engine.entries_sent,
        ),
        (
            "messages_sent_size",
            "Bytes sent in streams (full_state) and in datagrams (update).",
            engine.frame_bytes_sent,
            engine.datagram_bytes_sent,
        ),
    ];
    for (name, help, full_state, update) in kinds {
        let name = format!("alertmanager_cluster_{name}_total");
        page.metric(&name, "counter", help);
        page.sample(&name, &[("msg_type", "full_state")], full_state);
        page.sample(&name, &[("msg_type", "update")], update);
    }
    page.gauge(
        "alertmanager_cluster_messages_queued",
        "Number of cluster messages which are queued: none ever, state is replicated.",
        0,
    );
    page.counter(
        "alertmanager_cluster_messages_pruned_total",
        "Total number of cluster messages pruned: none ever, state is replicated.",
        0,
    );
    for what in ["dropped", "failure", "sent"] {
        let name = format!("alertmanager_oversized_gossip_message_{what}_total");
        page.metric(
            &name,
            "counter",
            "Large entries are streamed like others: none ever.",
        );
        let keys: [text::LabelPairs<'_>; 2] = [&[("key", "nfl")], &[("key", "sil")]];
        keys.iter().for_each(|key| page.sample(&name, key, 0));
    }
}
