//! The configuration file. The `cluster:` section is this program's own and strict; the sections
//! of Alertmanager are accepted, and what is not known in them is reported.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::duration::Span;

/// The file as it is written. A key that is not here is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default)]
    pub(crate) global: Option<Value>,
    #[serde(default)]
    pub(crate) route: Option<Value>,
    #[serde(default)]
    pub(crate) receivers: Option<Value>,
    #[serde(default)]
    pub(crate) inhibit_rules: Option<Value>,
    #[serde(default)]
    #[expect(dead_code, reason = "accepted: this node renders no notifications")]
    pub(crate) templates: Option<Vec<String>>,
    #[serde(default)]
    #[expect(dead_code, reason = "accepted: this node mutes by silences alone")]
    pub(crate) time_intervals: Option<Value>,
    #[serde(default)]
    #[expect(dead_code, reason = "accepted: this node mutes by silences alone")]
    pub(crate) mute_time_intervals: Option<Value>,
    #[serde(default)]
    pub(crate) cluster: Option<ClusterSection>,
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

/// One of a receiver's `webhook_configs`, the one integration this program has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Webhook {
    pub(crate) receiver: String,
    /// Its place among those of the receiver.
    pub(crate) idx: u32,
    pub(crate) url: String,
    pub(crate) send_resolved: bool,
}

/// Where a file is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub(crate) struct FileError {
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) message: String,
}

/// Reads a file.
pub(crate) fn parse(text: &str) -> Result<File, FileError> {
    // A file of nothing but comments is an empty one.
    let read = serde_saphyr::from_str::<Option<File>>(text);
    read.map(Option::unwrap_or_default).map_err(|error| {
        let error = error.without_snippet();
        let (line, column) = error
            .location()
            .map_or((1, 1), |at| (at.line(), at.column()));
        let text = error.to_string();
        let at = format!(" at line {line}, column {column}");
        FileError {
            line,
            column,
            message: text.replacen(&at, "", 1),
        }
    })
}

impl File {
    /// Keys that Alertmanager does not know in its own sections, by path.
    pub(crate) fn unknown_keys(&self) -> Vec<String> {
        let mut unknown = Vec::new();
        let mut look = |path: &str, value: Option<&Value>, known: &[&str]| {
            for (key, _) in value.and_then(Value::as_object).into_iter().flatten() {
                if !known.contains(&key.as_str()) {
                    unknown.push(format!("{path}.{key}"));
                }
            }
        };
        look("global", self.global.as_ref(), GLOBAL);
        let list = |value: &'_ Option<Value>| -> Vec<Value> {
            value
                .as_ref()
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        for (index, rule) in list(&self.inhibit_rules).iter().enumerate() {
            look(&format!("inhibit_rules[{index}]"), Some(rule), INHIBIT);
        }
        for (index, receiver) in list(&self.receivers).iter().enumerate() {
            for (key, _) in receiver.as_object().into_iter().flatten() {
                if key != "name" && !key.ends_with("_configs") {
                    look(
                        &format!("receivers[{index}]"),
                        Some(&Value::from(
                            BTreeMap::from([(key.clone(), Value::Null)])
                                .into_iter()
                                .collect::<serde_json::Map<_, _>>(),
                        )),
                        &[],
                    );
                }
            }
        }
        let mut routes: Vec<(String, &Value)> = self
            .route
            .iter()
            .map(|route| ("route".to_owned(), route))
            .collect();
        while let Some((path, route)) = routes.pop() {
            look(&path, Some(route), ROUTE);
            let children = route.get("routes").and_then(Value::as_array);
            for (index, child) in children.into_iter().flatten().enumerate() {
                routes.push((format!("{path}.routes[{index}]"), child));
            }
        }
        unknown
    }

