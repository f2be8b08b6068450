//! What liars have told and done.

use std::collections::BTreeMap;

use crate::sim::lies::Lie;
use crate::sim::nodes::liar::Trick;

/// How often a lie was told, and how often it reached an honest node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Heard {
    /// Times that it was sent.
    pub told: u64,
    /// Times that the engine of an honest node was given it.
    pub reached: u64,
}

/// What liars have done so far.
#[derive(Debug, Default)]
pub(super) struct LieLog {
    pub(super) lies: BTreeMap<Lie, Heard>,
    pub(super) tricks: BTreeMap<Trick, u64>,
    /// The hashes of lies on their way, and which they are.
    pub(super) under_way: BTreeMap<u64, Lie>,
    /// There is a liar.
    pub(super) expected: bool,
}
