//! What happens to the keys of a typed map, as the application reads it.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use futures_core::Stream;

use super::schema::{MapKey, MapValue, TypedRecord, TypedSchema};
use crate::id::Key;
use crate::store::map::feed::{Cause, ChangeOrigin, FeedEvent};
use crate::store::map::{FeedReader, Map};
use crate::store::schema::Index;

/// The follower was too slow, and what it missed is not told any more. Changes go on from here: to have
/// what is true now, read the map. What is read may then be told as a change once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{missed} changes were missed")]
pub struct Lagged {
    /// How many changes of the map were missed, whether or not they would have been told.
    pub missed: u64,
}

/// What happened to one key.
///
/// Changes of a key come in the order in which this node made them, none is left out and none is merged with
/// another: what was there [`before`](Self::before) is what the last change said is there
/// [`now`](Self::now). After [`Lagged`] it is what this node held by then.
pub struct MapChange<K, V> {
    event: Arc<FeedEvent<TypedRecord<K, V>>>,
    /// Where no record has it.
    key: Option<K>,
}

impl<K, V> MapChange<K, V> {
    /// The key. `None` only where nothing readable was ever held under it here, and what was written cannot be
    /// read either; [`key_hash`](Self::key_hash) tells such keys apart.
    #[must_use]
    pub fn key(&self) -> Option<&K> {
        let record = self.event.now.as_ref().or(self.event.before.as_ref());
        record.map(|record| &record.key).or(self.key.as_ref())
    }

    /// The hash of the key.
    #[must_use]
    pub fn key_hash(&self) -> Key {
        self.event.key
    }

    /// The value until now, if there was one.
    #[must_use]
    pub fn before(&self) -> Option<&V> {
        self.event.before.as_ref().map(|record| &record.value)
    }

    /// The value from now on, if there is one.
    #[must_use]
    pub fn now(&self) -> Option<&V> {
        self.event.now.as_ref().map(|record| &record.value)
    }

    /// Why.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.event.cause
    }

    /// Where it came from.
    #[must_use]
    pub fn origin(&self) -> ChangeOrigin {
        self.event.origin
    }
}

impl<K: Clone, V> Clone for MapChange<K, V> {
    fn clone(&self) -> Self {
        Self {
            event: Arc::clone(&self.event),
            key: self.key.clone(),
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for MapChange<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("MapChange");
        match self.key() {
            Some(key) => out.field("key", key),
            None => out.field("key_hash", &self.key_hash()),
        };
        out.field("before", &self.before())
            .field("now", &self.now())
            .field("cause", &self.cause())
            .field("origin", &self.origin())
            .finish()
    }
}

/// The changes of a typed map since this was made, as an asynchronous iterator or as a
/// [`Stream`].
///
/// All that follow a map read one log. It holds at most 8 MiB of what the slowest has not read yet; a slower
/// one is told [`Lagged`]. Each takes up to 64 changes, of 64 KiB, out of it at a time. A change costs the map the same, however many follow it and whatever it holds.
///
/// That a value has expired is told once for each version, by this node's clock, within a second of its end
/// where a node runs (otherwise when the map is collected or counted). If the clock is set back, the value
/// may be read again without being told again.
///
/// It never ends, because a map outlives its node: a loop that should end with the node selects between this
/// and [`Node::stopped`](crate::Node::stopped).
pub struct MapChanges<K, V, I = ()>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    reader: FeedReader<TypedSchema<K, V, I>>,
    only: Option<Only<K>>,
}

type Only<K> = Box<dyn Fn(&K) -> bool + Send + Sync>;

impl<K, V, I> MapChanges<K, V, I>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    pub(super) fn new(map: &Map<TypedSchema<K, V, I>>) -> Self {
        Self {
            reader: map.follow(),
            only: None,
        }
    }

    /// Only the changes of keys that `wanted` holds of. A change whose key cannot be read is left out then.
    #[must_use]
    pub fn only(mut self, wanted: impl Fn(&K) -> bool + Send + Sync + 'static) -> Self {
        self.only = Some(Box::new(wanted));
        self
    }

    /// The next change. Cancel safe: a change is passed only once it is returned.
    ///
    /// # Errors
    /// [`Lagged`], once for each time that this was too slow.
    pub async fn next(&mut self) -> Result<MapChange<K, V>, Lagged> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut task::Context<'_>) -> Poll<Result<MapChange<K, V>, Lagged>> {
        for _ in 0..PASSED_AT_ONCE {
            let Poll::Ready(next) = self.reader.poll_next(context) else {
                return Poll::Pending;
            };
            let event = next.map_err(|missed| Lagged { missed })?;
            let body = event.body.as_ref();
            let change = MapChange {
                key: body.and_then(|body| TypedSchema::<K, V, I>::read_key(event.key, body)),
                event,
            };
            let is_wanted = match (&self.only, change.key()) {
                (None, _) => true,
                (Some(only), Some(key)) => only(key),
                (Some(_), None) => false,
            };
            if is_wanted {
                return Poll::Ready(Ok(change));
            }
        }
        // Other tasks have their turn before more is passed over.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<K, V, I> Stream for MapChanges<K, V, I>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    type Item = Result<MapChange<K, V>, Lagged>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        self.poll(context).map(Some)
    }
}

impl<K, V, I> fmt::Debug for MapChanges<K, V, I>
where
    K: MapKey,
    V: MapValue,
    I: Index<TypedRecord<K, V>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapChanges").finish_non_exhaustive()
    }
}

/// Changes that are passed over in one go because they are not wanted.
const PASSED_AT_ONCE: usize = 256;
