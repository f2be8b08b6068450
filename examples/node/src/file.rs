//! The configuration file. The `cluster:` section is this program's own and strict. In the sections
//! of Alertmanager a wrong value is an error as well, and a key that is not known is reported.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use crate::check;
use crate::duration::Span;
use crate::intervals::NamedIntervals;
use crate::keys::{self, UnknownKey};
use crate::sections::{self, Global, InhibitRule, List, Mapping, Receiver, RouteSection};
use crate::tree::Tree;
use crate::yaml;

/// The file as it is written. A key that is not here is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) global: Option<Spanned<Option<Global>>>,
    #[serde(default)]
    pub(crate) route: Option<Spanned<RouteSection>>,
    #[serde(default)]
    pub(crate) receivers: List<Receiver>,
    #[serde(default)]
    pub(crate) inhibit_rules: Option<Vec<InhibitRule>>,
    #[serde(default)]
    pub(crate) templates: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) time_intervals: List<NamedIntervals>,
    #[serde(default)]
    pub(crate) mute_time_intervals: List<NamedIntervals>,
    /// Checked by nobody: this node has neither.
    #[serde(default)]
    pub(crate) tracing: Option<Mapping>,
    #[serde(default)]
    pub(crate) event_recorder: Option<Mapping>,
    #[serde(default)]
    pub(crate) cluster: Option<ClusterSection>,
    /// The keys of the other sections that nobody knows.
    #[serde(skip)]
    pub(crate) unknown: Vec<UnknownKey>,
}

/// The `cluster:` section. What is not given has the flag's default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ClusterSection {
    pub(crate) listen_address: Option<String>,
    pub(crate) advertise_address: Option<String>,
    pub(crate) peer: Vec<String>,
    pub(crate) cluster_id: Option<String>,
    pub(crate) gossip_interval: Option<Span>,
    pub(crate) pushpull_interval: Option<Span>,
    pub(crate) tcp_timeout: Option<Span>,
    pub(crate) probe_timeout: Option<Span>,
    pub(crate) probe_interval: Option<Span>,
    pub(crate) reconnect_interval: Option<Span>,
    pub(crate) reconnect_timeout: Option<Span>,
    pub(crate) gossip_nodes: Option<usize>,
    pub(crate) gossip_to_dead_time: Option<Span>,
    pub(crate) tls_config: Option<TlsSection>,
}

/// `cluster.tls-config`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TlsSection {
    pub(crate) cert_file: String,
    pub(crate) key_file: String,
    pub(crate) ca_file: String,
    pub(crate) insecure_skip_verify: bool,
}

impl TlsSection {
    /// Whether it says anything at all.
    pub(crate) fn asks_for_tls(&self) -> bool {
        *self != Self::default()
    }
}

/// One of a receiver's `webhook_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Webhook {
    pub(crate) receiver: String,
    /// Its place among those of the receiver.
    pub(crate) idx: u32,
    pub(crate) url: Address,
    pub(crate) send_resolved: bool,
}

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A file that holds the URL; read for every notification.
    File(String),
    Url(String),
}

/// Where a file is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {}{message}", prefix(field.as_deref()))]
pub(crate) struct FileError {
    pub(crate) line: u64,
    pub(crate) column: u64,
    /// The path of what is there, if it is known.
    pub(crate) field: Option<String>,
    pub(crate) message: String,
}

fn prefix(field: Option<&str>) -> String {
    field.map_or_else(String::new, |field| format!("{field}: "))
}

