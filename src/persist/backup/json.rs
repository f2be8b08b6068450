//! What stores hold, to be read by people and by other programs: a line of JSON for each entry.
//!
//! The first line says of what it is, the last one that it is whole. They are written in the order of the stores; of
//! keys there is no order. Nothing reads them back.
//!
//! ```json
//! {"rumormill":1,"node":"am-0","cluster":"prod","taken":"2026-01-02T03:04:05.000000006Z"}
//! {"store":"silences","key":"0af0…","text":null,"state":"value","schema":1,"ts":"2026-…Z","tie":0, …
//!  … "writer":"00…","expires_at":"2026-…Z","body":"0a1b…"}
//! {"entries":1}
//! ```
//!
//! `state` is `value` or `removed`. `expires_at` is `null` for what never expires. `text` is the key as people read it,
//! where the store knows. `writer` and `body` are hexadecimal; `ts` is when it was written, by its writer's clock.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use super::head::BackupHead;
use super::write::{BackupTaken, each};
use crate::store::{Change, Store};
use crate::time::Timestamp;

/// Writes all that the stores hold; `told` hears how many entries are written.
///
/// # Errors
/// Those of `out`.
pub(super) fn write_lines(
    stores: &[Arc<dyn Store>],
    head: &BackupHead,
    out: &mut dyn Write,
    told: &mut dyn FnMut(u64),
) -> io::Result<BackupTaken> {
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    let mut put = |line: &str| {
        out.write_all(line.as_bytes())?;
        bytes = bytes.saturating_add(line.len() as u64);
        Ok::<_, io::Error>(())
    };
    put(&format!(
        "{{\"rumormill\":1,\"node\":{},\"cluster\":{},\"taken\":\"{}\"}}\n",
        quoted(&head.node),
        quoted(&head.cluster),
        utc(head.taken)
    ))?;
    each(stores, &mut |store, changes| {
        for change in changes {
            put(&line(store, change))?;
            entries = entries.saturating_add(1);
        }
        told(entries);
        Ok(())
    })?;
    put(&format!("{{\"entries\":{entries}}}\n"))?;
    out.flush()?;
    Ok(BackupTaken { entries, bytes })
}

fn line(store: &dyn Store, Change { entry, .. }: &Change) -> String {
    let text = store.key_text(&entry.key);
    let text = text.map_or_else(|| "null".to_owned(), |text| quoted(&text));
    let is_removed = entry.schema.is_tombstone();
    let expires_at = if entry.schema.is_lasting() {
        "null".to_owned()
    } else {
        format!("\"{}\"", utc(entry.expires_at))
    };
    let state = if is_removed { "removed" } else { "value" };
    let mut line = format!(
        "{{\"store\":{},\"key\":\"{:?}\",\"text\":{text},\"state\":\"{state}\",",
        quoted(store.name()),
        entry.key,
    );
    // Writing to a string does not fail.
    let _ = write!(
        line,
        "\"schema\":{},\"ts\":\"{}\",\"tie\":{},\"writer\":\"{}\",\"expires_at\":{expires_at},\"body\":\"",
        entry.schema.shape().raw(),
        utc(entry.ts),
        entry.tie,
        entry.writer,
    );
    for byte in &entry.body {
        let _ = write!(line, "{byte:02x}");
    }
    line.push_str("\"}\n");
    line
}

/// A text as JSON has it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            char if char < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// An instant as RFC 3339 has it, by the algorithm of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`.
fn utc(at: Timestamp) -> String {
    let nanos = at.as_nanos();
    let (secs, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (days, secs) = (secs / 86_400, secs % 86_400);
    // From the first of March of year 0, of which an era of 400 years begins.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_rfc_3339_has_them() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (1_735_689_600, "2025-01-01T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(
                utc(Timestamp::from_secs(secs)),
                format!("{text}.000000000Z")
            );
        }
        assert!(utc(Timestamp::from_nanos(7)).ends_with(".000000007Z"));
        assert!(utc(Timestamp::MAX).starts_with("2554-"));
    }

    #[test]
    fn texts_are_escaped() {
        let text = "a \"b\" \\ \n \u{1} é";
        assert_eq!(quoted(text), "\"a \\\"b\\\" \\\\ \\u000a \\u0001 é\"");
        let read: String = serde_json::from_str(&quoted(text)).unwrap();
        assert_eq!(read, text);
    }
}
