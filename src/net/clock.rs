//! The one place in `net` that reads a clock.
//!
//! It is tokio's, so that a test that pauses tokio's time pauses what is measured here with it: how
//! long packets wait, how long hosts stay known, how fast handshakes begin.

use tokio::time::Instant;

/// The present, on a clock that never goes back.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where time enters the transports"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The wall clock's time, for judging certificates that rustls does not look at again by itself.
#[cfg(feature = "tls")]
#[expect(
    clippy::disallowed_methods,
    reason = "certificates end by the wall clock, which rustls reads in the same way"
)]
pub(super) fn unix_time() -> rustls::pki_types::UnixTime {
    rustls::pki_types::UnixTime::now()
}