/// Reads and checks a file.
pub(crate) fn parse(text: &str) -> Result<File, FileError> {
    // A file of nothing but comments is an empty one.
    sections::begin();
    let read = yaml::parse::<Option<File>>(text);
    let read = read.map(Option::unwrap_or_default).map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().unwrap_or(Location::UNKNOWN);
        (at, error.to_string())
    });
    let checked = read.and_then(|file| check::check(&file).map(|()| file));
    let tree = Tree::read(text);
    let unknown = tree.as_ref().map(keys::unknown_keys).unwrap_or_default();
    let checked = checked.and_then(|mut file| {
        if let Some(gone) = unknown.iter().find(|key| key.is_gone) {
            let message = "Alertmanager does not know this key any more".to_owned();
            return Err((gone.at, message));
        }
        file.unknown = unknown;
        Ok(file)
    });
    checked.map_err(|(at, message)| {
        let (line, column) = (at.line().max(1), at.column().max(1));
        let said = format!(" at line {line}, column {column}");
        let tree = tree.filter(|_| at != Location::UNKNOWN);
        FileError {
            line,
            column,
            field: tree.and_then(|tree| tree.path_at(line, column)),
            message: message.replacen(&said, "", 1),
        }
    })
}

impl File {
    /// Whether there is anything of Alertmanager in it.
    pub(crate) fn has_sections(&self) -> bool {
        self.global.is_some()
            || self.receivers.is_some()
            || self.inhibit_rules.is_some()
            || self.templates.is_some()
            || self.time_intervals.is_some()
            || self.mute_time_intervals.is_some()
    }

    /// The time intervals by name, whichever section they are in.
    pub(crate) fn intervals(&self) -> BTreeMap<String, NamedIntervals> {
        let all = [&self.mute_time_intervals, &self.time_intervals];
        let all = all.into_iter().flatten().flatten();
        let named = all.filter_map(|it| {
            let name = it.value.name.as_ref()?;
            Some((name.value.clone(), it.value.clone()))
        });
        named.collect()
    }

    /// The webhooks of the receivers: whose, where to, and whether they hear of resolved alerts.
    pub(crate) fn webhooks(&self) -> Vec<Webhook> {
        let mut found = Vec::new();
        for receiver in self.receivers.iter().flatten() {
            let name = receiver.value.name.as_ref();
            let configs = receiver.value.webhook_configs.iter().flatten();
            for (idx, config) in (0..).zip(configs) {
                let config = &config.value;
                found.push(Webhook {
                    receiver: name.map(|it| it.value.clone()).unwrap_or_default(),
                    idx,
                    url: config.address(),
                    send_resolved: config.send_resolved.is_none_or(|it| it.0),
                });
            }
        }
        found
    }

    /// What the file asks for that this node does not do.
    pub(crate) fn not_done(&self) -> Vec<String> {
        let unknown = self.unknown.iter();
        let unknown =
            unknown.map(|key| format!("unknown key {} (line {})", key.path, key.at.line()));
        let mut warnings: Vec<String> = unknown.collect();
        for (key, section) in [
            ("tracing", &self.tracing),
            ("event_recorder", &self.event_recorder),
        ] {
            if section.as_ref().is_some_and(|it| !it.is_empty()) {
                warnings.push(format!("{key}: this node has no such thing"));
            }
        }
        if self.templates.as_ref().is_some_and(|it| !it.is_empty()) {
            warnings.push("templates: they are not read by this node".to_owned());
        }
        for receiver in self.receivers.iter().flatten() {
            warnings.extend(receiver.value.not_done());
            let others = receiver.value.integrations().into_iter();
            let others = others.filter(|(_, configs, _)| configs.iter().flatten().next().is_some());
            for key in others.map(|(key, ..)| key) {
                if let Some(name) = &receiver.value.name {
                    warnings.push(format!(
                        "receiver {:?}: {key} are checked, and not notified by this node",
                        name.value
                    ));
                }
            }
        }
        warnings
    }

    /// `global.resolve_timeout`: after this an alert without an end is resolved.
    pub(crate) fn resolve_timeout(&self) -> Option<Span> {
        let global = self.global.as_ref()?.value.as_ref()?;
        global.resolve_timeout.map(|term| Span(term.0))
    }
}

