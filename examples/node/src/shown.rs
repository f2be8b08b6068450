//! The configuration as it is shown: without its secrets, in whatever spelling the file has them, and with
//! what is this program's own as a comment.
//!
//! The file is shown anew from what it says: its comments, anchors and quotes are not what is shown. A
//! key that nobody knows may hold a secret, so that its values are not shown either.

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use crate::schema::{FILE, Value};
use crate::tree::{Leaf, Tree};

/// What is shown of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
    Null,
    /// A number, `true`, or whatever else has a meaning without quotes, as the file has it.
    Plain(String),
    Text(String),
}

/// What is shown of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownFile {
    pub(crate) tree: Shown,
    pub(crate) yaml: String,
}

impl ShownFile {
    /// Of a text that is right.
    pub(crate) fn of(text: &str) -> Self {
        let tree = Tree::read(text).unwrap_or(Tree::Leaf(Leaf::Null));
        let (mut theirs, mut own) = (Vec::new(), Vec::new());
        for (key, value) in tree.pairs() {
            let is_own = key.value == OWN_SECTION;
            let of = if is_own {
                Value::Plain
            } else {
                FILE.value(&key.value)
            };
            let shown = (key.value.clone(), Shown::of(&value.value, of, text));
            if is_own {
                own.push(shown);
            } else {
                theirs.push(shown);
            }
        }
        let tree = Shown::Map(theirs);
        let mut yaml = tree.yaml();
        for line in Shown::Map(own).yaml().lines() {
            yaml.push_str(&format!("# {line}\n"));
        }
        Self { tree, yaml }
    }
}

impl Shown {
    fn of(tree: &Tree, value: Value, text: &str) -> Self {
        match tree {
            Tree::List(items) => {
                let items = items.iter().map(|it| Self::of(&it.value, value, text));
                Self::List(items.collect())
            }
            Tree::Map(pairs) => {
                let pairs = pairs.iter().map(|(key, inner)| {
                    let value = match value {
                        Value::Keys(keys) => keys.value(&key.value),
                        Value::Named(keys) => Value::Keys(keys),
                        value => value,
                    };
                    (key.value.clone(), Self::of(&inner.value, value, text))
                });
                Self::Map(pairs.collect())
            }
            Tree::Leaf(leaf) => Self::leaf(leaf, value, text),
        }
    }

    fn leaf(leaf: &Leaf, value: Value, text: &str) -> Self {
        match (leaf, value) {
            (Leaf::Null, _) => Self::Null,
            (leaf, Value::Plain) => leaf.plain(text).map_or_else(
                || Self::Text(leaf.text().to_owned()),
                |plain| Self::Plain(plain.to_owned()),
            ),
            // An empty one is none, and is not read as one where it says that there is one.
            (leaf, _) if leaf.text().is_empty() => Self::Text(String::new()),
            (leaf, Value::Url) => Self::Text(masked_url(leaf.text())),
            _ => Self::Text(SECRET.to_owned()),
        }
    }

    /// As a YAML document. What would be too large because of how deep it nests is written in one line.
    fn yaml(&self) -> String {
        let mut out = String::new();
        match self {
            Self::Map(pairs) if pairs.is_empty() => return out,
            _ => self.write(0, &mut out),
        }
        if out.len() > YAML_BYTES_MAX {
            // JSON is YAML too.
            return serde_json::to_string(self).unwrap_or_default();
        }
        out
    }

