//! What an engine wants done is done: it is noted, looked at, and carried out.

use std::net::SocketAddr;

use bytes::Bytes;
use rand::RngExt as _;

use super::happening::Happening;
use super::simulator::{Occurrence, Simulator};
use super::tap::Seen;
use crate::engine::{Event, Input, Output, StreamId};
use crate::id::StoreId;
use crate::sim::check::trace::{Counterpart, TracedPacket, tag_name};
use crate::sim::network::wire::Effects;
use crate::sim::nodes::next_version;
use crate::sim::nodes::node::Life;
use crate::store::{Held, ReplicationError};
use crate::wire::Entry;

impl Simulator {
    /// Carries out one output; returns what it led to on the network.
    pub(super) fn act(&mut self, index: usize, output: Output) -> Effects {
        if self.nodes[index].is_liar() {
            return self.act_as_liar(index, output);
        }
        self.check_output(index, &output);
        self.perform(index, output)
    }

    /// The same, of an honest engine or of a liar.
    pub(super) fn perform(&mut self, index: usize, output: Output) -> Effects {
        self.note_output(index, &output);
        let (time, life) = (self.time, (index, self.nodes[index].life));
        match output {
            Output::CloseStream { stream } => {
                self.nodes[index].forget_stream(stream);
                return self.network.close(time, index, stream);
            }
            Output::Commit { batch, entries } => self.commit(index, batch, entries),
            Output::Datagram { to, bytes } => return self.send_datagram(index, to, bytes),
            Output::Event(event) => self.keep_event(life, event),
            Output::OpenStream { stream, to } => {
                if !self.nodes[index].is_liar() {
                    self.checker.dialled(time, life, to);
                }
                return self.network.open(time, index, stream, to);
            }
            Output::Read { ticket, outcome } => self.keep_read(ticket, outcome),
            Output::Resolve { seed } => self.resolve(life, seed),
            Output::StreamFrameDone { stream } => {
                if let Some(count) = self.nodes[index].not_done.get_mut(&stream) {
                    *count = count.saturating_sub(1);
                }
            }
            Output::StreamSend { stream, frame } => return self.send_frame(index, stream, frame),
            Output::Watched { ticket, outcome } => self.keep_outcome(ticket, outcome),
        }
        Effects::default()
    }

    /// What is sent is measured, and looked at for what its sender knows.
    fn check_output(&mut self, index: usize, output: &Output) {
        match output {
            Output::Datagram { bytes, .. } => {
                self.measure_output(index, bytes.len(), true);
                let messages = self.nodes[index].envelope.messages(bytes);
                self.note_leave_ack(index, bytes.slice_ref(messages));
            }
            Output::StreamSend { frame, .. } => {
                self.measure_output(index, frame.len(), false);
                self.note_leave_ack(index, frame.clone());
            }
            _ => {}
        }
    }

    /// Sends a datagram; a node of the next version says its own message now and then.
    fn send_datagram(&mut self, index: usize, to: SocketAddr, bytes: Bytes) -> Effects {
        let node = &self.nodes[index];
        let sent = self.network.links.counters.datagrams;
        let bytes = if node.next_version && sent.is_multiple_of(4) {
            next_version::extended(&bytes, node.envelope)
        } else {
            bytes
        };
        self.network.datagram(self.time, index, to, &bytes)
    }

    /// Sends a frame; a node of the next version says its own message now and then.
    fn send_frame(&mut self, index: usize, stream: StreamId, frame: Bytes) -> Effects {
        let (time, network) = (self.time, &mut self.network);
        let mut effects = network.send(time, index, stream, frame);
        let sent = network.links.counters.frames;
        if self.nodes[index].next_version && sent.is_multiple_of(4) {
            let frame = Bytes::from_static(next_version::MESSAGE);
            effects.append(network.send(time, index, stream, frame));
        }
        effects
    }

    fn keep_event(&mut self, life: Life, event: Event) {
        if !self.nodes[life.0].is_liar() {
            self.note_event(life, &event);
        }
        self.events.push(Occurrence {
            at: self.time,
            node: life.0,
            event,
        });
    }

    /// A name takes a while to resolve.
    fn resolve(&mut self, (node, life): Life, seed: String) {
        let delay = self.config.resolve_delay_max;
        let delay = delay.mul_f64(self.rng.random::<f64>());
        let resolved = Happening::Resolved { node, life, seed };
        self.agenda.push(self.time + delay, resolved);
    }

    fn keep_outcome(&mut self, ticket: u64, outcome: Result<Held, ReplicationError>) {
        if let Ok(held) = outcome {
            let nodes = &self.nodes;
            let on_disk = |node: usize, store, entry: &Entry| {
                let node = &nodes[node];
                node.spec.durable.then(|| node.disk.held(store, entry))
            };
            let clock = |node: usize| nodes[node].latest_process_time();
            self.checker
                .watched(self.time, ticket, held, on_disk, clock);
        }
        self.outcomes.insert(ticket, outcome);
    }

    fn commit(&mut self, index: usize, batch: u64, entries: Vec<(StoreId, Entry)>) {
        let node = &mut self.nodes[index];
        let disk = &self.config.disk;
        let delay = node.disk.begin(batch, entries, disk, &mut self.rng);
        let committed = Happening::Committed {
            node: index,
            life: node.life,
            batch,
        };
        self.agenda.push(self.time + delay, committed);
    }

    /// Adds what an engine is given to the trace.
    pub(super) fn note_input(&mut self, index: usize, input: &Input) {
        self.tapped(index, Seen::Input(input));
        match input {
            Input::Datagram { from, bytes } => {
                let messages = self.nodes[index].envelope.messages(bytes);
                self.note_packet(index, datagram("<-", *from, bytes, messages));
            }
            Input::StreamFrame { stream, frame } => {
                self.note_packet(index, frame_of("<=", stream.0, frame));
            }
            other => self.note(index, format_args!("< {other:?}"), &[]),
        }
    }

    fn note_output(&mut self, index: usize, output: &Output) {
        self.tapped(index, Seen::Output(output));
        match output {
            Output::Commit { batch, entries } => {
                let count = entries.len();
                self.note(
                    index,
                    format_args!("> commit {batch}: {count} entries"),
                    &[],
                );
            }
            Output::Datagram { to, bytes } => {
                let messages = self.nodes[index].envelope.messages(bytes);
                self.note_packet(index, datagram("->", *to, bytes, messages));
            }
            Output::StreamFrameDone { .. } => {}
            Output::StreamSend { stream, frame } => {
                self.note_packet(index, frame_of("=>", stream.0, frame));
            }
            other => self.note(index, format_args!("> {other:?}"), &[]),
        }
    }

    fn tapped(&mut self, node: usize, seen: Seen<'_>) {
        if let Some(tap) = self.tap.as_mut() {
            tap(self.time, node, seen);
        }
    }
}

fn datagram<'a>(
    arrow: &'static str,
    addr: SocketAddr,
    bytes: &'a Bytes,
    messages: &[u8],
) -> TracedPacket<'a> {
    TracedPacket {
        arrow,
        with: Counterpart::Addr(addr),
        tag: tag_name(messages.first()),
        bytes,
    }
}

fn frame_of<'a>(arrow: &'static str, stream: u64, frame: &'a Bytes) -> TracedPacket<'a> {
    TracedPacket {
        arrow,
        with: Counterpart::Stream(stream),
        tag: tag_name(frame.first()),
        bytes: frame,
    }
}
