//! One way to tell a receiver: a webhook, or mail.

use std::collections::BTreeMap;
use std::sync::Arc;

use rumormill::store::matcher::Labels;
use rumormill::store::nflog::ReceiverKey;
use tokio::sync::Semaphore;
use tokio::task::JoinError;

use super::dispatch::Integrations;
use super::email::{self, Email};
use super::webhook::Webhook;
use crate::alerts::Alert;
use crate::receivers::ReceiverConfig;

/// One of a receiver's integrations.
#[derive(Debug)]
pub(super) struct Integration {
    pub(super) key: ReceiverKey,
    pub(super) send_resolved: bool,
    pub(super) channel: Channel,
}

/// What it is.
#[derive(Debug)]
pub(super) enum Channel {
    Email(Box<Email>),
    #[cfg(test)]
    Fake(Box<super::tests::Fake>),
    Webhook(Box<Webhook>),
}

/// What is told of a group.
#[derive(Clone, Debug)]
pub(super) struct Notification {
    pub(super) receiver: String,
    pub(super) group_key: String,
    pub(super) group_labels: Labels,
    /// In the order in which they are shown.
    pub(super) alerts: Vec<Told>,
    pub(super) external_url: Arc<str>,
}

/// An alert that is told of.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) alert: Arc<Alert>,
    pub(super) is_resolved: bool,
}

/// Why a receiver did not take a notification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SendError {
    /// It makes no sense to try again.
    #[error("{0}")]
    Final(String),
    /// It was not told.
    #[error("{0}")]
    Retry(String),
    /// It may have taken the notification and not said so; it is tried again all the same.
    #[error("{0}")]
    Unsure(String),
}

impl Integration {
    /// What a configuration's receivers are told through, by their names.
    pub(super) fn by_receiver(receivers: &[ReceiverConfig]) -> BTreeMap<String, Integrations> {
        let mut all = BTreeMap::new();
        for receiver in receivers {
            let webhooks = receiver.webhooks.iter().map(|config| Self {
                key: key(receiver, "webhook", config.idx),
                send_resolved: config.send_resolved,
                channel: Channel::Webhook(Box::new(Webhook::new(config.clone()))),
            });
            let emails = receiver.emails.iter().map(|config| Self {
                key: key(receiver, "email", config.idx),
                send_resolved: config.send_resolved,
                channel: Channel::Email(Box::new(Email::new(config.clone()))),
            });
            let integrations = webhooks.chain(emails).map(Arc::new).collect();
            all.insert(receiver.name.clone(), integrations);
        }
        all
    }

    /// Whether a configuration has it as it is.
    pub(super) fn is_in(&self, receivers: &[ReceiverConfig]) -> bool {
        let mut named = receivers.iter().filter(|it| it.name == self.key.group_name);
        named.any(|receiver| match &self.channel {
            Channel::Email(email) => receiver.emails.contains(&email.config),
            #[cfg(test)]
            Channel::Fake(fake) => receiver.webhooks.contains(&fake.config),
            Channel::Webhook(webhook) => receiver.webhooks.contains(&webhook.config),
        })
    }

    /// What a new configuration's receivers are told through, as far as possible by what was there before: its
    /// connections and tokens, and whatever of it waits for files that hang, are not there twice.
    pub(super) fn keep(
        old: &BTreeMap<String, Integrations>,
        new: BTreeMap<String, Integrations>,
    ) -> BTreeMap<String, Integrations> {
        let kept = new.into_iter().map(|(name, new)| {
            let old = old.get(&name);
            let kept = new.iter().map(|it| {
                let mut old = old.into_iter().flat_map(|old| old.iter());
                Arc::clone(old.find(|old| old.is_as(it)).unwrap_or(it))
            });
            (name, kept.collect())
        });
        kept.collect()
    }

    fn is_as(&self, other: &Self) -> bool {
        let is_channel = match (&self.channel, &other.channel) {
            (Channel::Email(one), Channel::Email(two)) => one.config == two.config,
            #[cfg(test)]
            (Channel::Fake(one), Channel::Fake(two)) => one.config == two.config,
            (Channel::Webhook(one), Channel::Webhook(two)) => one.config == two.config,
            _ => false,
        };
        is_channel && self.key == other.key && self.send_resolved == other.send_resolved
    }

    /// One attempt to tell. May take as long as it likes; dropping it ends it.
    pub(super) async fn send(&self, notification: Notification) -> Result<(), SendError> {
        match &self.channel {
            #[cfg(test)]
            Channel::Fake(fake) => fake.send(notification).await,
            Channel::Email(email) => email.send(notification).await,
            Channel::Webhook(webhook) => webhook.send(notification).await,
        }
    }
}

