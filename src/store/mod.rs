//! Stores: typed records over the replicated map.
//!
//! [`Store`] is what the engine needs of any store, whatever its records; [`Schema`] is what a
//! store's author writes; [`Map`] joins the two.
//!
//! Locking: a store has one lock, held for at most 256 entries at a time. No decoding, encoding,
//! validation, regular expression or other code of a schema runs under it, except the index, which
//! is given finished records.

pub mod index;
mod lazy;
pub mod map;
pub mod matcher;
pub mod nflog;
pub mod silences;
pub mod snapshot;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Config, ConfigError};
use crate::crdt::estimator::Estimator;
use crate::crdt::sketch::Sketch;
use crate::id::NodeName;
use crate::time::{Timestamp, WallClock};
pub use map::{Changed, Expiry, Map, Quarantined, WriteError, Written};

use crate::wire::{Entry, Item, Key, Refusal, SchemaId, StoreId};

/// A change and its place in the store's local change sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Local to `(process, store)`; starts at 1 and grows by one with every accepted change.
    pub seq: u64,
    /// The key's current entry.
    pub entry: Entry,
}

/// What became of one merged entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// Nothing new in it (the store holds this version or a later one), or it is past its
    /// collection and the store holds nothing: acknowledged all the same.
    Known,
    /// Not taken.
    Refused(Refusal),
    /// Taken, as change `seq`.
    Stored {
        /// The change.
        seq: u64,
        /// The key now holds exactly the entry that came. False where the join took something from
        /// what was held before: that entry is nobody else's yet.
        as_sent: bool,
        /// It cannot be evaluated here: kept and relayed, listed, never used.
        quarantined: bool,
    },
}

/// The digest of a store at a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Digest {
    /// Entries that outlive the cut.
    pub count: u64,
    /// Wrapping sum of their 128-bit hashes.
    pub root: u128,
}

/// All digests of a store at a cut, of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Count and root.
    pub digest: Digest,
    /// From which the size of a difference is read.
    pub estimator: Estimator,
    /// The size of the table: `4 x 2^exponent` cells.
    pub exponent: u8,
    /// What it took to move them there: runs of 256 entries that were crossed, the last one whole or
    /// not.
    pub runs: usize,
}

/// A store's root and table at a cut, of one moment.
#[derive(Clone, Debug)]
pub struct Sketched {
    /// Count and root.
    pub digest: Digest,
    /// The latest change at that moment.
    pub head: u64,
    /// The table.
    pub table: Sketch,
}

/// Which entries a sweep over a store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Only those that outlive it.
    pub cut: Timestamp,
    /// The instant at which entries are urgent or not.
    pub wall: Timestamp,
    /// First the urgent ones are taken, in a sweep of their own. The other sweep takes all but
    /// the urgent ones among the changes up to `head`.
    pub urgent: bool,
    /// The latest change when the sweep of the urgent ones began.
    pub head: u64,
}

