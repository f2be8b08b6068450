//! What an operator does with `amtool`.

use std::fs;

use serde_json::{Value, json};

use crate::support::{CONFIG, Dir, Process, amtool, has_amtool, three, until};

/// Add on node 1, query on node 3, expire on node 2, expired on node 1; and the other commands.
#[test]
fn an_operator_works_with_any_node() {
    if !has_amtool() {
        return;
    }
    let dir = Dir::new("amtool");
    let [one, two, three] = three(&dir);
    let (one, two, three) = (one.url.as_str(), two.url.as_str(), three.url.as_str());

    let add = [
        "silence",
        "add",
        "alertname=DiskFull",
        "instance=~db-.+",
        "severity!=info",
    ];
    let id = amtool(
        one,
        &[&add[..], &["-c", "maintenance", "-a", "ann", "-d", "2h"]].concat(),
    )
    .unwrap();
    assert_eq!(id.len(), 36, "{id}");
    let ids = |url: &str, more: &[&str]| {
        amtool(url, &[&["silence", "query", "-q"], more].concat()).unwrap()
    };
    until("the silence is on node 3", || ids(three, &[]) == id);
    assert_eq!(ids(three, &["alertname=DiskFull"]), id);
    assert_eq!(ids(three, &["alertname=Other"]), "");
    let listed = amtool(three, &["silence", "query"]).unwrap();
    for words in [
        "ID",
        "Matchers",
        "alertname=\"DiskFull\"",
        "instance=~\"db-.+\"",
        "ann",
        "maintenance",
    ] {
        assert!(listed.contains(words), "no {words}: {listed}");
    }

    // In place: the id stays.
    let updated = amtool(two, &["silence", "update", "-d", "3h", "-c", "longer", &id]).unwrap();
    assert!(
        updated.contains(&id) && updated.contains("longer"),
        "{updated}"
    );
    until("node 1 has the new comment", || {
        amtool(one, &["silence", "query"])
            .unwrap()
            .contains("longer")
    });

    alerts(one, &id);

    amtool(two, &["silence", "expire", &id]).unwrap();
    until("it is expired on node 1", || {
        ids(one, &[]).is_empty() && ids(one, &["--expired"]) == id
    });
    let unknown = amtool(
        two,
        &["silence", "expire", "0f8a4c1e-7d3b-4a52-9c61-2b7e5d9f0a34"],
    );
    assert!(unknown.is_err());

    import(&dir, one, three);

    let shown = amtool(one, &["-o", "extended", "cluster", "show"]).unwrap();
    for words in ["ready", "am-1", "am-2", "am-3", "Address"] {
        assert!(shown.contains(words), "no {words}: {shown}");
    }
}

/// An alert that the silence mutes, and one that it does not.
fn alerts(url: &str, id: &str) {
    for alert in [
        ["alert", "add", "DiskFull", "instance=db-1", "severity=page"],
        ["alert", "add", "Other", "instance=db-1", "severity=page"],
    ] {
        amtool(url, &alert).unwrap();
    }
    let active = amtool(url, &["alert", "query"]).unwrap();
    assert!(
        active.contains("Other") && !active.contains("DiskFull"),
        "{active}"
    );
    let silenced = amtool(url, &["alert", "query", "--silenced", "-o", "json"]).unwrap();
    assert!(
        silenced.contains("DiskFull") && silenced.contains(id),
        "{silenced}"
    );
    let named = amtool(url, &["alert", "query", "alertname=Other"]).unwrap();
    assert!(named.contains("Other"), "{named}");
}

/// Silences as JSON from one node, imported into another.
fn import(dir: &Dir, from: &str, to: &str) {
    for number in 0..5 {
        let host = format!("host=h{number}");
        amtool(from, &["silence", "add", &host, "-c", "x"]).unwrap();
    }
    let exported = amtool(from, &["silence", "query", "-o", "json"]).unwrap();
    let mut silences: Vec<Value> = serde_json::from_str(&exported).unwrap();
    assert_eq!(silences.len(), 5);
    // Silences of another cluster: nobody here knows their ids, so they are made anew.
    for (number, silence) in silences.iter_mut().enumerate() {
        silence["id"] = json!(format!("0f8a4c1e-7d3b-4a52-9c61-2b7e5d9f0a3{number}"));
    }
    let path = dir.0.join("silences.json");
    fs::write(&path, json!(silences).to_string()).unwrap();
    amtool(to, &["silence", "import", path.to_str().unwrap()]).unwrap();
    until("imported as new ones", || {
        let ids = amtool(from, &["silence", "query", "-q"]).unwrap();
        ids.lines().count() == 10
    });
}

