//! The blocks of a backup, one at a time: written behind each other, and read back with all that is checked.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::error::{BackupFault, Misfit};
use super::head::{BACKUP_MAGIC, BACKUP_VERSION, BackupHead, HEAD_BYTES_MAX, chained, take};
use crate::id::{StoreId, WriterTag};
use crate::store::Change;
use crate::wire::Entry;
use crate::wire::codec::BODY_BYTES_MAX;

/// Writes a backup, block by block.
pub(super) struct BlockWriter<'a> {
    out: &'a mut dyn Write,
    /// The last checksum.
    sum: u64,
    entries: u64,
    /// What was written.
    pub(super) bytes: u64,
}

impl<'a> BlockWriter<'a> {
    /// Writes the head.
    ///
    /// # Errors
    /// Those of `out`; a name that is too long.
    pub(super) fn begin(out: &'a mut dyn Write, head: &BackupHead) -> io::Result<Self> {
        let encoded = head.encode().ok_or(io::ErrorKind::InvalidInput)?;
        let mut writer = Self {
            out,
            sum: 0,
            entries: 0,
            bytes: 0,
        };
        writer.put(&[&encoded])?;
        Ok(writer)
    }

    /// Writes up to [`BLOCK_ENTRIES_MAX`] entries of one store.
    pub(super) fn entries(&mut self, store: StoreId, changes: &[Change]) -> io::Result<u64> {
        let len = |change: &Change| WRITER_BYTES.saturating_add(change.entry.encoded_len());
        let len = changes.iter().map(len).fold(4, usize::saturating_add);
        let mut contents = Vec::with_capacity(len);
        contents.extend(store.0.to_be_bytes());
        for Change {
            entry, deliverer, ..
        } in changes
        {
            contents.extend(deliverer.0.to_be_bytes());
            entry.encode(&mut contents);
            self.entries = self.entries.saturating_add(1);
        }
        self.block(ENTRIES, &contents)?;
        Ok(self.entries)
    }

    /// Writes the end, and returns how many entries there are.
    pub(super) fn end(mut self) -> io::Result<(u64, u64)> {
        let entries = self.entries;
        self.block(END, &entries.to_be_bytes())?;
        self.out.flush()?;
        Ok((entries, self.bytes))
    }

    fn block(&mut self, kind: u8, contents: &[u8]) -> io::Result<()> {
        let len = u32::try_from(contents.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.put(&[&[kind], &len.to_be_bytes(), contents])
    }

    /// Writes parts, and their checksum.
    fn put(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.sum = chained(self.sum, parts);
        let sum = self.sum.to_be_bytes();
        for part in parts.iter().copied().chain([&sum[..]]) {
            self.out.write_all(part)?;
            self.bytes = self.bytes.saturating_add(part.len() as u64);
        }
        Ok(())
    }
}

/// What comes next in a backup.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Nothing: that was all.
    End,
    /// Entries of a store, each with who delivered it first. The store is the one at this place in the head.
    Entries(usize, Vec<(WriterTag, Entry)>),
}

/// Reads a backup, block by block.
pub(super) struct BlockReader<R> {
    from: R,
    /// What was read.
    pub(super) offset: u64,
    sum: u64,
    entries: u64,
    /// Those of the head.
    stores: Vec<StoreId>,
}