impl Receiver {
    /// What its webhooks and mails ask for that this node does not do; what mails ask for in words of templates is told
    /// elsewhere.
    fn not_done(&self) -> Vec<String> {
        let name = self.name.as_ref().map_or("", |it| it.value.as_str());
        let mut said = Vec::new();
        for (idx, config) in self.webhook_configs.iter().flatten().enumerate() {
            let place = format!("receiver {name:?}: webhook_configs[{idx}]");
            if config.value.payload.is_some() {
                said.push(format!(
                    "{place}: payload is not used: what is sent is Alertmanager's own message"
                ));
            }
            if matches!(config.value.address(), Address::Url(url) if url.contains("{{")) {
                said.push(format!(
                    "{place}: url is a template, and used as it is written"
                ));
            }
        }
        for (idx, config) in self.email_configs.iter().flatten().enumerate() {
            let threading = config.value.threading.and_then(|it| it.enabled);
            if threading.is_some_and(|it| it.0) {
                said.push(format!(
                    "receiver {name:?}: email_configs[{idx}]: threading is not done"
                ));
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Route;
    use crate::shown::ShownFile;

    /// Every key of the section.
    const CLUSTER: &str = "
cluster:
  listen-address: '0.0.0.0:9094'
  advertise-address: '10.0.0.1:9094'
  peer: ['10.0.0.2:9094', 'am-3:9094']
  cluster-id: prod
  gossip-interval: '200ms'
  pushpull-interval: '60s'
  tcp-timeout: '10s'
  probe-timeout: '500ms'
  probe-interval: '1s'
  reconnect-interval: '10s'
  reconnect-timeout: '6h'
  gossip-nodes: 3
  gossip-to-dead-time: '30s'
  tls-config:
    cert-file: a.pem
    key-file: b.pem
    ca-file: c.pem
    insecure-skip-verify: false
";

    #[test]
    fn the_cluster_section_loads_as_it_stands() {
        let section = parse(CLUSTER).unwrap().cluster.unwrap();
        assert_eq!(section.peer, ["10.0.0.2:9094", "am-3:9094"]);
        assert_eq!(
            section.reconnect_timeout,
            Some(Span("6h".parse::<Span>().unwrap().0))
        );
        assert_eq!(section.gossip_nodes, Some(3));
        assert!(section.tls_config.unwrap().asks_for_tls());
        assert!(!TlsSection::default().asks_for_tls());
    }

    #[test]
    fn what_is_not_done_is_told() {
        let text = "
route: {receiver: a}
global: {slack_app_token: xoxb-1}
tracing: {endpoint: 'localhost:4317', insecure: true}
templates: ['*.tmpl']
receivers:
- name: a
  slack_configs: [{channel: '#x'}]
  webhook_configs:
  - {url: 'http://h/x'}
  - {url: 'http://h/{{ .GroupLabels.x }}', payload: {a: [1]}}
  email_configs:
  - {to: a@b, from: a@b, smarthost: 'h:25', threading: {enabled: false}}
  - {to: a@b, from: a@b, smarthost: 'h:25', threading: {enabled: true, thread_by_date: daily}}
";
        let said = parse(text).unwrap().not_done();
        let starts = [
            "tracing: ",
            "templates: ",
            "receiver \"a\": webhook_configs[1]: payload ",
            "receiver \"a\": webhook_configs[1]: url ",
            "receiver \"a\": email_configs[1]: threading ",
            "receiver \"a\": slack_configs are checked, and not notified",
        ];
        assert_eq!(said.len(), starts.len(), "{said:?}");
        for (said, start) in said.iter().zip(starts) {
            assert!(said.starts_with(start), "{said}");
        }
    }

    #[test]
    fn an_empty_file_is_a_file() {
        for text in ["", "# nothing\n", "cluster:\n", "{}"] {
            assert!(parse(text).is_ok(), "{text:?}: {:?}", parse(text));
        }
    }

    /// Text, line, column, and words that the message has.
    #[test]
    fn errors_have_a_place() {
        for (text, line, column, words) in [
            ("route: {}\nrouting: {}\n", 2, 1, "routing"),
            (
                "cluster:\n  gossip-nodes: 3\n  gossip-nodez: 3\n",
                3,
                3,
                "gossip-nodez",
            ),
            ("cluster:\n  tls-config:\n    cert: x\n", 3, 5, "cert"),
            (
                "cluster:\n  gossip-interval: fast\n",
                2,
                20,
                "is no duration",
            ),
            ("cluster:\n  gossip-interval: 5\n", 2, 20, "has no unit"),
            ("cluster:\n  gossip-nodes: many\n", 2, 17, "invalid"),
            ("cluster:\n  peer: [a\n", 2, 9, ""),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(
                (error.line, error.column),
                (line, column),
                "{text}: {error}"
            );
            assert!(error.message.contains(words), "{text}: {error}");
        }
    }

    /// Text, line, column, and the whole of the rest.
    #[test]
    fn wrong_values_are_named() {
        const REST: &str = "receivers: [{name: a}]\n";
        for (text, line, column, words) in [
            (
                "global:\n  resolve_timeout: 5x\n",
                2,
                20,
                "global.resolve_timeout: \"5x\" is no duration",
            ),
            (
                "route:\n  receiver: a\n  group_wait: 5\n",
                3,
                15,
                "route.group_wait: \"5\" is no duration",
            ),
            (
                "route:\n  receiver: b\n",
                2,
                13,
                "route.receiver: undefined receiver \"b\"",
            ),
            (
                "route:\n  receiver: a\n  continue: maybe\n",
                3,
                3,
                "route.continue: ",
            ),
            (
                "route:\n  receiver: a\n  routes:\n  - matchers: [x]\n",
                4,
                16,
                "route.routes[0].matchers[0]: ",
            ),
        ] {
            let text = if text.starts_with("route") {
                format!("{text}{REST}")
            } else {
                text.to_owned()
            };
            let error = parse(&text).unwrap_err();
            assert_eq!(
                (error.line, error.column),
                (line, column),
                "{text}: {error}"
            );
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }

    /// In both styles, as deep as any tree is.
    #[test]
    fn routes_nest_deep() {
        let mut block = "receivers: [{name: a}]\nroute:\n  receiver: a\n".to_owned();
        let mut flow = "{receiver: a}".to_owned();
        for depth in 1..120 {
            let indent = "  ".repeat(depth);
            block.push_str(&format!(
                "{indent}routes:\n{indent}- matchers: [l{depth}=x]\n"
            ));
            flow = format!("{{receiver: a, routes: [{flow}]}}");
        }
        let flow = format!("receivers: [{{name: a}}]\nroute: {flow}\n");
        for text in [block, flow] {
            let said = yaml::deep(|| {
                let file = parse(&text)?;
                let route = file.route.as_ref().map(|it| Route::of_section(&it.value));
                let labels = (1..120).map(|n| (format!("l{n}"), "x".to_owned()));
                let found = route.map(|it| it.of(&labels.collect()).len());
                Ok::<_, FileError>((found, ShownFile::of(&text).yaml.len()))
            });
            assert!(
                said.as_ref()
                    .is_ok_and(|it| it.0 == Some(1) && it.1 > text.len() / 2),
                "{said:?}"
            );
        }
    }

    /// Of the whole file, before any is parsed; and anew for the next file.
    #[test]
    fn matchers_are_counted_over_the_file() {
        let route = |matchers: &str| format!("  - matchers: ['{matchers}']\n");
        let file = |routes: &str| {
            parse(&format!(
                "receivers: [{{name: a}}]\nroute:\n  receiver: a\n  routes:\n{routes}"
            ))
        };
        let half = route(&format!("a=\"{}\"", "x".repeat(600 << 10)));
        for _ in 0..2 {
            assert!(file(&half).is_ok());
            let error = file(&half.repeat(2)).unwrap_err().to_string();
            assert!(
                error.contains("more than 1048576 bytes of matchers"),
                "{error}"
            );
        }
        let many = route(&"a=b,".repeat(20_001));
        let error = file(&many).unwrap_err().to_string();
        assert!(error.contains("more than 20000 matchers"), "{error}");
    }
}
