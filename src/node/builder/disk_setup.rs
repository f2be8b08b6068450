//! Where a node keeps what it holds, and what it finds there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
#[cfg(feature = "persist")]
use std::path::PathBuf;
#[cfg(feature = "persist")]
use std::sync::{Arc, atomic::AtomicBool};

use crate::engine::KeptStore;
use crate::id::{NodeName, StoreId};
#[cfg(feature = "persist")]
use crate::persist::{OpenedDisk, Storage};
#[cfg(feature = "persist")]
use crate::store::Durability;

/// What was said of the disk, and what has become of it.
#[cfg(feature = "persist")]
#[derive(Default)]
pub(super) struct DiskSetup {
    pub(super) place: DiskPlace,
    pub(super) policies: BTreeMap<StoreId, Durability>,
    pub(super) bring_back: bool,
    /// What is there could not be read, so far.
    pub(super) unread: Arc<AtomicBool>,
}

/// Where it is.
#[cfg(feature = "persist")]
#[derive(Default)]
pub(super) enum DiskPlace {
    Directory(PathBuf),
    #[default]
    None,
    Opened(Box<OpenedDisk>),
    Storage(Box<dyn Storage>),
}

/// What was found on disk; nothing where there is none.
#[derive(Default)]
pub(super) struct DiskFound {
    /// The boot to start with, or a later one.
    pub(super) boot: u64,
    pub(super) members: Vec<SocketAddr>,
    pub(super) expelled: Vec<NodeName>,
    /// How stores are kept; `None` without a disk.
    pub(super) kept: Option<BTreeMap<StoreId, KeptStore>>,
}
