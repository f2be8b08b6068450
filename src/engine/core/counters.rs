//! What the engine counts.

use std::time::Duration;

use crate::id::Misbehaviour;

/// Everything the engine counts; each grows from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Bytes in them.
    pub datagram_bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes in them.
    pub datagram_bytes_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Bytes in them.
    pub frame_bytes_received: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Bytes in them.
    pub frame_bytes_sent: u64,
    /// Datagrams or frames that did not decode: damaged ones, whose check does not match, included.
    pub malformed: u64,
    /// Datagrams of another cluster.
    pub foreign_cluster: u64,
    /// Datagrams of another wire version.
    pub foreign_version: u64,
    /// Messages with an unknown tag.
    pub unknown_messages: u64,
    /// Data datagrams without a valid session token.
    pub unknown_token: u64,
    /// SWIM packets from an address that is not a member's.
    pub unknown_source: u64,
    /// Messages that make no sense where they came.
    pub unexpected: u64,
    /// Identities that a member told of, kept apart until they answer or another member vouches.
    pub members_doubted: u64,
    /// Of those, the ones that became members.
    pub members_confirmed: u64,
    /// Of those, the ones that were asked, did not answer, and were forgotten.
    pub members_unconfirmed: u64,
    /// Times that a member said something against another one that was there, which was asked first.
    pub accusations_checked: u64,
    /// Of those, the ones that the accused refuted by answering.
    pub accusations_refuted: u64,
    /// Times that members said something against this node more often than it responds to.
    pub accusations_ignored: u64,
    /// Probes that were to be passed on to somebody that is no member.
    pub relays_refused: u64,
    /// Entries sent in deltas.
    pub entries_sent: u64,
    /// Entries received in deltas.
    pub entries_received: u64,
    /// Entries received that were new.
    pub entries_merged: u64,
    /// Entries refused by this node.
    pub entries_refused: u64,
    /// Deltas that were put off to later turns: merging them costs more than one turn may.
    pub merges_deferred: u64,
    /// Deltas that were not taken: too much was waiting to be merged.
    pub merges_refused: u64,
    /// Events about entries and members that were not emitted, because others caused too many of them. What they tell
    /// of is counted all the same.
    pub events_withheld: u64,
    /// Batches written to disk.
    pub commits: u64,
    /// Batches that the disk did not take; each is tried again.
    pub commits_failed: u64,
    /// Entries in the batches written to disk.
    pub entries_committed: u64,
    /// Delta packets whose loss was assumed.
    pub packets_lost: u64,
    /// Times that a member did not hand on what it was handed, or did not tell so, and another one was asked.
    pub relays_passed_over: u64,
    /// Push/pulls completed.
    pub push_pulls: u64,
    /// Of those, the ones in which one side had next to nothing and everything was sent.
    pub push_pulls_all: u64,
    /// Of those, the ones that read the difference from cells.
    pub push_pulls_cells: u64,
    /// Of those, the ones that found nothing to differ.
    pub push_pulls_equal: u64,
    /// Of those, the ones that needed a list.
    pub push_pulls_list: u64,
    /// Push/pulls that failed.
    pub push_pulls_failed: u64,
    /// Push/pulls that were refused because the peer's had cost this node too much lately.
    pub push_pulls_throttled: u64,
    /// Bytes received in push/pulls, after the handshakes.
    pub push_pull_bytes_received: u64,
    /// Bytes sent in push/pulls, after the handshakes.
    pub push_pull_bytes_sent: u64,
    /// Entries received in push/pulls.
    pub push_pull_entries_received: u64,
    /// Entries sent in push/pulls.
    pub push_pull_entries_sent: u64,
    /// Times that cells did not suffice and more were asked for.
    pub push_pull_extensions: u64,
    /// Times that roots, compared in passing, showed a difference that led to a push/pull.
    pub differences_found: u64,
    /// Stores whose roots a push/pull could not account for: whole hashes were listed.
    pub digest_mismatches: u64,
    /// Streams refused for a limit.
    pub streams_refused: u64,
    /// Seeds that were dialled and answered.
    pub seeds_joined: u64,
    /// Dials of seeds that failed.
    pub seeds_failed: u64,
    /// Dials of failed members that failed.
    pub reconnects_failed: u64,
    /// Probes that were answered directly, by datagram.
    pub pings_answered: u64,
    /// How long all those answers took, in microseconds.
    pub ping_micros: u64,
    /// Of those answers, how many came within 5 ms.
    pub pings_within_5ms: u64,
    /// Within 10 ms.
    pub pings_within_10ms: u64,
    /// Within 25 ms.
    pub pings_within_25ms: u64,
    /// Within 50 ms.
    pub pings_within_50ms: u64,
    /// Within 100 ms.
    pub pings_within_100ms: u64,
    /// Within 250 ms.
    pub pings_within_250ms: u64,
    /// Within 500 ms.
    pub pings_within_500ms: u64,
    /// Times that members did [`Misbehaviour::AccusesWrongly`].
    pub misbehaved_accuses_wrongly: u64,
    /// Times that members did [`Misbehaviour::BreaksExchanges`].
    pub misbehaved_breaks_exchanges: u64,
    /// Times that members did [`Misbehaviour::CostsTooMuch`].
    pub misbehaved_costs_too_much: u64,
    /// Times that members did [`Misbehaviour::InventsMembers`].
    pub misbehaved_invents_members: u64,
    /// Times that members did [`Misbehaviour::ReadsNothing`].
    pub misbehaved_reads_nothing: u64,
    /// Times that members did [`Misbehaviour::SendsSlowly`].
    pub misbehaved_sends_slowly: u64,
    /// Times that members did [`Misbehaviour::SendsUnexpected`].
    pub misbehaved_sends_unexpected: u64,
    /// Times that members did [`Misbehaviour::ShowsFalseRoots`].
    pub misbehaved_shows_false_roots: u64,
}

