//! What survives: a node that is killed, a move from Alertmanager, and the way back.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rumormill::node::Node;
use rumormill::store::alertmanager::{export_silences, import_silences};
use rumormill::{Matcher, NewSilence, Op, SilenceLimits};
use serde_json::Value;

use crate::support::{Dir, Process, amtool, has_amtool, node, silence, three, until};

const X: &str = r#"[{"name":"a","value":"x","isRegex":false}]"#;

/// What both programs say of their silences, by id.
fn silences(process: &Process) -> Vec<Value> {
    let (status, mut listed) = process.get("/api/v2/silences");
    assert_eq!(status, 200, "{listed}");
    let listed = listed.as_array_mut().unwrap();
    let mut shown: Vec<Value> = listed
        .iter_mut()
        .map(|silence| {
            // Fields that only one of them shows.
            let fields = silence.as_object_mut().unwrap();
            fields.remove("matcherSets");
            fields.remove("annotations");
            silence.take()
        })
        .collect();
    shown.sort_by_key(|silence| silence["id"].to_string());
    shown
}

/// Killed at once after it was acknowledged, all three of them.
#[test]
fn a_silence_survives_the_death_of_every_node() {
    let dir = Dir::new("survives");
    let nodes = three(&dir);
    let (status, answer) = nodes[0].post("/api/v2/silences", &silence(X, -5, 3600));
    assert_eq!(status, 200, "{answer}");
    for node in &nodes {
        node.signal("-KILL");
    }
    drop(nodes);
    let node = Process::start(&dir, "am-1", &["--cluster.listen-address="]);
    assert_eq!(silences(&node).len(), 1);
    assert!(node.metrics().contains("rumormill_disk_failing 0\n"));
}

/// What `amtool` shows of all silences, in any order; nothing where it is not there.
fn by_amtool(process: &Process) -> Vec<String> {
    if !has_amtool() {
        return Vec::new();
    }
    let shown = amtool(&process.url, &["silence", "query", "-o", "extended"]).unwrap();
    // Columns are as wide as what is in them.
    let lines = shown.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.join(" ")
    });
    let mut lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.sort();
    lines
}

/// Its directory is taken over and left as it was; what is exported it reads again.
#[test]
fn there_and_back_with_the_real_one() {
    let dir = Dir::new("moved");
    let Some(mut real) = Process::start_real(&dir) else {
        assert!(std::env::var_os("CI").is_none(), "no Alertmanager");
        return;
    };
    let matchers = r#"[{"name":"alertname","value":"Disk.*","isRegex":true},
        {"name":"host","value":"db-1","isRegex":false,"isEqual":false},
        {"name":"zone","value":"eu-.*","isRegex":true,"isEqual":false}]"#;
    for matchers in [X, matchers] {
        let (status, answer) = real.post("/api/v2/silences", &silence(matchers, -5, 3600));
        assert_eq!(status, 200, "{answer}");
    }
    let (there, shown) = (silences(&real), by_amtool(&real));
    assert_eq!(there.len(), 2);
    assert!(shown.len() >= 3 || !has_amtool(), "{shown:?}");
    real.signal("-TERM");
    assert!(real.ended().success());
    let file = dir.0.join("real").join("silences");
    let whole = fs::read(&file).unwrap();

    let mut ours = Process::start(&dir, "real", &["--cluster.listen-address="]);
    assert_eq!(silences(&ours), there);
    assert_eq!(by_amtool(&ours), shown);
    let log = fs::read_to_string(dir.0.join("real.log")).unwrap();
    assert!(log.contains("snapshot was taken over"), "{log}");
    let umlaut = r#"[{"name":"größe","value":"klein","isRegex":false}]"#;
    assert_eq!(
        ours.post("/api/v2/silences", &silence(umlaut, -5, 3600)).0,
        200
    );
    ours.signal("-TERM");
    assert!(ours.ended().success());
    assert_eq!(fs::read(&file).unwrap(), whole, "the old file is as it was");

    // Once more, and everything is there: what was taken over, and what came after it.
    let mut ours = Process::start(&dir, "real", &["--cluster.listen-address="]);
    let (here, shown) = (silences(&ours), by_amtool(&ours));
    assert_eq!(here.len(), 3);
    let has_umlaut = shown.iter().any(|line| line.contains("größe"));
    assert!(has_umlaut || !has_amtool(), "{shown:?}");
    ours.signal("-TERM");
    assert!(ours.ended().success());

    let back = Dir::new("moved-back");
    let exported = Command::new(node())
        .arg(format!("--config.file={}", dir.0.join("am.yml").display()))
        .arg(format!("--storage.path={}", dir.0.join("real").display()))
        .arg(format!(
            "--storage.export={}",
            back.0.join("real").display()
        ))
        .arg("--cluster.listen-address=")
        .status();
    assert!(exported.unwrap().success());
    let real = Process::start_real(&back).unwrap();
    until("it has all three", || silences(&real) == here);
    assert_eq!(by_amtool(&real), shown);
}

