//! Alerts: what fires, from when until when, the same on every node.
//!
//! Clients send alerts, and repeat them as long as they fire. Each is sent to one node or to several; all
//! nodes hold it a moment later. What a node is sent it first merges by Alertmanager's rules with what it
//! holds (`rules`), and then writes, if there is anything new in it. `docs/alerts.md` tells the same to
//! operators.
//!
//! # The join
//! A key stands for a set of labels. Its versions are joined as those of every map: the greatest `(ts,
//! tie, writer, schema, body)`, the latest `expires_at`. So nothing about alerts can break the laws. What
//! is special is what is put there:
//!
//! - `ts` is when the node that the sender reached *received* the alert, cut to 100 ms; or one nanosecond
//!   after what that node held, if that is later. So of two versions the one that was received later
//!   wins, however late it arrives.
//! - `tie` is 1 if the alert fires and 0 if it is resolved: received within the same 100 ms by nodes that
//!   have not heard of each other, firing wins, which is the safe side.
//! - `writer` is 0, and everything in the body comes from the sender and from `ts`. A client that sends
//!   to three nodes makes one version, not three: a node that received the same within the same 100 ms
//!   writes the same bytes, and one that has heard of it already has nothing to write.
//!
//! # Extensions
//! A client repeats an alert every few seconds, each time with a later end. Nothing else in it is new,
//! and to write each again would cost its whole size, again and again. So:
//!
//! - A repeat within the first half of the time that an alert has left writes nothing. The node remembers
//!   it.
//! - A later one is written as part of a **lease**: an entry of its own with a list of alerts, and for
//!   each when its repeat was received and its new end. 128 alerts take 1.2 kB. The key of a lease is the
//!   hash of its bytes, so leases are never replaced, and nodes that received the same repeats write the
//!   same one.
//! - An alert ends at the latest of its own end, and the ends in leases that rest on a repeat received
//!   not before the alert's own version was: of those, the 64 that were received last. That is a function
//!   of what is held, so all nodes agree. **A
//!   lease carries the time of the repeat, never the time at which it is written**: whenever it is
//!   written and whenever it arrives, it says nothing about an alert that was resolved after that repeat.
//!   One that rests on a repeat that was received after a resolve says that the alert fires, and it does.
//! - What a node remembers, and has not written, it writes when the alert is about to end (an eighth of
//!   the time before), or when a resolve comes from elsewhere that is older than the repeat
//!   ([`Alerts::tend`]). So the end that was said last holds, unless the only node that heard it has
//!   died; the alert then ends at the latest end that the others know, which was at least half the time
//!   away.
//!
//! With repeats every 15 s, ends four minutes ahead and 5,000 alerts, each node writes 40 leases every
//! two minutes: 0.7 kB/s to two others, also if all three are sent the same at the same time.
//!
//! # How long an entry is kept
//! A resolved alert is shown for the retention ([`AlertLimits::retention`]), counted from its end or from
//! when that was received, if later; everywhere until the same time of the clocks. Its entry is kept two
//! hours longer: that is how long leases can extend it before it is written whole again. An alert that is
//! not repeated for seven days, and these two hours, is forgotten, whatever its end.
//!
//! # Clocks
//! Nodes compare instants that several of them read. With clocks that differ by `d`, a resolve that is
//! received less than `d` after a firing, at another node that has not heard of it, may lose to it until
//! it is repeated; and an alert ends `d` earlier on one node than on another. What a node has heard of is
//! always before what it writes itself. An entry more than `max_clock_drift` ahead is refused, as in
//! every store.
//!
//! # Limits
//! In number, in bytes, of each and for each name; judged where an alert is accepted, never in a merge:
//! nodes would differ. A merge is limited as that of every store, by the shares of the members that
//! deliver it. One that has gone bad can make alerts fire or end, as anybody can who may send to its HTTP
//! port can. A lease says nothing of an alert that is more than two hours older than the repeat, so that
//! one from the future does not hold an alert for ever.

mod alert;
mod error;
mod index;
mod lease;
mod limits;
mod record;
mod repeats;
mod rules;
mod schema;
mod store;

pub use alert::Alert;
pub use error::AlertError;
pub use index::AlertIndex;
pub use lease::Lease;
pub use limits::AlertLimits;
pub use record::{AlertRecord, HeldAlert};
pub use schema::AlertsSchema;
pub use store::{Alerts, AllAlerts, Tended};

#[cfg(test)]
mod tests;
