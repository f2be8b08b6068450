//! The failure detector's headers and members.

use rumormill::unstable::engine::swim::{BYTES_MAX, header, member};

/// Any bytes are refused or are a header and members, which are written as they were read.
pub fn swim(data: &[u8]) {
    read(data, header, BYTES_MAX.0);
    let mut rest = data;
    while read(rest, member, BYTES_MAX.1) > 0 {
        let before = rest.len();
        let _ = member(&mut rest);
        assert!(rest.len() < before, "a member takes bytes");
    }
    // Members behind a header, as a packet has them, with their number in front.
    let mut rest = data;
    if header(&mut rest).is_some() {
        let mut rest = rest.get(2..).unwrap_or_default();
        while member(&mut rest).is_some() {}
    }
}

/// What was read takes as many bytes as it is written with, and reads as the same again.
fn read(data: &[u8], again: fn(&mut &[u8]) -> Option<Vec<u8>>, max: usize) -> usize {
    let mut rest = data;
    let Some(written) = again(&mut rest) else {
        return 0;
    };
    let taken = data.len() - rest.len();
    assert_eq!(written.len(), taken, "nothing is left out");
    assert!(taken <= max, "{taken} bytes");
    let mut bytes = &written[..];
    assert_eq!(again(&mut bytes), Some(written.clone()));
    assert!(bytes.is_empty());
    taken
}
