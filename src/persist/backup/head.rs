//! How a backup begins: what it is of.

use std::hash::Hasher as _;

use twox_hash::XxHash64;

use crate::id::StoreId;
use crate::time::Timestamp;

/// How a backup begins. The line end in it shows if the file was transferred as text.
pub const BACKUP_MAGIC: [u8; 8] = *b"rumor\r\n\x1b";
/// The version that is written, and the only one that is read.
pub const BACKUP_VERSION: u16 = 1;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupHead {
    /// When it was begun, by the node's clock. Of a node that did not run: when it last did, as its disk has it, to
    /// within a minute. What has been removed elsewhere since then is not known in it.
    pub taken: Timestamp,
    /// The node that wrote it.
    pub node: String,
    /// The node's cluster.
    pub cluster: String,
    /// The stores that are in it, those without entries included.
    pub stores: Vec<BackupStore>,
}

/// A store in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupStore {
    /// Its number.
    pub id: StoreId,
    /// Its name.
    pub name: String,
    /// How many entries it had when the backup was begun.
    pub entries: u64,
}

impl BackupHead {
    /// How many entries there were in all.
    #[must_use]
    pub fn entries(&self) -> u64 {
        let counts = self.stores.iter().map(|store| store.entries);
        counts.fold(0, u64::saturating_add)
    }

    /// The bytes before its checksum.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut contents = Vec::new();
        contents.extend(self.taken.as_nanos().to_be_bytes());
        put_text(&mut contents, &self.node)?;
        put_text(&mut contents, &self.cluster)?;
        contents.extend(u16::try_from(self.stores.len()).ok()?.to_be_bytes());
        for store in &self.stores {
            contents.extend(store.id.0.to_be_bytes());
            put_text(&mut contents, &store.name)?;
            contents.extend(store.entries.to_be_bytes());
        }
        let len = u32::try_from(contents.len()).ok()?;
        let parts: [&[u8]; 4] = [
            &BACKUP_MAGIC,
            &BACKUP_VERSION.to_be_bytes(),
            &len.to_be_bytes(),
            &contents,
        ];
        Some(parts.concat())
    }

    /// What the contents say.
    pub(super) fn decode(mut contents: &[u8]) -> Option<Self> {
        Self::read(&mut contents).filter(|_| contents.is_empty())
    }

    fn read(contents: &mut &[u8]) -> Option<Self> {
        let mut head = Self {
            taken: Timestamp::from_nanos(u64::from_be_bytes(take(contents)?)),
            node: take_text(contents)?,
            cluster: take_text(contents)?,
            stores: Vec::new(),
        };
        for _ in 0..u16::from_be_bytes(take(contents)?) {
            head.stores.push(BackupStore {
                id: StoreId(u32::from_be_bytes(take(contents)?)),
                name: take_text(contents)?,
                entries: u64::from_be_bytes(take(contents)?),
            });
        }
        Some(head)
    }
}

/// The checksum of bytes that come behind what has the checksum `before`.
pub(super) fn chained(before: u64, parts: &[&[u8]]) -> u64 {
    let mut hash = XxHash64::with_seed(before);
    parts.iter().for_each(|part| hash.write(part));
    hash.finish()
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    out.push(u8::try_from(text.len()).ok()?);
    out.extend(text.as_bytes());
    Some(())
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let [len] = take::<1>(bytes)?;
    let (text, rest) = bytes.split_at_checked(usize::from(len))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

/// The first bytes, which are taken off.
pub(super) fn take<const LEN: usize>(bytes: &mut &[u8]) -> Option<[u8; LEN]> {
    let (first, rest) = bytes.split_first_chunk::<LEN>()?;
    *bytes = rest;
    Some(*first)
}

/// A longer head is none.
pub(super) const HEAD_BYTES_MAX: u32 = 1 << 20;