impl Counters {
    /// The counter of a kind of misbehaviour.
    pub(in crate::engine) fn misbehaved(&mut self, kind: Misbehaviour) -> &mut u64 {
        match kind {
            Misbehaviour::AccusesWrongly => &mut self.misbehaved_accuses_wrongly,
            Misbehaviour::BreaksExchanges => &mut self.misbehaved_breaks_exchanges,
            Misbehaviour::CostsTooMuch => &mut self.misbehaved_costs_too_much,
            Misbehaviour::InventsMembers => &mut self.misbehaved_invents_members,
            Misbehaviour::ReadsNothing => &mut self.misbehaved_reads_nothing,
            Misbehaviour::SendsSlowly => &mut self.misbehaved_sends_slowly,
            Misbehaviour::SendsUnexpected => &mut self.misbehaved_sends_unexpected,
            Misbehaviour::ShowsFalseRoots => &mut self.misbehaved_shows_false_roots,
        }
    }

    /// A probe was answered after so long.
    pub(in crate::engine) fn ping_answered(&mut self, took: Duration) {
        self.pings_answered += 1;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.ping_micros = self.ping_micros.saturating_add(micros);
        for (millis, count) in [
            (5, &mut self.pings_within_5ms),
            (10, &mut self.pings_within_10ms),
            (25, &mut self.pings_within_25ms),
            (50, &mut self.pings_within_50ms),
            (100, &mut self.pings_within_100ms),
            (250, &mut self.pings_within_250ms),
            (500, &mut self.pings_within_500ms),
        ] {
            *count += u64::from(micros <= millis * 1000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_how_long_they_took() {
        let mut counters = Counters::default();
        for micros in [1_000, 5_000, 5_001, 99_000, 2_000_000] {
            counters.ping_answered(Duration::from_micros(micros));
        }
        assert_eq!(
            (counters.pings_answered, counters.ping_micros),
            (5, 2_110_001)
        );
        assert_eq!(
            (counters.pings_within_5ms, counters.pings_within_10ms),
            (2, 3)
        );
        assert_eq!(
            (counters.pings_within_50ms, counters.pings_within_100ms),
            (3, 4)
        );
        assert_eq!(counters.pings_within_500ms, 4);
    }
}
