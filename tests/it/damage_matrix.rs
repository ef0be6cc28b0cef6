//! Every kind of object, harmed in every way, under every command: what each says is in the tables below.
//!
//! A restore gives what was backed up, or fails, or says that something is missing; whatever was repaired is sound after it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rstest::rstest;

use crate::run::{Ran, copy_over};
use crate::stored::{Stored, files_below};

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Missing,
    Truncated,
    Flipped,
    /// It and another of its kind have changed places.
    Swapped,
    /// It is there under another name as well.
    Duplicated,
    /// An earlier object of its kind, or an earlier state of itself, is in its place.
    Older,
}

const HARMS: [Harm; 6] = [Harm::Missing, Harm::Truncated, Harm::Flipped, Harm::Swapped, Harm::Duplicated, Harm::Older];

/// A repository that has an object of every kind, and where they are.
struct Ground {
    stored: Stored,
    /// By kind: the object that is harmed, and another of its kind, older.
    objects: BTreeMap<&'static str, (String, String)>,
    /// The two snapshots that are restored, and what they hold.
    snapshots: [(String, String); 2],
}

fn relative(stored: &Stored, prefix: &str) -> Vec<String> {
    let root = stored.home.path("repository");
    let names = stored.objects().into_iter().map(|path| path.strip_prefix(&root).unwrap().display().to_string());
    names.filter(|name| name.starts_with(prefix)).collect()
}

fn added(stored: &Stored, prefix: &str, before: &[String]) -> Vec<String> {
    relative(stored, prefix).into_iter().filter(|name| !before.contains(name)).collect()
}

fn id_of(ran: &Ran) -> String {
    ran.lines().pop().unwrap()["snapshot_id"].as_str().unwrap().to_owned()
}

/// Made once; every case works on a copy.
fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(make)
}

fn make() -> Ground {
    let stored = Stored::empty();
    let mut objects = BTreeMap::new();
    let run = |line: &str| stored.zooark(line).ends(0);
    let old_key = relative(&stored, "keys/").remove(0);
    run("key add --new-key-file second");
    let new_key = added(&stored, "keys/", std::slice::from_ref(&old_key)).remove(0);
    // A lineage of which only a tombstone is left, with segments of what was forgotten, and two lists.
    for cluster in ["gone", "gone-too"] {
        let id = id_of(&run(&format!("backup zookeeper --cluster {cluster} --json")));
        run(&format!("forget {id} --unsafe-allow-remove-all"));
        run("prune --grace 0s");
    }
    let mut tombstones = relative(&stored, "snapshots/");
    objects.insert("tombstone", (tombstones.remove(0), tombstones.remove(0)));
    let mut lists = relative(&stored, "condemned/");
    objects.insert("condemned list", (lists.pop().unwrap(), lists.pop().unwrap()));
    let mut segments = relative(&stored, "index/");
    objects.insert("index segment", (segments.pop().unwrap(), segments.pop().unwrap()));
    // So many that there is a catalog, then the two that matter, then another catalog.
    run("backup zookeeper --cluster many --time 2025-01-01");
    let many = |day: u32| {
        for minute in 0..65 {
            run(&format!(
                "backup zookeeper --cluster many --force --time 2025-01-{day:02}T10:{:02}:{:02}",
                minute / 60,
                minute % 60
            ));
        }
        run("prune");
    };
    many(2);
    many(3);
    let mut catalogs = relative(&stored, "catalog/");
    objects.insert("catalog", (catalogs.pop().unwrap(), catalogs.pop().unwrap()));
    let (packs, manifests) = (relative(&stored, "packs/"), relative(&stored, "snapshots/"));
    let first = id_of(&run("backup zookeeper --cluster prod --host h --time 2025-11-20T10:00Z --json"));
    let (base, older) = (added(&stored, "packs/", &packs), added(&stored, "snapshots/", &manifests));
    let (packs, manifests) = (relative(&stored, "packs/"), relative(&stored, "snapshots/"));
    copy_over(&crate::run::recorded("after"), &stored.home.path("zookeeper"));
    let second = id_of(&run("backup zookeeper --cluster prod --host h --time 2025-11-21T10:00Z --json"));
    let (run_pack, newer) = (added(&stored, "packs/", &packs), added(&stored, "snapshots/", &manifests));
    objects.insert("base pack", (base[0].clone(), run_pack[0].clone()));
    objects.insert("run pack", (run_pack[0].clone(), base[0].clone()));
    objects.insert("manifest", (newer[0].clone(), older[0].clone()));
    run(&format!("tag {second} --add one"));
    run(&format!("protect {second} --until 90d"));
    let mut notes = relative(&stored, "notes/");
    objects.insert("note", (notes.pop().unwrap(), notes.pop().unwrap()));
    // What restores that happen once left behind: for each number a choice, and a record of the member.
    let once: Vec<Vec<String>> = (1..=2)
        .map(|number| {
            let before = relative(&stored, "restored/");
            run(&format!("restore {first} datadir:once-{number} --once {number} --member a --cluster prod"));
            added(&stored, "restored/", &before)
        })
        .collect();
    let of = |is_choice: bool| {
        let mut found = once
            .iter()
            .rev()
            .map(|both| both.iter().find(|name| name.ends_with("choice") == is_choice).unwrap().clone());
        (found.next().unwrap(), found.next().unwrap())
    };
    objects.insert("choice", of(true));
    objects.insert("record of a member", of(false));
    objects.insert("key", (old_key, new_key));
    objects.insert("config", ("config".to_owned(), String::new()));
    let dump = |id: &str| run(&format!("--no-cache dump {id}")).stdout;
    let snapshots = [(first.clone(), dump(&first)), (second.clone(), dump(&second))];
    Ground { stored, objects, snapshots }
}

