//! Packets inside a connection, and how old they are when they arrive.
//!
//! A record is `length u16, stamp u32, packet`, big-endian. A packet can wait where its sender cannot
//! take it back any more: in the system's buffers, on the network behind data that was lost, in the
//! buffers of a receiver that does not read. So every record says when its packet was handed over, in
//! milliseconds since the dialler wrote its hello. The receiver counts from the time when it read that
//! hello. The difference is how much longer the packet took than the hello did. The two clocks need not
//! agree; they need only run at the same speed. The receiver drops packets that are late by more than
//! `packet_age_max`.
//!
//! - **The least difference** seen so far is that of a packet which did not wait, and ages are measured
//!   from it, because the hello itself may have waited. It is let rise by a thousandth of the time that
//!   passes, which is more than clocks drift apart, so that a connection can stay open for any time.
//! - **A packet that waited because this process did not run** is not late (`pulse.rs`): it is judged by
//!   the earliest time at which it can have arrived.
//! - **A connection that brings nothing but late packets** for longer than `packet_age_max` is ended.
//!   What waits in it is worthless; the next one begins without it, and measures anew. So a clock that
//!   stood still with its machine, or a path that has become longer for good, costs that much and no
//!   more.
//! - **Stamps have 32 bits and wrap**: they are only ever subtracted, and connections that bring nothing
//!   are ended long before the 24 days after which a difference would change its sign. A false stamp
//!   affects its sender's own packets only.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

/// Appends a packet that was handed over at `at` to what is written in a connection that `began`.
#[expect(clippy::expect_used, reason = "the length is checked by the caller")]
pub(super) fn put(batch: &mut Vec<u8>, packet: &[u8], at: Instant, began: Instant) {
    let len = u16::try_from(packet.len()).expect("longer ones are not queued");
    batch.extend_from_slice(&len.to_be_bytes());
    batch.extend_from_slice(&stamp(at, began).to_be_bytes());
    batch.extend_from_slice(packet);
}

/// A packet that was handed over before the connection began has a stamp below zero, which wraps.
fn stamp(at: Instant, began: Instant) -> u32 {
    match at.checked_duration_since(began) {
        Some(after) => millis(after),
        None => 0_u32.wrapping_sub(millis(began - at)),
    }
}

/// Reads the next packet and its stamp. Allocates at most what a length of two bytes says.
///
/// # Errors
/// The connection ended.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u32, Bytes)> {
    let len = from.read_u16().await?;
    let stamp = from.read_u32().await?;
    let mut packet = BytesMut::zeroed(usize::from(len));
    from.read_exact(&mut packet).await?;
    Ok((stamp, packet.freeze()))
}

/// What a receiver makes of a packet's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Nothing but late packets has come for too long: the connection is to be ended.
    Hopeless,
    Late,
    Young,
}

/// The ages of the packets of one connection.
#[derive(Debug)]
pub(super) struct Ages {
    began: Instant,
    max: Duration,
    /// The least difference between arrival and stamp, and when that was.
    least: u32,
    least_at: Instant,
    /// Since when nothing but late packets has come.
    late_since: Option<Instant>,
}

impl Ages {
    /// For a connection whose hello was read at `began`. `max` is taken for at most 24 days.
    pub(super) fn new(began: Instant, max: Duration) -> Self {
        Self {
            began,
            max: max.min(MAX_MAX),
            least: 0,
            least_at: began,
            late_since: None,
        }
    }

    /// Judges a packet that is read at `now` and can have arrived as early as `earliest`. `now` never
    /// goes back between two calls.
    pub(super) fn judge(&mut self, stamp: u32, earliest: Instant, now: Instant) -> Age {
        let took = millis(now - self.began).wrapping_sub(stamp);
        let risen = millis(now - self.least_at) / DRIFT_PARTS;
        let over = took.wrapping_sub(self.least.wrapping_add(risen));
        // The upper half of the numbers are those below zero.
        let over = u64::from(if over > u32::MAX / 2 { 0 } else { over });
        if over == 0 {
            (self.least, self.least_at) = (took, now);
        }
        let waited = now.saturating_duration_since(earliest);
        if Duration::from_millis(over) <= self.max.saturating_add(waited) {
            self.late_since = None;
            return Age::Young;
        }
        let since = *self.late_since.get_or_insert(now);
        if now - since > self.max {
            Age::Hopeless
        } else {
            Age::Late
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "stamps wrap around")]
fn millis(span: Duration) -> u32 {
    // All but the last 32 bits are cut off, on both sides.
    span.as_millis() as u32
}

/// A length of two bytes says no more, so nobody can name a longer one.
pub(super) const PACKET_BYTES_MAX: usize = 65_535;
/// Clocks are assumed to drift apart by at most one part in this many. A clock that is being adjusted over
/// the network is steered by half of that.
const DRIFT_PARTS: u32 = 1000;
/// Half of what a stamp can say.
const MAX_MAX: Duration = Duration::from_millis((u32::MAX / 2) as u64);

#[cfg(test)]
mod tests {
    use super::super::clock;
    use super::*;

    const MAX: Duration = Duration::from_millis(500);

