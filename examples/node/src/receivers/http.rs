//! `http_config` and `tls_config`: how a receiver's server is spoken to.

use std::collections::BTreeMap;
use std::path::Path;

use serde_saphyr::Spanned;

use super::{Secret, Source, joined};
use crate::sections::Switch;
use crate::tls_parts::Version;

/// `http_config`, as it is written.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct HttpSection {
    basic_auth: Option<BasicAuthSection>,
    authorization: Option<AuthorizationSection>,
    oauth2: Option<OAuth2Section>,
    bearer_token: Option<String>,
    bearer_token_file: Option<String>,
    proxy_url: Option<String>,
    no_proxy: Option<String>,
    proxy_from_environment: Option<Switch>,
    proxy_connect_header: Option<BTreeMap<String, Vec<String>>>,
    tls_config: Option<TlsSection>,
    follow_redirects: Option<Switch>,
    enable_http2: Option<Switch>,
    http_headers: Option<BTreeMap<String, HeaderSection>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct BasicAuthSection {
    username: Option<String>,
    username_file: Option<String>,
    password: Option<String>,
    password_file: Option<String>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct AuthorizationSection {
    #[serde(rename = "type")]
    scheme: Option<String>,
    credentials: Option<String>,
    credentials_file: Option<String>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct OAuth2Section {
    client_id: Option<String>,
    client_secret: Option<String>,
    client_secret_file: Option<String>,
    scopes: Option<Vec<String>>,
    token_url: Option<String>,
    endpoint_params: Option<BTreeMap<String, String>>,
    tls_config: Option<TlsSection>,
    proxy_url: Option<String>,
    no_proxy: Option<String>,
    proxy_from_environment: Option<Switch>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct HeaderSection {
    values: Option<Vec<String>>,
    secrets: Option<Vec<String>>,
    files: Option<Vec<String>>,
}

/// `tls_config`, as it is written.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct TlsSection {
    ca: Option<String>,
    ca_file: Option<String>,
    cert: Option<String>,
    cert_file: Option<String>,
    key: Option<String>,
    key_file: Option<String>,
    server_name: Option<String>,
    insecure_skip_verify: Option<Switch>,
    min_version: Option<Version>,
    max_version: Option<Version>,
}

/// How requests are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpConfig {
    pub(crate) auth: Option<HttpAuth>,
    /// `None`: a direct connection, or what the environment says.
    pub(crate) proxy_url: Option<String>,
    /// Hosts, domains, addresses and networks that no proxy is used for, with commas between them.
    pub(crate) no_proxy: String,
    /// Whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` hold.
    pub(crate) proxy_from_environment: bool,
    /// What a proxy is told in a CONNECT: names and values.
    pub(crate) proxy_headers: Vec<(String, Secret)>,
    pub(crate) tls: TlsConfig,
    /// What is sent with every request, besides: names and values.
    pub(crate) headers: Vec<(String, Source)>,
    /// Whether redirects are followed; those with 307 and 308 with their body.
    pub(crate) follow_redirects: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self::of(&HttpSection::default(), Path::new(""))
    }
}

/// What a request proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HttpAuth {
    Basic {
        username: Option<Source>,
        password: Option<Source>,
    },
    /// `Authorization: scheme credentials`.
    Header {
        scheme: String,
        /// `None`: nothing after the scheme.
        credentials: Option<Source>,
    },
    OAuth2(Box<OAuth2Config>),
}

/// Where a token comes from: the client credentials grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OAuth2Config {
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<Source>,
    pub(crate) scopes: Vec<String>,
    pub(crate) token_url: String,
    pub(crate) endpoint_params: BTreeMap<String, String>,
    pub(crate) tls: TlsConfig,
    pub(crate) proxy_url: Option<String>,
    pub(crate) no_proxy: String,
    pub(crate) proxy_from_environment: bool,
}

/// Whom a TLS connection trusts, and how it proves itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsConfig {
    /// PEM; `None`: those of the system.
    pub(crate) authorities: Option<Source>,
    /// PEM; there with `key` or not at all.
    pub(crate) certificate: Option<Source>,
    pub(crate) key: Option<Source>,
    /// The name that the server's certificate must have, instead of the host's.
    pub(crate) server_name: Option<String>,
    pub(crate) insecure_skip_verify: bool,
    pub(crate) min_version: Option<Version>,
    pub(crate) max_version: Option<Version>,
}

