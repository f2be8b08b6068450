//! What a receiver may have taken although it did not say so: an answer was lost, or came too late.
//!
//! Such an attempt is not in the log of notifications. If its alerts end before the next attempt, the log says that there
//! is nothing to tell, and one that did take them would never hear of their end. So a flush remembers what is in doubt, and
//! asks again as if the log had it.

use std::collections::BTreeSet;
use std::sync::Arc;

use rumormill::store::nflog::{NflogEntry, ReceiverKey};
use rumormill::time::Timestamp;

/// What the failed attempts of one flush may have told.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    /// Hashes of alerts that fired.
    firing: Arc<BTreeSet<u64>>,
    /// When the last of these attempts began.
    at: Timestamp,
}

impl Default for Doubt {
    fn default() -> Self {
        Self {
            firing: Arc::default(),
            at: Timestamp::ZERO,
        }
    }
}

impl Doubt {
    /// The same, and what one more attempt may have told.
    pub(super) fn and(&self, firing: &[u64], at: Timestamp) -> Self {
        let both = self.firing.iter().chain(firing);
        Self {
            firing: Arc::new(both.copied().collect()),
            at,
        }
    }

    /// The entry as it would be if the receiver had taken it all; `None` where nothing is in doubt: no attempt was, or
    /// another member has told something since.
    pub(super) fn over(
        &self,
        entry: Option<&NflogEntry>,
        (receiver, group_key): (&ReceiverKey, &str),
    ) -> Option<Arc<NflogEntry>> {
        let is_settled = entry.is_some_and(|entry| entry.timestamp >= self.at);
        if self.firing.is_empty() || is_settled {
            return None;
        }
        let new = || NflogEntry::new(receiver.clone(), group_key, self.at);
        let mut assumed = entry.cloned().unwrap_or_else(new);
        let before = std::mem::take(&mut assumed.firing).into_iter();
        let firing: BTreeSet<u64> = before.chain(self.firing.iter().copied()).collect();
        assumed.firing = firing.into_iter().collect();
        assumed.resolved.retain(|hash| !self.firing.contains(hash));
        Some(Arc::new(assumed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_doubt_counts_as_told_until_another_member_tells() {
        let key = ReceiverKey {
            group_name: "r".to_owned(),
            integration: "webhook".to_owned(),
            idx: 0,
        };
        let second = Timestamp::from_secs;
        let over = |doubt: &Doubt, entry: Option<&NflogEntry>| {
            let assumed = doubt.over(entry, (&key, "g"))?;
            Some((assumed.firing.clone(), assumed.resolved.clone()))
        };
        assert_eq!(over(&Doubt::default(), None), None);
        let doubt = Doubt::default().and(&[1], second(4)).and(&[2], second(5));
        assert_eq!(over(&doubt, None), Some((vec![1, 2], vec![])));
        let mut entry = NflogEntry::new(key.clone(), "g", second(3));
        (entry.firing, entry.resolved) = (vec![0], vec![1, 3]);
        assert_eq!(over(&doubt, Some(&entry)), Some((vec![0, 1, 2], vec![3])));
        entry.timestamp = second(5);
        assert_eq!(over(&doubt, Some(&entry)), None);
    }
}
