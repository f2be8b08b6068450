//! What surrounds every datagram and every stream of a cluster. Nothing else knows these bytes.
//!
//! A datagram is
//!
//! | bytes | what |
//! |---|---|
//! | 1 | [`WIRE_VERSION`] |
//! | 8 | the tag of the cluster, big-endian |
//! | 4 | the check, big-endian |
//! | the rest | messages |
//!
//! A stream carries the first nine of these bytes once in each direction, its *preface*; frames
//! follow. The envelope is compared before anything behind it is read, so what belongs to another
//! cluster or another version never reaches a decoder. The check is a hash of the messages: UDP's
//! own checksum lets one in 65,536 damaged datagrams through, and a damaged entry would be
//! replicated. It protects against accidents, not against forgers.
//!
//! A pre-shared key belongs here: a key id and a nonce behind the tag, a seal in the place of the
//! check, and [`Envelope::overhead`] grows by that.

use std::hash::Hasher as _;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use siphasher::sip::SipHasher13;

use crate::id::ClusterId;

/// First byte of every datagram and stream. A different one is counted and dropped.
pub const WIRE_VERSION: u8 = 2;
/// What a stream carries once before its first frame, in bytes.
pub const PREFACE_BYTES: usize = 9;

/// Why a datagram or a stream is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It belongs to another cluster.
    #[error("the cluster tag is another one")]
    Cluster,
    /// It was damaged on its way.
    #[error("the check does not match")]
    Corrupt,
    /// It is shorter than an envelope.
    #[error("shorter than an envelope")]
    Short,
    /// It is of another wire version.
    #[error("wire version {found}, expected {WIRE_VERSION}")]
    Version {
        /// Its version.
        found: u8,
    },
}

/// The envelope of one cluster. Two of the same cluster are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Envelope {
    cluster_tag: u64,
}

impl Envelope {
    /// The envelope of a cluster.
    #[must_use]
    pub fn of(cluster: &ClusterId) -> Self {
        let cluster_tag = cluster.tag();
        Self { cluster_tag }
    }

    /// What a datagram takes around its messages, in bytes.
    #[must_use]
    pub const fn overhead(&self) -> usize {
        PREFACE_BYTES + CHECK_BYTES
    }

    /// A whole datagram around the messages that `fill` appends.
    #[expect(clippy::indexing_slicing, reason = "what was just appended")]
    pub fn seal(&self, fill: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        out.put_slice(&self.preface());
        out.put_u32(0);
        fill(&mut out);
        let (envelope, messages) = out.split_at_mut(self.overhead());
        let check = self.check_of(messages).to_be_bytes();
        envelope[PREFACE_BYTES..].copy_from_slice(&check);
        out.freeze()
    }

    /// Takes the envelope off a datagram. Messages remain.
    ///
    /// # Errors
    /// [`EnvelopeError`] for what is not for this cluster in this version, or not whole; `datagram`
    /// is then to be thrown away, and the cases are counted apart. The version is looked at first.
    pub fn open(&self, datagram: &mut Bytes) -> Result<(), EnvelopeError> {
        self.open_front(datagram)?;
        match datagram.try_get_u32() {
            Ok(check) if check == self.check_of(datagram) => Ok(()),
            Ok(_) => Err(EnvelopeError::Corrupt),
            Err(_) => Err(EnvelopeError::Short),
        }
    }

