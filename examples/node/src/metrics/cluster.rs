//! The metrics of the cluster.

use std::time::Duration;

use rumormill::Counters;
use rumormill::id::MemberState;

use super::Counts;
use super::text::Page;
use crate::app::App;

/// Alertmanager's cluster metrics. Those of things that are not here are left out: a queue of
/// messages (`messages_queued`, `messages_pruned`), another path for large ones (`oversize…`,
/// `oversized…`: they are streamed like others), messages that keep members alive
/// (`alive_messages`), and TLS.
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
    let engine = node.counters();
    for (name, help, value) in [
        (
            "reconnections_failed",
            "A counter of the number of failed cluster peer reconnection attempts.",
            engine.reconnects_failed,
        ),
        (
            "refresh_join",
            "A counter of the number of cluster peer joined via refresh: seeds that answered.",
            engine.seeds_joined,
        ),
        (
            "refresh_join_failed",
            "A counter of the number of failed cluster peer joins via refresh: dials of seeds.",
            engine.seeds_failed,
        ),
        (
            "peer_name_conflicts",
            "Total number of times another live process used this node's name.",
            counts.name_conflicts,
        ),
    ] {
        page.counter(&format!("alertmanager_cluster_{name}_total"), help, value);
    }
    pings(page, &engine);
    messages(page, &engine);
}

/// Of all peers together: names are random, and a label for each would never go.
fn pings(page: &mut Page, engine: &Counters) {
    let name = "alertmanager_cluster_pings_seconds";
    let help = "Histogram of latencies for ping messages that were answered, of all peers.";
    page.metric(name, "histogram", help);
    for (bound, count) in [
        ("0.005", engine.pings_within_5ms),
        ("0.01", engine.pings_within_10ms),
        ("0.025", engine.pings_within_25ms),
        ("0.05", engine.pings_within_50ms),
        ("0.1", engine.pings_within_100ms),
        ("0.25", engine.pings_within_250ms),
        ("0.5", engine.pings_within_500ms),
        ("+Inf", engine.pings_answered),
    ] {
        page.sample(&format!("{name}_bucket"), &[("le", bound)], count);
    }
    let seconds = Duration::from_micros(engine.ping_micros).as_secs_f64();
    page.sample(&format!("{name}_sum"), &[], seconds);
    page.sample(&format!("{name}_count"), &[], engine.pings_answered);
}

/// What goes through streams, push/pulls among it, counts as full state; datagrams are updates.
fn messages(page: &mut Page, engine: &Counters) {
    for (name, help, full_state, update) in [
        (
            "messages_received",
            "Messages received: frames of streams (full_state) and datagrams (update).",
            engine.frames_received,
            engine.datagrams_received,
        ),
        (
            "messages_received_size",
            "Bytes received in streams (full_state) and in datagrams (update).",
            engine.frame_bytes_received,
            engine.datagram_bytes_received,
        ),
        (
            "messages_sent",
            "Messages sent: frames of streams (full_state) and datagrams (update).",
            engine.frames_sent,
            engine.datagrams_sent,
        ),
        (
            "messages_sent_size",
            "Bytes sent in streams (full_state) and in datagrams (update).",
            engine.frame_bytes_sent,
            engine.datagram_bytes_sent,
        ),
    ] {
        let name = format!("alertmanager_cluster_{name}_total");
        page.metric(&name, "counter", help);
        page.sample(&name, &[("msg_type", "full_state")], full_state);
        page.sample(&name, &[("msg_type", "update")], update);
    }
}
