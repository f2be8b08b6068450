//! The keys of the configuration file that Alertmanager does not know, with their places.

use serde_saphyr::Location;

use crate::schema::{FILE, Value};
use crate::tree::Tree;

/// A key that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownKey {
    /// The whole of it, such as `receivers[0].webhook_configs[1].urls`.
    pub(crate) path: String,
    pub(crate) at: Location,
    /// Whether Alertmanager once knew it: what it asked for is not to be had any more.
    pub(crate) is_gone: bool,
}

/// Those of a file, in its order. Keys of the outermost mapping are not looked at: there, each that is
/// not known is an error anyway.
pub(crate) fn unknown_keys(tree: &Tree) -> Vec<UnknownKey> {
    let mut found = Vec::new();
    for (key, value) in tree.pairs() {
        let mut path = key.value.clone();
        look(&value.value, FILE.value(&key.value), &mut path, &mut found);
    }
    found
}

fn look(tree: &Tree, value: Value, path: &mut String, found: &mut Vec<UnknownKey>) {
    let len = path.len();
    for (index, item) in tree.items().enumerate() {
        path.push_str(&format!("[{index}]"));
        look(item, value, path, found);
        path.truncate(len);
    }
    for (key, inner) in tree.pairs() {
        path.push('.');
        path.push_str(&key.value);
        match value {
            Value::Keys(keys) => {
                let value = keys.value(&key.value);
                if matches!(value, Value::Gone | Value::Unknown) {
                    found.push(UnknownKey {
                        path: path.clone(),
                        at: key.referenced,
                        is_gone: matches!(value, Value::Gone),
                    });
                }
                look(&inner.value, value, path, found);
            }
            Value::Named(keys) => look(&inner.value, Value::Keys(keys), path, found),
            Value::Gone | Value::Plain | Value::Secret | Value::Unknown | Value::Url => {}
        }
        path.truncate(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_found_at_any_depth() {
        let text = "global: {resolve_timeout: 1m, smtp_form: x, http_config: {proxy: x}}\n\
             route: {receiver: a, routes: [{receivr: b, match: {x: y}, routes: [{x: 1}]}]}\n\
             receivers: [{name: a, webhook_configs: [], webhook: []},\n\
             {name: b, email_configs: [{to: x, headers: {a: b}, tls_config: {ca: x, caf: x}}],\n\
             webhook_configs: [{http_config: {http_headers: {X: {value: y, values: []}}}}],\n\
             slack_configs: [{actions: [{confirm: {yes: x}}]}]}]\n\
             inhibit_rules: [{equal: [x], equals: [y]}]\n\
             time_intervals: [{name: x, time_intervals: [{times: [{start: x}], month: []}]}]\n\
             templates: ['*.tmpl']\ncluster: {anything: x}\n";
        let tree = Tree::read(text).unwrap();
        let unknown = unknown_keys(&tree);
        let paths: Vec<_> = unknown
            .iter()
            .map(|it| (it.path.as_str(), it.at.line()))
            .collect();
        assert_eq!(
            paths,
            [
                ("global.smtp_form", 1),
                ("global.http_config.proxy", 1),
                ("route.routes[0].receivr", 2),
                ("route.routes[0].routes[0].x", 2),
                ("receivers[0].webhook", 3),
                ("receivers[1].email_configs[0].tls_config.caf", 4),
                (
                    "receivers[1].webhook_configs[0].http_config.http_headers.X.value",
                    5
                ),
                ("receivers[1].slack_configs[0].actions[0].confirm.yes", 6),
                ("inhibit_rules[0].equals", 7),
                ("time_intervals[0].time_intervals[0].times[0].start", 8),
                ("time_intervals[0].time_intervals[0].month", 8),
            ]
        );
        assert!(unknown.iter().all(|it| !it.is_gone));
    }

    #[test]
    fn what_is_gone_is_not_merely_unknown() {
        let tree = Tree::read("receivers: [{opsgenie_configs: [{teams: x}]}]").unwrap();
        let unknown = unknown_keys(&tree);
        assert!(unknown.len() == 1 && unknown[0].is_gone && unknown[0].at.column() == 34);
    }
}
