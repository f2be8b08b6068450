//! Packets of the failure detector as a member with a defect, or a liar, would send them: well-formed,
//! and whatever it wants to say.

use bytes::{BufMut as _, Bytes};
use foca::{Codec as _, Header, Member, Message, State};

use crate::engine::members::codec::SwimCodec;
use crate::id::{MemberState, NodeId};

/// What a packet of the failure detector says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwimClaim {
    /// Whose packet it is said to be.
    pub from: NodeId,
    /// The incarnation that it claims for itself.
    pub incarnation: u16,
    /// Whom it is for.
    pub to: NodeId,
    /// What kind of packet it is, 0 to 10, as its tag says; higher numbers begin again at 0.
    pub kind: u8,
    /// Whom the packet is about, where its kind says so.
    pub about: NodeId,
    /// The number of the probe, where there is one.
    pub probe: u8,
    /// Gossip: each member's identity, incarnation and state. Left is told as failed.
    pub gossip: Vec<(NodeId, u16, MemberState)>,
}

impl SwimClaim {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        let header = Header {
            src: self.from.clone(),
            src_incarnation: self.incarnation,
            dst: self.to.clone(),
            message: self.message(),
        };
        // A vector has room for everything.
        let mut sound = SwimCodec.encode_header(&header, &mut out).is_ok();
        if !self.gossip.is_empty() {
            out.put_u16(u16::try_from(self.gossip.len()).unwrap_or(u16::MAX));
        }
        for (id, incarnation, state) in &self.gossip {
            let state = match state {
                MemberState::Alive => State::Alive,
                MemberState::Failed | MemberState::Left => State::Down,
                MemberState::Suspect => State::Suspect,
            };
            let member = Member::new(id.clone(), *incarnation, state);
            sound &= SwimCodec.encode_member(&member, &mut out).is_ok();
        }
        debug_assert!(sound, "a vector has room for everything");
        out.into()
    }

    /// Everybody of whom a packet speaks, as far as it can be read, and as what.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "only the simulator calls it")]
    pub fn people(packet: &Bytes) -> Vec<(NodeId, MemberState)> {
        let mut rest = packet.clone();
        let Ok(header) = SwimCodec.decode_header(&mut rest) else {
            return Vec::new();
        };
        let mut people = vec![
            (header.src, MemberState::Alive),
            (header.dst, MemberState::Alive),
        ];
        match header.message {
            Message::PingReq { target: id, .. }
            | Message::IndirectPing { origin: id, .. }
            | Message::IndirectAck { target: id, .. }
            | Message::ForwardedAck { origin: id, .. } => people.push((id, MemberState::Alive)),
            // Who is told so comes back as itself, one renewal on.
            Message::TurnUndead => people[1].1 = MemberState::Failed,
            _ => {}
        }
        rest = rest.slice(rest.len().min(2)..);
        while let Ok(member) = SwimCodec.decode_member(&mut rest) {
            let state = match member.state() {
                State::Alive => MemberState::Alive,
                State::Down => MemberState::Failed,
                State::Suspect => MemberState::Suspect,
            };
            people.push((member.id().clone(), state));
        }
        people
    }

    fn message(&self) -> Message<NodeId> {
        let (id, probe_number) = (self.about.clone(), self.probe);
        match self.kind % 11 {
            0 => Message::Ping(probe_number),
            1 => Message::Ack(probe_number),
            2 => Message::PingReq {
                target: id,
                probe_number,
            },
            3 => Message::IndirectPing {
                origin: id,
                probe_number,
            },
            4 => Message::IndirectAck {
                target: id,
                probe_number,
            },
            5 => Message::ForwardedAck {
                origin: id,
                probe_number,
            },
            6 => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            9 => Message::Broadcast,
            _ => Message::TurnUndead,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::id::{NodeName, ProcessId};

    fn id(name: &str, port: u16) -> NodeId {
        NodeId {
            process: ProcessId {
                name: NodeName::new(name).expect("a name"),
                boot: 7,
            },
            renewal: 1,
            addr: SocketAddr::from(([10, 0, 0, 1], port)),
        }
    }

    #[test]
    fn what_a_packet_claims_is_read_back() {
        for kind in 0..=10 {
            let claim = SwimClaim {
                from: id("a", 1),
                incarnation: 3,
                to: id("b", 2),
                kind,
                about: id("c", 3),
                probe: 9,
                gossip: vec![
                    (id("d", 4), 1, MemberState::Suspect),
                    (id("e", 5), 2, MemberState::Failed),
                ],
            };
            let people = SwimClaim::people(&claim.encode());
            assert_eq!(people[0].0, id("a", 1));
            let last = &people[people.len() - 2..];
            let told = [
                (id("d", 4), MemberState::Suspect),
                (id("e", 5), MemberState::Failed),
            ];
            assert_eq!(last, told);
            let about = people.iter().any(|(who, _)| *who == id("c", 3));
            assert_eq!(about, (2..=5).contains(&kind), "kind {kind}");
        }
        assert_eq!(SwimClaim::people(&Bytes::from_static(b"noise")), []);
    }
}
