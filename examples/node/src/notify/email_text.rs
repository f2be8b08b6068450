//! What a mail says: a subject as Alertmanager's, and text and page of a fixed form.
//!
//! ```text
//! 1 alert firing, 1 resolved for alertname=DiskFull
//! http://alertmanager.example.org
//!
//! FIRING
//!
//! alertname = DiskFull
//! instance = a:9100
//!   summary: The disk is full.
//!   since 2026-11-30T10:00:00Z
//!   http://prometheus.example.org/graph?g0.expr=...
//!
//! RESOLVED
//!
//! alertname = DiskFull
//! instance = b:9100
//!   since 2026-11-30T09:00:00Z, until 2026-11-30T10:00:00Z
//!
//! 2 more alerts are not shown.
//! ```
//!
//! The page has the same parts in the same order, with links.

use std::fmt::Write as _;

use rumormill::store::matcher::Labels;

use super::integration::{Notification, Told};
use crate::moment::Moment;

/// `[FIRING:2] values of the group (values that all have besides)`.
pub(super) fn subject(notification: &Notification) -> String {
    let firing = notification.alerts.iter().filter(|told| !told.is_resolved);
    let state = match firing.count() {
        0 => "RESOLVED".to_owned(),
        count => format!("FIRING:{count}"),
    };
    let values = |labels: &Labels| labels.values().cloned().collect::<Vec<_>>().join(" ");
    let (mut common, _) = notification.common();
    common.retain(|name, _| !notification.group_labels.contains_key(name));
    let group = values(&notification.group_labels);
    let mut subject = format!("[{state}] {group} ");
    if !common.is_empty() {
        let _ = write!(subject, "({})", values(&common));
    }
    subject.trim_end().to_owned()
}

/// Without what would end a header.
pub(super) fn one_line(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).collect()
}

/// The mail as text.
pub(super) fn text(notification: &Notification, truncated: usize) -> String {
    let mut text = format!("{}\n{}\n", heading(notification), notification.external_url);
    for (title, alerts) in parts(notification) {
        let _ = write!(text, "\n{title}\n");
        for told in alerts {
            text.push('\n');
            for (name, value) in &told.alert.labels {
                let _ = writeln!(text, "{name} = {value}");
            }
            for (name, value) in &told.alert.annotations {
                let _ = writeln!(text, "  {name}: {value}");
            }
            let _ = writeln!(text, "  {}", times(told));
            if !told.alert.generator_url.is_empty() {
                let _ = writeln!(text, "  {}", told.alert.generator_url);
            }
        }
    }
    if truncated > 0 {
        let _ = write!(text, "\n{truncated} more alerts are not shown.\n");
    }
    text
}

/// The mail as a page.
pub(super) fn page(notification: &Notification, truncated: usize) -> String {
    let (heading, url) = (
        escaped(&heading(notification)),
        escaped(&notification.external_url),
    );
    let mut page = format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{heading}</title></head>\n\
         <body style=\"font-family: sans-serif\">\n<h2>{heading}</h2>\n\
         <p><a href=\"{url}\">{url}</a></p>\n"
    );
    for (title, alerts) in parts(notification) {
        let _ = writeln!(page, "<h3>{title}</h3>");
        for told in alerts {
            let rows = told.alert.labels.iter().chain(&told.alert.annotations);
            page.push_str("<table style=\"margin-bottom: 1em\">\n");
            for (name, value) in rows {
                let (name, value) = (escaped(name), escaped(value));
                let _ = writeln!(page, "<tr><td><b>{name}</b></td><td>{value}</td></tr>");
            }
            let _ = writeln!(page, "<tr><td></td><td>{}</td></tr>", times(told));
            if is_link(&told.alert.generator_url) {
                let url = escaped(&told.alert.generator_url);
                let _ = writeln!(
                    page,
                    "<tr><td></td><td><a href=\"{url}\">Source</a></td></tr>"
                );
            }
            page.push_str("</table>\n");
        }
    }
    if truncated > 0 {
        let _ = writeln!(page, "<p>{truncated} more alerts are not shown.</p>");
    }
    page.push_str("</body></html>\n");
    page
}

