//! Passwords and key files: adding, removing, changing and rotating them.

use crate::run::{Home, Ran};

/// A repository with a password, and how to name it with a password file.
fn repository() -> Home {
    let home = Home::new();
    for (file, password) in [("one", "first"), ("two", "second"), ("three", "third")] {
        std::fs::write(home.path(file), format!("{password}\n")).unwrap();
    }
    home.zooark("init --repo repo --password-file one").ends(0);
    home
}

fn ids(home: &Home, password: &str) -> Vec<(String, bool)> {
    let listed = home.zooark(&format!("key list --repo repo {password} --json")).ends(0).json();
    let keys = listed["keys"].as_array().unwrap();
    keys.iter().map(|key| (key["id"].as_str().unwrap().to_owned(), key["current"].as_bool().unwrap())).collect()
}

#[test]
fn slots_come_and_go_and_the_last_one_stays() {
    let home = repository();
    home.zooark("key add --repo repo --password-file one --new-password-file two --label second").ends(0);
    home.zooark("key add --repo repo --password-file two --new-key-file key").ends(0);
    home.zooark("key list --repo repo --key-file key").ends(0).prints("second").prints("key-file");
    for access in ["--password-file one", "--password-file two", "--key-file key"] {
        let ids = ids(&home, access);
        assert_eq!((ids.len(), ids.iter().filter(|(_, current)| *current).count()), (3, 1), "{access}");
    }
    let (first, _) = ids(&home, "--password-file one").into_iter().find(|(_, current)| *current).unwrap();
    home.zooark(&format!("key remove {} --repo repo --password-file two", &first[..8])).ends(0).prints(&first);
    home.zooark("snapshots --repo repo --password-file one --no-cache").ends(12);
    home.zooark(&format!("key remove {first} --repo repo --password-file two")).ends(1);
    let (file, _) = ids(&home, "--key-file key").into_iter().find(|(_, current)| *current).unwrap();
    home.zooark(&format!("key remove {file} --repo repo --password-file two")).ends(0);
    let (last, _) = ids(&home, "--password-file two").remove(0);
    home.zooark(&format!("key remove {last} --repo repo --password-file two")).ends(5).says("last key slot");
    home.zooark("key add --repo repo --password-file two").ends(2).says("--new-password-file");
    home.zooark("key add --repo repo --password-file two --new-key-file key").ends(1).says("key");
}

#[test]
fn a_changed_password_is_the_only_one() {
    let home = repository();
    let mut change = home.command();
    change.args(["key", "passwd", "--repo", "repo", "--password-file", "one"]).env("ZOOARK_NEW_PASSWORD", "second");
    crate::run::Ran::of(&mut change).ends(0);
    home.zooark("snapshots --repo repo --password-file one").ends(12);
    home.zooark("snapshots --repo repo --password-file two").ends(0);
    home.zooark("key passwd --repo repo --password-file two --new-key-file key").ends(0);
    assert_eq!(ids(&home, "--key-file key").len(), 1);
}

#[test]
fn a_rotation_rewrites_only_key_slots() {
    let home = repository();
    home.zooark("key add --repo repo --password-file one --new-key-file key").ends(0);
    let refused = home.zooark("key rotate --repo repo --password-file one").ends(5);
    assert!(refused.stderr.contains("keys/"), "{}", refused.stderr);
    let dry = home.zooark("key rotate --repo repo --password-file one --with-key-file key --dry-run --json").ends(0);
    assert_eq!((dry.json()["key_number"].clone(), dry.json()["dry_run"].clone()), (2.into(), true.into()));
    let others = || -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(home.path("repo")).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            files.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()));
        }
        files.sort();
        files
    };
    let before = others();
    home.zooark("key rotate --repo repo --password-file one --with-key-file key").ends(0).prints("2 slots");
    assert_eq!(others(), before);
    home.zooark("snapshots --repo repo --key-file key").ends(0);
    home.zooark("key rotate --repo repo --key-file key --remove-others").ends(0).prints("removed key slot");
    home.zooark("snapshots --repo repo --password-file one --no-cache").ends(12);
}

/// Neither a listing nor an error nor the settings show a password or a key.
#[test]
fn no_secret_is_shown() {
    let home = repository();
    home.zooark("key add --repo repo --password-file one --new-key-file key").ends(0);
    let key = std::fs::read_to_string(home.path("key")).unwrap();
    let digits = key.trim().rsplit(' ').next().unwrap().to_owned();
    for line in ["key list", "key list --json", "config show", "config show --json", "key rotate", "snapshots -vv"] {
        let mut command = home.command();
        command.args(line.split(' ')).args(["--repo", "repo"]).env("ZOOARK_PASSWORD", "first");
        let ran = crate::run::Ran::of(&mut command);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains("first") && !text.contains(&digits), "{line}: {text}");
        }
    }
}

#[test]
fn the_key_file_to_make_may_be_set_for_later_commands_already() {
    let home = Home::new();
    let with_key = |line: &str| Ran::of(home.command().args(line.split_whitespace()).env("ZOOARK_KEY_FILE", "key"));
    with_key("init --repo repo --new-key-file key").ends(0);
    with_key("snapshots --repo repo").ends(0);
    with_key("init --repo other --new-key-file other-key").ends(2).says("contradict");
}
