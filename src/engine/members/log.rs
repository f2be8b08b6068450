//! What foca accepts about its members, as it accepts it.
//!
//! foca tells of members that come up or go down, not of suspicions, refutations and incarnations;
//! looking through all of its members after every packet costs their number each time. But
//! whatever it accepts it encodes at once, to be gossiped: the codec takes it down. It also encodes
//! members when it answers an announce; that is what it holds, and nothing new.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BufMut};
use foca::{Header, Member};

use crate::id::NodeId;

use super::codec::{SwimCodec, SwimCodecError};

/// Members as foca took them over, oldest first, since they were last taken.
#[derive(Clone, Debug, Default)]
pub(super) struct SwimLog(Arc<Mutex<Vec<Member<NodeId>>>>);

impl SwimLog {
    pub(super) fn push(&self, member: Member<NodeId>) {
        self.lock().push(member);
    }

    /// What was accepted since this was last called.
    pub(super) fn take(&self) -> Vec<Member<NodeId>> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Member<NodeId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The codec that foca is given.
#[derive(Debug)]
pub(super) struct LoggingCodec(pub(super) SwimLog);

impl foca::Codec<NodeId> for LoggingCodec {
    type Error = SwimCodecError;

    fn encode_header(
        &mut self,
        header: &Header<NodeId>,
        buf: impl BufMut,
    ) -> Result<(), SwimCodecError> {
        SwimCodec.encode_header(header, buf)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<NodeId>, SwimCodecError> {
        SwimCodec.decode_header(buf)
    }

    fn encode_member(
        &mut self,
        member: &Member<NodeId>,
        buf: impl BufMut,
    ) -> Result<(), SwimCodecError> {
        self.0.push(member.clone());
        SwimCodec.encode_member(member, buf)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<NodeId>, SwimCodecError> {
        SwimCodec.decode_member(buf)
    }
}
