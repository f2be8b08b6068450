//! Webhooks.

use super::http::HttpClient;
use super::integration::{Notification, SendError, aside};
use super::message::message;
use crate::file::Address;
use crate::receivers::WebhookConfig;

/// One of `webhook_configs`.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) config: WebhookConfig,
    client: HttpClient,
}

impl Webhook {
    /// Nothing of it is tried here.
    pub(super) fn new(config: WebhookConfig) -> Self {
        Self {
            client: HttpClient::new(config.http.clone()),
            config,
        }
    }

    /// One POST. What the server does not like of it (4xx) it will not like later.
    pub(super) async fn send(&self, notification: Notification) -> Result<(), SendError> {
        let sending = async {
            let max_alerts = self.config.max_alerts;
            let url = self.config.url.clone();
            let written = aside(move || {
                let url = match url {
                    Address::File(path) => std::fs::read_to_string(&path)
                        .map_err(|error| SendError::Retry(format!("{path}: {error}")))?,
                    Address::Url(url) => url,
                };
                Ok((url.trim().to_owned(), message(notification, max_alerts)))
            });
            let (url, body) = written.await?;
            self.client.post(&url, "application/json", body).await
        };
        let Some(timeout) = self.config.timeout else {
            return sending.await;
        };
        let sent = tokio::time::timeout(timeout, sending).await;
        sent.unwrap_or_else(|_| {
            let said = format!("no response within {timeout:?}, the timeout of the receiver");
            Err(SendError::Retry(said))
        })
    }
}
