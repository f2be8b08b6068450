//! The bytes of foca's headers and members: a fixed layout, bounded both ways.
//!
//! All integers big-endian. An *identity* is
//!
//! | bytes | field |
//! |---|---|
//! | 1 | length of the name, 1 to 64 |
//! | that many | name, UTF-8 |
//! | 8 | boot |
//! | 4 | renewal |
//! | 1 | address family, 4 or 6 |
//! | 4 or 16 | IP address |
//! | 2 | port |
//! | 0 or 8 | for IPv6: flow information u32, scope id u32 |
//!
//! a *member* is an identity, `incarnation u16`, `state u8` (0 alive, 1 suspect, 2 down), and a
//! *header* is the sender's identity, its `incarnation u16`, the receiver's identity, and a message:
//!
//! | tag u8 | message | then |
//! |---|---|---|
//! | 0, 1 | `Ping`, `Ack` | probe number u8 |
//! | 2, 3 | `PingReq`, `IndirectPing` | identity, probe number u8 |
//! | 4, 5 | `IndirectAck`, `ForwardedAck` | identity, probe number u8 |
//! | 6, 7, 8, 9, 10 | `Announce`, `Feed`, `Gossip`, `Broadcast`, `TurnUndead` | nothing |
//!
//! The layout is part of [`WIRE_VERSION`](crate::wire::WIRE_VERSION): it changes with it or not at
//! all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use bytes::{Buf, BufMut, TryGetError};
use foca::{Header, Member, Message, State};

use crate::id::{NAME_BYTES_MAX, NameError, NodeId, NodeName, ProcessId};

/// Most bytes an identity takes.
pub(crate) const IDENTITY_BYTES_MAX: usize = 1 + NAME_BYTES_MAX + 8 + 4 + 1 + 16 + 2 + 8;
/// Most bytes a member takes.
pub(crate) const MEMBER_BYTES_MAX: usize = IDENTITY_BYTES_MAX + 3;
/// Most bytes a header takes: three identities.
pub(crate) const HEADER_BYTES_MAX: usize = 3 * IDENTITY_BYTES_MAX + 4;

/// Why a SWIM packet cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SwimCodecError {
    /// The packet has no room left for the item. Nothing was written.
    #[error("{needed} bytes do not fit into {room}")]
    NoRoom { needed: usize, room: usize },
    /// The packet ends inside an item.
    #[error("the packet ends inside an item")]
    Truncated,
    /// Something follows where the packet has to end.
    #[error("{bytes} bytes follow the packet")]
    Trailing { bytes: usize },
    /// A name breaks the rules of names.
    #[error("bad name: {0}")]
    Name(NameError),
    /// A name is not UTF-8.
    #[error("a name is not UTF-8")]
    Text,
    /// A tag, state or address family that nobody writes.
    #[error("unknown {what} {found}")]
    Unknown { what: &'static str, found: u8 },
}

impl From<TryGetError> for SwimCodecError {
    fn from(_: TryGetError) -> Self {
        Self::Truncated
    }
}

/// The codec. It keeps nothing between packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SwimCodec;

impl foca::Codec<NodeId> for SwimCodec {
    type Error = SwimCodecError;

