//! What is under way to one peer: the packets of a link and its datagrams, or the frames of an
//! exchange, from when they are sent to when they are acknowledged or lost.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{Refusal, StoreId};
use crate::store::Change;
use crate::wire::{Ack, Section};

use super::grid::GroupId;
use super::place::{SentItem, StoreKey};

/// A packet that is not acknowledged yet.
#[derive(Debug)]
pub(in crate::engine) struct SentPacket {
    pub(in crate::engine) sent_at: Duration,
    pub(in crate::engine) bytes: usize,
    pub(in crate::engine) items: Vec<SentItem>,
    pub(in crate::engine) on_stream: bool,
}

/// The packets that are under way to one peer, by number.
#[derive(Debug)]
pub(in crate::engine) struct Flight {
    packets: BTreeMap<u64, SentPacket>,
    next: u64,
    datagram_bytes: usize,
    stream_bytes: usize,
}

/// What an acknowledgement says of one entry that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Landed {
    /// The packet it came in.
    pub(in crate::engine) packet: u64,
    pub(in crate::engine) item: SentItem,
    /// Why it was not taken, if so.
    pub(in crate::engine) refused: Option<Refusal>,
}

/// What became of the entries of a packet, by what their receiver says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Receipt {
    /// What it holds.
    pub(in crate::engine) held: Vec<SentItem>,
    /// What it refused, and why.
    pub(in crate::engine) denied: Vec<(StoreKey, u64, Refusal)>,
}

impl Default for Flight {
    fn default() -> Self {
        Self {
            packets: BTreeMap::new(),
            next: 1,
            datagram_bytes: 0,
            stream_bytes: 0,
        }
    }
}

impl Flight {
    /// The number of the packet that is sent next.
    pub(in crate::engine) fn next_number(&self) -> u64 {
        self.next
    }

    /// Takes a packet up under the next number, and returns that.
    pub(in crate::engine) fn send(&mut self, packet: SentPacket) -> u64 {
        let number = self.next;
        self.next += 1;
        *self.bytes_of(packet.on_stream) += packet.bytes;
        self.packets.insert(number, packet);
        number
    }

    /// Takes a packet out.
    pub(in crate::engine) fn land(&mut self, number: u64) -> Option<SentPacket> {
        let packet = self.packets.remove(&number)?;
        let bytes = self.bytes_of(packet.on_stream);
        *bytes = bytes.saturating_sub(packet.bytes);
        Some(packet)
    }

    /// The last of the packets under way that an acknowledgement names, and when it was sent.
    pub(in crate::engine) fn last_named_by(&self, ack: &Ack) -> Option<(u64, Duration)> {
        let mut ranges = ack.ranges.iter().filter(|(start, end)| start <= end).rev();
        let last = ranges.find_map(|&(start, end)| self.packets.range(start..=end).next_back());
        last.map(|(&number, packet)| (number, packet.sent_at))
    }

    /// The packets under way that an acknowledgement names, in its order.
    fn named_by(&self, ack: &Ack) -> Vec<u64> {
        let mut numbers = Vec::new();
        for &(start, end) in &ack.ranges {
            if start <= end {
                numbers.extend(self.packets.range(start..=end).map(|(&number, _)| number));
            }
        }
        numbers
    }

    /// Whether an acknowledgement names any packet under way.
    pub(in crate::engine) fn is_named_by(&self, ack: &Ack) -> bool {
        let mut ranges = ack.ranges.iter().filter(|(start, end)| start <= end);
        ranges.any(|&(start, end)| self.packets.range(start..=end).next().is_some())
    }

    /// Takes the packets that an acknowledgement names out: what it says of each of their entries.
    pub(in crate::engine) fn acknowledge(&mut self, ack: &Ack) -> Vec<Landed> {
        let refused: BTreeMap<(u64, u16), Refusal> = ack
            .refused
            .iter()
            .map(|refused| ((refused.packet, refused.index), refused.reason))
            .collect();
        let mut landed = Vec::new();
        for number in self.named_by(ack) {
            let items = self.land(number).map(|packet| packet.items);
            for (index, item) in items.into_iter().flatten().enumerate() {
                let index = u16::try_from(index).unwrap_or(u16::MAX);
                landed.push(Landed {
                    packet: number,
                    item,
                    refused: refused.get(&(number, index)).copied(),
                });
            }
        }
        landed
    }

    /// Datagrams that an acknowledgement of `largest` has overtaken by as many as
    /// [`REORDER_PACKETS`], and that are out for longer than `round_trip` (RFC 9002, section 6.1).
    pub(in crate::engine) fn overtaken(
        &self,
        largest: u64,
        round_trip: Duration,
        now: Duration,
    ) -> Vec<u64> {
        let before = self
            .packets
            .range(..largest.saturating_sub(REORDER_PACKETS));
        before
            .filter(|(_, packet)| !packet.on_stream && packet.sent_at + round_trip <= now)
            .map(|(&number, _)| number)
            .collect()
    }

    /// Datagrams that are out for as long as `timeout`.
    pub(in crate::engine) fn late(&self, timeout: Duration, now: Duration) -> Vec<u64> {
        let datagrams = self.packets.iter();
        datagrams
            .filter(|(_, packet)| !packet.on_stream && packet.sent_at + timeout <= now)
            .map(|(&number, _)| number)
            .collect()
    }

    /// Packets under way on the link.
    pub(in crate::engine) fn on_stream(&self) -> Vec<u64> {
        let on_stream = self.packets.iter().filter(|(_, packet)| packet.on_stream);
        on_stream.map(|(&number, _)| number).collect()
    }

