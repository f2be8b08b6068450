//! How bincode is used: its settings, what it reads from, and its errors.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::de::read::Reader;
use bincode::error::DecodeError as BincodeError;

use super::error::DecodeError;
use super::limits::BODY_BYTES_MAX;

pub(super) type Settings = Configuration<LittleEndian, Varint, Limit<BODY_BYTES_MAX>>;
pub(super) const SETTINGS: Settings = bincode::config::standard().with_limit::<BODY_BYTES_MAX>();

/// bincode's error as one of ours.
pub(super) fn unreadable(error: BincodeError) -> DecodeError {
    match error {
        BincodeError::LimitExceeded => DecodeError::Limit {
            max: BODY_BYTES_MAX,
        },
        BincodeError::UnexpectedEnd { .. } => DecodeError::Truncated { what: "body" },
        BincodeError::Utf8 { .. } => DecodeError::Text,
        _ => DecodeError::Malformed,
    }
}

/// The bytes that are left to read.
pub(super) struct BytesLeft<'a>(pub(super) &'a [u8]);

impl Reader for BytesLeft<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), BincodeError> {
        let Some((taken, rest)) = self.0.split_at_checked(bytes.len()) else {
            return Err(BincodeError::UnexpectedEnd {
                additional: bytes.len().saturating_sub(self.0.len()),
            });
        };
        bytes.copy_from_slice(taken);
        self.0 = rest;
        Ok(())
    }
}