    fn encode_header(
        &mut self,
        header: &Header<NodeId>,
        mut buf: impl BufMut,
    ) -> Result<(), SwimCodecError> {
        let (tag, subject, probe) = parts(&header.message);
        let needed = identity_len(&header.src)
            + 2
            + identity_len(&header.dst)
            + 1
            + subject.map_or(0, identity_len)
            + usize::from(probe.is_some());
        check_room(needed, &buf)?;
        put_identity(&header.src, &mut buf);
        buf.put_u16(header.src_incarnation);
        put_identity(&header.dst, &mut buf);
        buf.put_u8(tag);
        if let Some(subject) = subject {
            put_identity(subject, &mut buf);
        }
        if let Some(probe) = probe {
            buf.put_u8(probe);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<NodeId>, SwimCodecError> {
        Ok(Header {
            src: take_identity(&mut buf)?,
            src_incarnation: buf.try_get_u16()?,
            dst: take_identity(&mut buf)?,
            message: take_message(&mut buf)?,
        })
    }

    fn encode_member(
        &mut self,
        member: &Member<NodeId>,
        mut buf: impl BufMut,
    ) -> Result<(), SwimCodecError> {
        check_room(identity_len(member.id()) + 3, &buf)?;
        put_identity(member.id(), &mut buf);
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<NodeId>, SwimCodecError> {
        let id = take_identity(&mut buf)?;
        let incarnation = buf.try_get_u16()?;
        let state = match buf.try_get_u8()? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            found => {
                return Err(SwimCodecError::Unknown {
                    what: "state",
                    found,
                });
            }
        };
        Ok(Member::new(id, incarnation, state))
    }
}

/// Checked before anything is written: foca's buffer is a `Limit`, which panics when it overflows,
/// and an item that does not fit must leave no trace.
fn check_room(needed: usize, buf: &impl BufMut) -> Result<(), SwimCodecError> {
    let room = buf.remaining_mut();
    if needed > room {
        return Err(SwimCodecError::NoRoom { needed, room });
    }
    Ok(())
}

/// A message as tag, identity and probe number.
fn parts(message: &Message<NodeId>) -> (u8, Option<&NodeId>, Option<u8>) {
    match message {
        Message::Ping(probe) => (0, None, Some(*probe)),
        Message::Ack(probe) => (1, None, Some(*probe)),
        Message::PingReq {
            target,
            probe_number,
        } => (2, Some(target), Some(*probe_number)),
        Message::IndirectPing {
            origin,
            probe_number,
        } => (3, Some(origin), Some(*probe_number)),
        Message::IndirectAck {
            target,
            probe_number,
        } => (4, Some(target), Some(*probe_number)),
        Message::ForwardedAck {
            origin,
            probe_number,
        } => (5, Some(origin), Some(*probe_number)),
        Message::Announce => (6, None, None),
        Message::Feed => (7, None, None),
        Message::Gossip => (8, None, None),
        Message::Broadcast => (9, None, None),
        Message::TurnUndead => (10, None, None),
    }
}

fn take_message(buf: &mut impl Buf) -> Result<Message<NodeId>, SwimCodecError> {
    Ok(match buf.try_get_u8()? {
        0 => Message::Ping(buf.try_get_u8()?),
        1 => Message::Ack(buf.try_get_u8()?),
        2 => Message::PingReq {
            target: take_identity(buf)?,
            probe_number: buf.try_get_u8()?,
        },
        3 => Message::IndirectPing {
            origin: take_identity(buf)?,
            probe_number: buf.try_get_u8()?,
        },
        4 => Message::IndirectAck {
            target: take_identity(buf)?,
            probe_number: buf.try_get_u8()?,
        },
        5 => Message::ForwardedAck {
            origin: take_identity(buf)?,
            probe_number: buf.try_get_u8()?,
        },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        10 => Message::TurnUndead,
        found => {
            return Err(SwimCodecError::Unknown {
                what: "message",
                found,
            });
        }
    })
}

fn identity_len(id: &NodeId) -> usize {
    let addr = match id.addr {
        SocketAddr::V4(_) => 4 + 2,
        SocketAddr::V6(_) => 16 + 2 + 8,
    };
    1 + id.process.name.as_str().len() + 8 + 4 + 1 + addr
}

#[expect(clippy::expect_used, reason = "the room was checked before")]
fn put_identity(id: &NodeId, buf: &mut impl BufMut) {
    let name = id.process.name.as_str();
    buf.put_u8(u8::try_from(name.len()).expect("a name is at most 64 bytes"));
    buf.put_slice(name.as_bytes());
    buf.put_u64(id.process.boot);
    buf.put_u32(id.renewal);
    match id.addr {
        SocketAddr::V4(addr) => {
            buf.put_u8(4);
            buf.put_slice(&addr.ip().octets());
            buf.put_u16(addr.port());
        }
        SocketAddr::V6(addr) => {
            buf.put_u8(6);
            buf.put_slice(&addr.ip().octets());
            buf.put_u16(addr.port());
            buf.put_u32(addr.flowinfo());
            buf.put_u32(addr.scope_id());
        }
    }
}

fn take_identity(buf: &mut impl Buf) -> Result<NodeId, SwimCodecError> {
    let len = usize::from(buf.try_get_u8()?);
    let mut name = [0; NAME_BYTES_MAX];
    let name = name
        .get_mut(..len)
        .ok_or(SwimCodecError::Name(NameError::TooLong {
            bytes: len,
            max: NAME_BYTES_MAX,
        }))?;
    buf.try_copy_to_slice(name)?;
    let name = std::str::from_utf8(name).map_err(|_| SwimCodecError::Text)?;
    let name = NodeName::new(name).map_err(SwimCodecError::Name)?;
    Ok(NodeId {
        process: ProcessId {
            name,
            boot: buf.try_get_u64()?,
        },
        renewal: buf.try_get_u32()?,
        addr: take_addr(buf)?,
    })
}

fn take_addr(buf: &mut impl Buf) -> Result<SocketAddr, SwimCodecError> {
    match buf.try_get_u8()? {
        4 => {
            let mut octets = [0; 4];
            buf.try_copy_to_slice(&mut octets)?;
            let ip = IpAddr::V4(Ipv4Addr::from(octets));
            Ok(SocketAddr::new(ip, buf.try_get_u16()?))
        }
        6 => {
            let mut octets = [0; 16];
            buf.try_copy_to_slice(&mut octets)?;
            let (ip, port) = (Ipv6Addr::from(octets), buf.try_get_u16()?);
            let (flowinfo, scope_id) = (buf.try_get_u32()?, buf.try_get_u32()?);
            Ok(SocketAddrV6::new(ip, port, flowinfo, scope_id).into())
        }
        found => Err(SwimCodecError::Unknown {
            what: "address family",
            found,
        }),
    }
}

#[cfg(test)]
mod tests {
    use foca::Codec as _;
    use proptest::prelude::*;

    use super::*;

    fn addrs() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
            any::<([u8; 16], u16, u32, u32)>().prop_map(|(ip, port, flow, scope)| {
                SocketAddrV6::new(ip.into(), port, flow, scope).into()
            }),
        ]
    }

