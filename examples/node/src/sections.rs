//! Alertmanager's own sections, typed. Values are read as it reads them; a wrong one is an error at
//! its place. Keys that are not here are no error: [`File`](crate::file::File) reports them.

use std::cell::Cell;
use std::collections::BTreeMap;

use rumormill::store::matcher::{Matcher, Op, Syntax, is_label_name};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, Visitor};
use serde_saphyr::Spanned;

use crate::duration::{Span, Term};
use crate::file::Address;
use crate::integrations::Integration;
use crate::matchers::{FILE, Tally};
use crate::receivers::{EmailSection, HttpSection, TlsSection};

/// A list whose items have places.
pub(crate) type List<T> = Option<Vec<Spanned<T>>>;
/// A mapping whose content does not matter here.
pub(crate) type Mapping = BTreeMap<String, IgnoredAny>;

/// `global`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Global {
    pub(crate) resolve_timeout: Option<Term>,
    pub(crate) http_config: Option<Spanned<HttpSection>>,
    pub(crate) smtp_from: Option<String>,
    pub(crate) smtp_hello: Option<String>,
    pub(crate) smtp_smarthost: Option<HostPort>,
    pub(crate) smtp_auth_username: Option<String>,
    pub(crate) smtp_auth_password: Option<String>,
    pub(crate) smtp_auth_password_file: Option<String>,
    pub(crate) smtp_auth_secret: Option<String>,
    pub(crate) smtp_auth_secret_file: Option<String>,
    pub(crate) smtp_auth_identity: Option<String>,
    pub(crate) smtp_require_tls: Option<Switch>,
    pub(crate) smtp_force_implicit_tls: Option<Switch>,
    pub(crate) smtp_tls_config: Option<Spanned<TlsSection>>,
    pub(crate) slack_api_url: Option<Url>,
    pub(crate) slack_api_url_file: Option<String>,
    pub(crate) slack_app_token: Option<String>,
    pub(crate) slack_app_token_file: Option<String>,
    pub(crate) slack_app_url: Option<Url>,
    pub(crate) pagerduty_url: Option<Url>,
    pub(crate) opsgenie_api_url: Option<Url>,
    pub(crate) opsgenie_api_key: Option<String>,
    pub(crate) opsgenie_api_key_file: Option<String>,
    pub(crate) wechat_api_url: Option<Url>,
    pub(crate) wechat_api_secret: Option<String>,
    pub(crate) wechat_api_secret_file: Option<String>,
    pub(crate) wechat_api_corp_id: Option<String>,
    pub(crate) victorops_api_url: Option<Url>,
    pub(crate) victorops_api_key: Option<String>,
    pub(crate) victorops_api_key_file: Option<String>,
    pub(crate) telegram_api_url: Option<Url>,
    pub(crate) telegram_bot_token: Option<String>,
    pub(crate) telegram_bot_token_file: Option<String>,
    pub(crate) webex_api_url: Option<Url>,
    pub(crate) rocketchat_api_url: Option<Url>,
    pub(crate) rocketchat_token: Option<String>,
    pub(crate) rocketchat_token_file: Option<String>,
    pub(crate) rocketchat_token_id: Option<String>,
    pub(crate) rocketchat_token_id_file: Option<String>,
    pub(crate) jira_api_url: Option<Url>,
    pub(crate) mattermost_webhook_url: Option<Url>,
    pub(crate) mattermost_webhook_url_file: Option<String>,
}

/// `route`, and what is under it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct RouteSection {
    pub(crate) receiver: Option<Spanned<String>>,
    pub(crate) group_by: List<LabelName>,
    pub(crate) group_wait: Option<Term>,
    pub(crate) group_interval: Option<Spanned<Term>>,
    pub(crate) repeat_interval: Option<Spanned<Term>>,
    #[serde(rename = "match")]
    pub(crate) equal: Option<BTreeMap<LabelName, String>>,
    pub(crate) match_re: Option<BTreeMap<LabelName, Pattern>>,
    pub(crate) matchers: Option<Vec<Matchers>>,
    #[serde(rename = "continue")]
    pub(crate) goes_on: Option<Spanned<Switch>>,
    pub(crate) routes: List<Self>,
    pub(crate) mute_time_intervals: List<String>,
    pub(crate) active_time_intervals: List<String>,
}

/// One of `receivers`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Receiver {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) webhook_configs: List<WebhookSection>,
    pub(crate) discord_configs: List<Integration>,
    pub(crate) email_configs: List<EmailSection>,
    pub(crate) opsgenie_configs: List<Integration>,
    pub(crate) pagerduty_configs: List<Integration>,
    pub(crate) pushover_configs: List<Integration>,
    pub(crate) slack_configs: List<Integration>,
    pub(crate) sns_configs: List<Integration>,
    pub(crate) telegram_configs: List<Integration>,
    pub(crate) victorops_configs: List<Integration>,
    pub(crate) webex_configs: List<Integration>,
    pub(crate) wechat_configs: List<Integration>,
    pub(crate) jira_configs: List<Integration>,
    pub(crate) mattermost_configs: List<Integration>,
    pub(crate) msteams_configs: List<Integration>,
    pub(crate) msteamsv2_configs: List<Integration>,
    pub(crate) rocketchat_configs: List<Integration>,
    pub(crate) incidentio_configs: List<Integration>,
}

