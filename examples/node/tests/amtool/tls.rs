//! The cluster of the node over mutual TLS, written in both ways.

use std::fs;

use crate::certs::Authority;
use crate::support::{Dir, Process, silence, until};

/// One node is told by its `cluster:` section, the other one by Alertmanager's file; what is silenced
/// on one is silenced on the other. SIGHUP takes new certificates.
#[test]
fn two_nodes_share_a_silence_over_tls() {
    let dir = Dir::new("tls");
    let authority = Authority::new();
    authority.write_to(&dir.0);
    let section = "cluster:\n  tls-config:\n    cert-file: node.pem\n    key-file: node.key\n    \
                   ca-file: ca.pem\n";
    fs::write(dir.0.join("am.yml"), section).unwrap();
    let one = Process::start(&dir, "one", &[]);

    fs::write(dir.0.join("am.yml"), "").unwrap();
    let alertmanagers = "tls_server_config:\n  cert_file: node.pem\n  key_file: node.key\n  \
                         client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n\
                         tls_client_config:\n  cert_file: node.pem\n  key_file: node.key\n  \
                         ca_file: ca.pem\n";
    fs::write(dir.0.join("tls.yml"), alertmanagers).unwrap();
    let peer = format!("--cluster.peer={}", one.cluster);
    let tls = format!("--cluster.tls-config={}", dir.0.join("tls.yml").display());
    let two = Process::start(&dir, "two", &[&peer, &tls]);
    until("the second is ready", || two.get("/-/ready").0 == 200);
    let peers = two.get("/api/v2/status").1["cluster"]["peers"].clone();
    assert_eq!(peers.as_array().unwrap().len(), 2, "{peers}");

    let matchers = r#"[{"name":"alertname","value":"DiskFull","isRegex":false}]"#;
    let (status, answer) = one.post("/api/v2/silences", &silence(matchers, 0, 3600));
    assert_eq!(status, 200, "{answer}");
    until("it is on the other", || {
        two.get("/api/v2/silences").1.as_array().map(Vec::len) == Some(1)
    });

    // In plaintext nobody gets in: this one stays alone.
    let plain = ["--cluster.settle-timeout=1s", &peer];
    let stranger = Process::start(&dir, "stranger", &plain);
    until("it has given up", || stranger.get("/-/ready").0 == 200);
    assert!(
        stranger
            .metrics()
            .contains("alertmanager_cluster_members 1\n")
    );

    authority.write_to(&dir.0);
    one.signal("-HUP");
    two.signal("-HUP");
    let three = Process::start(&dir, "three", &[&peer, &tls]);
    until("a third one joins", || {
        let peers = &three.get("/api/v2/status").1["cluster"]["peers"];
        peers.as_array().map(Vec::len) == Some(3)
    });
}