impl HttpConfig {
    /// Whether files are read for each request.
    pub(crate) fn has_files(&self) -> bool {
        let auth = match &self.auth {
            Some(HttpAuth::Basic { username, password }) => [username.as_ref(), password.as_ref()],
            Some(HttpAuth::Header { credentials, .. }) => [credentials.as_ref(), None],
            // Its secret is read where the token is asked for.
            Some(HttpAuth::OAuth2(_)) | None => [None, None],
        };
        let headers = self.headers.iter().map(|(_, source)| source);
        let mut all = auth.into_iter().flatten().chain(headers);
        self.tls.has_files() || all.any(Source::is_file)
    }
}

impl TlsConfig {
    /// Whether files are read for each connection.
    pub(crate) fn has_files(&self) -> bool {
        let all = [&self.authorities, &self.certificate, &self.key];
        all.into_iter().flatten().any(Source::is_file)
    }
}

fn given(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

impl HttpSection {
    /// Whether it has a header to prove itself with.
    pub(crate) fn is_authorized(&self) -> bool {
        self.authorization.is_some() || given(&self.bearer_token) || given(&self.bearer_token_file)
    }

    /// What of it contradicts itself, in Prometheus's words.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let bearer = given(&self.bearer_token) || given(&self.bearer_token_file);
        let basic = self.basic_auth.is_some();
        let oauth2 = self.oauth2.is_some();
        if given(&self.bearer_token) && given(&self.bearer_token_file) {
            return Some("at most one of bearer_token & bearer_token_file must be configured");
        }
        if bearer && (basic || oauth2) {
            return Some(
                "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be \
                 configured",
            );
        }
        if let Some(basic) = &self.basic_auth {
            if given(&basic.username) && given(&basic.username_file) {
                return Some(
                    "at most one of basic_auth username & username_file must be configured",
                );
            }
            if given(&basic.password) && given(&basic.password_file) {
                return Some(
                    "at most one of basic_auth password & password_file must be configured",
                );
            }
        }
        let said = match &self.authorization {
            Some(authorization) => self.authorization_fault(authorization, bearer),
            None if basic && oauth2 => {
                Some("at most one of basic_auth, oauth2 & authorization must be configured")
            }
            None => None,
        };
        let oauth2 = self.oauth2.as_ref();
        said.or_else(|| oauth2.and_then(OAuth2Section::fault))
            .or_else(|| self.proxy_fault())
            .or_else(|| self.tls_config.as_ref().and_then(TlsSection::fault))
    }

    fn authorization_fault(
        &self,
        authorization: &AuthorizationSection,
        bearer: bool,
    ) -> Option<&'static str> {
        let scheme = authorization.scheme.as_deref().unwrap_or_default();
        if bearer {
            return Some("authorization is not compatible with bearer_token & bearer_token_file");
        }
        if given(&authorization.credentials) && given(&authorization.credentials_file) {
            return Some(
                "at most one of authorization credentials & credentials_file must be configured",
            );
        }
        if scheme.trim().eq_ignore_ascii_case("basic") {
            return Some(
                "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
            );
        }
        (self.basic_auth.is_some() || self.oauth2.is_some())
            .then_some("at most one of basic_auth, oauth2 & authorization must be configured")
    }

    fn proxy_fault(&self) -> Option<&'static str> {
        let from_environment = self.proxy_from_environment.is_some_and(|it| it.0);
        let headers = self.proxy_connect_header.as_ref();
        if from_environment && given(&self.proxy_url) {
            return Some(
                "if proxy_from_environment is configured, proxy_url must not be configured",
            );
        }
        if from_environment && given(&self.no_proxy) {
            return Some(
                "if proxy_from_environment is configured, no_proxy must not be configured",
            );
        }
        if !from_environment && given(&self.no_proxy) && !given(&self.proxy_url) {
            return Some("if no_proxy is configured, proxy_url must also be configured");
        }
        (headers.is_some_and(|it| !it.is_empty()) && !from_environment && !given(&self.proxy_url))
            .then_some(
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must \
                 also be configured",
            )
    }
}

