//! Webhooks against servers that write down what they are sent.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::integration::{Notification, SendError, Told};
use super::tests::{alert, labels};
use super::webhook::Webhook;
use crate::file::parse;

/// A request, as it came.
#[derive(Debug)]
struct Taken {
    line: String,
    head: String,
    body: String,
}

impl Taken {
    /// The values of a header.
    fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let named = lines.filter(|(header, _)| header.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value).collect()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A server that answers each path with its status, and for 3xx with where to go.
struct Server {
    port: u16,
    taken: UnboundedReceiver<Taken>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, taken) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, tls) = (sender.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, sender).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, sender).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, taken }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    async fn next(&mut self) -> Taken {
        let taken = timeout(Duration::from_secs(10), self.taken.recv()).await;
        taken.expect("a request in time").unwrap()
    }
}

/// One request on each connection. `/503` is answered with that status, `/307?URL` sends elsewhere, `/hang` nothing.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, sender: UnboundedSender<Taken>) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let (line, rest) = head.split_once("\r\n").unwrap();
    let taken = Taken {
        line: line.to_owned(),
        head: rest.to_owned(),
        body: String::new(),
    };
    let length = taken
        .header("content-length")
        .first()
        .map_or(0, |it| it.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let body = String::from_utf8(body).unwrap();
    let target = line.split(' ').nth(1).unwrap();
    // Through a proxy it is the whole URL.
    let path = target.strip_prefix("http://am.example").unwrap_or(target);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let status = path.trim_start_matches('/').parse().unwrap_or(200_u16);
    let location = if query.is_empty() {
        String::new()
    } else {
        format!("location: {query}\r\n")
    };
    let said = if path == "/token" {
        r#"{"access_token":"t0k3n","token_type":"bearer","expires_in":3600}"#
    } else {
        "no"
    };
    let (hangs, length) = (path == "/hang", said.len());
    let length = length + usize::from(path == "/endless");
    let _ = sender.send(Taken { body, ..taken });
    if hangs {
        std::future::pending::<()>().await;
    }
    let answer = format!(
        "HTTP/1.1 {status} X\r\n{location}content-length: {length}\r\nconnection: close\r\n\r\n{said}"
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    if path == "/endless" {
        std::future::pending::<()>().await;
    }
    let _ = stream.shutdown().await;
}

fn webhook(config: &str) -> Webhook {
    let text =
        format!("route: {{receiver: r}}\nreceivers: [{{name: r, webhook_configs: [{config}]}}]\n");
    let receivers = parse(&text).unwrap().receivers(&std::env::temp_dir());
    Webhook::new(receivers[0].webhooks[0].clone())
}

fn notification(alerts: usize) -> Notification {
    let told = |number| Told {
        alert: Arc::new(alert(&format!("n={number}"), 10, 20)),
        is_resolved: false,
    };
    Notification {
        receiver: "r".to_owned(),
        group_key: "{}:{}".to_owned(),
        group_labels: labels(""),
        alerts: (0..alerts).map(told).collect(),
        external_url: "http://am".into(),
    }
}

async fn send(config: &str) -> Result<(), SendError> {
    webhook(config).send(notification(1)).await
}

#[tokio::test]
async fn a_request_proves_itself_as_it_is_told_to() {
    let mut server = Server::start(None).await;
    let dir = Dir::new("webhook-auth");
    let (password, token) = (
        dir.file("password", "s3cret\n"),
        dir.file("token", "t0k3n\n"),
    );
    let (plain, userinfo) = (
        server.url("x"),
        server.url("x").replace("//", "//bob:p%40w@"),
    );
    for (url, config, expected) in [
        (
            &plain,
            "basic_auth: {username: alice, password: s3cret}".to_owned(),
            "Basic YWxpY2U6czNjcmV0",
        ),
        (
            &plain,
            format!("basic_auth: {{username: alice, password_file: {password}}}"),
            "Basic YWxpY2U6czNjcmV0",
        ),
        (&userinfo, String::new(), "Basic Ym9iOnBAdw=="),
        (&plain, "bearer_token: t0k3n".to_owned(), "Bearer t0k3n"),
        (
            &plain,
            format!("bearer_token_file: {token}"),
            "Bearer t0k3n",
        ),
        (
            &plain,
            "authorization: {credentials: t0k3n}".to_owned(),
            "Bearer t0k3n",
        ),
        (
            &plain,
            format!("authorization: {{type: Api-Key, credentials_file: {token}}}"),
            "Api-Key t0k3n",
        ),
    ] {
        send(&format!("{{url: '{url}', http_config: {{{config}}}}}"))
            .await
            .unwrap();
        let taken = server.next().await;
        assert_eq!(taken.header("authorization"), [expected], "{config}");
        assert_eq!(taken.line, "POST /x HTTP/1.1");
        assert_eq!(taken.header("content-type"), ["application/json"]);
        assert_eq!(taken.json()["alerts"][0]["labels"], json!({"n": "0"}));
    }
    let missing = "{url: 'http://127.0.0.1:1', http_config: {bearer_token_file: /nowhere/at/all}}";
    let error = send(missing).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Retry(text) if text.contains("credentials cannot be read"))
    );
}