    fn ids() -> impl Strategy<Value = NodeId> {
        ("[a-zé0-9-]{1,32}", any::<(u64, u32)>(), addrs()).prop_map(
            |(name, (boot, renewal), addr)| NodeId {
                process: ProcessId {
                    name: NodeName::new(&name).unwrap(),
                    boot,
                },
                renewal,
                addr,
            },
        )
    }

    fn messages() -> impl Strategy<Value = Message<NodeId>> {
        let plain = prop_oneof![
            Just(Message::Announce),
            Just(Message::Feed),
            Just(Message::Gossip),
            Just(Message::Broadcast),
            Just(Message::TurnUndead),
            any::<u8>().prop_map(Message::Ping),
            any::<u8>().prop_map(Message::Ack),
        ];
        let indirect = (ids(), any::<u8>(), 0..4).prop_map(|(id, probe_number, kind)| match kind {
            0 => Message::PingReq {
                target: id,
                probe_number,
            },
            1 => Message::IndirectPing {
                origin: id,
                probe_number,
            },
            2 => Message::IndirectAck {
                target: id,
                probe_number,
            },
            _ => Message::ForwardedAck {
                origin: id,
                probe_number,
            },
        });
        prop_oneof![plain, indirect]
    }

    fn headers() -> impl Strategy<Value = Header<NodeId>> {
        (ids(), any::<u16>(), ids(), messages()).prop_map(|(src, src_incarnation, dst, message)| {
            Header {
                src,
                src_incarnation,
                dst,
                message,
            }
        })
    }

    fn members() -> impl Strategy<Value = Member<NodeId>> {
        let states = prop_oneof![Just(State::Alive), Just(State::Suspect), Just(State::Down)];
        (ids(), any::<u16>(), states).prop_map(|(id, inc, state)| Member::new(id, inc, state))
    }

