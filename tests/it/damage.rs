//! Bad input and bad luck: each ends with its exit code and words, nothing is lost, and no wrong tree comes with a 0.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use rstest::rstest;

use crate::run::{Home, Ran, copy_over, recorded};
use crate::stored::Stored;

#[test]
fn each_way_not_to_open_a_repository_has_its_code() {
    let home = Home::new();
    fs::write(home.path("right"), "correct horse\n").unwrap();
    fs::write(home.path("wrong"), "battery staple\n").unwrap();
    fs::write(home.path("empty"), "\n").unwrap();
    home.zooark("snapshots").ends(2).says("ZOOARK_REPOSITORY");
    home.zooark("snapshots --repo nowhere --password-file right").ends(10).says("nowhere");
    home.zooark("init --repo r").ends(2).says("--password-file");
    home.zooark("init --repo r --password-file empty").ends(2).says("empty");
    assert!(!home.path("r").exists());
    home.zooark("init --repo r --password-file right").ends(0);
    home.zooark("snapshots --repo r --password-file right").ends(0);
    home.zooark("snapshots --repo r --password-file wrong").ends(12);
    home.zooark("snapshots --repo r").ends(12);
    home.zooark("snapshots --repo r --password-file absent").ends(1).says("absent");
    home.run(["snapshots", "--repo", "r", "--password-command", "exit 3"]).ends(1).says("password command");
    home.run(["snapshots", "--repo", "r", "--password-command", "echo correct horse"]).ends(0);
    Ran::of(home.command().args(["snapshots", "--repo", "r"]).env("ZOOARK_PASSWORD", "correct horse")).ends(0);
    let again = home.zooark("init --repo r --password-file right");
    assert_ne!(again.code, 0, "a second init must not replace the first");
    home.zooark("snapshots --repo r --password-file right").ends(0);
}

/// A repository swapped for one in clear must not make the next backup upload plaintext.
#[test]
fn a_password_for_a_repository_in_clear_is_refused() {
    let home = Home::new();
    fs::write(home.path("password"), "x\n").unwrap();
    home.zooark("init --repo r --unencrypted").ends(0).says("not encrypted");
    home.zooark("snapshots --repo r").ends(0);
    home.zooark("snapshots --repo r --password-file password").ends(5);
    home.zooark("init --repo other --unencrypted --password-file password").ends(2);
}

#[test]
fn a_key_file_is_never_overwritten() {
    let stored = Stored::empty();
    let key = fs::read(stored.home.path("key")).unwrap();
    let ran = stored.home.zooark("init --repo second --new-key-file key");
    assert_eq!((ran.code, fs::read(stored.home.path("key")).unwrap()), (1, key));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(stored.home.path("key")).unwrap().permissions());
    assert_eq!(mode & 0o077, 0);
}

#[rstest]
#[case::no_directory("absent", 1, "absent")]
#[case::an_empty_one("empty", 1, "empty")]
#[case::a_file("letter", 1, "letter")]
#[case::an_admin_server_that_is_not_there("admin+http://localhost:1", 1, "reading admin+http://localhost:1")]
#[case::an_ensemble_that_is_not_there("zk://localhost:1", 1, "reading zk://localhost:1")]
fn a_source_that_is_none_is_named(#[case] source: &str, #[case] code: i32, #[case] words: &str) {
    let stored = Stored::empty();
    fs::create_dir(stored.home.path("empty")).unwrap();
    fs::write(stored.home.path("letter"), "dear reader").unwrap();
    let before = stored.objects();
    stored.zooark(&format!("backup {source}")).ends(code).says(words);
    assert_eq!(stored.objects(), before);
}

/// A record that is broken with whole ones behind it is a failure, not a shorter history.
#[test]
fn corruption_in_a_log_is_no_shorter_history() {
    let stored = Stored::empty();
    copy_over(&recorded("after"), &stored.home.path("zookeeper"));
    let log = stored.home.path("zookeeper/version-2/log.a2");
    let mut bytes = fs::read(&log).unwrap();
    bytes[200] ^= 0x01;
    fs::write(&log, bytes).unwrap();
    let ran = stored.zooark("backup zookeeper");
    assert!(ran.code == 1 || ran.code == 4, "{ran:?}");
    assert!(ran.stderr.contains("log.a2"), "{}", ran.stderr);
    assert_eq!(stored.snapshots().len(), 0);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let home = Home::new();
    fs::write(home.path("password"), "x\n").unwrap();
    fs::write(home.path("file"), "").unwrap();
    for place in ["/proc/zooark", "file/below"] {
        let ran = home.zooark(&format!("init --repo {place} --password-file password")).ends(1);
        assert!(ran.stderr.contains(place), "{}", ran.stderr);
    }
}

#[test]
fn a_store_that_cannot_be_reached_is_named_within_a_time() {
    let home = Home::new();
    fs::write(home.path("password"), "x\n").unwrap();
    let line = "snapshots --repo s3://bucket/x -o endpoint=http://127.0.0.1:1 -o allow_http=true -o region=r \
                --password-file password";
    let mut command = home.command();
    command.args(line.split_whitespace()).env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "open sesame");
    let ran = Ran::of(command.timeout(Duration::from_mins(1))).ends(1).says("s3://bucket/x");
    assert!(!ran.stderr.contains("open sesame"), "{}", ran.stderr);
}

