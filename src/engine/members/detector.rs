//! The failure detector: foca, fed and obeyed.
//!
//! foca probes, suspects, gossips and renews. Three of its pits are closed from outside:
//!
//! 1. In `feed`: a suspicion timer is delivered only while the member still is suspect at that
//!    incarnation. (foca tells a member that has refuted that it is down, and makes it renew itself.)
//! 2. In `foca_config`: updates are transmitted `4 ceil(log10(n + 1))` times, rounded up as
//!    memberlist does: at three members and 10 % loss, foca's rounding down silences the cluster.
//! 3. In [`Detector::reconnect`]: a rejoined detector is Disconnected with no timer armed though it
//!    knows members; applying an empty update connects it again.

use std::time::Duration;

use bytes::Bytes;
use foca::{AccumulatingRuntime, Codec as _, Foca, NoCustomBroadcast};
use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

use crate::engine::core::Core;
use crate::engine::core::ask::Ask;
use crate::engine::io::StreamId;
use crate::id::{NodeId, NodeName};
use crate::wire::Message;

use super::codec::SwimCodec;
use super::foca_config::foca_config;
use super::log::{LoggingCodec, SwimLog};

/// foca, and what goes into it and comes out of it.
pub(super) struct Detector {
    pub(super) foca: Foca<NodeId, LoggingCodec, Pcg64, NoCustomBroadcast>,
    /// What foca has accepted and the table does not show yet.
    pub(super) log: SwimLog,
    pub(super) effects: AccumulatingRuntime<NodeId>,
    /// The ping that is not answered yet, to be repeated on the link, and when it was sent.
    pub(super) last_ping: Option<(NodeId, Bytes, Duration)>,
    /// While a packet from a link is handled: answers to this member go back on it.
    pub(super) reply_on: Option<(NodeName, StreamId)>,
    /// The longest packet that foca takes.
    pub(super) packet_bytes_max: usize,
}

impl Detector {
    pub(super) fn new(own: NodeId, core: &mut Core) -> Self {
        let rng = Pcg64::seed_from_u64(core.rng.next_u64());
        let config = foca_config(&core.config, core.datagram_room(), 1);
        let packet_bytes_max = config.max_packet_size.get();
        let log = SwimLog::default();
        let codec = LoggingCodec(log.clone());
        Self {
            foca: Foca::new(own, config, rng, codec),
            log,
            effects: AccumulatingRuntime::new(),
            last_ping: None,
            reply_on: None,
            packet_bytes_max,
        }
    }

    /// Probes a cluster of this size from now on.
    pub(super) fn resize(&mut self, core: &Core, size: usize) {
        let config = foca_config(&core.config, core.datagram_room(), size);
        if let Err(error) = self.foca.set_config(config) {
            tracing::debug!(%error, "probe configuration");
        }
    }

    /// A detector that knows members but runs no timers is woken by an empty update.
    pub(super) fn reconnect(&mut self) {
        let none = std::iter::empty();
        if let Err(error) = self.foca.apply_many(none, false, &mut self.effects) {
            tracing::debug!(%error, "reconnecting the failure detector");
        }
    }

    /// Takes down that a ping was answered. Returns whether the one that was pinged has done so itself.
    pub(super) fn ping_answered(&mut self, core: &mut Core, header: &foca::Header<NodeId>) -> bool {
        let answered = match &header.message {
            foca::Message::Ack(_) => &header.src,
            foca::Message::ForwardedAck { origin, .. } => origin,
            _ => return false,
        };
        let pinged = self.last_ping.take_if(|(id, ..)| id == answered);
        if let (Some((_, _, at)), foca::Message::Ack(_)) = (pinged, &header.message) {
            let took = core.now.mono.saturating_sub(at);
            core.counters.ping_answered(took);
            core.pings.answered(&header.src.process.name, took);
            core.ask(Ask::RoundTrip(header.src.process.clone(), took));
            return true;
        }
        false
    }

    pub(super) fn send(&mut self, core: &mut Core, to: &NodeId, packet: Bytes) {
        let header = SwimCodec.decode_header(&mut packet.clone());
        let message = header.map(|header| header.message);
        let ping = matches!(message, Ok(foca::Message::Ping(_)));
        if ping {
            self.last_ping = Some((to.clone(), packet.clone(), core.now.mono));
        }
        match &self.reply_on {
            Some((name, stream)) if *name == to.process.name => {
                core.send_frame(*stream, &Message::Swim(packet));
            }
            _ if ping || matches!(message, Ok(foca::Message::Ack(_))) => {
                let to = to.clone();
                core.ask(Ask::Probe { to, packet, ping });
            }
            _ => core.send_datagram(to.addr, &Message::Swim(packet)),
        }
    }
}
