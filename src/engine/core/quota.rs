//! How much one turn may send of what each peer lacks. The rest goes in the turns after it.

/// What is left of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct SendQuota {
    entries: usize,
    bytes: usize,
}

impl SendQuota {
    /// That of a whole turn.
    pub(in crate::engine) const TURN: Self = Self {
        entries: 1024,
        bytes: 1 << 20,
    };

    /// How many entries may still be sent.
    pub(in crate::engine) fn entries(self) -> usize {
        self.entries
    }

    /// Whether nothing more may be sent in this turn.
    pub(in crate::engine) fn is_spent(self) -> bool {
        self.entries == 0 || self.bytes == 0
    }

    /// A packet was sent. The last one may be longer than what was left in bytes.
    pub(in crate::engine) fn spend(&mut self, entries: usize, bytes: usize) {
        self.entries = self.entries.saturating_sub(entries);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