    fn ms(span: u64) -> Duration {
        Duration::from_millis(span)
    }

    /// A connection whose two ends began at different times of their clocks.
    struct TwoEnds {
        near: Instant,
        far: Instant,
        ages: Ages,
    }

    impl TwoEnds {
        fn new(max: Duration) -> Self {
            let near = clock::now() + ms(1_000_000);
            let far = near + ms(77_777);
            let ages = Ages::new(far, max);
            Self { near, far, ages }
        }

        /// Handed over and arrived so many milliseconds after each end's beginning.
        fn packet(&mut self, sent: u64, arrived: u64) -> Age {
            let stamp = stamp(self.near + ms(sent), self.near);
            let arrived = self.far + ms(arrived);
            self.ages.judge(stamp, arrived, arrived)
        }
    }

    #[test]
    fn what_took_longer_than_the_hello_by_more_than_allowed_is_late() {
        let mut ends = TwoEnds::new(MAX);
        assert_eq!(ends.packet(10, 10), Age::Young);
        assert_eq!(ends.packet(20, 520), Age::Young);
        assert_eq!(ends.packet(20, 521), Age::Late);
        // The hello had waited for 300 ms: the first packet that has not shows it.
        assert_eq!(ends.packet(900, 600), Age::Young);
        assert_eq!(ends.packet(1000, 1201), Age::Late);
        assert_eq!(ends.packet(1000, 1200), Age::Young);
    }

    #[test]
    fn what_waited_for_the_dial_is_older_than_the_connection() {
        let ends = TwoEnds::new(MAX);
        let mut ages = ends.ages;
        let stamp = stamp(ends.near - ms(450), ends.near);
        let mut judge = |at| ages.judge(stamp, ends.far + ms(at), ends.far + ms(at));
        assert_eq!([judge(50), judge(51)], [Age::Young, Age::Late]);
    }

    #[test]
    fn what_waited_for_this_process_is_not_late_and_measures_nothing() {
        let mut ends = TwoEnds::new(MAX);
        assert_eq!(ends.packet(0, 0), Age::Young);
        let stamp = stamp(ends.near + ms(100), ends.near);
        let at = |after| ends.far + ms(after);
        assert_eq!(ends.ages.judge(stamp, at(100), at(9000)), Age::Young);
        assert_eq!(ends.ages.judge(stamp, at(620), at(9000)), Age::Late);
        assert_eq!(ends.packet(9000, 9500), Age::Young);
        assert_eq!(ends.packet(9000, 9510), Age::Late);
    }

    #[test]
    fn drift_makes_nothing_late_and_adds_up_to_nothing() {
        // One clock is slow by 900 parts in a million, or fast by as many, for three months.
        for (slow, fast) in [(9991, 10_000), (10_000, 9991)] {
            let mut ends = TwoEnds::new(MAX);
            for step in 0..80_000_u64 {
                let at = step * 10;
                let (sent, arrived) = (at * slow, at * fast);
                assert_eq!(ends.packet(sent, arrived), Age::Young, "{step}");
            }
            let (sent, arrived) = (800_000 * slow, 800_000 * fast);
            assert_eq!(ends.packet(sent, arrived + 700), Age::Late);
        }
    }

    #[test]
    fn a_connection_of_late_packets_alone_is_ended() {
        let mut ends = TwoEnds::new(MAX);
        assert_eq!(ends.packet(0, 0), Age::Young);
        assert_eq!(ends.packet(1000, 4000), Age::Late);
        assert_eq!(ends.packet(1500, 4500), Age::Late);
        assert_eq!(ends.packet(4510, 4511), Age::Young);
        // After that one the count begins anew.
        assert_eq!(ends.packet(2000, 5000), Age::Late);
        assert_eq!(ends.packet(2500, 5500), Age::Late);
        assert_eq!(ends.packet(2501, 5501), Age::Hopeless);
    }

    #[test]
    fn no_stamp_and_no_bound_does_any_harm() {
        for max in [Duration::ZERO, MAX, Duration::MAX] {
            let mut ends = TwoEnds::new(max);
            let mut at = 0;
            for stamp in [0, 1, u32::MAX / 2, u32::MAX / 2 + 1, u32::MAX, 7] {
                for step in [0, 1, 86_400_000] {
                    at += step;
                    let _ = ends.ages.judge(stamp, ends.far, ends.far + ms(at));
                }
            }
        }
        // With no bound to speak of, nothing is late.
        let mut ends = TwoEnds::new(Duration::MAX);
        assert_eq!(ends.packet(0, 1_000_000_000), Age::Young);
    }

    #[tokio::test]
    async fn a_record_says_the_same_after_its_way() {
        let began = clock::now();
        let mut batch = Vec::new();
        put(&mut batch, b"one", began + ms(70_000), began);
        put(&mut batch, b"", began, began + ms(1));
        let mut from = &batch[..];
        let read_one = read(&mut from).await.unwrap();
        assert_eq!(read_one, (70_000, Bytes::from_static(b"one")));
        assert_eq!(read(&mut from).await.unwrap(), (u32::MAX, Bytes::new()));
        assert!(read(&mut from).await.is_err());
    }
}
