//! Files of Alertmanager's, read and written. `examples/node/tests` has the round trip through the real one.

use super::*;
use crate::store::Limits;
use crate::store::matcher::{Matcher, Op};
use crate::store::nflog::{Nflog, NflogLimits, Notified, ReceiverKey, ReceiverValue};
use crate::store::silences::support::{ManualClock, at, entries};
use crate::store::silences::{NewSilence, SilenceId, SilenceLimits, Silences};

fn silences(clock: &ManualClock, seed: u8) -> Silences {
    Silences::new(
        SilenceLimits::default(),
        Limits::default(),
        clock.context(),
        [seed; 32],
    )
}

fn nflog(clock: &ManualClock) -> Nflog {
    Nflog::new(NflogLimits::default(), Limits::default(), clock.context())
}

fn filled(clock: &ManualClock) -> (Silences, Vec<SilenceId>) {
    let store = silences(clock, 1);
    let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
    let first = vec![
        matcher("alertname", Op::Equal, "DiskFull"),
        matcher("host", Op::Regex, "db-[0-9]+"),
        matcher("größe", Op::NotEqual, "klein"),
        matcher("zone", Op::NotRegex, "eu-.*|us-.*"),
    ];
    let mut silence = NewSilence::new(first, at(3600));
    silence.created_by = "anna".to_owned();
    silence.comment = "the disk is being replaced; \u{1f4be}".to_owned();
    silence
        .annotations
        .insert("ticket".to_owned(), "OPS-7".to_owned());
    let second = vec![matcher("alertname", Op::Equal, "Other")];
    let mut or = NewSilence::new(second.clone(), at(7200));
    or.matcher_sets.push(vec![matcher("team", Op::Equal, "db")]);
    let ids = [silence, or, NewSilence::new(second, at(60))];
    let ids = ids.map(|new| store.set(new).unwrap().0);
    let _ = store.expire(ids[2]).unwrap();
    (store, ids.to_vec())
}

fn exported(store: &Silences) -> Vec<u8> {
    let mut file = Vec::new();
    let count = export_silences(store, &mut file).unwrap();
    assert_eq!(count, store.store().len() as u64);
    file
}

#[test]
fn what_is_exported_is_imported_as_it_was() {
    let clock = ManualClock::new();
    let (store, ids) = filled(&clock);
    let again = silences(&clock, 2);
    let imported = import_silences(&again, &exported(&store)).unwrap();
    assert_eq!(
        (imported.entries, imported.stored, imported.quarantined),
        (3, 3, 0)
    );
    for id in ids {
        assert_eq!(again.get(id), store.get(id));
    }
    assert_eq!(exported(&again), exported(&store));
}

/// Three nodes, one file, one version; and once more it brings nothing new.
#[test]
fn nodes_that_import_one_file_make_one_version() {
    let clock = ManualClock::new();
    let file = exported(&filled(&clock).0);
    let stores = [2, 3, 4].map(|seed| silences(&clock, seed));
    for (number, store) in stores.iter().enumerate() {
        clock.set(at(10 + number as u64));
        assert_eq!(import_silences(store, &file).unwrap().stored, 3);
        let again = import_silences(store, &file).unwrap();
        assert_eq!((again.stored, again.known), (0, 3));
    }
    let versions = stores.map(|store| entries(&*store.store()));
    assert!(versions.windows(2).all(|two| two[0] == two[1]));
    assert!(
        versions[0]
            .iter()
            .all(|entry| entry.writer == WriterTag::NONE)
    );
}

#[test]
fn an_old_file_undoes_nothing() {
    let clock = ManualClock::new();
    let (store, ids) = filled(&clock);
    let file = exported(&store);
    clock.set(at(5));
    let _ = store.expire(ids[0]).unwrap();
    let ended = store.get(ids[0]);
    assert_eq!(import_silences(&store, &file).unwrap().stored, 0);
    assert_eq!(store.get(ids[0]), ended);
}

/// Field 12 is there upstream and used by nobody yet; 200 is of some later version.
#[test]
fn fields_that_are_not_known_are_written_again() {
    let clock = ManualClock::new();
    let (store, ids) = filled(&clock);
    let mut file = Vec::new();
    let held = store.get(ids[0]).unwrap();
    let mut silence = fields::MessageWriter::default();
    silence.text(1, &held.id.to_string());
    let mut matcher = fields::MessageWriter::default();
    matcher.text(2, "a");
    matcher.text(3, "b");
    let matcher = matcher.into_bytes();
    silence.bytes(2, &matcher);
    silence.timestamp(3, at(1));
    silence.timestamp(4, at(3600));
    silence.timestamp(5, at(1));
    let mut unknown = fields::MessageWriter::default();
    unknown.bytes(12, &[0x0a, 0x02, 0x12, 0x00]);
    unknown.varint(200, 77);
    let unknown = unknown.into_bytes();
    silence.raw(&unknown);
    let mut mesh = fields::MessageWriter::default();
    mesh.bytes(1, &silence.into_bytes());
    mesh.timestamp(2, at(7200));
    let mut delimited = fields::MessageWriter::default();
    delimited.delimited(&mesh.into_bytes());
    file.extend(delimited.into_bytes());
    let again = silences(&clock, 2);
    clock.set(at(2));
    assert_eq!(import_silences(&again, &file).unwrap().stored, 1);
    assert_eq!(again.get(ids[0]).unwrap().annotations[KEPT], hex(&unknown));
    let written = exported(&again);
    let found = written.windows(unknown.len()).any(|part| part == unknown);
    assert!(found, "{written:x?}");
}

