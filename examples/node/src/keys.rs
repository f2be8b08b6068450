//! The keys of the configuration file that are not this program's: which of them Alertmanager does
//! not know. And the one that is its own, where it is in the way.

use crate::tree::Tree;

/// Keys that Alertmanager does not know in its own sections, by path.
pub(crate) fn unknown_keys(text: &str) -> Vec<String> {
    let mut unknown = Vec::new();
    let Some(file) = Tree::read(text) else {
        return unknown;
    };
    let mut look = |path: &str, value: Option<&Tree>, known: &dyn Fn(&str) -> bool| {
        for (key, _) in value.into_iter().flat_map(Tree::pairs) {
            if !known(&key.value) {
                let line = key.referenced.line();
                unknown.push(format!("{path}.{} (line {line})", key.value));
            }
        }
    };
    look("global", file.get("global"), &|key| GLOBAL.contains(&key));
    let list = |key: &str| file.get(key).into_iter().flat_map(Tree::items);
    for (index, rule) in list("inhibit_rules").enumerate() {
        let path = format!("inhibit_rules[{index}]");
        look(&path, Some(rule), &|key| INHIBIT.contains(&key));
    }
    for (index, receiver) in list("receivers").enumerate() {
        let path = format!("receivers[{index}]");
        look(&path, Some(receiver), &|key| RECEIVER.contains(&key));
        let webhooks = receiver.get("webhook_configs");
        for (idx, webhook) in webhooks.into_iter().flat_map(Tree::items).enumerate() {
            let path = format!("{path}.webhook_configs[{idx}]");
            look(&path, Some(webhook), &|key| WEBHOOK.contains(&key));
        }
    }
    let mut routes: Vec<(String, &Tree)> = file
        .get("route")
        .map(|route| ("route".to_owned(), route))
        .into_iter()
        .collect();
    while let Some((path, route)) = routes.pop() {
        look(&path, Some(route), &|key| ROUTE.contains(&key));
        let children = route.get("routes").into_iter().flat_map(Tree::items);
        for (index, child) in children.enumerate() {
            routes.push((format!("{path}.routes[{index}]"), child));
        }
    }
    unknown
}

/// The text with the section of a key of the outermost mapping commented out, if there is one and it
/// has lines to itself.
pub(crate) fn commented_out(text: &str, section: &str) -> String {
    let tree = Tree::read(text);
    let mut keys = tree.iter().flat_map(Tree::pairs).map(|(key, _)| key);
    let Some(key) = keys.find(|key| key.value == section && key.referenced.column() == 1) else {
        return text.to_owned();
    };
    let from = key.referenced.line();
    let ends = |(number, line): (u64, &str)| {
        let is_inside = line.is_empty() || line.starts_with([' ', '\t', '#']);
        (number > from && !is_inside).then_some(number)
    };
    let to = (1..).zip(text.lines()).find_map(ends).unwrap_or(u64::MAX);
    let lines = (1..).zip(text.lines()).map(|(number, line)| {
        let is_own = (from..to).contains(&number) && !line.is_empty() && !line.starts_with('#');
        let mark = if is_own { "# " } else { "" };
        format!("{mark}{line}\n")
    });
    lines.collect()
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
const RECEIVER: &[&str] = &[
    "name",
    "webhook_configs",
    "discord_configs",
    "email_configs",
    "opsgenie_configs",
    "pagerduty_configs",
    "pushover_configs",
    "slack_configs",
    "sns_configs",
    "telegram_configs",
    "victorops_configs",
    "webex_configs",
    "wechat_configs",
    "jira_configs",
    "mattermost_configs",
    "msteams_configs",
    "msteamsv2_configs",
    "rocketchat_configs",
    "incidentio_configs",
];
const WEBHOOK: &[&str] = &[
    "send_resolved",
    "http_config",
    "url",
    "url_file",
    "max_alerts",
    "timeout",
    "payload",
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
    use crate::file::parse;

    #[test]
    fn unknown_keys_of_other_sections_are_found() {
        let text = "global: {resolve_timeout: 1m, smtp_form: x}\n\
             route: {receiver: a, routes: [{receivr: b, routes: [{x: 1}]}]}\n\
             receivers: [{name: a, webhook_configs: [], webhook: []}]\n\
             inhibit_rules: [{equal: [x], equals: [y]}]\n\
             templates: ['*.tmpl']\n";
        let file = parse(text).unwrap();
        let mut unknown = unknown_keys(text);
        unknown.sort();
        assert_eq!(
            unknown,
            [
                "global.smtp_form (line 1)",
                "inhibit_rules[0].equals (line 4)",
                "receivers[0].webhook (line 3)",
                "route.routes[0].receivr (line 2)",
                "route.routes[0].routes[0].x (line 2)"
            ]
        );
        assert_eq!(file.resolve_timeout().unwrap().to_string(), "1m");
        assert_eq!(file.not_done().len(), 1);
    }

    #[test]
    fn a_section_is_commented_out() {
        for (text, out) in [
            (
                "route: {}\ncluster:\n  peer: []\n\n  tcp-timeout: 1s\nreceivers: []\n",
                "route: {}\n# cluster:\n#   peer: []\n\n#   tcp-timeout: 1s\nreceivers: []\n",
            ),
            ("cluster: {}", "# cluster: {}\n"),
            ("route: {cluster: a}\n", "route: {cluster: a}\n"),
            (
                "cluster:\n  peer: []\n# The others.\nroute: {}",
                "# cluster:\n#   peer: []\n# The others.\nroute: {}\n",
            ),
            ("{cluster: {}, route: {}}\n", "{cluster: {}, route: {}}\n"),
            ("", ""),
        ] {
            assert_eq!(commented_out(text, "cluster"), out, "{text}");
        }
    }
}