/// One of `webhook_configs`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct WebhookSection {
    pub(crate) send_resolved: Option<Switch>,
    pub(crate) http_config: Option<Spanned<HttpSection>>,
    pub(crate) url: Option<Url>,
    pub(crate) url_file: Option<String>,
    pub(crate) max_alerts: Option<u64>,
    /// Known to be there, and not used.
    pub(crate) payload: Option<IgnoredAny>,
    pub(crate) timeout: Option<Span>,
}

impl WebhookSection {
    /// Where it is.
    pub(crate) fn address(&self) -> Address {
        let url = self.url.as_ref().map(|url| Address::Url(url.0.clone()));
        url.unwrap_or_else(|| Address::File(self.url_file.clone().unwrap_or_default()))
    }
}

/// One of `inhibit_rules`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct InhibitRule {
    pub(crate) name: Option<String>,
    pub(crate) source_match: Option<BTreeMap<LabelName, String>>,
    pub(crate) source_match_re: Option<BTreeMap<LabelName, Pattern>>,
    pub(crate) source_matchers: Option<Vec<Matchers>>,
    pub(crate) target_match: Option<BTreeMap<LabelName, String>>,
    pub(crate) target_match_re: Option<BTreeMap<LabelName, Pattern>>,
    pub(crate) target_matchers: Option<Vec<Matchers>>,
    pub(crate) equal: Option<Vec<LabelName>>,
}

/// A text that is checked when it is read.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $of:ty, $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $name(pub(crate) $of);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let read: fn(String) -> Result<$of, String> = $read;
                read(String::deserialize(from)?).map(Self).map_err(D::Error::custom)
            }
        }
    };
}

text!(
    /// `http://` or `https://`, and a host.
    Url, String, |text| {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
        if !["http", "https"].contains(&scheme.to_lowercase().as_str()) && text != "<secret>" {
            return Err(format!("unsupported scheme {scheme:?} for URL; http or https is needed"));
        }
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("missing host for URL".to_owned());
        }
        Ok(text)
    }
);

text!(
    /// `host:port`; the host may be missing.
    HostPort, String, |text| {
        match text.rsplit_once(':') {
            _ if text.is_empty() => Ok(text),
            Some((_, port)) if !port.is_empty() => Ok(text),
            Some(_) => Err(format!("address {text:?}: port cannot be empty")),
            None => Err(format!("address {text:?}: missing port in address")),
        }
    }
);

impl HostPort {
    /// The host, without the brackets of an IPv6 address, and the port.
    pub(crate) fn split(&self) -> (String, String) {
        let (host, port) = self.0.rsplit_once(':').unwrap_or((&self.0, ""));
        let inside = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        (inside.unwrap_or(host).to_owned(), port.to_owned())
    }
}

text!(
    /// A label's name, or `...` where that means all.
    LabelName, String, |text| {
        if text == "..." || is_label_name(&text, Syntax::Fallback) {
            Ok(text)
        } else {
            Err(format!("{text:?} is not a valid label name"))
        }
    }
);

thread_local! {
    /// The matchers of the file that this thread reads, so far.
    static READ: Cell<Tally> = const { Cell::new(Tally { matchers: 0, patterns: 0, bytes: 0, pattern_bytes: 0 }) };
}

/// A file begins: its matchers are counted from here on.
pub(crate) fn begin() {
    READ.set(Tally::default());
}

/// Whether a file may have these matchers too.
fn count<E: serde::de::Error>(more: Tally) -> Result<(), E> {
    let all = READ.get().and(more);
    READ.set(all);
    all.check(&FILE).map_err(E::custom)
}

/// A pattern that compiles.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(pub(crate) String);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        count(Tally::one("", &text, true))?;
        match Matcher::new("x", Op::Regex, text.clone()) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(D::Error::custom(format_args!("{text:?}: {error}"))),
        }
    }
}

/// A list of matchers in one text.
#[derive(Clone, Debug)]
pub(crate) struct Matchers(pub(crate) Vec<Matcher>);

impl<'de> Deserialize<'de> for Matchers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        count(Tally::of(&text))?;
        match Syntax::Fallback.matchers(&text) {
            Ok(matchers) => Ok(Self(matchers)),
            Err(error) => Err(D::Error::custom(format_args!("{text:?}: {error}"))),
        }
    }
}

/// `true` or `false`, `yes` and `no` included; never a text in quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Switch(pub(crate) bool);

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bool;
        impl Visitor<'_> for Bool {
            type Value = Switch;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E>(self, on: bool) -> Result<Switch, E> {
                Ok(Switch(on))
            }
        }
        from.deserialize_any(Bool)
    }
}
