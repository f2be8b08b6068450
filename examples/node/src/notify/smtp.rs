//! One session with a mail server: each step of it has its time, and the end of it is not waited for.
//!
//! The server's name is looked up as those of webhooks are ([`super::resolver`]). Once the server has taken a mail, or
//! not, nothing that it says or fails to say to QUIT changes that (RFC 5321, section 4.1.1.10).

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use tokio::time::timeout;

use super::integration::whole;
use super::resolver::{LookupError, Resolver};

/// What a session is begun with.
pub(super) struct Session {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    /// What this node calls itself.
    pub(super) hello: ClientId,
    /// Who sends; `None`: nobody says so.
    pub(super) credentials: Option<Credentials>,
}

/// Whether there is TLS.
pub(super) enum Security {
    /// From the first byte.
    AtOnce(TlsParameters),
    None,
    /// After STARTTLS, or nothing is sent.
    StartTls(TlsParameters),
}

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SmtpError {
    #[error("{}", whole(.0))]
    Failed(Error),
    #[error("{0}")]
    Lookup(LookupError),
    #[error("the mail was sent, and the server did not say that it took it: {0}")]
    Lost(Box<Self>),
    #[error("the name has no address")]
    NoAddress,
    #[error("{step} took longer than {max:?}")]
    Slow { step: &'static str, max: Duration },
    #[error("the mail needs {0}, which the server does not have")]
    Unsupported(&'static str),
}

impl SmtpError {
    /// Whether the server will not take it later either.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Failed(error) if error.is_permanent())
    }

    /// Whether the server may have taken it all the same.
    pub(super) fn is_unsure(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

impl Session {
    /// One mail. Dropped before it is done it may have been taken or not.
    pub(super) async fn send(
        self,
        resolver: &Arc<Resolver>,
        envelope: &Envelope,
        mail: &[u8],
    ) -> Result<(), SmtpError> {
        let mut connection = self.connect(resolver).await?;
        let sent = self.hand_over(&mut connection, envelope, mail).await;
        tokio::spawn(async move {
            let _ = timeout(QUIT_MAX, connection.abort()).await;
        });
        sent
    }

    /// To the first of its addresses where a server says hello.
    async fn connect(&self, resolver: &Arc<Resolver>) -> Result<AsyncSmtpConnection, SmtpError> {
        let mut failed = SmtpError::NoAddress;
        for ip in self.addresses(resolver).await? {
            let tls = match &self.security {
                Security::AtOnce(parameters) => Some(parameters.clone()),
                Security::None | Security::StartTls(_) => None,
            };
            // An address, so that nothing is looked up here; `tls` knows the name.
            let address = SocketAddr::new(ip, self.port);
            let connecting = AsyncSmtpConnection::connect_tokio1(
                address,
                Some(CONNECT_MAX),
                &self.hello,
                tls,
                None,
            );
            match step("the connection", STEP_MAX, connecting).await {
                Ok(connection) => return Ok(connection),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn addresses(&self, resolver: &Arc<Resolver>) -> Result<Vec<IpAddr>, SmtpError> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = host.parse() {
            return Ok(vec![ip]);
        }
        let found = resolver.addresses(host).await;
        let found = found.map_err(SmtpError::Lookup)?.into_iter();
        Ok(found.map(|address| address.ip()).collect())
    }

    async fn hand_over(
        &self,
        connection: &mut AsyncSmtpConnection,
        envelope: &Envelope,
        mail: &[u8],
    ) -> Result<(), SmtpError> {
        if let Security::StartTls(parameters) = &self.security {
            let starting = connection.starttls(parameters.clone(), &self.hello);
            step("STARTTLS", STEP_MAX, starting).await?;
        }
        if let Some(credentials) = &self.credentials {
            let proving = connection.auth(&MECHANISMS, credentials);
            step("AUTH", STEP_MAX, proving).await?;
        }
        let from = Mail::new(
            envelope.from().cloned(),
            parameters(connection, envelope, mail)?,
        );
        step("MAIL", STEP_MAX, connection.command(from)).await?;
        for to in envelope.to() {
            let to = Rcpt::new(to.clone(), Vec::new());
            step("RCPT", STEP_MAX, connection.command(to)).await?;
        }
        step("DATA", STEP_MAX, connection.command(Data)).await?;
        let sent = step("the mail", MAIL_MAX, connection.message(mail)).await;
        sent.map(drop).map_err(|error| {
            // With a status the server says itself that it did not.
            let is_answered = matches!(&error, SmtpError::Failed(it) if it.status().is_some());
            if is_answered {
                error
            } else {
                SmtpError::Lost(Box::new(error))
            }
        })
    }
}

/// What a mail needs that is not plain ASCII.
fn parameters(
    connection: &AsyncSmtpConnection,
    envelope: &Envelope,
    mail: &[u8],
) -> Result<Vec<MailParameter>, SmtpError> {
    let info = connection.server_info();
    let mut parameters = Vec::new();
    let mut addresses = envelope.to().iter().chain(envelope.from());
    if addresses.any(|address| !AsRef::<str>::as_ref(address).is_ascii()) {
        if !info.supports_feature(Extension::SmtpUtfEight) {
            return Err(SmtpError::Unsupported("SMTPUTF8"));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !mail.is_ascii() {
        if !info.supports_feature(Extension::EightBitMime) {
            return Err(SmtpError::Unsupported("8BITMIME"));
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}

async fn step<T>(
    step: &'static str,
    max: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, SmtpError> {
    match timeout(max, work).await {
        Ok(done) => done.map_err(SmtpError::Failed),
        Err(_) => Err(SmtpError::Slow { step, max }),
    }
}

const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
/// How long an address may take to be reached, as for webhooks, and until its server has said hello.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// How long each answer may take, within the time of the flush.
const STEP_MAX: Duration = Duration::from_secs(60);
/// How long a mail may take to be sent and taken: it is looked through meanwhile (RFC 5321, section 4.5.3.2.6).
const MAIL_MAX: Duration = Duration::from_secs(600);
/// How long the server may take to say goodbye.
const QUIT_MAX: Duration = Duration::from_secs(1);
