//! E-mail, by SMTP: STARTTLS or TLS from the start, PLAIN and LOGIN, headers, text and page.
//!
//! Texts have a form of their own ([`super::email_text`]). What the configuration has instead is taken as it
//! is, unless it is a template of Go (`{{`): those are not evaluated, and told of at the start.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use lettre::Message;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{
    Certificate, CertificateStore, Identity, TlsParameters, TlsVersion,
};
use lettre::transport::smtp::extension::ClientId;

use super::email_text;
use super::integration::{Files, Notification, SendError, aside};
use super::resolver::Resolver;
use super::smtp::{Security, Session};
use super::tls::{TlsClientError, TlsMaterial};
use crate::receivers::EmailConfig;
use crate::tls_parts::Version;

/// One of `email_configs`.
#[derive(Clone, Debug)]
pub(super) struct Email {
    pub(super) config: EmailConfig,
    files: Files,
    resolver: Arc<Resolver>,
    made: MadeTls,
}

/// What TLS was begun with last, and what that is made of: the system's authorities are many, and read once.
#[derive(Clone, Default)]
struct MadeTls(Arc<Mutex<Option<(TlsMaterial, TlsParameters)>>>);

impl std::fmt::Debug for MadeTls {
    /// Without keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeTls").finish_non_exhaustive()
    }
}

/// Why a mail is not even begun. All but files that cannot be read stay wrong.
#[derive(Debug, thiserror::Error)]
enum MailError {
    #[error("{field} is no list of addresses: {error}")]
    Address {
        field: &'static str,
        error: lettre::address::AddressError,
    },
    #[error("{0} is a template, which this node does not evaluate; write the addresses themselves")]
    Template(&'static str),
    #[error("the header {0:?} is not one")]
    Header(String),
    #[error("the mail cannot be written: {0}")]
    Mail(#[from] lettre::error::Error),
    #[error("the port {0:?} is none")]
    Port(String),
    #[error("auth_password_file cannot be read: {0}")]
    Password(std::io::Error),
    #[error(
        "auth_username needs auth_password: CRAM-MD5 with auth_secret is not done by this node"
    )]
    NoPassword,
    #[error("a password is not sent in the clear to {0}: set require_tls")]
    Clear(String),
    #[error(transparent)]
    Tls(#[from] TlsClientError),
    #[error("tls_config cannot be used: {0}")]
    TlsParameters(lettre::transport::smtp::Error),
}

impl From<MailError> for SendError {
    fn from(error: MailError) -> Self {
        match error {
            MailError::Password(_) | MailError::Tls(_) => Self::Retry(error.to_string()),
            _ => Self::Final(error.to_string()),
        }
    }
}

impl Email {
    /// Nothing of it is tried here.
    pub(super) fn new(config: EmailConfig) -> Self {
        Self {
            files: Files::new(config.has_files()),
            resolver: Resolver::shared(),
            made: MadeTls::default(),
            config,
        }
    }

    #[cfg(test)]
    pub(super) fn looking_up(self, resolver: Arc<Resolver>) -> Self {
        Self { resolver, ..self }
    }