    /// The names of the receivers, in the order of the file.
    pub(crate) fn receiver_names(&self) -> Vec<String> {
        let receivers = self.receivers.as_ref().and_then(Value::as_array);
        let names = receivers
            .into_iter()
            .flatten()
            .filter_map(|it| it.get("name"));
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The webhooks of the receivers: whose, where to, and whether they hear of resolved alerts.
    pub(crate) fn webhooks(&self) -> Vec<Webhook> {
        let receivers = self.receivers.as_ref().and_then(Value::as_array);
        let mut found = Vec::new();
        for receiver in receivers.into_iter().flatten() {
            let name = receiver
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let configs = receiver.get("webhook_configs").and_then(Value::as_array);
            for (idx, config) in (0..).zip(configs.into_iter().flatten()) {
                let url = config
                    .get("url")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let resolved = config.get("send_resolved").and_then(Value::as_bool);
                found.push(Webhook {
                    receiver: name.to_owned(),
                    idx,
                    url: url.to_owned(),
                    send_resolved: resolved.unwrap_or(true),
                });
            }
        }
        found
    }

    /// `global.resolve_timeout`: after this an alert without an end is resolved.
    pub(crate) fn resolve_timeout(&self) -> Option<Span> {
        let text = self.global.as_ref()?.get("resolve_timeout")?.as_str()?;
        text.parse().ok()
    }
}

const ROUTE: &[&str] = &[
    "receiver",
    "group_by",
    "group_wait",
    "group_interval",
    "repeat_interval",
    "match",
    "match_re",
    "matchers",
    "continue",
    "routes",
    "mute_time_intervals",
    "active_time_intervals",
];
const INHIBIT: &[&str] = &[
    "name",
    "source_match",
    "source_match_re",
    "source_matchers",
    "target_match",
    "target_match_re",
    "target_matchers",
    "equal",
    "sources",
    "targets",
];
const GLOBAL: &[&str] = &[
    "resolve_timeout",
    "http_config",
    "smtp_from",
    "smtp_hello",
    "smtp_smarthost",
    "smtp_auth_username",
    "smtp_auth_password",
    "smtp_auth_password_file",
    "smtp_auth_secret",
    "smtp_auth_secret_file",
    "smtp_auth_identity",
    "smtp_require_tls",
    "smtp_tls_config",
    "smtp_force_implicit_tls",
    "slack_api_url",
    "slack_api_url_file",
    "slack_app_token",
    "slack_app_token_file",
    "slack_app_url",
    "pagerduty_url",
    "opsgenie_api_url",
    "opsgenie_api_key",
    "opsgenie_api_key_file",
    "wechat_api_url",
    "wechat_api_secret",
    "wechat_api_secret_file",
    "wechat_api_corp_id",
    "victorops_api_url",
    "victorops_api_key",
    "victorops_api_key_file",
    "telegram_api_url",
    "telegram_bot_token",
    "telegram_bot_token_file",
    "webex_api_url",
    "rocketchat_api_url",
    "rocketchat_token",
    "rocketchat_token_file",
    "rocketchat_token_id",
    "rocketchat_token_id_file",
    "jira_api_url",
    "mattermost_webhook_url",
    "mattermost_webhook_url_file",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The section, as it stands.
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

    #[test]
    fn unknown_keys_of_other_sections_are_found() {
        let file = parse(
            "global: {resolve_timeout: 1m, smtp_form: x}\n\
             route: {receiver: a, routes: [{receivr: b, routes: [{x: 1}]}]}\n\
             receivers: [{name: a, webhook_configs: [], webhook: []}]\n\
             inhibit_rules: [{equal: [x], equals: [y]}]\n\
             templates: ['*.tmpl']\n",
        )
        .unwrap();
        let mut unknown = file.unknown_keys();
        unknown.sort();
        assert_eq!(
            unknown,
            [
                "global.smtp_form",
                "inhibit_rules[0].equals",
                "receivers[0].webhook",
                "route.routes[0].receivr",
                "route.routes[0].routes[0].x"
            ]
        );
        assert_eq!(file.receiver_names(), ["a"]);
        assert_eq!(file.resolve_timeout().unwrap().to_string(), "1m");
    }
}
