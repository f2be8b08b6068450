//! Message bodies, field by field through bincode.
//!
//! bincode writes the numbers; [`Field`] says how our types are made of them. Lists do not go
//! through bincode's `Vec`, which allocates by the length it reads.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use bincode::de::read::Reader as _;
use bincode::de::{Decode as _, Decoder as _, DecoderImpl};
use bincode::enc::write::{SizeWriter, Writer};
use bincode::enc::{Encode as _, EncoderImpl};
use bincode::error::EncodeError;
use bytes::BytesMut;

use super::error::{DecodeError, check_count, check_end};
use super::limits::{CodecLimits, STORE_NAME_BYTES_MAX};
use super::settings::{BytesLeft, SETTINGS, Settings, unreadable};
use crate::id::{
    Key, MemberState, NAME_BYTES_MAX, NodeId, NodeName, ProcessId, Refusal, SchemaId, StoreId,
};
use crate::time::Timestamp;
use crate::wire::message::{
    Ack, Arrived, Capabilities, CoverReport, Covered, Done, Expelled, HeldVersion, Hello, Leave,
    MemberRecord, Members, Message, More, Objection, ObjectionReason, Probe, Purpose, Recall,
    Recheck, RefusedEntry, Reject, RejectReason, Relayed, Roots, Settled, StoreOffer, StoreSummary,
    StoreTotal, Summary, Totals, Verdict, Verdicts, Welcome,
};

type Enc<W> = EncoderImpl<W, Settings>;
type Dec<'a> = DecoderImpl<BytesLeft<'a>, Settings, &'a CodecLimits>;

pub(super) fn encode(message: &Message, out: &mut BytesMut) {
    write(message, Appending(out));
}

pub(super) fn encoded_len(message: &Message) -> usize {
    write(message, SizeWriter::default()).bytes_written
}

#[expect(
    clippy::expect_used,
    reason = "a caller's limits or an own lock, not bytes from outside; the text says which"
)]
fn write<W: Writer>(message: &Message, writer: W) -> W {
    let mut to = EncoderImpl::new(writer, SETTINGS);
    put_message(message, &mut to).expect("writing to memory does not fail");
    to.into_writer()
}

#[expect(
    clippy::unreachable,
    reason = "what is encoded elsewhere does not come here"
)]
fn put_message<W: Writer>(message: &Message, to: &mut Enc<W>) -> Result<(), EncodeError> {
    match message {
        Message::Hello(hello) => hello.put(to),
        Message::Welcome(welcome) => welcome.put(to),
        Message::Reject(reject) => reject.put(to),
        Message::Ack(ack) => ack.put(to),
        Message::Arrived(arrived) => arrived.put(to),
        Message::Relayed(relayed) => relayed.put(to),
        Message::Members(members) => members.put(to),
        Message::Expelled(expelled) => expelled.put(to),
        Message::Objection(objection) => objection.put(to),
        Message::Leave(leave) | Message::LeaveAck(leave) => leave.put(to),
        Message::Summary(summary) => summary.put(to),
        Message::Verdicts(verdicts) => verdicts.put(to),
        Message::More(more) => more.put(to),
        Message::Settled(settled) => settled.put(to),
        Message::Done(done) => done.put(to),
        Message::Covered(covered) => covered.put(to),
        Message::Recall(recall) => recall.put(to),
        Message::Roots(roots) => roots.put(to),
        Message::Totals(totals) => totals.put(to),
        Message::Probe(probe) => probe.put(to),
        Message::Recheck(look) => look.put(to),
        Message::Cells(_)
        | Message::Delta(_)
        | Message::Handed(_)
        | Message::Hashes(_)
        | Message::Items(_)
        | Message::Peeled(_)
        | Message::Swim(_)
        | Message::Wants(_) => {
            unreachable!("the caller has written what has a layout of its own")
        }
    }
}

