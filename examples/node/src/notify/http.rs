//! HTTP as `http_config` has it: who the client says it is, whom it trusts, and how it gets there.
//!
//! Certificates, keys, passwords and tokens that are in files are read for every request, so that they can be
//! replaced while the program runs; connections are kept as long as what they rest on stays the same.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, NoProxy, Proxy, Response, StatusCode, Url, redirect};

use super::integration::{Files, SendError, whole};
use super::oauth2::Tokens;
use super::resolver::{Resolver, SharedResolver};
use super::tls::{TlsClientError, TlsMaterial};
use crate::receivers::{HttpAuth, HttpConfig, Secret, Source};

/// Speaks to one receiver's server.
#[derive(Debug)]
pub(super) struct HttpClient {
    config: Arc<HttpConfig>,
    /// What was made last, and of what.
    made: Arc<Mutex<Option<(TlsMaterial, Client)>>>,
    files: Files,
    /// Where `oauth2` has its tokens from.
    tokens: Option<Box<Tokens>>,
}

/// Why a request is not even made.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("{what} cannot be read: {error}")]
    Source {
        what: &'static str,
        error: std::io::Error,
    },
    #[error("the header {0:?} is not one")]
    Header(String),
    #[error("the proxy cannot be used: {0}")]
    Proxy(reqwest::Error),
    #[error("{0}")]
    Tls(#[from] TlsClientError),
    #[error("the client cannot be made: {0}")]
    Client(reqwest::Error),
    #[error("its URL cannot be used")]
    Url,
}

/// A request that only lacks its body.
struct Prepared {
    client: Client,
    url: Url,
    headers: HeaderMap,
}

impl HttpClient {
    pub(super) fn new(config: HttpConfig) -> Self {
        let tokens = match &config.auth {
            Some(HttpAuth::OAuth2(config)) => Some(Box::new(Tokens::new((**config).clone()))),
            _ => None,
        };
        Self {
            made: Arc::default(),
            files: Files::new(config.has_files()),
            config: Arc::new(config),
            tokens,
        }
    }

