//! How a command ends: the table of exit codes, and the one place where an error is printed.

use std::io::{self, Write as _};
use std::process::ExitCode;

use engine::{EngineError, ErrorKind};
use serde_json::json;

/// The exit codes; part of the interface, as restic's are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line or the configuration makes no sense.
    Usage = 2,
    /// Done, but some data could not be read, or differences remain.
    Incomplete = 3,
    /// Damage was found.
    Damage = 4,
    /// A safety check refused, or the snapshot was stored as suspect.
    Refused = 5,
    /// There is no repository at that place.
    NoRepository = 10,
    /// Another process holds what is needed.
    Busy = 11,
    /// The password or key opens nothing.
    WrongPassword = 12,
    /// Stopped by a signal.
    Interrupted = 130,
}

/// The table shown in the README and in `docs/cli.md`.
pub const TABLE: [(Exit, &str); 10] = [
    (Exit::Done, "done"),
    (Exit::Failed, "failed"),
    (Exit::Usage, "the command line or the configuration is wrong"),
    (
        Exit::Incomplete,
        "done, but incomplete: some data could not be read, or a restore left differences; the output says which",
    ),
    (Exit::Damage, "damage found"),
    (Exit::Refused, "refused by a safety check, or stored as suspect"),
    (Exit::NoRepository, "no repository there"),
    (Exit::Busy, "another process holds what is needed"),
    (Exit::WrongPassword, "wrong password or key"),
    (Exit::Interrupted, "interrupted"),
];

impl Exit {
    /// What is said of all snapshots is incomplete where some cannot be read.
    pub const fn of_all(unreadable: usize) -> Self {
        if unreadable == 0 { Self::Done } else { Self::Incomplete }
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Failed => Self::Failed,
            ErrorKind::Usage => Self::Usage,
            ErrorKind::Incomplete => Self::Incomplete,
            ErrorKind::Damage => Self::Damage,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::NoRepository => Self::NoRepository,
            ErrorKind::Busy => Self::Busy,
            ErrorKind::WrongPassword => Self::WrongPassword,
            ErrorKind::Interrupted => Self::Interrupted,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A mistake in what was typed or configured.
pub fn usage(text: impl Into<String>) -> anyhow::Error {
    EngineError::new(ErrorKind::Usage, text).into()
}

/// Prints the error with its causes, once, and says which code it earns. A reader that closed our output early is
/// no error: it had what it wanted.
pub fn report(error: &anyhow::Error, as_message: bool) -> Exit {
    if is_closed_pipe(error) {
        return Exit::Done;
    }
    // A context is found by the error itself, what is below it by the chain.
    let known = error.downcast_ref().or_else(|| error.chain().find_map(|cause| cause.downcast_ref::<EngineError>()));
    let exit = known.map_or(Exit::Failed, |known| known.kind.into());
    let causes = causes(error);
    let stderr = io::stderr();
    let mut stderr = stderr.lock();
    let _ = writeln!(stderr, "zooark: {error}");
    for cause in &causes {
        let _ = writeln!(stderr, "  because: {cause}");
    }
    if as_message {
        let message = json!({
            "message_type": "error", "code": exit as u8, "message": error.to_string(), "causes": causes,
        });
        let _ = writeln!(io::stdout().lock(), "{message}");
    }
    exit
}

/// The causes below the error itself, without those that the line above ends with already: libraries often put their
/// cause into their own text.
pub fn causes(error: &anyhow::Error) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for text in error.chain().map(ToString::to_string) {
        if texts.last().is_none_or(|above| !above.ends_with(&text)) {
            texts.push(text);
        }
    }
    texts.into_iter().skip(1).collect()
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<crate::output::OutputError>()
        .is_some_and(|error| error.source.kind() == io::ErrorKind::BrokenPipe)
}

/// Sends the libraries' log to standard error: warnings, `-v` information, `-vv` everything; `ZOOARK_LOG` overrides.
pub fn trace_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("ZOOARK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_listed_without_repetition() {
        let cause = EngineError::with(ErrorKind::Failed, "a", io::Error::other("b"));
        let error = anyhow::Error::from(cause).context("a").context("top");
        assert_eq!(causes(&error), ["a", "b"]);
    }

    #[test]
    fn the_kind_is_found_below_a_context() {
        let error = anyhow::Error::from(EngineError::new(ErrorKind::WrongPassword, "no slot opens")).context("opening");
        assert_eq!(report(&error, false), Exit::WrongPassword);
        let error = anyhow::Error::from(io::Error::other("x")).context(EngineError::new(ErrorKind::Usage, "reading"));
        assert_eq!(report(&error, false), Exit::Usage);
    }
}
