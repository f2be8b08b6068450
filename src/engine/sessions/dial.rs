//! Dialling one member, as far as its link is concerned.

use std::time::Duration;

use crate::engine::io::StreamId;

/// Dialling one member.
#[derive(Clone, Debug, Default)]
pub(super) struct MemberDial {
    /// The dial in flight.
    pub(super) stream: Option<StreamId>,
    /// How long to wait before the next.
    pub(super) backoff: Duration,
    /// This process had a link with us: a refused dial is proof of its death.
    pub(super) was_linked: Option<u64>,
    /// Dials refused since the link ended; 0 while there is no proof.
    pub(super) refused: u32,
}
