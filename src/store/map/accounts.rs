//! Whose entries a store holds, and how much more of whom it takes.
//!
//! Every entry is on the account of a pair: who wrote it, as it says, and who delivered it first. The
//! writer is a claim, since a member can write as anybody; the deliverer is known by its session. So
//! what counts against a writer's own writes is only what it delivered itself, and what a member
//! delivers as others' is limited as a whole. With a store of the size `A` (in entries, and in bytes) and a
//! share `s` of it:
//!
//! | what | limit |
//! |---|---|
//! | this node's own writes of new keys | `s` of its own; `A` of what all writers delivered themselves, each counted up to `s`, once its own are more than `s/32` |
//! | its own later versions of keys that are held | `2s`, in bytes |
//! | what it writes without a name, new keys | the same: it counts as what its deliverer wrote |
//! | what a writer delivers itself | `2s` |
//! | what others deliver as one writer's | `2s` of that writer |
//! | both | `3s`, but `s` that a writer delivers itself always has room |
//! | all that one member delivers | `3s` |
//! | all | `2A`; the last `s/4` of it is for what members deliver of their own, each up to `s/32` |
//!
//! So one member that has gone bad gets `3s` at most, also where it tells each of the others something
//! else and they pass it on; a writer in whose name others write keeps `s`. (What a node reads back from
//! its own disk counts as delivered by others: there, until it has expired, it is `4s`.) With the shares
//! that are usual (half a store) the others have room to write. One that writes in the names of others, and
//! has them deliver it, can leave the rest with what is kept for each, `s/32`. A later version of a key that
//! is held is one entry as before: only what it is longer than the earlier one has to find room, so what ends
//! a silence is never refused.

use std::collections::HashMap;
use std::ops::{Add, Sub};

use crate::id::{Refusal, WriterTag};
use crate::store::setup::Limits;
use crate::store::write::StoreLimit;
use crate::wire::Entry;

/// So many entries and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// The number of an account.
pub(super) type AccountId = u32;

/// An entry that is held, as it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charged {
    pub(super) account: AccountId,
    pub(super) amount: Amount,
}

/// All accounts of a store.
#[derive(Debug)]
pub(super) struct Shares {
    /// The whole store: `A`.
    size: Amount,
    share: Amount,
    own: WriterTag,
    held: Amount,
    /// What writers delivered themselves, each counted up to its share.
    counted: Amount,
    accounts: Vec<PairShare>,
    free_accounts: Vec<AccountId>,
    by_pair: HashMap<(WriterTag, WriterTag), AccountId>,
    parties: Vec<Party>,
    free_parties: Vec<u32>,
    by_tag: HashMap<WriterTag, u32>,
    /// The account that was found last: what is delivered together mostly has one writer.
    last: Option<((WriterTag, WriterTag), AccountId)>,
}

/// What is held of one writer from one deliverer. Without entries, it is free.
#[derive(Debug)]
struct PairShare {
    pair: (WriterTag, WriterTag),
    writer: u32,
    deliverer: u32,
    held: Amount,
}

/// What one name has to do with what is held.
#[derive(Debug, Default)]
struct Party {
    tag: WriterTag,
    /// Written by it and delivered by it.
    own: Amount,
    /// Written by it, as others say who delivered it.
    relayed: Amount,
    /// Delivered by it, its own included.
    delivered: Amount,
    /// Accounts that it is part of.
    accounts: u32,
    /// Those of them of what it delivers as others'.
    writers: u32,
}

impl Amount {
    /// What an entry counts.
    pub(super) fn of(entry: &Entry) -> Self {
        Self::of_body(entry.body.len())
    }

    /// What an entry counts whose body has so many bytes.
    pub(super) fn of_body(bytes: usize) -> Self {
        Self {
            entries: 1,
            bytes: (bytes + ENTRY_BYTES) as u64,
        }
    }

    /// The same with so many bytes more.
    pub(super) fn plus_bytes(self, bytes: u64) -> Self {
        Self {
            bytes: self.bytes + bytes,
            ..self
        }
    }

    /// Whether it is within limits, as far as they are about what comes to it.
    fn fits(self, max: Self, more: Self) -> bool {
        (more.entries == 0 || self.entries <= max.entries) && self.bytes <= max.bytes
    }

    fn map(self, each: impl Fn(u64) -> u64) -> Self {
        Self {
            entries: each(self.entries),
            bytes: each(self.bytes),
        }
    }

    fn times(self, times: u64) -> Self {
        self.map(|n| n.saturating_mul(times))
    }

