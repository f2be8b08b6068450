//! What a host can send at a time: one queue before its wire, of a bounded length.
//!
//! A datagram that finds no room is dropped. A stream takes half of the queue at most and waits for
//! room, as a socket's buffer makes its writer wait; so a bulk transfer delays datagrams and does
//! not shut them out.

use std::time::Duration;

/// A limit on what a host sends, whatever to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bytes that leave in a second; at least 1.
    pub bytes_per_second: u64,
    /// Bytes that wait to leave; a datagram beyond is dropped. Less than two datagrams lets no
    /// stream through.
    pub queue_bytes: usize,
}

/// A host's queue. Times are virtual.
#[derive(Debug)]
pub(in crate::sim) struct Egress {
    limit: Option<Bandwidth>,
    /// When everything queued so far has left.
    busy_until: Duration,
}

impl Egress {
    pub(super) fn new(limit: Option<Bandwidth>) -> Self {
        Self {
            limit,
            busy_until: Duration::ZERO,
        }
    }

    /// Changes the limit; what is queued leaves at the old pace.
    pub(in crate::sim) fn set(&mut self, limit: Option<Bandwidth>) {
        self.limit = limit;
    }

    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Takes a datagram; returns when it has left, `None` if there is no room.
    pub(super) fn datagram(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let Some(limit) = self.limit else {
            return Some(now);
        };
        self.take(now, limit, bytes, limit.queue_bytes).ok()
    }

    /// Takes a stream's segment; returns when it has left.
    ///
    /// # Errors
    /// When there will be room for it.
    pub(super) fn segment(&mut self, now: Duration, bytes: usize) -> Result<Duration, Duration> {
        let Some(limit) = self.limit else {
            return Ok(self.drained(now));
        };
        self.take(now, limit, bytes, (limit.queue_bytes / 2).max(bytes))
    }

    /// When everything queued so far has left.
    pub(super) fn drained(&self, now: Duration) -> Duration {
        self.busy_until.max(now)
    }

    fn take(
        &mut self,
        now: Duration,
        limit: Bandwidth,
        bytes: usize,
        queue_bytes: usize,
    ) -> Result<Duration, Duration> {
        let time = |bytes: usize| {
            let nanos = (bytes as u64).saturating_mul(1_000_000_000);
            Duration::from_nanos(nanos / limit.bytes_per_second.max(1))
        };
        let waiting = self.drained(now) - now;
        let allowed = time(queue_bytes.saturating_sub(bytes));
        if bytes > queue_bytes || waiting > allowed {
            // A nanosecond more: the next look must find room.
            return Err(now + waiting.saturating_sub(allowed) + Duration::from_nanos(1));
        }
        self.busy_until = now + waiting + time(bytes);
        Ok(self.busy_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Bandwidth = Bandwidth {
        bytes_per_second: 1_000_000,
        queue_bytes: 8_000,
    };

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn without_a_limit_everything_leaves_at_once() {
        let mut egress = Egress::new(None);
        assert_eq!(egress.datagram(micros(5), 1 << 20), Some(micros(5)));
        assert_eq!(egress.segment(micros(5), 1 << 20), Ok(micros(5)));
    }

    #[test]
    fn a_stream_takes_half_of_the_queue_and_is_told_when_to_come_back() {
        let mut egress = Egress::new(Some(LIMIT));
        assert_eq!(egress.segment(micros(0), 2_000), Ok(micros(2_000)));
        assert_eq!(egress.segment(micros(0), 2_000), Ok(micros(4_000)));
        let again = egress.segment(micros(0), 2_000).expect_err("half is taken");
        assert!(
            egress.datagram(micros(0), 2_000).is_some(),
            "the rest is not"
        );
        assert!(again > micros(2_000) && again < micros(2_001));
        let mut egress = Egress::new(Some(LIMIT));
        assert!((0..2).all(|_| egress.segment(micros(0), 2_000).is_ok()));
        assert!(egress.segment(again, 2_000).is_ok());
    }

    #[test]
    fn a_segment_over_half_of_the_queue_waits_for_an_empty_one() {
        let mut egress = Egress::new(Some(Bandwidth {
            queue_bytes: 100,
            ..LIMIT
        }));
        assert!(egress.segment(micros(0), 1_460).is_ok());
        assert!(egress.segment(micros(1), 1_460).is_err());
        assert!(egress.segment(micros(1_460), 1_460).is_ok());
    }
}
