//! Reads packets of the failure detector, as `src/engine/members/codec.rs` lays them out.

use bytes::{Buf, Bytes, TryGetError};

/// A packet, as far as a reader wants to know.
pub(crate) struct Packet {
    pub(crate) what: String,
    /// Name, boot, state and incarnation of each member that is gossiped along.
    pub(crate) gossip: Vec<(String, u64, &'static str, u16)>,
}

pub(crate) fn read(mut packet: Bytes) -> Result<Packet, TryGetError> {
    let buf = &mut packet;
    identity(buf)?;
    let incarnation = buf.try_get_u16()?;
    identity(buf)?;
    let tag = buf.try_get_u8()?;
    let mut what = match tag {
        0 => format!("ping {}", buf.try_get_u8()?),
        1 => format!("ack {}", buf.try_get_u8()?),
        2..=5 => {
            let name = [
                "ping-req for",
                "indirect ping for",
                "indirect ack of",
                "forwarded ack of",
            ];
            let (of, _) = identity(buf)?;
            format!("{} {of} {}", name[usize::from(tag) - 2], buf.try_get_u8()?)
        }
        6 => "announce".to_owned(),
        7 => "feed".to_owned(),
        8 => "gossip".to_owned(),
        9 => "broadcast".to_owned(),
        10 => "you are down".to_owned(),
        other => format!("tag {other}"),
    };
    if incarnation > 0 {
        what += &format!(", incarnation {incarnation}");
    }
    let mut gossip = Vec::new();
    if buf.has_remaining() {
        for _ in 0..buf.try_get_u16()? {
            let (name, boot) = identity(buf)?;
            let incarnation = buf.try_get_u16()?;
            let state = match buf.try_get_u8()? {
                0 => "alive",
                1 => "suspect",
                _ => "down",
            };
            gossip.push((name, boot, state, incarnation));
        }
    }
    Ok(Packet { what, gossip })
}

fn identity(buf: &mut Bytes) -> Result<(String, u64), TryGetError> {
    let len = usize::from(buf.try_get_u8()?);
    let mut name = vec![0; len];
    buf.try_copy_to_slice(&mut name)?;
    let boot = buf.try_get_u64()?;
    buf.try_get_u32()?;
    let addr = if buf.try_get_u8()? == 4 {
        4 + 2
    } else {
        16 + 2 + 8
    };
    buf.try_copy_to_slice(&mut vec![0; addr])?;
    Ok((String::from_utf8_lossy(&name).into_owned(), boot))
}
