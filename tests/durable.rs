//! Nodes with a disk: what is there after a restart, and what they say when the disk does not work.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumormill::node::{BuildError, Events, NodeEvent, SystemClock};
use rumormill::persist::{
    BackupFault, DiskEvent, PersistError, RestoreOptions, Storage, StorageError, StorageRecord,
    StorageWrite, check_backup,
};
use rumormill::store::ReplicationError;
use rumormill::time::WallClock as _;
use rumormill::{
    Builder, Config, Durability, Event, Matcher, NewSilence, Node, Op, SilenceId, SilenceLimits,
    Silences,
};

/// A disk that outlives its node, and fails when it is told to.
#[derive(Clone, Default)]
struct FaultyDisk(Arc<Mutex<FaultyState>>);

#[derive(Default)]
struct FaultyState {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    fails: bool,
    /// Entries that were written.
    written: usize,
}

impl FaultyDisk {
    fn fail(&self, fails: bool) {
        self.0.lock().unwrap().fails = fails;
    }

    fn written(&self) -> usize {
        self.0.lock().unwrap().written
    }
}

impl Storage for FaultyDisk {
    fn scan(
        &mut self,
        after: &[u8],
        bytes_max: usize,
        out: &mut Vec<StorageRecord>,
    ) -> Result<(), StorageError> {
        let state = self.0.lock().unwrap();
        if state.fails {
            return Err(StorageError::Io(std::io::ErrorKind::StorageFull.into()));
        }
        let mut bytes = 0;
        for (key, value) in state
            .records
            .range(after.to_vec()..)
            .filter(|it| it.0 != after)
        {
            bytes += key.len() + value.len();
            out.push((key.clone(), value.clone()));
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(())
    }

    fn write(&mut self, batch: &[StorageWrite]) -> Result<(), StorageError> {
        let mut state = self.0.lock().unwrap();
        if state.fails {
            return Err(StorageError::Io(std::io::ErrorKind::StorageFull.into()));
        }
        for write in batch {
            match write {
                StorageWrite::Put { key, value } => {
                    state.written += usize::from(key.starts_with(b"e"));
                    state.records.insert(key.clone(), value.clone());
                }
                StorageWrite::Remove { key } => {
                    state.records.remove(key);
                }
            }
        }
        Ok(())
    }

    fn start_over(&mut self) -> Result<Option<PathBuf>, StorageError> {
        self.0.lock().unwrap().records.clear();
        Ok(None)
    }
}

fn builder(name: &str) -> Builder {
    let builder = Node::builder(name).listen("127.0.0.1:0");
    builder.cluster("durable").config(Config::local())
}

fn silence(host: &str) -> NewSilence {
    let matcher = Matcher::new("host", Op::Equal, host).unwrap();
    NewSilence::lasting(vec![matcher], Duration::from_secs(3600))
}

struct Running {
    node: Node,
    silences: Silences,
    events: Events,
}

async fn start(mut builder: Builder) -> Running {
    let silences = builder.silences(SilenceLimits::default());
    let events = builder.events();
    let node = builder.start().await.unwrap();
    Running {
        node,
        silences,
        events,
    }
}

impl Running {
    fn write(&self, host: &str) -> (SilenceId, rumormill::Written) {
        self.silences.set(silence(host)).unwrap()
    }