    fn up_to(self, max: Self) -> Self {
        Self {
            entries: self.entries.min(max.entries),
            bytes: self.bytes.min(max.bytes),
        }
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Sub for Amount {
    type Output = Self;

    /// Never below nothing: what is taken off was added before.
    fn sub(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_sub(other.entries),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Shares {
    /// Of an empty store, whose local writes are `own`'s.
    pub(super) fn new(limits: &Limits, own: WriterTag) -> Self {
        let size = Amount {
            entries: limits.entries_max as u64,
            bytes: limits.store_bytes_max as u64,
        };
        let percent = limits.share_percent as u64;
        let share = size.map(|n| n.saturating_mul(percent).div_ceil(100));
        Self {
            size,
            share,
            own,
            held: Amount::default(),
            counted: Amount::default(),
            accounts: Vec::new(),
            free_accounts: Vec::new(),
            by_pair: HashMap::new(),
            parties: Vec::new(),
            free_parties: Vec::new(),
            by_tag: HashMap::new(),
            last: None,
        }
    }

    /// Whose local writes are.
    pub(super) fn own(&self) -> WriterTag {
        self.own
    }

    /// Bytes that all entries count.
    pub(super) fn bytes(&self) -> u64 {
        self.held.bytes
    }

    /// Who delivered what is on an account.
    pub(super) fn deliverer(&self, account: AccountId) -> WriterTag {
        self.accounts[account as usize].pair.1
    }

    /// Whether an entry of `writer` from `deliverer` may be merged, in the place of `replaced`.
    ///
    /// # Errors
    /// [`Refusal::Share`] and [`Refusal::Full`].
    pub(super) fn admit(
        &mut self,
        (writer, deliverer): (WriterTag, WriterTag),
        amount: Amount,
        replaced: Option<Charged>,
    ) -> Result<(), Refusal> {
        let Some(more) = growth(amount, replaced) else {
            return Ok(());
        };
        let pair = self.pair_of((writer, deliverer), amount, replaced);
        // What comes to the pair's account, and not only to the store.
        let before = replaced.and_then(|replaced| self.pair_before(replaced));
        let moved = before.is_some_and(|it| it.0 == writer && it != pair);
        let bytes = if moved { amount.bytes } else { more.bytes };
        let whole = Amount { bytes, ..more };
        let id = self.find(pair);
        let account = id.map(|id| &self.accounts[id as usize]);
        let at = |of: fn(&PairShare) -> u32, tag| account.map(of).or_else(|| self.party(tag));
        let writer = at(|account| account.writer, pair.0).map(|at| &self.parties[at as usize]);
        let deliverer =
            at(|account| account.deliverer, pair.1).map(|at| &self.parties[at as usize]);
        let nothing = Amount::default();
        let own = pair.0 == pair.1;
        let (mine, relayed) = writer.map_or((nothing, nothing), |party| (party.own, party.relayed));
        let written = if own { mine } else { relayed };
        let delivered = deliverer.map_or(nothing, |party| party.delivered);
        let in_all = (mine + relayed + more).fits(self.share.times(3), more);
        let in_all = in_all || (own && (mine + more).fits(self.share, more));
        let of_writer = in_all && (written + whole).fits(self.share.times(2), whole);
        let unnamed = pair.0 == WriterTag::NONE && !own;
        if !(of_writer || unnamed) || !(delivered + whole).fits(self.share.times(3), whole) {
            return Err(Refusal::Share);
        }
        let (all, merged) = (self.held + more, self.merged());
        if all.fits(merged - self.reserve(), more) {
            return Ok(());
        }
        // Without a name it is its deliverer's.
        let account = account.map_or(nothing, |account| account.held);
        let written = if unnamed { account } else { written };
        let kept = (own || unnamed) && (written + more).fits(self.reserved_each(), more);
        if kept && all.fits(merged, more) {
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    /// Whether this node may write an entry in the place of `replaced`, in its own name or in none.
    ///
    /// # Errors
    /// The limit that is reached, and its value.
    pub(super) fn admit_own(
        &self,
        writer: WriterTag,
        amount: Amount,
        replaced: Option<Charged>,
    ) -> Result<(), (StoreLimit, u64)> {
        let Some(more) = growth(amount, replaced) else {
            return Ok(());
        };
        let id = self.by_pair.get(&(writer, self.own)).copied();
        let own = id.map_or_else(Amount::default, |id| self.accounts[id as usize].held);
        let share = self.share.times(if replaced.is_some() { 2 } else { 1 });
        let limits = [StoreLimit::WriterEntries, StoreLimit::WriterBytes];
        check(own + more, share, more, limits)?;
        let limits = [StoreLimit::Entries, StoreLimit::Bytes];
        check(self.held + more, self.merged(), more, limits)?;
        if replaced.is_some() || (own + more).fits(self.reserved_each(), more) {
            return Ok(());
        }
        if (self.held + more).fits(self.size, more) {
            return Ok(());
        }
        let counted = self.counted + self.counted_unnamed();
        let counted = counted - own.up_to(self.share) + (own + more).up_to(self.share);
        check(counted, self.size, more, limits)
    }

    /// What has no name, each deliverer's counted up to a share, as what writers delivered themselves is. What
    /// nobody is known to have delivered counts as that already.
    fn counted_unnamed(&self) -> Amount {
        let nobody = WriterTag::NONE;
        let unnamed = |account: &&PairShare| account.pair.0 == nobody && account.pair.1 != nobody;
        let accounts = self.accounts.iter().filter(unnamed);
        let counted = accounts.map(|account| account.held.up_to(self.share));
        counted.fold(Amount::default(), |sum, held| sum + held)
    }

    /// Whether the smallest write of a new key by this node finds room.
    pub(super) fn has_room(&self) -> bool {
        self.admit_own(self.own, SMALLEST, None).is_ok()
    }

    /// Whether some limit of what is merged is reached: then new entries of some may be refused.
    pub(super) fn may_refuse(&self) -> bool {
        let over = |held: Amount, max: Amount| !(held + SMALLEST).fits(max, SMALLEST);
        over(self.held, self.merged() - self.reserve())
            || self.parties.iter().any(|party| {
                over(party.own, self.share.times(2))
                    || over(party.relayed, self.share.times(2))
                    || over(party.own + party.relayed, self.share.times(3))
                    || over(party.delivered, self.share.times(3))
            })
    }

    /// Puts an entry, in the place of `replaced`, on the account of its writer and its deliverer.
    pub(super) fn charge(
        &mut self,
        pair: (WriterTag, WriterTag),
        amount: Amount,
        replaced: Option<Charged>,
    ) -> AccountId {
        let pair = self.pair_of(pair, amount, replaced);
        let id = match self.find(pair) {
            Some(id) => id,
            None => self.open(pair),
        };
        self.change(id, |held| held + amount);
        id
    }

    /// Takes an entry off its account.
    pub(super) fn release(&mut self, charged: Charged) {
        let id = charged.account;
        self.change(id, |held| held - charged.amount);
        if self.accounts[id as usize].held.entries == 0 {
            self.close(id);
        }
    }

    /// The room that is kept back for what members deliver of their own.
    fn reserve(&self) -> Amount {
        self.share.map(|n| n / RESERVE_OF_SHARE)
    }

    /// What each member finds room for at least.
    fn reserved_each(&self) -> Amount {
        self.share.map(|n| n / RESERVED_EACH)
    }

    /// What merges may reach.
    fn merged(&self) -> Amount {
        self.size.times(2)
    }

    /// The pair under which an entry counts that comes in the place of `replaced`. If that was the same
    /// writer's, and is no shorter, who delivered it first stays who did: or a writer would have its
    /// entries counted as others' by having these deliver later versions. What is longer is its
    /// deliverer's, as all that is new, or it would be counted as what the first one brought; but only as
    /// long as that one may have more entries, since a later version is not refused for their number.
    fn pair_of(
        &self,
        (writer, deliverer): (WriterTag, WriterTag),
        amount: Amount,
        replaced: Option<Charged>,
    ) -> (WriterTag, WriterTag) {
        let Some(replaced) = replaced else {
            return self.pair(writer, deliverer);
        };
        let grows = amount.bytes > replaced.amount.bytes;
        match self.pair_before(replaced) {
            Some(before)
                if before.0 == writer && !(grows && self.takes_more(writer, deliverer)) =>
            {
                before
            }
            _ => self.pair(writer, deliverer),
        }
    }

    /// Whether another entry of a writer may be on a deliverer's account.
    fn takes_more(&self, writer: WriterTag, deliverer: WriterTag) -> bool {
        let party = |tag| self.party(tag).map(|at| &self.parties[at as usize]);
        let own = writer == deliverer;
        let written = party(writer).map_or(0, |party| {
            let of = if own { party.own } else { party.relayed };
            of.entries
        });
        let delivered = party(deliverer).map_or(0, |party| party.delivered.entries);
        let named = writer != WriterTag::NONE;
        let share = self.share.entries;
        !(named && written >= share.saturating_mul(2)) && delivered < share.saturating_mul(3)
    }

    /// The pair of what is replaced.
    fn pair_before(&self, replaced: Charged) -> Option<(WriterTag, WriterTag)> {
        let account = self.accounts.get(replaced.account as usize)?;
        Some(account.pair)
    }

    /// The pair under which an entry of a new key counts. Writers that a member makes up without end are one.
    fn pair(&self, writer: WriterTag, deliverer: WriterTag) -> (WriterTag, WriterTag) {
        if writer == deliverer
            || self
                .last
                .is_some_and(|(pair, _)| pair == (writer, deliverer))
        {
            return (writer, deliverer);
        }
        let party = self.party(deliverer).map(|at| &self.parties[at as usize]);
        let many = party.is_some_and(|party| party.writers >= WRITERS_MAX);
        if many && !self.by_pair.contains_key(&(writer, deliverer)) {
            return (WriterTag::NONE, deliverer);
        }
        (writer, deliverer)
    }

    fn find(&mut self, pair: (WriterTag, WriterTag)) -> Option<AccountId> {
        if let Some((last, id)) = self.last
            && last == pair
        {
            return Some(id);
        }
        let id = *self.by_pair.get(&pair)?;
        self.last = Some((pair, id));
        Some(id)
    }

    fn party(&self, tag: WriterTag) -> Option<u32> {
        self.by_tag.get(&tag).copied()
    }

    fn open(&mut self, pair: (WriterTag, WriterTag)) -> AccountId {
        let (writer, deliverer) = (self.join(pair.0), self.join(pair.1));
        if pair.0 != pair.1 {
            self.parties[deliverer as usize].writers += 1;
        }
        let account = PairShare {
            pair,
            writer,
            deliverer,
            held: Amount::default(),
        };
        let id = match self.free_accounts.pop() {
            Some(id) => {
                self.accounts[id as usize] = account;
                id
            }
            None => {
                self.accounts.push(account);
                number(self.accounts.len() - 1)
            }
        };
        self.by_pair.insert(pair, id);
        self.last = Some((pair, id));
        id
    }

    /// The party of a name, made if there is none, with one more account.
    fn join(&mut self, tag: WriterTag) -> u32 {
        let at = self.party(tag).unwrap_or_else(|| {
            let party = Party {
                tag,
                ..Party::default()
            };
            let at = match self.free_parties.pop() {
                Some(at) => {
                    self.parties[at as usize] = party;
                    at
                }
                None => {
                    self.parties.push(party);
                    number(self.parties.len() - 1)
                }
            };
            self.by_tag.insert(tag, at);
            at
        });
        self.parties[at as usize].accounts += 1;
        at
    }

    fn close(&mut self, id: AccountId) {
        let PairShare {
            pair,
            writer,
            deliverer,
            ..
        } = self.accounts[id as usize];
        if pair.0 != pair.1 {
            self.parties[deliverer as usize].writers -= 1;
        }
        for at in [writer, deliverer] {
            let party = &mut self.parties[at as usize];
            party.accounts -= 1;
            if party.accounts == 0 {
                self.by_tag.remove(&party.tag);
                self.free_parties.push(at);
            }
        }
        self.by_pair.remove(&pair);
        self.free_accounts.push(id);
        self.last = None;
    }

    /// Changes what is on an account, and everything that is summed from it.
    fn change(&mut self, id: AccountId, change: impl Fn(Amount) -> Amount) {
        let account = &mut self.accounts[id as usize];
        account.held = change(account.held);
        self.held = change(self.held);
        let own = account.pair.0 == account.pair.1;
        let (writer, deliverer) = (account.writer as usize, account.deliverer as usize);
        let party = &mut self.parties[writer];
        if own {
            let was = party.own;
            party.own = change(was);
            self.counted = self.counted - was.up_to(self.share) + party.own.up_to(self.share);
        } else {
            party.relayed = change(party.relayed);
        }
        let party = &mut self.parties[deliverer];
        party.delivered = change(party.delivered);
    }
}

/// By how much an entry is more than what it replaces; `None` if it is not.
fn growth(amount: Amount, replaced: Option<Charged>) -> Option<Amount> {
    let more = amount - replaced.map_or_else(Amount::default, |replaced| replaced.amount);
    (more != Amount::default()).then_some(more)
}

fn check(
    after: Amount,
    max: Amount,
    more: Amount,
    [entries, bytes]: [StoreLimit; 2],
) -> Result<(), (StoreLimit, u64)> {
    if more.entries > 0 && after.entries > max.entries {
        Err((entries, max.entries))
    } else if after.bytes > max.bytes {
        Err((bytes, max.bytes))
    } else {
        Ok(())
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("there are fewer accounts than entries")
}

/// What an entry counts besides its body: its header, its slot, its places in the indexes, and what is
/// made of it. About what the ready stores take.
pub(super) const ENTRY_BYTES: usize = 400;
/// A new entry with an empty body.
const SMALLEST: Amount = Amount {
    entries: 1,
    bytes: ENTRY_BYTES as u64,
};
/// Which part of a share, at the end of the room, is for what members deliver of their own.
const RESERVE_OF_SHARE: u64 = 4;
/// Which part of a share each may have there.
const RESERVED_EACH: u64 = 32;
/// Writers other than itself that are told apart of what one member delivers: as many as a cluster
/// has names at the most.
const WRITERS_MAX: u32 = 4096;

#[cfg(test)]
mod tests;
