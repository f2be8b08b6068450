//! A storage in one file of the embedded database redb.
//!
//! Records are in one table. redb flushes a commit once, and finds its last whole commit after a crash
//! by its own checksums. It may panic over a damaged file, which stops here: whatever it says, or however
//! it ends, the file is closed, and opened again by the next call.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use redb::{Database, ReadableDatabase as _, StorageBackend, TableDefinition};
use tracing::{debug, warn};

use super::directory::Directory;
use super::error::StorageError;
use super::storage::{Storage, StorageRecord, StorageWrite};

/// Records in the file `rumormill.redb` of a directory, which one process at a time may use.
///
/// The file grows with what is held, and room that is freed is used again; it is made smaller at a start
/// where more than half of it, and more than 64 MiB, is free.
pub struct RedbStorage {
    directory: Directory,
    database: Option<Database>,
    durability: redb::Durability,
    /// In the place of the file of the directory, which is not used then.
    given: Option<GivenFile>,
}

impl fmt::Debug for RedbStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStorage")
            .field("directory", &self.directory.path())
            .field("is_open", &self.database.is_some())
            .finish()
    }
}

impl RedbStorage {
    /// Takes a directory, and makes it if it is not there. The file in it is opened when it is first
    /// needed.
    ///
    /// # Errors
    /// [`StorageError::InUse`] if another process uses it, [`StorageError::Io`] if it cannot be made or
    /// locked.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StorageError> {
        let mut directory = Directory::new(directory.as_ref());
        directory.take()?;
        Ok(Self {
            directory,
            database: None,
            durability: redb::Durability::Immediate,
            given: None,
        })
    }

    /// As [`open`](Self::open). But a directory that is there and cannot be used now, because it is full or
    /// read-only, is no error: it is taken as soon as that works.
    pub(crate) fn open_when_it_works(directory: &Path) -> Result<Self, StorageError> {
        match Self::open(directory) {
            Err(StorageError::Io(error)) if directory.is_dir() => {
                warn!(directory = %directory.display(), %error, "the directory cannot be used now");
                Ok(Self {
                    directory: Directory::new(directory),
                    database: None,
                    durability: redb::Durability::Immediate,
                    given: None,
                })
            }
            opened => opened,
        }
    }

    /// In a file of the tests, with this durability.
    pub(crate) fn in_file(file: Arc<dyn StorageBackend>, durability: redb::Durability) -> Self {
        Self {
            directory: Directory::new(Path::new("")),
            database: None,
            durability,
            given: Some(GivenFile(file)),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(FILE)
    }

    /// Does something with the database, which is opened for it if it is not open. If that fails, or
    /// panics, it is closed.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Database) -> Result<T, redb::Error>,
    ) -> Result<T, StorageError> {
        let given = self.given.clone();
        if given.is_none() {
            self.directory.take()?;
        }
        let (path, directory) = (self.path(), &self.directory);
        let database = &mut self.database;
        let done = catch_unwind(AssertUnwindSafe(|| {
            if database.is_none() {
                *database = Some(create(&path, directory, given)?);
            }
            database.as_mut().map(work).transpose()
        }));
        let error = match done {
            Ok(Ok(Some(done))) => return Ok(done),
            Ok(Ok(None)) => StorageError::Damaged,
            Ok(Err(error)) => {
                debug!(path = %path.display(), %error, "the database failed");
                told(error, self.directory.path())
            }
            Err(_) => StorageError::Damaged,
        };
        self.close();
        Err(error)
    }

    fn close(&mut self) {
        let database = self.database.take();
        // It may panic over a damaged file once more.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

/// A file that somebody else has opened.
#[derive(Clone, Debug)]
struct GivenFile(Arc<dyn StorageBackend>);

impl StorageBackend for GivenFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// Opens the file, and makes it if it is not there or empty.
fn create(
    path: &Path,
    directory: &Directory,
    given: Option<GivenFile>,
) -> Result<Database, redb::Error> {
    let is_new = given.is_none() && fs::metadata(path).map_or(true, |it| it.len() == 0);
    let mut builder = Database::builder();
    let builder = builder.set_cache_size(CACHE_BYTES);
    let database = match given {
        Some(file) => builder.create_with_backend(file)?,
        None => builder.create(path)?,
    };
    // Only where it is not there: a disk that is full can be read.
    if database.begin_read()?.open_table(RECORDS).is_err() {
        let write = database.begin_write()?;
        write.open_table(RECORDS)?;
        write.commit()?;
    }
    if is_new {
        directory.sync()?;
    }
    Ok(database)
}

/// What an error of redb is to us.
fn told(error: redb::Error, directory: &Path) -> StorageError {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        redb::Error::DatabaseAlreadyOpen => StorageError::InUse {
            path: directory.to_owned(),
        },
        redb::Error::Io(error) if !matches!(error.kind(), InvalidData | UnexpectedEof) => {
            StorageError::Io(error)
        }
        // It was told before what had failed; the next call opens the file again.
        redb::Error::PreviousIo => StorageError::Io(io::ErrorKind::Other.into()),
        _ => StorageError::Damaged,
    }
}

