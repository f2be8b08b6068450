//! Snapshots of the notification log.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::fields::{FieldValue, MessageFields, MessageWriter, NoMessage};
use super::{ImportError, Imported, KEPT, each_entry, hex, join, kept_fields};
use crate::id::WriterTag;
use crate::store::nflog::{HeldEntry, Nflog, NflogEntry, ReceiverKey, ReceiverValue};
use crate::store::schema::Schema as _;
use crate::time::Timestamp;
use crate::wire::Entry;

/// Joins in a snapshot of Alertmanager's notification log. Nothing is merged before all of it has been read.
///
/// # Errors
/// [`ImportError`]; nothing has changed.
pub fn import_nflog(nflog: &Nflog, file: &[u8]) -> Result<Imported, ImportError> {
    let (mut fields, mut imported) = (MessageFields::of(file), Imported::default());
    let mut entries = Vec::new();
    loop {
        let malformed = |_| ImportError::Malformed {
            entry: imported.entries,
        };
        let Some(message) = fields.delimited().map_err(malformed)? else {
            break;
        };
        match read(message).map_err(malformed)? {
            Some((made, expires_at)) => {
                let (ts, schema) = (made.timestamp, nflog.map().schema());
                let held = HeldEntry::from(made);
                let (key, body) = (schema.key(&held), schema.encode(&held));
                entries.push(Entry {
                    key,
                    ts,
                    tie: 0,
                    writer: WriterTag::NONE,
                    expires_at,
                    schema: body.schema,
                    body: body.bytes,
                });
            }
            None => imported.unreadable += 1,
        }
        imported.entries += 1;
    }
    let wall = nflog.map().context().clock.wall();
    join(&*nflog.store(), &entries, wall, &mut imported);
    Ok(imported)
}

/// Writes a snapshot of all entries that can be read here, as Alertmanager reads it. Returns how many they
/// are.
///
/// # Errors
/// Those of `out`.
pub fn export_nflog(nflog: &Nflog, out: &mut impl Write) -> io::Result<u64> {
    let mut count = 0;
    each_entry(&*nflog.store(), |entry| {
        let Some(held) = nflog.map().get(&entry.key) else {
            return Ok(());
        };
        let mut mesh = MessageWriter::default();
        mesh.bytes(1, &written(held.whole()));
        mesh.timestamp(2, entry.expires_at);
        let mut message = MessageWriter::default();
        message.delimited(&mesh.into_bytes());
        count += 1;
        out.write_all(&message.into_bytes())
    })?;
    out.flush()?;
    Ok(count)
}

/// A `MeshEntry`; `None` if it is about nobody.
fn read(message: &[u8]) -> Result<Option<(NflogEntry, Timestamp)>, NoMessage> {
    let (mut entry, mut expires_at) = (None, Timestamp::ZERO);
    let mut fields = MessageFields::of(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => entry = read_entry(field.value.bytes()?)?,
            2 => expires_at = field.value.timestamp()?,
            _ => {}
        }
    }
    Ok(entry.map(|entry| {
        let expires_at = expires_at.max(entry.timestamp);
        (entry, expires_at)
    }))
}

fn read_entry(message: &[u8]) -> Result<Option<NflogEntry>, NoMessage> {
    let (mut group_key, mut receiver, mut timestamp) = (String::new(), None, Timestamp::ZERO);
    let (mut firing, mut resolved) = (Vec::new(), Vec::new());
    let (mut receiver_data, mut kept) = (BTreeMap::new(), Vec::new());
    let mut fields = MessageFields::of(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => group_key = field.value.text()?,
            2 => receiver = Some(read_receiver(field.value)?),
            5 => timestamp = field.value.timestamp()?,
            6 => read_hashes(field.value, &mut firing)?,
            7 => read_hashes(field.value, &mut resolved)?,
            8 => {
                let (name, value) = field.value.pair()?;
                if let Some(value) = value.map(read_value).transpose()?.flatten() {
                    receiver_data.insert(name, value);
                }
            }
            _ => kept.extend_from_slice(field.raw),
        }
    }
    let Some(receiver) = receiver.filter(|_| !group_key.is_empty()) else {
        return Ok(None);
    };
    if !kept.is_empty() {
        receiver_data.insert(KEPT.to_owned(), ReceiverValue::Str(hex(&kept)));
    }
    let mut entry = NflogEntry::new(receiver, group_key, timestamp);
    (entry.firing, entry.resolved) = (ascending(firing), ascending(resolved));
    entry.receiver_data = receiver_data;
    Ok(Some(entry))
}

