//! Who wrote an entry, as its header says it.

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use super::name::NodeName;

/// Who wrote an entry: 8 bytes of a hash of the writer's name.
///
/// It is of the name, not of the process: a restart stays the same writer. It is a claim, not a proof:
/// a member can write as anybody. What is held of a writer, and what a member delivered as its own or
/// as others', is therefore limited each for itself.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterTag(pub u64);

impl WriterTag {
    /// Of what several nodes write alike and must make one version of, as imports of the same file.
    pub const NONE: Self = Self(0);

    /// The tag of a name: SipHash-2-4 of its bytes under a fixed key; 1 where that would be 0, which is
    /// [`NONE`](Self::NONE).
    #[must_use]
    pub fn of(name: &NodeName) -> Self {
        let mut hasher = SipHasher24::new_with_keys(0x7275_6d6f_726d_696c, 0x7772_6974_6572_2d69);
        hasher.write(name.as_str().as_bytes());
        Self(hasher.finish().max(1))
    }
}

impl fmt::Debug for WriterTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for WriterTag {
    /// 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value is part of the protocol: a change of it needs a new wire version.
    #[test]
    fn the_tag_of_a_name_is_that_of_the_protocol() {
        let tag = WriterTag::of(&NodeName::new("am-0").unwrap());
        assert_eq!(tag.to_string(), "71e639f708c2c4f6");
        assert_ne!(tag, WriterTag::of(&NodeName::new("am-1").unwrap()));
    }
}
