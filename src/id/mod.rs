//! Names that all layers share: of nodes, processes and clusters, of stores and what is in them, and
//! of what can become of a member or an entry.
//!
//! A *node name* is stable across restarts and address changes. A *process* is one run of a node:
//! `(name, boot)`, and `boot` only grows. A SWIM *identity* adds the renewal count, by which a
//! process that was wrongly declared down comes back, and the address it is reached at now.

mod cluster;
mod fate;
mod handshake;
mod name;
pub(crate) mod process;
mod store;
mod writer;

pub use cluster::{CLUSTER_BYTES_MAX, ClusterId};
pub use fate::{MemberState, Misbehaviour, Refusal};
pub use handshake::HandshakeRefusal;
#[cfg(feature = "net")]
pub(crate) use name::check_name;
pub use name::{NAME_BYTES_MAX, NameError, NodeName};
pub use process::ProcessId;
pub(crate) use process::{BOOT_AHEAD_MAX, NodeId};
pub use store::{Key, SchemaId, StoreId};
pub use writer::WriterTag;
