//! HTTP as operators set it up: a prefix, passwords, TLS, and other origins.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{CONFIG, Dir, Process, until};

/// The hash of "correctbatteryhorsestapler", and the credentials of alice with that.
const HASH: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";
const RIGHT: &str = "YWxpY2U6Y29ycmVjdGJhdHRlcnlob3JzZXN0YXBsZXI=";
/// Of alice with another password, and of somebody else with the right one.
const WRONG: [&str; 2] = [
    "YWxpY2U6d3Jvbmc=",
    "Ym9iOmNvcnJlY3RiYXR0ZXJ5aG9yc2VzdGFwbGVy",
];

fn address(node: &Process) -> &str {
    node.url.trim_start_matches("http://")
}

/// The whole answer to a GET with these headers.
fn get(mut stream: impl Read + Write, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A server may end TLS without saying so.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn plain(node: &Process, path: &str, headers: &str) -> String {
    get(TcpStream::connect(address(node)).unwrap(), path, headers)
}

#[test]
fn passwords_and_tls_are_taken_up_while_the_node_runs() {
    let dir = Dir::new("web-config");
    fs::write(dir.0.join("am.yml"), CONFIG).unwrap();
    let file = dir.0.join("web.yml");
    fs::write(&file, "").unwrap();
    let flag = format!("--web.config.file={}", file.display());
    let node = Process::start(&dir, "am", &[&flag, "--cluster.listen-address="]);

    let users = format!(
        "basic_auth_users: {{alice: '{HASH}'}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    );
    fs::write(&file, &users).unwrap();
    // Unless it has been taken up before that.
    let reloaded = node.post("/-/reload", "").0;
    assert!([200, 401].contains(&reloaded), "{reloaded}");
    let refused = plain(&node, "/-/healthy", "");
    assert!(
        refused.starts_with("HTTP/1.1 401 ") && refused.contains("www-authenticate: Basic"),
        "{refused}"
    );
    for wrong in WRONG {
        let refused = plain(
            &node,
            "/api/v2/alerts",
            &format!("Authorization: Basic {wrong}\r\n"),
        );
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    }
    let right = format!("Authorization: Basic {RIGHT}\r\n");
    for _ in 0..2 {
        let taken = plain(&node, "/api/v2/alerts", &right);
        assert!(
            taken.starts_with("HTTP/1.1 200 ") && taken.contains("x-frame-options: deny"),
            "{taken}"
        );
    }

    let key = rcgen::generate_simple_self_signed(vec!["node.example".to_owned()]).unwrap();
    fs::write(dir.0.join("c.pem"), key.cert.pem()).unwrap();
    fs::write(dir.0.join("k.pem"), key.signing_key.serialize_pem()).unwrap();
    let tls = "tls_server_config: {cert_file: c.pem, key_file: k.pem}\n";
    fs::write(&file, format!("{users}{tls}")).unwrap();
    // Nobody tells the node.
    until("TLS is taken up", || {
        !plain(&node, "/-/healthy", &right).contains("200 OK")
    });

    let mut roots = RootCertStore::empty();
    let pem = key.cert.pem();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("node.example").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = StreamOwned::new(connection, TcpStream::connect(address(&node)).unwrap());
    let taken = get(stream, "/-/healthy", &right);
    assert!(
        taken.starts_with("HTTP/1.1 200 ") && taken.ends_with("OK"),
        "{taken}"
    );
}

#[test]
fn every_path_is_under_the_prefix() {
    let dir = Dir::new("prefix");
    fs::write(dir.0.join("am.yml"), CONFIG).unwrap();
    // The node is waited for at /-/healthy, so that it has the prefix of the second flag only where it is asked.
    let node = Process::start(
        &dir,
        "am",
        &["--web.external-url=http://h/am/", "--web.route-prefix=/"],
    );
    assert_eq!(node.ask("GET", "/", None, "").0, 200);
    assert_eq!(node.ask("HEAD", "/api/v2/status", None, "").0, 200);
    assert_eq!(node.ask("GET", "/am/-/healthy", None, "").0, 404);
}

#[test]
fn other_origins_call_only_where_they_may() {
    let dir = Dir::new("cors");
    fs::write(dir.0.join("am.yml"), CONFIG).unwrap();
    let asks = "Origin: https://karma.example\r\n";
    let closed = Process::start(&dir, "closed", &["--cluster.listen-address="]);
    let answer = plain(&closed, "/api/v2/status", asks);
    assert!(!answer.contains("access-control"), "{answer}");
    let flags = [
        "--cluster.listen-address=",
        "--web.cors.origin=https://karma.example",
    ];
    let open = Process::start(&dir, "open", &flags);
    let answer = plain(&open, "/api/v2/status", asks);
    assert!(
        answer.contains("access-control-allow-origin: https://karma.example"),
        "{answer}"
    );
    let answer = plain(&open, "/api/v2/status", "Origin: https://evil.example\r\n");
    assert!(!answer.contains("access-control-allow-origin"), "{answer}");
}
