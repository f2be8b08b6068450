//! A next version of the protocol, for rolling upgrades: nodes of it say one message that the
//! present version does not know, and write one record shape more (see
//! [`Registers`](super::registers::Registers)). It exists on the simulated wire alone: the engines are the ones
//! that ship.
//!
//! The present version must skip the message and lose nothing beside it. The next version
//! understands it: it is taken off before its engine sees it.

use bytes::{Buf as _, BufMut as _, Bytes};

use super::process::Process;
use crate::engine::Input;
use crate::wire::envelope::Envelope;

/// The message: its tag, the length of its body, and the body.
pub(in crate::sim) const MESSAGE: &[u8] = &[200, 0, 0, 0, 4, b'n', b'e', b'x', b't'];

/// A datagram with the message behind those that it has.
pub(in crate::sim) fn extended(datagram: &Bytes, envelope: Envelope) -> Bytes {
    let messages = envelope.messages(datagram);
    envelope.seal(|out| {
        out.put_slice(messages);
        out.put_slice(MESSAGE);
    })
}

/// What a process makes of an input that may hold the message; `None` is nothing.
pub(in crate::sim) fn received(
    input: Input,
    envelope: Envelope,
    process: &mut Process,
) -> Option<Input> {
    match input {
        Input::Datagram { from, bytes } if bytes.ends_with(MESSAGE) => {
            let mut messages = bytes.clone();
            let whole = envelope.open(&mut messages).is_ok();
            if process.next_version && whole {
                let keep = messages.remaining() - MESSAGE.len();
                let bytes = envelope.seal(|out| out.put_slice(&messages[..keep]));
                return Some(Input::Datagram { from, bytes });
            }
            process.strange_messages += u64::from(whole);
            Some(Input::Datagram { from, bytes })
        }
        Input::StreamFrame { ref frame, .. } if frame[..] == *MESSAGE => {
            process.strange_messages += 1;
            (!process.next_version).then_some(input)
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ClusterId;

    #[test]
    fn an_extended_datagram_is_whole_and_ends_with_the_message() {
        let envelope = Envelope::of(&ClusterId::default());
        let plain = envelope.seal(|out| out.put_slice(b"messages"));
        let mut extended = extended(&plain, envelope);
        assert!(extended.ends_with(MESSAGE));
        assert!(envelope.open(&mut extended).is_ok());
        assert!(extended.starts_with(b"messages"));
    }
}
