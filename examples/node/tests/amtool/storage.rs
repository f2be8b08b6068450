//! A storage path that cannot be used, and files in it that are not as they were written.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::life::{files, snapshot};
use crate::support::{Dir, Process, node, silence, until};

const X: &str = r#"[{"name":"a","value":"x","isRegex":false}]"#;

/// Starts a node on this storage path, which must refuse; returns what it says. As a user without rights if it is asked
/// for.
fn refused(dir: &Dir, path: &Path, is_dropped: bool) -> String {
    let mut command = if is_dropped && Path::new("/proc/self").exists() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(node());
        command
    } else {
        Command::new(node())
    };
    let ended = command
        .arg(format!("--config.file={}", dir.0.join("am.yml").display()))
        .arg(format!("--storage.path={}", path.display()))
        .args([
            "--web.listen-address=127.0.0.1:0",
            "--cluster.listen-address=",
        ])
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    String::from_utf8(ended.stderr).unwrap()
}

/// The error names the path, and what the system says of it.
#[test]
fn a_storage_path_that_cannot_be_used_is_named() {
    let dir = Dir::new("unusable");
    let told = |path: &Path, is_dropped: bool, why: &str| {
        let log = refused(&dir, path, is_dropped);
        let named = format!("{} cannot be used for storage: ", path.display());
        assert!(log.contains(&named) && log.contains(why), "{log}");
    };
    let file = dir.0.join("file");
    fs::write(&file, "not a directory").unwrap();
    told(&file, false, "File exists");
    told(&file.join("below"), false, "Not a directory");
    let nowhere = dir.0.join("nowhere");
    symlink(dir.0.join("is-not-there"), &nowhere).unwrap();
    told(&nowhere, false, "File exists");
    let circle = dir.0.join("circle");
    symlink(&circle, &circle).unwrap();
    told(&circle, false, "os error");

    // A snapshot that may be whole is not passed over.
    let place = dir.0.join("snapshot");
    fs::create_dir_all(&place).unwrap();
    let snapshot = place.join("silences");
    symlink(&snapshot, &snapshot).unwrap();
    let log = refused(&dir, &place, false);
    assert!(
        log.contains(&format!("{} cannot be used", snapshot.display())),
        "{log}"
    );
}

/// To root nothing is forbidden, so the node is another user.
#[test]
fn a_storage_path_of_another_user_is_named() {
    let is_root = Command::new("id").arg("-u").output();
    let is_root = is_root.is_ok_and(|it| it.stdout == b"0\n");
    let drops = Command::new("setpriv").arg("--version").output().is_ok();
    if is_root && !drops {
        return;
    }
    let dir = Dir::new("forbidden");
    let path = dir.0.join("data");
    fs::create_dir_all(&path).unwrap();
    for mode in [0o000, 0o555] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        // The file of a first start cannot be made there.
        let log = refused(&dir, &path, is_root);
        assert!(
            log.contains(&format!("{} cannot be used for storage: ", path.display()))
                && log.contains("Permission denied"),
            "{mode:o}: {log}"
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
}

/// What becomes of a file.
type Damage = fn(&[u8]) -> Vec<u8>;

/// Of the database and of a snapshot: a bit here and there, cut at several places, nothing at all, another program's,
/// another version's. The node starts, says what it has set aside, and has everything from its peer.
#[test]
fn whatever_is_damaged_the_node_starts_and_its_peer_refills_it() {
    let damages: [(&str, bool, Damage); 10] = [
        ("empty", false, |_| Vec::new()),
        ("one byte", true, |whole| whole[..1].to_vec()),
        ("cut in its head", true, |whole| whole[..9].to_vec()),
        ("cut in the middle", true, |whole| {
            whole[..whole.len() / 2].to_vec()
        }),
        ("without its last byte", true, |whole| {
            whole[..whole.len() - 1].to_vec()
        }),
        ("a bit of the first byte", true, |whole| flipped(whole, 0)),
        ("another version", true, |whole| flipped(whole, 9)),
        ("every byte of the middle", true, |whole| {
            let (third, mut bytes) = (whole.len() / 3, whole.to_vec());
            bytes[third..2 * third]
                .iter_mut()
                .for_each(|it| *it ^= 0xa5);
            bytes
        }),
        ("zeros", true, |whole| vec![0; whole.len()]),
        ("a text", true, |_| b"{\"not\": \"ours\"}\n".repeat(1000)),
    ];
    let dir = Dir::new("damage");
    let one = Process::start(&dir, "am-1", &[]);
    assert_eq!(one.post("/api/v2/silences", &silence(X, -5, 3600)).0, 200);
    let all = one.get("/api/v2/silences");
    let peer = format!("--cluster.peer={}", one.cluster);
    let place = dir.0.join("am-2");
    let is_refilled = |what: &str| {
        let mut two = Process::start(&dir, "am-2", &[&peer]);
        until(&format!("it is refilled: {what}"), || {
            two.get("/api/v2/silences") == all && two.get("/-/ready").0 == 200
        });
        two.signal("-TERM");
        assert_eq!(two.ended().code(), Some(0), "{what}");
        fs::read_to_string(dir.0.join("am-2.log")).unwrap()
    };
    is_refilled("nothing is damaged");
    let database = fs::read(place.join("rumormill.redb")).unwrap();
    for (file, whole) in [("rumormill.redb", database), ("silences", snapshot())] {
        for (damage, is_told, change) in damages {
            let what = format!("{file}, {damage}");
            for old in files(&dir, "am-2") {
                if old != "lock" && old != "rumormill.lock" {
                    fs::remove_file(place.join(old)).unwrap();
                }
            }
            fs::write(place.join(file), change(&whole)).unwrap();
            let log = is_refilled(&what);
            let aside = files(&dir, "am-2").into_iter();
            let aside: Vec<String> = aside.filter(|it| it.contains(".damaged-")).collect();
            // Of a damaged database much may be readable: then nothing is set aside, or the records alone.
            let is_whole = file == "rumormill.redb" && aside.is_empty();
            if is_told && !is_whole {
                assert!(!aside.is_empty(), "{what}: {log}");
                assert!(log.contains("set aside"), "{what}: {log}");
            }
        }
    }
}

fn flipped(whole: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    bytes[at] ^= 0x20;
    bytes
}
