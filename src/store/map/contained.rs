//! A record that a store holds. Dropping it runs code of the record's author, which must not stop the
//! node: a panic of it ends here.

use std::any::type_name;
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A record, shared with those that read it.
pub(in crate::store) struct Contained<R>(Option<Arc<R>>);

impl<R> Contained<R> {
    pub(super) fn new(record: R) -> Self {
        Self(Some(Arc::new(record)))
    }
}

impl<R> Clone for Contained<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R> Deref for Contained<R> {
    type Target = Arc<R>;

    fn deref(&self) -> &Arc<R> {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<R> fmt::Debug for Contained<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(type_name::<R>())
    }
}

impl<R> Drop for Contained<R> {
    fn drop(&mut self) {
        let record = self.0.take();
        // A record that others read as well runs nothing.
        if catch_unwind(AssertUnwindSafe(|| drop(record))).is_err() {
            let record = type_name::<R>();
            tracing::error!(record, "a record panicked when it was dropped");
        }
    }
}
