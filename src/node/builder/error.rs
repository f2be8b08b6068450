//! Why a node did not start.

use std::io;
use std::net::SocketAddr;

use crate::config::ConfigError;
use crate::id::NameError;
use crate::net::BindError;
#[cfg(feature = "tls")]
use crate::net::tls::{TlsBindError, TlsError};
#[cfg(feature = "persist")]
use crate::persist::PersistError;

/// Why a node did not start. Nothing of it is left behind; stores that were made for it stay
/// readable and are never replicated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A text is not an address of the form `ip:port`.
    #[error("the {setting} address {text:?} is not of the form ip:port")]
    Address {
        /// Which setting.
        setting: &'static str,
        /// Its text.
        text: String,
    },
    /// The advertised address is one that no peer can reach.
    #[error("{addr} cannot be advertised: it is unspecified")]
    AdvertiseUnspecified {
        /// The address.
        addr: SocketAddr,
    },
    /// The address could not be bound.
    #[error("cannot listen on {addr}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The cluster id is not valid.
    #[error("the cluster id {cluster:?} is not valid")]
    Cluster {
        /// The id.
        cluster: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The configuration is not valid: the message names the field, its value and its bound.
    #[error(transparent)]
    Config(ConfigError),
    /// The disk cannot be used: another process uses the directory, it cannot be made, or it is of another
    /// cluster.
    #[cfg(feature = "persist")]
    #[error("the disk cannot be used")]
    Disk(#[source] PersistError),
    /// The system has no room for the thread of the disk.
    #[cfg(feature = "persist")]
    #[error("the thread of the disk cannot be started")]
    DiskThread {
        /// What the system said.
        source: io::Error,
    },
    /// Two stores have one name.
    #[error("two stores are named {name:?}")]
    DuplicateStore {
        /// The name.
        name: String,
    },
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers")]
    Entropy,
    /// A node cannot expel itself.
    #[error("the node {name:?} is among those that it has expelled")]
    ExpelledItself {
        /// Its name.
        name: String,
    },
    /// The limits of a store are not valid.
    #[error("the limits of the store {store:?} are not valid")]
    Limits {
        /// The store.
        store: String,
        /// Which limit, its value and its bound.
        source: ConfigError,
    },
    /// The node's name is not valid.
    #[error("the node name {name:?} is not valid")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// There is no tokio runtime: [`Builder::start`](super::Builder::start) was polled outside of one.
    #[error(
        "a node starts within a tokio runtime with I/O and time enabled, and there is none here"
    )]
    NoRuntime,
    /// A seed is not of the form `host:port`.
    #[error("the seed {text:?} is not of the form host:port")]
    Seed {
        /// The seed.
        text: String,
    },
    /// A seed is a list. Each address is a seed of its own.
    #[error("the seed {text:?} is a list: give each address as a seed of its own")]
    SeedList {
        /// The list.
        text: String,
    },
    /// Set after a store was made: the store has taken what it needs from an earlier value.
    #[error("{setting} must be set before the first store is made")]
    SettingAfterStores {
        /// Which setting.
        setting: &'static str,
    },
    /// The names of two stores come to the same number: rename one.
    #[error("the stores {name:?} and {other:?} come to the same number")]
    StoreIdClash {
        /// One name.
        name: String,
        /// The other one.
        other: String,
    },
    /// The name of a store is not valid: see [`Schema::name`](crate::store::Schema::name).
    #[error("the store name {name:?} is not valid")]
    StoreName {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The certificates or settings of TLS are not usable.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// [`Builder::tls`](super::Builder::tls) was set, and the node was to start on a transport that is bound already: what
    /// it speaks is that transport's.
    #[cfg(feature = "tls")]
    #[error(
        "TLS was set, but a transport that is bound already speaks what it speaks: use start()"
    )]
    TlsOnTransport,
    /// The names and record shapes of all stores do not fit into this node's introduction to its peers.
    #[error("the stores take {bytes} bytes of the introduction to a peer, over the limit of {max}")]
    StoresTooLarge {
        /// What they take.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More expelled members than are remembered.
    #[error("{count} expelled members are over the limit of {max}")]
    TooManyExpelled {
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A store reads more record shapes than can be named to a peer.
    #[error("the store {store:?} reads {count} record shapes, over the limit of {max}")]
    TooManySchemas {
        /// The store.
        store: String,
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// More seeds than `seeds_max`.
    #[error("{count} seeds are over the limit of {max}, which is seeds_max")]
    TooManySeeds {
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// More stores than can be named to a peer.
    #[error("{count} stores are over the limit of {max}")]
    TooManyStores {
        /// How many.
        count: usize,
        /// The limit.
        max: usize,
    },
}

impl From<BindError> for BuildError {
    fn from(error: BindError) -> Self {
        Self::Bind {
            addr: error.addr,
            source: error.source,
        }
    }
}

#[cfg(feature = "tls")]
impl From<TlsBindError> for BuildError {
    fn from(error: TlsBindError) -> Self {
        match error {
            TlsBindError::Bind(error) => error.into(),
            TlsBindError::Tls(error) => Self::Tls(error),
        }
    }
}
