//! Every kind of lie.

use crate::wire::Message;

/// A kind of lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Lie {
    /// Everything ever sent is acknowledged, whether it came or not.
    AcksEverything,
    /// Packets are acknowledged that were never sent.
    AcksTheUnsent,
    /// Ranges that are reversed, overlap, or are huge, and many of them.
    AcksTwisted,
    /// Cells that are noise, too many or too few.
    CellsOfNoise,
    /// A whole group is said to hold what it was to be handed, or somebody else.
    CoveredFalse,
    /// Thousands of entries of its own, and nothing else wrong with them: for a store with little room.
    DeltaCrowds,
    /// Entries in the name of other writers, or of none.
    DeltaDisguised,
    /// A delta twice over in itself, and again.
    DeltaDuplicates,
    /// Bodies of no bytes, or of few that mean nothing.
    DeltaEmpty,
    /// Entries that expire in centuries, or never.
    DeltaEndless,
    /// Entries from the far future.
    DeltaFuture,
    /// As large a body as is taken, or one byte more.
    DeltaLarge,
    /// Thousands of entries.
    DeltaMany,
    /// Later versions of what others wrote: a write like any other, and it may win.
    DeltaOverwrites,
    /// To be passed on to members that need no help, or that are none.
    DeltaPassedOn,
    /// Tombstones for what others wrote, with bodies.
    DeltaTombstones,
    /// Schemas that nobody has.
    DeltaUnknown,
    /// Bodies that nobody can read.
    DeltaUnreadable,
    /// The end of an exchange that is not over.
    DoneEarly,
    /// Others are said to be expelled.
    ExpelsOthers,
    /// Entries that are to be handed on to everybody, or to nobody.
    HandedFalse,
    /// Whole hashes that nobody has, in any order.
    HashesOfNoise,
    /// Another store, another boot, another nonce, another name.
    HelloFalse,
    /// Items that nobody has.
    ItemsOfNoise,
    /// A list that has no end.
    ItemsUnending,
    /// A leave that others have not asked for is acknowledged.
    LeaveAckOfOthers,
    /// Somebody else is said to leave.
    LeaveOfOthers,
    /// The whole membership is asked for.
    MembersAsked,
    /// Members that do not exist.
    MembersInvented,
    /// Live members in wrong states, of wrong boots, at wrong addresses.
    MembersTwisted,
    /// More cells are asked for, whatever came.
    MoreAlways,
    /// Cells are said to have been read, and they say that.
    PeeledFalse,
    /// A message that ends too early.
    RawCut,
    /// Noise.
    RawNoise,
    /// A message of no known version.
    RawUnknown,
    /// It is asked how far packets are that were handed on, or never sent.
    RecallAlways,
    /// Every entry is refused.
    RefusesEverything,
    /// A stream is refused that is open.
    RejectLate,
    /// A member is said to hold what it may never have seen.
    RelayedFalse,
    /// Stores are said to come to something else, in passing.
    RootsFalse,
    /// A comparison is said to have ended.
    SettledFalse,
    /// Digests, counts, exponents and cuts out of thin air.
    SummaryFalse,
    /// A member is declared down.
    SwimDeclares,
    /// Probes, answers and requests in the name of others, or to nobody.
    SwimDisguised,
    /// Gossip about members that do not exist.
    SwimInvents,
    /// Bytes that are no packet of the failure detector.
    SwimNoise,
    /// A live member is suspected.
    SwimSuspects,
    /// A suspicion is refuted for somebody else, up to the last incarnation.
    SwimVindicates,
    /// Counts and roots out of thin air.
    TotalsFalse,
    /// Verdicts that fit no store.
    VerdictsFalse,
    /// Everything is wanted, or what nobody has.
    WantsFalse,
    /// A stream that is open is accepted again, by somebody else.
    WelcomeLate,
}

impl Lie {
    /// All of them but [`DeltaCrowds`](Self::DeltaCrowds), which leaves room for no other.
    pub const ALL: [Self; 51] = [
        Self::AcksEverything,
        Self::AcksTheUnsent,
        Self::AcksTwisted,
        Self::CellsOfNoise,
        Self::CoveredFalse,
        Self::DeltaDisguised,
        Self::DeltaDuplicates,
        Self::DeltaEmpty,
        Self::DeltaEndless,
        Self::DeltaFuture,
        Self::DeltaLarge,
        Self::DeltaMany,
        Self::DeltaOverwrites,
        Self::DeltaPassedOn,
        Self::DeltaTombstones,
        Self::DeltaUnknown,
        Self::DeltaUnreadable,
        Self::DoneEarly,
        Self::ExpelsOthers,
        Self::HandedFalse,
        Self::HashesOfNoise,
        Self::HelloFalse,
        Self::ItemsOfNoise,
        Self::ItemsUnending,
        Self::LeaveAckOfOthers,
        Self::LeaveOfOthers,
        Self::MembersAsked,
        Self::MembersInvented,
        Self::MembersTwisted,
        Self::MoreAlways,
        Self::PeeledFalse,
        Self::RawCut,
        Self::RawNoise,
        Self::RawUnknown,
        Self::RecallAlways,
        Self::RefusesEverything,
        Self::RejectLate,
        Self::RelayedFalse,
        Self::RootsFalse,
        Self::SettledFalse,
        Self::SummaryFalse,
        Self::SwimDeclares,
        Self::SwimDisguised,
        Self::SwimInvents,
        Self::SwimNoise,
        Self::SwimSuspects,
        Self::SwimVindicates,
        Self::TotalsFalse,
        Self::VerdictsFalse,
        Self::WantsFalse,
        Self::WelcomeLate,
    ];