/// The message of `tag` in all of `body`, `None` for a tag this version does not know.
pub(super) fn decode(
    tag: u8,
    body: &[u8],
    limits: &CodecLimits,
) -> Result<Option<Message>, DecodeError> {
    let from = &mut DecoderImpl::new(BytesLeft(body), SETTINGS, limits);
    let message = match tag {
        2 => Message::Hello(Field::take(from)?),
        3 => Message::Welcome(Field::take(from)?),
        4 => Message::Reject(Field::take(from)?),
        6 => Message::Ack(take_ack(from)?),
        7 => Message::Relayed(Field::take(from)?),
        8 => Message::Members(Field::take(from)?),
        9 => Message::Leave(Field::take(from)?),
        10 => Message::LeaveAck(Field::take(from)?),
        25 => Message::Expelled(Field::take(from)?),
        60 => Message::Objection(Field::take(from)?),
        15 => Message::Done(Field::take(from)?),
        16 => Message::Summary(Field::take(from)?),
        17 => Message::Verdicts(Field::take(from)?),
        19 => Message::More(Field::take(from)?),
        21 => Message::Settled(Field::take(from)?),
        70 => Message::Arrived(take_arrived(from)?),
        41 => Message::Covered(Field::take(from)?),
        42 => Message::Recall(Field::take(from)?),
        50 => Message::Roots(Field::take(from)?),
        51 => Message::Totals(Field::take(from)?),
        52 => Message::Probe(Field::take(from)?),
        53 => Message::Recheck(Field::take(from)?),
        _ => return Ok(None),
    };
    check_end(from.reader().0)?;
    Ok(Some(message))
}

/// Ranges pass only if they ascend and do not overlap: the engine may rely on it.
fn take_ack(from: &mut Dec<'_>) -> Result<Ack, DecodeError> {
    let ack = Ack::take(from)?;
    check_ranges(&ack.ranges).map(|()| ack)
}

/// As those of an acknowledgement.
fn take_arrived(from: &mut Dec<'_>) -> Result<Arrived, DecodeError> {
    let arrived = Arrived::take(from)?;
    check_ranges(&arrived.ranges).map(|()| arrived)
}

fn check_ranges(ranges: &[(u64, u64)]) -> Result<(), DecodeError> {
    let forward = ranges.iter().all(|(first, last)| first <= last);
    let mut gaps = ranges.iter().zip(ranges.iter().skip(1));
    if forward && gaps.all(|((_, last), (first, _))| last < first) {
        Ok(())
    } else {
        Err(DecodeError::Disorder { what: "ranges" })
    }
}

/// Appends what bincode writes.
struct Appending<'a>(&'a mut BytesMut);

impl Writer for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// A value inside a message body.
trait Field: Sized {
    fn put<W: Writer>(&self, to: &mut Enc<W>) -> Result<(), EncodeError>;
    fn take(from: &mut Dec<'_>) -> Result<Self, DecodeError>;
}

/// What bincode encodes as we want it.
macro_rules! bincode_fields {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn put<W: Writer>(&self, to: &mut Enc<W>) -> Result<(), EncodeError> {
                self.encode(to)
            }
            fn take(from: &mut Dec<'_>) -> Result<Self, DecodeError> {
                Self::decode(from).map_err(unreadable)
            }
        }
    )*};
}

bincode_fields!(bool, u8, u16, u32, u64, u128, [u8; 4], [u8; 16]);

/// Types that wrap one number or array: how to wrap it, and how to unwrap it.
macro_rules! wrapped_fields {
    ($($type:ty: $inner:ty, $wrap:expr, $unwrap:expr;)*) => {$(
        impl Field for $type {
            fn put<W: Writer>(&self, to: &mut Enc<W>) -> Result<(), EncodeError> {
                let unwrap: fn(&Self) -> $inner = $unwrap;
                unwrap(self).put(to)
            }
            fn take(from: &mut Dec<'_>) -> Result<Self, DecodeError> {
                <$inner>::take(from).map($wrap)
            }
        }
    )*};
}

wrapped_fields! {
    Capabilities: u64, Capabilities, |capabilities| capabilities.0;
    Key: [u8; 16], Key, |key| key.0;
    SchemaId: u16, SchemaId::from_raw, |schema| schema.raw();
    StoreId: u32, StoreId, |store| store.0;
    Timestamp: u64, Timestamp::from_nanos, |at| at.as_nanos();
}

