//! How much is held for peers and for those who follow writes.

use std::time::Duration;

use crate::config::Config;
use crate::engine::core::flight::{ENTRIES_PER_PACKET_MAX, FRAME_BYTES_TARGET};
use crate::engine::core::grid::GroupId;
use crate::engine::core::refusals::REFUSED_MAX;
use crate::engine::core::size::{Size, size};
use crate::id::ProcessId;
use crate::wire::frame::FRAME_BYTES_MAX;

use super::Spread;
use super::acks::UNCOMMITTED_MAX;
use super::ages::STEPS_MAX;
use super::duties::{DUTIES_MAX, ITEMS_MAX, WEIGHT_MAX};
use super::groups::WAITING_MAX;
use super::handed::HANDED_MAX;
use super::lane::{Lane, Role};
use super::relays::RELAYED_FOR_MAX;
use super::unkept::{PACKETS_MAX, PLACES_MAX};

impl Spread {
    /// The first of its queues and maps that is over its limit.
    pub(in crate::engine) fn over_limit(&self, config: &Config) -> Option<Size> {
        let own = [
            size("lanes", self.lanes.len(), 2 * config.members_max),
            size("watches", self.watches.len(), config.watches_max),
            size("duties", self.duties.len(), DUTIES_MAX),
            size("entries of duties", self.duties.items(), ITEMS_MAX),
            size("members of duties", self.duties.weight(), WEIGHT_MAX),
            size(
                "groups",
                self.groups.by_id.len(),
                config.members_max.max(64),
            ),
            size(
                "keys that wait for a relay",
                self.groups.waiting(),
                WAITING_MAX,
            ),
        ];
        own.into_iter().find(Size::is_over).or_else(|| {
            let mut lanes = self.lanes.values();
            lanes.find_map(|lane| of_lane(lane, config).into_iter().find(Size::is_over))
        })
    }

    /// Who hands on to which group, and how long it may say nothing of something that it was handed.
    pub(in crate::engine) fn relays(
        &self,
    ) -> impl Iterator<Item = (GroupId, &ProcessId, Duration)> {
        self.lanes.iter().filter_map(|(process, lane)| {
            let Role::Relay(group) = lane.role else {
                return None;
            };
            let within = lane.pace.patience_done() + lane.pace.patience();
            Some((group, process, within))
        })
    }

    /// How many keys and packets are remembered for all peers together.
    pub(in crate::engine) fn keys_held(&self) -> usize {
        let lanes = self.lanes.values();
        let keys = lanes.map(|lane| {
            let owed = &lane.owed;
            let keys = owed.outstanding.len() + owed.retry.len() + owed.bulky.len();
            keys + lane.relayed_for.len() + lane.refused.len() + lane.unkept.len()
        });
        keys.sum::<usize>() + self.watches.len() + self.duties.items()
    }
}

fn of_lane(lane: &Lane, config: &Config) -> [Size; 11] {
    let packet = config.packet_bytes_max;
    let frame = FRAME_BYTES_TARGET.max(FRAME_BYTES_MAX.min(config.entry_bytes_max + 4096));
    let keys = config.backlog_keys_max + ENTRIES_PER_PACKET_MAX + RELAYED_FOR_MAX;
    let (owed, flight) = (&lane.owed, &lane.flight);
    let link_bytes_max = config.stream_window_bytes + frame;
    [
        size(
            "bytes in datagrams",
            flight.datagram_bytes(),
            config.window_bytes + packet,
        ),
        size("bytes on the link", flight.stream_bytes(), link_bytes_max),
        size("packets handed on", lane.handed.len(), HANDED_MAX),
        size("outstanding keys", owed.outstanding.len(), keys),
        size("keys to send again", owed.retry.len(), keys),
        size("large keys", owed.bulky.len(), keys),
        size(
            "packets to commit",
            lane.acks.uncommitted(),
            UNCOMMITTED_MAX,
        ),
        size(
            "keys and packets not on a peer's disk",
            lane.unkept.len(),
            PLACES_MAX.max(PACKETS_MAX),
        ),
        size("steps of a lag", owed.steps(), STEPS_MAX + 1),
        size("refused entries", lane.refused.len(), REFUSED_MAX),
        size(
            "keys relayed for others",
            lane.relayed_for.len(),
            RELAYED_FOR_MAX,
        ),
    ]
}