    /// Writes the lines of a mapping or of a list at a depth.
    fn write(&self, depth: usize, out: &mut String) {
        if out.len() > YAML_BYTES_MAX {
            return;
        }
        match self {
            Self::Map(pairs) => {
                for (index, (key, value)) in pairs.iter().enumerate() {
                    if index > 0 {
                        indent(depth, out);
                    }
                    out.push_str(&written(key));
                    out.push(':');
                    value.write_after(depth, depth + 1, out);
                }
            }
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        indent(depth, out);
                    }
                    out.push('-');
                    if item.is_block() {
                        out.push(' ');
                        item.write(depth + 1, out);
                    } else {
                        item.write_after(depth, depth + 1, out);
                    }
                }
            }
            Self::Null | Self::Plain(_) | Self::Text(_) => {}
        }
    }

    /// Writes what comes after `key:` or `-`: on the same line, or on lines of its own.
    fn write_after(&self, list_depth: usize, map_depth: usize, out: &mut String) {
        match self {
            Self::List(items) if items.is_empty() => out.push_str(" []\n"),
            Self::Map(pairs) if pairs.is_empty() => out.push_str(" {}\n"),
            Self::List(_) => {
                out.push('\n');
                indent(list_depth, out);
                self.write(list_depth, out);
            }
            Self::Map(_) => {
                out.push('\n');
                indent(map_depth, out);
                self.write(map_depth, out);
            }
            Self::Null => out.push_str(" null\n"),
            Self::Plain(text) => {
                out.push(' ');
                out.push_str(text);
                out.push('\n');
            }
            Self::Text(text) => {
                out.push(' ');
                out.push_str(&written(text));
                out.push('\n');
            }
        }
    }

    fn is_block(&self) -> bool {
        match self {
            Self::List(items) => !items.is_empty(),
            Self::Map(pairs) => !pairs.is_empty(),
            _ => false,
        }
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::List(items) => {
                let mut list = to.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Map(pairs) => {
                let mut map = to.serialize_map(Some(pairs.len()))?;
                for (key, value) in pairs {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Null => to.serialize_unit(),
            Self::Plain(text) => match serde_json::from_str::<serde_json::Value>(text) {
                Ok(value) => value.serialize(to),
                Err(_) => to.serialize_str(text),
            },
            Self::Text(text) => to.serialize_str(text),
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// A text as YAML has it: as it is where it cannot be anything else, or in double quotes.
fn written(text: &str) -> String {
    let mut chars = text.chars();
    let begins = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || "_/<".contains(c));
    let goes_on = chars.all(|c| c.is_ascii_alphanumeric() || "_-./@+>".contains(c));
    let means_more = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    if begins && goes_on && !means_more.contains(&text.to_lowercase().as_str()) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // What YAML does not take as it is, or takes for the end of a line.
            '\0'..='\x1f'
            | '\x7f'..='\u{a0}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fff0}'..='\u{ffff}' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A URL that still is one, in which user, password, path and query are masked. The names of the
/// parameters of a query are shown.
fn masked_url(url: &str) -> String {
    if url == SECRET {
        return url.to_owned();
    }
    let Some((scheme, rest)) = url.split_once("://").filter(|_| !url.contains("{{")) else {
        return MASK.to_owned();
    };
    let known = ["http", "https", "socks5", "socks5h"];
    if !known.contains(&scheme.to_lowercase().as_str()) {
        return MASK.to_owned();
    }
    let (rest, fragment) = cut(rest, '#');
    let (rest, query) = cut(rest, '?');
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (user, host) = authority
        .rsplit_once('@')
        .map_or((None, authority), |(user, host)| (Some(user), host));
    let user = user.map(|user| {
        if user.contains(':') {
            "xxxxx:xxxxx@"
        } else {
            "xxxxx@"
        }
    });
    let segment = |segment: &str| if segment.is_empty() { "" } else { MASK };
    let path: Vec<_> = path.split('/').map(segment).collect();
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, _)) => format!("{name}={MASK}"),
        None => segment(pair).to_owned(),
    };
    let query = query.map(|query| {
        let pairs: Vec<_> = query.split('&').map(pair).collect();
        format!("?{}", pairs.join("&"))
    });
    let fragment = fragment.map(|_| format!("#{MASK}"));
    format!(
        "{scheme}://{}{host}{}{}{}",
        user.unwrap_or_default(),
        path.join("/"),
        query.unwrap_or_default(),
        fragment.unwrap_or_default()
    )
}

/// What is before a mark, and what is after it if it is there.
fn cut(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark)
        .map_or((text, None), |(before, after)| (before, Some(after)))
}

/// The section that is this program's own. It is shown as a comment: clients such as `amtool config routes`
/// take no key that they do not know.
const OWN_SECTION: &str = "cluster";
/// What Alertmanager shows in place of a secret.
const SECRET: &str = "<secret>";
/// What is shown in place of a part of a URL.
const MASK: &str = "xxxxx";
/// Four times the largest file: what is indented takes more than what is not.
const YAML_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Secrets in every spelling that YAML has for them.
    const SPELLINGS: &str = r#"
"global":
  "slack_api_url": "https://hooks.slack.example/services/T0/SECRET-A"
  'smtp_auth_password': &pw "SECRET-B\"SECRET-B"
  smtp_auth_secret: >-
    SECRET-C
    SECRET-C
  ? opsgenie_api_key
  : SECRET-D
  victorops_api_key: |
    SECRET-E
  wechat_api_secret: *pw
  telegram_bot_token: # SECRET-F
    SECRET-G
  "rocketchat\u005ftoken": SECRET-H
  unknown_thing: {a: [SECRET-I]}
  http_config: {authorization: {credentials: SECRET-J}, basic_auth: {password: 5ECRET},
    oauth2: {client_secret: SECRET-K, token_url: 'http://t/SECRET-L'}, bearer_token: SECRET-M,
    http_headers: {X-Key: {secrets: [SECRET-N], values: [shown]}},
    proxy_connect_header: {A: [SECRET-O]}, tls_config: {key: SECRET-P}}