    proptest! {
        #[test]
        fn headers_come_back_and_need_every_byte(header in headers()) {
            let mut out = Vec::new();
            SwimCodec.encode_header(&header, &mut out).unwrap();
            prop_assert!(out.len() <= HEADER_BYTES_MAX);
            let mut rest = out.as_slice();
            prop_assert_eq!(SwimCodec.decode_header(&mut rest), Ok(header.clone()));
            prop_assert!(rest.is_empty());
            for len in 0..out.len() {
                prop_assert!(SwimCodec.decode_header(&out[..len]).is_err());
                let mut short = Vec::new().limit(len);
                prop_assert_eq!(
                    SwimCodec.encode_header(&header, &mut short),
                    Err(SwimCodecError::NoRoom { needed: out.len(), room: len })
                );
                prop_assert!(short.get_ref().is_empty());
            }
        }

        #[test]
        fn members_come_back_and_need_every_byte(member in members()) {
            let mut out = Vec::new();
            SwimCodec.encode_member(&member, &mut out).unwrap();
            prop_assert!(out.len() <= MEMBER_BYTES_MAX);
            let mut rest = out.as_slice();
            prop_assert_eq!(SwimCodec.decode_member(&mut rest), Ok(member.clone()));
            prop_assert!(rest.is_empty());
            for len in 0..out.len() {
                prop_assert!(SwimCodec.decode_member(&out[..len]).is_err());
                let mut short = Vec::new().limit(len);
                prop_assert!(SwimCodec.encode_member(&member, &mut short).is_err());
                prop_assert!(short.get_ref().is_empty());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = SwimCodec.decode_header(bytes.as_slice());
            let _ = SwimCodec.decode_member(bytes.as_slice());
        }

        #[test]
        fn damaged_headers_never_panic(header in headers(), at in any::<usize>(), byte: u8) {
            let mut out = Vec::new();
            SwimCodec.encode_header(&header, &mut out).unwrap();
            let at = at % out.len();
            out[at] = byte;
            let _ = SwimCodec.decode_header(out.as_slice());
        }
    }

    /// A change here is a new `WIRE_VERSION`.
    #[test]
    fn the_layout_stays_what_it_is() {
        let id = |name: &str, addr: &str| NodeId {
            process: ProcessId {
                name: NodeName::new(name).unwrap(),
                boot: 0x0102_0304_0506_0708,
            },
            renewal: 9,
            addr: addr.parse().unwrap(),
        };
        let header = Header {
            src: id("a", "10.0.0.1:9094"),
            src_incarnation: 3,
            dst: id("bc", "[fe80::1%5]:9094"),
            message: Message::PingReq {
                target: id("d", "10.0.0.2:1"),
                probe_number: 7,
            },
        };
        let mut out = Vec::new();
        SwimCodec.encode_header(&header, &mut out).unwrap();
        let a = "0161010203040506070800000009040a0000012386";
        let bc = "026263010203040506070800000009\
                  06fe8000000000000000000000000000012386\
                  0000000000000005";
        let d = "0164010203040506070800000009040a0000020001";
        assert_eq!(hex(&out), format!("{a}0003{bc}02{d}07"));

        let mut out = Vec::new();
        let member = Member::new(id("a", "10.0.0.1:9094"), 0x0102, State::Down);
        SwimCodec.encode_member(&member, &mut out).unwrap();
        assert_eq!(hex(&out), format!("{a}010202"));
    }

    /// foca's own use of the codec: a packet is filled with members until one does not fit.
    #[test]
    fn foca_fills_a_packet_and_reads_it() {
        let id = |n: u16| NodeId {
            process: ProcessId {
                name: NodeName::new(&format!("node-{n}")).unwrap(),
                boot: 1,
            },
            renewal: 0,
            addr: ([10, 0, 0, 1], n).into(),
        };
        let node = |n| {
            let rng = rand_pcg::Pcg64Mcg::new(n);
            foca::Foca::new(id(n as u16), foca::Config::simple(), rng, SwimCodec)
        };
        let (mut seed, mut joiner) = (node(1), node(2));
        let mut runtime = foca::AccumulatingRuntime::new();
        let others = (3..103).map(|n| Member::alive(id(n)));
        seed.apply_many(others, false, &mut runtime).unwrap();
        while runtime.to_send().is_some() {}

        joiner.announce(id(1), &mut runtime).unwrap();
        let (_, announce) = runtime.to_send().unwrap();
        seed.handle_data(&announce, &mut runtime).unwrap();
        while let Some((to, packet)) = runtime.to_send() {
            if to == id(2) {
                assert!(packet.len() <= 1400 && packet.len() > 1400 - MEMBER_BYTES_MAX);
                let mut unused = foca::AccumulatingRuntime::new();
                joiner.handle_data(&packet, &mut unused).unwrap();
            }
        }
        assert!(joiner.num_members() > 30);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
