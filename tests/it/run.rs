//! Runs the program in a directory of its own, with nothing of the caller's environment.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use assert_cmd::Command;
use tempfile::TempDir;

/// A home, a cache and a place for repositories, gone with the test.
pub struct Home {
    directory: TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// The program, to be run in this home.
    pub fn command(&self) -> Command {
        Command::from_std(self.process())
    }

    /// The same, to be started and not waited for.
    pub fn process(&self) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_zooark-under-test"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .current_dir(self.directory.path());
        command
    }

    /// Runs with these arguments.
    pub fn run<I: AsRef<str>>(&self, arguments: impl IntoIterator<Item = I>) -> Ran {
        let arguments: Vec<String> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        Ran::of(self.command().args(arguments))
    }

    /// Runs on a terminal and types these lines: exit code, and all that stood on the screen. `script`, of util-linux,
    /// gives the program a pseudo terminal.
    pub fn on_a_terminal(&self, line: &str, typed: &[&str]) -> (i32, String) {
        let program = format!("stty cols 100 rows 30; exec {} {line}", env!("CARGO_BIN_EXE_zooark-under-test"));
        let mut child = std::process::Command::new("script")
            .args(["-q", "-e", "-c", &program, "/dev/null"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .env("TERM", "xterm")
            .env("XDG_CACHE_HOME", self.path("cache"))
            .current_dir(self.directory.path())
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

    /// The same from one line split at blanks.
    pub fn zooark(&self, line: &str) -> Ran {
        self.run(line.split_whitespace())
    }
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Demands this exit code; shows everything otherwise.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Demands one of these exit codes.
    #[track_caller]
    pub fn one_of(self, codes: &[i32]) -> Self {
        assert!(codes.contains(&self.code), "{} stdout:\n{}\nstderr:\n{}", self.code, self.stdout, self.stderr);
        self
    }

    /// Demands these words on standard error.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "{words:?} is not in:\n{}", self.stderr);
        self
    }

    /// Demands these words on standard output.
    #[track_caller]
    pub fn prints(self, words: &str) -> Self {
        assert!(self.stdout.contains(words), "{words:?} is not in:\n{}", self.stdout);
        self
    }

    /// The one JSON document on standard output.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }

    /// The JSON objects on standard output, one a line.
    #[track_caller]
    pub fn lines(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// A data directory that a real server wrote, at one of its two moments: `before` or `after`.
pub fn recorded(moment: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/recorded").join(moment)
}

/// Copies a directory with all below it over another.
pub fn copy_over(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_over(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
