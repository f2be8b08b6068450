//! Why a seed is of no help: what a lonely node tells its application.

use std::fmt;
use std::net::SocketAddr;

use crate::id::HandshakeRefusal;

/// One seed that is of no help, where, and why. A seed that resolves to several addresses may have one for
/// each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeedTrouble {
    /// The seed as it was given.
    pub seed: String,
    /// The address that it stands for; `None` if it does not resolve.
    pub addr: Option<SocketAddr>,
    /// What is wrong.
    pub fault: SeedFault,
}

impl SeedTrouble {
    /// A seed that is of no help at one of its addresses.
    pub(in crate::engine) fn new(seed: &str, addr: Option<SocketAddr>, fault: SeedFault) -> Self {
        Self {
            seed: seed.to_owned(),
            addr,
            fault,
        }
    }
}

impl fmt::Display for SeedTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, addr, fault } = self;
        match addr.filter(|addr| addr.to_string() != *seed) {
            Some(addr) => write!(f, "{seed} ({addr}): {fault}"),
            None => write!(f, "{seed}: {fault}"),
        }
    }
}

/// Why a seed is of no help.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeedFault {
    /// It has no room for this node now, or is leaving itself.
    Busy,
    /// This node was expelled there.
    Expelled,
    /// It ends the connection without a word, as another program would.
    HungUp,
    /// Its certificate rules do not allow this node the name that it has.
    NameNotAllowed,
    /// It knows a live process of this node's name.
    NameTaken {
        /// Where that one is reached; `None` if the seed does not say so.
        twin: Option<SocketAddr>,
    },
    /// It belongs to another cluster: [`Builder::cluster`](crate::Builder::cluster) differs.
    OtherCluster,
    /// It speaks another version of the protocol, or another protocol; or one side speaks TLS and the
    /// other one does not.
    OtherVersion,
    /// Nothing listens there.
    Refused,
    /// Nothing answers there in time, or no way leads there.
    Silent,
    /// TLS found something wrong.
    Tls(HandshakeRefusal),
    /// It cannot read how this node introduces itself.
    Unreadable,
    /// The name stands for no address.
    Unresolved,
}

impl SeedFault {
    /// Whether a member of this cluster says it of this node: so it matters wherever it is said.
    pub(in crate::engine) fn is_of_this_node(&self) -> bool {
        matches!(
            self,
            Self::Expelled | Self::NameNotAllowed | Self::NameTaken { .. } | Self::Unreadable
        )
    }

    /// Whether waiting does not help: it is told at once.
    pub(in crate::engine) fn is_lasting(&self) -> bool {
        !matches!(
            self,
            Self::Busy | Self::HungUp | Self::NameTaken { .. } | Self::Refused
        )
    }
}

impl fmt::Display for SeedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameTaken { twin: Some(twin) } => {
                return write!(f, "another live node has this node's name, at {twin}");
            }
            Self::Tls(refusal) => return write!(f, "TLS: {refusal}"),
            Self::Busy => "it has no room for this node now",
            Self::Expelled => "this node was expelled there",
            Self::HungUp => "it ends the connection without a word",
            Self::NameNotAllowed => {
                "this node may not have its name there: its certificate does not say so, or a rule forbids it"
            }
            Self::NameTaken { twin: None } => "another live node has this node's name",
            Self::OtherCluster => "it belongs to another cluster",
            Self::OtherVersion => {
                "it speaks another version or protocol, or only one of the two sides speaks TLS"
            }
            Self::Refused => "nothing listens there",
            Self::Silent => "it does not answer",
            Self::Unreadable => "it cannot read how this node introduces itself",
            Self::Unresolved => "the name does not resolve",
        })
    }
}
