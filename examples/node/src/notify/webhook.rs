//! Webhooks.

use super::http::HttpClient;
use super::integration::{Files, Notification, SendError, aside};
use super::message::message;
use crate::file::Address;
use crate::receivers::WebhookConfig;

/// One of `webhook_configs`.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) config: WebhookConfig,
    client: HttpClient,
    files: Files,
}

impl Webhook {
    /// Nothing of it is tried here.
    pub(super) fn new(config: WebhookConfig) -> Self {
        Self {
            client: HttpClient::new(config.http.clone()),
            files: Files::new(true),
            config,
        }
    }

    /// One POST. What the server does not like of it (4xx) it will not like later.
    pub(super) async fn send(&self, notification: Notification) -> Result<(), SendError> {
        let sending = async {
            let url = match self.config.url.clone() {
                Address::File(path) => {
                    let reading = self.files.read(move || {
                        std::fs::read_to_string(&path)
                            .map_err(|error| SendError::Retry(format!("{path}: {error}")))
                    });
                    reading.await?.trim().to_owned()
                }
                Address::Url(url) => url.trim().to_owned(),
            };
            let max_alerts = self.config.max_alerts;
            let body = aside(move || Ok(message(notification, max_alerts))).await?;
            self.client.post(&url, "application/json", body).await
        };
        let Some(timeout) = self.config.timeout else {
            return sending.await;
        };
        let sent = tokio::time::timeout(timeout, sending).await;
        sent.unwrap_or_else(|_| {
            let said = format!("no response within {timeout:?}, the timeout of the receiver");
            Err(SendError::Unsure(said))
        })
    }
}
