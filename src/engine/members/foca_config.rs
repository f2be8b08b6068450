//! foca's configuration, by ours and the size of the cluster.

use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use foca::PeriodicParams;

use crate::config::Config;
use crate::wire::codec;

use super::codec::{HEADER_BYTES_MAX, MEMBER_BYTES_MAX};

/// foca's configuration for a cluster of `size`, where messages have `room` bytes in a datagram.
pub(super) fn foca_config(config: &Config, room: usize, size: usize) -> foca::Config {
    let log10 = (size as f64).log10();
    let suspicion = config
        .probe_interval
        .mul_f64(f64::from(config.suspicion_mult) * log10.max(1.0));
    let packet = room.saturating_sub(codec::MESSAGE_HEADER_BYTES);
    let packet = packet.max(HEADER_BYTES_MAX + MEMBER_BYTES_MAX);
    let periodic = |frequency, num_members| {
        NonZeroUsize::new(num_members).map(|num_members| PeriodicParams {
            frequency,
            num_members,
        })
    };
    foca::Config {
        probe_period: config.probe_interval,
        probe_rtt: config.probe_timeout,
        num_indirect_probes: NonZeroUsize::new(config.indirect_probes).unwrap_or(NonZeroUsize::MIN),
        max_transmissions: transmissions(size),
        suspect_to_down_after: suspicion,
        remove_down_after: Some(config.reconnect_timeout.unwrap_or(REMEMBER_DOWN)),
        max_packet_size: NonZeroUsize::new(packet).unwrap_or(NonZeroUsize::MIN),
        notify_down_members: true,
        periodic_announce: periodic(ANNOUNCE_INTERVAL, 1),
        // Failed members are redialled by our own loop, which knows who left.
        periodic_announce_to_down_members: None,
        periodic_gossip: periodic(config.gossip_interval, config.gossip_nodes),
    }
}

/// How often an update is sent: `4 ceil(log10(n + 1))`, memberlist's `retransmitLimit`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "it is within the bounds of the configuration"
)]
#[expect(clippy::cast_sign_loss, reason = "it is not negative")]
fn transmissions(size: usize) -> NonZeroU8 {
    let size = u32::try_from(size)
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MAX);
    let digits = (f64::from(size.get()) + 1.0).log10().ceil();
    // At most 4 * 10.
    NonZeroU8::new((4.0 * digits) as u8).unwrap_or(NonZeroU8::MIN)
}

const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(30);
const REMEMBER_DOWN: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transmissions_are_rounded_up_as_memberlist_does() {
        let table = [
            (1, 4),
            (3, 4),
            (9, 4),
            (10, 8),
            (99, 8),
            (100, 12),
            (999, 12),
            (1000, 16),
        ];
        for (size, sent) in table {
            assert_eq!(transmissions(size).get(), sent, "at {size} members");
        }
    }
}
