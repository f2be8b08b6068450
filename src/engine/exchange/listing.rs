//! The comparison by sorted lists, from the point of view of an exchange: whose turn it is, what came
//! and what is sent.
//!
//! Each side reads its store window by window, in slices: the exchange is pumped until a window is
//! full, and other work goes on in between. The initiator cuts chunks from its windows; the responder
//! compares a chunk with as many windows of its own as it spans, then answers. One chunk is under way
//! at a time.

use crate::engine::core::Core;
use crate::engine::event::Comparison;
use crate::id::StoreId;
use crate::wire::{Hashes, Items, Message, Settled, Wants};

use super::list::{Came, Chunk, List, Theirs};
use super::talk::{BreakOff, Comparing, Exchange};
use super::work;

impl Exchange {
    /// The store is to be listed, by the initiator.
    pub(super) fn list_next(&mut self, store: StoreId, by_hashes: bool) {
        self.used(Comparison::List);
        let listing = Comparing::Listing { by_hashes };
        if self.comparing.insert(store, listing).is_none() {
            self.to_list.push_back(store);
        }
    }

    /// The list under way, the initiator's next one if there is none.
    fn current_list(&mut self) -> Option<&mut List> {
        if self.list.is_none() {
            let store = self.to_list.pop_front()?;
            let by_hashes = matches!(
                self.comparing.get(&store),
                Some(Comparing::Listing { by_hashes: true })
            );
            self.list = Some(List::new(store, by_hashes));
        }
        self.list.as_mut()
    }

    /// Goes on with the list for a slice: reads on, then sends a chunk or compares the one that
    /// came.
    pub(super) fn list_on(&mut self, core: &mut Core) {
        let (initiator, cut) = (self.initiator, self.cut);
        let due = |list: &&mut List| match list.chunk {
            None => initiator,
            Some(Chunk::Came(_)) => true,
            Some(Chunk::Sent { .. }) => false,
        };
        let Some(list) = self.current_list().filter(due) else {
            return;
        };
        let Some(store) = core.stores.get(list.store) else {
            return;
        };
        if list.next > list.window.to() {
            list.window.advance();
        }
        if !list.window.is_full() {
            let items = |from, out: &mut Vec<_>| store.items(from, cut, out);
            let runs = list.window.fill(RUNS_PER_SLICE, items);
            let full = list.window.is_full();
            self.charge(work::of_looks(runs));
            if !full {
                return self.pump_soon(core);
            }
            self.pledge(core);
            // Until now the other side had to wait for this one.
            self.expect_progress(core);
        }
        if initiator {
            self.send_chunk(core);
        } else {
            self.compare_chunk(core);
        }
    }

    fn send_chunk(&mut self, core: &mut Core) {
        let max = core.config.items_chunk_max;
        let Some(list) = self.list.as_mut() else {
            return;
        };
        let message = list.cut_chunk(max);
        self.send(core, &message);
    }

    /// The initiator learns what the responder lacks of its last chunk.
    pub(super) fn wants_received(&mut self, wants: &Wants) -> Result<(), BreakOff> {
        let asked = |list: &&mut List| list.has_sent(wants);
        let Some(list) = self.list.as_mut().filter(asked) else {
            return Err(BreakOff::Unexpected);
        };
        list.chunk = None;
        if wants.to == u64::MAX {
            let by_hashes = list.by_hashes;
            self.list = None;
            let awaiting = Comparing::AwaitingSettled { by_hashes };
            self.comparing.insert(wants.store, awaiting);
        }
        self.owe(wants.store, wants.wants.iter().copied());
        Ok(())
    }

    /// A chunk of items came.
    pub(super) fn items_received(&mut self, core: &Core, theirs: Items) -> Result<(), BreakOff> {
        let (from, to) = (theirs.from, theirs.to);
        let came = Came::new(Theirs::Items(theirs.items), to, theirs.sum);
        self.chunk_received(core, theirs.store, from, came)
    }

    /// A chunk of whole hashes came.
    pub(super) fn hashes_received(&mut self, core: &Core, theirs: Hashes) -> Result<(), BreakOff> {
        let (from, to) = (theirs.from, theirs.to);
        let came = Came::new(Theirs::Hashes(theirs.hashes), to, 0);
        self.chunk_received(core, theirs.store, from, came)
    }

    /// Takes a chunk that is due: of this kind, and right after the last one.
    fn chunk_received(
        &mut self,
        core: &Core,
        store: StoreId,
        from: u64,
        came: Came,
    ) -> Result<(), BreakOff> {
        let by_hashes = matches!(came.lines, Theirs::Hashes(_));
        let due = match self.comparing.get(&store) {
            Some(Comparing::Listed { by_hashes: due }) => *due == by_hashes,
            // Where cells led nowhere, the initiator lists without asking.
            Some(Comparing::Telling(_)) => {
                self.use_fallback(core)?;
                !by_hashes
            }
            _ => false,
        };
        let begins = self.list.is_none();
        let list = self.list.get_or_insert_with(|| List::new(store, by_hashes));
        let follows = list.store == store && list.chunk.is_none() && list.next == from;
        if !due || !follows {
            return Err(BreakOff::Unexpected);
        }
        list.chunk = Some(Chunk::Came(came));
        if begins {
            self.used(Comparison::List);
            self.comparing
                .insert(store, Comparing::Listed { by_hashes });
            self.charge(work::ANSWER);
        }
        Ok(())
    }

    /// Compares the chunk that came with the window, as far as that goes, and answers at its end.
    fn compare_chunk(&mut self, core: &mut Core) {
        let Some(list) = self.list.as_mut() else {
            return;
        };
        let store = list.store;
        let (push, answer) = list.compare_on();
        self.owe(store, push);
        let Some((wants, agrees)) = answer else {
            return self.pump_soon(core);
        };
        let ends = wants.to == u64::MAX;
        if ends {
            self.list = None;
            if agrees {
                self.comparing.remove(&store);
            } else {
                tracing::debug!(node = %core.setup.name, ?store, "equal lists under different roots");
                core.counters.digest_mismatches += 1;
                let listed = Comparing::Listed { by_hashes: true };
                self.comparing.insert(store, listed);
            }
        }
        self.send(core, &Message::Wants(wants));
        if ends {
            self.send(core, &Message::Settled(Settled { store, agrees }));
        }
    }
}

/// Runs of a store's slots that are read in one turn.
const RUNS_PER_SLICE: usize = 32;