/// A store that takes the connection and then says nothing: the time-out ends each attempt, and attempts end.
#[rstest]
#[case::s3("s3://bucket/x")]
#[case::gs("gs://bucket/x -o skip_signature=true")]
#[case::az("az://bucket/x -o account_name=a -o account_key=Yg==")]
fn a_store_that_never_answers_is_given_up(#[case] repo: &str) {
    let home = Home::new();
    fs::write(home.path("password"), "x\n").unwrap();
    let hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = hole.local_addr().unwrap().port();
    for command in ["snapshots", "init", "backup zookeeper"] {
        let line = format!(
            "{command} --repo {repo} -o endpoint=http://127.0.0.1:{port} -o timeout=1 -o retries=1 \
             --password-file password"
        );
        let mut command = home.command();
        command.args(line.split_whitespace()).env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
        Ran::of(command.timeout(Duration::from_mins(1))).ends(1).says("no answer in time").says("bucket/x");
    }
}

#[test]
fn settings_of_a_store_that_make_no_sense_are_named() {
    let home = Home::new();
    fs::write(home.path("password"), "x\n").unwrap();
    for option in ["timeout=soon", "timeout=0", "retries=-1", "connections=100000", "colour=blue"] {
        let line = format!("snapshots --repo s3://bucket/x -o {option} --password-file password");
        let ran = home.zooark(&line);
        assert!(matches!(ran.code, 1 | 2), "{ran:?}");
        ran.says(option.split('=').next().unwrap());
    }
}

/// Whatever happens to any object, the answer is the right tree or an error.
#[rstest]
#[case::missing(|_: &mut Vec<u8>| false)]
#[case::cut_short(|bytes: &mut Vec<u8>| { bytes.truncate(bytes.len() / 2); true })]
#[case::emptied(|bytes: &mut Vec<u8>| { bytes.clear(); true })]
#[case::flipped_early(|bytes: &mut Vec<u8>| { let at = bytes.len() / 8; bytes[at] ^= 0x10; true })]
#[case::flipped_in_the_middle(|bytes: &mut Vec<u8>| { let at = bytes.len() / 2; bytes[at] ^= 0x01; true })]
#[case::flipped_at_the_end(|bytes: &mut Vec<u8>| { *bytes.last_mut().unwrap() ^= 0x80; true })]
fn no_damage_gives_a_wrong_tree(#[case] harm: fn(&mut Vec<u8>) -> bool) {
    let stored = Stored::new();
    let ids: Vec<String> = stored.snapshots().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect();
    let dump = |id: &str| stored.zooark(&format!("--no-cache dump {id}"));
    let right: Vec<String> = ids.iter().map(|id| dump(id).ends(0).stdout).collect();
    for object in stored.objects() {
        let whole = fs::read(&object).unwrap();
        let mut harmed = whole.clone();
        if harm(&mut harmed) {
            fs::write(&object, &harmed).unwrap();
        } else {
            fs::remove_file(&object).unwrap();
        }
        let name = object.strip_prefix(stored.home.path("repository")).unwrap().display().to_string();
        for (id, right) in ids.iter().zip(&right) {
            let ran = dump(id);
            assert!(!ran.stderr.contains("panicked"), "{name}: {}", ran.stderr);
            assert!(ran.code != 0 || ran.stdout == *right, "{name}: a wrong tree with exit code 0");
        }
        let check = stored.zooark("--no-cache check --read-data");
        let gone = !object.exists();
        // A manifest, or a probe's remnant, that is simply not there any more cannot be missed.
        if !(gone && name.starts_with("snapshots")) {
            assert_ne!(check.code, 0, "{name} is damaged, and check says:\n{}", check.stdout);
        }
        fs::write(&object, &whole).unwrap();
    }
    stored.zooark("--no-cache check --read-data").ends(0);
}

/// What every command says of the two snapshots, in a form that only their content decides.
fn readings(ids: &[String]) -> Vec<String> {
    let [first, second] = ids else { panic!("two snapshots") };
    [
        format!("ls -R {first}"),
        format!("stat {second}:/controller"),
        format!("cat {first}:/controller_epoch"),
        format!("dump {second}"),
        format!("diff {first} {second}"),
        format!("restore {second} datadir:target --dry-run"),
        "cat latest:/controller_epoch".to_owned(),
        "find /brokers/ids/*".to_owned(),
        "history /controller_epoch".to_owned(),
        "snapshots".to_owned(),
        "stats".to_owned(),
    ]
    .map(|line| format!("--no-cache {line} --json"))
    .into()
}

/// Without how long it took.
fn timeless(printed: &str) -> String {
    printed.split(',').filter(|field| !field.contains("duration_ms")).collect()
}

