//! What reads of a store return beside records.

use std::sync::Arc;

use super::schema::Unreadable;
use crate::id::{Key, SchemaId, WriterTag};

/// An entry that is kept and relayed but cannot be used here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantined {
    /// Its key.
    pub key: Key,
    /// Its key as people read it, where the body still tells it.
    pub key_text: Option<String>,
    /// Who wrote it, as it says.
    pub writer: WriterTag,
    /// Its shape.
    pub schema: SchemaId,
    /// Why.
    pub why: Unreadable,
}

/// What has changed since some change: what [`Map::changed`](super::Map::changed) returns.
#[derive(Debug)]
#[non_exhaustive]
pub struct ChangedRecords<R> {
    /// The keys that have changed, the oldest change first, each once, and the record that
    /// [`Map::get`](super::Map::get) would return.
    pub records: Vec<(Key, Option<Arc<R>>)>,
    /// The last change: pass it to the next call.
    pub seq: u64,
}
