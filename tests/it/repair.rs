//! `docs/operations/repair.md`: what it shows is what the program says of real damage.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::Ran;
use crate::stored::{Stored, files_below};

/// Names and numbers differ from run to run; words do not.
fn wording(line: &str) -> String {
    let mut words = String::new();
    let mut token = String::new();
    let close = |token: &mut String, words: &mut String| {
        let is_name = token.chars().any(|c| c.is_ascii_digit());
        words.push_str(if is_name { "#" } else { token });
        token.clear();
    };
    for c in line.trim_end().chars() {
        if c.is_ascii_alphanumeric() {
            token.push(c);
        } else {
            close(&mut token, &mut words);
            words.push(c);
        }
    }
    close(&mut token, &mut words);
    // One number with points or commas, and a list of names, are as good as another.
    while words.contains("#.#") || words.contains("#,#") || words.contains("#, #") {
        words = words.replace("#.#", "#").replace("#,#", "#").replace("#, #", "#");
    }
    words
}

fn object(stored: &Stored, prefix: &str) -> PathBuf {
    let root = stored.home.path("repository");
    let found = stored.objects().into_iter().find(|path| path.strip_prefix(&root).unwrap().starts_with(prefix));
    found.unwrap_or_else(|| panic!("no object in {prefix}"))
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn nonsense(stored: &Stored, path: &str) {
    let path = stored.home.path("repository").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "nonsense").unwrap();
}

const ULID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// Everything that is printed when this is done to a repository of two snapshots and these commands are run.
fn said(harm: impl FnOnce(&Stored), lines: &[&str]) -> String {
    let stored = Stored::new();
    stored.zooark("tag latest --add nightly").ends(0);
    harm(&stored);
    let ran = lines.iter().map(|line| {
        let ran = stored.zooark(&format!("--no-cache {line}"));
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        ran.stdout + &ran.stderr
    });
    ran.collect()
}

/// What `check` prints where the disk cannot read a pack.
fn unreadable() -> String {
    let stored = Stored::new();
    let mut command = stored.command();
    command.args(["--no-cache", "check"]).env("ZOOARK_TEST_STORE", "unreadable 1 packs/");
    Ran::of(&mut command).stdout
}

#[test]
fn the_findings_shown_are_those_that_are_printed() {
    let everything = [
        said(|_| (), &["check", "repair index", "repair snapshots"]),
        said(
            |stored| fs::remove_file(object(stored, "packs")).unwrap(),
            &[
                "check",
                "prune",
                "repair index",
                "repair snapshots --dry-run",
                "repair snapshots",
                "repair snapshots --forget",
                "check",
            ],
        ),
        said(
            |stored| flip(&object(stored, "packs")),
            &["check --read-data", "repair snapshots --read-data", "repair snapshots --read-data --forget", "check"],
        ),
        said(
            |stored| flip(&object(stored, "snapshots")),
            &["check", "snapshots", "prune", "repair snapshots", "repair snapshots --forget", "check"],
        ),
        said(|stored| flip(&object(stored, "notes")), &["check", "repair snapshots", "repair snapshots --forget"]),
        said(
            |stored| nonsense(stored, "condemned/00000000000000000001"),
            &["check", "backup zookeeper --cluster prod", "repair index", "check"],
        ),
        said(|stored| nonsense(stored, &format!("index/{ULID}")), &["check", "prune", "repair index", "check"]),
        said(|stored| nonsense(stored, &format!("catalog/{ULID}")), &["check", "repair index"]),
        said(|stored| nonsense(stored, "keys/0123456789abcdef"), &["check"]),
        said(|stored| nonsense(stored, &format!("restored/{}/{:020}/choice", "0".repeat(32), 1)), &["check"]),
        said(|stored| nonsense(stored, "letter"), &["check"]),
        unreadable(),
    ]
    .concat();
    if let Some(file) = std::env::var_os("ZOOARK_SHOW_FINDINGS") {
        fs::write(file, &everything).unwrap();
    }
    let printed: BTreeSet<String> = everything.lines().map(wording).collect();
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations/repair.md");
    let text = fs::read_to_string(document).unwrap();
    let shown: Vec<&str> = text
        .split("\n```text\n")
        .skip(1)
        .flat_map(|rest| rest.split("\n```").next().unwrap_or_default().lines())
        .collect();
    assert!(shown.len() > 30, "only {} lines are shown", shown.len());
    for line in shown {
        assert!(printed.contains(&wording(line)), "nothing prints this line: {line}\n{everything}");
    }
    // Every kind of finding is explained.
    for line in everything.lines().filter(|line| line.starts_with("DAMAGE: ") || line.starts_with("NOTICE: ")) {
        let kind = line.split_whitespace().nth(1).unwrap().split('/').next().unwrap().trim_end_matches(':');
        assert!(text.contains(&format!(": {kind}")) || kind == "table", "{line} is not explained");
    }
}

/// What is to be mended can be narrowed, and then nothing else is given up: neither another cluster's damaged snapshot nor a
/// manifest of which nobody can say whose it is.
#[test]
fn only_what_was_asked_for_is_given_up() {
    let stored = Stored::new();
    // Of neither cluster: the lineages' ids are random, so it is chosen before theirs are there.
    let of_another = object(&stored, "snapshots");
    for cluster in ["one", "two"] {
        let before = stored.objects();
        stored.zooark(&format!("backup zookeeper --full --cluster {cluster}")).ends(0);
        let mut new = stored.objects().into_iter().filter(|path| !before.contains(path));
        let pack = new.find(|path| path.to_string_lossy().contains("/packs/")).unwrap();
        let mut bytes = fs::read(&pack).unwrap();
        bytes[200] ^= 1;
        fs::write(pack, bytes).unwrap();
    }
    flip(&of_another);
    let count = |stored: &Stored| files_below(&stored.home.path("repository/snapshots")).len();
    let before = count(&stored);
    let ran = stored.zooark("--no-cache repair snapshots --read-data --forget --cluster one").ends(4);
    assert!(ran.stdout.matches("DAMAGED").count() == 1, "{}", ran.stdout);
    let damaged = stored.zooark("--no-cache repair snapshots --read-data --dry-run --json").ends(4).json();
    assert_eq!(damaged["mended"].as_array().unwrap().len(), 1, "the other cluster's is still there: {damaged}");
    assert_eq!(damaged["unreadable_manifests"].as_array().unwrap().len(), 1, "{damaged}");
    assert!(count(&stored) >= before - 1);
}
