//! Who was behind when that was last looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::event::Lags;
use crate::id::NodeName;

/// Who was behind at the last look. Bounded by the live members.
#[derive(Debug, Default)]
pub(super) struct Laggards {
    pub(super) by_name: BTreeMap<NodeName, Laggard>,
    /// As it was then, shared with those who read it.
    pub(super) seen: Arc<Lags>,
}

/// A member that is behind.
#[derive(Debug, Default)]
pub(super) struct Laggard {
    /// Since which look an exchange with it is due.
    pub(super) unsynced: Option<Duration>,
    /// Since when it is behind in the way that was told, if it was.
    pub(super) told: Option<Duration>,
}
