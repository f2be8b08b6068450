//! The lock of a store.
//!
//! What a change displaces is dropped after the lock is released: dropping a record runs code of its author,
//! which may call the store. A thread that takes the lock while it has it would wait for ever; it
//! panics instead.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::contained::Contained;
use super::contents::Contents;
use crate::store::schema::Schema;

/// What a store's lock protects, and who has the lock.
pub(super) struct StoreLock<S: Schema> {
    contents: Mutex<Contents<S>>,
    /// The number of the thread that has it, or 0.
    holder: AtomicU64,
}

/// The lock while it is held.
pub(super) struct Locked<'a, S: Schema> {
    // In this order: what is waste is dropped when the lock is released.
    contents: MutexGuard<'a, Contents<S>>,
    waste: Vec<Contained<S::Record>>,
    holder: &'a AtomicU64,
}

impl<S: Schema> StoreLock<S> {
    pub(super) fn new(contents: Contents<S>) -> Self {
        Self {
            contents: Mutex::new(contents),
            holder: AtomicU64::new(0),
        }
    }

    /// Takes the lock. That it may be poisoned does not matter: a panic under it can only come from code of a
    /// schema's author, and entries are stored before that is called.
    ///
    /// # Panics
    /// If this thread has it, with the name of the store.
    pub(super) fn lock(&self, schema: &S) -> Locked<'_, S> {
        let thread = THREAD.with(|thread| *thread);
        // Only this thread writes its own number, so what it reads is right.
        assert!(
            self.holder.load(Ordering::Relaxed) != thread,
            "the store {:?} is called from under its own lock",
            schema.name()
        );
        let contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        self.holder.store(thread, Ordering::Relaxed);
        Locked {
            contents,
            waste: Vec::new(),
            holder: &self.holder,
        }
    }
}

impl<S: Schema> Deref for Locked<'_, S> {
    type Target = Contents<S>;

    fn deref(&self) -> &Contents<S> {
        &self.contents
    }
}

impl<S: Schema> DerefMut for Locked<'_, S> {
    fn deref_mut(&mut self) -> &mut Contents<S> {
        &mut self.contents
    }
}

impl<S: Schema> Drop for Locked<'_, S> {
    fn drop(&mut self) {
        self.waste = self.contents.take_waste();
        self.holder.store(0, Ordering::Relaxed);
    }
}

static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The number of this thread: no other one ever has it.
    static THREAD: u64 = THREADS.fetch_add(1, Ordering::Relaxed);
}