impl OAuth2Section {
    fn fault(&self) -> Option<&'static str> {
        if !given(&self.client_id) {
            return Some("oauth2 client_id must be configured");
        }
        if given(&self.client_secret) && given(&self.client_secret_file) {
            return Some(
                "at most one of oauth2 client_secret & client_secret_file must be configured",
            );
        }
        if !given(&self.token_url) {
            return Some("oauth2 token_url must be configured");
        }
        self.tls_config.as_ref().and_then(TlsSection::fault)
    }
}

impl TlsSection {
    /// What of it contradicts itself, in Prometheus's words.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let certificate = given(&self.cert) || given(&self.cert_file);
        let key = given(&self.key) || given(&self.key_file);
        if given(&self.ca) && given(&self.ca_file) {
            return Some("at most one of ca and ca_file must be configured");
        }
        if given(&self.cert) && given(&self.cert_file) {
            return Some("at most one of cert and cert_file must be configured");
        }
        if given(&self.key) && given(&self.key_file) {
            return Some("at most one of key and key_file must be configured");
        }
        if certificate && !key {
            return Some(
                "exactly one of key or key_file must be configured when a client certificate is \
                 configured",
            );
        }
        if key && !certificate {
            return Some(
                "exactly one of cert or cert_file must be configured when a client key is \
                 configured",
            );
        }
        match (self.min_version, self.max_version) {
            (Some(min), Some(max)) if min > max => Some(
                "tls_config.max_version must be greater than or equal to tls_config.min_version",
            ),
            _ => None,
        }
    }
}

impl HttpConfig {
    /// What a section comes to whose file is in `dir`.
    pub(super) fn of(section: &HttpSection, dir: &Path) -> Self {
        let is_on = |switch: &Option<Switch>, default| switch.map_or(default, |it| it.0);
        let proxy_headers = section.proxy_connect_header.iter().flatten();
        let proxy_headers = proxy_headers.flat_map(|(name, values)| {
            let values = values.iter();
            values.map(move |value| (name.clone(), Secret(value.clone())))
        });
        let headers = section.http_headers.iter().flatten();
        Self {
            auth: HttpAuth::of(section, dir),
            proxy_url: section.proxy_url.clone().filter(|url| !url.is_empty()),
            no_proxy: section.no_proxy.clone().unwrap_or_default(),
            proxy_from_environment: is_on(&section.proxy_from_environment, false),
            proxy_headers: proxy_headers.collect(),
            tls: TlsConfig::of(section.tls_config.as_ref(), dir),
            headers: headers
                .flat_map(|(name, header)| header.values(name, dir))
                .collect(),
            follow_redirects: is_on(&section.follow_redirects, true),
        }
    }
}

impl HeaderSection {
    fn values(&self, name: &str, dir: &Path) -> Vec<(String, Source)> {
        let texts = self.values.iter().chain(&self.secrets).flatten();
        let texts = texts.map(|text| Source::Text(Secret(text.clone())));
        let files = self.files.iter().flatten();
        let files = files.map(|file| Source::File(joined(dir, file)));
        let named = |source| (name.to_owned(), source);
        texts.chain(files).map(named).collect()
    }
}

impl HttpAuth {
    fn of(section: &HttpSection, dir: &Path) -> Option<Self> {
        if let Some(basic) = &section.basic_auth {
            let source = |text: &Option<String>, file: &Option<String>| {
                Source::of(text.as_ref(), file.as_ref(), dir)
            };
            return Some(Self::Basic {
                username: source(&basic.username, &basic.username_file),
                password: source(&basic.password, &basic.password_file),
            });
        }
        if let Some(oauth2) = &section.oauth2 {
            return Some(Self::OAuth2(Box::new(OAuth2Config::of(oauth2, dir))));
        }
        let (scheme, text, file) = match &section.authorization {
            Some(it) => (&it.scheme, &it.credentials, &it.credentials_file),
            None if given(&section.bearer_token) || given(&section.bearer_token_file) => {
                (&None, &section.bearer_token, &section.bearer_token_file)
            }
            None => return None,
        };
        let scheme = scheme.as_deref().unwrap_or_default().trim();
        let scheme = if scheme.is_empty() { "Bearer" } else { scheme };
        Some(Self::Header {
            scheme: scheme.to_owned(),
            credentials: Source::of(text.as_ref(), file.as_ref(), dir),
        })
    }
}