/// Enums of one byte.
macro_rules! enum_fields {
    ($($type:ident { $($number:literal $variant:ident),* })*) => {$(
        impl Field for $type {
            fn put<W: Writer>(&self, to: &mut Enc<W>) -> Result<(), EncodeError> {
                let number: u8 = match self { $(Self::$variant => $number),* };
                number.put(to)
            }
            fn take(from: &mut Dec<'_>) -> Result<Self, DecodeError> {
                match u8::take(from)? {
                    $($number => Ok(Self::$variant),)*
                    found => Err(DecodeError::Variant { what: stringify!($type), found }),
                }
            }
        }
    )*};
}

enum_fields! {
    MemberState { 0 Alive, 1 Suspect, 2 Failed, 3 Left }
    ObjectionReason { 0 NameNotAllowed, 1 NameTaken, 2 NameTakenHere, 3 Unreadable }
    Purpose { 0 Link, 1 PushPull }
    Refusal { 0 ClockAhead, 1 Full, 2 TooLarge, 3 NoStore, 4 Share, 5 TooLasting }
    RejectReason { 0 Busy, 1 Itself, 2 NameTaken, 3 StaleBoot, 4 Leaving, 5 Expelled }
    Verdict { 0 Equal, 1 Cells, 2 NoStore, 3 List, 4 All, 5 Measure }
}

/// Structs: their fields in the order given, then their lists, each with its limit.
macro_rules! struct_fields {
    ($($type:ident { $($field:ident),*; $($list:ident: $max:ident),* })*) => {$(
        impl Field for $type {
            fn put<W: Writer>(&self, to: &mut Enc<W>) -> Result<(), EncodeError> {
                $(self.$field.put(to)?;)*
                $(put_list(&self.$list, to)?;)*
                Ok(())
            }
            fn take(from: &mut Dec<'_>) -> Result<Self, DecodeError> {
                Ok(Self {
                    $($field: Field::take(from)?,)*
                    $($list: {
                        let max = from.context().$max;
                        take_list(from, stringify!($list), max)?
                    },)*
                })
            }
        }
    )*};
}

struct_fields! {
    Ack { token; ranges: ranges_max, refused: refused_max }
    Arrived { token; ranges: ranges_max }
    CoverReport { packet, taken, complete, list; holders: holders_max }
    Covered { token; reports: recalls_max }
    Done { complete; }
    Expelled { ; names: expelled_max }
    HeldVersion { store, key, ts, tag; }
    Hello { purpose, node, incarnation, nonce, token, capabilities; stores: stores_max }
    Leave { process; }
    Recheck { token, ask, at, after, sum, later; }
    MemberRecord { id, incarnation, state; }
    Members { ask; records: records_max }
    More { store; }
    Objection { reason, twin; }
    NodeId { process, renewal, addr; }
    Probe { token, ack, number, incarnation; }
    ProcessId { name, boot; }
    Recall { token; packets: recalls_max }
    RefusedEntry { packet, index, reason; }
    Reject { reason, boot_known; }
    Relayed { token, holder; held: held_max }
    Roots { token, at, sum; }
    Settled { store, agrees; }
    StoreSummary { store, count, root, exponent, counters; }
    StoreTotal { store, count, root; }
    Summary { cut; stores: stores_max }
    Totals { found, cut; stores: stores_max }
    Verdicts { cut_accepted; stores: stores_max }
    Welcome { node, incarnation, nonce, token, capabilities, boot_known; stores: stores_max }
}

fn put_list<T: Field, W: Writer>(list: &[T], to: &mut Enc<W>) -> Result<(), EncodeError> {
    (list.len() as u64).put(to)?;
    list.iter().try_for_each(|element| element.put(to))
}