/// Each command on each damaged object: what it always says, or an error with a code that says what happened.
#[test]
fn every_command_is_honest_about_damage() {
    let stored = Stored::new();
    let ids: Vec<String> = stored.snapshots().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect();
    let lines = readings(&ids);
    let right: Vec<String> = lines.iter().map(|line| stored.zooark(line).ends(0).stdout).collect();
    for object in stored.objects() {
        let name = object.strip_prefix(stored.home.path("repository")).unwrap().display().to_string();
        let whole = fs::read(&object).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x04;
        fs::write(&object, &flipped).unwrap();
        for (line, right) in lines.iter().zip(&right) {
            let ran = stored.zooark(line);
            assert!(!ran.stderr.contains("panicked"), "{name}: {line}: {}", ran.stderr);
            let honest = ran.code != 0 && !ran.stderr.is_empty() || timeless(&ran.stdout) == timeless(right);
            assert!(honest, "{name}: {line}: code {}\n{}\n{}", ran.code, ran.stdout, ran.stderr);
        }
        fs::write(&object, &whole).unwrap();
    }
}

/// Objects of one kind that changed places, as a careless hand or an attacker leaves them, are not taken for each other.
#[test]
fn swapped_objects_are_not_taken_for_each_other() {
    let stored = Stored::new();
    let ids: Vec<String> = stored.snapshots().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect();
    let dump = |id: &str| stored.zooark(&format!("--no-cache dump {id}"));
    let right: Vec<String> = ids.iter().map(|id| dump(id).ends(0).stdout).collect();
    let objects = stored.objects();
    for (at, left) in objects.iter().enumerate() {
        for other in &objects[at + 1..] {
            let [a, b] = [left, other].map(|path| fs::read(path).unwrap());
            fs::write(left, &b).unwrap();
            fs::write(other, &a).unwrap();
            for (id, right) in ids.iter().zip(&right) {
                let ran = dump(id);
                assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
                assert!(ran.code != 0 || ran.stdout == *right, "{left:?} and {other:?}: a wrong tree with exit code 0");
            }
            assert_ne!(
                stored.zooark("--no-cache check").code,
                0,
                "{left:?} and {other:?} are swapped, and check passes"
            );
            fs::write(left, &a).unwrap();
            fs::write(other, &b).unwrap();
        }
    }
    stored.zooark("--no-cache check --read-data").ends(0);
}

/// Two backups at once: both are told the truth, and what stands is whole.
#[test]
fn two_backups_at_once_leave_whole_snapshots() {
    let stored = Stored::new();
    let program = env!("CARGO_BIN_EXE_zooark-under-test");
    let start = || {
        Command::new(program)
            .args(["backup", "zookeeper", "--cluster", "prod", "--force"])
            .env("ZOOARK_REPOSITORY", "repository")
            .env("ZOOARK_KEY_FILE", "key")
            .env("XDG_CACHE_HOME", stored.home.path("cache"))
            .current_dir(stored.home.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let running: Vec<_> = (0..4).map(|_| start()).collect();
    let mut done = 0;
    for child in running {
        let output = child.wait_with_output().unwrap();
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 11)), "{code:?}: {}", String::from_utf8_lossy(&output.stderr));
        done += usize::from(code == Some(0));
    }
    assert!(done >= 1);
    assert_eq!(stored.snapshots().len(), 2 + done);
    stored.zooark("check --read-data").ends(0);
}

/// Killed at any moment, a backup leaves no half snapshot: all that are listed are whole.
#[test]
fn a_killed_backup_leaves_nothing_half_written() {
    let stored = Stored::new();
    let mut killed = 0;
    for round in 0..12_u64 {
        let mut child = stored.spawn("backup zookeeper --cluster prod --force --full");
        std::thread::sleep(Duration::from_millis(round * 3));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());
    }
    assert!(killed > 0, "every backup was faster than its death");
    stored.zooark("check --read-data").ends(0);
    for snapshot in stored.snapshots() {
        stored.zooark(&format!("dump {}", snapshot["id"].as_str().unwrap())).ends(0);
    }
    stored.zooark("backup zookeeper --cluster prod --force").ends(0);
}

/// Ctrl-C once, in the middle of a slow upload: it ends with 130, and no snapshot of it is visible.
#[test]
fn an_interrupted_upload_leaves_no_snapshot() {
    let stored = Stored::empty();
    let mut child = stored.spawn("backup zookeeper --limit-upload 1");
    // At one KiB a second the upload takes more than two seconds, from when the program listens.
    let pid = child.id().to_string();
    while child.try_wait().unwrap().is_none() && !listens_to_interrupts(&pid) {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Reading takes a few milliseconds; well within the two seconds it is uploading.
    std::thread::sleep(Duration::from_millis(400));
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut words = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut words).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{words}");
    assert!(words.contains("nothing half-written is visible"), "{words}");
    assert_eq!(stored.snapshots().len(), 0);
    stored.zooark("check --read-data").ends(0);
    stored.zooark("backup zookeeper").ends(0);
}

/// Whether the process handles SIGINT by now, by its mask of caught signals.
fn listens_to_interrupts(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 0b10 != 0)
}
