//! What one peer is still owed, and what it is known to hold.
//!
//! There is a cursor into the change index and a set of outstanding keys; nothing is queued by value,
//! so a key that changes again is sent once, with its current value.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::core::grid::GroupId;
use crate::engine::core::place::StoreKey;
use crate::engine::core::stores::Stores;
use crate::id::StoreId;

use super::ages::LackAges;

/// A key that the peer is not known to hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outstanding {
    /// The change last sent.
    pub(super) seq: u64,
    /// The packet it went in; `None` while it waits to be sent again.
    pub(super) packet: Option<u64>,
    /// Others have been asked to forward this change.
    pub(super) relayed: bool,
    /// The peer is to hand it on to this group.
    pub(super) hand: Option<GroupId>,
    /// Where its age is told.
    batch: u64,
}

/// What a peer is owed.
///
/// A session starts at the head of the change index and runs anti-entropy for what came before; it
/// never replays from zero.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// The change up to which a completed exchange covers the peer, by store.
    base: BTreeMap<StoreId, u64>,
    /// The head when the session, or its last catching up, began.
    start: BTreeMap<StoreId, u64>,
    /// Changes up to here have been sent, or are outstanding.
    cursor: BTreeMap<StoreId, u64>,
    pub(super) outstanding: BTreeMap<StoreKey, Outstanding>,
    /// Outstanding keys that wait to be sent again.
    pub(super) retry: BTreeSet<StoreKey>,
    /// Outstanding keys too large for a datagram.
    pub(super) bulky: BTreeSet<StoreKey>,
    /// Changes are somebody else's to bring to the peer: the cursor passes over them.
    resting: bool,
    /// For how long it has lacked what it lacks, by store.
    ages: BTreeMap<StoreId, LackAges>,
}

impl Owed {
    /// Nothing but what changes after `heads`.
    pub(super) fn from(heads: BTreeMap<StoreId, u64>) -> Self {
        Self {
            start: heads.clone(),
            cursor: heads,
            ..Self::default()
        }
    }

    /// Owes the peer the current value of a key.
    pub(super) fn owe(&mut self, place: StoreKey) {
        self.out(place).packet = None;
        if !self.bulky.contains(&place) {
            self.retry.insert(place);
        }
    }

    /// Owes the peer the current value of a key, which it is to hand on. Of two groups the larger counts.
    pub(super) fn owe_handing(&mut self, place: StoreKey, group: GroupId) {
        self.owe(place);
        let hand = &mut self.out(place).hand;
        if hand.is_none_or(|before| group.bits < before.bits) {
            *hand = Some(group);
        }
    }

    /// Owes the peer a change unless it is under way to it.
    pub(super) fn owe_change(&mut self, place: StoreKey, seq: u64) {
        let out = self.outstanding.get(&place);
        if !out.is_some_and(|out| out.packet.is_some() && out.seq >= seq) {
            self.owe(place);
        }
    }

    /// What the peer was to hand on, and has not acknowledged. It is sent all the same, for itself alone.
    pub(super) fn take_handing(&mut self) -> Vec<(GroupId, StoreKey)> {
        let outstanding = self.outstanding.iter_mut();
        let taken = outstanding.filter_map(|(place, out)| Some((out.hand.take()?, *place)));
        taken.collect()
    }

    /// The group that the peer hands a key on to.
    pub(super) fn hand_of(&self, place: &StoreKey) -> Option<GroupId> {
        self.outstanding.get(place)?.hand
    }

    /// From here on the peer is sent what changes.
    pub(super) fn serve_from(&mut self, cursor: BTreeMap<StoreId, u64>) {
        (self.start, self.cursor) = (cursor.clone(), cursor);
        self.resting = false;
    }

    /// Changes are somebody else's to bring to the peer from now on. Returns how far it was served.
    pub(super) fn rest(&mut self) -> BTreeMap<StoreId, u64> {
        self.resting = true;
        self.ages.values_mut().for_each(LackAges::all_sent);
        std::mem::take(&mut self.cursor)
    }

    pub(super) fn is_resting(&self) -> bool {
        self.resting
    }

    /// A key, to be handed on to this group, fits into no datagram: it waits for the link.
    pub(super) fn put_aside(&mut self, place: StoreKey, hand: Option<GroupId>) {
        let out = self.out(place);
        (out.packet, out.hand) = (None, hand);
        self.retry.remove(&place);
        self.bulky.insert(place);
    }

    /// A change of a key goes out in this packet, to be handed on to this group.
    pub(super) fn sent(&mut self, place: StoreKey, seq: u64, packet: u64, hand: Option<GroupId>) {
        let out = self.out(place);
        out.relayed &= out.seq == seq;
        (out.seq, out.packet, out.hand) = (seq, Some(packet), hand);
        self.retry.remove(&place);
        self.bulky.remove(&place);
    }

    /// The peer need not be sent this key any more.
    pub(super) fn settle(&mut self, place: &StoreKey) {
        if let Some(out) = self.outstanding.remove(place)
            && let Some(ages) = self.ages.get_mut(&place.0)
        {
            ages.settled(out.batch);
        }
        self.retry.remove(place);
        self.bulky.remove(place);
    }

