//! What was claimed, whether it is true or not: for those that check what became of it.

use bytes::Bytes;

use crate::engine::SwimClaim;
use crate::id::{MemberState, NodeId, NodeName, ProcessId, StoreId};
use crate::wire::codec::{self, CodecLimits, Decoded};
use crate::wire::{Entry, Handed, Message};

/// What messages claim.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// Entries.
    pub entries: Vec<(StoreId, Entry)>,
    /// Members, as what they are said to be.
    pub people: Vec<(NodeId, MemberState)>,
    /// Processes that are said to leave, or to have left.
    pub leaves: Vec<ProcessId>,
    /// Names under which the teller introduces itself.
    pub names: Vec<NodeName>,
    /// Processes that are said to hold something, and those that introduce themselves: their copies
    /// are counted.
    pub holders: Vec<ProcessId>,
    /// Messages of no known version.
    pub unknown: u64,
}

/// What these messages claim, up to the first that cannot be read.
#[must_use]
pub fn claims(mut messages: Bytes) -> Claims {
    let mut claims = Claims::default();
    let limits = CodecLimits::default();
    while !messages.is_empty() {
        match codec::decode(&mut messages, &limits) {
            Ok(Decoded::Message(message)) => claims.add(message),
            Ok(Decoded::Unknown { .. }) => claims.unknown += 1,
            Err(_) => break,
        }
    }
    claims
}

impl Claims {
    fn add(&mut self, message: Message) {
        let alive = MemberState::Alive;
        match message {
            Message::Delta(delta) | Message::Handed(Handed { delta, .. }) => {
                for section in delta.sections {
                    let entries = section.entries.into_iter();
                    self.entries.extend(entries.map(|e| (section.store, e)));
                }
            }
            Message::Hello(hello) => {
                self.names.push(hello.node.process.name.clone());
                self.holders.push(hello.node.process.clone());
                self.people.push((hello.node, alive));
            }
            Message::Welcome(welcome) => {
                self.names.push(welcome.node.process.name.clone());
                self.holders.push(welcome.node.process.clone());
                self.people.push((welcome.node, alive));
            }
            Message::Members(members) => {
                let records = members.records.into_iter();
                self.people.extend(records.map(|r| (r.id, r.state)));
            }
            Message::Leave(leave) | Message::LeaveAck(leave) => {
                self.leaves.push(leave.process);
            }
            Message::Relayed(relayed) => {
                self.holders.push(relayed.holder.clone());
            }
            Message::Swim(packet) => {
                self.people.extend(SwimClaim::people(&packet));
            }
            _ => {}
        }
    }
}