impl OAuth2Config {
    fn of(section: &OAuth2Section, dir: &Path) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            client_id: text(&section.client_id),
            client_secret: Source::of(
                section.client_secret.as_ref(),
                section.client_secret_file.as_ref(),
                dir,
            ),
            scopes: section.scopes.clone().unwrap_or_default(),
            token_url: text(&section.token_url),
            endpoint_params: section.endpoint_params.clone().unwrap_or_default(),
            tls: TlsConfig::of(section.tls_config.as_ref(), dir),
            proxy_url: section.proxy_url.clone().filter(|url| !url.is_empty()),
            no_proxy: text(&section.no_proxy),
            proxy_from_environment: section.proxy_from_environment.is_some_and(|it| it.0),
        }
    }
}

impl TlsConfig {
    /// What a section comes to whose file is in `dir`.
    pub(super) fn of(section: Option<&TlsSection>, dir: &Path) -> Self {
        let Some(section) = section else {
            return Self::default();
        };
        let source = |text: &Option<String>, file: &Option<String>| {
            Source::of(text.as_ref(), file.as_ref(), dir)
        };
        Self {
            authorities: source(&section.ca, &section.ca_file),
            certificate: source(&section.cert, &section.cert_file),
            key: source(&section.key, &section.key_file),
            server_name: section.server_name.clone().filter(|name| !name.is_empty()),
            insecure_skip_verify: section.insecure_skip_verify.is_some_and(|it| it.0),
            min_version: section.min_version,
            max_version: section.max_version,
        }
    }
}

/// A section, and where it is.
pub(crate) type Placed<T> = Option<Spanned<T>>;

#[cfg(test)]
mod tests {
    use super::*;

    /// The section, and words of what is said about it.
    #[test]
    fn contradictions_are_named() {
        for (text, words) in [
            (
                "{bearer_token: a, bearer_token_file: b}",
                Some("bearer_token & bearer_token_file"),
            ),
            (
                "{bearer_token: a, basic_auth: {username: u}}",
                Some("at most one of basic_auth, oauth2"),
            ),
            (
                "{basic_auth: {password: a, password_file: b}}",
                Some("password & password_file"),
            ),
            (
                "{basic_auth: {username: a, username_file: b}}",
                Some("username & username_file"),
            ),
            (
                "{authorization: {credentials: a, credentials_file: b}}",
                Some("credentials & credentials_file"),
            ),
            (
                "{authorization: {type: Basic}}",
                Some("use \"basic_auth\" instead"),
            ),
            (
                "{authorization: {}, bearer_token: a}",
                Some("authorization is not compatible"),
            ),
            (
                "{authorization: {}, basic_auth: {}}",
                Some("basic_auth, oauth2 & authorization"),
            ),
            ("{oauth2: {client_secret: x}}", Some("oauth2 client_id")),
            ("{oauth2: {client_id: x}}", Some("oauth2 token_url")),
            ("{no_proxy: x}", Some("proxy_url must also")),
            (
                "{proxy_from_environment: true, proxy_url: 'http://p'}",
                Some("proxy_url must not"),
            ),
            (
                "{proxy_connect_header: {a: [b]}}",
                Some("proxy_connect_header"),
            ),
            ("{tls_config: {cert_file: a}}", Some("exactly one of key")),
            ("{tls_config: {key_file: a}}", Some("exactly one of cert")),
            ("{tls_config: {ca: a, ca_file: a}}", Some("ca and ca_file")),
            (
                "{tls_config: {min_version: TLS13, max_version: TLS12}}",
                Some("max_version"),
            ),
            (
                "{tls_config: {cert_file: a, key_file: b}, authorization: {}}",
                None,
            ),
            (
                "{basic_auth: {username: u, password: p}, proxy_url: 'http://p', no_proxy: x}",
                None,
            ),
            ("{oauth2: {client_id: x, token_url: 'http://t'}}", None),
            ("{}", None),
        ] {
            let section: HttpSection = serde_saphyr::from_str(text).unwrap();
            match (section.fault(), words) {
                (Some(said), Some(words)) => assert!(said.contains(words), "{text}: {said}"),
                (said, words) => assert_eq!(said, words, "{text}"),
            }
        }
        assert!(
            serde_saphyr::from_str::<HttpSection>("{tls_config: {min_version: SSL3}}").is_err()
        );
    }
}
