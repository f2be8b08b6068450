//! How fast a peer acknowledges, and how it is served.

use std::time::Duration;

/// How fast a peer acknowledges, and how it is served.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Smoothed round trip, acknowledgement delay included (RFC 6298's 1/8 gain).
    pub(super) rtt: Option<Duration>,
    /// The round trip of the handshake, until one is measured.
    pub(super) hint: Option<Duration>,
    /// Smoothed time from handing a packet on to hearing that its whole group holds it.
    done: Option<Duration>,
    /// Probe timeouts in a row.
    pub(super) probes: u32,
    /// Served over the link until caught up.
    pub(super) streaming: bool,
    /// Since when data has been out without any acknowledgement.
    pub(super) silent_since: Option<Duration>,
}

impl Pace {
    /// The round trip, or a guess while none is measured.
    pub(super) fn round_trip(&self) -> Duration {
        self.rtt.unwrap_or(RTT_UNKNOWN)
    }

    pub(super) fn sample(&mut self, sample: Duration) {
        self.rtt = Some(match self.rtt {
            Some(rtt) => (rtt * 7 + sample) / 8,
            None => sample,
        });
    }

    /// How long a peer may be silent before others forward to it.
    pub(super) fn patience(&self) -> Duration {
        self.rtt
            .or(self.hint)
            .map_or(SILENCE_UNKNOWN, |rtt| (rtt * 3).max(SILENCE_MIN))
    }

    /// A group holds what its peer was handed so long ago.
    pub(super) fn sample_done(&mut self, sample: Duration) {
        self.done = Some(match self.done {
            Some(done) => (done * 7 + sample) / 8,
            None => sample,
        });
    }

    /// How long it may take a peer to have its group hold what it is handed, before it is asked.
    pub(super) fn patience_done(&self) -> Duration {
        self.done
            .map_or(SILENCE_UNKNOWN, |done| (done * 3).max(DONE_MIN))
    }

    /// How long a datagram may go unacknowledged (RFC 9002's probe timeout, doubling).
    pub(super) fn probe_timeout(&self, ack_delay_max: Duration) -> Duration {
        let rtt = self.rtt.unwrap_or(RTT_UNKNOWN);
        let base = (rtt * 2 + ack_delay_max + PTO_GRANULARITY).max(PTO_MIN);
        (base * (1 << self.probes)).min(PTO_MAX)
    }
}

pub(super) const SILENCE_MIN: Duration = Duration::from_millis(50);
/// Until a round trip is measured: most first contacts over long links would be covered for nothing.
const SILENCE_UNKNOWN: Duration = Duration::from_millis(300);
/// The peer tells of a part after [`SILENCE_MIN`].
const DONE_MIN: Duration = Duration::from_millis(100);
const RTT_UNKNOWN: Duration = Duration::from_millis(50);
const PTO_GRANULARITY: Duration = Duration::from_millis(5);
const PTO_MIN: Duration = Duration::from_millis(25);
const PTO_MAX: Duration = Duration::from_secs(1);
