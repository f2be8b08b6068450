//! Records that are checked when they come and read when somebody asks: most of what a node holds, it
//! holds for others.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// A record, or the bytes that it can be read from.
#[derive(Clone)]
pub(super) struct Lazy<R> {
    /// What it came in; empty where the record was there from the start.
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

    /// The bytes, where it was never read; else the record.
    pub(super) fn look(&self) -> Result<&Arc<R>, &Bytes> {
        self.record.get().ok_or(&self.body)
    }

    /// The record, which `read` makes of the bytes the first time.
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
