//! Packets of the failure detector, as `PROTOCOL.md` has them: enough to answer probes, and to lie.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use rumormill::NodeName;
use rumormill::id::ProcessId;
use rumormill::unstable::id::NodeId;

/// What a packet is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Ack(u8),
    ForwardedAck(NodeId, u8),
    Gossip,
    IndirectAck(NodeId, u8),
    IndirectPing(NodeId, u8),
    Ping(u8),
    PingReq(NodeId, u8),
    /// Announce, feed, broadcast, turn undead.
    Other(u8),
}

/// What is said of a member.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) id: NodeId,
    pub(crate) incarnation: u16,
    /// 0 alive, 1 suspect, 2 down.
    pub(crate) state: u8,
}

/// One packet.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    pub(crate) incarnation: u16,
    pub(crate) to: NodeId,
    pub(crate) kind: Kind,
    pub(crate) updates: Vec<Update>,
}

impl Packet {
    pub(crate) fn write(&self) -> Bytes {
        let mut out = BytesMut::new();
        put_id(&self.from, &mut out);
        out.put_u16(self.incarnation);
        put_id(&self.to, &mut out);
        let (tag, about, number) = match &self.kind {
            Kind::Ping(number) => (0, None, Some(*number)),
            Kind::Ack(number) => (1, None, Some(*number)),
            Kind::PingReq(about, number) => (2, Some(about), Some(*number)),
            Kind::IndirectPing(about, number) => (3, Some(about), Some(*number)),
            Kind::IndirectAck(about, number) => (4, Some(about), Some(*number)),
            Kind::ForwardedAck(about, number) => (5, Some(about), Some(*number)),
            Kind::Gossip => (8, None, None),
            Kind::Other(tag) => (*tag, None, None),
        };
        out.put_u8(tag);
        if let Some(about) = about {
            put_id(about, &mut out);
        }
        if let Some(number) = number {
            out.put_u8(number);
        }
        out.put_u16(u16::try_from(self.updates.len()).unwrap_or(u16::MAX));
        for update in &self.updates {
            put_id(&update.id, &mut out);
            out.put_u16(update.incarnation);
            out.put_u8(update.state);
        }
        out.freeze()
    }

    pub(crate) fn read(mut bytes: Bytes) -> Option<Self> {
        let from = take_id(&mut bytes)?;
        let incarnation = bytes.try_get_u16().ok()?;
        let to = take_id(&mut bytes)?;
        let tag = bytes.try_get_u8().ok()?;
        let about = match tag {
            2..=5 => Some(take_id(&mut bytes)?),
            _ => None,
        };
        let number = match tag {
            0..=5 => bytes.try_get_u8().ok()?,
            _ => 0,
        };
        let kind = match (tag, about) {
            (0, _) => Kind::Ping(number),
            (1, _) => Kind::Ack(number),
            (2, Some(about)) => Kind::PingReq(about, number),
            (3, Some(about)) => Kind::IndirectPing(about, number),
            (4, Some(about)) => Kind::IndirectAck(about, number),
            (5, Some(about)) => Kind::ForwardedAck(about, number),
            (8, _) => Kind::Gossip,
            (tag, _) => Kind::Other(tag),
        };
        let count = bytes.try_get_u16().unwrap_or_default();
        let mut updates = Vec::new();
        for _ in 0..count {
            let id = take_id(&mut bytes)?;
            updates.push(Update {
                id,
                incarnation: bytes.try_get_u16().ok()?,
                state: bytes.try_get_u8().ok()?,
            });
        }
        Some(Self {
            from,
            incarnation,
            to,
            kind,
            updates,
        })
    }
}

fn put_id(id: &NodeId, out: &mut BytesMut) {
    let name = id.process.name.as_str();
    out.put_u8(u8::try_from(name.len()).unwrap_or_default());
    out.put_slice(name.as_bytes());
    out.put_u64(id.process.boot);
    out.put_u32(id.renewal);
    match id.addr.ip() {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
            out.put_u16(id.addr.port());
        }
        IpAddr::V6(ip) => {
            out.put_u8(6);
            out.put_slice(&ip.octets());
            out.put_u16(id.addr.port());
            out.put_u64(0);
        }
    }
}

/// Nodes of a bench are at IPv4 addresses.
fn take_id(bytes: &mut Bytes) -> Option<NodeId> {
    let len = usize::from(bytes.try_get_u8().ok()?);
    if bytes.remaining() < len {
        return None;
    }
    let name = bytes.split_to(len);
    let name = NodeName::new(std::str::from_utf8(&name).ok()?).ok()?;
    let boot = bytes.try_get_u64().ok()?;
    let renewal = bytes.try_get_u32().ok()?;
    if bytes.try_get_u8().ok()? != 4 {
        return None;
    }
    let ip = Ipv4Addr::from(bytes.try_get_u32().ok()?);
    let addr = SocketAddr::from((ip, bytes.try_get_u16().ok()?));
    Some(NodeId {
        process: ProcessId { name, boot },
        renewal,
        addr,
    })
}
