//! The message of a webhook: version 4 of Alertmanager's, byte for byte as that writes it.

use std::io;

use rumormill::store::matcher::Labels;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use super::integration::{Notification, Told};
use crate::moment::Moment;

/// The whole of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    receiver: String,
    status: &'static str,
    alerts: Vec<ToldAlert<'a>>,
    group_labels: &'a Labels,
    common_labels: Labels,
    common_annotations: Labels,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
}

/// An alert in it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToldAlert<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: &'a Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

/// The message of a notification, of at most so many alerts if that is not 0. Of what does not fit the number is told.
pub(super) fn message(mut notification: Notification, max_alerts: u64) -> Vec<u8> {
    let truncated_alerts = notification.truncate(max_alerts);
    let (common_labels, common_annotations) = notification.common();
    let message = Message {
        receiver: quoted(&notification.receiver),
        status: status(notification.is_resolved()),
        alerts: notification.alerts.iter().map(ToldAlert::of).collect(),
        group_labels: &notification.group_labels,
        common_labels,
        common_annotations,
        external_url: &notification.external_url,
        version: "4",
        group_key: &notification.group_key,
        truncated_alerts,
    };
    let mut bytes = Vec::with_capacity(notification.bytes());
    let written = message.serialize(&mut Serializer::with_formatter(&mut bytes, AsGo));
    written.expect("texts and numbers are written as JSON, and memory takes them");
    bytes.push(b'\n');
    bytes
}

impl<'a> ToldAlert<'a> {
    fn of(told: &'a Told) -> Self {
        let alert = &told.alert;
        Self {
            status: status(told.is_resolved),
            labels: &alert.labels,
            annotations: &alert.annotations,
            starts_at: Moment(alert.starts_at).go_text(),
            ends_at: if told.is_resolved {
                Moment(alert.ends_at).go_text()
            } else {
                GO_ZERO.to_owned()
            },
            generator_url: &alert.generator_url,
            fingerprint: format!("{:016x}", alert.fingerprint()),
        }
    }
}

/// Whether it fires.
pub(super) fn status(is_resolved: bool) -> &'static str {
    if is_resolved { "resolved" } else { "firing" }
}

/// The receiver's name with what means something in a pattern escaped, as Alertmanager has it.
fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len());
    for c in name.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

/// JSON as Go writes it, which escapes what means something in HTML.
struct AsGo;

impl Formatter for AsGo {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let is_special = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        for part in fragment.split_inclusive(is_special) {
            let last = part.chars().next_back().filter(|c| is_special(*c));
            let plain = part.trim_end_matches(|c| Some(c) == last);
            CompactFormatter.write_string_fragment(writer, plain)?;
            if let Some(c) = last {
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
        }
        Ok(())
    }
}

/// "No end yet", as Go writes it.
const GO_ZERO: &str = "0001-01-01T00:00:00Z";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{alert, labels};
    use super::*;

    /// As the real one wrote it for these alerts.
    #[test]
    fn a_message_is_what_alertmanager_writes() {
        let mut fires = alert("alertname=x,instance=b,job=j", 10, 90);
        fires.annotations = labels("summary=<a> & \"b\"");
        fires.starts_at = rumormill::time::Timestamp::from_nanos(10_120_000_000);
        fires.generator_url = "http://p/g?a=1&b=2".to_owned();
        let ended = alert("alertname=x,instance=a,job=j", 10, 20);
        let told = |alert, is_resolved| Told {
            alert: Arc::new(alert),
            is_resolved,
        };
        let notification = Notification {
            receiver: "team-a.b".to_owned(),
            group_key: "{}:{alertname=\"x\"}".to_owned(),
            group_labels: labels("alertname=x"),
            alerts: vec![told(ended, true), told(fires, false)],
            external_url: "http://am".into(),
        };
        let one = String::from_utf8(message(notification.clone(), 1)).unwrap();
        let all = String::from_utf8(message(notification, 0)).unwrap();
        let first = concat!(
            r#"{"status":"resolved","labels":{"alertname":"x","instance":"a","job":"j"},"annotations":{},"#,
            r#""startsAt":"1970-01-01T00:00:10Z","endsAt":"1970-01-01T00:00:20Z","generatorURL":"","#,
            r#""fingerprint":"#,
        );
        let second = concat!(
            r#"{"status":"firing","labels":{"alertname":"x","instance":"b","job":"j"},"#,
            r#""annotations":{"summary":"\u003ca\u003e \u0026 \"b\""},"startsAt":"1970-01-01T00:00:10.12Z","#,
            r#""endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://p/g?a=1\u0026b=2","fingerprint":"#,
        );
        let rest = concat!(
            r#"],"groupLabels":{"alertname":"x"},"commonLabels":{"alertname":"x","job":"j"},"#,
            r#""commonAnnotations":{},"externalURL":"http://am","version":"4","#,
            r#""groupKey":"{}:{alertname=\"x\"}","truncatedAlerts":0}"#,
        );
        let start = r#"{"receiver":"team-a\\.b","status":"firing","alerts":["#;
        assert!(all.starts_with(&format!("{start}{first}")), "{all}");
        assert!(all.contains(second), "{all}");
        assert!(all.ends_with(&format!("{rest}\n")), "{all}");
        assert!(one.contains(r#""status":"resolved","alerts":[{"#), "{one}");
        assert!(one.ends_with("\"truncatedAlerts\":1}\n"), "{one}");
        assert!(!one.contains("instance\":\"b"), "{one}");
    }
}
