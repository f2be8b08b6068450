//! `email_configs`: which server takes mail, from whom and to whom.

use std::collections::BTreeMap;
use std::path::Path;

use super::http::Placed;
use super::{Source, TlsConfig, TlsSection};
use crate::sections::{Global, HostPort, Switch};

/// One of `email_configs`, as it is written.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct EmailSection {
    pub(crate) send_resolved: Option<Switch>,
    pub(crate) to: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) hello: Option<String>,
    pub(crate) smarthost: Option<HostPort>,
    pub(crate) auth_username: Option<String>,
    pub(crate) auth_password: Option<String>,
    pub(crate) auth_password_file: Option<String>,
    pub(crate) auth_secret: Option<String>,
    pub(crate) auth_secret_file: Option<String>,
    pub(crate) auth_identity: Option<String>,
    pub(crate) headers: Option<BTreeMap<String, String>>,
    pub(crate) html: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) require_tls: Option<Switch>,
    pub(crate) force_implicit_tls: Option<Switch>,
    pub(crate) threading: Option<ThreadingSection>,
    pub(crate) tls_config: Placed<TlsSection>,
}

/// `threading` of one of `email_configs`: known to be there, and not done.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct ThreadingSection {
    pub(crate) enabled: Option<Switch>,
}

/// A mail to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EmailConfig {
    /// Its place among those of the receiver.
    pub(crate) idx: u32,
    pub(crate) send_resolved: bool,
    /// Addresses with commas between them; a template where it has `{{`.
    pub(crate) to: String,
    /// A template where it has `{{`.
    pub(crate) from: String,
    /// What this node calls itself in EHLO.
    pub(crate) hello: String,
    pub(crate) host: String,
    /// A number, or a name of a service.
    pub(crate) port: String,
    /// Empty: nobody logs in.
    pub(crate) username: String,
    /// For PLAIN and LOGIN.
    pub(crate) password: Option<Source>,
    /// For CRAM-MD5.
    pub(crate) secret: Option<Source>,
    /// Who PLAIN is on behalf of.
    pub(crate) identity: String,
    /// Names as headers are written, `Subject`, and values, which are templates where they have `{{`.
    pub(crate) headers: Vec<(String, String)>,
    /// Templates; `None`: the documented text, or the documented page.
    pub(crate) html: Option<String>,
    pub(crate) text: Option<String>,
    /// Whether a server without STARTTLS gets nothing.
    pub(crate) require_tls: bool,
    /// Whether TLS is there from the first byte; `None`: on port 465.
    pub(crate) implicit_tls: Option<bool>,
    pub(crate) tls: TlsConfig,
}

impl EmailSection {
    /// What of it contradicts itself, in Alertmanager's words.
    pub(crate) fn fault(&self, global: &Global) -> Option<&'static str> {
        let given = |text: &Option<String>| text.as_ref().is_some_and(|it| !it.is_empty());
        let host = self.smarthost.as_ref().filter(|it| !it.0.is_empty());
        let host = host.or(global.smtp_smarthost.as_ref());
        if !given(&self.to) {
            return Some("missing to address in email config");
        }
        if host.is_none_or(|it| it.0.is_empty()) {
            return Some("no global SMTP smarthost set");
        }
        if !given(&self.from) && !given(&global.smtp_from) {
            return Some("no global SMTP from set");
        }
        if given(&self.auth_password) && given(&self.auth_password_file) {
            return Some("at most one of auth_password & auth_password_file must be configured");
        }
        if given(&self.auth_secret) && given(&self.auth_secret_file) {
            return Some("at most one of auth_secret & auth_secret_file must be configured");
        }
        let headers = self.headers.iter().flatten().map(|(name, _)| header(name));
        let mut names: Vec<String> = headers.collect();
        names.sort();
        if names.windows(2).any(|two| two.first() == two.last()) {
            return Some("duplicate header in email config");
        }
        let tls = self.tls_config.as_ref();
        tls.and_then(|it| it.value.fault())
    }
}

impl EmailConfig {
    /// Whether files are read for each mail.
    pub(crate) fn has_files(&self) -> bool {
        self.tls.has_files() || self.password.as_ref().is_some_and(Source::is_file)
    }

    pub(super) fn of(idx: u32, section: &EmailSection, global: &Global, dir: &Path) -> Self {
        let either = |own: &Option<String>, global: &Option<String>| {
            let own = own.clone().filter(|text| !text.is_empty());
            own.or_else(|| global.clone()).unwrap_or_default()
        };
        let here = Path::new("");
        let source = |text: &Option<String>, file: &Option<String>| {
            Source::of(text.as_ref(), file.as_ref(), here)
        };
        let own = section.smarthost.as_ref().filter(|it| !it.0.is_empty());
        let smarthost = own.or(global.smtp_smarthost.as_ref());
        let (host, port) = smarthost.map(HostPort::split).unwrap_or_default();
        let require_tls = section.require_tls.or(global.smtp_require_tls);
        let implicit_tls = section
            .force_implicit_tls
            .or(global.smtp_force_implicit_tls);
        let tls = section
            .tls_config
            .as_ref()
            .or(global.smtp_tls_config.as_ref());
        let headers = section.headers.iter().flatten();
        let hello = either(&section.hello, &global.smtp_hello);
        Self {
            idx,
            send_resolved: section.send_resolved.is_some_and(|it| it.0),
            to: section.to.clone().unwrap_or_default(),
            from: either(&section.from, &global.smtp_from),
            hello: if hello.is_empty() {
                "localhost".to_owned()
            } else {
                hello
            },
            host,
            port,
            username: either(&section.auth_username, &global.smtp_auth_username),
            password: source(&section.auth_password, &section.auth_password_file)
                .or_else(|| source(&global.smtp_auth_password, &global.smtp_auth_password_file)),
            secret: source(&section.auth_secret, &section.auth_secret_file)
                .or_else(|| source(&global.smtp_auth_secret, &global.smtp_auth_secret_file)),
            identity: either(&section.auth_identity, &global.smtp_auth_identity),
            headers: headers
                .map(|(name, value)| (header(name), value.clone()))
                .collect(),
            html: section.html.clone(),
            text: section.text.clone(),
            require_tls: require_tls.is_none_or(|it| it.0),
            implicit_tls: implicit_tls.map(|it| it.0),
            tls: TlsConfig::of(tls.map(|it| &it.value), dir),
        }
    }
}

/// A header's name as it is usually written: each word with a capital.
fn header(name: &str) -> String {
    let word = |word: &str| {
        let lower = word.to_lowercase();
        let mut chars = lower.chars();
        let first = chars.next().map(|it| it.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}