/// A token is asked for once and kept; a server that wants the secret in the body gets it there.
#[tokio::test]
async fn tokens_are_granted_and_kept() {
    let (mut server, mut grants) = (Server::start(None).await, Server::start(None).await);
    let (url, token_url) = (server.url("x"), grants.url("token"));
    let config = |token_url: &str| {
        format!(
            "{{url: '{url}', http_config: {{oauth2: {{client_id: me, client_secret: 's ecret', scopes: [a, b], \
             token_url: '{token_url}', endpoint_params: {{audience: am}}}}}}}}"
        )
    };
    let sends = webhook(&config(&token_url));
    for _ in 0..2 {
        sends.send(notification(1)).await.unwrap();
        let taken = server.next().await;
        assert_eq!(taken.header("authorization"), ["Bearer t0k3n"]);
    }
    let asked = grants.next().await;
    assert_eq!(asked.header("authorization"), ["Basic bWU6cytlY3JldA=="]);
    assert_eq!(
        asked.body,
        "grant_type=client_credentials&scope=a+b&audience=am"
    );
    assert!(grants.taken.try_recv().is_err(), "asked again");

    let refused = send(&config(&grants.url("401"))).await.unwrap_err();
    assert!(matches!(refused, SendError::Retry(text) if text.starts_with("no token: ")));
    assert_eq!(grants.next().await.header("authorization").len(), 1);
    let again = grants.next().await;
    assert!(
        again.body.ends_with("&client_id=me&client_secret=s+ecret"),
        "{}",
        again.body
    );
}

/// What is in files may change while the node runs.
#[tokio::test]
async fn files_are_read_anew() {
    let mut server = Server::start(None).await;
    let dir = Dir::new("webhook-files");
    let url = dir.file("url", &format!("{}\n", server.url("first")));
    let header = dir.file("header", "one");
    let webhook = webhook(&format!(
        "{{url_file: {url}, http_config: {{http_headers: {{X-A: {{files: [{header}], values: [v], \
         secrets: [s]}}}}}}}}"
    ));
    webhook.send(notification(1)).await.unwrap();
    let taken = server.next().await;
    let mut values = taken.header("x-a");
    values.sort_unstable();
    assert_eq!(
        (taken.line.as_str(), &values[..]),
        ("POST /first HTTP/1.1", &["one", "s", "v"][..])
    );
    dir.file("url", &server.url("second"));
    dir.file("header", "two");
    webhook.send(notification(1)).await.unwrap();
    let taken = server.next().await;
    assert_eq!(taken.line, "POST /second HTTP/1.1");
    assert!(taken.header("x-a").contains(&"two"));
}

#[tokio::test]
async fn redirects_are_followed_with_their_body() {
    let (mut first, mut second) = (Server::start(None).await, Server::start(None).await);
    let there = second.url("there");
    for (status, line) in [
        (307, "POST /there HTTP/1.1"),
        (308, "POST /there HTTP/1.1"),
        (302, "GET /there HTTP/1.1"),
    ] {
        let url = first.url(&format!("{status}?{there}"));
        send(&format!("{{url: '{url}'}}")).await.unwrap();
        let (sent, taken) = (first.next().await, second.next().await);
        assert_eq!(taken.line, line);
        let body = if status == 302 {
            ""
        } else {
            sent.body.as_str()
        };
        assert_eq!(taken.body, body);
    }
    let url = first.url(&format!("307?{there}"));
    let stays = send(&format!(
        "{{url: '{url}', http_config: {{follow_redirects: false}}}}"
    ))
    .await;
    assert!(matches!(stays, Err(SendError::Final(text)) if text.contains("307")));
}

/// The message goes on, and a second time from there.
#[tokio::test]
async fn headers_of_the_configuration_are_for_their_server_alone() {
    let (mut first, mut second) = (Server::start(None).await, Server::start(None).await);
    let headers = "http_config: {http_headers: {X-Key: {secrets: [s3cret]}}}";
    for (status, is_post) in [(307, true), (302, false)] {
        let there = second.url(&format!("{status}?{}", second.url("there")));
        let url = first.url(&format!("{status}?{there}"));
        send(&format!("{{url: '{url}', {headers}}}")).await.unwrap();
        let sent = first.next().await;
        assert_eq!(sent.header("x-key"), ["s3cret"]);
        for _ in 0..2 {
            let taken = second.next().await;
            assert_eq!(taken.line.starts_with("POST "), is_post, "{taken:?}");
            assert_eq!(taken.body, if is_post { sent.body.as_str() } else { "" });
            for name in ["x-key", "referer", "authorization"] {
                assert!(taken.header(name).is_empty(), "{taken:?}");
            }
        }
    }
    let here = first.url(&format!("307?{}", first.url("here")));
    send(&format!("{{url: '{here}', {headers}}}"))
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(first.next().await.header("x-key"), ["s3cret"]);
    }
}

