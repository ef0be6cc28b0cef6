//! What holds for every command: usage errors, help, closed pipes, completions, manual pages.

use std::io::Read as _;
use std::process::{Command, Stdio};

use rstest::rstest;

use crate::run::{Home, recorded};

#[rstest]
#[case::no_command("")]
#[case::unknown_command("frobnicate")]
#[case::unknown_flag("version --frobnicate")]
#[case::missing_argument("inspect")]
#[case::quiet_and_verbose("version -q -v")]
#[case::option_without_value("version -o endpoint")]
#[case::live_source("inspect zk://localhost:2181")]
#[case::admin_source("inspect admin+http://localhost:8080")]
#[case::credential_in_an_endpoint("inspect admin+http://user:secret@localhost:8080")]
fn what_makes_no_sense_ends_with_2(#[case] line: &str) {
    let ran = Home::new().zooark(line).ends(2);
    assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{ran:?}");
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}

#[test]
fn help_and_version_are_data() {
    let home = Home::new();
    assert!(home.zooark("--help").ends(0).stdout.contains("Exit codes"));
    assert!(home.zooark("version").ends(0).stdout.starts_with("zooark "));
    assert_eq!(home.zooark("version --json").ends(0).json()["version"], env!("CARGO_PKG_VERSION"));
}

#[rstest]
#[case("bash")]
#[case("zsh")]
#[case("fish")]
fn completions_name_the_commands(#[case] shell: &str) {
    Home::new().run(["completions", shell]).ends(0).prints("inspect");
}

#[test]
fn manual_pages_are_roff_one_per_command() {
    let home = Home::new();
    home.zooark("man").ends(0).prints(".TH");
    home.zooark("man --out-dir pages").ends(0).prints("pages/zooark-inspect.1");
    let page = std::fs::read_to_string(home.path("pages/zooark-inspect.1")).unwrap();
    assert!(page.contains(".TH zooark-inspect"), "{page}");
}

/// A reader that goes away, as `head` does, is no failure and no panic.
#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_zooark-under-test"))
        .arg("inspect")
        .arg(recorded("after"))
        .args(["--transactions", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{words}");
    assert_eq!(words, "");
}

/// A full device is an error, even for output that was still in a buffer at the end.
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_zooark-under-test")).arg("version").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output"));
}