/// The annotation is anybody's: fields that are known, and what is no field, are not taken from it.
#[test]
fn what_is_written_under_the_name_of_what_was_kept_changes_nothing_else() {
    let clock = ManualClock::new();
    let mut forged = fields::MessageWriter::default();
    forged.varint(200, 77);
    forged.text(1, "another");
    forged.timestamp(4, at(9999));
    let mut forged = forged.into_bytes();
    forged.extend([0xff; 3]);
    let store = silences(&clock, 1);
    let matcher = Matcher::new("a", Op::Equal, "b").unwrap();
    let mut new = NewSilence::new(vec![matcher], at(3600));
    new.annotations.insert(KEPT.to_owned(), hex(&forged));
    let id = store.set(new).unwrap().0;
    let again = silences(&clock, 2);
    assert_eq!(
        import_silences(&again, &exported(&store)).unwrap().stored,
        1
    );
    let silence = again.get(id).expect("it is the same one");
    assert_eq!(silence.ends_at, at(3600));
    let mut known = fields::MessageWriter::default();
    known.varint(200, 77);
    assert_eq!(silence.annotations[KEPT], hex(&known.into_bytes()));
}

/// It is kept and passed on, and mutes nothing; the one behind it is used.
#[test]
fn a_silence_that_cannot_be_evaluated_is_quarantined() {
    let clock = ManualClock::new();
    let (store, ids) = filled(&clock);
    let mut file = exported(&store);
    let pattern = b"eu-.*|us-.*";
    let at = file.windows(pattern.len()).position(|it| it == pattern);
    while let Some(at) = file.windows(pattern.len()).position(|it| it == pattern) {
        file[at..at + pattern.len()].copy_from_slice(b"eu-(*|us-.*");
    }
    assert!(at.is_some());
    let again = silences(&clock, 2);
    let imported = import_silences(&again, &file).unwrap();
    assert_eq!((imported.stored, imported.quarantined), (3, 1));
    assert_eq!(imported.unreadable, 0);
    assert!(again.get(ids[0]).is_none());
    assert_eq!(again.get(ids[1]), store.get(ids[1]));
    assert!(again.store().replica().held(&ids[0].key()).is_some());
}

#[test]
fn a_log_goes_there_and_back() {
    let clock = ManualClock::new();
    let log = nflog(&clock);
    let receiver = ReceiverKey {
        group_name: "ops".to_owned(),
        integration: "webhook".to_owned(),
        idx: 3,
    };
    let mut made = Notified::new(receiver.clone(), "{}:{alertname=\"DiskFull\"}");
    made.firing = vec![u64::MAX, 1, 300];
    made.resolved = vec![5];
    let data = [
        ("thread", ReceiverValue::Str("17.4".to_owned())),
        ("count", ReceiverValue::Int(-3)),
        ("share", ReceiverValue::Double(0.25)),
        ("nothing", ReceiverValue::Str(String::new())),
    ];
    made.receiver_data = data.map(|(name, value)| (name.to_owned(), value)).into();
    let _ = log.log(made).unwrap();
    let mut file = Vec::new();
    assert_eq!(export_nflog(&log, &mut file).unwrap(), 1);
    let again = nflog(&clock);
    let imported = import_nflog(&again, &file).unwrap();
    assert_eq!((imported.stored, imported.quarantined), (1, 0));
    let group = "{}:{alertname=\"DiskFull\"}";
    assert_eq!(again.query(&receiver, group), log.query(&receiver, group));
    let mut second = Vec::new();
    export_nflog(&again, &mut second).unwrap();
    assert_eq!(second, file);
}

/// Cut anywhere, with any bit flipped, or any text: an error or an import, and never a panic.
#[test]
fn whatever_is_in_a_file_is_read_or_refused_as_a_whole() {
    let clock = ManualClock::new();
    let file = exported(&filled(&clock).0);
    let mut refused = 0;
    for bit in 0..8 * file.len() {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (store, log) = (silences(&clock, 2), nflog(&clock));
        if import_silences(&store, &damaged).is_err() {
            assert!(store.store().is_empty(), "bit {bit}");
            refused += 1;
        }
        let _ = import_nflog(&log, &damaged);
    }
    assert!(refused > 100, "{refused}");
    let ends =
        (1..file.len()).filter(|&end| import_silences(&silences(&clock, 2), &file[..end]).is_ok());
    // Between two entries there is nothing that says that more should come.
    assert_eq!(ends.count(), 2);
    let text = b"{\"not\": \"a snapshot\"}";
    assert!(import_silences(&silences(&clock, 2), text).is_err());
    let nothing = import_silences(&silences(&clock, 2), b"").unwrap();
    assert_eq!(nothing, Imported::default());
}
