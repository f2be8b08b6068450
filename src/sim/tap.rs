//! A look at everything that goes into the engines and comes out of them.

use std::time::Duration;

use super::simulator::Simulator;
use crate::engine::{Input, Output};

/// What a [tap](Simulator::set_tap) is shown.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Seen<'a> {
    /// An engine is given this.
    Input(&'a Input),
    /// An engine wants this done.
    Output(&'a Output),
}

/// Is given the virtual time, the node's index, and what is seen.
pub type Tap = Box<dyn FnMut(Duration, usize, Seen<'_>)>;

impl Simulator {
    /// Shows every input and output from now on to `tap`, in order. It changes nothing.
    pub fn set_tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    pub(super) fn tapped(&mut self, node: usize, seen: Seen<'_>) {
        if let Some(tap) = self.tap.as_mut() {
            tap(self.time, node, seen);
        }
    }
}
