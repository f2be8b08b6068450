//! From start to end: readiness, signals, snapshots, mistakes in the configuration.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rumormill::{Matcher, NewSilence, Op, SilenceLimits};
use serde_json::json;

use crate::support::{Dir, Process, node, silence, three, until};

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

/// A snapshot of a silence, as an earlier version of this program wrote them.
pub(crate) fn snapshot() -> Vec<u8> {
    let silences = rumormill::Node::builder("earlier").silences(SilenceLimits::default());
    let matcher = Matcher::new("a", Op::Equal, "x").unwrap();
    let silence = NewSilence::lasting(vec![matcher], Duration::from_secs(3600));
    silences.set(silence).unwrap();
    let mut bytes = Vec::new();
    silences.map().snapshot(&mut bytes).unwrap();
    bytes
}

/// The files of a storage path.
pub(crate) fn files(dir: &Dir, name: &str) -> Vec<String> {
    let files = fs::read_dir(dir.0.join(name)).unwrap();
    let mut files: Vec<String> = files
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    files
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
    fs::remove_file(dir.0.join("am-2").join("rumormill.redb")).unwrap();
    let mut bytes = snapshot();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(dir.0.join("am-2").join("silences"), bytes).unwrap();
    let peer = format!("--cluster.peer={}", one.cluster);
    let two = Process::start(&dir, "am-2", &[&peer]);
    until("it is there again", || {
        two.get("/api/v2/silences") == one.get("/api/v2/silences")
    });
    let names = files(&dir, "am-2");
    assert!(
        names
            .iter()
            .any(|name| name.starts_with("silences.damaged-"))
    );
    let log = fs::read_to_string(dir.0.join("am-2.log")).unwrap();
    assert!(
        log.contains("set aside") && log.contains("level=error"),
        "{log}"
    );
}

/// A snapshot of an earlier version is read in, which is said, and stays as it is. After that everything is in the
/// database, and the snapshot is not read again: neither after a kill, nor after a good end.
#[test]
fn a_snapshot_is_read_in_once_and_none_is_written() {
    let dir = Dir::new("maintenance");
    let (place, bytes) = (dir.0.join("am"), snapshot());
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("silences"), &bytes).unwrap();
    let flags = ["--data.maintenance-interval=200ms", "--log.format=json"];
    let node = Process::start(&dir, "am", &flags);
    assert_eq!(node.get("/api/v2/silences").1.as_array().unwrap().len(), 1);
    assert_eq!(node.post("/api/v2/silences", &silence(X, -5, 3600)).0, 200);
    let before = node.get("/api/v2/silences");
    let read = |log: &str| log.contains("snapshot read in, once");
    let log = || fs::read_to_string(dir.0.join("am.log")).unwrap();
    let line = log().lines().find(|it| read(it)).unwrap().to_owned();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["level"], &line["file"]),
        (&json!("info"), &json!("silences"))
    );
    until("that is noted", || place.join("snapshots-read").exists());
    drop(node);
    let mut again = Process::start(&dir, "am", &flags);
    assert_eq!(again.get("/api/v2/silences"), before);
    assert!(!read(&log()), "{}", log());
    again.signal("-TERM");
    assert_eq!(again.ended().code(), Some(0));
    let third = Process::start(&dir, "am", &flags);
    assert_eq!(third.get("/api/v2/silences"), before);
    assert!(!read(&log()), "{}", log());
    assert_eq!(fs::read(place.join("silences")).unwrap(), bytes);
    let names = files(&dir, "am");
    assert!(
        !names
            .iter()
            .any(|name| name.contains("nflog") || name.contains("unkept")),
        "{names:?}"
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
    // At first the cluster is not even listened to.
    until("it is joining", || {
        let (status, why) = node.get("/-/ready");
        assert_eq!(status, 503, "{why}");
        why.as_str().unwrap().contains("joining the cluster")
    });
    assert_eq!(
        node.get("/api/v2/status").1["cluster"]["status"],
        "settling"
    );
    assert_eq!(node.post("/api/v2/silences", &silence(X, -5, 3600)).0, 200);
    until("it settles", || node.get("/-/ready").0 == 200);
    assert_eq!(node.get("/api/v2/status").1["cluster"]["status"], "ready");
}

