//! What peers may say, and how it looks in bytes.
//!
//! A datagram is `version u8, cluster tag u64, check u32`, then messages; the check is a hash of
//! the messages. A stream is `version u8, cluster tag u64` once in each direction, then
//! length-prefixed frames of one message each ([`frame`]). A message ([`Message`]) is `tag u8,
//! length u32, body`; it never changes shape, a new shape is a new tag, and an unknown tag is
//! counted and skipped. Message bodies are bincode behind limits ([`codec`]), entries have their
//! own fixed header ([`entry`]). `PROTOCOL.md` has all of it, with examples in bytes.

// Bytes from outside must not stop a node: what could panic says here why it does not.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod codec;
pub mod entry;
pub mod envelope;
pub mod frame;
mod message;

pub use entry::{Entry, HEADER_BYTES};
pub use envelope::WIRE_VERSION;
pub use message::{
    Ack, Arrived, Capabilities, Cell, Cells, CoverReport, Covered, Delta, Done, Expelled, Handed,
    Hashed, Hashes, HeldVersion, Hello, Item, Items, Leave, MemberRecord, Members, Message, More,
    Objection, ObjectionReason, Peeled, Probe, Purpose, Recall, Recheck, RefusedEntry, Reject,
    RejectReason, Relayed, Roots, Section, Settled, StoreOffer, StoreSummary, StoreTotal, Summary,
    Totals, Verdict, Verdicts, Wants, Welcome,
};
