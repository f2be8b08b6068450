//! The sizes and limits of messages.

use crate::id::NAME_BYTES_MAX;

/// Bytes before a message's body: its tag and its length.
pub const MESSAGE_HEADER_BYTES: usize = 5;
/// Largest body of an entry anywhere: 16 MiB. `Config::entry_bytes_max` may be less, never more.
pub const BODY_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(BODY_BYTES_MAX == crate::config::ENTRY_BYTES_MAX);
/// Longest store name, in bytes. A handshake with a longer or an empty one is refused.
pub const STORE_NAME_BYTES_MAX: usize = 64;

/// An upper bound on an `Ack` without ranges and refusals, header included.
pub const ACK_OVERHEAD: usize = MESSAGE_HEADER_BYTES + U64_MAX + 2 * U32_MAX;
/// An upper bound on what one range adds to an `Ack`.
pub const ACK_RANGE_BYTES: usize = 2 * U64_MAX;
/// An upper bound on what one refusal adds to an `Ack`.
pub const ACK_REFUSED_BYTES: usize = U64_MAX + U16_MAX + 1;
/// An upper bound on a `Relayed` that holds nothing, header included.
pub const RELAYED_OVERHEAD: usize = MESSAGE_HEADER_BYTES + U64_MAX + PROCESS_MAX + U32_MAX;
/// An upper bound on what one held version adds to a `Relayed`.
pub const RELAYED_HELD_BYTES: usize = U32_MAX + 16 + U64_MAX + U32_MAX;
/// An upper bound on a `Covered` without reports, or a `Recall` without packets, header included.
pub const COVERED_OVERHEAD: usize = MESSAGE_HEADER_BYTES + U64_MAX + U32_MAX;
/// An upper bound on what one report without holders adds to a `Covered`.
pub const REPORT_OVERHEAD: usize = 2 * U64_MAX + U16_MAX + 1 + U32_MAX;
/// An upper bound on what one word of a bitmap, one mark or one packet number takes.
pub const HOLDER_BYTES: usize = U64_MAX;
/// Most holders, or words of a bitmap, in one report.
pub const HOLDERS_MAX: usize = 4096;
/// Most packets that one `Recall` names, or one `Covered` tells of.
pub const RECALLS_MAX: usize = 256;
/// Most cells in one table.
pub const CELLS_MAX: usize = 32_768;
/// Most entries in one delta, all sections together: what a turn decodes, and an acknowledgement names,
/// is bounded by it.
pub const DELTA_ENTRIES_MAX: usize = 4096;

/// Most names in an `Expelled`.
pub const EXPELLED_MAX: usize = 256;

/// What one message may hold at most. A sender cuts its lists to fit: a longer one is refused whole.
///
/// The defaults are ceilings of the protocol, the same on every node whatever its `Config` says, so
/// that nodes that are configured differently still understand each other. What a node *takes* is
/// the store's and the engine's decision and is answered by a `Refusal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecLimits {
    /// Cells in a `Cells`. Default [`CELLS_MAX`].
    pub cells_max: usize,
    /// Body of one entry, in bytes. Default [`BODY_BYTES_MAX`].
    pub entry_bytes_max: usize,
    /// Names in an `Expelled`. Default [`EXPELLED_MAX`].
    pub expelled_max: usize,
    /// Versions in a `Relayed`. Default 4096.
    pub held_max: usize,
    /// Holders in a report. Default [`HOLDERS_MAX`].
    pub holders_max: usize,
    /// Items in an `Items`, and hashes in a `Hashes`, a `Wants` and each list of a `Peeled`.
    /// Default 65,536.
    pub items_max: usize,
    /// Uncovered members in a `Delta`. Default 16: a sender names 8 at most.
    pub names_max: usize,
    /// Ranges in an `Ack`. Default 4096.
    pub ranges_max: usize,
    /// Reports in a `Covered`, packets in a `Recall`. Default [`RECALLS_MAX`].
    pub recalls_max: usize,
    /// Members in a `Members`. Default 4096.
    pub records_max: usize,
    /// Refusals in an `Ack`. Default 4096, one per entry of the largest packet.
    pub refused_max: usize,
    /// Schemas of one store in a handshake. Default 256.
    pub schemas_max: usize,
    /// Sections in a `Delta`. Default 1024.
    pub sections_max: usize,
    /// Stores in a `Hello`, `Welcome`, `Totals`, `Summary` or `Verdicts`. Default 256.
    pub stores_max: usize,
}

impl Default for CodecLimits {
    fn default() -> Self {
        Self {
            cells_max: CELLS_MAX,
            entry_bytes_max: BODY_BYTES_MAX,
            expelled_max: EXPELLED_MAX,
            held_max: 4096,
            holders_max: HOLDERS_MAX,
            items_max: 65_536,
            names_max: 16,
            ranges_max: 4096,
            recalls_max: RECALLS_MAX,
            records_max: 4096,
            refused_max: DELTA_ENTRIES_MAX,
            schemas_max: 256,
            sections_max: 1024,
            stores_max: 256,
        }
    }
}

/// Most bytes that one of bincode's varints takes.
const U16_MAX: usize = 3;
const U32_MAX: usize = 5;
const U64_MAX: usize = 9;
/// Most bytes a process id takes; the length of its name takes one.
const PROCESS_MAX: usize = 1 + NAME_BYTES_MAX + U64_MAX;
