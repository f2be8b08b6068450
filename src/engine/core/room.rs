//! How much may be put out on a stream.
//!
//! The driver says when more waits to be written on a stream than should, and when that is over. In
//! between, what can wait is not put out: entries, and the membership. What must go out at once is small:
//! introductions, acknowledgements, the failure detector's packets, and the steps of a comparison, each
//! of which the other side has to ask for. And what one turn puts out on a stream is bounded, because the
//! driver has no say within a turn.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::io::StreamId;

/// What is known of the room on streams.
#[derive(Debug, Default)]
pub(in crate::engine) struct StreamRoom {
    full: BTreeSet<StreamId>,
    /// What this turn has put out on each stream, in bytes.
    turn: BTreeMap<StreamId, usize>,
}

impl StreamRoom {
    /// Whether what can wait may be put out on a stream now.
    pub(in crate::engine) fn has_room(&self, stream: StreamId) -> bool {
        let put_out = self.turn.get(&stream).copied().unwrap_or_default();
        put_out < TURN_BYTES_MAX && !self.full.contains(&stream)
    }

    pub(in crate::engine) fn begin_turn(&mut self) {
        self.turn.clear();
    }

    /// So many bytes were put out on a stream.
    pub(in crate::engine) fn put_out(&mut self, stream: StreamId, bytes: usize) {
        *self.turn.entry(stream).or_default() += bytes;
    }

    /// Too much waits to be written on a stream.
    pub(in crate::engine) fn is_full(&mut self, stream: StreamId) {
        self.full.insert(stream);
    }

    /// There is room again on a stream, or it is closed.
    pub(in crate::engine) fn is_writable(&mut self, stream: StreamId) {
        self.full.remove(&stream);
    }
}

/// What can wait is put out on a stream up to this in one turn, and a frame beyond it: the default window
/// of a link, and more than that of an exchange with frames of ordinary size.
const TURN_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_and_what_waits_bound_what_is_put_out() {
        let mut room = StreamRoom::default();
        let (one, other) = (StreamId(1), StreamId(2));
        room.put_out(one, TURN_BYTES_MAX - 1);
        assert!(room.has_room(one));
        room.put_out(one, 1);
        assert!(!room.has_room(one) && room.has_room(other));
        room.begin_turn();
        assert!(room.has_room(one));
        room.is_full(one);
        room.begin_turn();
        assert!(!room.has_room(one) && room.has_room(other));
        room.is_writable(one);
        assert!(room.has_room(one));
    }
}
