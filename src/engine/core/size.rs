//! The length of a queue or map beside its limit, for the simulator to check.

/// The length of one queue or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// What.
    pub(crate) what: &'static str,
    /// How much there is.
    pub(crate) is: usize,
    /// How much there may be.
    pub(crate) max: usize,
}

impl Size {
    /// Whether it is over its limit.
    pub(crate) fn is_over(&self) -> bool {
        self.is > self.max
    }
}

/// So much, of so much that may be.
pub(in crate::engine) fn size(what: &'static str, is: usize, max: usize) -> Size {
    Size { what, is, max }
}
