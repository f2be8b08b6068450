//! The receivers that a configuration file comes to: what is sent, where, and with which credentials,
//! after the `global` section has filled in what a receiver leaves out.
//!
//! What is in a file is not read here: it is named by a [`Source`] and read for every use, so that it
//! may change while the program runs. Relative names of files of `http_config` and `tls_config` are
//! those of the directory of the configuration file; others are as they are written.

mod email;
mod http;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::file::{Address, File};
use crate::sections::{Global, Receiver, WebhookSection};

pub(crate) use email::{EmailConfig, EmailSection};
pub(crate) use http::{HttpAuth, HttpConfig, HttpSection, OAuth2Config, TlsConfig, TlsSection};

/// Who is told, by name.
#[derive(Clone, Debug)]
pub(crate) struct ReceiverConfig {
    pub(crate) name: String,
    /// In the order of the file: the place in the list is the `idx` of the notification log.
    pub(crate) webhooks: Vec<WebhookConfig>,
    /// In the order of the file.
    pub(crate) emails: Vec<EmailConfig>,
    /// How many integrations it has that this node does not have.
    pub(crate) others: usize,
}

/// One of `webhook_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebhookConfig {
    /// Its place among those of the receiver.
    pub(crate) idx: u32,
    /// Where it is; its credentials, if it has any, are those of basic authentication.
    pub(crate) url: Address,
    pub(crate) send_resolved: bool,
    pub(crate) http: HttpConfig,
    /// How many alerts a message has at most; 0 is no limit. The rest is counted in it.
    pub(crate) max_alerts: u64,
    /// How long one attempt may take. `None`: as long as the flush that it is part of.
    pub(crate) timeout: Option<Duration>,
}

/// A text that nobody is shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A text, or the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// White space at both ends of what it holds does not belong to it.
    File(PathBuf),
    Text(Secret),
}

impl Source {
    /// The text, or the file, if one of them is given. Empty ones are not.
    fn of(text: Option<&String>, file: Option<&String>, dir: &Path) -> Option<Self> {
        let given = |text: &&String| !text.is_empty();
        let text = text.filter(given).map(|it| Self::Text(Secret(it.clone())));
        text.or_else(|| file.filter(given).map(|it| Self::File(joined(dir, it))))
    }

    /// Whether there is a file to be read.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// The text; a file is read anew.
    ///
    /// # Errors
    /// The file cannot be read, or is no text.
    pub(crate) fn read(&self) -> std::io::Result<Secret> {
        match self {
            Self::File(file) => {
                let text = std::fs::read_to_string(file)?;
                Ok(Secret(text.trim().to_owned()))
            }
            Self::Text(text) => Ok(text.clone()),
        }
    }
}

/// A file as it is named in another one that is in `dir`.
fn joined(dir: &Path, file: &str) -> PathBuf {
    dir.join(file)
}

impl File {
    /// The receivers, whose file is in `dir`.
    pub(crate) fn receivers(&self, dir: &Path) -> Vec<ReceiverConfig> {
        let nothing = Global::default();
        let global = self.global.as_ref().and_then(|it| it.value.as_ref());
        let global = global.unwrap_or(&nothing);
        let receivers = self.receivers.iter().flatten();
        let one = |it| ReceiverConfig::of(it, global, dir);
        receivers.map(|it| one(&it.value)).collect()
    }
}

impl ReceiverConfig {
    fn of(section: &Receiver, global: &Global, dir: &Path) -> Self {
        let webhooks = section.webhook_configs.iter().flatten();
        let emails = section.email_configs.iter().flatten();
        let name = section.name.as_ref().map(|it| it.value.clone());
        let others = section
            .integrations()
            .map(|(_, configs, _)| configs.iter().flatten().count());
        Self {
            others: others.into_iter().sum(),
            name: name.unwrap_or_default(),
            webhooks: (0..)
                .zip(webhooks)
                .map(|(idx, it)| WebhookConfig::of(idx, &it.value, global, dir))
                .collect(),
            emails: (0..)
                .zip(emails)
                .map(|(idx, it)| EmailConfig::of(idx, &it.value, global, dir))
                .collect(),
        }
    }

    /// How many integrations it has.
    pub(crate) fn integrations(&self) -> usize {
        self.webhooks.len() + self.emails.len() + self.others
    }
}

