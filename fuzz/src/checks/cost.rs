//! Time of the processor, so that other programs on the machine do not count.

use std::fs;
use std::time::Duration;

/// Calls `work`, which looks at `bytes`, and checks what it cost.
///
/// # Panics
/// If it takes over 50 ms for up to 64 KiB. A build for fuzzing has sanitizers, assertions and counters of
/// coverage, and a test build has no optimization: each is allowed forty times as much, which no work that
/// grows faster than its input stays below.
pub fn is_bounded<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    const SLOWER: u32 = 40;
    let before = used();
    let done = work();
    if let (Some(before), Some(after)) = (before, used()) {
        let parts = u32::try_from(bytes.div_ceil(64 << 10).max(1)).unwrap_or(u32::MAX);
        let most = Duration::from_millis(50) * SLOWER * parts;
        let took = after.saturating_sub(before);
        assert!(took <= most, "{took:?} for {bytes} bytes");
    }
    done
}

/// What this thread has used so far; `None` where the system does not say.
fn used() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}