    /// One POST, and whether the server took it.
    pub(super) async fn post(
        &self,
        url: &str,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<(), SendError> {
        let auth = match &self.tokens {
            Some(tokens) => Some(tokens.header().await?),
            None => None,
        };
        let (response, host) = self.request(url, content_type, body, auth).await?;
        if response.status().is_success() {
            // It is taken, whether what is said to it ends or not. Read to its end, its connection can be kept.
            tokio::spawn(excerpt(response));
            return Ok(());
        }
        let status = response.status();
        judge(status, &host, &excerpt(response).await)
    }

    /// One POST, and the beginning of what the server says to it; `auth` proves who sends, where the configuration
    /// does not.
    pub(super) async fn exchange(
        &self,
        url: &str,
        content_type: &'static str,
        body: Vec<u8>,
        auth: Option<HeaderValue>,
    ) -> Result<Vec<u8>, SendError> {
        let (response, host) = self.request(url, content_type, body, auth).await?;
        let status = response.status();
        let said = excerpt(response).await;
        judge(status, &host, &said).map(|()| said)
    }

    /// One POST, the head of what the server says to it, and the server's name.
    async fn request(
        &self,
        url: &str,
        content_type: &'static str,
        body: Vec<u8>,
        auth: Option<HeaderValue>,
    ) -> Result<(Response, String), SendError> {
        let (config, made, url) = (
            Arc::clone(&self.config),
            Arc::clone(&self.made),
            url.to_owned(),
        );
        let prepared = self.files.read(move || {
            let prepared = prepare(&config, &made, &url);
            prepared.map_err(|error| SendError::Retry(error.to_string()))
        });
        let Prepared {
            client,
            url,
            mut headers,
        } = prepared.await?;
        if let Some(auth) = auth {
            headers.insert(AUTHORIZATION, auth);
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            let text = format!("{host}: {}", whole(&error));
            if error.is_connect() {
                SendError::Retry(text)
            } else {
                SendError::Unsure(text)
            }
        };
        let body = Bytes::from(body);
        let request = client
            .post(url)
            .header(CONTENT_TYPE, content_type)
            .headers(headers)
            .body(body.clone());
        let mut response = request.send().await.map_err(failed)?;
        let mut is_post = true;
        for _ in 0..REDIRECTS_MAX {
            let Some(elsewhere) = self.elsewhere(&response) else {
                break;
            };
            // As the client itself goes on: after 307 and 308 with all of it.
            is_post &= matches!(response.status().as_u16(), 307 | 308);
            let request = if is_post {
                let post = client.post(elsewhere);
                post.header(CONTENT_TYPE, content_type).body(body.clone())
            } else {
                client.get(elsewhere)
            };
            response = request.send().await.map_err(failed)?;
        }
        Ok((response, host))
    }

    /// Where a server sends this client to that is not to see the headers of the configuration: [`redirects`] stops there.
    fn elsewhere(&self, response: &Response) -> Option<Url> {
        let is_followed = self.config.follow_redirects && !self.config.headers.is_empty();
        let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = response.headers().get(LOCATION);
        let location = location.filter(|_| is_followed && is_redirect)?;
        response.url().join(location.to_str().ok()?).ok()
    }
}

/// 2xx is well, 5xx may be later, everything else stays as it is. What says 5xx may be a proxy that did not wait for
/// the server.
fn judge(status: StatusCode, host: &str, said: &[u8]) -> Result<(), SendError> {
    if status.is_success() {
        return Ok(());
    }
    let shown = said.get(..SHOWN_BYTES).unwrap_or(said);
    let shown = String::from_utf8_lossy(shown);
    let shown = match shown.trim() {
        "" => String::new(),
        shown => format!(": {shown:?}"),
    };
    let text = format!("{host}: unexpected status code {}{shown}", status.as_u16());
    Err(if status.is_server_error() {
        SendError::Unsure(text)
    } else {
        SendError::Final(text)
    })
}

/// The beginning of what a server says, and of no more is waited for.
async fn excerpt(mut response: Response) -> Vec<u8> {
    let mut said = Vec::new();
    let reading = async {
        while said.len() < EXCERPT_BYTES {
            match response.chunk().await {
                Ok(Some(chunk)) => said.extend_from_slice(&chunk),
                _ => return,
            }
        }
    };
    // What comes late is not needed: the status is there.
    let _ = tokio::time::timeout(EXCERPT_MAX, reading).await;
    said.truncate(EXCERPT_BYTES);
    said
}

/// Blocks: it reads files.
fn prepare(
    config: &HttpConfig,
    made: &Mutex<Option<(TlsMaterial, Client)>>,
    url: &str,
) -> Result<Prepared, RequestError> {
    let mut url = Url::parse(url).map_err(|_| RequestError::Url)?;
    let mut headers = HeaderMap::new();
    for (name, source) in &config.headers {
        let value = read(source, "a header of http_headers")?;
        let name = HeaderName::from_str(name).map_err(|_| RequestError::Header(name.clone()))?;
        headers.append(name, secret_value(&value.0)?);
    }
    // Those of the URL come first, as in Go.
    if !url.username().is_empty() || url.password().is_some() {
        let decoded = |text: &str| percent_decoded(text);
        let (user, password) = (
            decoded(url.username()),
            decoded(url.password().unwrap_or("")),
        );
        let _ = url.set_username("");
        let _ = url.set_password(None);
        headers.insert(AUTHORIZATION, basic(&user, &password)?);
    } else if let Some(auth) = &config.auth
        && let Some(value) = authorization(auth)?
    {
        headers.insert(AUTHORIZATION, value);
    }
    let material = TlsMaterial::read(&config.tls)?;
    let mut held = made.lock().unwrap_or_else(PoisonError::into_inner);
    let client = match &*held {
        Some((old, client)) if *old == material => client.clone(),
        _ => {
            let client = client(config, &material)?;
            *held = Some((material, client.clone()));
            client
        }
    };
    Ok(Prepared {
        client,
        url,
        headers,
    })
}

fn read(source: &Source, what: &'static str) -> Result<Secret, RequestError> {
    source
        .read()
        .map_err(|error| RequestError::Source { what, error })
}

fn secret_value(text: &str) -> Result<HeaderValue, RequestError> {
    let value = HeaderValue::from_str(text);
    let mut value =
        value.map_err(|_| RequestError::Header("with a value of several lines".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `None`: that comes from elsewhere.
fn authorization(auth: &HttpAuth) -> Result<Option<HeaderValue>, RequestError> {
    let given = |source: &Option<Source>, what| match source {
        Some(source) => read(source, what),
        None => Ok(Secret::default()),
    };
    match auth {
        HttpAuth::Basic { username, password } => {
            let username = given(username, "the username")?;
            let password = given(password, "the password")?;
            basic(&username.0, &password.0).map(Some)
        }
        HttpAuth::Header {
            scheme,
            credentials,
        } => {
            let credentials = given(credentials, "the credentials")?;
            secret_value(format!("{scheme} {}", credentials.0).trim_end()).map(Some)
        }
        HttpAuth::OAuth2(_) => Ok(None),
    }
}

/// The header of basic authentication.
pub(super) fn basic(user: &str, password: &str) -> Result<HeaderValue, RequestError> {
    let text = format!("{user}:{password}");
    secret_value(&format!("Basic {}", base64(text.as_bytes())))
}

/// RFC 4648, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    let digit = |bits: u32| char::from(BASE64[(bits & 63) as usize]);
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let three = [0, 1, 2].map(|at| chunk.get(at).copied().unwrap_or(0));
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            text.push(if place > chunk.len() {
                '='
            } else {
                digit(bits >> shift)
            });
        }
    }
    text
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn client(config: &HttpConfig, material: &TlsMaterial) -> Result<Client, RequestError> {
    let builder = Client::builder()
        .tls_backend_preconfigured(material.client_config()?)
        .dns_resolver(SharedResolver(Resolver::shared()))
        .user_agent(concat!(
            "Alertmanager (rumormill-node/",
            env!("CARGO_PKG_VERSION"),
            ")"
        ))
        .connect_timeout(CONNECT_MAX)
        // It may have a secret, and another server is not to see it.
        .referer(false)
        .redirect(redirects(config));
    let builder = match &config.proxy_url {
        Some(url) => builder.proxy(proxy(url, config)?),
        None if config.proxy_from_environment => builder,
        None => builder.no_proxy(),
    };
    builder.build().map_err(RequestError::Client)
}

/// Headers of the configuration are not for another server: where there are any, such a redirect is not followed by the
/// client, which would take them along, as it does all but `Authorization` and cookies.
fn redirects(config: &HttpConfig) -> redirect::Policy {
    if !config.follow_redirects {
        return redirect::Policy::none();
    }
    if config.headers.is_empty() {
        return redirect::Policy::limited(REDIRECTS_MAX);
    }
    redirect::Policy::custom(|attempt| {
        let from = attempt.previous().last().map(Url::origin);
        if from.is_some_and(|from| from != attempt.url().origin()) {
            attempt.stop()
        } else if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("too many redirects")
        } else {
            attempt.follow()
        }
    })
}

fn proxy(url: &str, config: &HttpConfig) -> Result<Proxy, RequestError> {
    let mut proxy = Proxy::all(url).map_err(RequestError::Proxy)?;
    if !config.no_proxy.is_empty() {
        proxy = proxy.no_proxy(NoProxy::from_string(&config.no_proxy));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &config.proxy_headers {
        let name = HeaderName::from_str(name).map_err(|_| RequestError::Header(name.clone()))?;
        headers.append(name, secret_value(&value.0)?);
    }
    Ok(proxy.headers(headers))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// As many as Go follows.
const REDIRECTS_MAX: usize = 10;
/// As Prometheus's clients have it.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// How much of what a server says is read, how much is logged, and how long it may take to say it.
const EXCERPT_BYTES: usize = 16 << 10;
const SHOWN_BYTES: usize = 512;
const EXCERPT_MAX: Duration = Duration::from_secs(1);
