//! A counter to which several nodes add at once (a PN counter).
//!
//! A process's part of a key is what it has added and what it has subtracted, which both only grow. What the
//! processes before it under its name had added, it takes over: it writes down how much it saw of each, by its
//! boot. Of one process there may so be several accounts; the greatest is right, since each
//! is what that process had added at some time. The value is the sum over all processes of that.
//!
//! Nobody else takes over what is another name's. What was taken over is taken away a minute later, and only
//! the version that was taken over: what that process had added later, without anybody here
//! knowing it, still counts when it is seen.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::parts::{OwnedPart, OwnedParts, PartKey};
use crate::store::any::Store;
use crate::store::schema::Unreadable;
use crate::store::setup::{Context, Limits};
use crate::store::write::{WriteError, Written};
use crate::time::Timestamp;

/// Counts, by key, to which all nodes add. Cheap to clone. Made by
/// [`Builder::counter`](crate::node::Builder::counter).
///
/// Every addition that returned counts once on every node that has heard of it. It is lost only with
/// all processes that held it.
///
/// ```
/// # #[cfg(feature = "net")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rumormill::Node;
///
/// let mut builder = Node::builder("a").listen("127.0.0.1:0");
/// let hits = builder.counter::<String>("hits");
/// let node = builder.start().await?;
///
/// hits.add("/index", 3)?;
/// hits.subtract("/index", 1)?;
/// assert_eq!(hits.value("/index"), 2);
/// # node.leave().await?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "net"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct Counter<K: PartKey> {
    parts: OwnedParts<K, CounterPart>,
}

/// What one process has counted under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct CounterPart {
    plus: u64,
    minus: u64,
    /// What processes before it under its name had counted, by boot, ascending.
    earlier: Vec<Earlier>,
    /// The sum over those that are not told apart any more.
    folded: Option<Earlier>,
}

/// What an earlier process had counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Earlier {
    /// Its boot; of a sum, the latest.
    boot: u64,
    plus: u64,
    minus: u64,
    /// When it was written down, in nanoseconds.
    at: u64,
}

impl<K: PartKey> Counter<K> {
    /// A counter of the node of that name, for a program that runs stores without a node, such as a simulation.
    #[must_use]
    pub fn new(name: &str, node: &str, limits: Limits, context: Context) -> Self {
        Self {
            parts: OwnedParts::new(name, node, limits, context),
        }
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.parts.map().store()
    }

    /// Adds to the count of a key.
    ///
    /// # Errors
    /// [`WriteError`]: `StoreFull`, `TooLarge`, `Unencodable`; `Invalid` if all additions of this process to the
    /// key would together be more than 2^64 - 1. Nothing was added.
    pub fn add(&self, key: impl Into<K>, amount: u64) -> Result<Written, WriteError> {
        self.change(&key.into(), amount, 0)
    }

    /// Subtracts from the count of a key, as [`add`](Self::add) adds to it. It may go below zero.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn subtract(&self, key: impl Into<K>, amount: u64) -> Result<Written, WriteError> {
        self.change(&key.into(), 0, amount)
    }

    /// The count of a key as this node knows it; 0 if nobody has changed it. It stops at the least and the
    /// greatest number of its type.
    ///
    /// While a process takes over what an earlier one had counted, other nodes may for a moment see less.
    #[must_use]
    pub fn value<Q>(&self, key: &Q) -> i64
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        sum(&self.parts.of(key))
    }

    /// All keys with their counts, in the order of keys.
    #[must_use]
    pub fn values(&self) -> Vec<(K, i64)> {
        let all = self.parts.all().into_iter();
        all.map(|(key, parts)| (key, sum(&parts))).collect()
    }

    /// Forgets what this node has heard of a key. A process that changes the key without having heard of that brings
    /// back all that it has counted.
    ///
    /// # Errors
    /// Those of a write; what was forgotten before stays so.
    pub fn remove<Q>(&self, key: &Q) -> Result<Vec<Written>, WriteError>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.parts.remove(key)
    }

    fn change(&self, key: &K, plus: u64, minus: u64) -> Result<Written, WriteError> {
        let mut before = self.parts.of(key);
        self.parts.outrank(&before);
        let own = before.iter().find(|part| self.parts.is_own(part)).cloned();
        before.retain(|part| self.parts.is_predecessors(part));
        let at = self.parts.now().as_nanos();
        let changed = |own: Option<&CounterPart>| -> Result<CounterPart, WriteError> {
            let mut own = own.cloned().unwrap_or_default();
            own.plus = own.plus.checked_add(plus).ok_or_else(too_much)?;
            own.minus = own.minus.checked_add(minus).ok_or_else(too_much)?;
            for part in &before {
                own.take_over(part.key().2, part, at);
            }
            Ok(own)
        };
        let written = self.parts.try_write(key, changed, Timestamp::MAX)?;
        for part in before {
            let boot = part.key().2;
            let settled = own.as_ref().is_some_and(|own| {
                let of_it = own.earlier.iter().chain(&own.folded);
                let mut of_it = of_it.filter(|it| it.boot >= boot);
                own.covers(boot, &part) && of_it.any(|it| self.parts.is_settled(it.at))
            });
            if settled {
                self.parts.take_away(&part)?;
            }
        }
        Ok(written)
    }
}