/// What of the receivers' configuration this node does in another way than it says, or not at all.
pub(crate) fn replaced(receivers: &[ReceiverConfig]) -> Vec<String> {
    let mut said = Vec::new();
    for receiver in receivers {
        for email in &receiver.emails {
            let all = email::replaced(email).into_iter();
            let place = format!("receiver {:?}: email_configs[{}]", receiver.name, email.idx);
            said.extend(all.map(|text| format!("{place}: {text}")));
        }
    }
    said
}

/// Reads the files of one integration, or of a part of it, where that holds up nobody: one reading at a time, so that a
/// file that hangs holds up those that need it, and no other integration; and only so many readings of all, which
/// those that have no files do not wait for.
#[derive(Clone, Debug)]
pub(super) struct Files {
    own: Arc<Semaphore>,
    are_any: bool,
}

impl Files {
    /// Of an integration that may have none.
    pub(super) fn new(are_any: bool) -> Self {
        let own = Arc::new(Semaphore::new(1));
        Self { own, are_any }
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, SendError> + Send + 'static,
    ) -> Result<T, SendError> {
        let own = Arc::clone(&self.own).acquire_owned().await;
        let own = own.expect("it is never closed");
        let permit = if self.are_any {
            Some(READING.acquire().await.expect("it is never closed"))
        } else {
            None
        };
        // Both are kept as long as the thread is, even if nobody waits for it any more.
        on_a_thread((own, permit), work).await
    }
}

/// Writes large texts where that holds up nobody, a few at a time. Nothing in it may wait, as for a file.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SendError> + Send + 'static,
) -> Result<T, SendError> {
    static ASIDE: Semaphore = Semaphore::const_new(ASIDE_MAX);
    let permit = ASIDE.acquire().await.expect("it is never closed");
    on_a_thread(permit, work).await
}

async fn on_a_thread<T: Send + 'static>(
    permit: impl Send + 'static,
    work: impl FnOnce() -> Result<T, SendError> + Send + 'static,
) -> Result<T, SendError> {
    let worked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    let ended = |error: JoinError| Err(SendError::Retry(error.to_string()));
    worked.await.unwrap_or_else(ended)
}

/// An error with its causes.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

fn key(receiver: &ReceiverConfig, integration: &str, idx: u32) -> ReceiverKey {
    ReceiverKey {
        group_name: receiver.name.clone(),
        integration: integration.to_owned(),
        idx,
    }
}

impl Notification {
    /// What a message of it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let alerts = self.alerts.iter().map(|told| written_bytes(&told.alert));
        alerts.sum::<usize>().min(MESSAGE_BYTES_MAX)
    }

    /// Whether none of its alerts fires.
    pub(super) fn is_resolved(&self) -> bool {
        self.alerts.iter().all(|told| told.is_resolved)
    }

    /// The labels that all of its alerts have, and the annotations.
    pub(super) fn common(&self) -> (Labels, Labels) {
        let alerts = || self.alerts.iter().map(|told| &told.alert);
        let labels = common(alerts().map(|alert| &alert.labels));
        (labels, common(alerts().map(|alert| &alert.annotations)))
    }

    /// Without the alerts beyond the first so many, and beyond what a message may take; returns how many those
    /// are.
    pub(super) fn truncate(&mut self, max: u64) -> usize {
        let before = self.alerts.len();
        if let Ok(max) = usize::try_from(max)
            && max > 0
        {
            self.alerts.truncate(max);
        }
        let mut bytes = 0;
        let fitting = self.alerts.iter().take_while(|told| {
            bytes += written_bytes(&told.alert);
            bytes <= MESSAGE_BYTES_MAX
        });
        let fitting = fitting.count();
        self.alerts.truncate(fitting);
        before - self.alerts.len()
    }
}

/// What an alert takes in a message, about: much of it may be escaped there.
fn written_bytes(alert: &Alert) -> usize {
    let pairs = alert.labels.iter().chain(&alert.annotations);
    let pairs = pairs.map(|(name, value)| escaped_more(name) + escaped_more(value));
    alert.bytes() + escaped_more(&alert.generator_url) + pairs.sum::<usize>()
}

/// How many bytes more a text has in JSON as Go writes it: `\u003c` for what means something in HTML, and the same for
/// control characters.
fn escaped_more(text: &str) -> usize {
    let more = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        b'<' | b'>' | b'&' | 0..=0x1f => 5,
        // The first byte of U+2028 and U+2029, and of characters like them.
        0xe2 => 3,
        _ => 0,
    });
    more.sum()
}

/// The pairs that all have.
fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let mut common = all.next().cloned().unwrap_or_default();
    all.for_each(|one| common.retain(|name, value| one.get(name) == Some(value)));
    common
}

