//! Records that are checked when they come, and read whole only when they are asked for. Most of what a
//! node holds, it holds for other nodes and never reads.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// A record, or the bytes that it can be read from.
#[derive(Clone)]
pub(super) struct Lazy<R> {
    /// The bytes it came in; empty if the record was there from the start.
    body: Bytes,
    record: OnceLock<Arc<R>>,
}

impl<R> Lazy<R> {
    /// A record that is still in its bytes.
    pub(super) fn in_bytes(body: Bytes) -> Self {
        Self {
            body,
            record: OnceLock::new(),
        }
    }

    /// The record. The first time, `read` makes it of the bytes.
    pub(super) fn get(&self, read: impl FnOnce(&Bytes) -> R) -> &Arc<R> {
        self.record.get_or_init(|| Arc::new(read(&self.body)))
    }
}

impl<R> From<R> for Lazy<R> {
    fn from(record: R) -> Self {
        Self {
            body: Bytes::new(),
            record: OnceLock::from(Arc::new(record)),
        }
    }
}
