//! Inputs and outputs of engines as lines that a person can read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use rumormill::Event;
use rumormill::id::{ClusterId, Key, ProcessId, StoreId};
use rumormill::sim::{Register, Registers};
use rumormill::store::{Body, Schema};
use rumormill::unstable::engine::{CloseReason, Input, Output, StreamId};
use rumormill::unstable::wire::codec::{self, CodecLimits, Decoded};
use rumormill::unstable::wire::envelope::Envelope;
use rumormill::unstable::wire::{Ack, Delta, Entry, MemberRecord, Message, Purpose, StoreOffer};

use super::swim;

/// What lines are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    Data,
    Dials,
    Events,
    Exchange,
    Members,
    Swim,
}

impl Topic {
    pub(crate) const ALL: [(&'static str, Self); 6] = [
        ("data", Self::Data),
        ("dials", Self::Dials),
        ("events", Self::Events),
        ("exchange", Self::Exchange),
        ("members", Self::Members),
        ("swim", Self::Swim),
    ];
}

/// Something that went into an engine or came out of one.
pub(crate) enum Seen {
    Input(Input),
    Output(Output),
}

/// Makes lines, and remembers what later ones need: who is where, which stream leads to whom.
#[derive(Default)]
pub(crate) struct Transcript {
    nodes: BTreeMap<IpAddr, usize>,
    envelopes: BTreeMap<usize, Envelope>,
    streams: BTreeMap<(usize, StreamId), usize>,
    /// The boots of each name, in order of appearance.
    boots: BTreeMap<String, Vec<u64>>,
    /// Links that carry no datagram one way, and those that carry nothing.
    pub(crate) cuts: BTreeSet<(usize, usize)>,
}

impl Transcript {
    pub(crate) fn place(&mut self, node: usize, addr: SocketAddr, cluster: &ClusterId) {
        self.nodes.insert(addr.ip(), node);
        self.envelopes.insert(node, Envelope::of(cluster));
    }

    /// The lines of one thing seen at a node.
    pub(crate) fn lines(&mut self, at: Duration, node: usize, seen: &Seen) -> Vec<(Topic, String)> {
        let said = match seen {
            Seen::Input(input) => self.input(node, input),
            Seen::Output(output) => self.output(node, output),
        };
        let at = at.as_secs_f64();
        let line = |(topic, text)| (topic, format!("{at:>10.4}  {text}\n"));
        said.into_iter().map(line).collect()
    }

    fn input(&mut self, node: usize, input: &Input) -> Vec<(Topic, String)> {
        match input {
            Input::StreamOpened { stream, peer } => {
                if let Some(&peer) = self.nodes.get(&peer.ip()) {
                    self.streams.insert((node, *stream), peer);
                }
                Vec::new()
            }
            Input::StreamClosed { stream, reason } => {
                let peer = self.streams.get(&(node, *stream)).copied();
                let how = match reason {
                    CloseReason::Ended => "the stream ends",
                    CloseReason::ForeignCluster => "another cluster is there",
                    CloseReason::Refused => "the dial is refused",
                    CloseReason::Unreachable => "the dial is not answered",
                    _ => "the stream is lost",
                };
                let from = peer.map_or_else(|| "?".to_owned(), name);
                vec![(Topic::Dials, format!("n{node} <= {from}  {how}"))]
            }
            _ => Vec::new(),
        }
    }

    fn output(&mut self, node: usize, output: &Output) -> Vec<(Topic, String)> {
        match output {
            Output::CloseStream { stream } => {
                let to = self.peer(node, *stream);
                vec![(Topic::Dials, format!("n{node} => {to}  closes the stream"))]
            }
            Output::Datagram { to, bytes } => {
                let to = self.nodes.get(&to.ip()).copied();
                let cut = to.is_some_and(|to| self.cuts.contains(&(node, to)));
                let arrow = if cut { "-x" } else { "->" };
                let to = to.map_or_else(|| "?".to_owned(), name);
                let mut bytes = bytes.clone();
                let envelope = self.envelopes.get(&node).copied();
                let envelope = envelope.unwrap_or_else(|| Envelope::of(&ClusterId::default()));
                let opened = envelope.open(&mut bytes);
                opened.expect("a node opens what it sends");
                self.messages(bytes)
                    .into_iter()
                    .map(|(topic, text)| (topic, format!("n{node} {arrow} {to}  {text}")))
                    .collect()
            }
            Output::Event(event) => {
                vec![(Topic::Events, format!("n{node}  * {}", self.event(event)))]
            }
            Output::OpenStream { stream, to } => {
                let to = self.nodes.get(&to.ip()).copied();
                if let Some(to) = to {
                    self.streams.insert((node, *stream), to);
                }
                let to = to.map_or_else(|| "?".to_owned(), name);
                vec![(Topic::Dials, format!("n{node} => {to}  dials"))]
            }
            Output::StreamSend { stream, frame } => {
                let to = self.peer(node, *stream);
                self.messages(frame.clone())
                    .into_iter()
                    .map(|(topic, text)| (topic, format!("n{node} => {to}  {text}")))
                    .collect()
            }
            Output::Watched { outcome, .. } => {
                let how = match outcome {
                    Ok(held) => format!("the write is held by {} others", held.copies),
                    Err(error) => format!("the write is not replicated: {error}"),
                };
                vec![(Topic::Events, format!("n{node}  * {how}"))]
            }
            _ => Vec::new(),
        }
    }

