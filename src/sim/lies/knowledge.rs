//! What a liar knows when it speaks.

use crate::id::{NodeId, StoreId};
use crate::time::Timestamp;
use crate::wire::{Entry, StoreOffer};

/// What a liar knows of its cluster: whom it can speak of, and what it can twist. Lists may be empty.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// Who the liar is.
    pub own: NodeId,
    /// Whom it speaks to.
    pub to: NodeId,
    /// What `to` wants to see in data and acknowledgements: without it they are dropped unread.
    pub token: u64,
    /// The number of the last packet that the liar has sent to it.
    pub sent: u64,
    /// The number of the last packet that came from it.
    pub received: u64,
    /// The liar's instance nonce.
    pub nonce: u64,
    /// The other members, `to` included.
    pub members: Vec<NodeId>,
    /// The stores that both have.
    pub stores: Vec<StoreOffer>,
    /// Some entries of others.
    pub entries: Vec<(StoreId, Entry)>,
    /// The time, as everybody has it.
    pub wall: Timestamp,
    /// The largest body that `to` takes.
    pub body_bytes_max: usize,
    /// The most bytes that a message may have on its way: a datagram has room for less than a stream.
    pub message_bytes_max: usize,
}