impl Storage for RedbStorage {
    fn scan(
        &mut self,
        after: &[u8],
        bytes_max: usize,
        out: &mut Vec<StorageRecord>,
    ) -> Result<(), StorageError> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.with(|database| {
            let read = database.begin_read()?;
            let table = read.open_table(RECORDS)?;
            let mut bytes = 0_usize;
            for record in redb::ReadableTable::range::<&[u8]>(&table, (Excluded(after), Unbounded))?
            {
                let (key, value) = record?;
                let (key, value) = (key.value().to_vec(), value.value().to_vec());
                bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
                out.push((key, value));
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(())
        })
    }

    fn write(&mut self, batch: &[StorageWrite]) -> Result<(), StorageError> {
        let durability = self.durability;
        self.with(|database| {
            let mut write = database.begin_write()?;
            write.set_durability(durability)?;
            let mut table = write.open_table(RECORDS)?;
            for change in batch {
                match change {
                    StorageWrite::Put { key, value } => {
                        table.insert(key.as_slice(), value.as_slice())?;
                    }
                    StorageWrite::Remove { key } => {
                        table.remove(key.as_slice())?;
                    }
                }
            }
            drop(table);
            write.commit()?;
            Ok(())
        })
    }

    fn start_over(&mut self) -> Result<Option<PathBuf>, StorageError> {
        if self.given.is_some() {
            return Err(StorageError::Io(io::ErrorKind::Unsupported.into()));
        }
        self.directory.take()?;
        self.close();
        Ok(Some(self.directory.set_aside(FILE)?))
    }

    fn directory(&self) -> Option<PathBuf> {
        (self.given.is_none()).then(|| self.directory.path().to_owned())
    }

    fn bytes(&self) -> Option<u64> {
        fs::metadata(self.path()).ok().map(|it| it.len())
    }

    fn records(&mut self) -> Option<u64> {
        let counted = self.with(|database| {
            let read = database.begin_read()?;
            let table = read.open_table(RECORDS)?;
            Ok(redb::ReadableTableMetadata::len(&table)?)
        });
        counted.ok()
    }

    fn compact(&mut self) -> Result<(), StorageError> {
        let bytes = self.bytes().unwrap_or(0);
        self.with(|database| {
            let write = database.begin_write()?;
            let stats = write.stats()?;
            write.abort()?;
            let pages = stats.allocated_pages();
            let used = pages.saturating_mul(u64::try_from(stats.page_size()).unwrap_or(u64::MAX));
            let free = bytes.saturating_sub(used);
            if free > COMPACT_BYTES_MIN && free > bytes / 2 {
                database.compact()?;
            }
            Ok(())
        })
    }
}

const FILE: &str = "rumormill.redb";
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const CACHE_BYTES: usize = 32 << 20;
/// So much must be free in the file, for it to be made smaller.
const COMPACT_BYTES_MIN: u64 = 64 << 20;
