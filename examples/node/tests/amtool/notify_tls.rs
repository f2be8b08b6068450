//! A webhook over TLS, whose authority the system knows.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::certs::Authority;
use crate::support::{Dir, free_port, node, request, until};

/// Takes what is sent over TLS with the certificate of the directory.
fn webhook(dir: &Dir) -> (String, Receiver<Value>) {
    let chain = CertificateDer::from_pem_file(dir.0.join("node.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.0.join("node.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let (sender, taken) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(session, stream.unwrap()));
            let mut length = 0;
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            if length == 0 || stream.read_exact(&mut body).is_err() {
                continue;
            }
            let _ = sender.send(serde_json::from_slice(&body).unwrap());
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.get_mut().write_all(answer);
        }
    });
    (url, taken)
}

/// A node alone that takes the authorities of a file for those of the system; killed at the end.
struct Alone(Child);

impl Alone {
    fn start(dir: &Dir, authorities: &str) -> (Self, String) {
        let port = free_port();
        let child = Command::new(node())
            .env("SSL_CERT_FILE", dir.0.join(authorities))
            .env_remove("SSL_CERT_DIR")
            .arg(format!("--config.file={}", dir.0.join("am.yml").display()))
            .arg(format!("--storage.path={}", dir.0.join(authorities).display()) + "-data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        until("the node is ready", || {
            let ready = request("GET", &format!("{url}/-/ready"), None, b"");
            ready.is_some_and(|it| it.0 == 200)
        });
        let alerts = br#"[{"labels":{"alertname":"Down"}}]"#;
        let posted = request(
            "POST",
            &format!("{url}/api/v2/alerts"),
            Some("application/json"),
            alerts,
        );
        assert_eq!(posted.map(|it| it.0), Some(200));
        (Self(child), url)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn webhooks_trust_the_authorities_of_the_system() {
    let dir = Dir::new("notify-tls");
    let other = Dir::new("notify-tls-other");
    Authority::new().write_to(&dir.0);
    Authority::new().write_to(&other.0);
    fs::copy(other.0.join("ca.pem"), dir.0.join("other.pem")).unwrap();
    let (url, taken) = webhook(&dir);
    let config = json!({
        "route": {"receiver": "hook", "group_wait": "100ms"},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": url}]}],
    });
    fs::write(dir.0.join("am.yml"), config.to_string()).unwrap();
    let (stranger, stranger_url) = Alone::start(&dir, "other.pem");
    until("it has failed", || {
        let metrics = request("GET", &format!("{stranger_url}/metrics"), None, b"");
        let failed = "notification_requests_failed_total{integration=\"webhook\"} ";
        let metrics = metrics.map(|it| it.1).unwrap_or_default();
        let count = metrics
            .split(failed)
            .nth(1)
            .and_then(|rest| rest.lines().next());
        count.is_some_and(|count| count != "0")
    });
    assert!(taken.try_recv().is_err());
    drop(stranger);
    let _trusting = Alone::start(&dir, "ca.pem");
    let told = taken
        .recv_timeout(Duration::from_secs(20))
        .expect("a notification");
    assert_eq!(told["status"], "firing");
}
