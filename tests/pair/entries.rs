//! What the two engines hold: entries drawn at random, the same in every run, and the store for them.

use std::time::Duration;

use bytes::Bytes;
use rumormill::id::{Key, SchemaId, WriterTag};
use rumormill::store::{Body, Schema, Unreadable};
use rumormill::time::Timestamp;
use rumormill::unstable::wire::{Entry, HEADER_BYTES};

/// What time it is when a conversation begins.
pub const EPOCH: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Header and body together.
pub const ENTRY_BYTES: usize = 300;
const SHAPE: SchemaId = SchemaId::new(1);
const HOUR: u64 = 3_600_000_000_000;

/// SplitMix64: the same entries in every run.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// An entry of [`ENTRY_BYTES`], random but for its age.
pub fn entry(random: &mut Random) -> Entry {
    let mut body = vec![0; ENTRY_BYTES - HEADER_BYTES];
    for chunk in body.chunks_mut(8) {
        chunk.copy_from_slice(&random.draw().to_le_bytes()[..chunk.len()]);
    }
    let mut key = [0; 16];
    key.copy_from_slice(&body[..16]);
    Entry {
        key: Key(key),
        ts: Timestamp::from_nanos(EPOCH.as_nanos() - HOUR - random.draw() % HOUR),
        tie: 0,
        writer: WriterTag::NONE,
        expires_at: Timestamp::from_nanos(EPOCH.as_nanos() + HOUR + random.draw() % (100 * HOUR)),
        schema: SHAPE,
        body: body.into(),
    }
}

/// A later version of an entry.
pub fn newer(entry: &Entry, random: &mut Random) -> Entry {
    let mut body = entry.body.to_vec();
    body[20..28].copy_from_slice(&random.draw().to_le_bytes());
    Entry {
        ts: entry.ts.plus(Duration::from_secs(1 + random.draw() % 60)),
        body: body.into(),
        ..entry.clone()
    }
}

/// `shared` entries on both sides; a third of `apart` only here, a third only there, and a third
/// updated, on one side or the other.
pub fn sides(shared: usize, apart: usize, seed: u64) -> [Vec<Entry>; 2] {
    let mut random = Random(seed);
    let base: Vec<_> = (0..shared).map(|_| entry(&mut random)).collect();
    let mut sides = [base.clone(), base];
    for number in 0..apart {
        match number % 3 {
            2 => {
                let at = number / 3;
                let update = newer(&sides[0][at], &mut random);
                sides[at % 2][at] = update;
            }
            side => sides[side].push(entry(&mut random)),
        }
    }
    sides
}

/// A record is its bytes, the first sixteen of which are the key. A first byte of the rest below
/// 16 makes it urgent.
pub struct Blob(pub Bytes);

pub struct Blobs;

impl Schema for Blobs {
    type Record = Blob;
    type Index = ();

    fn name(&self) -> &'static str {
        "blobs"
    }

    fn schemas(&self) -> &[SchemaId] {
        const { &[SHAPE] }
    }

    fn key(&self, blob: &Blob) -> Key {
        Key(*blob.0.first_chunk().unwrap())
    }

    fn encode(&self, blob: &Blob) -> Body {
        Body {
            schema: SHAPE,
            bytes: blob.0.clone(),
        }
    }

    fn decode(&self, _: Key, body: &Body) -> Result<Blob, Unreadable> {
        if body.bytes.len() < 17 {
            let schema = body.schema;
            return Err(Unreadable::Malformed { schema });
        }
        Ok(Blob(body.bytes.clone()))
    }

    fn is_urgent(&self, blob: &Blob, _: Timestamp) -> bool {
        is_urgent(&blob.0)
    }
}

pub fn is_urgent(body: &[u8]) -> bool {
    body.get(16).is_some_and(|&byte| byte < 16)
}
