//! A packet of the failure detector, taken apart before the failure detector sees it: what it says of
//! members is looked at one by one, and what is not to be believed is left out.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use foca::{Codec as _, Header, Member, Message};

use crate::id::NodeId;

use super::codec::{HEADER_BYTES_MAX, MEMBER_BYTES_MAX, SwimCodec, SwimCodecError};

/// A packet of the failure detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SwimPacket {
    pub(super) header: Header<NodeId>,
    /// What it says of members.
    pub(super) updates: Vec<Member<NodeId>>,
}

impl SwimPacket {
    /// Reads a whole packet: nothing may follow the last member.
    pub(super) fn parse(packet: &Bytes) -> Result<Self, SwimCodecError> {
        let mut rest = packet.clone();
        let header = SwimCodec.decode_header(&mut rest)?;
        let mut updates = Vec::new();
        if rest.has_remaining() {
            // What the count promises is not reserved for: it may be a lie.
            for _ in 0..rest.try_get_u16()? {
                updates.push(SwimCodec.decode_member(&mut rest)?);
            }
        }
        if rest.has_remaining() {
            return Err(SwimCodecError::Trailing {
                bytes: rest.remaining(),
            });
        }
        Ok(Self { header, updates })
    }

    /// The bytes of a packet.
    pub(super) fn encode(&self) -> Result<Bytes, SwimCodecError> {
        let room = HEADER_BYTES_MAX + 2 + self.updates.len() * MEMBER_BYTES_MAX;
        let mut bytes = BytesMut::with_capacity(room);
        SwimCodec.encode_header(&self.header, &mut bytes)?;
        // An announce and a farewell end after their kind.
        let count = u16::try_from(self.updates.len()).unwrap_or(u16::MAX);
        if count > 0 && !matches!(self.header.message, Message::Announce) {
            bytes.put_u16(count);
            for member in self.updates.iter().take(usize::from(count)) {
                SwimCodec.encode_member(member, &mut bytes)?;
            }
        }
        Ok(bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use foca::State;

    use super::*;
    use crate::engine::core::tests::node;

    fn packet() -> SwimPacket {
        SwimPacket {
            header: Header {
                src: node("a", 1, 2),
                src_incarnation: 3,
                dst: node("b", 1, 3),
                message: Message::Gossip,
            },
            updates: vec![Member::new(node("c", 1, 4), 5, State::Suspect)],
        }
    }

    #[test]
    fn a_packet_comes_back_and_is_read_to_its_last_byte() {
        let bytes = packet().encode().unwrap();
        assert_eq!(SwimPacket::parse(&bytes), Ok(packet()));
        let mut longer = bytes.to_vec();
        longer.push(0);
        let trailing = Err(SwimCodecError::Trailing { bytes: 1 });
        assert_eq!(SwimPacket::parse(&longer.into()), trailing);
    }

    /// But for the place where a packet without a list of members ends.
    #[test]
    fn no_part_of_a_packet_is_a_packet() {
        let bytes = packet().encode().unwrap();
        let bare = SwimPacket {
            updates: Vec::new(),
            ..packet()
        };
        let bare = bare.encode().unwrap().len();
        for len in (0..bytes.len()).filter(|&len| len != bare) {
            let part = bytes.slice(..len);
            let parsed = SwimPacket::parse(&part);
            assert_eq!(parsed, Err(SwimCodecError::Truncated), "of {len} bytes");
        }
    }

    #[test]
    fn a_count_that_promises_more_than_there_is_costs_nothing() {
        let mut bare = packet();
        bare.updates.clear();
        let mut bytes = bare.encode().unwrap().to_vec();
        bytes.extend([0xff, 0xff]);
        let parsed = SwimPacket::parse(&bytes.into());
        assert_eq!(parsed, Err(SwimCodecError::Truncated));
    }
}