impl WebhookConfig {
    fn of(idx: u32, section: &WebhookSection, global: &Global, dir: &Path) -> Self {
        let http = section.http_config.as_ref();
        let http = http.or(global.http_config.as_ref()).map(|it| &it.value);
        let timeout = section.timeout.map(|it| it.0);
        Self {
            idx,
            url: section.address(),
            send_resolved: section.send_resolved.is_none_or(|it| it.0),
            http: http.map_or_else(HttpConfig::default, |it| HttpConfig::of(it, dir)),
            max_alerts: section.max_alerts.unwrap_or(0),
            timeout: timeout.filter(|it| !it.is_zero()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::parse;
    use crate::tls_parts::Version;

    fn receivers(text: &str) -> Vec<ReceiverConfig> {
        parse(text).unwrap().receivers(Path::new("/etc/am"))
    }

    fn text(text: &str) -> Source {
        Source::Text(Secret(text.to_owned()))
    }

    #[test]
    fn a_webhook_has_everything_that_it_is_told() {
        let all = receivers(
            "
route: {receiver: a}
global:
  http_config: {authorization: {credentials_file: token}}
receivers:
- name: a
  webhook_configs:
  - {url: 'http://h/1', send_resolved: false, max_alerts: 3, timeout: 1m2s}
  - url_file: /run/url
    http_config:
      basic_auth: {username: u, password: p}
      proxy_url: http://proxy:3128
      no_proxy: example.org
      follow_redirects: false
      http_headers: {X-A: {values: [b], secrets: [c], files: [d]}}
      tls_config: {ca_file: ca.pem, cert_file: /c.pem, key_file: k.pem, server_name: s,
                   insecure_skip_verify: true, min_version: TLS13}
",
        );
        let [first, second] = &all[0].webhooks[..] else {
            panic!("{all:?}");
        };
        assert_eq!((all[0].name.as_str(), first.idx, second.idx), ("a", 0, 1));
        assert_eq!(first.url, Address::Url("http://h/1".to_owned()));
        assert!(!first.send_resolved && second.send_resolved);
        assert_eq!((first.max_alerts, second.max_alerts), (3, 0));
        assert_eq!(first.timeout, Some(Duration::from_secs(62)));
        assert_eq!(second.timeout, None);
        let token = Source::File("/etc/am/token".into());
        assert_eq!(
            first.http.auth,
            Some(HttpAuth::Header {
                scheme: "Bearer".to_owned(),
                credentials: Some(token)
            })
        );
        assert!(first.http.follow_redirects && !second.http.follow_redirects);
        assert_eq!(
            second.http.auth,
            Some(HttpAuth::Basic {
                username: Some(text("u")),
                password: Some(text("p"))
            })
        );
        assert_eq!(second.http.proxy_url.as_deref(), Some("http://proxy:3128"));
        assert_eq!(second.http.no_proxy, "example.org");
        let header = |source| ("X-A".to_owned(), source);
        let files = Source::File("/etc/am/d".into());
        assert_eq!(
            second.http.headers,
            [header(text("b")), header(text("c")), header(files)]
        );
        assert_eq!(
            second.http.tls,
            TlsConfig {
                authorities: Some(Source::File("/etc/am/ca.pem".into())),
                certificate: Some(Source::File("/c.pem".into())),
                key: Some(Source::File("/etc/am/k.pem".into())),
                server_name: Some("s".to_owned()),
                insecure_skip_verify: true,
                min_version: Some(Version::Tls13),
                max_version: None,
            }
        );
    }

    #[test]
    fn an_email_takes_from_global_what_it_lacks() {
        let all = receivers(
            "
route: {receiver: a}
global:
  {smtp_from: f@example.org, smtp_smarthost: 'mail:587', smtp_auth_username: u,
   smtp_auth_password: p, smtp_hello: me, smtp_require_tls: false,
   smtp_tls_config: {ca_file: ca.pem}}
receivers:
- name: a
  email_configs:
  - to: t@example.org
  - {to: x, from: y, smarthost: '[::1]:465', auth_username: v, auth_password_file: /pw, hello: h,
     require_tls: true, send_resolved: true, headers: {subject: s}, text: t, html: ''}
",
        );
        let [first, second] = &all[0].emails[..] else {
            panic!("{all:?}");
        };
        assert_eq!(
            (first.to.as_str(), first.from.as_str()),
            ("t@example.org", "f@example.org")
        );
        assert_eq!((first.host.as_str(), first.port.as_str()), ("mail", "587"));
        assert_eq!((second.host.as_str(), second.port.as_str()), ("::1", "465"));
        assert_eq!((first.hello.as_str(), second.hello.as_str()), ("me", "h"));
        assert_eq!(first.username, "u");
        assert_eq!(first.password, Some(text("p")));
        assert_eq!(second.password, Some(Source::File("/pw".into())));
        assert!(!first.require_tls && second.require_tls);
        assert!(!first.send_resolved && second.send_resolved);
        assert_eq!(second.headers, [("Subject".to_owned(), "s".to_owned())]);
        assert_eq!(
            (second.text.as_deref(), second.html.as_deref()),
            (Some("t"), Some(""))
        );
        assert_eq!((first.text.as_deref(), first.html.as_deref()), (None, None));
        let ca = Some(Source::File("/etc/am/ca.pem".into()));
        assert_eq!(first.tls.authorities, ca);
    }

    #[test]
    fn secrets_are_not_printed() {
        let printed = format!("{:?}", text("hunter2"));
        assert_eq!(printed, "Text(<secret>)");
    }
}