    fn peer(&self, node: usize, stream: StreamId) -> String {
        let peer = self.streams.get(&(node, stream)).copied();
        peer.map_or_else(|| "?".to_owned(), name)
    }

    fn messages(&mut self, mut bytes: Bytes) -> Vec<(Topic, String)> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let before = bytes.len();
            let decoded = codec::decode(&mut bytes, &CodecLimits::default());
            let message = match decoded.expect("a node decodes what it sends") {
                Decoded::Message(message) => message,
                Decoded::Unknown { tag } => {
                    out.push((Topic::Data, format!("unknown message {tag}")));
                    continue;
                }
            };
            out.push(self.message(&message, before - bytes.len()));
        }
        out
    }

    fn message(&mut self, message: &Message, bytes: usize) -> (Topic, String) {
        match message {
            Message::Ack(ack) => (Topic::Data, acknowledges(ack)),
            Message::Delta(delta) => (Topic::Data, delivers(delta)),
            Message::Hello(hello) => {
                let why = match hello.purpose {
                    Purpose::Link => "a link",
                    Purpose::PushPull => "push/pull",
                };
                let who = self.process(&hello.node.process);
                let text = format!("hello, {who}, for {why}{}", offers(&hello.stores));
                (Topic::Members, text)
            }
            Message::Leave(leave) => {
                let who = self.process(&leave.process);
                (Topic::Members, format!("{who} leaves"))
            }
            Message::LeaveAck(leave) => {
                let who = self.process(&leave.process);
                (Topic::Members, format!("{who} has left, noted"))
            }
            Message::Members(members) => {
                let ask = if members.ask {
                    "members? "
                } else {
                    "members: "
                };
                let records = members.records.iter().map(|record| self.record(record));
                (
                    Topic::Members,
                    ask.to_owned() + &records.collect::<Vec<_>>().join(", "),
                )
            }
            Message::Reject(reject) => {
                let text = format!("reject: {:?}", reject.reason);
                (Topic::Members, text)
            }
            Message::Relayed(relayed) => {
                let who = self.process(&relayed.holder);
                let held = relayed.held.iter().map(|held| key(held.store, &held.key));
                let held = held.collect::<Vec<_>>().join(", ");
                (Topic::Data, format!("{who} holds {held}"))
            }
            Message::Swim(packet) => (Topic::Swim, self.swim(packet)),
            Message::Probe(probe) => {
                let what = if probe.ack { "ack" } else { "ping" };
                (Topic::Swim, format!("{what} {}, short", probe.number))
            }
            Message::Recheck(_) | Message::Roots(_) => {
                let text = format!("{message:?}");
                let name = text.split('(').next().unwrap_or_default();
                (Topic::Swim, name.to_lowercase())
            }
            Message::Welcome(welcome) => {
                let who = self.process(&welcome.node.process);
                let text = format!("welcome, {who}{}", offers(&welcome.stores));
                (Topic::Members, text)
            }
            // The words of a push/pull are many and change; their names and sizes tell enough.
            other => {
                let text = format!("{other:?}");
                let name = text.split(['(', ' ']).next().unwrap_or_default();
                (
                    Topic::Exchange,
                    format!("{}, {bytes} bytes", name.to_lowercase()),
                )
            }
        }
    }

    fn swim(&mut self, packet: &Bytes) -> String {
        let packet = swim::read(packet.clone()).expect("a node reads what it sends");
        if packet.gossip.is_empty() {
            return packet.what;
        }
        let mut told = Vec::new();
        for (name, boot, state, incarnation) in packet.gossip {
            let who = self.numbered(&name, boot);
            told.push(format!("{who} {state} {incarnation}"));
        }
        format!("{} [{}]", packet.what, told.join(", "))
    }

    fn event(&mut self, event: &Event) -> String {
        match event {
            Event::EntryRefused {
                peer,
                store,
                key: of,
                reason,
                by_us,
                ..
            } => {
                let of = key(*store, of);
                if *by_us {
                    format!("refuses {of} of {peer}: {reason:?}")
                } else {
                    format!("{of} is refused by {peer}: {reason:?}")
                }
            }
            Event::Left => "has left".to_owned(),
            Event::SeedFailed(trouble) => format!("seed {trouble}"),
            Event::MemberFailed(member) => format!("{} failed", self.process(&member.process)),
            Event::MemberLeft(member) => format!("{} left", self.process(&member.process)),
            Event::MemberRefuted(member) => format!("{} refuted", self.process(&member.process)),
            Event::MemberSuspected(member) => {
                format!("{} suspected", self.process(&member.process))
            }
            Event::MemberUp(member) => format!("{} up", self.process(&member.process)),
            Event::MemberUpdated(member) => format!("{} moved on", self.process(&member.process)),
            Event::PushPullCompleted {
                peer,
                received,
                sent,
                ..
            } => {
                format!("push/pull with {peer}: {received} received, {sent} sent")
            }
            Event::PushPullFailed { peer, .. } => format!("push/pull with {peer} failed"),
            Event::Readiness(readiness) => format!("readiness: {readiness:?}"),
            Event::StoreMissing { peer, store, .. } => {
                format!("{peer} lacks {}", store_name(*store))
            }
            other => format!("{other:?}"),
        }
    }

    fn record(&mut self, record: &MemberRecord) -> String {
        let who = self.process(&record.id.process);
        format!(
            "{who} {} {}",
            format!("{:?}", record.state).to_lowercase(),
            record.incarnation
        )
    }

    pub(crate) fn process(&mut self, process: &ProcessId) -> String {
        self.numbered(process.name.as_str(), process.boot)
    }

    fn numbered(&mut self, name: &str, boot: u64) -> String {
        let boots = self.boots.entry(name.to_owned()).or_default();
        let at = boots.iter().position(|known| *known == boot);
        let at = at.unwrap_or_else(|| {
            boots.push(boot);
            boots.len() - 1
        });
        format!("{name}.{}", at + 1)
    }
}