    /// One mail, in one connection. What the server refuses for good (5yz) it will not take later.
    pub(super) async fn send(&self, notification: Notification) -> Result<(), SendError> {
        let config = self.config.clone();
        let (envelope, bytes) = aside(move || Ok(written(&config, notification)?)).await?;
        let (config, made) = (self.config.clone(), self.made.clone());
        let session = self
            .files
            .read(move || Ok(session(&config, &made)?))
            .await?;
        let sent = session.send(&self.resolver, &envelope, &bytes).await;
        sent.map_err(|error| {
            let text = format!("{}: {error}", self.config.host);
            if error.is_final() {
                SendError::Final(text)
            } else if error.is_unsure() {
                SendError::Unsure(text)
            } else {
                SendError::Retry(text)
            }
        })
    }
}

/// What of a mail's configuration this node does in another way than it says.
pub(super) fn replaced(config: &EmailConfig) -> Vec<String> {
    let is_template = |text: &str| text.contains("{{");
    let texts = [("html", &config.html), ("text", &config.text)];
    let texts = texts.into_iter().filter_map(|(field, text)| {
        let is_one = text.as_deref().is_some_and(is_template);
        is_one.then(|| format!("{field} is a template, and replaced by this node's own"))
    });
    let headers = config
        .headers
        .iter()
        .filter(|(_, value)| is_template(value));
    let headers = headers.map(|(name, _)| match name.as_str() {
        "Subject" => "the Subject is a template, and replaced by this node's own".to_owned(),
        name => format!("the header {name} is a template, and left out"),
    });
    let addresses = [("to", &config.to), ("from", &config.from)];
    let addresses = addresses.into_iter().filter_map(|(field, text)| {
        let said = || format!("{field} is a template, and nothing is sent");
        is_template(text).then(said)
    });
    let others = [
        (
            config.secret.is_some(),
            "auth_secret is not used: CRAM-MD5 is not done",
        ),
        (!config.identity.is_empty(), "auth_identity is not used"),
    ];
    let others = others.into_iter().filter(|(is_so, _)| *is_so);
    let others = others.map(|(_, said)| said.to_owned());
    texts
        .chain(headers)
        .chain(addresses)
        .chain(others)
        .collect()
}

/// The whole mail, and who it is from and to.
fn written(
    config: &EmailConfig,
    mut notification: Notification,
) -> Result<(Envelope, Vec<u8>), MailError> {
    let truncated = notification.truncate(0);
    let from: Mailbox = addresses(&config.from, "from")?;
    let to: Mailboxes = addresses(&config.to, "to")?;
    let recipients = to.iter().map(|mailbox| mailbox.email.clone()).collect();
    let envelope = Envelope::new(Some(from.email.clone()), recipients)?;
    let mail = message(config, (&from, &to), &notification, truncated)?;
    Ok((envelope, mail.formatted()))
}

fn addresses<T>(text: &str, field: &'static str) -> Result<T, MailError>
where
    T: std::str::FromStr<Err = lettre::address::AddressError>,
{
    if text.contains("{{") {
        return Err(MailError::Template(field));
    }
    text.parse()
        .map_err(|error| MailError::Address { field, error })
}

fn message(
    config: &EmailConfig,
    (from, to): (&Mailbox, &Mailboxes),
    notification: &Notification,
    truncated: usize,
) -> Result<Message, MailError> {
    let own = [
        ("Subject".to_owned(), email_text::subject(notification)),
        ("To".to_owned(), to.to_string()),
        ("From".to_owned(), from.to_string()),
    ];
    let given = config
        .headers
        .iter()
        .filter(|(_, value)| !value.contains("{{"));
    let given: Vec<&(String, String)> = given.collect();
    let is_given = |name: &str| given.iter().any(|(given, _)| given == name);
    let own = own.iter().filter(|(name, _)| !is_given(name));
    // What a mail is sent to is said by `to`, whatever its headers say.
    let mut mail = Message::builder()
        .envelope(Envelope::new(
            Some(from.email.clone()),
            to.iter().map(|it| it.email.clone()).collect(),
        )?)
        .message_id(None)
        .date(SystemTime::now());
    for (name, value) in own.chain(given.iter().copied()) {
        let header = HeaderName::new_from_ascii(name.clone());
        let header = header.map_err(|_| MailError::Header(name.clone()))?;
        mail = mail.raw_header(HeaderValue::new(header, email_text::one_line(value)));
    }
    let text = given_or(&config.text, || email_text::text(notification, truncated));
    let page = given_or(&config.html, || email_text::page(notification, truncated));
    Ok(match (text, page) {
        (text, None) => mail.singlepart(SinglePart::plain(text.unwrap_or_default()))?,
        (None, Some(page)) => mail.singlepart(SinglePart::html(page))?,
        (Some(text), Some(page)) => {
            mail.multipart(MultiPart::alternative_plain_html(text, page))?
        }
    })
}

/// A text of the configuration, unless it is a template; `None` if it is empty.
fn given_or(text: &Option<String>, own: impl FnOnce() -> String) -> Option<String> {
    match text {
        Some(text) if text.is_empty() => None,
        Some(text) if !text.contains("{{") => Some(text.clone()),
        _ => Some(own()),
    }
}

/// Blocks: it reads files.
fn session(config: &EmailConfig, made: &MadeTls) -> Result<Session, MailError> {
    let port = port(&config.port)?;
    let security = if config.implicit_tls.unwrap_or(port == SMTPS) {
        Security::AtOnce(tls_parameters(config, made)?)
    } else if config.require_tls {
        Security::StartTls(tls_parameters(config, made)?)
    } else {
        Security::None
    };
    let is_clear = matches!(security, Security::None);
    let mut session = Session {
        host: config.host.clone(),
        port,
        security,
        hello: ClientId::Domain(config.hello.clone()),
        credentials: None,
    };
    if config.username.is_empty() {
        return Ok(session);
    }
    if is_clear && !is_loopback(&config.host) {
        return Err(MailError::Clear(config.host.clone()));
    }
    let password = config.password.as_ref().ok_or(MailError::NoPassword)?;
    let password = password.read().map_err(MailError::Password)?;
    session.credentials = Some(Credentials::new(config.username.clone(), password.0));
    Ok(session)
}

/// As Go's client has it, for which PLAIN in the clear is well there.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addr = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || addr.is_ok_and(|it| it.is_loopback())
}

fn port(text: &str) -> Result<u16, MailError> {
    match text {
        "smtp" => Ok(25),
        "submission" => Ok(587),
        "smtps" | "submissions" => Ok(SMTPS),
        number => number
            .parse()
            .map_err(|_| MailError::Port(number.to_owned())),
    }
}

fn tls_parameters(config: &EmailConfig, made: &MadeTls) -> Result<TlsParameters, MailError> {
    let material = TlsMaterial::read(&config.tls)?;
    let mut held = made.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((old, parameters)) = &*held
        && *old == material
    {
        return Ok(parameters.clone());
    }
    let parameters = new_parameters(config, &material)?;
    *held = Some((material, parameters.clone()));
    Ok(parameters)
}

fn new_parameters(
    config: &EmailConfig,
    material: &TlsMaterial,
) -> Result<TlsParameters, MailError> {
    // Says what is wrong with it better than what follows.
    material.client_config()?;
    let name = config.tls.server_name.clone();
    let name = name.unwrap_or_else(|| config.host.clone());
    let min = if config.tls.min_version == Some(Version::Tls13) {
        TlsVersion::Tlsv13
    } else {
        TlsVersion::Tlsv12
    };
    let mut builder = TlsParameters::builder(name)
        .set_min_tls_version(min)
        .dangerous_accept_invalid_certs(config.tls.insecure_skip_verify);
    if let Some(authorities) = material.authorities() {
        let certificate = Certificate::from_pem(authorities.as_bytes());
        let certificate = certificate.map_err(MailError::TlsParameters)?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(certificate);
    }
    if let Some((certificate, key)) = material.certificate() {
        let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes());
        builder = builder.identify_with(identity.map_err(MailError::TlsParameters)?);
    }
    builder.build().map_err(MailError::TlsParameters)
}