/// A node whose cluster cannot be joined has nothing in its database: it writes snapshots before it ends, and reads
/// them in once.
#[test]
fn a_cluster_that_cannot_be_joined_does_not_cost_the_snapshots() {
    let dir = Dir::new("join");
    // The port is taken. HTTP is there before that shows.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut node = Command::new(node())
        .arg(format!("--config.file={}", dir.0.join("am.yml").display()))
        .arg(format!("--storage.path={}", dir.0.join("am").display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .arg(format!("--cluster.listen-address=127.0.0.1:{port}"))
        .spawn()
        .unwrap();
    assert_eq!(node.wait().unwrap().code(), Some(1));
    for store in ["silences.unkept", "nflog.unkept"] {
        assert!(dir.0.join("am").join(store).is_file(), "{store}");
    }
    let again = Process::start(&dir, "am", &["--log.level=debug"]);
    assert_eq!(again.get("/api/v2/silences").0, 200);
    let log = fs::read_to_string(dir.0.join("am.log")).unwrap();
    assert!(log.contains("snapshot read in, once"), "{log}");
}

/// Something in the snapshot's place that is no file is set aside as well.
#[test]
fn a_snapshot_that_cannot_be_read_is_set_aside() {
    let dir = Dir::new("unreadable");
    let place = dir.0.join("am").join("silences");
    fs::create_dir_all(place.join("inner")).unwrap();
    let mut node = Process::start(&dir, "am", &["--cluster.listen-address="]);
    assert_eq!(node.post("/api/v2/silences", &silence(X, -5, 3600)).0, 200);
    node.signal("-TERM");
    assert_eq!(node.ended().code(), Some(0));
    assert!(!place.exists());
    let names = files(&dir, "am");
    assert!(
        names
            .iter()
            .any(|name| name.starts_with("silences.damaged-"))
    );
}

/// Two nodes in one directory would write to one database.
#[test]
fn two_nodes_do_not_share_a_directory() {
    let dir = Dir::new("shared");
    let mut first = Process::start(&dir, "am", &["--cluster.listen-address="]);
    let second = || {
        let output = Command::new(node())
            .arg(format!("--config.file={}", dir.0.join("am.yml").display()))
            .arg(format!("--storage.path={}", dir.0.join("am").display()))
            .args([
                "--web.listen-address=127.0.0.1:0",
                "--cluster.listen-address=",
            ])
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(second().contains("another process uses this directory"));
    first.signal("-KILL");
    assert!(first.ended().code().is_none());
    let again = Process::start(&dir, "am", &["--cluster.listen-address="]);
    assert_eq!(again.get("/-/ready").0, 200);
}

/// SIGHUP and POST /-/reload read the file again; a wrong one changes nothing and shows.
#[test]
fn the_configuration_is_reloaded() {
    let dir = Dir::new("reload");
    let node = Process::start(&dir, "am", &["--cluster.listen-address="]);
    let write = |text: &str| fs::write(dir.0.join("am.yml"), text).unwrap();
    let receivers = || node.get("/api/v2/receivers").1;
    let reload = || node.ask("POST", "/-/reload", None, "");
    assert_eq!(receivers(), json!([{"name": "everyone"}]));
    assert_eq!(
        node.post("/api/v2/alerts", r#"[{"labels":{"a":"b"}}]"#).0,
        200
    );

    write("route: {receiver: other}\nreceivers: [{name: other}]\n");
    assert_eq!(reload(), (200, String::new()));
    assert_eq!(receivers(), json!([{"name": "other"}]));
    let alerts = node.get("/api/v2/alerts").1;
    assert_eq!(alerts[0]["receivers"], json!([{"name": "other"}]));
    assert_eq!(node.get("/-/reload").0, 405);

    write("route: {receiver: nobody}\nreceivers: [{name: other}]\n");
    let (status, why) = reload();
    assert_eq!(status, 500, "{why}");
    assert!(
        why.contains("failed to reload config") && why.contains("route.receiver"),
        "{why}"
    );
    let successful = |value: u8| {
        let line = format!("alertmanager_config_last_reload_successful {value}\n");
        node.metrics().contains(&line)
    };
    assert!(successful(0));
    assert_eq!(receivers(), json!([{"name": "other"}]));

    write("route: {receiver: third}\nreceivers: [{name: third}]\n");
    node.signal("-HUP");
    until("reloaded", || receivers() == json!([{"name": "third"}]));
    assert!(successful(1));
}

/// `:port` is IPv4 and, where there is IPv6, that; names are looked up.
#[test]
fn http_is_listened_on_where_it_is_said() {
    let dir = Dir::new("listen");
    let flags = [
        "--web.listen-address=:0",
        "--web.listen-address=localhost:0",
        "--cluster.listen-address=",
    ];
    let _node = Process::start(&dir, "am", &flags);
    let log = fs::read_to_string(dir.0.join("am.log")).unwrap();
    let ports: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("listening for HTTP"))
        .filter_map(|line| line.trim().rsplit(':').next())
        .collect();
    assert_eq!(ports.len(), 3, "{log}");
    let (every, named) = (
        ports[1].trim_end_matches('"'),
        ports[2].trim_end_matches('"'),
    );
    for host in [format!("127.0.0.1:{every}"), format!("localhost:{named}")] {
        let stream = std::net::TcpStream::connect(&host);
        assert!(stream.is_ok(), "{host}: {stream:?}");
    }
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        assert!(std::net::TcpStream::connect(format!("[::1]:{every}")).is_ok());
    }
}

#[test]
fn without_clustering_there_is_one_node() {
    let dir = Dir::new("alone");
    let alone = Process::start(&dir, "alone", &["--cluster.listen-address="]);
    let status = alone.get("/api/v2/status").1;
    assert_eq!(
        status["cluster"],
        json!({"status": "disabled", "peers": []})
    );
    assert_eq!(alone.get("/-/ready").0, 200);
    assert!(alone.metrics().contains("alertmanager_cluster_enabled 0\n"));
    // A seed that is the own address is skipped.
    let node = Process::start_with(&dir, "itself", |cluster| {
        vec![format!("--cluster.peer=127.0.0.1:{cluster}")]
    });
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

/// What is wrong with a section that names one file of three.
const TLS_WANTING: &str = if cfg!(feature = "tls") {
    "key-file is missing"
} else {
    "--features tls"
};

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
            &["cluster.tls-config", TLS_WANTING],
        ),
        (
            "",
            "--cluster.tls-config=/nowhere/tls.yml",
            &[if cfg!(feature = "tls") {
                "/nowhere/tls.yml cannot be read"
            } else {
                "--features tls"
            }],
        ),
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