    /// When the oldest packet on the link, or the oldest datagram, was sent.
    pub(in crate::engine) fn oldest(&self, on_stream: bool) -> Option<Duration> {
        self.packets
            .values()
            .filter(|packet| packet.on_stream == on_stream)
            .map(|packet| packet.sent_at)
            .min()
    }

    /// Forgets everything under way. Numbers are not used again.
    pub(in crate::engine) fn clear(&mut self) {
        self.packets.clear();
        (self.datagram_bytes, self.stream_bytes) = (0, 0);
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// How many packets are under way.
    pub(in crate::engine) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Bytes under way in datagrams.
    pub(in crate::engine) fn datagram_bytes(&self) -> usize {
        self.datagram_bytes
    }

    /// Bytes under way on the link.
    pub(in crate::engine) fn stream_bytes(&self) -> usize {
        self.stream_bytes
    }

    fn bytes_of(&mut self, on_stream: bool) -> &mut usize {
        if on_stream {
            &mut self.stream_bytes
        } else {
            &mut self.datagram_bytes
        }
    }
}

impl Receipt {
    pub(in crate::engine) fn add(&mut self, landed: Landed) {
        let (place, seq) = landed.item;
        match landed.refused {
            Some(reason) => self.denied.push((place, seq, reason)),
            None => self.held.push((place, seq)),
        }
    }
}

/// The entries that go into one packet, by store.
#[derive(Debug, Default)]
pub(in crate::engine) struct PacketLoad {
    entries: BTreeMap<StoreId, Vec<Change>>,
    pub(in crate::engine) count: usize,
    pub(in crate::engine) bytes: usize,
    /// The group that all of it is to be handed on to; the first entry decides.
    pub(in crate::engine) hand: Option<GroupId>,
}

impl PacketLoad {
    /// Nothing yet, after so many bytes of the packet itself.
    pub(in crate::engine) fn after(bytes: usize) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }

    pub(in crate::engine) fn has_section(&self, store: StoreId) -> bool {
        self.entries.contains_key(&store)
    }

    /// Adds a change, which takes so many bytes.
    pub(in crate::engine) fn add(&mut self, store: StoreId, change: Change, bytes: usize) {
        self.bytes += bytes;
        self.count += 1;
        self.entries.entry(store).or_default().push(change);
    }

    /// What to remember of it, in its order.
    pub(in crate::engine) fn items(&self) -> Vec<SentItem> {
        let items = self.entries.iter().flat_map(|(&id, changes)| {
            let of_one = changes.iter();
            of_one.map(move |change| ((id, change.entry.key), change.seq))
        });
        items.collect()
    }

    /// What to send of it.
    pub(in crate::engine) fn into_sections(self) -> Vec<Section> {
        let sections = self.entries.into_iter().map(|(store, changes)| {
            let entries = changes.into_iter().map(|change| change.entry).collect();
            Section { store, entries }
        });
        sections.collect()
    }
}

const REORDER_PACKETS: u64 = 3;
/// Entries in one packet.
pub(in crate::engine) const ENTRIES_PER_PACKET_MAX: usize = 4096;
/// Beyond so many bytes a frame takes no further entry.
pub(in crate::engine) const FRAME_BYTES_TARGET: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;
    use crate::wire::RefusedEntry;

    fn item(n: u8) -> SentItem {
        ((StoreId(1), Key([n; 16])), u64::from(n))
    }

    fn packet(sent_at: u64, on_stream: bool, items: &[u8]) -> SentPacket {
        SentPacket {
            sent_at: Duration::from_millis(sent_at),
            bytes: 10,
            items: items.iter().map(|&n| item(n)).collect(),
            on_stream,
        }
    }

    #[test]
    fn an_acknowledgement_says_of_each_entry_what_became_of_it_once() {
        let mut flight = Flight::default();
        flight.send(packet(0, false, &[1, 2]));
        flight.send(packet(0, true, &[3]));
        flight.send(packet(0, false, &[4]));
        assert_eq!((flight.datagram_bytes(), flight.stream_bytes()), (20, 10));
        let ack = Ack {
            token: 0,
            ranges: vec![(1, 2), (9, 3), (2, 2)],
            refused: vec![RefusedEntry {
                packet: 1,
                index: 1,
                reason: Refusal::Full,
            }],
        };
        let last = flight.last_named_by(&ack);
        assert_eq!(last, Some((2, Duration::ZERO)), "the third is not named");
        let mut receipt = Receipt::default();
        let landed = flight.acknowledge(&ack);
        landed.into_iter().for_each(|landed| receipt.add(landed));
        assert_eq!(receipt.held, [item(1), item(3)]);
        assert_eq!(receipt.denied, [(item(2).0, 2, Refusal::Full)]);
        assert_eq!((flight.datagram_bytes(), flight.stream_bytes()), (10, 0));
        assert!(flight.acknowledge(&ack).is_empty(), "it is said once");
        assert_eq!(flight.last_named_by(&ack), None);
    }

    #[test]
    fn late_and_overtaken_datagrams_are_told_from_what_the_link_carries() {
        let ms = Duration::from_millis;
        let mut flight = Flight::default();
        for (sent_at, on_stream) in [(0, false), (1, true), (2, false), (3, false), (4, false)] {
            flight.send(packet(sent_at, on_stream, &[]));
        }
        assert_eq!(flight.late(ms(8), ms(10)), [1, 3]);
        assert_eq!(flight.overtaken(5, ms(1), ms(10)), [1]);
        assert_eq!(flight.overtaken(9, ms(8), ms(10)), [1, 3]);
        assert_eq!(flight.on_stream(), [2]);
        assert_eq!(
            (flight.oldest(true), flight.oldest(false)),
            (Some(ms(1)), Some(ms(0)))
        );
    }
}