    /// The messages of a datagram that this node has sealed or opened before. Nothing is checked.
    #[must_use]
    pub fn messages<'a>(&self, datagram: &'a [u8]) -> &'a [u8] {
        datagram.get(self.overhead()..).unwrap_or_default()
    }

    /// What each side of a stream sends first.
    #[must_use]
    pub fn preface(&self) -> [u8; PREFACE_BYTES] {
        let mut bytes = [WIRE_VERSION; PREFACE_BYTES];
        let tag = self.cluster_tag.to_be_bytes();
        for (place, byte) in bytes.iter_mut().skip(1).zip(tag) {
            *place = byte;
        }
        bytes
    }

    /// Checks what the other side of a stream has sent of its preface so far: enough is said once
    /// the first byte shows another version, or another protocol.
    ///
    /// # Errors
    /// [`EnvelopeError::Short`] if what is there is right and more is needed; the others are final:
    /// close the stream.
    pub fn open_preface(&self, preface: &[u8]) -> Result<(), EnvelopeError> {
        let mut rest = preface;
        self.open_front(&mut rest)
    }

    fn open_front(&self, bytes: &mut impl bytes::Buf) -> Result<(), EnvelopeError> {
        let found = bytes.try_get_u8().map_err(|_| EnvelopeError::Short)?;
        if found != WIRE_VERSION {
            return Err(EnvelopeError::Version { found });
        }
        match bytes.try_get_u64() {
            Ok(tag) if tag == self.cluster_tag => Ok(()),
            Ok(_) => Err(EnvelopeError::Cluster),
            Err(_) => Err(EnvelopeError::Short),
        }
    }

    /// The low half of SipHash-1-3 of the messages, keyed with the cluster's tag.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is as good as any"
    )]
    fn check_of(&self, messages: &[u8]) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.cluster_tag, 0x6461_7461_6772_616d);
        hasher.write(messages);
        // The low half is as good as any.
        hasher.finish() as u32
    }
}

const CHECK_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cluster: &str) -> Envelope {
        Envelope::of(&ClusterId::new(cluster).unwrap())
    }

    #[test]
    fn an_envelope_lets_only_its_own_cluster_and_version_in() {
        let (ours, other) = (of("ours"), of("other"));
        assert_eq!(ours.seal(|_| ()).len(), ours.overhead());
        let datagram = ours.seal(|out| out.put_slice(b"rest"));
        assert_eq!(ours.messages(&datagram), b"rest");

        let mut bytes = datagram.clone();
        assert_eq!(ours.open(&mut bytes), Ok(()));
        assert_eq!(bytes, "rest");
        assert_eq!(
            other.open(&mut datagram.clone()),
            Err(EnvelopeError::Cluster)
        );
        assert_eq!(
            ours.open(&mut Bytes::from_static(b"\xf2rest of it")),
            Err(EnvelopeError::Version { found: 0xf2 })
        );
        for len in 0..ours.overhead() {
            assert_eq!(
                ours.open(&mut datagram.slice(..len)),
                Err(EnvelopeError::Short)
            );
        }
    }

    #[test]
    fn a_datagram_with_any_byte_changed_is_refused() {
        let ours = of("ours");
        let datagram = ours.seal(|out| out.put_slice(b"what was meant"));
        for place in 0..datagram.len() {
            let mut damaged = datagram.to_vec();
            damaged[place] ^= 0x10;
            let opened = ours.open(&mut Bytes::from(damaged));
            assert!(opened.is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_preface_is_the_front_of_an_envelope() {
        let (ours, other) = (of("ours"), of("other"));
        let preface = ours.preface();
        assert_eq!(ours.seal(|_| ())[..PREFACE_BYTES], preface);
        assert_eq!(ours.open_preface(&preface), Ok(()));
        assert_eq!(other.open_preface(&preface), Err(EnvelopeError::Cluster));
        assert_eq!(ours.open_preface(&preface[..5]), Err(EnvelopeError::Short));
        assert_eq!(
            ours.open_preface(b"G"),
            Err(EnvelopeError::Version { found: b'G' })
        );
    }

    /// The bytes on the wire, so that a change of them is seen.
    #[test]
    fn the_bytes_are_these() {
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let prod = of("prod");
        let datagram = prod.seal(|out| out.put_slice(b"abc"));
        assert_eq!(hex(&datagram), GOLDEN);
        assert_eq!(hex(&prod.preface()), GOLDEN[..18]);
    }

    const GOLDEN: &str = "021769a8250eead1ca6e320409616263";
}
