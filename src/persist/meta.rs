//! What a node has to remember beside its entries.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::record::{put_meta, remove_meta};
use super::storage::StorageWrite;
use crate::id::{NodeName, StoreId};
use crate::time::Timestamp;

/// What a node remembers of itself and of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// The highest boot that the node has had.
    pub(crate) boot: u64,
    /// Where members were reached.
    pub(crate) members: Vec<SocketAddr>,
    /// Members that were expelled here.
    pub(crate) expelled: Vec<NodeName>,
}

/// What is on disk beside entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// The format of everything; `None` where nothing was written yet.
    pub(super) format: Option<u16>,
    /// The cluster.
    pub(super) cluster: Option<String>,
    /// When a node was last known to run that kept this store here. A store that is not kept for a while
    /// is away, though its node runs.
    pub(super) alive: BTreeMap<StoreId, Timestamp>,
    pub(super) remembered: Remembered,
    /// A migration is under way.
    pub(super) migration: Option<Migration>,
}

/// How far a migration has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Migration {
    /// The format that there was before.
    pub(super) from: u16,
    /// Records up to this key have been rewritten.
    pub(super) after: Vec<u8>,
}

impl Meta {
    /// Takes one record in. What does not read is as if it was not there: names of later versions, too.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) {
        let text = || std::str::from_utf8(value).ok();
        let number = || value.try_into().ok().map(u64::from_be_bytes);
        match name {
            BOOT => self.remembered.boot = number().unwrap_or(0),
            CLUSTER => self.cluster = text().map(str::to_owned),
            EXPELLED => {
                let names = text().unwrap_or("").lines().take(LINES_MAX);
                self.remembered.expelled = names.filter_map(|it| NodeName::new(it).ok()).collect();
            }
            FORMAT => self.format = value.try_into().ok().map(u16::from_be_bytes),
            MEMBERS => {
                let addrs = text().unwrap_or("").lines().take(LINES_MAX);
                self.remembered.members = addrs.filter_map(|it| it.parse().ok()).collect();
            }
            MIGRATION => {
                let parts = value.split_first_chunk::<2>();
                self.migration = parts.map(|(from, after)| Migration {
                    from: u16::from_be_bytes(*from),
                    after: after.to_vec(),
                });
            }
            _ => {
                let store = name.strip_prefix(ALIVE).and_then(|it| it.try_into().ok());
                if let (Some(store), Some(nanos)) = (store, number()) {
                    let store = StoreId(u32::from_be_bytes(store));
                    self.alive.insert(store, Timestamp::from_nanos(nanos));
                }
            }
        }
    }
}

impl Remembered {
    /// What puts it on disk.
    pub(super) fn writes(&self) -> Vec<StorageWrite> {
        vec![
            put_meta(BOOT, &self.boot.to_be_bytes()),
            put_meta(MEMBERS, lines(&self.members).as_bytes()),
            put_meta(EXPELLED, lines(&self.expelled).as_bytes()),
        ]
    }
}

/// Says of which format, and of which cluster, everything is.
pub(super) fn put_identity(cluster: &str) -> [StorageWrite; 2] {
    [
        put_meta(FORMAT, &FORMAT_NOW.to_be_bytes()),
        put_meta(CLUSTER, cluster.as_bytes()),
    ]
}

/// Says that a migration is under way. A program that knows only earlier formats leaves what is half way alone.
pub(super) fn put_migration(migration: &Migration) -> [StorageWrite; 2] {
    let value = [&migration.from.to_be_bytes()[..], &migration.after].concat();
    [
        put_meta(FORMAT, &FORMAT_NOW.to_be_bytes()),
        put_meta(MIGRATION, &value),
    ]
}

/// Says that it has ended.
pub(super) fn end_migration() -> StorageWrite {
    remove_meta(MIGRATION)
}

/// Says that the node runs, and keeps this store.
pub(super) fn put_alive(store: StoreId, wall: Timestamp) -> StorageWrite {
    let name = [ALIVE, &store.0.to_be_bytes()].concat();
    put_meta(&name, &wall.as_nanos().to_be_bytes())
}

fn lines(of: &[impl ToString]) -> String {
    let lines = of.iter().take(LINES_MAX).map(ToString::to_string);
    lines.collect::<Vec<_>>().join("\n")
}

/// The format that is written.
pub(super) const FORMAT_NOW: u16 = 1;
const ALIVE: &[u8] = b"alive ";
const BOOT: &[u8] = b"boot";
const CLUSTER: &[u8] = b"cluster";
const EXPELLED: &[u8] = b"expelled";
const FORMAT: &[u8] = b"format";
const MEMBERS: &[u8] = b"members";
const MIGRATION: &[u8] = b"migration";
/// More are not kept.
const LINES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::record::{Parsed, parse};

    fn read(writes: impl IntoIterator<Item = StorageWrite>) -> Meta {
        let mut meta = Meta::default();
        for write in writes {
            let StorageWrite::Put { key, value } = write else {
                panic!("nothing is removed");
            };
            let Parsed::Meta { name, value } = parse(&(key, value)) else {
                panic!("it is readable");
            };
            meta.take(&name, &value);
        }
        meta
    }

    #[test]
    fn what_is_remembered_is_read_again() {
        let remembered = Remembered {
            boot: 77,
            members: vec!["10.0.0.1:9094".parse().unwrap(), "[::1]:9".parse().unwrap()],
            expelled: vec![NodeName::new("mallory").unwrap()],
        };
        let wall = Timestamp::from_nanos(5);
        let writes = remembered.writes().into_iter();
        let writes = writes
            .chain(put_identity("prod"))
            .chain([put_alive(StoreId(7), wall)]);
        let expected = Meta {
            format: Some(FORMAT_NOW),
            cluster: Some("prod".to_owned()),
            alive: BTreeMap::from([(StoreId(7), wall)]),
            remembered,
            migration: None,
        };
        assert_eq!(read(writes), expected);
        assert_eq!(read(Remembered::default().writes()), Meta::default());
    }

    #[test]
    fn what_does_not_read_is_not_there() {
        let mut meta = Meta::default();
        let names = [
            ALIVE, BOOT, CLUSTER, EXPELLED, FORMAT, MEMBERS, MIGRATION, b"later",
        ];
        for name in names {
            meta.take(
                name,
                if name == MIGRATION {
                    b"\xff"
                } else {
                    b"\xff\n\xfe"
                },
            );
        }
        assert_eq!(meta, Meta::default());
    }
}