/// What the engine needs of a store. All calls are short: they take the store's lock for at most
/// 256 entries. Of a schema, only its index is called under the lock, by `merge_into` and `collect`;
/// `merge_into` decodes, and `sweep` asks what is urgent, outside of it.
pub trait Store: Send + Sync {
    /// Its number on the wire.
    fn id(&self) -> StoreId;
    /// Its name.
    fn name(&self) -> &str;
    /// The record shapes it reads.
    fn schemas(&self) -> Vec<SchemaId>;
    /// The latest change sequence; 0 when nothing was ever written.
    fn head(&self) -> u64;
    /// How many keys have changed after `after`.
    fn backlog(&self, after: u64) -> usize;
    /// The changes after `after`, oldest first, one per key: at most `entries_max` (itself at
    /// most 256), and no more once their encoded length reaches `bytes_max`; always at least one
    /// if there is any.
    fn changes(&self, after: u64, entries_max: usize, bytes_max: usize) -> Vec<Change>;
    /// The current entry of a key, collected or hidden ones excepted from neither: what is held.
    fn held(&self, key: &Key) -> Option<Change>;
    /// Joins entries in. Appends the answers to `out`, one by one, in order. `wall` is now. For an
    /// entry that is known, nothing is allocated but the room for its answer.
    fn merge_into(&self, entries: &[Entry], wall: Timestamp, out: &mut Vec<Merged>);
    /// As [`merge_into`](Self::merge_into), the answers in a list of their own.
    fn merge(&self, entries: &[Entry], wall: Timestamp) -> Vec<Merged> {
        let mut out = Vec::new();
        self.merge_into(entries, wall, &mut out);
        out
    }
    /// The digest above `cut`.
    fn digest(&self, cut: Timestamp) -> Digest;
    /// The digests above `cut`.
    fn digests(&self, cut: Timestamp) -> Digests;
    /// The table above `cut`, folded to at most `4 x 2^exponent` cells. Folding the largest table
    /// reads 786 kB under the lock, about as long as merging 256 entries takes.
    fn sketch(&self, cut: Timestamp, exponent: u8) -> Sketched;
    /// Appends what is held under these hashes of keys to `out`, in their order: for each at most
    /// one, but for collisions. The lock is held for 256 of them at a time.
    fn find(&self, hashes: &[u64], out: &mut Vec<Found>);
    /// Appends the entries among up to 256 slots from `position` on that the sweep takes to `out`,
    /// and stops once their encoded length reaches `bytes_max`; answers where to go on, or `None`
    /// at the end. Every entry that is held from the first call to the last is met once.
    fn sweep(
        &self,
        position: usize,
        sweep: &Sweep,
        bytes_max: usize,
        out: &mut Vec<Change>,
    ) -> Option<usize>;
    /// Appends the items above `cut` of up to 256 slots from `position` on to `out`, each with its
    /// key and entry hash; answers where to go on, or `None` at the end. Not sorted.
    fn items(&self, position: usize, cut: Timestamp, out: &mut Vec<HashedItem>) -> Option<usize>;
    /// Frees what is past `expires_at` plus grace, at most 256 entries; answers when to come back
    /// (a time not after `wall` if there is more to do now), `None` if nothing will ever expire.
    fn collect(&self, wall: Timestamp) -> Option<Timestamp>;
    /// Calls `hook` after every accepted change, local or merged, outside the lock. It must be
    /// cheap and must not call back. Hooks add up.
    fn on_change(&self, hook: Arc<dyn Fn() + Send + Sync>);
    /// How many entries are held, quarantined ones and tombstones included.
    fn len(&self) -> usize;
    /// Whether nothing is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Entries held beyond which local writes get `StoreFull`.
    fn entries_max(&self) -> usize;
    /// Whether new keys of peers are refused: it holds twice as many as local writes may make.
    fn is_full(&self) -> bool {
        self.len() >= merged_max(self.entries_max())
    }
}

/// Entries held beyond which new keys of peers are refused, where local writes stop at `entries_max`.
const fn merged_max(entries_max: usize) -> usize {
    entries_max.saturating_mul(2)
}

/// An item of a sorted list with what the holder knows beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashedItem {
    /// What goes on the wire.
    pub item: Item,
    /// The key it stands for.
    pub key: Key,
    /// The entry's 128-bit hash, as summed in the root.
    pub hash: u128,
}

/// An entry found by the hash of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its item, key and hash.
    pub hashed: HashedItem,
    /// Its change.
    pub seq: u64,
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

/// A store's own view of its records, kept in step under the store's lock. `()` is none.
///
/// It should not panic. A panic is contained: the record that was to be indexed is quarantined as
/// [`Unreadable::Invalid`], be it a peer's or a local write; the index may have missed a change. (Where
/// the program is built with `panic = "abort"`, nothing can contain it.)
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

/// What a store's author writes: the shape of records and how they become bytes.
///
/// No method may panic. A panic of [`decode`](Self::decode) or [`key`](Self::key) while an entry
/// of a peer is read is contained: the entry is quarantined as [`Unreadable::Invalid`]. (Where the
/// program is built with `panic = "abort"`, nothing can contain it.) A panic of
/// [`encode`](Self::encode) or `key` during a local write goes to the caller of the write; the
/// store is unchanged.
///
/// ```
/// # use rumormill::store::{Body, Schema, Unreadable};
/// # use rumormill::wire::{Key, SchemaId};
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
    /// A view kept in step with the records.
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
    /// Whether a node that joins with nothing should have this record before the others, as of
    /// `now`. It is then sent before everything that is not urgent, of this store and of others.
    /// The same record and instant must give the same answer. Default: no. A panic counts as no.
    fn is_urgent(&self, record: &Self::Record, now: Timestamp) -> bool {
        let _ = (record, now);
        false
    }
}

/// What a store is given by whoever runs it: the node, or the simulator.
#[derive(Clone)]
pub struct Context {
    /// Where local writes read the wall clock.
    pub clock: Arc<dyn WallClock>,
    /// Who follows writes to other processes.
    pub tracker: Arc<dyn Tracker>,
}