/// Why an addition is not made that this process cannot write down.
fn too_much() -> WriteError {
    WriteError::Invalid {
        why: Unreadable::Invalid { rule: TOO_MUCH },
    }
}

impl CounterPart {
    /// Takes over what an earlier process had counted, and what that had taken over.
    fn take_over(&mut self, boot: u64, part: &Self, at: u64) {
        if let Some(folded) = part.folded
            && self.folded.is_none_or(|own| own.boot < folded.boot)
        {
            self.folded = Some(Earlier { at, ..folded });
        }
        let its = Earlier {
            boot,
            plus: part.plus,
            minus: part.minus,
            at,
        };
        for earlier in part.earlier.iter().copied().chain([its]) {
            self.note(Earlier { at, ..earlier });
        }
        let end = self.folded.map_or(0, |folded| folded.boot);
        self.earlier.retain(|earlier| earlier.boot > end);
        while self.earlier.len() > EARLIER_MAX {
            let oldest = self.earlier.remove(0);
            let sum = self.folded.unwrap_or(Earlier {
                plus: 0,
                minus: 0,
                ..oldest
            });
            self.folded = Some(Earlier {
                boot: oldest.boot,
                plus: sum.plus.saturating_add(oldest.plus),
                minus: sum.minus.saturating_add(oldest.minus),
                at,
            });
        }
    }

    /// Writes down what an earlier process had counted, if that is more than is known.
    fn note(&mut self, seen: Earlier) {
        match self.earlier.binary_search_by_key(&seen.boot, |it| it.boot) {
            Err(place) => self.earlier.insert(place, seen),
            Ok(place) => {
                let known = &mut self.earlier[place];
                if seen.plus > known.plus || seen.minus > known.minus {
                    known.plus = known.plus.max(seen.plus);
                    known.minus = known.minus.max(seen.minus);
                    known.at = seen.at;
                }
            }
        }
    }

    /// Whether all that an earlier process had counted is written down here.
    fn covers(&self, boot: u64, part: &Self) -> bool {
        if self.folded.is_some_and(|folded| folded.boot >= boot) {
            return true;
        }
        let noted = |boot: u64, plus: u64, minus: u64| {
            let mut earlier = self.earlier.iter();
            earlier.any(|it| it.boot == boot && it.plus >= plus && it.minus >= minus)
        };
        let end = self.folded.map_or(0, |folded| folded.boot);
        let its = part.earlier.iter().filter(|it| it.boot > end);
        let folded = part.folded.is_none_or(|folded| folded.boot <= end);
        noted(boot, part.plus, part.minus)
            && folded
            && its.into_iter().all(|it| noted(it.boot, it.plus, it.minus))
    }
}

/// The count that the parts of all processes make.
fn sum<K>(parts: &[Arc<OwnedPart<K, CounterPart>>]) -> i64 {
    let mut names: BTreeMap<&str, CounterPart> = BTreeMap::new();
    for part in parts {
        let (_, name, boot) = part.key();
        let all = names.entry(name).or_default();
        if let Some(folded) = part.folded
            && all.folded.is_none_or(|known| known.boot < folded.boot)
        {
            all.folded = Some(folded);
        }
        let its = Earlier {
            boot: *boot,
            plus: part.plus,
            minus: part.minus,
            at: 0,
        };
        for earlier in part.earlier.iter().copied().chain([its]) {
            all.note(earlier);
        }
    }
    let of_name = |all: &CounterPart| {
        let end = all.folded.map_or(0, |folded| folded.boot);
        let counted = all.earlier.iter().filter(|it| it.boot > end);
        let counted = counted.chain(&all.folded);
        counted
            .map(|it| i128::from(it.plus) - i128::from(it.minus))
            .sum::<i128>()
    };
    let total: i128 = names.values().map(of_name).sum();
    let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(total.clamp(least, most)).unwrap_or_default()
}

/// Earlier processes of a name that are told apart; what older ones had counted is one sum, and what
/// comes to be known of them later counts no more.
const EARLIER_MAX: usize = 64;
const TOO_MUCH: &str = "the additions of one process to a key are at most 2^64 - 1";
