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
    /// Members, and what is said of them.
    pub people: Vec<Word>,
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

/// What is said of a member.
#[derive(Clone, Debug)]
pub struct Word {
    /// The member.
    pub of: NodeId,
    /// What it is said to be.
    pub state: MemberState,
    /// Whose word it is, by what the message says of that.
    pub by: Voice,
}

/// Whose word something is.
#[derive(Clone, Debug)]
pub enum Voice {
    /// That of the one of whom it is said, which introduces itself.
    Itself,
    /// That of the one whose packet it is said to be.
    Sender(NodeId),
    /// That of who has introduced itself on the stream.
    Teller,
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
                self.people.push(introduction(hello.node));
            }
            Message::Welcome(welcome) => {
                self.names.push(welcome.node.process.name.clone());
                self.holders.push(welcome.node.process.clone());
                self.people.push(introduction(welcome.node));
            }
            Message::Members(members) => {
                let records = members.records.into_iter();
                self.people.extend(records.map(|record| Word {
                    of: record.id,
                    state: record.state,
                    by: Voice::Teller,
                }));
            }
            Message::Leave(leave) | Message::LeaveAck(leave) => {
                self.leaves.push(leave.process);
            }
            Message::Relayed(relayed) => {
                self.holders.push(relayed.holder.clone());
            }
            Message::Swim(packet) => {
                let people = SwimClaim::people(&packet);
                // The first of them is who sends the packet, as it says.
                let sender = people.first().map(|(id, _)| id.clone());
                let by = sender.map_or(Voice::Teller, Voice::Sender);
                self.people.extend(people.into_iter().map(|(of, state)| {
                    let by = by.clone();
                    Word { of, state, by }
                }));
            }
            _ => {}
        }
    }
}

/// Somebody says of itself that it is there.
fn introduction(of: NodeId) -> Word {
    Word {
        of,
        state: MemberState::Alive,
        by: Voice::Itself,
    }
}
