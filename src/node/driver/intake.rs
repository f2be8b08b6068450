//! How a turn takes from one source: up to a bound.

use std::task::Poll;

/// What a turn took from one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Intake {
    pub(super) any: bool,
    /// The bound was reached: there may be more.
    pub(super) saturated: bool,
}

impl std::ops::Add for Intake {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            any: self.any || other.any,
            saturated: self.saturated || other.saturated,
        }
    }
}

/// Takes until nothing is there, the source gives up (`false`), or `max` were taken.
pub(super) fn take(max: usize, mut one: impl FnMut() -> Poll<bool>) -> Intake {
    let mut taken = Intake::default();
    for _ in 0..max {
        match one() {
            Poll::Ready(true) => taken.any = true,
            Poll::Ready(false) | Poll::Pending => return taken,
        }
    }
    taken.saturated = true;
    taken
}
