//! What the author of a store implements: a [`Schema`], and an [`Index`] if reads need one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::id::{Key, SchemaId, WriterTag};
use crate::time::Timestamp;

/// What a store's author writes: the shape of records and how they become bytes.
///
/// No method may panic. If [`decode`](Self::decode), [`key`](Self::key) or a check
/// panics while an entry of a peer is read, the panic is contained: the entry is quarantined as [`Unreadable::Invalid`]. If a
/// record panics when it is dropped, that is contained too, and logged with the name of its type. (In a
/// program built with `panic = "abort"`, nothing can contain it.) If [`encode`](Self::encode) or `key`
/// panics during a local write, the caller of the write gets the panic, and the store is unchanged.
///
/// ```
/// # use rumormill::{Body, Key, Schema, SchemaId, Unreadable};
/// /// How many of a service should run.
/// struct Replicas {
///     service: String,
///     count: u32,
/// }
///
/// struct Scaling;
///
/// impl Schema for Scaling {
///     type Record = Replicas;
///     type Index = ();
///
///     fn name(&self) -> &str {
///         "scaling"
///     }
///     fn schemas(&self) -> &[SchemaId] {
///         const { &[SchemaId::new(1)] }
///     }
///     fn key(&self, record: &Replicas) -> Key {
///         Key::of(record.service.as_bytes())
///     }
///     fn encode(&self, record: &Replicas) -> Body {
///         let mut bytes = record.count.to_be_bytes().to_vec();
///         bytes.extend(record.service.as_bytes());
///         Body { schema: SchemaId::new(1), bytes: bytes.into() }
///     }
///     fn decode(&self, _: Key, body: &Body) -> Result<Replicas, Unreadable> {
///         let malformed = Unreadable::Malformed { schema: body.schema };
///         let (count, service) = body.bytes.split_first_chunk().ok_or(malformed.clone())?;
///         let service = String::from_utf8(service.to_vec()).map_err(|_| malformed)?;
///         Ok(Replicas { service, count: u32::from_be_bytes(*count) })
///     }
/// }
/// # #[cfg(feature = "net")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rumormill::{Expiry, Node};
///
/// let mut builder = Node::builder("a").listen("127.0.0.1:0");
/// let scaling = builder.store(Scaling);
/// let node = builder.start().await?;
/// scaling.put(Replicas { service: "web".into(), count: 3 }, Expiry::Never)?;
/// let found = scaling.get(&Key::of(b"web")).expect("it was written");
/// assert_eq!((found.count, found.service.as_str()), (3, "web"));
/// # node.leave().await?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "net"))]
/// # fn main() {}
/// ```
pub trait Schema: Send + Sync + 'static {
    /// What callers put and get; shared as `Arc`.
    type Record: Send + Sync + 'static;
    /// A view of the records, updated with every change; `()` for none.
    type Index: Index<Self::Record>;

    /// The store's name, equal on every node: 1 to 64 bytes without control characters, checked
    /// when the node starts.
    fn name(&self) -> &str;
    /// The shapes that [`decode`](Self::decode) reads, at most 256; those of other numbers are
    /// quarantined unseen. A constant: `const { &[SchemaId::new(1)] }`.
    fn schemas(&self) -> &[SchemaId];
    /// The entry key of a record.
    fn key(&self, record: &Self::Record) -> Key;
    /// Bytes of a record. Must be a function of the record alone.
    fn encode(&self, record: &Self::Record) -> Body;
    /// The record in a body. It is called for what peers sent, and for every local write, which
    /// fails if the record that was encoded cannot be read back.
    ///
    /// # Errors
    /// [`Unreadable`] quarantines the entry.
    fn decode(&self, key: Key, body: &Body) -> Result<Self::Record, Unreadable>;
    /// Whether the entry of a peer with this record may have this timestamp. For a store whose bodies say
    /// when they were written: what they say is then no later than a node lets an entry be. It is not
    /// called for local writes. Default: yes.
    ///
    /// # Errors
    /// [`Unreadable`] quarantines the entry.
    fn check_ts(&self, record: &Self::Record, ts: Timestamp) -> Result<(), Unreadable> {
        let _ = (record, ts);
        Ok(())
    }
    /// Whether the entry of a peer with this record may say that it was written by `writer`. For a store whose
    /// records belong to somebody: what another one writes in their place is then not used. It is not called
    /// for local writes. Default: yes.
    ///
    /// # Errors
    /// [`Unreadable`] quarantines the entry.
    fn check_writer(&self, record: &Self::Record, writer: WriterTag) -> Result<(), Unreadable> {
        let _ = (record, writer);
        Ok(())
    }
    /// Whether what this node wrote while its clock was ahead, and that nobody else holds for that, gives way to what
    /// others hold. Not where it is this node's alone to write: then nothing of it is lost. Default: yes.
    fn gives_way(&self) -> bool {
        true
    }
    /// From when on the record is hidden, where it says so itself. Reads show it until then, or until its entry
    /// expires, whichever comes first: an entry's expiry never shrinks, and this can. It must be a function
    /// of the record alone. Default: never. A panic counts as never.
    fn hidden_from(&self, record: &Self::Record) -> Timestamp {
        let _ = record;
        Timestamp::MAX
    }
    /// What is left of a record once it is removed: the body of its tombstone, given its own. A store whose
    /// natural keys are hashed leaves the natural key, so that a removal can be told by it. Default: nothing.
    fn tombstone(&self, key: Key, body: &Body) -> Bytes {
        let _ = (key, body);
        Bytes::new()
    }
    /// Whether the tombstone of a peer may have this body, which is not empty. The key is removed in any
    /// case. Default: yes, whatever it is.
    ///
    /// # Errors
    /// [`Unreadable`] lists the tombstone as quarantined.
    fn check_tombstone(&self, key: Key, bytes: &Bytes) -> Result<(), Unreadable> {
        let _ = (key, bytes);
        Ok(())
    }
    /// The natural key of an entry as people read it, from the body of a record or of a tombstone; `None` if
    /// the body does not tell. Default: it does not.
    fn key_text(&self, key: Key, body: &Body) -> Option<String> {
        let _ = (key, body);
        None
    }
    /// About how long [`decode`](Self::decode) takes for a body on a slow machine, and what the index does with
    /// its record, as the bytes show it to one look. A node does so much in one turn and puts off the
    /// rest, so that bodies that are slow to decode hold nothing else up. Default: 2 us a KiB. A panic counts
    /// as a second.
    fn work(&self, body: &[u8]) -> Duration {
        Duration::from_micros(2) * u32::try_from(body.len() / 1024).unwrap_or(u32::MAX)
    }
    /// About how many bytes of memory a record takes beside its own size and its body, as [`decode`](Self::decode) made it. What
    /// of that is more than four times its body and a kibibyte counts against the store's limits, as its bytes do. Default:
    /// none. A panic counts as none.
    fn memory(&self, record: &Self::Record) -> usize {
        let _ = record;
        0
    }
    /// Whether a node that joins with nothing should get this record before the others, as of `now`. It
    /// is then sent before everything that is not urgent, of this store and of others. The result must
    /// depend on the record and the instant alone. Default: no. A panic counts as no.
    fn is_urgent(&self, record: &Self::Record, now: Timestamp) -> bool {
        let _ = (record, now);
        false
    }
}

