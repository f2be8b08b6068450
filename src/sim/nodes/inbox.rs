//! What waits for a process that is stalled or slow.

use std::collections::VecDeque;

use crate::engine::Input;

/// Receive buffer for datagrams of a stalled process, in bytes: what the driver asks for.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// What waits for a stalled process. Datagrams beyond the receive buffer are dropped, as a kernel
/// drops them.
#[derive(Debug, Default)]
pub(in crate::sim) struct Inbox {
    inputs: VecDeque<Input>,
    datagram_bytes: usize,
}

impl Inbox {
    pub(in crate::sim) fn push(&mut self, input: Input) {
        if let Input::Datagram { bytes, .. } = &input {
            if self.datagram_bytes + bytes.len() > RECEIVE_BUFFER_BYTES {
                return;
            }
            self.datagram_bytes += bytes.len();
        }
        self.inputs.push_back(input);
    }

    pub(in crate::sim) fn pop(&mut self) -> Option<Input> {
        let input = self.inputs.pop_front()?;
        if let Input::Datagram { bytes, .. } = &input {
            self.datagram_bytes -= bytes.len();
        }
        Some(input)
    }

    pub(in crate::sim) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    pub(in crate::sim) fn take(&mut self) -> VecDeque<Input> {
        self.datagram_bytes = 0;
        std::mem::take(&mut self.inputs)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn an_inbox_drops_datagrams_beyond_the_receive_buffer_and_nothing_else() {
        let mut inbox = Inbox::default();
        let from = SocketAddr::from(([10, 0, 0, 1], 1));
        let bytes = Bytes::from(vec![0; RECEIVE_BUFFER_BYTES / 2]);
        for _ in 0..3 {
            let bytes = bytes.clone();
            inbox.push(Input::Datagram { from, bytes });
        }
        inbox.push(Input::StoresChanged);
        assert_eq!(inbox.take().len(), 3);
        let half = RECEIVE_BUFFER_BYTES / 2;
        inbox.push(Input::Datagram { from, bytes });
        assert!(matches!(inbox.pop(), Some(Input::Datagram { bytes, .. }) if bytes.len() == half));
        assert!(inbox.is_empty() && inbox.datagram_bytes == 0);
    }
}
