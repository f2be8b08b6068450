//! What is parsed inside a TLS connection.

use std::time::Duration;

use rumormill::unstable::tls::{channel, hello, punctual, records};

use super::feed::Feed;

/// Any bytes are refused or read as far as they go, and no stamp does any harm.
pub fn tls(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.byte() % 4 {
        0 => {
            let bytes = feed.array();
            let Some(again) = hello(bytes) else {
                return;
            };
            assert_eq!(again, bytes, "there is one way to write it");
        }
        1 => {
            let bytes = feed.rest();
            let found = records(bytes);
            let taken: usize = found.iter().map(|(_, packet)| 6 + packet.len()).sum();
            assert!(taken <= bytes.len());
            let rest = &bytes[taken..];
            let next = rest.first_chunk().map(|len| u16::from_be_bytes(*len));
            let whole = next.is_some_and(|len| rest.len() >= 6 + usize::from(len));
            assert!(!whole, "a packet was left out");
        }
        2 => {
            let (data, ended) = channel(feed.rest());
            assert!(data.len() <= feed.rest().len());
            assert!(!ended || feed.rest().len() >= data.len() + 6);
        }
        _ => {
            let max = Duration::from_millis(feed.edge());
            let mut packets = Vec::new();
            while !feed.is_empty() && packets.len() < 256 {
                packets.push((feed.u32(), u32::from(feed.u16()), u32::from(feed.u16())));
            }
            assert!(punctual(max, &packets) <= packets.len());
        }
    }
}
