//! Mail against a server that writes down what it is told.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::NoClientAuth;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::email::{Email, replaced};
use super::integration::{Notification, SendError, Told};
use super::resolver::Resolver;
use super::tests::{alert, labels};
use super::webhook_tests::{Authority, Dir};
use crate::file::parse;
use crate::receivers::EmailConfig;

/// What the server does.
#[derive(Clone)]
struct Manner {
    tls: Option<TlsAcceptor>,
    /// Whether TLS is there from the first byte.
    at_once: bool,
    /// What it says to RCPT.
    recipient: &'static str,
    /// What it says to the whole mail; `None`: it goes away.
    taken: Option<&'static str>,
    /// Whether it says goodbye.
    is_polite: bool,
}

/// Lines as they came, the mail among them; those in TLS are marked.
struct Server {
    port: u16,
    lines: UnboundedReceiver<String>,
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, lines) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manner.clone(), sender.clone()));
            }
        });
        Self { port, lines }
    }

    /// All lines of one connection.
    async fn said(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            let line = timeout(Duration::from_secs(10), self.lines.recv()).await;
            let line = line.expect("a line in time").unwrap();
            if line.ends_with("QUIT") {
                return said;
            }
            said.push(line);
        }
    }
}

async fn serve(stream: TcpStream, manner: Manner, sender: UnboundedSender<String>) {
    let Some(tls) = &manner.tls else {
        converse(BufReader::new(stream), &manner, "", &sender, true).await;
        return;
    };
    let mut stream = stream;
    if !manner.at_once {
        let plain = converse(BufReader::new(stream), &manner, "", &sender, true).await;
        let Some(plain) = plain else {
            return;
        };
        stream = plain.into_inner();
    }
    if let Ok(stream) = tls.accept(stream).await {
        let stream = BufReader::new(stream);
        converse(stream, &manner, "tls ", &sender, manner.at_once).await;
    }
}

/// Until the client quits, or TLS is to begin.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: BufReader<S>,
    manner: &Manner,
    mark: &str,
    sender: &UnboundedSender<String>,
    greets: bool,
) -> Option<BufReader<S>> {
    if greets {
        stream.write_all(b"220 hello\r\n").await.ok()?;
    }
    let mut in_data = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end_matches("\r\n");
        let _ = sender.send(format!("{mark}{line}"));
        let offers_tls = manner.tls.is_some() && !manner.at_once && mark.is_empty();
        let answer = match line.split(' ').next().unwrap_or_default() {
            _ if in_data && line != "." => continue,
            "." => {
                in_data = false;
                manner.taken?
            }
            "EHLO" if offers_tls => "250-me\r\n250 STARTTLS",
            "EHLO" => "250-me\r\n250 AUTH PLAIN LOGIN",
            "STARTTLS" => "220 go on",
            "AUTH" => "235 welcome",
            "RCPT" => manner.recipient,
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            "QUIT" if !manner.is_polite => continue,
            "QUIT" => "221 bye",
            _ => "250 well",
        };
        stream
            .write_all(format!("{answer}\r\n").as_bytes())
            .await
            .ok()?;
        if line == "STARTTLS" {
            return Some(stream);
        }
        if line == "QUIT" {
            return None;
        }
    }
}

fn config(port: u16, more: &str) -> EmailConfig {
    let text = format!(
        "route: {{receiver: r}}\nreceivers: [{{name: r, email_configs: [{{to: 'Ops <ops@example.org>, \
         b@example.org', from: am@example.org, smarthost: 'localhost:{port}', hello: me.example, {more}}}]}}]\n"
    );
    let receivers = parse(&text).unwrap().receivers(&std::env::temp_dir());
    receivers[0].emails[0].clone()
}

fn notification() -> Notification {
    Notification {
        receiver: "r".to_owned(),
        group_key: "{}:{}".to_owned(),
        group_labels: labels("alertname=Disk"),
        alerts: vec![Told {
            alert: Arc::new(alert("alertname=Disk,job=j", 10, 20)),
            is_resolved: false,
        }],
        external_url: "http://am".into(),
    }
}

async fn send(port: u16, more: &str) -> Result<(), SendError> {
    Email::new(config(port, more)).send(notification()).await
}

fn plain() -> Manner {
    Manner {
        tls: None,
        at_once: false,
        recipient: "250 well",
        taken: Some("250 taken"),
        is_polite: true,
    }
}

