//! On a terminal: who sits there is asked and shown progress; what is typed is not shown. `script`, of util-linux,
//! gives the program a pseudo terminal.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::run::{copy_over, recorded};
use crate::stored::Stored;

/// Runs the program on a terminal and types these lines: exit code, and all that stood on the screen.
fn on_a_terminal(stored: &Stored, line: &str, typed: &[&str]) -> (i32, String) {
    let program = format!("stty cols 100 rows 30; exec {} {line}", env!("CARGO_BIN_EXE_zooark-under-test"));
    let mut child = Command::new("script")
        .args(["-q", "-e", "-c", &program, "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", stored.home.path(""))
        .env("TERM", "xterm")
        .env("XDG_CACHE_HOME", stored.home.path("cache"))
        .current_dir(stored.home.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script, of util-linux, must be on the PATH");
    let mut keyboard = child.stdin.take().unwrap();
    for line in typed {
        keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    drop(keyboard);
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_person_is_asked_for_the_password_and_it_is_not_shown() {
    let stored = Stored::empty();
    let (code, screen) = on_a_terminal(&stored, "init --repo asked", &["open sesame", "open sesame"]);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("the same again"), "{screen}");
    for (typed, expected) in [("open sesame", 0), ("wrong", 12)] {
        let (code, screen) = on_a_terminal(&stored, "snapshots --repo asked", &[typed]);
        assert_eq!(code, expected, "{screen}");
        assert!(screen.contains("password of the repository"), "{screen}");
    }
    let (code, screen) = on_a_terminal(&stored, "init --repo other", &["open sesame", "open says me"]);
    assert_ne!(code, 0, "{screen}");
    assert!(!stored.home.path("other").exists());
}

#[test]
fn progress_is_drawn_on_a_terminal_and_nowhere_else() {
    let stored = Stored::empty();
    // Two seconds at one KiB a second.
    let slowly = "backup zookeeper --repo repository --key-file key --limit-upload 1";
    let (code, screen) = on_a_terminal(&stored, slowly, &[]);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains('\u{1b}') && screen.contains("uploading"), "no bar in {screen:?}");
    copy_over(&recorded("after"), &stored.home.path("zookeeper"));
    let piped = stored.zooark("backup zookeeper --limit-upload 1").ends(0);
    assert!(!piped.stdout.contains('\u{1b}') && !piped.stderr.contains('\u{1b}'), "{piped:?}");
    let (code, screen) = on_a_terminal(&stored, &format!("--quiet {slowly} --force"), &[]);
    assert_eq!((code, screen.contains("uploading")), (0, false), "{screen:?}");
}
