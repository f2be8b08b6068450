//! Snapshots of silences.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::str::FromStr as _;

use super::fields::{FieldValue, MessageFields, MessageWriter, NoMessage};
use super::{ImportError, Imported, KEPT, each_entry, hex, join, kept_fields};
use crate::id::WriterTag;
use crate::store::matcher::{Matcher, Op};
use crate::store::schema::Schema as _;
use crate::store::silences::{HeldSilence, Silence, SilenceId, Silences};
use crate::time::Timestamp;
use crate::wire::Entry;

/// Joins in a snapshot of Alertmanager's silences. Nothing is merged before all of it has been read.
///
/// A silence whose matchers cannot be evaluated here is quarantined, as one that comes from a peer.
///
/// # Errors
/// [`ImportError`]; nothing has changed.
pub fn import_silences(silences: &Silences, file: &[u8]) -> Result<Imported, ImportError> {
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
            Some((silence, expires_at)) => entries.push(entry(silences, silence, expires_at)),
            None => imported.unreadable += 1,
        }
        imported.entries += 1;
    }
    let wall = silences.map().context().clock.wall();
    join(&*silences.store(), &entries, wall, &mut imported);
    Ok(imported)
}

/// Writes a snapshot of all silences that can be read here, ended ones that are still held included, as
/// Alertmanager reads it. Returns how many they are.
///
/// # Errors
/// Those of `out`.
pub fn export_silences(silences: &Silences, out: &mut impl Write) -> io::Result<u64> {
    let mut count = 0;
    each_entry(&*silences.store(), |entry| {
        let Some(held) = silences.map().get(&entry.key) else {
            return Ok(());
        };
        let mut message = MessageWriter::default();
        message.delimited(&written(&held.whole(), entry.expires_at));
        count += 1;
        out.write_all(&message.into_bytes())
    })?;
    out.flush()?;
    Ok(count)
}

/// What a store is given: one version, on every node that imports it.
fn entry(silences: &Silences, silence: Silence, expires_at: Timestamp) -> Entry {
    let (id, ts, tie) = (silence.id, silence.updated_at, silence.tie());
    let body = silences.map().schema().encode(&HeldSilence::from(silence));
    Entry {
        key: id.key(),
        ts,
        tie,
        writer: WriterTag::NONE,
        expires_at,
        schema: body.schema,
        body: body.bytes,
    }
}

/// A `MeshSilence`; `None` if it has no place here.
fn read(message: &[u8]) -> Result<Option<(Silence, Timestamp)>, NoMessage> {
    let (mut silence, mut expires_at) = (None, Timestamp::ZERO);
    let mut fields = MessageFields::of(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => silence = read_silence(field.value.bytes()?)?,
            2 => expires_at = field.value.timestamp()?,
            _ => {}
        }
    }
    Ok(silence.map(|silence| {
        // Without an expiry it would be kept for ever.
        let expires_at = expires_at.max(silence.ends_at);
        (silence, expires_at)
    }))
}

fn read_silence(message: &[u8]) -> Result<Option<Silence>, NoMessage> {
    let mut id = String::new();
    let (mut matchers, mut sets, mut readable) = (Vec::new(), Vec::new(), true);
    let [mut starts_at, mut ends_at, mut updated_at] = [Timestamp::ZERO; 3];
    let (mut created_by, mut comment) = (String::new(), String::new());
    let (mut annotations, mut kept) = (BTreeMap::new(), Vec::new());
    let mut old_comment: Option<(String, String)> = None;
    let mut fields = MessageFields::of(message);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => id = field.value.text()?,
            2 => {
                readable &= read_matcher(field.value)?
                    .map(|it| matchers.push(it))
                    .is_some()
            }
            3 => starts_at = field.value.timestamp()?,
            4 => ends_at = field.value.timestamp()?,
            5 => updated_at = field.value.timestamp()?,
            7 if old_comment.is_none() => old_comment = Some(read_comment(field.value)?),
            8 => created_by = field.value.text()?,
            9 => comment = field.value.text()?,
            10 => {
                let (name, value) = field.value.pair()?;
                let value = value.map(FieldValue::text).transpose()?;
                annotations.insert(name, value.unwrap_or_default());
            }
            11 => readable &= read_set(field.value)?.map(|it| sets.push(it)).is_some(),
            _ => kept.extend_from_slice(field.raw),
        }
    }
    // Before it had fields of its own for them, a silence had comments.
    if let Some((author, text)) =
        old_comment.filter(|_| created_by.is_empty() && comment.is_empty())
    {
        (created_by, comment) = (author, text);
    }
    if !kept.is_empty() {
        annotations.insert(KEPT.to_owned(), hex(&kept));
    }
    // The first set is repeated as the plain matchers, for those who know no sets.
    let matcher_sets = if sets.is_empty() {
        vec![matchers]
    } else {
        sets
    };
    let Ok(id) = SilenceId::from_str(&id.to_ascii_lowercase()) else {
        return Ok(None);
    };
    let mut silence = Silence::named(id);
    (silence.matcher_sets, silence.annotations) = (matcher_sets, annotations);
    (silence.starts_at, silence.ends_at) = (starts_at, ends_at);
    silence.updated_at = updated_at;
    (silence.created_by, silence.comment) = (created_by, comment);
    Ok(readable.then_some(silence))
}

