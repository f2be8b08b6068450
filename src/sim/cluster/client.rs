//! What an application does with its node: reads, writes, and follows what it wrote.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::happening::Happening;
use super::simulator::Simulator;
use crate::engine::Operation;
use crate::sim::check::violation::Breach;
use crate::sim::nodes::registers::{Register, Registers};
use crate::store::{
    Copies, Expiry, Held, Map, ReplicationError, Store, WriteError, WriteId, Written,
};

impl Simulator {
    /// Writes a register; it is visible at once, and on its way when time next passes.
    ///
    /// # Errors
    /// What the store says; nothing has changed.
    ///
    /// # Panics
    /// If the node is down.
    pub fn write(
        &mut self,
        node: usize,
        key: u64,
        value: impl Into<Bytes>,
    ) -> Result<WriteId, WriteError> {
        let value = value.into();
        self.note(node, format_args!("write {key}"), &value.clone());
        self.put(node, Register { key, value }, Expiry::Never)
    }

    /// Writes a register below the sight of the node's engine, as a defect would: the node holds it, and
    /// sends it to nobody. What the others do about it is theirs to find out.
    ///
    /// # Errors
    /// What the store says; nothing has changed.
    ///
    /// # Panics
    /// If the node is down.
    pub fn write_unseen(
        &mut self,
        node: usize,
        key: u64,
        value: impl Into<Bytes>,
    ) -> Result<WriteId, WriteError> {
        let write = self.write(node, key, value)?;
        if let Some(process) = self.nodes[node].process.as_mut() {
            process.engine.overlook(&write);
        }
        Ok(write)
    }

    /// Writes a register that expires after `ttl`, on the writer's clock.
    ///
    /// # Errors
    /// What the store says; nothing has changed.
    ///
    /// # Panics
    /// If the node is down.
    pub fn write_expiring(
        &mut self,
        node: usize,
        key: u64,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<WriteId, WriteError> {
        let value = value.into();
        self.note(
            node,
            format_args!("write {key} for {ttl:?}"),
            &value.clone(),
        );
        let expiry = Expiry::At(self.wall(node).plus(ttl));
        self.put(node, Register { key, value }, expiry)
    }

    fn put(
        &mut self,
        node: usize,
        record: Register,
        expiry: Expiry,
    ) -> Result<WriteId, WriteError> {
        let registers = self.process(node).registers.clone();
        let store = registers.store();
        let is_new = store
            .replica()
            .held(&Registers::entry_key(record.key))
            .is_none();
        let full = is_new && !store.has_room();
        let written = registers.put(record, expiry);
        // Of two reasons one is told.
        let too_large = matches!(written, Err(WriteError::TooLarge { .. }));
        if full != matches!(written, Err(WriteError::StoreFull { .. })) && !too_large {
            self.report(Some(Breach::RoomMisjudged { node, full }));
        }
        if matches!(written, Err(WriteError::StoreFull { .. })) {
            self.report(self.look().crowded_out(node, &*store));
        }
        let written = written.inspect_err(|error| self.refused(node, error))?;
        Ok(self.acknowledged(node, &written))
    }

    /// Only a write with a condition may lose: the others come after whatever their writer holds.
    pub(super) fn refused(&mut self, node: usize, error: &WriteError) {
        if *error == WriteError::Conflict {
            self.report(Some(Breach::WriteOverruled { node }));
        }
    }

    /// Removes a register; `None` if there was nothing to remove.
    ///
    /// # Errors
    /// What the store says; nothing has changed.
    ///
    /// # Panics
    /// If the node is down.
    pub fn remove(&mut self, node: usize, key: u64) -> Result<Option<WriteId>, WriteError> {
        self.note(node, format_args!("remove {key}"), &[]);
        let entry_key = Registers::entry_key(key);
        let written = self.process(node).registers.remove(&entry_key);
        let written = written.inspect_err(|error| self.refused(node, error))?;
        Ok(written.map(|written| self.acknowledged(node, &written)))
    }

    pub(super) fn acknowledged(&mut self, node: usize, written: &Written) -> WriteId {
        let write = written.id();
        self.notice_writes_of(node);
        let mut stores = self.process(node).stores.iter();
        let store = stores.find(|store| store.id() == write.store);
        let change = store.and_then(|store| store.replica().held(&write.key));
        let change = change.expect("what was written is held");
        let life = (node, self.nodes[node].life);
        self.checker
            .acknowledge(self.time, life, write.store, change.entry);
        write
    }

    /// The value of a register on a node; `None` if there is none or the node is down.
    #[must_use]
    pub fn read(&self, node: usize, key: u64) -> Option<Bytes> {
        let process = self.nodes[node].process.as_ref()?;
        let register = process.registers.get(&Registers::entry_key(key))?;
        Some(register.value.clone())
    }

    /// A node's registers, whatever they hold.
    ///
    /// # Panics
    /// If the node is down.
    #[must_use]
    pub fn registers(&self, node: usize) -> &Map<Registers> {
        &self.process(node).registers
    }

    /// A node's stores: its registers, then those of the factory. Empty if it is down.
    #[must_use]
    pub fn stores(&self, node: usize) -> &[Arc<dyn Store>] {
        let process = self.nodes[node].process.as_ref();
        process.map_or(&[], |process| &process.stores)
    }

    /// Whether every node whose process runs has this value of a register.
    #[must_use]
    pub fn all_read(&self, key: u64, value: &[u8]) -> bool {
        (0..self.nodes.len())
            .filter(|node| self.is_up(*node))
            .all(|node| self.read(node, key).as_deref() == Some(value))
    }

    /// Follows a write; its end is given by [`outcome`](Self::outcome).
    ///
    /// # Panics
    /// If the node is down, or its store does not hold the key.
    pub fn watch(
        &mut self,
        node: usize,
        write: WriteId,
        copies: impl Into<Copies>,
        within: Duration,
    ) -> u64 {
        let copies = copies.into();
        self.tickets += 1;
        let ticket = self.tickets;
        let stores = self.process(node).stores.iter();
        let mut of_store = stores.filter(|store| store.id() == write.store);
        let change = of_store
            .next()
            .and_then(|store| store.replica().held(&write.key));
        let entry = change.expect("a followed write is held").entry;
        let life = (node, self.nodes[node].life);
        self.checker.watch(ticket, life, write, entry, copies);
        let operation = Operation::Watch {
            ticket,
            write,
            copies,
            within,
        };
        self.operate(node, operation);
        ticket
    }

    /// How a followed write ended; `None` while it has not.
    #[must_use]
    pub fn outcome(&self, ticket: u64) -> Option<&Result<Held, ReplicationError>> {
        self.outcomes.get(&ticket)
    }

    /// Asks a node's engine for something, when time next passes. Unstable, as all of
    /// `rumormill::unstable`.
    #[doc(hidden)]
    pub fn operate(&mut self, node: usize, operation: Operation) {
        let life = self.nodes[node].life;
        let operation = Happening::Operation {
            node,
            life,
            operation,
        };
        self.agenda.push(self.time, operation);
    }
}
