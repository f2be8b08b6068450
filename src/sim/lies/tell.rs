//! A lie of a kind, as bytes.

use bytes::{Bytes, BytesMut};

use super::choice::{Choice, pick};
use super::kinds::Lie;
use super::knowledge::Knowledge;
use super::{data, exchanges, people, raw};
use crate::wire::Message;

/// A lie of some kind, and its bytes: one message, or what is in the place of one.
pub fn tell(choice: &mut dyn Choice, knows: &Knowledge) -> (Lie, Bytes) {
    let lie = pick(choice, &Lie::ALL).copied().unwrap_or(Lie::RawNoise);
    (lie, tell_as(lie, choice, knows))
}

/// A lie of this kind, as bytes.
pub fn tell_as(lie: Lie, choice: &mut dyn Choice, knows: &Knowledge) -> Bytes {
    let message = match lie {
        Lie::RawCut => return cut(choice, knows),
        Lie::RawNoise => return raw::noise(choice),
        Lie::RawUnknown => return raw::unknown(choice),
        Lie::AcksEverything
        | Lie::AcksTheUnsent
        | Lie::AcksTwisted
        | Lie::CoveredFalse
        | Lie::RecallAlways
        | Lie::RefusesEverything
        | Lie::RelayedFalse => data::acknowledgement(lie, choice, knows),
        Lie::DeltaCrowds
        | Lie::DeltaDisguised
        | Lie::DeltaDuplicates
        | Lie::DeltaEmpty
        | Lie::DeltaEndless
        | Lie::DeltaFuture
        | Lie::DeltaLarge
        | Lie::DeltaMany
        | Lie::DeltaOverwrites
        | Lie::DeltaPassedOn
        | Lie::DeltaTombstones
        | Lie::DeltaUnknown
        | Lie::DeltaUnreadable
        | Lie::HandedFalse => data::delta(lie, choice, knows),
        Lie::CellsOfNoise
        | Lie::DoneEarly
        | Lie::HashesOfNoise
        | Lie::ItemsOfNoise
        | Lie::ItemsUnending
        | Lie::MoreAlways
        | Lie::PeeledFalse
        | Lie::SettledFalse
        | Lie::SummaryFalse
        | Lie::TotalsFalse
        | Lie::VerdictsFalse
        | Lie::WantsFalse => exchanges::step(lie, choice, knows),
        Lie::RootsFalse => exchanges::in_passing(choice, knows),
        Lie::ExpelsOthers
        | Lie::HelloFalse
        | Lie::LeaveAckOfOthers
        | Lie::LeaveOfOthers
        | Lie::MembersAsked
        | Lie::MembersInvented
        | Lie::MembersTwisted
        | Lie::RejectLate
        | Lie::WelcomeLate => people::message(lie, choice, knows),
        Lie::SwimDeclares
        | Lie::SwimDisguised
        | Lie::SwimInvents
        | Lie::SwimNoise
        | Lie::SwimSuspects
        | Lie::SwimVindicates => people::probe(lie, choice, knows),
    };
    raw::bytes_of(&message)
}

/// A lie in the place of a true message: of the same tag, so that it comes where one is expected.
pub fn turn(message: &Message, choice: &mut dyn Choice, knows: &Knowledge) -> (Lie, Bytes) {
    let like = Lie::like(message);
    let lie = pick(choice, like).copied().unwrap_or(Lie::RawNoise);
    (lie, tell_as(lie, choice, knows))
}

/// A lie that ends too early, or says so.
fn cut(choice: &mut dyn Choice, knows: &Knowledge) -> Bytes {
    const OF: [Lie; 6] = [
        Lie::AcksTwisted,
        Lie::DeltaOverwrites,
        Lie::ItemsOfNoise,
        Lie::MembersInvented,
        Lie::SummaryFalse,
        Lie::SwimSuspects,
    ];
    let lie = OF[choice.place(OF.len())];
    let whole = tell_as(lie, choice, knows);
    let mut cut = BytesMut::from(&whole[..choice.place(whole.len())]);
    // Sometimes the length is right, and what is inside ends too early.
    if let Some(length) = cut.len().checked_sub(5)
        && choice.one_in(2)
        && let (Ok(length), Some(place)) = (u32::try_from(length), cut.get_mut(1..5))
    {
        place.copy_from_slice(&length.to_be_bytes());
    }
    cut.freeze()
}