/// The same commands, against a node and against the real Alertmanager: the same words, but for
/// what is random and for times.
#[test]
fn the_real_one_answers_in_the_same_shape() {
    if !has_amtool() {
        return;
    }
    let dir = Dir::new("real");
    // It comes with amtool.
    let real = Process::start_real(&dir).expect("prometheus-alertmanager starts");
    let ours = Process::start(&dir, "am", &[]);
    let mut ids = [String::new(), String::new()];
    for command in [
        "silence add alertname=A instance=~db-.+ sev!=info zone!~x|y -c why -a ann -d 2h",
        "silence add no-matcher -c why",
        "silence add a=~( -c why",
        "silence add a=~.* -c why",
        "silence query",
        "silence query -o extended",
        "silence query alertname=A",
        "silence query alertname=B",
        "silence update ID -d 3h -c longer",
        "silence query -q",
        "alert add A instance=db-1 sev=page zone=z",
        "alert add B sev=page --annotation=summary=text",
        "alert query",
        "alert query -o extended",
        "alert query --silenced",
        "alert query -o simple sev=page",
        "silence expire ID",
        "silence expire 0f8a4c1e-7d3b-4a52-9c61-2b7e5d9f0a34",
        "silence query",
        "silence query --expired",
        "config routes show",
        "config show",
        "cluster show",
        "-o extended cluster show",
    ] {
        let mut answers = Vec::new();
        for (url, id) in [&ours.url, &real.url].into_iter().zip(&mut ids) {
            let words: Vec<&str> = command
                .split(' ')
                .map(|word| if word == "ID" { id.as_str() } else { word })
                .collect();
            let answer = amtool(url, &words);
            if id.is_empty() {
                *id = answer.clone().unwrap_or_default();
            }
            answers.push(answer.map(|text| shape(&text)).map_err(|_| "it fails"));
        }
        if command == "config show" {
            // The real one writes its defaults out.
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            continue;
        }
        assert_eq!(answers[0], answers[1], "{command}");
    }
}

/// A text without what differs between two servers: ids, names, ports and times.
fn shape(text: &str) -> Vec<Vec<String>> {
    let word = |word: &str| {
        let (digits, dashes) = (
            word.chars().filter(char::is_ascii_digit).count(),
            word.matches('-').count(),
        );
        if word.len() == 36 && dashes == 4 {
            "ID".to_owned()
        } else if word.len() == 26 || word == "am" {
            "NAME".to_owned()
        } else if digits >= 6 {
            "NUMBER".to_owned()
        } else {
            word.replace("settling", "ready")
        }
    };
    let line = |line: &str| line.split_whitespace().map(word).collect();
    text.lines().map(line).collect()
}

/// The routes come from the status, although the file has a section that `amtool` does not know.
#[test]
fn amtool_reads_the_routes_of_a_node() {
    if !has_amtool() {
        return;
    }
    let dir = Dir::new("routes");
    let own = "cluster:\n  gossip-interval: 100ms\n  pushpull-interval: 30s\n";
    fs::write(dir.0.join("am.yml"), format!("{own}{CONFIG}")).unwrap();
    let node = Process::start(&dir, "am", &[]);
    let shown = amtool(&node.url, &["config", "show"]).unwrap();
    assert!(shown.contains("#   gossip-interval: 100ms\n"), "{shown}");
    let routes = ["config", "routes", "test", "alertname=x"];
    assert_eq!(amtool(&node.url, &routes).unwrap(), "everyone");
}

/// Of a tree with what people write in theirs: the node shows it without its secrets, and `amtool` finds the same way
/// through what it shows as through the file.
#[test]
fn amtool_finds_the_same_routes_as_in_the_file() {
    if !has_amtool() {
        return;
    }
    let dir = Dir::new("routes-test");
    fs::write(dir.0.join("am.yml"), ROUTES).unwrap();
    let node = Process::start(&dir, "am", &["--cluster.listen-address="]);
    let file = format!("--config.file={}", dir.0.join("am.yml").display());
    let both = |words: &[&str]| {
        let of_node = amtool(&node.url, words).unwrap();
        let of_file = amtool(&node.url, &[words, &[file.as_str()]].concat()).unwrap();
        assert_eq!(of_node, of_file, "{words:?}");
        of_node
    };
    let shown = both(&["config", "routes", "show"]);
    assert!(shown.contains("receiver: nobody"), "{shown}");
    for (labels, receivers) in [
        (&["severity=page", "team=db"][..], "pager,db"),
        (&["severity=page", "team=web"], "pager"),
        (&["service=foo", "env=test"], "nobody"),
        (&["service=bar"], "hook"),
        (&["service=foobar"], "everyone"),
        (&["owner=it's mine"], "owner"),
        (&["alertname=x"], "everyone"),
    ] {
        let words = [&["config", "routes", "test"], labels].concat();
        assert_eq!(both(&words), receivers, "{labels:?}");
    }
    let secrets = ["hush", "s3cret"].map(|secret| {
        amtool(&node.url, &["config", "show"])
            .unwrap()
            .contains(secret)
    });
    assert_eq!(secrets, [false; 2]);
}

const ROUTES: &str = r#"
global: {smtp_smarthost: 'mail:25', smtp_from: am@example.org, smtp_auth_password: hush}
route:
  receiver: everyone
  group_by: [alertname]
  routes:
  - {receiver: pager, match: {severity: page}, continue: true}
  - {receiver: db, matchers: ['team = "db"', 'severity =~ page|warning']}
  - receiver: hook
    match_re: {service: '^(foo|bar)$'}
    routes:
    - {receiver: nobody, matchers: ['env!~"prod.*|"']}
  - {receiver: owner, matchers: ['owner="it''s mine"']}
receivers:
- name: everyone
  email_configs: [{to: all@example.org}]
  slack_configs:
  - api_url: https://hooks.slack.example/services/T0/B0/s3cret
    channel: '#alerts'
    title: "runbook url: https://runbooks.example.org/x"
    text: 'Dashboard url: https://grafana.example.org/d/abc'
- {name: pager, webhook_configs: [{url: 'http://user:s3cret@127.0.0.1:1/page'}]}
- {name: db}
- {name: hook, webhook_configs: [{url: 'http://127.0.0.1:1/', http_config: {bearer_token: s3cret}}]}
- {name: nobody}
- {name: owner}
"#;
