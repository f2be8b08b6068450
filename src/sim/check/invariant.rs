//! The ten promises, by number.

use std::fmt;

/// What must always hold. Every [`Breach`](super::violation::Breach) is of one of these, but for those of the
/// caller's own invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// 1. When faults stop, all connected nodes hold the same set of `(key, version, expires_at)`
    ///    above the cut, drift-refused entries excepted, within a stated bound.
    Convergence,
    /// 2. An acknowledged write is lost only if every process that held it lost its memory, or its
    ///    disk where it is durable.
    Kept,
    /// 3. No older version ever replaces a newer one, nor is anything collected before its time.
    Monotone,
    /// 4. The join laws, for every schema, at equal timestamps, under skew, before and after
    ///    collection.
    JoinLaws,
    /// 5. A healthy node is not declared failed for long: a false alarm heals within a stated
    ///    bound; boots only grow.
    Healthy,
    /// 6. Nothing crosses cluster ids.
    Isolation,
    /// 7. Every queue, map, frame, pool and loop has a limit.
    Bounded,
    /// 8. Poison is contained to the entry that carries it.
    PoisonContained,
    /// 9. The same seed gives the same trace.
    Determinism,
    /// 10. Alive, suspect, failed and left are never confused; no member is redialled after it
    ///     left.
    StatesApart,
}

impl Invariant {
    /// All of them, by number.
    pub const ALL: [Self; 10] = [
        Self::Convergence,
        Self::Kept,
        Self::Monotone,
        Self::JoinLaws,
        Self::Healthy,
        Self::Isolation,
        Self::Bounded,
        Self::PoisonContained,
        Self::Determinism,
        Self::StatesApart,
    ];

    /// Its number, from 1.
    #[must_use]
    pub fn number(self) -> usize {
        // The order of the variants is the order of the promises.
        self as usize + 1
    }

    /// Its sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Convergence => "when faults stop, all connected nodes hold the same entries",
            Self::Kept => "an acknowledged write is lost only with every process that held it",
            Self::Monotone => "no older version ever replaces a newer one",
            Self::JoinLaws => "the join is commutative, associative and idempotent",
            Self::Healthy => "a healthy node is not failed for long; boots only grow",
            Self::Isolation => "nothing crosses cluster ids",
            Self::Bounded => "every queue, map, frame, pool and loop has a limit",
            Self::PoisonContained => "poison is contained to the entry that carries it",
            Self::Determinism => "the same seed gives the same trace",
            Self::StatesApart => "alive, suspect, failed and left are never confused",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} ({})", self.number(), self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_numbered_from_one_to_ten() {
        let numbers: Vec<usize> = Invariant::ALL.iter().map(|i| i.number()).collect();
        assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
        let third = Invariant::Monotone.to_string();
        assert_eq!(
            third,
            "invariant 3 (no older version ever replaces a newer one)"
        );
    }
}
