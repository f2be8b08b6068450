//! What a peer has merged and is not known to have on its disk.
//!
//! A peer that keeps what it holds acknowledges twice: an [`Arrived`](crate::wire::Arrived) once a packet
//! is merged, which ends all that is measured of the network, and an [`Ack`] once it is on its disk, which
//! is what those who follow a write wait for. In between the packet is here. An `Ack` that is lost on its
//! way is asked for by sending the entries again, if somebody waits for them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::core::flight::Landed;
use crate::engine::core::place::{SentItem, StoreKey};
use crate::id::{Refusal, StoreId};
use crate::wire::Ack;

/// Packets that a peer has merged and not told to be on its disk.
#[derive(Debug, Default)]
pub(super) struct Unkept {
    packets: BTreeMap<u64, MergedPacket>,
    /// The change of a key that was merged last, and its packet.
    places: BTreeMap<StoreKey, (u64, u64)>,
    /// Changes up to here may be among those that are not remembered.
    untold: BTreeMap<StoreId, u64>,
    /// How long the next one is waited for, as a power of two.
    doublings: u32,
}

#[derive(Debug)]
struct MergedPacket {
    /// Each with its place in the packet, by which it is refused.
    items: Vec<(u16, SentItem)>,
    since: Duration,
}

impl Unkept {
    /// A packet was merged.
    pub(super) fn add(&mut self, packet: u64, items: Vec<SentItem>, now: Duration) {
        for &(place, seq) in &items {
            self.places.insert(place, (seq, packet));
        }
        let (items, since) = ((0..).zip(items).collect(), now);
        self.packets.insert(packet, MergedPacket { items, since });
        while self.places.len() > PLACES_MAX || self.packets.len() > PACKETS_MAX {
            let Some((number, oldest)) = self.packets.pop_first() else {
                break;
            };
            self.forget(number, oldest.items);
        }
    }

    /// Takes the packets that an acknowledgement names out: what it says of each of their entries.
    pub(super) fn acknowledge(&mut self, ack: &Ack) -> Vec<Landed> {
        let mut landed = Vec::new();
        let refused = ack.refused.iter();
        let refused: BTreeMap<(u64, u16), Refusal> = refused
            .map(|it| ((it.packet, it.index), it.reason))
            .collect();
        for &(start, end) in ack.ranges.iter().filter(|(start, end)| start <= end) {
            while let Some((&number, _)) = self.packets.range(start..=end).next() {
                let Some(merging) = self.packets.remove(&number) else {
                    break;
                };
                self.doublings = 0;
                for (index, item) in merging.items {
                    self.leave(item.0, number);
                    landed.push(Landed {
                        packet: number,
                        item,
                        refused: refused.get(&(number, index)).copied(),
                    });
                }
            }
        }
        landed
    }

    /// Whether a change of a key may not be on the peer's disk, though it was merged.
    pub(super) fn may_lack(&self, place: &StoreKey, seq: u64) -> bool {
        let waits = self.places.get(place);
        waits.is_some_and(|&(merged, _)| merged >= seq) || self.is_untold(place, seq)
    }

    /// Whether nobody remembers if a change is on the peer's disk: to know, it must be sent again.
    pub(super) fn is_untold(&self, place: &StoreKey, seq: u64) -> bool {
        let untold = self.untold.get(&place.0);
        !self.places.contains_key(place) && untold.is_some_and(|&untold| untold >= seq)
    }

    /// An exchange that began at these heads is complete: what was held then is on the peer's disk.
    pub(super) fn exchanged(&mut self, heads: &BTreeMap<StoreId, u64>) {
        let later = |store: &StoreId, seq: u64| heads.get(store).is_none_or(|&head| seq > head);
        self.untold.retain(|store, seq| later(store, *seq));
        for merging in self.packets.values_mut() {
            merging
                .items
                .retain(|(_, ((store, _), seq))| later(store, *seq));
        }
        self.packets.retain(|_, merging| !merging.items.is_empty());
        self.places
            .retain(|(store, _), (seq, _)| later(store, *seq));
    }

    /// When the oldest packet has been waited for long enough.
    pub(super) fn due(&self) -> Option<Duration> {
        let (_, oldest) = self.packets.first_key_value()?;
        let wait = PATIENCE.saturating_mul(1 << self.doublings.min(DOUBLINGS_MAX));
        Some(oldest.since.saturating_add(wait))
    }

    /// Gives up waiting for the packets that are due, and returns what was in them.
    pub(super) fn give_up(&mut self, now: Duration) -> Vec<SentItem> {
        let mut items = Vec::new();
        let mut any = false;
        while self.due().is_some_and(|due| due <= now)
            && let Some((number, oldest)) = self.packets.pop_first()
        {
            any = true;
            items.extend(oldest.items.iter().map(|(_, item)| *item));
            self.forget(number, oldest.items);
        }
        self.doublings = (self.doublings + u32::from(any)).min(DOUBLINGS_MAX);
        items
    }

