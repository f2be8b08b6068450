//! Acknowledgements received, and data that is not acknowledged.
//!
//! Loss is concluded from three later packets acknowledged after a round trip, or from a probe
//! timeout, doubling (RFC 9002, sections 6.1 and 6.2). After two of those in a row the peer is
//! served over its link.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::ProcessId;
use crate::wire::{Ack, Refusal};

use super::peer::{Peer, Place, SentItem};
use super::timers::Kind;
use super::{Engine, Event};

impl Engine {
    /// An acknowledgement by the peer itself.
    pub(super) fn ack_received(&mut self, process: &ProcessId, ack: &Ack) {
        let now = self.now.mono;
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        let mut numbers = Vec::new();
        for &(start, end) in &ack.ranges {
            if start <= end {
                numbers.extend(peer.inflight.range(start..=end).map(|(&number, _)| number));
            }
        }
        let Some(&largest) = numbers.last() else {
            return;
        };
        if let Some(packet) = peer.inflight.get(&largest) {
            peer.sample_rtt(now - packet.sent_at);
        }
        peer.probes = 0;
        peer.uncovered = false;
        let refused: BTreeMap<(u64, u16), Refusal> = ack
            .refused
            .iter()
            .map(|r| ((r.packet, r.index), r.reason))
            .collect();
        let mut held = Vec::new();
        let mut denied = Vec::new();
        for number in numbers {
            let Some(packet) = peer.land(number) else {
                continue;
            };
            for (index, &(place, seq)) in packet.items.iter().enumerate() {
                let current = peer
                    .outstanding
                    .get(&place)
                    .is_some_and(|o| o.packet == Some(number));
                if current {
                    peer.settle(&place);
                }
                let index = u16::try_from(index).unwrap_or(u16::MAX);
                match refused.get(&(number, index)) {
                    Some(&reason) => denied.push((place, seq, reason)),
                    None => held.push((place, seq)),
                }
            }
        }
        // A datagram overtaken by three later ones, and out for longer than a round trip, is lost
        // (RFC 9002, section 6.1).
        let round_trip = peer.rtt.unwrap_or(RTT_UNKNOWN) * 9 / 8;
        let overtaken: Vec<u64> = peer
            .inflight
            .range(..largest.saturating_sub(REORDER_PACKETS))
            .filter(|(_, packet)| !packet.on_stream && packet.sent_at + round_trip <= now)
            .map(|(&number, _)| number)
            .collect();
        self.counters.packets_lost += overtaken.len() as u64;
        overtaken.into_iter().for_each(|number| peer.lose(number));
        peer.silent_since = (!peer.inflight.is_empty()).then_some(now);
        self.acknowledged(process, held, denied);
    }

    /// What an acknowledgement means to those who wait for it.
    pub(super) fn acknowledged(
        &mut self,
        process: &ProcessId,
        held: Vec<SentItem>,
        denied: Vec<(Place, u64, Refusal)>,
    ) {
        for (place, seq, reason) in denied {
            if let Some(peer) = self.peers.get_mut(process) {
                peer.relayed_for.remove(&place);
                peer.refused.add((place, seq), reason);
            }
            self.emit(Event::EntryRefused {
                peer: process.name.clone(),
                store: place.0,
                key: place.1,
                reason,
                by_us: false,
            });
            self.watch_refused(process, place, seq, reason);
        }
        // What it refused earlier in an exchange that is still under way counts no longer either.
        let exchanges = self.exchanges.values_mut();
        for exchange in exchanges.filter(|exchange| exchange.peer == *process) {
            for &item in &held {
                exchange.refused.take_back(item);
            }
        }
        let mut relays: BTreeMap<ProcessId, Vec<Place>> = BTreeMap::new();
        for (place, seq) in held {
            self.watch_held(process, place, seq);
            let Some(peer) = self.peers.get_mut(process) else {
                continue;
            };
            peer.refused.take_back((place, seq));
            if !peer.relayed_for.contains_key(&place) {
                continue;
            }
            // What it acknowledged may be older than what is held here by now; the newer one is
            // forwarded, and acknowledged, in its turn.
            let current = self
                .stores
                .get(&place.0)
                .and_then(|store| store.held(&place.1));
            if current.is_some_and(|current| current.seq == seq)
                && let Some(writers) = peer.relayed_for.remove(&place)
            {
                for writer in writers {
                    relays.entry(writer).or_default().push(place);
                }
            }
        }
        for (writer, places) in relays {
            self.send_relayed(&writer, process, &places);
        }
    }