/// The limits of one store; every one of them is the same on all nodes of a sane cluster. Bounds
/// are those of the fields of [`Config`] with the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Local writes beyond this many entries get `StoreFull`; merges may reach twice as many.
    /// Default 1,000,000; 1 to 2^30.
    pub entries_max: usize,
    /// Largest body, in bytes. Default 1 MiB; 1 to 16 MiB.
    pub entry_bytes_max: usize,
    /// An entry stamped further ahead of this node's clock is refused. Default 5 min;
    /// 1 ms to 24 h.
    pub max_clock_drift: Duration,
    /// How long the tombstone of an entry without expiry is kept. Default 5 days; 1 ms to 366
    /// days.
    pub tombstone_ttl: Duration,
}

impl Default for Limits {
    /// Those of [`Config::lan`].
    fn default() -> Self {
        Self::from(&Config::lan())
    }
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self {
            entries_max: config.entries_max,
            entry_bytes_max: config.entry_bytes_max,
            max_clock_drift: config.max_clock_drift,
            tombstone_ttl: config.tombstone_ttl,
        }
    }
}

impl Limits {
    /// How long after `expires_at` an entry is physically kept: `max_clock_drift` + 60 s.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.max_clock_drift.saturating_add(Duration::from_secs(60))
    }

    /// Checks every field against its bounds. Building a node does this too.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that is wrong, its value and its bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        // The bounds are the configuration's, and written there once.
        let config = Config::lan()
            .entries_max(self.entries_max)
            .entry_bytes_max(self.entry_bytes_max)
            .max_clock_drift(self.max_clock_drift)
            .tombstone_ttl(self.tombstone_ttl);
        config.validate()
    }
}

/// One accepted local write, as far as following it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteId {
    /// The store.
    pub store: StoreId,
    /// The key.
    pub key: Key,
    /// The change it became.
    pub seq: u64,
}

/// Follows writes to disks and to other processes; implemented by the node.
pub trait Tracker: Send + Sync {
    /// Resolves once `copies` other processes hold the write or a later one of its key. With
    /// `copies` 0, once this process holds it durably.
    fn watch(&self, write: WriteId, copies: usize) -> Watch;
}

/// The future of a followed write. Dropping it stops following, nothing else.
pub type Watch = Pin<Box<dyn Future<Output = Result<Held, ReplicationError>> + Send>>;

/// How many other processes held a write when the wait ended well. To hold it is to keep it and
/// pass it on; whether a process can use it too is its own affair, see [`Unreadable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Other processes, by distinct name and boot.
    pub copies: usize,
}

/// Why a write is not known to be held by as many processes as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicationError {
    /// The store does not belong to a running node.
    #[error("the node of this store is not running")]
    NotRunning,
    /// A member refused it, and without that member the number cannot be reached.
    #[error("{peer} refused the entry: {reason:?}")]
    Refused {
        /// Who.
        peer: NodeName,
        /// Why.
        reason: Refusal,
    },
    /// The local commit failed.
    #[error("the local disk did not take the write")]
    NotDurable,
    /// The cluster has too few members that are not down.
    #[error("{asked} copies asked for, with {members} other members")]
    TooFewMembers {
        /// Copies asked for.
        asked: usize,
        /// Members beside this one.
        members: usize,
    },
    /// Too many writes are being followed already.
    #[error("already following {max} writes")]
    TooManyWatches {
        /// The limit.
        max: usize,
    },
    /// Time ran out.
    #[error("{held} copies when time ran out")]
    Timeout {
        /// Copies by then.
        held: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_bounds_of_the_configuration() {
        assert_eq!(Limits::default().validate(), Ok(()));
        let field = |limits: Limits| match limits.validate() {
            Err(ConfigError::TooLarge { field, .. } | ConfigError::TooSmall { field, .. }) => field,
            other => panic!("expected a bound, got {other:?}"),
        };
        let with = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            field(limits)
        };
        assert_eq!(with(|l| l.entries_max = 0), "entries_max");
        assert_eq!(
            with(|l| l.entry_bytes_max = (16 << 20) + 1),
            "entry_bytes_max"
        );
        assert_eq!(
            with(|l| l.max_clock_drift = Duration::MAX),
            "max_clock_drift"
        );
        assert_eq!(with(|l| l.tombstone_ttl = Duration::ZERO), "tombstone_ttl");
    }

    #[test]
    fn the_grace_of_any_drift_is_a_duration() {
        let limits = Limits {
            max_clock_drift: Duration::MAX,
            ..Limits::default()
        };
        assert_eq!(limits.grace(), Duration::MAX);
    }
}