/// A copy of the ground, to be harmed.
fn copy() -> Stored {
    let fresh = Stored { home: crate::run::Home::new() };
    let from = &ground().stored.home;
    for part in ["repository", "zookeeper"] {
        copy_over(&from.path(part), &fresh.home.path(part));
    }
    fs::copy(from.path("key"), fresh.home.path("key")).unwrap();
    fresh
}

fn root(stored: &Stored) -> PathBuf {
    stored.home.path("repository")
}

/// Another name of the same kind for an object.
fn another_name(name: &str) -> String {
    if name == "config" {
        return "config-copy".to_owned();
    }
    let (folder, file) = name.rsplit_once('/').unwrap();
    // The last digit of a name that is hex or base 32.
    let (rest, last) = file.split_at(file.len() - 1);
    let other = format!("{rest}{}", if last == "0" { '1' } else { '0' });
    let file = file.parse::<u64>().map_or(other, |number| format!("{:020}", number + 1));
    format!("{folder}/{file}")
}

/// Does it; false where that makes no sense for the kind.
fn harm(stored: &Stored, kind: &str, harm: Harm) -> bool {
    let (name, other) = &ground().objects[kind];
    let at = |name: &str| root(stored).join(name);
    let bytes = fs::read(at(name)).unwrap();
    match harm {
        Harm::Missing => fs::remove_file(at(name)).unwrap(),
        Harm::Truncated => fs::write(at(name), &bytes[..bytes.len() / 2]).unwrap(),
        Harm::Flipped => {
            let mut bytes = bytes;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            fs::write(at(name), bytes).unwrap();
        }
        Harm::Duplicated => fs::write(at(&another_name(name)), bytes).unwrap(),
        // A config is never rewritten, and there is one.
        Harm::Swapped | Harm::Older if other.is_empty() => return false,
        Harm::Swapped => {
            fs::write(at(name), fs::read(at(other)).unwrap()).unwrap();
            fs::write(at(other), bytes).unwrap();
        }
        Harm::Older => {
            fs::copy(at(other), at(name)).unwrap();
        }
    }
    true
}

