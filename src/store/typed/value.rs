//! What a read of a typed map returns.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::schema::TypedRecord;
use crate::time::Timestamp;

/// A key and its value as they were when they were read. It dereferences to the value.
pub struct ValueRef<K, V>(pub(super) Arc<TypedRecord<K, V>>);

impl<K, V> ValueRef<K, V> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.0.key
    }

    /// When it is hidden, by this node's clock, if it is.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at()
    }
}

impl<K, V> Deref for ValueRef<K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0.value
    }
}

impl<K, V> Clone for ValueRef<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for ValueRef<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
