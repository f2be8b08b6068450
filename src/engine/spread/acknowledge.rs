//! Acknowledging what a peer sent.
//!
//! An acknowledgement leaves after the merge, and after the commit where this node is durable; then it is
//! told after the merge that the packet has arrived, which is what its sender measures the network by. The
//! first packet after a pause is acknowledged at once, later ones within `ack_delay_max` or every
//! [`ACK_PACKETS`] packets.

use std::collections::BTreeMap;

use crate::engine::core::timers::TimerKind;
use crate::engine::core::{Core, Facts};
use crate::id::ProcessId;
use crate::wire::{Ack, Arrived, Message, RefusedEntry, codec};

use super::Spread;

impl Spread {
    /// A packet may be acknowledged: at once after a pause or when many have come, soon otherwise.
    pub(super) fn schedule_ack(&mut self, core: &mut Core, facts: Facts<'_>, process: &ProcessId) {
        let now = core.now.mono;
        let delay = core.config.ack_delay_max;
        let Some(lane) = self.lanes.get_mut(process) else {
            return;
        };
        lane.acks.packets += 1;
        let idle = lane.acks.last_sent.is_none_or(|sent| sent + delay <= now);
        if idle || lane.acks.packets >= ACK_PACKETS {
            self.send_ack(core, facts, process);
        } else {
            core.timers
                .set_by(TimerKind::Ack(process.clone()), now + delay);
        }
    }

    /// Sends the acknowledgements that are owed to a peer, on the path the data came by.
    pub(in crate::engine) fn send_ack(
        &mut self,
        core: &mut Core,
        facts: Facts<'_>,
        process: &ProcessId,
    ) {
        core.timers.cancel(&TimerKind::Ack(process.clone()));
        let lane = self.lanes.get_mut(process);
        let (Some(lane), Some(session)) = (lane, facts.sessions.get(process)) else {
            return;
        };
        let acks = &mut lane.acks;
        acks.packets = 0;
        acks.last_sent = Some(core.now.mono);
        let datagram = core.datagram_room().saturating_sub(codec::ACK_OVERHEAD);
        let bulky = |refused: &Vec<RefusedEntry>| ack_bytes(refused.len()) > datagram;
        let wide = acks.refused.values().any(bulky);
        let link = session.link.filter(|_| acks.on_stream || wide);
        for ranges in std::mem::take(&mut acks.arrived).chunks(ARRIVED_RANGES) {
            let message = Message::Arrived(Arrived {
                token: session.their_token,
                ranges: ranges.to_vec(),
            });
            match session.link.filter(|_| acks.on_stream) {
                Some(link) => drop(core.send_frame(link, &message)),
                None => core.send_datagram(session.addr, &message),
            }
        }
        let ranges = std::mem::take(&mut acks.ranges);
        let refused = std::mem::take(&mut acks.refused);
        let room = if link.is_some() {
            LINK_ACK_BYTES
        } else {
            datagram
        };
        for ack in split_ack(session.their_token, ranges, refused, room) {
            let message = Message::Ack(ack);
            match link {
                Some(link) => drop(core.send_frame(link, &message)),
                None => core.send_datagram(session.addr, &message),
            }
        }
    }

    /// Acknowledges what a commit has made durable.
    pub(in crate::engine) fn acknowledge_committed(&mut self, core: &mut Core, facts: Facts<'_>) {
        let processes: Vec<ProcessId> = self.lanes.keys().cloned().collect();
        for process in processes {
            let Some(lane) = self.lanes.get_mut(&process) else {
                continue;
            };
            // A batch is many packets already: nothing is gained by waiting for more.
            if lane.acks.take_committed(&core.ledger, &core.stores) {
                self.send_ack(core, facts, &process);
            }
        }
    }
}

/// What one packet with so many refusals takes in an acknowledgement.
const fn ack_bytes(refusals: usize) -> usize {
    codec::ACK_RANGE_BYTES + refusals * codec::ACK_REFUSED_BYTES
}

/// Cuts an acknowledgement to messages of at most `room` bytes of ranges and refusals. A packet
/// travels with all of its refusals or not at all: one that does not fit is sent again, and
/// acknowledged where there is room.
fn split_ack(
    token: u64,
    ranges: Vec<(u64, u64)>,
    refused: BTreeMap<u64, Vec<RefusedEntry>>,
    room: usize,
) -> Vec<Ack> {
    let empty = || Ack {
        token,
        ranges: Vec::new(),
        refused: Vec::new(),
    };
    let mut acks = vec![empty()];
    let mut left = room;
    let mut push = |range: (u64, u64), refused: &[RefusedEntry]| {
        let needed = ack_bytes(refused.len());
        if needed > room {
            return;
        }
        let full = acks
            .last()
            .is_some_and(|ack| ack.ranges.len() >= ACK_RANGES_MAX);
        if needed > left || full {
            acks.push(empty());
            left = room;
        }
        left -= needed;
        if let Some(ack) = acks.last_mut() {
            ack.ranges.push(range);
            ack.refused.extend_from_slice(refused);
        }
    };
    for (mut start, end) in ranges {
        for (&packet, entries) in refused.range(start..=end) {
            if start < packet {
                push((start, packet - 1), &[]);
            }
            push((packet, packet), entries);
            start = packet.saturating_add(1);
        }
        if start <= end {
            push((start, end), &[]);
        }
    }
    acks.retain(|ack| !ack.ranges.is_empty());
    acks
}

/// Ranges in one message of what has arrived: they fit the smallest datagram.
const ARRIVED_RANGES: usize = 16;
/// What the decoder takes in one acknowledgement.
const ACK_RANGES_MAX: usize = 4096;
/// Packets after which an acknowledgement is not delayed any longer.
const ACK_PACKETS: usize = 8;
/// Length of an acknowledgement on a link: room for all refusals that one may name.
const LINK_ACK_BYTES: usize = ack_bytes(codec::DELTA_ENTRIES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Refusal;

    #[test]
    fn a_packet_is_acknowledged_with_all_of_its_refusals_or_not_at_all() {
        let refused = |packet, count| -> Vec<_> {
            let entry = |index| RefusedEntry {
                packet,
                index,
                reason: Refusal::Full,
            };
            (0..count).map(entry).collect()
        };
        let mut all = BTreeMap::from([(5, refused(5, 20)), (7, refused(7, 1000))]);
        all.extend((100..200).map(|packet| (packet, refused(packet, 3))));
        let acks = split_ack(7, vec![(1, 9), (50, 300)], all.clone(), 1300);
        let mut told = BTreeMap::new();
        let mut packets = Vec::new();
        for ack in acks {
            let bytes = codec::encoded_len(&Message::Ack(ack.clone()));
            assert!(bytes <= 1300 + codec::ACK_OVERHEAD);
            packets.extend(ack.ranges.iter().flat_map(|&(start, end)| start..=end));
            for entry in ack.refused {
                *told.entry(entry.packet).or_insert(0) += 1;
            }
        }
        let expected: Vec<u64> = (1..=9)
            .chain(50..=300)
            .filter(|&packet| packet != 7)
            .collect();
        assert_eq!(packets, expected);
        all.remove(&7);
        let counts: BTreeMap<_, _> = all.iter().map(|(&p, entries)| (p, entries.len())).collect();
        assert_eq!(told, counts);
        // On a link there is room for all of them.
        let whole = BTreeMap::from([(7, refused(7, 1000))]);
        let acks = split_ack(7, vec![(7, 7)], whole, usize::MAX);
        assert_eq!(
            acks.iter().map(|ack| ack.refused.len()).sum::<usize>(),
            1000
        );
    }
}