/// A file with every kind of matcher, a name that is not ASCII, and annotations, which this Alertmanager does not know:
/// both programs load it, and show the same. Here the annotations are kept, and written again.
#[test]
fn one_file_is_the_same_to_both_and_annotations_stay() {
    let given = Node::builder("given").silences(SilenceLimits::default());
    let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
    let matchers = vec![
        matcher("alertname", Op::Equal, "DiskFull"),
        matcher("größe", Op::NotEqual, "klein"),
        matcher("host", Op::Regex, "db-[0-9]+"),
        matcher("zone", Op::NotRegex, "eu-.*|us-.*"),
    ];
    let mut silence = NewSilence::lasting(matchers, Duration::from_secs(3600));
    (silence.created_by, silence.comment) = ("anna".to_owned(), "a \u{1f4be} is full".to_owned());
    let ticket = ("ticket".to_owned(), "OPS-7".to_owned());
    silence
        .annotations
        .insert(ticket.0.clone(), ticket.1.clone());
    let (id, _) = given.set(silence).unwrap();
    let mut file = Vec::new();
    export_silences(&given, &mut file).unwrap();

    let dir = Dir::new("annotated");
    for name in ["real", "ours"] {
        fs::create_dir_all(dir.0.join(name)).unwrap();
        fs::write(dir.0.join(name).join("silences"), &file).unwrap();
    }
    let mut ours = Process::start(&dir, "ours", &["--cluster.listen-address="]);
    let Some(real) = Process::start_real(&dir) else {
        assert!(std::env::var_os("CI").is_none(), "no Alertmanager");
        return;
    };
    let shown = silences(&real);
    assert_eq!(
        (shown.len(), &shown[0]["matchers"][3]["name"]),
        (1, &"zone".into())
    );
    assert_eq!(silences(&ours), shown);
    assert_eq!(by_amtool(&ours), by_amtool(&real));
    ours.signal("-TERM");
    assert!(ours.ended().success());

    let back = dir.0.join("back");
    run_once(
        &dir,
        "ours",
        &[format!("--storage.export={}", back.display())],
    );
    let again = Node::builder("again").silences(SilenceLimits::default());
    import_silences(&again, &fs::read(back.join("silences")).unwrap()).unwrap();
    assert_eq!(again.get(id).unwrap().annotations[&ticket.0], ticket.1);
}

/// Runs the node with flags that end it, and returns what it logged.
fn run_once(dir: &Dir, name: &str, flags: &[String]) -> String {
    let ended = Command::new(node())
        .arg(format!("--config.file={}", dir.0.join("am.yml").display()))
        .arg(format!("--storage.path={}", dir.0.join(name).display()))
        .arg("--cluster.listen-address=")
        .args(flags)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{log}");
    log
}

/// Written while the node runs; elsewhere a dry run changes nothing, and a restore brings it.
#[test]
fn a_backup_is_written_and_restored() {
    let dir = Dir::new("backup");
    let flags = ["--cluster.listen-address=", "--web.enable-admin-api"];
    let mut from = Process::start(&dir, "from", &flags);
    assert_eq!(from.post("/api/v2/silences", &silence(X, -5, 3600)).0, 200);
    until("it runs", || {
        from.ask("POST", "/-/backup", None, "").0 == 200
    });
    let there = silences(&from);
    from.signal("-TERM");
    assert!(from.ended().success());
    let file = dir.0.join("from").join("backup");

    let restore = format!("--storage.restore={}", file.display());
    let dry = [restore.clone(), "--storage.restore-dry-run".to_owned()];
    let log = run_once(&dir, "to", &dry);
    assert!(log.contains("a restore would change this"), "{log}");
    assert!(log.contains("store=silences new=1 newer=0"), "{log}");
    let log = run_once(&dir, "to", &dry);
    assert!(log.contains("store=silences new=1 newer=0"), "{log}");

    let mut to = Process::start(&dir, "to", &["--cluster.listen-address=", &restore]);
    until("it is there", || silences(&to) == there);
    to.signal("-TERM");
    assert!(to.ended().success());
    // It is on the disk now.
    let log = run_once(&dir, "to", &dry);
    assert!(
        log.contains("store=silences new=0 newer=0 older=0 equal=1"),
        "{log}"
    );

    let again = dir.0.join("again");
    run_once(
        &dir,
        "to",
        &[format!("--storage.backup={}", again.display())],
    );
    let lines = dir.0.join("lines");
    run_once(
        &dir,
        "to",
        &[format!("--storage.backup-json={}", lines.display())],
    );
    let lines = fs::read_to_string(lines).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.iter().any(|line| line["store"] == "silences"));

    let mut cut = fs::read(&again).unwrap();
    cut.pop();
    fs::write(&again, &cut).unwrap();
    let ended = Command::new(node())
        .arg(format!("--config.file={}", dir.0.join("am.yml").display()))
        .arg(format!("--storage.path={}", dir.0.join("to").display()))
        .arg(format!("--storage.restore={}", again.display()))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&ended.stderr);
    let expected = format!(
        "{}, at byte {}: it is cut short",
        again.display(),
        cut.len()
    );
    assert!(!ended.status.success() && log.contains(&expected), "{log}");
}