/// A record in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its shape.
    pub schema: SchemaId,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Why a body cannot be used here. The entry is quarantined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The bytes are not a record of that shape.
    #[error("the body does not decode as schema {schema:?}")]
    Malformed {
        /// The shape it claims.
        schema: SchemaId,
    },
    /// The record's own key is not the entry's.
    #[error("the record belongs to another key")]
    WrongKey,
    /// A rule of the schema is broken, or the schema panicked.
    #[error("the record breaks a rule: {rule}")]
    Invalid {
        /// Which.
        rule: &'static str,
    },
    /// A shape this node does not know.
    #[error("schema {schema:?} is not known here")]
    UnknownSchema {
        /// The shape.
        schema: SchemaId,
    },
}

/// A store's own view of its records, updated under the store's lock with every change. `()` is no view.
///
/// It should not panic. If it does, the panic is contained: the record that was to be indexed is
/// quarantined as [`Unreadable::Invalid`], whether it is a peer's or a local write, and the index may
/// have missed a change. (In a program built with `panic = "abort"`, nothing can contain it.)
pub trait Index<R>: Default + Send + 'static {
    /// `record` is now the value of `key`; `old` was before.
    fn insert(&mut self, key: Key, old: Option<&Arc<R>>, record: &Arc<R>);
    /// `key` has no usable value any more (removed, collected or quarantined).
    fn remove(&mut self, key: Key, old: &Arc<R>);
}

impl<R> Index<R> for () {
    fn insert(&mut self, _: Key, _: Option<&Arc<R>>, _: &Arc<R>) {}
    fn remove(&mut self, _: Key, _: &Arc<R>) {}
}
