//! `--web.config.file`: TLS and passwords for HTTP, in the format that Prometheus's programs share. Files are
//! relative to the one that names them. All of them are read again every few seconds, and when the configuration is:
//! certificates are renewed without a word to those who use them.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;
use serde_saphyr::Location;
use siphasher::sip::SipHasher13;

use crate::tls_parts::{self, Version};
use crate::yaml;

/// What the file comes to.
#[derive(Debug, Default)]
pub(crate) struct WebConfig {
    /// `None`: plain HTTP.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Hashes of passwords, by user; none: nobody has to say a password.
    pub(crate) users: BTreeMap<String, String>,
    /// What every answer has besides.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// A hash of all that was read.
    print: u64,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebConfigError {
    #[error("{file}: tls_server_config: {message}")]
    Certificate { file: String, message: String },
    #[error("{file}: line {line}, column {column}: {message}")]
    File {
        file: String,
        line: u64,
        column: u64,
        message: String,
    },
    #[error("{file}: tls_server_config: {key} cannot be had: {why}")]
    Impossible {
        file: String,
        key: &'static str,
        why: &'static str,
    },
    #[error("{file}: tls_server_config: {field} is missing")]
    Missing { file: String, field: &'static str },
    #[error("{file} cannot be read: {error}")]
    Read { file: String, error: std::io::Error },
    #[error("{file}: basic_auth_users: the password of {user:?} is no bcrypt hash")]
    User { file: String, user: String },
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    tls_server_config: Option<TlsServer>,
    http_server_config: Option<HttpServer>,
    basic_auth_users: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsServer {
    cert: Option<String>,
    cert_file: Option<String>,
    key: Option<String>,
    key_file: Option<String>,
    client_ca: Option<String>,
    client_ca_file: Option<String>,
    client_auth_type: Option<ClientAuthType>,
    client_allowed_sans: Option<Vec<String>>,
    min_version: Option<Version>,
    max_version: Option<Version>,
    cipher_suites: Option<Vec<String>>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpServer {
    http2: Option<bool>,
    headers: BTreeMap<Header, String>,
}

/// The headers that the format knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Header {
    #[serde(rename = "Content-Security-Policy")]
    ContentSecurityPolicy,
    #[serde(rename = "X-Frame-Options")]
    FrameOptions,
    #[serde(rename = "X-Content-Type-Options")]
    ContentTypeOptions,
    #[serde(rename = "X-XSS-Protection")]
    XssProtection,
    #[serde(rename = "Strict-Transport-Security")]
    StrictTransportSecurity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum ClientAuthType {
    NoClientCert,
    RequestClientCert,
    RequireAnyClientCert,
    RequireClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

impl Header {
    fn name(self) -> &'static str {
        match self {
            Self::ContentSecurityPolicy => "content-security-policy",
            Self::FrameOptions => "x-frame-options",
            Self::ContentTypeOptions => "x-content-type-options",
            Self::XssProtection => "x-xss-protection",
            Self::StrictTransportSecurity => "strict-transport-security",
        }
    }
}

impl WebConfig {
    /// Reads the file; without one, HTTP is plain and open.
    pub(crate) fn read(file: &str) -> Result<Self, WebConfigError> {
        if file.is_empty() {
            return Ok(Self::default());
        }
        let text = yaml::read(Path::new(file)).map_err(|error| WebConfigError::Read {
            file: file.to_owned(),
            error,
        })?;
        Self::parse(&text, file)
    }

    /// Whether another one was read from the same bytes.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.print == other.print
    }

    fn parse(text: &str, file: &str) -> Result<Self, WebConfigError> {
        let written: Option<Written> = yaml::parse(text).map_err(|error| {
            let error = error.without_snippet();
            let at = error.location().unwrap_or(Location::UNKNOWN);
            let (line, column) = (at.line().max(1), at.column().max(1));
            let said = format!(" at line {line}, column {column}");
            WebConfigError::File {
                file: file.to_owned(),
                line,
                column,
                message: error.to_string().replacen(&said, "", 1),
            }
        })?;
        let written = written.unwrap_or_default();
        let users = written.basic_auth_users.unwrap_or_default();
        let is_hash = |hash: &String| hash.parse::<bcrypt::HashParts>().is_ok();
        if let Some((user, _)) = users.iter().find(|(_, hash)| !is_hash(hash)) {
            return Err(WebConfigError::User {
                file: file.to_owned(),
                user: user.clone(),
            });
        }
        let http = written.http_server_config.unwrap_or_default();
        // Every client of HTTP/2 speaks HTTP/1.1 too.
        let _ = http.http2;
        let headers = http.headers.into_iter();
        let tls = written.tls_server_config;
        let mut print = SipHasher13::new();
        text.hash(&mut print);
        Ok(Self {
            tls: tls
                .map(|tls| tls.server_config(file, &mut print))
                .transpose()?,
            users,
            headers: headers.map(|(name, value)| (name.name(), value)).collect(),
            print: print.finish(),
        })
    }
}

impl TlsServer {
    /// Made of files, the bytes of which are hashed besides.
    fn server_config(
        &self,
        file: &str,
        print: &mut SipHasher13,
    ) -> Result<Arc<ServerConfig>, WebConfigError> {
        self.check(file)?;
        let mut pem = |text: &Option<String>, named: &Option<String>| {
            pem(text, named, file).inspect(|bytes| bytes.hash(print))
        };
        let wrong = |message: String| WebConfigError::Certificate {
            file: file.to_owned(),
            message,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificates = pem(&self.cert, &self.cert_file)?;
        let certificates = tls_parts::certificates(&certificates).map_err(wrong)?;
        let key = pem(&self.key, &self.key_file)?;
        let key = PrivateKeyDer::from_pem_slice(&key);
        let key = key.map_err(|error| wrong(format!("key_file: {error}")))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder
            .with_protocol_versions(&tls_parts::versions(self.min_version, self.max_version));
        let builder = builder.map_err(|error| wrong(error.to_string()))?;
        let builder = match self.client_auth_type {
            None | Some(ClientAuthType::NoClientCert) => builder.with_no_client_auth(),
            Some(asked) => {
                let mut roots = RootCertStore::empty();
                let authorities = pem(&self.client_ca, &self.client_ca_file)?;
                for authority in tls_parts::certificates(&authorities).map_err(wrong)? {
                    let added = roots.add(authority);
                    added.map_err(|error| wrong(format!("client_ca_file: {error}")))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if asked == ClientAuthType::VerifyClientCertIfGiven {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                let verifier = verifier.build().map_err(|error| wrong(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(certificates, key);
        let mut config = config.map_err(|error| wrong(error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Refuses what cannot be had, and what is not there.
    fn check(&self, file: &str) -> Result<(), WebConfigError> {
        let missing = |field| WebConfigError::Missing {
            file: file.to_owned(),
            field,
        };
        let impossible = |key, why| WebConfigError::Impossible {
            file: file.to_owned(),
            key,
            why,
        };
        if self.cert.is_none() && self.cert_file.is_none() {
            return Err(missing("cert_file"));
        }
        if self.key.is_none() && self.key_file.is_none() {
            return Err(missing("key_file"));
        }
        let unverified = [
            ClientAuthType::RequestClientCert,
            ClientAuthType::RequireAnyClientCert,
            ClientAuthType::RequireClientCert,
        ];
        if self
            .client_auth_type
            .is_some_and(|it| unverified.contains(&it))
        {
            let why = "a certificate that nobody verifies proves nothing";
            return Err(impossible("client_auth_type", why));
        }
        let has_authority = self.client_ca.is_some() || self.client_ca_file.is_some();
        let verifies = self
            .client_auth_type
            .is_some_and(|it| it != ClientAuthType::NoClientCert);
        if verifies && !has_authority {
            return Err(missing("client_ca_file"));
        }
        if has_authority && !verifies {
            return Err(impossible(
                "client_ca_file",
                "without a client_auth_type nobody is verified by it",
            ));
        }
        if self
            .client_allowed_sans
            .as_ref()
            .is_some_and(|it| !it.is_empty())
        {
            return Err(impossible(
                "client_allowed_sans",
                "names in certificates of clients are not looked at",
            ));
        }
        let chosen = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|it| !it.is_empty());
        if chosen(&self.cipher_suites) || chosen(&self.curve_preferences) {
            let why = "what TLS 1.2 and 1.3 use here is not to be chosen";
            return Err(impossible("cipher_suites or curve_preferences", why));
        }
        if tls_parts::versions(self.min_version, self.max_version).is_empty() {
            let why = "there are TLS 1.2 and TLS 1.3";
            return Err(impossible("max_version", why));
        }
        // Which side's order holds does not matter where all that there is is good.
        let _ = self.prefer_server_cipher_suites;
        Ok(())
    }
}

/// The bytes of what is written, or of the file that is named.
fn pem(
    text: &Option<String>,
    named: &Option<String>,
    file: &str,
) -> Result<Vec<u8>, WebConfigError> {
    if let Some(text) = text {
        return Ok(text.clone().into_bytes());
    }
    let dir = Path::new(file)
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let path: PathBuf = dir.join(named.as_deref().unwrap_or_default());
    yaml::read(&path)
        .map(String::into_bytes)
        .map_err(|error| WebConfigError::Read {
            file: path.display().to_string(),
            error,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "correctbatteryhorsestapler", at the least cost.
    const HASH: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";

    fn said(text: &str) -> String {
        let parsed = WebConfig::parse(text, "/etc/web.yml");
        parsed.map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn users_and_headers_are_read() {
        let text = format!(
            "basic_auth_users: {{alice: '{HASH}'}}\nhttp_server_config: {{http2: false, headers: \
             {{X-Frame-Options: DENY}}}}\n"
        );
        let config = WebConfig::parse(&text, "web.yml").unwrap();
        assert_eq!(config.users.len(), 1);
        assert_eq!(config.headers, [("x-frame-options", "DENY".to_owned())]);
        assert!(config.tls.is_none());
        for text in ["", "{}", "# nothing\n"] {
            assert!(
                WebConfig::parse(text, "web.yml").unwrap().users.is_empty(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_or_cannot_be_had_is_named() {
        let tls = |keys: &str| {
            said(&format!(
                "tls_server_config: {{cert_file: c, key_file: k, {keys}}}"
            ))
        };
        for (said, words) in [
            (
                said("basic_auth_users: {a: plain}"),
                "\"a\" is no bcrypt hash",
            ),
            (said("basic_auth: {}"), "line 1, column 1"),
            (
                said("http_server_config: {headers: {X-Other: x}}"),
                "line 1",
            ),
            (
                said("tls_server_config: {cert_file: c}"),
                "key_file is missing",
            ),
            (said("tls_server_config: {}"), "cert_file is missing"),
            (
                tls("client_auth_type: RequireAnyClientCert"),
                "client_auth_type cannot be had",
            ),
            (
                tls("client_auth_type: RequireAndVerifyClientCert"),
                "client_ca_file is missing",
            ),
            (tls("client_ca_file: a"), "client_ca_file cannot be had"),
            (tls("cipher_suites: [x]"), "cipher_suites"),
            (tls("max_version: TLS11"), "max_version cannot be had"),
            (tls("min_version: TLS13"), "/etc/c cannot be read"),
        ] {
            assert!(said.contains(words), "{said}: {words}");
        }
    }
}