/// What `check` says, in short: its exit code and which kinds of objects it names.
fn check(stored: &Stored) -> String {
    let ran = stored.zooark("--no-cache check --read-data --json");
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    if ran.stdout.is_empty() {
        return ran.code.to_string();
    }
    let mut kinds: Vec<String> = Vec::new();
    for finding in ran.lines().iter().filter(|line| line["message_type"] == "finding") {
        for field in ["object", "problem", "meaning", "remedy"] {
            assert!(!finding[field].as_str().unwrap().is_empty(), "{finding}");
        }
        let object = finding["object"].as_str().unwrap();
        let kind = object.split(['/', ' ']).next().unwrap().to_owned();
        let kind = if finding["severity"] == "notice" { format!("({kind})") } else { kind };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.sort();
    format!("{} {}", ran.code, kinds.join(" ")).trim().to_owned()
}

/// Restores both snapshots: `whole`, or the exit code. What comes with a 0 must be what was backed up.
fn restore(stored: &Stored) -> String {
    let mut ends = Vec::new();
    for (i, (id, right)) in ground().snapshots.iter().enumerate() {
        let ran = stored.zooark(&format!("--no-cache restore {id} datadir:restored{i}"));
        let dump = stored.zooark(&format!("--no-cache dump {id}"));
        for ran in [&ran, &dump] {
            assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        }
        assert!(dump.code != 0 || dump.stdout == *right, "a wrong tree with exit code 0");
        assert_eq!(dump.code == 0, ran.code == 0, "{ran:?} {dump:?}");
        ends.push(if ran.code == 0 { "whole".to_owned() } else { ran.code.to_string() });
        let _ = fs::remove_dir_all(stored.home.path(&format!("restored{i}")));
    }
    ends.join("/")
}

fn backup(stored: &Stored) -> i32 {
    let ran = stored.zooark("--no-cache backup zookeeper --cluster prod --host h --force");
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    if ran.code == 0 {
        // What was just stored is whole, whatever lay beside it; or it is built upon what is damaged, and that is said.
        let id = stored.zooark("--no-cache snapshots --json");
        assert!(!id.stderr.contains("panicked"), "{}", id.stderr);
    }
    ran.code
}

/// Repairs everything and gives what `check` and a backup say then, and how the two snapshots restore.
fn repair(stored: &Stored) -> String {
    let codes: Vec<String> = ["repair index", "repair snapshots --read-data --forget"]
        .map(|line| {
            let ran = stored.zooark(&format!("--no-cache {line}"));
            assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
            ran.code.to_string()
        })
        .into();
    format!("{} -> {}; {}; {}", codes.join("/"), check(stored), restore(stored), backup(stored))
}

fn observe(kind: &str, how: Harm) -> Option<String> {
    let stored = copy();
    if !harm(&stored, kind, how) {
        return None;
    }
    let harmed = || {
        let stored = copy();
        harm(&stored, kind, how);
        stored
    };
    let (checked, restored) = (check(&stored), restore(&stored));
    let backed = backup(&harmed());
    let pruned = harmed().zooark("--no-cache prune");
    assert!(!pruned.stderr.contains("panicked"), "{}", pruned.stderr);
    Some(format!(
        "check {checked} | restore {restored} | backup {backed} | prune {} | repair {}",
        pruned.code,
        repair(&harmed())
    ))
}

fn table(kind: &str) -> String {
    let rows = HARMS.iter().filter_map(|how| Some(format!("{how:?}: {}\n", observe(kind, *how)?)));
    rows.collect()
}

/// What `damage_matrix.txt` says of a kind: for each harm what `check` ends with and which objects it names (notices in
/// brackets), how the two snapshots restore, how a backup and a prune end, how `repair index` and `repair snapshots` end, and
/// what `check`, the restores and a backup say after those.
fn expected(kind: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/damage_matrix.txt");
    let text = fs::read_to_string(file).unwrap();
    let rows = text.lines().skip_while(|line| *line != format!("=== {kind}")).skip(1);
    rows.take_while(|line| !line.starts_with("===")).collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[rstest]
#[case::config("config")]
#[case::key("key")]
#[case::manifest("manifest")]
#[case::tombstone("tombstone")]
#[case::base_pack("base pack")]
#[case::run_pack("run pack")]
#[case::index_segment("index segment")]
#[case::catalog("catalog")]
#[case::condemned_list("condemned list")]
#[case::note("note")]
#[case::choice("choice")]
#[case::record_of_a_member("record of a member")]
fn every_harm_is_met(#[case] kind: &str) {
    let found = table(kind);
    assert_eq!(found.trim(), expected(kind), "=== {kind}\n{found}");
}

/// The cache may be harmed in any way: nothing is wrong, and nothing more than slow.
#[rstest]
#[case::missing(Harm::Missing)]
#[case::truncated(Harm::Truncated)]
#[case::flipped(Harm::Flipped)]
#[case::swapped(Harm::Swapped)]
#[case::duplicated(Harm::Duplicated)]
#[case::older(Harm::Older)]
fn a_harmed_cache_harms_nothing(#[case] how: Harm) {
    let stored = copy();
    let right = &ground().snapshots;
    let cache = stored.home.path("cache");
    stored.zooark("snapshots").ends(0);
    let before = stored.home.path("before");
    copy_over(&cache, &before);
    for (id, _) in right {
        stored.zooark(&format!("dump {id}")).ends(0);
    }
    stored.zooark("backup zookeeper --cluster prod --host h --force").ends(0);
    let files = files_below(&cache);
    assert!(!files.is_empty());
    for (i, file) in files.iter().enumerate() {
        let bytes = fs::read(file).unwrap();
        match how {
            Harm::Missing => fs::remove_file(file).unwrap(),
            Harm::Truncated => fs::write(file, &bytes[..bytes.len() / 2]).unwrap(),
            Harm::Flipped => {
                let step = (bytes.len() / 40).max(1);
                let flipped: Vec<u8> = bytes
                    .iter()
                    .enumerate()
                    .map(|(at, byte)| if at % step == step / 2 { byte ^ 4 } else { *byte })
                    .collect();
                fs::write(file, flipped).unwrap();
            }
            Harm::Swapped => {
                let other = &files[(i + 1) % files.len()];
                let theirs = fs::read(other).unwrap();
                fs::write(other, &bytes).unwrap();
                fs::write(file, theirs).unwrap();
            }
            Harm::Duplicated => fs::write(file.with_extension("copy"), &bytes).unwrap(),
            Harm::Older => {}
        }
    }
    if how == Harm::Older {
        fs::remove_dir_all(&cache).unwrap();
        copy_over(&before, &cache);
    }
    for (id, right) in right {
        assert_eq!(stored.zooark(&format!("dump {id}")).ends(0).stdout, *right);
    }
    stored.zooark("backup zookeeper --cluster prod --host h --force").ends(0);
    stored.zooark("prune").ends(0);
    stored.zooark("check --read-data").ends(0);
}