/// The server is named, what it says is quoted, and no secret of the URL is.
#[tokio::test]
async fn only_what_may_be_better_later_is_tried_again() {
    let server = Server::start(None).await;
    for (status, is_final) in [
        (400, true),
        (404, true),
        (429, true),
        (500, false),
        (503, false),
    ] {
        let url = server.url(&format!("{status}")).replace("//", "//u:p4ss@");
        let error = send(&format!("{{url: '{url}'}}")).await.unwrap_err();
        assert_eq!(matches!(error, SendError::Final(_)), is_final, "{status}");
        let text = error.to_string();
        assert!(
            text.contains(&format!(
                "127.0.0.1: unexpected status code {status}: \"no\""
            )),
            "{text}"
        );
        assert!(!text.contains("p4ss"), "{text}");
    }
    let refused = send("{url: 'http://u:p4ss@127.0.0.1:1/t0k3n'}")
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, SendError::Retry(text) if !text.contains("p4ss") && !text.contains("t0k3n"))
    );
}

#[tokio::test]
async fn the_receivers_own_limits_hold() {
    let mut server = Server::start(None).await;
    let (url, hang) = (server.url("x"), server.url("hang"));
    let limited = webhook(&format!("{{url: '{url}', max_alerts: 2}}"));
    limited.send(notification(5)).await.unwrap();
    let message = server.next().await.json();
    assert_eq!(message["alerts"].as_array().unwrap().len(), 2);
    assert_eq!(message["truncatedAlerts"], 3);
    let error = send(&format!("{{url: '{hang}', timeout: 50ms}}"))
        .await
        .unwrap_err();
    assert!(matches!(error, SendError::Unsure(text) if text.contains("50ms")));
}

#[tokio::test]
async fn what_is_taken_is_taken_although_the_answer_does_not_end() {
    let mut server = Server::start(None).await;
    let url = server.url("endless");
    send(&format!("{{url: '{url}', timeout: 3s}}"))
        .await
        .unwrap();
    server.next().await;
}

#[tokio::test]
async fn a_proxy_is_used_but_for_what_it_is_not_for() {
    let (mut proxy, mut direct) = (Server::start(None).await, Server::start(None).await);
    let through = proxy.url("");
    let config = |no_proxy: &str| format!("http_config: {{proxy_url: '{through}'{no_proxy}}}");
    send(&format!("{{url: 'http://am.example/x', {}}}", config("")))
        .await
        .unwrap();
    assert_eq!(proxy.next().await.line, "POST http://am.example/x HTTP/1.1");
    let url = direct.url("x");
    send(&format!(
        "{{url: '{url}', {}}}",
        config(", no_proxy: 127.0.0.1")
    ))
    .await
    .unwrap();
    assert_eq!(direct.next().await.line, "POST /x HTTP/1.1");
}

#[tokio::test]
async fn tls_trusts_whom_it_is_told_to_and_shows_its_certificate() {
    let dir = Dir::new("webhook-tls");
    let authority = Authority::new();
    let ca = dir.file("ca.pem", &authority.0.pem());
    let other = dir.file("other.pem", &Authority::new().0.pem());
    let (cert, key) = authority.certificate("node");
    let (cert, key) = (dir.file("cert.pem", &cert), dir.file("key.pem", &key));
    let mut server = Server::start(Some(authority.acceptor("hook.example"))).await;
    let url = server.url("x").replace("http", "https");
    let pair = format!("cert_file: {cert}, key_file: {key}");
    for (tls, well) in [
        (
            format!("ca_file: {ca}, server_name: hook.example, {pair}"),
            true,
        ),
        (
            format!("ca_file: {ca}, server_name: hook.example, {pair}, min_version: TLS13"),
            true,
        ),
        (format!("insecure_skip_verify: true, {pair}"), true),
        // Another name, another authority, and no certificate.
        (format!("ca_file: {ca}, {pair}"), false),
        (
            format!("ca_file: {other}, server_name: hook.example, {pair}"),
            false,
        ),
        (format!("ca_file: {ca}, server_name: hook.example"), false),
        (
            format!("ca_file: {ca}, server_name: hook.example, {pair}, max_version: TLS11"),
            false,
        ),
    ] {
        let sent = send(&format!(
            "{{url: '{url}', http_config: {{tls_config: {{{tls}}}}}}}"
        ))
        .await;
        assert_eq!(sent.is_ok(), well, "{tls}: {sent:?}");
        if well {
            assert_eq!(server.next().await.line, "POST /x HTTP/1.1");
        }
    }
}

/// Signs certificates.
pub(super) struct Authority(pub(super) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certificate(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    /// A server of that name, which wants certificates of its clients.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.0.pem().as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        self.acceptor_for(name, clients.build().unwrap())
    }

    /// A server of that name, which takes clients as it is told to.
    pub(super) fn acceptor_for(
        &self,
        name: &str,
        clients: Arc<dyn ClientCertVerifier>,
    ) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let (cert, key) = self.certificate(name);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            );
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }
}

/// A directory of files, removed at the end.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("rumormill-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// Writes one, and returns its path.
    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
