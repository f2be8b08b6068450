//! The notification log: what was last notified, to whom, about which group.
//!
//! The rules are Alertmanager's (`nflog/nflog.go` and `notify/dedup_stage.go` of its source), over a map
//! whose join is a total order. There is one entry for each receiver and group, the latest. Before a
//! node notifies, it calls [`needs_notification`]; afterwards it [`log`](Nflog::log)s. The write's
//! handle tells when other nodes hold it. To wait for that, before it is the next node's turn, is what
//! keeps a notification from being sent twice.
//!
//! An entry that comes from a peer is checked at once, and read whole when it is asked for. One of 300
//! bytes takes about 0.7 kB of memory before that, and 1.1 kB from then on (`cargo bench --bench merge`).
//!
//! A local write always replaces what this node holds, so a node with a slow clock still logs what it
//! notified. (Alertmanager skips the write if its entry is stamped later than now.)

mod decide;
mod entry;
mod log;
mod schema;

pub use decide::{Decision, Group, Reason, needs_notification};
pub use entry::{NflogEntry, Notified, ReceiverKey, ReceiverValue, alert_hash};
pub use log::{Nflog, NflogError, NflogLimits};
pub use schema::{HeldEntry, NflogSchema};

#[cfg(test)]
mod tests;