/// `2 alerts firing, 1 resolved for alertname=x`.
fn heading(notification: &Notification) -> String {
    let resolved = notification.alerts.iter().filter(|told| told.is_resolved);
    let resolved = resolved.count();
    let firing = notification.alerts.len() - resolved;
    let alerts = |count| if count == 1 { "alert" } else { "alerts" };
    let mut heading = match (firing, resolved) {
        (0, resolved) => format!("{resolved} {} resolved", alerts(resolved)),
        (firing, 0) => format!("{firing} {} firing", alerts(firing)),
        (firing, resolved) => format!("{firing} {} firing, {resolved} resolved", alerts(firing)),
    };
    let labels = notification.group_labels.iter();
    let labels: Vec<String> = labels
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if !labels.is_empty() {
        let _ = write!(heading, " for {}", labels.join(" "));
    }
    heading
}

/// Those that fire, then those that are resolved, if there are any.
fn parts(notification: &Notification) -> impl Iterator<Item = (&'static str, Vec<&Told>)> {
    [("FIRING", false), ("RESOLVED", true)]
        .into_iter()
        .map(|(title, is_resolved)| {
            let alerts = notification.alerts.iter();
            let alerts = alerts.filter(|told| told.is_resolved == is_resolved);
            (title, alerts.collect::<Vec<_>>())
        })
        .filter(|(_, alerts)| !alerts.is_empty())
}

fn times(told: &Told) -> String {
    let since = Moment(told.alert.starts_at).go_text();
    if told.is_resolved {
        let until = Moment(told.alert.ends_at).go_text();
        format!("since {since}, until {until}")
    } else {
        format!("since {since}")
    }
}

/// Whether a page may link there: who sends alerts decides what it is.
fn is_link(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{alert, labels};
    use super::*;

    fn notification() -> Notification {
        let mut fires = alert("alertname=Disk,instance=<b>,job=j", 10, 90);
        fires.annotations = labels("summary=It's full");
        fires.generator_url = "http://p/g?a=1&b=2".to_owned();
        let mut ended = alert("alertname=Disk,instance=a,job=j", 10, 20);
        ended.generator_url = "javascript:alert(1)".to_owned();
        let told = |alert, is_resolved| Told {
            alert: Arc::new(alert),
            is_resolved,
        };
        Notification {
            receiver: "team".to_owned(),
            group_key: "{}:{}".to_owned(),
            group_labels: labels("alertname=Disk"),
            alerts: vec![told(ended, true), told(fires, false)],
            external_url: "http://am".into(),
        }
    }

    #[test]
    fn a_mail_has_a_fixed_form() {
        let expected = "\
1 alert firing, 1 resolved for alertname=Disk
http://am

FIRING

alertname = Disk
instance = <b>
job = j
  summary: It's full
  since 1970-01-01T00:00:10Z
  http://p/g?a=1&b=2

RESOLVED

alertname = Disk
instance = a
job = j
  since 1970-01-01T00:00:10Z, until 1970-01-01T00:00:20Z
  javascript:alert(1)

3 more alerts are not shown.
";
        assert_eq!(text(&notification(), 3), expected);
        assert_eq!(subject(&notification()), "[FIRING:1] Disk (j)");
        let mut resolved = notification();
        resolved.alerts.truncate(1);
        assert_eq!(subject(&resolved), "[RESOLVED] Disk (a j)");
        assert_eq!(one_line("a\r\nBcc: b"), "a  Bcc: b");
    }

    /// Who sends alerts writes no page.
    #[test]
    fn nothing_of_an_alert_is_html() {
        let page = page(&notification(), 3);
        assert!(
            page.contains("<td>&lt;b&gt;</td>") && page.contains("It&#39;s full"),
            "{page}"
        );
        assert!(
            page.contains("<a href=\"http://p/g?a=1&amp;b=2\">Source</a>"),
            "{page}"
        );
        assert!(
            !page.contains("javascript") && page.contains("3 more alerts"),
            "{page}"
        );
        assert!(page.find("FIRING") < page.find("RESOLVED"));
    }
}
