//! From start to end: readiness, signals, snapshots, mistakes in the configuration.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::{Dir, Process, free_port, node, silence, three, until};

const X: &str = r#"[{"name":"a","value":"x","isRegex":false}]"#;

/// SIGTERM, again and again: left, written, exit code 0, and all there after the next start.
#[test]
fn a_signal_ends_it_well_and_the_state_comes_back() {
    let dir = Dir::new("signals");
    for signal in ["-TERM", "-INT"] {
        let mut node = Process::start(&dir, "am", &[]);
        assert_eq!(node.post("/api/v2/silences", &silence(X, -5, 3600)).0, 200);
        let before = node.get("/api/v2/silences");
        node.signal(signal);
        node.signal(signal);
        node.signal("-TERM");
        assert_eq!(node.ended().code(), Some(0));
        let again = Process::start(&dir, "am", &[]);
        assert_eq!(again.get("/api/v2/silences"), before, "{signal}");
    }
}

/// A node that left is no failed one, for the others.
#[test]
fn the_others_see_it_leave() {
    let dir = Dir::new("leave");
    let [one, mut two, _three] = three(&dir);
    two.signal("-TERM");
    assert_eq!(two.ended().code(), Some(0));
    until("two members", || {
        one.metrics().contains("alertmanager_cluster_members 2\n")
    });
    assert!(
        one.metrics()
            .contains("alertmanager_cluster_failed_peers 0\n")
    );
}

/// A damaged snapshot is set aside, and a peer refills the store.
#[test]
fn a_damaged_snapshot_is_set_aside_and_peers_refill_the_store() {
    let dir = Dir::new("damaged");
    let [one, mut two, _three] = three(&dir);
    assert_eq!(one.post("/api/v2/silences", &silence(X, -5, 3600)).0, 200);
    until("it is on node 2", || {
        two.get("/api/v2/silences") == one.get("/api/v2/silences")
    });
    two.signal("-TERM");
    assert_eq!(two.ended().code(), Some(0));
    let file = dir.0.join("am-2").join("silences");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let peer = format!("--cluster.peer={}", one.cluster);
    let two = Process::start(&dir, "am-2", &[&peer]);
    until("it is there again", || {
        two.get("/api/v2/silences") == one.get("/api/v2/silences")
    });
    let names = fs::read_dir(dir.0.join("am-2")).unwrap();
    let mut names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
    assert!(names.any(|name| name.starts_with("silences.damaged-")));
    let log = fs::read_to_string(dir.0.join("am-2.log")).unwrap();
    assert!(
        log.contains("set aside") && log.contains("level=error"),
        "{log}"
    );
}

/// The snapshot is written every maintenance interval, so a killed node has its state.
#[test]
fn a_killed_node_has_what_the_last_maintenance_wrote() {
    let dir = Dir::new("maintenance");
    let node = Process::start(&dir, "am", &["--data.maintenance-interval=200ms"]);
    assert_eq!(node.post("/api/v2/silences", &silence(X, -5, 3600)).0, 200);
    let before = node.get("/api/v2/silences");
    let metrics = node.metrics();
    until("two snapshots later", || {
        let count = |page: &str| -> u64 {
            let line = page
                .lines()
                .find(|it| it.starts_with("alertmanager_silences_maintenance_total"));
            line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
        };
        count(&node.metrics()) >= count(&metrics) + 2
    });
    drop(node);
    let again = Process::start(&dir, "am", &["--log.format=json", "--log.level=debug"]);
    assert_eq!(again.get("/api/v2/silences"), before);
    let log = fs::read_to_string(dir.0.join("am.log")).unwrap();
    let restored = log
        .lines()
        .find(|it| it.contains("snapshot restored"))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(restored).unwrap();
    assert_eq!(
        (&line["level"], &line["store"]),
        (&json!("info"), &json!("silences"))
    );
}

/// While its seed swallows everything a node serves and says why it is not ready.
#[test]
fn a_node_that_joins_serves_and_is_not_ready() {
    let dir = Dir::new("ready");
    // A listener that never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = format!("--cluster.peer={}", silent.local_addr().unwrap());
    let node = Process::start(&dir, "am", &[&peer, "--cluster.settle-timeout=10s"]);
    let (status, why) = node.get("/-/ready");
    assert_eq!(status, 503, "{why}");
    assert!(
        why.as_str().unwrap().contains("joining the cluster"),
        "{why}"
    );
    assert_eq!(
        node.get("/api/v2/status").1["cluster"]["status"],
        "settling"
    );
    assert_eq!(node.post("/api/v2/silences", &silence(X, -5, 3600)).0, 200);
    until("it settles", || node.get("/-/ready").0 == 200);
    assert_eq!(node.get("/api/v2/status").1["cluster"]["status"], "ready");
}