pub(crate) fn name(node: usize) -> String {
    format!("n{node}")
}

fn acknowledges(ack: &Ack) -> String {
    let ranges = ack.ranges.iter().map(|(start, end)| {
        if start == end {
            start.to_string()
        } else {
            format!("{start}-{end}")
        }
    });
    let mut text = format!("ack {}", ranges.collect::<Vec<_>>().join(", "));
    for refused in &ack.refused {
        text += &format!(
            "; refuses entry {} of {}: {:?}",
            refused.index, refused.packet, refused.reason
        );
    }
    text
}

fn delivers(delta: &Delta) -> String {
    let mut text = format!("delta {}", delta.packet);
    for name in &delta.uncovered {
        text += &format!(", for {name} too");
    }
    let entries = delta.sections.iter().flat_map(|section| {
        let entries = section.entries.iter();
        entries.map(|entry| self::entry(section.store, entry))
    });
    let entries: Vec<_> = entries.collect();
    let more = entries.len().saturating_sub(ENTRIES_TOLD);
    text += ": ";
    text += &entries[..entries.len() - more].join(", ");
    if more > 0 {
        text += &format!(", and {more} more");
    }
    text
}

fn entry(store: StoreId, entry: &Entry) -> String {
    let of = key(store, &entry.key);
    if entry.schema.is_tombstone() {
        return format!("{of} removed");
    }
    let body = Body {
        schema: entry.schema.shape(),
        bytes: entry.body.clone(),
    };
    let text = match Registers::default().decode(entry.key, &body) {
        Ok(Register { value, .. }) => value,
        Err(_) => entry.body.clone(),
    };
    match std::str::from_utf8(&text) {
        Ok(text) if text.len() <= VALUE_BYTES_TOLD => format!("{of}={text}"),
        _ => format!("{of}={} bytes", text.len()),
    }
}

/// A register by its number, anything else by its store.
fn key(store: StoreId, key: &Key) -> String {
    if store == StoreId::of("registers") {
        let (number, _) = key.0.split_first_chunk::<8>().expect("a key has 16 bytes");
        u64::from_be_bytes(*number).to_string()
    } else {
        store_name(store)
    }
}

fn store_name(store: StoreId) -> String {
    let known = ["registers", "labels"];
    let name = known.iter().find(|name| StoreId::of(name) == store);
    name.map_or_else(|| format!("{store:?}"), |name| (*name).to_owned())
}

fn offers(stores: &[StoreOffer]) -> String {
    let names: Vec<_> = stores.iter().map(|offer| offer.name.as_str()).collect();
    format!(", with {}", names.join(", "))
}

const ENTRIES_TOLD: usize = 6;
const VALUE_BYTES_TOLD: usize = 24;