route: {receiver: a}
x: &hook
  url: "http://user:SECRET-Q@h:5001/SECRET-R/x?token=SECRET-S&SECRET-T#SECRET-U"
receivers:
- name: a
  webhook_configs:
  - <<: *hook
  - {url: 'http://SECRET-V@h/', payload: {k: SECRET-W}}
  - {url: 'https://h/{{ SECRET-X }}'}
  pagerduty_configs: [{"routing_key" : "SECRET-Y", url: "https://events/SECRET-Z"}]
cluster: {tls-config: {key-file: a.pem}}
"#;

    #[test]
    fn no_spelling_of_a_secret_is_shown() {
        let shown = ShownFile::of(SPELLINGS);
        let json = serde_json::to_string(&shown.tree).unwrap();
        for text in [&shown.yaml, &json] {
            assert!(
                !text.contains("SECRET") && !text.contains("5ECRET"),
                "{text}"
            );
            assert!(
                text.contains("shown") && text.contains("unknown_thing"),
                "{text}"
            );
        }
        let value: serde_json::Value = serde_saphyr::from_str(&shown.yaml).unwrap();
        assert_eq!(value["global"]["slack_api_url"], "<secret>");
        let hooks = &value["receivers"][0]["webhook_configs"];
        assert_eq!(
            hooks[0]["url"],
            "http://xxxxx:xxxxx@h:5001/xxxxx/xxxxx?token=xxxxx&xxxxx#xxxxx"
        );
        assert_eq!(hooks[1]["url"], "http://xxxxx@h/");
        assert_eq!(
            value,
            serde_json::from_str::<serde_json::Value>(&json).unwrap()
        );
    }

    /// What is no secret is read back as it was.
    #[test]
    fn what_is_shown_says_what_the_file_says() {
        let text = r##"
templates: [a.tmpl, "b: c.tmpl", '#x', "", " y "]
route:
  receiver: s
  group_wait: 30s
  continue: no
  match: {version: 1.10, b: "1.10", c: yes, d: 'yes', e: 0x1F, f: null, g: ~, h: "-"}
  matchers: ['a="b, c"', "d=~\"\\d+\n\"", "\u0085\u2028\x07é🙂"]
  routes: [{routes: []}, {match: {}}, {matchers: [[x, [y]], z]}]
receivers:
- name: s
  slack_configs:
  - title: "runbook url: https://runbooks.example.org/x"
    text: 'Dashboard url: https://grafana.example.org/d/abc'
    fields: [{title: t, short: true}]
  webhook_configs: [{max_alerts: 5, send_resolved: false, url: "http://h:1"}]
"##;
        let shown = ShownFile::of(text);
        let read = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&shown.yaml), read(text), "{}", shown.yaml);
        assert!(shown.yaml.contains("version: 1.10\n"), "{}", shown.yaml);
        assert!(shown.yaml.contains("b: \"1.10\"\n"), "{}", shown.yaml);
        assert!(shown.yaml.contains("continue: no\n"), "{}", shown.yaml);
        assert!(shown.yaml.contains("d: \"yes\"\n"), "{}", shown.yaml);
        let again = ShownFile::of(&shown.yaml);
        assert_eq!(again.yaml, shown.yaml);
    }

    #[test]
    fn nothing_is_shown_of_nothing() {
        for text in ["", "# nothing\n", "{}"] {
            assert_eq!(ShownFile::of(text).yaml, "", "{text}");
        }
    }

    #[test]
    fn the_own_section_is_a_comment() {
        let text = "cluster: {peer: ['a:1'], tcp-timeout: 1s}\nroute: {receiver: a}\n";
        let shown = ShownFile::of(text).yaml;
        let expected =
            "route:\n  receiver: a\n# cluster:\n#   peer:\n#   - \"a:1\"\n#   tcp-timeout: 1s\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_masked_url_is_a_url() {
        for (url, masked) in [
            ("https://h", "https://h"),
            ("https://h:1/", "https://h:1/"),
            ("https://h//a/", "https://h//xxxxx/"),
            (
                "HTTP://a:b@c@[::1]:9/x?",
                "HTTP://xxxxx:xxxxx@[::1]:9/xxxxx?",
            ),
            ("http://h?a=b&c&d=", "http://h?a=xxxxx&xxxxx&d=xxxxx"),
            ("socks5://u:p@h:1080", "socks5://xxxxx:xxxxx@h:1080"),
            ("foo", "xxxxx"),
            ("mailto:a@b", "xxxxx"),
            ("<secret>", "<secret>"),
        ] {
            assert_eq!(masked_url(url), masked, "{url}");
        }
    }
}