/// Threads that may be taken to write texts, and to read files: a quarter of those that there are.
const ASIDE_MAX: usize = 8;
const READING_MAX: usize = 64;
static READING: Semaphore = Semaphore::const_new(READING_MAX);
/// Alerts beyond are counted as truncated: some 5,000 ordinary ones.
pub(super) const MESSAGE_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::super::message::message;
    use super::super::tests::{alert, labels};
    use super::*;

    #[test]
    fn a_message_is_limited_as_it_is_written() {
        for text in ["<", "\u{1}", "\u{2028}"] {
            let mut large = alert("n=A", 10, 20);
            let value = text.repeat((1 << 20) / text.len());
            large.annotations.insert("a".to_owned(), value);
            let told = Told {
                alert: Arc::new(large),
                is_resolved: false,
            };
            let mut notification = Notification {
                receiver: "r".to_owned(),
                group_key: "{}:{}".to_owned(),
                group_labels: labels(""),
                alerts: vec![told.clone(); 7],
                external_url: "http://am".into(),
            };
            // So that it is not common, which is written besides.
            notification.alerts.insert(
                0,
                Told {
                    alert: Arc::new(alert("n=B", 10, 20)),
                    is_resolved: false,
                },
            );
            let bytes = notification.bytes();
            let written = message(notification, 0).len();
            assert!(written <= MESSAGE_BYTES_MAX, "{text:?}: {written}");
            assert!(written <= bytes + 1024, "{text:?}: {written} {bytes}");
        }
    }

    /// However many sends wait for it.
    #[tokio::test]
    async fn a_file_that_hangs_holds_up_its_own_integration_only() {
        let (hangs, works) = (Files::new(true), Files::new(true));
        let (end, ended) = channel::<()>();
        let first = hangs.clone();
        let reading = tokio::spawn(async move {
            first
                .read(move || {
                    let _ = ended.recv();
                    Ok(())
                })
                .await
        });
        while hangs.own.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let more: Vec<_> = (0..READING_MAX)
            .map(|_| {
                let hangs = hangs.clone();
                tokio::spawn(async move { hangs.read(|| Ok(())).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(works.read(|| Ok(1)).await, Ok(1));
        assert_eq!(aside(|| Ok(2)).await, Ok(2));
        drop(end);
        assert_eq!(reading.await.unwrap(), Ok(()));
        for one in more {
            assert_eq!(one.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test]
    async fn who_has_no_files_does_not_wait_for_those_of_others() {
        let all = u32::try_from(READING_MAX).unwrap();
        let all = READING.acquire_many(all).await.unwrap();
        let (has_some, has_none) = (Files::new(true), Files::new(false));
        assert_eq!(has_none.read(|| Ok(1)).await, Ok(1));
        let mut waits = std::pin::pin!(has_some.read(|| Ok(2)));
        tokio::select! {
            biased;
            _ = &mut waits => panic!("there is no room"),
            () = tokio::task::yield_now() => {}
        }
        drop(all);
        assert_eq!(waits.await, Ok(2));
    }

    #[test]
    fn what_has_files_says_so() {
        let of = |webhook: &str, email: &str| {
            let text = format!(
                "route: {{receiver: r}}\nreceivers: [{{name: r, webhook_configs: [{{url: 'http://h/', \
                 http_config: {{{webhook}}}}}], email_configs: [{{to: a@b, from: a@b, smarthost: 'h:25', {email}}}]}}]\n"
            );
            let file = crate::file::parse(&text).unwrap();
            let receivers = file.receivers(&std::env::temp_dir());
            let (webhook, email) = (&receivers[0].webhooks[0], &receivers[0].emails[0]);
            (webhook.http.has_files(), email.has_files())
        };
        assert_eq!(of("", "auth_password: p"), (false, false));
        assert_eq!(of("authorization: {credentials: c}", ""), (false, false));
        assert_eq!(
            of("bearer_token_file: f", "auth_password_file: f"),
            (true, true)
        );
        let tls = "tls_config: {ca_file: f}";
        assert_eq!(of(tls, tls), (true, true));
        assert_eq!(of("http_headers: {X: {files: [f]}}", ""), (true, false));
    }

    #[test]
    fn what_is_configured_as_before_is_kept() {
        let of = |second: &str| {
            let text = format!(
                "route: {{receiver: r}}\nreceivers: [{{name: r, webhook_configs: [{{url: 'http://a/'}}, \
                 {{url: 'http://{second}/'}}]}}, {{name: '{second}'}}]\n"
            );
            let file = crate::file::parse(&text).unwrap();
            Integration::by_receiver(&file.receivers(&std::env::temp_dir()))
        };
        let old = of("b");
        let all = Integration::keep(&old, of("b"));
        assert!(Arc::ptr_eq(&old["r"][0], &all["r"][0]) && Arc::ptr_eq(&old["r"][1], &all["r"][1]));
        let other = of("c");
        let some = Integration::keep(&old, of("c"));
        assert!(
            Arc::ptr_eq(&old["r"][0], &some["r"][0]) && !Arc::ptr_eq(&old["r"][1], &some["r"][1])
        );
        assert_eq!(
            some.keys().collect::<Vec<_>>(),
            other.keys().collect::<Vec<_>>()
        );
    }
}