    /// Looks at what a peer has not acknowledged: declares losses, names relays, turns to the link.
    pub(super) fn check_loss(&mut self, process: &ProcessId) {
        let now = self.now.mono;
        let tcp_timeout = self.config.tcp_timeout;
        let pto = self.probe_timeout_of(process);
        let Some(peer) = self.peers.get_mut(process) else {
            return;
        };
        let late: Vec<u64> = peer
            .inflight
            .iter()
            .filter(|(_, packet)| !packet.on_stream && packet.sent_at + pto <= now)
            .map(|(&number, _)| number)
            .collect();
        if !late.is_empty() {
            self.counters.packets_lost += late.len() as u64;
            late.into_iter().for_each(|number| peer.lose(number));
            peer.probes = (peer.probes + 1).min(PROBES_MAX);
            peer.streaming |= peer.probes >= PROBES_BEFORE_LINK && peer.link.is_some();
        }
        let stuck = peer
            .oldest(true)
            .is_some_and(|sent| sent + tcp_timeout <= now);
        let link = peer.link.filter(|_| stuck);
        let silent = peer
            .silent_since
            .is_some_and(|since| since + patience(peer) <= now);
        if silent && !peer.uncovered {
            peer.uncovered = true;
            self.ask_relays(process);
        }
        if let Some(link) = link {
            self.abandon_stream(link);
        }
    }

    /// How long a datagram may go unacknowledged (RFC 9002's probe timeout, doubling).
    pub(super) fn probe_timeout_of(&self, process: &ProcessId) -> Duration {
        let Some(peer) = self.peers.get(process) else {
            return PTO_MAX;
        };
        probe_timeout(peer, self.config.ack_delay_max)
    }

    /// When to look at what a peer has not acknowledged, if there is anything.
    pub(super) fn loss_due(&self, peer: &Peer) -> Option<Duration> {
        let pto = probe_timeout(peer, self.config.ack_delay_max);
        let lost = peer.oldest(false).map(|sent| sent + pto);
        let stuck = peer.oldest(true).map(|sent| sent + self.config.tcp_timeout);
        let silent = peer
            .silent_since
            .filter(|_| !peer.uncovered)
            .map(|since| since + patience(peer));
        [lost, stuck, silent].into_iter().flatten().min()
    }

    pub(super) fn arm_loss(&mut self, process: &ProcessId, due: Option<Duration>) {
        match due {
            Some(due) => self
                .timers
                .set(Kind::Loss(process.clone()), due.max(self.now.mono)),
            None => self.timers.cancel(&Kind::Loss(process.clone())),
        }
    }
}

/// How long a peer may be silent before others forward to it.
pub(super) fn patience(peer: &Peer) -> Duration {
    peer.rtt
        .map_or(SILENCE_MIN, |rtt| (rtt * 3).max(SILENCE_MIN))
}

pub(super) fn probe_timeout(peer: &Peer, ack_delay_max: Duration) -> Duration {
    let rtt = peer.rtt.unwrap_or(RTT_UNKNOWN);
    let base = (rtt * 2 + ack_delay_max + PTO_GRANULARITY).max(PTO_MIN);
    (base * (1 << peer.probes)).min(PTO_MAX)
}

const REORDER_PACKETS: u64 = 3;
const PROBES_BEFORE_LINK: u32 = 2;
const PROBES_MAX: u32 = 6;
pub(super) const SILENCE_MIN: Duration = Duration::from_millis(50);
const RTT_UNKNOWN: Duration = Duration::from_millis(50);
const PTO_GRANULARITY: Duration = Duration::from_millis(5);
const PTO_MIN: Duration = Duration::from_millis(25);
const PTO_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::StreamId;
    use crate::engine::exchange::Exchange;
    use crate::id::NodeName;
    use crate::wire::{Key, StoreId};

    #[test]
    fn what_was_refused_and_then_taken_in_one_exchange_is_not_refused_after_it() {
        let mut engine = Engine::alone(Vec::new());
        let name = NodeName::new("a").unwrap();
        let process = ProcessId { name, boot: 1 };
        let addr = ([10, 0, 0, 2], 1).into();
        engine.session(&process, addr, 1, 1, &[], false);
        let place = |n| (StoreId(1), Key([n; 16]));
        let mut exchange = Exchange::new(process.clone(), true, BTreeMap::new());
        exchange.refused.add((place(1), 5), Refusal::Full);
        exchange.refused.add((place(2), 6), Refusal::Full);
        engine.exchanges.insert(StreamId(2), exchange);
        let denied = [(place(1), 5), (place(2), 6)];
        let denied = denied.map(|(place, seq)| (place, seq, Refusal::Full));
        engine.acknowledged(&process, Vec::new(), denied.into());
        engine.acknowledged(&process, vec![(place(1), 7)], Vec::new());
        engine.exchange_ended(StreamId(2), true);
        let refused = &engine.peers[&process].refused;
        assert_eq!(refused.get(&place(1)), None);
        assert_eq!(refused.get(&place(2)), Some((6, Refusal::Full)));
    }
}