/// STARTTLS, then who it is, then the mail with text and page, its headers and recipients.
#[tokio::test]
async fn a_mail_goes_over_tls_with_a_password() {
    let dir = Dir::new("mail-tls");
    let authority = Authority::new();
    let ca = dir.file("ca.pem", &authority.0.pem());
    let password = dir.file("password", "s3cret\n");
    let tls = authority.acceptor_for("localhost", Arc::new(NoClientAuth));
    for at_once in [false, true] {
        let mut server = Server::start(Manner {
            tls: Some(tls.clone()),
            at_once,
            ..plain()
        })
        .await;
        let more = format!(
            "auth_username: alice, auth_password_file: {password}, force_implicit_tls: {at_once}, \
             tls_config: {{ca_file: {ca}}}, headers: {{X-Team: db, reply-to: c@example.org, \
             X-Left-Out: '{{{{ .Status }}}}'}}"
        );
        send(server.port, &more).await.unwrap();
        let said = server.said().await;
        if !at_once {
            assert_eq!(said[..2], ["EHLO me.example", "STARTTLS"]);
        }
        let secret = said.iter().filter(|line| line.starts_with("tls "));
        let secret: Vec<&str> = secret.map(|line| &line[4..]).collect();
        let start = [
            "EHLO me.example",
            "AUTH PLAIN AGFsaWNlAHMzY3JldA==",
            "MAIL FROM:<am@example.org>",
            "RCPT TO:<ops@example.org>",
            "RCPT TO:<b@example.org>",
            "DATA",
        ];
        assert_eq!(secret[..6], start, "{secret:?}");
        for line in [
            "Subject: [FIRING:1] Disk (j)",
            "From: am@example.org",
            "To: Ops <ops@example.org>, b@example.org",
            "X-Team: db",
            "Reply-To: c@example.org",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Type: text/html; charset=utf-8",
            "alertname = Disk",
        ] {
            assert!(secret.contains(&line), "{line}: {secret:#?}");
        }
        assert!(!secret.iter().any(|line| line.starts_with("X-Left-Out")));
    }
}

/// Without TLS nothing is sent unless that is allowed; then the configuration's own text is.
#[tokio::test]
async fn a_server_without_tls_gets_nothing_unless_that_is_allowed() {
    let mut server = Server::start(plain()).await;
    assert!(matches!(
        send(server.port, "").await,
        Err(SendError::Retry(_))
    ));
    let more = "require_tls: false, html: '', text: 'Look at once.', headers: {Subject: Trouble}";
    let mut server_again = Server::start(plain()).await;
    send(server_again.port, more).await.unwrap();
    let said = server_again.said().await;
    assert!(said.contains(&"Subject: Trouble".to_owned()), "{said:?}");
    assert!(said.contains(&"Look at once.".to_owned()), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("text/html")));
    server.lines.close();
    while let Ok(line) = server.lines.try_recv() {
        assert!(!line.starts_with("MAIL"), "{line}");
    }
}

#[tokio::test]
async fn only_what_the_server_may_take_later_is_tried_again() {
    for (recipient, is_final) in [("550 nobody here", true), ("450 not now", false)] {
        let server = Server::start(Manner {
            recipient,
            ..plain()
        })
        .await;
        let error = send(server.port, "require_tls: false").await.unwrap_err();
        assert_eq!(matches!(error, SendError::Final(_)), is_final, "{error}");
        assert!(error.to_string().starts_with("localhost: "), "{error}");
    }
    let refused = send(1, "require_tls: false").await;
    assert!(matches!(refused, Err(SendError::Retry(_))));
    let no_password = send(1, "auth_username: alice").await;
    assert!(matches!(no_password, Err(SendError::Final(text)) if text.contains("auth_password")));
}

/// Nor is anything else of it waited for: it is taken, or not.
#[tokio::test]
async fn who_takes_a_mail_need_not_say_goodbye() {
    let server = Server::start(Manner {
        is_polite: false,
        ..plain()
    })
    .await;
    let sent = timeout(
        Duration::from_secs(10),
        send(server.port, "require_tls: false"),
    );
    sent.await.expect("it does not wait").unwrap();
}

/// A mail that is there whole may have been taken, unless the server says that it was not.
#[tokio::test]
async fn what_the_server_says_to_a_mail_decides() {
    for (taken, expected) in [
        (None, "unsure"),
        (Some("452 full"), "later"),
        (Some("554 no"), "never"),
    ] {
        let server = Server::start(Manner { taken, ..plain() }).await;
        let said = match send(server.port, "require_tls: false").await {
            Ok(()) => "taken",
            Err(SendError::Final(_)) => "never",
            Err(SendError::Retry(_)) => "later",
            Err(SendError::Unsure(_)) => "unsure",
        };
        assert_eq!(said, expected, "{taken:?}");
    }
}

/// Time is paused: it goes on once nobody has anything else to do.
#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = send(port, "require_tls: false").await.unwrap_err();
    assert!(matches!(error, SendError::Retry(_)), "{error}");
}

/// The system is not asked past those that ask it already.
#[tokio::test]
async fn the_servers_name_is_looked_up_as_any_other() {
    let server = Server::start(plain()).await;
    let email = Email::new(config(server.port, "require_tls: false"));
    let email = email.looking_up(Resolver::full());
    let error = email.send(notification()).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Retry(text) if text.contains("are being looked up")),
        "{error}"
    );
}

#[test]
fn what_is_replaced_is_said() {
    let said = replaced(&config(
        25,
        "html: '{{ template \"x\" . }}', auth_secret: s, headers: {subject: '{{ .Status }}', x-a: '{{ 1 }}'}",
    ));
    let starts = [
        "html is a template",
        "the Subject is a template",
        "the header X-A is a template",
        "auth_secret",
    ];
    assert_eq!(said.len(), starts.len(), "{said:?}");
    for (said, start) in said.iter().zip(starts) {
        assert!(said.starts_with(start), "{said}");
    }
    assert!(replaced(&config(25, "html: '<b>x</b>'")).is_empty());
}
