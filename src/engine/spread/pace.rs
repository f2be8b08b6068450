//! How fast a peer acknowledges, and how it is served.

use std::time::Duration;

/// How fast a peer acknowledges, and how it is served.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Smoothed round trip, acknowledgement delay included (RFC 6298's 1/8 gain).
    pub(super) rtt: Option<Duration>,
    /// The round trip of the handshake and of probes, until one is measured with data.
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

    /// A probe was answered after so long.
    pub(super) fn hinted(&mut self, took: Duration) {
        self.hint = Some(match self.hint {
            Some(hint) => (hint * 7 + took) / 8,
            None => took,
        });
    }

    pub(super) fn sample(&mut self, sample: Duration) {
        self.rtt = Some(match self.rtt {
            Some(rtt) => (rtt * 7 + sample) / 8,
            None => sample,
        });
    }

    /// How long a peer may be silent before others forward to it.
    pub(super) fn patience(&self) -> Duration {
        self.rtt.or(self.hint).map_or(SILENCE_UNKNOWN, |rtt| {
            rtt.saturating_mul(3).clamp(SILENCE_MIN, SILENCE_MAX)
        })
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
        self.done.map_or(SILENCE_UNKNOWN, |done| {
            done.saturating_mul(3).clamp(DONE_MIN, DONE_MAX)
        })
    }

    /// How long a datagram may go unacknowledged (RFC 9002's probe timeout, doubling).
    pub(super) fn probe_timeout(&self, ack_delay_max: Duration) -> Duration {
        let rtt = self.rtt.unwrap_or(RTT_UNKNOWN);
        let base = (rtt * 2 + ack_delay_max + PTO_GRANULARITY).max(PTO_MIN);
        (base * (1 << self.probes)).min(PTO_MAX)
    }
}

pub(super) const SILENCE_MIN: Duration = Duration::from_millis(50);
/// One that takes its time with acknowledgements is not waited for longer.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Until a round trip is measured: most first contacts over long links would be covered for nothing.
const SILENCE_UNKNOWN: Duration = Duration::from_millis(300);
/// The peer tells of a part after [`SILENCE_MIN`].
const DONE_MIN: Duration = Duration::from_millis(100);
/// Nor one that takes its time with what it is handed.
const DONE_MAX: Duration = Duration::from_secs(2);
const RTT_UNKNOWN: Duration = Duration::from_millis(50);
const PTO_GRANULARITY: Duration = Duration::from_millis(5);
const PTO_MIN: Duration = Duration::from_millis(25);
const PTO_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_tell_how_long_to_wait_until_data_does() {
        let mut pace = Pace::default();
        pace.hinted(Duration::from_millis(80));
        assert_eq!(pace.patience(), Duration::from_millis(240));
        pace.hinted(Duration::from_millis(160));
        assert_eq!(pace.patience(), Duration::from_millis(270));
        pace.sample(Duration::from_millis(20));
        pace.hinted(Duration::from_millis(160));
        assert_eq!(pace.patience(), Duration::from_millis(60));
    }

    #[test]
    fn one_that_takes_its_time_is_not_waited_for_longer_than_a_second_or_two() {
        let mut pace = Pace::default();
        assert_eq!(pace.patience(), SILENCE_UNKNOWN);
        assert_eq!(pace.patience_done(), SILENCE_UNKNOWN);
        pace.sample(Duration::from_millis(100));
        pace.sample_done(Duration::from_millis(100));
        assert_eq!(pace.patience(), Duration::from_millis(300));
        assert_eq!(pace.patience_done(), Duration::from_millis(300));
        for _ in 0..100 {
            pace.sample(Duration::from_secs(60));
            pace.sample_done(Duration::from_secs(60));
        }
        assert_eq!(pace.patience(), Duration::from_secs(1));
        assert_eq!(pace.patience_done(), Duration::from_secs(2));
    }
}