/// A matcher; `None` if it compares in a way that is not known here. One that cannot be evaluated here, by
/// its pattern or its name, is as it stands there: the store quarantines what has it.
fn read_matcher(value: FieldValue<'_>) -> Result<Option<Matcher>, NoMessage> {
    let (mut kind, mut name, mut pattern) = (0, String::new(), String::new());
    let mut fields = MessageFields::of(value.bytes()?);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => kind = field.value.varint()?,
            2 => name = field.value.text()?,
            3 => pattern = field.value.text()?,
            _ => {}
        }
    }
    let op = match kind {
        0 => Op::Equal,
        1 => Op::Regex,
        2 => Op::NotEqual,
        3 => Op::NotRegex,
        _ => return Ok(None),
    };
    let matcher = Matcher::new(&*name, op, &*pattern);
    Ok(Some(matcher.unwrap_or_else(|_| {
        Matcher::checked(&name, op, &pattern, None, None)
    })))
}

fn read_set(value: FieldValue<'_>) -> Result<Option<Vec<Matcher>>, NoMessage> {
    let mut set = Some(Vec::new());
    let mut fields = MessageFields::of(value.bytes()?);
    while let Some(field) = fields.next_field()? {
        if field.number == 1 {
            let matcher = read_matcher(field.value)?;
            set = set.zip(matcher).map(|(mut set, matcher)| {
                set.push(matcher);
                set
            });
        }
    }
    Ok(set)
}

/// The author and the text of a comment.
fn read_comment(value: FieldValue<'_>) -> Result<(String, String), NoMessage> {
    let (mut author, mut text) = (String::new(), String::new());
    let mut fields = MessageFields::of(value.bytes()?);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => author = field.value.text()?,
            2 => text = field.value.text()?,
            _ => {}
        }
    }
    Ok((author, text))
}

/// A `MeshSilence`.
fn written(silence: &Silence, expires_at: Timestamp) -> Vec<u8> {
    let mut message = MessageWriter::default();
    message.text(1, &silence.id.to_string());
    for matcher in silence.matcher_sets.first().into_iter().flatten() {
        message.bytes(2, &written_matcher(matcher));
    }
    message.timestamp(3, silence.starts_at);
    message.timestamp(4, silence.ends_at);
    message.timestamp(5, silence.updated_at);
    message.text(8, &silence.created_by);
    message.text(9, &silence.comment);
    for (name, value) in silence.annotations.iter().filter(|(name, _)| *name != KEPT) {
        let mut pair = MessageWriter::default();
        pair.text(1, name);
        pair.text(2, value);
        message.bytes(10, &pair.into_bytes());
    }
    for set in &silence.matcher_sets {
        let mut of_set = MessageWriter::default();
        set.iter()
            .for_each(|matcher| of_set.bytes(1, &written_matcher(matcher)));
        message.bytes(11, &of_set.into_bytes());
    }
    if let Some(kept) = silence.annotations.get(KEPT) {
        message.raw(&kept_fields(kept, &[1, 2, 3, 4, 5, 8, 9, 10, 11]));
    }
    let mut mesh = MessageWriter::default();
    mesh.bytes(1, &message.into_bytes());
    mesh.timestamp(2, expires_at);
    mesh.into_bytes()
}

fn written_matcher(matcher: &Matcher) -> Vec<u8> {
    let kind = match matcher.op() {
        Op::Equal => 0,
        Op::Regex => 1,
        Op::NotEqual => 2,
        Op::NotRegex => 3,
    };
    let mut message = MessageWriter::default();
    message.varint(1, kind);
    message.text(2, matcher.name());
    message.text(3, matcher.value());
    message.into_bytes()
}
