//! `oauth2` of `http_config`: tokens by the client credentials grant (RFC 6749, section 4.4).
//!
//! A token is kept until ten seconds before it expires. Client and secret are shown in the header, and where the server
//! does not like that, in the body, as Go's clients do.

use std::fmt::Display;
use std::num::ParseIntError;
use std::time::Duration;

use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::http::{HttpClient, basic};
use super::integration::{Files, SendError};
use crate::receivers::{HttpConfig, OAuth2Config, Source};

/// Where the tokens of one receiver come from.
#[derive(Debug)]
pub(super) struct Tokens {
    config: OAuth2Config,
    client: HttpClient,
    files: Files,
    held: Mutex<Option<Held>>,
}

/// A token, and until when it is good.
#[derive(Clone, Debug)]
struct Held {
    header: HeaderValue,
    until: Option<Instant>,
}

impl Held {
    /// What a server said.
    fn of(said: &[u8]) -> Result<Self, SendError> {
        let refused = |why: &dyn Display| SendError::Retry(format!("no token: {why}"));
        let granted: Granted = serde_json::from_slice(said).map_err(|error| refused(&error))?;
        let scheme = match granted.token_type.as_str() {
            "" => "Bearer",
            scheme if scheme.eq_ignore_ascii_case("bearer") => "Bearer",
            scheme => scheme,
        };
        let header = HeaderValue::from_str(&format!("{scheme} {}", granted.access_token));
        let mut header = header.map_err(|_| refused(&"it is no text"))?;
        header.set_sensitive(true);
        let count = granted.expires_in.map(Seconds::count).transpose();
        let count = count.map_err(|error| refused(&format_args!("expires_in: {error}")))?;
        let lasts = |count: i64| {
            let lasts = Duration::from_secs(u64::try_from(count).unwrap_or(0));
            Instant::now() + lasts.saturating_sub(MARGIN).min(DAY)
        };
        Ok(Self {
            header,
            until: count.filter(|count| *count != 0).map(lasts),
        })
    }
}

/// What a server answers.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    token_type: String,
    /// None or 0: for ever.
    #[serde(default)]
    expires_in: Option<Seconds>,
}

/// A number, in JSON or as a text: some servers write it so, and Go's clients take it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(i64),
    Text(String),
}

impl Seconds {
    fn count(self) -> Result<i64, ParseIntError> {
        match self {
            Self::Number(count) => Ok(count),
            Self::Text(text) => text.parse(),
        }
    }
}

impl Tokens {
    pub(super) fn new(config: OAuth2Config) -> Self {
        let http = HttpConfig {
            proxy_url: config.proxy_url.clone(),
            no_proxy: config.no_proxy.clone(),
            proxy_from_environment: config.proxy_from_environment,
            tls: config.tls.clone(),
            // The client's secret is for this server alone.
            follow_redirects: false,
            ..HttpConfig::default()
        };
        Self {
            client: HttpClient::new(http),
            files: Files::new(config.client_secret.as_ref().is_some_and(Source::is_file)),
            config,
            held: Mutex::new(None),
        }
    }

    /// The header that proves who sends. Those who ask together are given the same.
    pub(super) async fn header(&self) -> Result<HeaderValue, SendError> {
        let mut held = self.held.lock().await;
        let is_good = |held: &Held| held.until.is_none_or(|until| Instant::now() < until);
        if let Some(held) = held.as_ref().filter(|held| is_good(held)) {
            return Ok(held.header.clone());
        }
        let granted = self.grant().await?;
        let header = granted.header.clone();
        *held = Some(granted);
        Ok(header)
    }

    async fn grant(&self) -> Result<Held, SendError> {
        let secret = self.secret().await?;
        let asked = self.ask(&secret, false).await;
        let body = match asked {
            Err(SendError::Final(_)) => self.ask(&secret, true).await,
            asked => asked,
        };
        // A server that refuses today may know this client tomorrow: the flush decides how long that is tried.
        let body = body.map_err(|error| SendError::Retry(format!("no token: {error}")))?;
        Held::of(&body)
    }

    async fn secret(&self) -> Result<String, SendError> {
        let source: Option<Source> = self.config.client_secret.clone();
        let read = self.files.read(move || {
            let read = source.map(|source| source.read()).transpose();
            read.map_err(|error| SendError::Retry(format!("client_secret cannot be read: {error}")))
        });
        Ok(read.await?.map(|secret| secret.0).unwrap_or_default())
    }

    async fn ask(&self, secret: &str, in_body: bool) -> Result<Vec<u8>, SendError> {
        let config = &self.config;
        let mut form = vec![("grant_type", "client_credentials")];
        let scope = config.scopes.join(" ");
        if !scope.is_empty() {
            form.push(("scope", &scope));
        }
        let params = config.endpoint_params.iter();
        form.extend(params.map(|(name, value)| (name.as_str(), value.as_str())));
        let mut auth = None;
        if in_body {
            form.extend([
                ("client_id", config.client_id.as_str()),
                ("client_secret", secret),
            ]);
        } else {
            let (id, secret) = (form_encoded(&config.client_id), form_encoded(secret));
            auth = basic(&id, &secret).ok();
        }
        let pairs = form
            .iter()
            .map(|(name, value)| format!("{}={}", form_encoded(name), form_encoded(value)));
        let body = pairs.collect::<Vec<_>>().join("&").into_bytes();
        let form = "application/x-www-form-urlencoded";
        let client = &self.client;
        client.exchange(&config.token_url, form, body, auth).await
    }
}

/// As forms are encoded.
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// How long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(10);
/// The longest that a token is used, however long it is good.
const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    /// As Go's clients take it.
    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_token_is_a_number_or_a_text() {
        let lasts = |expires_in: &str| {
            let said = format!("{{\"access_token\": \"t\"{expires_in}}}");
            let held = Held::of(said.as_bytes()).ok()?;
            Some(held.until.map(|until| (until - Instant::now()).as_secs()))
        };
        for (expires_in, seconds) in [
            ("", Some(None)),
            (", \"expires_in\": null", Some(None)),
            (", \"expires_in\": 0", Some(None)),
            (", \"expires_in\": 3599", Some(Some(3589))),
            (", \"expires_in\": \"3599\"", Some(Some(3589))),
            (", \"expires_in\": 99999999999", Some(Some(86_400))),
            (", \"expires_in\": -1", Some(Some(0))),
            (", \"expires_in\": \"soon\"", None),
            (", \"expires_in\": []", None),
        ] {
            assert_eq!(lasts(expires_in), seconds, "{expires_in}");
        }
    }
}
