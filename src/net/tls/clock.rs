//! The one place in TLS that reads clocks.
//!
//! The monotonic one is tokio's, so that a test that pauses tokio's time pauses what is measured with
//! it: how long packets wait, how long hosts stay known, how fast handshakes begin.

use rustls::pki_types::UnixTime;
use tokio::time::Instant;

/// The present, on a clock that never goes back.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where monotonic time enters TLS"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The wall clock's time, for judging certificates that rustls does not look at again by itself.
#[expect(
    clippy::disallowed_methods,
    reason = "certificates end by the wall clock, which rustls reads in the same way"
)]
pub(super) fn unix_time() -> UnixTime {
    UnixTime::now()
}
