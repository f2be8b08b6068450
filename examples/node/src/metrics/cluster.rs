//! The metrics of the cluster.

use std::time::Duration;

use rumormill::id::MemberState;
use rumormill::node::Node;
use rumormill::{Arrivals, Counters, NodeName, Pings};

use super::Counts;
use super::text::Page;
use crate::app::App;

/// Alertmanager's cluster metrics, and some of our own. Those of things that are not here are left out: another path
/// for large messages (`oversize…`, `oversized…_sent`: they are streamed like others), messages that keep members alive
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
    pings(page, node);
    messages(page, &engine);
    queues(page, node);
    own(page, &engine);
    lag(page, node);
    arrivals(page, node);
}

/// By peer: what a member that is forgotten answered is left out from then on.
fn pings(page: &mut Page, node: &Node) {
    let name = "alertmanager_cluster_pings_seconds";
    page.metric(
        name,
        "histogram",
        "Histogram of latencies for ping messages.",
    );
    for (peer, pings) in &*node.pings() {
        let peer = ("peer", peer.as_str());
        for (bound, count) in Pings::BOUNDS.iter().zip(pings.within) {
            let bound = bound.as_secs_f64().to_string();
            page.sample(&format!("{name}_bucket"), &[peer, ("le", &bound)], count);
        }
        let all = [peer, ("le", "+Inf")];
        page.sample(&format!("{name}_bucket"), &all, pings.answered);
        let seconds = Duration::from_micros(pings.micros).as_secs_f64();
        page.sample(&format!("{name}_sum"), &[peer], seconds);
        page.sample(&format!("{name}_count"), &[peer], pings.answered);
    }
}

/// What is on its way. Nothing is dropped for its size or to make room: those counters stay 0, and are here for the
/// rules that look at them.
fn queues(page: &mut Page, node: &Node) {
    page.gauge(
        "alertmanager_cluster_messages_queued",
        "Entries that are on their way to peers, or wait to be sent; of all peers together.",
        node.entries_owed(),
    );
    page.counter(
        "alertmanager_cluster_messages_pruned_total",
        "Messages dropped from a queue that was too long: none ever is.",
        0,
    );
    for (end, help) in [
        (
            "dropped",
            "Messages dropped because they are large: none ever is.",
        ),
        (
            "failure",
            "Large messages given up after a failure: none ever is.",
        ),
    ] {
        let name = format!("alertmanager_oversized_gossip_message_{end}_total");
        page.metric(&name, "counter", help);
        for key in ["nfl", "sil"] {
            page.sample(&name, &[("key", key)], 0);
        }
    }
}

/// What Alertmanager has no name for, by the names that the library gives its counters.
fn own(page: &mut Page, engine: &Counters) {
    for (name, help, value) in [
        (
            "push_pulls",
            "Push/pulls that were completed.",
            engine.push_pulls,
        ),
        (
            "push_pulls_failed",
            "Push/pulls that failed.",
            engine.push_pulls_failed,
        ),
        (
            "push_pull_bytes_received",
            "Bytes received in push/pulls.",
            engine.push_pull_bytes_received,
        ),
        (
            "push_pull_bytes_sent",
            "Bytes sent in push/pulls.",
            engine.push_pull_bytes_sent,
        ),
        (
            "entries_received",
            "Entries received, those of push/pulls not included.",
            engine.entries_received,
        ),
        (
            "entries_refused",
            "Entries of peers that this node refused, for a clock that is ahead or for want of room.",
            engine.entries_refused,
        ),
        (
            "packets_lost",
            "Packets with entries that were sent again because they are taken for lost.",
            engine.packets_lost,
        ),
        (
            "relays_passed_over",
            "Times that a member did not hand on what it was handed, and another one was asked.",
            engine.relays_passed_over,
        ),
    ] {
        page.counter(&format!("rumormill_{name}_total"), help, value);
    }
}

/// How far each live member is behind, all stores together.
fn lag(page: &mut Page, node: &Node) {
    let (view, behind) = (node.view(), node.lag());
    let live = || view.live().map(|member| &member.process.name);
    let of = |peer: &NodeName| behind.get(peer).map_or(&[][..], Vec::as_slice);
    let name = "rumormill_lag_changes";
    page.metric(
        name,
        "gauge",
        "Keys that a live member lacks, as far as this node has to bring them.",
    );
    for peer in live() {
        let changes: usize = of(peer).iter().map(|lag| lag.changes).sum();
        page.sample(name, &[("peer", peer.as_str())], changes);
    }
    let name = "rumormill_lag_seconds";
    page.metric(
        name,
        "gauge",
        "For how long a live member has lacked the oldest of them.",
    );
    for peer in live() {
        let ages = of(peer).iter().map(|lag| lag.age);
        let oldest = ages.max().unwrap_or_default().as_secs_f64();
        page.sample(name, &[("peer", peer.as_str())], oldest);
    }
}

/// How old writes of others were when they arrived.
fn arrivals(page: &mut Page, node: &Node) {
    let (name, arrivals) = ("rumormill_arrival_age_seconds", node.arrivals());
    page.metric(
        name,
        "histogram",
        "How old writes of other members were when they arrived.",
    );
    for (bound, count) in Arrivals::BOUNDS.iter().zip(arrivals.within) {
        let bound = bound.as_secs_f64().to_string();
        page.sample(&format!("{name}_bucket"), &[("le", &bound)], count);
    }
    page.sample(&format!("{name}_bucket"), &[("le", "+Inf")], arrivals.count);
    let seconds = Duration::from_micros(arrivals.micros).as_secs_f64();
    page.sample(&format!("{name}_sum"), &[], seconds);
    page.sample(&format!("{name}_count"), &[], arrivals.count);
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
