//! Which keys of a built-in type have changed, as the application reads it.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::store::typed::Lagged;

/// The keys of a built-in type as they change, from when this was made, as an asynchronous iterator or as a
/// [`Stream`]. What a key comes to now is read from the type.
///
/// A key is told for every write of a process, in the order in which this node took them, also where
/// what is read stays the same: if an element is added once more, or a process takes over what an earlier one under its
/// name wrote. All that follow a type read one log, of at most 8 MiB of what the slowest has not read yet.
///
/// It never ends, because a store outlives its node: a loop that should end with the node selects between this
/// and [`Node::stopped`](crate::Node::stopped).
///
/// ```
/// # #[cfg(feature = "net")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rumormill::Node;
///
/// let mut builder = Node::builder("a").listen("127.0.0.1:0");
/// let hits = builder.counter::<String>("hits");
/// let node = builder.start().await?;
///
/// let mut changed = hits.changes();
/// hits.add("/index", 3)?;
/// assert_eq!(changed.next().await?, "/index");
/// # node.leave().await?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "net"))]
/// # fn main() {}
/// ```
pub struct ChangedKeys<K> {
    read: Box<TakeNext<K>>,
}

/// Takes the next event of a type's log: its key, where it can be read.
type TakeNext<K> = dyn FnMut(&mut Context<'_>) -> Poll<Result<Option<K>, Lagged>> + Send + Sync;

impl<K> ChangedKeys<K> {
    pub(super) fn new(
        read: impl FnMut(&mut Context<'_>) -> Poll<Result<Option<K>, Lagged>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            read: Box::new(read),
        }
    }

    /// The next key that has changed. Cancel safe: a key is passed only once it is returned.
    ///
    /// # Errors
    /// [`Lagged`], once for each time that this was too slow: any key may have changed.
    pub async fn next(&mut self) -> Result<K, Lagged> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<K, Lagged>> {
        for _ in 0..PASSED_AT_ONCE {
            match (self.read)(context) {
                Poll::Ready(Ok(Some(key))) => return Poll::Ready(Ok(key)),
                // What cannot be read here is shown by no read either.
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(lagged)) => return Poll::Ready(Err(lagged)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Other tasks have their turn before more is passed over.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<K> Stream for ChangedKeys<K> {
    type Item = Result<K, Lagged>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context).map(Some)
    }
}

impl<K> fmt::Debug for ChangedKeys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangedKeys").finish_non_exhaustive()
    }
}

/// Events that are passed over in one go because their keys cannot be read.
const PASSED_AT_ONCE: usize = 256;
