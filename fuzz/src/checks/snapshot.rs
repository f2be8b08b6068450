//! Snapshots.

use std::hash::Hasher as _;

use rumormill::store::Limits;
use rumormill::store::snapshot::{MAGIC, VERSION};
use rumormill::unstable::crdt::compare_versions;
use rumormill::unstable::wire::Entry;
use rumormill::{Map, Schema};

use super::feed::Feed;
use super::stores::{Clock, held, made};

/// Any bytes are refused, and the store is as before, or are a snapshot, and the store holds all that it
/// had or something later. A snapshot that was changed is always refused. The first byte says how the rest
/// becomes a snapshot.
pub fn snapshot(data: &[u8]) {
    let mut feed = Feed::new(data);
    let clock = Clock::new();
    let log = clock.nflog(Limits::default());
    let how = feed.byte() % 4;
    if how == 0 {
        return damaged(&mut feed, log.map(), &taken(&clock));
    }
    let _ = log.log(made(0)).expect("a small one");
    let bytes = match how {
        1 => feed.rest().to_vec(),
        2 => sealed(|out| out.extend_from_slice(feed.rest())),
        _ => sealed(|out| entries(&mut feed, out)),
    };
    restored(log.map(), &bytes);
}

/// A snapshot of two entries.
fn taken(clock: &Clock) -> Vec<u8> {
    let log = clock.nflog(Limits::default());
    for group in [1, 2] {
        let _ = log.log(made(group)).expect("a small one");
    }
    let mut bytes = Vec::new();
    log.map().snapshot(&mut bytes).expect("memory takes it");
    bytes
}

/// As it is written, up to the entries, and with the right checksum behind.
fn sealed(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(b"\0\x05nflog");
    // It was taken in the future, so nothing is held back.
    out.extend_from_slice(&u64::MAX.to_be_bytes());
    fill(&mut out);
    let mut sum = twox_hash::XxHash64::with_seed(0);
    sum.write(&out);
    out.extend_from_slice(&sum.finish().to_be_bytes());
    out
}

/// Entries of any bytes, each as long as is said, and their number.
fn entries(feed: &mut Feed<'_>, out: &mut Vec<u8>) {
    let mut count = 0_u64;
    while !feed.is_empty() {
        let from = feed.edge();
        let entry = feed.piece();
        if entry.is_empty() {
            continue;
        }
        let len = u32::try_from(entry.len()).expect("it has a length of two bytes");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&from.to_be_bytes());
        out.extend_from_slice(entry);
        count += 1;
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&count.to_be_bytes());
}

fn restored<S: Schema>(map: &Map<S>, bytes: &[u8]) {
    let (before, head) = (held(&*map.store()), map.store().head());
    let Ok(restored) = map.restore(&mut &bytes[..]) else {
        assert_eq!(held(&*map.store()), before);
        assert_eq!(map.store().head(), head);
        return;
    };
    assert!(restored.quarantined <= restored.stored);
    let is_later = |was: &Entry| {
        let is = held(&*map.store()).into_iter().find(|it| it.key == was.key);
        is.is_some_and(|is| compare_versions(&is, was).is_ge() && is.expires_at >= was.expires_at)
    };
    assert!(before.iter().all(is_later), "nothing is lost");
    // A key that is there twice may be held only the second time: what has expired is not taken alone.
    map.restore(&mut &bytes[..]).expect("it was one before");
    let (after, head) = (held(&*map.store()), map.store().head());
    let again = map.restore(&mut &bytes[..]).expect("it was one before");
    assert_eq!(again.stored, 0);
    let entries = restored.stored + restored.known + restored.refused;
    assert_eq!(again.known + again.refused, entries);
    assert_eq!((held(&*map.store()), map.store().head()), (after, head));
    // What is written then says the same.
    let mut written = Vec::new();
    map.snapshot(&mut written).expect("memory takes it");
    assert_eq!(map.restore(&mut &written[..]).expect("its own").stored, 0);
}

/// Bytes of a snapshot are changed, left out or put in.
fn damaged<S: Schema>(feed: &mut Feed<'_>, map: &Map<S>, whole: &[u8]) {
    let mut bytes = whole.to_vec();
    for _ in 0..16 {
        if feed.is_empty() || bytes.is_empty() {
            break;
        }
        let (what, at) = (feed.byte() % 4, usize::from(feed.u16()) % bytes.len());
        match what {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, feed.byte()),
            2 => drop(bytes.remove(at)),
            _ => bytes[at] ^= feed.byte(),
        }
    }
    let restored = map.restore(&mut &bytes[..]);
    assert_eq!(restored.is_ok(), bytes == whole);
    assert_eq!(map.store().is_empty(), restored.is_err());
}
