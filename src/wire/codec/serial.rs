//! Values of any serde type, through bincode: the keys and values of typed maps.
//!
//! They are written as `bincode` 2 `standard()` writes them, without names or types: both sides must know
//! what they are. What needs its own description to be read back (`flatten`, `untagged`, skipped fields)
//! is refused.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{DecodeError, check_end};
use super::settings::{SETTINGS, unreadable};

/// A value that serde or the codec cannot turn into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value has no encoding")]
pub struct NoEncoding;

/// Appends a value to `out`.
///
/// # Errors
/// [`NoEncoding`]; `out` may have grown.
pub fn encode_value<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), NoEncoding> {
    let written = bincode::serde::encode_into_std_write(value, out, SETTINGS);
    written.map(drop).map_err(|_| NoEncoding)
}

/// Calls `look` with the bytes of a value. Most keys are short, and cost no allocation.
///
/// # Errors
/// [`NoEncoding`]; `look` was not called.
pub fn with_encoded<T, R>(value: &T, look: impl FnOnce(&[u8]) -> R) -> Result<R, NoEncoding>
where
    T: Serialize + ?Sized,
{
    let mut short = [0; SHORT];
    if let Ok(written) = bincode::serde::encode_into_slice(value, &mut short, SETTINGS) {
        return Ok(look(short.get(..written).unwrap_or_default()));
    }
    let mut long = Vec::new();
    encode_value(value, &mut long)?;
    Ok(look(&long))
}

/// Appends a number to `out`, as [`Values::take_u64`](super::Values::take_u64) reads it.
pub fn encode_u64(number: u64, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, nor has a number no encoding.
    let _ = bincode::encode_into_std_write(number, out, SETTINGS);
}

/// The value in these bytes, all of them.
///
/// # Errors
/// [`DecodeError`], as [`decode_body`](super::decode_body).
pub fn decode_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let decoded = bincode::serde::decode_from_slice(bytes, SETTINGS);
    let (value, read) = decoded.map_err(unreadable)?;
    check_end(bytes.get(read..).unwrap_or_default())?;
    Ok(value)
}

/// Bytes of a value that are not allocated.
const SHORT: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        encode_value(value, &mut out).expect("it has an encoding");
        out
    }

    #[test]
    fn a_borrowed_key_has_the_bytes_of_an_owned_one() {
        assert_eq!(bytes("web"), bytes(&"web".to_owned()));
        assert_eq!(bytes("web"), b"\x03web");
        assert_eq!(bytes(&[1_u16, 300][..]), bytes(&vec![1_u16, 300]));
        assert_eq!(bytes(&("a", 7_u64)), bytes(&("a".to_owned(), 7_u64)));
    }

    #[test]
    fn long_values_have_the_bytes_of_short_ones() {
        for len in [0, 1, SHORT - 2, SHORT - 1, SHORT, 4 * SHORT] {
            let text = "x".repeat(len);
            let seen = with_encoded(&text, <[u8]>::to_vec);
            assert_eq!(seen, Ok(bytes(&text)));
        }
    }

    #[test]
    fn a_value_survives_and_what_is_left_over_is_seen() {
        let value = (7_u8, Some("x".to_owned()), vec![1_i64, -1]);
        let mut written = bytes(&value);
        assert_eq!(decode_value(&written), Ok(value));
        written.push(0);
        let read = decode_value::<(u8, Option<String>, Vec<i64>)>(&written);
        assert!(
            matches!(read, Err(DecodeError::Trailing { .. })),
            "{read:?}"
        );
        assert!(decode_value::<String>(b"\x09short").is_err());
    }

    #[test]
    fn a_length_that_lies_claims_no_memory() {
        // 2^62 elements of no bytes known yet.
        let mut hostile = vec![253];
        hostile.extend_from_slice(&(1_u64 << 62).to_le_bytes());
        assert!(decode_value::<Vec<u64>>(&hostile).is_err());
        assert!(decode_value::<String>(&hostile).is_err());
    }

    #[test]
    fn numbers_are_written_as_values_read_them() {
        for number in [0, 250, 251, 1 << 20, u64::MAX] {
            let mut out = Vec::new();
            encode_u64(number, &mut out);
            assert_eq!(out, bytes(&number));
            assert_eq!(super::super::Values::new(&out).take_u64(), Ok(number));
        }
    }
}