fn take_list<T: Field>(
    from: &mut Dec<'_>,
    what: &'static str,
    max: usize,
) -> Result<Vec<T>, DecodeError> {
    let count = u64::take(from)?;
    check_count(what, count, max)?;
    // Grows with the elements that are really there, not with the count.
    (0..count).map(|_| T::take(from)).collect::<Result<_, _>>()
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put<W: Writer>(&self, to: &mut Enc<W>) -> Result<(), EncodeError> {
        self.0.put(to)?;
        self.1.put(to)
    }
    fn take(from: &mut Dec<'_>) -> Result<Self, DecodeError> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

/// The counters of an estimator: mostly small numbers, for which bincode would take three bytes each.
impl Field for [i32; 64] {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low seven bits are what is wanted"
    )]
    fn put<W: Writer>(&self, to: &mut Enc<W>) -> Result<(), EncodeError> {
        for counter in self {
            let mut rest = (counter << 1 ^ counter >> 31).cast_unsigned();
            while rest >= 0x80 {
                (rest as u8 | 0x80).put(to)?;
                rest >>= 7;
            }
            (rest as u8).put(to)?;
        }
        Ok(())
    }
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "lengths of what is in memory, far below the largest number"
    )]
    fn take(from: &mut Dec<'_>) -> Result<Self, DecodeError> {
        let mut counters = [0; 64];
        for counter in &mut counters {
            let mut zigzag = 0_u64;
            for shift in (0..35).step_by(7) {
                let byte = u8::take(from)?;
                zigzag |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift == 28 {
                    return Err(DecodeError::Malformed);
                }
            }
            let zigzag = u32::try_from(zigzag).map_err(|_| DecodeError::Malformed)?;
            *counter = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        }
        Ok(counters)
    }
}

impl Field for NodeName {
    fn put<W: Writer>(&self, to: &mut Enc<W>) -> Result<(), EncodeError> {
        self.as_str().encode(to)
    }
    fn take(from: &mut Dec<'_>) -> Result<Self, DecodeError> {
        let mut buffer = [0; NAME_BYTES_MAX];
        Self::new(take_text(from, "name", &mut buffer)?).map_err(DecodeError::Name)
    }
}

impl Field for StoreOffer {
    fn put<W: Writer>(&self, to: &mut Enc<W>) -> Result<(), EncodeError> {
        self.id.put(to)?;
        self.name.as_str().encode(to)?;
        put_list(&self.schemas, to)
    }
    fn take(from: &mut Dec<'_>) -> Result<Self, DecodeError> {
        let mut buffer = [0; STORE_NAME_BYTES_MAX];
        let schemas_max = from.context().schemas_max;
        Ok(Self {
            id: Field::take(from)?,
            name: take_text(from, "store name", &mut buffer)?.to_owned(),
            schemas: take_list(from, "schemas", schemas_max)?,
        })
    }
}

/// A text that fits the buffer.
fn take_text<'b>(
    from: &mut Dec<'_>,
    what: &'static str,
    buffer: &'b mut [u8],
) -> Result<&'b str, DecodeError> {
    let (bytes, max) = (u64::take(from)?, buffer.len());
    let text = usize::try_from(bytes)
        .ok()
        .and_then(|len| buffer.get_mut(..len))
        .ok_or(DecodeError::TooLarge { what, bytes, max })?;
    from.reader().read(text).map_err(unreadable)?;
    std::str::from_utf8(text).map_err(|_| DecodeError::Text)
}

/// bincode's own shape of an IPv6 socket address forgets the flow information and the scope.
impl Field for SocketAddr {
    fn put<W: Writer>(&self, to: &mut Enc<W>) -> Result<(), EncodeError> {
        match self {
            Self::V4(addr) => {
                4_u8.put(to)?;
                addr.ip().octets().put(to)?;
                addr.port().put(to)
            }
            Self::V6(addr) => {
                6_u8.put(to)?;
                addr.ip().octets().put(to)?;
                addr.port().put(to)?;
                addr.flowinfo().put(to)?;
                addr.scope_id().put(to)
            }
        }
    }
    fn take(from: &mut Dec<'_>) -> Result<Self, DecodeError> {
        match u8::take(from)? {
            4 => {
                let ip = Ipv4Addr::from(<[u8; 4]>::take(from)?);
                Ok(SocketAddrV4::new(ip, Field::take(from)?).into())
            }
            6 => {
                let ip = Ipv6Addr::from(<[u8; 16]>::take(from)?);
                let port = Field::take(from)?;
                let (flowinfo, scope_id) = Field::take(from)?;
                Ok(SocketAddrV6::new(ip, port, flowinfo, scope_id).into())
            }
            found => Err(DecodeError::Variant {
                what: "address family",
                found,
            }),
        }
    }
}
