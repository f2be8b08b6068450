//! A disk for tests: it keeps what was made durable, forgets what was not, and fails when told to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::error::StorageError;
use super::storage::{Storage, StorageRecord, StorageWrite};
use crate::id::{Key, SchemaId, WriterTag};
use crate::time::Timestamp;
use crate::wire::Entry;

/// What is on a disk of a test, and how it behaves; shared with the storage that is used.
#[derive(Clone, Default)]
pub(crate) struct TestDisk(Arc<Mutex<TestRecords>>);

#[derive(Default)]
pub(crate) struct TestRecords {
    pub(crate) records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Every call fails.
    pub(crate) fails: bool,
    /// What is there cannot be read.
    pub(crate) damaged: bool,
    /// How often it began anew.
    pub(crate) begun_anew: usize,
    pub(crate) writes: usize,
}

impl TestDisk {
    pub(crate) fn lock(&self) -> MutexGuard<'_, TestRecords> {
        self.0.lock().unwrap()
    }

    fn ready(&self) -> Result<MutexGuard<'_, TestRecords>, StorageError> {
        let records = self.lock();
        if records.fails {
            return Err(StorageError::Io(std::io::ErrorKind::StorageFull.into()));
        }
        if records.damaged {
            return Err(StorageError::Damaged);
        }
        Ok(records)
    }
}

impl Storage for TestDisk {
    fn scan(
        &mut self,
        after: &[u8],
        bytes_max: usize,
        out: &mut Vec<StorageRecord>,
    ) -> Result<(), StorageError> {
        let records = self.ready()?;
        let mut bytes = 0;
        let behind = records.records.range(after.to_vec()..);
        for (key, value) in behind.filter(|(key, _)| *key != after) {
            bytes += key.len() + value.len();
            out.push((key.clone(), value.clone()));
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, batch: &[StorageWrite]) -> Result<(), StorageError> {
        let mut records = self.ready()?;
        records.writes += 1;
        for write in batch {
            match write {
                StorageWrite::Put { key, value } => {
                    records.records.insert(key.clone(), value.clone());
                }
                StorageWrite::Remove { key } => {
                    records.records.remove(key);
                }
            }
        }
        Ok(())
    }

    fn start_over(&mut self) -> Result<Option<PathBuf>, StorageError> {
        let mut records = self.lock();
        if records.fails {
            return Err(StorageError::Io(std::io::ErrorKind::StorageFull.into()));
        }
        records.records.clear();
        records.damaged = false;
        records.begun_anew += 1;
        Ok(None)
    }
}

/// An entry of a store of silences' shape, or of any.
pub(crate) fn entry(key: u8, ts: u64, body: &'static [u8]) -> Entry {
    Entry {
        key: Key([key; 16]),
        ts: Timestamp::from_nanos(ts),
        tie: 0,
        writer: WriterTag(7),
        expires_at: Timestamp::ZERO,
        schema: SchemaId::new(1).lasting(),
        body: Bytes::from_static(body),
    }
}
