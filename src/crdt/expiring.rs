//! Places in the expiry order of a map.

use crate::time::Timestamp;

/// When an entry expires, then its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiring {
    /// When.
    pub expires_at: Timestamp,
    /// The number of the slot.
    pub slot: u32,
}

impl Expiring {
    /// The place of the entry in a slot.
    #[must_use]
    pub const fn new(expires_at: Timestamp, slot: u32) -> Self {
        Self { expires_at, slot }
    }

    /// The last place of an instant: no slot has that number.
    #[must_use]
    pub const fn end_of(instant: Timestamp) -> Self {
        Self::new(instant, u32::MAX)
    }

    /// The place before this one; of the first place, itself.
    #[must_use]
    pub fn before(self) -> Self {
        let nanos = self.expires_at.as_nanos();
        match (self.slot.checked_sub(1), nanos.checked_sub(1)) {
            (Some(slot), _) => Self::new(self.expires_at, slot),
            (None, Some(nanos)) => Self::end_of(Timestamp::from_nanos(nanos)),
            (None, None) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_instants_then_of_slots() {
        let at = |nanos, slot| Expiring::new(Timestamp::from_nanos(nanos), slot);
        let end = Expiring::end_of(Timestamp::MAX);
        let order = [
            at(0, 0),
            at(0, 7),
            at(1, 0),
            at(1, u32::MAX - 1),
            at(u64::MAX, 3),
            end,
        ];
        assert!(order.is_sorted_by(|a, b| a < b));
        assert_eq!(at(1, 0).before(), Expiring::end_of(Timestamp::ZERO));
        assert_eq!(at(0, 0).before(), at(0, 0));
    }
}
