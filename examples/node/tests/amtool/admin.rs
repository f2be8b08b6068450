//! What an operator does about a member that misbehaves.

use std::fs;

use serde_json::json;

use crate::support::{Dir, Process, silence, three_with, until};

const X: &str = r#"[{"name":"a","value":"x","isRegex":false}]"#;
const ADMIN: &str = "--web.enable-admin-api";

fn members(node: &Process) -> Vec<String> {
    let (_, status) = node.get("/api/v2/status");
    let peers = status["cluster"]["peers"].as_array().unwrap();
    let name = |peer: &serde_json::Value| peer["name"].as_str().unwrap().to_owned();
    peers.iter().map(name).collect()
}

fn post(node: &Process, path: &str) -> u16 {
    node.ask("POST", path, None, "").0
}

/// One that is expelled is out, also after a restart, until it is let in again; what it wrote stays until it is purged.
#[test]
fn a_member_is_expelled_until_it_is_let_in_again() {
    let dir = Dir::new("expel");
    let [mut one, two, three] = three_with(&dir, &[ADMIN]);
    assert_eq!(three.post("/api/v2/silences", &silence(X, -5, 3600)).0, 200);
    until("it is on node 1", || {
        one.get("/api/v2/silences") == three.get("/api/v2/silences")
    });
    let both = ["am-1", "am-2"];
    assert_eq!(post(&one, "/-/expel?name=am-3"), 200);
    until("node 1 is without it", || members(&one) == both);
    until("node 2 shows it", || {
        let (_, list) = two.get("/-/expelled");
        list["known"][0] == json!({"name": "am-3", "followed": false, "toldBy": ["am-1"]})
    });
    assert_eq!(one.get("/-/expelled").1["here"], json!(["am-3"]));
    let file = dir.0.join("am-1").join("expelled");
    assert_eq!(fs::read_to_string(&file).unwrap(), "am-3\n");

    one.signal("-TERM");
    assert_eq!(one.ended().code(), Some(0));
    let peer = format!("--cluster.peer={}", two.cluster);
    let one = Process::start(&dir, "am-1", &[ADMIN, &peer]);
    until("node 1 is back, and without it", || members(&one) == both);
    assert_eq!(post(&two, "/-/purge?name=am-3"), 200);
    until("its silence is gone", || {
        one.get("/api/v2/silences").1 == json!([])
    });
    assert_eq!(post(&one, "/-/readmit?name=am-3"), 200);
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    until("it is back", || members(&one).len() == 3);
}

/// Who reaches the API of Alertmanager cannot expel anybody, if the operator has not said so.
#[test]
fn without_the_flag_nobody_can_be_expelled() {
    let dir = Dir::new("no-admin");
    let node = Process::start(&dir, "am", &[]);
    for path in ["expel", "readmit", "purge"] {
        assert_eq!(post(&node, &format!("/-/{path}?name=b")), 403);
    }
    assert_eq!(node.get("/-/expelled").0, 403);
    assert_eq!(post(&node, "/-/backup"), 403);
    let node = Process::start(&dir, "other", &[ADMIN]);
    until("it is ready", || node.get("/-/ready").0 == 200);
    for wrong in ["/-/expel", "/-/expel?name=", "/-/expel?name=other"] {
        assert_eq!(post(&node, wrong), 400, "{wrong}");
    }
}
