//! Message and bytes.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bytes::Bytes;

/// Largest body that is encoded or decoded.
const BODY_BYTES_MAX: usize = 16 << 20;

const BODY: Configuration<LittleEndian, Varint, Limit<BODY_BYTES_MAX>> =
    bincode::config::standard().with_limit::<BODY_BYTES_MAX>();

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not a value of the expected shape.
    #[error("malformed")]
    Malformed,
    /// Bytes are left over.
    #[error("{bytes} bytes left over")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

/// The bytes of a record.
#[must_use]
pub fn encode_body<T: bincode::Encode>(record: &T) -> Bytes {
    bincode::encode_to_vec(record, BODY)
        .expect("a record in memory encodes")
        .into()
}

/// The record in a body; bytes left over are refused.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_body<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (record, used) =
        bincode::decode_from_slice(bytes, BODY).map_err(|_| DecodeError::Malformed)?;
    match bytes.len() - used {
        0 => Ok(record),
        bytes => Err(DecodeError::Trailing { bytes }),
    }
}
