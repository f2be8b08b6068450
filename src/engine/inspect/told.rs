//! Who a process is to the failure detector, and what a packet tells it of itself: for a check from
//! outside that it comes back when it is told that it is down.

use std::net::SocketAddr;

use bytes::Bytes;
use foca::Codec as _;

use crate::id::{NodeId, NodeName};
use crate::wire::Message;
use crate::wire::codec::{self, Decoded};

use crate::engine::Engine;
use crate::engine::members::codec::SwimCodec;

impl Engine {
    /// This process, its renewal included.
    pub(crate) fn identity(&self) -> &NodeId {
        &self.members.roster().own
    }

    /// A member's process as it is known here, its renewal included.
    pub(crate) fn identity_of(&self, name: &NodeName) -> Option<&NodeId> {
        self.members.roster().get(name).map(|known| &known.id)
    }

    /// Whether a datagram tells this very process that it is down, and comes from a member. It has
    /// to come back then, unless it is leaving.
    pub(crate) fn is_told_down(&self, from: SocketAddr, datagram: &Bytes) -> bool {
        let mut messages = datagram.slice_ref(self.core.envelope.messages(datagram));
        let Ok(Decoded::Message(Message::Swim(mut packet))) =
            codec::decode(&mut messages, &self.core.limits)
        else {
            return false;
        };
        let Ok(header) = SwimCodec.decode_header(&mut packet) else {
            return false;
        };
        if !matches!(header.message, foca::Message::TurnUndead) || header.dst != *self.identity() {
            return false;
        }
        let known = self.members.roster().get(&header.src.process.name);
        known.is_some_and(|known| known.id.addr == from && known.id == header.src)
            && self.core.envelope.open(&mut datagram.clone()).is_ok()
            && self.members.would_renew(&self.core)
            && !self.core.expelled.contains(&header.src.process.name)
            && !self.core.is_leaving()
    }
}