    /// Waits for what the disk says next, of what is asked for.
    async fn disk_says(&mut self, is_it: impl Fn(&DiskEvent) -> bool) {
        loop {
            let event = self.events.recv().await.unwrap();
            if matches!(&event, NodeEvent::Disk(event) if is_it(event)) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn what_is_durable_is_there_after_the_process() {
    let dir = std::env::temp_dir().join(format!("rumormill-durable-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let first = start(builder("a").data_dir(&dir)).await;
    let (id, written) = first.write("db-1");
    written.durable().await.unwrap();
    let boot = first.node.view().this.boot;
    let mut second = builder("a").data_dir(&dir);
    let in_use = second.load().await;
    assert!(
        matches!(
            &in_use,
            Err(BuildError::Disk(PersistError::Storage(StorageError::InUse { path }))) if *path == dir
        ),
        "{in_use:?}"
    );
    first.node.leave().await.unwrap();
    let again = start(builder("a").data_dir(&dir)).await;
    assert!(again.silences.get(id).is_some());
    assert!(again.node.view().this.boot > boot);
    // Nothing has to be written again.
    assert_eq!(again.node.counters().entries_committed, 0);
    again.node.leave().await.unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_and_what_waited_is_written_when_it_has_room() {
    let disk = FaultyDisk::default();
    let mut a = start(builder("a").storage(disk.clone())).await;
    let (first, written) = a.write("db-1");
    written.durable().await.unwrap();
    assert!(!a.node.view().disk_failing);

    disk.fail(true);
    let (second, written) = a.write("db-2");
    assert_eq!(written.durable().await, Err(ReplicationError::NotDurable));
    a.disk_says(|event| *event == DiskEvent::Failing).await;
    assert!(a.node.view().disk_failing);
    assert!(a.silences.get(second).is_some(), "it stands all the same");

    disk.fail(false);
    a.disk_says(|event| *event == DiskEvent::Recovered).await;
    let (third, written) = a.write("db-3");
    written.durable().await.unwrap();
    assert!(!a.node.view().disk_failing);
    a.node.leave().await.unwrap();
    let again = start(builder("a").storage(disk)).await;
    for id in [first, second, third] {
        assert!(again.silences.get(id).is_some());
    }
}

#[tokio::test]
async fn a_disk_that_cannot_be_read_comes_in_later() {
    let disk = FaultyDisk::default();
    let a = start(builder("a").storage(disk.clone())).await;
    let (id, written) = a.write("db-1");
    written.durable().await.unwrap();
    a.node.leave().await.unwrap();
    disk.fail(true);
    let mut again = start(builder("a").storage(disk.clone())).await;
    again
        .disk_says(|event| matches!(event, DiskEvent::Loaded(it) if it.unread))
        .await;
    assert!(again.node.view().disk_failing);
    assert!(again.silences.get(id).is_none());
    disk.fail(false);
    again
        .disk_says(|event| matches!(event, DiskEvent::Loaded(it) if it.entries == 1))
        .await;
    assert!(again.silences.get(id).is_some());
}

/// What waits for the end of an interval is on disk after a leave; what is kept in memory never is.
#[tokio::test]
async fn each_store_is_kept_as_it_was_said() {
    let disk = FaultyDisk::default();
    let mut grouped = builder("a").storage(disk.clone());
    let silences = grouped.silences(SilenceLimits::default());
    let hour = Durability::Grouped(Duration::from_secs(3600));
    grouped.durability(silences.store().id(), hour);
    let node = grouped.start().await.unwrap();
    let (id, _) = silences.set(silence("db-1")).unwrap();
    node.leave().await.unwrap();
    let again = start(builder("a").storage(disk.clone())).await;
    assert!(
        again.silences.get(id).is_some(),
        "a leave waits for no interval"
    );
    again.node.leave().await.unwrap();

    let mut memory = builder("a").storage(disk.clone());
    let silences = memory.silences(SilenceLimits::default());
    memory.durability(silences.store().id(), Durability::Memory);
    let node = memory.start().await.unwrap();
    let before = disk.written();
    let (id, written) = silences.set(silence("db-2")).unwrap();
    written.durable().await.unwrap();
    assert_eq!(disk.written(), before);
    node.leave().await.unwrap();
    let again = start(builder("a").storage(disk)).await;
    assert!(again.silences.get(id).is_none());
}

/// A peer with a disk that does not work holds what it was sent, and does not count for `replicated`; to the
/// network it is as good as any.
#[tokio::test]
async fn a_peer_counts_when_it_is_on_its_disk() {
    let disk = FaultyDisk::default();
    let a = start(builder("a")).await;
    let seed = a.node.local_addr().to_string();
    let mut b = start(builder("b").seeds([seed]).storage(disk.clone())).await;
    b.node.ready().await.unwrap();
    a.write("db-1").1.replicated(1).await.unwrap();
    disk.fail(true);
    let (id, written) = a.write("db-2");
    b.disk_says(|event| *event == DiskEvent::Failing).await;
    assert!(b.silences.get(id).is_some());
    let held = tokio::spawn(written.replicated(1));
    disk.fail(false);
    b.disk_says(|event| *event == DiskEvent::Recovered).await;
    held.await.unwrap().unwrap();
}

/// A member of before is not there any more, nor is the seed: that is told of the seed alone.
#[tokio::test]
async fn nobody_is_to_blame_for_a_remembered_member_that_is_gone() {
    let disk = FaultyDisk::default();
    let b = start(builder("b")).await;
    let was = b.node.local_addr();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let seed = nobody.local_addr().unwrap();
    drop(nobody);
    let seeds = [was.to_string(), seed.to_string()];
    let a = start(builder("a").seeds(seeds).storage(disk.clone())).await;
    a.node.ready().await.unwrap();
    let remembers = |disk: &FaultyDisk| {
        let records = disk.0.lock().unwrap().records.clone();
        let members = records.get(&b"mmembers"[..]).cloned().unwrap_or_default();
        String::from_utf8_lossy(&members).contains(&was.to_string())
    };
    while !remembers(&disk) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    a.node.leave().await.unwrap();
    b.node.leave().await.unwrap();

    let mut a = start(builder("a").seeds([seed.to_string()]).storage(disk)).await;
    let ready = loop {
        match a.events.recv().await.unwrap() {
            NodeEvent::Cluster(Event::SeedFailed(trouble)) => {
                assert_eq!(trouble.seed, seed.to_string());
            }
            NodeEvent::Cluster(Event::Readiness(readiness)) if readiness.is_ready() => {
                break readiness;
            }
            _ => {}
        }
    };
    let told = ready.troubles().iter().map(|it| it.seed.clone());
    assert_eq!(told.collect::<Vec<_>>(), [seed.to_string()]);
}

#[tokio::test]
async fn a_directory_belongs_to_its_cluster() {
    let disk = FaultyDisk::default();
    let a = start(builder("a").storage(disk.clone())).await;
    a.node.leave().await.unwrap();
    let mut other = builder("a").cluster("another").storage(disk);
    let refused = other.load().await;
    assert!(
        matches!(&refused, Err(BuildError::Disk(PersistError::OtherCluster { found, .. })) if found == "durable"),
        "{refused:?}"
    );
}

/// What is on the disk would be missing in it.
#[tokio::test]
async fn a_node_whose_disk_was_not_read_writes_no_backup() {
    let file = std::env::temp_dir().join(format!("rumormill-unread-{}", std::process::id()));
    let disk = FaultyDisk::default();
    let a = start(builder("a").storage(disk.clone())).await;
    a.write("db-1").1.durable().await.unwrap();
    a.node.leave().await.unwrap();
    disk.fail(true);
    let mut again = start(builder("a").storage(disk.clone())).await;
    let error = again.node.backup(&file).await.unwrap_err();
    assert!(matches!(error.fault, BackupFault::Unread), "{error}");
    assert!(!file.exists());
    disk.fail(false);
    again
        .disk_says(|event| *event == DiskEvent::Recovered)
        .await;
    assert_eq!(again.node.backup(&file).await.unwrap().entries, 1);
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn a_backup_of_a_node_that_does_not_run_is_of_when_it_last_did() {
    let file = std::env::temp_dir().join(format!("rumormill-then-{}", std::process::id()));
    let disk = FaultyDisk::default();
    let a = start(builder("a").storage(disk.clone())).await;
    a.write("db-1").1.durable().await.unwrap();
    a.node.leave().await.unwrap();
    let left = SystemClock.wall();
    let mut again = builder("a").storage(disk);
    let _silences = again.silences(SilenceLimits::default());
    assert_eq!(again.load().await.unwrap().entries, 1);
    assert_eq!(again.backup(&file).await.unwrap().entries, 1);
    assert!(check_backup(&file).unwrap().taken <= left);
    std::fs::remove_file(&file).unwrap();
}

/// It would get onto no disk, and to nobody.
#[tokio::test]
async fn nothing_is_restored_into_a_node_that_has_stopped() {
    let file = std::env::temp_dir().join(format!("rumormill-stopped-{}", std::process::id()));
    let a = start(builder("a")).await;
    let (id, _) = a.write("db-1");
    a.node.backup(&file).await.unwrap();
    a.node.leave().await.unwrap();
    let b = start(builder("b")).await;
    b.node.leave().await.unwrap();
    let error = b.node.restore(&file, RestoreOptions::new()).await;
    let error = error.unwrap_err();
    assert!(matches!(error.fault, BackupFault::Stopped) && error.path == file);
    assert!(b.silences.get(id).is_none());
    let dry = RestoreOptions::new().dry_run();
    assert_eq!(b.node.restore(&file, dry).await.unwrap().changed(), 1);
    std::fs::remove_file(&file).unwrap();
}
