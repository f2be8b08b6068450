//! The reference's own configuration files, as Debian packages them with its source: each that must load
//! loads, each that must not is refused. Skipped where the package `golang-github-prometheus-alertmanager-dev`
//! is not installed, unless the environment says `CI=true`.

use std::fs;
use std::path::Path;

const SOURCES: &str = "/usr/share/gocode/src/github.com/prometheus/alertmanager";

/// What the tests beside the files expect to be refused. All others load.
const REFUSED: [&str; 12] = [
    "conf.nil-match_re-route.yml",
    "conf.nil-source_match_re-inhibition.yml",
    "conf.nil-target_match_re-inhibition.yml",
    "conf.opsgenie-both-file-and-apikey.yml",
    "conf.opsgenie-default-apikey-old-team.yml",
    "conf.opsgenie-no-apikey.yml",
    "conf.slack-both-file-and-url.yml",
    "conf.slack-no-api-url.yml",
    "conf.smtp-both-password-and-file.yml",
    "conf.sns-invalid.yml",
    "conf.victorops-both-file-and-apikey.yml",
    "conf.victorops-no-apikey.yml",
];

#[test]
fn what_the_reference_takes_and_refuses_this_node_takes_and_refuses() {
    let data = Path::new(SOURCES).join("config/testdata");
    if !data.exists() {
        let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!is_ci, "{} is not there", data.display());
        eprintln!("skipped: {} is not there", data.display());
        return;
    }
    let folders = [data, Path::new(SOURCES).join("doc/examples")];
    let mut seen = 0;
    for folder in folders.iter().filter(|folder| folder.exists()) {
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.ends_with(".yml") {
                continue;
            }
            let is_taken =
                rumormill_node::unstable::configuration(&fs::read_to_string(&path).unwrap());
            assert_eq!(is_taken, !REFUSED.contains(&name), "{name}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} files");
}
