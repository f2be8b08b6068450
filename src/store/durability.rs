//! How a store is kept.

use std::time::Duration;

/// When what is written to a store is on disk, on a node that has one.
///
/// What is written is visible, and on its way to the other nodes, at once in any case. This decides when
/// [`Written::durable`](super::Written::durable) resolves, how many writes share one flush of the disk,
/// and what a node that is killed finds again by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// At the end of an interval that begins with the first write that waits: the longer, the more writes
    /// share one flush, and the longer `durable()` waits. A node that is killed finds again what was
    /// written before. An interval of zero is [`Immediate`](Self::Immediate).
    Grouped(Duration),
    /// As soon as the disk is free: what is written while it is busy goes to it together. This is the
    /// default.
    #[default]
    Immediate,
    /// Never: the store is filled by peers after a restart, and `durable()` resolves at once.
    Memory,
}