    /// Whether it can be said in a datagram.
    #[must_use]
    pub const fn fits_datagrams(self) -> bool {
        use Lie::*;
        matches!(
            self,
            AcksEverything
                | AcksTheUnsent
                | AcksTwisted
                | CoveredFalse
                | DeltaDisguised
                | DeltaDuplicates
                | DeltaEmpty
                | DeltaEndless
                | DeltaFuture
                | DeltaOverwrites
                | DeltaPassedOn
                | DeltaTombstones
                | DeltaUnknown
                | DeltaUnreadable
                | HandedFalse
                | LeaveAckOfOthers
                | LeaveOfOthers
                | RawCut
                | RawNoise
                | RawUnknown
                | RecallAlways
                | RefusesEverything
                | RelayedFalse
                | RootsFalse
                | SwimDeclares
                | SwimDisguised
                | SwimInvents
                | SwimNoise
                | SwimSuspects
                | SwimVindicates
        )
    }

    /// Whether it belongs to an exchange.
    #[must_use]
    pub const fn is_of_exchanges(self) -> bool {
        use Lie::*;
        matches!(
            self,
            CellsOfNoise
                | DoneEarly
                | HashesOfNoise
                | ItemsOfNoise
                | ItemsUnending
                | MoreAlways
                | PeeledFalse
                | SettledFalse
                | SummaryFalse
                | TotalsFalse
                | VerdictsFalse
                | WantsFalse
        )
    }

    /// Kinds that a message of this kind may be replaced by: those of the same tag, or of what stands for it.
    pub(super) fn like(message: &Message) -> &'static [Self] {
        match message {
            Message::Ack(_) => &[
                Self::AcksEverything,
                Self::AcksTheUnsent,
                Self::AcksTwisted,
                Self::RefusesEverything,
            ],
            Message::Arrived(_) => &[Self::AcksEverything, Self::AcksTheUnsent, Self::AcksTwisted],
            Message::Cells(_) => &[Self::CellsOfNoise],
            Message::Delta(_) => &[
                Self::DeltaDisguised,
                Self::DeltaDuplicates,
                Self::DeltaEmpty,
                Self::DeltaEndless,
                Self::DeltaFuture,
                Self::DeltaOverwrites,
                Self::DeltaPassedOn,
                Self::DeltaTombstones,
                Self::DeltaUnknown,
                Self::DeltaUnreadable,
            ],
            Message::Done(_) => &[Self::DoneEarly],
            Message::Expelled(_) => &[Self::ExpelsOthers],
            Message::Hashes(_) => &[Self::HashesOfNoise],
            Message::Hello(_) => &[Self::HelloFalse],
            Message::Items(_) => &[Self::ItemsOfNoise, Self::ItemsUnending],
            Message::Leave(_) => &[Self::LeaveOfOthers],
            Message::LeaveAck(_) => &[Self::LeaveAckOfOthers],
            Message::Members(_) => &[
                Self::MembersAsked,
                Self::MembersInvented,
                Self::MembersTwisted,
            ],
            Message::More(_) => &[Self::MoreAlways],
            Message::Peeled(_) => &[Self::PeeledFalse],
            Message::Objection(_) | Message::Reject(_) => &[Self::RejectLate],
            Message::Covered(_) => &[Self::CoveredFalse],
            Message::Handed(_) => &[Self::HandedFalse],
            Message::Recall(_) => &[Self::RecallAlways],
            Message::Relayed(_) => &[Self::RelayedFalse],
            Message::Recheck(_) | Message::Probe(_) | Message::Roots(_) => &[Self::RootsFalse],
            Message::Settled(_) => &[Self::SettledFalse],
            Message::Summary(_) => &[Self::SummaryFalse],
            Message::Swim(_) => &[
                Self::SwimDeclares,
                Self::SwimDisguised,
                Self::SwimInvents,
                Self::SwimNoise,
                Self::SwimSuspects,
                Self::SwimVindicates,
            ],
            Message::Totals(_) => &[Self::TotalsFalse],
            Message::Verdicts(_) => &[Self::VerdictsFalse],
            Message::Wants(_) => &[Self::WantsFalse],
            Message::Welcome(_) => &[Self::WelcomeLate],
        }
    }
}
