//! What the committed seeds are made of.

mod dialogue;
mod sessions;
mod values;

use std::collections::BTreeMap;

use bytes::BytesMut;
use rumormill::unstable::wire::frame::encode_frame_header;
use rumormill::unstable::wire::{Message, codec};

use crate::checks::messages;
use crate::golden;

/// Seeds of a target, by name.
pub type Seeds = BTreeMap<String, Vec<u8>>;

/// All of them, by target.
pub fn all() -> Vec<(&'static str, Seeds)> {
    vec![
        ("bodies", values::bodies()),
        #[cfg(feature = "serde")]
        ("config", values::config()),
        ("datagram", datagrams()),
        ("engine", sessions::engine()),
        ("exchange", sessions::exchange()),
        ("frame", frames()),
        ("map", values::map()),
        ("matchers", values::matchers()),
        ("snapshot", values::snapshot()),
        ("swim", values::swim()),
        ("tables", values::tables()),
        ("tls", values::tls()),
    ]
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut out = BytesMut::new();
    codec::encode(message, &mut out);
    out.to_vec()
}

/// A piece: its length in two bytes, and itself.
fn piece(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    [&len.to_be_bytes()[..], bytes].concat()
}

/// One seed per message, and one with all of them.
fn datagrams() -> Seeds {
    let mut all = Vec::new();
    let mut seeds = Seeds::new();
    let sealed = |bytes: &[u8]| messages::envelope().seal(|out| out.extend_from_slice(bytes));
    for (name, message, _) in golden::all() {
        let one = encoded(&message);
        all.extend_from_slice(&one);
        seeds.insert(name.to_owned(), sealed(&one).to_vec());
    }
    seeds.insert("all".to_owned(), sealed(&all).to_vec());
    seeds
}

/// The same as frames, behind the byte that says how to cut them.
fn frames() -> Seeds {
    let mut all = vec![6];
    let mut seeds = Seeds::new();
    for (name, message, _) in golden::all() {
        let frame = encoded(&message);
        let framed = [&encode_frame_header(frame.len())[..], &frame].concat();
        all.extend_from_slice(&framed);
        seeds.insert(name.to_owned(), [&[6], &framed[..]].concat());
    }
    seeds.insert("all".to_owned(), all);
    let too_large = encode_frame_header(messages::FRAME_BYTES_MAX + 1);
    seeds.insert("too_large".to_owned(), [&[0], &too_large[..]].concat());
    seeds
}
