//! What a store of silences keeps and accepts.

use std::num::NonZeroUsize;
use std::time::Duration;

/// What a store of silences keeps and accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SilenceLimits {
    /// How long a silence is shown, and its entry kept, after it ended. Default 120 h. If it is lowered,
    /// silences that ended before are hidden earlier, but their memory is freed no sooner.
    pub retention: Duration,
    /// Making a silence fails when this many are held, expired ones included; merges and updates
    /// do not. Default none.
    pub max_silences: Option<NonZeroUsize>,
    /// Making or updating a silence fails when its body is larger than this many bytes; merges do
    /// not. Default none.
    pub max_silence_size_bytes: Option<NonZeroUsize>,
    /// Most memory that compiled patterns of all silences take together, in bytes. Default 64 MiB, room for
    /// some twenty thousand: a common pattern takes 1 to 5 kB, the costliest that is admitted about 1 MB. The
    /// same pattern in many silences is held once, and short lists of texts are not compiled. Patterns that
    /// find no room are compiled again whenever an alert needs them, which takes some 20 us for a common one
    /// and up to 12 ms for all patterns of the costliest silence: too low, and asking about alerts takes
    /// long ([`Silences::patterns_compiled`](super::Silences::patterns_compiled) grows). 0 keeps nothing.
    pub patterns_bytes_max: usize,
}

impl Default for SilenceLimits {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(120 * 3600),
            max_silences: None,
            max_silence_size_bytes: None,
            patterns_bytes_max: PATTERNS_BYTES,
        }
    }
}

impl SilenceLimits {
    /// Sets [`retention`](Self::retention).
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets [`max_silences`](Self::max_silences).
    #[must_use]
    pub fn max_silences(mut self, max_silences: Option<NonZeroUsize>) -> Self {
        self.max_silences = max_silences;
        self
    }

    /// Sets [`max_silence_size_bytes`](Self::max_silence_size_bytes).
    #[must_use]
    pub fn max_silence_size_bytes(mut self, max_silence_size_bytes: Option<NonZeroUsize>) -> Self {
        self.max_silence_size_bytes = max_silence_size_bytes;
        self
    }

    /// Sets [`patterns_bytes_max`](Self::patterns_bytes_max).
    #[must_use]
    pub fn patterns_bytes_max(mut self, patterns_bytes_max: usize) -> Self {
        self.patterns_bytes_max = patterns_bytes_max;
        self
    }
}

/// The default of `patterns_bytes_max`.
const PATTERNS_BYTES: usize = 64 << 20;
