//! Records that are set aside: in a file, as they were found.
//!
//! The file begins with [`MAGIC`]; then, for each record, the lengths of its key and its value (4 bytes
//! each, big-endian), the key and the value.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::directory::aside;
use super::storage::StorageRecord;

/// Writes records into a new file of the directory, and returns where it is.
pub(super) fn write_aside(directory: &Path, records: &[StorageRecord]) -> io::Result<PathBuf> {
    let path = aside(directory, "records");
    let mut out = BufWriter::new(File::create(&path)?);
    out.write_all(MAGIC)?;
    for (key, value) in records {
        for part in [key, value] {
            let len = u32::try_from(part.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            out.write_all(&len.to_be_bytes())?;
        }
        out.write_all(key)?;
        out.write_all(value)?;
    }
    out.flush()?;
    out.get_ref().sync_all()?;
    File::open(directory)?.sync_all()?;
    Ok(path)
}

/// How such a file begins.
const MAGIC: &[u8] = b"rumormill records set aside 1\n";
