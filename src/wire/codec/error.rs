//! What can be wrong with bytes.

use crate::id::NameError;

/// Why bytes are not what they should be. Count it, log it at debug, drop the packet: it is never
/// an error to the application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// What must be sorted is not, or lies outside the range it came with.
    #[error("{what} are out of order")]
    Disorder {
        /// The list.
        what: &'static str,
    },
    /// The value claims more memory than any may take.
    #[error("the body claims more than {max} bytes of memory")]
    Limit {
        /// The limit.
        max: usize,
    },
    /// No value has that encoding.
    #[error("the body is malformed")]
    Malformed,
    /// A name breaks the rules of names.
    #[error("bad name: {0}")]
    Name(NameError),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A length is over its limit.
    #[error("{what} of {bytes} bytes, over the limit of {max}")]
    TooLarge {
        /// What has the length.
        what: &'static str,
        /// The length.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// A count is over its limit.
    #[error("{count} {what}, over the limit of {max}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The count.
        count: u64,
        /// The limit.
        max: usize,
    },
    /// Bytes are left over behind the value.
    #[error("{bytes} bytes left over")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The bytes end inside the value.
    #[error("the bytes end inside the {what}")]
    Truncated {
        /// Inside what.
        what: &'static str,
    },
    /// An enum has no such variant.
    #[error("{what} has no variant {found}")]
    Variant {
        /// The enum.
        what: &'static str,
        /// The number found.
        found: u8,
    },
}

pub(super) fn check_count(what: &'static str, count: u64, max: usize) -> Result<(), DecodeError> {
    if count > max as u64 {
        return Err(DecodeError::TooMany { what, count, max });
    }
    Ok(())
}

pub(super) fn check_end(rest: &[u8]) -> Result<(), DecodeError> {
    match rest.len() {
        0 => Ok(()),
        bytes => Err(DecodeError::Trailing { bytes }),
    }
}
