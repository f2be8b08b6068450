//! A disk for tests: it keeps what was made durable, forgets what was not, and fails when told to.

use std::collections::BTreeMap;
use std::io;
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
    /// So many writes work, and none after them.
    pub(crate) writes_left: Option<usize>,
    /// Every call panics.
    pub(crate) panics: bool,
    /// Where it says that files can be put beside it.
    pub(crate) directory: Option<PathBuf>,
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
            return Err(StorageError::Io(io::ErrorKind::StorageFull.into()));
        }
        if records.panics {
            drop(records);
            panic!("the storage has a bug");
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
        match records.writes_left.as_mut() {
            Some(0) => return Err(StorageError::Io(io::ErrorKind::StorageFull.into())),
            Some(left) => *left -= 1,
            None => {}
        }
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
            return Err(StorageError::Io(io::ErrorKind::StorageFull.into()));
        }
        records.records.clear();
        records.damaged = false;
        records.begun_anew += 1;
        Ok(None)
    }

    fn directory(&self) -> Option<PathBuf> {
        self.lock().directory.clone()
    }
}

/// A file that forgets what was not flushed.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestFile(Arc<Mutex<TestBytes>>);

#[derive(Debug, Default)]
struct TestBytes {
    /// As the process sees it.
    seen: Vec<u8>,
    /// As it is on the disk.
    flushed: Vec<u8>,
    /// What was done since the last flush.
    since: Vec<FileChange>,
}

#[derive(Clone, Debug)]
enum FileChange {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl FileChange {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(at, written) => {
                let end = at + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(written);
            }
        }
    }
}

impl TestFile {
    /// What is on the disk after the power went: all that was flushed, and of what was written since the
    /// parts that `reached` says, in any combination.
    pub(crate) fn after_power_loss(&self, mut reached: impl FnMut() -> bool) -> Self {
        let bytes = self.0.lock().unwrap();
        let mut flushed = bytes.flushed.clone();
        let since = bytes.since.iter().filter(|_| reached());
        since.for_each(|change| change.apply(&mut flushed));
        Self(Arc::new(Mutex::new(TestBytes {
            seen: flushed.clone(),
            flushed,
            since: Vec::new(),
        })))
    }

    fn change(&self, change: FileChange) {
        let mut bytes = self.0.lock().unwrap();
        change.apply(&mut bytes.seen);
        bytes.since.push(change);
    }
}

impl redb::StorageBackend for TestFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (bytes, at) = (self.0.lock().unwrap(), usize::try_from(offset).unwrap());
        let part = bytes.seen.get(at..at + out.len());
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(FileChange::Length(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let since = std::mem::take(&mut bytes.since);
        since
            .iter()
            .for_each(|change| change.apply(&mut bytes.flushed));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.change(FileChange::Write(at, data.to_vec()));
        Ok(())
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
