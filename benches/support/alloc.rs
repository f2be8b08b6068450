//! An allocator that counts: the system's, with two counters that run while [`counted`] does.
#![allow(unreachable_pub, reason = "as in the modules beside")]
#![allow(unsafe_code, reason = "an allocator has no other way")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// What some work asked of the allocator, on all threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocated {
    /// How often it asked for memory, growing what it had included.
    #[allow(dead_code, reason = "not every bench asks")]
    pub count: u64,
    /// The bytes that it asked for and has not given back.
    pub bytes_held: i64,
}

/// Counts what `work` allocates. Nothing else is to run meanwhile.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Allocated) {
    COUNT.store(0, Relaxed);
    BYTES_HELD.store(0, Relaxed);
    COUNTING.store(true, Relaxed);
    let made = work();
    COUNTING.store(false, Relaxed);
    let allocated = Allocated {
        count: COUNT.load(Relaxed),
        bytes_held: BYTES_HELD.load(Relaxed),
    };
    (made, allocated)
}

struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES_HELD: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(asked: usize, given_back: usize) {
    if COUNTING.load(Relaxed) {
        COUNT.fetch_add(u64::from(asked > 0), Relaxed);
        BYTES_HELD.fetch_add(asked as i64 - given_back as i64, Relaxed);
    }
}

// SAFETY: all is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}