    /// What is known of a key that is outstanding from now on, if it was not before.
    fn out(&mut self, place: StoreKey) -> &mut Outstanding {
        let ages = &mut self.ages;
        self.outstanding
            .entry(place)
            .or_insert_with(|| Outstanding {
                batch: ages.entry(place.0).or_default().outstanding(),
                ..Outstanding::default()
            })
    }

    /// A turn ends, in which the peer was sent what there was room for.
    pub(super) fn turn_ends(&mut self, now: Duration, stores: &Stores, shared: &BTreeSet<StoreId>) {
        for &id in shared {
            let head = stores.get(id).map_or(0, |store| store.head());
            let sent = match self.resting {
                true => head,
                false => self.cursor(stores, id),
            };
            let ages = self.ages.entry(id).or_default();
            ages.turn_ends(now, sent, head);
        }
    }

    /// How many keys of a store the peer lacks, as far as it is sent what changes, and since when.
    pub(super) fn lag(&self, stores: &Stores, id: StoreId) -> (usize, Option<Duration>) {
        let store = stores.get(id).filter(|_| !self.resting);
        let unsent = store.map_or(0, |store| store.backlog(self.cursor(stores, id)));
        let ages = self.ages.get(&id);
        let (keys, since) = ages.map_or((0, None), |ages| (ages.keys(), ages.since()));
        (keys + unsent, since)
    }

    /// The most steps by which the age of what it lacks is told, of any store.
    #[cfg(feature = "sim")]
    pub(super) fn steps(&self) -> usize {
        self.ages.values().map(LackAges::len).max().unwrap_or(0)
    }

    /// The packet that a key is under way in.
    pub(super) fn packet_of(&self, place: &StoreKey) -> Option<u64> {
        self.outstanding.get(place)?.packet
    }

    /// How far the peer has been served, past the foreign changes that follow: they are their
    /// writers' to send.
    pub(super) fn cursor(&self, stores: &Stores, id: StoreId) -> u64 {
        stores.skip_foreign(id, self.cursor.get(&id).copied().unwrap_or(0))
    }

    /// How far the peer has been served.
    pub(super) fn cursor_kept(&self, id: StoreId) -> Option<u64> {
        self.cursor.get(&id).copied()
    }

    /// The peer has been served up to here.
    pub(super) fn advance(&mut self, id: StoreId, to: u64) {
        self.cursor.insert(id, to);
    }

    /// Whether anything waits to be sent, of the stores that the peer has.
    pub(super) fn is_waiting(&self, stores: &Stores, shared: &BTreeSet<StoreId>) -> bool {
        let behind = |&id: &StoreId| {
            let store = stores.get(id);
            !self.resting && store.is_some_and(|store| store.head() > self.cursor(stores, id))
        };
        !self.retry.is_empty() || !self.bulky.is_empty() || shared.iter().any(behind)
    }

    /// Whether there is nothing to look at: all was sent that has changed up to these heads.
    pub(super) fn is_even(&self, heads: &BTreeMap<StoreId, u64>) -> bool {
        let served = |(id, head): (&StoreId, &u64)| {
            let cursor = self.cursor.get(id);
            cursor.is_some_and(|cursor| cursor >= head)
        };
        let even = self.resting || heads.iter().all(served);
        even && self.retry.is_empty() && self.bulky.is_empty()
    }

    /// How many keys are outstanding, or have changed after the cursor.
    pub(super) fn backlog(&self, stores: &Stores, shared: &BTreeSet<StoreId>) -> usize {
        let behind = shared.iter().filter_map(|&id| {
            let store = stores.get(id).filter(|_| !self.resting)?;
            Some(store.backlog(self.cursor(stores, id)))
        });
        self.outstanding.len() + behind.sum::<usize>()
    }

    /// Gives up on sending one by one: an exchange will cover everything up to `heads`.
    pub(super) fn leave_to_exchange(&mut self, heads: BTreeMap<StoreId, u64>) {
        let base = std::mem::take(&mut self.base);
        *self = Self {
            base,
            ..Self::from(heads)
        };
    }

    /// An exchange that began at these heads is complete.
    pub(super) fn exchanged(&mut self, heads: BTreeMap<StoreId, u64>) {
        for (id, head) in heads {
            let base = self.base.entry(id).or_default();
            *base = head.max(*base);
        }
    }

    /// Whether an exchange that began at these heads covers all that was left to exchanges.
    pub(super) fn is_covered_by(
        &self,
        heads: &BTreeMap<StoreId, u64>,
        shared: &BTreeSet<StoreId>,
    ) -> bool {
        let reached = |id| heads.get(id).copied().unwrap_or(0);
        shared
            .iter()
            .all(|id| reached(id) >= self.start.get(id).copied().unwrap_or(0))
    }

    /// Whether the peer is known to hold change `seq` of a key, or a later one. `overtaken` says
    /// that the key's current version came from elsewhere: then the cursor may have passed the
    /// change without sending it.
    pub(super) fn is_held(&self, place: &StoreKey, seq: u64, overtaken: bool) -> bool {
        let at = |map: &BTreeMap<StoreId, u64>| map.get(&place.0).copied().unwrap_or(0);
        let exchanged = seq <= at(&self.base);
        let delivered = !overtaken
            && !self.resting
            && seq > at(&self.start)
            && seq <= at(&self.cursor)
            && !self.outstanding.contains_key(place);
        exchanged || delivered
    }
}
