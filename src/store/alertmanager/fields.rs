//! The bytes of protobuf messages: <https://protobuf.dev/programming-guides/encoding/>.

use crate::time::Timestamp;

/// Reads the fields of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageFields<'a>(&'a [u8]);

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MessageField<'a> {
    pub(super) number: u64,
    pub(super) value: FieldValue<'a>,
    /// All of its bytes, its number included.
    pub(super) raw: &'a [u8],
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FieldValue<'a> {
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    Varint(u64),
}

/// A message that does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoMessage;

impl<'a> MessageFields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Takes a message off the front that comes after its length; `None` at the end.
    pub(super) fn delimited(&mut self) -> Result<Option<&'a [u8]>, NoMessage> {
        if self.0.is_empty() {
            return Ok(None);
        }
        self.take_bytes().map(Some)
    }

    /// Takes the next field; `None` at the end.
    pub(super) fn next_field(&mut self) -> Result<Option<MessageField<'a>>, NoMessage> {
        let whole = self.0;
        if whole.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => FieldValue::Varint(self.varint()?),
            1 => FieldValue::Fixed64(self.chunk()?),
            2 => FieldValue::Bytes(self.take_bytes()?),
            5 => FieldValue::Fixed32(self.chunk()?),
            _ => return Err(NoMessage),
        };
        let number = tag >> 3;
        let len = whole.len().checked_sub(self.0.len()).ok_or(NoMessage)?;
        let raw = whole.get(..len).ok_or(NoMessage)?;
        if number == 0 {
            return Err(NoMessage);
        }
        Ok(Some(MessageField { number, value, raw }))
    }

    /// Takes one number of a packed list; `None` at the end.
    pub(super) fn next_number(&mut self) -> Result<Option<u64>, NoMessage> {
        if self.0.is_empty() {
            return Ok(None);
        }
        self.varint().map(Some)
    }

    fn take_bytes(&mut self) -> Result<&'a [u8], NoMessage> {
        let len = usize::try_from(self.varint()?).map_err(|_| NoMessage)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(NoMessage)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], NoMessage> {
        let (chunk, rest) = self.0.split_first_chunk::<N>().ok_or(NoMessage)?;
        self.0 = rest;
        Ok(*chunk)
    }

    fn varint(&mut self) -> Result<u64, NoMessage> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(NoMessage)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(NoMessage);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(NoMessage)
    }
}

impl<'a> FieldValue<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], NoMessage> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(NoMessage),
        }
    }

    pub(super) fn text(self) -> Result<String, NoMessage> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| NoMessage)?;
        Ok(text.to_owned())
    }

    pub(super) fn varint(self) -> Result<u64, NoMessage> {
        match self {
            Self::Varint(number) => Ok(number),
            _ => Err(NoMessage),
        }
    }

    /// A `google.protobuf.Timestamp`; one before 1970 is that of 1970.
    pub(super) fn timestamp(self) -> Result<Timestamp, NoMessage> {
        let (mut seconds, mut nanos) = (0, 0);
        let mut fields = MessageFields::of(self.bytes()?);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => seconds = field.value.varint()?,
                2 => nanos = field.value.varint()?,
                _ => {}
            }
        }
        // Negative numbers have the top bit.
        if seconds >> 63 == 1 {
            return Ok(Timestamp::ZERO);
        }
        let nanos = nanos.min(999_999_999);
        let nanos = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Ok(Timestamp::from_nanos(nanos))
    }

    /// Both halves of an entry of a map: its fields 1 and 2.
    pub(super) fn pair(self) -> Result<(String, Option<Self>), NoMessage> {
        let (mut name, mut value) = (String::new(), None);
        let mut fields = MessageFields::of(self.bytes()?);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => name = field.value.text()?,
                2 => value = Some(field.value),
                _ => {}
            }
        }
        Ok((name, value))
    }
}

/// Appends fields to a message.
#[derive(Clone, Debug, Default)]
pub(super) struct MessageWriter(Vec<u8>);

impl MessageWriter {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Fields as they were read.
    pub(super) fn raw(&mut self, raw: &[u8]) {
        self.0.extend_from_slice(raw);
    }

    pub(super) fn varint(&mut self, number: u64, value: u64) {
        // What is not there is 0.
        if value != 0 {
            self.number(number << 3);
            self.number(value);
        }
    }

    pub(super) fn fixed64(&mut self, number: u64, value: [u8; 8]) {
        self.number(number << 3 | 1);
        self.0.extend_from_slice(&value);
    }

    pub(super) fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.number(number << 3 | 2);
        self.delimited(bytes);
    }

    /// A text, unless it is empty, which is what is not there.
    pub(super) fn text(&mut self, number: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(number, text.as_bytes());
        }
    }

    pub(super) fn timestamp(&mut self, number: u64, at: Timestamp) {
        let (seconds, nanos) = (at.as_nanos() / 1_000_000_000, at.as_nanos() % 1_000_000_000);
        let mut message = Self::default();
        message.varint(1, seconds);
        message.varint(2, nanos);
        self.bytes(number, &message.0);
    }

    /// A message after its length.
    pub(super) fn delimited(&mut self, bytes: &[u8]) {
        self.number(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }
}
