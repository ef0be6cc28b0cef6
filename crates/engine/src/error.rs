//! Every way an operation ends badly, sorted by what the caller can do about it.

use crate::monitor::Cancelled;

/// What the caller should do; each has an exit code of its own on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It failed; the text says why.
    Failed,
    /// The request makes no sense as written.
    Usage,
    /// Some data could not be read, or differences remain.
    Incomplete,
    /// The repository or a source file is damaged.
    Damage,
    /// A safety check said no.
    Refused,
    /// There is no repository at that place.
    NoRepository,
    /// Another process holds what is needed.
    Busy,
    /// The password or key opens no slot.
    WrongPassword,
    /// The caller asked to stop.
    Interrupted,
}

/// An error with its kind; the text names the operation, the object and the next step.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct EngineError {
    /// What to do about it.
    pub kind: ErrorKind,
    text: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl EngineError {
    /// An error of this kind without a cause.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), source: None }
    }

    /// The same with its cause, which stays out of the text.
    pub fn with(
        kind: ErrorKind,
        text: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, text: text.into(), source: Some(source.into()) }
    }
}

impl From<Cancelled> for EngineError {
    fn from(cancelled: Cancelled) -> Self {
        Self::with(ErrorKind::Interrupted, "stopped before the end; nothing half-written is visible", cancelled)
    }
}