impl<R: Read> BlockReader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(super) fn begin(from: R) -> Result<(Self, BackupHead), Misfit> {
        let mut reader = Self {
            from,
            offset: 0,
            sum: 0,
            entries: 0,
            stores: Vec::new(),
        };
        let magic = reader.some(BACKUP_MAGIC.len())?;
        if magic.is_empty() {
            return Err((0, BackupFault::Empty));
        }
        if !BACKUP_MAGIC.starts_with(&magic) {
            return Err((0, BackupFault::NotABackup));
        }
        if magic.len() < BACKUP_MAGIC.len() {
            return Err((reader.offset, BackupFault::CutShort));
        }
        let version = reader.fixed::<2>()?;
        let found = u16::from_be_bytes(version);
        if found != BACKUP_VERSION {
            return Err((VERSION_AT, BackupFault::Version { found }));
        }
        let len_at = reader.offset;
        let len = reader.fixed::<4>()?;
        if u32::from_be_bytes(len) > HEAD_BYTES_MAX {
            let what = "the length of the head";
            return Err((len_at, BackupFault::Malformed { what }));
        }
        let contents = reader.exactly(u32::from_be_bytes(len))?;
        reader.check(0, &[&magic, &version, &len, &contents])?;
        let what = "the head";
        let malformed = (len_at, BackupFault::Malformed { what });
        let head = BackupHead::decode(&contents).ok_or(malformed)?;
        reader.stores = head.stores.iter().map(|store| store.id).collect();
        Ok((reader, head))
    }

    /// Reads the next block.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(super) fn next(&mut self) -> Result<Block, Misfit> {
        let start = self.offset;
        let malformed = |at: u64, what| (at, BackupFault::Malformed { what });
        let kind = self.fixed::<1>()?;
        let len = self.fixed::<4>()?;
        if u32::from_be_bytes(len) > BLOCK_BYTES_MAX {
            return Err(malformed(start, "the length of a block"));
        }
        let contents = self.exactly(u32::from_be_bytes(len))?;
        self.check(start, &[&kind, &len, &contents])?;
        match kind {
            [ENTRIES] => {
                let (store, entries) = read_entries(contents).map_err(|(inside, what)| {
                    let at = start
                        .saturating_add(BLOCK_HEAD_BYTES)
                        .saturating_add(inside);
                    malformed(at, what)
                })?;
                let place = self.stores.iter().position(|known| *known == store);
                let what = "the store of a block";
                let place = place.ok_or_else(|| malformed(start, what))?;
                self.entries = self.entries.saturating_add(entries.len() as u64);
                Ok(Block::Entries(place, entries))
            }
            [END] => {
                if contents != self.entries.to_be_bytes() {
                    return Err(malformed(start, "the number of entries"));
                }
                if !self.some(1)?.is_empty() {
                    return Err((self.offset.saturating_sub(1), BackupFault::Trailing));
                }
                Ok(Block::End)
            }
            _ => Err(malformed(start, "the kind of a block")),
        }
    }

    /// The checksum of these parts, which began at `start`, comes next.
    fn check(&mut self, start: u64, parts: &[&[u8]]) -> Result<(), Misfit> {
        let sum = u64::from_be_bytes(self.fixed()?);
        self.sum = chained(self.sum, parts);
        if sum == self.sum {
            Ok(())
        } else {
            Err((start, BackupFault::Checksum))
        }
    }

    fn fixed<const LEN: usize>(&mut self) -> Result<[u8; LEN], Misfit> {
        let bytes = self.some(LEN)?;
        let cut = (self.offset, BackupFault::CutShort);
        <[u8; LEN]>::try_from(bytes.as_slice()).map_err(|_| cut)
    }

    fn exactly(&mut self, len: u32) -> Result<Vec<u8>, Misfit> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = self.some(len)?;
        if bytes.len() < len {
            return Err((self.offset, BackupFault::CutShort));
        }
        Ok(bytes)
    }

    /// So many bytes, or fewer at the end. Takes room for that many and no more, and for more than [`STEP_BYTES`] only
    /// once so many are there.
    fn some(&mut self, len: usize) -> Result<Vec<u8>, Misfit> {
        let mut bytes = Vec::new();
        for end in [len.min(STEP_BYTES), len] {
            let before = bytes.len();
            let missing = end.saturating_sub(before);
            bytes.reserve_exact(missing);
            let from = self.from.by_ref();
            let read = from.take(missing as u64).read_to_end(&mut bytes);
            let added = bytes.len().saturating_sub(before);
            self.offset = self.offset.saturating_add(added as u64);
            read.map_err(|error| (self.offset, error.into()))?;
            if bytes.len() < end {
                break;
            }
        }
        Ok(bytes)
    }
}

/// The store of a block, and its entries.
type BlockEntries = (StoreId, Vec<(WriterTag, Entry)>);

/// The entries of a block.
///
/// # Errors
/// At which byte of its contents something begins that cannot be read, and what.
fn read_entries(contents: Vec<u8>) -> Result<BlockEntries, (u64, &'static str)> {
    const WHAT: &str = "an entry";
    let whole = contents.len();
    let mut rest = Bytes::from(contents);
    let store = u32::from_be_bytes(take_off(&mut rest).ok_or((0, WHAT))?);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let at = whole.saturating_sub(rest.len()) as u64;
        if entries.len() >= BLOCK_ENTRIES_MAX {
            return Err((at, "a block of more than 256 entries"));
        }
        let from = u64::from_be_bytes(take_off(&mut rest).ok_or((at, WHAT))?);
        let entry = Entry::decode(&mut rest, BODY_BYTES_MAX).map_err(|_| (at, WHAT))?;
        entries.push((WriterTag(from), entry));
    }
    Ok((StoreId(store), entries))
}

fn take_off<const LEN: usize>(bytes: &mut Bytes) -> Option<[u8; LEN]> {
    let first = take(&mut bytes.as_ref())?;
    drop(bytes.split_to(LEN));
    Some(first)
}

const END: u8 = 0;
const ENTRIES: u8 = 1;
/// Kind and length.
const BLOCK_HEAD_BYTES: u64 = 5;
const VERSION_AT: u64 = BACKUP_MAGIC.len() as u64;
/// More are not written: a store gives them out by so many.
pub(super) const BLOCK_ENTRIES_MAX: usize = 256;
/// Before each entry.
const WRITER_BYTES: usize = 8;
const STEP_BYTES: usize = 1 << 20;
/// A block is full with 1 MiB; its last entry may be one of the largest.
const BLOCK_BYTES_MAX: u32 = 18 << 20;