    /// How many keys and packets are remembered.
    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.places.len().max(self.packets.len())
    }

    fn forget(&mut self, number: u64, items: Vec<(u16, SentItem)>) {
        for (_, (place, seq)) in items {
            self.leave(place, number);
            let untold = self.untold.entry(place.0).or_default();
            *untold = seq.max(*untold);
        }
    }

    /// A key does not wait for this packet any more.
    fn leave(&mut self, place: StoreKey, packet: u64) {
        if self.places.get(&place).is_some_and(|&(_, of)| of == packet) {
            self.places.remove(&place);
        }
    }
}

/// Keys that are remembered of one peer, and packets.
pub(super) const PLACES_MAX: usize = 16_384;
pub(super) const PACKETS_MAX: usize = 4096;
/// How long an acknowledgement is waited for before it counts as lost, the first time.
const PATIENCE: Duration = Duration::from_secs(1);
/// It doubles up to a minute.
const DOUBLINGS_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;
    use crate::wire::RefusedEntry;

    const STORE: StoreId = StoreId(1);

    fn place(n: u64) -> StoreKey {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.to_le_bytes());
        (STORE, Key(key))
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ack(start: u64, end: u64) -> Ack {
        Ack {
            token: 0,
            ranges: vec![(start, end)],
            refused: Vec::new(),
        }
    }

    #[test]
    fn what_is_acknowledged_is_on_the_disk() {
        let mut unkept = Unkept::default();
        unkept.add(1, vec![(place(1), 1), (place(2), 2)], secs(0));
        unkept.add(2, vec![(place(1), 3)], secs(0));
        assert!(unkept.may_lack(&place(1), 1) && unkept.may_lack(&place(2), 2));
        let mut first = ack(1, 1);
        first.refused.push(RefusedEntry {
            packet: 1,
            index: 1,
            reason: Refusal::Full,
        });
        let landed = unkept.acknowledge(&first);
        let told: Vec<_> = landed.iter().map(|it| (it.item, it.refused)).collect();
        let full = Some(Refusal::Full);
        assert_eq!(told, [((place(1), 1), None), ((place(2), 2), full)]);
        assert!(unkept.may_lack(&place(1), 3), "that is the later change");
        assert!(!unkept.may_lack(&place(2), 2));
        assert_eq!(unkept.acknowledge(&ack(1, 9)).len(), 1);
        assert!(!unkept.may_lack(&place(1), 1) && unkept.due().is_none());
    }

    #[test]
    fn what_is_refused_is_found_though_an_exchange_took_what_was_before_it() {
        let mut unkept = Unkept::default();
        unkept.add(1, vec![(place(1), 1), (place(2), 2)], secs(0));
        unkept.exchanged(&BTreeMap::from([(STORE, 1)]));
        let mut ack = ack(1, 1);
        ack.refused.push(RefusedEntry {
            packet: 1,
            index: 1,
            reason: Refusal::Full,
        });
        let landed = unkept.acknowledge(&ack);
        let told: Vec<_> = landed.iter().map(|it| (it.item, it.refused)).collect();
        assert_eq!(told, [((place(2), 2), Some(Refusal::Full))]);
    }

    #[test]
    fn what_is_not_acknowledged_is_given_up_later_and_later() {
        let mut unkept = Unkept::default();
        unkept.add(1, vec![(place(1), 1)], secs(0));
        assert_eq!(unkept.due(), Some(secs(1)));
        assert_eq!(unkept.give_up(Duration::from_millis(999)), []);
        assert_eq!(unkept.give_up(secs(1)), [(place(1), 1)]);
        assert!(unkept.is_untold(&place(1), 1) && unkept.may_lack(&place(1), 1));
        assert!(!unkept.may_lack(&place(1), 2), "it was not sent");
        unkept.add(2, vec![(place(1), 1)], secs(1));
        assert_eq!(unkept.due(), Some(secs(3)));
        assert!(!unkept.is_untold(&place(1), 1), "it is waited for");
        let heads = BTreeMap::from([(STORE, 1)]);
        unkept.exchanged(&heads);
        assert!(!unkept.may_lack(&place(1), 1) && unkept.due().is_none());
    }

    #[test]
    fn what_is_not_remembered_is_not_known_to_be_kept() {
        let mut unkept = Unkept::default();
        let count = PACKETS_MAX as u64 + 5;
        for n in 1..=count {
            unkept.add(n, vec![(place(n), n)], secs(0));
        }
        assert_eq!(unkept.packets.len(), PACKETS_MAX);
        assert!(unkept.is_untold(&place(1), 1) && unkept.may_lack(&place(5), 5));
        assert!(unkept.may_lack(&place(count), count));
        assert!(!unkept.may_lack(&place(count + 1), count + 1));
    }
}