#[test]
fn without_clustering_there_is_one_node() {
    let dir = Dir::new("alone");
    let own = free_port();
    let alone = Process::start(&dir, "alone", &["--cluster.listen-address="]);
    let status = alone.get("/api/v2/status").1;
    assert_eq!(
        status["cluster"],
        json!({"status": "disabled", "peers": []})
    );
    assert_eq!(alone.get("/-/ready").0, 200);
    assert!(alone.metrics().contains("alertmanager_cluster_enabled 0\n"));
    // A seed that is the own address is skipped.
    let itself = format!("--cluster.peer=127.0.0.1:{own}");
    let node = Process::start_at(&dir, "itself", free_port(), own, &[&itself]);
    until("it is ready", || node.get("/-/ready").0 == 200);
    let peers = node.get("/api/v2/status").1["cluster"]["peers"].clone();
    assert_eq!(peers.as_array().unwrap().len(), 1, "{peers}");
}

/// Nodes of different labels do not meet, whether flag or file says it.
#[test]
fn labels_keep_clusters_apart() {
    let dir = Dir::new("labels");
    let one = Process::start(&dir, "one", &["--cluster.label=a"]);
    let peer = format!("--cluster.peer={}", one.cluster);
    fs::write(
        dir.0.join("am.yml"),
        "cluster:\n  cluster-id: a\n  gossip-interval: '100ms'\n",
    )
    .unwrap();
    let same = Process::start(&dir, "same", &[&peer]);
    let other = Process::start(
        &dir,
        "other",
        &[&peer, "--cluster.label=b", "--cluster.settle-timeout=1s"],
    );
    until("the two of one label", || {
        same.get("/api/v2/status").1["cluster"]["peers"]
            .as_array()
            .map(Vec::len)
            == Some(2)
    });
    until("the other has settled", || other.get("/-/ready").0 == 200);
    assert!(other.metrics().contains("alertmanager_cluster_members 1\n"));
    assert!(one.metrics().contains("alertmanager_cluster_members 2\n"));
}

/// A wrong configuration ends the start, and the message says where.
#[test]
fn a_node_does_not_start_with_a_wrong_configuration() {
    let dir = Dir::new("wrong");
    let file = dir.0.join("am.yml");
    for (text, flag, words) in [
        (
            "route:\n  receiver: a\nreciever: []\n",
            "",
            &["line 3, column 1", "reciever"][..],
        ),
        (
            "cluster:\n  gossip-interval: 200ms\n  probe: 1s\n",
            "",
            &["line 3, column 3", "probe"],
        ),
        (
            "cluster:\n  tls-config:\n    cert-file: a.pem\n",
            "",
            &["TLS"],
        ),
        ("", "--cluster.tls-config=tls.yml", &["TLS"]),
        ("", "--cluster.gossip-interval=25h", &["gossip_interval"]),
        ("", "--cluster.peer=nowhere", &["\"nowhere\"", "host:port"]),
        ("", "--web.listen-address=nowhere", &["\"nowhere\""]),
        ("", "--storage.path=/dev/null/x", &["/dev/null/x"]),
        ("", "--config.file=/nowhere.yml", &["/nowhere.yml"]),
        ("", "--data.retention=5", &["has no unit"]),
    ] {
        fs::write(&file, text).unwrap();
        let mut command = Command::new(node());
        if !flag.starts_with("--config.file") {
            command.arg(format!("--config.file={}", file.display()));
        }
        if !flag.starts_with("--storage.path") {
            command.arg(format!("--storage.path={}", dir.0.join("wrong").display()));
        }
        if !flag.starts_with("--web") {
            command.arg("--web.listen-address=127.0.0.1:0");
        }
        command.arg("--cluster.listen-address=127.0.0.1:0");
        let output = command
            .args((!flag.is_empty()).then_some(flag))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{text}{flag}: {said}");
        for words in words {
            assert!(
                said.replace('\\', "").contains(words),
                "{text}{flag}: no {words}: {said}"
            );
        }
    }
}