/// The port where TLS is there from the first byte.
const SMTPS: u16 = 465;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::parse;

    #[test]
    fn a_password_goes_in_the_clear_to_this_machine_only() {
        let of = |host: &str, more: &str| {
            let text = format!(
                "route: {{receiver: r}}\nreceivers: [{{name: r, email_configs: [{{to: a@b, from: a@b, \
                 smarthost: '{host}:25', auth_username: u, auth_password: p, {more}}}]}}]\n"
            );
            let receivers = parse(&text).unwrap().receivers(&std::env::temp_dir());
            let made = session(&receivers[0].emails[0], &MadeTls::default());
            made.map(drop).map_err(|error| error.to_string())
        };
        for host in ["localhost", "127.0.0.1"] {
            assert_eq!(of(host, "require_tls: false"), Ok(()), "{host}");
        }
        let said = of("mail.example", "require_tls: false").unwrap_err();
        assert!(said.contains("in the clear to mail.example"), "{said}");
        assert_eq!(of("mail.example", "require_tls: true"), Ok(()));
    }

    #[test]
    fn authorities_are_read_again_only_where_they_are_others() {
        let text = "route: {receiver: r}\nreceivers: [{name: r, email_configs: [{to: a@b, from: a@b, smarthost: 'h:25', \
                    tls_config: {insecure_skip_verify: true}}]}]\n";
        let receivers = parse(text).unwrap().receivers(&std::env::temp_dir());
        let mut config = receivers[0].emails[0].clone();
        let made = MadeTls::default();
        assert_eq!(tls_parameters(&config, &made).unwrap().domain(), "h");
        // What was made is told by the name that it was made with.
        config.host = "other".to_owned();
        assert_eq!(tls_parameters(&config, &made).unwrap().domain(), "h");
        config.tls.server_name = Some("mail".to_owned());
        assert_eq!(tls_parameters(&config, &made).unwrap().domain(), "mail");
    }
}
