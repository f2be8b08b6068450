//! A look at everything that goes into the engines and comes out of them.

use std::time::Duration;

use crate::engine::{Input, Output};

/// What a [tap](crate::sim::Simulator::set_tap) is shown. Unstable, as all of `rumormill::unstable`.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Seen<'a> {
    /// An engine is given this.
    Input(&'a Input),
    /// An engine wants this done.
    Output(&'a Output),
}

/// Is given the virtual time, the node's index, and what is seen. Unstable, as all of
/// `rumormill::unstable`.
#[doc(hidden)]
pub type Tap = Box<dyn FnMut(Duration, usize, Seen<'_>)>;
