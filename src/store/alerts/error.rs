//! Why an alert is not taken.

use std::num::NonZeroUsize;

use crate::store::write::WriteError;

/// Why an alert is not taken. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlertError {
    /// An annotation has no valid name.
    #[error("invalid annotations: invalid name {0:?}")]
    Annotation(String),
    /// It changed again and again while it was written.
    #[error("the alert changed {attempts} times while it was written")]
    Contended {
        /// How often it was tried.
        attempts: usize,
    },
    /// It ends before it starts.
    #[error("start time must be before end time")]
    EndBeforeStart,
    /// A label has no valid name.
    #[error("invalid label set: invalid name {0:?}")]
    Label(String),
    /// It has no labels.
    #[error("at least one label pair required")]
    NoLabels,
    /// It alone takes too much.
    #[error("the alert takes more than {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// As many as there may be are held, and this is another one.
    #[error("{max} alerts are held, which is the limit")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// There is no room for what it takes.
    #[error("the alerts that are held take {max} bytes, which is the limit")]
    TooManyBytes {
        /// The limit.
        max: usize,
    },
    /// It has too many labels and annotations.
    #[error("the alert has more than {max} labels and annotations")]
    TooManyPairs {
        /// The limit.
        max: usize,
    },
    /// As many of this name fire as may, and this is another one.
    #[error("{max} alerts of the name {name:?} fire, which is the limit")]
    TooManyOfName {
        /// The name.
        name: String,
        /// The limit.
        max: NonZeroUsize,
    },
    /// The store did not accept the write.
    #[error(transparent)]
    Write(#[from] WriteError),
}