fn read_receiver(value: FieldValue<'_>) -> Result<ReceiverKey, NoMessage> {
    let mut receiver = ReceiverKey {
        group_name: String::new(),
        integration: String::new(),
        idx: 0,
    };
    let mut fields = MessageFields::of(value.bytes()?);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => receiver.group_name = field.value.text()?,
            2 => receiver.integration = field.value.text()?,
            3 => receiver.idx = u32::try_from(field.value.varint()?).map_err(|_| NoMessage)?,
            _ => {}
        }
    }
    Ok(receiver)
}

/// Hashes of alerts: packed, as they are written, or one by one.
fn read_hashes(value: FieldValue<'_>, hashes: &mut Vec<u64>) -> Result<(), NoMessage> {
    match value {
        FieldValue::Varint(hash) => hashes.push(hash),
        FieldValue::Bytes(packed) => {
            let mut packed = MessageFields::of(packed);
            while let Some(hash) = packed.next_number()? {
                hashes.push(hash);
            }
        }
        FieldValue::Fixed32(_) | FieldValue::Fixed64(_) => return Err(NoMessage),
    }
    Ok(())
}

fn read_value(value: FieldValue<'_>) -> Result<Option<ReceiverValue>, NoMessage> {
    let mut read = None;
    let mut fields = MessageFields::of(value.bytes()?);
    while let Some(field) = fields.next_field()? {
        read = Some(match (field.number, field.value) {
            (1, value) => ReceiverValue::Str(value.text()?),
            (2, value) => ReceiverValue::Int(value.varint()?.cast_signed()),
            (3, FieldValue::Fixed64(bytes)) => ReceiverValue::Double(f64::from_le_bytes(bytes)),
            _ => continue,
        });
    }
    Ok(read)
}

/// An `Entry`.
fn written(entry: &NflogEntry) -> Vec<u8> {
    let mut message = MessageWriter::default();
    message.text(1, &entry.group_key);
    let mut receiver = MessageWriter::default();
    receiver.text(1, &entry.receiver.group_name);
    receiver.text(2, &entry.receiver.integration);
    receiver.varint(3, u64::from(entry.receiver.idx));
    message.bytes(2, &receiver.into_bytes());
    message.timestamp(5, entry.timestamp);
    for (number, hashes) in [(6, &entry.firing), (7, &entry.resolved)] {
        let mut packed = MessageWriter::default();
        hashes.iter().for_each(|&hash| packed.number(hash));
        if !hashes.is_empty() {
            message.bytes(number, &packed.into_bytes());
        }
    }
    let mut kept = None;
    for (name, value) in &entry.receiver_data {
        let mut of_value = MessageWriter::default();
        match value {
            ReceiverValue::Str(text) if name == KEPT => {
                kept = Some(text);
                continue;
            }
            // What was chosen is written, also where it is nothing.
            ReceiverValue::Str(text) => of_value.bytes(1, text.as_bytes()),
            ReceiverValue::Int(number) => {
                of_value.number(2 << 3);
                of_value.number(number.cast_unsigned());
            }
            ReceiverValue::Double(number) => of_value.fixed64(3, number.to_le_bytes()),
        }
        let mut pair = MessageWriter::default();
        pair.text(1, name);
        pair.bytes(2, &of_value.into_bytes());
        message.bytes(8, &pair.into_bytes());
    }
    if let Some(kept) = kept {
        message.raw(&kept_fields(kept, &[1, 2, 5, 6, 7, 8]));
    }
    message.into_bytes()
}

fn ascending(mut hashes: Vec<u64>) -> Vec<u64> {
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}
